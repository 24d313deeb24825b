"""The parts of a multipart/form-data body (RFC 7578), all in memory."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import Message

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from alloysort_datasets.errors import DataError

MAX_PARTS = 16

# the parser warns of what it then raises; where no logging is set up, that would land on stderr as it is
logging.getLogger("python_multipart").addHandler(logging.NullHandler())


@dataclass(frozen=True)
class Part:
    """One part.

    Attributes:
        name: of the form field.
        filename: None for a text field.
        content: its bytes.
    """

    name: str
    filename: str | None
    content: bytes


def parse_parts(body: bytes, content_type: str) -> list[Part]:
    """All parts, in order.

    Args:
        body: the whole body.
        content_type: the header, with its boundary.

    Raises:
        DataError: no boundary, malformed, cut off before the closing boundary, or too many parts.
    """
    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if not boundary:
        raise DataError("multipart body: the Content-Type header names no boundary")
    collector = _Collector()
    try:
        parser = MultipartParser(boundary, collector.callbacks())  # type: ignore[arg-type]
        parser.write(body)
    except FormParserError:
        raise DataError(f"multipart body: {collector.fault(boundary)}") from None
    if not collector.closed:
        raise DataError("multipart body: cut off before its closing boundary")
    return collector.parts


@dataclass
class _Collector:
    parts: list[Part] = field(default_factory=list)
    closed: bool = False
    _begun: int = 0
    _headers: dict[bytes, bytes] = field(default_factory=dict)
    _name: bytearray = field(default_factory=bytearray)
    _value: bytearray = field(default_factory=bytearray)
    _content: bytearray = field(default_factory=bytearray)

    def fault(self, boundary: bytes) -> str:
        """What is wrong where the parser gave up; its own words are those of a state machine."""
        if not self._begun:
            named = boundary.decode("latin-1")[:80]
            return (
                f"does not begin with --{named} (the boundary that the Content-Type header names) and CR LF"
            )
        if self.closed:
            return "something other than the end stands behind its closing boundary"
        return (
            f"part {self._begun} is malformed: a part is its boundary, headers as 'Name: value', a blank "
            "line, the content, each ended by CR LF"
        )

    def callbacks(self) -> dict[str, object]:
        events = ("part_begin", "header_field", "header_value", "header_end", "part_data", "part_end", "end")
        return {f"on_{event}": getattr(self, event) for event in events}

    def part_begin(self) -> None:
        if len(self.parts) == MAX_PARTS:
            raise DataError(f"multipart body: over {MAX_PARTS} parts")
        self._begun += 1
        self._headers, self._content = {}, bytearray()

    def header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def header_end(self) -> None:
        self._headers[bytes(self._name).lower()] = bytes(self._value)
        self._name, self._value = bytearray(), bytearray()

    def part_data(self, data: bytes, start: int, end: int) -> None:
        self._content += memoryview(data)[start:end]

    def part_end(self) -> None:
        disposition = self._headers.get(b"content-disposition", b"")
        _, options = parse_options_header(disposition)
        if b"name" not in options:
            raise DataError("multipart body: a part without a name in its Content-Disposition header")
        name = options[b"name"].decode(errors="replace")
        self.parts.append(Part(name, _filename(disposition, options), bytes(self._content)))

    def end(self) -> None:
        self.closed = True


def _filename(header: bytes, options: Mapping[bytes, bytes]) -> str | None:
    """The name of a file; older clients send it only as `filename*=utf-8''St%C3%BCck.csv` (RFC 5987)."""
    if b"filename" in options:
        return options[b"filename"].decode(errors="replace")
    message = Message()
    message["Content-Disposition"] = header.decode("latin-1")
    return message.get_filename()
