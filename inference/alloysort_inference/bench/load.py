"""Load on a door: closed, as fast as answers come, and open, at a rate that waits for nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Final

import numpy as np
from numpy.typing import NDArray

LOST_S: Final = 10.0  # after the last piece: what has no answer by then is lost
Send = Callable[[], Awaitable[bool]]  # a piece; true if it was decided, false if it was late or refused


@dataclass(frozen=True, eq=False)
class OpenLoop:
    """What became of pieces that came at a rate of their own.

    Attributes:
        rate: pieces a second that were meant to come.
        latency_ms: of those answered, from the moment each was meant to be sent.
        late: answered without being computed.
        lost: never answered.
    """

    rate: float
    latency_ms: NDArray[np.float64]
    late: int
    lost: int

    def percentile(self, percent: float) -> float:
        """Of the latency, in milliseconds."""
        return float(np.percentile(self.latency_ms, percent)) if self.latency_ms.size else float("inf")


async def closed_loop(send: Send, seconds: float, in_flight: int) -> float:
    """Pieces a second with so many under way at any time."""
    done, stop = 0, perf_counter() + seconds

    async def keep_sending() -> None:
        nonlocal done
        while perf_counter() < stop:
            await send()
            done += 1

    started = perf_counter()
    await asyncio.gather(*(keep_sending() for _ in range(in_flight)))
    return done / (perf_counter() - started)


async def open_loop(send: Send, rate: float, seconds: float, seed: int = 0) -> OpenLoop:
    """Pieces in a Poisson stream; a slow answer delays no other piece, and counts from when it was due."""
    gaps = np.random.default_rng(seed).exponential(1.0 / rate, int(rate * seconds))
    latency_ms: list[float] = []
    late, open_pieces = 0, set[asyncio.Task[None]]()

    async def one(due_s: float) -> None:
        nonlocal late
        late += not await send()
        latency_ms.append((perf_counter() - due_s) * 1000)

    due_s = perf_counter() + 0.05
    for gap in gaps:
        due_s += gap
        wait_s = due_s - perf_counter()
        if wait_s > 0:
            await asyncio.sleep(wait_s)
        piece = asyncio.create_task(one(due_s))
        open_pieces.add(piece)
        piece.add_done_callback(open_pieces.discard)
    if open_pieces:
        await asyncio.wait(set(open_pieces), timeout=LOST_S)
    return OpenLoop(rate, np.array(latency_ms), late, len(gaps) - len(latency_ms))
