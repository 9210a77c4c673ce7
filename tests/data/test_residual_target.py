"""Targets without what a benchmark explains of them: the arithmetic, the rows that are left, and what is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numerai_tools import scoring as oracle

from signal_miner.data.residual_target import ResidualTarget, residual
from signal_miner.engine.benchmark_run import residual_gaps
from signal_miner.engine.binning import BinnedFolds
from signal_miner.engine.boosters import label_of
from signal_miner.errors import UserError
from signal_miner.experiment.parameters import DatasetKey
from signal_miner.experiment.plan import make_plan, open_data
from signal_miner.experiment.schema import parse_experiment
from tests.conftest import write_numerai_directory

COLUMN = "tiny_lgbm_ender20"


def market(seed, n_eras=3):
    """Return eras, a target and a benchmark's predictions that explain some of it, both with NaN."""
    generator = np.random.default_rng(seed)
    eras = np.repeat(np.arange(n_eras), generator.integers(5, 40, n_eras))
    predictions = generator.normal(size=len(eras)).round(int(generator.integers(1, 4)))  # with ties
    target = np.clip(np.round(predictions + generator.normal(size=len(eras)) + 2), 0, 4).astype(np.float32) / 4
    target[generator.random(len(eras)) < 0.1] = np.nan
    return eras, target, predictions


def expected(target, predictions, share):
    """Return an era's residual by `numerai_tools`, which takes the mean out too."""
    exposures = oracle.gaussian(oracle.tie_kept_rank(predictions.to_frame("p")))
    known = target.notna() & predictions.notna()
    if (
        target[known].min() == target[known].max()
    ):  # `numerai_tools` makes NaN of a constant, of which there is nothing to explain
        return target.where(known)
    exposures = exposures.reindex(target.index)[known]
    left = oracle.neutralize(target[known].astype(float).to_frame("t"), exposures, proportion=share)["t"]
    return (left + share * target[known].astype(float).mean()).reindex(target.index)


@given(st.integers(0, 10**6), st.sampled_from([0.25, 0.5, 1.0]))
def test_it_is_numerais_neutralisation_of_the_target_with_the_eras_mean(seed, share):
    eras, target, predictions = market(seed)
    exposures, wanted = np.empty(len(eras)), np.empty(len(eras))
    for era in np.unique(eras):
        rows = eras == era
        own = pd.Series(predictions[rows])
        exposures[rows] = oracle.gaussian(oracle.tie_kept_rank(own.to_frame("p")))["p"]
        wanted[rows] = expected(pd.Series(target[rows]), own, share)
    np.testing.assert_allclose(residual(eras, target, exposures, share), wanted, rtol=0, atol=1e-6)


@given(st.integers(0, 10**6))
def test_nothing_is_taken_out_for_0_and_all_that_is_explained_for_1(seed):
    eras, target, predictions = market(seed)
    np.testing.assert_array_equal(residual(eras, target, predictions, 0.0), target)
    whole = residual(eras, target, predictions, 1.0)
    for era in np.unique(eras):
        rows = (eras == era) & np.isfinite(target)
        centred = predictions[rows] - predictions[rows].mean() if rows.any() else np.zeros(0)
        assert abs(centred @ whole[rows].astype(float)) < 1e-4
    half = residual(eras, target, predictions, 0.5)
    np.testing.assert_allclose(half, (target + whole) / 2, rtol=0, atol=1e-6)


def experiment_of(data, **changes):
    table = {
        "name": "residual",
        "data": str(data),
        "targets": ["target"],
        "folds": {"embargo_eras": 8},
        "grid": {"n_estimators": [5], "max_bin": [5], "target_residual": [0.0, 0.5]},
        "benchmark": {"n_estimators": 5},
    }
    return parse_experiment(table | changes)


def planned(data, **changes):
    experiment = experiment_of(data, **changes)
    return make_plan(experiment, open_data(experiment))


