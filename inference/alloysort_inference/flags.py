"""What can be wrong with a measurement."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

NO_SPECTRUM: Final = "no_spectrum"  # the laser hit nothing, or nobody sent what it hit
SATURATED: Final = "saturated"  # the detector was full
WEAK: Final = "weak"  # no line stands above the noise
MISSED_SHOTS: Final = "missed_shots"  # some shots were left out of the mean: too little light
FEW_SHOTS: Final = "few_shots"  # a single shot is all there is
PARTIAL_RANGE: Final = "partial_range"  # the instrument sees less than MIN_COVERAGE of the model's grid
FEW_LINES: Final = "few_lines"  # the range leaves out most elements that tell alloys apart
NO_IMAGE: Final = "no_image"  # the camera saw nothing, or nobody sent what it saw
DARK_IMAGE: Final = "dark_image"
BRIGHT_IMAGE: Final = "bright_image"
BLURRED_IMAGE: Final = "blurred_image"
NARROW_IMAGE: Final = "narrow_image"  # 16-bit file of 14 bits or fewer: perhaps darker than the piece
FLAGS: Final = (
    NO_SPECTRUM,
    SATURATED,
    WEAK,
    MISSED_SHOTS,
    FEW_SHOTS,
    PARTIAL_RANGE,
    FEW_LINES,
    NO_IMAGE,
    DARK_IMAGE,
    BRIGHT_IMAGE,
    BLURRED_IMAGE,
    NARROW_IMAGE,
)


def to_bits(flags: Iterable[str]) -> int:
    """Flags as a number: bit n is FLAGS[n]."""
    return sum(1 << FLAGS.index(flag) for flag in flags)


def from_bits(bits: int) -> tuple[str, ...]:
    """The flags of such a number, in order."""
    return tuple(flag for bit, flag in enumerate(FLAGS) if bits >> bit & 1)
