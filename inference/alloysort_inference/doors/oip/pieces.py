"""What a request holds of pieces, as tensors: one piece, or a batch of them along the first dimension."""

from __future__ import annotations

import base64
import binascii
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from alloysort_datasets.errors import SpectrumError
from alloysort_datasets.readers.picture import encode_png
from alloysort_datasets.spectrum import checked_axis
from alloysort_inference.doors.oip.tensors import InferRequest, Tensor, TensorError
from alloysort_inference.doors.rest.request import LABEL_LENGTH, MOST_PIECES
from alloysort_inference.doors.stream.wire import Axis, Counts
from alloysort_inference.pipeline import Arrival, Upload

PARAMETERS: Final = ("deadline_ms", "timeout", "batch")
BESIDE_COUNTS: Final = ("wavelength_nm", "axis", "saturation_counts")
_MS_OF_US: Final = 1e-3


@dataclass(frozen=True)
class Input:
    """An input of the model.

    Attributes:
        name: of the tensor.
        datatypes: that it may have, the first one preferred.
        shape: for the metadata; -1: any.
    """

    name: str
    datatypes: tuple[str, ...]
    shape: tuple[int, ...]


INPUTS: Final = (
    Input("wavelength_nm", ("FP64", "FP32"), (-1,)),
    Input("axis", ("INT64", "INT32", "UINT32"), (-1,)),
    Input("counts", ("FP32", "FP64", "UINT16"), (-1, -1, -1)),
    Input("saturation_counts", ("FP64", "FP32"), (-1,)),
    Input("image", ("BYTES", "UINT8"), (-1,)),
    Input("piece_id", ("BYTES",), (-1,)),
    Input("mass_g", ("FP32", "FP64"), (-1,)),
)
_BY_NAME: Final = {known.name: known for known in INPUTS}


@dataclass(frozen=True, eq=False)
class Pieces:
    """The pieces of a request, and how soon their answers are wanted."""

    arrivals: tuple[Arrival, ...]
    deadline_ms: float | None


def read_pieces(request: InferRequest, axes: Mapping[int, Axis], arrived_s: float) -> Pieces:
    """The pieces in a request, in order.

    Args:
        request: what a client asks.
        axes: those that it may name.
        arrived_s: `time.perf_counter()` when the whole of it was there.

    Raises:
        TensorError: names, datatypes, shapes or parameters are not as they must be.
    """
    _require_known(request)
    inputs = request.inputs
    pieces = _count(inputs)
    spectra = _spectra(inputs, axes, pieces)
    images = _images(inputs["image"], pieces) if "image" in inputs else [None] * pieces
    names = _names(inputs["piece_id"], pieces) if "piece_id" in inputs else [None] * pieces
    masses_g = _masses(inputs["mass_g"], pieces) if "mass_g" in inputs else [None] * pieces
    batch = _batch(request.parameters)
    arrivals = tuple(
        Arrival(spectrum, image, name, batch, arrived_s, mass_g)
        for spectrum, image, name, mass_g in zip(spectra, images, names, masses_g, strict=True)
    )
    return Pieces(arrivals, _deadline_ms(request.parameters))


def _require_known(request: InferRequest) -> None:
    for tensor in request.inputs.values():
        known = _BY_NAME.get(tensor.name)
        if known is None:
            raise TensorError(f"input {tensor.name[:80]!r} is not known, there are {', '.join(_BY_NAME)}")
        if tensor.datatype not in known.datatypes:
            must = " or ".join(known.datatypes)
            raise TensorError(f"input {tensor.name!r}: datatype {tensor.datatype} must be {must}")
    for key in request.parameters:
        if key not in PARAMETERS:
            raise TensorError(f"parameter {key[:80]!r} is not known, there are {', '.join(PARAMETERS)}")


def _count(inputs: Mapping[str, Tensor]) -> int:
    """How many pieces there are; every input that says so must agree."""
    found = {name: _pieces_in(inputs[name]) for name in ("counts", "image") if name in inputs}
    if not found:
        raise TensorError("send counts with wavelength_nm or axis, image, or both; there is neither")
    if len(set(found.values())) > 1:
        listed = " and ".join(f"{count} in {name}" for name, count in found.items())
        raise TensorError(f"pieces: there are {listed}, must be the same")
    pieces = next(iter(found.values()))
    if pieces > MOST_PIECES:
        raise TensorError(f"{pieces} pieces, must be 1 to {MOST_PIECES}")
    return pieces


def _pieces_in(tensor: Tensor) -> int:
    shape = tensor.values.shape
    if tensor.datatype == "BYTES":
        return tensor.values.size
    if tensor.name == "image":
        if len(shape) not in (3, 4) or shape[-1] != 3:
            raise _wrong_shape(tensor, "[height, width, 3] or [pieces, height, width, 3]")
        return shape[0] if len(shape) == 4 else 1
    if len(shape) not in (1, 2, 3):
        raise _wrong_shape(tensor, "[channels], [shots, channels] or [pieces, shots, channels]")
    return shape[0] if len(shape) == 3 else 1


def _wrong_shape(tensor: Tensor, right: str) -> TensorError:
    return TensorError(f"input {tensor.name!r}: shape {list(tensor.values.shape)} must be {right}")


