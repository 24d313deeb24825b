"""What the plant around a line costs it: the stream door alone, and with everything on.

    python benchmarks/plant.py [--rates 300 1000] [--seconds 20] [--json FILE]

Everything: the decision log in SQLite, a scrape of /metrics every second, the operator's page open in a
headless Chromium, an OPC UA client that subscribes to all counters, a PLC (Modbus TCP) and an MQTT broker
(mosquitto) told of every piece. All of it shares this machine's cores with the client that sends: pictures of
96 x 96 pixels and three shots of 2,048 channels, deadline 20 ms. Rounds of alone and everything take turns.

Last seen (`--rounds 2 --seconds 12`, two cores of a machine that was slow that day; none lost):

alone        300/s  p50 9.6 ms  p99 22 ms  late  46 of  3,600
alone       1000/s  p50 7.3 ms  p99 22 ms  late 556 of 12,000
everything   300/s  p50 2.0 ms  p99 20 ms  late 2,410 of  3,600
everything  1000/s  p50 3.0 ms  p99 72 ms  late 3,736 of 12,000

Late pieces are not computed and answered at once, hence the low medians. Client, browser, PLC, OPC UA client
and broker take the two cores from the service, and outputs share its interpreter.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from statistics import median
from typing import Any, Final
from urllib.request import urlopen

from alloysort_inference.bench.load import OpenLoop, open_loop
from alloysort_inference.bench.speed import DEADLINE_MS, Load, Server, run, serving
from alloysort_inference.doors.stream.client import AsyncLine
from alloysort_models.bundle.manifest import newest_released

PORTS: Final = {"modbus": 15_020, "mqtt": 18_830, "opcua": 48_400}
OUTPUTS: Final = """
[modbus]
host = "127.0.0.1"
port = {modbus}
coils = {{wrought = 0, cast = 1}}
first_register = 10
heartbeat_register = 0
[sparkplug]
host = "127.0.0.1"
port = {mqtt}
group = "scrap"
node = "line"
[opcua]
endpoint = "opc.tcp://127.0.0.1:{opcua}"
"""
PLC: Final = """
import asyncio, sys
from pymodbus.server import StartAsyncTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice
bits = [SimData(0, count=64, values=False, datatype=DataType.BITS)]
words = [SimData(0, count=256, values=0, datatype=DataType.REGISTERS)]
device = SimDevice(1, simdata=(bits, bits, words, words))
asyncio.run(StartAsyncTcpServer(device, address=("127.0.0.1", int(sys.argv[1]))))
"""
CLIENT: Final = """
import asyncio, sys
from asyncua import Client, ua

class Heard:
    def datachange_notification(self, node, value, data):
        pass

async def listen():
    async with Client(sys.argv[1]) as client:
        nodes, stack = [], [client.nodes.objects]
        while stack:
            for child in await stack.pop().get_children():
                kind = await child.read_node_class()
                if kind == ua.NodeClass.Variable and child.nodeid.NamespaceIndex > 1:
                    nodes.append(child)
                elif child.nodeid.NamespaceIndex > 1:
                    stack.append(child)
        subscription = await client.create_subscription(100, Heard())
        await subscription.subscribe_data_change(nodes)
        print(len(nodes), flush=True)
        await asyncio.sleep(3600)

asyncio.run(listen())
"""


@contextmanager
def beside(*command: str) -> Iterator[subprocess.Popen[str]]:
    quiet = {"stderr": subprocess.DEVNULL, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **quiet) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def everything(folder: Path) -> Iterator[Server]:
    """A service with all of the plant around it."""
    (folder / "outputs.toml").write_text(OUTPUTS.format(**PORTS))
    (folder / "mosquitto.conf").write_text(f"listener {PORTS['mqtt']} 127.0.0.1\nallow_anonymous true\n")
    broker = shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin") or "mosquitto"
    chromium = shutil.which("chromium") or "chromium"
    environment = {
        "ALLOYSORT_LOG": str(folder / "log.sqlite"),
        "ALLOYSORT_OUTPUTS": str(folder / "outputs.toml"),
    }
    with ExitStack() as stack:
        stack.enter_context(beside(broker, "-c", str(folder / "mosquitto.conf")))
        stack.enter_context(beside(sys.executable, "-c", PLC, str(PORTS["modbus"])))
        server = stack.enter_context(serving(newest_released(), environment=environment))
        client = stack.enter_context(
            beside(sys.executable, "-c", CLIENT, f"opc.tcp://127.0.0.1:{PORTS['opcua']}")
        )
        print("OPC UA nodes subscribed to:", client.stdout.readline().strip() if client.stdout else "")
        browser = [chromium, "--headless", "--no-sandbox", "--remote-debugging-port=0"]
        stack.enter_context(beside(*browser, f"--user-data-dir={folder / 'browser'}", server.http))
        stack.enter_context(scraping(server.http))
        yield server


@contextmanager
def scraping(http: str) -> Iterator[None]:
    end = threading.Event()

    def scrape() -> None:
        while not end.wait(1.0):
            with suppress(OSError), urlopen(f"{http}/metrics") as answer:  # noqa: S310
                answer.read()

    thread = threading.Thread(target=scrape)
    thread.start()
    yield
    end.set()
    thread.join()


async def at_rate(server: Server, load: Load, rate: float, seconds: float) -> OpenLoop:
    line = await AsyncLine.connect(server.stream)
    axis = line.axis(load.wavelength_nm)

    async def send(within_ms: float | None = DEADLINE_MS) -> bool:
        answer = await line.send(axis, load.shots, load.jpeg, deadline_ms=within_ms)
        return answer.status == "decided"

    try:
        for _ in range(200):
            await send(None)
        return await open_loop(send, rate, seconds)
    finally:
        await line.close()


def measure(server: Server, load: Load, rates: list[float], seconds: float) -> dict[float, dict[str, float]]:
    told = {}
    for rate in rates:
        loop = run(at_rate(server, load, rate, seconds))
        told[rate] = {
            "p50_ms": loop.percentile(50),
            "p99_ms": loop.percentile(99),
            "p999_ms": loop.percentile(99.9),
            "late": loop.late,
            "lost": loop.lost,
            "pieces": len(loop.latency_ms),
        }
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rates", type=float, nargs="+", default=[300.0, 1000.0])
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    load = Load.make()
    rounds: dict[str, list[dict[float, dict[str, float]]]] = {"alone": [], "everything": []}
    for _ in range(asked.rounds):
        with serving(newest_released()) as server:
            rounds["alone"].append(measure(server, load, asked.rates, asked.seconds))
        with tempfile.TemporaryDirectory() as folder, everything(Path(folder)) as server:
            rounds["everything"].append(measure(server, load, asked.rates, asked.seconds))
    told: dict[str, Any] = {}
    for name, some in rounds.items():
        for rate in asked.rates:
            figures = {key: median(one[rate][key] for one in some) for key in some[0][rate]}
            told[f"{name} at {rate:g}/s"] = figures
            print(
                f"{name:10} {rate:6g}/s  " + "  ".join(f"{key} {value:.4g}" for key, value in figures.items())
            )
    if asked.json is not None:
        asked.json.write_text(json.dumps(told, indent=2) + "\n")


if __name__ == "__main__":
    main()
