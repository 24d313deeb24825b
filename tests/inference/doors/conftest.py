"""The service on a free port, as `alloysort serve` runs it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import httpx
import pytest

from alloysort_inference.doors.rest.app import create_app
from alloysort_inference.doors.serve import Server, listen
from alloysort_inference.doors.settings import Settings

Running = Callable[[Settings], AbstractContextManager[httpx.Client]]


@contextmanager
def _running(settings: Settings) -> Iterator[httpx.Client]:
    with listen("127.0.0.1", 0) as listener:
        server = Server(create_app(settings), None)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}") as client:
                while client.get("/readyz").status_code != 200:
                    pass
                yield client
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture(scope="session")
def running() -> Running:
    """`with running(settings) as client`: a warm service behind real sockets."""
    return _running
