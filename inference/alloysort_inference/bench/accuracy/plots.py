"""The report's plots, each an SVG text."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any, Final

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from alloysort_inference.policy.guarantee import Curve
from alloysort_inference.policy.recipe import Recipe

INK: Final = "#1a1a1a"
SOFT: Final = "#e4e4e4"
OURS: Final = "#1f3a5f"
OTHER: Final = "#9aa7b5"
COLOURS: Final = ("#1f3a5f", "#d1495b", "#2a9d8f", "#e9a23b", "#6d597a", "#5b8e3e")
STYLE: Final[Any] = {
    "font.size": 9,
    "font.family": "sans-serif",
    "axes.edgecolor": INK,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": SOFT,
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "svg.fonttype": "none",  # text stays text: light, and searchable
    "svg.hashsalt": "alloysort",  # the same figures give the same page
}
FEED_LEAST: Final = 0.85  # the purity axis begins here: below, nobody sells


def drawn(figure: Figure) -> str:
    """A figure as SVG without its XML head."""
    sink = io.StringIO()
    with mpl.rc_context(STYLE):
        figure.savefig(sink, format="svg", bbox_inches="tight", metadata={"Date": None})
    text = sink.getvalue()
    return text[text.index("<svg") :]


def _canvas(width: float, height: float) -> tuple[Figure, Axes]:
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        return figure, figure.subplots()


def confusion(told: Mapping[str, Any]) -> str:
    """Of each family's pieces the share that was accepted as each family, and that was not accepted."""
    counts = np.array(told["counts"], np.float64)
    there = counts.sum(axis=1) > 0
    shares = counts[there] / counts[there].sum(axis=1, keepdims=True)
    rows = [name for name, held in zip(told["families"], there, strict=True) if held]
    figure, axes = _canvas(8.6, 0.32 * len(rows) + 1.9)
    axes.grid(visible=False)
    axes.imshow(np.sqrt(shares), cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (row, column), share in np.ndenumerate(shares):
        if share >= 0.005:
            colour = "white" if share > 0.4 else INK
            axes.text(column, row, f"{100 * share:.0f}", ha="center", va="center", color=colour, fontsize=7.5)
    axes.axvline(len(told["columns"]) - 1.5, color=INK, linewidth=0.8)
    axes.set_xticks(range(len(told["columns"])), told["columns"], rotation=60, ha="right")
    axes.set_yticks(range(len(rows)), rows)
    axes.set_xlabel("accepted as, % of the family's pieces")
    axes.set_ylabel("truly")
    return drawn(figure)


def reliability(bins: Sequence[Mapping[str, float]]) -> str:
    """How many of the pieces of a confidence are right."""
    figure, axes = _canvas(4.2, 3.6)
    confidence, right, n = (np.array([one[key] for one in bins]) for key in ("confidence", "right", "n"))
    axes.plot([0, 1], [0, 1], color=OTHER, linewidth=0.8, linestyle="--")
    axes.plot(confidence, right, color=OURS, linewidth=1.2)
    axes.scatter(confidence, right, s=8 + 120 * n / n.sum(), color=OURS, zorder=3)
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="confidence", ylabel="share that is right")
    return drawn(figure)


def risk_coverage(points: Sequence[Sequence[float]]) -> str:
    """The share that is wrong among the surest pieces."""
    figure, axes = _canvas(4.2, 3.6)
    coverage, risk = np.array(points).T
    axes.plot(coverage, 100 * risk, color=OURS, linewidth=1.4)
    axes.set(xlim=(0, 1), xlabel="share of pieces, the surest first", ylabel="wrong among them, %")
    axes.set_ylim(bottom=0)
    return drawn(figure)


