"""Studies of `engine = "bitplane"`: the same for any number of jobs, after kill -9 and in their model's text."""

from __future__ import annotations

import os
import signal
import time
from contextlib import chdir
from pathlib import Path

import lightgbm as lgb
import numpy as np
import pytest

from signal_miner.cli.mine import Options
from signal_miner.engine.fold_sources import fold_source
from signal_miner.engine.memory_plan import plan_memory
from signal_miner.errors import UserError
from signal_miner.experiment.files import load_experiment
from signal_miner.experiment.plan import make_plan, open_data
from tests.conftest import write_numerai_directory
from tests.helpers.mining import mine_here, outcome, run_mining, runs_of, start_mining, write_experiment

BITPLANE = ("--engine", "bitplane")


@pytest.fixture(scope="module")
def mined(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a study of ten trials on bit planes, two at a time."""
    directory = tmp_path_factory.mktemp("planes")
    write_experiment(directory, write_numerai_directory(directory / "numerai"))
    done = mine_here(directory, *BITPLANE)
    assert done.returncode == 0, done.stderr
    return directory


def copy_of_data(mined: Path, directory: Path, **changes: object) -> Path:
    return write_experiment(directory, mined / "numerai", **changes)


@pytest.mark.slow
def test_a_study_is_the_same_for_any_number_of_jobs(mined: Path, tmp_path: Path) -> None:
    expected = outcome(mined)
    assert len(expected) == 10
    for jobs in (1, 4):
        directory = tmp_path / str(jobs)
        directory.mkdir()
        copy_of_data(mined, directory, jobs=jobs)
        assert mine_here(directory, *BITPLANE).returncode == 0
        assert outcome(directory) == expected


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_a_killed_study_resumes_and_ends_as_an_undisturbed_one(mined: Path, tmp_path: Path) -> None:
    copy_of_data(mined, tmp_path)
    process = start_mining(tmp_path, *BITPLANE)
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline and not (tmp_path / "mlflow.db").exists():
        time.sleep(0.05)
    while time.monotonic() < deadline and len(runs_of(tmp_path)) < 3:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    done = run_mining(tmp_path, *BITPLANE)
    assert done.returncode == 0, done.stderr
    assert outcome(tmp_path) == outcome(mined)


BY_ERA = """
split_criterion = ["pooled", "era", "directional"]
era_block = [1, 4]
boltzmann_alpha = [0.0, -1.0]
min_direction_agreement = [0.0, 0.3]
allow_degenerate_splits = [true, false]
"""


@pytest.mark.slow
def test_a_study_of_splits_by_era_is_the_same_for_any_number_of_jobs_and_after_a_stop(
    mined: Path, tmp_path: Path
) -> None:
    found = []
    for jobs, trials in ((1, (8,)), (3, (3, 8))):
        directory = tmp_path / str(jobs)
        directory.mkdir()
        for number in trials:  # the second time, the study is resumed
            copy_of_data(mined, directory, jobs=jobs, trials=number, grid=BY_ERA)
            assert mine_here(directory, *BITPLANE).returncode == 0
        found.append(outcome(directory))
    assert len(found[0]) == 8
    assert found[0] == found[1]
    criteria = {run.data.params.get("split_criterion") for run in runs_of(tmp_path / "1")}
    assert {"pooled", "era", "directional"} <= criteria


@pytest.mark.slow
def test_engines_have_studies_of_their_own_in_one_experiment(mined: Path) -> None:
    assert {run.data.params["engine"] for run in runs_of(mined)} == {"bitplane 1"}
    with chdir(mined):
        plans = {engine: _plan(engine) for engine in ("lightgbm", "bitplane")}
    assert plans["lightgbm"].study != plans["bitplane"].study
    assert plans["lightgbm"].experiment.name == plans["bitplane"].experiment.name


@pytest.mark.slow
def test_the_model_text_predicts_in_lightgbm_what_training_predicted(mined: Path) -> None:
    with chdir(mined):
        plan = _plan("bitplane")
        fold = plan.folds["target_cyrusd_60"][-1]
        source = fold_source(plan, plan_memory(plan, 2), plan.targets, lambda: False)
        params = {"n_estimators": 30, "num_leaves": 8, "max_bin": 5, "target": "target_cyrusd_60"}
        booster = source.get(fold, 5, "target_cyrusd_60").start(params, 3)
        booster.grow(30)
        rows = plan.dataset.rows_of(fold.validation_eras)
        features = plan.dataset.read_features(plan.dataset.features, rows).to_pandas()
    predicted = lgb.Booster(model_str=booster.model_text()).predict(features)
    np.testing.assert_allclose(booster.predictions(), predicted, rtol=0, atol=1e-6)
    assert np.unique(booster.predictions()).size > 20


def _plan(engine: str):
    experiment = load_experiment("tiny.toml", engine=engine)
    return make_plan(experiment, open_data(experiment))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"engine": "bitplanes"}, r"engine = 'bitplanes' is not one of lightgbm, bitplane; did you mean 'bitplane'"),
        ({"engine": 3}, r"engine = 3 is not one of lightgbm, bitplane"),
        (
            {"engine": "bitplane", "grid": {"n_estimators": [5], "data_sample_strategy": ["goss"]}},
            r"grid.data_sample_strategy = 'goss' is not possible with engine = 'bitplane'; .* engine = 'lightgbm'",
        ),
        (
            {"engine": "bitplane", "benchmark": {"n_estimators": 5, "device_type": "gpu"}},
            r"benchmark.device_type = 'gpu' is not possible with engine = 'bitplane'",
        ),
        (
            {"grid": {"n_estimators": [5], "split_criterion": ["pooled", "era"]}},
            r"grid.split_criterion = 'era' is not possible with engine = 'lightgbm'; .* engine = 'bitplane'",
        ),
        (
            {"engine": "bitplane", "grid": {"n_estimators": [5], "era_block": [4]}},
            r"grid.era_block does nothing without splits chosen by era; add split_criterion = 'directional' .*",
        ),
        (
            {"engine": "bitplane", "benchmark": {"n_estimators": 5, "boltzmann_alpha": -1.0}},
            r"benchmark.boltzmann_alpha does nothing without splits chosen by era",
        ),
        (
            {"engine": "bitplane", "grid": {"n_estimators": [5], "split_criterion": ["directionl"]}},
            r"grid.split_criterion = 'directionl' is not one of pooled, era, directional",
        ),
    ],
)
def test_what_an_engine_does_not_do_is_refused(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    path = write_experiment(tmp_path, tmp_path / "numerai")
    with pytest.raises(UserError, match=message):
        load_experiment(path, **changes)


def test_the_option_replaces_the_files_engine() -> None:
    assert Options(engine="bitplane").changes() == {"engine": "bitplane"}
