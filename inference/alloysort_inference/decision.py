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
        trusted: some sensor saw the piece, it shows metal in the late shots, and it is not novel: only then
            do probabilities count.
        accepted: trusted, and the family reaches the bundle's bar.
        accepted_as_aluminium: the same of the aluminium families together, and the family is one of them.
        novel: less like anything trained on than the limit allows.
        reason: one clause for people.
    """

    outlet: str
    eject: bool
    family: str | None
    trusted: bool
    accepted: bool
    accepted_as_aluminium: bool
    novel: bool
    reason: str
