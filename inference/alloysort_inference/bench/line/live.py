"""A recipe in real time: a service of its own, and pieces of one spectrometer sent to it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any, Final

import numpy as np

from alloysort_datasets.errors import TableError
from alloysort_datasets.piece import Instrument, Piece
from alloysort_datasets.simulate import Simulation
from alloysort_datasets.table.store import read_instruments, read_pieces
from alloysort_inference.bench.accuracy.run import silent
from alloysort_inference.bench.line.run import REEL_SEED, Question, kept_reel
from alloysort_inference.bench.load import open_loop
from alloysort_inference.bench.speed import run, serving
from alloysort_inference.doors.stream.client import AsyncLine
from alloysort_inference.doors.stream.wire import Axis
from alloysort_inference.policy.belt import Line
from alloysort_models.bundle.manifest import Bundle

KEPT: Final = 400  # pieces in memory, sent over and over
WARM: Final = 50


def bench_live(question: Question, bundle: Bundle, recipe: str, seconds: float) -> dict[str, Any]:
    """Latency from the moment each piece was meant to come, and how many were late or lost.

    Args:
        question: whose tables, rate, deadline and seed are taken; the stream is Poisson. Where it names no
            tables, pieces of one spectrometer are simulated, once, and kept.
        bundle: that decides.
        recipe: name or path, for the service.
        seconds: that it lasts.

    Raises:
        AlloysortError: the service does not come up.
        TableError: no sensor saw a piece of the reel.
    """
    folders = question.data or [kept_reel(question, Simulation(KEPT, REEL_SEED, units=1), silent)]
    reel = [
        (piece, units)
        for folder in folders
        for units in [read_instruments(folder)]
        for piece in islice(read_pieces(folder), KEPT // len(folders))
    ]
    reel = [(piece, units) for piece, units in reel if piece.image is not None or piece.spectra is not None]
    if not reel:
        raise TableError(f"{', '.join(map(str, folders))}: no sensor saw any of the first pieces")
    rate, deadline_ms = question.conditions.rate_per_s, (question.recipe.line or Line()).deadline_ms
    with serving(bundle.path, recipe) as server:
        told = run(_drive(server.stream, reel, rate, seconds, deadline_ms, question.seed))
    return {"rate_per_s": rate, "deadline_ms": deadline_ms, "seconds": seconds, **told}


async def _drive(
    url: str,
    reel: Sequence[tuple[Piece, dict[str, Instrument]]],
    rate_per_s: float,
    seconds: float,
    deadline_ms: float,
    seed: int,
) -> dict[str, Any]:
    line = await AsyncLine.connect(url)
    axes: dict[str, Axis] = {}
    sent = int(rate_per_s * seconds) + WARM
    order = iter(np.random.default_rng([seed, 2]).integers(0, len(reel), sent))

    async def send(within_ms: float | None = deadline_ms) -> bool:
        piece, units = reel[int(next(order))]
        axis = None
        if piece.spectra is not None and piece.instrument is not None:
            unit = units[piece.instrument]
            if unit.name not in axes:
                axes[unit.name] = line.axis(unit.wavelength_nm, unit.saturation_counts)
            axis = axes[unit.name]
        answer = await line.send(axis, piece.spectra, piece.image, deadline_ms=within_ms, mass_g=piece.mass_g)
        return answer.status == "decided"

    try:
        for _ in range(WARM):
            await send(None)
        loop = await open_loop(send, rate_per_s, seconds, seed)
    finally:
        await line.close()
    return {
        "pieces": len(loop.latency_ms) + loop.lost,
        "p50_ms": round(loop.percentile(50), 2),
        "p99_ms": round(loop.percentile(99), 2),
        "max_ms": round(loop.percentile(100), 2),
        "late": loop.late,
        "lost": loop.lost,
    }
