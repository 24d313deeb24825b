"""What a client sends to have a piece classified, and how it is read: multipart parts or a JSON object."""

from __future__ import annotations

import asyncio
import base64
import binascii
import math
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final, NamedTuple, TypeVar

import numpy as np
from fastapi import HTTPException, Request
from numpy.typing import ArrayLike
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema
from pydantic.json_schema import models_json_schema
from starlette.concurrency import run_in_threadpool

from alloysort_datasets.errors import DataError
from alloysort_datasets.spectrum import (
    MAX_CHANNELS,
    MIN_CHANNELS,
    Spectrum,
    checked_axis,
    spectrum_from_arrays,
)
from alloysort_inference.doors.rest.multipart import Part, parse_parts
from alloysort_inference.doors.service import Service
from alloysort_inference.doors.stream.wire import Axis, WireError, decode_axis, decode_piece
from alloysort_inference.pipeline import Arrival, Upload

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)

MULTIPART: Final = "multipart/form-data"
JSON: Final = "application/json"
PIECE: Final = "application/vnd.alloysort.piece"
PIECES: Final = "application/vnd.alloysort.pieces"
AXIS: Final = "application/vnd.alloysort.axis"
MOST_PIECES: Final = 256  # of a batch
FILES: Final = ("image", "spectrum")
TEXTS: Final = ("piece_id", "batch", "saturation_counts", "deadline_ms", "mass_g")
LABEL_LENGTH: Final = 200
UNPACKERS: Final = {"gzip": 31, "x-gzip": 31, "deflate": zlib.MAX_WBITS}  # Content-Encoding to zlib's wbits
SLOWEST_BYTES_S: Final = 10_000
MAX_STREAMS: Final = 16
BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_DATA_URL: Final = re.compile(r"data:image/[\w.+-]+;base64,", re.IGNORECASE)


def _as_text(label: Any) -> Any:
    return str(label) if isinstance(label, int) and not isinstance(label, bool) else label


Label = Annotated[
    str,
    Field(min_length=1, max_length=LABEL_LENGTH),
    BeforeValidator(_as_text, json_schema_input_type=str | int),
]
Ceiling = Annotated[float, Field(gt=0)]
Deadline = Annotated[float, Field(gt=0)]
Mass = Annotated[float, Field(gt=0)]
_NUMBERS: Final = {
    "type": "array",
    "items": {"type": "number"},
    "minItems": MIN_CHANNELS,
    "maxItems": MAX_CHANNELS,
}
_SHOTS: Final = {"anyOf": [{"type": "array", "items": _NUMBERS, "minItems": 1}, _NUMBERS]}
Wavelengths = Annotated[list[float], WithJsonSchema(_NUMBERS)]
_BYTES: Final = {"type": "string", "format": "binary"}


def _one_of(*keys: tuple[str, ...]) -> ConfigDict:
    """Strict, and said so in the OpenAPI document: at least one of these sets of keys is there."""
    alternatives: list[Any] = [
        {"required": list(some), "properties": {key: {"not": {"type": "null"}} for key in some}}
        for some in keys
    ]
    return ConfigDict(extra="forbid", strict=True, json_schema_extra={"anyOf": alternatives})


def _as_shots(counts: Any) -> Any:
    return [counts] if isinstance(counts, list) and counts and not isinstance(counts[0], list) else counts


class JsonPiece(BaseModel):
    """A piece as JSON: `wavelength_nm` with `counts`, or `image_base64`, or all three."""

    model_config = _one_of(("wavelength_nm", "counts"), ("axis", "counts"), ("image_base64",))
    wavelength_nm: Wavelengths | None = Field(
        default=None, description="wavelength of each channel in nm, in air, strictly increasing"
    )
    counts: Annotated[
        list[list[float]] | None,
        BeforeValidator(_as_shots),
        WithJsonSchema(_SHOTS),
    ] = Field(
        default=None, description="detector counts: one list a laser shot, or a single list for one shot"
    )
    image_base64: str | None = Field(
        default=None,
        description="a JPEG or PNG file in base64; `data:image/jpeg;base64,` may stand before it",
    )
    axis: int | None = Field(default=None, description="number of an axis of `/v1/axes`, for `wavelength_nm`")
    saturation_counts: Ceiling | None = Field(default=None, description="the detector's ceiling, if known")
    piece_id: Label | None = Field(default=None, description="comes back in the answer and the decision log")
    batch: Label | None = Field(default=None, description="kept in the decision log")
    deadline_ms: Deadline | None = Field(default=None, description="answer within this, else `late`")
    mass_g: Mass | None = Field(default=None, description="where it is known; counts in the boxes of a melt")


