"""`alloysort log`: what a decision log holds, in the forms that others read, and what it tells of a feed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sqlalchemy import Engine

app = typer.Typer(help="Decision logs: export them, learn the feed from them.", no_args_is_help=True)

LogArgument = Annotated[str, typer.Argument(help="SQLite file, or postgresql://user:password@host/database.")]
Since = Annotated[datetime | None, typer.Option(help="Only decisions from this moment on, UTC.")]
Until = Annotated[datetime | None, typer.Option(help="Only decisions before this moment, UTC.")]
BatchOption = Annotated[str | None, typer.Option(help="Only pieces of this batch.")]


@app.command()
def export(
    log: LogArgument,
    out: Annotated[
        Path, typer.Argument(help="A folder: a piece table of the kept pieces; .csv or .parquet: decisions.")
    ],
    since: Since = None,
    until: Until = None,
    batch: BatchOption = None,
    labelled: Annotated[
        bool, typer.Option("--labelled", help="Of the kept pieces only those with a label.")
    ] = False,
) -> None:
    """Logged pieces as training data, or every decision as a table."""
    from alloysort_inference.log.export import export_decisions, export_pieces

    between = {"since": _utc(since), "until": _utc(until), "batch": batch}
    with _opened(log) as database:
        if out.suffix:
            typer.echo(f"{out}: {export_decisions(database, out, **between):,} decisions")
        else:
            count = export_pieces(database, out, labelled, **between)
            typer.echo(f"{out}: a piece table of {count:,} pieces")


@app.command()
def feed(log: LogArgument, since: Since = None, until: Until = None, batch: BatchOption = None) -> None:
    """What the feed consisted of, by the model's words: a recipe's `feed`, ready to be pasted."""
    from alloysort_datasets.families import FAMILIES
    from alloysort_inference.log.read import read_shares
    from alloysort_inference.policy.feed import estimate_feed

    with _opened(log) as database:
        shares = read_shares(database, _utc(since), _utc(until), batch)
    found, sigma = estimate_feed(shares)
    told = [
        f'"{family}" = {share:.4f}' for family, share in zip(FAMILIES, found, strict=True) if share >= 5e-5
    ]
    typer.echo(f"feed = {{{', '.join(told)}}} # of {len(shares):,} pieces, each ± {sigma.max():.3f} or less")


@contextmanager
def _opened(log: str) -> Iterator[Engine]:
    from alloysort_datasets.errors import DataError
    from alloysort_inference.log.database import open_database

    if "://" not in log and not Path(log).is_file():
        raise DataError(f"decision log {log}: no such file")
    database = open_database(log)
    try:
        yield database
    finally:
        database.dispose()


def _utc(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.replace(tzinfo=UTC)
