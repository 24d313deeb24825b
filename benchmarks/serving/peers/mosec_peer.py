"""mosec: workers of its own processes, batches made by its server in Rust."""

from __future__ import annotations

from mosec import Server, Worker
from wrap import MOST, WAIT_S, WORKERS, decide_json, open_warm


class Sorter(Worker):
    def __init__(self) -> None:
        self.classifier = open_warm()

    def deserialize(self, data: bytes) -> bytes:
        return data

    def serialize(self, data: bytes) -> bytes:
        return data

    def forward(self, data: list[bytes]) -> list[bytes]:
        return decide_json(self.classifier, data)


if __name__ == "__main__":  # mosec reads --port itself
    server = Server()
    server.append_worker(Sorter, num=WORKERS, max_batch_size=MOST, max_wait_time=int(1000 * WAIT_S))
    server.run()
