"""The README and the docs pages match the project."""

from __future__ import annotations

import ast
import configparser
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from signal_miner.__main__ import _parser
from signal_miner.cli.options import parse_options
from signal_miner.data.sources import open_source
from signal_miner.engine.memory_plan import plan_memory
from signal_miner.experiment.files import load_experiment
from signal_miner.experiment.plan import make_plan
from signal_miner.experiment.schema import parse_experiment
from signal_miner.live.slots import Delivery, Slot, read_slots
from signal_miner.report.sentences import describe_plan, memory_lines
from tests.helpers.readme import PAGES, README, ROOT, all_blocks

TEXT = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
ENTRY_POINTS = yaml.safe_load((ROOT / "MLproject").read_text(encoding="utf-8"))["entry_points"]


def test_the_first_lines_of_the_demo_are_as_shown(tmp_path):
    experiment = load_experiment(ROOT / "experiments" / "demo.toml")
    dataset = open_source("demo", experiment.feature_set, experiment.scoring_target, directory=tmp_path)
    plan = make_plan(experiment, dataset)
    lines = describe_plan(plan)
    # The study's name contains LightGBM's version and the data's digest; the rest must match exactly.
    shown = re.sub(r"Study demo-[0-9a-f]{8}", lines[0].partition(":")[0], README.read_text(encoding="utf-8"))
    assert "\n".join(lines) in shown
    (memory,) = memory_lines(plan_memory(plan, 2, available_bytes=22 * 10**9))
    assert re.sub(r"of [\d.]+ GB: ", "", memory) in re.sub(r"of [\d.]+ GB: ", "", shown)


def test_the_experiment_shown_is_valid():
    block, slots = all_blocks("toml")
    assert "slots" in tomllib.loads(slots.text)
    experiment = parse_experiment(tomllib.loads(block.text))
    assert experiment.name == "mine_my_own"
    uncommented = re.sub(r"(?m)^# (\w+ = )", r"\1", block.text)
    everything = parse_experiment(tomllib.loads(uncommented))
    assert everything.folds.embargo_eras == 16
    assert everything.numerai_benchmarks == ("v53_lgbm_ender60",)


def test_the_slots_shown_are_valid(tmp_path):
    (tmp_path / "slots.toml").write_text(all_blocks("toml")[1].text, encoding="utf-8")
    first, second = read_slots(tmp_path / "slots.toml")
    assert (first.name, first.model, first.delivery) == ("my_model", "signal-miner", Delivery.DEPLOY)
    assert second == Slot("my_other_model", "numerai-all", from_round=1350, version="v5.3")


def test_the_scheduled_commands_shown_are_valid():
    (timetable,) = (each.text for each in all_blocks("text") if "* * 6" in each.text)
    units = [each for each in all_blocks("ini") if each.page.name == "slots.md"]
    (workflow,) = (each.text for each in all_blocks("yaml") if "refresh" in each.text)
    for line in timetable.splitlines()[1:]:
        assert re.fullmatch(r"([\d,*/-]+ ){5} *cd .*", line), line
    for unit in units:
        configparser.ConfigParser(interpolation=None).read_string(unit.text)
    steps = yaml.safe_load(workflow)["jobs"]["refresh"]["steps"]
    texts = (timetable, *(each.text for each in units), *(step.get("run", "") for step in steps))
    found = [given.split() for text in texts for given in re.findall(r"signal-miner ((?:\w+ )+?--[^>\n]*)", text)]
    assert sorted(each[0] for each in found) == ["refresh", "refresh", "refresh", "submit"]
    for each in found:
        given = _parser().parse_args(each)
        assert parse_options(given.module.Options, given).slots == Path("slots.toml")


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
