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
import platform
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, TypedDict

import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint, RichProgressBar
from torch import Generator, Tensor
from torch.optim.lr_scheduler import OneCycleLR
from torch.utils.data import DataLoader

from alloysort_datasets.errors import AlloysortError, TrainingError
from alloysort_datasets.families import FAMILIES
from alloysort_datasets.piece import Split
from alloysort_datasets.table.layers import HIDDEN, LAYERS, NON_METAL
from alloysort_datasets.table.store import table_sha256
from alloysort_models.bundle.manifest import FRONT_END_VERSION, Bundle, load_bundle
from alloysort_models.network.sorter import Outputs, Sorter
from alloysort_models.network.unfold import folded_weights, unfold
from alloysort_training.augment import augment
from alloysort_training.config import Config, load_config
from alloysort_training.losses import composition_loss, family_loss, share_loss
from alloysort_training.prepare import Survey, prepare, require_splits, survey
from alloysort_training.prepared import Batch, InOrder, Prepared, Resident, Shuffled, loader
from alloysort_training.released import begin_with, graph_weights, is_bundle

CONFIG: Final = "config.json"
TRAINED: Final = "trained.csv"  # source and batch of every piece of the training split
CACHE: Final = "cache"
METRICS: Final = "metrics.csv"
START: Final = "start.pt"  # folded weights that the run began with, where it began with any
CHECKPOINT: Final = Path("checkpoints", "last.ckpt")
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
    simulator: int | None
    front_end: int
    machine: str
    started_from: Earlier | None


def train(config: Path, data: Sequence[Path], out: Path, start: Path | None = None) -> None:
    """Fit a network, or go on with a run that was cut off.

    Args:
        config: TOML of differences from the defaults, see `alloysort_training.config`.
        data: piece tables; their `train` split is fitted, their `calibration` split watched.
        out: the run's folder.
        start: a finished run, or a bundle, whose network this one begins with.

    Raises:
        TrainingError: the config is wrong, a split is missing or not kept apart, `out` holds another run, or
            the network of `start` is of another shape or was trained on what is watched here.
        DataError: a piece cannot be used.
    """
    settings = load_config(config)
    found = survey(data)
    require_splits(found, data, "train", "calibration")
    _warn_of_absent_families(found)
    out.mkdir(parents=True, exist_ok=True)
    before = None if start is None else _before(start, settings, data, found, out / CACHE)
    _begin(out, settings, data, found, before)
    with _quiet():
        _fit(settings, Tables(data, found, settings, out / CACHE), out, before)


