"""Pictures of scrap without a renderer: a relief by chance, its skin, light, belt and camera, a few ms each.

    picture = paint_picture("6xxx", "6063", None, np.random.default_rng(7))
    picture.rgb     (128, 128, 3) as the belt camera's crop would be
    picture.mask    (128, 128) true on the piece

Form and finish follow the family only through the shares of `appearance.toml`; belt, light, size,
pose, wear and camera are drawn alike for all.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from alloysort_datasets.errors import ImageError
from alloysort_datasets.families import FAMILIES
from alloysort_datasets.imagery.appearance import appearance, draw
from alloysort_datasets.imagery.backdrop import lay_belt, photograph, shadowed
from alloysort_datasets.imagery.fields import Plane, plane, thrice
from alloysort_datasets.imagery.lighting import light_room, shade
from alloysort_datasets.imagery.shapes.forms import FORMS
from alloysort_datasets.imagery.shapes.relief import Relief
from alloysort_datasets.imagery.surfaces import FINISHES, Skin, handled, printed, substance

SMALLEST_PX: Final = 32
LEAST_COVER: Final = 0.01  # of the plane; a form that broke down to less is drawn again


@dataclass(frozen=True, eq=False)
class Picture:
    """One piece of scrap on a belt.

    Attributes:
        rgb: (size, size, 3) uint8, sRGB.
        mask: (size, size) true where the piece covers more than half of the pixel; never touches the border.
        form: the shape it was drawn as, a key of `shapes.forms.FORMS`.
        finish: the skin it was given, a key of `surfaces.FINISHES`, or "substance" where it is no metal.
    """

    rgb: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    form: str
    finish: str


def paint_image(
    family: str, alloy: str | None, kind: str | None, rng: np.random.Generator, size_px: int = 128
) -> NDArray[np.uint8]:
    """A picture of one piece, (size_px, size_px, 3) RGB; see `paint_picture`."""
    return paint_picture(family, alloy, kind, rng, size_px).rgb


def paint_picture(
    family: str, alloy: str | None, kind: str | None, rng: np.random.Generator, size_px: int = 128
) -> Picture:
    """A picture of one piece of scrap on a belt, cropped with a margin.

    Args:
        family: one of `families.FAMILIES`.
        alloy: its designation; narrows the forms where the table says so, else the family's hold.
        kind: for non-metal and other-metal what it is ("rubber", "pcb", "lead"...); chance decides where
            it is None or nobody knows it.
        rng: all chance comes from here; the same state gives the same picture.
        size_px: side of the picture.

    Raises:
        AlloyError: nobody knows the family.
        ImageError: the picture would be smaller than 32 pixels a side.
    """
    if size_px < SMALLEST_PX:
        raise ImageError(
            f"size_px {size_px} is too small for a picture of scrap, must be {SMALLEST_PX} or more"
        )
    look, forms = appearance().look(family, alloy, kind, rng)
    form = draw(forms, rng)
    relief, grain_rad = _placed(rng, _whole(rng, form, size_px))
    if look.metal is None:
        finish, skin = "substance", substance(rng, relief, look, grain_rad)
    else:
        finish = draw(look.finishes, rng)
        metal = plane(appearance().metals[look.metal].reflectance)
        skin = FINISHES[finish](rng, relief, metal, grain_rad)
    if relief.print is not None:
        skin = printed(skin, relief.print)
    skin = handled(rng, skin)

    scene = _lit(rng, relief, skin)
    return Picture(photograph(rng, scene), relief.mask > 0.5, form, finish)


def _lit(rng: np.random.Generator, relief: Relief, skin: Skin) -> Plane:
    """Radiance (n, n, 3) of a piece on a belt of its own, in a room of its own."""
    n = relief.mask.shape[0]
    belt = lay_belt(rng, n)
    room = light_room(rng, plane(cv2.mean(belt)[:3]))
    radiance, mirrored = shade(skin, relief.height * np.float32(n / 2), room)
    middle = room.fallen.shape[0] // 2
    ground = plane(belt * room.fallen[middle, middle])
    if skin.clear:
        through = ground * skin.colour + mirrored * np.float32(0.08)
        radiance = radiance + np.float32(skin.clear) * (through - radiance)
    shadow = shadowed(rng, relief.mask * np.float32(1 - skin.clear), room.lamp, room.hardness)
    ground = ground * thrice(shadow)
    return ground + thrice(relief.mask) * (radiance - ground)


def contact_sheet(
    rng: np.random.Generator, per_family: int, families: tuple[str, ...] = FAMILIES, size_px: int = 128
) -> NDArray[np.uint8]:
    """Pictures side by side, one row a family, `per_family` in a row, RGB."""
    rows = [
        np.concatenate([paint_image(family, None, None, rng, size_px) for _ in range(per_family)], axis=1)
        for family in families
    ]
    return np.concatenate(rows, axis=0)


def _whole(rng: np.random.Generator, form: str, n: int) -> Relief:
    """A relief of one connected piece; parts that came apart are left out."""
    while True:
        relief = FORMS[form](rng, n)
        inside = (relief.mask > 0.5).astype(np.uint8)
        _, labels, stats, _ = cv2.connectedComponentsWithStats(inside, connectivity=8, ltype=cv2.CV_16U)
        areas = stats[1:, cv2.CC_STAT_AREA]
        if areas.size and areas.max() >= LEAST_COVER * n * n:
            largest = (np.asarray(labels) == int(areas.argmax()) + 1).astype(np.uint8)
            near = cv2.dilate(largest, np.ones((3, 3), np.uint8))
            return replace(relief, mask=relief.mask * plane(near))


def _placed(rng: np.random.Generator, relief: Relief) -> tuple[Relief, float]:
    """The relief turned at random, mirrored or not, and enlarged to fill the crop but for its margin.

    Returns the direction of its grain too, in radians to the right and down.
    """
    n = relief.mask.shape[0]
    angle, mirror = rng.uniform(0, 2 * np.pi), rng.choice([-1.0, 1.0])
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) @ np.diag(
        [mirror, 1.0]
    )
    row, column = np.nonzero(relief.mask > 0.5)
    spread = turn @ np.stack((column, row)).astype(np.float64)
    low, high = spread.min(axis=1), spread.max(axis=1)
    margin = rng.uniform(0.05, 0.16)
    scale = n * (1 - 2 * margin) / (float((high - low).max()) + 1)
    slack = n * margin - 2.0
    offset = n / 2 - scale * (low + high) / 2 + rng.uniform(-0.5, 0.5, 2) * slack
    matrix = np.concatenate((turn * scale, offset[:, None]), axis=1)
    stack = _warped(plane(cv2.merge((relief.height * np.float32(scale), relief.mask, relief.fresh))), matrix)
    picture = relief.print if relief.print is None else _warped(relief.print, matrix)
    placed = replace(relief, height=stack[..., 0], mask=stack[..., 1], fresh=stack[..., 2], print=picture)
    return placed, float(np.arctan2(turn[1, 0], turn[0, 0]))


def _warped(channels: Plane, matrix: NDArray[np.float64]) -> Plane:
    n = channels.shape[0]
    return np.ascontiguousarray(plane(cv2.warpAffine(channels, matrix, (n, n), flags=cv2.INTER_LINEAR)))
