"""Helpers for the tests of studies on a cluster: its real processes, each killed with the test."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from tests.helpers.mining import environment

PROGRAMS = ("initdb", "pg_ctl", "postgres")


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def wait_for(reached: Callable[[], object], seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < end, "this takes too long"
        time.sleep(0.1)


def answers(port: int) -> bool:
    with suppress(OSError):
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    return False


class Processes:
    """Processes of one test, their output in files, by name."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, *command: str, cwd: Path | None = None, **variables: str) -> subprocess.Popen[bytes]:
        with self.log(name).open("ab") as log:
            self.running[name] = subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=cwd or self.directory,
                env=environment() | variables,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self.running[name]

    def log(self, name: str) -> Path:
        return self.directory / f"{name}.log"

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        """Kill a process and its children."""
        process = self.running.pop(name)
        with suppress(psutil.NoSuchProcess):
            children = psutil.Process(process.pid).children(recursive=True)
            for each in (*children, psutil.Process(process.pid)):
                with suppress(psutil.NoSuchProcess):
                    each.send_signal(number)
        process.wait(30)

    def tree(self, name: str) -> list[psutil.Process]:
        """Return a process and its children."""
        process = psutil.Process(self.running[name].pid)
        return [process, *process.children(recursive=True)]

    def end(self) -> None:
        for name in list(self.running):
            self.kill(name)


class DaskCluster:
    """A `dask scheduler` on a fixed port, and `dask worker`s."""

    def __init__(self, processes: Processes) -> None:
        self.processes = processes
        self.port = free_port()
        self.address = f"tcp://127.0.0.1:{self.port}"

    def start_scheduler(self, **variables: str) -> None:
        self.processes.start(
            "scheduler", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", str(self.port),
            "--dashboard-address", "127.0.0.1:0", "--no-show", **variables,
        )  # fmt: skip
        wait_for(lambda: answers(self.port))

    def start_worker(
        self, name: str, *options: str, threads: int = 1, cwd: Path | None = None, **variables: str
    ) -> subprocess.Popen[bytes]:
        return self.processes.start(
            name, "distributed.cli.dask_worker", self.address, "--nthreads", str(threads), "--no-dashboard",
            "--name", name, *options, cwd=cwd, **variables,
        )  # fmt: skip

    def worker_of(self, name: str) -> psutil.Process:
        """Return the process that trains: the child of the nanny."""
        nanny = psutil.Process(self.processes.running[name].pid)
        found = [child for child in nanny.children() if "resource_tracker" not in " ".join(child.cmdline())]
        return found[-1]


def postgres_programs() -> dict[str, str]:
    """Return PostgreSQL's programs by name; skip the test where they are not installed."""
    places = [str(path) for path in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
    path = os.pathsep.join([os.environ.get("PATH", ""), *places])
    found = {name: shutil.which(name, path=path) for name in PROGRAMS}
    if not all(found.values()):
        pytest.skip("PostgreSQL's programs are not installed")
    return {name: str(place) for name, place in found.items()}


class Postgres:
    """A PostgreSQL of one test, on loopback and with a password."""

    password = "s3cret-of-the-test"

    def __init__(self) -> None:
        self.programs = postgres_programs()
        self.directory = Path(tempfile.mkdtemp(prefix="postgres-"))  # not below pytest's, which are its user's alone
        self.port = free_port()
        # The server refuses to run as root, as whom a container runs tests.
        self.user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []

    def make(self) -> None:
        secret = self.directory / "password"
        secret.write_text(self.password)
        if self.user:
            for each in (self.directory, secret):
                shutil.chown(each, "postgres", "postgres")
        self._run("initdb", "--pgdata", str(self.data), "--username", "miner", "--auth", "scram-sha-256",
                  "--pwfile", str(secret), "--encoding", "UTF8", "--no-sync")  # fmt: skip

    @property
    def data(self) -> Path:
        return self.directory / "data"

    def start(self) -> None:
        options = f"-p {self.port} -h 127.0.0.1 -k {self.directory} -c fsync=off"
        self._run("pg_ctl", "--pgdata", str(self.data), "--wait", "--log", str(self.directory / "log"),
                  "--options", options, "start")  # fmt: skip

    def stop(self, mode: str = "fast") -> None:
        self._run("pg_ctl", "--pgdata", str(self.data), "--wait", "--mode", mode, "stop")

    def create(self, name: str) -> str:
        """Create a database, and return its address without a password."""
        import psycopg

        address = f"postgresql://miner@127.0.0.1:{self.port}"
        with psycopg.connect(f"{address}/postgres", password=self.password, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        return f"postgresql+psycopg://miner@127.0.0.1:{self.port}/{name}"

    def _run(self, program: str, *arguments: str) -> None:
        # No pipe: the server that pg_ctl starts would hold its end.
        with tempfile.TemporaryFile() as output:
            command = [*self.user, self.programs[program], *arguments]
            done = subprocess.run(command, cwd="/", stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False)
            output.seek(0)
            assert done.returncode == 0, output.read().decode()


@contextmanager
def postgres() -> Iterator[Postgres]:
    server = Postgres()
    try:
        server.make()
        server.start()
        try:
            yield server
        finally:
            server.stop("immediate")
    finally:
        shutil.rmtree(server.directory, ignore_errors=True)


def start_mlflow(processes: Processes, port: int, backend: str, artifacts: Path, **variables: str) -> None:
    """Start an `mlflow server` on a store, and wait until it answers."""
    processes.start(
        "mlflow", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--backend-store-uri", backend,
        "--artifacts-destination", str(artifacts), "--workers", "1",
        MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false", **variables,
    )  # fmt: skip
    wait_for(lambda: answers(port))
