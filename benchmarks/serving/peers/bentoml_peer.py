"""BentoML: a service of two workers that takes the body as it is, through a mounted ASGI application.

Its own typed inputs take binary data as files of a form only; batches of its own are for those.
"""

from __future__ import annotations

import bentoml
from fastapi import FastAPI, Request, Response
from wrap import WORKERS, decide_json, open_warm

app = FastAPI()


@bentoml.service(
    workers=WORKERS,
    traffic={"timeout": 30, "max_concurrency": 1000},
    logging={"access": {"enabled": False}},
    metrics={"enabled": False},
)
@bentoml.asgi_app(app, path="/raw")
class Sorter:
    def __init__(self) -> None:
        self.classifier = open_warm()

    @app.post("/classify")
    async def classify(self, request: Request) -> Response:
        (answer,) = decide_json(self.classifier, [await request.body()])
        return Response(answer, media_type="application/json")
