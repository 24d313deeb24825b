"""Who may come in at the stream door; decided on the upgrade request, before there is a line."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Any, Final

import aiofastnet
from picows import WSListener, WSUpgradeRequest, WSUpgradeResponse, WSUpgradeResponseWithListener
from picows.api import WSAutoPingStrategy, WSProtocol  # type: ignore[attr-defined]

from alloysort_inference.doors.access import DeniedError, Sparing
from alloysort_inference.doors.service import Service
from alloysort_inference.doors.tls import open_tls

PATHS: Final = (b"/", b"/v1/stream")
SILENCE_S: Final = 20.0  # after which a line is asked whether it is still there, and given as long to answer
HANDSHAKE_S: Final = 5.0
READ_BYTES: Final = 16 * 1024
Welcome = Callable[[], WSListener]


async def open_entrance(service: Service, listener: socket.socket, welcome: Welcome) -> asyncio.Server:
    """Listen; whoever may come in is met by what `welcome` makes.

    picows tells its own server's listeners no address of a client, so that its protocol is built here.
    """
    sparing = Sparing()

    def protocol() -> WSProtocol:
        def enter(request: WSUpgradeRequest) -> WSListener | WSUpgradeResponseWithListener | None:
            peer = made.transport.underlying_transport.get_extra_info("peername")
            return _enter(service, sparing, request, str(peer[0]) if peer else "", welcome)

        made = _protocol(enter, service.settings.max_body_mb * 1_000_000)
        return made

    loop, tls = asyncio.get_running_loop(), open_tls(service.settings)
    server: asyncio.Server = await aiofastnet.create_server(loop, protocol, sock=listener, ssl=tls)
    return server


def _enter(
    service: Service, sparing: Sparing, request: WSUpgradeRequest, address: str, welcome: Welcome
) -> WSListener | WSUpgradeResponseWithListener | None:
    headers = {
        name.lower().encode(): value.encode("utf-8", "replace") for name, value in request.headers.items()
    }
    try:
        service.access.admit(address, headers, "operate", changes=True)
    except DeniedError as denied:
        left_out = sparing.note(denied.who.address)
        if left_out is not None:
            details = {"left_out": left_out} if left_out else None
            service.audit(denied.who.name, denied.who.address, "stream", details, str(denied))
        answer = WSUpgradeResponse.create_error_response(denied.status, str(denied).encode(), denied.headers)
        return WSUpgradeResponseWithListener(answer, None)
    return welcome() if request.path.partition(b"?")[0] in PATHS else None


def _protocol(enter: Any, most_bytes: int) -> WSProtocol:
    """One end of a connection, as `picows.ws_create_server` makes it."""
    return WSProtocol(
        None,
        None,
        False,  # it is the server's
        enter,
        _quiet(),
        True,  # an error in a listener ends its connection
        HANDSHAKE_S,
        True,  # asks whether the other is still there
        SILENCE_S,
        SILENCE_S,
        WSAutoPingStrategy.PING_WHEN_IDLE,
        True,  # and answers when asked
        most_bytes,
        None,
        READ_BYTES,
    )


def _quiet() -> logging.Logger:
    """Peers that break the protocol are closed, not complained about on stderr."""
    logger = logging.getLogger("alloysort.stream.peers")
    logger.setLevel(logging.CRITICAL)
    return logger
