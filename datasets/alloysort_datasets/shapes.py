"""The forms scrap comes in, each drawn by chance as a relief seen from above.

Every form is a function of a random generator and the plane's side in pixels. Heights are in half widths of
the plane, so a slope is a slope whatever the resolution. Which family takes which form, and how often, is
stated in `tables/appearance.toml`, not here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from alloysort_datasets.fields import (
    Plane,
    axes,
    blur,
    bounded,
    clouds,
    corners,
    cover,
    depth,
    facets,
    folds,
    plane,
    polygon,
    ragged,
    step,
    turned,
)


@dataclass(frozen=True, eq=False)
class Relief:
    """A piece seen from above, before it is turned, lit and dirtied.

    Attributes:
        height: (n, n) in half widths of the plane.
        mask: (n, n) coverage from 0 to 1.
        fresh: (n, n) from 0, the skin it was made with, to 1, cut, machined or broken open.
        grain: how strongly rolling, drawing or extrusion lines run along x, 0 to 1.
        skin: roughness of the as-made surface in units of 1 px slope: 0 is rolled, 1 is sand cast.
        print: (n, n, 4) colour and opacity of what is printed or mounted on it, None for nothing.
    """

    height: Plane
    mask: Plane
    fresh: Plane
    grain: float = 0.0
    skin: float = 0.0
    print: Plane | None = None


Rng = np.random.Generator
Form = Callable[[Rng, int], Relief]


def _none(n: int) -> Plane:
    return np.zeros((n, n), np.float32)


def _f(value: float) -> np.float32:
    return np.float32(value)


# distances, negative inside -------------------------------------------------------------------------------


def _disc(n: int, x0: float, y0: float, radius: float) -> Plane:
    x, y = axes(n)
    return plane(np.sqrt((x - _f(x0)) ** 2 + (y - _f(y0)) ** 2) - _f(radius))


def _box(x: Plane, y: Plane, half_x: float, half_y: float, round_: float = 0.0) -> Plane:
    across_x, across_y = np.abs(x) - _f(half_x - round_), np.abs(y) - _f(half_y - round_)
    outside = plane(np.sqrt(bounded(across_x, 0, 9) ** 2 + bounded(across_y, 0, 9) ** 2))
    return outside + bounded(np.maximum(across_x, across_y), -9, 0) - _f(round_)


def _rod(n: int, start: NDArray[np.float64], stop: NDArray[np.float64], radius: float) -> Plane:
    x, y = axes(n)
    run = stop - start
    dx, dy = x - _f(start[0]), y - _f(start[1])
    share = bounded((dx * _f(run[0]) + dy * _f(run[1])) * _f(1 / max(float(run @ run), 1e-6)))
    return plane(np.sqrt((dx - share * _f(run[0])) ** 2 + (dy - share * _f(run[1])) ** 2) - _f(radius))


def _melt(first: Plane, second: Plane, fillet: float) -> Plane:
    """Union of two bodies with a fillet between them (polynomial smooth minimum)."""
    share = bounded(_f(0.5) + (second - first) * _f(0.5 / fillet))
    return second + (first - second) * share - _f(fillet) * share * (_f(1) - share)


def _dome(inside: Plane, radius: float) -> Plane:
    """A rounded edge: the height of a quarter circle `radius` wide, 0 at the outline and flat beyond."""
    rest = _f(1) - bounded(inside * _f(1 / radius))
    return _f(radius) * np.sqrt(_f(1) - rest * rest)


def _tilt(rng: Rng, n: int, size: float) -> Plane:
    """The slope at which a piece happens to lie."""
    x, y = axes(n)
    return x * _f(rng.normal(0, size)) + y * _f(rng.normal(0, size))


def _drilled(
    rng: Rng, n: int, mask: Plane, count: int, radius: tuple[float, float]
) -> tuple[Plane, Plane, Plane]:
    """Mask after drilling, depth of blind holes and rims, and where the drill left fresh metal."""
    sunk, fresh = _none(n), _none(n)
    places = np.argwhere(mask[::4, ::4] > 0.9) * 4
    for _ in range(count if len(places) else 0):
        row, column = places[rng.integers(len(places))]
        size = rng.uniform(*radius)
        hole = _disc(n, 2 * column / n - 1, 2 * row / n - 1, size)
        if rng.random() < 0.6:
            mask = mask * (_f(1) - cover(hole))
        else:
            sunk = sunk - cover(hole) * _f(rng.uniform(0.5, 2.0) * size)
        rim = cover(hole - _f(rng.uniform(0.0, 0.05)))
        fresh = np.maximum(fresh, rim)
    return mask, sunk, fresh


# rolled ---------------------------------------------------------------------------------------------------


def sheet(rng: Rng, n: int) -> Relief:
    """A sheared offcut: straight edges, burrs, gently bowed, sometimes one bend."""
    outline = corners(rng, int(rng.integers(4, 7)), rng.uniform(0.35, 1.0))
    mask = polygon(ragged(rng, outline, rng.choice([0.0, 0.05, 0.15])), n)
    inside = depth(mask)
    height = clouds(rng, n, 1.5, 2) * _f(rng.uniform(0.01, 0.07)) + _tilt(rng, n, 0.06)
    if rng.random() < 0.5:
        height = height + folds(rng, n, 1, 0.04) * _f(rng.uniform(0.1, 0.6))
    height = height + _dome(inside, 0.02) + np.exp(inside * _f(-40)) * _f(rng.uniform(0, 0.03))
    mask, sunk, drilled = _drilled(rng, n, mask, int(rng.poisson(0.6)), (0.04, 0.14))
    return Relief(
        height + sunk, mask, np.maximum(drilled, step(inside, 0.03, 0.0)), grain=rng.uniform(0.3, 1)
    )


def crumpled_sheet(rng: Rng, n: int) -> Relief:
    """Shredder output: torn outline, folds, dents, flaps folded over."""
    outline = corners(rng, int(rng.integers(5, 10)), rng.uniform(0.5, 1.0), 0.8)
    mask = polygon(ragged(rng, outline, rng.uniform(0.02, 0.18)), n)
    height = folds(rng, n, int(rng.integers(3, 7)), rng.uniform(0.01, 0.06)) * _f(rng.uniform(0.3, 0.8))
    height = height + clouds(rng, n, 3, 3) * _f(rng.uniform(0.02, 0.08))
    height = height + facets(rng, n, 4) * _f(rng.uniform(0, 0.12))
    for _ in range(int(rng.integers(0, 3))):
        flap = corners(rng, int(rng.integers(3, 6)), rng.uniform(0.4, 1.0)) * rng.uniform(0.3, 0.6)
        over = polygon(ragged(rng, flap + rng.uniform(-0.5, 0.5, 2), 0.15), n) * mask
        lifted = height * _f(rng.uniform(-0.6, 0.6)) + _tilt(rng, n, 0.3) + _f(0.1)
        height = plane(height + over * (lifted - height + _f(float(np.abs(height).mean()))))
    inside = depth(mask)
    height = height + _dome(inside, 0.03)
    return Relief(height, mask, step(inside, 0.025, 0.0), grain=rng.uniform(0, 0.7))


def plate(rng: Rng, n: int) -> Relief:
    """Thick flat stock: sawn or plasma-cut edges, flat top."""
    outline = corners(rng, int(rng.integers(4, 6)), rng.uniform(0.4, 1.0), rng.uniform(0.1, 0.5))
    mask = polygon(ragged(rng, outline, rng.choice([0.0, 0.02, 0.08])), n)
    inside = depth(mask)
    bevel = rng.uniform(0.02, 0.08)
    height = bounded(inside * _f(1 / bevel)) * _f(rng.uniform(0.04, 0.2)) + _tilt(rng, n, 0.05)
    height = height + clouds(rng, n, 2, 2) * _f(rng.uniform(0, 0.015))
    if rng.random() < 0.3:  # a plane along one edge is sheared down
        along, _ = turned(n, rng.uniform(0, np.pi))
        height = height - bounded(along - _f(rng.uniform(0.2, 0.6)), 0, 1) * _f(rng.uniform(0.3, 1.0))
    mask, sunk, drilled = _drilled(rng, n, mask, int(rng.poisson(0.7)), (0.05, 0.16))
    return Relief(
        height + sunk, mask, np.maximum(drilled, step(inside, bevel, 0)), grain=rng.uniform(0.1, 0.8)
    )


def foil(rng: Rng, n: int) -> Relief:
    """Thin foil balled or crushed: small sharp faces everywhere."""
    outline = corners(rng, int(rng.integers(6, 11)), rng.uniform(0.5, 1.0), 0.7)
    mask = polygon(ragged(rng, outline, rng.uniform(0.15, 0.4)), n)
    fine = facets(rng, n, int(rng.integers(9, 18)), 0.6) * _f(rng.uniform(0.02, 0.06))
    coarse = facets(rng, n, int(rng.integers(3, 6)), 0.5) * _f(rng.uniform(0.05, 0.2))
    ball = _dome(depth(mask), rng.uniform(0.05, 0.5)) * _f(rng.uniform(0.3, 1))
    return Relief(fine + coarse + ball, mask, _none(n), grain=rng.uniform(0, 0.3))


def strip(rng: Rng, n: int) -> Relief:
    """A narrow flat bar or busbar: straight or bent on edge, often drilled in line."""
    x, y = axes(n)
    half, bow = rng.uniform(0.08, 0.25), rng.normal(0, 0.15)
    across = y - _f(bow) * x * x
    distance = _box(x - _f(rng.normal(0, 0.15)) * y, across, 0.92, half, rng.uniform(0, 0.03))
    mask = cover(distance)
    height = _dome(bounded(-distance, 0, 1), rng.uniform(0.015, 0.05)) + _tilt(rng, n, 0.06)
    for _ in range(int(rng.integers(0, 3))):
        bend = x - _f(rng.uniform(-0.8, 0.8)) + y * _f(rng.normal(0, 0.2))
        height = height + np.sqrt(bend * bend + _f(0.002)) * _f(rng.normal(0, 0.3))
    fresh = step(_f(0.9) - np.abs(x), 0.03, 0)
    for place in np.linspace(-0.75, 0.75, int(rng.integers(2, 7))) if rng.random() < 0.5 else ():
        hole = _disc(n, place, bow * place**2, half * 0.4)
        mask = mask * (_f(1) - cover(hole))
        fresh = np.maximum(fresh, cover(hole - _f(0.02)))
    return Relief(height, mask, fresh, grain=rng.uniform(0.3, 0.9))


def can(rng: Rng, n: int) -> Relief:
    """A drinks can or a part of one, dented or crushed flat, printed or bare."""
    x, y = axes(n)
    half = rng.uniform(0.4, 0.62)
    waist = clouds(rng, n, 3, 2) * _f(0.04)
    distance = _box(x + waist, y + waist, 0.88, half, 0.1)
    if rng.random() < 0.4:
        torn = polygon(ragged(rng, corners(rng, 6, 0.9, 0.8) * 1.1 + rng.normal(0, 0.15, 2), 0.3), n)
        mask = cover(distance) * torn
    else:
        mask = cover(distance)
    across = bounded(np.abs(y) * _f(1 / half), 0, 1)
    height = np.sqrt(_f(1.02) - across * across) * _f(half * rng.uniform(0.3, 1.0))
    rings = np.sin(x * _f(rng.uniform(8, 22)) + clouds(rng, n, 2, 2) * _f(0.8)) * clouds(rng, n, 2, 1)
    height = height + rings * _f(rng.uniform(0.0, 0.045))
    height = height + facets(rng, n, int(rng.integers(3, 7)), 0.4) * _f(rng.uniform(0.02, 0.12))
    height = height - step(np.abs(x), 0.72, 0.9) * _f(rng.uniform(0.05, 0.25))  # the neck
    rim = step(np.abs(np.abs(x) - _f(0.84)), 0.03, 0.0)
    artwork = _artwork(rng, n) if rng.random() < 0.75 else None
    if artwork is not None:
        artwork[..., 3] *= step(np.abs(x), 0.8, 0.74)
    return Relief(height + rim * _f(0.04), mask, rim, grain=rng.uniform(0.2, 0.8), print=artwork)


def _artwork(rng: Rng, n: int) -> Plane:
    """Printed colours: a ground, bands, blobs and something like lettering."""
    x, y = axes(n)
    picture = np.ones((n, n, 4), np.float32)
    picture[..., :3] = rng.random(3) ** 2
    for _ in range(int(rng.integers(1, 4))):
        where = bounded(clouds(rng, n, rng.uniform(1, 4), 2) * _f(6) - _f(rng.uniform(0, 6)))
        if rng.random() < 0.5:
            where = step(np.abs((x if rng.random() < 0.5 else y) - _f(rng.uniform(-0.6, 0.6))), 0.12, 0.1)
        picture[..., :3] += where[..., None] * (plane(rng.random(3) ** 2) - picture[..., :3])
    letters = plane(
        cv2.resize(plane(rng.random((5, 14)) < 0.5), (n, n // 4), interpolation=cv2.INTER_NEAREST)
    )
    top = int(rng.integers(n // 5, n // 2))
    rows = slice(top, top + n // 4)
    picture[rows, :, :3] += (letters * _f(rng.choice([0.0, 0.9])))[..., None] * (
        plane(rng.random(3)) - picture[rows, :, :3]
    )
    picture[..., 3] = rng.uniform(0.5, 0.95)
    return picture


def radiator(rng: Rng, n: int) -> Relief:
    """Heat-exchanger core: flat tubes with folded fin between, edges torn or headed."""
    x, y = axes(n)
    outline = corners(rng, int(rng.integers(4, 7)), rng.uniform(0.4, 0.9), rng.uniform(0.1, 0.6))
    mask = polygon(ragged(rng, outline, rng.uniform(0, 0.12)), n)
    sway = clouds(rng, n, 2, 2)
    pitch = rng.uniform(0.13, 0.3)
    phase = (y + sway * _f(rng.uniform(0, 0.04))) * _f(1 / pitch)
    tube = step(np.abs(phase - np.round(phase)), rng.uniform(0.16, 0.25), 0.12)
    pleats = np.sin((x + sway * _f(rng.uniform(0, 0.06))) * _f(rng.uniform(40, 80)))
    bent = step(clouds(rng, n, 4, 2), 0.3, 1.0) * _f(rng.uniform(0, 1))
    fin = pleats * _f(0.022) * (_f(1) - bent) - _f(0.03)
    height = tube * _f(0.05) + (_f(1) - tube) * fin + folds(rng, n, 2, 0.1) * _f(rng.uniform(0, 0.25))
    return Relief(height, mask, _none(n), grain=0.2)


# extruded, drawn ------------------------------------------------------------------------------------------


def extrusion(rng: Rng, n: int) -> Relief:
    """A length of profile: one cross-section all along, ends cut or sheared, sometimes bent or crushed."""
    x, y = axes(n)
    half, bow = rng.uniform(0.18, 0.6), rng.normal(0, 0.08)
    across = y - _f(bow) * x * x
    slanted = x - _f(rng.normal(0, 0.25)) * y
    height = np.interp(across / _f(half), *_profile(rng)).astype(np.float32) * _f(min(half, 0.35))
    sheared = rng.random() < 0.5
    ends = slanted + clouds(rng, n, 5, 3) * _f(0.03 if sheared else 0.0)
    mask = cover(np.maximum(np.abs(ends) - _f(rng.uniform(0.55, 0.92)), np.abs(across) - _f(half)))
    if sheared:
        crushed = step(np.abs(slanted), 0.4, 0.9)
        height = height * (_f(1) - crushed * _f(rng.uniform(0.2, 0.9)))
        height = height + crushed * folds(rng, n, 2, 0.05) * _f(rng.uniform(0, 0.3))
    if rng.random() < 0.4:
        kink = x - _f(rng.uniform(-0.5, 0.5)) + y * _f(rng.normal(0, 0.5))
        height = height + np.sqrt(kink * kink + _f(0.003)) * _f(rng.normal(0, 0.3))
    height = height + _tilt(rng, n, 0.05)
    mask, sunk, drilled = _drilled(rng, n, mask, int(rng.poisson(0.5)), (0.03, 0.1))
    cut = step(_f(0.05) - depth(mask), 0.03, 0.05) * step(np.abs(x), 0.4, 0.5)
    return Relief(height + sunk, mask, np.maximum(cut, drilled), grain=rng.uniform(0.5, 1.0))


def _profile(rng: Rng) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Heights of a section across its width, from -1 to 1, as points to interpolate between."""
    kind = rng.choice(["steps", "fins", "channel", "angle", "box", "tee"])
    lip = 0.05
    if kind == "fins":
        teeth = int(rng.integers(5, 13))
        place = np.repeat(np.linspace(-1, 1, teeth + 1), 2) + np.tile([-lip / 3, lip / 3], teeth + 1)
        return place, np.tile([0.2, rng.uniform(0.6, 1.0)], teeth + 1)
    if kind == "channel":
        wall = rng.uniform(0.1, 0.3)
        return np.array([-1, -0.97, -1 + wall, -1 + wall + lip, 1 - wall - lip, 1 - wall, 0.97, 1]), np.array(
            [0.3, 0.8, 0.8, 0.15, 0.15, 0.8, 0.8, 0.3]
        )
    if kind == "angle":
        corner = rng.uniform(-0.7, 0.7)
        return np.array([-1, corner - 0.03, corner + 0.03, 1]), np.array([0.0, 1.0, 1.0, rng.uniform(0, 0.6)])
    if kind == "box":
        return np.array([-1, -0.93, -0.85, 0.85, 0.93, 1]), np.array([0.2, 0.75, 0.9, 0.9, 0.75, 0.2])
    if kind == "tee":
        slot = rng.uniform(0.08, 0.2)
        place = np.array([-1, -0.95, -slot - lip, -slot, slot, slot + lip, 0.95, 1])
        return place, np.array([0.4, 0.9, 0.9, 0.1, 0.1, 0.9, 0.9, 0.4])
    edges = np.sort(rng.uniform(-0.9, 0.9, int(rng.integers(2, 6))))
    levels = rng.uniform(0.1, 1.0, len(edges) + 1)
    place = np.concatenate(([-1], np.stack((edges - lip / 2, edges + lip / 2), 1).ravel(), [1]))
    return np.maximum.accumulate(place), np.repeat(levels, 2)


