"""`alloysort log`: what a decision log holds, in the forms that others read."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Decision logs: export them.", no_args_is_help=True)

Day = Annotated[datetime | None, typer.Option(help="Only decisions from this moment on, UTC.")]


@app.callback()
def _group() -> None:
    """Keeps `export` a command of a group."""


@app.command()
def export(
    log: Annotated[str, typer.Argument(help="SQLite file, or postgresql://user:password@host/database.")],
    out: Annotated[
        Path, typer.Argument(help="A folder: a piece table of the kept pieces; .csv or .parquet: decisions.")
    ],
    since: Day = None,
    until: Annotated[datetime | None, typer.Option(help="Only decisions before this moment, UTC.")] = None,
    batch: Annotated[str | None, typer.Option(help="Only pieces of this batch.")] = None,
    labelled: Annotated[
        bool, typer.Option("--labelled", help="Of the kept pieces only those with a label.")
    ] = False,
) -> None:
    """Logged pieces as training data, or every decision as a table."""
    from alloysort_datasets.errors import DataError
    from alloysort_inference.log.database import open_database
    from alloysort_inference.log.export import export_decisions, export_pieces

    if "://" not in log and not Path(log).is_file():
        raise DataError(f"decision log {log}: no such file")
    between = {"since": _utc(since), "until": _utc(until), "batch": batch}
    database = open_database(log)
    try:
        if out.suffix:
            typer.echo(f"{out}: {export_decisions(database, out, **between):,} decisions")
        else:
            count = export_pieces(database, out, labelled, **between)
            typer.echo(f"{out}: a piece table of {count:,} pieces")
    finally:
        database.dispose()


def _utc(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.replace(tzinfo=UTC)
