"""From what the sensors deliver to one row of the engine's tensors, with quality flags on the way.

A spectrum without a line and a black picture show nothing: to the model they are not there. A piece of which
nothing at all can be seen is `blind`, and the policy sends it to the default outlet.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from alloysort_datasets.errors import DataError
from alloysort_datasets.readers.picture import Picture
from alloysort_datasets.spectrum import Spectrum
from alloysort_inference.frontend.quality import (
    DARK_IMAGE,
    NO_IMAGE,
    NO_SPECTRUM,
    WEAK,
    judge_image,
    judge_spectrum,
)
from alloysort_models.bundle.grid import Grid
from alloysort_models.bundle.inputs import VIEWS, Features, hit_shots, prepare_image, prepare_spectrum


@dataclass(frozen=True, eq=False)
class Prepared:
    """A piece ready for the engine.

    Attributes:
        features: its row of the input tensors.
        quality: flags, in the order of `quality.FLAGS`.
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
    views, coverage = np.zeros((VIEWS, grid.channels), np.float32), np.zeros(grid.channels, np.float32)
    image = np.zeros((image_size, image_size, 3), np.uint8)
    flags = [NO_SPECTRUM]
    if spectrum is not None:
        hit = hit_shots(spectrum.shots)
        found, seen = prepare_spectrum(spectrum, hit, grid)
        flags = judge_spectrum(spectrum, hit, seen, grid)
        if WEAK not in flags:
            views, coverage = found, seen
    lit = {NO_SPECTRUM, WEAK}.isdisjoint(flags)
    if picture is not None:
        found_image = prepare_image(picture.rgb, image_size)
        seen_flags = judge_image(found_image, narrow=picture.narrow)
        flags += seen_flags
        if DARK_IMAGE not in seen_flags:
            image = found_image
    else:
        flags.append(NO_IMAGE)
    pictured = {NO_IMAGE, DARK_IMAGE}.isdisjoint(flags)
    present = np.array([pictured, lit], np.float32)
    return Prepared(Features(image, views, coverage, present), tuple(flags), not (lit or pictured))
