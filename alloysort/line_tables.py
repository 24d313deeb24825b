"""What `alloysort bench line` shows on the terminal."""

from __future__ import annotations

from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from alloysort.accuracy_tables import shown

ELEMENTS_SHOWN = ("Si", "Fe", "Cu", "Mn", "Mg", "Zn")


def show_line(console: Console, told: dict[str, Any]) -> None:
    """Every outlet, and what the belt did."""
    console.print(
        f"[bold]{told['recipe']['name']}[/], {told['bundle']['name']}: {told['pieces']} simulated pieces at "
        f"{told['rate_per_s']:g}/s and {told['speed_m_per_s']:g} m/s, {told['mass_kg']:.0f} kg in "
        f"{told['seconds']:.0f} s, feed {told['feed'] or 'as the reel'}; reel: {told['reel']}; 95 % intervals"
    )
    console.print(_outlets(told), _contents(told))
    for name, outlet in told["outlets"].items():
        if "boxes" in outlet:
            boxes = outlet["boxes"]
            broken = "".join(f"; {times} not {limit}" for limit, times in boxes["broken"].items())
            console.print(f"{name}: {boxes['inside']} of {boxes['full']} full boxes inside{broken}")
    console.print(
        f"{told['tonnes_per_h']:.1f} t/h, value {told['value']:.2f}; {told['late']} late, {told['lost']} "
        f"lost, "
        f"{told['crowded']} held back for a neighbour, {told['misfires']} misfires, "
        f"{told['went_elsewhere']} left by another outlet than was decided; policy "
        f"{told['policy_us']['mean']:.0f} us a piece, {told['took_s']:.1f} s in all"
    )
    if "live" in told:
        live = told["live"]
        console.print(
            f"in real time, {live['seconds']:g} s: {live['pieces']} pieces, {live['late']} late at "
            f"{live['deadline_ms']:g} ms, {live['lost']} lost, p50 {live['p50_ms']:.1f} ms, p99 "
            f"{live['p99_ms']:.1f} ms, longest {live['max_ms']:.1f} ms"
        )


def _outlets(told: dict[str, Any]) -> Table:
    heads = ("outlet", "kg", "t/h", "purity", "recovery", "of metal seen", "of hidden", "value")
    table = Table(*heads, box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name, outlet in told["outlets"].items():
        keys = ("purity", "recovery", "recovery_of_metal", "recovery_of_hidden")
        table.add_row(
            name,
            f"{outlet['mass_kg']:.1f}",
            f"{outlet['tonnes_per_h']:.2f}",
            *(shown(outlet[key]) for key in keys),
            f"{outlet['value']:.2f}",
        )
    return table


def _contents(told: dict[str, Any]) -> Table:
    table = Table("holds, wt%", *ELEMENTS_SHOWN, box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name, outlet in told["outlets"].items():
        contents = outlet["composition"]
        table.add_row(name, *(f"{contents[e]:.2f}" if contents else "" for e in ELEMENTS_SHOWN))
    return table
