"""The skin of a piece: its metal or substance, its finish, and what handling and shredding added.

A finish is a function that draws a skin for a piece of metal; which metal takes which finish, and how often,
is stated in `appearance.toml`. Dust, dirt and scratches come on top of any of them, alike for all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

import cv2
import numpy as np

from alloysort_datasets.imagery.appearance import Look, appearance
from alloysort_datasets.imagery.fields import (
    Plane,
    bounded,
    clouds,
    enlarge,
    normal,
    plane,
    speckle,
    step,
    streaks,
    thrice,
    tinted,
)
from alloysort_datasets.imagery.shapes.relief import Relief

Rng = np.random.Generator


@dataclass(frozen=True, eq=False)
class Skin:
    """What light meets.

    Attributes:
        colour: (n, n, 3) reflectance of metal at normal incidence, or diffuse reflectance, linear sRGB.
        metal: (n, n) 1 where the surface is bare metal.
        rough: (n, n) from 0, as rough as `gloss`, to 1, as rough as `matte`.
        bump: (n, n) fine relief in pixels.
        gloss: Beckmann roughness of the smoother parts.
        matte: of the rougher parts.
        grain: how much rougher across the grain than along it.
        grain_rad: direction of the grain, to the right and down.
        clear: share of light that passes through.
    """

    colour: Plane
    metal: Plane
    rough: Plane
    bump: Plane
    gloss: float
    matte: float
    grain: float
    grain_rad: float
    clear: float = 0.0


def _f(value: float) -> np.float32:
    return np.float32(value)


def _mixed(first: Plane, second: Plane, share: Plane) -> Plane:
    """Colours (n, n, 3) or (3,), the second where share is 1."""
    if first.ndim == 1 and second.ndim == 1:
        parts = zip(first, second - first, strict=True)
        return plane(cv2.merge([start + share * change for start, change in parts]))
    return first + thrice(share) * (second - first)


def _patches(rng: Rng, n: int, share: float, cells: float, soft: float = 0.5) -> Plane:
    """Blotches that cover about a share of the plane, 0 to 1."""
    level = float(np.interp(share, [0.0, 0.03, 0.16, 0.5, 0.84, 0.97, 1.0], [3, 1.9, 1, 0, -1, -1.9, -3]))
    return step(clouds(rng, n, cells, 4, 0.6), level - soft / 2, level + soft / 2)


def _reflectance(metal: str) -> Plane:
    return plane(appearance().metals[metal].reflectance)


def bare(rng: Rng, relief: Relief, metal: Plane, grain_rad: float) -> Skin:
    """Metal as it was rolled, drawn, cast or cut."""
    n = relief.mask.shape[0]
    shine = rng.beta(1.5, 3) * 0.3
    as_made = 0.06 + shine + 0.22 * min(relief.skin, 1.0)
    as_cut = rng.uniform(0.05, 0.25)
    dull = clouds(rng, n, 5, 3) * _f(rng.uniform(0.0, 0.06)) + _f(rng.uniform(0.82, 1.0))
    dull = dull * (_f(1) - (_f(1) - relief.fresh) * _f(0.25 * min(relief.skin, 1)))
    rough = bounded((_f(1) - relief.fresh) * _f(0.85) + clouds(rng, n, 6, 2) * _f(0.2))
    bump = speckle(rng, n) * _f(0.12 * relief.skin + 0.015)
    if relief.grain > 0.05:
        bump = bump + streaks(rng, n, grain_rad) * _f(relief.grain * rng.uniform(0.01, 0.12))
    return Skin(
        colour=tinted(dull, metal),
        metal=np.ones((n, n), np.float32),
        rough=rough,
        bump=bump,
        gloss=min(as_cut, as_made),
        matte=as_made,
        grain=relief.grain,
        grain_rad=grain_rad,
    )


def _film(skin: Skin, share: Plane, colour: Plane, matte: float) -> Skin:
    """Cover a share of the surface with a matt film."""
    return replace(
        skin,
        colour=_mixed(skin.colour, colour, share),
        metal=skin.metal * (_f(1) - share),
        rough=np.maximum(skin.rough, share),
        matte=max(skin.matte, matte),
    )


def oxidised(rng: Rng, relief: Relief, metal: Plane, grain_rad: float) -> Skin:
    """A grey film of oxide: duller, rougher, lighter or darker, patchy."""
    skin = bare(rng, relief, metal * _f(rng.uniform(0.65, 0.95)), grain_rad)
    n = relief.mask.shape[0]
    share = bounded(
        _f(rng.uniform(0.25, 0.8)) + clouds(rng, n, 4, 4, 0.7) * _f(rng.uniform(0.05, 0.25)), 0, 0.95
    )
    share = share * (_f(1) - relief.fresh * _f(rng.uniform(0, 0.6)))
    grey = metal * _f(rng.uniform(0.2, 0.6) / float(metal.mean()))
    return _film(skin, share, grey * _f(0.6) + _f(0.4) * grey.mean(), rng.uniform(0.4, 0.8))


def painted(rng: Rng, relief: Relief, metal: Plane, grain_rad: float) -> Skin:
    """Paint or powder coat in any colour, chipped and scratched to the metal."""
    skin = bare(rng, relief, metal, grain_rad)
    n = relief.mask.shape[0]
    worn = _patches(rng, n, rng.beta(1.2, 4) * 0.9, rng.uniform(4, 14), 0.15)
    coat = bounded(_f(1) - worn - relief.fresh * _f(rng.uniform(0, 1.2)))
    coat = coat * (_f(1) - _scratches(rng, n, rng.poisson(4)))
    gloss = rng.uniform(0.04, 0.4)
    return replace(
        skin,
        colour=_mixed(skin.colour, paint_colour(rng), coat),
        metal=skin.metal * (_f(1) - coat),
        rough=skin.rough * (_f(1) - coat),
        bump=skin.bump * (_f(1) - coat * _f(0.7)) + coat * _f(0.25),
        gloss=gloss,
        matte=max(gloss, skin.matte),
        grain=skin.grain * 0.3,
    )


def paint_colour(rng: Rng) -> Plane:
    """White, black and grey for half of all paint, else any hue; linear sRGB."""
    if rng.random() < 0.5:
        return plane(np.full(3, rng.choice([0.02, 0.06, 0.2, 0.4, 0.75])) * rng.uniform(0.9, 1.1, 3))
    hue, saturation, value = rng.uniform(0, 360), rng.uniform(0.4, 1.0), rng.uniform(0.15, 0.9)
    pixel = np.array([[[hue, saturation, value]]], np.float32)
    return plane(cv2.cvtColor(pixel, cv2.COLOR_HSV2RGB)[0, 0] ** 2.2)


def anodised(rng: Rng, relief: Relief, metal: Plane, grain_rad: float) -> Skin:
    """A clear or dyed oxide over the metal: satin, evenly coloured."""
    skin = bare(rng, relief, metal, grain_rad)
    dyes = [
        (0.8, 0.8, 0.8),
        (0.05, 0.05, 0.05),
        (0.7, 0.5, 0.2),
        (0.35, 0.2, 0.1),
        (0.55, 0.05, 0.05),
        (0.05, 0.12, 0.5),
    ]
    dye = plane(dyes[int(rng.choice(6, p=[0.55, 0.15, 0.1, 0.1, 0.05, 0.05]))]) * _f(rng.uniform(0.8, 1.2))
    coat = _f(1) - relief.fresh * _f(rng.uniform(0.3, 1))
    satin = rng.uniform(0.12, 0.35)
    return replace(
        skin,
        colour=skin.colour * _mixed(plane([1, 1, 1]), bounded(dye, 0, 1), coat),
        rough=coat,
        bump=skin.bump * _f(0.5),
        matte=max(satin, skin.gloss),
    )


def oily(rng: Rng, relief: Relief, metal: Plane, grain_rad: float) -> Skin:
    """Oil and the dirt it holds: dark brown and glossy where it stands."""
    skin = bare(rng, relief, metal * _f(0.85), grain_rad)
    n = relief.mask.shape[0]
    film = _patches(rng, n, rng.uniform(0.3, 0.95), 3, 1.5)
    tint = plane([rng.uniform(0.35, 0.75), rng.uniform(0.3, 0.65), rng.uniform(0.2, 0.5)])
    grime = film * bounded(clouds(rng, n, 6, 4, 0.7) * _f(0.3) + _f(rng.uniform(0.0, 0.6)))
    return replace(
        skin,
        colour=_mixed(skin.colour * _mixed(plane([1, 1, 1]), tint, film), plane([0.03, 0.022, 0.015]), grime),
        metal=skin.metal * (_f(1) - grime),
        rough=skin.rough * (_f(1) - _f(0.7) * film),
        gloss=min(skin.gloss, 0.1),
    )


def dirty(rng: Rng, relief: Relief, metal: Plane, grain_rad: float) -> Skin:
    """Caked soil and shredder fines over most of it."""
    skin = bare(rng, relief, metal, grain_rad)
    n = relief.mask.shape[0]
    return _film(skin, _patches(rng, n, rng.uniform(0.4, 0.9), 4, 1.2), _soil(rng, n), 0.8)


def _soil(rng: Rng, n: int) -> Plane:
    base = plane([1.0, rng.uniform(0.75, 0.95), rng.uniform(0.5, 0.85)]) * _f(rng.uniform(0.04, 0.22))
    return tinted(np.exp(clouds(rng, n, 16, 3) * _f(0.25)), base)


def rusty(rng: Rng, relief: Relief, metal: Plane, grain_rad: float) -> Skin:
    """Iron oxides from orange dust to dark scale, the steel showing here and there."""
    skin = bare(rng, relief, metal * _f(0.85), grain_rad)
    n = relief.mask.shape[0]
    share = _patches(rng, n, rng.beta(2, 1.2), rng.uniform(3, 9), 0.8)
    age = bounded(clouds(rng, n, 8, 4, 0.75) * _f(0.3) + _f(rng.uniform(0.1, 0.9)))
    young = plane([0.38, 0.14, 0.045]) * _f(rng.uniform(0.7, 1.1))
    rust = _mixed(young, plane([0.09, 0.045, 0.03]), age)
    skin = _film(skin, share, rust, rng.uniform(0.6, 0.95))
    return replace(skin, bump=skin.bump + share * clouds(rng, n, n / 5, 1) * _f(0.18))


def mill_scale(rng: Rng, relief: Relief, metal: Plane, grain_rad: float) -> Skin:
    """The blue-black skin of hot rolling, flaking."""
    skin = bare(rng, relief, metal * _f(0.8), grain_rad)
    n = relief.mask.shape[0]
    share = _patches(rng, n, rng.uniform(0.7, 1.0), 5, 0.3)
    share = share * (_f(1) - relief.fresh * _f(rng.uniform(0.3, 1)))
    scale = plane([0.055, 0.06, 0.07]) * _f(rng.uniform(0.6, 1.5))
    return _film(skin, share * _f(0.85), scale, rng.uniform(0.25, 0.5))


def galvanised(rng: Rng, relief: Relief, metal: Plane, grain_rad: float) -> Skin:
    """Zinc over steel: spangle or a dull even grey, white rust, red rust at the edges."""
    zinc = _reflectance("zinc")
    skin = bare(rng, replace(relief, fresh=relief.fresh * _f(0)), zinc, grain_rad)
    n = relief.mask.shape[0]
    crystal = plane(
        cv2.remap(plane(rng.uniform(0.6, 1.0, (24, 24))), *_shattered(rng, n, 24), cv2.INTER_NEAREST)
    )
    spangle = _f(1) - (_f(1) - crystal) * _f(rng.choice([0.0, 0.5, 1.0]))
    skin = replace(skin, colour=skin.colour * thrice(spangle), matte=max(skin.matte, 0.2))
    white_rust = _patches(rng, n, rng.uniform(0, 0.6), 5, 1.5) * _f(0.7)
    skin = _film(skin, white_rust, plane([0.45, 0.46, 0.47]), 0.7)
    edge = relief.fresh * _patches(rng, n, rng.uniform(0, 0.8), 6)
    cut = replace(skin, colour=_mixed(skin.colour, metal * _f(0.85), edge))
    return _film(cut, edge * _f(rng.uniform(0, 1)), plane([0.3, 0.12, 0.05]), 0.8)


def _shattered(rng: Rng, n: int, cells: int) -> tuple[Plane, Plane]:
    """Coordinates that turn a square lattice of cells into irregular grains."""
    line = np.linspace(1, cells - 2, n, dtype=np.float32)
    x, y = np.meshgrid(line, line)
    drift = enlarge(normal(rng, cells, cells, 2) * _f(0.45), n, cv2.INTER_LINEAR)
    return x + drift[..., 0], y + drift[..., 1]


def tarnished(rng: Rng, relief: Relief, metal: Plane, grain_rad: float) -> Skin:
    """Brown to black oxide or sulphide, thin enough to keep some metallic sheen."""
    skin = bare(rng, relief, metal, grain_rad)
    n = relief.mask.shape[0]
    share = bounded(_patches(rng, n, rng.uniform(0.4, 1.0), 3, 2.0) - relief.fresh * _f(rng.uniform(0, 0.5)))
    brown = plane([rng.uniform(0.3, 0.7), rng.uniform(0.25, 0.5), rng.uniform(0.2, 0.4)])
    colour = skin.colour * _mixed(plane([1, 1, 1]), brown, share)
    skin = replace(skin, colour=colour, rough=np.maximum(skin.rough, share), matte=max(skin.matte, 0.3))
    film = colour * _f(rng.uniform(0.2, 0.5))
    return _film(skin, share * _f(rng.uniform(0.1, 0.6)), film, 0.4)


def verdigris(rng: Rng, relief: Relief, metal: Plane, grain_rad: float) -> Skin:
    """Green carbonate and chloride over brown copper."""
    skin = tarnished(rng, relief, metal, grain_rad)
    n = relief.mask.shape[0]
    green = plane([0.16, 0.42, 0.33]) * plane(rng.uniform(0.7, 1.2, 3))
    return _film(skin, _patches(rng, n, rng.uniform(0.15, 0.7), 6, 0.7), green, 0.9)


def plated(rng: Rng, relief: Relief, metal: Plane, grain_rad: float) -> Skin:
    """Chromium, nickel or tin over another metal, worn through here and there."""
    coat = _reflectance(str(rng.choice(["chromium", "nickel", "tin"])))
    skin = bare(rng, replace(relief, skin=relief.skin * 0.2), coat, grain_rad)
    n = relief.mask.shape[0]
    worn = _patches(rng, n, rng.beta(1, 5), 6, 0.3)
    worn = np.maximum(worn, relief.fresh * _f(rng.choice([0.0, 0.9])) * _patches(rng, n, 0.5, 3))
    return replace(
        skin, colour=_mixed(skin.colour, metal * _f(0.8), worn), matte=rng.uniform(0.03, 0.2), gloss=0.03
    )


def heat_tinted(rng: Rng, relief: Relief, metal: Plane, grain_rad: float) -> Skin:
    """Interference colours of a hot oxide, from straw over purple to blue, in bands along a gradient."""
    skin = bare(rng, relief, metal, grain_rad)
    n = relief.mask.shape[0]
    heat = bounded(clouds(rng, n, 1.2, 2) * _f(0.35) + _f(rng.uniform(0.1, 0.8)))
    stops = plane(
        [
            [1, 1, 1],
            [1, 0.86, 0.55],
            [0.85, 0.6, 0.35],
            [0.55, 0.38, 0.5],
            [0.35, 0.42, 0.7],
            [0.6, 0.65, 0.68],
        ]
    )
    place = heat * _f(5)
    tint = np.stack([np.interp(place, np.arange(6), stops[:, k]) for k in range(3)], axis=2).astype(
        np.float32
    )
    return replace(skin, colour=skin.colour * tint)


Finish = Callable[[Rng, Relief, Plane, float], Skin]
FINISHES: Final[Mapping[str, Finish]] = {
    finish.__name__: finish
    for finish in (
        bare,
        oxidised,
        painted,
        anodised,
        oily,
        dirty,
        rusty,
        mill_scale,
        galvanised,
        tarnished,
        verdigris,
        plated,
        heat_tinted,
    )
}


def substance(rng: Rng, relief: Relief, look: Look, grain_rad: float) -> Skin:
    """The skin of what is not metal: one of its colours, its gloss, its grain."""
    n = relief.mask.shape[0]
    base = plane(look.colours[int(rng.integers(len(look.colours)))]) * _f(np.exp(rng.normal(0, 0.15)))
    shadow = np.exp(clouds(rng, n, 4, 4, 0.6) * _f(rng.uniform(0.02, 0.2)))
    if look.speckle:
        grains = clouds(rng, n, rng.uniform(24, 60), 2, 0.9)
        shadow = shadow * np.exp(grains * _f(look.speckle))
    gloss = float(rng.uniform(*look.gloss))
    return Skin(
        colour=bounded(tinted(shadow, base), 0, 0.92),
        metal=np.zeros((n, n), np.float32),
        rough=bounded(clouds(rng, n, 5, 2) * _f(0.3) + relief.fresh * _f(0.5)),
        bump=speckle(rng, n) * _f(0.15 * relief.skin + 0.01),
        gloss=gloss,
        matte=min(1.0, gloss + 0.3),
        grain=0.0,
        grain_rad=grain_rad,
        clear=look.clear * float(rng.uniform(0.6, 1.0)),
    )


def printed(skin: Skin, picture: Plane) -> Skin:
    """Lay printed colours or mounted parts over a skin; picture is (n, n, 4), the last its opacity."""
    over = bounded(picture[..., 3])
    return replace(
        skin,
        colour=_mixed(skin.colour, picture[..., :3], over),
        metal=skin.metal * (_f(1) - over),
        rough=skin.rough * (_f(1) - over),
        grain=skin.grain,
    )


def handled(rng: Rng, skin: Skin) -> Skin:
    """Dust, dirt and scratches, as likely on any piece as on any other."""
    n = skin.metal.shape[0]
    if rng.random() < 0.6:
        deep = _scratches(rng, n, rng.poisson(6))
        skin = replace(skin, bump=skin.bump - deep * _f(rng.uniform(0.1, 0.8)))
    if rng.random() < 0.5:
        dust = _patches(rng, n, rng.uniform(0.05, 0.6), rng.uniform(2, 8), 2.0) * _f(rng.uniform(0.05, 0.6))
        skin = _film(skin, dust, _soil(rng, n) * _f(rng.uniform(0.8, 2.5)), 0.8)
    return skin


def _scratches(rng: Rng, n: int, count: int) -> Plane:
    """Thin straight and curved scratches, 0 to 1."""
    canvas = np.zeros((n, n), np.uint8)
    for _ in range(count):
        start, angle = rng.uniform(0, n, 2), rng.uniform(0, 2 * np.pi)
        run = rng.uniform(0.05, 0.5) * n * np.array([np.cos(angle), np.sin(angle)])
        line = np.stack((start, start + 0.5 * run + rng.normal(0, 0.02 * n, 2), start + run))
        cv2.polylines(
            canvas,
            [np.round(line * 16).astype(np.int32)],
            False,
            int(rng.integers(60, 255)),
            1,
            cv2.LINE_AA,
            4,
        )
    return plane(canvas) * _f(1 / 255)
