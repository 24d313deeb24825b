"""The client that drives every contestant: HTTP over connections that stay open, and the stream door."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from alloysort_inference.bench.load import Send
from alloysort_inference.bench.speed import Load
from alloysort_inference.doors.stream.client import AsyncLine

CONNECTIONS: Final = 128  # at most; pieces beyond wait for one, and their waiting counts
HOST: Final = "127.0.0.1"

_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED: Final = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
_LAST: Final = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Door = Callable[[int, Load], AbstractAsyncContextManager[Send]]  # port and load to a way of sending a piece


class UndecidedError(Exception):
    """An answer that is no decision."""


@dataclass(frozen=True)
class Answer:
    """What came back.

    Attributes:
        status: of HTTP.
        body: as sent.
    """

    status: int
    body: bytes


@dataclass(frozen=True)
class Post:
    """A request that is sent again and again.

    Attributes:
        path, kind, body: of the request.
        headers: others, each with its line's end.
    """

    path: str
    kind: str
    body: bytes
    headers: str = ""

    def encode(self) -> bytes:
        """As it goes over the wire."""
        head = (
            f"POST {self.path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: {self.kind}\r\n"
            f"Content-Length: {len(self.body)}\r\n{self.headers}\r\n"
        )
        return head.encode() + self.body


class Http:
    """Connections to one server, each with one request at a time."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._room = asyncio.Semaphore(CONNECTIONS)
        self._idle: list[Streams] = []

    async def ask(self, request: bytes) -> Answer:
        """Send a whole request and read its answer.

        Raises:
            OSError, EOFError: the connection broke.
        """
        async with self._room:
            reader, writer = (
                self._idle.pop() if self._idle else await asyncio.open_connection(HOST, self._port)
            )
            try:
                writer.write(request)
                head = await reader.readuntil(b"\r\n\r\n")
                body = await _body(reader, head)
            except BaseException:
                writer.close()
                raise
            if _LAST.search(head):
                writer.close()
            else:
                self._idle.append((reader, writer))
            return Answer(int(head[9:12]), body)

    def close(self) -> None:
        """Leave; requests under way are given up by who cancels them."""
        for _, writer in self._idle:
            writer.close()


async def _body(reader: asyncio.StreamReader, head: bytes) -> bytes:
    length = _LENGTH.search(head)
    if length is not None:
        return await reader.readexactly(int(length[1]))
    if not _CHUNKED.search(head):
        return b""
    parts = []
    while size := int(await reader.readuntil(b"\r\n"), 16):
        parts.append(await reader.readexactly(size))
        await reader.readexactly(2)
    await reader.readuntil(b"\r\n")
    return b"".join(parts)


def http_door(make: Callable[[Http, Load], Awaitable[Post]]) -> Door:
    """A door that takes the same request over and over; `make` may first tell the server something."""

    @asynccontextmanager
    async def door(port: int, load: Load) -> AsyncIterator[Send]:
        http = Http(port)
        try:
            request = (await make(http, load)).encode()

            async def send() -> bool:
                answer = await http.ask(request)
                if answer.status != HTTPStatus.OK or b"decided" not in answer.body:
                    raise UndecidedError(f"HTTP {answer.status}: {answer.body[:200]!r}")
                return True

            yield send
        finally:
            http.close()

    return door


@asynccontextmanager
async def stream_door(port: int, load: Load) -> AsyncIterator[Send]:
    """alloysort's WebSocket, one connection, which listens one port above HTTP."""
    line = await AsyncLine.connect(f"ws://{HOST}:{port + 1}")
    axis = line.axis(load.wavelength_nm)

    async def send() -> bool:
        answer = await line.send(axis, load.shots, load.jpeg)
        if answer.status != "decided":
            raise UndecidedError(answer.reason)
        return True

    try:
        yield send
    finally:
        await line.close()
