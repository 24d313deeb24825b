from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import event, func, select, text

from alloysort_datasets.errors import AlloysortError
from alloysort_datasets.families import ELEMENTS
from alloysort_inference.log import schema, store
from alloysort_inference.log.database import open_database
from alloysort_inference.log.keep import Sample
from alloysort_inference.log.read import read_decisions, read_kept
from alloysort_inference.log.store import DecisionLog
from alloysort_inference.record import Origin


def rows_of(where):
    database = open_database(str(where))
    try:
        return list(read_decisions(database))
    finally:
        database.dispose()


def wait_until(done, within_s=10.0):
    until = time.monotonic() + within_s
    while not done():
        assert time.monotonic() < until
        time.sleep(0.005)


def test_it_goes_on_where_it_ended(decided, tmp_path):
    for piece_id in ("a", "b"):
        with DecisionLog(str(tmp_path / "log")) as log:
            log.write(decided(395.0, piece_id=piece_id, batch="monday")[0], 12.5)
    first, second = rows_of(tmp_path / "log")
    assert (first["piece_id"], second["piece_id"]) == ("a", "b")
    assert first["seq"] < second["seq"]
    known = {"batch": "monday", "family": "6xxx", "outlet": "wrought", "eject": True, "mass_g": 12.5}
    assert {key: first[key] for key in known} == known
    assert (first["bundle"], first["recipe"], first["status"]) == ("tiny", "wrought-cast", "decided")
    assert len(first["bundle_sha256"]) == len(first["recipe_sha256"]) == 64
    assert first["probabilities"]["6xxx"] == pytest.approx(first["confidence"], abs=1e-4)
    assert tuple(first["composition"]) == tuple(first["composition_sigma"]) == ELEMENTS
    assert abs(first["time"] - datetime.now(UTC)) < timedelta(minutes=5)


def test_refused_and_late_pieces_are_in_it_too(classifier, tmp_path):
    from alloysort_inference.pipeline import Arrival, Upload

    broken = Arrival(None, Upload("broken", b"no picture"), "r")
    records = [*classifier.sort([broken]), classifier.turn_away(replace(broken, piece_id="l"))]
    with DecisionLog(str(tmp_path / "log")) as log:
        for record in records:
            log.write(record)
    rows = rows_of(tmp_path / "log")
    assert [(row["piece_id"], row["status"]) for row in rows] == [("r", "refused"), ("l", "late")]
    assert rows[0]["reason"].startswith("refused: ")
    assert rows[0]["confidence"] is rows[0]["composition"] is None


def test_what_a_text_cannot_hold_stops_no_other(decided, tmp_path):
    with DecisionLog(str(tmp_path / "log")) as log:
        log.write(decided(395.0, piece_id="a\0b")[0])
    assert [row["piece_id"] for row in rows_of(tmp_path / "log")] == ["a?b"]


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("", r"directory|unable to open"),
        ("nowhere/log", r"unable to open"),
        ("mysql://u:secret@h/d", r"mysql://\.\.\.: must be postgresql://"),
        ("postgresql://u:secret@h:port/d", r"postgresql://\.\.\.: is no URL"),
        ("postgresql://u:secret@127.0.0.1:1/d", r"127\.0\.0\.1"),
    ],
)
def test_a_log_that_cannot_be_opened_is_an_error_without_secrets(where, words, tmp_path):
    with pytest.raises(AlloysortError, match=f"(?s)decision log .*({words})") as raised:
        DecisionLog(where if "://" in where else str(tmp_path / where))
    assert "secret" not in str(raised.value)


def test_another_file_is_not_taken_for_a_log(tmp_path):
    (tmp_path / "log").write_bytes(b"decisions, in words, and many of them" * 100)
    with pytest.raises(AlloysortError, match="not a database"):
        DecisionLog(str(tmp_path / "log"))


def test_a_log_of_a_newer_alloysort_is_left_alone(tmp_path):
    DecisionLog(str(tmp_path / "log")).close()
    database = open_database(str(tmp_path / "log"))
    with database.begin() as connection:
        connection.execute(text("update alembic_version set version_num = '9999'"))
    database.dispose()
    with pytest.raises(AlloysortError, match="9999"):
        DecisionLog(str(tmp_path / "log"))


def test_made_up_pieces_never_enter_a_plants_log_nor_real_ones_a_demonstrations(tmp_path):
    DecisionLog(str(tmp_path / "plant")).close()
    DecisionLog(str(tmp_path / "demo"), demonstration=True).close()
    with pytest.raises(AlloysortError, match="of a plant: made-up ones need another file"):
        DecisionLog(str(tmp_path / "plant"), demonstration=True)
    with pytest.raises(AlloysortError, match="of a demonstration: real ones need another file"):
        DecisionLog(str(tmp_path / "demo"))


