"""The bundle, a released model: `model.onnx`, `bundle.json` and `MODEL_CARD.md` in one folder. No torch here.

`model.int8.onnx`, where it is there, is the same graph in 8-bit integers, for CPUs. `calibration.npz` holds
what was fitted after training, which the graph holds too, but not by name: `adapt` begins with it. The
graph's inputs, for N pieces on a grid of C channels and images of H x H pixels:

    image     uint8   (N, H, H, 3)  RGB
    spectrum  float32 (N, K, C)     K views of the shots, detector counts, see `inputs.prepare_spectrum`
    coverage  float32 (N, C)        1 where the instrument sees the channel
    present   float32 (N, 2)        image there, spectrum there

and its outputs, for F families and E elements:

    probabilities      float32 (N, F)  calibrated
    composition        float32 (N, E)  wt%, closing to 100 with what is none of the elements
    composition_sigma  float32 (N, E)  wt%, one standard deviation
    surface            float32 (N,)    share of metal in what the late shots ablated; no spectrum, no meaning
    novelty            float32 (N,)    larger: less like anything trained on
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from alloysort_datasets.errors import BundleError
from alloysort_datasets.families import ELEMENTS, FAMILIES
from alloysort_models.bundle.grid import Grid
from alloysort_models.bundle.health import Reference

SCHEMA_VERSION: Final = 2
FRONT_END_VERSION: Final = 2  # raise it when `inputs` would make other features of the same piece
MODEL: Final = "model.onnx"
QUANTIZED: Final = "model.int8.onnx"
CALIBRATION: Final = "calibration.npz"
MANIFEST: Final = "bundle.json"
CARD: Final = "MODEL_CARD.md"
INPUTS: Final = ("image", "spectrum", "coverage", "present")
OUTPUTS: Final = ("probabilities", "composition", "composition_sigma", "surface", "novelty")
PATTERNS: Final = ("image", "spectrum", "both")  # of sensors that show something of a piece

_HERE = Path(__file__).parents[1]
RELEASED: Final = (_HERE / "released", _HERE.parent / "released")  # in a wheel, in a checkout


class Bars(BaseModel):
    """A bar for each pattern of sensors: what a picture alone says is worth less."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    image: Annotated[float, Field(ge=0, le=1)]
    spectrum: Annotated[float, Field(ge=0, le=1)]
    both: Annotated[float, Field(ge=0, le=1)]

    def of(self, pattern: str) -> float:
        """The bar of one of PATTERNS."""
        return float(getattr(self, pattern))


class Thresholds(BaseModel):
    """Where an assessment stops being trusted, chosen on the calibration split.

    Attributes:
        confidence: least probability of the likeliest family.
        aluminium: least summed probability of the aluminium families of what is taken for aluminium.
        surface: least share of metal in the late shots.
        novelty: most novelty.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    confidence: Bars
    aluminium: Bars
    surface: Annotated[float, Field(ge=0, le=1)]
    novelty: float


class Adapted(BaseModel):
    """What a bundle was adapted from, and to."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    bundle: str
    bundle_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    data_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    pieces: int
    instrument: str


class Manifest(BaseModel):
    """What `bundle.json` says."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    schema_version: int = SCHEMA_VERSION
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
    created: Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")]
    families: tuple[str, ...] = FAMILIES
    elements: tuple[str, ...] = ELEMENTS
    grid: Grid
    image_size: Annotated[int, Field(ge=16, le=1024)]
    thresholds: Thresholds
    front_end: int = FRONT_END_VERSION
    simulator: int | None = Field(default=None, description="version that made the training data; null: real")
    training_data_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    training_pieces: int | None = Field(
        default=None, description="trained on, with those of all runs before; null: not told"
    )
    training_epochs: int | None = Field(default=None, description="of all runs together; null: not told")
    measured_on_sha256: str | None = Field(
        default=None, description="of the tables that calibrated and measured it; null: the training data"
    )
    adapted: Adapted | None = Field(default=None, description="to one plant's instrument; null: to none")
    health: Reference | None = Field(
        default=None,
        description="what pieces of a line that is well look like; not there: learned on the line",
    )
    metrics: dict[str, Any] = Field(default_factory=dict)
    files: dict[str, str] = Field(
        default_factory=dict, description="SHA-256 of each file beside the manifest"
    )


@dataclass(frozen=True)
class Bundle:
    """A verified bundle on disk.

    Attributes:
        path: its folder.
        manifest: what `bundle.json` says.
        sha256: of `bundle.json`, which holds the hashes of all other files.
    """

    path: Path
    manifest: Manifest
    sha256: str

    @property
    def model(self) -> Path:
        """The ONNX graph."""
        return self.path / MODEL

    @property
    def quantized(self) -> Path | None:
        """The graph in 8-bit integers, None where the bundle has none."""
        return self.path / QUANTIZED if QUANTIZED in self.manifest.files else None

    def on_cpu(self, pattern: str) -> Path:
        """The graph that a CPU runs for a pattern of sensors: in 8-bit integers where there is one.

        Not for pictures alone: they leave close calls between families, which rounding would turn.
        """
        return self.model if self.quantized is None or pattern == "image" else self.quantized

    @property
    def grid(self) -> Grid:
        """The wavelength axis of the graph's spectrum input."""
        return self.manifest.grid


