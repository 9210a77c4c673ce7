"""An `mlflow server` as a process of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class TrackingServer:
    """A server on an SQLite database and a folder of artifacts."""

    address: str
    process: subprocess.Popen[bytes]

    def freeze(self) -> None:
        """Stop all its processes, so that it accepts connections and answers none."""
        os.killpg(self.process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it answer again."""
        os.killpg(self.process.pid, signal.SIGCONT)


@contextmanager
def tracking_server(place: Path) -> Iterator[TrackingServer]:
    """Start a server on the ``mlflow.db`` of a directory, wait until it answers, and end it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{place}/mlflow.db", "--artifacts-destination", str(place / "files")]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    environment = kept | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (place / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=place, env=environment, stdout=log, stderr=log, start_new_session=True)
        server = TrackingServer(f"http://127.0.0.1:{port}", process)
        try:
            deadline = time.monotonic() + 90
            while time.monotonic() < deadline and process.poll() is None:
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.2)
            yield server
        finally:
            server.thaw()
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(30)
