"""The service: one engine behind HTTP. It only assembles; reading, deciding and failing live elsewhere."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from http import HTTPStatus
from importlib.metadata import version
from typing import Annotated, Any, Final

from fastapi import FastAPI, HTTPException, Query, Request
from fastapi.responses import PlainTextResponse, Response
from fastapi_offline import FastAPIOffline
from pydantic import BaseModel, Field

from alloysort_inference.doors.oip.routes import add_oip
from alloysort_inference.doors.rest.admin import add_admin
from alloysort_inference.doors.rest.alarms import add_alarms
from alloysort_inference.doors.rest.answer import Answer, make_answer
from alloysort_inference.doors.rest.audit import add_audit
from alloysort_inference.doors.rest.batches import add_batches
from alloysort_inference.doors.rest.boxes import add_boxes
from alloysort_inference.doors.rest.guard import Guard
from alloysort_inference.doors.rest.kept import add_kept
from alloysort_inference.doors.rest.live import add_live
from alloysort_inference.doors.rest.metrics import CONTENT_TYPE, exposition
from alloysort_inference.doors.rest.page import add_page
from alloysort_inference.doors.rest.problem import Problem, RefusedError, describe, handle_problems
from alloysort_inference.doors.rest.recipes import add_recipes
from alloysort_inference.doors.rest.request import (
    JSON,
    SENT_AXIS,
    SENT_PIECE,
    SENT_PIECES,
    openapi_body,
    openapi_schemas,
    read_axis,
    read_piece,
    read_pieces,
)
from alloysort_inference.doors.service import Service
from alloysort_inference.doors.settings import Settings
from alloysort_inference.doors.stream.server import stream_door
from alloysort_inference.pipeline import Classifier
from alloysort_models.bundle.grid import Grid
from alloysort_models.bundle.manifest import Thresholds

ABOUT: Final = """\
Say which alloy family a piece of metal scrap is and where the recipe sends it.

**Units.** Wavelengths are in nm and in air. Spectra are raw detector counts, one row for each laser shot;
do not normalise them. Composition is in per cent by mass (wt%) with one standard deviation. Times are in
milliseconds. Probabilities run from 0 to 1. Novelty has no unit: compare it with the threshold of
`/v1/model`.

**Errors** are `application/problem+json` (RFC 9457) with one line that says what is at fault.
"""
CLASSIFY: Final = """\
Send what the sensors saw of one piece, in one of these forms:

* `multipart/form-data` with a file part `image` (JPEG or PNG), a file part `spectrum` (csv and its
  relatives), or both;
* `application/json` with `wavelength_nm` (nm, air, increasing) and `counts` (a list for each shot, or one
  list), with `image_base64`, or with all three; `axis` may stand for `wavelength_nm`;

* `application/vnd.alloysort.piece`: the piece message of the stream door (docs/stream.md), on an axis of
  `/v1/axes`; the fastest way.