class JsonPieces(BaseModel):
    """Many pieces as JSON."""

    model_config = ConfigDict(extra="forbid", strict=True)
    pieces: Annotated[list[JsonPiece], Field(min_length=1, max_length=MOST_PIECES)]


class JsonAxis(BaseModel):
    """A wavelength axis as JSON."""

    model_config = ConfigDict(extra="forbid", strict=True)
    wavelength_nm: Wavelengths = Field(description="of each channel in nm, in air, strictly increasing")
    saturation_counts: Ceiling | None = Field(default=None, description="the detector's ceiling, if known")


class Form(BaseModel):
    """A piece as multipart parts; only for the OpenAPI document."""

    image: bytes | None = Field(
        default=None,
        description="JPEG or PNG of the piece, RGB",
        json_schema_extra={"format": "binary"},
    )
    spectrum: bytes | None = Field(
        default=None,
        description="spectrum file of any common layout (csv, tsv, white space...): wavelength in nm or Å, "
        "then one column of detector counts for each shot",
        json_schema_extra={"format": "binary"},
    )
    piece_id: Label | None = Field(default=None, description="comes back in the answer and the decision log")
    batch: Label | None = Field(default=None, description="kept in the decision log")
    saturation_counts: Ceiling | None = Field(default=None, description="the detector's ceiling, if known")
    deadline_ms: Deadline | None = Field(default=None, description="answer within this, else `late`")
    mass_g: Mass | None = Field(default=None, description="where it is known; counts in the boxes of a melt")


class Sent(NamedTuple):
    """A piece, and how soon its answer is wanted."""

    arrival: Arrival
    deadline_ms: float | None = None


@dataclass(frozen=True, eq=False)
class Numbers:
    """A spectrum as lists of numbers, or a file with what it does not say; decoded when its turn comes."""

    wavelength_nm: ArrayLike
    counts: list[list[float]]
    saturation_counts: float = math.inf
    slow: bool = True

    @property
    def size(self) -> int:
        """Bytes, about."""
        return 32 * sum(map(len, self.counts))

    def decode(self) -> Spectrum:
        """As a spectrum."""
        return spectrum_from_arrays(self.wavelength_nm, self.counts, self.saturation_counts)


@dataclass(frozen=True, eq=False)
class SpectrumFile:
    """A spectrum file, and the detector's ceiling, which it does not say."""

    upload: Upload
    saturation_counts: float
    slow: bool = True

    @property
    def size(self) -> int:
        """Bytes."""
        return self.upload.size

    def decode(self) -> Spectrum:
        """As a spectrum."""
        return replace(self.upload.decode(), saturation_counts=self.saturation_counts)


SENT_PIECE: Final = {MULTIPART: Form, JSON: JsonPiece, PIECE: None}
SENT_PIECES: Final = {JSON: JsonPieces, PIECES: None}
SENT_AXIS: Final = {JSON: JsonAxis, AXIS: None}
_REFERENCE: Final = "#/components/schemas/{model}"


def openapi_body(sent: Mapping[str, type[BaseModel] | None]) -> dict[str, Any]:
    """What a route takes, by content type, for its OpenAPI document; None stands for bytes."""
    content = {
        kind: {"schema": _BYTES if model is None else {"$ref": _REFERENCE.format(model=model.__name__)}}
        for kind, model in sent.items()
    }
    return {"requestBody": {"required": True, "content": content}}


def openapi_schemas() -> dict[str, Any]:
    """What `openapi_body` refers to, by name."""
    models = (Form, JsonPiece, JsonPieces, JsonAxis)
    _, told = models_json_schema([(model, "validation") for model in models], ref_template=_REFERENCE)
    schemas: dict[str, Any] = told["$defs"]
    return schemas


