"""A real broker is told, a subscriber decodes it by the wire format alone, the broker goes and comes back."""

from __future__ import annotations

import shutil
import socket
import struct
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

from alloysort_datasets.errors import DataError
from alloysort_inference.outputs.payload import decode
from alloysort_inference.outputs.settings import SparkplugSettings
from alloysort_inference.outputs.sparkplug import Sparkplug

MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")

needs_broker = pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed")
INT64, UINT64, DOUBLE, BOOLEAN, STRING = 4, 8, 10, 11, 12


def fields(data: bytes) -> Iterator[tuple[int, object]]:
    """Field numbers and raw values of a protobuf message."""
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(data):
        key = varint()
        kind = key & 7
        if kind == 0:
            yield key >> 3, varint()
        elif kind == 1:
            yield key >> 3, struct.unpack("<d", data[at : at + 8])[0]
            at += 8
        else:
            assert kind == 2
            length = varint()
            yield key >> 3, data[at : at + length]
            at += length


METRIC = {1: "name", 2: "alias", 3: "timestamp", 4: "datatype", 7: "is_null", 11: "value", 13: "value"}


def metric_of(data: bytes) -> dict[str, object]:
    found: dict[str, object] = {}
    for number, value in fields(data):
        if number == 14:
            found["value"] = bool(value)
        elif number == 15:
            found["value"] = value.decode()
        else:
            found[METRIC[number]] = value.decode() if number == 1 else value
    return found


class Message:
    def __init__(self, topic: str, payload: bytes) -> None:
        self.topic = topic
        pairs = list(fields(payload))
        self.seq = next((value for number, value in pairs if number == 3), None)
        self.timestamp = next((value for number, value in pairs if number == 1), None)
        self.metrics = [metric_of(value) for number, value in pairs if number == 2]

    def value(self, key: object) -> object:
        """Of a metric by its name or its alias."""
        return next(m.get("value") for m in self.metrics if key in (m.get("name"), m.get("alias")))


