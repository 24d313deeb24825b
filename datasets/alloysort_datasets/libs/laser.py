"""What shots of a laser see of a piece on a moving belt, from the piece's composition to detector counts.

Every shot's pulse energy decides its plasma's temperature, density and size together; how sharp the focus is,
does so for all shots of a piece.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from alloysort_datasets.libs.atomic import DRY_AIR_WT_PCT, atomic_data
from alloysort_datasets.libs.conditions import Conditions
from alloysort_datasets.libs.layers import Coat
from alloysort_datasets.libs.plasma import Zone, density_at, pressure, radiance
from alloysort_datasets.libs.spectrometer import Spectrometer

Floats = NDArray[np.float64]
Rng = np.random.Generator

BELT: Final[Mapping[str, float]] = {"C": 45, "Cl": 36, "H": 6, "Ca": 8, "O": 5}  # PVC with chalk, an estimate
# At normal pressure (CRC Handbook of Chemistry and Physics); of those that boil far below aluminium's 2,743 K
BOILING_K: Final[Mapping[str, float]] = {
    "Zn": 1180, "Cd": 1040, "Mg": 1363, "Na": 1156, "K": 1032, "Pb": 2022, "Bi": 1837, "Sb": 1860, "Li": 1615,
    "Ca": 1757, "Sr": 1650, "Mn": 2334,
}  # fmt: skip
ALUMINIUM_BOILS_K: Final = 2743.0

# Powers of a pulse's fluence over the nominal one, estimates: temperature and density grow slowly, as the
# plume shields the surface from the rest of the pulse; measured ones scatter from 0.05 to 0.2 and from 0.2 to
# 0.5 (memory). The plume's length goes as the cube root of the energy (blast wave).
TEMPERATURE_POWER: Final = 0.12
DENSITY_POWER: Final = 0.35
LENGTH_POWER: Final = 1 / 3
# Fluence in focus, 10 to 50 J/cm2, over metals' ablation threshold for ns pulses, about 1 J/cm2 (memory)
NOMINAL_OVER_THRESHOLD: Final = 20.0
FAINTEST_ABLATION: Final = 0.02  # of the nominal depth: hot spots of the beam ablate below the threshold, too
SPOT_SCATTER: Final = 0.03  # of an element's share from spot to spot: segregation, dendrites; an estimate
COUPLING_RSD: Final = 0.05  # of absorbed energy: angle and skin of the surface; an estimate
# Defocus at which the optics collect half, an estimate: at f/4 a point blurs to 0.75 mm, a fibre has 0.6 mm
COLLECTING_MM: Final = 3.0
GRAZED_BELT: Final = 0.3  # the belt lies far below the focus: it adds less than its share of the spot
MISSED_LIGHT: Final = 0.15  # at most, over a hit's: the belt's plume is far below the focus, or there is none


@dataclass(frozen=True)
class Shots:
    """Detector counts (shots, channels) of one piece, and what is known of how they came about."""

    counts: NDArray[np.float32]
    conditions: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class _Jitter:
    """What differs from shot to shot, each (shots,)."""

    energy: Floats
    light: Floats
    missed: NDArray[np.bool_]
    on_piece: Floats

    @classmethod
    def draw(cls, conditions: Conditions, shots: int, rng: Rng) -> _Jitter:
        energy, coupling, light = rng.standard_normal((3, shots))
        missing, grazing, share, faint = rng.random((4, shots))
        missed = missing < conditions.miss_rate
        light = np.exp(conditions.light_rsd * light)
        light[missed] *= MISSED_LIGHT * faint[missed]
        grazed = (grazing < conditions.graze_rate) & ~missed
        return cls(
            energy=np.exp(conditions.energy_rsd * energy + COUPLING_RSD * coupling),
            light=light,
            missed=missed,
            on_piece=np.where(grazed, 0.3 + 0.6 * share, 1.0),
        )


def fire(
    composition: Mapping[str, float],
    spectrometer: Spectrometer,
    conditions: Conditions,
    shots: int,
    exposure: float,
    rng: Rng,
    neighbour: Mapping[str, float] | None = None,
) -> Shots:
    """Fire `shots` times at one spot of a piece.

    Args:
        composition: wt% over any elements; those without known lines emit nothing.
        spectrometer: collects the light.
        conditions: what the laser meets.
        shots: pulses.
        exposure: electrons per relative electron of `Spectrometer.collect`, see `reference_exposure`.
        rng: of this piece.
        neighbour: wt% of the next piece, on which part of the last spot may lie.

    Returns:
        The counts; conditions holds all of `conditions`, how many shots missed or grazed the piece, and for
        each shot k, from 1 on, `metal_share_k`: the share of the piece itself among the atoms it ablated.
    """
    jitter = _Jitter.draw(conditions, shots, rng)
    spots = _spots(composition, conditions, shots, rng, neighbour)
    fluence = _fluence(conditions, jitter)
    ablated, own = _ablate(spots, conditions, jitter, fluence)
    if neighbour is not None:
        own[-1] *= 1 - conditions.neighbour_share
    air = _air(conditions.humidity, conditions.nitrogen)
    plumes = _mix(ablated, air, _air_share(conditions, fluence)[:, None])
    light = exposure * _collected(conditions) * jitter.light * jitter.on_piece
    counts = []
    for plume, over_nominal, share in zip(plumes, fluence.tolist(), light.tolist(), strict=True):
        seen = spectrometer.collect(_gated(plume, air, conditions, over_nominal, spectrometer.grid_vac_nm))
        counts.append(spectrometer.read(seen * share, rng))
    told = {"missed_shots": float(jitter.missed.sum()), "grazed_shots": float((jitter.on_piece < 1).sum())}
    told |= {f"metal_share_{shot}": float(part) for shot, part in enumerate(own, 1)}
    return Shots(np.stack(counts), conditions.as_mapping() | told)


def reference_exposure(spectrometer: Spectrometer, rng: Rng) -> float:
    """The exposure an operator would set: a clean aluminium sheet peaks at 5 to 200 % of the ceiling."""
    data = atomic_data()
    sheet = data.fractions({"Al": 98, "Mg": 0.8, "Si": 0.7, "Fe": 0.3, "Cu": 0.2, "N": 3})
    core, shell = Zone(10500, 1e17, 0.1), Zone(6500, 2e16, 0.05)
    seen = spectrometer.collect(radiance(sheet, core, shell, spectrometer.grid_vac_nm))
    ceiling = spectrometer.instrument.saturation_counts / spectrometer.counts_per_electron
    return float(ceiling * np.exp(rng.uniform(np.log(0.05), np.log(2.0))) / seen.max())


def _spots(
    composition: Mapping[str, float],
    conditions: Conditions,
    shots: int,
    rng: Rng,
    neighbour: Mapping[str, float] | None,
) -> Floats:
    """(shots, elements) number fractions of the bare material under each shot."""
    data = atomic_data()
    metal = data.fractions(dict(composition)) * _ahead(conditions.volatile)
    spots = metal * np.exp(SPOT_SCATTER * rng.standard_normal((shots, metal.size)))
    spots /= spots.sum(axis=1, keepdims=True)
    if neighbour is not None and conditions.neighbour_share > 0:
        spots[-1] = _mix(spots[-1], data.fractions(dict(neighbour)), conditions.neighbour_share)
    return np.asarray(spots)


def _ablate(spots: Floats, conditions: Conditions, jitter: _Jitter, fluence: Floats) -> tuple[Floats, Floats]:
    """What each shot brings up of layers, the material and the belt.

    Returns:
        (shots, elements) number fractions, and (shots,) the material's own share.
    """
    hit = ~jitter.missed
    depth_um = conditions.depth_um * _depth(fluence)
    from_um = np.cumsum(depth_um * hit) - depth_um * hit
    coat = Coat(conditions, spots.mean(axis=0))
    ablated = coat.mix(spots, from_um, from_um + depth_um)
    own = coat.shares(from_um, from_um + depth_um)[:, -1]
    belt_share = np.where(hit, GRAZED_BELT * (1 - jitter.on_piece), 1.0)
    if belt_share.any():
        ablated = _mix(ablated, _belt(), belt_share[:, None])
    return ablated, own * (1 - belt_share)


def _spot_growth(conditions: Conditions) -> float:
    """Area of the spot over that in focus, of a Gaussian beam."""
    return 1 + (conditions.defocus_mm / conditions.rayleigh_mm) ** 2


def _fluence(conditions: Conditions, jitter: _Jitter) -> Floats:
    """(shots,) over that of a nominal pulse in focus; an edge is oblique and couples less."""
    return np.asarray(conditions.pulse_energy / _spot_growth(conditions) * jitter.energy * jitter.on_piece)


def _depth(fluence: Floats) -> Floats:
    """(shots,) ablated depth over the nominal one: the logarithm of fluence over the threshold."""
    over = 1 + np.log(fluence) / np.log(NOMINAL_OVER_THRESHOLD)
    return np.asarray(np.maximum(over, FAINTEST_ABLATION))


def _air_share(conditions: Conditions, fluence: Floats) -> Floats:
    """(shots,) of the plume's atoms.

    The blast wave takes in air by the pulse's energy, fluence x area; a paraboloid crater gives matter by
    area x depth^2. Far out of focus, pulses that hardly ablate leave little but air.
    """
    if conditions.air_share == 0:
        return np.zeros_like(fluence)
    matter = (1 / conditions.air_share - 1) * _depth(fluence) ** 2 / fluence  # over air
    return np.asarray(1 / (1 + matter))


def _gated(
    plume: Floats, air: Floats, conditions: Conditions, fluence: float, grid_vac_nm: Floats
) -> NDArray[np.float32]:
    """(points,) radiance that the gate sees: of the plasma as it opens, and of its later stage."""
    outer = _mix(plume, air, conditions.shell_air_share)
    early = radiance(plume, *_zones(plume, outer, conditions, fluence), grid_vac_nm, outer)
    if conditions.late_share == 0:
        return early
    older = replace(
        conditions,
        plasma_temperature_k=conditions.plasma_temperature_k * conditions.cooling,
        electron_density_cm3=conditions.electron_density_cm3 * conditions.thinning,
        core_cm=conditions.core_cm * conditions.thinning ** (-1 / 3),  # of the same matter, spread out
    )
    late = radiance(plume, *_zones(plume, outer, older, fluence), grid_vac_nm, outer)
    part = np.float32(conditions.late_share)
    return (1 - part) * early + part * late


def _zones(plume: Floats, outer: Floats, conditions: Conditions, fluence: float) -> tuple[Zone, Zone]:
    """Core and shell; the shell, of matter `outer`, has its density from the balance of pressure."""
    core_k = max(conditions.plasma_temperature_k * fluence**TEMPERATURE_POWER, 4000.0)
    density = conditions.electron_density_cm3 * fluence**DENSITY_POWER
    longer = (fluence * _spot_growth(conditions)) ** LENGTH_POWER
    core = Zone(core_k, density, conditions.core_cm * longer, conditions.continuum)
    shell_k = max(core_k * conditions.shell_temperature_ratio, 3500.0)
    shell_density = density_at(outer, shell_k, conditions.shell_pressure_ratio * pressure(plume, core))
    return core, Zone(shell_k, shell_density, conditions.shell_cm * longer, conditions.continuum)


def _collected(conditions: Conditions) -> float:
    return conditions.collected / (1 + (conditions.defocus_mm / COLLECTING_MM) ** 2)


def _ahead(volatile: float) -> Floats:
    """(elements,) factors: an element that boils 1,000 K below aluminium goes ahead by exp(volatile)."""
    return np.asarray(np.exp(volatile * _volatility()))


@cache
def _volatility() -> Floats:
    elements = atomic_data().elements
    boiling = np.array([BOILING_K.get(element, ALUMINIUM_BOILS_K) for element in elements])
    return (ALUMINIUM_BOILS_K - boiling) / 1000


@cache
def _belt() -> Floats:
    return atomic_data().fractions(dict(BELT))


def _air(humidity: float, nitrogen: float) -> Floats:
    """(elements,) number fractions of air with so much hydrogen, wt%, and that part of its nitrogen."""
    dry, wet = _dry_air()
    dry = np.where(_is_nitrogen(), nitrogen * dry, dry)
    dry /= dry.sum()
    return _mix(dry, wet, humidity / (humidity + 100 / 14.4))  # 14.4 u, air's mean atom, against hydrogen's 1


@cache
def _is_nitrogen() -> NDArray[np.bool_]:
    return np.array([element == "N" for element in atomic_data().elements])


@cache
def _dry_air() -> tuple[Floats, Floats]:
    data = atomic_data()
    return data.fractions(dict(DRY_AIR_WT_PCT)), data.fractions({"H": 100})


def _mix(base: Floats, other: Floats, share: float | Floats) -> Floats:
    return np.asarray((1 - share) * base + share * other)
