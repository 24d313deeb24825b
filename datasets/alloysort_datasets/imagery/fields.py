"""Scalar fields on a square picture plane: the noise, streaks, folds and outlines that scrap is drawn from.

Every field is (n, n) float32; the plane runs from -1 to 1 along x (columns) and y (rows).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]


def plane(values: Any) -> Plane:
    """Any array as float32 without copying where it is one already."""
    return np.asarray(values, dtype=np.float32)


@lru_cache(maxsize=8)
def axes(n: int) -> tuple[Plane, Plane]:
    """The coordinates x and y of every pixel; shared and therefore read-only."""
    line = (np.arange(n, dtype=np.float32) + 0.5) * np.float32(2 / n) - 1
    x, y = np.meshgrid(line, line)
    x.setflags(write=False)
    y.setflags(write=False)
    return x, y


def turned(n: int, angle_rad: float) -> tuple[Plane, Plane]:
    """Coordinates along and across a direction."""
    x, y = axes(n)
    cos, sin = np.float32(np.cos(angle_rad)), np.float32(np.sin(angle_rad))
    return x * cos + y * sin, y * cos - x * sin


def thrice(values: Plane) -> Plane:
    """A field as three equal channels; numpy is slow at broadcasting over a last axis of three."""
    return plane(cv2.merge((values, values, values)))


def tinted(values: Plane, colour: Any) -> Plane:
    """A field times a colour, (n, n, 3)."""
    red, green, blue = (np.float32(part) for part in colour)
    return plane(cv2.merge((values * red, values * green, values * blue)))


def normal(rng: np.random.Generator, *shape: int) -> Plane:
    """Standard normal numbers, float32."""
    return rng.standard_normal(shape, dtype=np.float32)


def enlarge(small: Plane, n: int, interpolation: int = cv2.INTER_CUBIC) -> Plane:
    """A small array stretched over the plane; channels are kept."""
    return plane(cv2.resize(small, (n, n), interpolation=interpolation))


@lru_cache(maxsize=1)
def _speckles() -> Plane:
    table = np.random.default_rng(0).standard_normal((1024, 1024), dtype=np.float32)
    table.setflags(write=False)
    return table


def speckle(rng: np.random.Generator, n: int) -> Plane:
    """White noise of unit variance: a window somewhere in one big table, as drawing it anew is slow."""
    if n > 512:
        return normal(rng, n, n)
    row, column = rng.integers(0, 1024 - n, 2)
    return _speckles()[row : row + n, column : column + n]


def clouds(rng: np.random.Generator, n: int, cells: float, octaves: int = 3, gain: float = 0.5) -> Plane:
    """Fractal noise of about unit variance whose largest lumps span 1/cells of the plane."""
    side = min(n, max(2, round(cells)))
    total, amplitude, variance = normal(rng, side, side), 1.0, 1.0
    for _ in range(octaves - 1):
        if side == n:
            break
        side = min(n, 2 * side)
        amplitude *= gain
        variance += amplitude**2
        total = enlarge(total, side) + normal(rng, side, side) * np.float32(amplitude)
    return enlarge(total, n) * np.float32(1 / np.sqrt(0.6 * variance))


def streaks(rng: np.random.Generator, n: int, angle_rad: float, length: float = 0.5) -> Plane:
    """Lines of about unit variance along a direction, as rolling, brushing and dies leave them.

    Args:
        rng: source of chance.
        n: side of the plane in pixels.
        angle_rad: direction of the lines.
        length: how long a line holds its strength, in widths of the plane.
    """
    wide = round(n * 1.45)
    lines = cv2.resize(
        normal(rng, wide, max(2, round(1.5 / length))), (wide, wide), interpolation=cv2.INTER_LINEAR
    )
    turn = cv2.getRotationMatrix2D((wide / 2, wide / 2), -np.degrees(angle_rad), 1.0)
    turn = turn + np.array([[0, 0, (n - wide) / 2]])
    return plane(cv2.warpAffine(lines, turn, (n, n), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT))


def facets(rng: np.random.Generator, n: int, cells: int, bend: float = 0.25) -> Plane:
    """Flat faces that meet in creases, of about unit height and 1/cells of the plane across."""
    side = cells + 3
    x, y = turned(n, rng.uniform(0, np.pi))
    drift = enlarge(normal(rng, cells + 1, cells + 1, 2) * np.float32(bend), n)
    half = np.float32(cells / 2.9)
    return plane(
        cv2.remap(
            normal(rng, side, side),
            x * half + drift[..., 0] + np.float32(side / 2),
            y * half + drift[..., 1] + np.float32(side / 2),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REFLECT,
        )
    )


def folds(rng: np.random.Generator, n: int, count: int, sharpness: float = 0.02) -> Plane:
    """Sharp creases across the whole plane: slopes of random sign and about unit size."""
    total = np.zeros((n, n), np.float32)
    for _ in range(count):
        along, across = turned(n, rng.uniform(0, np.pi))
        bow = np.float32(rng.normal(0, 0.25))
        line = across - np.float32(rng.uniform(-0.7, 0.7)) + bow * along * along
        total += np.sqrt(line * line + np.float32(sharpness**2)) * np.float32(rng.normal())
    return total / np.float32(np.sqrt(count))


def bounded(values: Plane, low: float = 0.0, high: float = 1.0) -> Plane:
    """Values cut off below `low` and above `high`; a fraction of np.clip's time."""
    flat = np.ascontiguousarray(values).reshape(
        values.shape[0], -1
    )  # OpenCV's limits hold for channel 0 only
    return plane(cv2.min(cv2.max(flat, low), high)).reshape(values.shape)  # type: ignore[call-overload]