def tube(rng: Rng, n: int) -> Relief:
    """Round tube or pipe: cut, bent, flattened."""
    x, y = axes(n)
    half, bow = rng.uniform(0.1, 0.4), rng.normal(0, 0.2)
    across = (y - _f(bow) * x * x) * _f(1 / half)
    ends = np.abs(x - _f(rng.normal(0, 0.3)) * y) - _f(rng.uniform(0.6, 0.9))
    ends = ends + bounded(across, -1, 1) ** 2 * _f(rng.uniform(0, 0.08))  # a round end seen a little askew
    mask = cover(np.maximum(ends, (np.abs(across) - _f(1)) * _f(half)))
    round_ = np.sqrt(_f(1.01) - bounded(across * across, 0, 1)) * _f(half * rng.uniform(0.5, 1))
    if rng.random() < 0.5:
        flat = step(x, rng.uniform(-0.8, 0.3), 0.8) * _f(rng.uniform(0.3, 0.9))
        round_ = round_ * (_f(1) - flat) + clouds(rng, n, 3, 2) * flat * _f(0.05)
    bore = step(ends, -0.05, -0.02) * step(np.abs(across), 0.85, 0.7)
    height = round_ - bore * _f(half) + _tilt(rng, n, 0.04)
    return Relief(height, mask, step(ends, -0.06, -0.02), grain=rng.uniform(0.2, 0.9))


