"""A shift in minutes: what a line may ask of the stream door, held for a minute each.

    python benchmarks/shift.py [--seconds 60] [--only NAME ...] [--json FILE]

Client and server share this machine's cores. The pieces are those of `alloysort bench speed`: a picture of
96 x 96 pixels and three shots of 2,048 channels. Latencies of `steady`, `switching` and `idle` are the
client's, from the moment a piece was meant to be sent; under overload the server's own: the client is late.

steady      1,000 pieces/s, deadline 20 ms
switching   500 pieces/s, without and with another bundle every 2 s
overload    three times what the door sustains, deadline 20 ms; then 300 pieces/s, second by second
stopping    SIGTERM in the middle of the same overload
idle        single pieces after 10 s of nothing, and the first one after ready
csv         spectra as csv files in multipart parts, closed loop
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import signal
import struct
import tempfile
from collections import Counter
from collections.abc import Callable, Coroutine
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from alloysort_inference.bench.load import OpenLoop, Send, closed_loop, open_loop
from alloysort_inference.bench.speed import DEADLINE_MS, IN_FLIGHT, Load, Server, ask_over, run, serving
from alloysort_inference.doors.stream.client import AsyncLine
from alloysort_inference.doors.stream.wire import (
    STATUSES,
    Axis,
    Counts,
    PieceMessage,
    encode_axis,
    encode_piece,
)
from alloysort_models.bundle.manifest import newest_released

IDLE_S: Final = 10.0
SWITCH_EVERY_S: Final = 2.0
TICK_S: Final = 0.005  # a torrent sends what is due this often
NUMBER: Final = struct.Struct("<Q")
NUMBER_AT: Final = 8  # of the piece and of the answer
TOTAL_MS: Final = struct.Struct("<f")
TOTAL_MS_AT: Final = 16
Told = dict[str, Any]


def steady(load: Load, seconds: float) -> Told:
    """1,000 pieces a second."""
    with serving(newest_released()) as server:
        loop = run(_at_rate(server, load, 1000, seconds))
        return _told(loop) | {"rss_mb": round(server.memory_mb(), 1)}


def switching(load: Load, seconds: float) -> Told:
    """500 pieces a second while bundles change, beside the same without."""
    bundle = newest_released()
    with serving(bundle) as server, tempfile.TemporaryDirectory() as folder:
        other = Path(folder) / bundle.name
        shutil.copytree(bundle, other)
        without = run(_at_rate(server, load, 500, seconds))
        switches = 0

        async def switch(until_s: float) -> None:
            nonlocal switches
            async with ask_over(server.http) as ask:
                while perf_counter() < until_s:
                    await asyncio.sleep(SWITCH_EVERY_S)
                    wanted = json.dumps({"bundle": str(bundle if switches % 2 else other)}).encode()
                    await ask("/v1/model/load", "application/json", wanted)
                    state = json.loads(await ask("/v1/model/switch", "application/json", b""))
                    switches += state["candidate"] is None

        async def both() -> OpenLoop:
            beside = asyncio.ensure_future(switch(perf_counter() + seconds))
            loop = await _at_rate(server, load, 500, seconds)
            await beside
            return loop

        loop = run(both())
        ratio = loop.percentile(99.9) / without.percentile(99.9)
        return {
            "without": _told(without),
            "with": _told(loop),
            "switches": switches,
            "p999_ratio": round(ratio, 2),
        }


def overload(load: Load, seconds: float) -> Told:
    """Three times what the door sustains."""
    with serving(newest_released()) as server:
        sustained = run(_closed(server, load))
        before_mb = server.memory_mb()
        torrent = run(_pour(server, load, 3 * sustained, seconds))
        after_mb = server.memory_mb()
        after = [run(_at_rate(server, load, 300, 1.0)) for _ in range(3)]
        return {
            "sustained_per_s": round(sustained),
            **torrent.told(),
            "rss_mb": [round(before_mb, 1), round(after_mb, 1)],
            "seconds_after": [_told(loop) for loop in after],
        }


def stopping(load: Load, seconds: float) -> Told:
    """SIGTERM in the middle of an overload."""
    with serving(newest_released()) as server:
        sustained = run(_closed(server, load))
        half = min(seconds, 10.0) / 2

        async def pour() -> Torrent:
            loop = asyncio.get_running_loop()
            loop.call_later(half, os.kill, server.pid, signal.SIGTERM)
            return await _pour(server, load, 3 * sustained, 2 * half)

        return run(pour()).told()


def idle(load: Load, _: float) -> Told:
    """Pieces after nothing, and the very first one."""

    async def alone(server: Server) -> list[float]:
        took_ms = []
        for _ in range(6):
            line = await AsyncLine.connect(server.stream)
            axis = line.axis(load.wavelength_nm)
            started = perf_counter()
            await line.send(axis, load.shots, load.jpeg)
            took_ms.append(1000 * (perf_counter() - started))
            await line.close()
            await asyncio.sleep(IDLE_S if len(took_ms) < 6 else 0)
        return took_ms

    with serving(newest_released()) as server:
        first, *others = run(alone(server))
        usual = run(_at_rate(server, load, 300, 10.0))
    return {
        "first_ms": round(first, 2),
        "after_10_s_ms": np.round(others, 2).tolist(),
        "at_300": _told(usual),
    }


def csv(load: Load, _: float) -> Told:
    """Spectra as text."""
    rows = [f"{nm:.3f},{','.join(f'{count:.1f}' for count in counts)}" for nm, counts in load.rows()]
    text = "\n".join(["wavelength_nm,shot 1,shot 2,shot 3", *rows, ""]).encode()
    parts = ((b"spectrum", b"piece.csv", text), (b"image", b"piece.jpg", load.jpeg))
    body = b"".join(
        b'--x\r\nContent-Disposition: form-data; name="%s"; filename="%s"\r\n\r\n%s\r\n' % part
        for part in parts
    )

    async def drive(server: Server) -> float:
        async with ask_over(server.http) as ask:

            async def send() -> bool:
                answer = await ask("/v1/classify", "multipart/form-data; boundary=x", body + b"--x--\r\n")
                return b'"decided"' in answer

            await send()
            return await closed_loop(send, 5.0, IN_FLIGHT)

    with serving(newest_released()) as server:
        rates = [run(drive(server)) for _ in range(5)]
    return {"pieces_per_s": round(float(np.median(rates))), "of": [round(rate) for rate in rates]}


class Torrent(WSListener):
    """A line that sends far too much and keeps count of what comes back."""

    def __init__(self) -> None:
        self.sent, self.seconds, self.paused, self.stopped = 0, 0.0, False, False
        self.status: Counter[str] = Counter()
        self.total_ms: list[float] = []
        self.transport: WSTransport | None = None

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Keep the way to write."""
        self.transport = transport

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """There is nobody any more."""
        del transport
        self.transport = None

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Count an answer."""
        if frame.msg_type == WSMsgType.BINARY:
            message = frame.get_payload_as_bytes()
            self.status[STATUSES[message[4]]] += 1
            self.total_ms.append(TOTAL_MS.unpack_from(message, TOTAL_MS_AT)[0])
        elif frame.msg_type == WSMsgType.TEXT and b"stopping" in frame.get_payload_as_bytes():
            self.stopped = True
        elif frame.msg_type == WSMsgType.CLOSE:
            transport.disconnect()

    def pause_writing(self) -> None:
        """The service takes no more for now."""
        self.paused = True

    def resume_writing(self) -> None:
        """It does again."""
        self.paused = False

    def told(self) -> Told:
        """In figures."""
        total_ms = np.array(self.total_ms)
        answered = len(total_ms)
        return {
            "sent": self.sent,
            "sent_per_s": round(self.sent / self.seconds),
            **dict(self.status),
            "lost": self.sent - answered,
            "total_ms": {str(q): round(float(np.percentile(total_ms, q)), 2) for q in (50, 99, 99.9, 100)},
            "over_deadline_by_2_ms": int((total_ms > DEADLINE_MS + 2).sum()),
        }


async def _pour(server: Server, load: Load, rate: float, seconds: float) -> Torrent:
    """Send at a rate as far as the service takes it, wait for the answers; none is waited for meanwhile."""
    torrent = Torrent()
    transport, _ = await ws_connect(lambda: torrent, server.stream)
    axis = Axis(1, load.wavelength_nm)
    transport.send(WSMsgType.BINARY, encode_axis(axis))
    piece = PieceMessage(0, Counts(axis, load.shots), load.jpeg, DEADLINE_MS)
    message = bytearray(encode_piece(piece))
    started = perf_counter()
    while (now := perf_counter() - started) < seconds and not torrent.stopped:
        while torrent.sent < rate * now and not torrent.paused:
            NUMBER.pack_into(message, NUMBER_AT, torrent.sent)
            transport.send(WSMsgType.BINARY, bytes(message))
            torrent.sent += 1
            if torrent.sent % 16 == 0:
                break
        await asyncio.sleep(0 if torrent.sent < rate * now and not torrent.paused else TICK_S)
    torrent.seconds = perf_counter() - started
    waiting_s = perf_counter() + 5.0
    while (
        torrent.transport is not None and perf_counter() < waiting_s and len(torrent.total_ms) < torrent.sent
    ):
        await asyncio.sleep(TICK_S)
    transport.disconnect()
    return torrent


async def _closed(server: Server, load: Load) -> float:
    return float(await _line(server, load, lambda send: closed_loop(send, 5.0, IN_FLIGHT), None))


async def _at_rate(server: Server, load: Load, rate: float, seconds: float) -> OpenLoop:
    loop: OpenLoop = await _line(server, load, lambda send: open_loop(send, rate, seconds), DEADLINE_MS)
    return loop


async def _line(
    server: Server,
    load: Load,
    drive: Callable[[Send], Coroutine[Any, Any, Any]],
    deadline_ms: float | None,
) -> Any:
    line = await AsyncLine.connect(server.stream)
    axis = line.axis(load.wavelength_nm)

    async def send() -> bool:
        answer = await line.send(axis, load.shots, load.jpeg, deadline_ms=deadline_ms)
        return answer.status == "decided"

    for _ in range(50):
        await send()
    try:
        return await drive(send)
    finally:
        await line.close()


def _told(loop: OpenLoop) -> Told:
    percentiles = {f"p{q:g}".replace(".", ""): round(loop.percentile(q), 2) for q in (50, 99, 99.9)}
    counts = {"pieces": len(loop.latency_ms), "late": loop.late, "lost": loop.lost}
    return counts | {f"{name}_ms": value for name, value in percentiles.items()} | {"max_ms": _highest(loop)}


def _highest(loop: OpenLoop) -> float:
    latency_ms: NDArray[np.float64] = loop.latency_ms
    return round(float(latency_ms.max()), 2)


PARTS: Final = {part.__name__: part for part in (steady, switching, overload, stopping, idle, csv)}


def main() -> None:
    """Run the parts that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--only", nargs="+", choices=[*PARTS], default=[*PARTS])
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    load, told = Load.make(), {}
    for name in asked.only:
        told[name] = PARTS[name](load, asked.seconds)
        print(f"{name:10} {json.dumps(told[name])}", flush=True)
    if asked.json is not None:
        asked.json.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
