"""HTTP as lines and their networks speak it: connections that may stall, a door that closes in good order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import anyio
import anyio.lowlevel
import httptools
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from alloysort_inference.doors.oip.fault import fault, is_ours
from alloysort_inference.doors.rest.problem import problem

REFUSE_S: Final = 2  # what a client gets to finish sending a request that is refused
TICK_S: Final = 0.02
MAX_HEAD_BYTES: Final = 65_536


class Connection(HttpToolsProtocol):
    """One client's connection: what uvicorn refuses or lets hang is answered by a problem, or closed in time.

    From its first byte, the head of a request has `read_timeout_s`; bodies are timed where they are read.
    """

    def __init__(self, *args: Any, read_timeout_s: float, **named: Any) -> None:
        super().__init__(*args, **named)
        self._read_timeout_s = read_timeout_s
        self._stall: asyncio.TimerHandle | None = None
        self._in_message = self._in_head = False
        self._head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client that connects and says nothing is idle."""
        super().connection_made(transport)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        self._unset_stall()

    def data_received(self, data: bytes) -> None:
        """Parse what came."""
        self._unset_keepalive_if_required()
        if self.transport.is_closing():
            return
        try:
            self._feed(data)
        except httptools.HttpParserError:
            self._break_off(400, "not an HTTP/1.1 request, or one whose length is not as it says")
        self._watch()

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        super().on_message_begin()
        self._in_message = self._in_head = True
        self._head_bytes = 0

    def on_headers_complete(self) -> None:
        """The head of a request is there, its body may be to come."""
        self._in_head = False
        if not self.parser.should_upgrade():
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The last byte of a request."""
        self._in_message = False
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """The last byte of an answer."""
        super().on_response_complete()
        self._watch()

    @property
    def answering(self) -> bool:
        """Whether a request is inside the application."""
        return self.cycle is not None and not self.cycle.response_complete

    def _feed(self, data: bytes) -> None:
        in_head = self._in_head
        self._head_bytes += len(data) if in_head else 0
        while data:
            try:
                self.parser.feed_data(data)
                data = b""
            except httptools.HttpParserUpgrade as upgrade:
                data = self._without_upgrade() + data[upgrade.args[0] :]
        if in_head and self._in_head and self._head_bytes > MAX_HEAD_BYTES:
            self._break_off(431, f"the head of the request is over {MAX_HEAD_BYTES} bytes")

    def _without_upgrade(self) -> bytes:
        # Some clients offer HTTP/2 in every request, and the parser takes what follows the head for HTTP/2.
        # This is HTTP/1.1: the head is parsed again as if nothing had been offered, and the body with it.
        method, version = self.parser.get_method(), self.parser.get_http_version().encode()
        if method == b"CONNECT":
            raise httptools.HttpParserInvalidMethodError("CONNECT is for proxies")
        self.parser = httptools.HttpRequestParser(self)
        lines = [name + b": " + value for name, value in self.headers if name != b"upgrade"]
        return b"\r\n".join([b"%s %s HTTP/%s" % (method, self.url, version), *lines, b"", b""])

    def _break_off(self, status: int, detail: str) -> None:
        """Read no further."""
        if self.answering and not self.cycle.more_body:  # the request before it is sound and gets its answer
            self.cycle.keep_alive = False
            self.flow.pause_reading()
        elif self.answering and self.cycle.response_started:
            self.transport.close()
        else:
            self._refuse(status, detail)

    def _watch(self) -> None:
        """Time what is due: nothing while a request is answered, else the rest of one, or the next."""
        if self.answering or self.transport.is_closing():
            self._unset_stall()
        elif not self._in_message:
            self._unset_stall()
            self._unset_keepalive_if_required()
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )
        elif self._stall is None:
            self._unset_keepalive_if_required()
            self._stall = self.loop.call_later(self._read_timeout_s, self._stalled)

    def _unset_stall(self) -> None:
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None

    def _stalled(self) -> None:
        if self._in_head:
            waited = f"{self._read_timeout_s:g} s (read_timeout_s)"
            self._refuse(408, f"the head of the request was not complete within {waited}")
        else:
            self.transport.close()

    def _refuse(self, status: int, detail: str) -> None:
        answer = problem(status, detail, {"Connection": "close"})
        headers = (*self.server_state.default_headers, *answer.raw_headers)
        lines = [name + b": " + value + b"\r\n" for name, value in headers]
        self.transport.write(b"".join([STATUS_LINE[status], *lines, b"\r\n", answer.body]))
        self.transport.close()


class Gate:
    """Stands before the application: knows the requests inside, and refuses new ones once it is shut."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._inside: set[Visit] = set()
        self._shut = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif not self._shut:
            await self._admit(scope, receive, send)
        else:
            # read to its end first: where a body is left unread, the client sees a reset, not the answer
            with anyio.move_on_after(REFUSE_S):
                while (await receive()).get("more_body"):
                    pass
            await _stopping(scope, receive, send)

    def shut(self) -> None:
        """From here on every new request is refused with 503, and answers close their connection."""
        self._shut = True
        for visit in self._inside:
            visit.is_last = True

    async def drain(self, limit_s: float, hurried: Callable[[], bool]) -> None:
        """Wait until those inside are answered; after `limit_s`, or once `hurried`, refuse the rest."""
        await until(lambda: not self._inside or hurried(), limit_s)
        for visit in list(self._inside):
            if not visit.begun:
                visit.waiting.cancel()
        await until(lambda: not self._inside, REFUSE_S)

    async def _admit(self, scope: Scope, receive: Receive, send: Send) -> None:
        visit = Visit(send)
        self._inside.add(visit)
        try:
            with visit.waiting:
                await self._app(scope, receive, visit.send)
        finally:
            self._inside.discard(visit)
        if visit.waiting.cancelled_caught and not visit.begun:
            await _stopping(scope, receive, send)


class Visit:
    """One request inside the application, which can be called off until its answer begins.

    Attributes:
        waiting: cancel it to call the request off; a piece already under way is still classified.
        begun: whether the client has got a part of the answer.
        is_last: whether the answer closes the connection.
    """

    def __init__(self, send: Send) -> None:
        self.waiting = anyio.CancelScope()
        self.begun = False
        self.is_last = False
        self._send = send
        self._head: Message | None = None

    async def send(self, message: Message) -> None:
        """Pass on the answer; its head waits for its body, so that no client gets the one alone."""
        if message["type"] == "http.response.start":
            self._head = message
            return
        if self._head is not None:
            if message.get("more_body"):
                await anyio.lowlevel.checkpoint()  # raises if the request was called off
            if self.is_last:
                self._head["headers"] = [*self._head["headers"], (b"connection", b"close")]
            await self._send(self._head)
            self._head, self.begun = None, True
        await self._send(message)


async def _stopping(scope: Scope, receive: Receive, send: Send) -> None:
    answer_of = fault if is_ours(scope["path"]) else problem
    answer = answer_of(503, "the service is stopping: ask again", {"Retry-After": "1", "Connection": "close"})
    await answer(scope, receive, send)


async def until(true: Callable[[], bool], limit_s: float) -> None:
    """Wait for a condition, no longer than `limit_s`."""
    with anyio.move_on_after(limit_s):
        while not true():
            await anyio.sleep(TICK_S)
