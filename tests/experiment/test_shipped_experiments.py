"""The experiments of the package: by name from anywhere, listed, copied, and never overwritten."""

from __future__ import annotations

from pathlib import Path

import pytest

import signal_miner
from signal_miner.errors import UserError
from signal_miner.experiment.files import copy_experiment, description_of, find_experiment, shipped_experiments

EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"


def test_every_file_is_shipped_with_a_description():
    shipped = shipped_experiments()
    assert shipped == {path.stem: path for path in EXPERIMENTS.glob("*.toml")}
    assert all(len(description_of(path)) > 10 for path in shipped.values())


@pytest.mark.parametrize("named", ["numerai_small", "experiments/numerai_small.toml"])
def test_a_name_is_found_from_any_directory(named, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_experiment(named) == EXPERIMENTS / "numerai_small.toml"
    assert signal_miner.load_experiment(named).name == "numerai_small"


def test_a_file_of_the_workspace_comes_before_the_packages(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    copy = copy_experiment("demo")
    assert copy == Path("demo.toml")
    assert copy.read_text() == (EXPERIMENTS / "demo.toml").read_text()
    assert find_experiment("demo") == Path("demo.toml")
    with pytest.raises(UserError, match=r"demo.toml exists already; name another file, or edit this one"):
        copy_experiment("demo")


def test_an_unknown_name_is_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"'numerai_smal' is neither a file .*; did you mean 'numerai_small'\?"):
        find_experiment("numerai_smal")


def test_what_is_in_the_way_of_a_name_is_not_passed_over(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo.toml").symlink_to(tmp_path / "moved.toml")
    with pytest.raises(UserError, match=r"demo.toml is a link to nothing; replace or remove it"):
        signal_miner.load_experiment("demo")
    (tmp_path / "numerai_small.toml").mkdir()
    with pytest.raises(UserError, match=r"numerai_small.toml is no file; replace or remove it"):
        signal_miner.load_experiment("numerai_small.toml")
