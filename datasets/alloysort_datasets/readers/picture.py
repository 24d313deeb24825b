"""Pictures in and out: JPEG or PNG bytes to RGB, refused with a reason before anything large is decoded."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from alloysort_datasets.errors import ImageError

MIN_SIDE: Final = 16
MAX_PIXELS: Final = 40_000_000

_PNG: Final = b"\x89PNG\r\n\x1a\n"
_JPEG: Final = b"\xff\xd8\xff"
_STRANGERS: Final = (  # (offset, bytes, name)
    (0, b"GIF8", "GIF"),
    (0, b"BM", "BMP"),
    (0, b"II*\0", "TIFF"),
    (0, b"MM\0*", "TIFF"),
    (8, b"WEBP", "WebP"),
    (4, b"ftypavi", "AVIF"),
    (4, b"ftyphe", "HEIC"),
    (4, b"ftypmif1", "HEIC"),
    (4, b"jP  ", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (0, b"\xff\x0a", "JPEG XL"),
    (4, b"JXL ", "JPEG XL"),
    (0, b"%PDF", "PDF"),
)
_CHUNKS: Final = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})  # the others change no pixel
NARROW_BITS: Final = 14  # of 16: cameras of 10, 12 and 14 bits leave the upper ones empty
_FRAMES: Final = frozenset(
    {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
)  # start-of-frame markers, ITU-T T.81 B.1.1.3
_BARE: Final = frozenset({0x01, *range(0xD0, 0xD8)})  # markers without a length
_EXIF: Final = b"Exif\0\0"
_EXIF_WITHIN: Final = 1 << 17  # bytes: the first segments, each of 64 kB at most
_ALPHA: Final = frozenset({4, 6})  # PNG colour types with an alpha channel

cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # a damaged picture is our error to report


@dataclass(frozen=True)
class PictureHeader:
    """What a picture's header says, before decoding.

    Attributes:
        height, width: pixels as stored, before any EXIF rotation.
        transparent: whether it has an alpha channel or transparent colour.
        components: of a JPEG: 1 grey, 3 colour, 4 for print.
        bits: of the samples that a PNG says are significant (its sBIT chunk), None where it does not say.
    """

    height: int
    width: int
    transparent: bool = False
    components: int = 3
    bits: int | None = None


@dataclass(frozen=True, eq=False)
class Picture:
    """A decoded picture.

    Attributes:
        rgb: (height, width, 3) uint8.
        narrow: a 16-bit file whose values fit 14 bits or fewer and that does not say how many are
            significant: perhaps a 10-, 12- or 14-bit camera's, then it is darker than the piece was.
    """

    rgb: NDArray[np.uint8]
    narrow: bool = False


def decode_image(data: bytes, name: str = "image") -> NDArray[np.uint8]:
    """(height, width, 3) uint8 RGB of a JPEG or PNG, see `decode_picture`."""
    return decode_picture(data, name).rgb


def decode_picture(data: bytes, name: str = "image") -> Picture:
    """A JPEG's or PNG's pixels.

    Greyscale and palettes become RGB; transparent pixels are laid over black; 16-bit samples are scaled by
    the bits that the file says are significant, else by 16; a JPEG's EXIF orientation is honoured.

    Args:
        data: the bytes of the file.
        name: what messages call it.

    Raises:
        ImageError: neither JPEG nor PNG, cut short, damaged (whatever makes its decoder warn), a side under
            16 pixels, or over 40 megapixels.
    """
    header = read_header(data, name)
    if data.startswith(_JPEG):
        return Picture(_decode_jpeg(data, header, name))
    pixels = _decode(_critical_chunks(data), header, name)
    narrow = pixels.dtype == np.uint16 and header.bits is None and int(pixels.max()) < 1 << NARROW_BITS
    return Picture(_to_rgb(_to_eight_bits(pixels, header.bits)), bool(narrow))


def _decode_jpeg(data: bytes, header: PictureHeader, name: str) -> NDArray[np.uint8]:
    """Strictly: OpenCV would paint over what is lost and only print a warning."""
    try:
        rgb = simplejpeg.decode_jpeg(data, "CMYK" if header.components == 4 else "RGB", strict=True)
    except ValueError as error:
        raise ImageError(f"{name}: is a damaged JPEG: {' '.join(str(error).split())}") from None
    if header.components == 4 or _EXIF in data[:_EXIF_WITHIN]:
        return _to_rgb(np.asarray(_decode(data, header, name), dtype=np.uint8))
    return np.asarray(rgb, dtype=np.uint8)


def _decode(data: bytes, header: PictureHeader, name: str) -> NDArray[np.integer[Any]]:
    mode = cv2.IMREAD_UNCHANGED if header.transparent else cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH
    try:
        pixels = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), mode)
    except cv2.error:
        pixels = None
    if pixels is None:
        raise ImageError(f"{name}: is damaged: it does not decode")
    return np.asarray(pixels)


def _critical_chunks(data: bytes) -> bytes:
    """A PNG without what its decoder would only warn of on stderr, as a broken colour profile."""
    kept, at = [data[: len(_PNG)]], len(_PNG)
    while at < len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        if data[at + 4 : at + 8] in _CHUNKS:
            kept.append(data[at:end])
        at = len(data) if data[at + 4 : at + 8] == b"IEND" else end
    return b"".join(kept)


def is_picture(start: bytes) -> bool:
    """Whether the first bytes of a file are those of a JPEG or PNG."""
    return start.startswith((_JPEG, _PNG))


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


def encode_png(rgb: NDArray[np.uint8]) -> bytes:
    """(height, width, 3) uint8 RGB as PNG bytes: nothing is lost, and little time spent on making it small.

    Raises:
        ImageError: it is too large for a PNG.
    """
    try:
        done, data = cv2.imencode(
            ".png", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_PNG_COMPRESSION, 0]
        )
    except cv2.error:
        done = False
    if not done:
        raise ImageError(f"a picture of {rgb.shape[1]} x {rgb.shape[0]} pixels cannot be stored as PNG")
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
        kind = next((f" but {word}" for at, magic, word in _STRANGERS if data.startswith(magic, at)), "")
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
    transparent, bits, at = data[25] in _ALPHA, None, len(_PNG)
    while data[at + 4 : at + 8] != b"IEND":
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        if end > len(data):
            raise ImageError(f"{name}: is a PNG cut short at byte {len(data)}")
        if zlib.crc32(data[at + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            raise ImageError(f"{name}: is a damaged PNG: wrong checksum at byte {at}")
        transparent |= data[at + 4 : at + 8] == b"tRNS"
        if data[at + 4 : at + 8] == b"sBIT" and end - at > 12:
            bits = max(data[at + 8 : min(end - 4, at + 11)])
        at = end
    return PictureHeader(height, width, transparent, bits=bits)


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
                int.from_bytes(data[at + 5 : at + 7], "big"),
                int.from_bytes(data[at + 7 : at + 9], "big"),
                components=data[at + 9] if at + 9 < len(data) else 0,
            )
        if marker == 0xDA and header is not None and data.rfind(b"\xff\xd9", at) >= 0:
            return header
        if marker in (0xDA, 0xD9):
            break
        at += 2 if marker in _BARE else 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    raise ImageError(f"{name}: is a JPEG cut short at byte {len(data)}")


def _to_eight_bits(pixels: NDArray[np.integer[Any]], bits: int | None) -> NDArray[np.uint8]:
    # by the PNG standard significant bits stand at a sample's upper end; some drivers leave them below
    if pixels.dtype == np.uint16:
        full = 65535
        if bits is not None and 8 <= bits < 16 and int(pixels.max()) < 1 << bits:
            full = (1 << bits) - 1
        return np.asarray(cv2.convertScaleAbs(pixels, alpha=255 / full), dtype=np.uint8)
    return np.asarray(pixels, dtype=np.uint8)


def _to_rgb(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Grey, BGR or BGRA to RGB; alpha is laid over black."""
    if pixels.ndim == 2:
        return np.repeat(pixels[..., None], 3, axis=2)
    rgb = cv2.cvtColor(pixels[..., :3], cv2.COLOR_BGR2RGB)
    if pixels.shape[2] == 4:
        rgb = cv2.multiply(rgb, cv2.merge([pixels[..., 3]] * 3), scale=1 / 255)
    return np.asarray(rgb, dtype=np.uint8)
