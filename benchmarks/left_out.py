"""How a model names alloys that it never saw: every alloy left out of training once, a quarter at a time.

    .venv/bin/python benchmarks/left_out.py WORK          # about 40 minutes on one core

Simulates a table without pictures, parts the alloys of every family into four quarters, and trains four times
by the recipe of the release with fewer pieces and epochs, each time without one quarter; a fifth training has
seen all. Asked are the test pieces, which share no batch, hence no spectrometer unit, with training: those of
the quarter left out, by the model that never saw their alloy and by the one that did. LDA and kNN, fitted to
the same training pieces, stand beside. The only alloy of a family is never left out. Intervals are 95 %, from
1,000 draws of whole batches. WORK keeps what is done; a second call goes on.

Leaving out a batch, and with it an instrument, is how every split of this project is made; a whole class of
instruments: `benchmarks/instrument_classes.py`.

Seen with simulator and code of this commit:

RESULTS
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from alloysort_datasets.alloys.registry import load_alloys
from alloysort_datasets.families import ALUMINIUM
from alloysort_datasets.simulate import Simulation, simulate
from alloysort_datasets.table.store import read_instruments, read_pieces, write_pieces
from alloysort_inference.bench.accuracy.gridded import Gridded
from alloysort_inference.bench.accuracy.judge import Judged, judge_tables
from alloysort_inference.bench.accuracy.rivals import gridded
from alloysort_inference.policy.recipe import DEFAULT_RECIPE
from alloysort_models.bundle.figures import bootstrap_weights, per_batch, ratio
from alloysort_models.bundle.manifest import load_bundle
from alloysort_training.baselines import Spectra, fit_baselines
from alloysort_training.export import export
from alloysort_training.train import train

CONFIG = "[fit]\nepochs = 12\n[preparation]\nvariants = 2\n"
PIECES, FOLDS, SEED = 16_000, 4, 61
RIVALS = ("LDA", "kNN")


class Told(NamedTuple):
    """Who was right about N test pieces, and by ours which were accepted."""

    piece_id: NDArray[np.str_]
    right: dict[str, NDArray[np.bool_]]
    accepted: NDArray[np.bool_]


def quarters() -> dict[str, int]:
    """By alloy the fold that leaves it out: an alloy of every family in turn."""
    members: dict[str, list[str]] = {family: [] for family in ALUMINIUM}
    for alloy in load_alloys().values():
        members[alloy.family].append(alloy.designation)
    return {
        name: place % FOLDS
        for names in members.values()
        if len(names) > 1
        for place, name in enumerate(sorted(names))
    }


def without(table: Path, left: frozenset[str], out: Path) -> Path:
    """The table without training and calibration pieces of some alloys."""
    if not (out / "instruments.parquet").exists():
        shutil.rmtree(out, ignore_errors=True)
        kept = (p for p in read_pieces(table) if p.split == "test" or p.alloy not in left)
        write_pieces(out, kept, read_instruments(table).values())
    return out


def learned(work: Path, name: str, table: Path, left: frozenset[str]) -> Told:
    """What a model, and the rivals, that never saw some alloys say of all test pieces."""
    config = work / "config.toml"
    config.write_text(CONFIG, encoding="utf-8")
    part = without(table, left, work / f"table-{name}")
    train(config, [part], work / f"run-{name}")
    if not (work / f"bundle-{name}").exists():
        export(work / f"run-{name}", work / f"bundle-{name}", "left-out")
    bundle = load_bundle(work / f"bundle-{name}")
    judged = judge_tables([part], bundle.path, DEFAULT_RECIPE, "test", picture=False)
    judged = judged.where(judged.decided & ~judged.strange)
    fitted, asked = (gridded([part], bundle.grid, split) for split in ("train", "test"))
    right = {"ours": judged.right, **dict(rivals(fitted, like(asked, judged), bundle.grid))}
    return Told(judged.piece_id, right, judged.accepted)


def rivals(fitted: Gridded, asked: Gridded, grid) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    _, batch = np.unique(fitted.batch, return_inverse=True)
    spectra, theirs = Spectra(fitted.counts, fitted.seen), Spectra(asked.counts, asked.seen)
    for one in fit_baselines(spectra, fitted.family, batch, grid, names=RIVALS):
        yield one.name, one.predict(theirs).argmax(axis=1) == asked.family


def like(asked: Gridded, judged: Judged) -> Gridded:
    places = {name: place for place, name in enumerate(asked.piece_id.tolist())}
    return asked.where(np.array([places[name] for name in judged.piece_id.tolist()], np.int64))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("work", type=Path)
    work = parser.parse_args().work
    table = work / "all"
    for _ in simulate(table, Simulation(PIECES, SEED, "none", "mixed", strangers=0.05), workers=2):
        pass
    fold_of = quarters()
    knew = learned(work, "none", table, frozenset())
    never = [
        learned(work, str(fold), table, frozenset(name for name, at in fold_of.items() if at == fold))
        for fold in range(FOLDS)
    ]
    test = {piece.piece_id: piece for piece in read_pieces(table, ("family", "alloy"), "test")}
    print(f"    {len(fold_of)} alloys of {len(ALUMINIUM)} families, {PIECES} pieces, {FOLDS} folds")
    rows = [
        (place, test[name])
        for place, name in enumerate(knew.piece_id.tolist())
        if test[name].alloy in fold_of
    ]
    batch = np.array([piece.batch for _, piece in rows])
    for family in (None, *ALUMINIUM):
        chosen = np.array([family in (None, piece.family) for _, piece in rows])
        if not chosen.any():
            continue
        cells = [f"n {chosen.sum():4}"]
        for method in ("ours", *RIVALS):
            for word, told in (("seen", [knew] * FOLDS), ("never", never)):
                right = np.array([told[fold_of[p.alloy]].right[method][at] for at, p in rows])
                cells.append(f"{method} {word} {share(right[chosen], batch[chosen])}")
        taken = np.array([never[fold_of[p.alloy]].accepted[at] for at, p in rows])
        right = np.array([never[fold_of[p.alloy]].right["ours"][at] for at, p in rows])
        cells.append(
            f"never: accepted {taken[chosen].mean():.3f}, right of these {right[chosen & taken].mean():.3f}"
        )
        print(f"    {family or 'all':12} " + "  ".join(cells), flush=True)


def share(right: NDArray[np.bool_], batch: NDArray[np.str_]) -> str:
    drawn = ratio(*(bootstrap_weights(batch, 0) @ per_batch(batch, [right, np.ones(len(right), bool)])).T)
    low, high = np.nanpercentile(drawn[1:], [2.5, 97.5])
    return f"{drawn[0]:.3f} ({low:.3f}-{high:.3f})"


if __name__ == "__main__":
    main()
