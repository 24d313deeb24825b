"""All outputs of a service as one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from typing import Any

from alloysort_datasets.errors import AlloysortError
from alloysort_inference.outputs.dry import Dry
from alloysort_inference.outputs.output import Controls, Output
from alloysort_inference.outputs.settings import OutputSettings
from alloysort_inference.record import Record

Fire = Callable[[str, float, float], None]


class Outputs:
    """Outputs that are told together.

    Args:
        outputs: all of them.
        firing: what those that open valves are told of a firing.
    """

    def __init__(self, outputs: Iterable[Output], firing: Iterable[Fire] = ()) -> None:
        self._outputs, self._firing = tuple(outputs), tuple(firing)

    def begin(self) -> None:
        """Start all; returns before they are connected."""
        for output in self._outputs:
            output.begin()

    def tell(self, record: Record, mass_g: float) -> None:
        """A piece was decided on; returns at once."""
        for output in self._outputs:
            output.tell(record, mass_g)

    def fire(self, outlet: str, open_s: float, close_s: float) -> None:
        """The valves of an outlet are to be open between two times of `perf_counter`; returns at once."""
        for fire in self._firing:
            fire(outlet, open_s, close_s)

    def states(self) -> list[tuple[str, str | None, int]]:
        """Of each output: its name, why it is not connected (None while it is), and what it dropped."""
        return [(output.name, output.fault, output.dropped) for output in self._outputs]

    def close(self) -> None:
        """End all."""
        for output in self._outputs:
            output.close()


def open_outputs(settings: OutputSettings, recipe_outlets: Sequence[str], controls: Controls) -> Outputs:
    """The outputs that the settings name, not begun yet.

    Args:
        recipe_outlets: names of the outlets of the recipe in use, in its order.

    Raises:
        DataError: settings that do not fit the recipe, or a password that cannot be read.
        AlloysortError: a package of the extra `plant` is missing.
    """
    outputs: list[Output] = []
    firing: list[Fire] = []
    if settings.modbus is not None:
        modbus = _module("modbus").Modbus(settings.modbus, recipe_outlets)
        outputs.append(modbus)
        firing.append(modbus.fire)
    if settings.sparkplug is not None:
        outputs.append(_module("sparkplug").Sparkplug(settings.sparkplug, recipe_outlets, controls))
    if settings.opcua is not None:
        outputs.append(_module("opcua").Opcua(settings.opcua, recipe_outlets, controls))
    if settings.dry is not None:
        dry = Dry(settings.dry, recipe_outlets)
        outputs.append(dry)
        firing.append(dry.fire)
    return Outputs(outputs, firing)


def _module(name: str) -> Any:
    """A module here, imported when asked for: what it stands on comes with an extra."""
    try:
        return import_module(f"alloysort_inference.outputs.{name}")
    except ModuleNotFoundError as error:
        raise AlloysortError(
            f"outputs: [{name}] needs the package {error.name}: pip install 'alloysort[plant]'"
        ) from None
