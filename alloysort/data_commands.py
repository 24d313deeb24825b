"""`alloysort data`: make, bring in and check piece tables.

What a command needs is imported inside it, so that help and completion stay fast.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, cast

import typer
from rich.console import Console

from alloysort.progress import progress
from alloysort_datasets.errors import AlloysortError

if TYPE_CHECKING:
    from alloysort_datasets.table.split import Shares

SHOWN: Final = 20  # files left out that are named on the terminal

app = typer.Typer(name="data", help="Make, bring in, check and split piece tables.", no_args_is_help=True)


@app.command("import")
def import_(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="Folder of photos, spectra and labels.csv.")],
    out: Annotated[Path, typer.Argument(help="Folder of the new piece table.")],
    skip_faulty: Annotated[
        bool, typer.Option("--skip-faulty", help="Leave out pieces with a fault and import the rest.")
    ] = False,
    mapped: Annotated[
        list[str] | None,
        typer.Option(
            "--map", metavar="family=FILE", help="CSV of foreign labels or folder names and their families."
        ),
    ] = None,
) -> None:
    """Turn photos, spectra of any common layout and CSV labels into a piece table.

    Files that share a folder and stem are one piece, known by their bytes; a folder named as a family gives
    the family, an alloy its family where none is said; labels.csv overrides. Every fault and every file left
    out is named; exit 1 if there is a fault, unless --skip-faulty.
    """
    from alloysort_datasets.table.importer import LEFT_OUT, Words, import_pieces

    maps = _map_files(mapped or [])
    words = Words(_mapped_families(maps), _family_of_alloy, tuple(maps))
    console = Console(stderr=True)
    with progress(console) as bar:
        task = bar.add_task("import", total=None)
        report = import_pieces(
            source,
            out,
            skip_faulty,
            lambda done, total: bar.update(task, completed=done, total=total),
            words,
        )
    for fault in report.faults:
        typer.echo(str(fault), err=True)
    if report.ignored_columns:
        typer.echo(f"labels.csv: columns left out: {', '.join(report.ignored_columns)}", err=True)
    for left_out in report.left_out[:SHOWN]:
        typer.echo(str(left_out), err=True)
    if len(report.left_out) > SHOWN:
        where = f", all in {out / LEFT_OUT}" if report.written else ""
        typer.echo(f"and {len(report.left_out) - SHOWN} more files left out{where}", err=True)
    if report.from_alloy:
        typer.echo(f"family taken from the alloy for {report.from_alloy} pieces", err=True)
    if not report.written:
        typer.echo(f"{len(report.faults)} faults, nothing written", err=True)
        raise typer.Exit(1)
    typer.echo(
        f"{out}: {report.pieces} pieces, {report.images} with a picture, {report.spectra} with spectra of "
        f"{report.instruments} instruments"
        + (f", {len(report.faults)} faults skipped" if report.faults else "")
    )


def _family_of_alloy(designation: str) -> str | None:
    from alloysort_datasets.alloys.registry import find_alloy
    from alloysort_datasets.errors import AlloyError

    try:
        return find_alloy(designation).family
    except AlloyError:
        return None


def _map_files(settings: list[str]) -> list[Path]:
    for setting in settings:
        key, _, file = setting.partition("=")
        if key != "family" or not file:
            raise typer.BadParameter(f"--map {setting!r}: must be family=FILE")
    return [Path(setting.partition("=")[2]) for setting in settings]


def _mapped_families(files: list[Path]) -> dict[str, str]:
    from alloysort_datasets.table.importer import read_families

    families: dict[str, str] = {}
    for file in files:
        families |= read_families(file)
    return families


@app.command()
def check(
    folders: Annotated[
        list[Path], typer.Argument(metavar="DIR...", help="Piece tables that are used together.")
    ],
) -> None:
    """Name every fault of piece tables with its file and row; exit 1 if there is any."""
    from alloysort_datasets.table.check import check_tables
    from alloysort_datasets.table.store import count_pieces

    faults = check_tables(folders)
    for fault in faults:
        typer.echo(str(fault))
    listed = ", ".join(str(folder) for folder in folders)
    if faults:
        typer.echo(f"{listed}: {len(faults)} faults", err=True)
        raise typer.Exit(1)
    typer.echo(f"{listed}: {sum(count_pieces(folder) for folder in folders)} pieces, no faults")


@app.command()
def split(
    folders: Annotated[
        list[Path], typer.Argument(metavar="DIR...", help="Piece tables that are used together.")
    ],
    seed: Annotated[int, typer.Option(help="The same seed gives the same splits.", min=0)] = 0,
    shares: Annotated[str, typer.Option(help="Of train, calibration and test.")] = "80,10,10",
    again: Annotated[
        bool, typer.Option("--again", help="Draw anew where pieces have a split already.")
    ] = False,
    allow_absent: Annotated[
        bool, typer.Option("--allow-absent", help="Go on where a family has too few batches for each split.")
    ] = False,
) -> None:
    """Give whole batches to train, calibration and test, each family by the same shares."""
    from rich.table import Table

    from alloysort_datasets.families import FAMILIES
    from alloysort_datasets.piece import SPLITS
    from alloysort_datasets.table.split import UNLABELLED, split_tables

    counts = split_tables(folders, seed, _shares(shares), again, allow_absent)
    table = Table("family", *SPLITS)
    for family in (*FAMILIES, UNLABELLED):
        if any(counts[family, side] for side in SPLITS):
            table.add_row(family, *(str(counts[family, side]) for side in SPLITS))
    table.add_section()
    table.add_row("all", *(str(sum(n for (_, side), n in counts.items() if side == s)) for s in SPLITS))
    Console().print(table)


@app.command()
def simulate(
    out: Annotated[Path, typer.Argument(help="Folder of the piece table; one that was begun goes on.")],
    pieces: Annotated[int, typer.Option(help="How many pieces.", min=1)],
    seed: Annotated[int, typer.Option(help="The same seed gives the same pieces.", min=0)] = 0,
    images: Annotated[str, typer.Option(help="none, or fast: painted without a renderer.")] = "fast",
    preset: Annotated[
        str,
        typer.Option(help="Spectrometer: mixed, random, compact, three-channel, broadband, echelle, mini."),
    ] = "mixed",
    mix: Annotated[str, typer.Option(help="Scrap stream: balanced, zorba, twitch, wrought.")] = "balanced",
    shots: Annotated[int, typer.Option(help="Laser pulses a piece, in order.", min=1)] = 8,
    strangers: Annotated[
        float, typer.Option(help="Share of pieces of matter that no family describes.", min=0, max=1)
    ] = 0.0,
    units: Annotated[
        int,
        typer.Option(help="Spectrometers in all; 1 is one plant's table, 0 one for every ten pieces.", min=0),
    ] = 0,
    fixed: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Fix a condition, as defocus_mm=2.5; repeatable."),
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Processes; one a core if absent.", min=1)] = None,
) -> None:
    """Simulate pieces of known alloys: spectra by plasma physics, pictures painted; every table says so."""
    from alloysort_datasets.simulate import Simulation
    from alloysort_datasets.simulate import simulate as run

    conditions = dict(_condition(setting) for setting in fixed or ())
    simulation = Simulation(pieces, seed, cast(Any, images), preset, mix, shots, strangers, units, conditions)
    with progress(Console(stderr=True)) as bar:
        task = bar.add_task("simulate", total=pieces)
        for done in run(out, simulation, workers or os.cpu_count() or 1):
            bar.update(task, completed=done)
    typer.echo(f"{out}: {pieces} simulated pieces, seed {seed}")


@app.command()
def compare(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Measured spectra.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the pictures.")],
    element: Annotated[
        str | None,
        typer.Option(help="Fit this, as Cu or Cu=60,Zn=40; if absent, the element that fits best."),
    ] = None,
) -> None:
    """Fit simulated plasmas to measured spectra and draw both: a picture a spectrum, and summary.png."""
    from alloysort_datasets.libs.compare import compare_spectra

    with progress(Console(stderr=True)) as bar:
        task = bar.add_task("compare", total=len(files))
        table = compare_spectra(files, out, element, lambda: bar.advance(task))
    Console().print(table)
    typer.echo(f"{out}: {len(files)} pictures and summary.png")


def _shares(text: str) -> Shares:
    from alloysort_datasets.table.split import Shares

    try:
        parts = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise AlloysortError(f"--shares {text!r} must be three numbers, as 80,10,10") from None
    return Shares(parts)


def _condition(setting: str) -> tuple[str, float]:
    name, _, value = setting.partition("=")
    try:
        return name.strip(), float(value)
    except ValueError:
        raise AlloysortError(f"--set {setting!r} must be NAME=NUMBER, as defocus_mm=2.5") from None
