"""One plasma in libskit 0.2, in a process of its own: libskit dies of some, and must not take others along.

    python benchmarks/peer.py REQUEST.json ANSWER.npz

Call it by `ask`; what it could not do comes back as a `Failure`, never as a missing row.
"""

from __future__ import annotations

import json
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import libskit
import numpy as np
from numpy.typing import NDArray

TIMEOUT_S: Final = 60.0
REPEAT_S: Final = 0.5  # quick calculations are repeated, and the median counts
MOST_REPEATS: Final = 5

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Request:
    composition: Mapping[str, float]  # mass shares
    temperature_k: float
    electron_density_cm3: float
    depth_cm: float
    axis: tuple[float, float, int]  # first and last wavelength, how many
    fwhm_nm: float | None = None  # through libskit's spectrometer; None: its irradiance at the wavelengths
    database: str = "extended"
    accuracy: float = 1e-5
    samples_per_fwhm: int = 5


@dataclass(frozen=True)
class Spectrum:
    light: Floats
    seconds: float


@dataclass(frozen=True)
class Failure:
    request: Request
    reason: str


def ask(request: Request) -> Spectrum | Failure:
    """The spectrum and the seconds it took without the start of the process, or why there is none."""
    with tempfile.TemporaryDirectory() as folder:
        asked, answer = Path(folder) / "request.json", Path(folder) / "answer.npz"
        asked.write_text(json.dumps(asdict(request)), encoding="utf-8")
        command = [sys.executable, __file__, str(asked), str(answer)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
        except subprocess.TimeoutExpired:
            return Failure(request, f"no answer in {TIMEOUT_S:.0f} s")
        if done.returncode < 0:
            return Failure(request, f"died of {signal.Signals(-done.returncode).name}")
        if done.returncode:
            return Failure(request, (done.stderr.strip().splitlines() or ["no word"])[-1])
        found = np.load(answer)
        return Spectrum(found["light"], float(found["seconds"]))


def calculation(request: Request) -> Callable[[], Any]:
    """What is timed; it builds its model each time, as each shot has its own plasma."""
    getattr(libskit.Database, request.database)().activate()
    libskit.set_accuracy(request.accuracy)
    libskit.set_fine_samples_per_fwhm(request.samples_per_fwhm)
    axis = np.linspace(*request.axis)
    unit = None if request.fwhm_nm is None else libskit.GenericSpectrometer(request.fwhm_nm / 2.3548, 1e-4)

    def calculate() -> Any:
        density_m3, length_m = request.electron_density_cm3 * 1e6, request.depth_cm * 1e-2
        model = libskit.LTEModel(dict(request.composition), request.temperature_k, density_m3, length_m)
        model.include_continuum = True
        return model.calculate_irradiance(axis) if unit is None else unit.calculate_spectrum(axis, model)

    return calculate


def main() -> None:
    asked = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    calculate = calculation(Request(**asked))
    seconds: list[float] = []
    while not seconds or (sum(seconds) < REPEAT_S and len(seconds) < MOST_REPEATS):
        start = time.perf_counter()
        light = calculate()
        seconds.append(time.perf_counter() - start)
    np.savez(
        sys.argv[2], light=np.asarray(light, dtype=np.float64), seconds=np.array(statistics.median(seconds))
    )


if __name__ == "__main__":
    main()
