"""Run the service, with or without the demonstration beside it, until Ctrl-C or SIGTERM."""

from __future__ import annotations

import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Final

import anyio
import anyio.lowlevel
import anyio.to_thread
import uvicorn
from fastapi import FastAPI

from alloysort_datasets.errors import AlloysortError
from alloysort_inference.demo import Stream, run_demo
from alloysort_inference.doors.access import is_loopback
from alloysort_inference.doors.messages import speak
from alloysort_inference.doors.rest.app import create_app
from alloysort_inference.doors.rest.connection import REFUSE_S, Connection, Gate, until
from alloysort_inference.doors.service import Service
from alloysort_inference.doors.settings import Settings
from alloysort_inference.doors.tls import open_tls
from alloysort_inference.pipeline import Arrival

DRAIN_S: Final = 5  # what open requests get to finish once the service is told to stop
LINGER_S: Final = 0.2  # how long connections stay open for the requests that are on their way
WARMING_S: Final = 0.05
TICK_S: Final = 0.02
SWITCH_S: Final = 0.001  # of threads: a loop that waits for a thread of the engine waits no longer
BACKLOG: Final = 2048
MOST_FILES: Final = 65_536


def serve(settings: Settings, say: Callable[[str], None], stream: Stream | None = None) -> None:
    """Serve until told to stop.

    Args:
        settings: what is served.
        say: is told where, a line at a time; the page's address last.
        stream: starts the demonstration beside.

    Raises:
        BundleError, RecipeError: they cannot be used.
        AlloysortError: the address cannot be listened on or is open to other machines without tokens, the
            certificate cannot be used, or the demonstration failed.
    """
    secure = settings.tls_certificate is not None
    open_tls(settings)  # a fault in it is told before anything is opened
    with (
        listen(settings.host, settings.port) as listener,
        listen_stream(settings, listener) as stream_listener,
    ):
        require_guarded(settings, listener)
        app = create_app(settings, stream_listener, demonstration=stream is not None)
        service: Service = app.state.service
        manifest, recipe = service.classifier.engine.bundle.manifest, service.classifier.recipe
        about, address = f"{manifest.name}, recipe {recipe.name}", url(listener, secure)
        line = url(stream_listener, secure).replace("http", "ws", 1)
        say(f"alloysort: {about}, on {address} (docs at {address}/docs), lines on {line}")
        if stream is not None:
            say(f"alloysort: sorts {stream.name} for demonstration")
        say(f"{address}/")
        demo = None if stream is None else Demonstration(service, stream)
        server = Server(app, demo)
        speak(settings.messages)
        _allow_many_connections()
        sys.setswitchinterval(SWITCH_S)
        with _stopped_by_signals(server), _reloaded_by_hangup(service):
            server.run(sockets=[listener])
    if demo is not None:
        demo.finish()


class Demonstration:
    """`run_demo` in a thread of its own."""

    def __init__(self, service: Service, stream: Stream) -> None:
        self._service, self._stream = service, stream
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
            run_demo(self._stream, self._bring, self._stop)
        except AlloysortError as error:
            if not self._stop.is_set():  # else whatever makes the pieces was told to end, too
                self._fault = error

    def _bring(self, arrival: Arrival, family: str | None) -> None:
        """A piece, from its own thread to the loop; while the model warms up it waits."""
        service = self._service
        while service.waiting_for is not None and not self._stop.wait(WARMING_S):
            pass
        service.loop.call_soon_threadsafe(service.bring, arrival, family)


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
                proxy_headers=False,  # who forwards is no loopback: see doors/access.py
                ssl_certfile=settings.tls_certificate,
                ssl_keyfile=settings.tls_key,
                log_config=None,
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
        await until(lambda: not connections, REFUSE_S + LINGER_S)
        for connection in list(connections):
            connection.transport.abort()


def require_guarded(settings: Settings, listener: socket.socket) -> None:
    """Refuse to be open to other machines without tokens.

    Raises:
        AlloysortError: it would be.
    """
    if settings.tokens is None and not is_loopback(listener.getsockname()[0]):
        raise AlloysortError(
            f"host {settings.host} can be reached from other machines, and no tokens are set: listen on "
            "127.0.0.1, or make one by `alloysort token NAME --role ROLE --file PATH` and serve with "
            "--tokens PATH"
        )


def url(listener: socket.socket, secure: bool = False) -> str:
    """Where a listening socket can be reached."""
    host, port = listener.getsockname()[:2]
    return f"http{'s' if secure else ''}://{f'[{host}]' if ':' in host else host}:{port}"


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


def listen_stream(settings: Settings, listener: socket.socket) -> socket.socket:
    """The socket of the stream door; where its port is not set, one above that of HTTP if that was.

    Raises:
        AlloysortError: as `listen`.
    """
    port = settings.stream_port
    if port is None:
        port = listener.getsockname()[1] + 1 if settings.port else 0
    return listen(settings.host, port)


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error)).lower()


def _allow_many_connections() -> None:
    """Each is an open file, of which a process gets 1,024 in many places unless it asks for more."""
    try:
        import resource
    except ImportError:  # Windows knows no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


@contextmanager
def _reloaded_by_hangup(service: Service) -> Iterator[None]:
    """SIGHUP takes the files of recipe and tokens anew, where there is such a signal."""
    if not hasattr(signal, "SIGHUP"):
        yield
        return

    def reload(_: int, __: FrameType | None) -> None:
        service.loop.call_soon_threadsafe(service.begin_reload)

    before = signal.signal(signal.SIGHUP, reload)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


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
