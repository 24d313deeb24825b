"""What is no metal: rubble, rubber, wood, textile, circuit boards."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

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
)
from alloysort_datasets.imagery.shapes.relief import (
    Relief,
    Rng,
    box,
    broken,
    dome,
    drilled,
    f32,
    nothing,
    tilt,
)


def lump(rng: Rng, n: int) -> Relief:
    """A broken lump: stone, concrete, slag, rubber."""
    outline = corners(rng, int(rng.integers(6, 11)), rng.uniform(0.55, 1.0), 0.4)
    mask = polygon(ragged(rng, outline, rng.uniform(0.02, 0.07)), n)
    round_ = dome(depth(mask), rng.uniform(0.2, 0.6))
    height = round_ + facets(rng, n, int(rng.integers(3, 6)), 0.4) * f32(rng.uniform(0.03, 0.15))
    height = height + clouds(rng, n, 8, 4, 0.7) * f32(rng.uniform(0.005, 0.025))
    return Relief(height, mask, nothing(n), skin=rng.uniform(0.3, 1.2))


def brick(rng: Rng, n: int) -> Relief:
    """A brick or half of one, edges chipped."""
    x, y = axes(n)
    distance = box(x, y, 0.85, rng.uniform(0.4, 0.8), 0.04) + clouds(rng, n, 5, 3) * f32(0.025)
    height = (
        dome(bounded(-distance, 0, 1), 0.08) + clouds(rng, n, 9, 4, 0.7) * f32(0.012) + tilt(rng, n, 0.06)
    )
    relief = Relief(height, cover(distance), nothing(n), skin=rng.uniform(0.4, 1.0))
    return broken(rng, relief) if rng.random() < 0.7 else relief


def shard(rng: Rng, n: int) -> Relief:
    """A sharp flat splinter with conchoidal edges: glass, ceramic, a flake of paint."""
    outline = corners(rng, int(rng.integers(3, 6)), rng.uniform(0.3, 0.9), 0.7)
    mask = polygon(ragged(rng, outline, rng.choice([0.0, 0.06])), n)
    inside = depth(mask)
    height = bounded(inside * f32(10), 0, 1) * f32(rng.uniform(0.03, 0.12)) + clouds(rng, n, 1.2, 2) * f32(
        0.08
    )
    return Relief(height, mask, step(inside, rng.uniform(0.03, 0.09), 0.0))


def tread(rng: Rng, n: int) -> Relief:
    """A slab of rubber with grooves, ragged at the edges."""
    x, y = axes(n)
    outline = corners(rng, int(rng.integers(5, 9)), rng.uniform(0.4, 0.9), 0.6)
    mask = polygon(ragged(rng, outline, rng.uniform(0.05, 0.25)), n)
    wave = np.sin(x * f32(rng.uniform(5, 12))) * f32(rng.uniform(0, 0.12))
    pitch = rng.uniform(3, 8)
    grooves = step(np.abs(np.sin((y + wave) * f32(pitch))), 0.25, 0.1) * f32(rng.uniform(0.02, 0.1))
    height = dome(depth(mask), 0.12) - grooves + clouds(rng, n, 2, 3) * f32(0.06)
    return Relief(height, mask, nothing(n), skin=rng.uniform(0.1, 0.5))


def plank(rng: Rng, n: int) -> Relief:
    """A splintered length of wood."""
    x, y = axes(n)
    half = rng.uniform(0.15, 0.6)
    rings = y + clouds(rng, n, 1.5, 2) * f32(0.06)
    splinter = np.interp(y, np.linspace(-half, half, 26), rng.normal(0, rng.uniform(0.01, 0.14), 26))
    distance = np.maximum(np.abs(x + splinter.astype(np.float32)) - f32(0.8), np.abs(y) - f32(half))
    lines = np.sin(rings * f32(rng.uniform(30, 70)) + clouds(rng, n, 3, 2))
    height = dome(bounded(-distance, 0, 1), 0.03) + lines * f32(0.002) + tilt(rng, n, 0.08)
    dark = np.ones((n, n, 4), np.float32) * plane([0.2, 0.11, 0.05, 1.0])
    dark[..., 3] = bounded(lines * f32(0.25) + f32(0.15))
    return Relief(height, cover(distance), nothing(n), grain=0.6, skin=0.4, print=dark)


def rag(rng: Rng, n: int) -> Relief:
    """Fabric, foam or paper: soft folds, frayed."""
    outline = corners(rng, int(rng.integers(5, 9)), rng.uniform(0.5, 1.0), 0.7)
    mask = polygon(ragged(rng, outline, rng.uniform(0.1, 0.35)), n)
    x, y = axes(n)
    weave = np.sin(x * f32(140)) * np.sin(y * f32(140)) * f32(rng.uniform(0, 0.004))
    height = folds(rng, n, 5, 0.15) * f32(rng.uniform(0.1, 0.5)) + clouds(rng, n, 3, 2) * f32(0.08) + weave
    return Relief(height + dome(depth(mask), 0.06), mask, nothing(n), skin=rng.uniform(0.2, 0.8))


def circuit_board(rng: Rng, n: int) -> Relief:
    """A printed circuit board or a part of one: traces, pads, chips, capacitors, connectors."""
    x, y = axes(n)
    distance = box(x, y, 0.88, rng.uniform(0.45, 0.88), 0.02)
    mask = cover(distance)
    if rng.random() < 0.5:
        mask = mask * polygon(ragged(rng, corners(rng, 6, 1.0, 0.5) * 1.25, 0.08), n)
    picture = np.zeros((n, n, 4), np.float32)
    tracks = np.zeros((n, n), np.uint8)
    for _ in range(int(rng.integers(8, 30))):
        _track(rng, tracks)
    picture[..., :3] = plane([0.2, 0.35, 0.15]) * plane(rng.uniform(0.6, 1.4, 3))
    picture[..., 3] = plane(tracks) * f32(rng.uniform(0.1, 0.5) / 255)
    height = step(distance, 0, -0.03) * f32(0.04) + plane(tracks) * f32(0.003 / 255) + tilt(rng, n, 0.04)
    for _ in range(int(rng.integers(10, 45))):
        _mount(rng, height, picture)
    mask, sunk, _ = drilled(rng, n, mask, int(rng.integers(0, 4)), (0.03, 0.07))
    return Relief(height + sunk, mask, nothing(n), print=picture)


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
