"""Environments like those of Numerai's hosted runner: an interpreter of each version with the pinned packages."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
from filelock import FileLock

from signal_miner.models.portable import hosted

# From the images' requirements in Numerai's public repository numerai-predict.
PINS = {
    "3.10": ("numpy==1.26.4", "pandas==2.2.1", "scipy==1.11.4", "lightgbm==4.0.0", "cloudpickle==2.2.1"),
    "3.11": ("numpy==2.1.3", "pandas==2.3.1", "scipy==1.16.0", "lightgbm==4.6.0", "cloudpickle==3.1.1"),
    "3.12": ("numpy==2.1.3", "pandas==2.3.1", "scipy==1.16.0", "lightgbm==4.5.0", "cloudpickle==3.1.1"),
    "3.13": ("numpy==2.2.6", "pandas==2.3.3", "scipy==1.17.1", "lightgbm==4.5.0", "cloudpickle==3.1.2"),
}

RUNNER = Path(hosted.__file__).with_name("hosted_runner.py")

_OUT_OF_REACH = re.compile(r"(?i)retrying|connection|timed out|timeout|name resolution|proxy")
_IN_TURN = (
    "import runpy, sys; from pathlib import Path\n"
    "main = runpy.run_path(sys.argv[1])['main']\n"
    "for job in sys.argv[2:]: main(Path(job))"
)
_VERSION = "import sys; print('%d.%d' % sys.version_info[:2])"


@dataclass(frozen=True, eq=False)
class HostedRun:
    """What the runner script reports."""

    reason: str | None
    load_seconds: float
    predict_seconds: float
    peak_memory_bytes: int
    predictions: pd.Series


class HostedEnvironments:
    """Creates each environment once, shared by all test processes."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def python(self, version: str) -> Path:
        """Return the environment's interpreter; skip the test if it cannot be created here."""
        directory = self._directory / version
        scripts = directory / ("Scripts" if os.name == "nt" else "bin")
        made = directory / "made"
        with FileLock(self._directory / f"{version}.lock"):
            if not made.exists():
                self._make(version, directory, scripts / "python")
                made.touch()
        return scripts / "python"

    def _make(self, version: str, directory: Path, python: Path) -> None:
        interpreter = find_interpreter(version)
        if interpreter is None:
            pytest.skip(f"this machine has no Python {version}")
        made = _uv("venv", "--quiet", "--clear", "--python", str(interpreter), str(directory))
        if made.returncode:
            pytest.fail(f"no environment of Python {version}: {made.stderr}")
        options = ["--quiet", "--only-binary", ":all:", "--python", str(python)]
        installed = _uv("pip", "install", *options, *PINS[version])
        if installed.returncode:
            if _OUT_OF_REACH.search(installed.stderr) and not os.environ.get("CI"):
                pytest.skip(f"the package registry is out of reach: no environment of Python {version}")
            pytest.fail(f"no environment of Python {version}: {installed.stderr}")


def find_interpreter(version: str) -> Path | None:
    """Return an interpreter of a version, if the machine has one."""
    for candidate in _candidates(version):
        try:
            answer = subprocess.run(
                [candidate, "-I", "-c", _VERSION], capture_output=True, text=True, check=False, timeout=60
            )
        except OSError:
            continue
        if answer.stdout.strip() == version:
            return candidate
    return None


def run_hosted(
    python: Path, job: Path, predict_file: Path, live_features: pd.DataFrame, benchmarks: pd.DataFrame | None
) -> HostedRun:
    """Run the hosted runner's checks in an environment, in an empty directory of its own."""
    write_job(job, predict_file, live_features, benchmarks)
    return _outcome(job, run_python(python, job, str(RUNNER), "."))


def run_in_turn(python: Path, directory: Path, jobs: list[Path]) -> list[HostedRun]:
    """Run the checks on several jobs in one process, since imports dominate; the memory is that of all of them."""
    ended = run_python(python, directory, "-c", _IN_TURN, str(RUNNER), *map(str, jobs))
    return [_outcome(job, ended) for job in jobs]


def write_job(
    job: Path, predict_file: Path, live_features: pd.DataFrame, benchmarks: pd.DataFrame | None = None
) -> None:
    """Write a directory with the runner's input."""
    job.mkdir()
    shutil.copy(predict_file, job / "predict.pkl")
    live_features.to_csv(job / "live_features.csv")
    if benchmarks is not None:
        benchmarks.to_csv(job / "live_benchmark_models.csv")


def _outcome(job: Path, ended: subprocess.CompletedProcess[str]) -> HostedRun:
    if ended.returncode:
        raise AssertionError(f"{ended.args[0]} ended with code {ended.returncode}: {ended.stderr}")
    outcome = json.loads((job / "outcome.json").read_text())
    if outcome["reason"] is not None:
        raise AssertionError(outcome["reason"])
    predictions = pd.read_csv(job / "predictions.csv", dtype=str, index_col="id")["prediction"].astype(float)
    return HostedRun(**outcome, predictions=predictions)


def run_python(python: Path, directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run an isolated interpreter, without this project in its path, on one thread."""
    return subprocess.run(
        [python, "-I", *arguments], cwd=directory, env=_environment(), capture_output=True, text=True, check=False
    )


def _environment() -> dict[str, str]:
    ours = ("PYTHON", "VIRTUAL_ENV", "PYENV_VERSION")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return kept | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def _candidates(version: str) -> Iterator[Path]:
    for name in (f"python{version}", "python3", "python"):
        if found := shutil.which(name):
            yield Path(found)
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    yield from sorted((pyenv / "versions").glob(f"{version}.*/bin/python"), reverse=True)
    answer = _uv("python", "find", "--no-python-downloads", version)
    if answer.returncode == 0:
        yield Path(answer.stdout.strip())


def _uv(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run uv, which creates an environment in one second instead of pip's twenty."""
    command = [sys.executable, "-m", "uv", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=_environment(), check=False)
