"""Nobody is told: the log says what the other outputs would have done."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable
from time import perf_counter
from typing import Final

from alloysort_inference.outputs.output import MOST_WAITING, Output
from alloysort_inference.outputs.settings import DrySettings

KEPT: Final = 1000
_log = logging.getLogger("alloysort")


class Dry(Output):
    """What would have been, in words.

    Attributes:
        kept: the newest lines, whether the log had them or not.
        unsaid: lines that the log did not get, as too many came in one second.
    """

    def __init__(self, settings: DrySettings, outlets: Iterable[str] = ()) -> None:
        super().__init__("dry", outlets)
        self.kept: deque[str] = deque(maxlen=KEPT)
        self.unsaid = 0
        self._fired: deque[tuple[str, float, float]] = deque(maxlen=MOST_WAITING)
        self._per_s, self._second, self._said = settings.lines_per_s, 0, 0

    def fire(self, outlet: str, open_s: float, close_s: float) -> None:
        """A firing that would have been; returns at once."""
        if len(self._fired) == MOST_WAITING:
            self.dropped += 1
        self._fired.append((outlet, open_s, close_s))

    async def _serve(self) -> None:
        self._connected()
        await self._stop.wait()
        self._tick()

    def _tick(self) -> None:
        while self._told:
            record, mass_g = self._told.popleft()
            self.counts.note(record, mass_g)
            way = "ejected" if record.decision.eject else "let pass"
            self._say(f"piece {record.piece_id} to {record.decision.outlet}, {way}, {mass_g:g} g")
        while self._fired:
            outlet, open_s, close_s = self._fired.popleft()
            self._say(
                f"outlet {outlet} open in {(open_s - perf_counter()) * 1000:.1f} ms "
                f"for {(close_s - open_s) * 1000:.1f} ms"
            )

    def _say(self, line: str) -> None:
        self.kept.append(line)
        second = int(perf_counter())
        if second != self._second:
            self._second, self._said = second, 0
        if self._said < self._per_s:
            self._said += 1
            _log.info("output dry: %s", line)
        else:
            self.unsaid += 1