def new_sorter(config: Config) -> Sorter:
    """The untrained network, its weights drawn from the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return Sorter(config.grid.channels, config.network.image_size, config.network.width)


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
    return begun, config, sorter


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

    def _prepared(self, split: Split) -> Prepared:
        return prepare(self.data, split, self.found, self.config, self.cache)

    def _near(self, prepared: Prepared) -> Prepared | Resident:
        device = torch.device("cpu") if self.trainer is None else self.trainer.strategy.root_device
        return Resident(prepared, device) if Resident.fits(prepared, device) else prepared

    def _share(self) -> tuple[int, int]:
        trainer = self.trainer
        return (0, 1) if trainer is None else (trainer.global_rank, trainer.world_size)


class Truth(NamedTuple):
    """What B pieces' sensors can be asked about: -1 or NaN where they do not hold the answer.

    Attributes:
        family: (B,) int64.
        composition: (B, E) wt%.
        surface: (B,) share of metal in what the late shots ablated; of a non-metal it is 0. Unknown under
            an anodic film, which is of its alloy's own elements and looks like it.
        stranger: (B,) 1 for matter that no family describes, else 0.
    """

    family: Tensor
    composition: Tensor
    surface: Tensor
    stranger: Tensor

    @classmethod
    def of(cls, batch: Batch, present: Tensor) -> Truth:
        """What (B, 2) sensors can be asked about.

        Family and composition of a piece hidden under a layer are asked for all the same: so the network
        learns how little it knows (beside leaving them out: calibration error of hidden pieces 0.07, not
        0.40, and bare ones as good).

        Strangers teach what is strange, and no family: how many lumps of manganese oxide come for one of
        manganese is nobody's knowledge, and a simulation's guess would decide between the two.
        """
        seen, lit = present.any(dim=1), present[:, 1] > 0.5
        strange = batch.stranger > 0.5
        metal = (batch.family != NON_METAL).to(batch.shown.dtype)
        told = lit & (batch.family >= 0) & (batch.layer != LAYERS.index("anodising"))
        told &= ~(strange & (batch.family == NON_METAL))
        return cls(
            family=torch.where(seen & ~strange, batch.family, -1),
            composition=torch.where(seen.unsqueeze(1), batch.composition, torch.nan),
            surface=torch.where(told, batch.shown * metal, torch.nan),
            # NaN, unknown, is taken as shown
            stranger=torch.where(lit & ~(batch.shown < HIDDEN), batch.stranger, torch.nan),
        )


class Fitting(LightningModule):
    """The step, the optimiser and what is watched; the loop is Lightning's."""

    confusion: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        # channels_last: 740 to 1,010 pieces/s on two cores with AVX-512
        self.sorter = new_sorter(config).to(memory_format=torch.channels_last)
        self.register_buffer("confusion", torch.zeros(len(FAMILIES), len(FAMILIES)), persistent=False)

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """The loss of an augmented batch."""
        seed = (self.config.seed * 1_000_003 + self.global_step) * self.trainer.world_size + self.global_rank
        generator = Generator(device=batch.spectrum.device).manual_seed(seed)
        loss = self._loss_of_all_patterns(augment(batch, self.config.augmentation, generator))
        self.log("loss", loss, prog_bar=True, on_step=False, on_epoch=True, batch_size=len(batch.family))
        return loss

    def validation_step(self, batch: Batch, _: int) -> None:
        """The loss on untouched pieces and who is taken for whom."""
        outputs = self.sorter(batch.image, batch.spectrum, batch.coverage, batch.present)
        batch = batch._replace(family=torch.where(batch.stranger > 0.5, -1, batch.family))
        known = batch.family >= 0
        told = outputs.logits.argmax(dim=1)[known]
        ones = torch.ones(len(told), device=told.device)
        self.confusion.index_put_((batch.family[known], told), ones, accumulate=True)
        loss = self._loss(outputs, Truth.of(batch, batch.present))
        self.log("calibration_loss", loss, batch_size=len(batch.family), sync_dist=True)

    def on_validation_epoch_start(self) -> None:
        """Count afresh."""
        self.confusion.zero_()

    def on_validation_epoch_end(self) -> None:
        """Macro-F1 over the families that occur."""
        confusion = self.trainer.strategy.reduce(self.confusion, reduce_op="sum")
        right = confusion.diagonal()
        there, told = confusion.sum(dim=1), confusion.sum(dim=0)
        f1 = (2.0 * right / (there + told).clamp(min=1.0))[there > 0]
        macro_f1 = f1.mean() if len(f1) else torch.tensor(0.0)
        self.log("calibration_macro_f1", macro_f1, prog_bar=True, rank_zero_only=True)

    def configure_optimizers(self) -> Any:
        """AdamW, weight decay on matrices only, one cycle over the whole run."""
        fit = self.config.fit
        matrices = [p for p in self.parameters() if p.ndim > 1]
        vectors = [p for p in self.parameters() if p.ndim <= 1]
        groups = [
            {"params": matrices, "weight_decay": fit.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ]
        optimiser = torch.optim.AdamW(groups, lr=fit.learning_rate)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = OneCycleLR(optimiser, fit.learning_rate, total_steps=steps, pct_start=fit.warm_up)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _loss_of_all_patterns(self, batch: Batch) -> Tensor:
        """Each piece is looked at once and judged three times: with all it has, with either sensor alone."""
        fit = self.config.fit
        pictured = self.sorter.image_branch(batch.image)
        lit = self.sorter.spectrum_branch(batch.spectrum, batch.coverage)
        alone = torch.tensor([[1.0, 1.0], [1.0, 0.0], [0.0, 1.0]], device=lit.device)
        present = torch.cat([batch.present * sensors for sensors in alone])  # (3 B, 2)
        outputs = self.sorter.judge(pictured.repeat(3, 1), lit.repeat(3, 1), present)
        losses = [
            self._loss(Outputs(*one), Truth.of(batch, seen))
            for *one, seen in zip(*(tensor.chunk(3) for tensor in (*outputs, present)), strict=True)
        ]
        return losses[0] + fit.image_alone_weight * losses[1] + fit.spectrum_alone_weight * losses[2]

    def _loss(self, outputs: Outputs, truth: Truth) -> Tensor:
        fit = self.config.fit
        named = family_loss(outputs.logits, truth.family, fit.label_smoothing)
        matter = share_loss(outputs.surface, truth.surface) + share_loss(outputs.stranger, truth.stranger)
        composed = composition_loss(outputs, truth.composition)
        return named + fit.composition_weight * composed + fit.matter_weight * matter


class MetricsFile(Callback):
    """A row of RUN/metrics.csv for each epoch; a run that goes on appends."""

    def __init__(self, path: Path, pieces: int) -> None:
        self.path = path
        self.pieces = pieces
        self.started = time.perf_counter()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        del trainer, pl_module
        self.started = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the epoch's row."""
        if not trainer.is_global_zero:
            return
        seconds = time.perf_counter() - self.started
        row: dict[str, float | int | str] = {"epoch": trainer.current_epoch, "step": trainer.global_step}
        for name in ("loss", "calibration_loss", "calibration_macro_f1"):
            row[name] = f"{float(trainer.callback_metrics[name]):.5f}"
        row["seconds"] = f"{seconds:.2f}"
        row["pieces_per_s"] = f"{self.pieces / seconds:.0f}"
        fresh = not self.path.exists()
        with self.path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(row))
            if fresh:
                writer.writeheader()
            writer.writerow(row)
        del pl_module


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


