"""`alloysort bench speed`: the same bundle and pieces in onnxruntime alone, the engine and every door.

Everything is measured in one run, round by round, so that a noisy machine is noisy to all alike; ratios are
taken within a round, and of the rounds the median is told. Client and server share the cores.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter, sleep
from typing import Any, Final, TypeVar

import cv2
import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from alloysort_datasets.errors import AlloysortError
from alloysort_datasets.readers.picture import decode_picture, encode_jpeg
from alloysort_datasets.spectrum import Spectrum, checked_axis
from alloysort_inference.bench.load import OpenLoop, Send, closed_loop, open_loop
from alloysort_inference.doors.stream.client import AsyncLine
from alloysort_inference.doors.stream.wire import Axis, Counts, PieceMessage, encode_axis, encode_piece
from alloysort_inference.engine.batcher import MOST, Batcher, Job, cores, spare_cores
from alloysort_inference.engine.session import Engine
from alloysort_inference.frontend.prepare import prepare
from alloysort_inference.pipeline import Arrival, Classifier, Ready, Upload
from alloysort_inference.policy.recipe import DEFAULT_RECIPE, load_recipe
from alloysort_inference.record import Record
from alloysort_models.bundle.inputs import Features
from alloysort_models.bundle.manifest import INPUTS, OUTPUTS, load_bundle, newest_released

try:
    import uvloop
except ImportError:  # there is none for Windows
    uvloop = None  # type: ignore[assignment]

IMAGE_PX: Final = 96
CHANNELS: Final = 2048
SHOTS: Final = 3
LINES_NM: Final = (285.2, 288.2, 308.2, 309.3, 324.8, 327.4, 394.4, 396.2, 403.1)
RAW_BATCHES: Final = (1, 2, 4, 8, 16)
RATES: Final = (100, 300, 1000)
DEADLINE_MS: Final = 20.0
IN_FLIGHT: Final = 32
T = TypeVar("T")
Ask = Callable[[str, str, bytes], Awaitable[bytes]]
SERVING: Final = re.compile(r"on (http://\S+) .*lines on (ws://\S+)")
READY_S: Final = 30.0


@dataclass(frozen=True)
class Plan:
    """How long and how often.

    Attributes:
        rounds: of everything; the median is told.
        seconds: of each closed loop.
        open_seconds: of each rate.
    """

    rounds: int = 5
    seconds: float = 3.0
    open_seconds: float = 20.0


QUICK: Final = Plan(rounds=5, seconds=1.0, open_seconds=5.0)


@dataclass(frozen=True, eq=False)
class Load:
    """The piece that is sent: a 96 x 96 JPEG and three shots of 2,048 channels.

    Attributes:
        jpeg: the picture's file.
        wavelength_nm: (CHANNELS,).
        shots: (SHOTS, CHANNELS) float32.
    """

    jpeg: bytes
    wavelength_nm: NDArray[np.float64]
    shots: NDArray[np.float32]

    @classmethod
    def make(cls, seed: int = 0) -> Load:
        """A textured picture and a spectrum of aluminium lines."""
        rng = np.random.default_rng(seed)
        picture = cv2.GaussianBlur(rng.integers(0, 256, (IMAGE_PX, IMAGE_PX, 3), np.uint8), (0, 0), 1.5)
        axis = checked_axis(np.linspace(200.0, 900.0, CHANNELS))
        heights = rng.uniform(1000.0, 20_000.0, len(LINES_NM))
        lines = np.exp(-0.5 * ((axis[:, None] - np.array(LINES_NM)) / 0.3) ** 2) @ heights
        shots = 300.0 + lines + rng.normal(0.0, 5.0, (SHOTS, CHANNELS))
        return cls(encode_jpeg(np.asarray(picture, np.uint8)), axis, shots.astype(np.float32))

    def rows(self) -> Iterator[tuple[float, NDArray[np.float32]]]:
        """Wavelength and counts of each channel, as in a file."""
        yield from zip(self.wavelength_nm.tolist(), self.shots.T, strict=True)

    def arrival(self) -> Arrival:
        """As a piece that came in."""
        return Arrival(Spectrum(self.wavelength_nm, self.shots), Upload("image", self.jpeg))


def bench_speed(
    bundle: Path | None, plan: Plan, say: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """Measure; see DESIGN's keys of `bench speed --json`.

    Args:
        bundle: None: the newest released one.
        plan: how long and how often.
        say: is told what is being measured.

    Raises:
        AlloysortError: the bundle cannot be used, or the service does not come up.
    """
    path = bundle or newest_released()
    engine = Engine(load_bundle(path))
    classifier = Classifier(engine, load_recipe(DEFAULT_RECIPE))
    classifier.warm_up()
    load = Load.make()
    with serving(path) as server:
        rounds = []
        for number in range(plan.rounds):
            say(f"round {number + 1} of {plan.rounds}: onnxruntime, engine, doors, saturated")
            rounds.append(_round(engine, classifier, load, plan.seconds, server))
        loops = []
        for door, drive in DOORS.items():
            for rate in RATES:
                say(f"{door} door, {rate} pieces/s for {plan.open_seconds:g} s")
                loop = run(drive(server, load, _at_rate(rate, plan.open_seconds), DEADLINE_MS))
                loops.append({"door": door, **_told(loop)})
        memory_mb = server.memory_mb()
    return {
        "bundle": engine.bundle.manifest.name,
        "cores": cores(),
        "rounds": plan.rounds,
        **_summary(rounds),
        "open_loop": loops,
        "ready_s": round(server.ready_s, 2),
        "rss_mb": round(memory_mb, 1),
    }


@dataclass(frozen=True)
class Server:
    """A service of its own process.

    Attributes:
        http, stream: where its doors are.
        ready_s: from its start until it was warm.
        pid: of the process.
    """

    http: str
    stream: str
    ready_s: float
    pid: int

    def memory_mb(self) -> float:
        """Resident, in 10^6 bytes."""
        fields = Path(f"/proc/{self.pid}/statm").read_text(encoding="ascii").split()
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


@contextmanager
def serving(
    bundle: Path, recipe: str = DEFAULT_RECIPE, environment: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """A service on free ports, warm; `environment` sets more of what it does, see `doors.settings`.

    Raises:
        AlloysortError: it does not come up.
    """
    started = perf_counter()
    command = [sys.executable, "-m", "alloysort", "serve", "--port", "0"]
    command += ["--bundle", str(bundle), "--recipe", recipe]
    around = {**os.environ, **(environment or {})}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=around) as process:
        try:
            first = process.stdout.readline() if process.stdout else ""
            found = SERVING.search(first)
            if found is None:
                raise AlloysortError(f"the service did not come up: {first.strip() or 'it said nothing'}")
            http, stream = found.groups()
            while not _is_ready(stream):
                if perf_counter() - started > READY_S:
                    raise AlloysortError(f"the service was not ready within {READY_S:g} s")
                sleep(0.02)
            yield Server(http, stream, perf_counter() - started, process.pid)
        finally:
            process.terminate()


def saturate(work: Callable[[], int], threads: int, seconds: float) -> float:
    """Pieces a second of `work`, which says how many it did, in so many threads."""
    done = [0] * threads
    stop = perf_counter() + seconds

    def run(place: int) -> None:
        while perf_counter() < stop:
            done[place] += work()

    started = perf_counter()
    pool = [threading.Thread(target=run, args=(place,)) for place in range(threads)]
    for thread in pool:
        thread.start()
    for thread in pool:
        thread.join()
    return sum(done) / (perf_counter() - started)


def _round(
    engine: Engine, classifier: Classifier, load: Load, seconds: float, server: Server
) -> dict[str, float]:
    grid, size = engine.bundle.grid, engine.bundle.manifest.image_size
    spectrum = Spectrum(load.wavelength_nm, load.shots)
    features = prepare(grid, size, spectrum, decode_picture(load.jpeg)).features
    raw = {
        (threads, batch): saturate(_raw(engine, features, batch), threads, seconds / len(RAW_BATCHES))
        for threads in {1, cores()}
        for batch in RAW_BATCHES
    }

    def assess() -> int:
        return len(engine.run([features] * MOST))

    return {
        "raw_one": raw[1, 1],
        "raw_one_core": max(rate for (threads, _), rate in raw.items() if threads == 1),
        "raw_onnxruntime": max(raw.values()),
        "prepared": saturate(assess, cores(), seconds),
        "engine": _from_bytes(classifier, load, seconds),
        **{
            door: run(drive(server, load, lambda send: closed_loop(send, seconds, IN_FLIGHT)))
            for door, drive in DOORS.items()
        },
    }


def _from_bytes(classifier: Classifier, load: Load, seconds: float) -> float:
    """Pieces a second from encoded bytes to decisions, as in the service: prepared here, computed there."""
    batcher: Batcher[Ready, Record] = Batcher(
        classifier.assess, lambda one: classifier.turn_away(one.arrival), _give_up, threads=spare_cores()
    )
    done, stop = 0, perf_counter() + seconds
    started = perf_counter()
    while perf_counter() < stop:
        while not (batcher.has_room or batcher.help()):
            sleep(0)
        ready = classifier.ready(load.arrival())
        if isinstance(ready, Record):
            raise AlloysortError(ready.decision.reason)
        batcher.submit(Job(ready, lambda _: None))
        done += 1
    batcher.close()
    return done / (perf_counter() - started)


def _give_up(_: Ready, error: Exception) -> Record:
    raise error


def _raw(engine: Engine, features: Features, batch: int) -> Callable[[], int]:
    """onnxruntime on a batch that is made once: the limit of everything else."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(str(engine.graph()), options, providers=list(engine.providers))
    feed = {name: np.stack([getattr(features, name)] * batch) for name in INPUTS}

    def run() -> int:
        session.run(OUTPUTS, feed)
        return batch

    run()
    return run


