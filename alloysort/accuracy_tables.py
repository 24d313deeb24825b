"""What `alloysort bench accuracy` shows on the terminal."""

from __future__ import annotations

from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

SHOWN_ELEMENTS = ("Si", "Fe", "Cu", "Mn", "Mg", "Cr", "Zn")


def show_accuracy(console: Console, told: dict[str, Any]) -> None:
    """The figures that matter first; the JSON and the report hold all."""
    refused = f", {told['refused']} refused" if told["refused"] else ""
    console.print(
        f"[bold]{told['bundle']['name']}[/] on {told['n']} {told['pieces_are']} pieces{refused} of "
        f"{', '.join(told['data'])} (split {told['split']}), recipe {told['recipe']['name']}; 95 % intervals"
    )
    if not told["labelled"]:
        console.print("no piece has a family: nothing can be said of right and wrong")
        return
    console.print(_strata(told), _outlets(told))
    if any(told["rmse_wt_pct"][element]["value"] is not None for element in SHOWN_ELEMENTS):
        console.print(_contents(told))
    for key, table in (("perturbations", _suite), ("baselines", _rivals), ("compared", _compared)):
        if key in told:
            console.print(table(told[key]))


def _table(*heads: str) -> Table:
    return Table(*heads, box=SIMPLE_HEAD, padding=(0, 1, 0, 0))


def _strata(told: dict[str, Any]) -> Table:
    table = _table("pieces", "n", "macro-F1", "right", "accepted", "right of these", "ECE")
    for name, part in {"all": told, **told["strata"]}.items():
        keys = ("macro_f1", "accuracy", "accepted", "accepted_right", "ece")
        table.add_row(name, str(part["labelled"]), *(shown(part[key]) for key in keys))
    return table


def _outlets(told: dict[str, Any]) -> Table:
    by = told["sorting"]["weighted_by"]
    table = _table("feed", "outlet", f"purity by {by}", "recovery", "yield", "recovery at 99 %")
    for feed, part in told["sorting"]["feeds"].items():
        for name, outlet in part["outlets"].items():
            most = outlet.get("recovery_at_purity", {}).get("0.99")
            figures = [shown(outlet[key]) for key in ("purity", "recovery", "yield")]
            table.add_row(feed, name, *figures, "" if most is None else shown(most))
    return table


def _contents(told: dict[str, Any]) -> Table:
    table = _table("aluminium", "RMSE wt%", "bias", "3 sigma of blanks", "in the 90 % interval")
    for element in SHOWN_ELEMENTS:
        keys = ("rmse_wt_pct", "bias_wt_pct", "lod_wt_pct", "covered_90")
        table.add_row(element, *(shown(told[key][element]) for key in keys))
    return table


def _suite(rows: dict[str, Any]) -> Table:
    table = _table("simulated, one thing worse", "macro-F1", "drop", "accepted", "right of these")
    for name, row in rows.items():
        keys = ("macro_f1", "macro_f1_drop", "accepted", "accepted_right")
        table.add_row(name, *(shown(row[key]) for key in keys))
    return table


def _rivals(methods: dict[str, Any]) -> Table:
    table = _table("spectrum alone", "trained on", "macro-F1", "bare metal", "ours ahead by", "seconds")
    for name, one in methods.items():
        bare = "-" if one["bare_metal"] is None else shown(one["bare_metal"])
        mine = "trained_on" not in one
        figures = (shown(one["macro_f1"]), bare, "" if mine else shown(one["ahead"]))
        table.add_row(name, str(one.get("trained_on", "")), *figures, str(one.get("seconds", "")))
    return table


def _compared(told: dict[str, Any]) -> Table:
    table = _table(f"against {told['against']}", "difference", "")
    for name, figure in told["differences"].items():
        worse = f"[red]worse by over {told['bar']:g}[/]" if name in told["regressions"] else ""
        table.add_row(name.replace("_", " "), shown(figure), worse)
    return table


def shown(figure: dict[str, float | None]) -> str:
    """A figure with its interval under it."""
    if figure["value"] is None:
        return "-"
    return f"{figure['value']:.3f}\n[dim]{figure['low']:.2f}-{figure['high']:.2f}[/]"