def wire(rng: Rng, n: int) -> Relief:
    """One thick wire or a tangle of thin ones."""
    strands = int(rng.choice([1, 2, 3, 5]))
    return _strands(rng, n, strands, rng.uniform(0.02, 0.09) / np.sqrt(strands), rng.uniform(0.5, 3.0))


def cable(rng: Rng, n: int) -> Relief:
    """A length of sheathed cable, stiff and evenly curved; the conductor may show at an end."""
    return _strands(rng, n, int(rng.choice([1, 1, 2, 3])), rng.uniform(0.04, 0.1), rng.uniform(0.5, 2.0))


def _strands(rng: Rng, n: int, count: int, radius: float, curl: float) -> Relief:
    height, mask, fresh = _none(n), _none(n), _none(n)
    for _ in range(count):
        points = _walk(rng, curl)
        canvas = np.full((n, n), 255, np.uint8)
        pixels = np.round(((points + 1) * (n / 2) - 0.5) * 16).astype(np.int32)
        cv2.polylines(canvas, [pixels], isClosed=False, color=0, thickness=1, shift=4)
        distance = blur(plane(cv2.distanceTransform(canvas, cv2.DIST_L2, 5)), 0.5) * _f(2 / n)
        lift = _f(rng.uniform(0, 2 * radius))
        share = bounded(distance * _f(1 / radius))
        body = cover(distance - _f(max(radius, 2.4 / n)))
        tall = np.sqrt(_f(1.01) - share * share) * _f(radius) + lift
        height = height + body * np.maximum(tall - height, 0)
        fresh = np.maximum(fresh, cover(_disc(n, points[0, 0], points[0, 1], 2.2 * radius)) * body)
        mask = np.maximum(mask, body)
    return Relief(height, mask, fresh, grain=0.0)


