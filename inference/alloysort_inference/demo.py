"""A live demonstration: a stream of pieces, sorted by the classifier that serves, shown in the terminal."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import Final, Protocol

import numpy as np
from rich.columns import Columns
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from alloysort_datasets.errors import DataError
from alloysort_datasets.piece import Instrument, Piece, instrument_of, sensed
from alloysort_inference.log.store import DecisionLog
from alloysort_inference.pipeline import Classifier, Upload
from alloysort_inference.record import Record

LAST: Final = 12  # decisions on show
RECENT: Final = 1000  # pieces behind the latency percentiles
RATE_WINDOW: Final = 200  # pieces behind the throughput
REFRESH_S: Final = 0.25
LINE_EVERY_S: Final = 1.0


@dataclass(frozen=True)
class Sorted:
    """One line of the demonstration: a record, and the truth where known."""

    record: Record
    truth: str | None


@dataclass
class Tally:
    """Running figures of a demonstration.

    Attributes:
        pieces: how many were sorted.
        refused: how many could not be used at all; they go to the default outlet and count there too.
        known, right: accepted pieces whose family is known, and how many of them got it.
        accepted: how many the model vouches for; the others went to the default outlet, or by a lower bar.
        reasons: pieces by the first word or two of the reason.
        outlets: pieces per outlet.
    """

    pieces: int = 0
    refused: int = 0
    accepted: int = 0
    known: int = 0
    right: int = 0
    outlets: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    last: deque[Sorted] = field(default_factory=lambda: deque(maxlen=LAST))
    _latency_ms: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))
    _moments_s: deque[float] = field(default_factory=lambda: deque(maxlen=RATE_WINDOW))

    def add(self, record: Record, truth: str | None) -> None:
        """Count a decision."""
        self._count(record.decision.outlet)
        self.reasons[reason_of(record)] += 1
        if record.decision.accepted:
            self.accepted += 1
            self.known += truth is not None
            self.right += truth == record.decision.family
        self.last.append(Sorted(record, truth))
        self._latency_ms.append(record.timing.total_ms)

    def refuse(self, default_outlet: str) -> None:
        """Count a piece of which nothing could be used."""
        self._count(default_outlet)
        self.refused += 1

    def _count(self, outlet: str) -> None:
        self.pieces += 1
        self.outlets[outlet] += 1
        self._moments_s.append(perf_counter())

    @property
    def accuracy(self) -> float | None:
        """Share of the accepted pieces that were named right; None before the first."""
        return self.right / self.known if self.known else None

    @property
    def accepted_share(self) -> float | None:
        """Share of the pieces that are accepted; None before the first."""
        return self.accepted / self.pieces if self.pieces else None

    @property
    def pieces_per_s(self) -> float:
        """Throughput over the last RATE_WINDOW pieces."""
        span = self._moments_s[-1] - self._moments_s[0] if len(self._moments_s) > 1 else 0.0
        return (len(self._moments_s) - 1) / span if span else 0.0

    def latency_ms(self, percentile: float) -> float:
        """A percentile over the last RECENT pieces; 0 before the first."""
        return float(np.percentile(self._latency_ms, percentile)) if self._latency_ms else 0.0

    def line(self) -> str:
        """Everything in one plain line."""
        outlets = ", ".join(f"{outlet} {count}" for outlet, count in sorted(self.outlets.items()))
        reasons = ", ".join(f"{reason} {count}" for reason, count in self.reasons.most_common())
        return (
            f"{self.pieces} pieces, {self.pieces_per_s:.1f}/s, accepted {share(self.accepted_share)}, "
            f"right of these {share(self.accuracy)}, "
            f"p50 {self.latency_ms(50):.1f} ms, p99 {self.latency_ms(99):.1f} ms, "
            f"refused {self.refused} | {outlets} | {reasons}"
        )


def run_demo(
    classifier: Classifier,
    pieces: Iterable[Piece],
    instruments: Mapping[str, Instrument],
    rate_per_s: float,
    console: Console,
    stop: threading.Event,
    *,
    title: str = "",
    log: DecisionLog | None = None,
) -> Tally:
    """Sort a stream of pieces at a steady rate until it ends or `stop` is set.

    Args:
        classifier: the one that serves.
        pieces: the stream; a piece that takes long to come slows the demonstration, it is never skipped.
        instruments: by name, as the pieces name them.
        rate_per_s: pieces a second.
        console: a terminal gets a live table, anything else a plain line every second.
        stop: ends the demonstration between two pieces.
        title: stands above the table.
        log: gets every decision.

    Raises:
        DataError: a piece names an instrument that is not given.
        AlloysortError: the model does not run, or the log cannot be written.
    """
    tally = Tally()
    with _display(console, tally, title) as show:
        for piece in paced(pieces, rate_per_s, stop):
            sort_piece(classifier, piece, instruments, tally, log)
            show.update()
    console.print(f"demo: {tally.line()}", highlight=False, soft_wrap=True)
    return tally


def sort_piece(
    classifier: Classifier,
    piece: Piece,
    instruments: Mapping[str, Instrument],
    tally: Tally,
    log: DecisionLog | None,
) -> None:
    """Classify one piece and count it.

    Raises:
        DataError: the piece names an instrument that is not given.
    """
    instrument_of(piece, instruments)  # a stranger ends the demonstration, a fault of the piece does not
    try:
        spectrum = sensed(piece, instruments)
        image = None if piece.image is None else Upload(f"image of {piece.piece_id}", piece.image)
        record = classifier.classify(spectrum, image, piece_id=piece.piece_id, batch=piece.batch)
    except DataError:
        tally.refuse(classifier.recipe.default)
        return
    tally.add(record, piece.family)
    if log is not None:
        log.write(record)


def paced(pieces: Iterable[Piece], rate_per_s: float, stop: threading.Event) -> Iterator[Piece]:
    """The pieces, no faster than the rate; a late one does not make the next hurry."""
    due_s = perf_counter()
    for piece in pieces:
        if stop.wait(max(0.0, due_s - perf_counter())):
            return
        yield piece
        due_s = max(due_s + 1 / rate_per_s, perf_counter())


def render(tally: Tally, title: str) -> Group:
    """The live view."""
    head = Text(title, style="bold")
    figures = Text(
        f"{tally.pieces} pieces   {tally.pieces_per_s:.1f}/s   accepted {share(tally.accepted_share)}   "
        f"right of these {share(tally.accuracy)}   "
        f"p50 {tally.latency_ms(50):.1f} ms   p99 {tally.latency_ms(99):.1f} ms   refused {tally.refused}"
    )
    return Group(
        head,
        figures,
        Columns([_count_table("outlet", tally.outlets), _count_table("why", tally.reasons)]),
        _decision_table(tally),
    )


def reason_of(record: Record) -> str:
    """The kind of a reason: what stands before its colon."""
    return record.decision.reason.partition(":")[0]


def share(value: float | None) -> str:
    """A share for people."""
    return "unknown" if value is None else f"{100 * value:.1f} %"


class _Show(Protocol):
    def update(self) -> None: ...


class _LiveTable:
    def __init__(self, live: Live, tally: Tally, title: str) -> None:
        self._live, self._tally, self._title = live, tally, title
        self._shown_s = 0.0

    def update(self) -> None:
        if perf_counter() - self._shown_s >= REFRESH_S:
            self._live.update(render(self._tally, self._title), refresh=True)
            self._shown_s = perf_counter()


class _PlainLines:
    def __init__(self, console: Console, tally: Tally) -> None:
        self._console, self._tally = console, tally
        self._shown_s = perf_counter()

    def update(self) -> None:
        if perf_counter() - self._shown_s >= LINE_EVERY_S:
            self._console.print(f"demo: {self._tally.line()}", highlight=False, soft_wrap=True)
            self._shown_s = perf_counter()


@contextmanager
def _display(console: Console, tally: Tally, title: str) -> Iterator[_Show]:
    if not console.is_terminal:
        yield _PlainLines(console, tally)
        return
    with Live(render(tally, title), console=console, auto_refresh=False, transient=True) as live:
        yield _LiveTable(live, tally, title)


def _count_table(head: str, counts: Counter[str]) -> Table:
    table = Table(head, "pieces", "share")
    for name, count in sorted(counts.items()):
        table.add_row(name, str(count), share(count / counts.total()))
    return table


def _decision_table(tally: Tally) -> Table:
    table = Table("piece", "is", "named", "sure", "surface", "outlet", "eject", "why", "ms")
    for entry in reversed(tally.last):
        record, truth = entry.record, entry.truth
        decision = record.decision
        style = "" if truth in (None, decision.family) else "red" if decision.accepted else "dim"
        said = record.assessment
        surface = None if said is None else said.surface
        table.add_row(
            record.piece_id[-8:],
            truth or "?",
            Text(decision.family or "", style),
            "" if said is None else f"{said.confidence:.2f}",
            "" if surface is None else f"{surface:.2f}",
            decision.outlet,
            "eject" if decision.eject else "",
            reason_of(record),
            f"{record.timing.total_ms:.1f}",
        )
    return table
