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

    63 alloys of 10 families, 16,000 pieces; share named rightly where the alloy was seen, and where never:

    all          n 796  ours 0.813 (0.782-0.845)  never 0.696 (0.660-0.733)  accepted 0.441, right 0.940
    1xxx         n  64  ours 0.891 (0.818-0.966)  never 0.859 (0.785-0.938)  accepted 0.562, right 0.972
    2xxx         n  75  ours 0.853 (0.770-0.929)  never 0.720 (0.620-0.816)  accepted 0.453, right 1.000
    3xxx         n  83  ours 0.771 (0.667-0.867)  never 0.711 (0.602-0.812)  accepted 0.386, right 1.000
    4xxx         n  83  ours 0.723 (0.624-0.813)  never 0.590 (0.474-0.708)  accepted 0.373, right 0.935
    5xxx         n  79  ours 0.772 (0.675-0.863)  never 0.481 (0.378-0.584)  accepted 0.203, right 0.562
    6xxx         n  75  ours 0.747 (0.642-0.846)  never 0.707 (0.600-0.813)  accepted 0.453, right 0.941
    7xxx         n  79  ours 0.848 (0.771-0.920)  never 0.873 (0.798-0.941)  accepted 0.658, right 0.981
    cast-AlSiCu  n  82  ours 0.915 (0.839-0.976)  never 0.866 (0.763-0.952)  accepted 0.610, right 1.000
    cast-AlSiMg  n  85  ours 0.871 (0.792-0.937)  never 0.824 (0.739-0.894)  accepted 0.635, right 1.000
    cast-AlSi    n  91  ours 0.758 (0.663-0.844)  never 0.396 (0.292-0.505)  accepted 0.132, right 0.333

    all, LDA           0.634 (0.597-0.672)  never 0.492 (0.455-0.530)
    all, kNN           0.391 (0.354-0.426)  never 0.256 (0.226-0.285)
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