async def _stream(
    server: Server, load: Load, drive: Callable[[Send], Any], deadline_ms: float | None = None
) -> Any:
    """Drive the stream door over one connection."""
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


@asynccontextmanager
async def ask_over(http: str) -> AsyncIterator[Ask]:
    """POST over connections that stay open: path, head lines and body to the answer's body."""
    host, port = http.removeprefix("http://").rsplit(":", 1)
    idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def ask(path: str, kind: str, body: bytes) -> bytes:
        reader, writer = idle.pop() if idle else await asyncio.open_connection(host, int(port))
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\n"
        head += f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        told = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", told, re.IGNORECASE)
        answer = await reader.readexactly(int(length[1]) if length else 0)
        idle.append((reader, writer))
        return answer

    try:
        yield ask
    finally:
        for _, writer in idle:
            writer.close()


async def _rest(
    server: Server, load: Load, drive: Callable[[Send], Any], deadline_ms: float | None = None
) -> Any:
    """Drive the REST door with piece messages."""
    async with ask_over(server.http) as ask:
        counts = Counts(await _registered(ask, load), load.shots)

        async def send() -> bool:
            message = encode_piece(PieceMessage(1, counts, load.jpeg, deadline_ms))
            return b'"decided"' in await ask("/v1/classify", "application/vnd.alloysort.piece", message)

        for _ in range(50):
            await send()
        return await drive(send)


