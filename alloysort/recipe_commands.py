"""`alloysort recipe`: what the plant wants, checked, and the bars that keep its purity targets."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from alloysort_datasets.errors import RecipeError

if TYPE_CHECKING:
    from alloysort_inference.bench.purity import Known
    from alloysort_inference.policy.guarantee import Curve
    from alloysort_inference.policy.recipe import Fitted, Outlet, Recipe
    from alloysort_models.bundle.manifest import Bundle

app = typer.Typer(help="Recipes: list, show and check them, fit purity targets.", no_args_is_help=True)

RecipeArgument = Annotated[str, typer.Argument(help="Name of a shipped recipe, or path of a TOML file.")]
DataOption = Annotated[
    list[Path], typer.Option("--data", help="Table of known pieces; may be given several times.")
]
BundleOption = Annotated[
    Path | None,
    typer.Option("--bundle", help="Folder of a released model; the newest shipped one if absent."),
]
SplitOption = Annotated[
    str | None,
    typer.Option(help="train, calibration, test or all; calibration where the tables have one, else all."),
]
FITTED = "[fitted]"


@app.command("list")
def list_recipes() -> None:
    """The recipes that ship."""
    from rich.console import Console
    from rich.table import Table

    from alloysort_inference.policy.recipe import load_recipe, shipped_recipes

    table = Table("recipe", "outlets", "what for")
    for recipe in map(load_recipe, shipped_recipes()):
        table.add_row(recipe.name, ", ".join(outlet.name for outlet in recipe.outlets), recipe.description)
    Console().print(table)


@app.command()
def show(recipe: RecipeArgument) -> None:
    """A recipe's text, to begin an own one with."""
    from alloysort_inference.policy.recipe import read_recipe, recipe_path

    typer.echo(read_recipe(recipe_path(recipe)), nl=False)


@app.command()
def check(
    recipe: Annotated[list[str], typer.Argument(help="Names of shipped recipes, or paths of TOML files.")],
    bundle: BundleOption = None,
) -> None:
    """Every fault of recipes, one a line; exit 1 if there is any."""
    from alloysort_inference.policy.recipe import FaultyRecipeError, load_recipe
    from alloysort_models.bundle.manifest import load_bundle, newest_released

    opened, faulty = load_bundle(bundle or newest_released()), False
    for source in recipe:
        try:
            good = load_recipe(source)
            good.require_fitted(opened.sha256)
        except FaultyRecipeError as error:
            faulty = True
            typer.echo("\n".join(f"{source}: {fault}" for fault in error.faults), err=True)
        except RecipeError as error:
            faulty = True
            typer.echo(f"{source}: {error}", err=True)
        else:
            ways = ", ".join(f"{o.name} ({'eject' if good.ejects(o) else 'pass'})" for o in good.outlets)
            typer.echo(f"{source}: good: {ways}; doubtful pieces go to {good.default}")
    if faulty:
        raise typer.Exit(1)


@app.command()
def fit(
    recipe: RecipeArgument,
    data: DataOption,
    out: Annotated[
        Path | None, typer.Option("--out", help="File to write; the recipe's own if absent.")
    ] = None,
    bundle: BundleOption = None,
    split: SplitOption = None,
) -> None:
    """Find bars of purity targets and margins of melts, write them into it; refuses the impossible."""
    from alloysort_inference.bench.purity import fit as run_fit
    from alloysort_inference.policy.recipe import parse_recipe, read_recipe, recipe_path, shipped_recipes

    path = recipe_path(recipe)
    if out is None and recipe in shipped_recipes():
        raise typer.BadParameter(f"{recipe} ships with alloysort: give --out")
    text = re.split(rf"(?m)^{re.escape(FITTED)}", read_recipe(path))[0].rstrip()
    wanted = parse_recipe(text, path.stem)
    opened, known = _known(bundle, data, split)
    found, curves = run_fit(wanted, opened, known)
    target = out or path
    written = f"{text}\n\n{_toml(found)}"
    parse_recipe(written, target.stem).require_fitted(opened.sha256)
    try:
        target.write_text(written, encoding="utf-8")
    except OSError as error:
        raise RecipeError(f"{target}: {error.strerror}") from None
    for outlet in wanted.outlets:
        if outlet.name in curves:
            _tell(outlet, curves[outlet.name], found.bars[outlet.name])
    typer.echo(f"{target}: fitted to {opened.manifest.name} on {found.data}")