def _walk(rng: Rng, curl: float) -> NDArray[np.float64]:
    """A smooth wandering path of 60 points that fits the plane."""
    turn = np.cumsum(np.interp(np.linspace(0, 7, 60), np.arange(8), rng.normal(0, curl / 12, 8)))
    steps = np.stack((np.cos(turn), np.sin(turn)), axis=1)
    path = np.cumsum(steps, axis=0)
    path -= (path.max(axis=0) + path.min(axis=0)) / 2
    return np.asarray(path / (np.abs(path).max() * 1.18) + rng.normal(0, 0.03, 2))


# machined, forged -----------------------------------------------------------------------------------------


def machined_block(rng: Rng, n: int) -> Relief:
    """A milled part or a sawn block: flat faces, pockets, bores, chamfers, cutter marks."""
    x, y = axes(n)
    if rng.random() < 0.3:
        distance = _disc(n, 0, 0, 0.88)
    else:
        distance = _box(x, y, 0.88, rng.uniform(0.4, 0.88), rng.uniform(0, 0.2))
    if rng.random() < 0.5:
        notch = _box(x - _f(rng.uniform(0.4, 0.9)), y - _f(rng.uniform(-0.8, 0.8)), 0.35, 0.3, 0.03)
        distance = np.maximum(distance, -notch)
    mask = cover(distance)
    chamfer = rng.uniform(0.02, 0.15)
    height = bounded(-distance, 0, chamfer) * _f(rng.uniform(0.6, 1.6))
    marks = _none(n)
    for _ in range(int(rng.integers(0, 4))):
        turned_x, turned_y = turned(n, rng.choice([0, np.pi / 2]))
        pocket = _box(
            turned_x - _f(rng.uniform(-0.5, 0.5)),
            turned_y - _f(rng.uniform(-0.3, 0.3)),
            rng.uniform(0.1, 0.4),
            rng.uniform(0.08, 0.25),
            0.06,
        )
        inner = step(pocket, 0.0, -rng.uniform(0.01, 0.05))
        height = height - inner * _f(rng.uniform(0.05, 0.3))
    cutter = _disc(n, rng.uniform(-1.5, 1.5), rng.uniform(-1.5, 1.5), 0.0)
    marks = np.sin(cutter * _f(rng.uniform(60, 160))) * _f(rng.uniform(0, 0.0015))
    mask, sunk, _ = _drilled(rng, n, mask, int(rng.integers(0, 5)), (0.04, 0.2))
    sawn = _f(rng.uniform(0.5, 1.0))
    return Relief(
        height + marks + sunk + _tilt(rng, n, 0.1), mask, mask * sawn, grain=rng.uniform(0, 0.7), skin=0.05
    )


