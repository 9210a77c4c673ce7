"""Trials trained in blocks, one dataset at a time: the same results as side by side, stopped and resumed as well."""

from __future__ import annotations

from contextlib import chdir
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from signal_miner.data.sources import open_source
from signal_miner.engine import trial
from signal_miner.engine.binning import BinnedFolds
from signal_miner.engine.memory_plan import MemoryPlan, plan_memory
from signal_miner.errors import Stopped
from signal_miner.experiment.files import load_experiment
from signal_miner.experiment.plan import make_plan
from signal_miner.mining import training
from signal_miner.mining.session import mine
from tests.conftest import write_numerai_directory
from tests.helpers.mining import outcome, put_store, runs_of, write_experiment

pytestmark = pytest.mark.slow

TRIALS = 14  # more than a block


def plan_of(directory: Path):
    experiment = load_experiment(directory / "tiny.toml")
    dataset = open_source(experiment.data, experiment.feature_set, experiment.scoring_target, experiment.targets)
    return make_plan(experiment, dataset)


def experiment_of(directory: Path, data: Path) -> None:
    """Write an experiment whose datasets differ in all that they can differ in."""
    path = write_experiment(directory, data, trials=TRIALS, grid="train_last_eras = [9, -1]")
    path.write_text(path.read_text().replace('feature_set = "all"', 'feature_set = ["all", "small"]'))


def one_at_a_time(plan) -> MemoryPlan:
    """A plan as for a machine that holds one dataset at a time."""
    return replace(plan_memory(plan, 2), together=False, kept_bytes=1, jobs=2)


def mined(directory: Path, blocks: bool = True):
    with chdir(directory):
        plan = plan_of(directory)
        memory = one_at_a_time(plan) if blocks else plan_memory(plan, 2)
        return mine(plan, memory, Console(quiet=True))


@pytest.fixture(scope="module")
def side_by_side(tmp_path_factory):
    directory = tmp_path_factory.mktemp("side")
    put_store(directory)
    experiment_of(directory, write_numerai_directory(directory / "numerai"))
    mined(directory, blocks=False)
    return directory


@pytest.fixture
def study(side_by_side, tmp_path):
    put_store(tmp_path)
    experiment_of(tmp_path, side_by_side / "numerai")
    return tmp_path


def test_blocks_give_the_same_study_and_hold_at_most_one_dataset(side_by_side, study, monkeypatch):
    held = []
    real = BinnedFolds.get

    def get(self, fold, max_bin, target, feature_set):
        data = real(self, fold, max_bin, target, feature_set)
        held.append(len({key[:4] for key in self._held}))
        return data

    monkeypatch.setattr(BinnedFolds, "get", get)
    mined(study)
    assert held
    assert max(held) == 1
    assert outcome(study) == outcome(side_by_side)
    assert not list((study / "studies").glob("*.folds/*"))


@pytest.mark.parametrize("after", [1, 3, 12, 20])
def test_a_stopped_block_loses_no_fold(side_by_side, study, monkeypatch, after):
    """Stopped after some folds, the study resumes, trains no fold again, and ends as an undisturbed one."""
    trained = []
    real = trial.train_fold

    def train_fold(data, params, *others):
        if len(trained) >= after and limited:
            raise KeyboardInterrupt
        predictions = real(data, params, *others)
        trained.append(tuple(sorted(params.items())))
        return predictions

    monkeypatch.setattr(trial, "train_fold", train_fold)
    limited = True
    with pytest.raises((KeyboardInterrupt, Stopped)):
        mined(study)
    limited = False
    mined(study)
    assert outcome(study) == outcome(side_by_side)
    folds = 2 * (TRIALS + 1)
    assert folds <= len(trained) <= folds + 2  # what was in training when it was stopped
    assert not [run for run in runs_of(study) if run.info.status != "FINISHED"]


def test_kept_folds_that_are_damaged_are_trained_again(side_by_side, study, monkeypatch):
    real = training.InBlocks.settled

    def interrupted(self, draw):
        if draw.number >= 0:
            raise KeyboardInterrupt
        real(self, draw)

    monkeypatch.setattr(training.InBlocks, "settled", interrupted)
    with pytest.raises(KeyboardInterrupt):
        mined(study)
    kept = sorted((study / "studies").glob("*.folds/*.npz"))
    assert kept
    kept[0].write_bytes(kept[0].read_bytes()[:50])
    kept[-1].write_bytes(b"")
    monkeypatch.setattr(training.InBlocks, "settled", real)
    mined(study)
    assert outcome(study) == outcome(side_by_side)
