"""Who is told of the decisions: a TOML file with a table for each."""

from __future__ import annotations

import tomllib
from collections import Counter
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from alloysort_datasets.errors import DataError

_STRICT: Final = ConfigDict(extra="forbid", frozen=True, strict=True)
_FILES: Final = ("password_file", "ca_file")
Address = Annotated[int, Field(ge=0, le=65535)]
Port = Annotated[int, Field(ge=1, le=65535)]
Host = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^\S+$")]
TopicPart = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^+#/\s]+$")]
File = Annotated[Path, Field(strict=False)]


class ModbusSettings(BaseModel):
    """A PLC that is written to over Modbus TCP."""

    model_config = _STRICT
    host: Host
    port: Port = 502
    unit: Annotated[int, Field(ge=0, le=255)] = 1
    coils: dict[str, Address] = Field(default_factory=dict, description="coil of each outlet that ejects")
    first_register: Address | None = Field(default=None, description="of the counters; absent: none")
    heartbeat_register: Address
    heartbeat_ms: Annotated[int, Field(ge=50, le=60_000)] = 500
    pulse_ms: Annotated[float, Field(ge=0, le=1000)] = Field(
        default=0.0, description="least time a coil stays on, so that a scan of the PLC sees it"
    )

    @field_validator("coils")
    @classmethod
    def _each_its_own(cls, coils: dict[str, int]) -> dict[str, int]:
        twice = [address for address, count in Counter(coils.values()).items() if count > 1]
        if twice:
            raise ValueError(f"coil {twice[0]} is named twice, each outlet needs its own")
        return coils


class _WithUser(BaseModel):
    """A counterpart that may want a name and a password; the password stands in a file."""

    model_config = _STRICT
    user: Annotated[str, Field(min_length=1)] | None = None
    password_file: File | None = None

    @model_validator(mode="after")
    def _both_or_none(self) -> _WithUser:
        if (self.user is None) != (self.password_file is None):
            raise ValueError("user and password_file go together: give both or neither")
        return self

    def password(self) -> str | None:
        """The first line of the file; None where there is no user.

        Raises:
            DataError: it cannot be read.
        """
        if self.password_file is None:
            return None
        try:
            text = self.password_file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "not a text file in UTF-8"
            raise DataError(f"password_file {self.password_file}: {why}") from None
        lines = text.splitlines()
        if not lines or not lines[0]:
            raise DataError(
                f"password_file {self.password_file}: its first line is empty, must be the password"
            )
        return lines[0]


class OpcuaSettings(_WithUser):
    """An OPC UA server for the clients of a plant."""

    endpoint: Annotated[str, Field(pattern=r"^opc\.tcp://[^/:\s]+:\d{1,5}(/\S*)?$")] = (
        "opc.tcp://127.0.0.1:4840"
    )


class SparkplugSettings(_WithUser):
    """An MQTT broker of a plant that speaks Sparkplug B."""

    host: Host
    port: Port = 1883
    group: TopicPart
    node: TopicPart
    tls: bool = False
    ca_file: File | None = Field(default=None, description="whom to trust; absent: whom the system trusts")


class DrySettings(BaseModel):
    """Nobody is told; the log says what would have been."""

    model_config = _STRICT
    lines_per_s: Annotated[int, Field(ge=1, le=1000)] = 5


class OutputSettings(BaseModel):
    """All of them; each may be absent."""

    model_config = _STRICT
    modbus: ModbusSettings | None = None
    sparkplug: SparkplugSettings | None = None
    opcua: OpcuaSettings | None = None
    dry: DrySettings | None = None


_TABLES: Final[dict[str, type[BaseModel]]] = {
    "modbus": ModbusSettings,
    "sparkplug": SparkplugSettings,
    "opcua": OpcuaSettings,
    "dry": DrySettings,
}


def read_outputs(path: Path) -> OutputSettings:
    """Settings of a TOML file; files that it names are looked for beside it.

    Raises:
        DataError: it cannot be read, or has faults; every one is listed.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        raise DataError(f"outputs {path}: not a text file in UTF-8") from None
    except OSError as error:
        raise DataError(f"outputs {path}: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise DataError(f"outputs {path}: not TOML: {error}") from None
    try:
        return OutputSettings.model_validate({key: _beside(path, table) for key, table in content.items()})
    except ValidationError as error:
        faults = "; ".join(_fault(detail) for detail in error.errors())
        raise DataError(f"outputs {path}: {faults}") from None


def _beside(path: Path, table: Any) -> Any:
    if not isinstance(table, dict):
        return table
    named = {key: table[key] for key in _FILES if isinstance(table.get(key), str)}
    return table | {key: str(path.parent / name) for key, name in named.items()}


def _fault(detail: ErrorDetails) -> str:
    where = ".".join(str(part) for part in detail["loc"])
    secret = detail["loc"][-1] == "password"  # given in clear in spite of all: at least the log has it not
    shown = detail["type"] != "missing" and not secret and not isinstance(detail["input"], dict)
    value = f" {detail['input']!r}"[:80] if shown else ""
    return f"{where}{value}: {detail['msg'].removeprefix('Value error, ')}{_known_keys(detail)}"


def _known_keys(detail: ErrorDetails) -> str:
    """What a key that nobody knows may have been meant to be."""
    if detail["type"] != "extra_forbidden":
        return ""
    model = OutputSettings if len(detail["loc"]) == 1 else _TABLES[str(detail["loc"][0])]
    near = get_close_matches(str(detail["loc"][-1]), list(model.model_fields), 1)
    return f"; did you mean {near[0]}?" if near else f"; known are {', '.join(model.model_fields)}"
