"""What reaches the terminal: any character in any encoding, no escape of a name, one line for any error."""

from __future__ import annotations

import errno
import io
import os
import re
import subprocess
import sys
import unicodedata
import warnings
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.table import Table

from signal_miner.__main__ import main
from signal_miner.cli.terminal import run_reporting_errors
from signal_miner.errors import StoreError, UserError
from signal_miner.utils.console import AnyTextConsole, TreesProgress
from tests.helpers.mining import environment, write_experiment

ENCODINGS = ["utf-8", "cp1252", "latin-1", "ascii", "cp437", "utf-16"]
ESCAPES = "\x1b[2J\x1b]0;owned\x07\x9b31m\r\u202egnp.exe"


def written(encoding: str, *texts: object, **settings: object) -> str:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding, errors="strict")
    console = AnyTextConsole(file=stream, width=400, **settings)
    for text in texts:
        console.print(text)
    stream.flush()
    return raw.getvalue().decode(encoding)


@given(st.sampled_from(ENCODINGS), st.text(st.characters(), max_size=60))
def test_any_text_is_printed_in_any_encoding(encoding: str, text: str) -> None:
    table = Table("a", text)
    table.add_row(text, "b")
    shown = written(encoding, text, table)
    assert {unicodedata.category(character) for character in shown if character not in "\n\t"}.isdisjoint({"Cc", "Cs"})
    assert not re.search("[\u202a-\u202e\u2066-\u2069]", shown)


def test_typographic_characters_become_plain_ones() -> None:
    assert written("ascii", "CORR −0.02 … 3 – 5", "Zürich") == "CORR -0.02 ... 3 - 5\nZ\\xfcrich\n"
    assert written("cp1252", "−1 … Zürich Łódź").strip() == "-1 ... Zürich \\u0141ód\\u017a"
    assert written("utf-8", "CORR −0.02 …") == "CORR −0.02 …\n"


def test_escapes_in_names_are_shown_and_colours_of_our_own_stay() -> None:
    assert written("utf-8", ESCAPES) == r"\x1b[2J\x1b]0;owned\x9b31m\u202egnp.exe" + "\n"  # rich drops two of them
    raw = io.StringIO()
    AnyTextConsole(file=raw, force_terminal=True, color_system="standard").print(ESCAPES, style="red")
    assert raw.getvalue().count("\x1b") == 2  # red, and its end
    raw = io.StringIO()
    with TreesProgress(AnyTextConsole(file=raw, force_terminal=True, width=200), ESCAPES, 3):
        pass
    assert "owned\x07" not in raw.getvalue()
    assert "\x1b[2J" not in raw.getvalue()


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_commands_print_where_the_encoding_has_no_such_characters(encoding, monkeypatch, tmp_path):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding, errors="strict"))
    monkeypatch.chdir(tmp_path)
    assert main(["experiments"]) == 0
    sys.stdout.flush()
    assert b"demo" in raw.getvalue()


def failing(error: BaseException):
    def work(_console: Console) -> int:
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UserError("trials = 0 is below 1;\nuse 1 or more"), 2, "trials = 0 is below 1; use 1 or more"),
        (
            UserError(f"column {ESCAPES} is missing"),
            2,
            r"column \x1b[2J\x1b]0;owned\x07\x9b31m \u202egnp.exe is missing",
        ),
        (StoreError("the store http://me:s3cret@host failed"), 2, "the store http://***@host failed"),
        (
            OSError(28, "No space left on device"),
            2,
            "[Errno 28] No space left on device; fix this and rerun the command",
        ),
        (MemoryError(), 2, "memory ran out; set jobs=1 or free memory, then rerun the command to resume"),
        (RuntimeError("can't start new thread"), 2, "memory ran out; set jobs=1 or free memory, then rerun the"),
        (ImportError("x.so: failed to map segment from shared object"), 2, "memory ran out; set jobs=1 or free memory"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), 2, "memory ran out; set jobs=1 or free memory, then rerun"),
        (KeyboardInterrupt(), 130, "interrupted; rerun the command to resume"),
    ],
)
def test_errors_are_one_line(error, code, line, capsys):
    assert run_reporting_errors(failing(error)) == code
    shown = capsys.readouterr().err
    assert shown.startswith(f"signal-miner: {line}")
    assert shown.count("\n") == 1


