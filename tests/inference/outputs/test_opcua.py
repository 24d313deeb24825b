"""A real OPC UA client looks around, subscribes and chooses a recipe."""

from __future__ import annotations

import asyncio
import logging
import math
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from asyncua import Client, Node, ua

from alloysort_inference.outputs.opcua import NAMESPACE, Opcua
from alloysort_inference.outputs.settings import OpcuaSettings


@pytest.fixture(scope="module")
def endpoint(free_port) -> str:
    return f"opc.tcp://127.0.0.1:{free_port()}"


@pytest.fixture(scope="module")
def shared_desk(make_desk):
    return make_desk()


@pytest.fixture(scope="module")
def opcua(endpoint: str, shared_desk, outlets, until) -> Iterator[Opcua]:
    """One for all, as it takes seconds to build; each outlet is counted up by one test."""
    opcua = Opcua(OpcuaSettings(endpoint=endpoint), outlets, shared_desk)
    opcua.begin()
    until(lambda: opcua.fault is None, 60)
    yield opcua
    opcua.close()


@pytest.fixture
def desk(shared_desk):
    """As it was at first."""
    shared_desk.__init__()
    return shared_desk


def visit(endpoint: str, look: Callable[[Client], Awaitable[Any]], **login: str) -> Any:
    async def run() -> Any:
        client = Client(endpoint, timeout=10)
        if login:
            client.set_user(login["user"])
            client.set_password(login["password"])
        async with client:
            return await look(client)

    return asyncio.run(run())


async def node(client: Client, path: str) -> Node:
    return client.get_node(ua.NodeId(f"MachineVision.{path}", await client.get_namespace_index(NAMESPACE)))


async def value(client: Client, path: str) -> Any:
    return await (await node(client, path)).read_value()


async def becomes(client: Client, path: str, wanted: object) -> None:
    async with asyncio.timeout(15):
        while await value(client, path) != wanted:
            await asyncio.sleep(0.02)


async def select(client: Client, *arguments: object) -> None:
    management = await node(client, "RecipeManagement")
    await management.call_method(await node(client, "RecipeManagement.SelectRecipe"), *arguments)


def test_a_client_finds_the_nodes_by_browsing(endpoint: str, opcua: Opcua) -> None:
    async def browse(client: Client) -> dict[str, set[str]]:
        index = await client.get_namespace_index(NAMESPACE)
        root = await client.nodes.objects.get_child(f"{index}:MachineVision")
        return {
            (await part.read_browse_name()).Name: {
                (await below.read_browse_name()).Name for below in await part.get_children()
            }
            for part in await root.get_children()
        }

    assert visit(endpoint, browse) == {
        "ConfigurationManagement": {"ActiveConfiguration", "ActiveConfigurationHash"},
        "RecipeManagement": {"Recipes", "ActiveRecipe", "SelectRecipe"},
        "ResultManagement": {"LastResult"},
        "VisionStateMachine": {"CurrentState"},
        "Counters": {"Pieces", "Late", "Refused", "Outlets"},
        "Simulated": set(),
    }


def test_the_last_result_is_shown(endpoint: str, opcua: Opcua, record) -> None:
    opcua.tell(record("cast", piece_id="p-9"), 20.0)

    async def look(client: Client) -> dict[str, object]:
        await becomes(client, "ResultManagement.LastResult.ResultId", "p-9")
        await becomes(client, "Counters.Outlets.cast", 1)
        result = await node(client, "ResultManagement.LastResult")
        parts = await result.get_children()
        return {(await part.read_browse_name()).Name: await part.read_value() for part in parts}

    found = visit(endpoint, look)
    assert found.pop("CreationTime").year == 2025
    assert found == {
        "ResultId": "p-9",
        "JobId": "b-7",
        "Outlet": "cast",
        "Family": "6xxx",
        "Confidence": 0.875,
        "Eject": True,
        "Reason": "6xxx at 0.88 reaches 0.80",
    }


def test_a_piece_that_nothing_was_computed_of_has_no_confidence(endpoint: str, opcua: Opcua, record) -> None:
    opcua.tell(record("rest", piece_id="p-10", status="late"), 20.0)

    async def look(client: Client) -> tuple[float, int]:
        await becomes(client, "ResultManagement.LastResult.ResultId", "p-10")
        return await value(client, "ResultManagement.LastResult.Confidence"), await value(
            client, "Counters.Late"
        )

    confidence, late = visit(endpoint, look)
    assert math.isnan(confidence)
    assert late == 1


