"""Reading a spectrum file: ours, checks and column judging included, against pyarrow.csv on the same bytes.

    .venv/bin/python benchmarks/readers.py

A csv of 2,600 channels x 6 shots with one line of titles, 122 kB; 50 readings each, alternating. "remark" is
the same file with a remark at its end, so that it is no plain table and goes the careful way.

Seen on 2 cores of an AMD EPYC, Python 3.11.7, numpy 2.4.6, pyarrow 26.0.1; median (10th-90th percentile):

    alloysort            1.76 ms (1.70-1.86)
    alloysort, remark    4.27 ms (4.19-4.60)
    pyarrow.csv          0.76 ms (0.70-0.88)
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable

import numpy as np
import pyarrow.csv

from alloysort_datasets.readers.spectrum import read_spectrum

CHANNELS, SHOTS, REPETITIONS = 2600, 6, 50


def make_csv() -> bytes:
    rng = np.random.default_rng(0)
    axis = np.linspace(200, 900, CHANNELS)
    line = 5e4 * np.exp(-0.5 * ((axis - 396.15) / 0.4) ** 2)
    shots = 100 + line[:, None] * rng.uniform(0.5, 1, SHOTS) + rng.normal(0, 20, (CHANNELS, SHOTS))
    titles = ",".join(["wavelength_nm", *(f"shot {shot + 1}" for shot in range(SHOTS))])
    rows = [
        ",".join([f"{nm:.3f}", *(f"{count:.2f}" for count in counts)])
        for nm, counts in zip(axis, shots, strict=True)
    ]
    return "\n".join([titles, *rows, ""]).encode()


def main() -> None:
    data = make_csv()
    ways: dict[str, Callable[[], object]] = {
        "alloysort": lambda: read_spectrum(data),
        "alloysort, remark": lambda: read_spectrum(data + b"# end\n"),
        "pyarrow.csv": lambda: pyarrow.csv.read_csv(io.BytesIO(data)),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(REPETITIONS):
        for name, read in ways.items():
            start = time.perf_counter()
            read()
            times[name].append(1000 * (time.perf_counter() - start))
    for name, found in times.items():
        low, middle, high = np.percentile(found, [10, 50, 90])
        print(f"    {name:20} {middle:.2f} ms ({low:.2f}-{high:.2f})")


if __name__ == "__main__":
    main()