def test_the_migrations_lead_to_the_tables(tmp_path):
    database = open_database(str(tmp_path / "log"))
    with database.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), schema.metadata) == []
    database.dispose()


@pytest.fixture
def filled(tmp_path, record, monkeypatch):
    """A log on a disk that is full, as long as the test likes."""
    monkeypatch.setattr(store, "RETRY_S", 0.02)
    log = DecisionLog(str(tmp_path / "log"))
    most = [1]

    @event.listens_for(log.database, "begin")
    def limit(connection):
        connection.exec_driver_sql(f"PRAGMA max_page_count = {most[0]}")

    with log:
        yield log, most


def test_a_full_disk_stops_no_decision_and_raises_an_alarm_once(filled, record, caplog):
    log, _ = filled
    for number in range(2000):
        log.write(replace(record, piece_id=f"p{number}"))
    wait_until(lambda: log.fault is not None)
    assert "full" in log.fault
    log.write(record)
    assert log.lost == 0
    log.close()
    assert log.lost == 2001
    assert caplog.text.count("decisions go on") == 1
    assert "2001 records are lost" in caplog.text


def test_records_wait_until_the_disk_takes_them_again_and_none_is_there_twice(filled, record, tmp_path):
    log, most = filled
    for number in range(2000):
        log.write(
            replace(record, piece_id=f"p{number}", bundle=Origin(f"b{number % 3}", f"{number % 3}" * 64))
        )
    wait_until(lambda: log.fault is not None)
    most[0] = 1_000_000
    wait_until(lambda: log.fault is None)
    log.close()
    rows = rows_of(tmp_path / "log")
    assert [row["piece_id"] for row in rows] == [f"p{number}" for number in range(2000)]
    assert {row["bundle"] for row in rows} == {"b0", "b1", "b2"}


KILLED = """
import sys, time, pickle
from alloysort_inference.log.store import DecisionLog
record = pickle.load(open(sys.argv[2], "rb"))
log = DecisionLog(sys.argv[1])
number = 0
while True:
    log.write(record)
    number += 1
    print(number, time.monotonic(), flush=True)
    time.sleep(0.002)
"""


def test_a_killed_process_loses_no_more_than_its_last_moment(record, tmp_path):
    import pickle

    (tmp_path / "record").write_bytes(pickle.dumps(record))
    command = [sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path / "log"), str(tmp_path / "record")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        told = [process.stdout.readline().split() for _ in range(300)]
        os.kill(process.pid, signal.SIGKILL)
        told += [line.split() for line in process.stdout.read().splitlines() if line.count(".") == 1]
    ended_s = float(told[-1][1])
    old = sum(ended_s - float(when) > 0.4 for _, when in told)  # 0.2 and what a busy machine adds
    rows = rows_of(tmp_path / "log")
    assert old <= len(rows) <= len(told) + 1
    assert len({row["seq"] for row in rows}) == len(rows)


def test_old_decisions_are_forgotten_and_of_the_kept_those_that_teach_least(decided, tmp_path, monkeypatch):
    monkeypatch.setattr(store, "TIDY_S", 0.05)
    sure, seen = decided(395.0)
    novel, _ = decided(395.0, 725.0)
    assert novel.decision.novel
    with DecisionLog(str(tmp_path / "log"), most_kept=3) as log:
        for record in (sure, novel, novel, sure, novel, novel):
            log.write(record, None, seen)
        wait_until(lambda: not log._waiting and not log._unwritten)

        def kept():
            with log.database.connect() as connection:
                return connection.scalars(select(schema.kept.c.why).order_by(schema.kept.c.seq)).all()

        log._wake.set()
        wait_until(lambda: kept() == ["novel"] * 3)
    with DecisionLog(str(tmp_path / "log"), days=1e-9) as log:
        log._tidied_s = -1000.0
        log._wake.set()

        def left():
            with log.database.connect() as connection:
                return connection.scalar(select(func.count()).select_from(schema.pieces))

        wait_until(lambda: left() == 0)
    database = open_database(str(tmp_path / "log"))
    assert list(read_kept(database)) == []
    database.dispose()


def test_a_picture_without_a_spectrum_is_kept_too(classifier, make_picture, tmp_path):
    from alloysort_inference.pipeline import Arrival, Upload

    picture = Upload("picture", make_picture((220, 60, 60)))
    (record,) = classifier.sort([Arrival(None, picture)])
    with DecisionLog(str(tmp_path / "log")) as log:
        log.write(record, None, Sample(picture.content, None))
    database = open_database(str(tmp_path / "log"))
    (one,) = read_kept(database)
    database.dispose()
    assert (one.image, one.shots, one.wavelength_nm) == (picture.content, None, None)