class Broker:
    """Mosquitto, and a subscriber to everything."""

    def __init__(self, port: int, folder: Path) -> None:
        self.port, self.heard = port, []
        self._config = folder / "mosquitto.conf"
        self._config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            [MOSQUITTO, "-c", self._config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def answers(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False

    def listen(self, until: Callable[..., None]) -> Client:
        until(self.answers)
        client = Client(CallbackAPIVersion.VERSION2, client_id="plant")
        ready: list[object] = []
        client.on_subscribe = lambda *told: ready.append(told)

        def hear(_client: Client, _data: object, message: MQTTMessage) -> None:
            self.heard.append((message.topic, message.payload))

        client.on_message = hear
        client.connect("127.0.0.1", self.port)
        client.loop_start()
        client.subscribe("spBv1.0/scrap/#", qos=1)
        until(lambda: bool(ready))
        return client

    def of(self, kind: str) -> list[Message]:
        return [Message(*told) for told in list(self.heard) if f"/{kind}/" in told[0]]


@pytest.fixture
def broker(free_port, tmp_path: Path) -> Iterator[Broker]:
    broker = Broker(free_port(), tmp_path)
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def plant(broker: Broker, until) -> Iterator[Client]:
    client = broker.listen(until)
    yield client
    client.disconnect()
    client.loop_stop()


def settings_for(port: int, **more: object) -> SparkplugSettings:
    told = {"host": "127.0.0.1", "port": port, "group": "scrap", "node": "line-1", **more}
    return SparkplugSettings.model_validate(told)


@pytest.fixture
def sparkplug(broker: Broker, plant: Client, desk, outlets, running, until) -> Sparkplug:
    sparkplug = running(Sparkplug(settings_for(broker.port), outlets, desk))
    until(lambda: bool(broker.of("NBIRTH")))
    return sparkplug


@needs_broker
def test_the_birth_names_every_metric_with_its_datatype_and_an_alias_of_its_own(
    broker: Broker, sparkplug: Sparkplug
) -> None:
    (birth,) = broker.of("NBIRTH")
    assert birth.seq == 0
    assert {m["name"]: m["datatype"] for m in birth.metrics} == {
        "bdSeq": INT64,
        "Node Control/Rebirth": BOOLEAN,
        "Pieces": UINT64,
        "Late": UINT64,
        "Refused": UINT64,
        "Latency p99 ms": DOUBLE,
        "Recipe": STRING,
        "Bundle": STRING,
        "Simulated": BOOLEAN,
        "Outlets/wrought/Pieces": UINT64,
        "Outlets/cast/Pieces": UINT64,
        "Outlets/rest/Pieces": UINT64,
    }
    assert all(m["timestamp"] == birth.timestamp for m in birth.metrics)
    aliases = [m["alias"] for m in birth.metrics[2:]]
    assert len(set(aliases)) == len(aliases) == 10
    assert "alias" not in birth.metrics[0]
    assert "alias" not in birth.metrics[1]
    assert birth.value("Recipe") == "wrought-cast"
    assert birth.value("Simulated") is True
    assert next(m for m in birth.metrics if m["name"] == "Bundle")["is_null"] == 1


@needs_broker
def test_data_hold_by_alias_what_has_changed(
    broker: Broker, sparkplug: Sparkplug, desk, record, until
) -> None:
    sparkplug.tell(record("cast"), 20.0)
    sparkplug.tell(record("rest", status="late", total_ms=30.0), 20.0)
    until(lambda: bool(broker.of("NDATA")))
    until(lambda: sparkplug.counts.pieces == 2)
    desk.chosen = "zorba"
    alias = {m["name"]: m["alias"] for m in broker.of("NBIRTH")[0].metrics if "alias" in m}
    until(lambda: any(m["alias"] == alias["Recipe"] for data in broker.of("NDATA") for m in data.metrics))
    news: dict[object, object] = {}
    for place, data in enumerate(broker.of("NDATA"), 1):
        assert data.seq == place
        assert all("name" not in m and "datatype" not in m for m in data.metrics)
        news |= {m["alias"]: m["value"] for m in data.metrics}
    told = {name: news.get(number) for name, number in alias.items()}
    assert told == {
        "Pieces": 2,
        "Late": 1,
        "Refused": None,
        "Latency p99 ms": 30.0,
        "Recipe": "zorba",
        "Bundle": "tiny",
        "Simulated": None,
        "Outlets/wrought/Pieces": None,
        "Outlets/cast/Pieces": 1,
        "Outlets/rest/Pieces": 1,
    }


@needs_broker
def test_an_outlet_of_another_recipe_is_born(broker: Broker, sparkplug: Sparkplug, record, until) -> None:
    sparkplug.tell(record("zinc"), 20.0)
    until(lambda: len(broker.of("NBIRTH")) == 2)
    assert broker.of("NBIRTH")[1].value("Outlets/zinc/Pieces") == 1


@needs_broker
def test_who_asks_for_a_rebirth_gets_one(
    broker: Broker, plant: Client, sparkplug: Sparkplug, record, until
) -> None:
    sparkplug.tell(record(), 20.0)
    until(lambda: bool(broker.of("NDATA")))
    plant.publish("spBv1.0/scrap/NCMD/line-1", b"\xff\xff nonsense")
    rebirth = b"\x0a\x14Node Control/Rebirth\x20\x0b\x70\x01"
    plant.publish("spBv1.0/scrap/NCMD/line-1", b"\x12" + bytes([len(rebirth)]) + rebirth)
    until(lambda: len(broker.of("NBIRTH")) == 2)
    first, second = broker.of("NBIRTH")
    assert second.seq == 0
    assert second.value("bdSeq") == first.value("bdSeq") == 0
    assert second.value("Pieces") == 1
    sparkplug.tell(record(), 20.0)
    until(lambda: "/NDATA/" in broker.heard[-1][0])
    assert broker.of("NDATA")[-1].seq == 1


@needs_broker
def test_the_numbers_go_round_after_255(broker: Broker, sparkplug: Sparkplug, record, until) -> None:
    sparkplug._seq = 254
    for piece in range(1, 4):
        sparkplug.tell(record(), 20.0)
        until(lambda wanted=piece: len(broker.of("NDATA")) == wanted)
    assert [data.seq for data in broker.of("NDATA")] == [255, 0, 1]


@needs_broker
def test_it_dies_with_the_number_it_was_born_with_when_it_is_cut_off(
    broker: Broker, sparkplug: Sparkplug, until
) -> None:
    other = Client(CallbackAPIVersion.VERSION2, client_id="alloysort-scrap-line-1")
    other.connect("127.0.0.1", broker.port)  # of the same name: the broker cuts the first one off
    other.loop_start()
    until(lambda: bool(broker.of("NDEATH")))
    other.disconnect()
    other.loop_stop()
    until(lambda: len(broker.of("NBIRTH")) >= 2)
    death, birth = broker.of("NDEATH")[0], broker.of("NBIRTH")[-1]
    assert death.value("bdSeq") == 0
    assert death.seq is None
    assert birth.value("bdSeq") >= 1


@needs_broker
def test_it_says_that_it_dies_when_it_ends(broker: Broker, sparkplug: Sparkplug, until) -> None:
    sparkplug.close()
    until(lambda: bool(broker.of("NDEATH")))
    (death,) = broker.of("NDEATH")
    assert death.value("bdSeq") == 0


@needs_broker
def test_a_broker_that_goes_and_comes_hears_of_all_that_passed(
    broker: Broker, plant: Client, sparkplug: Sparkplug, record, until
) -> None:
    until(lambda: sparkplug.fault is None)
    broker.stop()
    until(lambda: sparkplug.fault is not None)
    for _ in range(7):
        sparkplug.tell(record(), 20.0)
    broker.heard.clear()
    broker.start()
    again = broker.listen(until)
    until(lambda: sparkplug.fault is None)
    sparkplug._reborn = True
    until(lambda: bool(broker.of("NBIRTH")))
    again.disconnect()
    again.loop_stop()
    birth = broker.of("NBIRTH")[-1]
    assert birth.value("Pieces") == 7
    assert birth.value("bdSeq") >= 1
    assert sparkplug.dropped == 0


@needs_broker
def test_a_broker_that_wants_a_password_gets_it(
    free_port, tmp_path: Path, desk, outlets, running, until
) -> None:
    (tmp_path / "secret").write_text("hush\n")
    users = tmp_path / "users"
    subprocess.run(["mosquitto_passwd", "-b", "-c", users, "line", "hush"], check=True, capture_output=True)
    users.chmod(0o644)
    tmp_path.chmod(0o755)
    broker = Broker(free_port(), tmp_path)
    broker._config.write_text(
        f"user root\nlistener {broker.port} 127.0.0.1\nallow_anonymous false\npassword_file {users}\n"
    )
    broker.start()
    try:
        until(broker.answers)
        stranger = running(Sparkplug(settings_for(broker.port), outlets, desk))
        until(lambda: "Not authorized" in (stranger.fault or ""))
        known = settings_for(broker.port, node="line-2", user="line", password_file=str(tmp_path / "secret"))
        friend = running(Sparkplug(known, outlets, desk))
        until(lambda: friend.fault is None)
    finally:
        broker.stop()


def test_a_broker_that_is_not_there_is_a_fault(free_port, desk, outlets, running, until) -> None:
    sparkplug = running(Sparkplug(settings_for(free_port()), outlets, desk))
    until(lambda: "refused" in (sparkplug.fault or "").lower())


def test_a_password_file_that_is_not_there_is_named(tmp_path: Path, desk, outlets) -> None:
    told = settings_for(1883, user="line", password_file=str(tmp_path / "none"))
    with pytest.raises(DataError, match=r"password_file .*none: No such file"):
        Sparkplug(told, outlets, desk)


def test_what_is_no_payload_is_refused() -> None:
    with pytest.raises(DataError, match="no payload of Sparkplug B"):
        decode(b"\xff\xff\xff")
