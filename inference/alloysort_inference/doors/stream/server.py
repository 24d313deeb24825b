"""The stream door: pieces in as they come, answers out as they are decided."""

from __future__ import annotations

import asyncio
import json
import socket
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from time import perf_counter
from typing import Final

from picows import (
    WSCloseCode,
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
)

from alloysort_datasets.errors import AlloysortError, DataError
from alloysort_datasets.families import ELEMENTS, FAMILIES
from alloysort_inference.doors.intake import ClosedError
from alloysort_inference.doors.service import Service
from alloysort_inference.doors.stream.entrance import open_entrance
from alloysort_inference.doors.stream.wire import (
    AXIS,
    PIECE,
    Axis,
    WireError,
    decode_axis,
    decode_piece,
    encode_answer,
    number_of,
)
from alloysort_inference.flags import FLAGS
from alloysort_inference.pipeline import Arrival, Upload
from alloysort_inference.record import Record

PROTOCOL: Final = 1
MOST_AXES: Final = 64  # of a connection
STOPPING: Final = "the service is stopping"
PARTING_S: Final = 2.0  # that a line gets to leave by itself


@asynccontextmanager
async def stream_door(service: Service, listener: socket.socket) -> AsyncIterator[None]:
    """The door open on a listening socket; lines still connected at the end are told that it closes."""
    lines: set[Line] = set()
    server = await open_entrance(service, listener, lambda: Line(service, lines))
    try:
        yield
    finally:
        server.close()
        await asyncio.gather(*(line.finish() for line in [*lines]))


def greeting(service: Service) -> dict[str, object]:
    """What a line is told first, and again whenever it changes."""
    classifier = service.classifier
    return {
        "protocol": PROTOCOL,
        "families": FAMILIES,
        "elements": ELEMENTS,
        "quality": FLAGS,
        "outlets": [outlet.name for outlet in classifier.recipe.outlets],
        "bundle": {"name": classifier.bundle.name, "sha256": classifier.bundle.sha256},
        "recipe": {"name": classifier.recipe.name, "sha256": classifier.recipe_origin.sha256},
        "deadline_ms": service.settings.deadline_ms,
        "max_message_bytes": service.settings.max_body_mb * 1_000_000,
    }


