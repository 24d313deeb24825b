"""Extruded and drawn forms: profile, tube, wire and cable."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from alloysort_datasets.imagery.fields import axes, blur, bounded, clouds, cover, depth, folds, plane, step
from alloysort_datasets.imagery.shapes.relief import Relief, Rng, disc, drilled, f32, nothing, tilt, walk


def extrusion(rng: Rng, n: int) -> Relief:
    """A length of profile: one cross-section all along, ends cut or sheared, sometimes bent or crushed."""
    x, y = axes(n)
    half, bow = rng.uniform(0.18, 0.6), rng.normal(0, 0.08)
    across = y - f32(bow) * x * x
    slanted = x - f32(rng.normal(0, 0.25)) * y
    height = np.interp(across / f32(half), *_profile(rng)).astype(np.float32) * f32(min(half, 0.35))
    sheared = rng.random() < 0.5
    ends = slanted + clouds(rng, n, 5, 3) * f32(0.03 if sheared else 0.0)
    mask = cover(np.maximum(np.abs(ends) - f32(rng.uniform(0.55, 0.92)), np.abs(across) - f32(half)))
    if sheared:
        crushed = step(np.abs(slanted), 0.4, 0.9)
        height = height * (f32(1) - crushed * f32(rng.uniform(0.2, 0.9)))
        height = height + crushed * folds(rng, n, 2, 0.05) * f32(rng.uniform(0, 0.3))
    if rng.random() < 0.4:
        kink = x - f32(rng.uniform(-0.5, 0.5)) + y * f32(rng.normal(0, 0.5))
        height = height + np.sqrt(kink * kink + f32(0.003)) * f32(rng.normal(0, 0.3))
    height = height + tilt(rng, n, 0.05)
    mask, sunk, bores = drilled(rng, n, mask, int(rng.poisson(0.5)), (0.03, 0.1))
    cut = step(f32(0.05) - depth(mask), 0.03, 0.05) * step(np.abs(x), 0.4, 0.5)
    return Relief(height + sunk, mask, np.maximum(cut, bores), grain=rng.uniform(0.5, 1.0))


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
    across = (y - f32(bow) * x * x) * f32(1 / half)
    ends = np.abs(x - f32(rng.normal(0, 0.3)) * y) - f32(rng.uniform(0.6, 0.9))
    ends = ends + bounded(across, -1, 1) ** 2 * f32(rng.uniform(0, 0.08))  # a round end seen a little askew
    mask = cover(np.maximum(ends, (np.abs(across) - f32(1)) * f32(half)))
    round_ = np.sqrt(f32(1.01) - bounded(across * across, 0, 1)) * f32(half * rng.uniform(0.5, 1))
    if rng.random() < 0.5:
        flat = step(x, rng.uniform(-0.8, 0.3), 0.8) * f32(rng.uniform(0.3, 0.9))
        round_ = round_ * (f32(1) - flat) + clouds(rng, n, 3, 2) * flat * f32(0.05)
    bore = step(ends, -0.05, -0.02) * step(np.abs(across), 0.85, 0.7)
    height = round_ - bore * f32(half) + tilt(rng, n, 0.04)
    return Relief(height, mask, step(ends, -0.06, -0.02), grain=rng.uniform(0.2, 0.9))


def wire(rng: Rng, n: int) -> Relief:
    """One thick wire or a tangle of thin ones."""
    strands = int(rng.choice([1, 2, 3, 5]))
    return _strands(rng, n, strands, rng.uniform(0.02, 0.09) / np.sqrt(strands), rng.uniform(0.5, 3.0))


def cable(rng: Rng, n: int) -> Relief:
    """A length of sheathed cable, stiff and evenly curved; the conductor may show at an end."""
    return _strands(rng, n, int(rng.choice([1, 1, 2, 3])), rng.uniform(0.04, 0.1), rng.uniform(0.5, 2.0))


def _strands(rng: Rng, n: int, count: int, radius: float, curl: float) -> Relief:
    height, mask, fresh = nothing(n), nothing(n), nothing(n)
    for _ in range(count):
        points = walk(rng, curl)
        canvas = np.full((n, n), 255, np.uint8)
        pixels = np.round(((points + 1) * (n / 2) - 0.5) * 16).astype(np.int32)
        cv2.polylines(canvas, [pixels], isClosed=False, color=0, thickness=1, shift=4)
        distance = blur(plane(cv2.distanceTransform(canvas, cv2.DIST_L2, 5)), 0.5) * f32(2 / n)
        lift = f32(rng.uniform(0, 2 * radius))
        share = bounded(distance * f32(1 / radius))
        body = cover(distance - f32(max(radius, 2.4 / n)))
        tall = np.sqrt(f32(1.01) - share * share) * f32(radius) + lift
        height = height + body * np.maximum(tall - height, 0)
        fresh = np.maximum(fresh, cover(disc(n, points[0, 0], points[0, 1], 2.2 * radius)) * body)
        mask = np.maximum(mask, body)
    return Relief(height, mask, fresh, grain=0.0)


# machined, forged -----------------------------------------------------------------------------------------
