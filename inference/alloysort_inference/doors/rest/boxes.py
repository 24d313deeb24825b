"""The boxes that the outlets with a melt fill: what is in them, and a box closed and weighed."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import anyio
from fastapi import FastAPI, HTTPException, Request
from pydantic import BaseModel, ConfigDict, Field

from alloysort_datasets.errors import DataError
from alloysort_inference.doors.rest.guard import who_asks
from alloysort_inference.doors.rest.problem import describe
from alloysort_inference.doors.service import Service

Kilograms = Annotated[float, Field(gt=0, lt=1e6)]


class OpenBox(BaseModel):
    """A box, as far as is known."""

    outlet: str
    box: int = Field(description="number, counted up from 1")
    pieces: int
    mass_kg: float = Field(description="of its pieces, as it was told of each")
    full: bool
    inside: bool = Field(description="keeps every limit, as surely as the recipe asks for")
    wt_pct: dict[str, float] = Field(description="contents as the model says, by element")
    sigma: dict[str, float] = Field(description="one standard deviation of these, by chance")
    weighed_kg: float | None = Field(default=None, description="what a scale said when it was closed")


class Closing(BaseModel):
    """A box that is taken away."""

    model_config = ConfigDict(extra="forbid")
    weighed_kg: Kilograms | None = Field(default=None, description="what a scale says")


def add_boxes(app: FastAPI, service: Service) -> None:
    """The routes under `/v1/boxes`."""

    @app.get("/v1/boxes", summary="The open box of each outlet that has a melt")
    async def boxes() -> list[OpenBox]:
        return [OpenBox(**asdict(state)) for state in service.classifier.boxes.states()]

    @app.post(
        "/v1/boxes/{outlet}/close",
        summary="Close an outlet's box and open the next",
        responses=describe(400, 401, 403, 409, 422),
    )
    async def close(request: Request, outlet: str, closing: Closing) -> OpenBox:
        try:
            closed = await anyio.to_thread.run_sync(
                service.classifier.boxes.close, outlet, closing.weighed_kg
            )
        except DataError as fault:
            raise HTTPException(409, str(fault)) from None
        who, told = who_asks(request), {"outlet": outlet, "box": closed.box, "weighed_kg": closing.weighed_kg}
        service.audit(who.name, who.address, "close box", told)
        return OpenBox(**asdict(closed))
