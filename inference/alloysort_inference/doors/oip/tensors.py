"""Tensors of the Open Inference Protocol: JSON, and bytes behind it where a tensor says so.

A request or answer is a JSON object; with the extension for binary data, the header
Inference-Header-Content-Length says how many bytes of the body that object takes, and the data of every
tensor that names a `binary_data_size` follow it, in order, row-major and little-endian. An element of BYTES
is its length as u32, then its bytes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Annotated, Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from alloysort_datasets.errors import DataError

HEAD_LENGTH: Final = "Inference-Header-Content-Length"
BYTES: Final = "BYTES"
DTYPES: Final = {
    "BOOL": np.dtype("?"),
    **{f"UINT{8 * size}": np.dtype(f"<u{size}") for size in (1, 2, 4, 8)},
    **{f"INT{8 * size}": np.dtype(f"<i{size}") for size in (1, 2, 4, 8)},
    **{f"FP{8 * size}": np.dtype(f"<f{size}") for size in (2, 4, 8)},
    BYTES: np.dtype(object),
}
ABSENT: Final = -1.0  # in JSON, which has no NaN, a number that is not there
_ALLOWED_TYPES: Final[dict[str, set[type]]] = {
    "b": {bool},
    "u": {int},
    "i": {int},
    "f": {int, float},
    "O": {str},
}  # by dtype.kind
MOST_DIMENSIONS: Final = 8
_COUNT_BYTES: Final = 4  # of the length before an element of BYTES


class TensorError(DataError):
    """A request that breaks the protocol."""


@dataclass(frozen=True, eq=False)
class Tensor:
    """A named array.

    Attributes:
        name, datatype: as the protocol writes them; `datatype` is a key of DTYPES.
        values: in its shape; those of BYTES are `bytes` objects.
        binary: whether it came as bytes, not as JSON.
    """

    name: str
    datatype: str
    values: NDArray[Any]
    binary: bool = True


@dataclass(frozen=True)
class Wanted:
    """An output that a request names, and whether it wants its data as bytes."""

    name: str
    binary: bool


@dataclass(frozen=True, eq=False)
class InferRequest:
    """What a client asks.

    Attributes:
        number: the client's own of the request, comes back in the answer; None where it gave none.
        parameters: of the request, without what the protocol itself defines.
        inputs: by name.
        outputs: None: all of them.
        binary: whether outputs that do not say otherwise are wanted as bytes.
    """

    number: str | None
    parameters: Mapping[str, Any]
    inputs: Mapping[str, Tensor]
    outputs: tuple[Wanted, ...] | None
    binary: bool


class _InputHead(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    name: str
    shape: Annotated[list[Annotated[int, Field(ge=1)]], Field(max_length=MOST_DIMENSIONS)]
    datatype: str
    parameters: dict[str, Any] | None = None
    data: list[Any] | None = None


class _OutputHead(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    name: str
    parameters: dict[str, Any] | None = None


class _Head(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    id: str | None = None
    parameters: dict[str, Any] | None = None
    inputs: list[_InputHead]
    outputs: list[_OutputHead] | None = None


def decode_request(body: bytes, head_length: str | None) -> InferRequest:
    """A body as a request.

    Args:
        body: all of it, unpacked.
        head_length: the header Inference-Header-Content-Length; None where there is none.

    Raises:
        TensorError: it breaks the protocol.
    """
    size = _head_size(body, head_length)
    head = _parse_head(body if size is None else body[:size], size)
    behind = memoryview(body)[len(body) if size is None else size :]
    sizes = [_binary_size(tensor) for tensor in head.inputs]
    announced = sum(one or 0 for one in sizes)
    if announced != len(behind):
        raise TensorError(
            f"{len(behind)} bytes follow the JSON ({HEAD_LENGTH}: {head_length or 'missing'}), "
            f"the inputs' binary_data_size make {announced}: they must agree"
        )
    inputs: dict[str, Tensor] = {}
    at = 0
    for tensor, binary_size in zip(head.inputs, sizes, strict=True):
        if tensor.name in inputs:
            raise TensorError(f"input {tensor.name[:80]!r} is there twice: send it once")
        inputs[tensor.name] = _decode(tensor, None if binary_size is None else behind[at:][:binary_size])
        at += binary_size or 0
    parameters = dict(head.parameters or {})
    binary = _flag("parameter binary_data_output", parameters.pop("binary_data_output", False))
    return InferRequest(head.id, parameters, inputs, _wanted(head.outputs, binary), binary)


def encode_answer(
    head: Mapping[str, Any], outputs: Sequence[tuple[Tensor, bool]]
) -> tuple[bytes, int | None]:
    """An answer's body, and the size of its JSON where bytes follow it.

    Args:
        head: its fields but `outputs`.
        outputs: each with whether its data go as bytes. In JSON, NaN becomes ABSENT.
    """
    heads: list[dict[str, Any]] = []
    behind: list[bytes] = []
    for tensor, binary in outputs:
        told: dict[str, Any] = {
            "name": tensor.name,
            "datatype": tensor.datatype,
            "shape": list(tensor.values.shape),
        }
        if binary:
            behind.append(_to_bytes(tensor))
            told["parameters"] = {"binary_data_size": len(behind[-1])}
        else:
            told["data"] = _to_json(tensor)
        heads.append(told)
    text = json.dumps({**head, "outputs": heads}, separators=(",", ":"), allow_nan=False).encode()
    return b"".join((text, *behind)), len(text) if behind else None


def _head_size(body: bytes, head_length: str | None) -> int | None:
    if head_length is None:
        return None
    if not (head_length.isascii() and head_length.isdecimal()) or int(head_length) > len(body):
        raise TensorError(
            f"{HEAD_LENGTH} {head_length[:40]!r} must be the bytes of the JSON at the start of the body, "
            f"which has {len(body)}"
        )
    return int(head_length)


def _parse_head(text: bytes, size: int | None) -> _Head:
    try:
        return _Head.model_validate_json(text)
    except ValidationError as error:
        faults = "; ".join(_fault(detail) for detail in error.errors(include_url=False)[:5])
    if size is None and faults.startswith("body: "):
        faults += f"; where bytes follow the JSON, the header {HEAD_LENGTH} must say how long it is"
    raise TensorError(faults)


def _fault(detail: Any) -> str:
    where = ".".join(str(part) for part in detail["loc"]) or "body"
    if detail["type"] == "extra_forbidden":
        return f"key {where[:80]!r} is not known"
    return f"{where[:80]}: {detail['msg']}"


def _binary_size(tensor: _InputHead) -> int | None:
    """How many bytes of the body are the tensor's; None: it is in the JSON."""
    parameters = tensor.parameters or {}
    _require_parameters(parameters, f"input {tensor.name[:80]!r}: parameter", "binary_data_size")
    size = parameters.get("binary_data_size")
    if (size is None) == (tensor.data is None):
        raise TensorError(f"input {tensor.name[:80]!r} must have data or binary_data_size, one of them")
    if size is not None and (not isinstance(size, int) or isinstance(size, bool) or size < 0):
        raise TensorError(
            f"input {tensor.name[:80]!r}: binary_data_size {size!r:.40} must be a number of bytes"
        )
    return size