class Line(WSListener):
    """One line's connection."""

    def __init__(self, service: Service, lines: set[Line]) -> None:
        self._service, self._lines = service, lines
        self._loop = asyncio.get_running_loop()
        self._axes: dict[int, Axis] = {}
        self._answers: deque[tuple[int, Record]] = deque()
        self._waking = False
        self._open = 0  # pieces without an answer
        self._parts: list[bytes] = []
        self._transport: WSTransport | None = None
        self._recipe = ""
        self._outlets: dict[str, int] = {}
        self._all_answered = asyncio.Event()
        self._gone = asyncio.Event()
        self._stopping = False

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Greet."""
        self._transport = transport
        self._lines.add(self)
        self._greet()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """Answers to come are dropped."""
        del transport
        self._transport = None
        self._lines.discard(self)
        self._all_answered.set()
        self._gone.set()

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Take a message, which may come in several frames."""
        if frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code(), frame.get_close_message())
            transport.disconnect()
            return
        if frame.msg_type not in (WSMsgType.BINARY, WSMsgType.CONTINUATION):
            if frame.msg_type == WSMsgType.TEXT:
                self._refuse_line("text where a binary message is due: see docs/stream.md")
            return
        if frame.fin and not self._parts:
            self._take(frame.get_payload_as_bytes())
            return
        self._parts.append(frame.get_payload_as_bytes())
        if sum(map(len, self._parts)) > self._service.settings.max_body_mb * 1_000_000:
            self._refuse_line(f"a message of over {self._service.settings.max_body_mb} MB (max_body_mb)")
        elif frame.fin:
            parts, self._parts = self._parts, []
            self._take(b"".join(parts))

    def pause_writing(self) -> None:
        """A line that does not read its answers gets no more of its pieces taken."""
        if self._transport is not None:
            self._transport.underlying_transport.pause_reading()

    def resume_writing(self) -> None:
        """It reads again."""
        if self._transport is not None:
            self._transport.underlying_transport.resume_reading()

    async def finish(self) -> None:
        """Say that the service stops, refuse what still comes, answer what is open, then close."""
        self._stopping = True
        if self._transport is not None:
            self._transport.send(WSMsgType.TEXT, json.dumps({"stopping": STOPPING}).encode())
        with suppress(TimeoutError):
            await asyncio.wait_for(self._gone.wait(), PARTING_S)
        if self._open:
            await self._all_answered.wait()
        if self._transport is not None:
            self._transport.send_close(WSCloseCode.GOING_AWAY, STOPPING.encode())
            self._transport.disconnect()

    def _take(self, message: bytes) -> None:
        arrived_s = perf_counter()
        kind = message[:4]
        try:
            if kind == PIECE:
                self._take_piece(message, arrived_s)
            elif kind == AXIS:
                self._take_axis(message)
            else:
                raise WireError(f"{kind!r} begins no message, {AXIS!r} and {PIECE!r} do")
        except AlloysortError as fault:
            number = number_of(message)
            if number is None:
                self._refuse_line(str(fault))
            else:
                self._refuse_piece(number, fault, arrived_s)

    def _take_piece(self, message: bytes, arrived_s: float) -> None:
        service = self._service
        if service.waiting_for is not None:
            raise DataError(service.waiting_for)
        if self._stopping:
            raise ClosedError(STOPPING)
        piece = decode_piece(message, self._axes)
        image = None if piece.image is None else Upload("image", piece.image)
        arrival = Arrival(piece.counts, image, piece.piece_id, piece.batch, arrived_s, piece.mass_g)
        number = piece.number
        service.submit(arrival, piece.deadline_ms, lambda record: self._decided(number, record))
        self._open += 1

    def _take_axis(self, message: bytes) -> None:
        axis = decode_axis(message)
        if axis.number not in self._axes and len(self._axes) >= MOST_AXES:
            raise WireError(f"{MOST_AXES} axes are known already: send one of their numbers anew")
        self._axes[axis.number] = axis

    def _decided(self, number: int, record: Record) -> None:
        """On a thread of the engine: wake the loop, once for all that it has not fetched yet."""
        self._answers.append((number, record))
        if not self._waking:
            self._waking = True
            try:
                self._loop.call_soon_threadsafe(self._send_answers)
            except RuntimeError:
                if not self._loop.is_closed():
                    raise

    def _send_answers(self) -> None:
        self._waking = False
        while self._answers:
            number, record = self._answers.popleft()
            self._open -= 1
            self._send(number, record)
        if not self._open:
            self._all_answered.set()
            self._all_answered = asyncio.Event()

    def _send(self, number: int, record: Record) -> None:
        transport = self._transport
        if transport is None:
            return
        if record.recipe.sha256 != self._recipe:
            self._greet()
        transport.send(WSMsgType.BINARY, encode_answer(number, record, self._outlets))

    def _refuse_piece(self, number: int, fault: AlloysortError, arrived_s: float) -> None:
        self._send(number, self._service.refuse(Arrival(None, None, arrived_s=arrived_s), fault))

    def _refuse_line(self, why: str) -> None:
        """What cannot be understood ends the connection: nobody knows what comes next."""
        if self._transport is not None:
            self._transport.send(WSMsgType.TEXT, json.dumps({"error": why}).encode())
            self._transport.send_close(WSCloseCode.UNSUPPORTED_DATA, why.encode()[:120])
            self._transport.disconnect()

    def _greet(self) -> None:
        classifier = self._service.classifier
        recipe, self._recipe = classifier.recipe, classifier.recipe_origin.sha256
        self._outlets = {outlet.name: number for number, outlet in enumerate(recipe.outlets)}
        if self._transport is not None:
            self._transport.send(WSMsgType.TEXT, json.dumps(greeting(self._service)).encode())
