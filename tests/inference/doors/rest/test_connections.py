"""What clients do to connections: stop, stall, dribble, send what is no HTTP, and come back minutes later."""

from __future__ import annotations

import gzip
import json
import socket
import time
from contextlib import suppress

import httpx
import pytest

from alloysort_inference.doors.rest.connection import MAX_HEAD_BYTES
from alloysort_inference.doors.settings import Settings, read_settings

TIMEOUT_S = 0.5
HEAD = b"POST /v1/classify HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
ALIVE = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture(scope="module")
def client(running, bundle):
    timeouts = {"read_timeout_s": TIMEOUT_S, "keep_alive_s": 2}
    with running(Settings(bundle=bundle.path, threads=1, max_body_mb=1, **timeouts)) as client:
        yield client


@pytest.fixture
def connect(client):
    opened = []

    def begin():
        opened.append(socket.create_connection((client.base_url.host, client.base_url.port), timeout=10))
        return opened[-1]

    yield begin
    for connection in opened:
        connection.close()


def until_closed(connection):
    """All answers up to the end of a connection, as (status, type, body)."""
    return answers_in(b"".join(iter(lambda: connection.recv(65536), b"")))


def answers_in(raw):
    found = []
    while raw:
        head, _, rest = raw.partition(b"\r\n\r\n")
        status, *lines = head.decode().splitlines()
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        length = int(headers["content-length"])
        assert len(rest) >= length
        found.append((int(status.split()[1]), headers["content-type"], json.loads(rest[:length])))
        raw = rest[length:]
    return found


def refusal(connection):
    """The only answer, a problem: its status and detail."""
    ((status, kind, body),) = until_closed(connection)
    assert kind == "application/problem+json"
    assert body["status"] == status
    return status, body["detail"]