def test_a_warning_is_one_line_without_its_place_in_the_code(capsys):
    def work(_console: Console) -> int:
        warnings.warn(f"column {ESCAPES}\nis constant", RuntimeWarning, stacklevel=1)
        warnings.warn("Glyph 20013 missing from font(s) DejaVu Sans", UserWarning, stacklevel=1)
        return 0

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert run_reporting_errors(work) == 0
    assert capsys.readouterr().err == r"Warning: column \x1b[2J\x1b]0;owned\x07\x9b31m \u202egnp.exe is constant" + "\n"


def test_an_unexpected_error_is_one_line_and_its_details_have_no_passwords(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    address = "postgresql://me:s3cret@host/db"
    assert run_reporting_errors(failing(RuntimeError(f"cannot reach {address}\n{ESCAPES}"))) == 70
    shown = capsys.readouterr().err
    (details,) = tmp_path.glob("signal-miner-*.log")
    expected = f"unexpected RuntimeError: cannot reach postgresql://***@host/db; details in {details}"
    assert shown == f"signal-miner: {expected}\n"
    text = details.read_text(encoding="utf-8")
    assert text.startswith("Traceback")
    assert "s3cret" not in text + shown
    assert "\x1b" not in text + shown
    if os.name == "posix":
        assert details.stat().st_mode & 0o077 == 0


def test_in_a_log_the_details_come_before_the_line(capsys):
    assert run_reporting_errors(failing(KeyError("token=s3cret")), to_log=True) == 70
    *details, line = capsys.readouterr().err.splitlines()
    assert details[0].startswith("Traceback")
    assert line.endswith("; details above")
    assert "s3cret" not in "".join(details) + line


@pytest.mark.skipif(os.name != "posix", reason="a pipe's reader that ends early is POSIX")
def test_a_reader_that_ends_early_does_not_end_the_command(tmp_path: Path) -> None:
    program = (
        "import sys, time\nfrom signal_miner.cli.terminal import run_reporting_errors\n"
        "def work(console):\n"
        "    for number in range(20000):\n        console.print(f'line {number}')\n"
        "    open('done', 'w').close()\n    return 0\n"
        "sys.exit(run_reporting_errors(work))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"line 0\n"
    process.stdout.close()
    assert process.wait(60) == 0
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.stderr.close()
    assert (tmp_path / "done").exists()


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_a_study_is_mined_whatever_the_output_can_encode(encoding, numerai_directory, tmp_path):
    write_experiment(tmp_path, numerai_directory, trials=2)
    done = subprocess.run(
        [sys.executable, "-m", "signal_miner", "mine", "tiny.toml"],
        cwd=tmp_path,
        env=environment() | {"PYTHONIOENCODING": encoding},
        capture_output=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    assert b"Making the report" in done.stdout.decode(encoding).encode()


@pytest.mark.parametrize(
    ("address", "repair"),
    [
        ("http://me:s3cret@127.0.0.1:1", "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"),
        ("postgresql://me:s3cret@127.0.0.1:1/db", "set MLFLOW_TRACKING_URI instead"),
    ],
)
def test_a_password_on_the_command_line_is_warned_about(address, repair, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["register", "--tracking-uri", address]) == 2
    shown = capsys.readouterr()
    assert shown.out.startswith("Warning: tracking_uri contains a password, which other users of this machine see")
    assert repair in shown.out
    assert "s3cret" not in shown.out + shown.err
    monkeypatch.setenv("MLFLOW_RUN_ID", "1")
    main(["register", "--tracking-uri", address])
    assert "and MLflow records as a parameter" in capsys.readouterr().out
    main(["register", "--tracking-uri", "http://127.0.0.1:1"])
    assert "Warning" not in capsys.readouterr().out
