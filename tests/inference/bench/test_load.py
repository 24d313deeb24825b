from __future__ import annotations

import asyncio

import pytest

from alloysort_inference.bench import load
from alloysort_inference.bench.load import closed_loop, open_loop


def test_an_open_loop_counts_from_when_a_piece_was_due_however_busy_the_service() -> None:
    turn = asyncio.Lock()

    async def send() -> bool:
        async with turn:  # one at a time, 10 ms each: at 200 a second the queue grows
            await asyncio.sleep(0.01)
        return True

    loop = asyncio.run(open_loop(send, 200.0, 0.5))
    assert (len(loop.latency_ms), loop.late, loop.lost) == (100, 0, 0)
    assert loop.percentile(100) > 300.0  # the last waited for nearly all before it
    assert loop.percentile(0) >= 9.0


def test_late_and_lost_pieces_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "LOST_S", 0.1)
    numbers = iter(range(100))

    async def send() -> bool:
        number = next(numbers)
        if number % 10 == 0:
            await asyncio.sleep(3600)
        return number % 10 != 1

    loop = asyncio.run(open_loop(send, 1000.0, 0.1))
    assert (len(loop.latency_ms), loop.late, loop.lost) == (90, 10, 10)


def test_a_closed_loop_keeps_so_many_under_way() -> None:
    under_way = most = 0

    async def send() -> bool:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.01)
        under_way -= 1
        return True

    rate = asyncio.run(closed_loop(send, 0.2, 5))
    assert most == 5
    assert 100 < rate <= 500
