"""A finished run to a bundle: calibrate, export, prove the graph equal to the network, measure, describe.

alloysort export RUN --out BUNDLE
alloysort export RUN --data DIR --out BUNDLE    where it trained on another machine, or is to fit other pieces
"""

from __future__ import annotations

import contextlib
import datetime
import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import ModelProto
from onnxruntime import InferenceSession

from alloysort_datasets.errors import TrainingError
from alloysort_datasets.piece import Split
from alloysort_models.bundle.inputs import VIEWS
from alloysort_models.bundle.manifest import (
    CALIBRATION,
    CARD,
    INPUTS,
    MODEL,
    OUTPUTS,
    PATTERNS,
    QUANTIZED,
    Bundle,
    Manifest,
    Thresholds,
    write_bundle,
)
from alloysort_models.network.released import Released, folded
from alloysort_training.calibrate import FEWEST, calibrate, rows_with
from alloysort_training.card import Trained, write_card
from alloysort_training.config import Config
from alloysort_training.evaluate import evaluate, feed, open_session, predict
from alloysort_training.prepare import Survey, prepare, require_splits, survey
from alloysort_training.prepared import Prepared
from alloysort_training.quantize import quantize
from alloysort_training.train import (
    CACHE,
    METRICS,
    Begun,
    learned_from,
    load_run,
    macro_f1_of_one,
    trained_batches,
)
from alloysort_training.watch import read_metrics

OPSET: Final = 18
PARITY_PIECES: Final = 1000
PARITY_BATCHES: Final = (1, 7)
MOST_PROBABILITY: Final = 1e-4
MOST_RELATIVE: Final = 1e-3
MOST_LOST: Final = 0.003  # of accuracy by 8-bit integers
QUANTIZED_FOR: Final = ("spectrum", "both")  # patterns; for pictures alone the whole graph runs
LEAST_AGREEMENT: Final = 0.997  # of families that 8-bit integers name
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]*")


@dataclass(frozen=True)
class Parity:
    """How far the graph and the network are apart.

    Attributes:
        pieces: compared, over all patterns of sensors.
        probability: the largest difference of a probability.
        relative: the largest difference of another output, relative to 1 or to its size, what is larger.
    """

    pieces: int
    probability: float
    relative: float


@dataclass(frozen=True)
class Allowed:
    """What an export does only when it is told to.

    Attributes:
        unfinished: take a run that was cut off; the card says so.
        few: calibrate on fewer than FEWEST pieces of a pattern of sensors, leaving what they cannot tell.
        overwrite: replace what lies where the bundle goes.
    """

    unfinished: bool = False
    few: bool = False
    overwrite: bool = False


def export(
    run: Path, out: Path, name: str | None = None, data: Sequence[Path] = (), allowed: Allowed | None = None
) -> Bundle:
    """Write the bundle of a run.

    Args:
        run: the folder that `train` wrote; its tables must still lie where they lay, unless they are
            prepared under RUN/cache already.
        out: the bundle's folder, made where missing.
        name: of the model; by default the folder's.
        data: piece tables to calibrate and measure on; by default those that the run was trained on. Their
            calibration and test pieces must be of batches that the run was not trained on.
        allowed: what is not done otherwise.

    Returns:
        The bundle, as loaded back.

    Raises:
        TrainingError: there is no finished run, its data has changed or has no test split, other data holds
            what it was trained on, the name is wrong, something is there already, the calibration pieces are
            too few, it names test pieces no better than chance, or onnxruntime and torch disagree.
    """
    allowed = allowed or Allowed()
    called = claimed_name(out, name, allowed)
    begun, config, sorter = load_run(run)
    epochs = len(read_metrics(run / METRICS))
    if epochs < config.fit.epochs and not config.fit.patience and not allowed.unfinished:
        raise TrainingError(
            f"{run}: {epochs} of its {config.fit.epochs} epochs are done: train on, or --unfinished"
        )
    tables = list(data) or [Path(folder) for folder in begun["data"]]
    found = _other_data(run, tables) if data else _same_data(run, begun, tables)
    splits: dict[Split, Prepared] = {
        split: prepare(tables, split, found, config, run / CACHE)
        for split in ("train", "calibration", "test")
    }
    if not allowed.few:
        _require_enough(splits["train"], splits["calibration"])
    released, thresholds = calibrate(sorter, splits["train"], splits["calibration"], config.acceptance)
    graph = to_onnx(folded(released), config)
    parity = check_parity(released, graph, splits["calibration"])
    smaller = quantize(graph, splits["calibration"], config.seed)
    shipped = is_as_good(compare(graph, smaller, splits["calibration"]))
    deployed = dict.fromkeys(PATTERNS, graph)  # what a CPU runs is what is measured, see `Bundle.on_cpu`
    if shipped:
        deployed |= dict.fromkeys(QUANTIZED_FOR, smaller)
    metrics = {
        **evaluate(deployed, splits["test"], thresholds, config.seed),
        "parity": asdict(parity),
        "int8": {"shipped": shipped, **compare(graph, smaller, splits["test"])},
    }
    _require_better_than_chance(metrics, splits["test"])
    graphs = {MODEL: graph} | ({QUANTIZED: smaller} if shipped else {})
    calibration = released.calibration.to_bytes()
    manifest = _manifest(called, config, begun, found, thresholds, metrics)
    trained = Trained(epochs, *(bool(splits["train"].present[:, sensor].any()) for sensor in (0, 1)))
    size = sum(p.numel() for p in sorter.parameters()), len(graph)
    card = write_card(manifest, config, begun, found, trained, *size)
    return write_bundle(out, manifest, {**graphs, CALIBRATION: calibration, CARD: card.encode()})