async def read_piece(request: Request, service: Service) -> Sent:
    """The piece in a request.

    Raises:
        HTTPException: 400 malformed, 408 too slow, 413 too large (also once unpacked), 415 of
            another content type or packed in a way that is not taken.
    """
    kind, body = await _read(request, service, (MULTIPART, JSON, PIECE))
    if kind == PIECE:
        return parse_message(body, service.axes)
    if kind == JSON:
        return await run_in_threadpool(parse_json, body, service.axes)
    return await run_in_threadpool(parse_multipart, body, request.headers["content-type"])


async def read_pieces(request: Request, service: Service) -> list[Sent]:
    """The pieces in a request; as `read_piece`."""
    kind, body = await _read(request, service, (JSON, PIECES))
    return await run_in_threadpool(parse_messages if kind == PIECES else parse_pieces, body, service.axes)


async def read_axis(request: Request, service: Service) -> Axis:
    """The axis in a request; as `read_piece`.

    Raises:
        SpectrumError: the wavelengths are no axis.
    """
    kind, body = await _read(request, service, (JSON, AXIS))
    if kind == AXIS:
        return _by_contract(lambda: decode_axis(body))
    told = _validated(JsonAxis, body)
    return Axis(0, checked_axis(np.array(told.wavelength_nm, np.float64)), _ceiling(told.saturation_counts))


async def _read(request: Request, service: Service, kinds: Sequence[str]) -> tuple[str, bytes]:
    """A body of one of these content types, unpacked."""
    packed = _packing(request)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in kinds:
        listed = ", ".join(kinds[:-1]) + f" or {kinds[-1]}"
        raise HTTPException(415, f"content type {kind or '(none)'!r}: send {listed}")
    return kind, await _read_packed(request, service, packed)


async def read_unpacked(request: Request, service: Service) -> bytes:
    """A body of whatever content type, as it was before its Content-Encoding.

    Raises:
        HTTPException: as `read_piece`.
    """
    return await _read_packed(request, service, _packing(request))


def _packing(request: Request) -> str:
    packed = request.headers.get("content-encoding", "").strip().lower() or "identity"
    if packed != "identity" and packed not in UNPACKERS:
        detail = f"Content-Encoding {packed[:40]!r} is not taken: send the body plain, in gzip or in deflate"
        raise HTTPException(415, detail, {"Accept-Encoding": "gzip, deflate"})
    return packed


async def _read_packed(request: Request, service: Service, packed: str) -> bytes:
    limit_bytes = service.settings.max_body_mb * 1_000_000
    body = await read_body(request, limit_bytes, service.settings.read_timeout_s)
    return body if packed == "identity" else await run_in_threadpool(unpack, body, packed, limit_bytes)


async def read_body(request: Request, limit_bytes: int, read_timeout_s: float) -> bytes:
    """The whole body; stops reading where it grows too large, or stalls.

    Args:
        request: whose body nobody has read.
        limit_bytes: of the body as it is sent.
        read_timeout_s: the longest silence, and what a body may take beyond its size over `SLOWEST_BYTES_S`.

    Raises:
        HTTPException: 408 too slow, 413 too large.
    """
    too_large = _too_large("the body", limit_bytes)
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit_bytes:
        raise too_large
    body = bytearray()
    clock = asyncio.get_running_loop().time
    latest_s = clock() + read_timeout_s
    try:
        async with asyncio.timeout(read_timeout_s) as patience:
            async for chunk in request.stream():
                body += chunk
                if len(body) > limit_bytes:
                    raise too_large
                patience.reschedule(min(clock() + read_timeout_s, latest_s + len(body) / SLOWEST_BYTES_S))
    except TimeoutError:
        raise _too_slow(len(body), declared, read_timeout_s) from None
    return bytes(body)


def _too_slow(received: int, declared: str, read_timeout_s: float) -> HTTPException:
    of = f" of {declared}" if declared.isdecimal() else ""
    detail = (
        f"{received}{of} bytes of the body came, then too little for {read_timeout_s:g} s (read_timeout_s)"
    )
    return HTTPException(408, detail, {"Connection": "close"})


