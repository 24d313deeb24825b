from __future__ import annotations

from collections import Counter

import cv2
import numpy as np
import pytest

from alloysort_datasets.errors import AlloyError, ImageError
from alloysort_datasets.families import CAST_ALUMINIUM, FAMILIES, WROUGHT_ALUMINIUM
from alloysort_datasets.imagery.paint import Picture, contact_sheet, paint_image, paint_picture

KINDS = (
    *("rubber", "glass", "concrete", "pcb", "plastic", "wood", "paint", "stone", "brick", "granite"),
    *("cable", "fabric", "circuit_board", "Rubber ", "nobody knows this"),
)
FOUNDRY = {"casting", "die_casting", "casting_fragment"}


def pieces(family: str, count: int, kind: str | None = None, size_px: int = 64) -> list[Picture]:
    rng = np.random.default_rng(11)
    return [paint_picture(family, None, kind, rng, size_px) for _ in range(count)]


def redness(pictures: list[Picture]) -> float:
    """Mean logarithm of red over blue on the pieces."""
    return float(np.mean([np.log(p.rgb[p.mask].mean(0)[0] / p.rgb[p.mask].mean(0)[2]) for p in pictures]))


def check(picture: Picture, size_px: int) -> None:
    assert picture.rgb.shape == (size_px, size_px, 3)
    assert picture.rgb.dtype == np.uint8
    assert picture.mask.shape == (size_px, size_px)
    assert picture.mask.dtype == np.bool_
    assert picture.mask.any()
    border = np.concatenate((picture.mask[[0, -1]].ravel(), picture.mask[:, [0, -1]].ravel()))
    assert not border.any()


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_gives_a_piece_that_lies_inside_its_crop(family: str) -> None:
    for picture in pieces(family, 25):
        check(picture, 64)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_gives_a_piece(kind: str) -> None:
    for picture in pieces("non-metal", 12, kind):
        check(picture, 64)
        assert picture.finish == "substance"


@pytest.mark.parametrize(
    ("kind", "form"), [("pcb", "circuit_board"), ("wood", "plank"), ("concrete", "lump")]
)
def test_a_known_kind_is_what_is_drawn(kind: str, form: str) -> None:
    assert {picture.form for picture in pieces("non-metal", 10, kind)} == {form}


def test_a_contaminating_metal_goes_by_its_alloy_or_kind() -> None:
    rng = np.random.default_rng(0)
    forms = {paint_picture("other-metal", "Pb", None, rng, 48).form for _ in range(30)}
    assert forms <= {"lump", "crumpled_sheet", "strip", "wire"}


def test_the_same_seed_gives_the_same_picture_and_another_does_not() -> None:
    first, again, other = (paint_image("6xxx", "6063", None, np.random.default_rng(s)) for s in (5, 5, 6))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert first.shape == (128, 128, 3)


@pytest.mark.parametrize("size_px", [32, 57, 224])
def test_any_size_from_32_pixels_works(size_px: int) -> None:
    for family in ("6xxx", "cast-AlSi", "non-metal"):
        check(paint_picture(family, None, None, np.random.default_rng(2), size_px), size_px)


def test_an_unknown_family_and_a_tiny_size_are_refused() -> None:
    with pytest.raises(AlloyError, match="'8xxx' is none of 1xxx"):
        paint_image("8xxx", None, None, np.random.default_rng(0))
    with pytest.raises(ImageError, match="size_px 8 is too small"):
        paint_image("1xxx", None, None, np.random.default_rng(0), 8)


def test_an_unknown_alloy_looks_like_its_family() -> None:
    named = paint_image("6xxx", "6999", None, np.random.default_rng(3))
    assert np.array_equal(named, paint_image("6xxx", None, None, np.random.default_rng(3)))


def test_copper_is_redder_than_aluminium_and_aluminium_families_are_alike() -> None:
    copper, sheet, cast = (redness(pieces(family, 80)) for family in ("copper", "5xxx", "cast-AlSi"))
    assert copper > max(sheet, cast) + 0.1
    assert abs(sheet - cast) < 0.2


def test_cast_and_wrought_families_differ_in_their_forms() -> None:
    for family in CAST_ALUMINIUM:
        forms = Counter(picture.form for picture in pieces(family, 40, size_px=32))
        assert sum(forms[form] for form in FOUNDRY) >= 32
        assert len(forms) >= 3
    for family in WROUGHT_ALUMINIUM:
        forms = Counter(picture.form for picture in pieces(family, 40, size_px=32))
        assert not FOUNDRY & set(forms)
        assert len(forms) >= 3


def test_the_belt_does_not_tell_the_family() -> None:
    def belt(family: str) -> np.ndarray:
        return np.array([p.rgb[:3].reshape(-1, 3).mean(0) for p in pieces(family, 100, size_px=32)])

    means = np.array([belt(family).mean(0) for family in ("6xxx", "copper", "cast-AlSi", "non-metal")])
    spread = belt("6xxx").std(0) / np.sqrt(100)
    assert (means.std(0) < 3 * spread).all()


def test_a_contact_sheet_has_a_row_per_family() -> None:
    sheet = contact_sheet(np.random.default_rng(1), 2, ("1xxx", "brass", "steel"), 40)
    assert sheet.shape == (120, 80, 3)
    assert cv2.imencode(".png", sheet)[0]
