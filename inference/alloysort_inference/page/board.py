"""The figures of a run as they stand: throughput, latency, and what lies in each outlet as far as is known.

Purity here is what the model itself expects by its calibrated probabilities; nobody has looked into the box.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from alloysort_datasets.families import ELEMENTS, FAMILIES
from alloysort_inference.page.seen import Seen
from alloysort_inference.policy.recipe import Outlet, Recipe

LAST: Final = 24  # pieces on show
SECONDS: Final = 120  # of throughput and latency on show
RECENT: Final = 1000  # pieces behind the percentiles
RATE_S: Final = 5
FORECAST: Final = 2000  # pieces behind a forecast
Z: Final = 1.96  # of a 95 % interval
Floats = NDArray[np.float64]


@dataclass
class Content:
    """What went to an outlet since the batch began.

    Attributes:
        pieces, mass_g: all that went there.
        told_g: of these, the mass that the model said something of.
        right_g: of that, the mass expected to be of the outlet's families.
        right_var: its variance, as if pieces erred independently, in g2.
        element_g: (13,) expected mass of each element.
        element_var: (13,) its variance in g2.
    """

    pieces: int = 0
    mass_g: float = 0.0
    told_g: float = 0.0
    right_g: float = 0.0
    right_var: float = 0.0
    element_g: Floats = field(default_factory=lambda: np.zeros(len(ELEMENTS)))
    element_var: Floats = field(default_factory=lambda: np.zeros(len(ELEMENTS)))


class Board:
    """The figures. One thread takes pieces in, any may read.

    Args:
        recipe: that decides.
    """

    def __init__(self, recipe: Recipe) -> None:
        self._lock = threading.Lock()
        self._started_s = time.time()
        self._last: deque[Seen] = deque(maxlen=LAST)
        self._latency_ms: deque[float] = deque(maxlen=RECENT)
        self._seconds: dict[int, list[float]] = {}
        self._ring: deque[tuple[NDArray[np.float32], bool, float]] = deque(maxlen=FORECAST)
        self._status: Counter[str] = Counter()
        self._known = self._right = 0
        self.begin(recipe)

    def begin(self, recipe: Recipe) -> None:
        """Empty the outlets: a batch begins, or another recipe decides."""
        with self._lock:
            self.recipe = recipe
            self._contents = {outlet.name: Content() for outlet in recipe.outlets}
            self._since_s = time.time()

    def take(self, some: Sequence[Seen]) -> None:
        """Take pieces in, in order."""
        with self._lock:
            for seen in some:
                self._take(seen)
            now = int(time.time())
            for second in [second for second in self._seconds if second < now - SECONDS]:
                del self._seconds[second]

    def _take(self, seen: Seen) -> None:
        record, said = seen.record, seen.record.assessment
        self._last.append(seen)
        self._status[record.status] += 1
        total_ms = record.timing.total_ms
        self._latency_ms.append(total_ms)
        self._seconds.setdefault(int(record.time.timestamp()), []).append(total_ms)
        if seen.truth is not None and record.decision.accepted:
            self._known += 1
            self._right += seen.truth == record.decision.family
        content = self._contents.get(record.decision.outlet)
        if content is None:  # of a recipe that has gone
            return
        mass_g = self.recipe.typical_piece_g if seen.mass_g is None else seen.mass_g
        content.pieces += 1
        content.mass_g += mass_g
        if said is None:
            return
        outlet = self._outlet(record.decision.outlet)
        share = said.probability_of(outlet.families)
        content.told_g += mass_g
        content.right_g += mass_g * share
        content.right_var += mass_g * mass_g * share * (1 - share)
        content.element_g += mass_g * said.composition / 100
        content.element_var += (mass_g * said.composition_sigma / 100) ** 2
        doubted = not set(self.recipe.doubted).isdisjoint(record.quality)
        sortable = record.decision.trusted and not doubted
        self._ring.append((said.probabilities, sortable, mass_g))

    def _outlet(self, name: str) -> Outlet:
        return next(outlet for outlet in self.recipe.outlets if outlet.name == name)

    def find(self, seq: int) -> Seen | None:
        """One of the last pieces; None where it is not among them any more."""
        with self._lock:
            return next((seen for seen in self._last if seen.seq == seq), None)

    def pieces(self) -> tuple[NDArray[np.float32], NDArray[np.bool_], Floats]:
        """The last FORECAST pieces: (N, 19) probabilities, (N,) whether an outlet may take them, (N,) g."""
        with self._lock:
            ring = list(self._ring)
        shares = np.stack([row for row, _, _ in ring]) if ring else np.zeros((0, len(FAMILIES)), np.float32)
        sortable = np.array([may for _, may, _ in ring], bool)
        return shares, sortable, np.array([mass for _, _, mass in ring], np.float64)

    def told(self) -> dict[str, Any]:
        """Everything, as the page asks for it."""
        with self._lock:
            now = time.time()
            return {
                "now": now,
                "uptime_s": round(now - self._started_s, 1),
                "since": self._since_s,
                "pieces": self._status.total(),
                "late": self._status["late"],
                "refused": self._status["refused"],
                "rate_per_s": self._rate(int(now)),
                "latency_ms": self._percentiles(self._latency_ms),
                "history": self._history(int(now)),
                "outlets": [self._told_of(outlet) for outlet in self.recipe.outlets],
                "last": [told_of(seen) for seen in reversed(self._last)],
                "known": self._known,
                "right": self._right,
            }

    def _rate(self, now: int) -> float:
        seconds = range(now - RATE_S, now)
        return sum(len(self._seconds.get(second, ())) for second in seconds) / RATE_S

    def _history(self, now: int) -> dict[str, list[float]]:
        seconds = range(now - SECONDS + 1, now)
        some = [self._seconds.get(second, []) for second in seconds]
        return {
            "s": list(seconds),
            "per_s": [len(one) for one in some],
            "p99_ms": [round(float(np.percentile(one, 99)), 2) if one else 0.0 for one in some],
        }

    @staticmethod
    def _percentiles(latency_ms: Sequence[float]) -> dict[str, float] | None:
        if not latency_ms:
            return None
        p50, p99, top = np.percentile(np.array(latency_ms), [50, 99, 100])
        return {"p50": round(float(p50), 2), "p99": round(float(p99), 2), "max": round(float(top), 2)}

    def _told_of(self, outlet: Outlet) -> dict[str, Any]:
        content = self._contents[outlet.name]
        right_g, wrong_g = content.right_g, content.told_g - content.right_g
        told: dict[str, Any] = {
            "name": outlet.name,
            "families": outlet.families,
            "ejects": self.recipe.ejects(outlet),
            "default": outlet.name == self.recipe.default,
            "bar": self.recipe.bars.get(outlet.name),
            "pieces": content.pieces,
            "mass_kg": round(content.mass_g / 1000, 4),
            "value": round((right_g * outlet.value_per_t - wrong_g * outlet.wrong_costs_per_t) / 1e6, 4),
            "purity": None,
            "composition": {},
            "limits": [],
        }
        if content.told_g > 0:
            if outlet.families:
                told["purity"] = interval(right_g / content.told_g, content.right_var**0.5 / content.told_g)
            wt_pct = 100 * content.element_g / content.told_g
            sigma = 100 * np.sqrt(content.element_var) / content.told_g
            told["composition"] = _contents(wt_pct, sigma)
            told["limits"] = _limits(self.recipe, outlet, wt_pct)
        return told


def interval(value: float, sigma: float) -> dict[str, float]:
    """A share with its 95 % interval."""
    return {
        "value": round(value, 4),
        "low": round(max(0.0, value - Z * sigma), 4),
        "high": round(min(1.0, value + Z * sigma), 4),
    }


def _limits(recipe: Recipe, outlet: Outlet, wt_pct: Floats) -> list[dict[str, Any]]:
    """The limits of an outlet's melt, and whether what is in it is expected to keep each."""
    if outlet.melt is None:
        return []
    spec = recipe.melt_of(outlet).spec
    broken = spec.broken(wt_pct)
    return [{"text": name, "kept": name not in broken} for name in spec.names]