@pytest.mark.parametrize(
    ("sent", "says"),
    [
        (
            b"Content-Length: 9\r\n\r\n",
            "0 of 9 bytes of the body came, then too little for 0.5 s (read_timeout_s)",
        ),
        (b"Content-Length: 9\r\n\r\n{}", "2 of 9 bytes"),
        (b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n", "2 bytes of the body came"),
    ],
)
def test_a_body_that_stalls_is_refused_in_time(connect, sent, says):
    connection = connect()
    begun_s = time.monotonic()
    connection.sendall(HEAD + sent)
    status, detail = refusal(connection)
    assert status == 408
    assert says in detail
    assert TIMEOUT_S * 0.9 < time.monotonic() - begun_s < TIMEOUT_S + 2


def test_a_body_may_pause_but_not_dribble(connect):
    connection = connect()
    connection.sendall(HEAD + b"Content-Length: 1000\r\n\r\n")
    begun_s = time.monotonic()
    connection.settimeout(TIMEOUT_S / 5)
    while time.monotonic() - begun_s < 4:
        try:
            connection.sendall(b" ")
            if connection.recv(1, socket.MSG_PEEK):
                break
        except TimeoutError:
            continue
        except ConnectionError:  # one of its bytes met the closed end
            break
    assert TIMEOUT_S * 0.9 < time.monotonic() - begun_s < TIMEOUT_S + 2


@pytest.mark.parametrize("sent", [b"P", HEAD, HEAD + b"X: "])
def test_a_head_that_stalls_is_let_go_in_time(connect, sent):
    for before in (b"", ALIVE):
        connection = connect()
        begun_s = time.monotonic()
        connection.sendall(before + sent)
        *_, (status, kind, _) = until_closed(connection)
        assert (status, kind) == (408, "application/problem+json")
        assert TIMEOUT_S * 0.9 < time.monotonic() - begun_s < TIMEOUT_S + 1.5


def test_a_stall_behind_an_answer_ends_the_connection(connect):
    connection = connect()
    connection.sendall(b"POST /nothing HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{")
    ((status, _, _),) = until_closed(connection)
    assert status == 404


@pytest.mark.parametrize("body", [b" " * 8_000_000, [b" " * 1_000_000] * 8])
def test_who_sends_far_too_much_hears_why(client, body):
    answer = client.post("/v1/classify", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 413
    assert "over 1 MB (max_body_mb)" in answer.json()["detail"]
    assert client.get("/healthz").status_code == 200


def test_who_sends_without_end_is_cut_off(connect):
    connection = connect()
    connection.sendall(HEAD + b"Content-Length: 1000000000000\r\n\r\n")
    begun_s = time.monotonic()
    with suppress(ConnectionError):
        while time.monotonic() - begun_s < 10:
            connection.sendall(b" " * 100_000)
    assert time.monotonic() - begun_s < TIMEOUT_S + 2


def test_stalled_clients_harm_no_others(client, connect, make_csv):
    for _ in range(50):
        connect().sendall(HEAD + b"Content-Length: 9\r\n\r\n{")
        connect().sendall(b"POST")
    for _ in range(10):
        client.post("/v1/classify", files={"spectrum": make_csv(395.0)}).raise_for_status()


def test_a_thousand_connections_harm_no_others(client, connect, make_csv):
    for _ in range(1000):
        connect()
    for _ in range(10):
        client.post("/v1/classify", files={"spectrum": make_csv(395.0)}).raise_for_status()


def test_a_stopped_belt_finds_its_connection_open(connect):
    connection = connect()
    for _ in range(3):
        connection.sendall(ALIVE)
        ((status, _, _),) = answers_in(connection.recv(65536))
        assert status == 200
        time.sleep(TIMEOUT_S * 2)  # longer than a stall may take: nothing was begun
    assert Settings().keep_alive_s == 300


@pytest.mark.parametrize("sent", [b"", b"\r\n", ALIVE])
def test_an_idle_connection_ends_at_last(connect, sent):
    connection = connect()
    connection.sendall(sent)
    begun_s = time.monotonic()
    until_closed(connection)
    assert 1.8 < time.monotonic() - begun_s < 5


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS to the plain port
        b"GET\r\n\r\n",
        b"HELO line\r\n",
        b"GET / HTTP/1.1\r\nHost x\r\n\r\n",
        b"GET  HTTP/1.1\r\n\r\n",
        b"CONNECT x:443 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        HEAD + b"Content-Length: x\r\n\r\n{}",
        HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_what_is_no_http_is_a_problem_and_silent(client, connect, capfd, sent):
    connection = connect()
    connection.sendall(sent)
    status, detail = refusal(connection)
    assert status == 400
    assert "HTTP/1.1" in detail
    assert client.get("/healthz").status_code == 200
    assert capfd.readouterr() == ("", "")


def test_a_head_without_end_is_refused(connect):
    connection = connect()
    connection.sendall(HEAD)
    time.sleep(0.1)
    connection.sendall((b"X: " + b"y" * 1000 + b"\r\n") * (MAX_HEAD_BYTES // 1000 + 1))
    assert refusal(connection)[0] == 431


def test_garbage_behind_a_request_costs_it_nothing(connect, capfd):
    connection = connect()
    connection.sendall(HEAD + b"Content-Length: 2\r\n\r\n{}\x00\x01garbage\r\n\r\n")
    assert refusal(connection)[0] == 400
    connection = connect()
    connection.sendall(ALIVE + b"\x00\x01garbage\r\n\r\n")
    ((status, _, _),) = until_closed(connection)
    assert status == 200
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("offer", ["h2c", "websocket"])
def test_an_offered_upgrade_is_passed_over(client, capfd, make_csv, offer):
    headers = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": offer, "HTTP2-Settings": "AAEAAEAA"}
    with httpx.Client(base_url=client.base_url, headers=headers) as upgrading:
        for _ in range(2):
            upgrading.post("/v1/classify", files={"spectrum": make_csv(395.0)}).raise_for_status()
            assert upgrading.get("/healthz").json() == {"status": "alive"}
    assert capfd.readouterr() == ("", "")


def test_offers_without_end_are_passed_over(connect, capfd):
    connection = connect()
    offer = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    connection.sendall(offer * 600 + ALIVE.replace(b"Host: localhost", b"Connection: close"))
    assert [status for status, _, _ in until_closed(connection)] == [200] * 601
    assert capfd.readouterr() == ("", "")


def test_requests_behind_one_another_are_answered_in_turn(connect):
    connection = connect()
    body = gzip.compress(b"{}")
    packed = HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    connection.sendall(packed + ALIVE + packed.replace(b"Host: localhost", b"Connection: close"))
    assert [status for status, _, _ in until_closed(connection)] == [400, 200, 400]


def test_timeouts_are_settings():
    settings = read_settings({"ALLOYSORT_READ_TIMEOUT_S": "2.5", "ALLOYSORT_KEEP_ALIVE_S": "60"})
    assert (settings.read_timeout_s, settings.keep_alive_s) == (2.5, 60)