@app.command()
def curve(
    recipe: RecipeArgument,
    data: DataOption,
    bundle: BundleOption = None,
    split: SplitOption = None,
    plot: Annotated[Path | None, typer.Option(help="Draw purity over recovery to this file, SVG.")] = None,
    as_json: Annotated[Path | None, typer.Option("--json", help="Write every point to this file.")] = None,
) -> None:
    """Purity, recovery and value at each bar, so that one picks a point instead of a threshold."""
    from rich.console import Console

    from alloysort_inference.bench.purity import curve_of, every
    from alloysort_inference.policy.recipe import load_recipe

    wanted = load_recipe(recipe)
    if plot is not None:
        from alloysort_inference.bench.accuracy.plots import plot_curves
    _, known = _known(bundle, data, split)
    outlets = [outlet for outlet in wanted.outlets if outlet.families]
    curves = {outlet.name: curve_of(known.judged, wanted, outlet) for outlet in outlets}
    console = Console()
    for outlet in outlets:
        console.print(_curve_table(wanted, outlet, curves[outlet.name]))
    typer.echo(f"on {known.data}")
    if as_json is not None:
        told = {outlet.name: every(curves[outlet.name], outlet) for outlet in outlets}
        as_json.write_text(json.dumps({"recipe": wanted.name, "data": known.data, "outlets": told}) + "\n")
    if plot is not None:
        plot.write_text(plot_curves(wanted, curves), encoding="utf-8")
        typer.echo(f"{plot}")


def _known(bundle: Path | None, data: list[Path], split: str | None) -> tuple[Bundle, Known]:
    from rich.console import Console

    from alloysort.progress import progress
    from alloysort_inference.bench.purity import know
    from alloysort_models.bundle.manifest import load_bundle, newest_released

    opened = load_bundle(bundle or newest_released())
    with progress(Console(stderr=True)) as bar:
        task = bar.add_task("known pieces")
        return opened, know(data, opened, split, lambda done, of: bar.update(task, completed=done, total=of))


def _tell(outlet: Outlet, found: Curve, bar: float) -> None:
    place = found.lowest(outlet.purity or 0.0)
    if place is not None:
        typer.echo(
            f"{outlet.name}: bar {bar:.4f}: {outlet.sure:.0%} of batches reach {found.reached[place]:.4f} "
            f"(asked {outlet.purity:g}), {found.purity[place]:.4f} expected; {found.recovery[place]:.1%} "
            f"of its families recovered"
        )


def _curve_table(recipe: Recipe, outlet: Outlet, found: Curve) -> Any:
    from rich.table import Table

    from alloysort_inference.bench.purity import points

    priced = outlet.value_per_t or outlet.wrong_costs_per_t
    table = Table(
        f"{outlet.name}: {outlet.sure:.0%} of batches reach", "bar", "purity", "recovery", "of the feed",
        *(["value per t fed"] if priced else []),
    )  # fmt: skip
    for point in points(found, outlet):
        if point["bar"] is None:
            table.add_row(f"{point['reached']:g}", "out of reach", *[""] * (4 if priced else 3))
            continue
        cells = [f"{point['bar']:.4f}", *(f"{point[key]:.3f}" for key in ("purity", "recovery", "part"))]
        table.add_row(
            f"{point['reached']:g}", *cells, *([f"{point['value_per_t_fed']:.1f}"] if priced else [])
        )
    table.caption = f"batches of {recipe.batch_pieces} pieces fed"
    return table


def _toml(found: Fitted) -> str:
    """As the last table of a recipe's file."""
    lines = [FITTED + " # by `alloysort recipe fit`; not to be written by hand"]
    lines += [f"{key} = {json.dumps(getattr(found, key))}" for key in ("bundle", "targets", "data")]
    if found.bars:
        bars = [f"{json.dumps(name)} = {bar!r}" for name, bar in found.bars.items()]
        lines += ["", "[fitted.bars]", *bars]
    for name, margins in found.melts.items():
        lines += ["", f"[fitted.melts.{json.dumps(name)}]"]
        lines += [f"{json.dumps(limit)} = {margin!r}" for limit, margin in margins.items()]
    return "\n".join(lines) + "\n"
