"""Pictures in and out: JPEG or PNG bytes to RGB, refused with a reason before anything large is decoded."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from alloysort_datasets.errors import ImageError

MIN_SIDE: Final = 16
MAX_PIXELS: Final = 40_000_000

_PNG: Final = b"\x89PNG\r\n\x1a\n"
_JPEG: Final = b"\xff\xd8\xff"
_STRANGERS: Final = {
    b"GIF8": "GIF",
    b"BM": "BMP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"RIFF": "WebP",
    b"%PDF": "PDF",
}
_FRAMES: Final = frozenset(
    {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
)  # start-of-frame markers, ITU-T T.81 B.1.1.3
_BARE: Final = frozenset({0x01, *range(0xD0, 0xD8)})  # markers without a length
_ALPHA: Final = frozenset({4, 6})  # PNG colour types with an alpha channel

cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # a damaged picture is our error to report


@dataclass(frozen=True)
class PictureHeader:
    """What a picture's header says, before decoding.

    Attributes:
        height, width: pixels as stored, before any EXIF rotation.
        transparent: whether it has an alpha channel or transparent colour.
    """

    height: int
    width: int
    transparent: bool = False


def decode_image(data: bytes, name: str = "image") -> NDArray[np.uint8]:
    """A JPEG's or PNG's pixels.

    Greyscale and palettes become RGB; transparent pixels are laid over black; 16-bit samples are scaled by
    255/65535; a JPEG's EXIF orientation is honoured.

    Args:
        data: the bytes of the file.
        name: what messages call it.

    Returns:
        (height, width, 3) uint8 RGB.

    Raises:
        ImageError: neither JPEG nor PNG, cut short, damaged, a side under 16 pixels, or over 40 megapixels.
    """
    header = read_header(data, name)
    mode = cv2.IMREAD_UNCHANGED if header.transparent else cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH
    try:
        pixels = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), mode)
    except cv2.error:
        pixels = None
    if pixels is None:
        raise ImageError(f"{name}: is damaged: it does not decode")
    return _to_rgb(_to_eight_bits(np.asarray(pixels)))


def encode_jpeg(rgb: NDArray[np.uint8], quality: int = 92) -> bytes:
    """(height, width, 3) uint8 RGB as JPEG bytes; quality 1-100.

    Raises:
        ImageError: another shape or type, or a quality outside 1-100.
    """
    if rgb.ndim != 3 or rgb.shape[2] != 3 or 0 in rgb.shape or rgb.dtype != np.uint8:
        raise ImageError(f"a picture must be height x width x 3 uint8, is {rgb.shape} {rgb.dtype}")
    if not 1 <= quality <= 100:
        raise ImageError(f"JPEG quality {quality} must lie in 1-100")
    try:
        done, data = cv2.imencode(
            ".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality]
        )
    except cv2.error:
        done = False
    if not done:
        raise ImageError(f"a picture of {rgb.shape[1]} x {rgb.shape[0]} pixels cannot be stored as JPEG")
    return data.tobytes()


def read_header(data: bytes, name: str = "image") -> PictureHeader:
    """Size of a JPEG or PNG and whether its bytes are complete, without decoding it.

    Raises:
        ImageError: neither JPEG nor PNG, cut short, a side under 16 pixels, or over 40 megapixels.
    """
    if data.startswith(_PNG):
        header = _png_header(data, name)
    elif data.startswith(_JPEG):
        header = _jpeg_header(data, name)
    else:
        kind = next((f" ({word})" for magic, word in _STRANGERS.items() if data.startswith(magic)), "")
        raise ImageError(f"{name}: is {'empty' if not data else f'no JPEG or PNG picture{kind}'}")
    size = f"{header.width} x {header.height} pixels"
    if min(header.width, header.height) < MIN_SIDE:
        raise ImageError(f"{name}: {size}, each side must have {MIN_SIDE} or more")
    if header.width * header.height > MAX_PIXELS:
        raise ImageError(f"{name}: {size}, at most {MAX_PIXELS // 1_000_000} megapixels can be read")
    return header


def _png_header(data: bytes, name: str) -> PictureHeader:
    if data[12:16] != b"IHDR" or len(data) < 33:
        raise ImageError(f"{name}: is a damaged PNG: no header")
    width, height = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    transparent, at = data[25] in _ALPHA, len(_PNG)
    while data[at + 4 : at + 8] != b"IEND":
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        if end > len(data):
            raise ImageError(f"{name}: is a PNG cut short at byte {len(data)}")
        if zlib.crc32(data[at + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            raise ImageError(f"{name}: is a damaged PNG: wrong checksum at byte {at}")
        transparent |= data[at + 4 : at + 8] == b"tRNS"
        at = end
    return PictureHeader(height, width, transparent)


def _jpeg_header(data: bytes, name: str) -> PictureHeader:
    """Walk the segments to the first scan; a scan without an end-of-image marker behind it is cut short."""
    at, header = 2, None
    while at + 4 <= len(data):
        marker = data[at + 1]
        if data[at] != 0xFF:
            raise ImageError(f"{name}: is a damaged JPEG: no marker at byte {at}")
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        if marker in _FRAMES:
            header = PictureHeader(
                int.from_bytes(data[at + 5 : at + 7], "big"), int.from_bytes(data[at + 7 : at + 9], "big")
            )
        if marker == 0xDA and header is not None and data.rfind(b"\xff\xd9", at) >= 0:
            return header
        if marker in (0xDA, 0xD9):
            break
        at += 2 if marker in _BARE else 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    raise ImageError(f"{name}: is a JPEG cut short at byte {len(data)}")


def _to_eight_bits(pixels: NDArray[np.integer[Any]]) -> NDArray[np.uint8]:
    if pixels.dtype == np.uint16:
        return np.asarray(cv2.convertScaleAbs(pixels, alpha=255 / 65535), dtype=np.uint8)
    return np.asarray(pixels, dtype=np.uint8)


def _to_rgb(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Grey, BGR or BGRA to RGB; alpha is laid over black."""
    if pixels.ndim == 2:
        return np.repeat(pixels[..., None], 3, axis=2)
    rgb = cv2.cvtColor(pixels[..., :3], cv2.COLOR_BGR2RGB)
    if pixels.shape[2] == 4:
        rgb = cv2.multiply(rgb, cv2.merge([pixels[..., 3]] * 3), scale=1 / 255)
    return np.asarray(rgb, dtype=np.uint8)
