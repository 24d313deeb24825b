"""Who changed what, and who was refused."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

import anyio.to_thread
from fastapi import FastAPI, HTTPException, Query
from pydantic import BaseModel, Field

from alloysort_inference.doors.rest.problem import describe
from alloysort_inference.doors.service import Service
from alloysort_inference.log.audit import read_audit

MOST = 1000


class Noted(BaseModel):
    """Something that was done or refused."""

    time: datetime = Field(description="UTC")
    who: str = Field(description="name of a token, `this machine`, `anybody`, or a signal")
    address: str = Field(description="where from; empty where it came over no network")
    action: str
    details: dict[str, Any] | None
    refused: str | None = Field(description="why; null: it was done")


def add_audit(app: FastAPI, service: Service) -> None:
    """The route `/v1/audit`."""

    @app.get("/v1/audit", summary="Who changed what, and who was refused", responses=describe(403, 409, 422))
    async def audit(
        most: Annotated[int, Query(ge=1, le=MOST, description="entries, the newest first")] = 100,
    ) -> list[Noted]:
        if service.log is None:
            raise HTTPException(409, "no log is kept: the audit goes to the process's own messages only")
        entries = await anyio.to_thread.run_sync(read_audit, service.log.database, most)
        return [Noted(**asdict(entry)) for entry in entries]
