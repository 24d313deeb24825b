"""An OPC UA server for the clients of a plant, its nodes named after OPC 40100-1 (machine vision)."""

from __future__ import annotations

import asyncio
import hmac
import logging
import socket
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from time import monotonic
from typing import Any, Final
from urllib.parse import urlparse

from asyncua import ua
from asyncua.common.node import Node
from asyncua.crypto.permission_rules import User, UserRole
from asyncua.server.server import Server
from asyncua.server.user_managers import UserManager
from asyncua.ua.object_ids import ObjectIds
from asyncua.ua.status_codes import StatusCodes

from alloysort_datasets.errors import AlloysortError
from alloysort_inference.outputs.counts import Counts
from alloysort_inference.outputs.output import Controls, Output
from alloysort_inference.outputs.settings import OpcuaSettings

NAMESPACE: Final = "urn:alloysort"
ROOT: Final = "MachineVision"
PUBLISH_EVERY_S: Final = 0.1
RECIPES_EVERY_S: Final = 1.0
NAN: Final = float("nan")  # one for all: the same again is no news
_log = logging.getLogger("alloysort")

_STRING: Final = ua.VariantType.String
_COUNT: Final = ua.VariantType.UInt64
_NODES: Final = {
    "ConfigurationManagement.ActiveConfiguration": (_STRING, ""),
    "ConfigurationManagement.ActiveConfigurationHash": (_STRING, ""),
    "RecipeManagement.ActiveRecipe": (_STRING, ""),
    "ResultManagement.LastResult.ResultId": (_STRING, ""),
    "ResultManagement.LastResult.JobId": (_STRING, ""),
    "ResultManagement.LastResult.CreationTime": (ua.VariantType.DateTime, datetime.fromtimestamp(0, UTC)),
    "ResultManagement.LastResult.Outlet": (_STRING, ""),
    "ResultManagement.LastResult.Family": (_STRING, ""),
    "ResultManagement.LastResult.Confidence": (ua.VariantType.Double, NAN),
    "ResultManagement.LastResult.Eject": (ua.VariantType.Boolean, False),
    "ResultManagement.LastResult.Reason": (_STRING, ""),
    "VisionStateMachine.CurrentState": (ua.VariantType.LocalizedText, ua.LocalizedText("")),
    "Counters.Pieces": (_COUNT, 0),
    "Counters.Late": (_COUNT, 0),
    "Counters.Refused": (_COUNT, 0),
    "Simulated": (ua.VariantType.Boolean, False),
}
_RECIPES: Final = "RecipeManagement.Recipes"


class Opcua(Output):
    """The server; a fault is that it cannot listen.

    Args:
        settings: where it listens, and who may come.
        outlets: of the recipe in use.
        controls: recipes, state, and whether the pieces are made up.

    Raises:
        DataError: the password cannot be read.
    """

    def __init__(self, settings: OpcuaSettings, outlets: Sequence[str], controls: Controls) -> None:
        super().__init__("opcua", outlets)
        self._settings, self._controls, self._password = settings, controls, settings.password()
        self._one_at_a_time = asyncio.Lock()

    async def _serve(self) -> None:
        where = urlparse(self._settings.endpoint)
        require_free(where.hostname or "", where.port or 0)  # before a server is built, which takes seconds
        server = await self._build_server()
        tree = _Tree(server)
        await tree.plant(self._choose)
        await server.start()
        try:
            self._connected()
            await self._publish_until_stopped(tree)
        finally:
            await server.stop()

    async def _build_server(self) -> Server:
        server = Server(user_manager=_Guard(self._settings.user, self._password))
        await server.init()
        server.set_endpoint(self._settings.endpoint)
        server.set_server_name("alloysort")
        await server.set_application_uri("urn:alloysort:server")
        server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        known = ua.AnonymousIdentityToken if self._settings.user is None else ua.UserNameIdentityToken
        server.set_identity_tokens([known])
        return server

    async def _publish_until_stopped(self, tree: _Tree) -> None:
        recipes_s = monotonic()
        while not self._stop.is_set():
            self._tick()
            await tree.show(values_of(self.counts, self._controls))
            for name, count in self.counts.outlets.items():
                await tree.show_outlet(name, count)
            if monotonic() >= recipes_s:
                recipes_s = monotonic() + RECIPES_EVERY_S
                await tree.show({_RECIPES: list(await asyncio.to_thread(self._controls.recipes))})
            await self._pause(PUBLISH_EVERY_S)

    async def _choose(self, _parent: ua.NodeId, *arguments: ua.Variant) -> list[ua.Variant] | ua.StatusCode:
        """The method SelectRecipe."""
        name = arguments[0].Value if len(arguments) == 1 else None
        if not isinstance(name, str):
            return _bad(StatusCodes.BadInvalidArgument)
        async with self._one_at_a_time:
            if name not in await asyncio.to_thread(self._controls.recipes):
                _log.warning("output %s: recipe %r was asked for, there is none", self.name, name)
                return _bad(StatusCodes.BadNotFound)
            try:
                await asyncio.to_thread(self._controls.choose_recipe, name)
            except AlloysortError as error:
                _log.warning("output %s: recipe %r was asked for and is refused: %s", self.name, name, error)
                return _bad(StatusCodes.BadInvalidState)
        _log.info("output %s: recipe %r was chosen", self.name, name)
        return []