async def _oip(
    server: Server, load: Load, drive: Callable[[Send], Any], deadline_ms: float | None = None
) -> Any:
    """Drive the Open Inference Protocol with binary tensors."""
    async with ask_over(server.http) as ask:
        axis = await _registered(ask, load)
        picture = len(load.jpeg).to_bytes(4, "little") + load.jpeg
        head = _oip_head(axis, load, len(picture), deadline_ms)
        kind = f"application/octet-stream\r\nInference-Header-Content-Length: {len(head)}"

        async def send() -> bool:
            body = b"".join((head, load.shots.tobytes(), picture))
            return b"decided" in await ask("/v2/models/alloysort/infer", kind, body)

        for _ in range(50):
            await send()
        return await drive(send)


async def _registered(ask: Ask, load: Load) -> Axis:
    axis = Axis(0, load.wavelength_nm)
    told = json.loads(await ask("/v1/axes", "application/vnd.alloysort.axis", encode_axis(axis)))
    return replace(axis, number=told["axis"])


def _oip_head(axis: Axis, load: Load, picture_bytes: int, deadline_ms: float | None) -> bytes:
    def tensor(name: str, datatype: str, shape: tuple[int, ...], size: int) -> dict[str, Any]:
        binary = {"binary_data_size": size}
        return {"name": name, "datatype": datatype, "shape": shape, "parameters": binary}

    return json.dumps(
        {
            "inputs": [
                {"name": "axis", "datatype": "INT64", "shape": [1], "data": [axis.number]},
                tensor("counts", "FP32", load.shots.shape, load.shots.nbytes),
                tensor("image", "BYTES", (1,), picture_bytes),
            ],
            "outputs": [{"name": name} for name in ("status", "outlet", "eject", "probabilities")],
            "parameters": {} if deadline_ms is None else {"deadline_ms": deadline_ms},
        }
    ).encode()


