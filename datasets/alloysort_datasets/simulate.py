"""Simulated piece tables: any size, constant memory, the same from a seed whatever the number of workers.

Pieces come in batches; a batch is one spectrometer unit on one day, and the unit of the splits. Every piece
has random streams of its own for what it is, what the laser meets and what the camera sees, so it does not
matter who makes it or when, and a piece under other conditions is the same piece.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Final, Literal, get_args

import numpy as np

from alloysort_datasets.alloys.strangers import sample_stranger
from alloysort_datasets.alloys.stream import MIXES, sample_material, to_elements
from alloysort_datasets.errors import DataError, TableError
from alloysort_datasets.imagery.paint import paint_image
from alloysort_datasets.libs.conditions import draw_conditions, require_conditions
from alloysort_datasets.libs.laser import fire, reference_exposure
from alloysort_datasets.libs.spectrometer import PRESETS, Spectrometer, draw_spectrometer
from alloysort_datasets.piece import Piece, Split
from alloysort_datasets.readers.picture import encode_jpeg
from alloysort_datasets.table.spread import processes
from alloysort_datasets.table.store import write_instruments, write_shard

Images = Literal["none", "fast"]

SIMULATOR_VERSION: Final = 3  # raise it when the same seed would give other pieces
BATCH_PIECES: Final = 10  # of one unit: errors of a model lie with units, so a table should hold many
SHARD_BATCHES: Final = 40
SPLIT_OF_TENTH: Final[tuple[Split, ...]] = ("train",) * 8 + ("calibration", "test")
MISSED_PIECE: Final = 0.02  # no shot hit; likewise no picture taken
IMAGE_PX: Final = 128
MEDIAN_MASS_G: Final = 25.0
SIMULATION_FILE: Final = "simulation.json"
# What a random stream is for; each piece's stand behind its number
_UNIT, _EXPOSURE, _PIECES = range(3)
_MATTER, _PULSE, _CAMERA, _BESIDE, _STRANGER = range(5)


@dataclass(frozen=True)
class Simulation:
    """What to simulate.

    Attributes:
        pieces: how many.
        seed: same seed, same pieces.
        images: "none" or "fast" (painted without a renderer).
        preset: of the spectrometer, one of `spectrometer.PRESETS`.
        mix: of the scrap stream, one of `scrap.MIXES`.
        shots: laser pulses a piece, in order: the first ones clean it.
        strangers: share of the pieces that are materials no family describes, see `alloys.strangers`; they
            carry the condition `stranger` 1, and those of the test split hold elements kept from the others.
        units: spectrometers that the batches take turns on: 1 is a plant's table. 0: each batch its own.
        conditions: fixed ones by name, see `conditions.Conditions`; all else is as it would be without them.

    Raises:
        TableError: a value is not one of those.
    """

    pieces: int
    seed: int = 0
    images: Images = "fast"
    preset: str = "mixed"
    mix: str = "balanced"
    shots: int = 8
    strangers: float = 0.0
    units: int = 0
    conditions: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.pieces < 1 or self.shots < 1 or self.seed < 0 or self.units < 0:
            raise TableError(
                f"pieces {self.pieces} and shots {self.shots} must be 1 or more, seed {self.seed} and units "
                f"{self.units} 0 or more"
            )
        if not 0 <= self.strangers <= 1:
            raise TableError(f"strangers {self.strangers:g} must be a share from 0 to 1")
        for name, value, known in (
            ("images", self.images, get_args(Images)),
            ("preset", self.preset, PRESETS),
            ("mix", self.mix, MIXES),
        ):
            if value not in known:
                raise TableError(f"{name} {value!r} is none of {', '.join(known)}")
        try:
            require_conditions(self.conditions)
        except DataError as error:
            raise TableError(str(error)) from None

    @property
    def batches(self) -> int:
        """The last one may be short."""
        return -(-self.pieces // BATCH_PIECES)

    @property
    def shards(self) -> int:
        """Files of pieces."""
        return -(-self.batches // SHARD_BATCHES)


def simulate(out: Path, simulation: Simulation, workers: int = 1) -> Iterator[int]:
    """Write a simulated piece table; goes on where a killed run stopped.

    Args:
        out: folder of the table, new or of the same simulation.
        simulation: what to make.
        workers: processes.

    Yields:
        the number of pieces written so far, after each file.

    Raises:
        TableError: the folder holds another simulation's table, or cannot be written.
    """
    _claim(out, simulation)
    next(
        simulate_batch(replace(simulation, pieces=1, images="none"), 0)
    )  # compiled once, before workers start
    todo = [shard for shard in range(simulation.shards) if not _shard_file(out, shard).exists()]
    done = simulation.pieces - sum(_shard_pieces(simulation, shard) for shard in todo)
    yield done
    if workers <= 1:
        for shard in todo:
            done += _write(out, simulation, shard)
            yield done
    else:
        with processes(workers) as pool:
            jobs = [pool.submit(_write, out, simulation, shard) for shard in todo]
            for job in jobs:
                done += job.result()
                yield done
    numbers = range(min(simulation.units or simulation.batches, simulation.batches))
    units = (open_batch(simulation, number).instrument for number in numbers)
    write_instruments(out, units)


def open_batch(simulation: Simulation, batch: int) -> Spectrometer:
    """A batch's spectrometer."""
    number = batch % simulation.units if simulation.units else batch
    name = f"{simulation.preset}-{simulation.seed}-{number:05d}"
    return draw_spectrometer(simulation.preset, name, _stream(simulation, number, _UNIT))


