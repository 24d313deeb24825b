"""All outputs together: what a line tells costs it nothing, whoever is there."""

from __future__ import annotations

import logging
from time import perf_counter

import pytest

from alloysort_datasets.errors import AlloysortError, DataError
from alloysort_inference.outputs import open as opening
from alloysort_inference.outputs.open import open_outputs
from alloysort_inference.outputs.output import MOST_WAITING
from alloysort_inference.outputs.settings import OutputSettings

NAMES = ["modbus", "sparkplug", "opcua", "dry"]


@pytest.fixture
def nobody(free_port, tmp_path) -> OutputSettings:
    """Counterparts that are all dead; the address of the OPC UA server is of no machine here."""
    return OutputSettings.model_validate(
        {
            "modbus": {
                "host": "127.0.0.1",
                "port": free_port(),
                "coils": {"wrought": 0, "cast": 1},
                "first_register": 10,
                "heartbeat_register": 0,
            },
            "sparkplug": {"host": "127.0.0.1", "port": free_port(), "group": "g", "node": "n"},
            "opcua": {"endpoint": "opc.tcp://192.0.2.1:4840"},
            "dry": {},
        }
    )


def test_a_line_at_300_pieces_a_second_waits_for_nobody_dead_or_alive(
    nobody: OutputSettings, outlets, desk, record, until
) -> None:
    outputs = open_outputs(nobody, outlets, desk)
    outputs.begin()
    pieces = [record(outlets[number % 3], piece_id=f"p-{number}") for number in range(300)]
    longest_s, start = 0.0, perf_counter()
    for number, piece in enumerate(pieces):
        while perf_counter() < start + number / 300:
            pass
        before = perf_counter()
        outputs.tell(piece, 20.0)
        outputs.fire(piece.decision.outlet, before, before + 0.004)
        longest_s = max(longest_s, perf_counter() - before)
    assert longest_s < 0.25
    until(lambda: all(output.counts.pieces == 300 for output in outputs._outputs))
    until(lambda: outputs.states()[0][2] == 200)  # firings whose time is over
    until(lambda: all(fault for name, fault, _ in outputs.states() if name != "dry"))
    assert [name for name, _, _ in outputs.states()] == NAMES
    assert [dropped for _, _, dropped in outputs.states()] == [200, 0, 0, 0]
    outputs.close()


def test_what_waits_is_bounded_and_the_oldest_is_dropped(
    nobody: OutputSettings, outlets, desk, record
) -> None:
    outputs = open_outputs(nobody, outlets, desk)
    pieces = [record(piece_id=f"p-{number}") for number in range(MOST_WAITING + 5)]
    for piece in pieces:
        outputs.tell(piece, 20.0)
    assert [dropped for _, _, dropped in outputs.states()] == [5, 5, 5, 5]
    for output in outputs._outputs:
        assert len(output._told) == MOST_WAITING
        assert output._told[0][0].piece_id == "p-5"
    outputs.close()


def test_without_settings_nobody_is_told(outlets, desk, record) -> None:
    outputs = open_outputs(OutputSettings(), outlets, desk)
    outputs.begin()
    outputs.tell(record(), 20.0)
    outputs.fire("wrought", 0.0, 1.0)
    assert outputs.states() == []
    outputs.close()


def test_a_coil_of_no_outlet_is_refused_before_anything_begins(nobody: OutputSettings, desk) -> None:
    with pytest.raises(DataError, match=r"coils\.wrought: no outlet of the recipe, which has zorba, rest"):
        open_outputs(nobody, ("zorba", "rest"), desk)


def test_a_missing_package_is_named_with_the_extra_it_comes_with(monkeypatch, nobody, outlets, desk) -> None:
    def import_module(name: str) -> None:
        raise ModuleNotFoundError(name="pymodbus")

    monkeypatch.setattr(opening, "import_module", import_module)
    with pytest.raises(AlloysortError, match=r"\[modbus\] needs the package pymodbus: .*alloysort\[plant\]"):
        open_outputs(nobody, outlets, desk)


def test_the_dry_output_says_some_and_keeps_the_rest(outlets, desk, record, until, caplog) -> None:
    settings = OutputSettings.model_validate({"dry": {"lines_per_s": 2}})
    outputs = open_outputs(settings, outlets, desk)
    (dry,) = outputs._outputs
    with caplog.at_level(logging.INFO, logger="alloysort"):
        outputs.begin()
        for number in range(1200):
            outputs.tell(record(piece_id=f"p-{number}"), 20.0)
        now = perf_counter()
        outputs.fire("wrought", now + 0.5, now + 0.504)
        until(lambda: dry.counts.pieces == 1200 and "outlet wrought open in" in dry.kept[-1])
        said = [entry for entry in caplog.records if "output dry: " in entry.getMessage()]
    outputs.close()
    assert len(dry.kept) == 1000
    assert "piece p-1199 to wrought, ejected, 20 g" in dry.kept
    assert dry.kept[-1].endswith("for 4.0 ms")
    assert 2 <= len(said) <= 10
    assert dry.unsaid == 1201 - len(said)