def located(path: Path) -> Path:
    """The folder of a bundle: the path itself, or what is shipped by that name."""
    if not path.exists() and path.name == str(path):
        return next((root / path for root in RELEASED if (root / path / MANIFEST).is_file()), path)
    return path


def load_bundle(path: Path) -> Bundle:
    """Open a bundle and verify every file against its hash.

    Args:
        path: its folder, or the name of one that is shipped.

    Raises:
        BundleError: a file is missing or altered, the manifest is malformed, or its
            schema is newer than this code.
    """
    path = located(path)
    manifest = _read_manifest(path / MANIFEST)
    if MODEL not in manifest.files:
        raise BundleError(f"{path / MANIFEST}: files names no {MODEL}")
    for name, expected in manifest.files.items():
        actual = _sha256(_read(path / name))
        if actual != expected:
            raise BundleError(f"{path / name}: SHA-256 is {actual[:12]}…, bundle.json says {expected[:12]}…")
    return Bundle(path, manifest, _sha256(_read(path / MANIFEST)))


def write_bundle(path: Path, manifest: Manifest, files: Mapping[str, bytes]) -> Bundle:
    """Write a bundle's files and the manifest that holds their hashes; returns it as loaded back.

    It is there whole or not at all; what lay there before is replaced.
    """
    hashes = {name: _sha256(content) for name, content in files.items()}
    complete = manifest.model_copy(update={"files": hashes})
    part = path.resolve().with_name(f".{path.resolve().name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    for name, content in files.items():
        (part / name).write_bytes(content)
    unsaid = {"health"} if complete.health is None else None  # readers before the key refuse even a null
    (part / MANIFEST).write_text(complete.model_dump_json(indent=2, exclude=unsaid) + "\n", encoding="utf-8")
    if path.exists():
        shutil.rmtree(path)
    part.rename(path)
    return load_bundle(path)


def newest_released() -> Path:
    """The folder of the bundle released last.

    Raises:
        BundleError: this installation ships none.
    """
    manifests = [found for root in RELEASED for found in sorted(root.glob(f"*/{MANIFEST}"))]
    if not manifests:
        raise BundleError("this installation ships no bundle: name one with --bundle")
    return max(manifests, key=lambda found: (_read_manifest(found).created, found.parent.name)).parent


def _read_manifest(path: Path) -> Manifest:
    text = _read(path)
    try:
        version = _Versioned.model_validate_json(text)
        if version.schema_version != SCHEMA_VERSION:
            advice = "upgrade" if version.schema_version > SCHEMA_VERSION else "export the model anew"
            raise BundleError(
                f"{path}: schema_version {version.schema_version}, known here is {SCHEMA_VERSION}: {advice}"
            )
        if version.front_end != FRONT_END_VERSION:
            raise BundleError(
                f"{path}: front_end {version.front_end}: the model was trained on features that this "
                f"front end, {FRONT_END_VERSION}, does not make: train and export anew"
            )
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise BundleError(f"{path}: {where}: {first['msg']}") from None


class _Versioned(BaseModel):
    schema_version: int
    front_end: int = FRONT_END_VERSION


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:  # the latter for a path that can be none, as with a NUL
        raise BundleError(f"{path}: {getattr(error, 'strerror', None) or error}") from None


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
