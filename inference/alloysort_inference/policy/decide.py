"""The policy: from what the model says and what the operator wants to where the piece goes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from alloysort_datasets.families import ALUMINIUM
from alloysort_inference.assessment import Assessment
from alloysort_inference.decision import Decision
from alloysort_inference.policy.recipe import Outlet, Recipe
from alloysort_models.bundle.manifest import Thresholds

Offer = Callable[[str], bool]


def decide(
    assessment: Assessment,
    recipe: Recipe,
    thresholds: Thresholds,
    *,
    blind: bool = False,
    quality: Sequence[str] = (),
    offer: Offer | None = None,
) -> Decision:
    """Choose the outlet whose families are together most probable, if they reach its minimum confidence.

    What no sensor saw, what is novel and what shows no metal goes to the default outlet, whatever the
    probabilities say.

    Args:
        assessment: what the model says.
        recipe: what the operator wants.
        thresholds: the bundle's; `novelty` and `surface` where the recipe sets no limit, the others for what
            is accepted.
        blind: no sensor saw anything, so the assessment is about nothing.
        quality: flags of the measurement.
        offer: whether the box of an outlet with a melt takes the piece; None: none does.
    """
    limit = thresholds.novelty if recipe.novelty_limit is None else recipe.novelty_limit
    novel = assessment.novelty > limit
    least = thresholds.surface if recipe.surface_limit is None else recipe.surface_limit
    hidden = assessment.surface is not None and assessment.surface < least
    doubts = [flag for flag in recipe.doubted if flag in quality]
    shares = [assessment.probability_of(outlet.families) for outlet in recipe.outlets]
    share = max(shares)
    best = recipe.outlets[shares.index(share)]
    chosen, bar = recipe.default_outlet, recipe.bars.get(best.name)
    if blind:
        reason = "blind: no sensor saw anything"
    elif hidden:
        reason = f"no metal: surface {assessment.surface:.2f} is under {least:.2f}"
    elif novel:
        reason = f"novel: novelty {assessment.novelty:.3g} is over {limit:.3g}"
    elif doubts:
        reason = f"doubted: {', '.join(doubts)}"
    elif bar is not None and share >= bar and not _leaves(best, offer):
        chosen = best
        reason = f"confident: {best.name} {share:.3f}"
    elif not any(assessment.family in outlet.families for outlet in recipe.outlets):
        reason = f"unclaimed: no outlet takes {assessment.family}"
    elif bar is not None and share >= bar:
        reason = f"melt: the box of {best.name} is better without it"
    else:
        reason = f"unsure: {best.name} {share:.3f} is under {bar or 1:.3g}"
    trusted = not (blind or hidden or novel)
    return Decision(
        outlet=chosen.name,
        eject=recipe.ejects(chosen),
        family=assessment.family,
        trusted=trusted,
        accepted=trusted and assessment.confidence >= thresholds.confidence.of(assessment.sensors),
        accepted_as_aluminium=trusted and is_aluminium(assessment, thresholds),
        novel=novel,
        reason=reason,
    )


def _leaves(outlet: Outlet, offer: Offer | None) -> bool:
    """Whether an outlet's box leaves a piece that its confidence would let in."""
    return outlet.melt is not None and (offer is None or not offer(outlet.name))


def turn_away(recipe: Recipe, reason: str) -> Decision:
    """Where a piece goes of which nothing was computed: the valve needs an answer all the same."""
    default = recipe.default_outlet
    return Decision(
        outlet=default.name,
        eject=recipe.ejects(default),
        family=None,
        trusted=False,
        accepted=False,
        accepted_as_aluminium=False,
        novel=False,
        reason=reason,
    )


def is_aluminium(assessment: Assessment, thresholds: Thresholds) -> bool:
    """True if the top family is aluminium and the aluminium families together reach their bar."""
    bar = thresholds.aluminium.of(assessment.sensors)
    return assessment.family in ALUMINIUM and assessment.probability_of(ALUMINIUM) >= bar
