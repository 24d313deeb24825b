"""What a service needs to know, from the environment or from whoever starts it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from alloysort_datasets.errors import DataError
from alloysort_inference.doors.messages import Form
from alloysort_inference.policy.recipe import DEFAULT_RECIPE

PREFIX: Final = "ALLOYSORT_"
_INJECTED: Final = re.compile(r"\w+://")  # as ALLOYSORT_PORT is by a Kubernetes service of that name


class Settings(BaseModel):
    """One per service; each field can be set as ALLOYSORT_<FIELD> in the environment."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    bundle: Path | None = Field(
        default=None, description="folder of a bundle; the newest released one if unset"
    )
    recipe: str = Field(
        default=DEFAULT_RECIPE, description="name of a shipped recipe, or path of a TOML file"
    )
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    stream_port: Annotated[int, Field(ge=0, le=65535)] | None = Field(
        default=None, description="of the stream door; one above `port` if unset"
    )
    tokens: Path | None = Field(
        default=None, description="file of who may ask from other machines; unset: nobody"
    )
    tls_certificate: Path | None = Field(
        default=None, description="PEM file of the certificate and its chain; unset: no encryption"
    )
    tls_key: Path | None = Field(default=None, description="PEM file of the certificate's private key")
    log: str | None = Field(
        default=None,
        description="decision log: an SQLite file, or postgresql://user:password@host/database; unset: none",
    )
    log_days: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="how long the log keeps a decision; unset: for ever"
    )
    boxes: Path | None = Field(
        default=None, description="journal of the boxes of melts, which go on where it ends; unset: not kept"
    )
    outputs: Path | None = Field(
        default=None, description="what is told of each piece: Modbus, MQTT, OPC UA; see docs/outputs.md"
    )
    messages: Form = Field(default="text", description="what the process says on stderr: text, or JSON lines")
    providers: tuple[str, ...] | None = Field(
        default=None, description="onnxruntime execution providers; in the environment separated by commas"
    )
    threads: Annotated[int, Field(ge=1, le=1024)] = Field(
        default=1, description="threads inside one run of the model; more only for a lone camera"
    )
    workers: Annotated[int, Field(ge=1, le=256)] | None = Field(
        default=None, description="batches computed at a time; one a core but the loop's own if unset"
    )
    deadline_ms: Annotated[float, Field(gt=0)] | None = Field(
        default=None,
        description="from a piece's arrival to its answer where it names none; unset: no hurry",
    )
    queue_pieces: Annotated[int, Field(ge=1)] = Field(default=512, description="pieces that may wait")
    queue_mb: Annotated[int, Field(ge=1)] = Field(default=256, description="what these hold, in 10^6 bytes")
    max_body_mb: Annotated[int, Field(ge=1, le=4096)] = Field(
        default=40, description="largest request, in 10^6 bytes"
    )
    read_timeout_s: Annotated[float, Field(gt=0, le=600)] = Field(
        default=10.0, description="how long a client may stall inside a request before it is refused, in s"
    )
    keep_alive_s: Annotated[int, Field(ge=1, le=86_400)] = Field(
        default=300, description="how long a connection without a request stays open, in s"
    )

    @model_validator(mode="after")
    def _require_both_of_tls(self) -> Settings:
        if (self.tls_certificate is None) != (self.tls_key is None):
            there, lacking = "tls_certificate", "tls_key"
            if self.tls_certificate is None:
                there, lacking = lacking, there
            raise ValueError(f"{there} is set and {lacking} is not: TLS takes both")
        return self


def read_settings(environment: Mapping[str, str], **chosen: Any) -> Settings:
    """Settings from the environment, asked by key, with what was chosen otherwise (None: not chosen) on top.

    Raises:
        DataError: a value that is not allowed; every one is listed.
    """
    asked = {field: environment.get(PREFIX + field.upper(), "") for field in Settings.model_fields}
    found: dict[str, Any] = {field: value for field, value in asked.items() if value}
    if _INJECTED.match(found.get("port", "")):
        del found["port"]
    if isinstance(found.get("providers"), str):
        found["providers"] = tuple(part.strip() for part in found["providers"].split(","))
    found |= {key: value for key, value in chosen.items() if value is not None}
    try:
        return Settings.model_validate(found)
    except ValidationError as error:
        faults = [_fault(detail["loc"], detail["msg"], detail["input"]) for detail in error.errors()]
        raise DataError("settings: " + "; ".join(faults)) from None


def _fault(location: tuple[int | str, ...], message: str, value: object) -> str:
    if not location:  # of the settings together
        return message.removeprefix("Value error, ")
    return f"{location[0]} {value!r}: {message}"
