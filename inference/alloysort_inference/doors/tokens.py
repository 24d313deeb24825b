"""Who may ask from another machine: a file of names, roles and the hashes of their tokens.

[[token]]
name = "control-room"
role = "operate"
sha256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import os
import re
import secrets
import stat
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, get_args

from alloysort_datasets.errors import DataError

Role = Literal["read", "operate", "engineer"]
ROLES: Final[tuple[Role, ...]] = get_args(Role)  # each may all that those before it may
TOKEN_BYTES: Final = 32
KEYS: Final = ("name", "role", "sha256")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._@-]{0,63}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_log = logging.getLogger("alloysort")


class TokensError(DataError):
    """A file of tokens cannot be read, or something in it is not allowed."""


@dataclass(frozen=True)
class Token:
    """A token as the file knows it: by its hash, so that whoever reads the file cannot use it."""

    name: str
    role: Role
    sha256: str


@dataclass(frozen=True)
class Tokens:
    """All that are known."""

    known: tuple[Token, ...] = ()

    def find(self, token: str) -> Token | None:
        """Whose it is; takes as long for a wrong one as for a right one."""
        digest = _digest(token)
        found = None
        for one in self.known:
            if hmac.compare_digest(one.sha256, digest):
                found = one
        return found


def may(role: Role | None, needed: Role) -> bool:
    """Whether a role is enough where another is needed."""
    return role is not None and ROLES.index(role) >= ROLES.index(needed)


def read_tokens(path: Path) -> Tokens:
    """The tokens of a file.

    Raises:
        TokensError: it cannot be read, or something in it is not allowed; every fault is listed.
    """
    try:
        told = tomllib.loads(path.read_text(encoding="utf-8"))
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        raise TokensError(f"tokens {path}: {getattr(error, 'strerror', None) or error}") from None
    rows = told.get("token", [])
    faults = [f"key {key!r} is not known, there is token" for key in told if key != "token"]
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        faults.append("token must be tables, each under a line [[token]]")
        rows = []
    faults += [fault for number, row in enumerate(rows, 1) for fault in _faults(number, row)]
    faults += _twice(rows)
    if faults:
        raise TokensError(f"tokens {path}: " + "; ".join(faults))
    if os.name == "posix" and mode & stat.S_IROTH:
        _log.warning("tokens %s: everybody on this machine can read it: chmod 600 %s", path, path)
    return Tokens(tuple(Token(**row) for row in rows))


def make_token(path: Path, name: str, role: Role) -> str:
    """A new token, whose hash is added to a file; the token itself is kept nowhere.

    Raises:
        TokensError: the file cannot be used, or knows the name, or name or role are not allowed.
    """
    token = secrets.token_urlsafe(TOKEN_BYTES)
    row = {"name": name, "role": role, "sha256": _digest(token)}
    faults = list(_faults(None, row))
    if path.exists() and any(one.name == name for one in read_tokens(path).known):
        faults.append(f"name {name!r} is there already: choose another, or take its lines out")
    if faults:
        raise TokensError(f"tokens {path}: " + "; ".join(faults))
    lines = ["[[token]]", *(f"{key} = {json.dumps(value)}" for key, value in row.items())]
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        with open(handle, "a+", encoding="utf-8") as file:  # noqa: PTH123 (of a descriptor, for its mode)
            file.seek(0)
            before = file.read()
            gap = "" if not before else "\n" if before.endswith("\n") else "\n\n"
            file.write(gap + "\n".join(lines) + "\n")
    except OSError as error:
        raise TokensError(f"tokens {path}: {error.strerror}") from None
    return token


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _faults(number: int | None, row: dict[str, Any]) -> list[str]:
    where = "" if number is None else f"token {number}: "
    name, role, sha256 = (row.get(key) for key in KEYS)
    faults = [
        f"{where}key {key!r} is not known, there are {', '.join(KEYS)}" for key in row if key not in KEYS
    ]
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        faults.append(f"{where}name {name!r} must be 1 to 64 letters, digits, blanks and . _ @ -")
    if role not in ROLES:
        faults.append(f"{where}role {role!r} must be one of {', '.join(ROLES)}")
    if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
        # not shown: somebody may have put the token itself there
        faults.append(f"{where}sha256 must be the 64 lower-case hex digits of the token's SHA-256")
    return faults


def _twice(rows: list[dict[str, Any]]) -> list[str]:
    """Two of a name could not be told apart in the audit."""
    names = [row.get("name") for row in rows]
    doubled = dict.fromkeys(str(name) for name in names if isinstance(name, str) and names.count(name) > 1)
    return [f"name {name!r} is there {names.count(name)} times" for name in doubled]