def purity_recovery(feeds: Mapping[str, Any]) -> str:
    """By outlet what its bar trades, a line for each feed; the recipe's own point is marked."""
    outlets = [name for name, told in next(iter(feeds.values()))["outlets"].items() if told.get("curve")]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(4.3 * max(len(outlets), 1), 3.7), layout="constrained")
        panes = figure.subplots(1, max(len(outlets), 1), squeeze=False)[0]
    for axes, name in zip(panes, outlets, strict=False):
        for colour, (feed, told) in zip(COLOURS, feeds.items(), strict=False):
            outlet = told["outlets"][name]
            _, purity, recovery = np.array(outlet["curve"]).T
            axes.plot(100 * recovery, 100 * purity, color=colour, linewidth=1.3, label=feed)
            if outlet["purity"]["value"] is not None:
                at = (100 * outlet["recovery"]["value"], 100 * outlet["purity"]["value"])
                axes.scatter(*at, color=colour, s=22, zorder=3)
        lowest = min(min(point[1] for point in told["outlets"][name]["curve"]) for told in feeds.values())
        axes.set_ylim(100 * max(lowest, FEED_LEAST) - 1, 100.5)
        axes.set(xlabel="recovery, %", ylabel="purity, %", title=name)
        axes.legend(fontsize=8, loc="lower left")
    return drawn(figure)


def plot_curves(recipe: Recipe, curves: Mapping[str, Curve]) -> str:
    """By outlet the purity that is expected and the one promised, over recovery; targets are marked."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(4.3 * len(curves), 3.7), layout="constrained")
        panes = figure.subplots(1, len(curves), squeeze=False)[0]
    outlets = {outlet.name: outlet for outlet in recipe.outlets}
    for axes, (name, found) in zip(panes, curves.items(), strict=True):
        outlet, recovery = outlets[name], 100 * found.recovery
        axes.plot(recovery, 100 * found.purity, color=OTHER, linewidth=1.3, label="expected")
        promised = f"{outlet.sure:.0%} of batches reach"
        axes.plot(recovery, 100 * found.reached, color=OURS, linewidth=1.3, label=promised)
        place = None if outlet.purity is None else found.lowest(outlet.purity)
        if outlet.purity is not None:
            axes.axhline(100 * outlet.purity, color=COLOURS[1], linewidth=0.8, label="target")
        if place is not None:
            axes.scatter(recovery[place], 100 * found.reached[place], color=COLOURS[1], s=22, zorder=3)
        axes.set_ylim(min(100 * FEED_LEAST, 100 * float(found.purity.min())) - 1, 100.5)
        axes.set(xlabel="recovery, %", ylabel="purity, %", title=name)
        axes.legend(fontsize=8, loc="lower left")
    return drawn(figure)


def plot_outlets(told: Mapping[str, Any]) -> str:
    """What a line's outlets got: tonnes an hour, and of these how much is of another outlet's families."""
    names = list(told["outlets"])
    got = [told["outlets"][name] for name in names]
    tonnes = np.array([outlet["tonnes_per_h"] for outlet in got])
    pure = np.array([outlet["purity"]["value"] or 0.0 for outlet in got])
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.8, 1.2 + 0.5 * len(names)), layout="constrained")
        axes = figure.subplots()
    place = np.arange(len(names))[::-1]
    axes.barh(place, tonnes * pure, color=OURS, height=0.6, label="of its own families")
    axes.barh(place, tonnes * (1 - pure), left=tonnes * pure, color=COLOURS[1], height=0.6, label="others")
    for row, outlet, end in zip(place, got, tonnes, strict=True):
        figures = [100 * (outlet[key]["value"] or 0.0) for key in ("purity", "recovery")]
        words = f"  {figures[0]:.1f} % pure, {figures[1]:.1f} % recovered"
        axes.text(end, row, words, va="center", fontsize=8)
    axes.set_yticks(place, names)
    axes.set_xlim(0, 1.5 * float(tonnes.max()))
    axes.set(xlabel=f"t/h of {told['tonnes_per_h']:.1f} fed, simulated", title=told["recipe"]["name"])
    figure.legend(fontsize=8, loc="outside upper right", ncols=2)
    return drawn(figure)


def contents(told: Mapping[str, Any], elements: Sequence[str]) -> str:
    """Error of each element's content in aluminium, beside three sigma of blanks."""
    shown = [element for element in elements if told["rmse_wt_pct"][element]["value"] is not None]
    figure, axes = _canvas(8.6, 2.9)
    at = np.arange(len(shown))
    for offset, key, colour, label in (
        (-0.2, "rmse_wt_pct", OURS, "RMSE"),
        (0.2, "lod_wt_pct", OTHER, "limit of detection, 3 sigma of blanks"),
    ):
        values = [told[key][element]["value"] for element in shown]
        heights = [np.nan if value is None else value for value in values]
        axes.bar(at + offset, heights, 0.38, color=colour, label=label)
        if key == "rmse_wt_pct":
            low, high = (np.array([told[key][element][end] for element in shown]) for end in ("low", "high"))
            axes.errorbar(
                at + offset,
                heights,
                (np.maximum(heights - low, 0), np.maximum(high - heights, 0)),
                fmt="none",
                ecolor=INK,
                elinewidth=0.8,
            )
    axes.set_xticks(at, shown)
    axes.set_yscale("log")
    axes.set_ylabel("wt%")
    axes.legend(fontsize=8)
    return drawn(figure)