def forging(rng: Rng, n: int) -> Relief:
    """A drop forging: lobes and arms with draft and fillets, blasted skin, some faces machined."""
    hubs = [rng.uniform(-0.6, 0.6, 2) * (1, 0.6) for _ in range(int(rng.integers(2, 4)))]
    distance = _disc(n, hubs[0][0], hubs[0][1], rng.uniform(0.15, 0.35))
    faces, bores = _none(n), np.full((n, n), 9, np.float32)
    for before, hub in pairwise(hubs):
        distance = _melt(distance, _rod(n, before, hub, rng.uniform(0.1, 0.2)), 0.12)
        distance = _melt(distance, _disc(n, hub[0], hub[1], rng.uniform(0.15, 0.35)), 0.12)
    for hub in hubs:
        size = rng.uniform(0.08, 0.2)
        if rng.random() < 0.6:
            faces = np.maximum(faces, cover(_disc(n, hub[0], hub[1], size)))
            bores = np.minimum(bores, _disc(n, hub[0], hub[1], size * rng.uniform(0.4, 0.8)))
    inside = bounded(-distance, 0, 1)
    height = _dome(inside, rng.uniform(0.1, 0.3)) + faces * _f(0.03) + _tilt(rng, n, 0.06)
    web = step(inside, 0.06, 0.12) * (_f(1) - faces) * _f(rng.uniform(0, 0.12))
    mask = cover(distance) * (cover(-bores) if rng.random() < 0.7 else _f(1))
    return Relief(blur(height - web, 1.2), mask, faces, skin=rng.uniform(0.15, 0.5))


def turned_part(rng: Rng, n: int) -> Relief:
    """A part from the lathe, lying on its side: shoulders, grooves, threads, knurls, hexagons."""
    x, y = axes(n)
    return _revolved(rng, x, y, int(rng.integers(2, 6)), rng.uniform(0.18, 0.6), head=False)


def bolt(rng: Rng, n: int) -> Relief:
    """A hexagon bolt or a screw on its side."""
    x, y = axes(n)
    return _revolved(rng, x, y, 2, rng.uniform(0.22, 0.42), head=True)


def _revolved(rng: Rng, x: Plane, y: Plane, sections: int, widest: float, head: bool) -> Relief:
    cuts = np.concatenate(([-0.9], np.sort(rng.uniform(-0.7, 0.8, sections - 1)), [0.9]))
    if head:
        cuts = np.array([-0.9, rng.uniform(-0.75, -0.5), 0.9])
    radius, hexagon, ridge = np.zeros_like(x), np.zeros_like(x), np.zeros_like(x)
    for index, (start, stop) in enumerate(pairwise(cuts)):
        here = (x >= _f(start)) & (x < _f(stop))
        work = rng.choice(["plain", "thread", "hexagon", "knurl", "groove"], p=[0.4, 0.25, 0.15, 0.1, 0.1])
        size = widest * rng.uniform(0.4, 1.0)
        if head:
            work, size = ("hexagon", widest) if index == 0 else ("thread", widest * rng.uniform(0.4, 0.65))
        radius[here] = size
        hexagon[here] = work == "hexagon"
        lead = 2 * np.pi / rng.uniform(0.05, 0.11)
        if work in ("thread", "groove"):
            ridge += here * plane(np.sin((x + y * _f(0.06)) * _f(lead))) * _f(size * 0.06)
        elif work == "knurl":
            ridge += here * plane(np.sin((x + y) * _f(lead)) * np.sin((x - y) * _f(lead))) * _f(size * 0.05)
    radius = plane(cv2.blur(radius, (3, 1)))
    share = bounded(plane(np.abs(y) / np.maximum(radius, _f(0.01))))
    round_ = np.sqrt(_f(1.005) - share * share)
    flat = np.minimum(_f(0.87), (_f(1) - share) * _f(1.73))  # a hexagon lying on a flat
    height = radius * (round_ + hexagon * (flat - round_)) + ridge
    mask = cover(np.maximum(np.abs(y) - radius - ridge, np.abs(x) - _f(0.9)))
    return Relief(height, mask, mask * _f(rng.uniform(0.3, 1)), skin=0.03)


def ring(rng: Rng, n: int) -> Relief:
    """A nut, washer, flange or bush seen end on."""
    distance = _disc(n, 0, 0, 0.88)
    radius = distance + _f(0.88)
    if rng.random() < 0.45:
        third = np.pi / 3
        distance = np.maximum.reduce([np.abs(turned(n, k * third)[1]) for k in range(3)]) - _f(0.78)
    bore = rng.uniform(0.2, 0.65)
    height = _dome(bounded(-distance, 0, 1), rng.uniform(0.02, 0.12))
    for edge in rng.uniform(bore, 0.85, int(rng.integers(0, 4))):
        height = height + step(radius, edge + 0.01, edge - 0.01) * _f(rng.uniform(-0.1, 0.15))
    height = (
        height + np.sin(radius * _f(rng.uniform(80, 160))) * _f(rng.uniform(0, 0.002)) + _tilt(rng, n, 0.1)
    )
    mask = cover(np.maximum(distance, _f(bore) - radius))
    if rng.random() < 0.3:
        for angle in np.arange(4) * np.pi / 2:
            middle = (bore + 0.88) / 2
            hole = _disc(n, middle * np.cos(angle), middle * np.sin(angle), (0.88 - bore) * 0.2)
            mask = mask * (_f(1) - cover(hole))
    return Relief(height, mask, mask * _f(rng.uniform(0.3, 1)), skin=0.03)