def test_who_subscribes_to_a_counter_sees_it_count(endpoint: str, opcua: Opcua, record) -> None:
    class Ear:
        def __init__(self) -> None:
            self.heard: list[int] = []

        def datachange_notification(self, node: Node, value: int, data: object) -> None:
            self.heard.append(value)

    ear = Ear()

    async def look(client: Client) -> None:
        subscription = await client.create_subscription(50, ear)
        await subscription.subscribe_data_change(await node(client, "Counters.Outlets.wrought"))
        async with asyncio.timeout(15):
            while 5 not in ear.heard:
                if len(ear.heard) and opcua.counts.outlets["wrought"] < 5:
                    opcua.tell(record(), 20.0)
                await asyncio.sleep(0.1)
        await subscription.delete()

    visit(endpoint, look)
    assert ear.heard[0] == 0
    assert ear.heard == sorted(set(ear.heard))


def test_a_client_chooses_a_recipe(endpoint: str, opcua: Opcua, desk) -> None:
    async def look(client: Client) -> None:
        await becomes(client, "RecipeManagement.Recipes", ["wrought-cast", "broken", "zorba"])
        await becomes(client, "RecipeManagement.ActiveRecipe", "wrought-cast")
        await select(client, "zorba")
        await becomes(client, "RecipeManagement.ActiveRecipe", "zorba")

    visit(endpoint, look)
    assert desk.chosen == "zorba"


@pytest.mark.parametrize(
    ("argument", "status", "told"),
    [
        ("nonesuch", "BadNotFound", "recipe 'nonesuch' was asked for, there is none"),
        ("broken", "BadInvalidState", "recipe 'broken' was asked for and is refused: recipe 'broken' is not"),
        (7, "BadInvalidArgument", ""),
    ],
)
def test_a_recipe_that_cannot_be_used_is_refused(
    endpoint: str, opcua: Opcua, desk, caplog, argument: object, status: str, told: str
) -> None:
    async def look(client: Client) -> None:
        with pytest.raises(ua.UaStatusCodeError) as refused:
            await select(client, argument)
        assert refused.value.code == getattr(ua.StatusCodes, status)

    with caplog.at_level(logging.WARNING, logger="alloysort"):
        visit(endpoint, look)
    assert desk.chosen == "wrought-cast"
    assert told in caplog.text


def test_the_state_is_shown(endpoint: str, opcua: Opcua, desk) -> None:
    async def look(client: Client) -> None:
        await becomes(client, "VisionStateMachine.CurrentState", ua.LocalizedText("ContinuousExecution"))
        desk.at = "Halted"
        await becomes(client, "VisionStateMachine.CurrentState", ua.LocalizedText("Halted"))
        await becomes(client, "Simulated", True)

    visit(endpoint, look)


def test_no_client_writes_to_a_node(endpoint: str, opcua: Opcua) -> None:
    async def look(client: Client) -> None:
        counter = await node(client, "Counters.Pieces")
        with pytest.raises(ua.UaStatusCodeError):
            await counter.write_value(ua.Variant(7, ua.VariantType.UInt64))

    visit(endpoint, look)
    with pytest.raises(ua.UaError):
        visit(endpoint, look, user="admin", password="")


def test_only_who_knows_the_password_comes_in(free_port, tmp_path, desk, outlets, running, until) -> None:
    (tmp_path / "secret").write_text("hush\n")
    endpoint = f"opc.tcp://127.0.0.1:{free_port()}"
    settings = OpcuaSettings(endpoint=endpoint, user="plant", password_file=tmp_path / "secret")
    opcua = running(Opcua(settings, outlets, desk))
    until(lambda: opcua.fault is None, 60)

    async def look(client: Client) -> Any:
        return await value(client, "Counters.Pieces")

    assert visit(endpoint, look, user="plant", password="hush") == 0
    for login in ({"user": "plant", "password": "no"}, {"user": "other", "password": "hush"}, {}):
        with pytest.raises(ua.UaError):
            visit(endpoint, look, **login)


def test_a_port_that_is_taken_is_a_fault_until_it_is_free(free_port, desk, outlets, running, until) -> None:
    port = free_port()
    with closing(socket.socket()) as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))
        other.listen()
        opcua = running(Opcua(OpcuaSettings(endpoint=f"opc.tcp://127.0.0.1:{port}"), outlets, desk))
        until(lambda: "in use" in (opcua.fault or ""))
    until(lambda: opcua.fault is None, 60)
