"""Simulated piece tables: any size, constant memory, the same from a seed whatever the number of workers.

Pieces come in batches; a batch is one spectrometer unit on one day, and the unit of the splits. Every batch
has its own random stream, so it does not matter who makes it, or when.
"""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal, get_args

import numpy as np

from alloysort_datasets.errors import TableError
from alloysort_datasets.imagery import paint_image
from alloysort_datasets.laser import fire, reference_exposure
from alloysort_datasets.picture import encode_jpeg
from alloysort_datasets.piece import Piece, Split
from alloysort_datasets.scrap import MIXES, sample_material, to_elements
from alloysort_datasets.spectrometer import PRESETS, Spectrometer, draw_spectrometer
from alloysort_datasets.table import write_instruments, write_shard

Images = Literal["none", "fast"]

BATCH_PIECES: Final = 40
SHARD_BATCHES: Final = 10
SPLIT_OF_TENTH: Final[tuple[Split, ...]] = ("train",) * 8 + ("calibration", "test")
MISSED_PIECE: Final = 0.02  # no shot hit; likewise no picture taken
IMAGE_PX: Final = 128
MEDIAN_MASS_G: Final = 25.0
RECIPE_FILE: Final = "simulation.json"


@dataclass(frozen=True)
class Simulation:
    """What to simulate.

    Attributes:
        pieces: how many.
        seed: same seed, same pieces.
        images: "none" or "fast" (painted without a renderer).
        preset: of the spectrometer, one of `spectrometer.PRESETS`.
        mix: of the scrap stream, one of `scrap.MIXES`.
        shots: laser pulses a piece.

    Raises:
        TableError: a value is not one of those.
    """

    pieces: int
    seed: int = 0
    images: Images = "fast"
    preset: str = "mixed"
    mix: str = "balanced"
    shots: int = 3

    def __post_init__(self) -> None:
        if self.pieces < 1 or self.shots < 1 or self.seed < 0:
            raise TableError(
                f"pieces {self.pieces} and shots {self.shots} must be 1 or more, seed {self.seed} 0 or more"
            )
        for name, value, known in (
            ("images", self.images, get_args(Images)),
            ("preset", self.preset, PRESETS),
            ("mix", self.mix, MIXES),
        ):
            if value not in known:
                raise TableError(f"{name} {value!r} is none of {', '.join(known)}")

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
    todo = [shard for shard in range(simulation.shards) if not _shard_file(out, shard).exists()]
    done = simulation.pieces - sum(_shard_pieces(simulation, shard) for shard in todo)
    yield done
    if workers <= 1:
        for shard in todo:
            done += _write(out, simulation, shard)
            yield done
    else:
        with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
            jobs = [pool.submit(_write, out, simulation, shard) for shard in todo]
            for job in jobs:
                done += job.result()
                yield done
    units = (open_batch(simulation, batch)[0].instrument for batch in range(simulation.batches))
    write_instruments(out, units)


def open_batch(simulation: Simulation, batch: int) -> tuple[Spectrometer, float, np.random.Generator]:
    """A batch's spectrometer, its exposure, and the random stream its pieces come from."""
    rng = np.random.default_rng([simulation.seed, batch])
    unit = draw_spectrometer(simulation.preset, f"{simulation.preset}-{simulation.seed}-{batch:05d}", rng)
    return unit, reference_exposure(unit, rng), rng


def simulate_batch(simulation: Simulation, batch: int) -> Iterator[Piece]:
    """The pieces of one batch."""
    unit, exposure, rng = open_batch(simulation, batch)
    first = batch * BATCH_PIECES
    for number in range(first, min(first + BATCH_PIECES, simulation.pieces)):
        yield _simulate_piece(simulation, batch, number, unit, exposure, rng)


def _simulate_piece(
    simulation: Simulation,
    batch: int,
    number: int,
    unit: Spectrometer,
    exposure: float,
    rng: np.random.Generator,
) -> Piece:
    material = sample_material(rng, mix=MIXES[simulation.mix])
    missed, unseen = rng.random(2) < MISSED_PIECE
    shots = None if missed else fire(material.composition, unit, simulation.shots, exposure, rng)
    image = None
    if simulation.images == "fast" and not (unseen and shots is not None):
        picture = paint_image(material.family, material.alloy, material.kind, rng, IMAGE_PX)
        image = encode_jpeg(picture)
    conditions: Mapping[str, float] = {} if shots is None else shots.conditions
    return Piece(
        piece_id=f"sim-{simulation.seed}-{number:07d}",
        source=f"alloysort simulation, preset {simulation.preset}, images {simulation.images}",
        batch=f"sim-{simulation.seed}-{batch:05d}",
        split=SPLIT_OF_TENTH[batch % len(SPLIT_OF_TENTH)],
        family=material.family,
        alloy=material.alloy,
        composition=to_elements(material.composition),
        mass_g=float(MEDIAN_MASS_G * np.exp(rng.normal(0, 0.9))),
        image=image,
        spectra=None if shots is None else shots.counts,
        instrument=None if shots is None else unit.instrument.name,
        conditions=conditions,
    )


def _write(out: Path, simulation: Simulation, shard: int) -> int:
    batches = range(shard * SHARD_BATCHES, min((shard + 1) * SHARD_BATCHES, simulation.batches))
    pieces = (piece for batch in batches for piece in simulate_batch(simulation, batch))
    return write_shard(_shard_file(out, shard), pieces)


def _shard_file(out: Path, shard: int) -> Path:
    return out / f"pieces-{shard:05d}.parquet"


def _shard_pieces(simulation: Simulation, shard: int) -> int:
    size = SHARD_BATCHES * BATCH_PIECES
    return min(size, simulation.pieces - shard * size)


def _claim(out: Path, simulation: Simulation) -> None:
    """Write down what is made here, so that a folder never mixes two simulations."""
    recipe = out / RECIPE_FILE
    wanted = json.dumps(asdict(simulation), indent=2) + "\n"
    try:
        out.mkdir(parents=True, exist_ok=True)
        if recipe.exists():
            if recipe.read_text(encoding="utf-8") != wanted:
                raise TableError(f"{recipe}: the folder holds another simulation: name a new one")
        elif any(out.iterdir()):
            raise TableError(f"{out}: holds other files: name a new folder")
        else:
            recipe.write_text(wanted, encoding="utf-8")
    except OSError as error:
        raise TableError(f"{out}: {error.strerror or error}") from None
