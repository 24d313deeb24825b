"""Where a piece goes, and why."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Decision:
    """Where a piece goes, and why.

    Attributes:
        outlet: name of an outlet of the recipe.
        eject: whether the valve fires.
        family: the most probable one.
        accepted_as_aluminium: the family is aluminium, the aluminium families together are confident enough,
            and the piece is neither novel nor blind.
        novel: less like anything trained on than the limit allows.
        reason: one clause for people.
    """

    outlet: str
    eject: bool
    family: str
    accepted_as_aluminium: bool
    novel: bool
    reason: str
