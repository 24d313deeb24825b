"""Encryption at the doors, by a certificate and its key in files."""

from __future__ import annotations

import ssl

from alloysort_datasets.errors import DataError
from alloysort_inference.doors.settings import Settings


def open_tls(settings: Settings) -> ssl.SSLContext | None:
    """What a door encrypts with; None where no certificate is set.

    Raises:
        DataError: certificate and key cannot be used.
    """
    certificate, key = settings.tls_certificate, settings.tls_key
    if certificate is None or key is None:
        return None
    for name, path in (("tls_certificate", certificate), ("tls_key", key)):
        if not path.is_file():
            raise DataError(f"{name} {path}: no such file")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate, key, password=_none)
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        raise DataError(
            f"tls_certificate {certificate}, tls_key {key}: {reason}; must be PEM files that belong "
            "together, the key without a password"
        ) from None
    return context


def _none() -> str:
    """Asked for where a key has a password; else the process would ask on its terminal."""
    raise ValueError("the key has a password")
