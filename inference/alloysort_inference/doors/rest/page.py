"""The operator's page, served with all that it needs by the process itself."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from fastapi import FastAPI
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles

from alloysort_inference import page

STATIC: Final = Path(page.__file__).parent / "static"


def add_page(app: FastAPI) -> None:
    """`/` and the files under `/page/`."""

    @app.get("/", include_in_schema=False)
    async def index() -> FileResponse:
        return FileResponse(STATIC / "index.html", headers={"Cache-Control": "no-cache"})

    app.mount("/page", StaticFiles(directory=STATIC), name="page")
