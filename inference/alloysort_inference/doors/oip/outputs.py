"""What is said of pieces, as tensors with one row a piece."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from alloysort_datasets.families import ELEMENTS, FAMILIES
from alloysort_inference.assessment import Assessment
from alloysort_inference.doors.oip.tensors import BYTES, DTYPES, InferRequest, Tensor, TensorError, Wanted
from alloysort_inference.record import Record


@dataclass(frozen=True)
class Output:
    """An output of the model.

    Attributes:
        name, datatype: of the tensor.
        of: a piece's row of it.
        width: numbers a row; None: the tensor is a vector.
    """

    name: str
    datatype: str
    of: Callable[[Record], Any]
    width: int | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """For the metadata; -1: as many as there are pieces."""
        return (-1,) if self.width is None else (-1, self.width)


def _row(read: Callable[[Assessment], NDArray[np.float32]], width: int) -> Callable[[Record], Any]:
    nothing = np.full(width, np.nan, np.float32)
    return lambda record: nothing if record.assessment is None else read(record.assessment)


def _number(read: Callable[[Assessment], float | None]) -> Callable[[Record], float]:
    def of(record: Record) -> float:
        value = None if record.assessment is None else read(record.assessment)
        return float("nan") if value is None else value

    return of


def _text(read: Callable[[Record], str | None]) -> Callable[[Record], bytes]:
    return lambda record: (read(record) or "").encode()


OUTPUTS: Final = (
    Output("piece_id", BYTES, _text(lambda record: record.piece_id)),
    Output("status", BYTES, _text(lambda record: record.status)),
    Output("outlet", BYTES, _text(lambda record: record.decision.outlet)),
    Output("eject", "BOOL", lambda record: record.decision.eject),
    Output("reason", BYTES, _text(lambda record: record.decision.reason)),
    Output("family", BYTES, _text(lambda record: record.decision.family)),
    Output("accepted", "BOOL", lambda record: record.decision.accepted),
    Output("accepted_as_aluminium", "BOOL", lambda record: record.decision.accepted_as_aluminium),
    Output("probabilities", "FP32", _row(lambda said: said.probabilities, len(FAMILIES)), len(FAMILIES)),
    Output("composition", "FP32", _row(lambda said: said.composition, len(ELEMENTS)), len(ELEMENTS)),
    Output(
        "composition_sigma", "FP32", _row(lambda said: said.composition_sigma, len(ELEMENTS)), len(ELEMENTS)
    ),
    Output("surface", "FP32", _number(lambda said: said.surface)),
    Output("novelty", "FP32", _number(lambda said: said.novelty)),
    Output("novel", "BOOL", lambda record: record.decision.novel),
    Output("quality", BYTES, _text(lambda record: ",".join(record.quality))),
    Output("total_ms", "FP32", lambda record: record.timing.total_ms),
    Output("bundle_sha256", BYTES, _text(lambda record: record.bundle.sha256)),
    Output("recipe_sha256", BYTES, _text(lambda record: record.recipe.sha256)),
)
_BY_NAME: Final = {output.name: output for output in OUTPUTS}


def wanted_outputs(request: InferRequest) -> tuple[Wanted, ...]:
    """The outputs that a request wants, in its order; all of them where it names none.

    Raises:
        TensorError: one is not known.
    """
    if request.outputs is None:
        return tuple(Wanted(output.name, request.binary) for output in OUTPUTS)
    for wanted in request.outputs:
        if wanted.name not in _BY_NAME:
            raise TensorError(f"output {wanted.name[:80]!r} is not known, there are {', '.join(_BY_NAME)}")
    return request.outputs


def output_tensor(name: str, records: Sequence[Record]) -> Tensor:
    """A known output: (pieces,) or (pieces, width), NaN and empty text where nothing was computed."""
    output = _BY_NAME[name]
    values = np.array([output.of(record) for record in records], DTYPES[output.datatype])
    return Tensor(name, output.datatype, values)
