"""`status` and `stop`: they answer within a second, and name the next command as the user ran this one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from signal_miner.__main__ import main
from signal_miner.experiment.study_files import lock_message
from signal_miner.mining.status import MINING, MinerStatus, own_process, write_status
from signal_miner.utils.next_command import FORM_VARIABLE
from tests.helpers.mining import environment

HEAVY = ("mlflow", "optuna", "lightgbm", "sklearn", "scipy", "matplotlib", "sqlalchemy")
"""Packages that take a third of a second and more to import; MLflow takes six."""

PROGRAM = f"""
import sys
from signal_miner.__main__ import main
code = main(sys.argv[1:])
print(sorted(set({HEAVY}) & sys.modules.keys()))
sys.exit(code)
"""


@pytest.mark.parametrize("command", ["status", "stop"])
def test_commands_that_look_import_nothing_heavy(command: str, tmp_path: Path) -> None:
    write_status(tmp_path / "studies", MinerStatus("demo-1", "token", own_process(), "finished"))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, command],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("form", "command"),
    [
        ("signal-miner", "signal-miner stop --study demo-1 --study-storage other"),
        ("python -m signal_miner", "python -m signal_miner stop --study demo-1 --study-storage other"),
        ("mlflow run", "mlflow run . -e stop --env-manager local -P study=demo-1 -P study_storage=other"),
    ],
)
def test_one_of_two_miners_is_named_by_a_command_in_the_form_that_was_typed(
    form: str, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(FORM_VARIABLE, form)
    monkeypatch.chdir(tmp_path)
    for updated, study in enumerate(("demo-2", "demo-1")):
        write_status(Path("other"), MinerStatus(study, "token", own_process(), MINING, updated=1e9 + updated))
    assert main(["stop", "--study-storage", "other"]) == 2
    assert f"2 studies are being mined: demo-1, demo-2; name one of them: {command}" in capsys.readouterr().err
    assert lock_message("demo-1", "other").endswith(f"wait for it, or stop it with {command}")
    assert "storage" not in lock_message("demo-1", "sqlite:///draws.db")
