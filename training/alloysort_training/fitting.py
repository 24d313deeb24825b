"""What a step of training does: the pieces' truths, the losses of every pattern of sensors, the optimiser."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from lightning.pytorch import LightningModule
from torch import Generator, Tensor
from torch.optim.lr_scheduler import OneCycleLR

from alloysort_datasets.families import FAMILIES
from alloysort_datasets.table.layers import HIDDEN, LAYERS, NON_METAL
from alloysort_models.network.sorter import Outputs, Sorter
from alloysort_training.augment import augment
from alloysort_training.config import Config
from alloysort_training.losses import composition_loss, family_loss, share_loss
from alloysort_training.prepared import Batch


def new_sorter(config: Config) -> Sorter:
    """The untrained network, its weights drawn from the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return Sorter(config.grid.channels, config.network.image_size, config.network.width)


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


class Asked(NamedTuple):
    """What the family loss is about.

    Attributes:
        families: indices of the families that pieces are told apart among.
        weights: of the loss of each of these.
    """

    families: tuple[int, ...] = tuple(range(len(FAMILIES)))
    weights: tuple[float, ...] = (1.0,) * len(FAMILIES)


class Fitting(LightningModule):
    """The step, the optimiser and what is watched; the loop is Lightning's."""

    confusion: Tensor
    asked: Tensor
    place: Tensor
    weight: Tensor

    def __init__(self, config: Config, asked: Asked = Asked()) -> None:  # noqa: B008
        super().__init__()
        self.config = config
        # channels_last: 740 to 1,010 pieces/s on two cores with AVX-512
        self.sorter = new_sorter(config).to(memory_format=torch.channels_last)
        self.register_buffer("confusion", torch.zeros(len(FAMILIES), len(FAMILIES)), persistent=False)
        place = torch.full((len(FAMILIES) + 1,), -1)  # the last is what -1, unknown, finds
        place[list(asked.families)] = torch.arange(len(asked.families))
        self.register_buffer("place", place, persistent=False)
        self.register_buffer("asked", torch.tensor(asked.families), persistent=False)
        self.register_buffer("weight", torch.tensor(asked.weights), persistent=False)

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """The loss of an augmented batch."""
        seed = (self.config.seed * 1_000_003 + self.global_step) * self.trainer.world_size + self.global_rank
        generator = Generator(device=batch.spectrum.device).manual_seed(seed)
        loss = self._loss_of_all_patterns(augment(batch, self.config.augmentation, generator))
        size = len(batch.family)
        self.log("loss", loss, prog_bar=True, on_step=False, on_epoch=True, batch_size=size, sync_dist=True)
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
        self.log("calibration_macro_f1", macro_f1, prog_bar=True, sync_dist=True)  # alike everywhere

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
        logits, family = outputs.logits[:, self.asked], self.place[truth.family]
        named = family_loss(logits, family, fit.label_smoothing, self.weight)
        matter = share_loss(outputs.surface, truth.surface) + share_loss(outputs.stranger, truth.stranger)
        composed = composition_loss(outputs, truth.composition)
        return named + fit.composition_weight * composed + fit.matter_weight * matter
