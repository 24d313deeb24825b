"""The service: one engine behind HTTP. It only assembles; reading, deciding and failing live elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from http import HTTPStatus
from importlib.metadata import version
from time import perf_counter
from typing import Any, Final

import anyio
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import Response
from fastapi_offline import FastAPIOffline
from pydantic import BaseModel, Field

from alloysort_datasets.errors import AlloysortError
from alloysort_inference.doors.rest.answer import Answer, make_answer
from alloysort_inference.doors.rest.problem import Problem, describe, handle_problems
from alloysort_inference.doors.rest.request import PieceRequest, openapi_body, read_piece
from alloysort_inference.doors.settings import Settings
from alloysort_inference.log.store import DecisionLog
from alloysort_inference.pipeline import Classifier, open_classifier
from alloysort_inference.record import Record
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
Send what the sensors saw of one piece, in either form:

* `multipart/form-data` with a file part `image` (JPEG or PNG), a file part `spectrum` (csv and its
  relatives), or both;
* `application/json` with `wavelength_nm` (nm, air, increasing) and `counts` (a list for each shot, or one
  list), with `image_base64`, or with all three.

`piece_id` and `batch` are optional in both.
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
    providers: list[str] = Field(description="onnxruntime execution providers, first choice first")
    recipe: str
    outlets: list[str]


class Health(BaseModel):
    """Whether the service can do its work."""

    status: str


class Service:
    """The state behind the routes: a classifier, its log, and whether it is warm."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.classifier: Classifier = open_classifier(
            settings.bundle, settings.recipe, settings.providers, settings.threads
        )
        self.log = None if settings.log is None else DecisionLog(settings.log)
        self.waiting_for: str | None = "the model is warming up"
        self._workers = anyio.CapacityLimiter(settings.workers)

    async def warm_up(self) -> None:
        """Run the engine until it is as fast as it gets; from then on the service is ready."""
        try:
            await anyio.to_thread.run_sync(self.classifier.engine.warm_up)
        except AlloysortError as error:
            self.waiting_for = str(error)
        else:
            self.waiting_for = None

    async def classify(self, piece: PieceRequest) -> Record:
        """Classify in a worker thread, so that the loop stays free, and keep a record."""
        return await anyio.to_thread.run_sync(
            partial(self._classify, piece, perf_counter()), limiter=self._workers
        )

    def _classify(self, piece: PieceRequest, arrived_s: float) -> Record:
        record = self.classifier.classify(
            piece.spectrum, piece.image, piece_id=piece.piece_id, batch=piece.batch, arrived_s=arrived_s
        )
        if self.log is not None:
            self.log.write(record)
        return record

    def require_ready(self) -> None:
        """Refuse work while the model is not warm."""
        if self.waiting_for is not None:
            raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, self.waiting_for, {"Retry-After": "1"})

    def close(self) -> None:
        """Close the log."""
        if self.log is not None:
            self.log.close()


def create_app(settings: Settings) -> FastAPI:
    """The application, with its bundle and recipe loaded; it warms up once it runs.

    Raises:
        BundleError, RecipeError: they cannot be used.
    """
    service = Service(settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        warming = asyncio.create_task(service.warm_up())
        try:
            yield
        finally:
            await warming
            service.close()

    app = FastAPIOffline(  # its pages load nothing from outside: a line has no internet
        title="alloysort",
        version=version("alloysort"),
        description=ABOUT,
        lifespan=lifespan,
        responses=describe(500),
    )
    app.state.service = service
    handle_problems(app)
    _add_routes(app, service)
    app.openapi_schema = _with_problem_schema(app.openapi())
    return app


def _add_routes(app: FastAPI, service: Service) -> None:
    @app.post(
        "/v1/classify",
        summary="What is this piece, and where does it go?",
        description=CLASSIFY,
        responses=describe(400, 408, 413, 415, 422, 503),
        openapi_extra=openapi_body(),
    )
    async def classify(request: Request) -> Answer:
        service.require_ready()
        settings = service.settings
        piece = await read_piece(request, settings.max_body_mb * 1_000_000, settings.read_timeout_s)
        answer = make_answer(await service.classify(piece))
        # the answer is valid by construction; letting FastAPI validate it again would double its cost
        return Response(answer.model_dump_json(), media_type="application/json")  # type: ignore[return-value]

    @app.get("/v1/model", summary="The bundle and the recipe in use")
    async def model() -> Model:
        return describe_model(service.classifier)

    @app.head("/healthz", include_in_schema=False)
    @app.get("/healthz", summary="Is the process alive?")
    async def healthz() -> Health:
        return Health(status="alive")

    @app.head("/readyz", include_in_schema=False)
    @app.get("/readyz", summary="Is the model warm?", responses=describe(503))
    async def readyz() -> Health:
        service.require_ready()
        return Health(status="ready")


def describe_model(classifier: Classifier) -> Model:
    """What `/v1/model` says."""
    known = {"name", "created", "schema_version", "families", "elements", "grid", "image_size", "thresholds"}
    manifest = classifier.engine.bundle.manifest
    return Model.model_validate(
        manifest.model_dump(include=known | {"training_data_sha256", "metrics"})
        | {
            "providers": classifier.engine.providers,
            "recipe": classifier.recipe.name,
            "outlets": [outlet.name for outlet in classifier.recipe.outlets],
        }
    )


def _with_problem_schema(document: dict[str, Any]) -> dict[str, Any]:
    document["components"]["schemas"]["Problem"] = Problem.model_json_schema()
    return document