def _fit(config: Config, tables: Tables, out: Path, before: Before | None) -> None:
    last = out / CHECKPOINT
    callbacks: list[Callback] = [
        ModelCheckpoint(dirpath=last.parent, filename=last.stem, enable_version_counter=False),
        MetricsFile(out / METRICS, tables.found.pieces["train"]),
    ]
    terminal = sys.stderr.isatty()
    if terminal:
        callbacks.append(RichProgressBar())
    trainer = Trainer(
        accelerator="auto",
        devices="auto",
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
    fitting = Fitting(config)
    if before is not None:
        fitting.sorter.load_state_dict(before.sorter.state_dict())
    trainer.fit(fitting, tables, ckpt_path=last if last.is_file() else None, weights_only=True)


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
        simulator=found.simulator,
        front_end=FRONT_END_VERSION,
        machine=_machine(),
        started_from=None if before is None else before.earlier,
    )
    trained = found.trained | (set() if before is None else before.trained)
    there = _read_begun(out)
    if there is None:
        with (out / TRAINED).open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("source", "batch"), *sorted(trained)])
        if before is not None:
            torch.save(before.weights, out / START)
        (out / CONFIG).write_text(json.dumps(begun, indent=2) + "\n", encoding="utf-8")
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


def _warn_of_absent_families(found: Survey) -> None:
    absent = [family for family in FAMILIES if family not in found.families]
    if absent:
        _log.warning("no training piece of %s: the network will never name them", ", ".join(absent))


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
    told = parser.parse_args()
    try:
        train(told.config, told.data, told.out, told.start)
    except AlloysortError as error:
        sys.exit(f"alloysort: {error}")


if __name__ == "__main__":
    _main()
