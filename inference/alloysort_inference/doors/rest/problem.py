"""Errors over HTTP: `application/problem+json` (RFC 9457), one line each, never a traceback."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match

from alloysort_datasets.errors import AlloysortError, DataError
from alloysort_inference.doors.changeover import NothingLoadedError
from alloysort_inference.doors.intake import ClosedError, QueueFullError
from alloysort_inference.record import Record

MEDIA_TYPE = "application/problem+json"
_UNUSABLE = HTTPStatus.UNPROCESSABLE_ENTITY


class Problem(BaseModel):
    """What went wrong (RFC 9457)."""

    type: str = Field(default="about:blank", description="no further page: the status says what kind it is")
    title: str = Field(description="the status in words")
    status: int = Field(description="the HTTP status")
    detail: str = Field(description="what is at fault and what would be right, in one line")
    piece_id: str | None = Field(default=None, description="of the piece that is refused")
    outlet: str | None = Field(default=None, description="where a refused piece goes: the default outlet")
    eject: bool | None = Field(default=None, description="whether the valve fires for it")


class RefusedError(Exception):
    """A piece whose data cannot be used, with the record that says where it goes all the same."""

    def __init__(self, record: Record) -> None:
        super().__init__(str(record.fault))
        self.record = record


def problem(
    status: int, detail: str, headers: Mapping[str, str] | None = None, record: Record | None = None
) -> JSONResponse:
    """A problem as a response; with a record, that of a piece that goes to the default outlet."""
    content = Problem(title=HTTPStatus(status).phrase, status=status, detail=one_line(detail))
    if record is not None:
        sent = {"outlet": record.decision.outlet, "eject": record.decision.eject}
        content = content.model_copy(update={"piece_id": record.piece_id, **sent})
    known = content.model_dump(exclude_none=True)
    return JSONResponse(known, status, dict(headers or {}), media_type=MEDIA_TYPE)


def one_line(text: str) -> str:
    """The text with every run of white space as one blank, and nothing unprintable."""
    return "".join(
        char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in " ".join(text.split())
    )


def describe(*statuses: int) -> dict[int | str, dict[str, object]]:
    """The problems a route can answer with, for its OpenAPI document."""
    schema = {"schema": {"$ref": "#/components/schemas/Problem"}}
    return {
        status: {"description": HTTPStatus(status).phrase, "content": {MEDIA_TYPE: schema}}
        for status in statuses
    }


def handle_problems(app: FastAPI) -> None:
    """Make every error of the application a problem."""
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(AlloysortError, _on_purpose)
    app.add_exception_handler(RefusedError, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(Exception, _bug)


async def _http(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise error
    detail = str(error.detail)
    if error.status_code == HTTPStatus.NOT_FOUND and detail == HTTPStatus.NOT_FOUND.phrase:
        detail = f"nothing at {request.url.path}; see /docs for what there is"
    if (
        detail == "There was an error parsing the body"
    ):  # the framework's word where it decodes the body itself
        detail = "the body is not JSON in UTF-8"
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = _methods_at(request)
        detail = f"{request.url.path} takes {allowed}, not {request.method}"
        return problem(error.status_code, detail, {"Allow": allowed})
    return problem(error.status_code, detail, error.headers)


def _methods_at(request: Request) -> str:
    # the framework names the methods of the first route only, and /healthz has one for GET and one for HEAD
    methods: set[str] = set()
    for route in request.app.routes:
        if route.matches(request.scope)[0] is not Match.NONE:
            methods |= set(getattr(route, "methods", None) or ("GET", "HEAD"))  # a mount serves files
    return ", ".join(sorted(methods))


async def _on_purpose(_: Request, error: Exception) -> JSONResponse:
    if isinstance(error, QueueFullError | ClosedError):
        return problem(HTTPStatus.SERVICE_UNAVAILABLE, str(error), {"Retry-After": "1"})
    if isinstance(error, NothingLoadedError):
        return problem(HTTPStatus.CONFLICT, str(error))
    theirs = isinstance(error, DataError)
    return problem(_UNUSABLE if theirs else HTTPStatus.INTERNAL_SERVER_ERROR, str(error))


async def _refused(_: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, RefusedError):
        raise error
    theirs = isinstance(error.record.fault, DataError)
    status = _UNUSABLE if theirs else HTTPStatus.INTERNAL_SERVER_ERROR
    return problem(status, str(error), record=error.record)


async def _invalid(_: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, RequestValidationError):
        raise error
    faults = []
    for detail in error.errors()[:5]:
        where = ".".join(str(part) for part in detail["loc"][1:]) or "body"
        faults.append(f"{where}: {detail['msg']} (is {detail['input']!r:.60})")
    return problem(_UNUSABLE, "; ".join(faults))


async def _gone(_: Request, __: Exception) -> JSONResponse:
    return problem(HTTPStatus.BAD_REQUEST, "the connection closed before the body was complete")


async def _bug(_: Request, __: Exception) -> JSONResponse:
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "internal error; the server's own output says more")
