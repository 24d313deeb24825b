"""A recipe on the twin: what each outlet got, and how sure of it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from alloysort_datasets.alloys.stream import MIXES
from alloysort_datasets.errors import RecipeError
from alloysort_datasets.families import ELEMENTS, FAMILIES
from alloysort_datasets.piece import Split
from alloysort_datasets.simulate import SIMULATOR_VERSION, Simulation, simulate
from alloysort_datasets.table.layers import LAYERS, MOSTLY, OPAQUE
from alloysort_inference.bench.accuracy.judge import Judged
from alloysort_inference.bench.accuracy.outlets import families_of, mass_draws
from alloysort_inference.bench.accuracy.run import Step, silent
from alloysort_inference.bench.line.feed import Conditions, draw_feed
from alloysort_inference.bench.line.reel import Reel, judge_reel
from alloysort_inference.bench.line.twin import Run, run
from alloysort_inference.policy.belt import Line
from alloysort_inference.policy.guarantee import shares_in
from alloysort_inference.policy.melt import Melt
from alloysort_inference.policy.recipe import Outlet, Recipe
from alloysort_models.bundle.figures import bootstrap_weights, figure
from alloysort_models.bundle.manifest import Bundle

REEL_PIECES: Final = 4000
REEL_SEED: Final = 60_001
FULL: Final = 0.9  # of a box, true mass: the told one is off
DEFAULT_FEED: Final = "zorba"


@dataclass(frozen=True)
class Question:
    """What is to run.

    Attributes:
        recipe: that sorts; its `[line]` is the belt's.
        data: tables of the reel; none: one is simulated in the feed's mix, once, and kept.
        split: of the tables; None: all pieces.
        feed: name of a mix, or None: the recipe's.
        pieces: that run by.
        conditions: of the belt.
        seed: of everything that is drawn.
    """

    recipe: Recipe
    data: tuple[Path, ...] = ()
    split: Split | None = None
    feed: str | None = None
    pieces: int = 20_000
    conditions: Conditions = field(default_factory=Conditions)
    seed: int = 0

    def __post_init__(self) -> None:
        if self.feed is not None and self.feed not in MIXES:
            raise RecipeError(f"feed {self.feed!r}: unknown; a mix is one of {', '.join(MIXES)}")


def bench_line(question: Question, bundle: Bundle, step: Step | None = None) -> dict[str, Any]:
    """Run a feed by, and count.

    Raises:
        RecipeError: a purity target is not fitted to the bundle.
        TableError, DataError: the reel cannot be used, or so many pieces do not fit on the belt.
        BundleError: the bundle cannot be used.
    """
    say = step or silent
    question.recipe.require_fitted(bundle.sha256)
    reel, words = open_reel(question, bundle, say)
    started = perf_counter()
    mix = question.feed or question.recipe.feed
    as_simulated = not question.data and isinstance(mix, str)  # the kept reel has that mix already
    wanted = None if as_simulated else MIXES[question.feed] if question.feed else question.recipe.mix
    shares = shares_in(wanted, reel.seen.family)
    line = question.recipe.line or Line()
    mass_g = reel.seen.mass_g.astype(np.float64)
    feed = draw_feed(question.pieces, mass_g, shares, line, question.conditions, question.seed)
    done = run(feed, reel, bundle, question.recipe, line, question.conditions, question.seed)
    return {
        "recipe": {"name": question.recipe.name, "sha256": question.recipe.sha256},
        "bundle": {"name": bundle.manifest.name, "sha256": bundle.sha256},
        "reel": words,
        "feed": mix if isinstance(mix, str) else dict(mix or {}),
        "speed_m_per_s": line.speed_m_per_s,
        "rate_per_s": question.conditions.rate_per_s,
        "seed": question.seed,
        "simulated": True,
        **tell(done, reel.seen, question.recipe, line, question.seed),
        "took_s": round(perf_counter() - started, 2),
    }


def open_reel(question: Question, bundle: Bundle, say: Step) -> tuple[Reel, str]:
    """The reel, and what it is in words."""
    folders = reel_folders(question, say)
    judged = partial(say, "pieces of the reel judged")
    reel = judge_reel(folders, bundle, question.split, judged)
    batches = len(np.unique(reel.seen.batch))
    return reel, f"{len(reel)} pieces of {batches} batches: {', '.join(folder.name for folder in folders)}"


def reel_folders(question: Question, say: Step) -> Sequence[Path]:
    """The tables of the reel; one is simulated, once, where none is named."""
    if question.data:
        return question.data
    return [kept_reel(question, Simulation(REEL_PIECES, REEL_SEED), say)]


def kept_reel(question: Question, simulation: Simulation, say: Step) -> Path:
    """A reel in the question's mix; simulated where it is not there yet, gone on with where it was left."""
    asked = question.feed or question.recipe.feed
    mix = asked if isinstance(asked, str) else DEFAULT_FEED
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    one_unit = "-one-unit" if simulation.units == 1 else ""
    folder = cache / "alloysort" / f"reel-{SIMULATOR_VERSION}-{mix}-{simulation.pieces}{one_unit}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    for done in simulate(folder, replace(simulation, mix=mix), os.cpu_count() or 1):
        say("pieces of a reel simulated, once", done, simulation.pieces)
    return folder


