"""Commands printed for the user to run: in the form in which this process was started, quoted for the shell."""

from __future__ import annotations

import shlex
import sys

import pytest

from signal_miner.utils import next_command as module
from signal_miner.utils.next_command import FORM_VARIABLE, next_command, option_text


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch):
    for name in (FORM_VARIABLE, "MLFLOW_RUN_ID"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("program", "variable", "expected"),
    [
        ("/usr/bin/signal-miner", None, "signal-miner stop --study demo"),
        (r"C:/env/signal-miner.exe", None, "signal-miner stop --study demo"),
        ("/src/signal_miner/__main__.py", None, "python -m signal_miner stop --study demo"),
        ("/src/signal_miner/__main__.py", "MLFLOW_RUN_ID", "mlflow run . -e stop --env-manager local -P study=demo"),
    ],
)
def test_the_form_is_the_users(program, variable, expected, monkeypatch):
    monkeypatch.setattr(sys, "argv", [program])
    if variable:
        monkeypatch.setenv(variable, "1")
    assert next_command("stop", study="demo", study_storage=None, data="") == expected


def test_a_miner_in_the_background_uses_the_form_of_its_starter(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/src/signal_miner/cli/worker.py"])
    monkeypatch.setenv(FORM_VARIABLE, module.Form.CONSOLE_SCRIPT.value)
    assert option_text("embargo_eras", 1) == "--embargo-eras 1"


@pytest.mark.parametrize("program", ["signal-miner", "signal_miner/__main__.py"])
@pytest.mark.parametrize("value", ["my data/$HOME", "it's", "a;b", 'say "x"'])
def test_values_are_quoted_for_the_shell(program, value, monkeypatch):
    monkeypatch.setattr(sys, "argv", [program])
    assert shlex.split(next_command("mine", data=value))[-1] == value
    monkeypatch.setenv("MLFLOW_RUN_ID", "1")
    assert shlex.split(next_command("mine", data=value))[-1] == f"data={value}"


def test_no_password_is_printed(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["signal-miner"])
    assert "secret" not in next_command("report", tracking_uri="http://me:secret@host")
