from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alloysort_datasets.errors import ImageError
from alloysort_datasets.readers.picture import decode_image, encode_jpeg, read_header

ORIENTED = b"\xff\xe1\x00\x22Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0%c\0\0\0\0\0\0\0"


def png(pixels: np.ndarray) -> bytes:
    return cv2.imencode(".png", pixels)[1].tobytes()


def png_of_size(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def test_png_comes_back_as_rgb() -> None:
    bgr = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    np.testing.assert_array_equal(decode_image(png(bgr)), bgr[..., ::-1])


def test_jpeg_round_trip() -> None:
    rgb = np.zeros((40, 50, 3), dtype=np.uint8)
    rgb[..., 0] = 200
    back = decode_image(encode_jpeg(rgb))
    assert back.shape == rgb.shape
    assert back.dtype == np.uint8
    assert np.abs(back.astype(int) - rgb).max() <= 3


def test_grey_becomes_rgb() -> None:
    grey = np.arange(400, dtype=np.uint8).reshape(20, 20)
    np.testing.assert_array_equal(decode_image(png(grey)), np.repeat(grey[..., None], 3, axis=2))


@pytest.mark.parametrize("shape", [(20, 20), (20, 20, 3)])
def test_sixteen_bits_are_scaled_by_their_depth(shape: tuple[int, ...]) -> None:
    dim = np.full(
        shape, 4095, dtype=np.uint16
    )  # a 12-bit camera's white stays dark: no guess from the maximum
    assert np.unique(decode_image(png(dim))).tolist() == [16]
    assert np.unique(decode_image(png(np.full(shape, 65535, dtype=np.uint16)))).tolist() == [255]


@pytest.mark.parametrize(("dtype", "full"), [(np.uint8, 255), (np.uint16, 65535)])
def test_alpha_is_laid_over_black(dtype: type, full: int) -> None:
    bgra = np.full((20, 20, 4), full, dtype=dtype)
    bgra[:10, :, 3] = 0
    rgb = decode_image(png(bgra))
    assert rgb.shape == (20, 20, 3)
    assert rgb[:10].max() == 0
    assert rgb[10:].min() == 255


def test_exif_orientation_is_honoured() -> None:
    rgb = np.zeros((20, 40, 3), dtype=np.uint8)
    rgb[:, :20] = 255
    plain = encode_jpeg(rgb)
    turned = decode_image(plain[:2] + ORIENTED.replace(b"%c", b"\x06") + plain[2:])  # 6: 90 degrees clockwise
    assert turned.shape == (40, 20, 3)
    assert turned[:16].min() > 240
    assert turned[24:].max() < 15


def test_header_without_decoding(build_picture: Callable[..., bytes]) -> None:
    for suffix in (".png", ".jpg"):
        header = read_header(build_picture(suffix, height=24, width=32))
        assert (header.height, header.width, header.transparent) == (24, 32, False)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9, 0.999])
def test_a_picture_cut_short_is_refused(
    build_picture: Callable[..., bytes], suffix: str, share: float
) -> None:
    data = build_picture(suffix, height=60, width=80)
    with pytest.raises(ImageError, match=r"^belt\.x: is a .*(cut short|damaged|no header)"):
        decode_image(data[: int(len(data) * share)], "belt.x")


def test_a_damaged_png_is_refused(
    build_picture: Callable[..., bytes], capfd: pytest.CaptureFixture[str]
) -> None:
    data = bytearray(build_picture(".png"))
    data[len(data) // 2] ^= 0x55
    with pytest.raises(ImageError, match="wrong checksum"):
        decode_image(bytes(data))
    assert capfd.readouterr().err == ""
    with pytest.raises(ImageError, match="does not decode"):
        decode_image(png_of_size(64, 64))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "is empty"),
        (b"hello", "no JPEG or PNG picture"),
        (b"GIF89a....", r"\(GIF\)"),
        (cv2.imencode(".bmp", np.zeros((20, 20, 3), np.uint8))[1].tobytes(), r"\(BMP\)"),
        (png(np.zeros((1, 1, 3), np.uint8)), "1 x 1 pixels, each side must have 16 or more"),
        (encode_jpeg(np.zeros((15, 300, 3), np.uint8)), "300 x 15 pixels"),
        (png_of_size(10_000, 5_000), "10000 x 5000 pixels, at most 40 megapixels"),
        (png_of_size(2**31 - 1, 2**31 - 1), "at most 40 megapixels"),
    ],
)
def test_refuses(data: bytes, says: str) -> None:
    with pytest.raises(ImageError, match=says) as caught:
        decode_image(data, "a.jpg")
    assert str(caught.value).startswith("a.jpg: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("pixels", "quality"),
    [
        (np.zeros((20, 20), np.uint8), 92),
        (np.zeros((20, 20, 3), np.float32), 92),
        (np.zeros((0, 20, 3), np.uint8), 92),
        (np.zeros((20, 20, 3), np.uint8), 0),
        (np.zeros((20, 70_000, 3), np.uint8), 92),
    ],
)
def test_encode_refuses(pixels: np.ndarray, quality: int) -> None:
    with pytest.raises(ImageError):
        encode_jpeg(pixels, quality)


@given(
    st.binary(max_size=200),
    st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0\x00\x10"]),
)
def test_any_bytes(data: bytes, start: bytes) -> None:
    decode_or_refuse(start + data)


@given(st.data())
def test_mutated_pictures(build_picture: Callable[..., bytes], data: st.DataObject) -> None:
    content = bytearray(build_picture(data.draw(st.sampled_from([".jpg", ".png"]))))
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(content)))
        content[start : start + data.draw(st.integers(0, 20))] = data.draw(st.binary(max_size=20))
    decode_or_refuse(bytes(content))


def decode_or_refuse(data: bytes) -> None:
    try:
        pixels = decode_image(data)
    except ImageError:
        return
    assert pixels.ndim == 3
    assert pixels.shape[2] == 3
    assert pixels.dtype == np.uint8


def test_decodes_every_real_photo(shared_data: Path) -> None:
    for path in sorted((shared_data / "images" / "ewaste" / "images").glob("*.jpg"))[::10]:
        assert min(decode_image(path.read_bytes(), path.name).shape[:2]) >= 16
    height = next((shared_data / "images" / "belt" / "height").glob("*.png"))
    assert decode_image(height.read_bytes()).shape == (990, 990, 3)
