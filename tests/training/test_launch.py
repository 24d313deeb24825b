"""Processes: two of them train one network, and one that is killed at any stage loses nothing for good."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from alloysort_models.bundle.manifest import MODEL
from alloysort_training.train import CACHE, METRICS, load_run
from alloysort_training.watch import read_metrics

TINY = Path(__file__).resolve().parents[2] / "training" / "configs" / "tiny.toml"
ONE_CPU = os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("training")]


def test_two_processes_share_the_pieces_and_learn_as_well(run: Path, table: Path, tmp_path: Path) -> None:
    half = tmp_path / "half.toml"
    half.write_text(TINY.read_text(encoding="utf-8").replace("batch_size = 64", "batch_size = 32"), "utf-8")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    told = ["-m", "alloysort_training.train", half, "--data", table, "--out", tmp_path / "run"]
    subprocess.run([*launch, *told], env=ONE_CPU, check=True, timeout=240)
    alone, together = read_metrics(run / METRICS), read_metrics(tmp_path / "run" / METRICS)
    assert [row["step"] for row in together] == [row["step"] for row in alone]
    assert together[-1]["calibration_macro_f1"] > alone[-1]["calibration_macro_f1"] - 0.05


def start(*words: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "alloysort", *map(str, words)], env=ONE_CPU, start_new_session=True
    )


def kill_when(process: subprocess.Popen[bytes], reached: Callable[[], bool]) -> None:
    until = time.monotonic() + 120.0
    while not reached():
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < until
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def rows_in(metrics: Path) -> int:
    return len(read_metrics(metrics)) if metrics.exists() else 0


def test_a_kill_at_any_stage_is_made_good_by_the_same_command(run: Path, table: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "run", tmp_path / "toy-1"
    fit = ("train", TINY, "--data", table, "--out", folder)
    kill_when(start(*fit), lambda: bool(list(folder.glob(f"{CACHE}/*/train/images.npy"))))  # preparing
    kill_when(start(*fit), lambda: bool(list(folder.glob(f"{CACHE}/*/train/done.json"))))
    for epochs in (1, 4, 7):
        kill_when(start(*fit), lambda epochs=epochs: rows_in(folder / METRICS) >= epochs)
    assert start(*fit).wait(120) == 0
    expected, found = (load_run(where)[2].state_dict() for where in (run, folder))
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert len(read_metrics(folder / METRICS)) == 8

    make = ("export", folder, "--out", out)
    for seconds in (4.0, 8.0):  # calibrating, or proving the graph
        began = time.monotonic()
        kill_when(start(*make), lambda began=began, seconds=seconds: time.monotonic() > began + seconds)
        assert not out.exists()
    assert start(*make).wait(120) == 0
    whole = tmp_path / "whole"
    assert start("export", run, "--out", whole, "--name", "toy-1").wait(120) == 0
    assert (out / MODEL).read_bytes() == (whole / MODEL).read_bytes()
