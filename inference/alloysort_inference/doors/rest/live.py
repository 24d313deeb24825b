"""What the page shows of the run: figures, the last pieces, and what the sensors saw of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import anyio
import numpy as np
import orjson
from fastapi import FastAPI, HTTPException
from fastapi.responses import Response

from alloysort_datasets.errors import DataError
from alloysort_datasets.families import ELEMENTS
from alloysort_datasets.spectrum import Spectrum
from alloysort_inference.doors.changeover import Shadow
from alloysort_inference.doors.rest.problem import describe
from alloysort_inference.doors.service import Service
from alloysort_inference.log.database import LogError
from alloysort_inference.log.read import count_kept, read_kept
from alloysort_inference.log.store import DecisionLog
from alloysort_inference.page.lines import label
from alloysort_inference.pipeline import Classifier
from alloysort_models.bundle.inputs import Look

JSON: Final = "application/json"
PNG: Final = b"\x89PNG"
MOST_CHANNELS: Final = 20_000  # on show
FORGOTTEN: Final = "piece {}: is not among the last ones, nor kept in the log"


def add_live(app: FastAPI, service: Service) -> None:
    """The routes `/v1/live` and `/v1/pieces`."""

    @app.get("/v1/live", summary="The run as it stands: figures, outlets, last pieces, alarms")
    async def live() -> Response:
        queue = len(service.intake)
        told = await anyio.to_thread.run_sync(_live, service) | {"queue": queue}
        return Response(orjson.dumps(told), media_type=JSON)

    @app.get(
        "/v1/pieces/{seq}/image",
        summary="The picture of one of the last pieces, or of a kept one",
        responses=describe(404, 422),
        response_class=Response,
    )
    async def image(seq: int) -> Response:
        content = (await anyio.to_thread.run_sync(_saw, service, seq)).image
        if content is None:
            raise HTTPException(404, f"piece {seq}: the camera saw nothing")
        return Response(content, media_type="image/png" if content.startswith(PNG) else "image/jpeg")

    @app.get(
        "/v1/pieces/{seq}/spectrum",
        summary="The spectrum of one of the last pieces, or of a kept one, with its strongest lines named",
        responses=describe(404, 422),
    )
    async def spectrum(seq: int) -> Response:
        saw = await anyio.to_thread.run_sync(_saw, service, seq)
        if saw.spectrum is None:
            raise HTTPException(404, f"piece {seq}: the laser hit nothing")
        told = await anyio.to_thread.run_sync(told_of, saw.spectrum, saw.composition)
        return Response(orjson.dumps(told, option=orjson.OPT_SERIALIZE_NUMPY), media_type=JSON)


def _live(service: Service) -> dict[str, Any]:
    classifier, log, changeover = service.classifier, service.log, service.changeover
    return {
        **service.watching.board.told(),
        "simulated": service.demonstration,
        "ready": service.waiting_for is None,
        "bundle": classifier.bundle.name,
        "bundle_sha256": classifier.bundle.sha256,
        "recipe": classifier.recipe.name,
        "recipe_sha256": classifier.recipe_origin.sha256,
        "candidate": _named(changeover.candidate),
        "previous": _named(changeover.previous),
        "shadow": _tried(changeover.shadow),
        "batch": None if service.batch is None else service.batch.told(),
        "boxes": [vars(state) for state in classifier.boxes.states()],
        "alarms": [entry.told() for entry in service.book.standing()],
        "over": [entry.told() for entry in service.book.over()[:10]],
        "log": None if log is None else {"fault": log.fault, "lost": log.lost},
        "kept": None if log is None or log.fault is not None else _kept(log),
        "health": service.watching.watch.figures(),
    }


def _kept(log: DecisionLog) -> dict[str, int] | None:
    """How many pieces wait for a label; none where the log is out of reach, of which an alarm tells."""
    try:
        pieces, labelled = count_kept(log.database)
    except LogError:
        return None
    return {"pieces": pieces, "labelled": labelled}


def _named(classifier: Classifier | None) -> dict[str, str] | None:
    if classifier is None:
        return None
    return {"bundle": classifier.bundle.name, "recipe": classifier.recipe.name}


def _tried(shadow: Shadow | None) -> dict[str, int] | None:
    return None if shadow is None else vars(shadow.comparison)


@dataclass(frozen=True, eq=False)
class _Saw:
    """What the sensors saw of a piece, and what it is said to hold in wt%."""

    image: bytes | None
    spectrum: Spectrum | None
    composition: Mapping[str, float] | None


def _saw(service: Service, seq: int) -> _Saw:
    seen = service.watching.board.find(seq)
    if seen is not None:
        decode, said = seen.sample.spectrum, seen.record.assessment
        held = None if said is None else dict(zip(ELEMENTS, said.composition.tolist(), strict=True))
        try:
            return _Saw(seen.sample.image, None if decode is None else decode(), held)
        except DataError:  # it was refused for that
            return _Saw(seen.sample.image, None, held)
    if service.log is not None and abs(seq) < 2**63:
        for kept in read_kept(service.log.database, seq=seq):
            nm, shots, signal = kept.wavelength_nm, kept.shots, None
            if nm is not None and shots is not None:
                signal = Spectrum(nm, shots, kept.saturation_counts)
            return _Saw(kept.image, signal, kept.told["composition"])
    raise HTTPException(404, FORGOTTEN.format(seq))


def told_of(signal: Spectrum, composition: Mapping[str, float] | None = None) -> dict[str, Any]:
    """A spectrum for the page: mean of the shots that hit, and of the late ones, which see more metal."""
    look = Look.at(signal.shots)
    nm, means = signal.wavelength_nm, look.means
    lines = label(nm, means[0], composition)
    step = -(-nm.size // MOST_CHANNELS)
    if step > 1:  # the highest of each few channels: a line must not vanish
        whole = nm.size // step * step
        nm = nm[:whole].reshape(-1, step).mean(axis=1)
        means = means[:, :whole].reshape(2, -1, step).max(axis=2)
    return {
        "shots": len(signal.shots),
        "hits": int(look.hit.sum()),
        "wavelength_nm": np.round(nm, 4),
        "counts": np.round(means[0], 2),
        "late": np.round(means[1], 2),
        "lines": lines,
    }
