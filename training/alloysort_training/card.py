"""The model card: written by the export from what was measured, never by hand."""

from __future__ import annotations

from importlib.resources import files
from string import Template
from typing import Any, Final

import numpy as np

from alloysort_datasets.families import ELEMENTS, FAMILIES
from alloysort_models.bundle.manifest import Manifest
from alloysort_training.config import Config
from alloysort_training.evaluate import RESAMPLES
from alloysort_training.train import Begun

SETTINGS: Final = {
    "both": "spectrum and picture",
    "without_image": "spectrum alone",
    "without_spectrum": "picture alone",
}


def write_card(manifest: Manifest, config: Config, begun: Begun, parameters: int, size: int) -> str:
    """MODEL_CARD.md of a bundle; `size` is that of its graph in bytes."""
    metrics = manifest.metrics
    parity = metrics["parity"]
    template = Template(files(__package__).joinpath("card.md").read_text(encoding="utf-8"))
    return template.substitute(
        name=manifest.name,
        summary=_summary(begun),
        limits=_limits(begun),
        created=manifest.created,
        machine=begun["machine"],
        train_pieces=f"{begun['pieces']['train']:,}",
        calibration_pieces=f"{begun['pieces']['calibration']:,}",
        test_pieces=f"{begun['pieces']['test']:,}",
        sources=", ".join(begun["sources"]),
        data_sha256=manifest.training_data_sha256,
        image_size=manifest.image_size,
        channels=manifest.grid.channels,
        start_nm=f"{manifest.grid.start_nm:g}",
        stop_nm=f"{manifest.grid.stop_nm:g}",
        families=len(manifest.families),
        elements=len(manifest.elements),
        parameters=f"{parameters:,}",
        megabytes=f"{size / 1e6:.1f}",
        confidence=f"{manifest.thresholds.confidence:g}",
        novelty=f"{manifest.thresholds.novelty:g}",
        resamples=RESAMPLES,
        headline=_headline(metrics),
        elements_table=_elements(metrics),
        confusion=_confusion(metrics),
        parity_pieces=parity["pieces"],
        parity_probability=f"{parity['probability']:g}",
        parity_relative=f"{parity['relative']:g}",
        int8=_int8(metrics["int8"]),
        novelty_quantile=f"{config.acceptance.novelty_quantile:.0%}",
        data=" ".join(["DIR"] * len(begun["data"])),
        config=_toml(_differences(config)),
    )


def _simulated(begun: Begun) -> bool:
    return any("simul" in source.lower() for source in begun["sources"])


def _summary(begun: Begun) -> str:
    what = (
        "Names a piece of metal scrap's family and composition from its LIBS spectrum, its picture, or both."
    )
    if _simulated(begun):
        what += (
            " **Trained on simulated pieces**; every figure below is on simulation unless it says otherwise."
        )
    return what


def _limits(begun: Begun) -> str:
    if not _simulated(begun):
        return "- What the training data does not hold, the model does not know."
    return (
        "- Simulated spectra (local thermodynamic equilibrium) and synthetic pictures: on a real line\n"
        "  the figures will differ, and only real reference pieces can say by how much."
    )


def _headline(metrics: dict[str, Any]) -> str:
    settings = {"both": metrics, **metrics["perturbations"]}
    lines = [
        "| sensors | pieces | batches | macro-F1 | accuracy | calibration error | called novel |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for key, words in SETTINGS.items():
        found = settings.get(key, {})
        if "macro_f1" in found:
            cells = [_shown(found[name]) for name in ("macro_f1", "accuracy", "ece", "novel")]
            lines.append(f"| {words} | {found['n']:,} | {found['batches']:,} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _int8(found: dict[str, Any]) -> str:
    lost = ", ".join(
        f"{100 * value:+.2f} with {SETTINGS[name]}" for name, value in found["lost_macro_f1"].items()
    )
    if found["shipped"]:
        return f"`model.int8.onnx`, which runs on CPUs, loses so many points of macro-F1: {lost}."
    return f"In 8-bit integers the graph loses so many points of macro-F1 that it is left out: {lost}."


def _elements(metrics: dict[str, Any]) -> str:
    if "rmse_wt_pct" not in metrics:
        return "No test piece has both sensors."
    lines = ["| element | RMSE | within 90 % interval |", "| --- | --- | --- |"]
    for element in ELEMENTS:
        error, share = metrics["rmse_wt_pct"][element], metrics["covered_90"][element]
        lines.append(f"| {element} | {_shown(error)} | {_shown(share)} |")
    return "\n".join(lines)


def _confusion(metrics: dict[str, Any]) -> str:
    if "confusion" not in metrics:
        return "No test piece has both sensors."
    counts = np.array(metrics["confusion"])
    told = [name for column, name in enumerate(FAMILIES) if counts[:, column].any()]
    lines = [f"| | {' | '.join(told)} |", "| --- |" + " --- |" * len(told)]
    for row, name in enumerate(FAMILIES):
        if counts[row].any():
            cells = [str(counts[row, FAMILIES.index(other)] or "") for other in told]
            lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _shown(figure: dict[str, float | None]) -> str:
    if figure["value"] is None:
        return "unknown"
    return f"{figure['value']:.3f} ({figure['low']:.3f}-{figure['high']:.3f})"


def _differences(config: Config) -> dict[str, Any]:
    """What a config sets, nested, without what stands at its default."""
    default = Config().model_dump()
    told: dict[str, Any] = {}
    for key, value in config.model_dump().items():
        if isinstance(value, dict):
            differing = {name: x for name, x in value.items() if x != default[key][name]}
            told |= {key: value if key == "grid" and differing else differing} if differing else {}
        elif key == "seed" or value != default[key]:
            told[key] = value
    return told


def _toml(told: dict[str, Any]) -> str:
    plain = [f"{key} = {_literal(value)}" for key, value in told.items() if not isinstance(value, dict)]
    for key, section in told.items():
        if isinstance(section, dict):
            plain += ["", f"[{key}]", *(f"{name} = {_literal(value)}" for name, value in section.items())]
    return "\n".join(plain)


def _literal(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)
