"""What a training run is told; a TOML file holds only its differences from the defaults below."""

from __future__ import annotations

import tomllib
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from alloysort_datasets.errors import TrainingError
from alloysort_models.bundle.grid import Grid

Fraction = Annotated[float, Field(ge=0, le=1)]
NotNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Network(_Section):
    """The size of what is trained.

    Attributes:
        image_size: pixels along a picture's edge.
        width: factor on the number of filters.
    """

    image_size: Annotated[int, Field(ge=16, le=1024, multiple_of=16)] = 96
    width: Annotated[float, Field(gt=0, le=4)] = 1.0


class Preparation(_Section):
    """How pieces become the inputs that are kept for all epochs.

    Attributes:
        variants: spectra kept of a piece: the views of all shots, then of random subsets of one to all.
    """

    variants: Annotated[int, Field(ge=1, le=20)] = 3


class Augmentation(_Section):
    """What training does to every batch, so that the line's instruments and pieces are not news.

    Attributes:
        crop: chance that an end of the wavelength range is cut off, for each end.
        crop_part: what is cut off, at most, of the channels.
        gap: chance that the range gets a gap.
        gap_part: how wide, at most, of the channels.
        shift_channels: wavelength error, at most.
        gain: standard deviation of the logarithm of the efficiency, smooth over the range.
        noise: standard deviation, at most, of the mean signal.
        colour: standard deviation of the logarithm of a colour channel's gain.
        brightness: standard deviation of the logarithm of a picture's gain.
    """

    crop: Fraction = 0.5
    crop_part: Fraction = 0.3
    gap: Fraction = 0.3
    gap_part: Fraction = 0.1
    shift_channels: NotNegative = 2.0
    gain: NotNegative = 0.25
    noise: NotNegative = 0.03
    colour: NotNegative = 0.05
    brightness: NotNegative = 0.20


class Fit(_Section):
    """The optimiser and its schedule.

    Attributes:
        epochs: passes over the training pieces.
        batch_size: pieces in a step, of each process.
        learning_rate: the peak of the one-cycle schedule.
        warm_up: part of the steps that climb to it.
        weight_decay: of AdamW, on matrices only.
        label_smoothing: share of a family's probability given to all.
        composition_weight, matter_weight: of the composition loss, and of those of surface and stranger,
            beside the family loss.
        image_alone_weight, spectrum_alone_weight: of judging every piece once more with one sensor only,
            beside 1 for judging it with all it has.
        gradient_norm: gradients are clipped to it.
        patience: epochs without a lower calibration loss after which it stops early; 0: never.
        kept: share of the weights that a run begins with in the weights it ends with. A half keeps what fewer
            new pieces would make it forget (Wortsman et al. 2022, arXiv 2109.01903).
        balance: where the commonest family has over three times the training pieces of the rarest, a family's
            loss weighs (mean number of pieces / its own) to this power; 0: every piece weighs alike.
        absent: families without a training piece, where a run begins with another: `kept` as they are there,
            for nothing is asked about them, or `forgotten`, never to be named. Without a beginning they are.
        precision: bf16-mixed is for GPUs; on a CPU it gains nothing once convolutions are channels-last.
    """

    epochs: Annotated[int, Field(ge=1)] = 40
    batch_size: Annotated[int, Field(ge=2)] = 256
    learning_rate: Positive = 3e-3
    warm_up: Annotated[float, Field(gt=0, lt=1)] = 0.2
    weight_decay: NotNegative = 0.02
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.02
    composition_weight: NotNegative = 0.5
    matter_weight: NotNegative = 0.5
    image_alone_weight: NotNegative = 0.5
    spectrum_alone_weight: NotNegative = 1.0
    gradient_norm: Positive = 2.0
    patience: Annotated[int, Field(ge=0)] = 0
    kept: Annotated[float, Field(ge=0, lt=1)] = 0.0
    balance: Fraction = 0.5
    absent: Literal["kept", "forgotten"] = "kept"
    precision: Literal["32-true", "bf16-mixed"] = "32-true"


class Acceptance(_Section):
    """What the calibration split decides.

    Attributes:
        accepted_precision: share of the accepted pieces to be right, strangers aside; sets the bars of
            confidence.
        foreign_taken: share of what is no aluminium, strangers too, taken for it; sets the bars of aluminium.
        hidden_taken: share of pieces whose late plumes hold none of them that are asked all the same; sets
            the bar of surface.
        novelty_quantile: share of known pieces with a novelty below 1.
    """

    accepted_precision: Annotated[float, Field(gt=0, lt=1)] = 0.985
    foreign_taken: Fraction = 0.002
    hidden_taken: Fraction = 0.015
    novelty_quantile: Annotated[float, Field(gt=0.5, lt=1)] = 0.99


class Config(_Section):
    """A training run."""

    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    grid: Grid = Grid(start_nm=200.0, stop_nm=900.0, channels=2048)
    network: Network = Network()
    preparation: Preparation = Preparation()
    augmentation: Augmentation = Augmentation()
    fit: Fit = Fit()
    acceptance: Acceptance = Acceptance()

    @model_validator(mode="after")
    def _fits_the_network(self) -> Config:
        if self.grid.channels % 32:
            raise ValueError(f"grid.channels {self.grid.channels} must divide by 32")
        return self


def load_config(path: Path) -> Config:
    """Read a TOML file of differences from the defaults.

    Raises:
        TrainingError: there is no such file, it is no TOML, or a key or value is wrong.
    """
    try:
        return Config.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise TrainingError(f"{path}: {error.strerror or error}") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise TrainingError(f"{path}: not TOML: {error}") from None
    except ValidationError as error:
        faults = [_fault(one) for one in error.errors()]
        raise TrainingError(f"{path}: {'; '.join(faults)}") from None


def _fault(error: ErrorDetails) -> str:
    """A wrong key or value in words, with what would be right."""
    where = ".".join(str(part) for part in error["loc"]) or "the file"
    if error["type"] == "extra_forbidden":
        return f"{where}: no such key; {_nearest(error['loc'])}"
    value = f" (is {error['input']!r})" if isinstance(error["input"], str | int | float) else ""
    return f"{where}: {error['msg']}{value}"


def _nearest(loc: tuple[int | str, ...]) -> str:
    """What the writer of a key may have meant: the keys beside it, or the same key in another section."""
    *section, key = map(str, loc)
    sections = {name: list(field.model_fields) for name, field in _sections().items()}
    beside = sections[section[0]] if section else [*sections, "seed"]
    if close := get_close_matches(key, beside, n=1):
        return f"close to it is {close[0]}"
    if elsewhere := [f"{name}.{key}" for name, keys in sections.items() if key in keys]:
        return f"there is {elsewhere[0]}"
    return f"known are {', '.join(beside)}"


def _sections() -> dict[str, type[BaseModel]]:
    kinds = {name: field.annotation for name, field in Config.model_fields.items()}
    return {
        name: kind for name, kind in kinds.items() if isinstance(kind, type) and issubclass(kind, BaseModel)
    }
