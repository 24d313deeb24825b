"""Triton, by NVIDIA's PyTriton: its HTTP front end and dynamic batching, Python functions on the CPU."""

from __future__ import annotations

import os
import sysconfig

import numpy as np
from numpy.typing import NDArray
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig
from wrap import MOST, WAIT_S, WORKERS, decide_json, open_warm, port

os.environ["LD_LIBRARY_PATH"] = sysconfig.get_config_var("LIBDIR")  # Triton's stub takes this Python, no other
classifier = open_warm()


@batch
def classify(message: NDArray[np.object_]) -> dict[str, NDArray[np.object_]]:
    answers = decide_json(classifier, message[:, 0].tolist())
    return {"answer": np.array(answers, object)[:, None]}


if __name__ == "__main__":
    config = TritonConfig(http_port=port(), http_address="127.0.0.1", allow_grpc=False, allow_metrics=False)
    batcher = DynamicBatcher(max_queue_delay_microseconds=int(1e6 * WAIT_S))
    with Triton(config=config) as triton:
        triton.bind(
            "sorter",
            [classify] * WORKERS,
            inputs=[Tensor(name="message", dtype=bytes, shape=(1,))],
            outputs=[Tensor(name="answer", dtype=bytes, shape=(1,))],
            config=ModelConfig(max_batch_size=MOST, batcher=batcher),
        )
        triton.serve()