def simulate_batch(simulation: Simulation, batch: int) -> Iterator[Piece]:
    """The pieces of one batch."""
    unit = open_batch(simulation, batch)
    exposure = reference_exposure(unit, _stream(simulation, batch, _EXPOSURE))
    first = batch * BATCH_PIECES
    for number in range(first, min(first + BATCH_PIECES, simulation.pieces)):
        yield _simulate_piece(simulation, batch, number, unit, exposure)


def _simulate_piece(
    simulation: Simulation, batch: int, number: int, unit: Spectrometer, exposure: float
) -> Piece:
    piece, pulse, camera, beside, other = (
        _stream(simulation, batch, _PIECES, number, sense)
        for sense in (_MATTER, _PULSE, _CAMERA, _BESIDE, _STRANGER)
    )
    split = SPLIT_OF_TENTH[batch % len(SPLIT_OF_TENTH)]
    material = sample_material(piece, mix=MIXES[simulation.mix])
    stranger = bool(other.random() < simulation.strangers)
    if stranger:
        material = sample_stranger(other, held_out=split == "test")
    missed, unseen = piece.random(2) < MISSED_PIECE
    mass_g = float(MEDIAN_MASS_G * np.exp(piece.normal(0, 0.9)))
    shots = None
    if not missed:
        conditions = draw_conditions(material.composition, pulse, simulation.conditions)
        neighbour = None
        if conditions.neighbour_share > 0:
            neighbour = sample_material(beside, mix=MIXES[simulation.mix]).composition
        shots = fire(material.composition, unit, conditions, simulation.shots, exposure, pulse, neighbour)
    told = {} if shots is None else {**shots.conditions}
    if simulation.strangers:
        told["stranger"] = float(stranger)
    image = None
    if simulation.images == "fast" and not (unseen and shots is not None):
        image = encode_jpeg(paint_image(material.family, material.alloy, material.kind, camera, IMAGE_PX))
    return Piece(
        piece_id=f"sim-{simulation.seed}-{number:07d}",
        source=f"alloysort simulation, preset {simulation.preset}, images {simulation.images}",
        batch=f"sim-{simulation.seed}-{batch:05d}",
        split=split,
        family=material.family,
        alloy=material.alloy,
        composition=to_elements(material.composition),
        mass_g=mass_g,
        image=image,
        spectra=None if shots is None else shots.counts,
        instrument=None if shots is None else unit.instrument.name,
        conditions=told,
    )


def _stream(simulation: Simulation, *key: int) -> np.random.Generator:
    """A random stream of its own for every key: numpy makes [7] and [7, 0] one, a spawn key does not."""
    return np.random.default_rng(np.random.SeedSequence(simulation.seed, spawn_key=key))


def _write(out: Path, simulation: Simulation, shard: int) -> int:
    batches = range(shard * SHARD_BATCHES, min((shard + 1) * SHARD_BATCHES, simulation.batches))
    pieces = (piece for batch in batches for piece in simulate_batch(simulation, batch))
    return write_shard(_shard_file(out, shard), pieces, SIMULATOR_VERSION)


def _shard_file(out: Path, shard: int) -> Path:
    return out / f"pieces-{shard:05d}.parquet"


def _shard_pieces(simulation: Simulation, shard: int) -> int:
    size = SHARD_BATCHES * BATCH_PIECES
    return min(size, simulation.pieces - shard * size)


def _claim(out: Path, simulation: Simulation) -> None:
    """Write down what is made here, so that a folder never mixes two simulations."""
    told = out / SIMULATION_FILE
    wanted = json.dumps({"simulator": SIMULATOR_VERSION, **asdict(simulation)}, indent=2) + "\n"
    try:
        out.mkdir(parents=True, exist_ok=True)
        if told.exists():
            if told.read_text(encoding="utf-8") != wanted:
                raise TableError(f"{told}: the folder holds another simulation: name a new one")
        elif any(out.iterdir()):
            raise TableError(f"{out}: holds other files: name a new folder")
        else:
            told.write_text(wanted, encoding="utf-8")
    except OSError as error:
        raise TableError(f"{out}: {error.strerror or error}") from None
