"""The README and the docs pages match the project."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from signal_miner.data.sources import open_source
from signal_miner.experiment.files import load_experiment
from signal_miner.experiment.plan import make_plan
from signal_miner.experiment.schema import parse_experiment
from signal_miner.report.sentences import describe_plan
from tests.helpers.readme import PAGES, README, ROOT, all_blocks

TEXT = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
ENTRY_POINTS = yaml.safe_load((ROOT / "MLproject").read_text(encoding="utf-8"))["entry_points"]


def test_the_first_lines_of_the_demo_are_as_shown(tmp_path):
    experiment = load_experiment(ROOT / "experiments" / "demo.toml")
    dataset = open_source("demo", experiment.feature_set, experiment.scoring_target, directory=tmp_path)
    lines = describe_plan(make_plan(experiment, dataset))
    # The study's name contains LightGBM's version and the data's digest; the rest must match exactly.
    shown = re.sub(r"Study demo-[0-9a-f]{8}", lines[0].partition(":")[0], README.read_text(encoding="utf-8"))
    assert "\n".join(lines) in shown


def test_the_experiment_shown_is_valid():
    (block,) = all_blocks("toml")
    experiment = parse_experiment(tomllib.loads(block.text))
    assert experiment.name == "mine_my_own"
    uncommented = re.sub(r"(?m)^# (\w+ = )", r"\1", block.text)
    everything = parse_experiment(tomllib.loads(uncommented))
    assert everything.folds.embargo_eras == 16
    assert everything.numerai_benchmarks == ("v53_lgbm_ender60",)


def test_every_shipped_experiment_is_listed():
    for path in (ROOT / "experiments").glob("*.toml"):
        assert f"`{path.name}`" in TEXT


def test_the_parameters_listed_for_a_command_are_those_declared():
    listed: dict[str, set[str]] = {}
    for head, rows in re.findall(r"(?m)^\| parameter of (.*?) \| meaning \|\n\|---\|---\|\n((?:\|.*\n)+)", TEXT + "\n"):
        names = {name for row in rows.splitlines() for name in re.findall(r"`(\w+)`", row.split(" | ")[0])}
        listed |= dict.fromkeys(re.findall(r"`(\w+)`", head), names)
    assert listed == {name: set(command["parameters"]) for name, command in ENTRY_POINTS.items()}


OTHERS = {"mlflow run", "No module named 'signal_miner'", "duplicate column name", "table … already exists"}
"""Symptoms that are not messages of the project."""


def strings(source: str) -> Iterator[str]:
    """Yield the string literals, with … for each value of an f-string."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)


def test_the_messages_of_troubleshooting_are_those_of_the_code():
    rows = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8").splitlines()
    quoted = {text for row in rows if row.startswith("| ") for text in re.findall(r"`([^`]+)`", row.split(" | ")[0])}
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "signal_miner").rglob("*.py")]
    messages = "\n".join(text for source in sources for text in strings(source))
    missing = [text for text in quoted - OTHERS if not re.search(".*".join(map(re.escape, text.split("…"))), messages)]
    assert not missing
    assert len(quoted) > len(OTHERS)


@pytest.mark.parametrize(
    "page", [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "benchmarks" / "README.md"], ids=lambda page: page.name
)
def test_files_that_are_linked_exist(page: Path):
    for target in re.findall(r'(?:\]\(|src=")(?!http)([^)"#]+)', page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target
