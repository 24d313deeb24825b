"""Work on many files, spread over the processor's cores."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Final, TypeVar

_THREADS: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OPENCV_FOR_THREADS_NUM")
FEWEST: Final = 32  # items below which starting processes takes longer than it saves
T = TypeVar("T")
R = TypeVar("R")


def spread(work: Callable[[T], R], items: Sequence[T], fewest: int = FEWEST) -> Iterator[R]:
    """`work(item)` of every item, in order: in processes, one a core, when there are `fewest` or more.

    `work` and the items must survive pickling. The first error is raised here, the rest is dropped.
    """
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if workers < 2 or len(items) < fewest:
        yield from map(work, items)
        return
    with processes(min(workers, len(items))) as pool:
        try:
            yield from pool.map(work, items)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def processes(workers: int) -> ProcessPoolExecutor:
    """A pool of processes of one thread each: with one of every core's in each of them, all would wait."""
    return ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _use_one_thread)


def _use_one_thread() -> None:
    """Told to the libraries before they are imported."""
    os.environ.update(dict.fromkeys(_THREADS, "1"))