`piece_id` and `batch` are optional in all, and so are `deadline_ms` and `saturation_counts` (the detector's
ceiling). A piece that cannot be used, or that would be late, still gets its outlet and `eject`.
"""
BATCH: Final = """\
Send `application/json` with `pieces`, a list of pieces as `/v1/classify` takes them, or
`application/vnd.alloysort.pieces`: piece messages, each behind its length as a little-endian u32.
A piece that cannot be used is `refused` in its place and holds up no other.
"""


class Model(BaseModel):
    """The bundle and the recipe in use."""

    name: str
    created: str = Field(description="day of its release")
    schema_version: int
    families: list[str] = Field(description="in the order of the probabilities")
    elements: list[str] = Field(description="in the order of the composition")
    grid: Grid = Field(description="wavelengths the model looks at, nm in air")
    image_size: int = Field(description="pixels; images of any size are fitted to it")
    thresholds: Thresholds
    training_data_sha256: str
    metrics: dict[str, Any] = Field(description="measured when it was released")
    sha256: str = Field(description="of bundle.json, which names the hashes of all other files")
    providers: list[str] = Field(description="onnxruntime execution providers, first choice first")
    recipe: str
    recipe_sha256: str
    outlets: list[str]


class Answers(BaseModel):
    """Of many pieces, in the order in which they were sent."""

    answers: list[Answer]


class RegisteredAxis(BaseModel):
    """An axis that pieces can name from now on, until the service ends."""

    axis: int = Field(description="its number")
    channels: int


class Health(BaseModel):
    """Whether the service can do its work."""

    status: str


def create_app(
    settings: Settings, stream: socket.socket | None = None, *, demonstration: bool = False
) -> FastAPI:
    """The application, with its bundle and recipe loaded; it warms up once it runs.

    Args:
        settings: what is served.
        stream: a listening socket for the stream door beside it.
        demonstration: whether the pieces are made up.

    Raises:
        BundleError, RecipeError: they cannot be used.
    """
    service = Service(settings, demonstration=demonstration)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        warming = asyncio.create_task(service.warm_up())
        watching = asyncio.create_task(service.tally.watch_the_loop())
        try:
            async with stream_door(service, stream) if stream else nullcontext():
                yield
        finally:
            watching.cancel()
            await warming
            await service.close()

    app = FastAPIOffline(  # its pages load nothing from outside: a line has no internet
        title="alloysort",
        version=version("alloysort"),
        description=ABOUT,
        lifespan=lifespan,
        responses=describe(401, 403, 500),
    )
    app.state.service = service
    app.add_middleware(Guard, service=service)
    add_admin(app, service)
    add_audit(app, service)
    add_boxes(app, service)
    add_live(app, service)
    add_recipes(app, service)
    add_batches(app, service)
    add_alarms(app, service)
    add_kept(app, service)
    add_page(app)
    add_oip(app, service)
    handle_problems(app)
    _add_routes(app, service)
    app.openapi_schema = _with_schemas(app.openapi())
    return app


def _add_routes(app: FastAPI, service: Service) -> None:
    @app.post(
        "/v1/classify",
        summary="What is this piece, and where does it go?",
        description=CLASSIFY,
        responses=describe(400, 408, 413, 415, 422, 503),
        openapi_extra=openapi_body(SENT_PIECE),
    )
    async def classify(
        request: Request,
        deadline_ms: Annotated[
            float | None,
            Query(gt=0, description="answer within this, else send the piece to the default outlet: `late`"),
        ] = None,
    ) -> Answer:
        _require_ready(service)
        service.intake.require_room()
        sent = await read_piece(request, service)
        record = await service.sort(sent.arrival, sent.deadline_ms or deadline_ms)
        if record.fault is not None:
            raise RefusedError(record)
        answer = make_answer(record)
        # the answer is valid by construction; letting FastAPI validate it again would double its cost
        return Response(answer.model_dump_json(), media_type="application/json")  # type: ignore[return-value]

    @app.post(
        "/v1/classify/batch",
        summary="The same of many pieces at once",
        description=BATCH,
        responses=describe(400, 408, 413, 415, 422, 503),
        openapi_extra=openapi_body(SENT_PIECES),
    )
    async def classify_batch(
        request: Request,
        deadline_ms: Annotated[float | None, Query(gt=0, description="as for one piece")] = None,
    ) -> Answers:
        _require_ready(service)
        service.intake.require_room()
        pieces = await read_pieces(request, service)
        records = await asyncio.gather(
            *(service.sort(sent.arrival, sent.deadline_ms or deadline_ms) for sent in pieces)
        )
        answers = Answers(answers=[make_answer(record) for record in records])
        return Response(answers.model_dump_json(), media_type=JSON)  # type: ignore[return-value]

    @app.post(
        "/v1/axes",
        summary="Name a wavelength axis once",
        responses=describe(400, 408, 413, 415, 422),
        openapi_extra=openapi_body(SENT_AXIS),
    )
    async def register(request: Request) -> RegisteredAxis:
        axis = service.register(await read_axis(request, service))
        return RegisteredAxis(axis=axis.number, channels=axis.wavelength_nm.size)

    @app.get("/v1/model", summary="The bundle and the recipe in use")
    async def model() -> Model:
        return describe_model(service.classifier)

    @app.get("/metrics", summary="For Prometheus", response_class=PlainTextResponse)
    async def metrics() -> Response:
        return Response(exposition(service), media_type=CONTENT_TYPE)

    @app.head("/healthz", include_in_schema=False)
    @app.get("/healthz", summary="Is the process alive?")
    async def healthz() -> Health:
        return Health(status="alive")

    @app.head("/readyz", include_in_schema=False)
    @app.get("/readyz", summary="Is the model warm?", responses=describe(503))
    async def readyz() -> Health:
        _require_ready(service)
        return Health(status="ready")


def _require_ready(service: Service) -> None:
    if service.waiting_for is not None:
        raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, service.waiting_for, {"Retry-After": "1"})


def describe_model(classifier: Classifier) -> Model:
    """What `/v1/model` says."""
    known = {"name", "created", "schema_version", "families", "elements", "grid", "image_size", "thresholds"}
    manifest = classifier.engine.bundle.manifest
    return Model.model_validate(
        manifest.model_dump(include=known | {"training_data_sha256", "metrics"})
        | {
            "providers": classifier.engine.providers,
            "sha256": classifier.bundle.sha256,
            "recipe": classifier.recipe.name,
            "recipe_sha256": classifier.recipe_origin.sha256,
            "outlets": [outlet.name for outlet in classifier.recipe.outlets],
        }
    )


def _with_schemas(document: dict[str, Any]) -> dict[str, Any]:
    document["components"]["schemas"] |= openapi_schemas() | {"Problem": Problem.model_json_schema()}
    return document
