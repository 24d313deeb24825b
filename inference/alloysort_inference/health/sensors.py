"""What one piece tells of the laser, the spectrometer and the camera, and how that runs over many pieces.

Pieces differ far more than sensors do: the light of one piece is no news, the mean of two hundred is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from math import exp, hypot, log
from typing import Final
from zlib import crc32

import cv2
import numpy as np
from numpy.typing import NDArray

from alloysort_inference.flags import (
    BRIGHT_IMAGE,
    DARK_IMAGE,
    MISSED_SHOTS,
    NO_IMAGE,
    NO_SPECTRUM,
    SATURATED,
    WEAK,
)
from alloysort_models.bundle.grid import Grid
from alloysort_models.bundle.health import LEVELS, RATES, Reference
from alloysort_models.bundle.inputs import MAD_TO_SIGMA, Features, luma, sharpness

# Pairs of Al I lines from one lower term each, air nm (NIST ASD): the first pair that is seen is looked at
AL_PAIRS_NM: Final = ((394.401, 396.152), (308.215, 309.271))
CALCIUM_NM: Final = 393.366  # Ca II; its sister at 396.847 lies on the aluminium line
REACH: Final = 0.45  # of a pair's distance, to both sides of a line
LINE_SIGMAS: Final = 20.0  # both lines of a pair above the noise, to be asked where they lie
LIKE_EACH_OTHER: Final = (0.35, 1.3)  # first over second line: 0.5 from thin plasma, 1 from thick
BRIGHTEST: Final = 20  # channels from the top: the light of a spectrum, without its few strongest lines
MEMORY: Final = 200  # pieces, of a running mean
PLACES: Final = 100  # last places of the lines, whose median counts
NOTHING: Final = 1e-3  # counts, grey levels: below, a logarithm says nothing


@dataclass(frozen=True)
class Reading:
    """What one piece tells of the sensors; None where it tells nothing.

    Attributes:
        quality: its flags.
        light: ln of the counts of the brightest channels above the median.
        al_light: ln of the counts of a pair of aluminium lines above what is beside them.
        line_nm: how far the pair lies from the table, positive to the red.
        luma: mean grey level, 0-255.
        focus: ln of the variance of the Laplacian, over the square of the luma: light does not count.
        green_red, blue_yellow: mean a* and b* of CIE Lab, about 0 for grey.
        picture: checksum of its pixels.
    """

    quality: tuple[str, ...]
    light: float | None = None
    al_light: float | None = None
    line_nm: float | None = None
    luma: float | None = None
    focus: float | None = None
    green_red: float | None = None
    blue_yellow: float | None = None
    picture: int | None = None

    def rate(self, name: str) -> float:
        """1 if the piece counts for one of `RATES`, else 0."""
        return float(not _RAISED_BY[name].isdisjoint(self.quality))


_RAISED_BY: Final = {
    "missed_shots": frozenset({MISSED_SHOTS}),
    "no_spectrum": frozenset({NO_SPECTRUM, WEAK}),
    "no_picture": frozenset({NO_IMAGE}),
    "saturated": frozenset({SATURATED}),
}


def read(features: Features, quality: Collection[str], grid: Grid) -> Reading:
    """What a piece as prepared for the engine tells of the sensors.

    Args:
        features: of one piece, on the grid.
        quality: its flags, of `flags.FLAGS`.
        grid: the bundle's.
    """
    pictured, lit = features.present > 0
    told: dict[str, float] = {}
    if lit:
        told |= _read_light(features.spectrum[0], features.coverage, grid)
    if pictured:
        told |= _read_picture(features.image)
    elif DARK_IMAGE in quality:  # the front end hides it from the model; here it is what counts
        told["luma"] = 0.0
    picture = crc32(features.image.data) if pictured else None
    return Reading(tuple(quality), picture=picture, **told)


def _read_light(counts: NDArray[np.float32], coverage: NDArray[np.float32], grid: Grid) -> dict[str, float]:
    seen = counts[coverage > 0]
    middle, top = seen.size // 2, max(seen.size - BRIGHTEST, 0)
    ranked = np.partition(seen, (middle, top))
    told = {"light": _ln(float(ranked[top] - ranked[middle]))}
    noise = MAD_TO_SIGMA * float(np.partition(np.abs(seen - ranked[middle]), middle)[middle])
    lines = _lines(grid, coverage.tobytes())
    return told if lines is None else told | lines.read(counts, noise)


@dataclass(frozen=True, eq=False)
class _Lines:
    """Where a pair of lines lies on a grid."""

    windows: tuple[slice, slice]
    offsets_nm: tuple[NDArray[np.float64], NDArray[np.float64]]
    calcium: slice | None

    def read(self, counts: NDArray[np.float32], noise: float) -> dict[str, float]:
        """Light and place of the pair; empty where something else shines there or nothing does."""
        heights, lights, places = [], [], []
        for window, offset_nm in zip(self.windows, self.offsets_nm, strict=True):
            net = counts[window] - min(counts[window.start], counts[window.stop - 1])
            np.maximum(net, 0.0, out=net)
            at = int(net.argmax())
            height = float(net[at])
            if height <= LINE_SIGMAS * noise or height < NOTHING or at in (0, net.size - 1):
                return {}
            light = float(net.sum())
            heights.append(height)
            lights.append(light)
            places.append(float(net @ offset_nm) / light)
        low, high = LIKE_EACH_OTHER
        if not low <= heights[0] / heights[1] <= high:
            return {}
        if self.calcium is not None:
            beside = float(counts[self.calcium].max() - counts[self.windows[0]].max())
            if beside > -0.5 * heights[0]:
                return {}
        return {"al_light": _ln(sum(lights)), "line_nm": sum(places) / 2}


@lru_cache(maxsize=64)
def _lines(grid: Grid, coverage: bytes) -> _Lines | None:
    """The first pair that an instrument sees whole; the same for all its pieces."""
    seen = np.frombuffer(coverage, np.float32) > 0
    centres = grid.wavelength_nm
    for pair in AL_PAIRS_NM:
        reach = REACH * (pair[1] - pair[0])
        windows = [_window(grid, nm - reach, nm + reach) for nm in pair]
        if any(part.stop - part.start < 4 or not seen[part].all() for part in windows):
            continue
        offsets = [centres[part] - nm for part, nm in zip(windows, pair, strict=True)]
        calcium = _window(grid, CALCIUM_NM - 0.3, CALCIUM_NM + 0.3) if pair is AL_PAIRS_NM[0] else None
        return _Lines((windows[0], windows[1]), (offsets[0], offsets[1]), calcium)
    return None


def _window(grid: Grid, low_nm: float, high_nm: float) -> slice:
    """The channels whose centres lie in a range, and one more on either side."""
    first, stop = np.searchsorted(grid.wavelength_nm, (low_nm, high_nm))
    return slice(max(int(first) - 1, 0), min(int(stop) + 1, grid.channels))


def _read_picture(image: NDArray[np.uint8]) -> dict[str, float]:
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    level = luma(grey)
    _, green_red, blue_yellow, _ = cv2.mean(
        cv2.cvtColor(np.ascontiguousarray(image[::3, ::3]), cv2.COLOR_RGB2LAB)
    )
    return {
        "luma": level,
        "focus": _ln(sharpness(grey) / max(level, 1.0) ** 2),
        "green_red": green_red - 128.0,
        "blue_yellow": blue_yellow - 128.0,
    }


def _ln(value: float) -> float:
    return log(max(value, NOTHING))


class Sensors:
    """Running figures of the sensors, beginning at what a reference expects.

    Attributes:
        reference: what is expected.
        levels: running means of the readings, by name of `LEVELS`; only what the reference knows.
        rates: running shares of pieces, by name of `RATES`.
        alike: how many pictures one after another were the same to the pixel.
    """

    def __init__(self, reference: Reference, memory: int = MEMORY) -> None:
        self.reference = reference
        self.levels = {name: value for name, value in reference.levels.items() if name in LEVELS}
        self.rates = {name: reference.rates.get(name, 0.0) for name in RATES}
        self.alike = 0
        self._weight = 1.0 / memory
        self._places: deque[float] = deque(maxlen=PLACES)
        self._place = 0.0  # the median of the places
        self._picture: int | None = None

    def see(self, reading: Reading) -> None:
        """Take a piece into the figures."""
        frozen = self._is_the_last_picture(reading)
        for name in self.levels:
            value = getattr(reading, name)
            if value is None or (frozen and name in _OF_PICTURES):
                continue  # a picture seen before says nothing new of light and focus
            weight = self._weight * _SHORTER.get(name, 1)
            self.levels[name] += weight * (value - self.levels[name])
        for name in self.rates:
            self.rates[name] += self._weight * (reading.rate(name) - self.rates[name])
        if reading.line_nm is not None:
            self._places.append(reading.line_nm)
            self._place = float(np.median(self._places))

    def _is_the_last_picture(self, reading: Reading) -> bool:
        if reading.picture is None:
            return False
        same = reading.picture == self._picture and BRIGHT_IMAGE not in reading.quality
        self.alike = self.alike + 1 if same else 1
        self._picture = reading.picture
        return same

    @property
    def light_ratio(self) -> float | None:
        """Light over what is expected, of the aluminium lines or of the whole, whichever is nearer to it.

        A feed without aluminium dims the one, a feed of dull metals the other; a weak laser dims both.
        """
        ratios = [self._ratio(name) for name in ("light", "al_light")]
        known = [ratio for ratio in ratios if ratio is not None]
        return max(known) if known else None

    @property
    def shift_nm(self) -> float | None:
        """Median place of the aluminium lines against the expected; None with too few to say."""
        expected = self.reference.levels.get("line_nm")
        if expected is None or len(self._places) < PLACES // 2:
            return None
        return self._place - expected

    @property
    def luma_ratio(self) -> float | None:
        """Brightness of the pictures over what is expected."""
        expected = self.reference.levels.get("luma", 0.0)
        return self.levels["luma"] / expected if expected > 0 else None

    @property
    def focus_ratio(self) -> float | None:
        """Sharpness of the pictures over what is expected."""
        return self._ratio("focus")

    @property
    def colour_distance(self) -> float | None:
        """Of the mean colour from the expected, in the plane of a* and b*."""
        now, expected = self.levels, self.reference.levels
        if "green_red" not in now or "blue_yellow" not in now:
            return None
        return hypot(now["green_red"] - expected["green_red"], now["blue_yellow"] - expected["blue_yellow"])

    def _ratio(self, name: str) -> float | None:
        if name not in self.levels:
            return None
        return exp(self.levels[name] - self.reference.levels[name])

    def figures(self) -> dict[str, float | None]:
        """Everything by name, in plain units."""
        return {
            "light_ratio": self.light_ratio,
            "light_ratio_whole": self._ratio("light"),
            "light_ratio_al": self._ratio("al_light"),
            "shift_nm": self.shift_nm,
            "luma": self.levels.get("luma"),
            "luma_ratio": self.luma_ratio,
            "focus_ratio": self.focus_ratio,
            "colour_distance": self.colour_distance,
            "pictures_alike": float(self.alike),
            **{f"{name}_rate": rate for name, rate in self.rates.items()},
        }


_SHORTER: Final = {"al_light": 2}  # only every second or third piece tells it, and they are more alike
_OF_PICTURES: Final = frozenset({"luma", "focus", "green_red", "blue_yellow"})
