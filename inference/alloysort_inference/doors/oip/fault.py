"""Errors in the words of the Open Inference Protocol: `{"error": one line}`."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.types import ExceptionHandler

from alloysort_datasets.errors import AlloysortError, DataError
from alloysort_inference.doors.intake import ClosedError, QueueFullError
from alloysort_inference.doors.rest.problem import one_line

PREFIX: Final = "/v2"


def is_ours(path: str) -> bool:
    """Whether a path is one of this protocol, so that its errors are to be in its words."""
    return path == PREFIX or path.startswith(PREFIX + "/")


def fault(status: int, detail: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """What went wrong, as a response."""
    return JSONResponse({"error": one_line(detail)}, status, dict(headers or {}))


async def _http(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise error
    detail = str(error.detail)
    if error.status_code == HTTPStatus.NOT_FOUND and detail == HTTPStatus.NOT_FOUND.phrase:
        detail = f"nothing at {request.url.path}; see docs/oip.md for what there is"
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = (error.headers or {}).get("Allow", "another method")
        detail = f"{request.url.path} takes {allowed}, not {request.method}"
    return fault(error.status_code, detail, error.headers)


async def _on_purpose(_: Request, error: Exception) -> JSONResponse:
    if isinstance(error, QueueFullError | ClosedError):
        return fault(HTTPStatus.SERVICE_UNAVAILABLE, str(error), {"Retry-After": "1"})
    theirs = isinstance(error, DataError)
    return fault(HTTPStatus.BAD_REQUEST if theirs else HTTPStatus.INTERNAL_SERVER_ERROR, str(error))


async def _gone(_: Request, __: Exception) -> JSONResponse:
    return fault(HTTPStatus.BAD_REQUEST, "the connection closed before the body was complete")


async def _bug(_: Request, __: Exception) -> JSONResponse:
    return fault(HTTPStatus.INTERNAL_SERVER_ERROR, "internal error; the server's own output says more")


HANDLERS: Final[Mapping[type[Exception], ExceptionHandler]] = {
    HTTPException: _http,
    AlloysortError: _on_purpose,
    ClientDisconnect: _gone,
    Exception: _bug,
}
