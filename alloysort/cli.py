"""The `alloysort` command.

What a command needs is imported inside it, so that help and completion stay fast.
"""

from __future__ import annotations

import logging
import os
import sys
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Final, NoReturn, cast

import typer

from alloysort import bench_commands, data_commands, log_commands, recipe_commands
from alloysort_datasets.errors import AlloysortError, ImageError, SpectrumError

if TYPE_CHECKING:
    from rich.table import Table

    from alloysort_inference.doors.rest.answer import Answer
    from alloysort_training.train import Device

EXTRAS: Final = {  # what a plain install lacks, and the extra that brings it
    **dict.fromkeys(("numba", "pyarrow"), "data"),
    **dict.fromkeys(("jinja2", "matplotlib"), "bench"),
    **dict.fromkeys(("torch", "lightning", "onnx", "onnxscript", "scipy", "sklearn"), "training"),
}
SHOWN_FAMILIES: Final = 5

app = typer.Typer(
    name="alloysort",
    help="Sort metal scrap by alloy: LIBS spectra and pictures in, eject decisions out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(data_commands.app, name="data")
app.add_typer(bench_commands.app, name="bench")
app.add_typer(recipe_commands.app, name="recipe")
app.add_typer(log_commands.app, name="log")

BundleOption = Annotated[
    Path | None,
    typer.Option("--bundle", help="Folder of a released model; the newest shipped one if absent."),
]
RecipeOption = Annotated[
    str | None, typer.Option("--recipe", help="Name of a shipped recipe, or path of a TOML file.")
]


def main() -> NoReturn:
    """Run the command; errors raised on purpose and missing extras become one line and exit code 1."""
    try:
        app()
    except AlloysortError as error:
        fail(str(error))
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in EXTRAS:
            raise
        fail(f"this needs {missing}: pip install 'alloysort[{EXTRAS[missing]}]'")
    sys.exit(0)


def fail(message: str) -> NoReturn:
    """Say in one line what is at fault, and exit with 1."""
    typer.echo(f"alloysort: error: {' '.join(message.split())}", err=True)
    sys.exit(1)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"alloysort {version('alloysort')}")
        raise typer.Exit


