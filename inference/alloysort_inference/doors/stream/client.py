"""A line's end of the stream door.

    with Line("ws://127.0.0.1:8001") as line:
        axis = line.axis(wavelength_nm)
        answer = line.send(axis, shots, jpeg, deadline_ms=20).result()
        fire() if answer.eject else None

`Line` is for threads, `AsyncLine` for asyncio; both send on while answers are open.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from itertools import count
from ssl import SSLContext
from types import TracebackType
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import ArrayLike
from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from alloysort_datasets.errors import AlloysortError
from alloysort_inference.doors.stream.wire import (
    Axis,
    Counts,
    PieceMessage,
    StreamAnswer,
    decode_answer,
    encode_axis,
    encode_piece,
)

CLOSE_S: Final = 5.0
SILENT: Final = logging.getLogger("alloysort.stream.line")  # faults come as exceptions
SILENT.setLevel(logging.CRITICAL)
T = TypeVar("T")


class LineClosedError(AlloysortError):
    """The connection is gone; pieces without an answer did not get one."""


class AsyncLine(WSListener):
    """A connection in an asyncio program; see `connect`.

    Attributes:
        greeting: what the service said of itself: families, elements, outlets, bundle, recipe.
    """

    def __init__(self) -> None:
        self.greeting: dict[str, Any] = {}
        self._loop = asyncio.get_running_loop()
        self._greeted: asyncio.Future[None] = self._loop.create_future()
        self._open: dict[int, asyncio.Future[StreamAnswer]] = {}
        self._numbers, self._axes = count(1), count(1)
        self._transport: WSTransport | None = None
        self._parting = False
        self._fault = "the service closed the connection"

    @classmethod
    async def connect(cls, url: str, *, token: str | None = None, ssl: SSLContext | None = None) -> AsyncLine:
        """Connect, as to ws://127.0.0.1:8001, and wait for the greeting.

        Args:
            url: of the door.
            token: from another machine than the service's.
            ssl: whom to trust at a wss:// address, where it is not whom the system trusts.

        Raises:
            LineClosedError: the service is not there, or is no stream door.
        """
        try:
            _, line = await ws_connect(
                cls,
                url,
                logger_name=SILENT,
                ssl_context=ssl,
                extra_headers=None if token is None else {"Authorization": f"Bearer {token}"},
                max_redirects=0,  # a token is for nobody else
            )
        except Exception as error:
            raise LineClosedError(f"{url}: {error}") from error
        if not isinstance(line, cls):
            raise LineClosedError(f"{url}: is no line")
        await line._greeted
        return line

    def axis(self, wavelength_nm: ArrayLike, saturation_counts: float = float("inf")) -> Axis:
        """Tell an axis, (channels,) in nm and air, to be named with every piece that was seen on it."""
        axis = Axis(next(self._axes), np.asarray(wavelength_nm, np.float64), saturation_counts)
        self._write(encode_axis(axis))
        return axis

    def send(
        self,
        axis: Axis | None = None,
        shots: ArrayLike | None = None,
        image: bytes | None = None,
        *,
        deadline_ms: float | None = None,
        piece_id: str | None = None,
        batch: str | None = None,
        mass_g: float | None = None,
    ) -> asyncio.Future[StreamAnswer]:
        """Send a piece; the answer comes with the future.

        Args:
            axis: of the shots.
            shots: (shots, channels) counts, uint16 sent as such, others as float32; None: no spectrum.
            image: a JPEG or PNG file; None: no picture.
            deadline_ms: from its arrival to its answer; None: the service's own.
            piece_id, batch: stand in the answer and in the log.
            mass_g: where it is known; counts in the boxes of a melt.

        Raises:
            LineClosedError: the connection is gone.
        """
        number = next(self._numbers)
        counts = None
        if axis is not None and shots is not None:
            values = np.atleast_2d(np.asarray(shots))
            kept = values if values.dtype == np.uint16 else values.astype(np.float32, copy=False)
            counts = Counts(axis, kept)
        piece = PieceMessage(number, counts, image, deadline_ms, piece_id, batch, mass_g)
        self._write(encode_piece(piece))
        answer = self._open[number] = self._loop.create_future()
        return answer

    async def close(self) -> None:
        """Wait for open answers, then leave."""
        if self._open:
            await asyncio.wait([*self._open.values()], timeout=CLOSE_S)
        if self._transport is not None:
            transport = self._transport
            self._hang_up(transport)
            await transport.wait_disconnected()

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Keep the way to write."""
        self._transport = transport

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Match an answer with its piece."""
        if frame.msg_type == WSMsgType.BINARY:
            answer = decode_answer(frame.get_payload_as_bytes())
            waiting = self._open.pop(answer.number, None)
            if waiting is not None and not waiting.done():
                waiting.set_result(answer)
            if self._parting and not self._open:
                self._hang_up(transport)
        elif frame.msg_type == WSMsgType.TEXT:
            told = json.loads(frame.get_payload_as_bytes())
            self._fault = told.get("error", self._fault)
            if "stopping" in told:
                self._leave(told["stopping"])
            if "protocol" in told:
                self.greeting = told
                if not self._greeted.done():
                    self._greeted.set_result(None)
        elif frame.msg_type == WSMsgType.CLOSE:
            transport.disconnect()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """Tell all who wait."""
        del transport
        self._transport = None
        hoping: list[asyncio.Future[Any]] = [self._greeted, *self._open.values()]
        for waiting in hoping:
            if not waiting.done():
                waiting.set_exception(LineClosedError(self._fault))
        self._open.clear()

    def _leave(self, why: str) -> None:
        """Send no more; what is open is still answered."""
        self._fault, self._parting = why, True
        if self._transport is not None and not self._open:
            self._hang_up(self._transport)

    @staticmethod
    def _hang_up(transport: WSTransport) -> None:
        transport.send_close(WSCloseCode.OK)
        transport.disconnect()

    def _write(self, message: bytes) -> None:
        if self._transport is None or self._parting:
            raise LineClosedError(self._fault)
        self._transport.send(WSMsgType.BINARY, message)


class Line:
    """A connection in a program of threads; its own thread reads and writes.

    Args:
        url: as ws://127.0.0.1:8001.
        token, ssl: as `AsyncLine.connect` takes them.

    Raises:
        LineClosedError: the service is not there, or is no stream door.
    """

    def __init__(self, url: str, *, token: str | None = None, ssl: SSLContext | None = None) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="line", daemon=True)
        self._thread.start()
        try:
            self._line = self._run(AsyncLine.connect(url, token=token, ssl=ssl))
        except BaseException:
            self._stop()
            raise

    @property
    def greeting(self) -> dict[str, Any]:
        """What the service said of itself."""
        return self._line.greeting

    def axis(self, wavelength_nm: ArrayLike, saturation_counts: float = float("inf")) -> Axis:
        """As `AsyncLine.axis`."""

        async def tell() -> Axis:
            return self._line.axis(wavelength_nm, saturation_counts)

        return self._run(tell())

    def send(
        self,
        axis: Axis | None = None,
        shots: ArrayLike | None = None,
        image: bytes | None = None,
        **told: Any,
    ) -> Future[StreamAnswer]:
        """As `AsyncLine.send`; the future is one of threads."""

        async def ask() -> StreamAnswer:
            return await self._line.send(axis, shots, image, **told)

        return asyncio.run_coroutine_threadsafe(ask(), self._loop)

    def close(self) -> None:
        """Wait for open answers, then leave."""
        self._run(self._line.close())
        self._stop()

    def __enter__(self) -> Line:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