def tell(done: Run, reel: Judged, recipe: Recipe, line: Line, seed: int) -> dict[str, Any]:
    """What became of a feed, as figures."""
    feed = done.feed
    seconds = float(feed.front_m[-1]) / line.speed_m_per_s
    mass_g = reel.mass_g[feed.piece].astype(np.float64)
    _, batch_of = np.unique(reel.batch, return_inverse=True)  # whole batches of the reel are drawn anew
    batch = batch_of[feed.piece]
    outlets = {
        outlet.name: _outlet(done, reel, recipe, outlet, batch, mass_g, seconds, seed)
        for outlet in recipe.outlets
    }
    return {
        "outlets": outlets,
        "pieces": len(feed),
        "seconds": round(seconds, 1),
        "mass_kg": round(float(mass_g.sum()) / 1000, 3),
        "tonnes_per_h": round(float(mass_g.sum()) / 1e6 / seconds * 3600, 3),
        "value": round(sum(outlet["value"] for outlet in outlets.values()), 2),
        "late": done.late,
        "crowded": done.crowded,
        "misfires": done.misfires,
        "went_elsewhere": int((done.went != done.wanted).sum()),
        "lost": int((done.went < 0).sum()),
        "policy_us": _step(done.policy_us),
    }


def _step(took_us: NDArray[np.float64]) -> dict[str, float]:
    """The policy's step: mean and 99th percentile, 0 where nothing was decided."""
    some = took_us if len(took_us) else np.zeros(1)
    return {"mean": round(float(some.mean()), 1), "p99": round(float(np.percentile(some, 99)), 1)}


def _outlet(
    done: Run,
    reel: Judged,
    recipe: Recipe,
    outlet: Outlet,
    batch: NDArray[np.int64],
    mass_g: NDArray[np.float64],
    seconds: float,
    seed: int,
) -> dict[str, Any]:
    piece = done.feed.piece
    family = reel.family[piece]
    inside = done.went == recipe.outlets.index(outlet)
    wanted = families_of(outlet, recipe)[family] & (family >= 0)
    metal = shows_metal(reel)[piece]
    groups = {"": np.ones(len(piece), bool), "of_metal": metal, "of_hidden": ~metal}
    told: dict[str, Any] = {
        "pieces": int(inside.sum()),
        "mass_kg": round(float(mass_g[inside].sum()) / 1000, 3),
        "tonnes_per_h": round(float(mass_g[inside].sum()) / 1e6 / seconds * 3600, 4),
    }
    for name, group in groups.items():
        draws = mass_draws(batch, mass_g * group, inside, wanted, bootstrap_weights(batch, seed))
        told |= {f"{key}_{name}" if name else key: figure(values) for key, values in draws.items()}
    right, wrong = float(mass_g[inside & wanted].sum()), float(mass_g[inside & ~wanted].sum())
    told["value"] = round((right * outlet.value_per_t - wrong * outlet.wrong_costs_per_t) / 1e6, 2)
    told["composition"] = _composition(reel, piece[inside], mass_g[inside])
    if outlet.melt is not None:
        told["boxes"] = _boxes(done, reel, recipe.melt_of(outlet), inside, mass_g)
    return told


def shows_metal(reel: Judged) -> NDArray[np.bool_]:
    """(R,) the laser meets the piece itself: its own matter makes up most of the late plumes."""
    painted = np.isin(reel.layer, [LAYERS.index(layer) for layer in OPAQUE.values()])
    shown = np.where(np.isfinite(reel.shown), reel.shown >= MOSTLY, ~painted)
    return np.asarray(shown & (reel.family != FAMILIES.index("non-metal")), np.bool_)


def _boxes(
    done: Run, reel: Judged, melt: Melt, inside: NDArray[np.bool_], mass_g: NDArray[np.float64]
) -> dict[str, Any]:
    """Full boxes, and how many of them truly keep every limit; what was blown in by mistake counts too."""
    went = np.flatnonzero(inside)
    number = np.maximum.accumulate(done.box[went])  # a piece by mistake lies in the box of its time
    full, good, broken = 0, 0, Counter[str]()
    for box in range(1, int(number.max(initial=0)) + 1):
        there = went[number == box]
        if mass_g[there].sum() < FULL * melt.box_g:
            continue
        contents = _composition(reel, done.feed.piece[there], mass_g[there])
        over = melt.spec.broken(np.array([contents[element] for element in ELEMENTS]))
        full, good = full + 1, good + (not over)
        broken.update(over)
    return {"full": full, "inside": good, "broken": dict(broken)}


def _composition(reel: Judged, piece: NDArray[np.int64], mass_g: NDArray[np.float64]) -> dict[str, float]:
    """Wt% of what truly went in, where that is known."""
    known = np.isfinite(reel.composition[piece]).all(axis=1)
    if not mass_g[known].sum():
        return {}
    mean = mass_g[known] @ reel.composition[piece][known] / mass_g[known].sum()
    return {element: round(float(content), 4) for element, content in zip(ELEMENTS, mean, strict=True)}
