"""Records to log, real ones, and a PostgreSQL of Debian's."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from alloysort_inference.log.keep import Sample
from alloysort_inference.pipeline import Arrival, Classifier, Upload
from alloysort_inference.record import Record


@pytest.fixture(scope="session")
def decided(classifier: Classifier, make_csv: Callable[..., bytes], make_picture: Callable[..., bytes]):
    """A record and what the sensors saw, by the wavelengths that shine."""
    picture = Upload("picture", make_picture())

    def decide(*lines_nm: float, piece_id: str | None = None, batch: str | None = None):
        spectrum = Upload("al.csv", make_csv(*lines_nm))
        (record,) = classifier.sort([Arrival(spectrum, picture, piece_id, batch)])
        return record, Sample(picture.content, spectrum.decode)

    return decide


@pytest.fixture(scope="session")
def record(decided) -> Record:
    return decided(395.0)[0]


@dataclass
class Postgres:
    """A cluster of its own, on a port of its own."""

    folder: Path
    tools: Path
    port: int

    @property
    def url(self) -> str:
        return f"postgresql://alloysort:secret@127.0.0.1:{self.port}/postgres"

    def run(self, tool: str, *arguments: str) -> None:
        command = [str(self.tools / tool), "-D", str(self.folder), *arguments]
        as_whom = {} if os.getuid() else {"user": pwd.getpwnam("postgres").pw_uid}
        subprocess.run(command, check=True, cwd="/", timeout=60, stdout=subprocess.DEVNULL, **as_whom)

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self.folder}"
        self.run("pg_ctl", "-w", "-l", str(self.folder / "log"), "-o", options, "start")

    def stop(self) -> None:
        self.run("pg_ctl", "-w", "-m", "immediate", "stop")


def tools_of_postgres() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))
    on_path = shutil.which("initdb")
    return found[-1].parent if found else Path(on_path).resolve().parent if on_path else None


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    tools = tools_of_postgres()
    if tools is None:
        pytest.skip("PostgreSQL is not here: apt-get install postgresql")
    folder = Path(subprocess.check_output(["mktemp", "-d", "/tmp/alloysort-pg-XXXX"], text=True).strip())
    if not os.getuid():
        shutil.chown(folder, "postgres")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        cluster = Postgres(folder, tools, free.getsockname()[1])
    password = folder.with_name(folder.name + "-password")
    password.write_text("secret\n")
    password.chmod(0o644)
    try:
        cluster.run("initdb", "-U", "alloysort", "-A", "scram-sha-256", "--pwfile", str(password), "-N")
        cluster.start()
        yield cluster
        cluster.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        password.unlink()