def turnings(rng: Rng, n: int) -> Relief:
    """Swarf: curled ribbons from the lathe or a clump of short chips."""
    height, mask = _none(n), np.zeros((n, n), np.uint8)
    for _ in range(int(rng.integers(1, 4))):
        _curl(rng, height, mask)
    covered = plane(cv2.GaussianBlur(mask, (3, 3), 0.7)) * _f(1 / 255)
    return Relief(blur(height, 0.7), covered, covered * _f(0.8), grain=0.0, skin=rng.uniform(0.05, 0.3))


def _curl(rng: Rng, height: Plane, mask: NDArray[np.uint8]) -> None:
    """Draw one helical ribbon, far side first so that the near side covers it."""
    n = height.shape[0]
    turns, radius = rng.uniform(2, 8), rng.uniform(0.06, 0.22)
    angle = np.linspace(0, 2 * np.pi * turns, int(22 * turns))
    spine = _walk(rng, 1.2)
    place = np.linspace(0, 59, len(angle))
    centre = np.stack([np.interp(place, np.arange(60), spine[:, k]) for k in range(2)], axis=1)
    wide = radius * np.interp(place, [0, 30, 59], rng.uniform(0.6, 1.2, 3))
    points = centre + np.stack((0.3 * wide * np.cos(angle), wide * np.sin(angle)), axis=1)
    lifted = wide * (1 + np.cos(angle))
    pixels = np.round((points + 1) * (n / 2)).astype(int)
    thick = max(2, round(rng.uniform(0.02, 0.06) * n / 2))
    for index in np.argsort(lifted[:-1]):
        start, stop = pixels[index].tolist(), pixels[index + 1].tolist()
        cv2.line(height, start, stop, float(lifted[index]), thick)
        cv2.line(mask, start, stop, 255, thick)


# cast -----------------------------------------------------------------------------------------------------


def casting(rng: Rng, n: int) -> Relief:
    """A whole casting or most of one: walls, ribs, bosses, fillets, rough skin, machined faces."""
    relief = _cast(
        rng, n, wall=rng.uniform(0.06, 0.16), ribs=int(rng.integers(0, 4)), skin=rng.uniform(0.3, 1.0)
    )
    return _broken(rng, relief) if rng.random() < 0.35 else relief


def die_casting(rng: Rng, n: int) -> Relief:
    """A thin-walled die casting: many ribs and bosses, smooth skin, ejector marks."""
    relief = _cast(
        rng, n, wall=rng.uniform(0.03, 0.07), ribs=int(rng.integers(2, 7)), skin=rng.uniform(0.05, 0.3)
    )
    return _broken(rng, relief) if rng.random() < 0.35 else relief


def casting_fragment(rng: Rng, n: int) -> Relief:
    """A piece broken out of a casting: granular fracture along its edges."""
    relief = _cast(
        rng, n, wall=rng.uniform(0.08, 0.25), ribs=int(rng.integers(0, 3)), skin=rng.uniform(0.2, 1.0)
    )
    return _broken(rng, _broken(rng, relief))


def _body(rng: Rng, n: int, aspect: float) -> Plane:
    """Distance to the outline of a main body: a box, a round housing, an arm, a spoked or lobed part."""
    x, y = axes(n)
    warp = clouds(rng, n, 1.5, 2) * _f(rng.uniform(0.0, 0.1))
    kind = rng.choice(["box", "round", "arm", "spokes", "lobes"], p=[0.36, 0.22, 0.24, 0.08, 0.1])
    if kind == "box":
        return _box(x + warp, y + warp, 0.85, 0.85 * aspect, rng.uniform(0.05, 0.4))
    if kind == "round":
        return plane(np.sqrt((x + warp) ** 2 + ((y + warp) * _f(1 / aspect)) ** 2)) - _f(0.85)
    if kind == "arm":
        joint = rng.uniform(-0.3, 0.3, 2)
        ends = joint + np.array([[-0.5, 0.1], [0.5, rng.uniform(-0.5, 0.5)]])
        arms = [_rod(n, joint, end, rng.uniform(0.15, 0.3)) for end in ends]
        return _melt(arms[0], arms[1], 0.1) + warp * _f(0.5)
    angle = plane(np.arctan2(y, x))
    count = int(rng.integers(3, 7))
    radius = plane(np.sqrt(x * x + y * y))
    if kind == "spokes":
        spoke = (
            radius * plane(np.abs(np.sin((angle - _f(rng.uniform(0, 6))) * _f(count / 2)))) * _f(2 / count)
        )
        hub = np.minimum(radius - _f(rng.uniform(0.2, 0.3)), _f(0.72) - radius)
        return plane(np.maximum(np.minimum(spoke - _f(rng.uniform(0.07, 0.13)), hub), radius - _f(0.9)))
    wave = plane(np.cos(angle * _f(count) + _f(rng.uniform(0, 6)))) * _f(rng.uniform(0.03, 0.1))
    return plane(radius - _f(0.7) + wave + warp)


