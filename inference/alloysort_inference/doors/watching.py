"""What happens beside the belt: figures for the page, health of sensors and feed, alarms; one thread does it.

Whoever decides only lays a piece down here; a piece that finds no room is not looked at, and decided on all
the same.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from time import monotonic
from typing import Final

from alloysort_inference.health.watch import Alarm, Severity, Watch
from alloysort_inference.page.alarms import Book
from alloysort_inference.page.board import Board
from alloysort_inference.page.seen import Seen
from alloysort_inference.pipeline import Classifier

EVERY_S: Final = 0.2
ALARMS_S: Final = 1.0
MOST_WAITING: Final = 4096
HEALTH_PER_S: Final = 25  # pieces that sensors and feed are judged by
_log = logging.getLogger("alloysort")


def alarm(key: str, severity: Severity, text: str, advice: str) -> Alarm:
    """An alarm that is raised now."""
    return Alarm(key, severity, text, advice, datetime.now(UTC))


class Watching:
    """The thread beside.

    Args:
        classifier: the one in use, asked again and again.
        book: of alarms.
        others: alarms that stand besides those of sensors and feed.
    """

    def __init__(
        self, classifier: Callable[[], Classifier], book: Book, others: Callable[[], Iterable[Alarm]]
    ) -> None:
        self._classifier, self._book, self._others = classifier, book, others
        now = classifier()
        self.board = Board(now.recipe)
        self.watch = self._watch_of(now)
        self._sha256 = now.bundle.sha256
        self._waiting: deque[Seen] = deque(maxlen=MOST_WAITING)
        self._allowance, self._judged_s = 0.0, monotonic()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watching", daemon=True)

    def begin(self) -> None:
        """Start looking."""
        self._thread.start()

    def see(self, seen: Seen) -> None:
        """Lay a piece down; returns at once."""
        self._waiting.append(seen)

    def end(self) -> None:
        """Look no more."""
        self._end.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        alarms_s = 0.0
        while not self._end.wait(EVERY_S):
            try:
                self._look()
                if monotonic() - alarms_s >= ALARMS_S:
                    alarms_s = monotonic()
                    self._book.update([*self.watch.alarms(), *self._others()])
            except Exception:  # noqa: BLE001 (whatever it is, the belt runs on, and the next look may be better)
                _log.exception("watching")

    def _look(self) -> None:
        classifier = self._classifier()
        if classifier.bundle.sha256 != self._sha256:
            self.watch, self._sha256 = self._watch_of(classifier), classifier.bundle.sha256
        if classifier.recipe is not self.board.recipe:
            self.board.begin(classifier.recipe)
        some = [self._waiting.popleft() for _ in range(len(self._waiting))]
        if not some:
            return
        self.board.take(some)
        for seen in self._spread(some):
            self.watch.see(seen.record, seen.features)

    def _spread(self, some: list[Seen]) -> list[Seen]:
        """As many as may be judged now, spread evenly."""
        now = monotonic()
        self._allowance = min(HEALTH_PER_S, self._allowance + HEALTH_PER_S * (now - self._judged_s))
        self._judged_s = now
        count = min(len(some), int(self._allowance))
        self._allowance -= count
        return [some[place * len(some) // count] for place in range(count)]

    @staticmethod
    def _watch_of(classifier: Classifier) -> Watch:
        bundle = classifier.engine.bundle
        return Watch(bundle.grid, bundle.manifest.health)
