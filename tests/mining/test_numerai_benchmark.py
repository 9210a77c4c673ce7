"""Numerai's own predictions as the benchmark run, and what BMC is a contribution to."""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from numerai_tools import scoring as oracle

from signal_miner.engine.benchmark_run import contribution_gaps
from signal_miner.errors import UserError
from signal_miner.experiment.plan import make_plan, open_data, plan_record, restore_plan
from signal_miner.experiment.schema import parse_experiment
from signal_miner.tracking.frames import compare_to_benchmark, leaderboard
from tests.conftest import write_numerai_directory
from tests.helpers.mining import artifact, mine_here, runs_of, write_experiment
from tests.helpers.study import command

COLUMN = "tiny_lgbm_ender20"
UNCOVERED = [f"{era:04d}" for era in range(21, 25)]


def thin_out(directory, eras=UNCOVERED):
    """Take Numerai's predictions out of whole eras, of most of era 26, and of three rows of era 30."""
    path = directory / "train_benchmark_models.parquet"
    frame = pd.read_parquet(path)
    few = frame[frame["era"] == "0030"].index[:3]
    most = frame[frame["era"] == "0026"].index[:30]
    frame.drop(index=few.union(most)).query("era not in @eras").to_parquet(path)


def write_benchmark(path, table):
    """Replace the experiment's table [benchmark]."""
    path.write_text(path.read_text().partition("[benchmark]")[0] + table)


@pytest.fixture(scope="module")
def mined(tmp_path_factory):
    """A study against Numerai's predictions, which lack some eras of the first fold, and the output of mining it."""
    directory = tmp_path_factory.mktemp("numerai_benchmark")
    data = write_numerai_directory(directory / "numerai")
    thin_out(data)
    path = write_experiment(directory, data, trials=4)
    write_benchmark(path, f'[benchmark]\npredictions = "{COLUMN}"\n')
    path.write_text(path.read_text().replace("embargo_eras = 8", "embargo_eras = 8\nholdout_eras = 8"))
    done = mine_here(directory)
    assert done.returncode == 0, done.stderr
    return directory, done.stdout


def rows_of(directory, run):
    """Return a run's predictions beside target and Numerai's predictions."""
    rows = artifact(directory, run, "predictions.parquet").assign(target=np.nan, numerai=np.nan)
    for name in ("train", "validation"):
        target = pd.read_parquet(directory / "numerai" / f"{name}.parquet", columns=["target"])["target"]
        numerai = pd.read_parquet(directory / "numerai" / f"{name}_benchmark_models.parquet")[COLUMN]
        for column, values in (("target", target), ("numerai", numerai)):
            rows.loc[rows.index.intersection(values.index), column] = values.astype(np.float64)
    return rows


def test_nothing_is_trained_and_the_eras_that_are_not_covered_are_said(mined):
    directory, output = mined
    (benchmark,) = runs_of(directory, "benchmark")
    assert dict(benchmark.data.params) == {"predictions": COLUMN}
    assert "train_seconds" not in benchmark.data.metrics
    assert f"Benchmark: Numerai's predictions {COLUMN}, so that nothing is trained before the first trial" in output
    said = re.search(rf"{COLUMN} has no predictions in (\d+) of (\d+) eras of fold 1, (\S+); they are left", output)
    assert said
    assert said.group(1, 3) == ("5", "0021–0026")


