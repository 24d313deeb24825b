"""Who may come in at the stream door, and over TLS."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from picows import WSListener, ws_connect
from picows.common import WSHandshakeError

from alloysort_inference.doors.serve import listen
from alloysort_inference.doors.service import Service
from alloysort_inference.doors.settings import Settings
from alloysort_inference.doors.stream.client import Line, LineClosedError
from alloysort_inference.doors.stream.server import stream_door
from alloysort_inference.doors.tokens import make_token
from alloysort_inference.log.audit import read_audit
from alloysort_inference.log.database import open_database


@contextmanager
def open_door(bundle, **settings: Any) -> Iterator[int]:
    """The door on a port of 127.0.0.1."""
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
        yield listener.getsockname()[1]
    finally:
        loops[0].call_soon_threadsafe(stop.set)
        thread.join(10)


def knock(port: int, **headers: str) -> tuple[int, str]:
    """The status and the words of the answer to an upgrade."""

    async def ask() -> tuple[int, str]:
        try:
            transport, _ = await ws_connect(WSListener, f"ws://127.0.0.1:{port}", extra_headers=headers)
        except WSHandshakeError as refused:
            return int(refused.response.status), (refused.raw_body or b"").decode()
        transport.disconnect()
        return 101, ""

    return asyncio.run(ask())


def test_the_rule_is_that_of_every_door(bundle, tmp_path):
    path, log = tmp_path / "tokens.toml", str(tmp_path / "log.sqlite")
    tokens = {role: f"Bearer {make_token(path, f'the {role}', role)}" for role in ("read", "operate")}
    afar = {"X-Forwarded-For": "192.0.2.7"}  # this machine's proxy lets somebody else ask
    with open_door(bundle, tokens=path, log=log) as port:
        assert knock(port) == (101, "")
        status, said = knock(port, **afar)
        assert (status, "a token is needed" in said) == (401, True)
        assert knock(port, **afar, Authorization="Bearer wrong") == (401, "the token is not known")
        assert knock(port, **afar, Authorization=tokens["read"])[0] == 403
        assert knock(port, **afar, Authorization=tokens["operate"])[0] == 101
        assert knock(port, Origin="http://evil.example")[0] == 403
        assert knock(port, Host="evil.example")[0] == 403
    database = open_database(log)
    try:
        noted = read_audit(database, 100)
    finally:
        database.dispose()
    assert {(one.action, one.who) for one in noted} <= {
        ("stream", "anybody"),
        ("stream", "the read"),
        ("stream", "this machine"),
    }
    assert any("a token is needed" in (one.refused or "") for one in noted)


def test_a_line_shows_its_token(bundle, tmp_path):
    path = tmp_path / "tokens.toml"
    token = make_token(path, "belt", "operate")
    with open_door(bundle, tokens=path) as port, Line(f"ws://127.0.0.1:{port}", token=token) as line:
        assert line.greeting["outlets"]


def test_a_line_over_tls(bundle, certificate, trusting):
    chain, key = certificate
    with open_door(bundle, tls_certificate=chain, tls_key=key) as port:
        with Line(f"wss://127.0.0.1:{port}", ssl=trusting) as line:
            assert line.greeting["outlets"]
            assert line.send().result(10).status == "refused"
        with pytest.raises(LineClosedError, match=r"(?i)certificate"):
            Line(f"wss://127.0.0.1:{port}")
