"""The model card: written by the export from what was measured, never by hand."""

from __future__ import annotations

from importlib.resources import files
from string import Template
from typing import Any, Final, NamedTuple

import numpy as np

from alloysort_datasets.families import ELEMENTS, FAMILIES
from alloysort_models.bundle.figures import RESAMPLES
from alloysort_models.bundle.manifest import PATTERNS, Bars, Manifest
from alloysort_training.config import Config
from alloysort_training.prepare import Survey
from alloysort_training.train import Begun

SENSORS: Final = {"both": "spectrum and picture", "spectrum": "spectrum alone", "image": "picture alone"}
COLUMNS: Final = {
    "macro_f1": "macro-F1",
    "accuracy": "accuracy",
    "ece": "calibration error",
    "accepted": "accepted",
    "accepted_right": "right of these",
    "novel": "called novel",
}
ALIKE: Final = (("4xxx", "cast-AlSi"), ("6xxx", "cast-AlSiMg"), ("5xxx", "cast-AlMg"))


class Trained(NamedTuple):
    """What a run really did.

    Attributes:
        epochs: that are done.
        images, spectra: whether any training piece had one.
    """

    epochs: int
    images: bool
    spectra: bool


def write_card(
    manifest: Manifest,
    config: Config,
    begun: Begun,
    found: Survey,
    trained: Trained,
    parameters: int,
    size: int,
) -> str:
    """MODEL_CARD.md of a bundle; `found` in the tables that measured it, `size` of its graph in bytes."""
    metrics = manifest.metrics
    parity = metrics["parity"]
    template = Template(files(__package__).joinpath("card.md").read_text(encoding="utf-8"))
    return template.substitute(
        name=manifest.name,
        summary=_summary(begun),
        limits=_limits(begun, config, trained),
        created=manifest.created,
        machine=begun["machine"],
        train_pieces=_train_pieces(begun),
        calibration_pieces=f"{found.pieces['calibration']:,}",
        test_pieces=f"{found.pieces['test']:,}",
        sources=", ".join(begun["sources"]),
        data_sha256=manifest.training_data_sha256,
        measured_on=_measured_on(manifest),
        image_size=manifest.image_size,
        channels=manifest.grid.channels,
        start_nm=f"{manifest.grid.start_nm:g}",
        stop_nm=f"{manifest.grid.stop_nm:g}",
        families=len(manifest.families),
        elements=len(manifest.elements),
        parameters=f"{parameters:,}",
        megabytes=f"{size / 1e6:.1f}",
        confidence=_bars(manifest.thresholds.confidence),
        aluminium=_bars(manifest.thresholds.aluminium),
        surface=f"{manifest.thresholds.surface:g}",
        simulator="none" if manifest.simulator is None else manifest.simulator,
        front_end=manifest.front_end,
        novelty=f"{manifest.thresholds.novelty:g}",
        resamples=RESAMPLES,
        headline=_headline(metrics),
        strata=_strata(metrics),
        aluminium_table=_aluminium(metrics),
        strangers=_strangers(metrics),
        families_alike=_families_alike(metrics),
        elements_table=_elements(metrics),
        confusion=_confusion(metrics),
        parity_pieces=parity["pieces"],
        parity_probability=f"{parity['probability']:g}",
        parity_relative=f"{parity['relative']:g}",
        int8=_int8(metrics["int8"]),
        novelty_quantile=f"{config.acceptance.novelty_quantile:.0%}",
        train_command=_train_command(begun),
        config=_toml(_differences(config)),
    )


def _train_pieces(begun: Begun) -> str:
    pieces, earlier = begun["pieces"]["train"], begun["started_from"]
    if earlier is None:
        return f"{pieces:,}"
    if earlier["pieces"] is None:
        return (
            f"{pieces:,} pieces, beginning with a bundle (trained on SHA-256 "
            f"`{earlier['data_sha256']}`) that does not say on how many, so on these and its"
        )
    return (
        f"{pieces:,} pieces, beginning with what {earlier['epochs']} epochs on {earlier['pieces']:,} others "
        f"(SHA-256 `{earlier['data_sha256']}`) had taught it, so on {pieces + earlier['pieces']:,}"
    )


def _train_command(begun: Begun) -> str:
    """What makes the run again; EARLIER is the run that it began with."""
    data = "--data DIR " * len(begun["data"])
    start = "" if begun["started_from"] is None else " --from EARLIER"
    return f"alloysort train CONFIG {data}--out RUN{start}"


def _measured_on(manifest: Manifest) -> str:
    if manifest.measured_on_sha256 is None:
        return ""
    return f"; calibrated and measured on tables of their own, SHA-256 `{manifest.measured_on_sha256}`"


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


