"""The LIBS simulator against libskit 0.2, an independent one from PyPI: same plasmas, same machine, one run.

    .venv/bin/python benchmarks/simulator.py                    # about eight minutes
    .venv/bin/python benchmarks/simulator.py --json FILE        # figures to a file too
    .venv/bin/python benchmarks/simulator.py --full             # memory at 100,000 pieces too

1. Agreement. 20 random plasmas of 2-6 metals, optically thin, continuum on, both convolved to 0.1 nm and
   correlated over 221-459 nm. libskit gets its complete line list (`Database.extended`). The three plasmas
   that agree least are explained line by line.
2. Rate. Our complete shots (air, layers, two zones, 4096 channels from 200 to 900 nm, noise, saturation) of
   pieces from the balanced scrap stream, against one zone of the same pieces' compositions, temperatures and
   densities in libskit, three ways: with its spectrometer, the same task; on a 0.005 nm axis, which is that
   task without the spectrometer; and bare at the 4096 wavelengths, which is another task: narrow lines fall
   between the channels and are lost. "coarse" asks libskit for 1e-3 of the peak and one sample a line instead
   of its defaults, 1e-5 and five.
3. Memory. Peak of `alloysort data simulate` as the table grows.

libskit runs in `peer.py`, one process a spectrum with a time limit, as it dies of compositions that hold
hydrogen (SIGSEGV). Each loss is counted and shown; its rates are of the pieces it got through, ours of all
100, and the start of its processes is not counted.

Seen with the first command on 2 cores of an AMD EPYC, other work on the machine meanwhile, Python 3.11.7,
numpy 2.4.6, numba 0.68.1, libskit 0.2:

    correlation, n = 20           median 0.9991 (0.8256-0.9998), 15 at 0.995 or more, none died
    our shots/s, 5 repetitions    1 core 1,134 (1,123-1,158), 2 cores 2,048 (2,000-2,082)
    libskit, spectrometer         5 of 8 pieces (3 with H died), mean 5.2 s (2.1-8.2); coarse 1.0 (0.4-1.6)
    libskit, 0.005 nm axis        5 of 8 pieces, 1.3 s (0.4-1.3); bare wavelengths 0.04 s (0.01-0.04)
    times libskit                 spectrometer 5,949, coarse 1,125, 0.005 nm axis 1,125, bare 34
    peak MB                       612 at 1,000 pieces, 700 at 10,000

Seconds of libskit are medians but where "mean" stands; rates and ratios are of means. libskit took as long
with its bundled lines as with the extended ones; why was not looked into.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import cv2
import libskit
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from peer import Failure, Request, Spectrum, ask
from rich.console import Console
from rich.progress import track
from rich.table import Table

from alloysort_datasets.alloys.stream import sample_material
from alloysort_datasets.libs.atomic import BOLTZMANN_EV_K, HC_EV_NM, atomic_data
from alloysort_datasets.libs.conditions import Conditions, draw_conditions
from alloysort_datasets.libs.laser import fire, reference_exposure
from alloysort_datasets.libs.plasma import Zone, emission_grid_nm, populations, radiance
from alloysort_datasets.libs.spectrometer import Spectrometer, build_spectrometer
from alloysort_datasets.simulate import Simulation, simulate

Floats = NDArray[np.float64]

METALS: Final = ("Al", "Co", "Cr", "Cu", "Fe", "Mg", "Mn", "Ni", "Pb", "Sn", "Ti", "V", "Zn")
PLASMAS: Final = 20
SEED: Final = 0
THIN_CM: Final = 1e-5
# 0.001 nm, a third of the narrowest Doppler width: libskit samples, it does not integrate
FINE_AXIS: Final = (220.0, 460.0, 240_001)
BIN_NM: Final = 0.02
CONVOLVED_NM: Final = 0.1
CHANNELS: Final = (200.0, 900.0, 4096)
FWHM_NM: Final = 0.2
RESOLVED: Final = (200.0, 900.0, 140_001)  # 0.005 nm
REPETITIONS: Final = 5
LIBSKIT_DEFAULT_NM: Final = 0.01  # Stark width of a line without data, at 1e17 per cm3
PIECES: Final = 100  # of one measurement of our rate
SHOTS: Final = 3
LIBSKIT_PIECES: Final = 8  # the first of them: libskit takes long


@dataclass(frozen=True)
class Plasma:
    composition: dict[str, float]  # mass shares
    temperature_k: float
    electron_density_cm3: float

    @property
    def zone(self) -> Zone:
        return Zone(self.temperature_k, self.electron_density_cm3, THIN_CM)

    @property
    def fractions(self) -> Floats:
        return atomic_data().fractions({element: 100 * share for element, share in self.composition.items()})


@dataclass(frozen=True)
class Agreement:
    plasma: Plasma
    correlation: float
    differences: list[str]


def draw_plasmas() -> list[Plasma]:
    rng = np.random.default_rng(SEED)
    plasmas = []
    for _ in range(PLASMAS):
        elements = rng.choice(METALS, int(rng.integers(2, 7)), replace=False)
        shares = rng.dirichlet(np.ones(len(elements)))
        composition = {str(element): float(share) for element, share in zip(elements, shares, strict=True)}
        density = float(np.exp(rng.uniform(np.log(1e16), np.log(3e17))))
        plasmas.append(Plasma(composition, float(rng.uniform(7000, 15000)), density))
    return plasmas


def convolve(nm: Floats, light: Floats) -> tuple[Floats, Floats]:
    """Bin a spectrum on any axis without loss, and blur it to 0.1 nm."""
    edges = np.arange(FINE_AXIS[0] + 1, FINE_AXIS[1] - 1, BIN_NM)
    area = np.concatenate([[0.0], np.cumsum(0.5 * (light[1:] + light[:-1]) * np.diff(nm))])
    binned = np.diff(np.interp(edges, nm, area)) / BIN_NM
    blurred = cv2.GaussianBlur(binned[None], (61, 1), CONVOLVED_NM / 2.3548 / BIN_NM)[0]
    return edges[:-1] + BIN_NM / 2, np.asarray(blurred, dtype=np.float64)


def compare(plasma: Plasma, their_lines: pd.DataFrame) -> Agreement | Failure:
    answer = ask(request_of(plasma, FINE_AXIS))
    if isinstance(answer, Failure):
        return answer
    ours = radiance(plasma.fractions, plasma.zone, Zone(6000, 1e16, 0.0)).astype(np.float64)
    nm, theirs = convolve(np.linspace(*FINE_AXIS), answer.light)
    ours = convolve(emission_grid_nm(), ours)[1]
    correlation = float(np.corrcoef(ours, theirs)[0, 1])
    return Agreement(plasma, correlation, explain(plasma, nm, ours, theirs, their_lines))


def request_of(plasma: Plasma, axis: tuple[float, float, int], **settings: Any) -> Request:
    return Request(
        plasma.composition, plasma.temperature_k, plasma.electron_density_cm3, THIN_CM, axis, **settings
    )


def explain(plasma: Plasma, nm: Floats, ours: Floats, theirs: Floats, their_lines: pd.DataFrame) -> list[str]:
    """The four largest differences in units of the highest line: wavelength, line, heights, cause."""
    scale = theirs @ ours / (ours @ ours)
    top = max((scale * ours).max(), theirs.max())
    left = np.abs(theirs - scale * ours)
    found = []
    for _ in range(4):
        at = int(left.argmax())
        name, cause = cause_of(plasma, nm[at], their_lines)
        heights = f"ours {scale * ours[at] / top:.2f}, libskit {theirs[at] / top:.2f}"
        found.append(f"{nm[at]:.2f} nm {name}: {heights}: {cause}")
        left[np.abs(nm - nm[at]) < 0.4] = 0
    return found


def cause_of(plasma: Plasma, vac_nm: float, their_lines: pd.DataFrame) -> tuple[str, str]:
    """Our strongest line near a wavelength, and what libskit takes differently for it."""
    data = atomic_data()
    densities, partition = populations(plasma.fractions, plasma.zone, data)
    species = np.repeat(np.arange(len(partition)), np.diff(data.line_start))
    upper_ev = data.line_lower_ev + HC_EV_NM / data.line_vac_nm
    energy = (
        (densities / partition)[species]
        * data.line_ga
        * np.exp(-upper_ev / (BOLTZMANN_EV_K * plasma.temperature_k))
    )
    energy = np.where(np.abs(data.line_vac_nm - vac_nm) < CONVOLVED_NM, energy, 0)
    at = int(energy.argmax())
    element, stage = data.elements[data.species_element[species[at]]], int(data.species_stage[species[at]])
    same = their_lines[(their_lines["element"] == element) & (their_lines["sp_num"] == stage)]
    same = same[(same["ritz_wl_vac(nm)"] - data.line_vac_nm[at]).abs() < 0.01]
    name = f"{element} {'I' * stage} {data.line_vac_nm[at]:.3f}"
    if same.empty:
        return name, "libskit has no such line: from lines_supplement.csv"
    ours_nm, shift_nm = stark_nm(data.line_stark[at], plasma)
    imputed = (same["electron a0"] == np.log10(10 * LIBSKIT_DEFAULT_NM)).any()
    theirs_nm = LIBSKIT_DEFAULT_NM * plasma.electron_density_cm3 / 1e17
    if imputed and ours_nm > 2 * theirs_nm:
        return name, f"no Stark data: width by libskit's constant {theirs_nm:.3f} nm, by ours {ours_nm:.3f}"
    unscaled_nm = shift_nm * (1e17 / plasma.electron_density_cm3 - 1)
    if abs(unscaled_nm) > 0.003:
        return name, f"libskit's Stark shift ignores the density: {unscaled_nm:+.3f} nm off"
    return (
        name,
        "same line data: the scale is set by the others, or libskit's ionisation energies are not lowered",
    )


def stark_nm(stark: NDArray[np.float32], plasma: Plasma) -> tuple[float, float]:
    log_t = np.log10(plasma.temperature_k)
    width = 10 ** (stark[0] + log_t * (stark[1] + log_t * stark[2])) * plasma.electron_density_cm3 * 1e-18
    return float(width), float(width * (stark[3] + log_t * (stark[4] + log_t * stark[5])))


def measure_agreement() -> dict[str, Any]:
    lines = pd.read_csv(libskit.Database.extended().path / "lines_processed_all.csv")
    answers = [compare(plasma, lines) for plasma in track(draw_plasmas(), "agreement", transient=True)]
    results = [answer for answer in answers if isinstance(answer, Agreement)]
    correlations = [result.correlation for result in results]
    worst = sorted(results, key=lambda result: result.correlation)[:3]
    return {
        "plasmas": PLASMAS,
        "failures": failures_of(answers),
        "seed": SEED,
        "median": statistics.median(correlations),
        "at_least_0.995": sum(value >= 0.995 for value in correlations),
        "correlations": correlations,
        "worst": [asdict(result) for result in worst],
    }


def failures_of(answers: Iterable[object]) -> list[str]:
    """What libskit could not do: why, and of what."""
    return [
        f"{answer.reason}: {' '.join(answer.request.composition)}"
        for answer in answers
        if isinstance(answer, Failure)
    ]


def spectrometer() -> Spectrometer:
    rng = np.random.default_rng(SEED)
    return build_spectrometer("bench", np.linspace(*CHANNELS), np.full(CHANNELS[2], FWHM_NM), rng)


Scrap = list[tuple[dict[str, float], Conditions]]


def draw_scrap() -> Scrap:
    rng = np.random.default_rng(SEED)
    compositions = [dict(sample_material(rng).composition) for _ in range(PIECES)]
    return [(composition, draw_conditions(composition, rng, {})) for composition in compositions]


def shoot(unit: Spectrometer, scrap: Scrap, exposure: float) -> None:
    rng = np.random.default_rng(SEED)
    for composition, conditions in scrap:
        fire(composition, unit, conditions, SHOTS, exposure, rng)


def shots_per_s(repetitions: int) -> list[float]:
    """Repeated rates of one process that keeps shooting."""
    unit, scrap = spectrometer(), draw_scrap()
    exposure = reference_exposure(unit, np.random.default_rng(SEED))
    shoot(unit, scrap[:10], exposure)
    work = partial(shoot, unit, scrap, exposure)
    return [PIECES * SHOTS / seconds_of(work) for _ in range(repetitions)]


def seconds_of(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def libskit_rates() -> dict[str, dict[str, Any]]:
    """Spectra a second of those pieces that libskit got through, and what became of the others."""
    plasmas = [
        Plasma(
            {element: share / 100 for element, share in composition.items() if share > 0},
            conditions.plasma_temperature_k,
            conditions.electron_density_cm3,
        )
        for composition, conditions in draw_scrap()[:LIBSKIT_PIECES]
    ]
    coarse = {"accuracy": 1e-3, "samples_per_fwhm": 1}
    tasks: dict[str, tuple[tuple[float, float, int], dict[str, Any]]] = {}
    for database in ("bundled", "extended"):
        lines: dict[str, Any] = {"database": database}
        tasks[f"spectrometer, {database} lines"] = CHANNELS, lines | {"fwhm_nm": FWHM_NM}
        tasks[f"spectrometer, {database} lines, coarse"] = CHANNELS, lines | coarse | {"fwhm_nm": FWHM_NM}
        tasks[f"0.005 nm axis, {database} lines"] = RESOLVED, lines
        tasks[f"bare 4096 wavelengths, {database} lines"] = CHANNELS, lines
    rates = {}
    for name, (axis, settings) in track(tasks.items(), "libskit", transient=True):
        answers = [ask(request_of(plasma, axis, **settings)) for plasma in plasmas]
        seconds = [answer.seconds for answer in answers if isinstance(answer, Spectrum)]
        rates[name] = {
            "spectra_per_s": len(seconds) / sum(seconds),
            "seconds": seconds,
            "asked": len(answers),
            "failures": failures_of(answers),
        }
    return rates


def measure_rate() -> dict[str, Any]:
    cores = os.cpu_count() or 1
    one = shots_per_s(REPETITIONS)
    with multiprocessing.get_context("spawn").Pool(cores) as pool:
        everyone = pool.map(shots_per_s, [REPETITIONS] * cores, chunksize=1)
    together = [sum(rates) for rates in zip(*everyone, strict=True)]
    theirs = libskit_rates()
    ours = statistics.median(one)
    return {
        "alloysort_shots_per_s": ours,
        "alloysort_spread": [min(one), max(one)],
        "alloysort_shots_per_s_all_cores": statistics.median(together),
        "alloysort_spread_all_cores": [min(together), max(together)],
        "cores": cores,
        "libskit": theirs,
        "ratio": {name: ours / found["spectra_per_s"] for name, found in theirs.items()},
    }


def measure_memory(sizes: list[int]) -> dict[str, float]:
    """Peak resident MB of a process that simulates tables of several sizes, one process each."""
    peaks = {}
    for pieces in track(sizes, "memory", transient=True):
        command = [sys.executable, __file__, "--peak-of", str(pieces)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks[str(pieces)] = float(done.stdout)
    return peaks


def print_peak(pieces: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for _ in simulate(Path(folder) / "table", Simulation(pieces, images="none"), workers=1):
            pass
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def machine() -> dict[str, Any]:
    """Where the figures come from."""
    information = Path("/proc/cpuinfo")
    described = information.read_text(encoding="utf-8") if information.exists() else ""
    model = re.search(r"^model name\s*:\s*(.+)$", described, re.MULTILINE)
    packages = ("numpy", "numba", "libskit")
    return {
        "cpu": model.group(1) if model else platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
    }


def show(console: Console, figures: dict[str, Any]) -> None:
    agreement, rate = figures["agreement"], figures["rate"]
    console.print(", ".join(f"{name} {value}" for name, value in figures["machine"].items()), highlight=False)
    table = Table("figure", "value", "wanted", title="alloysort against libskit 0.2")
    table.add_row("median correlation, 20 plasmas", f"{agreement['median']:.4f}", "0.995 or more")
    table.add_row("plasmas at 0.995 or more", str(agreement["at_least_0.995"]), "")
    spread = "{:,.0f}-{:,.0f}".format(*rate["alloysort_spread"])
    table.add_row("shots/s, 1 core", f"{rate['alloysort_shots_per_s']:,.0f} ({spread})", "")
    cores = f"shots/s, {rate['cores']} cores"
    spread = "{:,.0f}-{:,.0f}".format(*rate["alloysort_spread_all_cores"])
    every = f"{rate['alloysort_shots_per_s_all_cores']:,.0f} ({spread})"
    table.add_row(cores, every, "1,000 or more on 2")
    for name, ratio in rate["ratio"].items():
        found = rate["libskit"][name]
        theirs = f"{found['spectra_per_s']:,.2f}/s, {len(found['seconds'])} of {found['asked']}"
        wanted = "300 or more" if name.startswith("spectrometer") and "coarse" not in name else ""
        table.add_row(f"times libskit: {name}", f"{ratio:,.1f} ({theirs})", wanted)
    for pieces, peak in figures["memory_mb"].items():
        table.add_row(f"peak MB, {int(pieces):,} pieces", f"{peak:,.0f}", "flat, under 1,500")
    console.print(table)
    failures = Counter(agreement["failures"])
    for found in rate["libskit"].values():
        failures.update(found["failures"])
    for failure, count in failures.items():
        console.print(f"libskit, {count} times: {failure}", highlight=False)
    for worst in agreement["worst"]:
        plasma = worst["plasma"]
        shares = " ".join(f"{element} {share:.2f}" for element, share in plasma["composition"].items())
        console.print(
            f"{worst['correlation']:.4f}  {shares}, {plasma['temperature_k']:,.0f} K, "
            f"{plasma['electron_density_cm3']:.1e} cm-3"
        )
        for difference in worst["differences"]:
            console.print(f"    {difference}", highlight=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--peak-of", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak_of:
        print_peak(options.peak_of)
        return
    figures = {
        "machine": machine(),
        "agreement": measure_agreement(),
        "rate": measure_rate(),
        "memory_mb": measure_memory([1_000, 10_000] + [100_000] * options.full),
    }
    show(Console(width=110), figures)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