def _decode(tensor: _InputHead, content: memoryview | None) -> Tensor:
    dtype = DTYPES.get(tensor.datatype)
    if dtype is None:
        known = ", ".join(DTYPES)
        raise TensorError(
            f"input {tensor.name[:80]!r}: datatype {tensor.datatype[:40]!r} is not known, there are {known}"
        )
    if content is None:
        flat = _from_json(tensor, dtype)
    elif tensor.datatype == BYTES:
        flat = _split(tensor, bytes(content))
    else:
        flat = _from_bytes(tensor, dtype, bytes(content))
    return Tensor(tensor.name, tensor.datatype, flat.reshape(tensor.shape), content is not None)


def _from_bytes(tensor: _InputHead, dtype: np.dtype[Any], content: bytes) -> NDArray[Any]:
    expected = math.prod(tensor.shape) * dtype.itemsize
    if len(content) != expected:
        raise TensorError(
            f"input {tensor.name[:80]!r}: shape {tensor.shape} of {tensor.datatype} has {expected} bytes, "
            f"binary_data_size is {len(content)}"
        )
    return np.frombuffer(content, dtype)


def _split(tensor: _InputHead, content: bytes) -> NDArray[Any]:
    elements: list[bytes] = []
    at = 0
    while at < len(content):
        start = at + _COUNT_BYTES
        at = start + int.from_bytes(content[at:start], "little")
        if at > len(content):
            raise TensorError(
                f"input {tensor.name[:80]!r}: element {len(elements)} of BYTES is cut off: each is its "
                "length as a little-endian u32, then its bytes"
            )
        elements.append(content[start:at])
    return _objects(tensor, elements)


