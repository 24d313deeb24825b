"""What others have published on the same questions, each with what it was measured on, and a table of both.

Nobody's pieces but one's own can be had, so these stand beside a benchmark's figures, not in one column.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple


class Published(NamedTuple):
    """A figure of others.

    Attributes:
        who: and when.
        question: what was asked.
        measured_on: what kind of pieces, and how many where it is said.
        figure: as they give it.
        source: where it stands.
    """

    who: str
    question: str
    measured_on: str
    figure: str
    source: str


PUBLISHED: Final = (
    Published(
        "kNN (2023)",
        "aluminium alloys, in focus, 0.5 mm and 2.5 mm out of it",
        "real samples, laboratory, trained in focus",
        "accuracy 88 %, 53-54 %, 11-14 %",
        "doi 10.1364/OE.507787",
    ),
    Published(
        "the same, data transfer to each distance (2023)",
        "as above",
        "real samples, laboratory, spectra of each distance at hand",
        "accuracy 98 %, 92-94 %, 74-78 %",
        "doi 10.1364/OE.507787",
    ),
    Published(
        "STEINERT LSS (2016)",
        "5xxx and 6xxx stamping waste apart",
        "real pieces, the vendor's own test",
        "purity 99 % at 90 % separated",
        "Recycling International, product news 10069",
    ),
    Published(
        "Constellium, OSR (2024)",
        "5xxx and 6xxx stamping waste apart",
        "real pieces, a plant",
        "purity over 95 % of both",
        "press release of November 2024",
    ),
)


def comparison(told: Mapping[str, Any], rows: tuple[str, ...]) -> str:
    """Markdown: the bundle beside other methods on the same pieces, then what others have published.

    Args:
        told: of `run.bench_accuracy`, with baselines.
        rows: of the perturbation suite, as far as it was run.
    """
    return "\n".join([*_measured(told, rows), "", *_published()]) + "\n"


def _measured(told: Mapping[str, Any], rows: tuple[str, ...]) -> Iterator[str]:
    kind = told["pieces_are"]
    rows = tuple(row for row in rows if row in told.get("perturbations", {}))
    heads = ("spectrum alone, macro-F1", "trained on", f"{kind} pieces", "bare metal", *rows)
    yield f"| {' | '.join(heads)} |"
    yield "| --- |" + " --- |" * (len(heads) - 1)
    for name, one in told["baselines"].items():
        of_suite = (_shown(one["perturbations"][row]["macro_f1"]) for row in rows)
        trained = f"{one['trained_on']:,} of the table" if "trained_on" in one else "its own, elsewhere"
        cells = (name, trained, _shown(one["macro_f1"]), _shown(one["bare_metal"]), *of_suite)
        yield f"| {' | '.join(cells)} |"


def _published() -> Iterator[str]:
    yield "| published | question | measured on | figure | source |"
    yield "| --- | --- | --- | --- | --- |"
    for one in PUBLISHED:
        yield f"| {' | '.join(one)} |"


def _shown(figure: Mapping[str, float | None] | None) -> str:
    if figure is None or figure["value"] is None:
        return "-"
    return f"{figure['value']:.3f} ({figure['low']:.3f}-{figure['high']:.3f})"
