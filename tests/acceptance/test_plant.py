"""A line at work in its plant, while the PLC, the broker and the database are killed and come back."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path

import pytest

from alloysort_inference.bench.load import open_loop
from alloysort_inference.bench.speed import SERVING, Load
from alloysort_inference.doors.stream.client import AsyncLine
from alloysort_inference.log.database import open_database
from alloysort_inference.log.read import read_decisions

BROKER = shutil.which("mosquitto", path=os.pathsep.join([os.environ["PATH"], "/usr/sbin"]))
LISTENER = shutil.which("mosquitto_sub")
RATE, SECONDS = 300.0, 9.0
PLC = """
import asyncio, sys
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

def note(sending, pdu):
    if not sending and pdu.function_code in (15, 16):
        values = pdu.bits[: pdu.count] if pdu.function_code == 15 else pdu.registers
        print(pdu.function_code, pdu.address, *map(int, values), flush=True)
    return pdu

async def serve():
    bits = [SimData(0, count=64, values=False, datatype=DataType.BITS)]
    words = [SimData(0, count=256, values=0, datatype=DataType.REGISTERS)]
    device = SimDevice(1, simdata=(bits, bits, words, words))
    await ModbusTcpServer(device, address=("127.0.0.1", int(sys.argv[1])), trace_pdu=note).serve_forever()

asyncio.run(serve())
"""

pytestmark = [
    pytest.mark.skipif(
        BROKER is None or LISTENER is None, reason="apt-get install mosquitto mosquitto-clients"
    ),
    pytest.mark.xdist_group("plant"),
]


def find_port() -> int:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def wait_until(done, within_s=30.0):
    until = time.monotonic() + within_s
    while not done():
        assert time.monotonic() < until
        time.sleep(0.02)


class Counterpart:
    """A process on a port; what it says goes to a file that outlives it."""

    def __init__(self, port: int, said: Path, *command: str) -> None:
        self.port, self.said, self._command = port, said, command
        self.start()

    def start(self) -> None:
        with self.said.open("a") as out:
            self.process = subprocess.Popen(self._command, stdout=out, stderr=subprocess.DEVNULL)
        wait_until(self._answers)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def lines(self) -> list[str]:
        return self.said.read_text().splitlines()

    def _answers(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False


@pytest.fixture
def plc(tmp_path):
    port = find_port()
    script = tmp_path / "plc.py"
    script.write_text(PLC)
    plc = Counterpart(port, tmp_path / "plc", sys.executable, str(script), str(port))
    yield plc
    plc.kill()


@pytest.fixture
def broker(tmp_path):
    port = find_port()
    (tmp_path / "mosquitto.conf").write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    broker = Counterpart(port, tmp_path / "broker", BROKER, "-c", str(tmp_path / "mosquitto.conf"))
    yield broker
    broker.kill()


@pytest.fixture
def topics(broker, tmp_path):
    """What a plant's client hears, by topic; it connects again by itself."""
    said = tmp_path / "topics"
    command = [LISTENER, "-p", str(broker.port), "-t", "spBv1.0/#", "-F", "%t"]
    with said.open("w") as out, subprocess.Popen(command, stdout=out) as process:
        yield lambda: said.read_text().splitlines()
        process.kill()


def test_decisions_go_on_outputs_come_back_and_the_log_is_whole(plc, broker, topics, tmp_path):
    outputs, log = tmp_path / "outputs.toml", tmp_path / "log.sqlite"
    outputs.write_text(
        f'[modbus]\nhost = "127.0.0.1"\nport = {plc.port}\ncoils = {{wrought = 0, cast = 1}}\n'
        "first_register = 10\nheartbeat_register = 0\nheartbeat_ms = 100\n"
        f'[sparkplug]\nhost = "127.0.0.1"\nport = {broker.port}\ngroup = "scrap"\nnode = "line"\n'
    )
    command = [sys.executable, "-m", "alloysort", "serve", "--port", "0", "--log", str(log)]
    environment = {**os.environ, "ALLOYSORT_OUTPUTS": str(outputs)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as service:
        try:
            found = SERVING.search(service.stdout.readline())
            assert found is not None
            wait_until(lambda: "spBv1.0/scrap/NBIRTH/line" in topics())
            loop, heard = asyncio.run(drive(found[2], plc, broker, topics))
            wait_until(lambda: len(topics()) > heard)
            beats = len(plc.lines())
            wait_until(lambda: len(plc.lines()) > beats + 3)
        finally:
            service.terminate()
    assert (loop.late, loop.lost) == (0, 0)
    database = open_database(str(log))
    rows = list(read_decisions(database))
    database.dispose()
    assert [row["piece_id"] for row in rows] == [f"p{number}" for number in range(len(rows))]
    assert len(rows) == len(loop.latency_ms) > 0.9 * RATE * SECONDS
    assert {row["status"] for row in rows} == {"decided"}
    counted = [line.split()[2:4] for line in plc.lines() if line.startswith("16 10 ")]
    assert [int(high) * 65_536 + int(low) for high, low in counted][-1] == len(rows)


async def drive(stream, plc, broker, topics):
    """Pieces at a steady rate, while each counterpart is killed and started again.

    Returns the latencies, and how many messages were heard when all were there again.
    """
    line, load = await AsyncLine.connect(stream), Load.make()
    axis = line.axis(load.wavelength_nm)
    number = -1

    async def send():
        nonlocal number
        number += 1
        return (await line.send(axis, load.shots, load.jpeg, piece_id=f"p{number}")).status == "decided"

    async def mischief():
        for counterpart in (plc, broker):
            await asyncio.sleep(SECONDS / 9)
            counterpart.kill()
            await asyncio.sleep(SECONDS / 9)
            await asyncio.to_thread(counterpart.start)
        return len(topics())

    try:
        loop, heard = await asyncio.gather(open_loop(send, RATE, SECONDS), mischief())
    finally:
        await line.close()
    return loop, heard
