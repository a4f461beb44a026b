"""Owns a real PostgreSQL for the tests: a server of their own in a temporary folder, on a free loopback port."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

REQUIRED = "LOSSBENCH_REQUIRE_POSTGRES"
"""Set where a missing PostgreSQL is a fault and no reason to skip."""
USER = "postgres"
"""Whom the server runs as: it refuses to run as root."""


@dataclass(frozen=True)
class Postgres:
    """A server: ``url`` for Optuna and SQLAlchemy. It can be stopped and started again, its data stay."""

    binaries: Path
    folder: Path
    port: int

    @property
    def url(self) -> str:
        """Storage URL of its database."""
        return f"postgresql+psycopg2://{USER}@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Start the server and wait until it answers."""
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c max_connections=300"
        self._control("start", "-l", str(self.folder / "log"), "-o", options)

    def stop(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """Stop the server: «fast» breaks all connections, «immediate» is as if the machine had lost its power."""
        self._control("stop", "-m", mode)

    def restart(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """Stop and start."""
        self.stop(mode)
        self.start()

    def _control(self, *arguments: str) -> None:
        as_its_user(str(self.binaries / "pg_ctl"), "-D", str(self.folder / "data"), "-w", *arguments)


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    """A fresh server for as long as the body runs. Skips the test, with the reason, where there is no PostgreSQL."""
    binaries = _binaries()
    if binaries is None:
        why = "PostgreSQL's initdb and pg_ctl are neither on the PATH nor under /usr/lib/postgresql"
        pytest.fail(why) if os.environ.get(REQUIRED) else pytest.skip(why)
    # Not pytest's folder: that one only its owner may enter.
    folder = Path(tempfile.mkdtemp(prefix="lossbench-postgres-"))
    server = Postgres(binaries, folder, _free_port())
    try:
        if os.getuid() == 0:
            shutil.chown(folder, USER)
        as_its_user(
            str(binaries / "initdb"), "-D", str(folder / "data"), "-U", USER, "-A", "trust", "-E", "UTF8", "--no-sync"
        )
        server.start()
        yield server
    finally:
        if (folder / "data" / "postmaster.pid").exists():
            server.stop("immediate")
        shutil.rmtree(folder, ignore_errors=True)


def as_its_user(*command: str) -> None:
    """Run a program of PostgreSQL, as root under a user that it accepts; what it said stands in the error."""
    user = USER if os.getuid() == 0 else None
    # Files and not pipes: the server inherits them, and a pipe would stay open as long as it runs.
    with tempfile.TemporaryFile("w+") as said:
        code = subprocess.run(
            command, stdout=said, stderr=said, user=user, group=user and pwd.getpwnam(user).pw_gid,
            extra_groups=[] if user else None, cwd="/", check=False,
        ).returncode  # fmt: skip
        said.seek(0)
        assert code == 0, f"{' '.join(command)}\n{said.read()}"


def _binaries() -> Path | None:
    found = shutil.which("pg_ctl")
    places = [Path(found).parent] if found else []
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((place for place in places if all((place / name).exists() for name in ("initdb", "pg_ctl"))), None)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