def perturbations(rows: Mapping[str, Any]) -> str:
    """Macro-F1 of each row with its interval, both sensors, against clean."""
    names = list(rows)
    figure, axes = _canvas(8.6, 0.23 * len(names) + 0.8)
    at = np.arange(len(names))[::-1]
    value, low, high = (np.array([rows[name]["macro_f1"][key] for name in names]) for key in _ENDS)
    clean = value[0]
    axes.axvline(clean, color=OTHER, linewidth=0.8, linestyle="--")
    colours = [COLOURS[1] if end < clean else OURS for end in high]
    axes.barh(at, value, 0.66, color=colours, alpha=0.85)
    axes.errorbar(value, at, xerr=(value - low, high - value), fmt="none", ecolor=INK, elinewidth=0.8)
    axes.set_yticks(at, names)
    axes.set(xlim=(0, 1), ylim=(-0.7, len(names) - 0.3), xlabel="macro-F1, both sensors")
    axes.grid(visible=False, axis="y")
    return drawn(figure)


def rivals(told: Mapping[str, Any], rows: Sequence[str]) -> str:
    """Macro-F1 of every method where it is clean and in hard rows of the suite."""
    names = list(told)
    figure, axes = _canvas(8.6, 3.4)
    groups = ["test pieces", *rows]
    width = 0.85 / len(names)
    shades = [OURS, *(mpl.colormaps["Greys"](0.25 + 0.55 * n / len(names)) for n in range(len(names) - 1))]
    for place, (name, colour) in enumerate(zip(names, shades, strict=True)):
        scores = [told[name]["macro_f1"], *(told[name]["perturbations"][row]["macro_f1"] for row in rows)]
        at = np.arange(len(groups)) + (place - (len(names) - 1) / 2) * width
        axes.bar(at, [score["value"] or 0.0 for score in scores], width * 0.92, color=colour, label=name)
    axes.set_xticks(range(len(groups)), [group.replace(" ", "\n", 1) for group in groups])
    axes.set(ylim=(0, 1), ylabel="macro-F1, spectrum alone")
    axes.grid(visible=False, axis="x")
    axes.legend(fontsize=7.5, ncols=5, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return drawn(figure)


def spectrum(wavelength_nm: NDArray[np.float64], counts: NDArray[np.float64]) -> str:
    """One piece's mean spectrum, small; channels are thinned to their highest."""
    step = max(1, -(-counts.size // 500))
    whole = counts.size // step * step
    tops = counts[:whole].reshape(-1, step).max(axis=1)
    figure, axes = _canvas(4.6, 1.25)
    axes.plot(wavelength_nm[:whole:step], tops, color=OURS, linewidth=0.6)
    axes.set_yticks([])
    axes.set_xlabel("nm", fontsize=7)
    axes.tick_params(labelsize=7)
    return drawn(figure)


_ENDS: Final = ("value", "low", "high")
