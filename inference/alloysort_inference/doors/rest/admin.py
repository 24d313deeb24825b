"""Bundles and recipes changed while the belt runs, by this machine or an engineer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

from fastapi import FastAPI, HTTPException, Request
from pydantic import BaseModel, ConfigDict, Field

from alloysort_datasets.errors import BundleError, RecipeError
from alloysort_inference.doors.changeover import Comparison
from alloysort_inference.doors.rest.guard import who_asks
from alloysort_inference.doors.rest.problem import describe
from alloysort_inference.doors.service import Service
from alloysort_inference.pipeline import Classifier

UNUSABLE: Final = describe(400, 401, 403, 422)
NOTHING_THERE: Final = describe(401, 403, 409)


class Wanted(BaseModel):
    """What to load; what is not named stays as it is in use."""

    model_config = ConfigDict(extra="forbid")
    bundle: Path | None = Field(default=None, description="folder of a bundle on this machine")
    recipe: Annotated[str, Field(min_length=1)] | None = Field(
        default=None, description="name of a shipped recipe, or path of a TOML file"
    )


class Names(BaseModel):
    """A bundle with a recipe."""

    bundle: str
    bundle_sha256: str
    recipe: str
    recipe_sha256: str


class Tried(BaseModel):
    """A candidate's words beside what was decided."""

    pieces: int = Field(description="shown to the candidate")
    families: int = Field(description="of them, for how many it named the same family")
    outlets: int = Field(description="of them, how many it would have sent to the same outlet")
    missed: int = Field(description="pieces that it was too slow for")


class State(BaseModel):
    """What decides, what could, and what did."""

    current: Names
    candidate: Names | None
    previous: Names | None
    shadow: Tried | None


def add_admin(app: FastAPI, service: Service) -> None:
    """The routes under `/v1/model/`."""
    changeover = service.changeover

    @app.get("/v1/model/state", summary="What decides, what could, and what did")
    async def state() -> State:
        return _state(service)

    @app.post("/v1/model/load", summary="Load a bundle or a recipe beside the one in use", responses=UNUSABLE)
    async def load(request: Request, wanted: Wanted) -> State:
        try:
            await changeover.load(wanted.bundle, wanted.recipe)
        except (BundleError, RecipeError) as fault:
            raise HTTPException(422, str(fault)) from None
        _note(request, service, "load", changeover.candidate)
        return _state(service)

    @app.post(
        "/v1/model/shadow",
        summary="Show the candidate every piece, without deciding",
        responses=NOTHING_THERE,
    )
    async def shadow(request: Request) -> State:
        changeover.try_beside()
        _note(request, service, "shadow", changeover.candidate)
        return _state(service)

    @app.post("/v1/model/switch", summary="Let the candidate decide", responses=NOTHING_THERE)
    async def switch(request: Request) -> State:
        changeover.switch()
        _note(request, service, "switch", changeover.current)
        return _state(service)

    @app.post("/v1/model/rollback", summary="Let the one before decide again", responses=NOTHING_THERE)
    async def rollback(request: Request) -> State:
        changeover.roll_back()
        _note(request, service, "rollback", changeover.current)
        return _state(service)


def _note(request: Request, service: Service, action: str, of: Classifier | None) -> None:
    who = who_asks(request)
    details = None if of is None else _names(of).model_dump()
    service.audit(who.name, who.address, action, details)


def _state(service: Service) -> State:
    changeover = service.changeover
    return State(
        current=_names(changeover.current),
        candidate=None if changeover.candidate is None else _names(changeover.candidate),
        previous=None if changeover.previous is None else _names(changeover.previous),
        shadow=None if changeover.shadow is None else _tried(changeover.shadow.comparison),
    )


def _names(classifier: Classifier) -> Names:
    bundle, recipe = classifier.bundle, classifier.recipe_origin
    return Names(
        bundle=bundle.name, bundle_sha256=bundle.sha256, recipe=recipe.name, recipe_sha256=recipe.sha256
    )


def _tried(comparison: Comparison) -> Tried:
    return Tried(
        pieces=comparison.pieces,
        families=comparison.families,
        outlets=comparison.outlets,
        missed=comparison.missed,
    )
