"""The stream door over a real socket, with the client of the package."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from alloysort_inference.doors.serve import listen
from alloysort_inference.doors.service import Service
from alloysort_inference.doors.settings import Settings
from alloysort_inference.doors.stream.client import AsyncLine, Line, LineClosedError
from alloysort_inference.doors.stream.server import stream_door
from alloysort_inference.doors.stream.wire import Axis, Counts, PieceMessage, encode_axis, encode_piece
from alloysort_inference.log.database import open_database
from alloysort_inference.log.read import read_decisions
from alloysort_models.bundle.manifest import Bundle

AXIS_NM = np.linspace(200.0, 900.0, 1024)


def shots_at(nm: float, shots: int = 3) -> np.ndarray:
    noise = np.random.default_rng(0).normal(100.0, 2.0, (shots, AXIS_NM.size))
    return (noise + 20_000.0 * np.exp(-0.5 * ((AXIS_NM - nm) / 2.0) ** 2)).astype(np.float32)


@contextmanager
def open_door(bundle: Bundle, **settings: Any) -> Iterator[tuple[str, Service]]:
    service = Service(Settings(bundle=bundle.path, **settings))
    listener = listen("127.0.0.1", 0)
    ready, stop = threading.Event(), asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def run() -> None:
        loops.append(asyncio.get_running_loop())
        async with stream_door(service, listener):
            await service.warm_up()
            ready.set()
            await stop.wait()
        await service.close()

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    try:
        assert ready.wait(30)
        yield f"ws://127.0.0.1:{listener.getsockname()[1]}", service
    finally:
        loops[0].call_soon_threadsafe(stop.set)
        thread.join(10)


@pytest.fixture(scope="module")
def url(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    log = tmp_path_factory.mktemp("log") / "decisions.sqlite"
    with open_door(bundle, log=str(log), max_body_mb=1) as (url, _):
        yield url


def test_pieces_are_decided_and_matched_by_id(url: str, make_picture: Callable[..., bytes]) -> None:
    with Line(url) as line:
        assert line.greeting["outlets"]
        axis = line.axis(AXIS_NM)
        sent = [(nm, line.send(axis, shots_at(nm), piece_id=f"at {nm}")) for nm in (395.0, 327.0, 510.0) * 5]
        for nm, future in sent:
            answer = future.result(10)
            assert answer.piece_id == f"at {nm}"
            assert answer.family == {395.0: "6xxx", 327.0: "copper", 510.0: "cast-AlSiCu"}[nm]
            assert answer.status == "decided"
        counts = shots_at(395.0).clip(0, 65535).astype(np.uint16)
        assert line.send(axis, counts, make_picture()).result(10).family == "6xxx"


def test_what_cannot_be_used_is_refused_and_the_line_goes_on(url: str) -> None:
    with Line(url) as line:
        axis = line.axis(AXIS_NM)
        broken = shots_at(395.0)
        broken[1, 7] = np.nan
        for sent, complaint in (
            (line.send(axis, broken, piece_id="n"), r"counts\[1\]\[7\] is nan"),
            (line.send(Axis(99, AXIS_NM), shots_at(395.0)), "axis 99 is not known, there are 1"),
            (line.send(image=b"\xff\xd8\xff cut"), "image"),
            (line.send(), "neither"),
        ):
            answer = sent.result(10)
            assert answer.status == "refused"
            assert complaint.replace("\\", "") in answer.reason
            assert line.greeting["outlets"][answer.outlet]
        assert line.send(axis, shots_at(395.0)).result(10).status == "decided"


def test_what_comes_too_late_gets_the_default_outlet(bundle: Bundle) -> None:
    with open_door(bundle, workers=1) as (url, service), Line(url) as line:
        axis = line.axis(AXIS_NM)
        service.batcher.costs.learn(1, 1.0)
        answer = line.send(axis, shots_at(395.0), deadline_ms=5.0).result(10)
        assert (answer.status, answer.family) == ("late", None)
        assert line.greeting["outlets"][answer.outlet] == service.classifier.recipe.default
        assert service.intake.counts.late == 1


@pytest.mark.parametrize("nonsense", [b"GET / HTTP/1.1", b"", b"ASX1", b"ASP2" + bytes(8)])
def test_a_line_that_makes_no_sense_is_told_so_and_closed(url: str, nonsense: bytes) -> None:
    async def talk() -> None:
        line = await AsyncLine.connect(url)
        line._write(nonsense)
        with pytest.raises(LineClosedError, match=r"begins no message|its head alone|no message"):
            await line.send(image=b"x")

    asyncio.run(talk())


def test_half_a_message_harms_nobody_and_a_whole_one_may_come_in_parts(url: str) -> None:
    class Raw(WSListener):
        def __init__(self) -> None:
            self.heard: asyncio.Queue[bytes] = asyncio.Queue()

        def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
            del transport
            self.heard.put_nowait(frame.get_payload_as_bytes())

    async def talk() -> None:
        transport, raw = await ws_connect(Raw, url)
        assert json.loads(await raw.heard.get())["protocol"] == 1
        message = encode_piece(PieceMessage(5, Counts(Axis(1, AXIS_NM), shots_at(395.0)), None))
        transport.send(WSMsgType.BINARY, encode_axis(Axis(1, AXIS_NM)))
        transport.send(WSMsgType.BINARY, message[:100], fin=False)
        other = await AsyncLine.connect(url)
        assert (await other.send(other.axis(AXIS_NM), shots_at(327.0))).family == "copper"
        await other.close()
        transport.send(WSMsgType.CONTINUATION, message[100:])
        assert (await raw.heard.get())[:4] == b"ASA1"
        transport.disconnect()

    asyncio.run(talk())


def test_a_line_that_never_reads_holds_up_only_itself(url: str) -> None:
    host, port = url.removeprefix("ws://").split(":")
    deaf = socket.create_connection((host, int(port)))
    key = b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    deaf.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" + key)
    deaf.settimeout(0.2)
    message = encode_piece(PieceMessage(1, None, None))
    frame = bytes([0x82, 0x80 | len(message)]) + bytes(4) + message
    sent = 0
    try:
        while sent < 60_000:
            deaf.sendall(frame * 100)
            sent += 100
    except TimeoutError:
        pass
    with Line(url) as line:
        assert line.send(line.axis(AXIS_NM), shots_at(395.0)).result(10).family == "6xxx"
    deaf.close()


def test_hundreds_of_lines_at_once(url: str) -> None:
    async def all_at_once() -> list[str | None]:
        lines = [await AsyncLine.connect(url) for _ in range(300)]
        answers = await asyncio.gather(*(line.send(line.axis(AXIS_NM), shots_at(395.0)) for line in lines))
        await asyncio.gather(*(line.close() for line in lines))
        return [answer.family for answer in answers]

    assert asyncio.run(all_at_once()) == ["6xxx"] * 300


def test_at_the_end_open_pieces_are_answered(bundle: Bundle) -> None:
    with open_door(bundle) as (url, _):
        line = Line(url)
        axis = line.axis(AXIS_NM)
        futures = [line.send(axis, shots_at(395.0)) for _ in range(20)]
        futures[0].result(10)
    answers = [future.result(10) for future in futures]
    assert answers[0].status == "decided"
    # what was still under way when the door closed is refused and says why: every piece has an answer
    assert all("the service is stopping" in one.reason for one in answers if one.status != "decided")
    with pytest.raises(LineClosedError, match="the service is stopping"):
        line.send(axis, shots_at(395.0)).result(10)
    line.close()


def test_a_line_that_sends_on_to_the_end_gets_an_answer_for_every_piece(bundle: Bundle) -> None:
    futures = []
    with open_door(bundle) as (url, service):
        line = Line(url)
        axis = line.axis(AXIS_NM)
        sending = threading.Event()

        def send_on() -> None:
            with suppress(LineClosedError):
                while True:
                    futures.append(line.send(axis, shots_at(395.0), deadline_ms=50))
                    sending.set()
                    if len(futures) % 8 == 0:
                        futures[-8].result(10)

        sender = threading.Thread(target=send_on)
        sender.start()
        assert sending.wait(10)
    sender.join(10)
    outcomes = [future.exception(10) or future.result() for future in futures]
    told = [one.status for one in outcomes if not isinstance(one, LineClosedError)]
    assert set(told) <= {"decided", "late", "refused"}
    assert len(told) == service.tally.status.total()  # the others were not sent any more
    assert {str(one) for one in outcomes if isinstance(one, LineClosedError)} <= {"the service is stopping"}
    line.close()


def test_nobody_there_is_said_plainly() -> None:
    with pytest.raises(LineClosedError, match="ws://127"):
        Line("ws://127.0.0.1:1")


def test_every_decision_is_logged(bundle: Bundle, tmp_path: Path) -> None:
    log = str(tmp_path / "log")
    with open_door(bundle, log=log) as (url, _), Line(url) as line:
        line.send(line.axis(AXIS_NM), shots_at(395.0), piece_id="a", batch="b").result(10)
        line.send(image=b"no picture", piece_id="c").result(10)
    database = open_database(log)
    rows = list(read_decisions(database))
    database.dispose()
    assert [(row["piece_id"], row["status"]) for row in rows] == [("a", "decided"), ("c", "refused")]
