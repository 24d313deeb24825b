"""What a piece of scrap is, and the instrument that looked at it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from alloysort_datasets.errors import DataError, SpectrumError, TableError
from alloysort_datasets.families import ELEMENTS, FAMILIES
from alloysort_datasets.spectrum import Spectrum, require_axis

Split = Literal["train", "calibration", "test"]
SPLITS: Final[tuple[Split, ...]] = ("train", "calibration", "test")


@dataclass(frozen=True, eq=False)
class Instrument:
    """A spectrometer: its wavelength axis and what its detector can do.

    Attributes:
        name: unique within a piece table.
        wavelength_nm: (channels,) float64, air, strictly increasing; stitched channels may leave gaps.
        resolution_nm: full width at half maximum of a narrow line, median over the range.
        saturation_counts: the detector's ceiling; infinity where unknown.

    Raises:
        SpectrumError: the axis breaks a rule of `spectrum.require_axis`, or the resolution or the ceiling is
            not positive.
    """

    name: str
    wavelength_nm: NDArray[np.float64]
    resolution_nm: float
    saturation_counts: float = float("inf")

    def __post_init__(self) -> None:
        try:
            require_axis(self.wavelength_nm)
        except SpectrumError as error:
            raise SpectrumError(f"instrument {self.name!r}: {error}") from None
        if not self.resolution_nm > 0 or not self.saturation_counts > 0:
            raise SpectrumError(
                f"instrument {self.name!r}: resolution_nm {self.resolution_nm} and saturation_counts "
                f"{self.saturation_counts} must be positive"
            )


@dataclass(frozen=True, eq=False)
class Piece:
    """One piece of scrap: what it is, where known, and what the sensors saw of it.

    Attributes:
        piece_id: unique within a table.
        source, batch, split: where it comes from; batch and split never part one piece, batch or block.
        family, alloy: None where unknown.
        composition: wt% per element of ELEMENTS; an element that is missing is unknown; None: nothing known.
        mass_g: None where unknown.
        image: JPEG or PNG bytes, None where the camera saw nothing.
        spectra: (shots, channels) float32 detector counts, None where the laser hit nothing.
        instrument: name of the instrument behind `spectra`.
        conditions: what the simulator or the rig knows (defocus_mm, paint_um, plasma_temperature_k, ...).

    Raises:
        TableError: a family, element or split that DESIGN's words do not know, spectra of the wrong shape,
            or spectra without the name of their instrument.
    """

    piece_id: str
    source: str
    batch: str
    split: Split | None = None
    family: str | None = None
    alloy: str | None = None
    composition: Mapping[str, float] | None = None
    mass_g: float | None = None
    image: bytes | None = None
    spectra: NDArray[np.float32] | None = None
    instrument: str | None = None
    conditions: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.family is not None and self.family not in FAMILIES:
            raise TableError(
                f"piece {self.piece_id!r}: family {self.family!r} is none of {', '.join(FAMILIES)}"
            )
        if self.split is not None and self.split not in SPLITS:
            raise TableError(f"piece {self.piece_id!r}: split {self.split!r} is none of {', '.join(SPLITS)}")
        strangers = sorted(set(self.composition or ()) - set(ELEMENTS))
        if strangers:
            raise TableError(
                f"piece {self.piece_id!r}: composition names {strangers}, known are {', '.join(ELEMENTS)}"
            )
        if self.spectra is not None:
            if self.spectra.ndim != 2 or 0 in self.spectra.shape:
                raise TableError(
                    f"piece {self.piece_id!r}: spectra must be shots x channels, is {self.spectra.shape}"
                )
            if self.instrument is None:
                raise TableError(f"piece {self.piece_id!r}: spectra without the name of their instrument")


def instrument_of(piece: Piece, instruments: Mapping[str, Instrument]) -> Instrument | None:
    """The instrument that a piece names; None where it names none.

    Raises:
        DataError: it names one that is not given.
    """
    if piece.instrument is None:
        return None
    if piece.instrument not in instruments:
        raise DataError(
            f"piece {piece.piece_id!r}: instrument {piece.instrument!r} is none of {sorted(instruments)}"
        )
    return instruments[piece.instrument]


def sensed(piece: Piece, instruments: Mapping[str, Instrument]) -> Spectrum | None:
    """What the spectrometer saw of a piece; None where the laser hit nothing.

    Raises:
        DataError: the piece names an instrument that is not given.
        SpectrumError: its spectra do not fit that instrument, or hold numbers that are not finite.
    """
    instrument = instrument_of(piece, instruments)
    if piece.spectra is None or instrument is None:
        return None
    try:
        return Spectrum(instrument.wavelength_nm, piece.spectra, instrument.saturation_counts)
    except SpectrumError as error:
        raise SpectrumError(f"piece {piece.piece_id!r}: {error}") from None
