"""The answer to "what is this piece and where does it go?", the same from every door."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from alloysort_datasets.families import ELEMENTS, FAMILIES
from alloysort_inference.engine.session import Assessment
from alloysort_inference.policy.decide import Decision


class Content(BaseModel):
    """How much of an element is in the piece."""

    model_config = ConfigDict(frozen=True)
    wt_pct: float = Field(description="mass share in per cent (wt%)")
    sigma: float = Field(description="one standard deviation of `wt_pct`, in wt%")


class Timing(BaseModel):
    """How long each step took."""

    model_config = ConfigDict(frozen=True)
    decode: float = Field(description="reading the files, in milliseconds")
    prepare: float = Field(description="resampling, resizing and quality gates, in milliseconds")
    infer: float = Field(description="running the model, in milliseconds")
    decide: float = Field(description="applying the recipe, in milliseconds")
    total: float = Field(description="from the raw bytes to the decision, in milliseconds")


class Answer(BaseModel):
    """What a piece is, how sure that is, and where it goes."""

    model_config = ConfigDict(frozen=True)
    piece_id: str = Field(description="as given, or made up where none was")
    family: str = Field(description="the most probable family")
    accepted_as_aluminium: bool = Field(
        description="the family is aluminium, confident, and the piece is not novel"
    )
    probabilities: dict[str, float] = Field(description="calibrated probability (0-1) of each family")
    composition: dict[str, Content] = Field(description="estimated content of each element")
    novelty: float = Field(description="larger: less like anything trained on; no unit")
    novel: bool = Field(description="`novelty` is over the recipe's or the bundle's limit")
    quality: list[str] = Field(description="what is wrong with the measurement; empty if nothing")
    outlet: str = Field(description="the recipe's outlet for this piece")
    eject: bool = Field(description="whether the valve fires")
    reason: str = Field(description="why this outlet, for people; the wording may change")
    timing_ms: Timing = Field(description="time of each step, in milliseconds")


def make_answer(
    piece_id: str, assessment: Assessment, decision: Decision, quality: tuple[str, ...], timing: Timing
) -> Answer:
    """Put together what the answer says."""
    contents = zip(
        ELEMENTS, assessment.composition.tolist(), assessment.composition_sigma.tolist(), strict=True
    )
    return Answer(
        piece_id=piece_id,
        family=decision.family,
        accepted_as_aluminium=decision.accepted_as_aluminium,
        probabilities=dict(zip(FAMILIES, assessment.probabilities.tolist(), strict=True)),
        composition={name: Content(wt_pct=wt_pct, sigma=sigma) for name, wt_pct, sigma in contents},
        novelty=assessment.novelty,
        novel=decision.novel,
        quality=list(quality),
        outlet=decision.outlet,
        eject=decision.eject,
        reason=decision.reason,
        timing_ms=timing,
    )
