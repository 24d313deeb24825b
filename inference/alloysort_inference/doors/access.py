"""Who asks, and whether they may: the same rule at every door.

This machine itself needs no token and may everything; everybody else needs one. A browser is kept from being
made to ask by another site's page.
"""

from __future__ import annotations

import ipaddress
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from typing import Final

from alloysort_datasets.errors import AlloysortError
from alloysort_inference.doors.tokens import Role, Tokens, may

THIS_MACHINE: Final = "this machine"
ANYBODY: Final = "anybody"
FORWARDED: Final = (b"x-forwarded-for", b"forwarded")  # set by a proxy, behind which anybody may be
NOTES_PER_S: Final = 10  # refusals that the audit takes a second, from everywhere together
MOST_ADDRESSES: Final = 1024
SECOND: Final = 1.0


@dataclass(frozen=True)
class Who:
    """Who asks.

    Attributes:
        name: of their token; `this machine` or `anybody` where there is none.
        role: None: only what is free for all.
        address: where from.
    """

    name: str
    role: Role | None
    address: str


class DeniedError(AlloysortError):
    """Somebody may not do what they ask for.

    Attributes:
        status: of HTTP: 401 where a token would help, else 403.
        who: asked, as far as is known.
        headers: that the answer must have.
    """

    def __init__(self, status: HTTPStatus, detail: str, who: Who, headers: Mapping[str, str]) -> None:
        super().__init__(detail)
        self.status, self.who, self.headers = status, who, headers


class Access:
    """Decides who may.

    Attributes:
        tokens: that are taken from now on.
    """

    def __init__(self, tokens: Tokens) -> None:
        self.tokens = tokens

    def admit(
        self, address: str, headers: Mapping[bytes, bytes], needed: Role | None, *, changes: bool
    ) -> Who:
        """Who asks.

        Args:
            address: of the other end of the connection.
            headers: of the request, names in lower case.
            needed: role; None: free for all.
            changes: whether something may be another after the request.

        Raises:
            DeniedError: they may not.
        """
        local = is_loopback(address) and not any(name in headers for name in FORWARDED)
        who = _this_machine(address) if local else Who(ANYBODY, None, address)
        host = headers.get(b"host", b"")
        if local and not is_own_name(host):
            raise _forbidden(f"{_shown(host)} is no name of this machine: ask for localhost", who)
        origin = headers.get(b"origin")
        if changes and origin is not None and origin.partition(b"://")[2].lower() != host.lower():
            raise _forbidden(f"a page of {_shown(origin)} may not ask {_shown(host)} for this", who)
        if local or needed is None:
            return who
        return self._with_token(who, headers.get(b"authorization", b""), needed)

    def _with_token(self, who: Who, authorization: bytes, needed: Role) -> Who:
        scheme, _, told = authorization.decode("latin-1").partition(" ")
        token = told.strip()
        if scheme.lower() != "bearer" or not token:
            detail = "a token is needed: send Authorization: Bearer TOKEN (docs/security.md)"
            raise DeniedError(HTTPStatus.UNAUTHORIZED, detail, who, {"WWW-Authenticate": "Bearer"})
        found = self.tokens.find(token)
        if found is None:
            challenge = {"WWW-Authenticate": 'Bearer error="invalid_token"'}
            raise DeniedError(HTTPStatus.UNAUTHORIZED, "the token is not known", who, challenge)
        known = Who(found.name, found.role, who.address)
        if not may(found.role, needed):
            raise _forbidden(f"{found.name} has the role {found.role}, this takes {needed}", known)
        return known


class Sparing:
    """Which refusals are noted: one a second of an address, ten a second in all; the others are counted.

    What is left out is told with the next one that is noted. The clock is in seconds.
    """

    def __init__(self) -> None:
        self._last: dict[str, float] = {}
        self._begun, self._noted, self._left_out = 0.0, 0, 0

    def note(self, address: str, now: float | None = None) -> int | None:
        """How many were left out before this one; None: it is left out, too."""
        now = time.monotonic() if now is None else now
        if now - self._begun >= SECOND:
            self._begun, self._noted = now, 0
        if self._noted >= NOTES_PER_S or now - self._last.get(address, -SECOND) < SECOND:
            self._left_out += 1
            return None
        if len(self._last) >= MOST_ADDRESSES:  # those of the last second are ten at most
            self._last = {one: last for one, last in self._last.items() if now - last < SECOND}
        self._last[address] = now
        self._noted += 1
        left_out, self._left_out = self._left_out, 0
        return left_out


@lru_cache(MOST_ADDRESSES)
def is_loopback(address: str) -> bool:
    """Whether an address can only be of this machine."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)  # IPv4 at a socket of IPv6
    return bool((mapped or found).is_loopback)


@lru_cache(MOST_ADDRESSES)
def is_own_name(host: bytes) -> bool:
    """Whether a Host header names this machine or an address; another name may be one that a hostile DNS
    points here. None at all is no browser's.
    """
    name = host.decode("latin-1").lower()
    bare = name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0]
    if bare in ("", "localhost", *_names()):
        return True
    try:
        ipaddress.ip_address(bare)
    except ValueError:
        return False
    return True


@lru_cache(1)
def _names() -> tuple[str, ...]:
    full = socket.gethostname().lower()
    return full, full.partition(".")[0]


@lru_cache(MOST_ADDRESSES)
def _this_machine(address: str) -> Who:
    return Who(THIS_MACHINE, "engineer", address)


def _forbidden(detail: str, who: Who) -> DeniedError:
    return DeniedError(HTTPStatus.FORBIDDEN, detail, who, {})


def _shown(header: bytes) -> str:
    return repr(header[:80].decode("latin-1"))
