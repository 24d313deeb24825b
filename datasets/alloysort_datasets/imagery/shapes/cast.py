"""Cast forms, and what is left of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from alloysort_datasets.imagery.fields import (
    Plane,
    axes,
    blur,
    bounded,
    clouds,
    cover,
    plane,
    step,
)
from alloysort_datasets.imagery.shapes.relief import (
    Relief,
    Rng,
    box,
    broken,
    disc,
    dome,
    f32,
    melt,
    nothing,
    rod,
    tilt,
)


def casting(rng: Rng, n: int) -> Relief:
    """A whole casting or most of one: walls, ribs, bosses, fillets, rough skin, machined faces."""
    relief = _cast(
        rng, n, wall=rng.uniform(0.06, 0.16), ribs=int(rng.integers(0, 4)), skin=rng.uniform(0.3, 1.0)
    )
    return broken(rng, relief) if rng.random() < 0.35 else relief


def die_casting(rng: Rng, n: int) -> Relief:
    """A thin-walled die casting: many ribs and bosses, smooth skin, ejector marks."""
    relief = _cast(
        rng, n, wall=rng.uniform(0.03, 0.07), ribs=int(rng.integers(2, 7)), skin=rng.uniform(0.05, 0.3)
    )
    return broken(rng, relief) if rng.random() < 0.35 else relief


def casting_fragment(rng: Rng, n: int) -> Relief:
    """A piece broken out of a casting: granular fracture along its edges."""
    relief = _cast(
        rng, n, wall=rng.uniform(0.08, 0.25), ribs=int(rng.integers(0, 3)), skin=rng.uniform(0.2, 1.0)
    )
    return broken(rng, broken(rng, relief))


def _body(rng: Rng, n: int, aspect: float) -> Plane:
    """Distance to the outline of a main body: a box, a round housing, an arm, a spoked or lobed part."""
    x, y = axes(n)
    warp = clouds(rng, n, 1.5, 2) * f32(rng.uniform(0.0, 0.1))
    kind = rng.choice(["box", "round", "arm", "spokes", "lobes"], p=[0.36, 0.22, 0.24, 0.08, 0.1])
    if kind == "box":
        return box(x + warp, y + warp, 0.85, 0.85 * aspect, rng.uniform(0.05, 0.4))
    if kind == "round":
        return plane(np.sqrt((x + warp) ** 2 + ((y + warp) * f32(1 / aspect)) ** 2)) - f32(0.85)
    if kind == "arm":
        joint = rng.uniform(-0.3, 0.3, 2)
        ends = joint + np.array([[-0.5, 0.1], [0.5, rng.uniform(-0.5, 0.5)]])
        arms = [rod(n, joint, end, rng.uniform(0.15, 0.3)) for end in ends]
        return melt(arms[0], arms[1], 0.1) + warp * f32(0.5)
    angle = plane(np.arctan2(y, x))
    count = int(rng.integers(3, 7))
    radius = plane(np.sqrt(x * x + y * y))
    if kind == "spokes":
        spoke = (
            radius * plane(np.abs(np.sin((angle - f32(rng.uniform(0, 6))) * f32(count / 2)))) * f32(2 / count)
        )
        hub = np.minimum(radius - f32(rng.uniform(0.2, 0.3)), f32(0.72) - radius)
        return plane(np.maximum(np.minimum(spoke - f32(rng.uniform(0.07, 0.13)), hub), radius - f32(0.9)))
    wave = plane(np.cos(angle * f32(count) + f32(rng.uniform(0, 6)))) * f32(rng.uniform(0.03, 0.1))
    return plane(radius - f32(0.7) + wave + warp)


def _cast(rng: Rng, n: int, wall: float, ribs: int, skin: float) -> Relief:
    aspect = rng.uniform(0.45, 0.95)
    distance = _body(rng, n, aspect)
    for _ in range(int(rng.integers(0, 3))):
        x0, y0 = _spot(rng, aspect)
        distance = melt(distance, disc(n, x0, y0, rng.uniform(0.15, 0.3)), 0.1)
    inside = bounded(-distance, 0, 2)
    height = dome(inside, rng.uniform(0.05, 0.15))
    if rng.random() < 0.75:  # a shell: open side up
        height = height - step(inside, wall, wall + 0.05) * f32(rng.uniform(0.1, 0.35))
    for _ in range(ribs):
        rib = rod(n, _spot(rng, aspect), _spot(rng, aspect), rng.uniform(0.02, 0.05))
        height = np.maximum(
            height, step(rib, 0.04, 0.0) * f32(rng.uniform(0.02, 0.12)) + height.min() * f32(0.4)
        )
    mask, fresh = cover(distance), nothing(n)
    for _ in range(int(rng.integers(1, 5))):
        place, size = _spot(rng, aspect), rng.uniform(0.07, 0.2)
        boss = disc(n, place[0], place[1], size)
        height = np.maximum(height, step(boss, 0.05, 0.0) * f32(rng.uniform(0.05, 0.2)))
        if rng.random() < 0.7:
            bore = cover(disc(n, place[0], place[1], size * rng.uniform(0.3, 0.7)))
            height = height - bore * f32(0.3)
        if rng.random() < 0.5:
            fresh = np.maximum(fresh, cover(boss))
    if rng.random() < 0.4:  # the sealing face is milled
        fresh = np.maximum(fresh, step(inside, wall, wall - 0.02) * f32(rng.uniform(0.6, 1)))
    rough = clouds(rng, n, 14, 3, 0.8) * f32(0.006 * skin)
    height = blur(height, 1.6) + rough * (f32(1) - fresh) + tilt(rng, n, 0.07)
    return Relief(height, mask, fresh * mask, skin=skin)


def _spot(rng: Rng, aspect: float) -> NDArray[np.float64]:
    return np.asarray(rng.uniform(-0.75, 0.75, 2) * (1.0, aspect))


# not metal ------------------------------------------------------------------------------------------------
