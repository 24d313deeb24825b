"""The payload of Sparkplug B, after the field numbers of Eclipse Tahu's sparkplug_b.proto.

Only what an edge node with plain metrics needs of it; what else a payload holds is read over.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from alloysort_datasets.errors import DataError

INT64: Final = 4
UINT64: Final = 8
DOUBLE: Final = 10
BOOLEAN: Final = 11
STRING: Final = 12
_VALUE_FIELDS: Final = {
    INT64: "long_value",
    UINT64: "long_value",
    DOUBLE: "double_value",
    BOOLEAN: "boolean_value",
    STRING: "string_value",
}
_FIELD: Final = FieldDescriptorProto
_METRIC_FIELDS: Final = (
    ("name", 1, _FIELD.TYPE_STRING),
    ("alias", 2, _FIELD.TYPE_UINT64),
    ("timestamp", 3, _FIELD.TYPE_UINT64),
    ("datatype", 4, _FIELD.TYPE_UINT32),
    ("is_null", 7, _FIELD.TYPE_BOOL),
    ("int_value", 10, _FIELD.TYPE_UINT32),
    ("long_value", 11, _FIELD.TYPE_UINT64),
    ("float_value", 12, _FIELD.TYPE_FLOAT),
    ("double_value", 13, _FIELD.TYPE_DOUBLE),
    ("boolean_value", 14, _FIELD.TYPE_BOOL),
    ("string_value", 15, _FIELD.TYPE_STRING),
)


@dataclass(frozen=True)
class Metric:
    """A named value.

    Attributes:
        datatype: one of the constants here.
        value: None for null.
        alias: a number that stands for the name after the birth; None where the name always does.
    """

    name: str
    datatype: int
    value: object
    alias: int | None = None


def encode(time_ms: int, metrics: Iterable[Metric], seq: int | None = None, *, birth: bool = True) -> bytes:
    """A payload of metrics, all of one time (ms since 1970, UTC).

    Args:
        seq: number of the message; a death has none.
        birth: names and datatypes are told; where not, the alias stands for both.
    """
    payload = _Payload(timestamp=time_ms)
    if seq is not None:
        payload.seq = seq
    for metric in metrics:
        made = payload.metrics.add(timestamp=time_ms)
        if metric.alias is not None:
            made.alias = metric.alias
        if birth or metric.alias is None:
            made.name = metric.name
        if birth:
            made.datatype = metric.datatype
        if metric.value is None:
            made.is_null = True
        else:
            setattr(made, _VALUE_FIELDS[metric.datatype], metric.value)
    written: bytes = payload.SerializeToString()
    return written


def decode(data: bytes) -> dict[str, object]:
    """The values of a payload by name; a metric without a name is left out.

    Raises:
        DataError: no payload of Sparkplug B.
    """
    payload = _Payload()
    try:
        payload.ParseFromString(data)
    except DecodeError as error:
        raise DataError(f"no payload of Sparkplug B: {error}") from None
    return {metric.name: _value_of(metric) for metric in payload.metrics if metric.name}


def _value_of(metric: Any) -> object:
    which = metric.WhichOneof("value")
    return None if which is None else getattr(metric, which)


def _build() -> Any:
    """The message class, of a description made here."""
    file = FileDescriptorProto(name="alloysort/sparkplug_b.proto", package="alloysort", syntax="proto2")
    payload = DescriptorProto(name="Payload")
    metric = payload.nested_type.add(name="Metric")
    metric.oneof_decl.add(name="value")
    for name, number, kind in _METRIC_FIELDS:
        field = metric.field.add(name=name, number=number, type=kind, label=_FIELD.LABEL_OPTIONAL)
        if name.endswith("_value"):
            field.oneof_index = 0
    optional, repeated = _FIELD.LABEL_OPTIONAL, _FIELD.LABEL_REPEATED
    payload.field.add(name="timestamp", number=1, type=_FIELD.TYPE_UINT64, label=optional)
    payload.field.add(
        name="metrics",
        number=2,
        type=_FIELD.TYPE_MESSAGE,
        label=repeated,
        type_name=".alloysort.Payload.Metric",
    )
    payload.field.add(name="seq", number=3, type=_FIELD.TYPE_UINT64, label=optional)
    file.message_type.append(payload)
    pool = DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return GetMessageClass(pool.FindMessageTypeByName("alloysort.Payload"))


_Payload: Final = _build()
