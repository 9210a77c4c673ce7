"""Options of commands: declared once, as fields of a dataclass; parsed by their annotations."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from signal_miner import __version__
from signal_miner.__main__ import COMMANDS, main
from signal_miner.cli.options import Parser, add_options, options_of, parse_options
from signal_miner.errors import UserError
from signal_miner.utils.option import option

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, kw_only=True)
class Options:
    """One of each type."""

    required: str = option("a text")
    count: int | None = option("a number of things", None)
    share: float = option("a share", 0.5)
    switch: bool = option("yes or no", False)
    names: tuple[str, ...] = option("a list", ())
    place: Path | None = option("a file", None)
    internal: int = 3


def parsed(*arguments: str) -> Options:
    parser = Parser()
    add_options(parser, Options)
    return parse_options(Options, parser.parse_args(arguments))


def test_each_type_is_parsed_and_empty_texts_are_not_given():
    assert parsed("--required", "x", "--count", "", "--switch", "") == Options(required="x")
    given = parsed("--required=x", "--count=-1", "--share=.25", "--switch=yes", "--names=a, b,", "--place=a/b")
    assert given == Options(required="x", count=-1, share=0.25, switch=True, names=("a", "b"), place=Path("a/b"))


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--count=1.5", "count = '1.5' is not an integer; write one such as count=100"),
        ("--share=half", "share = 'half' is not a number; write one such as share=0.5"),
        ("--switch=maybe", "switch = 'maybe' is neither true nor false; write switch=true"),
    ],
)
def test_a_text_of_another_type_is_one_line(argument, message):
    with pytest.raises(UserError, match=message):
        parsed("--required=x", argument)


def test_an_experiment_may_be_named_without_the_options_name(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["mine", "nothing_known"]) == 2
    assert "experiment 'nothing_known' is neither a file nor" in capsys.readouterr().err
    assert main(["mine", "demo", "--experiment", "original"]) == 2
    assert "experiment is given twice, as 'demo' and as 'original'; leave one out" in capsys.readouterr().err


def test_mlprojects_entry_points_have_exactly_the_options_of_their_commands():
    entry_points = yaml.safe_load((ROOT / "MLproject").read_text(encoding="utf-8"))["entry_points"]
    assert set(entry_points) == set(COMMANDS) - {"experiments", "init"}
    for name, entry in entry_points.items():
        assert set(entry["parameters"]) == {each.name for each in options_of(COMMANDS[name].Options)}, name


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example_that_it_takes(name, capsys):
    with pytest.raises(SystemExit, match="0"):
        main([name, "--help"])
    assert f"Example: signal-miner {name}" in " ".join(capsys.readouterr().out.split())


def test_the_version_and_the_list_of_experiments(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out == f"signal-miner {__version__}\n"
    assert main(["experiments"]) == 0
    assert "numerai_small" in capsys.readouterr().out


def test_help_imports_nothing_that_takes_seconds():
    program = (
        "import sys; from signal_miner.__main__ import _parser; _parser(); "
        "print(sorted({'mlflow', 'matplotlib', 'optuna', 'lightgbm'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
