"""Where a piece goes, and why."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Decision:
    """Where a piece goes, and why.

    Attributes:
        outlet: name of an outlet of the recipe.
        eject: whether the valve fires.
        family: the most probable one; None where nothing was computed.
        accepted: the family is to be trusted: it reaches the bundle's bar, and the piece is neither novel,
            nor blind, nor without metal in the late shots.
        accepted_as_aluminium: the same of the aluminium families together, and the family is one of them.
        novel: less like anything trained on than the limit allows.
        reason: one clause for people.
    """

    outlet: str
    eject: bool
    family: str | None
    accepted: bool
    accepted_as_aluminium: bool
    novel: bool
    reason: str
