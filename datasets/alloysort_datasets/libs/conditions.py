"""What the laser meets at one piece: the pulse, the distance, the plasma it makes, the layers on the metal.

Conditions are drawn per piece; each has a name that stands in the piece table, and can be fixed by that name
without changing any other, so that a piece under 60 um of paint has a twin that is bare.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from alloysort_datasets.errors import DataError

Rng = np.random.Generator


@dataclass(frozen=True)
class Conditions:
    """Of one piece's shots.

    Attributes:
        pulse_energy: mean over the laser's nominal one; an ageing laser has less.
        energy_rsd: of pulse energy from shot to shot.
        light_rsd: of the light from shot to shot that the pulse energy does not explain: where the plume
            stands in the collecting optics, and the skin's roughness.
        defocus_mm: distance of the surface from the focus.
        rayleigh_mm: defocus at which the spot has twice the area.
        plasma_temperature_k, electron_density_cm3: of the core in focus, at nominal energy.
        core_cm, shell_cm: lengths along the line of sight.
        shell_temperature_ratio, shell_pressure_ratio: shell over core; near 1, for what is not in balance
            of pressure moves until it is.
        shell_air_share: of the shell's atoms that are air which the plume ran into, beyond the plume's own.
        late_share: of the gate's time that sees the plasma's later stage; cooling, thinning: its temperature
            and electron density over those of the earlier one.
        continuum: over that of D'Ammando's formula: what the gate sees of the first, dense moments.
        air_share: of the plume's atoms in focus, at nominal energy; humidity: hydrogen in that air, wt%.
        nitrogen: atoms of it in that air over what air has: its molecules hold together up to 7,000 K, where
            oxygen's have long come apart or are bound by the metal.
        collected: share of the light that reaches the spectrometer, relative.
        depth_um: of metal that a pulse in focus ablates, at the middle of the crater.
        volatile: how far volatile elements go ahead in the plume, see `laser.BOILING_K`.
        moisture_um, dirt_um, oil_um, paint_um, anodising_um, oxide_um, zinc_um: layers from the outside in.
        paint_white: share of white in the paint's colour; the rest is carbon black and iron oxide.
        miss_rate, graze_rate: chance that a shot goes beside the piece, or part of it does.
        neighbour_share: of the last spot that lies on the next piece.
    """

    pulse_energy: float
    energy_rsd: float
    light_rsd: float
    defocus_mm: float
    rayleigh_mm: float
    plasma_temperature_k: float
    electron_density_cm3: float
    core_cm: float
    shell_cm: float
    shell_temperature_ratio: float
    shell_pressure_ratio: float
    shell_air_share: float
    late_share: float
    cooling: float
    thinning: float
    continuum: float
    air_share: float
    humidity: float
    nitrogen: float
    collected: float
    depth_um: float
    volatile: float
    moisture_um: float
    dirt_um: float
    oil_um: float
    paint_um: float
    anodising_um: float
    oxide_um: float
    zinc_um: float
    paint_white: float
    miss_rate: float
    graze_rate: float
    neighbour_share: float

    def as_mapping(self) -> dict[str, float]:
        """Name to value, as the piece table keeps them."""
        return dict(vars(self))


# What a condition may be fixed to: where the model still makes sense
RANGES: Final[Mapping[str, tuple[float, float]]] = {
    "pulse_energy": (0.2, 3),
    "energy_rsd": (0, 0.3),
    "light_rsd": (0, 0.5),
    "defocus_mm": (0, 10),
    "rayleigh_mm": (0.3, 30),
    "plasma_temperature_k": (5000, 20000),
    "electron_density_cm3": (3e15, 2e18),
    "core_cm": (0.001, 1),
    "shell_cm": (0, 1),
    "shell_temperature_ratio": (0.3, 1),
    "shell_pressure_ratio": (0.1, 2),
    "shell_air_share": (0, 0.99),
    "late_share": (0, 1),
    "cooling": (0.4, 1),
    "thinning": (0.01, 1),
    "continuum": (0.1, 30),
    "air_share": (0, 0.9),
    "humidity": (0, 2),
    "nitrogen": (0, 1),
    "collected": (1e-3, 100),
    "depth_um": (0.1, 30),
    "volatile": (0, 0.3),
    **dict.fromkeys(
        ("moisture_um", "dirt_um", "oil_um", "paint_um", "anodising_um", "oxide_um", "zinc_um"), (0, 500)
    ),
    "paint_white": (0, 1),
    "miss_rate": (0, 1),
    "graze_rate": (0, 1),
    "neighbour_share": (0, 1),
}


# More than half of any non-metallic material, and less of any alloy
NON_METALS: Final = ("H", "B", "C", "N", "O", "F", "Na", "Si", "P", "S", "Cl", "K", "Ca", "Br")


def require_conditions(fixed: Mapping[str, float]) -> None:
    """Refuse a name that is no condition, or a value outside its range.

    Raises:
        DataError: naming all of either.
    """
    if unknown := sorted(set(fixed) - set(RANGES)):
        raise DataError(f"conditions {', '.join(unknown)} are unknown; known are {', '.join(RANGES)}")
    wrong = [
        f"{name} {value:g} is outside {RANGES[name][0]:g}-{RANGES[name][1]:g}"
        for name, value in fixed.items()
        if not RANGES[name][0] <= value <= RANGES[name][1]
    ]
    if wrong:
        raise DataError("; ".join(wrong))


def draw_conditions(composition: Mapping[str, float], rng: Rng, fixed: Mapping[str, float]) -> Conditions:
    """Conditions of a random piece on a random line.

    Args:
        composition: wt%, which decides the layers that a metal may carry.
        rng: of this piece.
        fixed: values to have instead of drawn ones; all others are as they were without it.

    Raises:
        DataError: see `require_conditions`.
    """
    require_conditions(fixed)
    drawn = Conditions(**_draw_pulse(rng), **_draw_plasma(rng), **_draw_layers(composition, rng))
    return replace(drawn, **dict(fixed))


def _draw_pulse(rng: Rng) -> dict[str, float]:
    """Diode-pumped lasers hold their pulse energy within 0.5 %, lamp-pumped ones within 5 %.

    Estimates, but for these: clean targets vary by 8 to 20 % in all their light, pulse energy's part
    included; a spot of 0.1 mm at 1,064 nm and M2 from 1.5 to 5 has its Rayleigh length from 1.5 to 5 mm.
    """
    return {
        "pulse_energy": _lognormal(rng, 1.0, 0.1),
        "energy_rsd": _loguniform(rng, 0.005, 0.05),
        "light_rsd": float(rng.uniform(0.085, 0.175)),
        "defocus_mm": float(min(rng.exponential(0.6), 4.0)),  # what a height sensor and refocusing leave
        "rayleigh_mm": _loguniform(rng, 1.5, 5.0),
        "depth_um": _loguniform(rng, 1.0, 6.0),  # ns pulses of 10 to 50 J/cm2 on metals
        "volatile": float(abs(rng.normal(0, 0.04))),
        "miss_rate": 0.03,
        "graze_rate": 0.03,
        "neighbour_share": float(rng.uniform(0.1, 0.6) * (rng.random() < 0.02)),
    }


def _draw_plasma(rng: Rng) -> dict[str, float]:
    """As wide as gates from 0.1 to 3 us and pulses of some to 100 mJ make it."""
    return {
        "plasma_temperature_k": float(np.clip(rng.normal(10500, 2200), 6500, 18000)),
        "electron_density_cm3": float(np.clip(_lognormal(rng, 1e17, 0.7), 1e16, 8e17)),
        "core_cm": _loguniform(rng, 0.02, 0.25),
        "shell_cm": _loguniform(rng, 0.002, 0.05),
        "shell_temperature_ratio": float(rng.uniform(0.45, 0.85)),
        "shell_pressure_ratio": float(rng.uniform(0.7, 1.0)),
        "shell_air_share": float(rng.uniform(0.1, 0.95)),
        "late_share": float(rng.uniform(0.2, 0.9) * (rng.random() < 0.7)),  # a short gate sees one stage
        "cooling": float(rng.uniform(0.65, 0.95)),
        "thinning": _loguniform(rng, 0.15, 0.7),
        "continuum": float(np.clip(_lognormal(rng, 4.0, 0.9), 0.3, 30)),
        "air_share": float(np.clip(_lognormal(rng, 0.3, 0.8), 0, 0.9)),
        "humidity": float(rng.uniform(0.02, 0.3)),
        "nitrogen": _loguniform(rng, 0.08, 1.0),
        "collected": _lognormal(rng, 1.0, 0.3),
    }


def _draw_layers(composition: Mapping[str, float], rng: Rng) -> dict[str, float]:
    """How often a layer is there, and how thick where it is.

    Shares are estimates for shredded scrap. Thicknesses: paint from a coil's 20-25 um (the products of
    EN 1396 and EN 10169) to a car body's 120 um; architectural anodising 5-25 um (ISO 7599); hot-dip zinc on
    sheet 7-25 um (EN 10346); an oxide that grew in air some nm, a weathered or heat-treated one up to 1 um;
    films of oil, dirt and water are estimates.
    """
    metal = sum(composition.get(element, 0) for element in NON_METALS) < 50
    aluminium = composition.get("Al", 0) > 50
    cast = composition.get("Si", 0) > 3
    steel = composition.get("Fe", 0) > 50 and composition.get("Cr", 0) < 10
    there = dict(
        zip(
            ("moisture", "dirt", "oil", "paint", "anodising", "weathered", "zinc"), rng.random(7), strict=True
        )
    )
    painted = 0.15 if aluminium or steel else 0.05 * metal
    weathered = _loguniform(rng, 0.05, 1.0) if there["weathered"] < 0.3 else 0.004
    thickness = {
        "moisture_um": (there["moisture"] < 0.15) * _lognormal(rng, 5.0, 0.8),
        "dirt_um": (there["dirt"] < 0.35) * _lognormal(rng, 1.5, 1.0),
        "oil_um": (metal and there["oil"] < 0.2) * _loguniform(rng, 0.1, 10.0),
        "paint_um": (there["paint"] < painted) * _loguniform(rng, 20.0, 120.0),
        "anodising_um": (aluminium and not cast and there["anodising"] < 0.06) * _loguniform(rng, 5.0, 25.0),
        "oxide_um": aluminium * weathered,
        "zinc_um": (steel and there["zinc"] < 0.3) * _loguniform(rng, 7.0, 25.0),
    }
    return {name: float(min(value, RANGES[name][1])) for name, value in thickness.items()} | {
        "paint_white": float(rng.random())
    }


def _lognormal(rng: Rng, median: float, sigma: float) -> float:
    return float(median * np.exp(rng.normal(0, sigma)))


def _loguniform(rng: Rng, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))
