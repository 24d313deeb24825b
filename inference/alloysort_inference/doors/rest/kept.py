"""Pieces that the log keeps with picture and spectrum, to be labelled by people."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import anyio
from fastapi import FastAPI, HTTPException, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from alloysort_datasets.errors import DataError
from alloysort_inference.doors.rest.guard import who_asks
from alloysort_inference.doors.rest.problem import describe
from alloysort_inference.doors.service import Service
from alloysort_inference.log.read import label_piece, list_kept
from alloysort_inference.log.store import DecisionLog

NO_LOG = "there is no decision log: begin the service with --log FILE"


class KeptPiece(BaseModel):
    """A kept piece; picture and spectrum are at `/v1/pieces/{seq}/`."""

    seq: int
    piece_id: str
    time: datetime
    family: str | None
    confidence: float | None
    probabilities: dict[str, float] | None
    outlet: str
    reason: str
    why: str = Field(description="it is kept")
    image: bool
    spectrum: bool
    label: str | None


class Label(BaseModel):
    """What a piece is."""

    model_config = ConfigDict(extra="forbid")
    family: str | None = Field(description="null takes a label back")
    alloy: Annotated[str, Field(min_length=1, max_length=40)] | None = None


def add_kept(app: FastAPI, service: Service) -> None:
    """The routes under `/v1/kept`."""

    @app.get("/v1/kept", summary="Pieces worth a label, the best first", responses=describe(409, 422))
    async def kept(
        most: Annotated[int, Query(ge=1, le=500)] = 50, unlabelled: bool = True
    ) -> list[KeptPiece]:
        log = _log(service)
        rows = await anyio.to_thread.run_sync(lambda: list_kept(log.database, most, unlabelled=unlabelled))
        return [KeptPiece(**row) for row in rows]

    @app.post(
        "/v1/kept/{seq}/label", summary="Say what a kept piece is", responses=describe(400, 403, 409, 422)
    )
    async def label(request: Request, seq: int, told: Label) -> Label:
        who, log = who_asks(request), _log(service)
        try:
            await anyio.to_thread.run_sync(label_piece, log.database, seq, told.family, who.name, told.alloy)
        except DataError as fault:
            raise HTTPException(422, str(fault)) from None
        service.audit(who.name, who.address, "label piece", {"seq": seq, "family": told.family})
        return told


def _log(service: Service) -> DecisionLog:
    if service.log is None:
        raise HTTPException(409, NO_LOG)
    return service.log
