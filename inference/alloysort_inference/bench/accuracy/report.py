"""One self-contained page of an accuracy run: plots, tables, and the worst errors as the sensors saw them."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import cv2
import jinja2
import numpy as np

from alloysort_datasets.errors import AlloysortError
from alloysort_datasets.families import ELEMENTS, FAMILIES
from alloysort_datasets.piece import sensed
from alloysort_datasets.readers.picture import decode_image, encode_jpeg
from alloysort_datasets.table.store import read_instruments, read_pieces
from alloysort_inference.bench.accuracy import plots
from alloysort_inference.bench.accuracy.judge import COLUMNS, Judged
from alloysort_inference.bench.accuracy.published import PUBLISHED, comparison
from alloysort_models.bundle.inputs import Look

PAGE: Final = "report.html"
FIGURES: Final = "figures.json"
COMPARISON: Final = "comparison.md"
SHOWN_ERRORS: Final = 12
WORST: Final = 15  # alloys and instruments that are listed
THUMB_PX: Final = 128
HARD_ROWS: Final = ("defocus 2.5 mm", "instrument: mini", "instrument: echelle", "shots missed 60%")

Figured = dict[str, float | None] | None


def write_report(folder: Path, told: dict[str, Any], judged: Judged, tables: Sequence[Path]) -> Path:
    """Write `report.html`, `figures.json` and, where there are other methods, `comparison.md` into a folder.

    Args:
        folder: is created; a report of before is replaced.
        told: of `run.bench_accuracy`.
        judged: the pieces behind it.
        tables: where they stand.

    Returns:
        The page.

    Raises:
        AlloysortError: the folder cannot be written.
    """
    page = _template().render(
        told=told,
        plots=_plots(told),
        errors=list(_worst_errors(judged, tables)) if told["labelled"] else [],
        alloys=_worst_words(told, "alloys"),
        instruments=_worst_words(told, "instruments"),
        hard_rows=[row for row in HARD_ROWS if row in told.get("perturbations", {})],
        elements=ELEMENTS,
        published=PUBLISHED,
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / PAGE).write_text(page, encoding="utf-8")
        (folder / FIGURES).write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
        if told.get("baselines"):
            (folder / COMPARISON).write_text(comparison(told, HARD_ROWS), encoding="utf-8")
    except OSError as error:
        raise AlloysortError(f"{folder}: {error.strerror or error}") from None
    return folder / PAGE


def _template() -> jinja2.Template:
    source = files(__package__).joinpath("report.html.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    environment.filters["share"] = _share
    environment.filters["number"] = _number
    return environment.from_string(source)


def _share(figure: Figured) -> str:
    """As per cent, its interval beneath."""
    return _cell(figure, 100.0, 1)


def _number(figure: Figured) -> str:
    return _cell(figure, 1.0, 3)


def _cell(figure: Figured, factor: float, digits: int) -> str:
    from markupsafe import Markup

    if figure is None or figure["value"] is None:
        return "–"
    value, low, high = (f"{factor * (figure[key] or 0.0):.{digits}f}" for key in ("value", "low", "high"))
    return Markup(f"{value}<small>{low} – {high}</small>")  # noqa: S704 (numbers)


def _plots(told: dict[str, Any]) -> dict[str, str]:
    if not told["labelled"]:
        return {}
    found = {
        "confusion": plots.confusion(told["confusion"]),
        "reliability": plots.reliability(told["reliability"]),
        "risk": plots.risk_coverage(told["risk_coverage"]),
        "purity": plots.purity_recovery(told["sorting"]["feeds"]),
    }
    if any(told["rmse_wt_pct"][element]["value"] is not None for element in ELEMENTS):
        found["contents"] = plots.contents(told, ELEMENTS)
    if told.get("perturbations"):
        found["perturbations"] = plots.perturbations(told["perturbations"])
    if told.get("baselines"):
        rows = [row for row in HARD_ROWS if row in told.get("perturbations", {})]
        found["rivals"] = plots.rivals(told["baselines"], rows)
    return {name: _inline(svg, name) for name, svg in found.items()}


def _inline(svg: str, name: str) -> Any:
    """Ids of one drawing must not meet another's on the page."""
    from markupsafe import Markup

    for mark in ('id="', "url(#", 'href="#'):
        svg = svg.replace(mark, f"{mark}{name}-")
    return Markup(svg)  # noqa: S704 (our own drawing)


def _worst_words(told: dict[str, Any], key: str) -> list[tuple[str, dict[str, Any]]]:
    """Those that are named rightly least often; of equals the larger."""
    ranked = sorted(told.get(key, {}).items(), key=lambda item: (item[1]["right"], -item[1]["n"]))
    return ranked[:WORST]


def _worst_errors(judged: Judged, tables: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """The surest of the wrongly named pieces, those accepted first, with what the sensors saw."""
    wrong = np.flatnonzero(judged.decided & ~judged.strange & (judged.family >= 0) & ~judged.right)
    sure = judged.probabilities[wrong].max(axis=1) + judged.accepted[wrong]
    chosen = wrong[np.argsort(-sure, kind="stable")[:SHOWN_ERRORS]]
    seen = _look_up({judged.piece_id[place] for place in chosen.tolist()}, tables)
    for place in chosen.tolist():
        piece_id = str(judged.piece_id[place])
        yield {
            "piece_id": piece_id,
            "truth": FAMILIES[judged.family[place]],
            "alloy": str(judged.alloy[place]),
            "named": FAMILIES[judged.named[place]],
            "confidence": float(judged.probabilities[place].max()),
            "accepted": bool(judged.accepted[place]),
            "novelty": float(judged.novelty[place]),
            "surface": float(judged.surface[place]),
            **seen.get(piece_id, {"image": None, "spectrum": None}),
        }


def _look_up(wanted: set[str], tables: Sequence[Path]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for table in tables:
        instruments = read_instruments(table)
        for piece in read_pieces(table, COLUMNS):
            if piece.piece_id in wanted:
                spectrum, drawn = sensed(piece, instruments), None
                if spectrum is not None:
                    mean = Look.at(spectrum.shots).means[0]
                    drawn = _inline(plots.spectrum(spectrum.wavelength_nm, mean), f"s{len(found)}")
                image = None if piece.image is None else _thumbnail(piece.image)
                found[piece.piece_id] = {"image": image, "spectrum": drawn}
    return found


def _thumbnail(image: bytes) -> str:
    rgb = decode_image(image)
    scale = THUMB_PX / max(rgb.shape[:2])
    size = (max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale)))
    small = np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)
    return base64.b64encode(encode_jpeg(small, 80)).decode("ascii")
