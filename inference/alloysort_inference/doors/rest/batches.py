"""Batches opened and closed by the operator."""

from __future__ import annotations

from typing import Annotated

from fastapi import FastAPI, HTTPException, Request
from pydantic import BaseModel, ConfigDict, Field

from alloysort_datasets.errors import DataError
from alloysort_inference.doors.rest.guard import who_asks
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
        who = who_asks(request)
        try:
            batch = await service.open_batch(opening.name)
        except DataError as fault:
            raise HTTPException(409, str(fault)) from None
        service.audit(who.name, who.address, "open batch", {"batch": batch.name})
        return OpenBatch(**batch.told())

    @app.post("/v1/batches/close", summary="End the open batch", responses=describe(403, 409))
    async def end(request: Request) -> OpenBatch:
        who = who_asks(request)
        try:
            batch = await service.close_batch()
        except DataError as fault:
            raise HTTPException(409, str(fault)) from None
        service.audit(who.name, who.address, "close batch", {"batch": batch.name})
        return OpenBatch(**batch.told())
