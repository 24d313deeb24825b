"""The answer to "what is this piece and where does it go?", the same from every door."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from alloysort_datasets.families import ELEMENTS, FAMILIES
from alloysort_inference.assessment import Assessment
from alloysort_inference.record import Record, Status


class Content(BaseModel):
    """How much of an element is in the piece."""

    model_config = ConfigDict(frozen=True)
    wt_pct: float = Field(description="mass share in per cent (wt%)")
    sigma: float = Field(description="one standard deviation of `wt_pct`, in wt%")


class TimingMs(BaseModel):
    """How long each step took."""

    model_config = ConfigDict(frozen=True)
    waiting: float = Field(description="from the arrival of the whole body to its turn, in milliseconds")
    decode: float = Field(description="reading the files, in milliseconds")
    prepare: float = Field(description="resampling, resizing and quality gates, in milliseconds")
    infer: float = Field(description="running the model, in milliseconds")
    decide: float = Field(description="applying the recipe, in milliseconds")
    total: float = Field(description="from the arrival of the whole body to the decision, in milliseconds")


class Answer(BaseModel):
    """What a piece is, how sure that is, and where it goes."""

    model_config = ConfigDict(frozen=True)
    piece_id: str = Field(description="as given, or made up where none was")
    bundle_sha256: str = Field(description="of the bundle that decided")
    recipe_sha256: str = Field(description="of the recipe that decided")
    status: Status = Field(
        description="decided; or late: not computed, for it could not have made its deadline"
    )
    family: str | None = Field(description="the most probable family; null if late")
    accepted: bool = Field(
        description="the family is to be trusted: confident, not novel, and the spectrum shows metal"
    )
    accepted_as_aluminium: bool = Field(
        description="the same of the aluminium families together, and the family is one of them"
    )
    probabilities: dict[str, float] = Field(
        description="calibrated probability (0-1) of each family; none if late"
    )
    composition: dict[str, Content] = Field(description="estimated content of each element; none if late")
    surface: float | None = Field(
        description="share (0-1) of metal in what the late shots ablated; null without a spectrum"
    )
    novelty: float | None = Field(description="larger: less like anything trained on; no unit; null if late")
    novel: bool = Field(description="`novelty` is over the recipe's or the bundle's limit")
    quality: list[str] = Field(description="what is wrong with the measurement; empty if nothing")
    outlet: str = Field(description="the recipe's outlet for this piece")
    eject: bool = Field(description="whether the valve fires")
    reason: str = Field(description="why this outlet, for people; the wording may change")
    timing_ms: TimingMs = Field(description="time of each step, in milliseconds")


def make_answer(record: Record) -> Answer:
    """What the record says, in the words of the interface."""
    said, decision = record.assessment, record.decision
    return Answer(
        piece_id=record.piece_id,
        bundle_sha256=record.bundle.sha256,
        recipe_sha256=record.recipe.sha256,
        status=record.status,
        family=decision.family,
        accepted=decision.accepted,
        accepted_as_aluminium=decision.accepted_as_aluminium,
        probabilities={} if said is None else _probabilities(said),
        composition={} if said is None else _contents(said),
        surface=None if said is None else said.surface,
        novelty=None if said is None else said.novelty,
        novel=decision.novel,
        quality=list(record.quality),
        outlet=decision.outlet,
        eject=decision.eject,
        reason=decision.reason,
        timing_ms=TimingMs(
            waiting=round(record.timing.waiting_ms, 3),
            decode=round(record.timing.decode_ms, 3),
            prepare=round(record.timing.prepare_ms, 3),
            infer=round(record.timing.infer_ms, 3),
            decide=round(record.timing.decide_ms, 3),
            total=round(record.timing.total_ms, 3),
        ),
    )


def _probabilities(said: Assessment) -> dict[str, float]:
    return dict(zip(FAMILIES, said.probabilities.tolist(), strict=True))


def _contents(said: Assessment) -> dict[str, Content]:
    contents = zip(ELEMENTS, said.composition.tolist(), said.composition_sigma.tolist(), strict=True)
    return {name: Content(wt_pct=wt_pct, sigma=sigma) for name, wt_pct, sigma in contents}
