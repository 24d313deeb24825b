from __future__ import annotations

import csv
import json
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from alloysort.cli import app
from alloysort_datasets.errors import DataError
from alloysort_datasets.table.store import read_instruments, read_pieces
from alloysort_inference.log.database import open_database
from alloysort_inference.log.export import export_decisions, export_pieces
from alloysort_inference.log.read import count_kept, label_piece, list_kept, read_kept
from alloysort_inference.log.store import DecisionLog


@pytest.fixture
def log(decided, tmp_path):
    """Two kept pieces and a plain one."""
    where = str(tmp_path / "log")
    with DecisionLog(where) as writing:
        for batch, lines in (("m", (395.0, 725.0)), ("t", (327.0, 725.0)), ("t", (395.0,))):
            record, seen = decided(*lines, batch=batch)
            writing.write(record, 7.0, seen)
    return where


@pytest.fixture
def database(log):
    opened = open_database(log)
    yield opened
    opened.dispose()


def test_kept_pieces_become_a_piece_table_with_the_labels_that_people_gave(database, decided, tmp_path):
    listed = list_kept(database, 10, unlabelled=True)
    assert [one["why"] for one in listed] == ["novel", "novel"]
    label_piece(database, listed[0]["seq"], "brass", "me", "C36000")
    assert count_kept(database) == (2, 1)
    assert export_pieces(database, tmp_path / "table") == 2
    first, second = read_pieces(tmp_path / "table")
    assert (first.family, first.batch, second.family, second.alloy) == (None, "m", "brass", "C36000")
    seen = decided(395.0, 725.0)[1].spectrum()
    assert np.array_equal(first.spectra, seen.shots)
    instrument = read_instruments(tmp_path / "table")[first.instrument]
    assert np.array_equal(instrument.wavelength_nm, seen.wavelength_nm)
    assert first.image == decided(395.0)[1].image
    assert first.mass_g == 7.0
    assert export_pieces(database, tmp_path / "labelled", labelled=True) == 1


def test_a_label_can_be_changed_and_taken_back(database):
    seq = list_kept(database, 1, unlabelled=True)[0]["seq"]
    for family in ("zinc", "brass"):
        label_piece(database, seq, family, "me")
    assert next(read_kept(database, seq=seq)).label == "brass"
    label_piece(database, seq, None, "me")
    assert next(read_kept(database, seq=seq)).label is None
    with pytest.raises(DataError, match="label 'gold' is none of 1xxx"):
        label_piece(database, seq, "gold", "me")
    with pytest.raises(DataError, match="piece 5: is not kept"):
        label_piece(database, 5, "zinc", "me")


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_every_decision_as_a_file(database, tmp_path, ending):
    path = tmp_path / f"decisions{ending}"
    assert export_decisions(database, path) == 3
    if ending == ".csv":
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert [row["eject"] for row in rows] == ["false", "false", "true"]
        assert datetime.fromisoformat(rows[0]["time"]).tzinfo is not None
    else:
        rows = pq.read_table(path).to_pylist()
        assert [row["eject"] for row in rows] == [False, False, True]
    assert [row["batch"] for row in rows] == ["m", "t", "t"]
    assert json.loads(rows[2]["probabilities"])["6xxx"] > 0.8
    assert float(rows[2]["mass_g"]) == 7.0


def test_only_those_of_a_time_or_a_batch(database, tmp_path):
    assert export_decisions(database, tmp_path / "t.csv", batch="t") == 2
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    assert export_decisions(database, tmp_path / "u.csv", until=tomorrow) == 3
    with pytest.raises(DataError, match="holds no such decision"):
        export_decisions(database, tmp_path / "s.csv", since=tomorrow)
    with pytest.raises(DataError, match="keeps no such piece"):
        export_pieces(database, tmp_path / "none", batch="sunday")


def test_the_command(log, tmp_path):
    run = CliRunner().invoke
    told = run(app, ["log", "export", log, str(tmp_path / "table")])
    assert told.output == f"{tmp_path / 'table'}: a piece table of 2 pieces\n"
    told = run(app, ["log", "export", log, str(tmp_path / "d.csv"), "--since", "2020-01-01"])
    assert told.output.endswith("d.csv: 3 decisions\n")
    for out, words in (("d.txt", "must end in .csv"), ("table", "holds a piece table already")):
        assert words in str(run(app, ["log", "export", log, str(tmp_path / out)]).exception)
    assert "no such file" in str(run(app, ["log", "export", str(tmp_path / "no"), "x.csv"]).exception)
