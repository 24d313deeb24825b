"""`alloysort bench`: how good and how fast it is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from rich.table import Table

    from alloysort_inference.bench.accuracy.gridded import Gridded
    from alloysort_inference.bench.accuracy.rivals import Fit, Rival
    from alloysort_inference.bench.accuracy.run import Answer, Question
    from alloysort_models.bundle.grid import Grid

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
    suite: Annotated[
        bool, typer.Option("--suite", help="The perturbation suite too: simulated pieces, minutes.")
    ] = False,
    baselines: Annotated[
        bool, typer.Option("--baselines", help="Other methods too, fitted to the training split; minutes.")
    ] = False,
    against: Annotated[
        Path | None, typer.Option(help="Another bundle, compared with on the same pieces; see --bar.")
    ] = None,
    bar: Annotated[
        float, typer.Option(help="Exit 1 if a share, as purity or macro-F1, is worse by more.", min=0, max=1)
    ] = 0.01,
    real: Annotated[
        Path | None, typer.Option(help="Folder of real spectra and photographs, told apart from the rest.")
    ] = None,
    as_json: Annotated[
        Path | None, typer.Option("--json", help="Write the figures to this file too.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Folder of a page with plots, and of figures.json.")
    ] = None,
) -> None:
    """How good a bundle is on a piece table, your own first of all: purity, recovery, and how sure of it.

    Every piece goes the way of the line: front end, engine, recipe. Figures carry their 95 % interval from
    whole batches drawn anew, and say whether they are of simulated or of real pieces.
    """
    from rich.console import Console

    from alloysort.accuracy_tables import show_accuracy
    from alloysort_inference.bench.accuracy.run import Question
    from alloysort_inference.bench.accuracy.suite import PIECES

    if report is not None:
        from alloysort_inference.bench.accuracy.report import write_report
    if not 0 <= bar <= 1:
        raise typer.BadParameter(f"--bar {bar:g} must lie in 0-1")
    pieces = PIECES if suite else 0
    answer = _measured(Question(tuple(data), bundle, recipe, split, pieces, against, bar, real), baselines)
    show_accuracy(Console(), answer.told)
    if as_json is not None:
        as_json.write_text(json.dumps(answer.told, indent=2) + "\n", encoding="utf-8")
    if report is not None:
        page = write_report(report, answer.told, answer.judged, data)
        typer.echo(f"{page}: {page.stat().st_size / 1e6:.1f} MB")
    if answer.told.get("compared", {}).get("regressions"):
        raise typer.Exit(1)


def _measured(question: Question, baselines: bool) -> Answer:
    """The answer, its progress shown; faults of a table named one by one."""
    from rich.console import Console

    from alloysort.progress import steps
    from alloysort_inference.bench.accuracy.run import FaultyTableError, bench_accuracy

    with steps(Console(stderr=True)) as step:
        try:
            return bench_accuracy(question, step, _fit_rivals(question.seed) if baselines else None)
        except FaultyTableError as error:
            for fault in error.faults:
                typer.echo(fault, err=True)
            raise


def _fit_rivals(seed: int) -> Fit:
    """The baselines of training, as the benchmark takes them."""
    import numpy as np

    from alloysort_inference.bench.accuracy.rivals import Rival
    from alloysort_training.baselines import Baseline, Spectra, fit_baselines

    def rival(one: Baseline) -> Rival:
        def predict(pieces: Gridded) -> NDArray[np.float32]:
            return one.predict(Spectra(pieces.counts, pieces.seen))

        return Rival(one.name, one.tuned, one.tried, one.seconds, predict)

    def fit(train: Gridded, grid: Grid) -> Iterator[Rival]:
        spectra = Spectra(train.counts, train.seen)
        _, batch = np.unique(train.batch, return_inverse=True)
        return map(rival, fit_baselines(spectra, train.family, batch, grid, seed))

    return fit


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


@app.command()
def line(
    recipe: Annotated[
        str, typer.Option("--recipe", help="Name of a shipped recipe, or path of a TOML file.")
    ] = "wrought-cast",
    bundle: Annotated[
        Path | None, typer.Option(help="Folder of a released model; the newest shipped one if absent.")
    ] = None,
    data: Annotated[
        list[Path] | None,
        typer.Option("--data", help="Piece table of the reel; one is simulated and kept if absent."),
    ] = None,
    feed: Annotated[
        str | None, typer.Option(help="zorba, twitch, wrought or balanced; the recipe's if absent.")
    ] = None,
    pieces: Annotated[int, typer.Option(help="How many run by.", min=100)] = 20_000,
    rate: Annotated[float, typer.Option(help="Pieces a second.")] = 200.0,
    live: Annotated[
        float, typer.Option(help="Seconds of real time too, against a service of its own.", min=0, max=86_400)
    ] = 0.0,
    seed: Annotated[int, typer.Option(help="Of everything that is drawn.", min=0)] = 0,
    as_json: Annotated[
        Path | None, typer.Option("--json", help="Write the figures to this file too.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw what each outlet got to this file, SVG.")] = None,
) -> None:
    """A recipe on the digital twin: real engine, policy and valve timing on a simulated belt.

    Purity, recovery, yield, value and composition of every outlet, by mass, with 95 % intervals; pieces that
    show metal apart from those hidden under paint or dirt. The recipe's [line] is the belt's.
    """
    from rich.console import Console

    from alloysort.line_tables import show_line
    from alloysort.progress import steps
    from alloysort_inference.bench.line.feed import Conditions
    from alloysort_inference.bench.line.live import bench_live
    from alloysort_inference.bench.line.run import Question, bench_line
    from alloysort_inference.policy.recipe import load_recipe
    from alloysort_models.bundle.manifest import load_bundle, newest_released

    if plot is not None:
        from alloysort_inference.bench.accuracy.plots import plot_outlets
    conditions = Conditions(rate_per_s=rate)
    question = Question(load_recipe(recipe), tuple(data or ()), None, feed, pieces, conditions, seed)
    opened = load_bundle(bundle or newest_released())
    with steps(Console(stderr=True)) as step:
        told = bench_line(question, opened, step)
    if live:
        told["live"] = bench_live(question, opened, recipe, live)
    show_line(Console(), told)
    if as_json is not None:
        as_json.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    if plot is not None:
        plot.write_text(plot_outlets(told), encoding="utf-8")
        typer.echo(f"{plot}")


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
