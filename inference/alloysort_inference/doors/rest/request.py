"""What a client sends to have a piece classified, and how it is read: multipart parts or a JSON object."""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
import zlib
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import HTTPException, Request
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema
from starlette.concurrency import run_in_threadpool

from alloysort_datasets.errors import DataError
from alloysort_datasets.spectrum import Spectrum, spectrum_from_arrays
from alloysort_inference.doors.rest.multipart import Part, parse_parts
from alloysort_inference.pipeline import Upload

MULTIPART: Final = "multipart/form-data"
JSON: Final = "application/json"
FILES: Final = ("image", "spectrum")
TEXTS: Final = ("piece_id", "batch")
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
_NUMBERS: Final = {"type": "array", "items": {"type": "number"}}


def _as_shots(counts: Any) -> Any:
    return [counts] if isinstance(counts, list) and counts and not isinstance(counts[0], list) else counts


class JsonPiece(BaseModel):
    """A piece as JSON: `wavelength_nm` with `counts`, or `image_base64`, or all three."""

    model_config = ConfigDict(extra="forbid", strict=True)
    wavelength_nm: list[float] | None = Field(
        default=None, description="wavelength of each channel in nm, in air, strictly increasing"
    )
    counts: Annotated[
        list[list[float]] | None,
        BeforeValidator(_as_shots),
        WithJsonSchema({"anyOf": [{"type": "array", "items": _NUMBERS}, _NUMBERS]}),
    ] = Field(
        default=None, description="detector counts: one list a laser shot, or a single list for one shot"
    )
    image_base64: str | None = Field(
        default=None,
        description="a JPEG or PNG file in base64; `data:image/jpeg;base64,` may stand before it",
    )
    piece_id: Label | None = Field(default=None, description="comes back in the answer and the decision log")
    batch: Label | None = Field(default=None, description="kept in the decision log")


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


@dataclass(frozen=True, eq=False)
class PieceRequest:
    """What was sent of one piece, not yet decoded."""

    spectrum: Upload | Spectrum | None
    image: Upload | None
    piece_id: str | None
    batch: str | None


def openapi_body() -> dict[str, Any]:
    """Both ways to send a piece, for the OpenAPI document."""
    schemas = {MULTIPART: Form.model_json_schema(), JSON: JsonPiece.model_json_schema()}
    content = {kind: {"schema": schema} for kind, schema in schemas.items()}
    return {"requestBody": {"required": True, "content": content}}


async def read_piece(request: Request, limit_bytes: int, read_timeout_s: float) -> PieceRequest:
    """The piece in a request.

    Raises:
        HTTPException: 400 malformed, 408 too slow, 413 too large (also once unpacked), 415 of
            another content type or packed in a way that is not taken.
        DataError: numbers that make no spectrum.
    """
    packed = request.headers.get("content-encoding", "").strip().lower() or "identity"
    if packed != "identity" and packed not in UNPACKERS:
        detail = f"Content-Encoding {packed[:40]!r} is not taken: send the body plain, in gzip or in deflate"
        raise HTTPException(415, detail, {"Accept-Encoding": "gzip, deflate"})
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in (MULTIPART, JSON):
        raise HTTPException(415, f"content type {kind or '(none)'!r}: send {MULTIPART} or {JSON}")
    body = await read_body(request, limit_bytes, read_timeout_s)
    if packed != "identity":
        body = await run_in_threadpool(unpack, body, packed, limit_bytes)
    if kind == JSON:
        return await run_in_threadpool(parse_json, body)
    return await run_in_threadpool(parse_multipart, body, request.headers["content-type"])


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


def parse_json(body: bytes) -> PieceRequest:
    """A piece from a JSON object."""
    try:
        piece = JsonPiece.model_validate_json(body.removeprefix(BYTE_ORDER_MARK))
    except ValidationError as error:
        raise HTTPException(400, "; ".join(_json_fault(detail) for detail in error.errors()[:5])) from None
    if (piece.wavelength_nm is None) != (piece.counts is None):
        raise HTTPException(400, "wavelength_nm and counts belong together, one of them is missing")
    if piece.counts is None and piece.image_base64 is None:
        raise HTTPException(
            400, "send wavelength_nm with counts, image_base64 or all three; there is neither"
        )
    spectrum = None
    if piece.wavelength_nm is not None and piece.counts is not None:
        spectrum = spectrum_from_arrays(piece.wavelength_nm, piece.counts)
    image = None if piece.image_base64 is None else Upload("image_base64", _decode_base64(piece.image_base64))
    return PieceRequest(spectrum, image, piece.piece_id, piece.batch)


def parse_multipart(body: bytes, content_type: str) -> PieceRequest:
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
    return PieceRequest(
        uploads.get("spectrum"), uploads.get("image"), texts.get("piece_id"), texts.get("batch")
    )


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


def _json_fault(detail: Any) -> str:
    where = ".".join(str(part) for part in detail["loc"]) or "body"
    if detail["type"] == "extra_forbidden":
        return f"key {where[:80]!r} is not known, there are {', '.join(JsonPiece.model_fields)}"
    return f"{where}: {detail['msg']}"


def _decode_base64(text: str) -> bytes:
    head = _DATA_URL.match(text)
    try:
        return base64.b64decode(text[head.end() :] if head else text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise HTTPException(400, f"image_base64 is not base64: {error}") from None
