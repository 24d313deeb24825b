"""Batches opened and closed by the operator."""

from __future__ import annotations

from typing import Annotated

from fastapi import FastAPI, HTTPException, Request
from pydantic import BaseModel, ConfigDict, Field

from alloysort_datasets.errors import DataError
from alloysort_inference.doors.rest.admin import require_local
from alloysort_inference.doors.rest.problem import describe
from alloysort_inference.doors.rest.request import LABEL_LENGTH
from alloysort_inference.doors.service import Service


class Opening(BaseModel):
    """A batch that begins."""

    model_config = ConfigDict(extra="forbid")
    name: Annotated[str, Field(pattern=r"^\S(.*\S)?$", max_length=LABEL_LENGTH)]


class OpenBatch(BaseModel):
    """A batch: pieces that bring no batch of their own belong to it."""

    name: str
    opened: float = Field(description="seconds since 1970")


def add_batches(app: FastAPI, service: Service) -> None:
    """The routes under `/v1/batches`."""

    @app.get("/v1/batches", summary="The open batch")
    async def batches() -> OpenBatch | None:
        return None if service.batch is None else OpenBatch(**service.batch.told())

    @app.post(
        "/v1/batches",
        summary="Open a batch; the one that is open ends, and the outlets count anew",
        responses=describe(400, 403, 409, 422),
    )
    async def begin(request: Request, opening: Opening) -> OpenBatch:
        require_local(request)
        try:
            return OpenBatch(**(await service.open_batch(opening.name)).told())
        except DataError as fault:
            raise HTTPException(409, str(fault)) from None

    @app.post("/v1/batches/close", summary="End the open batch", responses=describe(403, 409))
    async def end(request: Request) -> OpenBatch:
        require_local(request)
        try:
            return OpenBatch(**(await service.close_batch()).told())
        except DataError as fault:
            raise HTTPException(409, str(fault)) from None
