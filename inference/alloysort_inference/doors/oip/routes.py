"""The routes of the Open Inference Protocol, with one model: whatever bundle and recipe are in use."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import Awaitable, Callable, Iterable
from http import HTTPStatus
from importlib.metadata import version
from time import perf_counter
from typing import Any, Final

from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from alloysort_datasets.families import ELEMENTS, FAMILIES
from alloysort_inference.doors.intake import ClosedError, QueueFullError
from alloysort_inference.doors.oip.fault import HANDLERS, PREFIX
from alloysort_inference.doors.oip.outputs import OUTPUTS, output_tensor, wanted_outputs
from alloysort_inference.doors.oip.pieces import INPUTS, Pieces, read_pieces
from alloysort_inference.doors.oip.tensors import (
    HEAD_LENGTH,
    InferRequest,
    Wanted,
    decode_request,
    encode_answer,
)
from alloysort_inference.doors.rest.request import read_unpacked
from alloysort_inference.doors.service import Service
from alloysort_inference.pipeline import Arrival
from alloysort_inference.record import Record

ALIAS: Final = "alloysort"  # a name that stays when the bundle changes
VERSION: Final = "1"
EXTENSIONS: Final = ("binary_tensor_data", "statistics")
INLINE_BYTES: Final = 100_000  # larger JSON and pictures are read in a thread
PACK_FROM_BYTES: Final = 1_400  # smaller answers fit one packet as they are
PACKERS: Final[dict[str, Callable[[bytes], bytes]]] = {
    "gzip": lambda content: gzip.compress(content, 1),
    "deflate": lambda content: zlib.compress(content, 1),
}
Endpoint = Callable[[Request], Awaitable[Response]]


def add_oip(app: FastAPI, service: Service) -> None:
    """Everything under `/v2`, as an application of its own: its errors are in the protocol's words."""
    door = Door(service)
    model = "/models/{name}"
    routes = [
        _route("", door.server),
        _route("/health/live", door.live),
        _route("/health/ready", door.ready),
        _route("/repository/index", door.index, "POST"),
        _route("/models/stats", door.statistics),
        *_both(model, door.model),
        *_both(model, door.model_ready, "/ready"),
        *_both(model, door.statistics, "/stats"),
        *_both(model, door.infer, "/infer", "POST"),
    ]
    inner = Starlette(routes=routes, exception_handlers=HANDLERS)
    for path in (PREFIX, PREFIX + "/{rest:path}"):
        app.router.routes.append(Route(path, inner, include_in_schema=False))


def _route(path: str, endpoint: Endpoint, method: str = "GET") -> Route:
    return Route(PREFIX + path, endpoint, methods=[method])


def _both(model: str, endpoint: Endpoint, action: str = "", method: str = "GET") -> Iterable[Route]:
    """With and without a version."""
    for path in (model, model + "/versions/{version}"):
        yield _route(path + action, endpoint, method)


