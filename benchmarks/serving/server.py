"""Environments and processes of the contestants: made once, started for a round, ended whole."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from time import monotonic, sleep
from typing import Final

from client import HOST, UndecidedError
from contestants import Contestant

from alloysort_datasets.errors import AlloysortError
from alloysort_inference.bench.load import Send
from alloysort_inference.bench.speed import Load

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parents[1]
ENVIRONMENTS: Final = HERE / ".envs"
INSTALL_S: Final = 600.0
READY_S: Final = float(__import__("os").environ.get("RS", "60"))
ANSWER_S: Final = 5.0  # to a first piece
LEAVE_S: Final = 5.0  # between being asked to end and being killed
FAULTS: Final = (OSError, EOFError, ValueError, LookupError, AlloysortError, UndecidedError)  # of one answer
MARK: Final = "ALLOYSORT_BENCHMARK_SERVER"  # in the environment of a server and of all that it starts


class ContestantError(Exception):
    """A contestant that cannot be installed or does not run, and why."""


def python_of(contestant: Contestant) -> Path:
    """The Python of its environment, which is made where it is not there or its packages have changed.

    Raises:
        ContestantError: it cannot be made.
    """
    name = contestant.environment
    own = HERE / "requirements" / f"{name}.txt"
    packages = own if own.exists() else ROOT / "requirements" / f"{name}.txt"
    folder, stamp = ENVIRONMENTS / name, ENVIRONMENTS / f"{name}.made"
    python = folder / "bin" / "python"
    digest = sha256(packages.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text(encoding="ascii") == digest:
        return python
    beside = Path(sys.executable).parent / "uv"
    uv = str(beside) if beside.exists() else shutil.which("uv") or "uv"
    _install(uv, "venv", "-q", "--clear", "-p", sys.executable, str(folder))
    into = ("pip", "install", "-q", "-p", str(folder), "--no-deps")  # the lists are whole
    _install(uv, *into, "-r", str(packages))
    _install(uv, *into, "-e", str(ROOT))
    stamp.write_text(digest, encoding="ascii")
    return python


def version_of(contestant: Contestant, python: Path) -> str:
    """Of the package it is known by.

    Raises:
        ContestantError: it is not installed.
    """
    ask = "import importlib.metadata, sys; print(importlib.metadata.version(sys.argv[1]))"
    command = [str(python), "-c", ask, contestant.package]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise ContestantError(_last_line(done.stderr))
    return done.stdout.strip()


class Family:
    """A server's processes: itself, those that carry its mark, and children of any of them.

    Some hide the mark by renaming themselves, others leave their parent; few do both at once.
    """

    def __init__(self, first: int, mark: str) -> None:
        self._entry = f"{MARK}={mark}".encode()
        self._known = {first: _born(first)}

    def alive(self) -> list[int]:
        """Numbers of those that run."""
        found = {pid: born for pid, born in self._known.items() if born is not None and _born(pid) == born}
        everyone = [int(folder.name) for folder in Path("/proc").glob("[0-9]*")]
        for pid in sorted(everyone):
            if pid not in found and (_parent(pid) in found or self._carries(pid)):
                found[pid] = _born(pid)
        self._known = found
        return [pid for pid, born in found.items() if born is not None]

    def memory_mb(self) -> float:
        """Of all, in 10^6 bytes; what they share counts once."""
        return sum(map(_proportional_kb, self.alive())) * 1024 / 1e6

    def end(self, process: subprocess.Popen[bytes]) -> None:
        """Ask the first, then kill all who are left."""
        self.alive()
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        deadline = monotonic() + LEAVE_S
        while self._left(process) and monotonic() < deadline:
            sleep(0.05)
        while left := self._left(process):
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            sleep(0.05)
        process.wait()

    def _left(self, process: subprocess.Popen[bytes]) -> list[int]:
        process.poll()
        return self.alive()

    def _carries(self, pid: int) -> bool:
        with suppress(OSError):
            return self._entry in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        return False


@dataclass(frozen=True)
class Running:
    """A server that answers.

    Attributes:
        port: where.
        family: its processes.
        ready_s: from its start to its first decision.
    """

    port: int
    family: Family
    ready_s: float


@contextmanager
def started(contestant: Contestant, python: Path, load: Load) -> Iterator[Running]:
    """A server in processes of its own, which are all ended afterwards.

    Raises:
        ContestantError: it does not come up.
    """
    mark, port = uuid.uuid4().hex, free_port()
    environment = os.environ | {MARK: mark, "PATH": f"{python.parent}:{os.environ.get('PATH', '')}"}
    environment.pop("PYTHONPATH", None)
    log_path = ENVIRONMENTS / f"{contestant.name}.log"
    begun = monotonic()
    with tempfile.TemporaryDirectory() as folder, log_path.open("wb") as log:
        process = subprocess.Popen(
            [str(python), *contestant.command(port)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=environment,
            start_new_session=True,
        )
        family = Family(process.pid, mark)
        try:
            asyncio.run(_wait_until_ready(contestant, process, port, load, log_path))
            yield Running(port, family, monotonic() - begun)
        finally:
            family.end(process)


def free_port() -> int:
    """A port that is free, with two free ones above: some contestants take several."""
    while True:
        with socket.socket() as first:
            first.bind((HOST, 0))
            port: int = first.getsockname()[1]
            with suppress(OSError, OverflowError), socket.socket() as second, socket.socket() as third:
                second.bind((HOST, port + 1))
                third.bind((HOST, port + 2))
                return port


@asynccontextmanager
async def opened(contestant: Contestant, port: int, load: Load) -> AsyncIterator[Send]:
    """Its door, with answers that never come told as failures."""
    async with contestant.door(port, load) as send:

        async def safely() -> bool:
            try:
                return await send()
            except FAULTS:
                return False

        yield safely


async def _wait_until_ready(
    contestant: Contestant, process: subprocess.Popen[bytes], port: int, load: Load, log: Path
) -> None:
    deadline, fault = monotonic() + READY_S, ""
    while monotonic() < deadline:
        if process.poll() is not None:
            raise ContestantError(f"it ended with {process.returncode}: {_last_said(log)}")
        try:
            async with asyncio.timeout(ANSWER_S), contestant.door(port, load) as send:
                await send()
                return
        except FAULTS as error:
            fault = str(error) or type(error).__name__
        await asyncio.sleep(0.05)
    raise ContestantError(f"no decision within {READY_S:g} s: {fault}; it said: {_last_said(log)}")


def _stat(pid: int) -> list[str]:
    """What the kernel says of a process after its name; nothing of one that is gone."""
    with suppress(OSError):
        return (
            Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        )
    return []


def _born(pid: int) -> str | None:
    """When it began, which tells it from another that got its number; None of one that has ended."""
    told = _stat(pid)
    return told[19] if told and told[0] != "Z" else None


def _parent(pid: int) -> int | None:
    told = _stat(pid)
    return int(told[1]) if told else None


def _proportional_kb(pid: int) -> int:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    return 0


def _install(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ContestantError(f"{' '.join(command[:3])}: {error}") from None
    if done.returncode:
        raise ContestantError(_last_line(done.stderr))


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"


def _last_said(log: Path) -> str:
    return _last_line(log.read_text(encoding="utf-8", errors="replace"))