def _too_large(what: str, limit_bytes: int) -> HTTPException:
    # the connection stays open: closed on top of an unread body, it would be reset and this answer lost
    return HTTPException(413, f"{what} is over {limit_bytes / 1e6:g} MB (max_body_mb)")


def unpack(body: bytes, encoding: str, limit_bytes: int) -> bytes:
    """A body as it was before its Content-Encoding; stops where it grows too large.

    Args:
        body: packed.
        encoding: a key of `UNPACKERS`.
        limit_bytes: of the unpacked body.

    Raises:
        HTTPException: 400 damaged or cut off, 413 too large.
    """
    unpacked = bytearray()
    wbits = -zlib.MAX_WBITS if encoding == "deflate" and not _has_zlib_head(body) else UNPACKERS[encoding]
    for _ in range(MAX_STREAMS):  # a gzip body may be several, one behind the other
        stream = zlib.decompressobj(wbits)
        try:
            unpacked += stream.decompress(body, limit_bytes + 1 - len(unpacked))
        except zlib.error:
            raise HTTPException(
                400, f"the body is not what its Content-Encoding says: no sound {encoding}"
            ) from None
        if len(unpacked) > limit_bytes:
            raise _too_large("the unpacked body", limit_bytes)
        if not stream.eof:
            raise HTTPException(400, f"the {encoding} body is cut off before its end")
        body = stream.unused_data.lstrip(b"\0")  # gzip may be padded
        if not body:
            return bytes(unpacked)
    raise HTTPException(400, f"the {encoding} body is over {MAX_STREAMS} packed streams: send one")


def _has_zlib_head(body: bytes) -> bool:
    # deflate means RFC 1950, yet some clients send RFC 1951 without head and checksum
    return len(body) > 1 and body[0] & 0x0F == zlib.DEFLATED and int.from_bytes(body[:2]) % 31 == 0


def parse_message(body: bytes, axes: Mapping[int, Axis]) -> Sent:
    """A piece from a piece message of the stream door."""
    piece = _by_contract(lambda: decode_piece(body, axes))
    image = None if piece.image is None else Upload("image", piece.image)
    arrival = Arrival(piece.counts, image, piece.piece_id, piece.batch, mass_g=piece.mass_g)
    return Sent(arrival, piece.deadline_ms)


def parse_messages(body: bytes, axes: Mapping[int, Axis]) -> list[Sent]:
    """Pieces from piece messages, each behind its length."""
    pieces: list[Sent] = []
    at = 0
    while at < len(body):
        length = int.from_bytes(body[at : at + 4], "little")
        if at + 4 + length > len(body):
            raise HTTPException(400, f"message {len(pieces)} of {length} bytes is cut off")
        pieces.append(parse_message(body[at + 4 : at + 4 + length], axes))
        at += 4 + length
    if not 0 < len(pieces) <= MOST_PIECES:
        raise HTTPException(400, f"{len(pieces)} pieces, must be 1 to {MOST_PIECES}")
    return pieces


def parse_json(body: bytes, axes: Mapping[int, Axis]) -> Sent:
    """A piece from a JSON object."""
    return _sent(_validated(JsonPiece, body), axes)


def parse_pieces(body: bytes, axes: Mapping[int, Axis]) -> list[Sent]:
    """Pieces from a JSON object."""
    return [
        _sent(piece, axes, f"pieces.{place}: ")
        for place, piece in enumerate(_validated(JsonPieces, body).pieces)
    ]


def _sent(piece: JsonPiece, axes: Mapping[int, Axis], where: str = "") -> Sent:
    axis, ceiling = piece.wavelength_nm, piece.saturation_counts
    if piece.axis is not None:
        if piece.axis not in axes or axis is not None:
            known = ", ".join(map(str, axes)) or "none"
            raise HTTPException(
                400, f"{where}axis {piece.axis} must be one of {known}, without wavelength_nm"
            )
        axis = axes[piece.axis].wavelength_nm  # type: ignore[assignment]
        ceiling = ceiling or axes[piece.axis].saturation_counts
    if (axis is None) != (piece.counts is None):
        raise HTTPException(400, f"{where}wavelength_nm and counts belong together, one of them is missing")
    if piece.counts is None and piece.image_base64 is None:
        raise HTTPException(
            400, f"{where}send wavelength_nm with counts, image_base64 or all three; there is neither"
        )
    spectrum = None
    if axis is not None and piece.counts is not None:
        spectrum = Numbers(axis, piece.counts, _ceiling(ceiling))
    image = None if piece.image_base64 is None else Upload("image_base64", _decode_base64(piece.image_base64))
    arrival = Arrival(spectrum, image, piece.piece_id, piece.batch, mass_g=piece.mass_g)
    return Sent(arrival, piece.deadline_ms)


