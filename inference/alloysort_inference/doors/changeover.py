"""A new bundle or recipe while the belt runs: loaded, verified and warmed beside, tried, and switched to
between two batches. What was in use before stays loaded, to go back to.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from alloysort_datasets.errors import DataError
from alloysort_inference.pipeline import Arrival, Classifier
from alloysort_inference.policy.recipe import Recipe
from alloysort_inference.record import Record

MOST_WAITING: Final = 64  # pieces that a shadow may be behind; what comes then it does not see


class NothingLoadedError(DataError):
    """There is no candidate, or nothing to go back to."""


@dataclass
class Comparison:
    """What a shadow said beside what was decided.

    Attributes:
        pieces: it was shown.
        families, outlets: for how many of them it named the same family, and the same outlet.
        missed: pieces that it was too slow for.
    """

    pieces: int = 0
    families: int = 0
    outlets: int = 0
    missed: int = 0


class Shadow:
    """A classifier that is shown every piece and decides nothing; its own thread holds up nobody."""

    def __init__(self, classifier: Classifier) -> None:
        self.comparison = Comparison()
        self._classifier = classifier
        self._waiting: deque[tuple[Arrival, Record]] = deque()
        self._wake, self._stopped = threading.Event(), False
        self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)
        self._thread.start()

    def show(self, arrival: Arrival, record: Record) -> None:
        """Let it look at a piece that is decided."""
        if len(self._waiting) >= MOST_WAITING:
            self.comparison.missed += 1
        else:
            self._waiting.append((arrival, record))
            self._wake.set()

    def stop(self) -> None:
        """Show it no more."""
        self._stopped = True
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped:
            self._wake.wait()
            self._wake.clear()
            while self._waiting and not self._stopped:
                arrival, record = self._waiting.popleft()
                (other,) = self._classifier.sort([arrival])
                self.comparison.pieces += 1
                self.comparison.families += other.decision.family == record.decision.family
                self.comparison.outlets += other.decision.outlet == record.decision.outlet


class Changeover:
    """The classifier in use, a candidate beside it, and the one before.

    Args:
        first: the classifier to begin with.
        open_another: a classifier of a bundle and a recipe; None for either is the one in use.

    Attributes:
        current: decides.
        candidate: loaded and warm, None if there is none.
        previous: decided before, None before the first switch.
        shadow: the candidate at work beside, None if it is not.
    """

    def __init__(
        self, first: Classifier, open_another: Callable[[Path | None, str | Recipe | None], Classifier]
    ) -> None:
        self.current = first
        self.candidate: Classifier | None = None
        self.previous: Classifier | None = None
        self.shadow: Shadow | None = None
        self._open_another = open_another
        self._one_at_a_time = asyncio.Lock()

    async def load(self, bundle: Path | None = None, recipe: str | Recipe | None = None) -> Classifier:
        """Make a candidate, verified and warm; the one in use goes on.

        Raises:
            BundleError, RecipeError: it cannot be used; nothing has changed.
        """
        async with self._one_at_a_time:
            candidate = await asyncio.to_thread(self._opened, bundle, recipe)
            self._end_shadow()
            self.candidate = candidate
            return candidate

    def try_beside(self) -> None:
        """Show the candidate every piece from now on.

        Raises:
            NothingLoadedError: there is none.
        """
        self._end_shadow()
        self.shadow = Shadow(self._loaded())

    def switch(self) -> None:
        """From the next piece on, the candidate decides.

        Raises:
            NothingLoadedError: there is none.
        """
        candidate = self._loaded()
        self._end_shadow()
        retired = [self.previous]
        candidate.boxes.take_over(self.current.boxes)
        self.previous, self.current, self.candidate = self.current, candidate, None
        threading.Thread(target=retired.clear, name="retire").start()  # milliseconds, which the loop has not

    def roll_back(self) -> None:
        """From the next piece on, the one before decides.

        Raises:
            NothingLoadedError: there is none.
        """
        if self.previous is None:
            raise NothingLoadedError("nothing was switched yet: there is nothing to go back to")
        self._end_shadow()
        self.previous.boxes.take_over(self.current.boxes)
        self.previous, self.current = self.current, self.previous

    def close(self) -> None:
        """End what runs beside."""
        self._end_shadow()

    def _opened(self, bundle: Path | None, recipe: str | Recipe | None) -> Classifier:
        candidate = self._open_another(bundle, recipe)
        candidate.warm_up()
        return candidate

    def _loaded(self) -> Classifier:
        if self.candidate is None:
            raise NothingLoadedError("no candidate is loaded: load a bundle or a recipe first")
        return self.candidate

    def _end_shadow(self) -> None:
        shadow, self.shadow = self.shadow, None
        if shadow is not None:
            shadow.stop()
