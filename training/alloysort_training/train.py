"""Fit the network to piece tables.

    alloysort train training/configs/default.toml --data DIR --out RUN       one process, CPU or GPU
    torchrun --nproc-per-node 4 -m alloysort_training.train CONFIG --data DIR... --out RUN
    the same command once more                                               goes on where it was killed
    alloysort train CONFIG --data DIR --out RUN2 --from RUN                  begins with what RUN has learned,
                                                                             or a released bundle

RUN then holds config.json, trained.csv (batches), metrics.csv, checkpoints/last.ckpt, start.pt (what it began
with) and cache/ (prepared inputs, may be deleted).
One CPU and one seed give the same weights bit for bit.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import logging
import os
import platform
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, TypedDict

import numpy as np
import torch
from lightning.pytorch import Callback, LightningDataModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint, RichProgressBar
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from alloysort_datasets.errors import AlloysortError, TrainingError
from alloysort_datasets.families import FAMILIES
from alloysort_datasets.piece import Split
from alloysort_datasets.table.store import table_sha256
from alloysort_models.bundle.manifest import FRONT_END_VERSION, Bundle, load_bundle
from alloysort_models.network.sorter import Sorter
from alloysort_models.network.unfold import folded_weights, unfold
from alloysort_training.config import Config, load_config
from alloysort_training.fitting import Asked, Fitting
from alloysort_training.prepare import Survey, prepare, require_splits, survey
from alloysort_training.prepared import Batch, InOrder, Prepared, Resident, Shuffled, loader
from alloysort_training.released import begin_with, graph_weights, is_bundle
from alloysort_training.watch import MetricsFile, draw_curves, read_metrics

CONFIG: Final = "config.json"
TRAINED: Final = "trained.csv"  # source and batch of every piece of the training split
CACHE: Final = "cache"
NEVER: Final = -30.0  # logit of a family that is not to be named
UNEVEN: Final = 3.0  # times the pieces of the rarest family that the commonest may have and nothing is said
METRICS: Final = "metrics.csv"
CURVES: Final = "curves.svg"
START: Final = "start.pt"  # folded weights that the run began with, where it began with any
CHECKPOINT: Final = Path("checkpoints", "last.ckpt")
Device = Literal["auto", "cpu", "cuda"]
_log = logging.getLogger("alloysort")


class Earlier(TypedDict):
    """The run, or bundle, whose network another run began with.

    Pieces and epochs include those before it; None where a bundle does not say.
    """

    data_sha256: str
    simulator: int | None
    pieces: int | None
    epochs: int | None


class Begun(TypedDict):
    """What RUN/config.json says: all that a run hangs on, and where it began."""

    config: dict[str, Any]
    data: list[str]
    data_sha256: str
    sources: list[str]
    pieces: dict[str, int]
    families: list[str] | None  # of the training pieces; None in runs of before they were noted
    simulator: int | None
    front_end: int
    machine: str
    started_from: Earlier | None


@dataclass(frozen=True)
class Learned:
    """What a training came to.

    Attributes:
        pieces: that were fitted; families: how many families they are of.
        epochs: done, of all that the config asks for.
        macro_f1: of the calibration pieces, after the last epoch.
        best: epoch, from 1, with the highest macro-F1.
        chance: macro-F1 of naming each of them as the commonest training family.
        curves: the picture of them.
    """

    pieces: int
    families: int
    epochs: int
    asked: int
    macro_f1: float
    best: int
    chance: float
    curves: Path


def train(
    config: Path, data: Sequence[Path], out: Path, start: Path | None = None, device: Device = "auto"
) -> Learned:
    """Fit a network, or go on with a run that was cut off.

    Args:
        config: TOML of differences from the defaults, see `alloysort_training.config`.
        data: piece tables; their `train` split is fitted, their `calibration` split watched.
        out: the run's folder.
        start: a finished run, or a bundle, whose network this one begins with.
        device: where; auto takes a GPU where there is one.

    Raises:
        TrainingError: the config is wrong, a split is missing or not kept apart, there is nothing to tell
            apart, `out` holds another run, the network of `start` is of another shape or was trained on what
            is watched here, there is no such device, or the run was interrupted.
        DataError: a piece cannot be used.
    """
    settings = load_config(config)
    accelerator = _accelerator(device, settings.fit.precision)
    found = survey(data)
    require_splits(found, data, "train", "calibration")
    _require_something_to_tell_apart(found)
    asked = _asked(found, settings, start)
    out.mkdir(parents=True, exist_ok=True)
    before = None if start is None else _before(start, settings, data, found, out / CACHE)
    _begin(out, settings, data, found, before)
    tables = Tables(data, found, settings, out / CACHE)
    with _quiet():
        _fit(settings, tables, out, before, asked, accelerator)
    return _learned(settings, tables, out)


def _accelerator(device: Device, precision: str) -> str:
    there = torch.cuda.is_available()
    if device == "cuda" and not there:
        raise TrainingError("device cuda: torch sees no such GPU here; --device cpu trains without")
    chosen = "gpu" if device == "cuda" or (device == "auto" and there) else "cpu"
    if precision == "bf16-mixed" and chosen == "cpu":
        raise TrainingError(
            "fit.precision bf16-mixed is for GPUs, this is a CPU: 32-true is right, and faster"
        )
    return chosen


def _require_something_to_tell_apart(found: Survey) -> None:
    labelled = sum(found.families.values())
    if not labelled:
        raise TrainingError(
            f"none of the {found.pieces['train']} training pieces has a family: there is nothing to learn"
        )
    if len(found.families) < 2:
        family = next(iter(found.families))
        raise TrainingError(
            f"all {labelled} labelled training pieces are {family}: there is nothing to tell it apart from"
        )


def _learned(config: Config, tables: Tables, out: Path) -> Learned:
    rows = read_metrics(out / METRICS)
    scores = [row["calibration_macro_f1"] for row in rows]
    families = tables.found.families
    chance = macro_f1_of_one(
        tables.calibration_families(), FAMILIES.index(max(families, key=families.__getitem__))
    )
    if _is_first():
        draw_curves(rows, out / CURVES, chance)
    return Learned(
        pieces=tables.found.pieces["train"],
        families=len(families),
        epochs=len(rows),
        asked=config.fit.epochs,
        macro_f1=scores[-1],
        best=1 + int(np.argmax(scores)),
        chance=chance,
        curves=out / CURVES,
    )


def macro_f1_of_one(family: NDArray[np.int64], named: int) -> float:
    """Macro-F1 of naming all of N pieces, of (N,) families, alike: what knowing nothing is worth."""
    known = family[family >= 0]
    there = np.unique(known)
    right = int((known == named).sum())
    return 2.0 * right / (right + len(known)) / len(there) if len(there) else 0.0


def load_run(run: Path) -> tuple[Begun, Config, Sorter]:
    """What a run was told and the network it has trained so far.

    Raises:
        TrainingError: the folder holds no run, or none that has finished an epoch.
    """
    begun = _read_begun(run)
    if begun is None:
        raise TrainingError(f"{run}: no {CONFIG} in it: not the folder of a training run")
    if begun.get("front_end") != FRONT_END_VERSION:
        raise TrainingError(
            f"{run}: was trained on features of front end {begun.get('front_end', 1)}, this one is "
            f"{FRONT_END_VERSION}: train anew"
        )
    config = Config.model_validate(begun["config"])
    fitting = Fitting(config)
    try:
        checkpoint = torch.load(run / CHECKPOINT, map_location="cpu", weights_only=True)
    except OSError as error:
        raise TrainingError(f"{run / CHECKPOINT}: {error.strerror or error}: train first") from None
    fitting.load_state_dict(checkpoint["state_dict"])
    sorter = fitting.sorter.eval()
    if begun["started_from"] is not None and config.fit.kept:
        _keep(sorter, torch.load(run / START, map_location="cpu", weights_only=True), config.fit.kept)
    if begun["families"] is not None and (begun["started_from"] is None or config.fit.absent == "forgotten"):
        _forget(sorter, [family for family in FAMILIES if family not in begun["families"]])
    return begun, config, sorter


@torch.no_grad()
def _forget(sorter: Sorter, absent: Sequence[str]) -> None:
    """Families without a training piece are never named: learning others alone would not see to that."""
    rows = [FAMILIES.index(family) for family in absent]
    sorter.family.weight[rows] = 0.0
    sorter.family.bias[rows] = NEVER


def _keep(sorter: Sorter, start: dict[str, Tensor], kept: float) -> None:
    """Move a trained network back towards the weights that it began with."""
    learned = folded_weights(sorter)
    unfold(sorter, {name: kept * start[name] + (1 - kept) * learned[name] for name in learned}, ())
    sorter.eval()


class Tables(LightningDataModule):
    """The prepared splits; under torchrun the first process prepares them and the others wait."""

    fitted: Prepared | Resident
    watched: Prepared | Resident

    def __init__(self, data: Sequence[Path], found: Survey, config: Config, cache: Path) -> None:
        super().__init__()
        self.data, self.found, self.config, self.cache = data, found, config, cache

    def prepare_data(self) -> None:
        """Make what is not made yet."""
        self._prepared("train")
        self._prepared("calibration")

    def setup(self, stage: str) -> None:
        """Open the maps, and send to the accelerator what it has room for."""
        del stage
        self.fitted, self.watched = (
            self._near(self._prepared("train")),
            self._near(self._prepared("calibration")),
        )

    def train_dataloader(self) -> DataLoader[Batch]:
        """Shuffled anew each epoch."""
        fit = self.config.fit
        return loader(self.fitted, Shuffled(self.fitted, fit.batch_size, self.config.seed, *self._share()))

    def val_dataloader(self) -> DataLoader[Batch]:
        """The calibration split in order."""
        return loader(self.watched, InOrder(self.watched, self.config.fit.batch_size, *self._share()))

    def calibration_families(self) -> NDArray[np.int64]:
        """(N,) of the calibration split."""
        return np.array(self._prepared("calibration").family)

    def _prepared(self, split: Split) -> Prepared:
        return prepare(self.data, split, self.found, self.config, self.cache)

    def _near(self, prepared: Prepared) -> Prepared | Resident:
        device = torch.device("cpu") if self.trainer is None else self.trainer.strategy.root_device
        return Resident(prepared, device) if Resident.fits(prepared, device) else prepared

    def _share(self) -> tuple[int, int]:
        trainer = self.trainer
        return (0, 1) if trainer is None else (trainer.global_rank, trainer.world_size)


def trained_batches(run: Path) -> set[tuple[str, str]]:
    """The (source, batch) of all that a run, and the runs it began with, were trained on."""
    with (run / TRAINED).open(newline="", encoding="utf-8") as file:
        return {(source, batch) for source, batch in csv.reader(file)}


class Before(NamedTuple):
    """What a run begins with.

    Attributes:
        weights: of its network, folded.
        sorter: that network, fit to be trained.
        earlier: what is noted of it.
        trained: the (source, batch) it was trained on, as far as it says.
    """

    weights: dict[str, Tensor]
    sorter: Sorter
    earlier: Earlier
    trained: set[tuple[str, str]]


def _before(start: Path, settings: Config, data: Sequence[Path], found: Survey, cache: Path) -> Before:
    trained: set[tuple[str, str]] = set()
    if is_bundle(start):
        bundle = load_bundle(start)
        known = {bundle.manifest.training_data_sha256, bundle.manifest.measured_on_sha256}
        if known & {found.sha256, *(table_sha256(folder) for folder in data)}:
            raise TrainingError(f"{start}: was trained or measured on this table: give it other pieces")
        weights, earlier = graph_weights(bundle.model), _earlier_bundle(bundle)
        sizes = bundle.grid, bundle.manifest.image_size
    else:
        begun, before, learned = load_run(start)
        trained = trained_batches(start)
        if trained & (found.batches.keys() - found.trained):
            raise TrainingError(f"{start}: was trained on batches that are to be measured on here")
        weights, earlier = folded_weights(learned), _earlier(begun, before)
        sizes = before.grid, before.network.image_size
    another = f"{start}: its network is of another grid or size: give this config the same"
    if sizes != (settings.grid, settings.network.image_size):
        raise TrainingError(another)
    try:
        sorter = begin_with(weights, settings, prepare(data, "train", found, settings, cache))
    except ValueError as error:
        raise TrainingError(f"{another} ({error})") from None
    return Before(weights, sorter, earlier, trained)


def _fit(
    config: Config, tables: Tables, out: Path, before: Before | None, asked: Asked, accelerator: str
) -> None:
    last = out / CHECKPOINT
    callbacks: list[Callback] = [
        ModelCheckpoint(dirpath=last.parent, filename=last.stem, enable_version_counter=False),
        MetricsFile(out / METRICS, tables.found.pieces["train"]),
    ]
    if config.fit.patience:
        callbacks.append(EarlyStopping("calibration_loss", patience=config.fit.patience))
    terminal = sys.stderr.isatty()
    if terminal:
        callbacks.append(RichProgressBar())
    trainer = Trainer(
        accelerator=accelerator,
        **_shared_out(),
        precision=config.fit.precision,
        max_epochs=config.fit.epochs,
        gradient_clip_val=config.fit.gradient_norm,
        deterministic=True,
        callbacks=callbacks,
        logger=False,
        default_root_dir=out,
        enable_progress_bar=terminal,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )
    fitting = Fitting(config, asked)
    if before is not None:
        fitting.sorter.load_state_dict(before.sorter.state_dict())
    try:
        trainer.fit(fitting, tables, ckpt_path=last if last.is_file() else None, weights_only=True)
    except (KeyboardInterrupt, SystemExit):
        raise TrainingError(
            f"interrupted: {out} keeps its {len(read_metrics(out / METRICS))} of {config.fit.epochs} epochs; "
            "the same command goes on from there"
        ) from None


def _shared_out() -> dict[str, Any]:
    """Over how many processes, as torchrun tells it; without it all GPUs that are there, or one process."""
    if "LOCAL_WORLD_SIZE" not in os.environ:
        return {"devices": "auto"}
    here, everywhere = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["WORLD_SIZE"])
    return {"devices": here, "num_nodes": everywhere // here}


def _is_first() -> bool:
    """Whether this is the process that writes, of several that torchrun has started."""
    return int(os.environ.get("RANK", "0")) == 0


def _earlier(begun: Begun, config: Config) -> Earlier:
    pieces, epochs = learned_from(begun, config)
    return Earlier(
        data_sha256=begun["data_sha256"], simulator=begun["simulator"], pieces=pieces, epochs=epochs
    )


def _earlier_bundle(bundle: Bundle) -> Earlier:
    told = bundle.manifest
    return Earlier(
        data_sha256=told.training_data_sha256,
        simulator=told.simulator,
        pieces=told.training_pieces,
        epochs=told.training_epochs,
    )


def learned_from(begun: Begun, config: Config) -> tuple[int | None, int | None]:
    """Training pieces and epochs of a run and of all that it began with; None where one does not say."""
    pieces, epochs, before = begun["pieces"]["train"], config.fit.epochs, begun["started_from"]
    if before is None:
        return pieces, epochs
    if before["pieces"] is None or before["epochs"] is None:
        return None, None
    return pieces + before["pieces"], epochs + before["epochs"]


def _begin(out: Path, config: Config, data: Sequence[Path], found: Survey, before: Before | None) -> None:
    """Note what the run hangs on; a run that goes on must hang on the same."""
    begun = Begun(
        config=config.model_dump(mode="json"),
        data=[str(folder) for folder in data],
        data_sha256=found.sha256,
        sources=found.sources,
        pieces={str(split): count for split, count in found.pieces.items()},
        families=[family for family in FAMILIES if family in found.families],
        simulator=found.simulator,
        front_end=FRONT_END_VERSION,
        machine=_machine(),
        started_from=None if before is None else before.earlier,
    )
    trained = found.trained | (set() if before is None else before.trained)
    there = _read_begun(out)
    if there is None and _is_first():
        with (out / TRAINED).open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("source", "batch"), *sorted(trained)])
        if before is not None:
            torch.save(before.weights, out / START)
        part = out / f"{CONFIG}.part"
        part.write_text(json.dumps(begun, indent=2) + "\n", encoding="utf-8")
        part.replace(out / CONFIG)  # whole or not at all: a kill leaves no run that cannot go on
    elif there is None:
        return
    elif there["config"] != begun["config"]:
        raise TrainingError(f"{out}: holds a run with another config: name another --out, or delete it")
    elif there.get("front_end") != FRONT_END_VERSION:
        raise TrainingError(f"{out}: holds a run of another front end: name another --out, or delete it")
    elif there["data_sha256"] != begun["data_sha256"]:
        raise TrainingError(f"{out}: holds a run on other data: name another --out, or delete it")
    elif there.get("started_from") != begun["started_from"]:
        raise TrainingError(f"{out}: holds a run with another beginning: name another --out, or delete it")


def _read_begun(run: Path) -> Begun | None:
    path = run / CONFIG
    if not path.is_file():
        return None
    try:
        begun: Begun = json.loads(path.read_text(encoding="utf-8"))
        begun.setdefault("started_from", None)
        begun.setdefault("families", None)
    except ValueError as error:
        raise TrainingError(f"{path}: not JSON: {error}") from None
    return begun


def _machine() -> str:
    device = (
        torch.cuda.get_device_name()
        if torch.cuda.is_available()
        else f"{torch.get_num_threads()} CPU threads"
    )
    return f"{device}, torch {torch.__version__}, Python {platform.python_version()}"


def _asked(found: Survey, config: Config, start: Path | None) -> Asked:
    """Which families are told apart, and what each weighs; says what is uneven about the pieces."""
    absent = [family for family in FAMILIES if family not in found.families]
    kept = start is not None and config.fit.absent == "kept"
    if absent:
        fate = f"they stay as {start} has them (fit.absent)" if kept else "the network will never name them"
        _log.warning("no training piece of %s: %s", ", ".join(absent), fate)
    families = [family for family in FAMILIES if family in found.families or not kept]
    weights = dict.fromkeys(FAMILIES, 1.0) | _weights(found.families, config.fit.balance)
    return Asked(
        tuple(FAMILIES.index(family) for family in families), tuple(weights[family] for family in families)
    )


def _weights(counts: Mapping[str, int], balance: float) -> dict[str, float]:
    """Of the families that are there; all 1 where their pieces are about as many."""
    rarest, commonest = min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
    if not balance or counts[commonest] <= UNEVEN * counts[rarest]:
        return dict.fromkeys(counts, 1.0)
    mean = sum(counts.values()) / len(counts)
    weights = {family: (mean / count) ** balance for family, count in counts.items()}
    _log.warning(
        "uneven: %d training pieces of %s, %d of %s: a piece of these weighs %.2g and %.2g in the loss "
        "(fit.balance %g)",
        counts[commonest], commonest, counts[rarest], rarest, weights[commonest], weights[rarest], balance,
    )  # fmt: skip
    return weights


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Lightning's advertisements off, and its advice that does not hold for memory maps and resumed runs."""
    chatty = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in chatty]
    deterministic = torch.are_deterministic_algorithms_enabled()
    for logger in chatty:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*does not have many workers.*")
            warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")
            warnings.filterwarnings("ignore", message=".*LeafSpec.*", category=FutureWarning)
            yield
    finally:
        torch.use_deterministic_algorithms(deterministic)
        for logger, level in zip(chatty, levels, strict=True):
            logger.setLevel(level)


def _main() -> None:
    parser = argparse.ArgumentParser(description="Fit a network; what torchrun starts.")
    parser.add_argument("config", type=Path)
    parser.add_argument("--data", type=Path, nargs="+", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--from", type=Path, dest="start")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    told = parser.parse_args()
    try:
        train(told.config, told.data, told.out, told.start, told.device)
    except AlloysortError as error:
        sys.exit(f"alloysort: {error}")


if __name__ == "__main__":
    _main()