def test_boosters_get_the_residual_of_the_rows_that_the_benchmark_predicts(numerai_directory):
    path = numerai_directory / "train_benchmark_models.parquet"
    frame = pd.read_parquet(path)
    frame.drop(index=frame[frame["era"] == "0012"].index[::2]).to_parquet(path)
    plan = planned(numerai_directory)
    label = label_of(DatasetKey.of({"target": "target", "target_residual": 0.5}))
    assert plan.labels == ("target", label)
    assert label == ResidualTarget("target", 0.5)
    assert plan.dataset.residual_column == COLUMN
    assert label_of(DatasetKey.of({"target": "target", "target_residual": 0.0})) == "target"

    train = pd.read_parquet(numerai_directory / "train.parquet")
    predictions = pd.read_parquet(path)[COLUMN].reindex(train.index)
    wanted = pd.concat(
        [
            expected(part["target"], predictions.loc[part.index].astype(np.float32), 0.5)
            for _, part in train.groupby("era")
        ]
    )
    fold = plan.folds["target"][1]
    rows = train["era"].astype(int).isin(fold.train_eras) & predictions.notna()
    data = BinnedFolds(plan.dataset, plan.labels, 0).get(fold, 5, label)
    np.testing.assert_allclose(data.train.get_label(), wanted[rows], rtol=0, atol=1e-6)
    assert data.train.num_data() == rows.sum() < len(plan.dataset.eras[plan.dataset.rows_of(fold.train_eras)])
    assert residual_gaps(plan) == {1: tuple(range(1, 11)), 2: tuple(range(1, 11))}
    some = plan.dataset.rows_of([30, 12])
    np.testing.assert_array_equal(plan.dataset.read_label(label, some), plan.dataset.read_label(label)[some])


def test_the_benchmark_is_the_experiments_or_that_of_the_scoring_horizon(numerai_directory):
    for path in numerai_directory.glob("*benchmark*"):
        frame = pd.read_parquet(path)
        frame.assign(tiny_lgbm_ender60=frame[COLUMN]).to_parquet(path)
    assert planned(numerai_directory).residual_column == COLUMN
    assert planned(numerai_directory, contribution_to="tiny_lgbm_ender60").residual_column == "tiny_lgbm_ender60"
    own = {"benchmark": {"predictions": "tiny_lgbm_ender60"}}
    assert planned(numerai_directory, **own).residual_column == "tiny_lgbm_ender60"
    plain = {"grid": {"n_estimators": [5], "target_residual": [0.0]}}
    assert planned(numerai_directory, **plain).residual_column == ""
    for path in numerai_directory.glob("*benchmark*"):
        frame = pd.read_parquet(path)
        frame.rename(columns={COLUMN: "ridge", "tiny_lgbm_ender60": "deep"}).to_parquet(path)
    with pytest.raises(UserError, match=r"target_residual can take out ridge or deep; name one with contribution_to"):
        planned(numerai_directory)


def test_what_cannot_be_taken_out_is_one_line(numerai_directory, tmp_path):
    grid = {"n_estimators": [5]}
    for value, message in (
        ([1.2], r"grid.target_residual = 1.2 is not a number of at least 0 and at most 1"),
        ([-0.1], r"grid.target_residual = -0.1 "),
        (["a"], r"grid.target_residual = 'a' "),
        ([0.5, 0.5], r"grid.target_residual holds 0.5 twice"),
        ([True], r"grid.target_residual = (T|t)rue "),
    ):
        with pytest.raises(UserError, match=message):
            experiment_of(numerai_directory, grid=grid | {"target_residual": value})
    with pytest.raises(UserError, match=r"benchmark.target_residual takes a benchmark out of the target, not out of i"):
        experiment_of(numerai_directory, benchmark={"n_estimators": 5, "target_residual": 0.5})

    early = write_numerai_directory(tmp_path / "early", eras=100)
    path = early / "train_benchmark_models.parquet"
    pd.read_parquet(path).query("era > '0030'").to_parquet(path)
    with pytest.raises(
        UserError, match=rf"target_residual: {COLUMN} has no .* that fold 1 trains on, 0001–0026; use f"
    ):
        residual_gaps(planned(early))
    for path in numerai_directory.glob("*benchmark*"):
        path.unlink()
    with pytest.raises(UserError, match=r"target_residual .* numerai has none; add train_benchmark_models.parquet and"):
        planned(numerai_directory)
