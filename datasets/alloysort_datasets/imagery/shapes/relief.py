"""A piece as a relief seen from above, and the solids that forms are put together from.

Heights are in half widths of the plane, so a slope is a slope whatever the resolution.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alloysort_datasets.imagery.fields import Plane, axes, bounded, clouds, cover, facets, plane, step, turned


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


def nothing(n: int) -> Plane:
    """A flat plane at 0."""
    return np.zeros((n, n), np.float32)


def f32(value: float) -> np.float32:
    """A float32, so that planes stay float32."""
    return np.float32(value)


# distances, negative inside -------------------------------------------------------------------------------


def disc(n: int, x0: float, y0: float, radius: float) -> Plane:
    """(n, n) distance to a disc, negative inside."""
    x, y = axes(n)
    return plane(np.sqrt((x - f32(x0)) ** 2 + (y - f32(y0)) ** 2) - f32(radius))


def box(x: Plane, y: Plane, half_x: float, half_y: float, round_: float = 0.0) -> Plane:
    """Distance to a rectangle of rounded corners, negative inside."""
    across_x, across_y = np.abs(x) - f32(half_x - round_), np.abs(y) - f32(half_y - round_)
    outside = plane(np.sqrt(bounded(across_x, 0, 9) ** 2 + bounded(across_y, 0, 9) ** 2))
    return outside + bounded(np.maximum(across_x, across_y), -9, 0) - f32(round_)


def rod(n: int, start: NDArray[np.float64], stop: NDArray[np.float64], radius: float) -> Plane:
    """(n, n) distance to a rod between two points (2,), negative inside."""
    x, y = axes(n)
    run = stop - start
    dx, dy = x - f32(start[0]), y - f32(start[1])
    share = bounded((dx * f32(run[0]) + dy * f32(run[1])) * f32(1 / max(float(run @ run), 1e-6)))
    return plane(np.sqrt((dx - share * f32(run[0])) ** 2 + (dy - share * f32(run[1])) ** 2) - f32(radius))


def melt(first: Plane, second: Plane, fillet: float) -> Plane:
    """Union of two bodies with a fillet between them (polynomial smooth minimum)."""
    share = bounded(f32(0.5) + (second - first) * f32(0.5 / fillet))
    return second + (first - second) * share - f32(fillet) * share * (f32(1) - share)


def dome(inside: Plane, radius: float) -> Plane:
    """A rounded edge: the height of a quarter circle `radius` wide, 0 at the outline and flat beyond."""
    rest = f32(1) - bounded(inside * f32(1 / radius))
    return f32(radius) * np.sqrt(f32(1) - rest * rest)


def tilt(rng: Rng, n: int, size: float) -> Plane:
    """The slope at which a piece happens to lie."""
    x, y = axes(n)
    return x * f32(rng.normal(0, size)) + y * f32(rng.normal(0, size))


def drilled(
    rng: Rng, n: int, mask: Plane, count: int, radius: tuple[float, float]
) -> tuple[Plane, Plane, Plane]:
    """Mask after drilling, depth of blind holes and rims, and where the drill left fresh metal."""
    sunk, fresh = nothing(n), nothing(n)
    places = np.argwhere(mask[::4, ::4] > 0.9) * 4
    for _ in range(count if len(places) else 0):
        row, column = places[rng.integers(len(places))]
        size = rng.uniform(*radius)
        hole = disc(n, 2 * column / n - 1, 2 * row / n - 1, size)
        if rng.random() < 0.6:
            mask = mask * (f32(1) - cover(hole))
        else:
            sunk = sunk - cover(hole) * f32(rng.uniform(0.5, 2.0) * size)
        rim = cover(hole - f32(rng.uniform(0.0, 0.05)))
        fresh = np.maximum(fresh, rim)
    return mask, sunk, fresh


# rolled ---------------------------------------------------------------------------------------------------


def walk(rng: Rng, curl: float) -> NDArray[np.float64]:
    """A smooth wandering path of 60 points that fits the plane."""
    turn = np.cumsum(np.interp(np.linspace(0, 7, 60), np.arange(8), rng.normal(0, curl / 12, 8)))
    steps = np.stack((np.cos(turn), np.sin(turn)), axis=1)
    path = np.cumsum(steps, axis=0)
    path -= (path.max(axis=0) + path.min(axis=0)) / 2
    return np.asarray(path / (np.abs(path).max() * 1.18) + rng.normal(0, 0.03, 2))


def broken(rng: Rng, relief: Relief) -> Relief:
    """Break a part away along a jagged line and show the grain of the fracture."""
    n = relief.height.shape[0]
    along, across = turned(n, rng.uniform(0, 2 * np.pi))
    line = across + facets(rng, n, 6) * f32(0.06) + clouds(rng, n, 8, 3) * f32(0.02)
    line = line + along * along * f32(rng.normal(0, 0.2)) - f32(rng.uniform(0.1, 0.55))
    band = step(line, -rng.uniform(0.05, 0.18), -0.02)
    crystal = facets(rng, n, 30, 0.3) * f32(0.02) + clouds(rng, n, 20, 2) * f32(0.008)
    height = relief.height - band * (bounded(line + f32(0.2), 0, 1) * f32(1.2)) + band * crystal
    return Relief(
        height,
        relief.mask * cover(line),
        np.maximum(relief.fresh, band),
        relief.grain,
        relief.skin,
        relief.print,
    )
