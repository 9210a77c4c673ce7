"""The package as installed: the wheel in an environment of its own, without the repository, in an empty folder."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.helpers.mining import ROOT

pytestmark = [pytest.mark.docs, pytest.mark.timeout(900)]

NOTEBOOK = """
import signal_miner
miner = signal_miner.start_mining(signal_miner.load_experiment("demo", trials=8), report=False)
print(miner.wait())
assert len(signal_miner.leaderboard(miner)) == 9
ensemble = signal_miner.build_ensemble(miner, members=2)
signal_miner.export_predict(ensemble, "predict.pkl")
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("dist")
    built = subprocess.run(
        [sys.executable, "-m", "build", "--outdir", str(directory), str(ROOT)], capture_output=True, text=True
    )
    assert built.returncode == 0, built.stdout + built.stderr
    assert list(directory.glob("signal_miner-*.tar.gz"))
    (found,) = directory.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def scripts(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of the scripts of an environment that has the wheel, and the libraries from this one."""
    environment = tmp_path_factory.mktemp("environment") / "with the wheel"
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    directory = environment / ("Scripts" if os.name == "nt" else "bin")
    install = [str(directory / "python"), "-m", "pip", "install", "--quiet", "--no-deps", str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    (site,) = environment.rglob("site-packages")
    libraries = next(path for path in sys.path if path.endswith("site-packages"))
    (site / "libraries.pth").write_text(libraries + "\n")
    return directory


def test_the_wheel_carries_what_is_read_at_run_time(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    shipped = {f"signal_miner/experiments/{path.name}" for path in (ROOT / "experiments").glob("*.toml")}
    other = {"py.typed", "__init__.pyi", "report/report.html.jinja", "models/portable/hosted_runner.py"}
    assert shipped | {f"signal_miner/{name}" for name in other} <= names


def test_a_workspace_with_a_space_in_its_name_from_mining_to_a_dry_run(scripts: Path, tmp_path: Path) -> None:
    workspace = tmp_path / "my workspace"
    workspace.mkdir()
    left_out = ("PYTHONPATH", "MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "SIGNAL_MINER_COMMAND")
    variables = {name: value for name, value in os.environ.items() if name not in left_out}
    variables["PATH"] = os.pathsep.join([str(scripts), variables["PATH"]])

    def run(*command: str) -> str:
        done = subprocess.run(command, cwd=workspace, env=variables, capture_output=True, text=True, encoding="utf-8")
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    mined = run("signal-miner", "mine", "--trials", "6")
    assert "over the first alone: signal-miner ensemble --study demo-" in mined
    assert "INFO" not in mined
    assert "Warning" not in mined
    run("signal-miner", "report", "--study", "demo", "--directory", "the report")
    run("signal-miner", "ensemble", "--members", "2")
    assert "signal-miner submit --dry-run true" in run("signal-miner", "register", "--promote", "always")
    run("signal-miner", "submit", "--dry-run", "true", "--live", "data/demo/live.parquet")
    run("signal-miner", "init", "numerai_small", "my own.toml")
    assert {"data", "studies", "submissions", "mlflow.db", "the report", "my own.toml"} <= {
        path.name for path in workspace.iterdir()
    }
    run("python", "-c", NOTEBOOK)
    assert (workspace / "predict.pkl").is_file()
