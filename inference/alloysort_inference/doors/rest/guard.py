"""The guard in front of the application: who asks, and whether they may. It is on the way of every piece."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from fastapi import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from alloysort_inference.doors.access import DeniedError, Sparing, Who
from alloysort_inference.doors.oip.fault import fault, is_ours
from alloysort_inference.doors.rest.problem import problem
from alloysort_inference.doors.service import Service
from alloysort_inference.doors.tokens import Role

WHO: Final = "alloysort_who"  # key of the scope
READING: Final = ("GET", "HEAD")
OPERATED: Final = r"/v1/(boxes|batches|alarms|kept|recipe)(/.*)?"
CLASSIFIED: Final = r"/v1/classify(/.*)?|/v1/axes|/v2/models/.*/infer|/v2/repository/index"
RULES: Final[tuple[tuple[tuple[str, ...], str, Role | None], ...]] = (  # the first that fits counts
    (READING, r"/|/healthz|/readyz|/v2/health/.*|/page/.*", None),  # free for all: there is no data in them
    (READING, r"/v1/audit", "engineer"),
    (READING, r".*", "read"),
    (("POST",), CLASSIFIED, "operate"),
    (("POST",), OPERATED, "operate"),
)
OTHERWISE: Final[Role] = "engineer"
POLICY: Final = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' blob: data:",
    "connect-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
}
DOCUMENTATION: Final = {  # its pages start by a script of their own, and search in a worker
    **POLICY,
    "script-src": "'self' 'unsafe-inline'",
    "style-src": "'self' 'unsafe-inline'",
    "worker-src": "blob:",
}


class Guard:
    """Lets in who may, notes who may not, and tells browsers what pages of ours may do.

    `scope["alloysort_who"]` says who asks; routes get it by `who_asks`.
    """

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app, self._service = app, service
        self._sparing = Sparing()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        method, path, client = scope["method"], scope["path"], scope.get("client")
        reads = method in READING
        try:
            scope[WHO] = self._service.access.admit(
                client[0] if client else "", dict(scope["headers"]), role_for(method, path), changes=not reads
            )
        except DeniedError as denied:
            self._note(denied, method, path)
            answer_of = fault if is_ours(path) else problem
            await answer_of(denied.status, str(denied), denied.headers)(scope, receive, send)
            return
        await self._app(scope, receive, _with_headers(send, path) if reads else send)

    def _note(self, denied: DeniedError, method: str, path: str) -> None:
        left_out = self._sparing.note(denied.who.address)
        if left_out is not None:
            details = {"left_out": left_out} if left_out else None
            who = denied.who
            self._service.audit(who.name, who.address, f"{method} {path[:200]}", details, str(denied))


def who_asks(request: Request) -> Who:
    """Who asks, as the guard found out."""
    who: Who = request.scope[WHO]
    return who


@lru_cache(1024)
def role_for(method: str, path: str) -> Role | None:
    """What a request takes; None: it is free for all."""
    for methods, pattern, role in RULES:
        if method in methods and re.fullmatch(pattern, path, re.DOTALL):
            return role
    return OTHERWISE


def _with_headers(send: Send, path: str) -> Send:
    headers = _DOCUMENTED if path in ("/docs", "/redoc") else _PLAIN

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], *headers]
        await send(message)

    return sent


def _headers(policy: Mapping[str, str]) -> tuple[tuple[bytes, bytes], ...]:
    told = "; ".join(f"{key} {value}" for key, value in policy.items())
    return (
        (b"content-security-policy", told.encode()),
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"no-referrer"),
    )


_PLAIN: Final = _headers(POLICY)
_DOCUMENTED: Final = _headers(DOCUMENTATION)