class _Tree:
    """The nodes, and what they show."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._nodes: dict[str, Node] = {}
        self._types: dict[str, ua.VariantType] = {}
        self._shown: dict[str, object] = {}

    async def plant(self, choose: Any) -> None:
        self._namespace = await self._server.register_namespace(NAMESPACE)
        self._nodes[""] = await self._server.nodes.objects.add_object(self._id(""), self._name(ROOT))
        for path, (kind, value) in _NODES.items():
            await self._add(path, kind, value)
        await self._add(_RECIPES, _STRING, [])
        name = ua.Argument(Name="Name", DataType=ua.NodeId(ua.Int32(ObjectIds.String)), ValueRank=-1)
        await self._nodes["RecipeManagement"].add_method(
            self._id("RecipeManagement.SelectRecipe"), self._name("SelectRecipe"), choose, [name], []
        )

    async def show(self, values: dict[str, object]) -> None:
        """Write what has changed."""
        for path, value in values.items():
            before = self._shown.get(path, _NOTHING)
            if before is not value and before != value:
                shown = ua.DataValue(
                    ua.Variant(value, self._types[path], is_array=isinstance(value, list)),
                    SourceTimestamp=ua.DateTime.now(UTC),
                )
                await self._server.write_attribute_value(self._nodes[path].nodeid, shown)
                self._shown[path] = value

    async def show_outlet(self, name: str, count: int) -> None:
        path = f"Counters.Outlets.{name}"
        if path not in self._nodes:
            folder = await self._folder("Counters.Outlets")
            self._nodes[path] = await folder.add_variable(self._id(path), self._name(name), count, _COUNT)
            self._types[path] = _COUNT
        await self.show({path: count})

    async def _add(self, path: str, kind: ua.VariantType, value: object) -> None:
        parent, _, name = path.rpartition(".")
        folder = await self._folder(parent)
        variant = ua.Variant(value, kind, is_array=isinstance(value, list))
        self._nodes[path] = await folder.add_variable(self._id(path), self._name(name), variant)
        self._types[path] = kind

    async def _folder(self, path: str) -> Node:
        if path not in self._nodes:
            parent, _, name = path.rpartition(".")
            above = await self._folder(parent)
            self._nodes[path] = await above.add_object(self._id(path), self._name(name))
        return self._nodes[path]

    def _id(self, path: str) -> ua.NodeId:
        """The same after every start, so that clients may keep it."""
        return ua.NodeId(ua.String(f"{ROOT}.{path}" if path else ROOT), ua.Int16(self._namespace))

    def _name(self, name: str) -> ua.QualifiedName:
        return ua.QualifiedName(name, self._namespace)


class _Guard(UserManager):
    """Everybody where no user is named, else just that one; nobody may write to a node."""

    def __init__(self, user: str | None, password: str | None) -> None:
        self._user, self._password = user, password

    def get_user(
        self,
        iserver: Any,  # noqa: ARG002 (as the base wants it)
        username: str | None = None,
        password: str | None = None,
        certificate: Any = None,  # noqa: ARG002
    ) -> User | None:
        """The user with this name and password; None where there is none."""
        if self._user is not None and (
            username != self._user
            or not hmac.compare_digest((password or "").encode(), (self._password or "").encode())
        ):
            return None
        return User(role=UserRole.User, name=username)


_NOTHING: Final = object()


def _bad(code: int) -> ua.StatusCode:
    return ua.StatusCode(ua.UInt32(code))


def values_of(counts: Counts, controls: Controls) -> dict[str, object]:
    """What the nodes are to show, by path; a result's confidence is NaN where nothing was computed."""
    found: dict[str, object] = {
        "RecipeManagement.ActiveRecipe": controls.recipe(),
        "VisionStateMachine.CurrentState": ua.LocalizedText(controls.state()),
        "Simulated": controls.simulated(),
        "Counters.Pieces": counts.pieces,
        "Counters.Late": counts.late,
        "Counters.Refused": counts.refused,
    }
    last = counts.last
    if last is not None:
        result = "ResultManagement.LastResult."
        said, decision = last.assessment, last.decision
        found |= {
            "ConfigurationManagement.ActiveConfiguration": last.bundle.name,
            "ConfigurationManagement.ActiveConfigurationHash": last.bundle.sha256,
            f"{result}ResultId": last.piece_id,
            f"{result}JobId": last.batch or "",
            f"{result}CreationTime": last.time,
            f"{result}Outlet": decision.outlet,
            f"{result}Family": decision.family or "",
            f"{result}Confidence": NAN if said is None else said.confidence,
            f"{result}Eject": decision.eject,
            f"{result}Reason": decision.reason,
        }
    return found


def require_free(host: str, port: int) -> None:
    """Fail where somebody listens already.

    Raises:
        OSError: nobody else can.
    """
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    with closing(socket.socket(family, socket.SOCK_STREAM)) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        trial.bind((host, port))
