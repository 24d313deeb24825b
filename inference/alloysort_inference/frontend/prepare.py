"""From what the sensors deliver to one row of the engine's tensors, with quality flags on the way.

A spectrum without a line and a black picture show nothing: to the model they are not there. A piece of which
nothing at all can be seen is `blind`, and the policy sends it to the default outlet.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alloysort_datasets.errors import DataError
from alloysort_datasets.readers.picture import Picture
from alloysort_datasets.spectrum import Spectrum
from alloysort_inference.flags import DARK_IMAGE, NO_IMAGE, NO_SPECTRUM, WEAK
from alloysort_inference.frontend.quality import judge_image, judge_spectrum
from alloysort_models.bundle.grid import Grid
from alloysort_models.bundle.inputs import VIEWS, Features, Look, prepare_image, prepare_spectrum


@dataclass(frozen=True, eq=False)
class Prepared:
    """A piece ready for the engine.

    Attributes:
        features: its row of the input tensors.
        quality: flags, in the order of `flags.FLAGS`.
        blind: no sensor saw anything: each is missing, or shows no line, or is dark.
    """

    features: Features
    quality: tuple[str, ...]
    blind: bool


def prepare(grid: Grid, image_size: int, spectrum: Spectrum | None, picture: Picture | None) -> Prepared:
    """Resample, resize and judge what the sensors saw of one piece.

    Args:
        grid: the bundle's wavelength axis.
        image_size: the bundle's image height and width in pixels.
        spectrum: None where the laser hit nothing.
        picture: None where the camera saw nothing.

    Raises:
        SpectrumError: the instrument sees none of the grid.
        DataError: neither a spectrum nor an image.
    """
    if spectrum is None and picture is None:
        raise DataError("a piece needs a spectrum, an image or both; this one has neither")
    image, pictured, image_flags = _see(picture, image_size)
    views, coverage, lit, flags = _listen(spectrum, grid)
    features = Features(image, views, coverage, np.array([pictured, lit], np.float32))
    return Prepared(features, (*flags, *image_flags), not (lit or pictured))


def _listen(
    spectrum: Spectrum | None, grid: Grid
) -> tuple[NDArray[np.float32], NDArray[np.float32], bool, list[str]]:
    """Views and coverage of a spectrum, whether it shows a line, and its flags."""
    flags = [NO_SPECTRUM]
    if spectrum is not None:
        look = Look.at(spectrum.shots)
        views, coverage = prepare_spectrum(spectrum.wavelength_nm, look, grid)
        flags = judge_spectrum(spectrum, look, coverage, grid)
        if WEAK not in flags:
            return views, coverage, True, flags
    return np.zeros((VIEWS, grid.channels), np.float32), np.zeros(grid.channels, np.float32), False, flags


def _see(picture: Picture | None, size: int) -> tuple[NDArray[np.uint8], bool, list[str]]:
    """A picture at the model's size, whether it shows anything, and its flags."""
    flags = [NO_IMAGE]
    if picture is not None:
        image = prepare_image(picture.rgb, size)
        flags = judge_image(image, narrow=picture.narrow)
        if DARK_IMAGE not in flags:
            return image, True, flags
    return np.zeros((size, size, 3), np.uint8), False, flags