def test_scores_and_comparisons_are_over_the_rows_and_eras_that_it_predicts(mined):
    directory, _ = mined
    (benchmark,) = runs_of(directory, "benchmark")
    numerai = artifact(directory, benchmark, "era_scores.parquet").set_index("era")
    left_out = [*UNCOVERED, "0026"]
    assert numerai.index[numerai["corr"].isna()].tolist() == left_out
    for run in runs_of(directory):
        rows, scores = rows_of(directory, run), artifact(directory, run, "era_scores.parquet").set_index("era")
        for era, part in rows[~rows["era"].isin(left_out)].groupby("era"):
            known = part.dropna(subset="numerai")
            bmc = oracle.correlation_contribution(known[["prediction"]], known["numerai"], known["target"]).iloc[0]
            assert scores.loc[era, "bmc"] == pytest.approx(bmc, abs=1e-9)
            corr = oracle.numerai_corr(known[["numerai"]], known["target"]).iloc[0]
            assert numerai.loc[era, "corr"] == pytest.approx(corr, abs=1e-9)
        first, fold = scores["fold"] == 1, numerai["fold"] == 1
        mine, other = scores.loc[first & ~scores.index.isin(left_out), "corr"], numerai.loc[fold, "corr"].dropna()
        metrics = run.data.metrics
        assert metrics["validation/corr"] == pytest.approx(scores.loc[first, "corr"].mean(), abs=1e-12)
        assert metrics["validation/corr_over_benchmark"] == pytest.approx(mine.mean() - other.mean(), abs=1e-9)
        over = oracle.sharpe_ratio(mine) - oracle.sharpe_ratio(other)
        assert metrics["validation/sharpe_over_benchmark"] == pytest.approx(over, abs=1e-9)
        assert metrics["validation/eras_without_benchmark"] == len(left_out)
        beats = mine.mean() > other.mean() and over > 0
        assert run.data.tags["beats_benchmark.validation"] == str(bool(beats)).lower()


def test_it_is_resumed_ranked_blended_and_evaluated_like_any_benchmark(mined, capsys):
    directory, _ = mined
    (before,) = runs_of(directory, "benchmark")
    more = mine_here(directory, "--trials", "6")
    assert more.returncode == 0, more.stderr
    assert "has no predictions" not in more.stdout
    assert [run.info.run_id for run in runs_of(directory, "benchmark")] == [before.info.run_id]
    assert len(runs_of(directory)) == 6
    store = f"sqlite:///{directory / 'mlflow.db'}"
    assert "benchmark" in leaderboard(tracking_uri=store).index
    assert len(compare_to_benchmark(tracking_uri=store)) == 6

    assert command(directory, "ensemble", "--neutralize", "benchmark", "--members", "2") == 0
    (ensemble,) = runs_of(directory, "ensemble")
    assert ensemble.data.params["neutralize"] == COLUMN  # live data have Numerai's predictions, but no benchmark run
    assert command(directory, "holdout", "--ensemble", "ensemble 1", "--open", "true") == 0
    assert "the benchmark" in capsys.readouterr().out
    assert command(directory, "report") == 0


def experiment_of(data, **changes):
    table = {
        "name": "numerai",
        "data": str(data),
        "targets": ["target"],
        "folds": {"embargo_eras": 8},
        "grid": {"n_estimators": [5, 10], "learning_rate": [0.1, 0.2]},
        "benchmark": {"predictions": COLUMN},
    }
    return parse_experiment(table | changes)


def test_a_plan_is_restored_with_its_benchmark_and_older_hashes_are_kept(numerai_directory):
    experiment = experiment_of(numerai_directory, contribution_to=COLUMN)
    plan = make_plan(experiment, open_data(experiment))
    record = json.loads(json.dumps(plan_record(plan)))
    assert record["experiment"]["benchmark"] == {"predictions": COLUMN}
    again = restore_plan(record)
    assert (again.config_hash, again.benchmark_predictions) == (plan.config_hash, COLUMN)
    assert again.experiment.contribution_to == COLUMN
    plain = experiment_of(numerai_directory)
    assert make_plan(plain, plan.dataset).config_hash != plan.config_hash


