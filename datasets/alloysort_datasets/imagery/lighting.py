"""Light on a relief: a random room of lamps, what metal mirrors of it, and what falls on matt surfaces.

The camera looks straight down, so what a mirror shows depends on its normal alone. A room is therefore kept
as a sphere map over the normal's (x, y): the mirrored direction is 2 nz n - z, equal areas of the map are
equal solid angles, and blurring the map by alpha / sqrt(2) is a surface of Beckmann roughness alpha.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from alloysort_datasets.imagery.fields import (
    Plane,
    axes,
    blur,
    bounded,
    clouds,
    enlarge,
    plane,
    step,
    thrice,
    tinted,
)
from alloysort_datasets.imagery.surfaces import Skin

SIDE: Final = 48  # pixels of a sphere map
COSINE_LOBE: Final = (
    0.29  # its spread in the map's units: mean of sin(angle / 2) over a cosine lobe, per axis
)
STEEPEST: Final = 3.5  # slopes beyond are walls that a camera above hardly sees


@dataclass(frozen=True, eq=False)
class Room:
    """Where light comes from.

    Attributes:
        mirrored: (SIDE, SIDE, 3) what a mirror of each normal shows; 1 is what a white sheet facing up shows.
        fallen: (SIDE / 2, SIDE / 2, 3) light falling on a matt surface, over half the normal's tilt.
        lamp: x, y, z of where most light comes from.
        hardness: how sharp shadows are, 0 to 1.
    """

    mirrored: Plane
    fallen: Plane
    lamp: NDArray[np.float64]
    hardness: float


@lru_cache(maxsize=1)
def _directions() -> tuple[Plane, Plane, Plane]:
    """Direction seen in a mirror of each normal on the map."""
    x, y = axes(SIDE)
    z2 = bounded(np.float32(1) - x * x - y * y, 0.0, 1.0)
    z = np.sqrt(z2)
    return 2 * z * x, 2 * z * y, 2 * z2 - 1


@lru_cache(maxsize=1)
def _falling_up() -> Plane:
    """Each direction's share in the light on a surface facing up."""
    x, y = axes(SIDE)
    lobe = np.exp((x * x + y * y) * np.float32(-0.5 / COSINE_LOBE**2))
    return plane(lobe / lobe.sum())


