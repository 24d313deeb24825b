"""FastAPI by somebody in a hurry: the body as it came, two workers, no model of the answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI, Request, Response
from wrap import WORKERS, decide_json, open_warm, port


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.classifier = open_warm()
    yield


app = FastAPI(lifespan=lifespan)


@app.post("/classify")
async def classify(request: Request) -> Response:
    (answer,) = decide_json(request.app.state.classifier, [await request.body()])
    return Response(answer, media_type="application/json")


if __name__ == "__main__":
    uvicorn.run(
        "fastapi_raw:app",
        port=port(),
        workers=WORKERS,
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
    )
