"""The same log in a real PostgreSQL, killed and started again."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from alloysort_inference.log import store
from alloysort_inference.log.database import open_database
from alloysort_inference.log.read import label_piece, list_kept, read_decisions, read_kept
from alloysort_inference.log.store import DecisionLog

pytestmark = pytest.mark.xdist_group("postgres")


def wait_until(done, within_s=20.0):
    until = time.monotonic() + within_s
    while not done():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_database_that_is_killed_holds_up_nobody_and_nothing_is_lost_or_there_twice(
    postgres, decided, monkeypatch
):
    monkeypatch.setattr(store, "RETRY_S", 0.05)
    novel, seen = decided(395.0, 725.0)
    with DecisionLog(postgres.url) as log:
        assert "secret" not in log.name
        for number in range(300):
            log.write(replace(novel, piece_id=f"p{number}"), None, seen)
        wait_until(lambda: not log._waiting and not log._unwritten)
        postgres.stop()
        started = time.perf_counter()
        for number in range(300, 600):
            log.write(replace(novel, piece_id=f"p{number}"))
        assert time.perf_counter() - started < 1.0
        wait_until(lambda: log.fault is not None)
        postgres.start()
        wait_until(lambda: log.fault is None)
        for number in range(600, 900):
            log.write(replace(novel, piece_id=f"p{number}"))
    database = open_database(postgres.url)
    rows = list(read_decisions(database))
    assert [row["piece_id"] for row in rows] == [f"p{number}" for number in range(900)]
    assert rows[0]["composition"].keys() == rows[0]["composition_sigma"].keys()
    assert rows[0]["time"] == novel.time.replace(microsecond=rows[0]["time"].microsecond)
    kept = list_kept(database, 100, unlabelled=True)
    label_piece(database, kept[0]["seq"], "zinc", "me")
    assert next(read_kept(database, seq=kept[0]["seq"])).label == "zinc"
    database.dispose()