def light_room(rng: np.random.Generator, belt: NDArray[np.float32]) -> Room:
    """A room by chance: lamps and lit panels above a belt, none of it known to the piece.

    Args:
        rng: source of chance.
        belt: (3,) the belt's mean colour, which steep faces mirror.
    """
    sky = _surroundings(rng)
    for _ in range(int(rng.integers(1, 5))):
        sky += tinted(_lamp(rng), _white(rng))
    dx, dy, dz = _directions()
    weight = (sky.sum(axis=2) * bounded(dz, 0, 1)).astype(np.float64)
    lamp = np.array([(weight * axis).sum() for axis in (dx, dy, dz)]) / max(weight.sum(), 1e-9)
    below = thrice(step(dz, 0.02, -0.1))
    facing_up = float((sky.mean(axis=2) * _falling_up()).sum())
    sky = sky * np.float32(1 / max(facing_up, 1e-6))
    mirrored = sky + below * (belt * np.float32(rng.uniform(0.4, 0.9)) - sky)
    coarse = plane(cv2.resize(mirrored, (SIDE // 2, SIDE // 2), interpolation=cv2.INTER_AREA))
    return Room(mirrored, blur(coarse, COSINE_LOBE * SIDE / 4), lamp, float(np.linalg.norm(lamp)))


def _surroundings(rng: np.random.Generator) -> Plane:
    """Walls, ceiling and machinery: dim, uneven, with dark and bright bands, and the camera overhead."""
    dx, dy, dz = _directions()
    overhead, level = np.exp(rng.normal(-0.5, 0.8)), np.exp(rng.normal(-1.2, 0.7))
    sky = np.float32(level) + bounded(dz, 0, 1) * np.float32(overhead - level)
    angle = rng.uniform(0, 2 * np.pi)
    side = dx * np.float32(np.cos(angle)) + dy * np.float32(np.sin(angle))
    sky = sky * np.exp(side * np.float32(rng.normal(0, 0.6)))
    sky = sky * np.exp(clouds(rng, SIDE, 3, 3, 0.6) * np.float32(rng.uniform(0.1, 0.7)))
    if rng.random() < 0.5:  # ceiling beams, machine frames
        band = np.sin((side / (np.abs(dz) + np.float32(0.35))) * np.float32(rng.uniform(3, 9)))
        sky = sky * (np.float32(1) - step(band, 0.0, 0.4) * np.float32(rng.uniform(0.3, 0.9)))
    hole = step(dx * dx + dy * dy, rng.uniform(0.02, 0.12), 0.0) * bounded(dz, 0, 1)
    sky = sky * (np.float32(1) - hole * np.float32(rng.uniform(0.3, 0.95)))
    return tinted(np.maximum(sky, np.float32(0.003)), _white(rng))


def _lamp(rng: np.random.Generator) -> Plane:
    """One lamp: a light bar beside the camera, a panel, a spot or a dome ring."""
    dx, dy, dz = _directions()
    angle, tilt = rng.uniform(0, 2 * np.pi), np.radians(rng.uniform(12, 75))
    along = dx * np.float32(np.cos(angle)) + dy * np.float32(np.sin(angle))
    across = dy * np.float32(np.cos(angle)) - dx * np.float32(np.sin(angle))
    toward = along * np.float32(np.sin(tilt)) + dz * np.float32(np.cos(tilt))
    beside = along * np.float32(np.cos(tilt)) - dz * np.float32(np.sin(tilt))
    kind = rng.choice(["bar", "panel", "spot", "ring"], p=[0.4, 0.3, 0.15, 0.15])
    soft = rng.uniform(0.02, 0.1)
    if kind == "ring":
        wide = np.float32(np.cos(tilt))
        return step(np.abs(dz - wide), rng.uniform(0.08, 0.2), 0.05) * np.float32(rng.uniform(1, 6))
    size = {"bar": (0.04, 0.12), "panel": (0.15, 0.45), "spot": (0.05, 0.12)}[kind]
    half = rng.uniform(*size)
    long = {"bar": rng.uniform(0.5, 0.95), "panel": half * rng.uniform(0.7, 2.0), "spot": half}[kind]
    shape = step(np.abs(beside), half + soft, half) * step(np.abs(across), long + soft, long)
    return (
        shape
        * (toward > 0)
        * np.float32(np.exp(rng.normal(0, 0.5)) * {"bar": 12, "panel": 5, "spot": 25}[kind])
    )


def _white(rng: np.random.Generator) -> Plane:
    """A lamp's colour, from warm to cold, green content one."""
    warmth = rng.normal(0, 0.08)
    return plane([np.exp(warmth), 1.0, np.exp(-warmth + rng.normal(0, 0.03))])


def roughened(room: Plane, alpha: float, across_alpha: float, grain_rad: float) -> Plane:
    """What a rough surface mirrors: the map blurred, further across the grain than along it."""
    along = max(alpha, 0.02) / np.sqrt(2) * SIDE / 2
    across = np.hypot(alpha, across_alpha) / np.sqrt(2) * SIDE / 2
    if across < along * 1.15:
        return blur(room, along)
    reach = min(int(np.ceil(2.5 * across)), SIDE // 2 - 1)
    grid = np.arange(-reach, reach + 1, dtype=np.float64)
    x, y = np.meshgrid(grid, grid)
    with_grain = x * np.cos(grain_rad) + y * np.sin(grain_rad)
    over_grain = y * np.cos(grain_rad) - x * np.sin(grain_rad)
    kernel = np.exp(-0.5 * ((with_grain / max(along, 0.5)) ** 2 + (over_grain / across) ** 2))
    return plane(cv2.filter2D(room, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE))


def slopes(height_px: Plane) -> tuple[Plane, Plane]:
    """Rise of a height in pixels per pixel, to the right and downwards."""
    right = plane(cv2.Scharr(height_px, cv2.CV_32F, 1, 0, scale=1 / 32))
    down = plane(cv2.Scharr(height_px, cv2.CV_32F, 0, 1, scale=1 / 32))
    return bounded(right, -STEEPEST, STEEPEST), bounded(down, -STEEPEST, STEEPEST)


def crevices(height_px: Plane, reach_px: float) -> Plane:
    """How much of the sky each point sees, from 1 down: lower than its surroundings is darker."""
    shallow = bounded(blur(height_px, reach_px * 0.3) - height_px, 0, 99) * np.float32(1.4 / reach_px)
    n = height_px.shape[0]
    small = plane(cv2.resize(height_px, (n // 3, n // 3), interpolation=cv2.INTER_AREA))
    around = enlarge(blur(small, reach_px / 3), n, cv2.INTER_LINEAR)
    deep = bounded(around - height_px, 0, 99) * np.float32(1.2 / reach_px)
    return plane(1 / (1 + shallow + deep))


def shade(skin: Skin, height_px: Plane, room: Room) -> tuple[Plane, Plane]:
    """Radiance of a surface (n, n, 3), and the part of it that is mirrored off its outermost face.

    Metal mirrors the room in its own colour, rising to white at grazing view (Schlick 1994); all else
    scatters what falls on it and mirrors 4 %.
    """
    right, down = slopes(height_px + skin.bump)
    upright = plane(1 / np.sqrt(1 + right * right + down * down))
    nx, ny = -right * upright, -down * upright
    open_ = crevices(height_px, height_px.shape[0] * 0.06)
    mirrored = _mirrored(skin, nx, ny, room)
    graze = plane((1 - upright) ** 5)
    halved = plane(1 / np.sqrt(2 * (1 + upright)))  # sin(t / 2) / sin(t)
    fallen = _look_up(room.fallen, nx * halved, ny * halved) * thrice(open_)
    matt = fallen * skin.colour + mirrored * thrice(plane(0.04 + 0.96 * graze))
    if not skin.metal.any():
        return matt, mirrored
    seen = plane(0.25 + 0.75 * open_)
    metal = mirrored * (skin.colour * thrice(plane(seen * (1 - graze))) + thrice(seen * graze))
    return matt + thrice(skin.metal) * (metal - matt), mirrored


def _mirrored(skin: Skin, nx: Plane, ny: Plane, room: Room) -> Plane:
    across = skin.grain * 0.45
    gloss = roughened(room.mirrored, skin.gloss, across * (1 - skin.gloss), skin.grain_rad)
    seen = _look_up(gloss, nx, ny)
    matte = _look_up(roughened(room.mirrored, skin.matte, across * 0.5, skin.grain_rad), nx, ny)
    return seen + thrice(skin.rough) * (matte - seen)


def _look_up(table: Plane, nx: Plane, ny: Plane) -> Plane:
    half = np.float32(table.shape[0] / 2)
    middle = half - np.float32(0.5)
    return plane(
        cv2.remap(
            table, nx * half + middle, ny * half + middle, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
    )
