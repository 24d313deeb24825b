"""A plant's MQTT broker, told in Sparkplug B 3.0: one edge node, its birth, its data and its death."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from time import time
from typing import Any, Final

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode

from alloysort_datasets.errors import DataError
from alloysort_inference.outputs.output import Controls, Output, OutputFaultError
from alloysort_inference.outputs.payload import BOOLEAN, DOUBLE, INT64, STRING, UINT64, Metric, decode, encode
from alloysort_inference.outputs.settings import SparkplugSettings

DATA_EVERY_S: Final = 0.2
ANSWER_S: Final = 3.0
KEEP_ALIVE_S: Final = 10  # a broker that is cut off is found out after about twice that
REBIRTH: Final = "Node Control/Rebirth"
_log = logging.getLogger("alloysort")


class Sparkplug(Output):
    """The edge node of a line.

    Args:
        settings: the broker, and what the node is called.
        outlets: of the recipe in use.
        controls: which recipe is in use, and whether the pieces are made up.

    Raises:
        DataError: the password cannot be read.
    """

    def __init__(self, settings: SparkplugSettings, outlets: Sequence[str], controls: Controls) -> None:
        super().__init__("sparkplug", outlets)
        self._settings, self._controls, self._password = settings, controls, settings.password()
        self._where = f"{settings.host}:{settings.port}"
        self._births = 0  # bdSeq of the next connection
        self._seq = 0
        self._shown: dict[str, Metric] = {}
        self._reborn = False

    async def _serve(self) -> None:
        birth_number = self._births
        self._births = (self._births + 1) % 256
        link = _Link(self._settings, self._password, self._death(birth_number))
        try:
            await link.open(self._hear)
            await link.subscribe(self._topic("NCMD"))
            self._bear(link, birth_number)
            self._connected()
            while not self._stop.is_set():
                await self._pause_or_lost(link)
                link.require_up()
                self._tell_news(link, birth_number)
        finally:
            await asyncio.to_thread(link.close)

    async def _pause_or_lost(self, link: _Link) -> None:
        either: set[asyncio.Future[Any]] = {self._stopping, link.lost}
        await asyncio.wait(either, timeout=DATA_EVERY_S, return_when=asyncio.FIRST_COMPLETED)

    def _topic(self, kind: str) -> str:
        return f"spBv1.0/{self._settings.group}/{kind}/{self._settings.node}"

    def _death(self, birth_number: int) -> bytes:
        return encode(_now_ms(), [Metric("bdSeq", INT64, birth_number)])

    def _bear(self, link: _Link, birth_number: int) -> None:
        """Tell everything, names and datatypes too."""
        self._tick()
        self._reborn, self._seq = False, 0
        metrics = self._metrics()
        self._shown = {metric.name: metric for metric in metrics}
        control = [Metric("bdSeq", INT64, birth_number), Metric(REBIRTH, BOOLEAN, False)]
        link.publish(self._topic("NBIRTH"), encode(_now_ms(), [*control, *metrics], self._seq))

    def _tell_news(self, link: _Link, birth_number: int) -> None:
        """Tell what has changed, by alias; everything if it was asked for, or if there is a new name."""
        self._tick()
        metrics = self._metrics()
        if self._reborn or any(metric.name not in self._shown for metric in metrics):
            self._bear(link, birth_number)
            return
        news = [metric for metric in metrics if self._shown[metric.name] != metric]
        if news:
            self._seq = (self._seq + 1) % 256
            link.publish(self._topic("NDATA"), encode(_now_ms(), news, self._seq, birth=False))
            self._shown |= {metric.name: metric for metric in news}

    def _metrics(self) -> list[Metric]:
        counts = self.counts
        last = counts.last
        values: list[tuple[str, int, object]] = [
            ("Pieces", UINT64, counts.pieces),
            ("Late", UINT64, counts.late),
            ("Refused", UINT64, counts.refused),
            ("Latency p99 ms", DOUBLE, counts.p99_ms()),
            ("Recipe", STRING, self._controls.recipe()),
            ("Bundle", STRING, None if last is None else last.bundle.name),
            ("Simulated", BOOLEAN, self._controls.simulated()),
        ]
        values += [(f"Outlets/{name}/Pieces", UINT64, count) for name, count in counts.outlets.items()]
        return [Metric(*value, alias=alias) for alias, value in enumerate(values, 1)]

    def _hear(self, message: bytes) -> None:
        """A command; called by the thread of the connection."""
        try:
            commands = decode(message)
        except DataError as error:
            _log.warning("output %s: a command is not understood: %s", self.name, error)
            return
        if commands.get(REBIRTH) is True:
            self._reborn = True


class _Link:
    """One connection to a broker, with the will that it is made with."""

    def __init__(self, settings: SparkplugSettings, password: str | None, death: bytes) -> None:
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self.lost: asyncio.Future[str] = self._loop.create_future()
        self._welcome: asyncio.Future[str | None] = self._loop.create_future()
        self._subscribed: asyncio.Future[str | None] = self._loop.create_future()
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"alloysort-{settings.group}-{settings.node}",
            reconnect_on_failure=False,
        )
        client.connect_timeout = ANSWER_S
        self._will = (f"spBv1.0/{settings.group}/NDEATH/{settings.node}", death)
        client.will_set(*self._will, qos=1)
        if settings.user is not None:
            client.username_pw_set(settings.user, password)
        if settings.tls:
            client.tls_set(ca_certs=None if settings.ca_file is None else str(settings.ca_file))
        self._client = client

    async def open(self, hear: Any) -> None:
        client = self._client
        client.on_connect = lambda _client, _data, _flags, code, _properties: self._settle(
            self._welcome, str(code) if code.is_failure else None
        )
        client.on_disconnect = lambda _client, _data, _flags, code, _properties: self._settle(
            self.lost, str(code)
        )
        client.on_subscribe = lambda _client, _data, _number, codes, _properties: self._settle(
            self._subscribed, next((str(code) for code in codes if code.is_failure), None)
        )

        def on_message(_client: Client, _data: object, message: MQTTMessage) -> None:
            hear(message.payload)

        client.on_message = on_message
        await asyncio.to_thread(client.connect, self._settings.host, self._settings.port, KEEP_ALIVE_S)
        client.loop_start()
        await self._answered(self._welcome, "lets nobody in")

    async def subscribe(self, topic: str) -> None:
        self._client.subscribe(topic, qos=1)
        await self._answered(self._subscribed, f"refuses to pass on {topic}")

    def publish(self, topic: str, payload: bytes) -> None:
        told = self._client.publish(topic, payload, qos=0)
        if told.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise OutputFaultError(f"{self._where}: {told.rc.name}")

    def require_up(self) -> None:
        if self.lost.done():
            raise OutputFaultError(f"{self._where}: the connection is lost: {self.lost.result()}")

    def close(self) -> None:
        """End; a broker that takes leave with us does not tell the will, so we do."""
        self._client.publish(*self._will, qos=1)
        self._client.disconnect()
        self._client.loop_stop()

    @property
    def _where(self) -> str:
        return f"{self._settings.host}:{self._settings.port}"

    async def _answered(self, answer: asyncio.Future[str | None], refusal: str) -> None:
        either: set[asyncio.Future[Any]] = {answer, self.lost}
        await asyncio.wait(either, timeout=ANSWER_S, return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            self.require_up()
            raise OutputFaultError(f"{self._where} does not answer within {ANSWER_S:g} s")
        if answer.result() is not None:
            raise OutputFaultError(f"{self._where} {refusal}: {answer.result()}")

    def _settle(self, future: asyncio.Future[Any], result: str | None) -> None:
        """From the connection's thread."""

        def settle() -> None:
            if not future.done():
                future.set_result(result)

        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(settle)


def _now_ms() -> int:
    return int(time() * 1000)
