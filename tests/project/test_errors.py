"""A user's mistake is one short line, in a notebook too."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from signal_miner.errors import UserError, did_you_mean

ROOT = Path(__file__).resolve().parents[2]


def shown_by_ipython(cell: str, directory: Path) -> str:
    # In a process of its own, as a shell replaces __main__ and the hooks of its process.
    program = f"from IPython.core.interactiveshell import InteractiveShell\nInteractiveShell().run_cell({cell!r})"
    environment = os.environ | {"IPYTHONDIR": str(directory), "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=directory, env=environment, capture_output=True, text=True, check=True
    )
    return ran.stdout + ran.stderr


def test_a_notebook_shows_a_mistake_as_one_line(tmp_path):
    cell = "from signal_miner.experiment.files import load_experiment\nload_experiment('no.toml')"
    assert shown_by_ipython(cell, tmp_path).strip() == "UserError: experiment file 'no.toml' does not exist"


def test_a_mistake_found_while_handling_another_error_is_one_line(tmp_path):
    cell = (
        "from signal_miner.errors import UserError\n"
        "try:\n    1 / 0\nexcept ZeroDivisionError as error:\n    raise UserError('count = 0\\nis none') from error"
    )
    assert shown_by_ipython(cell, tmp_path).strip() == "UserError: count = 0 is none"


def test_any_other_error_keeps_its_traceback(tmp_path):
    assert "Traceback" in shown_by_ipython("1 / 0", tmp_path)


def test_a_subclass_is_shown_under_its_own_name():
    class WrongKey(UserError):
        pass

    assert WrongKey("key = 'x' is not a key")._render_traceback_() == ["WrongKey: key = 'x' is not a key"]


def test_names_without_end_are_shortened_and_addresses_are_left_whole():
    assert len(str(UserError(f"{'x' * 5000} is not known; did you mean {'y' * 5000!r}?"))) < 500
    address = f"https://me:{'p' * 900}@host"
    assert str(UserError(address)) == address
    assert len(did_you_mean("a" * 10**6, ["b" * 10**6, "c"])) < 200
