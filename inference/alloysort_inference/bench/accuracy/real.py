"""Real material, where it is at hand: pure metals and photographs, never mixed with simulated figures.

A check against gross error, not an accuracy on scrap. The folder is laid out as shared/data of this project:
`libs/aalto_elements/<element>_spectrum.csv` of the Aalto University LIBS library, and `images/ewaste/` with
`labels.csv` (image, label, block), blocks of which are views of one object.
"""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path
from typing import Any, Final

import numpy as np

from alloysort_datasets.errors import DataError, ImageError, SpectrumError
from alloysort_datasets.families import ALUMINIUM, FAMILIES
from alloysort_inference.pipeline import Classifier, read_upload
from alloysort_models.bundle.figures import bootstrap_weights, figure, per_batch, ratio

METALS: Final = Path("libs", "aalto_elements")
SPECTRUM: Final = "_spectrum.csv"
PHOTOS: Final = Path("images", "ewaste")
FAMILIES_OF: Final = {  # element: families that name it rightly; all others are other-metal
    "Al": ALUMINIUM,
    "Cu": ("copper",),
    "Zn": ("zinc",),
    "Mg": ("magnesium",),
    "Fe": ("steel", "stainless"),
}


def judge_real(classifier: Classifier, folder: Path, seed: int = 0) -> dict[str, Any]:
    """What the bundle says of the real material in a folder.

    Raises:
        DataError: the folder holds neither.
    """
    told = {
        "metals": _metals(classifier, folder / METALS),
        "photos": _photos(classifier, folder / PHOTOS, seed),
    }
    if not any(told.values()):
        raise DataError(f"{folder}: holds neither {METALS} nor {PHOTOS}")
    return told


def _metals(classifier: Classifier, folder: Path) -> dict[str, Any] | None:
    each = {}
    for path in sorted(folder.glob(f"*{SPECTRUM}")):
        element = path.name.removesuffix(SPECTRUM)
        record = classifier.classify(read_upload(path, SpectrumError), None)
        decision, assessment = record.decision, record.assessment
        if assessment is None:
            continue
        wanted = FAMILIES_OF.get(element, ("other-metal",))
        each[element] = {
            "family": wanted[0]
            if len(wanted) == 1
            else "aluminium"
            if element == "Al"
            else " or ".join(wanted),
            "named": assessment.family,
            "right": assessment.family in wanted,
            "probability": round(assessment.confidence, 4),
            "accepted": decision.accepted,
            "novel": decision.novel,
        }
    if not each:
        return None
    return {
        "pieces_are": "real",
        "n": len(each),
        "right": sum(one["right"] for one in each.values()),
        "each": each,
    }


def _photos(classifier: Classifier, folder: Path, seed: int) -> dict[str, Any] | None:
    try:
        with (folder / "labels.csv").open(encoding="utf-8", newline="") as lines:
            rows = list(csv.DictReader(lines))
    except FileNotFoundError:
        return None
    by_class: dict[str, list[tuple[str, str, bool, bool]]] = {}
    for row in rows:
        photo = read_upload(folder / "images" / row["image"], ImageError)
        decision = classifier.classify(None, photo).decision
        said = (
            row["block"],
            decision.family or FAMILIES[-1],
            decision.accepted,
            decision.accepted_as_aluminium,
        )
        by_class.setdefault(row["label"], []).append(said)
    return {
        "pieces_are": "real",
        "n": len(rows),
        "blocks": len({row["block"] for row in rows}),
        "classes": {name: _class(said, seed) for name, said in sorted(by_class.items())},
    }


def _class(said: list[tuple[str, str, bool, bool]], seed: int) -> dict[str, Any]:
    blocks, names, accepted, as_aluminium = (np.array(column) for column in zip(*said, strict=True))
    weights = bootstrap_weights(blocks, seed)

    def share(of: Any) -> dict[str, float | None]:
        return figure(ratio(*(weights @ per_batch(blocks, [of, np.ones(len(of))])).T))

    return {
        "n": len(said),
        "blocks": len(np.unique(blocks)),
        "accepted": share(accepted),
        "as_aluminium": share(as_aluminium),
        "commonest": Counter(names.tolist()).most_common(1)[0][0],
    }
