"""The audit: written by and by, read newest first, and bounded where others could fill it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from alloysort_inference.log.audit import Entry, Trail, forget_refusals, note, read_audit
from alloysort_inference.log.database import open_database


@pytest.fixture
def database(tmp_path):
    opened = open_database(str(tmp_path / "log.sqlite"))
    yield opened
    opened.dispose()


def test_what_is_noted_is_read_newest_first(database):
    note(database, Entry(datetime.now(UTC), "this machine", "127.0.0.1", "load", {"bundle": "tiny"}))
    note(database, Entry(datetime.now(UTC), "anybody", "192.0.2.7", "GET /", refused="a token\0is needed"))
    second, first = read_audit(database, 10)
    assert (first.who, first.address, first.action) == ("this machine", "127.0.0.1", "load")
    assert (first.details, first.refused) == ({"bundle": "tiny"}, None)
    assert (second.details, second.refused) == (None, "a token?is needed")
    assert abs(first.time - datetime.now(UTC)) < timedelta(minutes=5)
    assert read_audit(database, 1) == [second]


def test_the_oldest_refusals_are_forgotten_and_no_change(database):
    for number in range(5):
        note(database, Entry(datetime.now(UTC), "one", "", f"change {number}"))
        note(database, Entry(datetime.now(UTC), "one", "", f"refusal {number}", refused="no"))
    forget_refusals(database, 2)
    left = [entry.action for entry in read_audit(database, 100)][::-1]
    assert left == ["change 0", "change 1", "change 2", "change 3", "refusal 3", "change 4", "refusal 4"]


def test_a_trail_writes_all_before_it_closes(database, caplog):
    caplog.set_level("INFO", "alloysort")
    for where in (database, None):
        trail = Trail(where)
        for number in range(100):
            trail.add(Entry(datetime.now(UTC), "one", "", f"action {number}"))
        trail.close()
    assert [entry.action for entry in read_audit(database, 1000)][::-1] == [f"action {n}" for n in range(100)]
    assert caplog.text.count("audit: one (): action 7, done") == 2
