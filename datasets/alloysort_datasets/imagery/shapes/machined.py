"""Machined and forged forms, and the turnings they leave."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from alloysort_datasets.imagery.fields import Plane, axes, blur, bounded, cover, plane, step, turned
from alloysort_datasets.imagery.shapes.relief import (
    Relief,
    Rng,
    box,
    disc,
    dome,
    drilled,
    f32,
    melt,
    nothing,
    rod,
    tilt,
    walk,
)


def machined_block(rng: Rng, n: int) -> Relief:
    """A milled part or a sawn block: flat faces, pockets, bores, chamfers, cutter marks."""
    x, y = axes(n)
    if rng.random() < 0.3:
        distance = disc(n, 0, 0, 0.88)
    else:
        distance = box(x, y, 0.88, rng.uniform(0.4, 0.88), rng.uniform(0, 0.2))
    if rng.random() < 0.5:
        notch = box(x - f32(rng.uniform(0.4, 0.9)), y - f32(rng.uniform(-0.8, 0.8)), 0.35, 0.3, 0.03)
        distance = np.maximum(distance, -notch)
    mask = cover(distance)
    chamfer = rng.uniform(0.02, 0.15)
    height = bounded(-distance, 0, chamfer) * f32(rng.uniform(0.6, 1.6))
    marks = nothing(n)
    for _ in range(int(rng.integers(0, 4))):
        turned_x, turned_y = turned(n, rng.choice([0, np.pi / 2]))
        pocket = box(
            turned_x - f32(rng.uniform(-0.5, 0.5)),
            turned_y - f32(rng.uniform(-0.3, 0.3)),
            rng.uniform(0.1, 0.4),
            rng.uniform(0.08, 0.25),
            0.06,
        )
        inner = step(pocket, 0.0, -rng.uniform(0.01, 0.05))
        height = height - inner * f32(rng.uniform(0.05, 0.3))
    cutter = disc(n, rng.uniform(-1.5, 1.5), rng.uniform(-1.5, 1.5), 0.0)
    marks = np.sin(cutter * f32(rng.uniform(60, 160))) * f32(rng.uniform(0, 0.0015))
    mask, sunk, _ = drilled(rng, n, mask, int(rng.integers(0, 5)), (0.04, 0.2))
    sawn = f32(rng.uniform(0.5, 1.0))
    return Relief(
        height + marks + sunk + tilt(rng, n, 0.1), mask, mask * sawn, grain=rng.uniform(0, 0.7), skin=0.05
    )


def forging(rng: Rng, n: int) -> Relief:
    """A drop forging: lobes and arms with draft and fillets, blasted skin, some faces machined."""
    hubs = [rng.uniform(-0.6, 0.6, 2) * (1, 0.6) for _ in range(int(rng.integers(2, 4)))]
    distance = disc(n, hubs[0][0], hubs[0][1], rng.uniform(0.15, 0.35))
    faces, bores = nothing(n), np.full((n, n), 9, np.float32)
    for before, hub in pairwise(hubs):
        distance = melt(distance, rod(n, before, hub, rng.uniform(0.1, 0.2)), 0.12)
        distance = melt(distance, disc(n, hub[0], hub[1], rng.uniform(0.15, 0.35)), 0.12)
    for hub in hubs:
        size = rng.uniform(0.08, 0.2)
        if rng.random() < 0.6:
            faces = np.maximum(faces, cover(disc(n, hub[0], hub[1], size)))
            bores = np.minimum(bores, disc(n, hub[0], hub[1], size * rng.uniform(0.4, 0.8)))
    inside = bounded(-distance, 0, 1)
    height = dome(inside, rng.uniform(0.1, 0.3)) + faces * f32(0.03) + tilt(rng, n, 0.06)
    web = step(inside, 0.06, 0.12) * (f32(1) - faces) * f32(rng.uniform(0, 0.12))
    mask = cover(distance) * (cover(-bores) if rng.random() < 0.7 else f32(1))
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
        here = (x >= f32(start)) & (x < f32(stop))
        work = rng.choice(["plain", "thread", "hexagon", "knurl", "groove"], p=[0.4, 0.25, 0.15, 0.1, 0.1])
        size = widest * rng.uniform(0.4, 1.0)
        if head:
            work, size = ("hexagon", widest) if index == 0 else ("thread", widest * rng.uniform(0.4, 0.65))
        radius[here] = size
        hexagon[here] = work == "hexagon"
        lead = 2 * np.pi / rng.uniform(0.05, 0.11)
        if work in ("thread", "groove"):
            ridge += here * plane(np.sin((x + y * f32(0.06)) * f32(lead))) * f32(size * 0.06)
        elif work == "knurl":
            ridge += (
                here * plane(np.sin((x + y) * f32(lead)) * np.sin((x - y) * f32(lead))) * f32(size * 0.05)
            )
    radius = plane(cv2.blur(radius, (3, 1)))
    share = bounded(plane(np.abs(y) / np.maximum(radius, f32(0.01))))
    round_ = np.sqrt(f32(1.005) - share * share)
    flat = np.minimum(f32(0.87), (f32(1) - share) * f32(1.73))  # a hexagon lying on a flat
    height = radius * (round_ + hexagon * (flat - round_)) + ridge
    mask = cover(np.maximum(np.abs(y) - radius - ridge, np.abs(x) - f32(0.9)))
    return Relief(height, mask, mask * f32(rng.uniform(0.3, 1)), skin=0.03)


def ring(rng: Rng, n: int) -> Relief:
    """A nut, washer, flange or bush seen end on."""
    distance = disc(n, 0, 0, 0.88)
    radius = distance + f32(0.88)
    if rng.random() < 0.45:
        third = np.pi / 3
        distance = np.maximum.reduce([np.abs(turned(n, k * third)[1]) for k in range(3)]) - f32(0.78)
    bore = rng.uniform(0.2, 0.65)
    height = dome(bounded(-distance, 0, 1), rng.uniform(0.02, 0.12))
    for edge in rng.uniform(bore, 0.85, int(rng.integers(0, 4))):
        height = height + step(radius, edge + 0.01, edge - 0.01) * f32(rng.uniform(-0.1, 0.15))
    height = (
        height + np.sin(radius * f32(rng.uniform(80, 160))) * f32(rng.uniform(0, 0.002)) + tilt(rng, n, 0.1)
    )
    mask = cover(np.maximum(distance, f32(bore) - radius))
    if rng.random() < 0.3:
        for angle in np.arange(4) * np.pi / 2:
            middle = (bore + 0.88) / 2
            hole = disc(n, middle * np.cos(angle), middle * np.sin(angle), (0.88 - bore) * 0.2)
            mask = mask * (f32(1) - cover(hole))
    return Relief(height, mask, mask * f32(rng.uniform(0.3, 1)), skin=0.03)


def turnings(rng: Rng, n: int) -> Relief:
    """Swarf: curled ribbons from the lathe or a clump of short chips."""
    height, mask = nothing(n), np.zeros((n, n), np.uint8)
    for _ in range(int(rng.integers(1, 4))):
        _curl(rng, height, mask)
    covered = plane(cv2.GaussianBlur(mask, (3, 3), 0.7)) * f32(1 / 255)
    return Relief(blur(height, 0.7), covered, covered * f32(0.8), grain=0.0, skin=rng.uniform(0.05, 0.3))


def _curl(rng: Rng, height: Plane, mask: NDArray[np.uint8]) -> None:
    """Draw one helical ribbon, far side first so that the near side covers it."""
    n = height.shape[0]
    turns, radius = rng.uniform(2, 8), rng.uniform(0.06, 0.22)
    angle = np.linspace(0, 2 * np.pi * turns, int(22 * turns))
    spine = walk(rng, 1.2)
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
