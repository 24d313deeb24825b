"""A real Modbus server is written to, goes away and comes back."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from time import perf_counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymodbus.pdu import ModbusPDU
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from alloysort_datasets.errors import DataError
from alloysort_inference.outputs.modbus import Modbus, Valves, runs_of
from alloysort_inference.outputs.settings import ModbusSettings

WRITE_COILS, WRITE_REGISTERS = 15, 16


class Plc:
    """A Modbus server in a thread of its own; keeps every request with its time."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.seen: list[tuple[float, int, int, list[int]]] = []
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(ready)))
        self._thread.start()
        assert ready.wait(10)

    def stop(self) -> None:
        if self._thread is not None:
            self._loop.call_soon_threadsafe(self._end.set)
            self._thread.join()
            self._thread = None

    def coil(self, address: int) -> list[tuple[float, bool]]:
        """Every change of a coil, off at the beginning."""
        changes = [(0.0, False)]
        for at_s, code, first, values in self.seen:
            if code == WRITE_COILS and first <= address < first + len(values):
                value = bool(values[address - first])
                if value != changes[-1][1]:
                    changes.append((at_s, value))
        return changes[1:]

    def registers(self) -> dict[int, int]:
        return {
            first + place: value
            for _, code, first, values in self.seen
            if code == WRITE_REGISTERS
            for place, value in enumerate(values)
        }

    def beats(self, address: int) -> list[int]:
        return [
            values[0] for _, code, first, values in self.seen if code == WRITE_REGISTERS and first == address
        ]

    async def _serve(self, ready: threading.Event) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        bits = [SimData(0, count=64, values=False, datatype=DataType.BITS)]
        words = [SimData(0, count=256, values=0, datatype=DataType.REGISTERS)]
        server = ModbusTcpServer(
            SimDevice(1, simdata=(bits, bits, words, words)),
            address=("127.0.0.1", self.port),
            trace_pdu=self._note,
        )
        await server.serve_forever(background=True)
        ready.set()
        await self._end.wait()
        await server.shutdown()

    def _note(self, sending: bool, pdu: ModbusPDU) -> ModbusPDU:
        if not sending and pdu.function_code in (WRITE_COILS, WRITE_REGISTERS):
            values = pdu.bits[: pdu.count] if pdu.function_code == WRITE_COILS else pdu.registers
            self.seen.append((perf_counter(), pdu.function_code, pdu.address, [int(v) for v in values]))
        return pdu


@pytest.fixture
def plc(free_port: Callable[[], int]) -> Iterator[Plc]:
    plc = Plc(free_port())
    plc.start()
    yield plc
    plc.stop()


def settings_for(plc: Plc, **more: object) -> ModbusSettings:
    return ModbusSettings.model_validate(
        {
            "host": "127.0.0.1",
            "port": plc.port,
            "coils": {"wrought": 4, "cast": 5},
            "first_register": 10,
            "heartbeat_register": 0,
            "heartbeat_ms": 50,
            **more,
        }
    )


@pytest.fixture
def modbus(plc: Plc, outlets, running, until) -> Modbus:
    modbus = running(Modbus(settings_for(plc), outlets))
    until(lambda: modbus.fault is None)
    return modbus


def test_coils_go_on_and_off_at_their_times_in_order(plc: Plc, modbus: Modbus, until) -> None:
    start = perf_counter() + 0.1
    modbus.fire("cast", start + 0.15, start + 0.25)
    modbus.fire("wrought", start, start + 0.1)
    until(lambda: len(plc.coil(4)) == len(plc.coil(5)) == 2)
    changes = sorted(
        [(at, 4, on) for at, on in plc.coil(4)] + [(at, 5, on) for at, on in plc.coil(5)],
    )
    assert [(coil, on) for _, coil, on in changes] == [(4, True), (4, False), (5, True), (5, False)]
    for (at, _, _), wanted in zip(changes, (0, 0.1, 0.15, 0.25), strict=True):
        assert start + wanted - 0.001 <= at < start + wanted + 0.1
    assert modbus.unfired == 0


def test_overlapping_firings_keep_the_coil_on_until_the_last_closes(plc: Plc, modbus: Modbus, until) -> None:
    start = perf_counter() + 0.05
    modbus.fire("wrought", start, start + 0.3)
    modbus.fire("wrought", start + 0.05, start + 0.1)
    until(lambda: len(plc.coil(4)) == 2)
    (_, on), (closed, off) = plc.coil(4)
    assert on
    assert not off
    assert closed >= start + 0.299
    assert modbus.unfired == 0


def test_a_coil_stays_on_for_the_least_pulse(plc: Plc, outlets, running, until) -> None:
    modbus = running(Modbus(settings_for(plc, pulse_ms=200), outlets))
    until(lambda: modbus.fault is None)
    start = perf_counter() + 0.05
    modbus.fire("wrought", start, start + 0.001)
    until(lambda: len(plc.coil(4)) == 2)
    assert plc.coil(4)[1][0] >= start + 0.199


