"""FastAPI as most people write it: an upload of two files, one worker, computed where the request is read."""

from __future__ import annotations

from functools import cache
from typing import Any

import uvicorn
from fastapi import FastAPI, UploadFile
from wrap import answer_of, open_warm, port

from alloysort_inference.pipeline import Arrival, Classifier, Upload

app = FastAPI()


@cache
def classifier() -> Classifier:
    return open_warm()


@app.post("/classify")
async def classify(image: UploadFile, spectrum: UploadFile) -> dict[str, Any]:
    counts = Upload("spectrum.npz", await spectrum.read())
    (record,) = classifier().sort([Arrival(counts, Upload("image", await image.read()))])
    return answer_of(record)


if __name__ == "__main__":
    classifier()
    uvicorn.run(app, port=port(), loop="uvloop", http="httptools", access_log=False, log_level="warning")
