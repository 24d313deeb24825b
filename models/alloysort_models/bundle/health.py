"""What a line's sensors and a model's answers look like when all is well, and how far from it is an alarm."""

from __future__ import annotations

from typing import Annotated, Final, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

LEVELS: Final = ("light", "al_light", "luma", "focus", "green_red", "blue_yellow")
PLACE: Final = "line_nm"
RATES: Final = ("missed_shots", "no_spectrum", "no_picture", "saturated")
BINS: Final = ("family", "confidence", "novelty")

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Chance = Annotated[float, Field(gt=0, lt=1)]


class Limits(BaseModel):
    """From where on a figure is an alarm.

    Attributes:
        light_ratio: least light over the expected.
        shift_nm: most shift of the aluminium lines.
        luma_low, luma_high: least and most brightness of the pictures over the expected.
        focus_ratio: least sharpness over the expected; the variance of the Laplacian falls fast with blur.
        colour: most distance of the mean colour, in a* and b*.
        alike: pictures one after another that are the same to the pixel.
        missed_shots, no_spectrum, no_picture, saturated: most above the expected share of pieces.
        psi: most population stability index.
        chance: that a window of an unchanged feed is called changed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    light_ratio: Chance = 0.6
    shift_nm: Positive = 0.05
    luma_low: Chance = 0.65
    luma_high: Annotated[float, Field(gt=1)] = 1.5
    focus_ratio: Chance = 0.4
    colour: Positive = 9.0
    alike: Annotated[int, Field(ge=2)] = 5
    missed_shots: Share = 0.25
    no_spectrum: Share = 0.15
    no_picture: Share = 0.15
    saturated: Share = 0.25
    psi: Positive = 0.25
    chance: Chance = 1e-4


class Reference(BaseModel):
    """What is expected of pieces on a line that is well.

    Attributes:
        pieces: learned from; 0: none.
        levels: means of a piece's readings by name, of LEVELS and `line_nm`; a missing one is not watched.
        rates: shares of pieces by name of RATES; missing: 0.
        counts: of pieces by bin, by name of BINS; a missing one is not watched.
        novel: pieces called novel, of those with an answer.
        answered: pieces with an answer.
        learned_from: clause for people: where this comes from.
        limits: of the alarms.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    pieces: Count
    levels: dict[str, float] = Field(default_factory=dict)
    rates: dict[str, Share] = Field(default_factory=dict)
    counts: dict[str, tuple[Count, ...]] = Field(default_factory=dict)
    novel: Count = 0
    answered: Count = 0
    learned_from: str = "the bundle"
    limits: Limits = Limits()

    @model_validator(mode="after")
    def _known(self) -> Self:
        for name, values, known in (
            ("levels", self.levels, (*LEVELS, PLACE)),
            ("rates", self.rates, RATES),
            ("counts", self.counts, BINS),
        ):
            strangers = sorted(set(values) - set(known))
            if strangers:
                raise ValueError(f"{name} names {strangers}, known are {', '.join(known)}")
        if self.novel > self.answered:
            raise ValueError(f"novel {self.novel} must be at most answered {self.answered}")
        return self
