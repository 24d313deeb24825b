"""LitServe: workers of its own processes, batches made by its loop; the body as bytes, not as JSON.

No postponed annotations: LitServe hands the one of `decode_request` to FastAPI as it stands.
"""

from typing import Annotated, Any

import litserve as ls
from fastapi import Body
from wrap import MOST, WAIT_S, WORKERS, decide, open_warm, port

Message = Annotated[bytes, Body(media_type="application/octet-stream")]


class Sorter(ls.LitAPI):
    def setup(self, device: str) -> None:
        del device
        self.classifier = open_warm()

    def decode_request(self, request: Message) -> bytes:
        return request

    def batch(self, inputs: list[bytes]) -> list[bytes]:
        return inputs

    def predict(self, x: list[bytes]) -> list[dict[str, Any]]:
        return decide(self.classifier, x)

    def unbatch(self, output: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return output

    def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
        return output


if __name__ == "__main__":
    api = Sorter(max_batch_size=MOST, batch_timeout=WAIT_S)
    server = ls.LitServer(api, accelerator="cpu", workers_per_device=WORKERS, fast_queue=True)
    server.run(port=port(), host="127.0.0.1", generate_client_file=False, log_level="warning")
