"""Rolled forms: sheet, plate, foil, strip, can and radiator."""

from __future__ import annotations

import cv2
import numpy as np

from alloysort_datasets.imagery.fields import (
    Plane,
    axes,
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
from alloysort_datasets.imagery.shapes.relief import Relief, Rng, box, disc, dome, drilled, f32, nothing, tilt


def sheet(rng: Rng, n: int) -> Relief:
    """A sheared offcut: straight edges, burrs, gently bowed, sometimes one bend."""
    outline = corners(rng, int(rng.integers(4, 7)), rng.uniform(0.35, 1.0))
    mask = polygon(ragged(rng, outline, rng.choice([0.0, 0.05, 0.15])), n)
    inside = depth(mask)
    height = clouds(rng, n, 1.5, 2) * f32(rng.uniform(0.01, 0.07)) + tilt(rng, n, 0.06)
    if rng.random() < 0.5:
        height = height + folds(rng, n, 1, 0.04) * f32(rng.uniform(0.1, 0.6))
    height = height + dome(inside, 0.02) + np.exp(inside * f32(-40)) * f32(rng.uniform(0, 0.03))
    mask, sunk, bores = drilled(rng, n, mask, int(rng.poisson(0.6)), (0.04, 0.14))
    return Relief(height + sunk, mask, np.maximum(bores, step(inside, 0.03, 0.0)), grain=rng.uniform(0.3, 1))


def crumpled_sheet(rng: Rng, n: int) -> Relief:
    """Shredder output: torn outline, folds, dents, flaps folded over."""
    outline = corners(rng, int(rng.integers(5, 10)), rng.uniform(0.5, 1.0), 0.8)
    mask = polygon(ragged(rng, outline, rng.uniform(0.02, 0.18)), n)
    height = folds(rng, n, int(rng.integers(3, 7)), rng.uniform(0.01, 0.06)) * f32(rng.uniform(0.3, 0.8))
    height = height + clouds(rng, n, 3, 3) * f32(rng.uniform(0.02, 0.08))
    height = height + facets(rng, n, 4) * f32(rng.uniform(0, 0.12))
    for _ in range(int(rng.integers(0, 3))):
        flap = corners(rng, int(rng.integers(3, 6)), rng.uniform(0.4, 1.0)) * rng.uniform(0.3, 0.6)
        over = polygon(ragged(rng, flap + rng.uniform(-0.5, 0.5, 2), 0.15), n) * mask
        lifted = height * f32(rng.uniform(-0.6, 0.6)) + tilt(rng, n, 0.3) + f32(0.1)
        height = plane(height + over * (lifted - height + f32(float(np.abs(height).mean()))))
    inside = depth(mask)
    height = height + dome(inside, 0.03)
    return Relief(height, mask, step(inside, 0.025, 0.0), grain=rng.uniform(0, 0.7))


def plate(rng: Rng, n: int) -> Relief:
    """Thick flat stock: sawn or plasma-cut edges, flat top."""
    outline = corners(rng, int(rng.integers(4, 6)), rng.uniform(0.4, 1.0), rng.uniform(0.1, 0.5))
    mask = polygon(ragged(rng, outline, rng.choice([0.0, 0.02, 0.08])), n)
    inside = depth(mask)
    bevel = rng.uniform(0.02, 0.08)
    height = bounded(inside * f32(1 / bevel)) * f32(rng.uniform(0.04, 0.2)) + tilt(rng, n, 0.05)
    height = height + clouds(rng, n, 2, 2) * f32(rng.uniform(0, 0.015))
    if rng.random() < 0.3:  # a plane along one edge is sheared down
        along, _ = turned(n, rng.uniform(0, np.pi))
        height = height - bounded(along - f32(rng.uniform(0.2, 0.6)), 0, 1) * f32(rng.uniform(0.3, 1.0))
    mask, sunk, bores = drilled(rng, n, mask, int(rng.poisson(0.7)), (0.05, 0.16))
    return Relief(height + sunk, mask, np.maximum(bores, step(inside, bevel, 0)), grain=rng.uniform(0.1, 0.8))


def foil(rng: Rng, n: int) -> Relief:
    """Thin foil balled or crushed: small sharp faces everywhere."""
    outline = corners(rng, int(rng.integers(6, 11)), rng.uniform(0.5, 1.0), 0.7)
    mask = polygon(ragged(rng, outline, rng.uniform(0.15, 0.4)), n)
    fine = facets(rng, n, int(rng.integers(9, 18)), 0.6) * f32(rng.uniform(0.02, 0.06))
    coarse = facets(rng, n, int(rng.integers(3, 6)), 0.5) * f32(rng.uniform(0.05, 0.2))
    ball = dome(depth(mask), rng.uniform(0.05, 0.5)) * f32(rng.uniform(0.3, 1))
    return Relief(fine + coarse + ball, mask, nothing(n), grain=rng.uniform(0, 0.3))


def strip(rng: Rng, n: int) -> Relief:
    """A narrow flat bar or busbar: straight or bent on edge, often drilled in line."""
    x, y = axes(n)
    half, bow = rng.uniform(0.08, 0.25), rng.normal(0, 0.15)
    across = y - f32(bow) * x * x
    distance = box(x - f32(rng.normal(0, 0.15)) * y, across, 0.92, half, rng.uniform(0, 0.03))
    mask = cover(distance)
    height = dome(bounded(-distance, 0, 1), rng.uniform(0.015, 0.05)) + tilt(rng, n, 0.06)
    for _ in range(int(rng.integers(0, 3))):
        bend = x - f32(rng.uniform(-0.8, 0.8)) + y * f32(rng.normal(0, 0.2))
        height = height + np.sqrt(bend * bend + f32(0.002)) * f32(rng.normal(0, 0.3))
    fresh = step(f32(0.9) - np.abs(x), 0.03, 0)
    for place in np.linspace(-0.75, 0.75, int(rng.integers(2, 7))) if rng.random() < 0.5 else ():
        hole = disc(n, place, bow * place**2, half * 0.4)
        mask = mask * (f32(1) - cover(hole))
        fresh = np.maximum(fresh, cover(hole - f32(0.02)))
    return Relief(height, mask, fresh, grain=rng.uniform(0.3, 0.9))


def can(rng: Rng, n: int) -> Relief:
    """A drinks can or a part of one, dented or crushed flat, printed or bare."""
    x, y = axes(n)
    half = rng.uniform(0.4, 0.62)
    waist = clouds(rng, n, 3, 2) * f32(0.04)
    distance = box(x + waist, y + waist, 0.88, half, 0.1)
    if rng.random() < 0.4:
        torn = polygon(ragged(rng, corners(rng, 6, 0.9, 0.8) * 1.1 + rng.normal(0, 0.15, 2), 0.3), n)
        mask = cover(distance) * torn
    else:
        mask = cover(distance)
    across = bounded(np.abs(y) * f32(1 / half), 0, 1)
    height = np.sqrt(f32(1.02) - across * across) * f32(half * rng.uniform(0.3, 1.0))
    rings = np.sin(x * f32(rng.uniform(8, 22)) + clouds(rng, n, 2, 2) * f32(0.8)) * clouds(rng, n, 2, 1)
    height = height + rings * f32(rng.uniform(0.0, 0.045))
    height = height + facets(rng, n, int(rng.integers(3, 7)), 0.4) * f32(rng.uniform(0.02, 0.12))
    height = height - step(np.abs(x), 0.72, 0.9) * f32(rng.uniform(0.05, 0.25))  # the neck
    rim = step(np.abs(np.abs(x) - f32(0.84)), 0.03, 0.0)
    artwork = _artwork(rng, n) if rng.random() < 0.75 else None
    if artwork is not None:
        artwork[..., 3] *= step(np.abs(x), 0.8, 0.74)
    return Relief(height + rim * f32(0.04), mask, rim, grain=rng.uniform(0.2, 0.8), print=artwork)


def _artwork(rng: Rng, n: int) -> Plane:
    """Printed colours: a ground, bands, blobs and something like lettering."""
    x, y = axes(n)
    picture = np.ones((n, n, 4), np.float32)
    picture[..., :3] = rng.random(3) ** 2
    for _ in range(int(rng.integers(1, 4))):
        where = bounded(clouds(rng, n, rng.uniform(1, 4), 2) * f32(6) - f32(rng.uniform(0, 6)))
        if rng.random() < 0.5:
            where = step(np.abs((x if rng.random() < 0.5 else y) - f32(rng.uniform(-0.6, 0.6))), 0.12, 0.1)
        picture[..., :3] += where[..., None] * (plane(rng.random(3) ** 2) - picture[..., :3])
    letters = plane(
        cv2.resize(plane(rng.random((5, 14)) < 0.5), (n, n // 4), interpolation=cv2.INTER_NEAREST)
    )
    top = int(rng.integers(n // 5, n // 2))
    rows = slice(top, top + n // 4)
    picture[rows, :, :3] += (letters * f32(rng.choice([0.0, 0.9])))[..., None] * (
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
    phase = (y + sway * f32(rng.uniform(0, 0.04))) * f32(1 / pitch)
    tube = step(np.abs(phase - np.round(phase)), rng.uniform(0.16, 0.25), 0.12)
    pleats = np.sin((x + sway * f32(rng.uniform(0, 0.06))) * f32(rng.uniform(40, 80)))
    bent = step(clouds(rng, n, 4, 2), 0.3, 1.0) * f32(rng.uniform(0, 1))
    fin = pleats * f32(0.022) * (f32(1) - bent) - f32(0.03)
    height = tube * f32(0.05) + (f32(1) - tube) * fin + folds(rng, n, 2, 0.1) * f32(rng.uniform(0, 0.25))
    return Relief(height, mask, nothing(n), grain=0.2)


# extruded, drawn ------------------------------------------------------------------------------------------
