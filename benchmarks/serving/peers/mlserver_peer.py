"""MLServer: its inference protocol (V2, bytes in base64 within JSON), parallel workers, adaptive batching.

mlserver_peer.py --port PORT     writes the settings that MLServer wants as files, and starts it
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from mlserver import MLModel
from mlserver.codecs import Base64Codec
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput
from wrap import MOST, WAIT_S, WORKERS, decide_json, open_warm, port


class Sorter(MLModel):
    async def load(self) -> bool:
        self.classifier = open_warm()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        messages = Base64Codec.decode_input(payload.inputs[0])
        answers = [answer.decode() for answer in decide_json(self.classifier, messages)]
        output = ResponseOutput(name="answer", shape=[len(answers), 1], datatype="BYTES", data=answers)
        return InferenceResponse(model_name=self.name, outputs=[output])


def main() -> None:
    listen = port()
    settings = {
        "host": "127.0.0.1",
        "http_port": listen,
        "grpc_port": listen + 1,
        "metrics_port": listen + 2,
        "parallel_workers": WORKERS,
        "debug": False,
    }
    model = {
        "name": "sorter",
        "implementation": "mlserver_peer.Sorter",
        "max_batch_size": MOST,
        "max_batch_time": WAIT_S,
    }
    Path("settings.json").write_text(json.dumps(settings), encoding="utf-8")
    Path("model-settings.json").write_text(json.dumps(model), encoding="utf-8")
    os.environ["PYTHONPATH"] = str(Path(__file__).parent)
    os.execv(Path(sys.executable).with_name("mlserver"), ["mlserver", "start", "."])  # noqa: S606


if __name__ == "__main__":
    main()
