"""A new plant's instrument: before `alloysort adapt`, after it, and a model of that instrument alone.

    .venv/bin/python benchmarks/adapt.py WORK                    # about 15 minutes on two cores
    .venv/bin/python benchmarks/adapt.py WORK --scratch 10000    # and 7 minutes more for each instrument

For each of four **simulated** units, drawn anew, that no training saw: 30 reference pieces of mixed families
whose late plumes are over half metal; the same with three labels wrong; 10 of them; 30 of aluminium alone.
The shipped bundle is adapted to each, by the command's own function, and where that is refused it stays as it
is. All are asked about the same 700 other pieces of the unit, whatever covers them, by their spectra.
`scratch` is a network of the shipped size and default config fitted to so many pieces of the unit, 14 epochs.
WORK keeps what was made; a second call goes on. The mean over the units; intervals are 95 %, from 1,000 draws
of each unit's batches, for these units.

Seen with simulator and bundle of this commit:

    before               macro-F1 0.931 (0.919 to 0.941)  change 0.000 (0.000 to 0.000)  worst unit +0.000
    30 pieces            macro-F1 0.934 (0.923 to 0.943)  change 0.003 (-0.001 to 0.008)  worst unit -0.003
    three labels wrong   macro-F1 0.931 (0.919 to 0.941)  change 0.000 (0.000 to 0.000)  worst unit +0.000
    10 pieces            macro-F1 0.931 (0.920 to 0.941)  change 0.000 (0.000 to 0.001)  worst unit +0.000
    30 of aluminium      macro-F1 0.937 (0.927 to 0.946)  change 0.007 (0.001 to 0.012)  worst unit -0.002
    scratch              macro-F1 0.929 (0.918 to 0.938)  change -0.002 (-0.011 to 0.007)  worst unit -0.033

An adaptation took 4 to 121 seconds beside other work. So on these units, none of them hard, the shipped
bundle is already as good as 8,000 of the unit's own pieces make a network; adapting is a matter of tenths,
and most of its worth is in refusing.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from alloysort_datasets.errors import TrainingError
from alloysort_datasets.families import ALUMINIUM, FAMILIES
from alloysort_datasets.piece import Instrument, Piece, Split
from alloysort_datasets.simulate import Simulation, simulate
from alloysort_datasets.table.layers import own_shares
from alloysort_datasets.table.store import read_instruments, read_pieces, write_pieces
from alloysort_models.bundle.figures import bootstrap_weights, confusion_counts, figure, macro_f1
from alloysort_models.bundle.manifest import load_bundle, newest_released
from alloysort_training.adapt import adapt
from alloysort_training.calibrate import rows_with
from alloysort_training.config import Config, Preparation
from alloysort_training.evaluate import Predictions, open_session, predict
from alloysort_training.export import export
from alloysort_training.prepare import prepare_pieces
from alloysort_training.prepared import Prepared
from alloysort_training.train import train

FIRST = 951  # seed of the first unit
LEARNED_FROM, ASKED = 300, 700
SIDES: tuple[Split, ...] = ("train",) * 8 + ("calibration", "test")
SCRATCH = "[fit]\nepochs = 14\n"


def clean(piece: Piece) -> bool:
    """What one would take as a reference: its own metal in the late plumes."""
    if piece.spectra is None:
        return False
    own = own_shares(piece.conditions, len(piece.spectra))
    return bool(own[len(own) // 2 :].mean() > 0.5)


def references(pieces: Sequence[Piece]) -> dict[str, list[Piece]]:
    good = [replace(piece, split=None) for piece in pieces if clean(piece)]
    aluminium = [piece for piece in good if piece.family in ALUMINIUM]
    return {
        "30 pieces": good[:30],
        "three labels wrong": [*map(mislabelled, good[:3]), *good[3:30]],
        "10 pieces": good[:10],
        "30 of aluminium": aluminium[:30],
    }


def mislabelled(piece: Piece) -> Piece:
    place = FAMILIES.index(piece.family or "")
    return replace(piece, family=FAMILIES[(place + 7) % len(FAMILIES)])


def adapted(folder: Path, pieces: Sequence[Piece], instrument: Instrument) -> tuple[Path, str]:
    """The bundle that a plant would run then, and how it went."""
    bundle, table = folder / "bundle", folder / "table"
    if not (folder / "refused").exists() and not bundle.exists():
        write_pieces(table, pieces, [instrument])
        began = time.monotonic()
        try:
            adapt(newest_released(), [table], bundle)
        except TrainingError:
            (folder / "refused").touch()
        (folder / "seconds").write_text(f"{time.monotonic() - began:.0f}")
    seconds = (folder / "seconds").read_text()
    return (newest_released(), f"refused {seconds} s") if not bundle.exists() else (bundle, f"{seconds} s")


def scratch(folder: Path, pieces: Sequence[Piece], instrument: Instrument) -> Path:
    """A bundle of this instrument alone."""
    run, table, bundle = folder / "run", folder / "table", folder / "bundle"
    if not bundle.exists():
        batches = sorted({piece.batch for piece in pieces})
        sides = {batch: SIDES[place % len(SIDES)] for place, batch in enumerate(batches)}
        write_pieces(table, (replace(piece, split=sides[piece.batch]) for piece in pieces), [instrument])
        config = folder / "config.toml"
        config.write_text(SCRATCH, encoding="utf-8")
        train(config, [table], run)
        export(run, bundle, "scratch")
    return bundle


def judged(bundle: Path, prepared: Prepared) -> Predictions:
    session = open_session(load_bundle(bundle).model)
    return predict(session, prepared, rows_with(prepared, "spectrum"), "spectrum")


def shown(values: NDArray[np.float64]) -> str:
    told = figure(values)
    return f"{told['value']:.3f} ({told['low']:.3f} to {told['high']:.3f})"


def ask_unit(work: Path, seed: int, more: int) -> Iterator[tuple[str, Predictions]]:
    """Every bundle about one unit's pieces."""
    table = work / f"unit-{seed}-{more}"
    simulation = Simulation(LEARNED_FROM + ASKED + more, seed, "none", units=1)
    for _ in simulate(table, simulation, workers=2):
        pass
    pieces = list(read_pieces(table))
    (instrument,) = read_instruments(table).values()
    asked = [piece for piece in pieces[LEARNED_FROM : LEARNED_FROM + ASKED] if piece.spectra is not None]
    config = Config(grid=load_bundle(newest_released()).grid, preparation=Preparation(variants=1))
    prepared = prepare_pieces(asked, {instrument.name: instrument}, config)
    yield "before", judged(newest_released(), prepared)
    for name, few in references(pieces[:LEARNED_FROM]).items():
        bundle, how = adapted(work / f"{seed}-{name.replace(' ', '-').replace(',', '')}", few, instrument)
        found = judged(bundle, prepared)
        print(f"    unit {seed}: {name}: {how}, {found.right.mean():.3f} right", flush=True)
        yield name, found
    if more:
        yield "scratch", judged(scratch(work / f"scratch-{seed}", pieces[-more:], instrument), prepared)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("work", type=Path)
    parser.add_argument("--scratch", type=int, default=0, help="pieces of each unit to learn from alone")
    parser.add_argument("--units", type=int, default=4)
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    confusion: dict[str, list[NDArray[np.float64]]] = {}
    for seed in range(FIRST, FIRST + given.units):
        for name, found in ask_unit(given.work, seed, given.scratch):
            counted = confusion_counts(found.batch, found.family, found.probabilities)
            drawn = bootstrap_weights(found.batch, seed) @ counted
            confusion.setdefault(name, []).append(macro_f1(drawn))
    before = np.stack(confusion["before"])
    for name, units in confusion.items():
        scores = np.stack(units)
        change = scores - before
        print(
            f"    {name:20} macro-F1 {shown(scores.mean(axis=0))}  change {shown(change.mean(axis=0))}"
            f"  worst unit {change[:, 0].min():+.3f}"
        )


if __name__ == "__main__":
    main()