class Door:
    """What each route does."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def server(self, _: Request) -> Response:
        """Who answers here."""
        return JSONResponse({"name": ALIAS, "version": version("alloysort"), "extensions": EXTENSIONS})

    async def live(self, _: Request) -> Response:
        """The process is alive."""
        return Response()

    async def ready(self, _: Request) -> Response:
        """The model is warm."""
        self._require_ready()
        return Response()

    async def model_ready(self, request: Request) -> Response:
        """The model is warm."""
        self._require_model(request)
        self._require_ready()
        return Response()

    async def model(self, request: Request) -> Response:
        """What goes in and what comes out."""
        name = self._require_model(request)
        classifier = self._service.classifier
        inputs = [{"name": one.name, "datatype": one.datatypes[0], "shape": one.shape} for one in INPUTS]
        outputs = [{"name": one.name, "datatype": one.datatype, "shape": one.shape} for one in OUTPUTS]
        properties = {
            "families": ",".join(FAMILIES),
            "elements": ",".join(ELEMENTS),
            "outlets": ",".join(outlet.name for outlet in classifier.recipe.outlets),
            "bundle": classifier.bundle.name,
            "bundle_sha256": classifier.bundle.sha256,
            "recipe": classifier.recipe.name,
            "recipe_sha256": classifier.recipe_origin.sha256,
        }
        told = {"name": name, "versions": [VERSION], "platform": "onnx_onnxv1"}
        return JSONResponse({**told, "inputs": inputs, "outputs": outputs, "properties": properties})

    async def index(self, _: Request) -> Response:
        """The one model there is."""
        waiting_for = self._service.waiting_for
        state = "READY" if waiting_for is None else "UNAVAILABLE"
        known = {"name": self._service.classifier.bundle.name, "version": VERSION, "state": state}
        return JSONResponse([{**known, "reason": waiting_for or ""}])

    async def statistics(self, request: Request) -> Response:
        """Counts since the start, of all doors together."""
        name = self._require_model(request) if "name" in request.path_params else ALIAS
        return JSONResponse({"model_stats": [_statistics(name, self._service)]})

    async def infer(self, request: Request) -> Response:
        """Say what pieces are and where each goes."""
        name = self._require_model(request)
        self._require_ready()
        self._service.intake.require_room()
        body = await read_unpacked(request, self._service)
        arrived_s = perf_counter()
        told, pieces, wanted = await self._understood(body, request.headers.get(HEAD_LENGTH), arrived_s)
        records = await asyncio.gather(
            *(self._sorted(arrival, pieces.deadline_ms) for arrival in pieces.arrivals)
        )
        head = {"model_name": name, "model_version": VERSION}
        if told.number is not None:
            head["id"] = told.number
        outputs = [(output_tensor(one.name, records), one.binary) for one in wanted]
        return _packed(*encode_answer(head, outputs), request.headers.get("accept-encoding", ""))

    async def _understood(
        self, body: bytes, head_length: str | None, arrived_s: float
    ) -> tuple[InferRequest, Pieces, tuple[Wanted, ...]]:
        axes = self._service.axes

        def understand() -> tuple[InferRequest, Pieces, tuple[Wanted, ...]]:
            told = decode_request(body, head_length)
            return told, read_pieces(told, axes, arrived_s), wanted_outputs(told)

        return understand() if len(body) <= INLINE_BYTES else await run_in_threadpool(understand)

    async def _sorted(self, arrival: Arrival, deadline_ms: float | None) -> Record:
        """A piece that finds no room once it is read is refused, in its place, with an outlet."""
        try:
            return await self._service.sort(arrival, deadline_ms)
        except (QueueFullError, ClosedError) as fault:
            return self._service.refuse(arrival, fault)

    def _require_model(self, request: Request) -> str:
        """The name that the model is asked by."""
        name, number = request.path_params["name"], request.path_params.get("version", VERSION)
        known = self._service.classifier.bundle.name
        if name not in (known, ALIAS):
            raise HTTPException(404, f"model {name[:80]!r} is not known, there is {known!r} or {ALIAS!r}")
        if number != VERSION:
            raise HTTPException(404, f"model {name!r} has version {VERSION}, not {number[:80]!r}")
        return str(name)

    def _require_ready(self) -> None:
        if self._service.waiting_for is not None:
            raise HTTPException(
                HTTPStatus.SERVICE_UNAVAILABLE, self._service.waiting_for, {"Retry-After": "1"}
            )


def _packed(content: bytes, head_size: int | None, accepted: str) -> Response:
    kind = "application/json" if head_size is None else "application/octet-stream"
    headers = {} if head_size is None else {HEAD_LENGTH: str(head_size)}
    encoding = _encoding(accepted) if len(content) >= PACK_FROM_BYTES else None
    if encoding is not None:
        content = PACKERS[encoding](content)
        headers |= {"Content-Encoding": encoding, "Vary": "Accept-Encoding"}
    return Response(content, headers=headers, media_type=kind)


def _encoding(accepted: str) -> str | None:
    """The first one of Accept-Encoding that can be had."""
    for choice in accepted.lower().split(","):
        encoding, _, weight = choice.replace(" ", "").partition(";q=")
        if encoding in PACKERS and (not weight or weight.strip("0.")):
            return encoding
    return None


def _statistics(name: str, service: Service) -> dict[str, Any]:
    tally, batches = service.tally, service.batcher.counts.batches
    answered, decided = tally.status.total(), tally.status["decided"]
    return {
        "name": name,
        "version": VERSION,
        "inference_count": decided,
        "execution_count": sum(batches.values()),
        "inference_stats": {
            "success": _spent(answered, service, "total"),
            "queue": _spent(answered, service, "waiting"),
            "compute_input": _spent(decided, service, "prepare"),
            "compute_infer": _spent(decided, service, "infer"),
        },
    }


def _spent(count: int, service: Service, stage: str) -> dict[str, int]:
    _, total_s = service.tally.histogram(stage)
    return {"count": count, "ns": int(total_s * 1e9)}