def test_an_outlet_without_a_coil_is_not_fired(plc: Plc, modbus: Modbus, until) -> None:
    modbus.fire("rest", perf_counter(), perf_counter() + 1)
    beats = len(plc.beats(0))
    until(lambda: len(plc.beats(0)) > beats + 1)
    assert not plc.coil(4)
    assert not plc.coil(5)


def test_the_heartbeat_counts_up(plc: Plc, modbus: Modbus, until) -> None:
    until(lambda: len(plc.beats(0)) > 5)
    beats = plc.beats(0)
    assert beats == list(range(1, len(beats) + 1))


def test_counters_are_32_bit_high_word_first(plc: Plc, modbus: Modbus, record, until) -> None:
    modbus.counts.outlets["cast"] = 0x1_FFFF
    for outlet in ("wrought", "cast", "rest", "rest"):
        modbus.tell(record(outlet), 20.0)
    until(lambda: plc.registers().get(11) == 4)
    registers = plc.registers()
    assert [registers[10 + place] for place in range(8)] == [0, 4, 0, 1, 2, 0, 0, 2]


def test_a_plc_that_goes_and_comes_raises_a_fault_and_clears_it(
    plc: Plc, modbus: Modbus, record, until, caplog
) -> None:
    with caplog.at_level(logging.WARNING, logger="alloysort"):
        plc.stop()
        until(lambda: modbus.fault is not None)
        started = perf_counter()
        modbus.fire("wrought", started, started + 0.05)
        for _ in range(10):
            modbus.tell(record(), 20.0)
        assert perf_counter() - started < 0.05
        until(lambda: modbus.unfired == 1)
        coil, seen = plc.coil(4), len(plc.seen)
        plc.start()
        until(lambda: modbus.fault is None)
        until(lambda: plc.registers().get(11) == 10)
    assert plc.coil(4) == coil == []
    assert plc.seen[seen][1:] == (WRITE_COILS, 4, [0, 0])
    assert modbus.dropped == 1
    messages = [entry.getMessage() for entry in caplog.records if "output modbus" in entry.getMessage()]
    assert len(messages) == 2
    assert "decisions go on" in messages[0]
    assert "connected again" in messages[1]


def test_all_coils_are_off_when_it_ends(plc: Plc, modbus: Modbus, until) -> None:
    modbus.fire("wrought", perf_counter(), perf_counter() + 60)
    until(lambda: len(plc.coil(4)) == 1)
    modbus.close()
    assert [on for _, on in plc.coil(4)] == [True, False]


def test_a_plc_without_such_a_register_is_told_of(plc: Plc, outlets, running, until) -> None:
    modbus = running(Modbus(settings_for(plc, heartbeat_register=9999), outlets))
    until(lambda: "refuses registers 9999" in (modbus.fault or ""))


@pytest.mark.parametrize(
    ("more", "fault"),
    [
        ({"coils": {"wruoght": 1}}, "coils.wruoght: no outlet of the recipe, which has wrought, cast, rest"),
        ({"heartbeat_register": 12}, "heartbeat_register 12: is one of the counters 10-17"),
        ({"first_register": 65530}, "first_register 65530: 4 counters end above 65535"),
    ],
)
def test_what_does_not_fit_the_recipe_is_named(plc: Plc, outlets, more, fault) -> None:
    with pytest.raises(DataError, match=fault):
        Modbus(settings_for(plc, **more), outlets)


@given(st.lists(st.integers(0, 300), unique=True))
def test_runs_hold_every_address_once_and_no_other(addresses: list[int]) -> None:
    runs = runs_of(addresses)
    assert [address for run in runs for address in run] == sorted(addresses)
    assert all(run == list(range(run[0], run[0] + len(run))) for run in runs)


FIRINGS = st.lists(st.tuples(st.integers(0, 50), st.integers(1, 20)), max_size=20)


@given(FIRINGS, st.lists(st.integers(0, 80), max_size=20))
def test_a_coil_is_on_just_while_a_firing_lasts_and_each_is_shown_or_missed(firings, moments) -> None:
    valves = Valves({"wrought": 3})
    for open_s, length in firings:
        valves.add("wrought", float(open_s), float(open_s + length))
    moments = sorted(moments)
    for moment in moments:
        wanted = any(open_s <= moment < open_s + length for open_s, length in firings)
        assert valves.at(float(moment)) == {3: wanted}
        valves.were_shown()
    valves.at(1000.0)
    unseen = [
        (open_s, length)
        for open_s, length in firings
        if not any(open_s <= moment < open_s + length for moment in moments)
    ]
    assert valves.take_missed() == len(unseen)
