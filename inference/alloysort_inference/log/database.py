"""Where the log is: a file of SQLite or a PostgreSQL database, its tables brought up to date on opening."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import orjson
from alembic import command
from alembic.config import Config
from alembic.util.exc import CommandError
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from alloysort_datasets.errors import AlloysortError

MIGRATIONS: Final = Path(__file__).parent / "migrations"
BUSY_MS: Final = 5000
CONNECT_S: Final = 5


class LogError(AlloysortError):
    """The decision log cannot be opened, read or written."""


def open_database(where: str) -> Engine:
    """An engine on an up-to-date log.

    Args:
        where: path of an SQLite file, or postgresql://user:password@host/database.

    Raises:
        LogError: it cannot be opened, or a newer alloysort made it.
    """
    url = url_of(where)
    shown = url.render_as_string(hide_password=True) if "://" in where else where
    engine = _sqlite(url) if url.get_backend_name() == "sqlite" else _postgresql(url)
    try:
        with engine.connect() as connection:
            _upgrade(connection)
    except (SQLAlchemyError, CommandError) as error:
        engine.dispose()
        raise LogError(f"decision log {shown}: {first_line(error)}") from None
    return engine


def url_of(where: str) -> URL:
    """A path or a URL as SQLAlchemy's.

    Raises:
        LogError: it is no URL of a database that a log can be kept in.
    """
    if "://" not in where:
        return URL.create("sqlite", database=str(Path(where).expanduser()))
    try:
        url = make_url(where)
    except (ArgumentError, ValueError):
        raise LogError(f"decision log {where.partition('://')[0]}://...: is no URL") from None
    if url.drivername.partition("+")[0] not in ("postgresql", "postgres"):
        raise LogError(
            f"decision log {url.drivername}://...: must be postgresql://user:password@host/database, or the "
            "path of an SQLite file"
        )
    return url.set(drivername="postgresql+psycopg")


@contextmanager
def plainly(what: str = "decision log") -> Iterator[None]:
    """What a database complains of, in one line.

    Raises:
        LogError: of `what`.
    """
    try:
        yield
    except SQLAlchemyError as error:
        raise LogError(f"{what}: {first_line(error)}") from None


def first_line(error: Exception) -> str:
    """What a database said, without the statement."""
    cause = getattr(error, "orig", None) or error
    return (str(cause).strip().splitlines() or [type(cause).__name__])[0]


def _as_json(value: object) -> str:
    return orjson.dumps(value).decode()


def _sqlite(url: URL) -> Engine:
    asked = {"timeout": BUSY_MS / 1000, "check_same_thread": False}
    engine = create_engine(url, json_serializer=_as_json, connect_args=asked)

    @event.listens_for(engine, "connect")
    def settle(connection: Any, _: object) -> None:
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    return engine


def _postgresql(url: URL) -> Engine:
    try:
        asked = {"connect_timeout": CONNECT_S}
        return create_engine(url, json_serializer=_as_json, pool_pre_ping=True, connect_args=asked)
    except (NoSuchModuleError, ModuleNotFoundError):
        raise LogError("decision log: PostgreSQL needs psycopg: pip install 'alloysort[plant]'") from None


def _upgrade(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        command.upgrade(config, "head")