def _spectra(inputs: Mapping[str, Tensor], axes: Mapping[int, Axis], pieces: int) -> list[Counts | None]:
    if "counts" not in inputs:
        alone = [name for name in BESIDE_COUNTS if name in inputs]
        if alone:
            raise TensorError(f"input {alone[0]!r} belongs to counts, which are missing")
        return [None] * pieces
    shots = _shots(inputs["counts"], pieces)
    theirs = _axes(inputs, axes, pieces)
    for axis in theirs:
        if axis.wavelength_nm.size != shots.shape[2]:
            raise TensorError(
                f"input 'counts': shape {list(inputs['counts'].values.shape)} has {shots.shape[2]} channels, "
                f"their axis has {axis.wavelength_nm.size}"
            )
    return [Counts(axis, some) for axis, some in zip(theirs, shots, strict=True)]


def _axes(inputs: Mapping[str, Tensor], axes: Mapping[int, Axis], pieces: int) -> list[Axis]:
    """Of each piece, with its ceiling."""
    if ("axis" in inputs) == ("wavelength_nm" in inputs):
        raise TensorError("counts need wavelength_nm or axis, one of them")
    if "axis" in inputs:
        theirs = _named_axes(inputs["axis"], axes, pieces)
    else:
        theirs = [_axis(inputs["wavelength_nm"])] * pieces
    if "saturation_counts" not in inputs:
        return theirs
    ceilings = _ceilings(inputs["saturation_counts"], pieces)
    return [replace(axis, saturation_counts=ceiling) for axis, ceiling in zip(theirs, ceilings, strict=True)]


def _shots(counts: Tensor, pieces: int) -> NDArray[Any]:
    """(pieces, shots, channels)."""
    values = counts.values
    if values.dtype == np.float64:
        with np.errstate(over="ignore"):  # infinity is refused where counts are checked
            values = values.astype(np.float32)
    return values.reshape(pieces, -1, values.shape[-1])


def _axis(wavelength_nm: Tensor) -> Axis:
    if wavelength_nm.values.ndim != 1:
        raise _wrong_shape(wavelength_nm, "[channels], the same for all pieces")
    try:
        return Axis(0, checked_axis(wavelength_nm.values.astype(np.float64)))
    except SpectrumError as error:
        raise TensorError(f"input 'wavelength_nm': {error}") from None


def _named_axes(numbers: Tensor, axes: Mapping[int, Axis], pieces: int) -> list[Axis]:
    found = []
    for number in _one_each(numbers, pieces):
        if number not in axes:
            known = ", ".join(map(str, axes)) or "none: register one at /v1/axes"
            raise TensorError(f"input 'axis': {number} is not known, there are {known}")
        found.append(axes[number])
    return found


def _ceilings(saturation_counts: Tensor, pieces: int) -> list[float]:
    ceilings: list[float] = _one_each(saturation_counts, pieces)
    for ceiling in ceilings:
        if not ceiling > 0:
            raise TensorError(f"input 'saturation_counts': {ceiling} must be positive, infinity if unknown")
    return ceilings


def _masses(mass_g: Tensor, pieces: int) -> list[float | None]:
    masses_g: list[float] = _one_each(mass_g, pieces)
    for mass in masses_g:
        if not 0 <= mass < float("inf"):
            raise TensorError(f"input 'mass_g': {mass} must be positive, or 0 where it is unknown")
    return [mass or None for mass in masses_g]


def _one_each(tensor: Tensor, pieces: int) -> list[Any]:
    """One element for each piece; a single one is for all."""
    elements: list[Any] = tensor.values.ravel().tolist()
    if len(elements) not in (1, pieces):
        raise _wrong_shape(tensor, "[1]" if pieces == 1 else f"[1] or [{pieces}], one a piece")
    return elements * pieces if len(elements) == 1 else elements


def _images(image: Tensor, pieces: int) -> list[Upload | None]:
    if image.datatype == "UINT8":
        pixels = image.values.reshape(pieces, *image.values.shape[-3:])
        return [Upload("image", encode_png(rgb)) for rgb in pixels]
    files: list[bytes] = image.values.ravel().tolist()
    if not image.binary:
        files = [_decode_base64(text) for text in files]
    return [Upload("image", content) if content else None for content in files]


def _decode_base64(text: bytes) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise TensorError(f"input 'image': in JSON its elements must be base64: {error}") from None


def _names(piece_id: Tensor, pieces: int) -> list[str | None]:
    if piece_id.values.size != pieces:
        raise _wrong_shape(piece_id, f"[{pieces}], one a piece")
    return [_name(element) for element in piece_id.values.ravel().tolist()]


def _name(element: bytes) -> str | None:
    try:
        name = element.decode()
    except UnicodeDecodeError:
        raise TensorError(f"input 'piece_id': {element[:40]!r} must be text in UTF-8") from None
    if len(name) > LABEL_LENGTH:
        raise TensorError(f"input 'piece_id': {len(name)} characters, must be at most {LABEL_LENGTH}")
    return name or None


def _batch(parameters: Mapping[str, Any]) -> str | None:
    batch = parameters.get("batch")
    if batch is not None and not (isinstance(batch, str) and 0 < len(batch) <= LABEL_LENGTH):
        raise TensorError(f"parameter batch {batch!r:.80} must be a text of 1 to {LABEL_LENGTH} characters")
    return batch


def _deadline_ms(parameters: Mapping[str, Any]) -> float | None:
    """Of `deadline_ms`, or of the protocol's own `timeout`, which is in microseconds."""
    for key, in_ms in (("deadline_ms", 1.0), ("timeout", _MS_OF_US)):
        value = parameters.get(key)
        if value is not None:
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if not (is_number and 0 < value < sys.float_info.max):
                raise TensorError(f"parameter {key} {value!r:.40} must be a positive number")
            return float(value * in_ms)
    return None
