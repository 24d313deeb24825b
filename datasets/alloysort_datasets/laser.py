"""What shots of a laser see of a piece on a moving belt, from the piece's composition to detector counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from alloysort_datasets.atomic import AtomicData, atomic_data
from alloysort_datasets.plasma import Zone, radiance
from alloysort_datasets.spectrometer import Spectrometer

Floats = NDArray[np.float64]
Rng = np.random.Generator

# wt%; the surface of scrap as the first shots meet it
LAYERS: Final[Mapping[str, Mapping[str, float]]] = {
    # Upper crust (Rudnick and Gao, Treatise on Geochemistry 3, 2003), as road dirt with organic carbon
    "dirt": {"O": 46, "Si": 27, "Al": 7, "Fe": 5, "Ca": 5, "Na": 2, "K": 2.3, "Mg": 1.5, "C": 4, "Ti": 0.2},
    # White coil coating: binder with TiO2 and CaCO3 filler
    "paint": {"C": 38, "O": 33, "Ti": 14, "Ca": 10, "H": 5},
    "oil": {"C": 86, "H": 14},
    "oxide": {"Al": 53, "O": 47},
    "zinc": {"Zn": 99.3, "Al": 0.5, "Fe": 0.2},
}
AIR: Final[Mapping[str, float]] = {"N": 75.5, "O": 23.2, "Ar": 1.3}
VOLATILE: Final = ("Zn", "Mg", "Pb", "Cd", "Bi", "Na", "K")

MISS_RATE: Final = 0.03
LIGHT_RSD: Final = 0.12  # clean targets show 8 to 20 %


@dataclass(frozen=True)
class Shots:
    """Detector counts (shots, channels) of one piece and the conditions they were taken under."""

    counts: NDArray[np.float32]
    conditions: Mapping[str, float]


@dataclass(frozen=True)
class _Surface:
    layer: str | None
    cover: float  # share of the first shot's ablated matter that is layer
    shots_to_clean: float


def fire(
    composition: Mapping[str, float], spectrometer: Spectrometer, shots: int, exposure: float, rng: Rng
) -> Shots:
    """Fire `shots` times at one piece.

    Args:
        composition: wt% over any elements; those without known lines emit nothing.
        spectrometer: collects the light.
        shots: pulses.
        exposure: electrons per relative electron of `Spectrometer.collect`, see `reference_exposure`.
        rng: of this piece.
    """
    data = atomic_data()
    plasma = _draw_plasma(rng)
    surface = _draw_surface(composition, rng)
    bulk = _ablated(data.fractions(dict(composition)), data, rng)
    air = data.fractions({**AIR, "H": float(rng.uniform(0.02, 0.3))})
    counts = []
    missed = 0
    for shot in range(shots):
        cover = surface.cover * np.exp(-shot / surface.shots_to_clean)
        fractions = (
            bulk if surface.layer is None else _mix(bulk, data.fractions(dict(LAYERS[surface.layer])), cover)
        )
        light = np.exp(rng.normal(0, LIGHT_RSD))
        if rng.random() < MISS_RATE:
            light *= rng.uniform(0, 0.15)
            missed += 1
        core, shell = _jitter(plasma, rng)
        seen = spectrometer.collect(radiance(_mix(fractions, air, plasma["air_share"]), core, shell))
        counts.append(spectrometer.read(seen * exposure * light * plasma["collected"], rng))
    conditions = dict(plasma) | {"missed_shots": float(missed)}
    if surface.layer is not None:
        conditions[f"{surface.layer}_cover"] = surface.cover
    return Shots(np.stack(counts), conditions)


def reference_exposure(spectrometer: Spectrometer, rng: Rng) -> float:
    """The exposure an operator would set: a clean aluminium sheet peaks at 5 to 200 % of the ceiling."""
    data = atomic_data()
    sheet = data.fractions({"Al": 98, "Mg": 0.8, "Si": 0.7, "Fe": 0.3, "Cu": 0.2, "N": 3})
    seen = spectrometer.collect(radiance(sheet, Zone(10500, 1e17, 0.1), Zone(6500, 2e16, 0.05)))
    ceiling = spectrometer.instrument.saturation_counts / spectrometer.counts_per_electron
    return float(ceiling * np.exp(rng.uniform(np.log(0.05), np.log(2.0))) / seen.max())


def _draw_plasma(rng: Rng) -> dict[str, float]:
    defocus_mm = float(min(rng.exponential(0.5), 3.0))
    temperature_k = rng.normal(10200, 2100) * (1 - 0.06 * defocus_mm)
    electrons = 1e17 * np.exp(rng.normal(0, 0.6) - 0.25 * defocus_mm)
    return {
        "defocus_mm": defocus_mm,
        "plasma_temperature_k": float(np.clip(temperature_k, 6000, 18000)),
        "electron_density_cm3": float(np.clip(electrons, 1e16, 8e17)),
        "core_cm": float(np.exp(rng.uniform(np.log(0.02), np.log(0.25)))),
        "shell_temperature_ratio": float(rng.uniform(0.45, 0.85)),
        "shell_density_ratio": float(np.exp(rng.uniform(np.log(0.03), np.log(0.5)))),
        "shell_cm": float(np.exp(rng.uniform(np.log(0.005), np.log(0.12)))),
        "air_share": float(np.clip(np.exp(rng.normal(np.log(0.12), 0.9)), 0, 0.7)),
        "collected": float(np.exp(rng.normal(0, 0.3) - 0.3 * defocus_mm)),
    }


def _jitter(plasma: Mapping[str, float], rng: Rng) -> tuple[Zone, Zone]:
    hot, dense = rng.normal(1, 0.02), np.exp(rng.normal(0, 0.1))
    core_k = plasma["plasma_temperature_k"] * hot
    core_density = plasma["electron_density_cm3"] * dense
    shell_k = max(core_k * plasma["shell_temperature_ratio"], 3500.0)
    return (
        Zone(core_k, core_density, plasma["core_cm"]),
        Zone(shell_k, core_density * plasma["shell_density_ratio"], plasma["shell_cm"]),
    )


def _draw_surface(composition: Mapping[str, float], rng: Rng) -> _Surface:
    if rng.random() < 0.5:
        return _Surface(None, 0.0, 1.0)
    aluminium, iron = composition.get("Al", 0) > 50, composition.get("Fe", 0) > 50
    layers = ["dirt", "paint", "oil"] + ["oxide"] * aluminium + ["zinc"] * iron
    layer = layers[int(rng.integers(len(layers)))]
    return _Surface(layer, float(rng.beta(1, 3)), float(rng.uniform(0.4, 2.5)))


def _ablated(fractions: Floats, data: AtomicData, rng: Rng) -> Floats:
    """What leaves the surface: volatile elements a little ahead of the bulk."""
    factors = np.exp(rng.normal(0, 0.04, len(fractions)))
    ahead = rng.uniform(1.0, 1.2)
    for element in VOLATILE:
        factors[data.elements.index(element)] *= ahead
    ablated = fractions * factors
    return np.asarray(ablated / ablated.sum())


def _mix(base: Floats, other: Floats, share: float) -> Floats:
    return np.asarray((1 - share) * base + share * other)
