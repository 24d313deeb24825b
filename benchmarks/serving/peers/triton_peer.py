"""Triton, by NVIDIA's PyTriton: its HTTP front end and dynamic batching, Python functions on the CPU.

Messages and answers are tensors of uint8, which need no wrapping of texts.
"""

from __future__ import annotations

import os
import sysconfig

import numpy as np
from numpy.typing import NDArray
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig
from wrap import MOST, WAIT_S, WORKERS, decide_json, open_warm, port

os.environ["LD_LIBRARY_PATH"] = sysconfig.get_config_var(
    "LIBDIR"
)  # Triton's stub takes this Python, no other
classifier = open_warm()


@batch
def classify(message: NDArray[np.uint8]) -> dict[str, NDArray[np.uint8]]:
    answers = decide_json(classifier, [row.tobytes() for row in message])
    longest = max(map(len, answers))
    padded = b"".join(answer.ljust(longest) for answer in answers)
    return {"answer": np.frombuffer(padded, np.uint8).reshape(len(answers), longest)}


if __name__ == "__main__":
    config = TritonConfig(http_port=port(), http_address="127.0.0.1", allow_grpc=False, allow_metrics=False)
    batcher = DynamicBatcher(max_queue_delay_microseconds=int(1e6 * WAIT_S))
    with Triton(config=config) as triton:
        triton.bind(
            "sorter",
            [classify] * WORKERS,
            inputs=[Tensor(name="message", dtype=np.uint8, shape=(-1,))],
            outputs=[Tensor(name="answer", dtype=np.uint8, shape=(-1,))],
            config=ModelConfig(max_batch_size=MOST, batcher=batcher),
        )
        triton.serve()