def step(values: Plane, start: float, stop: float) -> Plane:
    """0 where values are at `start`, 1 where they are at `stop`, a smooth ramp between."""
    ramp = bounded((values - np.float32(start)) * np.float32(1 / (stop - start)))
    return ramp * ramp * (np.float32(3) - np.float32(2) * ramp)


def cover(distance: Plane) -> Plane:
    """How much of each pixel lies inside, from a signed distance that is negative inside."""
    n = distance.shape[0]
    return bounded(np.float32(0.5) - distance * np.float32(n / 2))


def blur(values: Plane, sigma_px: float) -> Plane:
    """Gaussian blur; nothing under a fifth of a pixel."""
    if sigma_px < 0.2:
        return values
    return plane(cv2.GaussianBlur(values, (0, 0), sigma_px, borderType=cv2.BORDER_REFLECT_101))


def polygon(points: NDArray[np.float64], n: int) -> Plane:
    """Coverage of a closed outline, points (k, 2) as x, y in the plane's units."""
    canvas = np.zeros((n, n), np.uint8)
    pixels = np.round(((points + 1) * (n / 2) - 0.5) * 16).astype(np.int32)
    cv2.fillPoly(canvas, [pixels], 255, lineType=cv2.LINE_AA, shift=4)
    return plane(canvas) * np.float32(1 / 255)


def depth(mask: Plane) -> Plane:
    """Distance to the outline from inside, in the plane's units; 0 outside."""
    inside = plane(cv2.distanceTransform((mask > 0.5).astype(np.uint8), cv2.DIST_L2, 3))
    return blur(inside, 0.6) * np.float32(2 / mask.shape[0])


def ragged(rng: np.random.Generator, corners: NDArray[np.float64], tear: float) -> NDArray[np.float64]:
    """An outline's edges torn: each is cut into 24 and moved sideways by a random walk of size `tear`."""
    following = np.roll(corners, -1, axis=0)
    fraction = np.linspace(0, 1, 24, endpoint=False)[None, :, None]
    points = corners[:, None] * (1 - fraction) + following[:, None] * fraction
    walk = rng.standard_normal((len(corners), 24)).cumsum(axis=1)
    bridge = walk - walk[:, -1:] * fraction[..., 0]
    edge = following - corners
    across = np.stack((-edge[:, 1], edge[:, 0]), axis=1)
    return np.asarray((points + across[:, None] * (tear * 0.2 * bridge)[..., None]).reshape(-1, 2))


def corners(
    rng: np.random.Generator, count: int, aspect: float, irregularity: float = 0.5
) -> NDArray[np.float64]:
    """Corners of a rough polygon around the origin, 1.8 long and 1.8 * aspect wide."""
    angle = 2 * np.pi * (np.arange(count) + irregularity * rng.uniform(-0.5, 0.5, count)) / count
    angle += rng.uniform(0, 2 * np.pi)
    radius = 0.9 * (1 - 0.6 * irregularity * rng.random(count))
    return np.stack((radius * np.cos(angle), radius * np.sin(angle) * aspect), axis=1)
