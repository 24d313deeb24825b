"""Run the service, with or without the demonstration beside it, until Ctrl-C or SIGTERM."""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import FrameType
from typing import Any, Final

import anyio
import anyio.lowlevel
import anyio.to_thread
import httptools
import uvicorn
from fastapi import FastAPI
from rich.console import Console
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from alloysort_datasets.errors import AlloysortError
from alloysort_datasets.piece import Instrument, Piece
from alloysort_inference.demo import run_demo
from alloysort_inference.doors.rest.app import Service, create_app
from alloysort_inference.doors.rest.problem import problem
from alloysort_inference.doors.settings import Settings

DRAIN_S: Final = 5  # what open requests get to finish once the service is told to stop
REFUSE_S: Final = 2  # what a client gets to finish sending a request that is refused
LINGER_S: Final = 0.2  # how long connections stay open for the requests that are on their way
TICK_S: Final = 0.02
BACKLOG: Final = 2048
MAX_HEAD_BYTES: Final = 65_536


@dataclass(frozen=True)
class Stream:
    """What a demonstration sorts.

    Attributes:
        name: what the pieces are, for the head of the display.
        pieces: may be endless.
        instruments: by name, as the pieces name them.
        rate_per_s: pieces a second.
    """

    name: str
    pieces: Iterable[Piece]
    instruments: Mapping[str, Instrument]
    rate_per_s: float


def serve(settings: Settings, console: Console, stream: Stream | None = None) -> None:
    """Serve until told to stop; `stream` starts the demonstration beside.

    Raises:
        BundleError, RecipeError: they cannot be used.
        AlloysortError: the address cannot be listened on, or the demonstration failed.
    """
    with listen(settings.host, settings.port) as listener:
        app = create_app(settings)
        service: Service = app.state.service
        manifest, recipe = service.classifier.engine.bundle.manifest, service.classifier.recipe
        about, address = f"{manifest.name}, recipe {recipe.name}", url(listener)
        console.print(
            f"alloysort: {about}, on {address} (docs at {address}/docs)", highlight=False, soft_wrap=True
        )
        demo = None if stream is None else Demonstration(service, stream, console, f"{stream.name}: {about}")
        server = Server(app, demo)
        with _stopped_by_signals(server):
            server.run(sockets=[listener])
    if demo is not None:
        demo.finish()


class Demonstration:
    """`run_demo` in a thread of its own."""

    def __init__(self, service: Service, stream: Stream, console: Console, title: str) -> None:
        self._service, self._stream, self._console, self._title = service, stream, console, title
        self._stop = threading.Event()
        self._fault: AlloysortError | None = None
        self._thread = threading.Thread(target=self._run, name="demo")

    def start(self) -> None:
        """Begin sorting."""
        self._thread.start()

    @property
    def failed(self) -> bool:
        """Whether it ended by an error; `finish` raises it."""
        return self._fault is not None

    def stop(self) -> None:
        """End between two pieces."""
        self._stop.set()
        self._thread.join()

    def finish(self) -> None:
        """Raise what ended it, if anything did.

        Raises:
            AlloysortError: the demonstration failed.
        """
        if self._fault is not None:
            raise self._fault

    def _run(self) -> None:
        try:
            run_demo(
                self._service.classifier,
                self._stream.pieces,
                self._stream.instruments,
                self._stream.rate_per_s,
                self._console,
                self._stop,
                title=self._title,
                log=self._service.log,
            )
        except AlloysortError as error:
            self._fault = error


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
        await _until(lambda: not self._inside or hurried(), limit_s)
        for visit in list(self._inside):
            if not visit.begun:
                visit.waiting.cancel()
        await _until(lambda: not self._inside, REFUSE_S)

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
    answer = problem(503, "the service is stopping: ask again", {"Retry-After": "1", "Connection": "close"})
    await answer(scope, receive, send)


async def _until(true: Callable[[], bool], limit_s: float) -> None:
    with anyio.move_on_after(limit_s):
        while not true():
            await anyio.sleep(TICK_S)


class Server(uvicorn.Server):
    """Runs the demonstration while it is up, and goes down if that fails.

    Told to stop, it refuses new requests, answers or refuses all that it has, and only then hangs up.
    """

    def __init__(self, app: FastAPI, demo: Demonstration | None) -> None:
        settings: Settings = app.state.service.settings
        self._gate = Gate(app)
        super().__init__(
            uvicorn.Config(
                self._gate,
                http=partial(Connection, read_timeout_s=settings.read_timeout_s),  # type: ignore[arg-type]
                ws="none",
                log_level="warning",
                timeout_keep_alive=settings.keep_alive_s,
                timeout_graceful_shutdown=REFUSE_S,
                lifespan="on",
            )
        )
        self._demo = demo

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then start the demonstration."""
        await super().startup(sockets)
        if self._demo is not None and self.started:
            self._demo.start()

    async def on_tick(self, counter: int) -> bool:
        """Whether it is time to go; asked ten times a second."""
        return await super().on_tick(counter) or (self._demo is not None and self._demo.failed)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop the demonstration before the application closes the log it writes to."""
        self._gate.shut()
        if self._demo is not None:
            await anyio.to_thread.run_sync(self._demo.stop)
        await self._gate.drain(DRAIN_S, lambda: self.force_exit)
        await self._hang_up(sockets or [])
        await super().shutdown(sockets)
        if self.force_exit:  # a second Ctrl-C skips open requests; the application still closes its log
            await self.lifespan.shutdown()

    async def _hang_up(self, listeners: Iterable[socket.socket]) -> None:
        connections = self.server_state.connections
        for listener in listeners:  # closing one resets who still queues: let nobody join, serve the queue
            listener.listen(0)
        await anyio.sleep(LINGER_S if connections else TICK_S)
        for server in self.servers:
            server.close()
        await anyio.sleep(LINGER_S if connections else 0)  # whoever came last is refused in words, too
        for connection in list(connections):
            connection.shutdown()
        await _until(lambda: not connections, REFUSE_S + LINGER_S)
        for connection in list(connections):
            connection.transport.abort()


def url(listener: socket.socket) -> str:
    """Where a listening socket can be reached."""
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes any free one.

    Raises:
        AlloysortError: the address is in use, not ours or unknown.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        raise AlloysortError(f"cannot listen on {host}:{port}: {_reason(error)}") from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise AlloysortError(f"cannot listen on {host}:{port}: {_reason(error)}") from None
    return listener


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error)).lower()


@contextmanager
def _stopped_by_signals(server: uvicorn.Server) -> Iterator[None]:
    # uvicorn drains on SIGINT and SIGTERM, then raises the signal again; being told to stop is no failure
    def stop(_: int, __: FrameType | None) -> None:
        server.should_exit = True

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