def _require_enough(fitted: Prepared, held_out: Prepared) -> None:
    """Calibration pieces of each pattern of sensors that training pieces have."""
    for pattern in PATTERNS:
        count = len(rows_with(held_out, pattern))
        if len(rows_with(fitted, pattern)) and count < FEWEST:
            raise TrainingError(
                f"{count} calibration pieces with the sensors of {pattern!r}: under {FEWEST}, confidence and "
                "novelty cannot be fitted; bring more, or --few to leave them as they are"
            )


def _require_better_than_chance(metrics: dict[str, Any], test: Prepared) -> None:
    families = test.family[test.family >= 0]
    found = [metrics[pattern]["macro_f1"]["value"] for pattern in PATTERNS if pattern in metrics]
    best = max((value for value in found if value is not None), default=None)
    if best is None or not len(families):
        return
    chance = max(macro_f1_of_one(families, family) for family in np.unique(families).tolist())
    if best <= chance:
        raise TrainingError(
            f"macro-F1 of the {len(families)} test pieces is {best:.3f}: no better than naming them all "
            f"alike, {chance:.3f}; nothing was learned"
        )


def compare(graph: bytes, smaller: bytes, prepared: Prepared) -> dict[str, dict[str, float]]:
    """For each pattern of sensors the accuracy that a quantised graph loses, and how often it agrees."""
    sessions = open_session(graph), open_session(smaller)
    found = {}
    for pattern in QUANTIZED_FOR:
        rows = rows_with(prepared, pattern)
        if len(rows):
            whole, less = (predict(session, prepared, rows, pattern) for session in sessions)
            same = whole.probabilities.argmax(axis=1) == less.probabilities.argmax(axis=1)
            known = whole.family >= 0
            lost = float(whole.right[known].mean() - less.right[known].mean()) if known.any() else 0.0
            found[pattern] = {"lost_accuracy": round(lost, 5), "agreement": round(float(same.mean()), 5)}
    return found


def is_as_good(compared: dict[str, dict[str, float]]) -> bool:
    """Whether a quantised graph may stand for the whole one, under every pattern it would run for."""
    return all(
        compared[pattern]["lost_accuracy"] <= MOST_LOST and compared[pattern]["agreement"] >= LEAST_AGREEMENT
        for pattern in QUANTIZED_FOR
        if pattern in compared
    )


def to_onnx(released: Released, config: Config) -> bytes:
    """The graph of a network in evaluation mode, the number of pieces left open."""
    size, channels = config.network.image_size, config.grid.channels
    example = (
        torch.zeros(3, size, size, 3, dtype=torch.uint8),
        torch.zeros(3, VIEWS, channels),
        torch.ones(3, channels),
        torch.ones(3, 2),
    )
    pieces, same = torch.export.Dim("n", min=1), torch.export.Dim.DYNAMIC
    with _quiet():
        program = torch.onnx.export(
            released.eval(),
            example,
            dynamo=True,
            opset_version=OPSET,
            input_names=list(INPUTS),
            output_names=list(OUTPUTS),
            dynamic_shapes=({0: pieces}, {0: same}, {0: same}, {0: same}),
            verbose=False,
        )
    if program is None:
        raise TrainingError("torch.onnx.export gave no graph")
    return _without_remarks(program.model_proto)


def _without_remarks(model: ModelProto) -> bytes:
    """The graph without the source files, paths included, that the exporter notes on every node."""
    for part in (model, model.graph, *model.graph.node, *model.graph.value_info):
        del part.metadata_props[:]
        part.doc_string = ""
    for value in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        del value.metadata_props[:]
    stripped: bytes = model.SerializeToString()
    return stripped


