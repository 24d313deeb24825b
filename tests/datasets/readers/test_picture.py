from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import simplejpeg
from hypothesis import given
from hypothesis import strategies as st

from alloysort_datasets.errors import ImageError
from alloysort_datasets.readers.picture import (
    decode_image,
    decode_picture,
    encode_jpeg,
    encode_png,
    read_header,
)

ORIENTED = b"\xff\xe1\x00\x22Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0%c\0\0\0\0\0\0\0"


def png(pixels: np.ndarray) -> bytes:
    return cv2.imencode(".png", pixels)[1].tobytes()


def png_of_size(width: int, height: int) -> bytes:
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


def test_png_round_trip_loses_nothing() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    np.testing.assert_array_equal(decode_image(encode_png(rgb)), rgb)
    with pytest.raises(ImageError, match="cannot be stored as PNG"):
        encode_png(np.empty((1, 2_000_000, 3), np.uint8))


def test_grey_becomes_rgb() -> None:
    grey = np.arange(400, dtype=np.uint8).reshape(20, 20)
    np.testing.assert_array_equal(decode_image(png(grey)), np.repeat(grey[..., None], 3, axis=2))


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


@pytest.mark.parametrize("shape", [(20, 20), (20, 20, 3)])
@pytest.mark.parametrize(("white", "narrow"), [(1023, True), (4095, True), (16383, True), (65535, False)])
def test_sixteen_bits_are_scaled_by_sixteen_and_told_if_they_use_fewer(
    shape: tuple[int, ...], white: int, narrow: bool
) -> None:
    picture = decode_picture(png(np.full(shape, white, dtype=np.uint16)))
    assert np.unique(picture.rgb).tolist() == [round(white * 255 / 65535)]
    assert picture.narrow == narrow


def test_the_significant_bits_a_file_names_are_its_scale() -> None:
    plain = png(np.full((20, 20), 4095, dtype=np.uint16))
    at = 8 + 25  # behind the signature and IHDR
    picture = decode_picture(plain[:at] + chunk(b"sBIT", b"\x0c") + plain[at:])
    assert np.unique(picture.rgb).tolist() == [255]
    assert not picture.narrow


def damaged_jpegs() -> dict[str, bytes]:
    """One JPEG with all that its decoder only warns of."""
    noise = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    whole = encode_jpeg(cv2.GaussianBlur(noise, (0, 0), 2))
    restarts = cv2.imencode(".jpg", noise, [cv2.IMWRITE_JPEG_RST_INTERVAL, 4])[1].tobytes()
    first, second = restarts.index(b"\xff\xd1"), restarts.index(b"\xff\xd4")
    scan = whole.index(b"\xff\xda")
    middle = (scan + len(whole)) // 2
    return {
        "scan cut, then the end marker": whole[:middle] + b"\xff\xd9",
        "bytes lost": whole[:middle] + whole[middle + 40 :],
        "restart lost": restarts[:first] + restarts[second:],
    }


@pytest.mark.parametrize("damage", damaged_jpegs())
def test_a_jpeg_whose_decoder_warns_is_refused(damage: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ImageError, match=r"a\.jpg: is a damaged JPEG"):
        decode_image(damaged_jpegs()[damage], "a.jpg")
    assert capfd.readouterr() == ("", "")


def test_a_colour_profile_that_is_broken_costs_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    grey = np.arange(400, dtype=np.uint8).reshape(20, 20)
    plain = png(grey)
    spoiled = plain[:33] + chunk(b"iCCP", b"x\0\0nonsense") + plain[33:]
    np.testing.assert_array_equal(decode_image(spoiled)[..., 0], grey)
    assert capfd.readouterr() == ("", "")


def test_a_jpeg_for_print_is_read() -> None:
    cmyk = np.zeros((32, 32, 4), dtype=np.uint8)
    data = simplejpeg.encode_jpeg(cmyk, colorspace="CMYK", colorsubsampling="444")
    assert decode_image(data).shape == (32, 32, 3)


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        (b"GIF89a", "GIF"),
        (b"BM", "BMP"),
        (b"II*\0", "TIFF"),
        (b"RIFF....WEBPVP8 ", "WebP"),
        (b"\0\0\0\x1cftypavif", "AVIF"),
        (b"\0\0\0\x18ftypheic", "HEIC"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    ],
)
def test_other_formats_are_named(start: bytes, kind: str) -> None:
    with pytest.raises(ImageError, match=f"no JPEG or PNG picture but {kind}"):
        decode_image(start + b" " * 40)


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
        (b"GIF89a....", "but GIF"),
        (cv2.imencode(".bmp", np.zeros((20, 20, 3), np.uint8))[1].tobytes(), "but BMP"),
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
