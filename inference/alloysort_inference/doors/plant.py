"""The plant around a service: outputs are told of each piece, and may ask for another recipe."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from alloysort_inference.line.eject import Ejection
from alloysort_inference.policy.belt import Line
from alloysort_inference.policy.recipe import Recipe

PIECE_MM: Final = 60.0  # along the belt, where no camera has told an outline


@dataclass(frozen=True)
class Controls:
    """What outputs may ask of a service, see `outputs.output.Controls`.

    Attributes:
        known: what can be chosen from.
        in_use: the name of the one in use.
        choose: sort by another one, and return once that is so.
        phase: of the service, in the words of OPC 40100-1.
        made_up: whether the pieces are.
    """

    known: Callable[[], Sequence[str]]
    in_use: Callable[[], str]
    choose: Callable[[str], None]
    phase: Callable[[], str]
    made_up: bool

    def recipes(self) -> Sequence[str]:
        """What can be chosen from."""
        return self.known()

    def recipe(self) -> str:
        """The name of the one in use."""
        return self.in_use()

    def choose_recipe(self, name: str) -> None:
        """Sort by another recipe.

        Raises:
            AlloysortError: it cannot be used; nothing has changed.
        """
        self.choose(name)

    def state(self) -> str:
        """Initialized while the model warms up, ContinuousExecution afterwards, Halted at the end."""
        return self.phase()

    def simulated(self) -> bool:
        """Whether the pieces are made up."""
        return self.made_up


class Valves:
    """When the valves of an outlet open for a piece that nobody follows along the belt.

    By the recipe's belt speed, from the moment the piece was seen. A line with an encoder does better: see
    `line.eject`.
    """

    def __init__(self, recipe: Recipe) -> None:
        self._line = recipe.line or Line()
        self._rows = Ejection(self._line, recipe).rows

    def window(self, outlet: str, arrived_s: float) -> tuple[float, float] | None:
        """Between which times of `perf_counter` the coil is to be on; None where there is no row."""
        at_m = self._rows.get(outlet)
        if at_m is None:
            return None
        line = self._line
        margin_m, piece_m = line.margin_mm / 1000, PIECE_MM / 1000
        opens_s = arrived_s + (at_m - margin_m) / line.speed_m_per_s - line.valve_delay_ms / 1000
        lasts_s = max((piece_m + 2 * margin_m) / line.speed_m_per_s, line.least_pulse_ms / 1000)
        return opens_s, opens_s + lasts_s
