"""What a belt camera adds to a piece: the belt under it, the lens, the line scan and the sensor before it.

None of it knows the piece: belt, wear, light, blur and noise are drawn alike for every family.
"""

from __future__ import annotations

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
    normal,
    plane,
    speckle,
    step,
    streaks,
    thrice,
    tinted,
)

LEVELS: Final = 8192  # of light the tone curve is tabulated for
BRIGHTEST: Final = 6.0  # light beyond is white whatever the curve
BELTS: Final = (  # diffuse reflectance, linear sRGB: PVC, PU and rubber belts on the market
    (0.025, 0.025, 0.027),  # black rubber
    (0.05, 0.05, 0.055),  # worn black
    (0.16, 0.16, 0.165),  # grey
    (0.35, 0.35, 0.34),  # light grey
    (0.03, 0.16, 0.07),  # green PVC
    (0.02, 0.09, 0.05),  # dark green
    (0.03, 0.10, 0.30),  # blue PU
    (0.05, 0.20, 0.40),  # light blue
    (0.70, 0.70, 0.68),  # white
    (0.30, 0.24, 0.16),  # dusty brown
)


def _f(value: float) -> np.float32:
    return np.float32(value)


def lay_belt(rng: np.random.Generator, n: int) -> Plane:
    """Diffuse reflectance (n, n, 3) of a belt: colour, weave, wear along its travel, dust and stains."""
    colour = plane(BELTS[int(rng.integers(len(BELTS)))]) * plane(
        np.exp(rng.normal(0, 0.05, 3) + rng.normal(0, 0.15))
    )
    shade = clouds(rng, n, 3, 4, 0.6) * _f(rng.uniform(0.02, 0.15))
    shade = shade + speckle(rng, n) * _f(rng.uniform(0.0, 0.06))
    shade = shade + streaks(rng, n, np.pi / 2, 1.0) * _f(rng.uniform(0.0, 0.12))
    if rng.random() < 0.35:
        shade = shade + _weave(rng, n)
    belt = tinted(np.exp(shade), colour)
    dust = bounded(clouds(rng, n, rng.uniform(2, 9), 4, 0.7) * _f(0.25) + _f(rng.uniform(-0.4, 0.35)))
    dust = dust * _f(rng.uniform(0, 0.6))
    belt = belt * thrice(_f(1) - dust) + tinted(dust, _dust(rng))
    if rng.random() < 0.6:
        crumbs = step(clouds(rng, n, n / 4, 1), rng.uniform(1.9, 2.8), 3.2)
        belt = belt * thrice(_f(1) - crumbs) + tinted(crumbs, _dust(rng) * rng.uniform(0.5, 2.0))
    return bounded(belt, 0.004, 0.95)


def _dust(rng: np.random.Generator) -> NDArray[np.float64]:
    return np.array([1.0, rng.uniform(0.85, 1.0), rng.uniform(0.65, 1.0)]) * rng.uniform(0.08, 0.4)


def _weave(rng: np.random.Generator, n: int) -> Plane:
    """Fabric, diamonds or chevrons pressed into a belt."""
    x, y = axes(n)
    pitch = _f(rng.uniform(20, 90))
    across = np.abs(x) if rng.random() < 0.3 else x
    slant = _f(rng.choice([0.0, 0.5, 1.0]))
    pattern = plane(np.sin((across + slant * y) * pitch) * np.sin((y - slant * across) * pitch))
    return pattern * _f(rng.uniform(0.02, 0.15))


def shadowed(rng: np.random.Generator, mask: Plane, lamp: NDArray[np.float64], hardness: float) -> Plane:
    """Light left on the belt around a piece, 0 to 1: a cast shadow and the dark line where it rests.

    Args:
        rng: source of chance, for how high the piece stands.
        mask: (n, n) coverage by the piece.
        lamp: where most light comes from, x, y, z.
        hardness: 0 to 1.
    """
    n = mask.shape[0]
    tall = rng.uniform(0.01, 0.09) * n
    lean = -lamp[:2] / max(float(lamp[2]), 0.2) * tall
    shift = np.array([[1, 0, lean[0]], [0, 1, lean[1]]])
    cast = plane(cv2.warpAffine(mask, shift, (n, n), flags=cv2.INTER_LINEAR))
    cast = blur(cast, max(1.0, tall * (1.3 - hardness) * 0.6))
    contact = blur(mask, max(1.0, tall * 0.35))
    return (_f(1) - cast * _f(0.2 + 0.55 * hardness)) * (_f(1) - contact * _f(rng.uniform(0.3, 0.7)))


def photograph(rng: np.random.Generator, scene: Plane) -> NDArray[np.uint8]:
    """A scene's radiance (n, n, 3) as the camera delivers it, (n, n, 3) RGB.

    Focus and line-scan motion blur, uneven light across the belt, dust on the lens, exposure, white balance,
    shot and read noise, tone curve. JPEG comes later, with the encoder.
    """
    n = scene.shape[0]
    seen = _moved(rng, blur(scene, 0.3 + float(rng.gamma(2.0, 0.22))))
    warmth, green = rng.normal(0, 0.06), rng.normal(0, 0.02)
    gain = np.exp(np.array([warmth, green, -warmth]) + rng.normal(-0.25, 0.3))
    exposed = seen * tinted(_uneven(rng, n), gain)
    full_well, read = rng.uniform(1500, 12000), rng.uniform(0.0005, 0.006)
    spread = np.sqrt(exposed * _f(1 / full_well) + _f(read**2))
    noisy = exposed + spread * plane(cv2.merge([speckle(rng, n) for _ in range(3)]))
    levels = bounded(noisy * _f(LEVELS / BRIGHTEST), 0, LEVELS - 1).astype(np.uint16)
    return _tone(rng.uniform(0, 1)).take(levels)


def _tone(shoulder: float) -> NDArray[np.uint8]:
    """The camera's output for each level of light: cut at white or rolled off, then encoded as sRGB."""
    linear = np.linspace(0, BRIGHTEST, LEVELS)
    toned = np.minimum(linear * (1 - shoulder) + shoulder * 1.15 * -np.expm1(-linear), 1)
    encoded = np.where(toned <= 0.0031308, 12.92 * toned, 1.055 * toned ** (1 / 2.4) - 0.055)
    return np.round(255 * encoded).astype(np.uint8)


def _moved(rng: np.random.Generator, scene: Plane) -> Plane:
    """Smear along the belt's travel, down the picture."""
    length = rng.uniform(0, 2.5)
    if length < 0.7:
        return scene
    reach = int(np.ceil(length / 2))
    weight = np.clip(length / 2 - np.abs(np.arange(-reach, reach + 1)) + 0.5, 0, 1)
    kernel = (weight / weight.sum())[:, None]
    return plane(cv2.filter2D(scene, -1, kernel, borderType=cv2.BORDER_REFLECT_101))


def _uneven(rng: np.random.Generator, size: int) -> Plane:
    """Light falling off across the belt, dust on the lens as stripes along it, flicker from line to line."""
    across = np.linspace(-1, 1, size, dtype=np.float32)
    fall = _f(1) + across * _f(rng.normal(0, 0.1)) - across * across * _f(rng.uniform(0, 0.12))
    for _ in range(int(rng.poisson(0.4))):
        stripe = np.exp(-(((across - _f(rng.uniform(-1, 1))) / _f(rng.uniform(0.01, 0.06))) ** 2))
        fall = fall * (_f(1) - stripe * _f(rng.uniform(0.05, 0.3)))
    lines = _f(1) + normal(rng, size) * _f(rng.uniform(0, 0.008))
    return np.asarray(lines[:, None] * fall[None, :])