def _limits(begun: Begun, config: Config, trained: Trained) -> str:
    limits = []
    if trained.epochs < config.fit.epochs and not config.fit.patience:
        limits.append(f"- **Unfinished**: {trained.epochs} of {config.fit.epochs} epochs.")
    for there, sensor in ((trained.images, "picture"), (trained.spectra, "spectrum")):
        if not there:
            limits.append(f"- No training piece had a {sensor}: what the graph says of one means nothing.")
    if _simulated(begun):
        limits.append(
            "- Simulated spectra (local thermodynamic equilibrium) and synthetic pictures: on a real line\n"
            "  the figures will differ, and only real reference pieces can say by how much."
        )
    else:
        limits.append("- What the training data does not hold, the model does not know.")
    return "\n".join(limits)


def _bars(bars: Bars) -> str:
    return ", ".join(f"{bars.of(pattern):g}" for pattern in PATTERNS)


def _rows(head: str, columns: dict[str, str], found: dict[str, dict[str, Any]]) -> str:
    """A table: a row for each of `found` by its words, a column for each figure."""
    names = [head, "pieces", "batches", *columns.values()]
    lines = [f"| {' | '.join(names)} |", "| --- |" + " --- |" * (len(names) - 1)]
    for words, figures in found.items():
        cells = [_shown(figures[name]) for name in columns]
        lines.append(f"| {words} | {figures['n']:,} | {figures['batches']:,} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _by_sensors(metrics: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {words: metrics[pattern] for pattern, words in SENSORS.items() if pattern in metrics}


def _headline(metrics: dict[str, Any]) -> str:
    return _rows("sensors", COLUMNS, _by_sensors(metrics))


def _strata(metrics: dict[str, Any]) -> str:
    columns = {name: words for name, words in COLUMNS.items() if name not in ("accuracy", "novel")}
    return _rows("pieces", columns, metrics.get("spectrum", {}).get("strata", {}))


def _aluminium(metrics: dict[str, Any]) -> str:
    columns = {"foreign_as_aluminium": "of other matter", "aluminium_as_aluminium": "of aluminium"}
    return _rows("sensors", columns, _by_sensors(metrics))


def _strangers(metrics: dict[str, Any]) -> str:
    lines = [
        "| sensors | strangers | AUROC of novelty | called novel | accepted | accepted as aluminium |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for pattern in ("both", "spectrum"):
        found = metrics.get(pattern, {}).get("strangers", {"n": 0})
        if found["n"]:
            cells = [_shown(found[key]) for key in ("novelty_auroc", "novel", "accepted", "as_aluminium")]
            lines.append(f"| {SENSORS[pattern]} | {found['n']:,} | {' | '.join(cells)} |")
    return "\n".join(lines) if len(lines) > 2 else "The test pieces hold none."


def _families_alike(metrics: dict[str, Any]) -> str:
    """How well families of like chemistry are parted, from the confusion by the spectrum alone."""
    if "confusion" not in metrics.get("spectrum", {}):
        return "- Families of like chemistry (4xxx and cast-AlSi) were not measured apart."
    counts = np.array(metrics["spectrum"]["confusion"])
    parted = []
    for one, other in ALIKE:
        pair = [FAMILIES.index(one), FAMILIES.index(other)]
        square = counts[np.ix_(pair, pair)]
        if square.sum():
            parted.append(f"{one} and {other} {square.trace() / square.sum():.0%} of {square.sum():,}")
    return (
        f"- The spectrum alone parts families of like chemistry ({'; '.join(parted)})\n"
        "  by residual elements, whose typical contents in our alloy tables are estimates: this measures\n"
        "  the estimates as much as the model."
    )


def _int8(found: dict[str, Any]) -> str:
    told = "; ".join(
        f"{words}: {100 * found[pattern]['lost_accuracy']:+.2f} points of accuracy lost, "
        f"{found[pattern]['agreement']:.2%} the same family"
        for pattern, words in SENSORS.items()
        if pattern in found
    )
    verdict = (
        "which CPUs run where there is a spectrum" if found["shipped"] else "left out, as it changes too much"
    )
    return f"The graph in 8-bit integers, {verdict}: {told}."


def _elements(metrics: dict[str, Any]) -> str:
    found = metrics.get("spectrum", {})
    if "rmse_wt_pct" not in found:
        return "No test piece has a spectrum."
    bare = found["strata"].get("bare aluminium", found)
    lines = [
        "| element | RMSE, bare aluminium | RMSE, aluminium families | within 90 % interval |",
        "| --- | --- | --- | --- |",
    ]
    for element in ELEMENTS:
        cells = (bare["rmse_wt_pct"], found["rmse_wt_pct"], found["covered_90"])
        lines.append(f"| {element} | {' | '.join(_shown(cell[element]) for cell in cells)} |")
    return "\n".join(lines)


def _confusion(metrics: dict[str, Any]) -> str:
    if "confusion" not in metrics.get("both", {}):
        return "No test piece has both sensors."
    counts = np.array(metrics["both"]["confusion"])
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
