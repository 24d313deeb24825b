"""What `alloysort bench line` shows on the terminal."""

from __future__ import annotations

from typing import Any

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
        f"{told['went_elsewhere']} left by another outlet than was decided; {told['took_s']:.1f} s"
    )


def _outlets(told: dict[str, Any]) -> Table:
    table = Table("outlet", "kg", "t/h", "purity", "recovery", "metal seen", "hidden", "value")
    for name, outlet in told["outlets"].items():
        purity, recovery, hidden = (
            _plain(outlet[key]) for key in ("purity_of_metal", "recovery_of_metal", "recovery_of_hidden")
        )
        table.add_row(
            name,
            f"{outlet['mass_kg']:.1f}",
            f"{outlet['tonnes_per_h']:.2f}",
            shown(outlet["purity"]),
            shown(outlet["recovery"]),
            f"{purity} pure\n{recovery} recovered",
            f"{hidden}\nrecovered",
            f"{outlet['value']:.2f}",
        )
    return table


def _plain(figure: dict[str, float | None]) -> str:
    return "-" if figure["value"] is None else f"{figure['value']:.3f}"


def _contents(told: dict[str, Any]) -> Table:
    table = Table("holds, wt%", *ELEMENTS_SHOWN)
    for name, outlet in told["outlets"].items():
        contents = outlet["composition"]
        table.add_row(name, *(f"{contents[e]:.2f}" if contents else "" for e in ELEMENTS_SHOWN))
    return table
