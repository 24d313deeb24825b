"""A service told to stop while its clients go on: answers, refusals in words, and nothing in between."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from urllib.request import urlopen

import pytest

from alloysort_inference.doors import serve
from alloysort_inference.doors.rest.app import create_app
from alloysort_inference.doors.settings import Settings

CLIENTS = 20
REFUSED = {"refused", "closed"}  # before a request was taken


class Client:
    """Asks for one piece after another until nobody listens; half of the clients keep their connection."""

    def __init__(self, port, body, keep):
        self.port, self.keep = port, keep
        self.request = b"POST /v1/classify HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        self.request += b"" if keep else b"Connection: close\r\n"
        self.request += b"Content-Length: %d\r\n\r\n" % len(body) + body
        self.outcomes = Counter()

    def run(self):
        while not self.outcomes["refused"]:
            try:
                connection = socket.create_connection(("127.0.0.1", self.port), timeout=30)
            except ConnectionError:
                self.outcomes["refused"] += 1
                return self.outcomes
            with connection:
                while self.ask(connection):
                    pass
        return self.outcomes

    def ask(self, connection):
        """Whether the connection can be asked again."""
        raw = b""
        try:
            connection.sendall(self.request)
            while chunk := connection.recv(65536):
                raw += chunk
                head, ended, body = raw.partition(b"\r\n\r\n")
                headers = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
                if ended and len(body) == int(headers[b"content-length"]):
                    return self.answered(int(head.split()[1]), headers, json.loads(body))
        except ConnectionError:
            pass
        self.outcomes[f"half an answer: {raw!r}" if raw else "closed"] += 1
        return False

    def answered(self, status, headers, body):
        kind = headers[b"content-type"].decode()
        if status == 200:
            assert body["family"] == "6xxx"
            assert kind == "application/json"
        else:
            assert kind == "application/problem+json"
            assert body["status"] == status
            assert int(headers[b"retry-after"]) > 0
        self.outcomes[status] += 1
        return headers.get(b"connection") != b"close"


@pytest.fixture(scope="module")
def body(make_shots):
    axis, shots = make_shots(395.0)
    return json.dumps({"wavelength_nm": axis.tolist(), "counts": shots.tolist()}).encode()


@pytest.fixture
def process(bundle):
    command = [sys.executable, "-m", "alloysort", "serve", "--bundle", str(bundle.path), "--port", "0"]
    environment = os.environ | {"COLUMNS": "200"}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    yield process
    process.kill()
    process.communicate()


def until_ready(port):
    while True:
        with socket.create_connection(("127.0.0.1", port)) as probe:
            probe.sendall(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            if b" 200 " in probe.recv(4096):
                return
        time.sleep(0.05)


def test_told_to_stop_under_load_it_answers_or_refuses_every_request(process, body):
    port = int(process.stdout.readline().split("http://127.0.0.1:")[1].split()[0])
    until_ready(port)
    clients = [Client(port, body, keep=number % 2 == 0) for number in range(CLIENTS)]
    with ThreadPoolExecutor(CLIENTS) as threads:
        running = [threads.submit(client.run) for client in clients]
        time.sleep(1.5)
        process.send_signal(signal.SIGTERM)
        outcomes = sum((client.result(timeout=30) for client in running), Counter())
    _, complaints = process.communicate(timeout=20)
    assert (process.returncode, complaints) == (0, "")
    assert set(outcomes) <= {200, 503} | REFUSED, outcomes
    assert outcomes[200] > CLIENTS
    assert outcomes[503] > CLIENTS / 2
    assert outcomes["closed"] <= 2  # in the instant in which the listener goes


@pytest.mark.parametrize("hurry", [False, True])
def test_what_cannot_be_answered_in_time_is_refused(bundle, body, monkeypatch, capfd, hurry):
    monkeypatch.setattr(serve, "DRAIN_S", 30 if hurry else 1)
    app = create_app(Settings(bundle=bundle.path, threads=1, workers=1))
    service = app.state.service
    quick = service.classifier.assess

    def slow(ready):
        time.sleep(0.3)
        return quick(ready)

    monkeypatch.setattr(service.classifier, "assess", slow)
    monkeypatch.setattr(service.batcher, "_most", 1)
    with serve.listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        server = serve.Server(app, None)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        until_ready(port)
        clients = [Client(port, body, keep=True) for _ in range(CLIENTS)]
        with ThreadPoolExecutor(CLIENTS) as threads:
            running = [threads.submit(client.run) for client in clients]
            time.sleep(0.5)
            begun_s = time.monotonic()
            server.should_exit = True
            if hurry:
                time.sleep(0.3)
                server.force_exit = True
            outcomes = sum((client.result(timeout=30) for client in running), Counter())
        thread.join(timeout=10)
    assert time.monotonic() - begun_s < 10
    assert set(outcomes) <= {200, 503} | REFUSED, outcomes
    assert 1 <= outcomes[200] <= 8
    assert outcomes[503] >= CLIENTS - 8
    assert capfd.readouterr() == ("", "")


def test_half_requests_and_silent_clients_hold_up_no_stop(process, capfd):
    port = int(process.stdout.readline().split("http://127.0.0.1:")[1].split()[0])
    until_ready(port)
    head = b"POST /v1/classify HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    halves = [b"", b"POST", head + b"Content-Length: 9\r\n\r\n{"]
    connections = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in halves]
    for connection, half in zip(connections, halves, strict=True):
        connection.sendall(half)
    time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    answers = [b"".join(iter(lambda c=connection: c.recv(4096), b"")) for connection in connections]
    _, complaints = process.communicate(timeout=15)
    assert (process.returncode, complaints) == (0, "")
    assert answers[:2] == [b"", b""]
    assert answers[2].startswith(b"HTTP/1.1 503")
    assert b"application/problem+json" in answers[2]
    for connection in connections:
        connection.close()


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="there is no SIGHUP here")
def test_a_hangup_takes_the_recipe_anew(bundle, tmp_path):
    recipe = tmp_path / "mine.toml"
    text = 'default = "{}"\n[[outlets]]\nname = "{}"\n'
    recipe.write_text(text.format("one", "one"), encoding="utf-8")
    command = [sys.executable, "-m", "alloysort", "serve", "--bundle", str(bundle.path), "--port", "0"]
    with subprocess.Popen(
        [*command, "--recipe", str(recipe)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"COLUMNS": "200", "ALLOYSORT_MESSAGES": "json"},
    ) as process:
        port = int(process.stdout.readline().split("http://127.0.0.1:")[1].split()[0])
        until_ready(port)
        for default, expected in (("two", "two"), ("", "two"), ("three", "three")):
            recipe.write_text(text.format(default, default), encoding="utf-8")
            process.send_signal(signal.SIGHUP)
            said = json.loads(process.stderr.readline())
            assert said["level"] == ("warning" if default else "error"), said
            assert ("taken anew" in said["message"]) == bool(default), said
            with urlopen(f"http://127.0.0.1:{port}/v1/model") as answer:
                assert json.load(answer)["outlets"] == [expected]
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
