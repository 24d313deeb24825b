"""Alarms that stand, and who has seen them."""

from __future__ import annotations

import anyio
from fastapi import FastAPI, HTTPException, Request
from pydantic import BaseModel, Field

from alloysort_datasets.errors import DataError
from alloysort_inference.doors.rest.guard import who_asks
from alloysort_inference.doors.rest.problem import describe
from alloysort_inference.doors.service import Service


class StandingAlarm(BaseModel):
    """An alarm; times in seconds since 1970."""

    id: int
    key: str
    severity: str = Field(description="notice, warning or fault")
    text: str
    advice: str = Field(description="what to do")
    since: float
    until: float | None
    acknowledged: float | None
    who: str | None = Field(description="that acknowledged it")


def add_alarms(app: FastAPI, service: Service) -> None:
    """The routes under `/v1/alarms`."""

    @app.get("/v1/alarms", summary="Alarms that stand, the gravest first")
    async def alarms() -> list[StandingAlarm]:
        return [StandingAlarm(**entry.told()) for entry in service.book.standing()]

    @app.post(
        "/v1/alarms/{number}/acknowledge",
        summary="Say to have seen an alarm",
        responses=describe(403, 409, 422),
    )
    async def acknowledge(request: Request, number: int) -> StandingAlarm:
        who = who_asks(request)
        try:
            entry = await anyio.to_thread.run_sync(service.book.acknowledge, number, who.name)
        except DataError as fault:
            raise HTTPException(409, str(fault)) from None
        service.audit(who.name, who.address, "acknowledge alarm", {"alarm": entry.alarm.key, "id": number})
        return StandingAlarm(**entry.told())