def _contents(wt_pct: Sequence[Any] | Floats, sigma: Sequence[Any] | Floats) -> dict[str, list[float]]:
    """By element, wt% and one standard deviation."""
    return {
        element: [round(float(wt), 3), round(float(one), 3)]
        for element, wt, one in zip(ELEMENTS, wt_pct, sigma, strict=True)
    }


def told_of(seen: Seen) -> dict[str, Any]:
    """A piece in the list of the last ones."""
    record, said = seen.record, seen.record.assessment
    decision = record.decision
    return {
        "seq": seen.seq,
        "piece_id": record.piece_id,
        "time": record.time.timestamp(),
        "status": record.status,
        "family": decision.family,
        "confidence": None if said is None else round(said.confidence, 4),
        "outlet": decision.outlet,
        "eject": decision.eject,
        "reason": decision.reason,
        "surface": None if said is None or said.surface is None else round(said.surface, 3),
        "novelty": None if said is None else round(said.novelty, 3),
        "quality": list(record.quality),
        "total_ms": round(record.timing.total_ms, 2),
        "mass_g": seen.mass_g,
        "truth": seen.truth,
        "image": seen.sample.image is not None,
        "spectrum": seen.sample.spectrum is not None,
        "probabilities": {} if said is None else _likely(said.probabilities),
        "composition": {}
        if said is None
        else _contents(said.composition.tolist(), said.composition_sigma.tolist()),
    }


def _likely(shares: NDArray[np.float32]) -> dict[str, float]:
    places = np.argsort(-shares)[:4]
    return {FAMILIES[place]: round(float(shares[place]), 4) for place in places if shares[place] >= 0.005}
