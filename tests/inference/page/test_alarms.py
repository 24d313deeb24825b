from __future__ import annotations

from datetime import UTC, datetime

import pytest
from sqlalchemy import select

from alloysort_datasets.errors import DataError
from alloysort_inference.health.watch import Alarm
from alloysort_inference.log import schema
from alloysort_inference.log.database import open_database
from alloysort_inference.page.alarms import Book


def alarm(key, severity="warning", text="It is so."):
    return Alarm(key, severity, text, "Do this.", datetime.now(UTC))


def test_one_that_stands_is_raised_once_and_keeps_its_beginning(caplog):
    book, first = Book(None), alarm("a")
    book.update([first])
    book.update([alarm("a", text="It is worse.")])
    (entry,) = book.standing()
    assert (entry.alarm.since, entry.alarm.text) == (first.since, "It is worse.")
    assert caplog.text.count("alarm a:") == 1
    book.update([])
    assert book.standing() == []
    assert [one.alarm.key for one in book.over()] == ["a"]
    assert book.over()[0].until is not None


def test_the_gravest_come_first():
    book = Book(None)
    book.update([alarm("n", "notice"), alarm("f", "fault"), alarm("w"), alarm("w2")])
    assert [one.alarm.key for one in book.standing()] == ["f", "w2", "w", "n"]


def test_the_first_who_acknowledges_stands_in_the_book():
    book = Book(None)
    book.update([alarm("a")])
    number = book.standing()[0].number
    assert book.acknowledge(number, "anna").who == "anna"
    assert book.acknowledge(number, "ben").who == "anna"
    book.update([alarm("a")])
    assert book.standing()[0].who == "anna"
    with pytest.raises(DataError, match=f"alarm 99: does not stand; those that do: {number}"):
        book.acknowledge(99, "anna")


def test_the_log_keeps_them_and_numbers_go_on(tmp_path):
    database = open_database(str(tmp_path / "log"))
    book = Book(database)
    book.update([alarm("a"), alarm("b")])
    book.acknowledge(1, "anna")
    book.update([alarm("b")])
    again = Book(database)
    again.update([alarm("c")])
    with database.connect() as connection:
        rows = connection.execute(select(schema.alarms).order_by(schema.alarms.c.id)).mappings().all()
    database.dispose()
    assert [(row["id"], row["key"], row["who"]) for row in rows] == [
        (1, "a", "anna"),
        (2, "b", None),
        (3, "c", None),
    ]
    assert [row["until"] is None for row in rows] == [False, True, True]
