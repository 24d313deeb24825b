"""What a file is that is no spectrum: named, so that the refusal says what to do."""

from __future__ import annotations

from typing import Final

_MAGIC: Final = (
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "is an old Excel or Office file: save the sheet as csv"),
    (b"%PDF", "is a PDF: export the spectrum as csv"),
    (b"\x1f\x8b", "is compressed with gzip: unpack it first"),
    (b"BZh", "is compressed with bzip2: unpack it first"),
    (b"\xfd7zXZ\0", "is compressed with xz: unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "is a 7-Zip archive: unpack it first"),
    (b"Rar!", "is a RAR archive: unpack it first"),
    (b"\x89HDF\r\n", "is an HDF5 file: export the spectrum as csv"),
    (b"\xff\xd8\xff", "is a JPEG picture: it belongs to the camera's side, --image"),
    (b"\x89PNG\r\n", "is a PNG picture: it belongs to the camera's side, --image"),
    (b"PAR1", "is a Parquet table: `alloysort data check` reads piece tables"),
    (b"\x80\x04\x95", "is a Python pickle, which is never opened: export the spectrum as csv"),
)


def container(data: bytes) -> str | None:
    """What a file is that holds no spectrum in the open, and what to do with it; None if nobody knows it."""
    if data.startswith(b"PK\x03\x04"):
        if b"xl/" in data:
            return "is an Excel workbook: save the sheet as csv"
        if b"content.xml" in data:
            return "is an OpenDocument file: save the sheet as csv"
        if b".npy" not in data:
            return "is a zip archive: unpack it first"
    return next((said for magic, said in _MAGIC if data.startswith(magic)), None)