def _validated(kind: type[M], body: bytes) -> M:
    try:
        return kind.model_validate_json(body.removeprefix(BYTE_ORDER_MARK))
    except ValidationError as error:
        faults = [_json_fault(detail, kind) for detail in error.errors()[:5]]
        raise HTTPException(400, "; ".join(faults)) from None


def _by_contract(decode: Callable[[], T]) -> T:
    try:
        return decode()
    except WireError as error:
        raise HTTPException(400, str(error)) from None


def _ceiling(saturation_counts: float | None) -> float:
    return math.inf if saturation_counts is None else saturation_counts


def parse_multipart(body: bytes, content_type: str) -> Sent:
    """A piece from multipart parts."""
    try:
        parts = parse_parts(body, content_type)
    except DataError as error:
        raise HTTPException(400, str(error)) from None
    _require_known_parts(parts)
    uploads = {part.name: Upload(_label(part), part.content) for part in parts if part.filename is not None}
    texts = {part.name: _text(part) for part in parts if part.filename is None}
    if not uploads:
        raise HTTPException(400, "send a part named image, spectrum or both; there is neither")
    spectrum: Upload | SpectrumFile | None = uploads.get("spectrum")
    ceiling, deadline_ms = _number(texts, "saturation_counts"), _number(texts, "deadline_ms")
    if isinstance(spectrum, Upload) and ceiling is not None:
        spectrum = SpectrumFile(spectrum, ceiling)
    arrival = Arrival(
        spectrum,
        uploads.get("image"),
        texts.get("piece_id"),
        texts.get("batch"),
        mass_g=_number(texts, "mass_g"),
    )
    return Sent(arrival, deadline_ms)


def _number(texts: Mapping[str, str], name: str) -> float | None:
    if name not in texts:
        return None
    try:
        value = float(texts[name])
    except ValueError:
        value = 0.0
    if not 0 < value < math.inf:
        raise HTTPException(400, f"{name} {texts[name]!r} must be a positive number")
    return value


def _require_known_parts(parts: list[Part]) -> None:
    names = [part.name for part in parts]
    for part in parts:
        if part.name not in (*FILES, *TEXTS):
            known = ", ".join((*FILES, *TEXTS))
            raise HTTPException(400, f"part {part.name[:80]!r} is not known, there are {known}")
        if names.count(part.name) > 1:
            raise HTTPException(
                400, f"part {part.name!r} is there {names.count(part.name)} times, send it once"
            )
        if (part.name in FILES) != (part.filename is not None):
            kind = "file" if part.name in FILES else "text field"
            raise HTTPException(400, f"part {part.name!r} must be a {kind}")


def _label(part: Part) -> str:
    return (part.filename or part.name)[:100]


def _text(part: Part) -> str:
    try:
        text = part.content.decode()
    except UnicodeDecodeError:
        raise HTTPException(400, f"{part.name} is not text in UTF-8") from None
    if not 0 < len(text) <= LABEL_LENGTH:
        raise HTTPException(400, f"{part.name} has {len(text)} characters, must be 1 to {LABEL_LENGTH}")
    return text


def _json_fault(detail: Any, kind: type[BaseModel]) -> str:
    where = ".".join(str(part) for part in detail["loc"]) or "body"
    if detail["type"] == "extra_forbidden":
        known = JsonPiece if kind is JsonPieces and len(detail["loc"]) > 1 else kind
        return f"key {where[:80]!r} is not known, there are {', '.join(known.model_fields)}"
    return f"{where}: {detail['msg']}"


def _decode_base64(text: str) -> bytes:
    head = _DATA_URL.match(text)
    try:
        return base64.b64decode(text[head.end() :] if head else text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise HTTPException(400, f"image_base64 is not base64: {error}") from None
