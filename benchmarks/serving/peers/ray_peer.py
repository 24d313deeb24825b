"""Ray Serve: two replicas, batches made in each; its own switch for throughput is on."""

from __future__ import annotations

import os
import signal

os.environ["RAY_SERVE_THROUGHPUT_OPTIMIZED"] = "1"  # before ray is imported

import ray
from ray import serve
from starlette.requests import Request
from starlette.responses import Response
from wrap import MOST, WAIT_S, WORKERS, decide_json, open_warm, port


@serve.deployment(num_replicas=WORKERS, max_ongoing_requests=8 * MOST, ray_actor_options={"num_cpus": 0.5})
class Sorter:
    def __init__(self) -> None:
        self.classifier = open_warm()

    @serve.batch(max_batch_size=MOST, batch_wait_timeout_s=WAIT_S)
    async def decide(self, messages: list[bytes]) -> list[bytes]:
        return decide_json(self.classifier, messages)

    async def __call__(self, request: Request) -> Response:
        return Response(await self.decide(await request.body()), media_type="application/json")


if __name__ == "__main__":
    ray.init(num_cpus=WORKERS, include_dashboard=False, log_to_driver=False)
    serve.start(
        http_options={"host": "127.0.0.1", "port": port()}, logging_config={"enable_access_log": False}
    )
    serve.run(Sorter.bind(), route_prefix="/classify")
    signal.pause()