def test_what_the_data_has_for_the_scoring_horizon_is_what_bmc_is_taken_against(numerai_directory):
    experiment = experiment_of(numerai_directory, benchmark={"n_estimators": 5}, contribution_to="data")
    named = replace(experiment, contribution_to=COLUMN)
    dataset = open_data(experiment)
    plan = make_plan(experiment, dataset)
    assert plan.experiment.contribution_to == COLUMN
    assert plan.study == make_plan(named, dataset).study
    assert restore_plan(json.loads(json.dumps(plan_record(plan)))).study == plan.study
    for path in numerai_directory.glob("*benchmark*"):
        path.unlink()
    assert make_plan(experiment, open_data(experiment)).experiment.contribution_to == "benchmark"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"benchmark": {"predictions": 3}}, r"benchmark.predictions = 3 is not text"),
        (
            {"benchmark": {"predictions": COLUMN, "n_estimators": 5}},
            rf"benchmark.predictions = '{COLUMN}' is not trained here; leave out n_estimators$",
        ),
        (
            {"benchmark": {"predictions": "tiny_lgbm_ender60"}},
            r"benchmark.predictions = 'tiny_lgbm_ender60' is not in the benchmark .*; did you mean 'tiny_lgbm_ender20'",
        ),
        (
            {"contribution_to": "tiny_lgbm"},
            r"contribution_to = 'tiny_lgbm' is not in the benchmark predictions of numerai; did you mean",
        ),
        ({"contribution_to": ""}, r"contribution_to = '' is not text"),
        ({"predictions": COLUMN}, r"'predictions' is at the top of the file but belongs in \[benchmark\]; move it"),
        ({"grid": {"n_estimators": [5], "predictions": ["a"]}}, r"grid.predictions is not a parameter"),
    ],
)
def test_a_wrong_benchmark_is_one_line(numerai_directory, changes, message):
    def planned():
        experiment = experiment_of(numerai_directory, **changes)
        return make_plan(experiment, open_data(experiment))

    with pytest.raises(UserError, match=message):
        planned()


def test_data_without_benchmark_predictions_are_refused_by_the_files_names(numerai_directory):
    for path in numerai_directory.glob("*benchmark*"):
        path.unlink()
    experiment = experiment_of(numerai_directory)
    with pytest.raises(
        UserError,
        match=r"has none; add train_benchmark_models.parquet and validation_b.*, or train a benchmark instead",
    ):
        make_plan(experiment, open_data(experiment))


def test_too_few_eras_are_an_error_before_anything_is_trained(tmp_path):
    data = write_numerai_directory(tmp_path / "numerai")
    thin_out(data, [f"{era:04d}" for era in range(21, 33)])
    write_benchmark(write_experiment(tmp_path, data), f'[benchmark]\npredictions = "{COLUMN}"\n')
    done = mine_here(tmp_path)
    assert done.returncode == 2
    assert f"benchmark.predictions = '{COLUMN}' covers 8 of the 20 eras that fold 1 predicts" in done.stderr
    assert not runs_of(tmp_path)


@pytest.mark.parametrize("uncovered", [12, 8])
def test_what_bmc_is_taken_against_must_cover_half_of_each_fold_s_eras(tmp_path, uncovered):
    data = write_numerai_directory(tmp_path / "numerai")
    thin_out(data, [f"{era:04d}" for era in range(21, 21 + uncovered)])
    table = tomllib.loads(write_experiment(tmp_path, data).read_text()) | {"contribution_to": COLUMN}
    experiment = parse_experiment(table)
    plan = make_plan(experiment, open_data(experiment))
    if uncovered > 10:
        with pytest.raises(UserError, match=rf"contribution_to = '{COLUMN}' covers 8 of the 20 eras that fold 1 pred"):
            contribution_gaps(plan)
    else:
        assert contribution_gaps(plan) == {1: tuple(range(21, 21 + uncovered))}


def test_bmc_is_the_contribution_to_what_the_experiment_names(tmp_path):
    path = write_experiment(tmp_path, write_numerai_directory(tmp_path / "numerai"), trials=2)
    path.write_text(f'contribution_to = "{COLUMN}"\n' + path.read_text())
    done = mine_here(tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"BMC and correlation are against {COLUMN}" in done.stdout
    (benchmark,) = runs_of(tmp_path, "benchmark")
    for run in (benchmark, *runs_of(tmp_path)):
        rows, scores = rows_of(tmp_path, run), artifact(tmp_path, run, "era_scores.parquet").set_index("era")
        for era, part in rows.groupby("era"):
            bmc = oracle.correlation_contribution(part[["prediction"]], part["numerai"], part["target"]).iloc[0]
            assert scores.loc[era, "bmc"] == pytest.approx(bmc, abs=1e-9)
        assert run.data.metrics["validation/bmc"] == pytest.approx(scores.loc[scores["fold"] == 1, "bmc"].mean())
    assert benchmark.data.metrics["validation/bmc"] != 0
    reference = artifact(tmp_path, benchmark, "era_scores.parquet")
    assert np.isfinite(reference["corr"]).all()