def check_parity(released: Released, graph: bytes, prepared: Prepared) -> Parity:
    """Prove that onnxruntime says of real inputs what torch says, whatever sensors and however many at once.

    Raises:
        TrainingError: they disagree.
    """
    session = open_session(graph)
    pieces, probability, relative = 0, 0.0, 0.0
    for pattern in PATTERNS:
        rows = rows_with(prepared, pattern)[: PARITY_PIECES // len(PATTERNS)]
        if not len(rows):
            continue
        inputs = feed(prepared, rows, pattern)
        with torch.no_grad():
            expected = [found.numpy() for found in released(*map(torch.from_numpy, inputs.values()))]
        actual = _run_in_portions(session, inputs)
        pieces += len(rows)
        probability = max(probability, _largest(np.abs(actual[0] - expected[0])))
        for ours, theirs in zip(expected[1:], actual[1:], strict=True):
            relative = max(relative, _largest(np.abs(ours - theirs) / np.maximum(np.abs(ours), 1.0)))
    if not (probability <= MOST_PROBABILITY and relative <= MOST_RELATIVE):
        raise TrainingError(
            f"onnxruntime and torch disagree: probabilities by {probability:.2g} (at most "
            f"{MOST_PROBABILITY:g}), others relatively by {relative:.2g} (at most {MOST_RELATIVE:g})"
        )
    return Parity(pieces, float(f"{probability:.2g}"), float(f"{relative:.2g}"))


def _run_in_portions(session: InferenceSession, inputs: dict[str, NDArray[Any]]) -> list[NDArray[np.float32]]:
    """The graph's outputs for all pieces, the first half one at a time, the rest seven at a time."""
    count = len(inputs[INPUTS[0]])
    collected = []
    start = 0
    while start < count:
        stop = min(start + PARITY_BATCHES[start >= count // 2], count)
        portion = {name: values[start:stop] for name, values in inputs.items()}
        collected.append(session.run(list(OUTPUTS), portion))
        start = stop
    return [np.concatenate(column) for column in zip(*collected, strict=True)]


def _largest(difference: NDArray[Any]) -> float:
    """Infinite where something is not a number, so that it never passes."""
    return float(difference.max()) if np.isfinite(difference).all() else float("inf")


def _manifest(
    name: str, config: Config, begun: Begun, found: Survey, thresholds: Thresholds, metrics: dict[str, Any]
) -> Manifest:
    pieces, epochs = learned_from(begun, config)
    return Manifest(
        name=name,
        created=datetime.datetime.now(datetime.UTC).date().isoformat(),
        grid=config.grid,
        image_size=config.network.image_size,
        thresholds=thresholds,
        simulator=begun["simulator"],
        training_data_sha256=begun["data_sha256"],
        training_pieces=pieces,
        training_epochs=epochs,
        measured_on_sha256=None if found.sha256 == begun["data_sha256"] else found.sha256,
        metrics=metrics,
    )


def _other_data(run: Path, tables: Sequence[Path]) -> Survey:
    found = survey(tables)
    require_splits(found, tables, "train", "calibration", "test")
    again = trained_batches(run) & (found.batches.keys() - found.trained)
    if again:
        source, batch = min(again)
        raise TrainingError(
            f"{', '.join(map(str, tables))}: batch {batch!r} of source {source!r} is to be measured on, but "
            f"{run} was trained on it"
        )
    return found


def _same_data(run: Path, begun: Begun, tables: Sequence[Path]) -> Survey:
    found = survey(tables)
    if found.sha256 != begun["data_sha256"]:
        raise TrainingError(f"{run}: its data ({', '.join(begun['data'])}) has changed since it was trained")
    return found


def claimed_name(out: Path, name: str | None, allowed: Allowed) -> str:
    """The name of a bundle that is to lie in a folder: by default the folder's.

    Raises:
        TrainingError: something lies there and may not be replaced, or a model cannot be called so.
    """
    if not allowed.overwrite and out.exists() and any(out.iterdir()):
        raise TrainingError(f"{out}: is not empty: name another --out, or --overwrite")
    called = out.resolve().name if name is None else name
    if not _NAME.fullmatch(called):
        raise TrainingError(f"a model's name is lower-case letters, digits, '.', '_' and '-', not {called!r}")
    return called


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter's remarks on its own insides off."""
    chatty = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in chatty]
    for logger in chatty:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            yield
    finally:
        for logger, level in zip(chatty, levels, strict=True):
            logger.setLevel(level)
