"""How a model does on classes of spectrometer that it never saw: trained on `random` units alone.

    .venv/bin/python benchmarks/instrument_classes.py WORK            # about 12 minutes on two cores

Simulates a table of random units without pictures, trains and exports by the recipe of the release with
fewer pieces and epochs, then asks it about bare metal seen by fresh random units (the baseline) and by units
of each preset. WORK keeps the table, the run and the bundle; a second call goes on. Intervals are 95 %, from
1,000 draws of whole batches. `within 90 %`: the share of truths inside the stated interval, mean over six
elements of aluminium alloys.

Seen with simulator and code of this commit:

    random         bare n  214  macro-F1 0.922 (0.862-0.956)  accepted 0.743  right 0.987  within 90 % 0.881
    compact        bare n  211  macro-F1 0.897 (0.835-0.933)  accepted 0.758  right 1.000  within 90 % 0.888
    three-channel  bare n  215  macro-F1 0.899 (0.843-0.934)  accepted 0.735  right 0.975  within 90 % 0.856
    broadband      bare n  215  macro-F1 0.872 (0.803-0.927)  accepted 0.702  right 0.987  within 90 % 0.856
    echelle        bare n  215  macro-F1 0.820 (0.757-0.870)  accepted 0.735  right 0.981  within 90 % 0.849
    mini           bare n  213  macro-F1 0.918 (0.854-0.962)  accepted 0.789  right 0.994  within 90 % 0.877
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from alloysort_datasets.simulate import PRESETS, Simulation, simulate
from alloysort_models.bundle.manifest import load_bundle
from alloysort_training.config import load_config
from alloysort_training.evaluate import evaluate
from alloysort_training.export import export
from alloysort_training.prepare import prepare, survey
from alloysort_training.train import train

CONFIG = "[fit]\nepochs = 12\n[preparation]\nvariants = 2\n"
PIECES, ASKED = 16_000, 1_000
ELEMENTS = ("Si", "Fe", "Cu", "Mn", "Mg", "Zn")


def made(folder: Path, simulation: Simulation) -> Path:
    for _ in simulate(folder, simulation, workers=2):
        pass
    return folder


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("work", type=Path)
    work = parser.parse_args().work
    work.mkdir(parents=True, exist_ok=True)
    config = work / "config.toml"
    config.write_text(CONFIG, encoding="utf-8")
    table = made(work / "random", Simulation(PIECES, 11, "none", "random", strangers=0.05))
    train(config, [table], work / "run")
    if not (work / "bundle").exists():
        export(work / "run", work / "bundle", "classes")
    bundle = load_bundle(work / "bundle")
    for preset in [name for name in PRESETS if name != "mixed"]:
        asked = made(work / f"asked-{preset}", Simulation(ASKED, 12, "none", preset))
        prepared = prepare([asked], "train", survey([asked]), load_config(config), work / "cache")
        found = evaluate({"spectrum": bundle.model}, prepared, bundle.manifest.thresholds)["spectrum"]
        bare = found["strata"]["bare metal"]
        f1, taken, right = (bare[name] for name in ("macro_f1", "accepted", "accepted_right"))
        inside = np.mean([found["covered_90"][element]["value"] for element in ELEMENTS])
        print(
            f"    {preset:14} bare n {bare['n']:4}"
            f"  macro-F1 {f1['value']:.3f} ({f1['low']:.3f}-{f1['high']:.3f})"
            f"  accepted {taken['value']:.3f}  right {right['value']:.3f}  within 90 % {inside:.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