DOORS: Final = {"rest": _rest, "oip": _oip, "stream": _stream}


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run to its end on the loop that a client in a hurry would take."""
    with asyncio.Runner(loop_factory=None if uvloop is None else uvloop.new_event_loop) as runner:
        return runner.run(work)


def _at_rate(rate: float, seconds: float) -> Callable[[Send], Any]:
    return lambda send: open_loop(send, rate, seconds)


def _is_ready(stream: str) -> bool:
    async def ask() -> bool:
        line = await AsyncLine.connect(stream)
        answer = await line.send()
        await line.close()
        return "warming" not in answer.reason

    try:
        return asyncio.run(ask())
    except AlloysortError:
        return False


def _summary(rounds: list[dict[str, float]]) -> dict[str, Any]:
    """Medians over the rounds; ratios within each."""

    def median(of: Callable[[dict[str, float]], float]) -> float:
        return float(np.median([of(one) for one in rounds]))

    told: dict[str, Any] = {
        "raw_onnxruntime": {
            "pieces_per_s": round(median(lambda one: one["raw_onnxruntime"])),
            "one_core": round(median(lambda one: one["raw_one_core"])),
            "one_core_batch_1": round(median(lambda one: one["raw_one"])),
        }
    }
    for name in ("prepared", "engine", *DOORS):
        rates = np.array([one[name] for one in rounds])
        raw, engine = (np.array([one[key] for one in rounds]) for key in ("raw_onnxruntime", "engine"))
        told[name] = {
            "pieces_per_s": round(float(np.median(rates))),
            "ratio_to_raw": round(float(np.median(rates / raw)), 3),
            "ratio_to_engine": round(float(np.median(rates / engine)), 3),
            "lowest": round(float(rates.min())),
            "highest": round(float(rates.max())),
        }
    return told


def _told(loop: OpenLoop) -> dict[str, Any]:
    return {
        "rate": loop.rate,
        "pieces": len(loop.latency_ms),
        "p50_ms": round(loop.percentile(50), 3),
        "p99_ms": round(loop.percentile(99), 3),
        "p999_ms": round(loop.percentile(99.9), 3),
        "max_ms": round(loop.percentile(100), 3),
        "late": loop.late,
        "lost": loop.lost,
    }
