"""`alloysort bench`: how good and how fast it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.table import Table

app = typer.Typer(help="Measure, beside a limit or a baseline in the same run.", no_args_is_help=True)


@app.command()
def accuracy(
    data: Annotated[list[Path], typer.Option("--data", help="Piece table; may be given several times.")],
    bundle: Annotated[
        Path | None, typer.Option(help="Folder of a released model; the newest shipped one if absent.")
    ] = None,
    recipe: Annotated[
        str | None, typer.Option("--recipe", help="Name of a shipped recipe, or path of a TOML file.")
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="train, calibration, test or all; test where the table has one.")
    ] = None,
    as_json: Annotated[
        Path | None, typer.Option("--json", help="Write the figures to this file too.")
    ] = None,
) -> None:
    """How good a bundle is on a piece table, your own first of all: purity, recovery, and how sure of it.

    Every piece goes the way of the line: front end, engine, recipe. Figures carry their 95 % interval from
    whole batches drawn anew, and say whether they are of simulated or of real pieces.
    """
    from rich.console import Console

    from alloysort.accuracy_tables import show_accuracy
    from alloysort.progress import progress
    from alloysort_inference.bench.accuracy.run import FaultyTableError, Question, bench_accuracy

    console = Console()
    question = Question(tuple(data), bundle, recipe, split)
    with progress(Console(stderr=True)) as bar:
        task = bar.add_task("pieces", total=None)
        try:
            told = bench_accuracy(question, lambda done, total: bar.update(task, completed=done, total=total))
        except FaultyTableError as error:
            for fault in error.faults:
                typer.echo(fault, err=True)
            raise
    show_accuracy(console, told)
    if as_json is not None:
        as_json.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")


@app.command()
def speed(
    bundle: Annotated[
        Path | None, typer.Option(help="Folder of a released model; the newest shipped one if absent.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Under three minutes.")] = False,
    as_json: Annotated[
        Path | None, typer.Option("--json", help="Write the figures to this file too.")
    ] = None,
) -> None:
    """How many pieces a second engine and doors keep, beside onnxruntime alone, and how late answers come."""
    from rich.console import Console

    from alloysort_inference.bench.speed import QUICK, Plan, bench_speed

    console = Console()
    told = bench_speed(bundle, QUICK if quick else Plan(), lambda what: console.print(f"[dim]{what}[/]"))
    console.print(_saturated(told), _timed(told))
    console.print(
        f"ready after {told['ready_s']:.2f} s, {told['rss_mb']:.0f} MB resident, {told['cores']} cores"
    )
    if as_json is not None:
        as_json.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")


def _saturated(told: dict[str, Any]) -> Table:
    from rich.table import Table

    table = Table("saturated", "pieces/s", "of raw", "of engine", "lowest-highest")
    raw = told["raw_onnxruntime"]
    table.add_row("onnxruntime alone, all cores", str(raw["pieces_per_s"]), "1", "", "")
    table.add_row("  one core, best batch", str(raw["one_core"]), "", "", "")
    table.add_row("  one core, batch 1", str(raw["one_core_batch_1"]), "", "", "")
    for name, what in (
        ("prepared", "engine, prepared tensors"),
        ("engine", "engine, from encoded bytes"),
        ("rest", "REST door, piece messages"),
        ("oip", "OIP door, binary tensors"),
        ("stream", "stream door, client included"),
    ):
        one = told[name]
        spread = f"{one['lowest']}-{one['highest']}"
        table.add_row(
            what,
            str(one["pieces_per_s"]),
            f"{one['ratio_to_raw']:.2f}",
            f"{one['ratio_to_engine']:.2f}",
            spread,
        )
    return table


def _timed(told: dict[str, Any]) -> Table:
    from rich.table import Table

    table = Table("open loop", "pieces/s", "pieces", "p50 ms", "p99 ms", "p99.9 ms", "max ms", "late", "lost")
    for loop in told["open_loop"]:
        figures = [f"{loop[key]:.2f}" for key in ("p50_ms", "p99_ms", "p999_ms", "max_ms")]
        table.add_row(
            loop["door"],
            f"{loop['rate']:g}",
            str(loop["pieces"]),
            *figures,
            str(loop["late"]),
            str(loop["lost"]),
        )
    return table
