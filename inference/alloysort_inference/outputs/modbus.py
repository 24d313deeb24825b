"""A PLC over Modbus TCP: coils of ejectors at their times, counters, and a heartbeat.

A firing that cannot be in time is dropped, never late: late air hits the next piece.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Final

from pymodbus import ModbusException
from pymodbus.client import AsyncModbusTcpClient
from pymodbus.pdu import ModbusPDU

from alloysort_datasets.errors import DataError
from alloysort_inference.outputs.output import Output, OutputFaultError
from alloysort_inference.outputs.settings import ModbusSettings

ANSWER_S: Final = 1.0  # a PLC that takes longer is gone
COUNTERS_EVERY_S: Final = 0.2
REGISTERS_AT_ONCE: Final = 120  # of the 123 that one request may write, an even number
COILS_AT_ONCE: Final = 1968  # that one request may write
MOST_FIRINGS: Final = 4096


class Modbus(Output):
    """The PLC of a line.

    Args:
        settings: where it is, and its coils and registers.
        outlets: of the recipe in use, in its order; each has a counter, behind that of all pieces.

    Attributes:
        unfired: firings dropped as their time was over, or too many waited; part of `dropped`.

    Raises:
        DataError: coils of outlets that there are not, or registers that overlap or do not exist.
    """

    def __init__(self, settings: ModbusSettings, outlets: Sequence[str]) -> None:
        super().__init__("modbus", outlets)
        _require_fit(settings, outlets)
        logging.getLogger("pymodbus.logging").setLevel(logging.CRITICAL)  # each fault is told once, by us
        self.unfired = 0
        self._settings, self._outlets = settings, tuple(outlets)
        self._where = f"{settings.host}:{settings.port}"
        self._valves = Valves(settings.coils, settings.pulse_ms / 1000)
        self._runs = runs_of(settings.coils.values())
        self._shown: dict[int, bool] = {}
        self._changed = asyncio.Event()
        self._beat = 0

    def fire(self, outlet: str, open_s: float, close_s: float) -> None:
        """Set an outlet's coil between two times of `perf_counter`; returns at once.

        An outlet without a coil is not fired.
        """
        if outlet in self._settings.coils:
            self._call(self._take, outlet, open_s, close_s)

    def _take(self, outlet: str, open_s: float, close_s: float) -> None:
        if len(self._valves) >= MOST_FIRINGS:
            self._count_unfired(1)
        else:
            self._valves.add(outlet, open_s, close_s)
            self._changed.set()

    def _tick(self) -> None:
        super()._tick()
        if self.fault is not None:
            self._valves.at(perf_counter())
            self._count_unfired(self._valves.take_missed())

    def _count_unfired(self, count: int) -> None:
        self.unfired += count
        self.dropped += count

    async def _serve(self) -> None:
        client = AsyncModbusTcpClient(
            self._settings.host, port=self._settings.port, timeout=ANSWER_S, retries=0, reconnect_delay=0
        )
        try:
            if not await client.connect():
                raise OutputFaultError(f"{self._where} does not answer")
            await self._clear(client)
            self._connected()
            try:
                await self._write_until_stopped(client)
            finally:
                if client.connected:
                    await self._clear(client)
        except ModbusException as error:
            raise OutputFaultError(f"{self._where}: {error}") from None
        finally:
            client.close()

    async def _write_until_stopped(self, client: AsyncModbusTcpClient) -> None:
        """Coils whenever one changes, counters and heartbeat between."""
        beat_s = count_s = perf_counter()
        told: list[int] = []
        while not self._stop.is_set():
            self._changed.clear()
            await self._write_coils(client)
            now = perf_counter()
            if now >= beat_s:
                beat_s = now + self._settings.heartbeat_ms / 1000
                self._beat = (self._beat + 1) & 0xFFFF
                await self._write(client, self._settings.heartbeat_register, [self._beat])
            elif now >= count_s:
                count_s = now + COUNTERS_EVERY_S
                told = await self._write_counters(client, told)
            else:
                await self._until(min(self._valves.next_s(), beat_s, count_s))
        await self._write_counters(client, told)

    async def _until(self, then_s: float) -> None:
        waiting = asyncio.ensure_future(self._changed.wait())
        seconds = max(0.0, then_s - perf_counter())
        await asyncio.wait({waiting, self._stopping}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()

    async def _write_coils(self, client: AsyncModbusTcpClient) -> None:
        """Bring the coils that are to change to what they are to be now, a request for neighbours."""
        wanted = self._valves.at(perf_counter())
        for run in self._runs:
            if any(self._shown.get(address, False) != wanted[address] for address in run):
                values = [wanted[address] for address in run]
                await self._ask(
                    client.write_coils(run[0], values, device_id=self._settings.unit), f"coils {_span(run)}"
                )
                self._shown |= dict(zip(run, values, strict=True))
        self._valves.were_shown()
        self._count_unfired(self._valves.take_missed())

    async def _clear(self, client: AsyncModbusTcpClient) -> None:
        for run in self._runs:
            await self._ask(
                client.write_coils(run[0], [False] * len(run), device_id=self._settings.unit),
                f"coils {_span(run)}",
            )
        self._shown.clear()

    async def _write_counters(self, client: AsyncModbusTcpClient, told: list[int]) -> list[int]:
        first = self._settings.first_register
        if first is None:
            return told
        self._tick()
        counts = [self.counts.pieces, *(self.counts.outlets[outlet] for outlet in self._outlets)]
        words = [word for count in counts for word in (count >> 16 & 0xFFFF, count & 0xFFFF)]
        if words != told:
            for start in range(0, len(words), REGISTERS_AT_ONCE):
                await self._write(client, first + start, words[start : start + REGISTERS_AT_ONCE])
        return words

    async def _write(self, client: AsyncModbusTcpClient, address: int, words: list[int]) -> None:
        what = f"registers {_span(range(address, address + len(words)))}"
        await self._ask(client.write_registers(address, words, device_id=self._settings.unit), what)

    async def _ask(self, request: Awaitable[ModbusPDU], what: str) -> None:
        answer = await request
        if answer.isError():
            raise OutputFaultError(f"{self._where}, unit {self._settings.unit}, refuses {what}: {answer}")


@dataclass
class _Firing:
    close_s: float
    shown: bool = False


class Valves:
    """What is to be open when.

    Args:
        coils: address by outlet.
        least_s: that one stays open.
    """

    def __init__(self, coils: Mapping[str, int], least_s: float = 0.0) -> None:
        self._coils, self._least_s = dict(coils), least_s
        self._coming: list[tuple[float, float, int]] = []
        self._open: dict[int, list[_Firing]] = {address: [] for address in coils.values()}
        self._missed = 0

    def __len__(self) -> int:
        return len(self._coming)

    def add(self, outlet: str, open_s: float, close_s: float) -> None:
        """A firing."""
        heapq.heappush(self._coming, (open_s, max(close_s, open_s + self._least_s), self._coils[outlet]))

    def at(self, now_s: float) -> dict[int, bool]:
        """By address, whether a coil is to be on; what is over and was not shown by then is missed."""
        while self._coming and self._coming[0][0] <= now_s:
            _, close_s, address = heapq.heappop(self._coming)
            self._open[address].append(_Firing(close_s))
        for address, firings in self._open.items():
            self._missed += sum(1 for firing in firings if firing.close_s <= now_s and not firing.shown)
            self._open[address] = [firing for firing in firings if firing.close_s > now_s]
        return {address: bool(firings) for address, firings in self._open.items()}

    def were_shown(self) -> None:
        """All coils are as `at` said last."""
        for firings in self._open.values():
            for firing in firings:
                firing.shown = True

    def take_missed(self) -> int:
        """How many were missed since this was last asked."""
        missed, self._missed = self._missed, 0
        return missed

    def next_s(self) -> float:
        """When `at` will say something else; infinity where nothing is to come."""
        closing = (firing.close_s for firings in self._open.values() for firing in firings)
        opening = self._coming[0][0] if self._coming else float("inf")
        return min(opening, min(closing, default=float("inf")))


def runs_of(addresses: Iterable[int]) -> list[list[int]]:
    """Addresses in order, neighbours together."""
    runs: list[list[int]] = []
    for address in sorted(addresses):
        if runs and runs[-1][-1] == address - 1 and len(runs[-1]) < COILS_AT_ONCE:
            runs[-1].append(address)
        else:
            runs.append([address])
    return runs


def _span(addresses: Sequence[int]) -> str:
    return f"{addresses[0]}-{addresses[-1]}" if len(addresses) > 1 else f"{addresses[0]}"


def _require_fit(settings: ModbusSettings, outlets: Sequence[str]) -> None:
    unknown = [name for name in settings.coils if name not in outlets]
    faults = [f"coils.{name}: no outlet of the recipe, which has {', '.join(outlets)}" for name in unknown]
    if settings.first_register is not None:
        after = settings.first_register + 2 * (1 + len(outlets))
        if after > 65536:
            counters = 1 + len(outlets)
            faults.append(f"first_register {settings.first_register}: {counters} counters end above 65535")
        if settings.first_register <= settings.heartbeat_register < after:
            faults.append(
                f"heartbeat_register {settings.heartbeat_register}: is one of the counters "
                f"{settings.first_register}-{after - 1}"
            )
    if faults:
        raise DataError("outputs: modbus: " + "; ".join(faults))
