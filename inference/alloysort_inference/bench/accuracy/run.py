"""`alloysort bench accuracy`: a bundle on piece tables, from checking the tables to every figure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol, cast

from alloysort_datasets.errors import TableError
from alloysort_datasets.piece import SPLITS, Split
from alloysort_datasets.table.check import check_tables
from alloysort_datasets.table.store import count_pieces, simulator_of, table_sha256
from alloysort_inference.bench.accuracy.compare import compare
from alloysort_inference.bench.accuracy.judge import Judged, judge_tables
from alloysort_inference.bench.accuracy.measure import measure
from alloysort_inference.bench.accuracy.real import judge_real
from alloysort_inference.bench.accuracy.rivals import Fit, judge_rivals
from alloysort_inference.bench.accuracy.suite import SUITE, run_suite, tell_rows
from alloysort_inference.pipeline import open_classifier
from alloysort_inference.policy.recipe import DEFAULT_RECIPE, load_recipe
from alloysort_models.bundle.manifest import Bundle, load_bundle, newest_released

ALL: Final = "all"
VERSION: Final = 1  # of what is told; raise it when a key changes its meaning


class FaultyTableError(TableError):
    """Tables have faults; `faults` are lines, each with file and row."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__(f"{len(faults)} faults in the table: mend them, `alloysort data check` names them")
        self.faults = tuple(faults)


@dataclass(frozen=True)
class Question:
    """What is to be measured.

    Attributes:
        data: piece tables.
        bundle: folder of the model; None: the newest released one.
        recipe: name or path; None: the default one.
        split: one of SPLITS or "all"; None: test where the tables have such pieces, else all.
        suite: pieces of the perturbation suite; 0: none.
        against: folder of another bundle, to compare with on the same pieces.
        bar: what may be lost against it, see `compare.compare`.
        real: folder of real material, see `real.judge_real`.
        seed: of the bootstrap and of baselines.
    """

    data: tuple[Path, ...]
    bundle: Path | None = None
    recipe: str | None = None
    split: str | None = None
    suite: int = 0
    against: Path | None = None
    bar: float = 0.01
    real: Path | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.split not in (None, ALL, *SPLITS):
            raise TableError(f"split {self.split!r} is none of {', '.join(SPLITS)}, {ALL}")


class Step(Protocol):
    """Is told what is being done, and how many of how many pieces."""

    def __call__(self, what: str, done: int, total: int, /) -> None:
        """Of a step's work so much is done."""


@dataclass(frozen=True, eq=False)
class Answer:
    """Every figure, and the pieces behind those of the tables."""

    told: dict[str, Any]
    judged: Judged


def bench_accuracy(question: Question, step: Step | None = None, fit: Fit | None = None) -> Answer:
    """Check the tables, judge their pieces, count; see DESIGN's keys of `bench accuracy --json`.

    Args:
        question: what is asked.
        step: is told of the progress.
        fit: makes other methods of the training split; None: there are none.

    Raises:
        FaultyTableError: the tables have faults, a piece or batch on two sides among them.
        TableError: they hold no piece to judge, or none to fit other methods to.
        BundleError, RecipeError: these cannot be used.
    """
    bundle = load_bundle(question.bundle or newest_released())
    recipe = question.recipe or DEFAULT_RECIPE
    load_recipe(recipe).require_fitted(bundle.sha256)
    split = open_tables(question, bundle)
    say = step or silent
    judged = judge_tables(question.data, bundle.path, recipe, split, partial(say, "pieces"))
    told = tell(question, bundle, split, judged)
    suite = {}
    if question.suite:
        suite = run_suite(bundle.path, recipe, question.suite, partial(say, "perturbation suite"))
        told["suite"] = {"name": SUITE, "pieces": question.suite}
        told["perturbations"] = tell_rows(suite, question.seed)
    if fit is not None:
        told["baselines"] = {}
        rivals = judge_rivals(fit, question.data, bundle.path, recipe, split, suite, question.seed)
        for done, (name, scores) in enumerate(rivals, 1):
            told["baselines"][name] = scores
            say(f"other methods, {name} done", done, done)
    if question.against is not None:
        told["compared"] = _compared(question, recipe, split, judged, partial(say, "pieces, other bundle"))
    if question.real is not None:
        told["real"] = judge_real(open_classifier(bundle.path, recipe), question.real, question.seed)
    return Answer(told, judged)


def silent(what: str, done: int, total: int, /) -> None:
    """Nobody wants to know."""


def _compared(
    question: Question, recipe: str, split: Split | None, judged: Judged, progress: Callable[[int, int], None]
) -> dict[str, Any]:
    other = load_bundle(question.against or newest_released())
    old = judge_tables(question.data, other.path, recipe, split, progress)
    told = compare(judged, old, load_recipe(recipe), question.bar, question.seed)
    return {"against": other.manifest.name, "sha256": other.sha256, **told}


def open_tables(question: Question, bundle: Bundle) -> Split | None:
    """The split that is to be judged, None for all, of tables without faults.

    Raises:
        FaultyTableError, TableError: see `bench_accuracy`.
    """
    if faults := check_tables(question.data):
        raise FaultyTableError([str(fault) for fault in faults])
    if question.split is None:
        held = sum(count_pieces(folder, "test") for folder in question.data)
        split = "test" if held else ALL
    else:
        split = question.split
    trained = {bundle.manifest.training_data_sha256, bundle.manifest.measured_on_sha256}
    if split in (ALL, "train") and any(table_sha256(folder) in trained for folder in question.data):
        raise TableError(
            f"{bundle.path}: was trained on this table: only its test split says something, not {split!r}"
        )
    return None if split == ALL else cast(Split, split)


def tell(question: Question, bundle: Bundle, split: Split | None, judged: Judged) -> dict[str, Any]:
    """All figures with what they are of."""
    recipe = load_recipe(question.recipe or DEFAULT_RECIPE)
    simulators = [simulator_of(folder) for folder in question.data]
    kinds = {"simulated" if version else "real" for version in simulators}
    return {
        "version": VERSION,
        "bundle": {"name": bundle.manifest.name, "sha256": bundle.sha256},
        "recipe": {"name": recipe.name, "sha256": recipe.sha256},
        "data": [str(folder) for folder in question.data],
        "split": split or ALL,
        "pieces_are": kinds.pop() if len(kinds) == 1 else "simulated and real",
        "seed": question.seed,
        **measure(judged, recipe, question.seed),
    }