def _cast(rng: Rng, n: int, wall: float, ribs: int, skin: float) -> Relief:
    aspect = rng.uniform(0.45, 0.95)
    distance = _body(rng, n, aspect)
    for _ in range(int(rng.integers(0, 3))):
        x0, y0 = _spot(rng, aspect)
        distance = _melt(distance, _disc(n, x0, y0, rng.uniform(0.15, 0.3)), 0.1)
    inside = bounded(-distance, 0, 2)
    height = _dome(inside, rng.uniform(0.05, 0.15))
    if rng.random() < 0.75:  # a shell: open side up
        height = height - step(inside, wall, wall + 0.05) * _f(rng.uniform(0.1, 0.35))
    for _ in range(ribs):
        rib = _rod(n, _spot(rng, aspect), _spot(rng, aspect), rng.uniform(0.02, 0.05))
        height = np.maximum(
            height, step(rib, 0.04, 0.0) * _f(rng.uniform(0.02, 0.12)) + height.min() * _f(0.4)
        )
    mask, fresh = cover(distance), _none(n)
    for _ in range(int(rng.integers(1, 5))):
        place, size = _spot(rng, aspect), rng.uniform(0.07, 0.2)
        boss = _disc(n, place[0], place[1], size)
        height = np.maximum(height, step(boss, 0.05, 0.0) * _f(rng.uniform(0.05, 0.2)))
        if rng.random() < 0.7:
            bore = cover(_disc(n, place[0], place[1], size * rng.uniform(0.3, 0.7)))
            height = height - bore * _f(0.3)
        if rng.random() < 0.5:
            fresh = np.maximum(fresh, cover(boss))
    if rng.random() < 0.4:  # the sealing face is milled
        fresh = np.maximum(fresh, step(inside, wall, wall - 0.02) * _f(rng.uniform(0.6, 1)))
    rough = clouds(rng, n, 14, 3, 0.8) * _f(0.006 * skin)
    height = blur(height, 1.6) + rough * (_f(1) - fresh) + _tilt(rng, n, 0.07)
    return Relief(height, mask, fresh * mask, skin=skin)


def _spot(rng: Rng, aspect: float) -> NDArray[np.float64]:
    return np.asarray(rng.uniform(-0.75, 0.75, 2) * (1.0, aspect))


def _broken(rng: Rng, relief: Relief) -> Relief:
    """Break a part away along a jagged line and show the grain of the fracture."""
    n = relief.height.shape[0]
    along, across = turned(n, rng.uniform(0, 2 * np.pi))
    line = across + facets(rng, n, 6) * _f(0.06) + clouds(rng, n, 8, 3) * _f(0.02)
    line = line + along * along * _f(rng.normal(0, 0.2)) - _f(rng.uniform(0.1, 0.55))
    band = step(line, -rng.uniform(0.05, 0.18), -0.02)
    crystal = facets(rng, n, 30, 0.3) * _f(0.02) + clouds(rng, n, 20, 2) * _f(0.008)
    height = relief.height - band * (bounded(line + _f(0.2), 0, 1) * _f(1.2)) + band * crystal
    return Relief(
        height,
        relief.mask * cover(line),
        np.maximum(relief.fresh, band),
        relief.grain,
        relief.skin,
        relief.print,
    )


# not metal ------------------------------------------------------------------------------------------------


def lump(rng: Rng, n: int) -> Relief:
    """A broken lump: stone, concrete, slag, rubber."""
    outline = corners(rng, int(rng.integers(6, 11)), rng.uniform(0.55, 1.0), 0.4)
    mask = polygon(ragged(rng, outline, rng.uniform(0.02, 0.07)), n)
    round_ = _dome(depth(mask), rng.uniform(0.2, 0.6))
    height = round_ + facets(rng, n, int(rng.integers(3, 6)), 0.4) * _f(rng.uniform(0.03, 0.15))
    height = height + clouds(rng, n, 8, 4, 0.7) * _f(rng.uniform(0.005, 0.025))
    return Relief(height, mask, _none(n), skin=rng.uniform(0.3, 1.2))


def brick(rng: Rng, n: int) -> Relief:
    """A brick or half of one, edges chipped."""
    x, y = axes(n)
    distance = _box(x, y, 0.85, rng.uniform(0.4, 0.8), 0.04) + clouds(rng, n, 5, 3) * _f(0.025)
    height = (
        _dome(bounded(-distance, 0, 1), 0.08) + clouds(rng, n, 9, 4, 0.7) * _f(0.012) + _tilt(rng, n, 0.06)
    )
    relief = Relief(height, cover(distance), _none(n), skin=rng.uniform(0.4, 1.0))
    return _broken(rng, relief) if rng.random() < 0.7 else relief


def shard(rng: Rng, n: int) -> Relief:
    """A sharp flat splinter with conchoidal edges: glass, ceramic, a flake of paint."""
    outline = corners(rng, int(rng.integers(3, 6)), rng.uniform(0.3, 0.9), 0.7)
    mask = polygon(ragged(rng, outline, rng.choice([0.0, 0.06])), n)
    inside = depth(mask)
    height = bounded(inside * _f(10), 0, 1) * _f(rng.uniform(0.03, 0.12)) + clouds(rng, n, 1.2, 2) * _f(0.08)
    return Relief(height, mask, step(inside, rng.uniform(0.03, 0.09), 0.0))


def tread(rng: Rng, n: int) -> Relief:
    """A slab of rubber with grooves, ragged at the edges."""
    x, y = axes(n)
    outline = corners(rng, int(rng.integers(5, 9)), rng.uniform(0.4, 0.9), 0.6)
    mask = polygon(ragged(rng, outline, rng.uniform(0.05, 0.25)), n)
    wave = np.sin(x * _f(rng.uniform(5, 12))) * _f(rng.uniform(0, 0.12))
    pitch = rng.uniform(3, 8)
    grooves = step(np.abs(np.sin((y + wave) * _f(pitch))), 0.25, 0.1) * _f(rng.uniform(0.02, 0.1))
    height = _dome(depth(mask), 0.12) - grooves + clouds(rng, n, 2, 3) * _f(0.06)
    return Relief(height, mask, _none(n), skin=rng.uniform(0.1, 0.5))


