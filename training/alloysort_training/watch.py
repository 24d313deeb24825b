"""How a training is going: a row and a line an epoch, and at its end a picture of the curves."""

from __future__ import annotations

import csv
import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from lightning.pytorch import Callback, LightningModule, Trainer

FIGURES: Final = ("loss", "calibration_loss", "calibration_macro_f1")
_log = logging.getLogger("alloysort")


class MetricsFile(Callback):
    """A row of RUN/metrics.csv and a line for each epoch; a run that goes on appends."""

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
        for name in FIGURES:
            row[name] = f"{float(trainer.callback_metrics[name]):.5f}"
        row["seconds"] = f"{seconds:.2f}"
        row["pieces_per_s"] = f"{self.pieces / seconds:.0f}"
        self._append(row)
        left = (trainer.max_epochs or 0) - trainer.current_epoch - 1
        _log.info(
            "epoch %d of %s: loss %s, calibration macro-F1 %s, %s pieces/s, about %.0f s left",
            trainer.current_epoch + 1,
            trainer.max_epochs,
            row["loss"],
            row["calibration_macro_f1"],
            row["pieces_per_s"],
            left * seconds,
        )
        del pl_module

    def _append(self, row: dict[str, float | int | str]) -> None:
        """A kill after this and before the checkpoint makes the epoch run again: its row is then replaced."""
        earlier: list[dict[str, str]] = []
        if self.path.exists():
            with self.path.open(newline="", encoding="utf-8") as file:
                earlier = [one for one in csv.DictReader(file) if int(one["epoch"]) < int(row["epoch"])]
        part = self.path.with_name(f"{self.path.name}.part")
        with part.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(row))
            writer.writeheader()
            writer.writerows([*earlier, row])
        part.replace(self.path)


def read_metrics(path: Path) -> list[dict[str, float]]:
    """The rows of a run so far; none where there is no file."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def draw_curves(rows: Sequence[Mapping[str, float]], path: Path, chance: float) -> None:
    """Loss and macro-F1 over the epochs, an SVG; the dotted line is naming every piece as the commonest."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.0, 3.0), layout="constrained")
    losses, scores = figure.subplots(1, 2)
    epochs = [row["epoch"] + 1 for row in rows]
    for name, colour, words in (
        ("loss", "#9aa7b5", "training"),
        ("calibration_loss", "#1f3a5f", "calibration"),
    ):
        losses.plot(epochs, [row[name] for row in rows], color=colour, marker="o", markersize=3, label=words)
    losses.set(title="loss", xlabel="epoch")
    losses.legend(frameon=False)
    scores.plot(
        epochs, [row["calibration_macro_f1"] for row in rows], color="#1f3a5f", marker="o", markersize=3
    )
    scores.axhline(chance, color="#d1495b", linestyle=":")
    scores.set(title="macro-F1, calibration pieces", xlabel="epoch", ylim=(0, 1))
    for axes in (losses, scores):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="#e4e4e4", linewidth=0.6)
    figure.savefig(path, format="svg", metadata={"Date": None})