@app.callback()
def _common(
    _: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """Sort metal scrap by alloy: LIBS spectra and pictures in, eject decisions out."""


@app.command()
def classify(
    bundle: BundleOption = None,
    recipe: RecipeOption = None,
    spectrum: Annotated[
        Path | None, typer.Option(help="Spectrum file: wavelength (nm or Å) and counts, any common layout.")
    ] = None,
    image: Annotated[Path | None, typer.Option(help="Picture of the piece: JPEG or PNG.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")] = False,
) -> None:
    """Say what one piece is and where the recipe sends it."""
    if spectrum is None and image is None:
        raise typer.BadParameter("give --spectrum, --image or both")
    from alloysort_inference.doors.rest.answer import make_answer
    from alloysort_inference.pipeline import open_classifier, read_upload
    from alloysort_inference.policy.recipe import DEFAULT_RECIPE

    signal = None if spectrum is None else read_upload(spectrum, SpectrumError)
    picture = None if image is None else read_upload(image, ImageError)
    classifier = open_classifier(bundle, recipe or DEFAULT_RECIPE)
    answer = make_answer(classifier.classify(signal, picture))
    if as_json:
        typer.echo(answer.model_dump_json(indent=2))
    else:
        _show(answer)


@app.command()
def serve(
    bundle: BundleOption = None,
    recipe: RecipeOption = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on; 127.0.0.1 if absent.")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 8000 if absent, 0 takes a free one.")] = None,
    log: Annotated[
        str | None,
        typer.Option(help="Keep every decision in this SQLite file, or at postgresql://user@host/database."),
    ] = None,
    boxes: Annotated[
        Path | None, typer.Option(help="Keep the boxes of melts in this file; they go on after a restart.")
    ] = None,
    tokens: Annotated[
        Path | None, typer.Option(help="File of who may ask from other machines: see `alloysort token`.")
    ] = None,
    tls_certificate: Annotated[
        Path | None, typer.Option(help="PEM file of a certificate: serve over HTTPS and WSS.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(help="PEM file of its private key.")] = None,
    demo: Annotated[bool, typer.Option("--demo", help="Sort a generated stream of pieces beside.")] = False,
    rate: Annotated[
        float, typer.Option(help="Pieces a second of the demonstration.", min=0.1, max=10_000)
    ] = 20.0,
) -> None:
    """Serve a model over HTTP, and to lines over WebSocket, until Ctrl-C.

    Options also come from the environment as ALLOYSORT_<NAME>, and there only LOG_DAYS, STREAM_PORT,
    PROVIDERS, THREADS, WORKERS, DEADLINE_MS, QUEUE_PIECES, QUEUE_MB, MAX_BODY_MB, READ_TIMEOUT_S,
    KEEP_ALIVE_S and MESSAGES (text, or json: what the process itself says on stderr).
    """
    from alloysort_inference.demo import Stream
    from alloysort_inference.doors.serve import serve as run_service
    from alloysort_inference.doors.settings import read_settings

    safe = {"tokens": tokens, "tls_certificate": tls_certificate, "tls_key": tls_key}
    settings = read_settings(
        os.environ, bundle=bundle, recipe=recipe, host=host, port=port, log=log, boxes=boxes, **safe
    )
    stream = None
    if demo:
        from alloysort.demo_stream import open_stream

        pieces, instruments = open_stream()
        stream = Stream("simulated pieces", pieces, instruments, rate)
    with TemporaryDirectory(prefix="alloysort-") as folder:
        if demo and settings.log is None:  # labels have a place, and nothing is left behind
            settings = settings.model_copy(update={"log": str(Path(folder) / "demonstration.sqlite")})
        run_service(settings, typer.echo, stream)


@app.command()
def token(
    name: Annotated[str, typer.Argument(help="Who it is for; stands in the audit.")],
    role: Annotated[str, typer.Option(help="read, operate or engineer: each may all that those before may.")],
    file: Annotated[Path, typer.Option(help="File of tokens, for `serve --tokens`; made if absent.")],
) -> None:
    """Make a token for another machine, and print it once; the file gets its hash only."""
    from alloysort_inference.doors.tokens import ROLES, make_token

    if role not in ROLES:
        raise typer.BadParameter(f"--role {role!r} must be one of {', '.join(ROLES)}")
    typer.echo(make_token(file, name, role))


@app.command()
def train(
    config: Annotated[Path, typer.Argument(help="Training configuration, TOML.")],
    data: Annotated[list[Path], typer.Option("--data", help="Piece table; may be given several times.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the run; one that is there is resumed.")],
    start: Annotated[
        Path | None,
        typer.Option(
            "--from", help="Folder of a finished run or a bundle, or a shipped bundle's name: trained on."
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Train a model on piece tables."""
    from alloysort_training.train import train as run_training

    if device not in ("auto", "cpu", "cuda"):
        raise typer.BadParameter(f"--device {device!r} must be auto, cpu or cuda")
    _lines_on_stderr()
    learned = run_training(config, data, out, start, cast("Device", device))
    typer.echo(
        f"{out}: {learned.epochs} of {learned.asked} epochs on {learned.pieces:,} pieces of "
        f"{learned.families} families; calibration macro-F1 {learned.macro_f1:.3f} (best in epoch "
        f"{learned.best}; naming all alike {learned.chance:.3f}); {learned.curves}\n"
        f"next: alloysort export {out} --out BUNDLE"
    )


def _lines_on_stderr() -> None:
    """What the parts log as they go, a line each; on a terminal a bar tells it better."""
    if not sys.stderr.isatty():
        logger = logging.getLogger("alloysort")
        logger.addHandler(logging.StreamHandler())
        logger.setLevel(logging.INFO)


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="Folder of a training run.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the bundle to write.")],
    name: Annotated[str | None, typer.Option(help="Name of the bundle; the folder's if absent.")] = None,
    data: Annotated[
        list[Path] | None,
        typer.Option(help="Piece tables to calibrate and measure on; those of the run if absent."),
    ] = None,
    unfinished: Annotated[
        bool, typer.Option("--unfinished", help="Take a run that was cut off; the card says so.")
    ] = False,
    few: Annotated[
        bool, typer.Option("--few", help="Calibrate on few pieces: what they cannot tell is left as it is.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what lies at --out.")] = False,
) -> None:
    """Turn a training run into a bundle; refuses if torch and onnxruntime disagree."""
    from alloysort_models.bundle.manifest import CARD
    from alloysort_training.export import Allowed
    from alloysort_training.export import export as run_export

    bundle = run_export(run, out, name, data or (), Allowed(unfinished, few, overwrite))
    told = bundle.manifest.metrics
    scores = ", ".join(
        f"{pattern} {told[pattern]['macro_f1']['value']:.3f}"
        for pattern in ("image", "spectrum", "both")
        if told.get(pattern, {}).get("macro_f1", {}).get("value") is not None
    )
    typer.echo(f"{bundle.path}: {', '.join(bundle.manifest.files)}; macro-F1 of test pieces: {scores}")
    typer.echo(f"its card: {bundle.path / CARD}")


@app.command()
def adapt(
    data: Annotated[
        list[Path], typer.Option(help="Piece table of reference pieces; may be given several times.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder of the bundle to write.")],
    bundle: Annotated[
        Path | None,
        typer.Argument(help="Folder or name of the bundle to begin with; the newest shipped one if absent."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the bundle; the folder's if absent.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what lies at --out.")] = False,
) -> None:
    """Fit a bundle to one plant's instrument with a few labelled pieces; refuses where that helps nothing."""
    from alloysort_models.bundle.manifest import CARD, newest_released
    from alloysort_training.adapt import adapt as run_adapt
    from alloysort_training.change import Change

    def tell(change: Change) -> None:
        typer.echo("\n".join(change.lines()))

    written = run_adapt(bundle or newest_released(), data, out, name, overwrite, tell)
    typer.echo(f"{written.path}: {', '.join(written.manifest.files)}; its card: {written.path / CARD}")


def _show(answer: Answer) -> None:
    from rich.console import Console

    console = Console()
    way = "eject" if answer.eject else "let pass"
    console.print(f"[bold]{answer.family}[/]  →  [bold]{answer.outlet}[/] ({way}; {answer.reason})")
    console.print(
        f"accepted as aluminium: {'yes' if answer.accepted_as_aluminium else 'no'}   "
        f"novelty {answer.novelty:.2f}{' (novel)' if answer.novel else ''}   "
        f"{'' if answer.surface is None else f'surface {answer.surface:.2f}   '}"
        f"quality: {', '.join(answer.quality) or 'good'}   {answer.timing_ms.total:.1f} ms"
    )
    console.print(_families_table(answer), _composition_table(answer))


def _families_table(answer: Answer) -> Table:
    from rich.table import Table

    table = Table("family", "probability")
    likely = sorted(answer.probabilities.items(), key=lambda item: -item[1])[:SHOWN_FAMILIES]
    for family, probability in likely:
        table.add_row(family, f"{probability:.3f}")
    return table


def _composition_table(answer: Answer) -> Table:
    from rich.table import Table

    table = Table("element", "wt%", "± sigma")
    for element, content in answer.composition.items():
        table.add_row(element, f"{content.wt_pct:.3f}", f"{content.sigma:.3f}")
    return table
