"""The README says what the project does today."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import yaml

from signal_miner.data.sources import open_source
from signal_miner.experiment.experiment import load_experiment, parse_experiment
from signal_miner.experiment.plan import describe, make_plan

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_first_lines_of_the_demo_are_the_ones_shown(tmp_path):
    experiment = load_experiment(ROOT / "experiments" / "demo.toml")
    dataset = open_source("demo", experiment.feature_set, experiment.scoring_target, directory=tmp_path)
    lines = describe(make_plan(experiment, dataset))
    # The study's name holds LightGBM's version and the data's digest; the rest is the README's to the letter.
    shown = re.sub(r"Study demo-[0-9a-f]{8}", lines[0].partition(":")[0], README)
    assert "\n".join(lines) in shown


def test_the_experiment_shown_is_one():
    (block,) = re.findall(r"```toml\n(.*?)```", README, flags=re.DOTALL)
    experiment = parse_experiment(tomllib.loads(block))
    assert experiment.name == "mine_my_own"
    settled = re.sub(r"(?m)^# (\w+ = )", r"\1", block)
    everything = parse_experiment(tomllib.loads(settled))
    assert everything.folds.embargo_eras == 16
    assert everything.numerai_benchmarks == ("v53_lgbm_ender60",)


def test_every_shipped_experiment_is_listed():
    for path in (ROOT / "experiments").glob("*.toml"):
        assert f"`{path.name}`" in README


def test_every_parameter_of_every_command_is_listed():
    for name, command in yaml.safe_load((ROOT / "MLproject").read_text(encoding="utf-8"))["entry_points"].items():
        for parameter in command["parameters"]:
            assert f"`{parameter}`" in README or f"-P {parameter}=" in README, f"{parameter} of {name}"


def test_files_that_are_linked_exist():
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / target).exists()