def _from_json(tensor: _InputHead, dtype: np.dtype[Any]) -> NDArray[Any]:
    flat = _flattened(tensor)
    if not set(map(type, flat)) <= _ALLOWED_TYPES[dtype.kind]:
        raise TensorError(f"input {tensor.name[:80]!r}: data must all be {_in_words(tensor.datatype)}")
    if dtype.kind == "O":
        return _objects(tensor, [text.encode() for text in flat])
    _require_elements(tensor, len(flat))
    try:
        with np.errstate(over="ignore"):
            return np.array(flat, dtype)
    except OverflowError:
        raise TensorError(
            f"input {tensor.name[:80]!r}: data run from {min(flat)!r:.40} to {max(flat)!r:.40}, "
            f"which is not within {tensor.datatype}"
        ) from None


def _flattened(tensor: _InputHead) -> list[Any]:
    flat = tensor.data or []
    while any(isinstance(row, list) for row in flat):
        if len({len(row) if isinstance(row, list) else -1 for row in flat}) > 1:
            raise TensorError(f"input {tensor.name[:80]!r}: the rows of data are of unequal length")
        flat = list(chain.from_iterable(flat))
    return flat


def _in_words(datatype: str) -> str:
    kind = DTYPES[datatype].kind
    return {"b": "true or false", "f": "numbers", "O": "strings"}.get(kind, "whole numbers")


def _objects(tensor: _InputHead, elements: list[bytes]) -> NDArray[Any]:
    _require_elements(tensor, len(elements))
    values = np.empty(len(elements), object)
    values[:] = elements
    return values


def _require_elements(tensor: _InputHead, found: int) -> None:
    if found != math.prod(tensor.shape):
        raise TensorError(
            f"input {tensor.name[:80]!r}: shape {tensor.shape} has {math.prod(tensor.shape)} elements, "
            f"there are {found}"
        )


def _wanted(outputs: list[_OutputHead] | None, binary: bool) -> tuple[Wanted, ...] | None:
    if not outputs:
        return None
    return tuple(Wanted(output.name, _wants_bytes(output, binary)) for output in outputs)


def _wants_bytes(output: _OutputHead, default: bool) -> bool:
    parameters, where = output.parameters or {}, f"output {output.name[:80]!r}: parameter"
    _require_parameters(parameters, where, "binary_data")
    return _flag(f"{where} binary_data", parameters.get("binary_data", default))


def _require_parameters(parameters: Mapping[str, Any], where: str, known: str) -> None:
    for key in parameters:
        if key != known:
            raise TensorError(f"{where} {key[:80]!r} is not known, there is {known}")


def _flag(where: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise TensorError(f"{where} {value!r:.40} must be true or false")
    return value


def _to_bytes(tensor: Tensor) -> bytes:
    if tensor.datatype != BYTES:
        return np.ascontiguousarray(tensor.values, DTYPES[tensor.datatype]).tobytes()
    return b"".join(
        len(element).to_bytes(_COUNT_BYTES, "little") + element for element in tensor.values.ravel().tolist()
    )


def _to_json(tensor: Tensor) -> list[Any]:
    flat = tensor.values.ravel()
    if tensor.datatype == BYTES:
        return [element.decode() for element in flat.tolist()]
    if flat.dtype.kind == "f":
        flat = np.where(np.isfinite(flat), flat, ABSENT)
    return list(flat.tolist())