def plank(rng: Rng, n: int) -> Relief:
    """A splintered length of wood."""
    x, y = axes(n)
    half = rng.uniform(0.15, 0.6)
    rings = y + clouds(rng, n, 1.5, 2) * _f(0.06)
    splinter = np.interp(y, np.linspace(-half, half, 26), rng.normal(0, rng.uniform(0.01, 0.14), 26))
    distance = np.maximum(np.abs(x + splinter.astype(np.float32)) - _f(0.8), np.abs(y) - _f(half))
    lines = np.sin(rings * _f(rng.uniform(30, 70)) + clouds(rng, n, 3, 2))
    height = _dome(bounded(-distance, 0, 1), 0.03) + lines * _f(0.002) + _tilt(rng, n, 0.08)
    dark = np.ones((n, n, 4), np.float32) * plane([0.2, 0.11, 0.05, 1.0])
    dark[..., 3] = bounded(lines * _f(0.25) + _f(0.15))
    return Relief(height, cover(distance), _none(n), grain=0.6, skin=0.4, print=dark)


def rag(rng: Rng, n: int) -> Relief:
    """Fabric, foam or paper: soft folds, frayed."""
    outline = corners(rng, int(rng.integers(5, 9)), rng.uniform(0.5, 1.0), 0.7)
    mask = polygon(ragged(rng, outline, rng.uniform(0.1, 0.35)), n)
    x, y = axes(n)
    weave = np.sin(x * _f(140)) * np.sin(y * _f(140)) * _f(rng.uniform(0, 0.004))
    height = folds(rng, n, 5, 0.15) * _f(rng.uniform(0.1, 0.5)) + clouds(rng, n, 3, 2) * _f(0.08) + weave
    return Relief(height + _dome(depth(mask), 0.06), mask, _none(n), skin=rng.uniform(0.2, 0.8))


def circuit_board(rng: Rng, n: int) -> Relief:
    """A printed circuit board or a part of one: traces, pads, chips, capacitors, connectors."""
    x, y = axes(n)
    distance = _box(x, y, 0.88, rng.uniform(0.45, 0.88), 0.02)
    mask = cover(distance)
    if rng.random() < 0.5:
        mask = mask * polygon(ragged(rng, corners(rng, 6, 1.0, 0.5) * 1.25, 0.08), n)
    picture = np.zeros((n, n, 4), np.float32)
    tracks = np.zeros((n, n), np.uint8)
    for _ in range(int(rng.integers(8, 30))):
        _track(rng, tracks)
    picture[..., :3] = plane([0.2, 0.35, 0.15]) * plane(rng.uniform(0.6, 1.4, 3))
    picture[..., 3] = plane(tracks) * _f(rng.uniform(0.1, 0.5) / 255)
    height = step(distance, 0, -0.03) * _f(0.04) + plane(tracks) * _f(0.003 / 255) + _tilt(rng, n, 0.04)
    for _ in range(int(rng.integers(10, 45))):
        _mount(rng, height, picture)
    mask, sunk, _ = _drilled(rng, n, mask, int(rng.integers(0, 4)), (0.03, 0.07))
    return Relief(height + sunk, mask, _none(n), print=picture)


def _track(rng: Rng, canvas: NDArray[np.uint8]) -> None:
    n = canvas.shape[0]
    points = [rng.integers(0, n, 2)]
    for _ in range(3):
        direction = np.pi / 4 * rng.integers(0, 8)
        run = rng.uniform(0.05, 0.4) * n
        points.append((points[-1] + run * np.array([np.cos(direction), np.sin(direction)])).astype(int))
    cv2.polylines(canvas, [np.array(points, np.int32)], isClosed=False, color=255, thickness=1)


def _mount(rng: Rng, height: Plane, picture: Plane) -> None:
    """Solder one component: a chip, a chip resistor, an electrolytic can, a socket, a field of pads."""
    n = height.shape[0]
    kind = rng.choice(["chip", "small", "can", "socket", "pads"], p=[0.2, 0.45, 0.12, 0.08, 0.15])
    span = {
        "chip": (0.06, 0.2),
        "small": (0.015, 0.04),
        "can": (0.04, 0.1),
        "socket": (0.08, 0.25),
        "pads": (0.05, 0.2),
    }
    wide = max(2, round(rng.uniform(*span[kind]) * n))
    tall = max(2, round(wide * rng.uniform(0.3, 1.0)))
    if rng.random() < 0.5 and kind != "can":
        wide, tall = tall, wide
    column, row = (int(v) for v in rng.integers(2, n - 2, 2))
    if kind == "can":
        radius = wide // 2 + 1
        cv2.circle(height, (column, row), radius, 0.25, -1)
        cv2.circle(
            picture,
            (column, row),
            radius,
            (*(float(v) for v in rng.choice([0.05, 0.6]) * np.ones(3)), 1.0),
            -1,
        )
        return
    area = (slice(row, row + tall), slice(column, column + wide))
    if kind == "pads":
        picture[area][::2, ::3] = (0.75, 0.65, 0.4, 0.9)
        return
    body = {
        "chip": rng.uniform(0.01, 0.05),
        "small": rng.choice([0.03, 0.3, 0.5]),
        "socket": rng.choice([0.04, 0.7]),
    }
    legs = (slice(max(0, row - 1), row + tall + 1), area[1])
    picture[legs][:, ::2] = (0.7, 0.7, 0.68, 1.0)
    picture[area] = (*(float(v) for v in body[kind] * rng.uniform(0.7, 1.2, 3)), 1.0)
    height[area] = {"chip": 0.09, "small": 0.06, "socket": 0.3}[kind]


FORMS: Final[Mapping[str, Form]] = {
    form.__name__: form
    for form in (
        sheet,
        crumpled_sheet,
        plate,
        foil,
        strip,
        can,
        radiator,
        extrusion,
        tube,
        wire,
        cable,
        machined_block,
        forging,
        turned_part,
        bolt,
        ring,
        turnings,
        casting,
        die_casting,
        casting_fragment,
        lump,
        brick,
        shard,
        tread,
        plank,
        rag,
        circuit_board,
    )
}
