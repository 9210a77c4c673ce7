"""Whole studies: what is tracked, that it is right, and that nothing depends on the number of jobs."""

from __future__ import annotations

import json
from itertools import product

import numpy as np
import pandas as pd
import pytest
from numerai_tools import scoring as oracle

from signal_miner.data.dataset import open_dataset
from tests.conftest import write_numerai_directory
from tests.helpers.mining import artifact, client_of, mine_here, outcome, runs_of, write_experiment

SECTIONS = ("validation", "test", "whole", "fold_1", "fold_2")
NAMES = (
    "corr",
    "sharpe",
    "max_drawdown",
    "bmc",
    "benchmark_corr",
    "sharpe_over_benchmark",
    "corr_over_benchmark",
)


def era_scores(predictions: pd.Series, target: pd.Series, eras: pd.Series, benchmark: pd.Series) -> pd.DataFrame:
    """Return CORR, BMC and the correlation with the benchmark of each era, by `numerai_tools` alone."""
    rows = pd.DataFrame({"prediction": predictions, "target": target, "era": eras, "benchmark": benchmark}).dropna()
    scores = {}
    for era, part in rows.sort_index().groupby("era"):
        ranked = oracle.gaussian(oracle.tie_kept_rank(part[["prediction", "benchmark"]]))
        scores[era] = {
            "corr": oracle.numerai_corr(part[["prediction"]], part["target"])["prediction"],
            "bmc": oracle.correlation_contribution(part[["prediction"]], part["benchmark"], part["target"])[
                "prediction"
            ],
            "benchmark_corr": oracle.pearson_correlation(ranked["benchmark"], ranked["prediction"]),
        }
    return pd.DataFrame(scores).T


def summary(corr: pd.Series) -> dict[str, float]:
    total = corr.dropna().cumsum()
    return {
        "corr": corr.mean(),
        "sharpe": oracle.sharpe_ratio(corr),
        "max_drawdown": (total.cummax() - total).max(),
    }


def paid(scores: pd.DataFrame) -> pd.Series:
    return (3 * scores["corr"] + 15 * scores["bmc"]).clip(-1, 1)


def payouts(scores: pd.DataFrame, reference: pd.DataFrame) -> dict[str, float]:
    own, over = summary(paid(scores)), paid(scores) - paid(reference)
    return {
        "payout": own["corr"],
        "payout_sharpe": own["sharpe"],
        "payout_drawdown": own["max_drawdown"],
        "payout_over_benchmark": over.mean(),
        "payout_lead": min(half.mean() for half in np.array_split(over, 2)),
    }


def sections(scores: pd.DataFrame, reference: pd.DataFrame) -> dict[str, float]:
    """Return a run's metrics from scores of each era, by `fold` and `numerai_tools`."""
    folds = sorted(scores["fold"].unique())
    parts = {"validation": folds[:-1], "test": folds[-1:], "whole": folds} | {f"fold_{n}": [n] for n in folds}
    values = {}
    for name, numbers in parts.items():
        mine = scores[scores["fold"].isin(numbers)]
        other = reference[reference["fold"].isin(numbers)]
        own, theirs = summary(mine["corr"]), summary(other["corr"])
        values |= {f"{name}/{key}": value for key, value in payouts(mine, other).items()}
        values |= {f"{name}/{key}": value for key, value in own.items()}
        values |= {f"{name}/bmc": mine["bmc"].mean(), f"{name}/benchmark_corr": mine["benchmark_corr"].mean()}
        values[f"{name}/sharpe_over_benchmark"] = own["sharpe"] - theirs["sharpe"]
        values[f"{name}/corr_over_benchmark"] = own["corr"] - theirs["corr"]
    return values


def assert_metrics_are_numerais(directory, dataset, most=None):
    """Compare every tracked metric of the runs with `numerai_tools` on their predictions."""
    ids = dataset.read_ids().to_pylist()
    target = pd.Series(dataset.read_target("target"), ids).astype(float)
    numerai = {
        name: pd.Series(values, ids).astype(float)
        for name, values in dataset.read_benchmarks(dataset.benchmark_columns, slice(0, len(dataset))).items()
    }
    (benchmark_run,) = runs_of(directory, "benchmark")
    benchmark = artifact(directory, benchmark_run, "predictions.parquet")
    fold_of = benchmark.groupby("era")["fold"].first()

    def scores(predictions, other):
        return era_scores(predictions, target, benchmark["era"], other.reindex(benchmark.index)).assign(fold=fold_of)

    reference = scores(benchmark["prediction"], benchmark["prediction"])
    for run in (benchmark_run, *runs_of(directory)[:most]):
        metrics = run.data.metrics
        predictions = artifact(directory, run, "predictions.parquet")
        assert predictions.index.equals(benchmark.index)
        expected = sections(scores(predictions["prediction"], benchmark["prediction"]), reference)
        best = sections(scores(predictions["best_prediction"], benchmark["prediction"]), reference)
        at_best = ("corr", "sharpe", "bmc", "benchmark_corr", "payout", "payout_sharpe")
        for section, score in product(("validation", "test"), at_best):
            expected[f"best/{section}_{score}"] = best[f"{section}/{score}"]
        for column, values in numerai.items():
            against = sections(scores(predictions["prediction"], values), reference)
            for part in ("validation", "test", "whole"):
                expected |= {f"{column}/{part}_{key}": against[f"{part}/{key}"] for key in ("bmc", "benchmark_corr")}
        known = {name: value for name, value in expected.items() if np.isfinite(value)}
        curves = {f"{part}/{name}_curve" for part in ("validation", "test") for name in ("corr", "payout")}
        further = {f"{part}/{name}" for part in ("validation", "test") for name in ("fnc", "feature_exposure")}
        others = {"best/trees", "train_seconds", *curves, *further}
        assert {name for name in metrics if not name.endswith("/undefined_eras")} - known.keys() <= others
        for name, value in known.items():
            assert metrics[name] == pytest.approx(value, abs=1e-9), f"{run.info.run_name} {name}"
        for part in ("validation", "test"):
            beats = known[f"{part}/corr_over_benchmark"] > 0 and known[f"{part}/sharpe_over_benchmark"] > 0
            beats = beats and f"{part}/undefined_eras" not in metrics
            assert run.data.tags[f"beats_benchmark.{part}"] == str(beats and run is not benchmark_run).lower()


def test_every_metric_is_numerais_own_on_the_tracked_predictions(tiny_mining):
    directory, _ = tiny_mining
    assert_metrics_are_numerais(directory, open_dataset(directory / "numerai", "all", "target"), most=2)


def test_runs_carry_what_a_reader_needs(tiny_mining):
    directory, _ = tiny_mining
    (study,), (benchmark,), trials = (runs_of(directory, kind) for kind in ("study", "benchmark", "trial"))
    assert len(trials) == 10
    for run in (study, benchmark, *trials):
        tags = run.data.tags
        assert run.info.status == "FINISHED"
        assert tags["signal_miner.study"] == study.data.tags["signal_miner.study"]
        assert tags["signal_miner.config_hash"].startswith(tags["signal_miner.study"].rpartition("-")[2])
        assert {"mlflow.user", "mlflow.source.name", "mlflow.source.type"} <= tags.keys()
    for run in (benchmark, *trials):
        assert {f"{section}/{name}" for section in SECTIONS for name in NAMES} <= run.data.metrics.keys()
        assert run.data.params["seed"] == "11"
        assert {"target", "learning_rate", "n_estimators", "max_bin", "max_depth"} <= run.data.params.keys()
        assert run.info.end_time >= run.info.start_time
        curve = client_of(directory).get_metric_history(run.info.run_id, "validation/corr_curve")
        trees = int(run.data.params["n_estimators"])
        assert [point.step for point in curve][-1] == trees
        assert len(curve) == min(20, trees)
        assert curve[-1].value == pytest.approx(run.data.metrics["validation/corr"], abs=1e-12)
    assert study.inputs.dataset_inputs[0].dataset.name == "numerai"
    assert len(study.inputs.dataset_inputs[0].dataset.digest) == 16
    assert study.data.metrics["trials/finished"] == 10


def test_artifacts_have_the_promised_layout(tiny_mining):
    directory, _ = tiny_mining
    run = runs_of(directory)[3]
    predictions = artifact(directory, run, "predictions.parquet")
    assert predictions.index.name == "id"
    assert predictions.index.is_unique
    assert list(predictions) == ["era", "fold", "prediction", "best_prediction"]
    assert predictions["prediction"].dtype == np.float32
    assert predictions["era"].iloc[0] == "0021"
    scores = artifact(directory, run, "era_scores.parquet")
    assert {"era", "fold", "corr", "bmc", "benchmark_corr", "tiny_lgbm_ender20_bmc"} <= set(scores)
    assert scores["era"].tolist() == sorted(predictions["era"].unique())
    curve = artifact(directory, run, "curve_scores.parquet")
    np.testing.assert_allclose(curve[run.data.params["n_estimators"]], scores["corr"], atol=1e-12)
    np.testing.assert_allclose(curve[f"{run.data.metrics['best/trees']:.0f}"], scores["best_corr"], atol=1e-12)


def test_the_best_checkpoint_is_chosen_on_validation(tiny_mining):
    directory, _ = tiny_mining
    for run in runs_of(directory):
        curve = artifact(directory, run, "curve_scores.parquet")
        validation = curve[curve["fold"] == 1].drop(columns=["era", "fold"])
        best = (validation.mean() / validation.std(ddof=0)).idxmax()
        assert run.data.metrics["best/trees"] == int(best)


def test_the_command_prints_what_it_does_and_what_comes_next(tiny_mining):
    _, done = tiny_mining
    assert "Fold 1 (validation): train 0001–0012, purge 8 eras, predict 0021–0040" in done.stdout
    assert "10/10 trials" in done.stdout
    assert "benchmark" in done.stdout
    assert "10 trials finished" in done.stdout
    assert "mlflow ui --backend-store-uri sqlite:///" in done.stdout
    assert "Back from a trial, reload the page to see these charts" in done.stdout
    assert "Leaderboard by validation Sharpe of trials as drawn" in done.stdout
    assert "embargo_eras = 8 is below the 16 that target_cyrusd_60" in done.stdout
    assert "LightGBM" not in done.stdout + done.stderr


def test_the_same_command_again_trains_nothing(tiny_mining):
    directory, _ = tiny_mining
    before = outcome(directory)
    done = mine_here(directory)
    assert done.returncode == 0
    assert outcome(directory) == before
    assert len(runs_of(directory, "study")) == len(runs_of(directory, "benchmark")) == 1


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 4])
def test_any_number_of_jobs_gives_the_same_study(tiny_mining, tmp_path, jobs):
    directory, _ = tiny_mining
    write_experiment(tmp_path, directory / "numerai", jobs=jobs)
    assert mine_here(tmp_path).returncode == 0
    mine, theirs = outcome(tmp_path), outcome(directory)
    assert mine.keys() == theirs.keys()
    for params, (name, *rest) in mine.items():
        assert (name, *rest) == theirs[params]


@pytest.mark.slow
def test_more_trials_are_added_to_the_study(tiny_mining, tmp_path):
    directory, _ = tiny_mining
    write_experiment(tmp_path, directory / "numerai", trials=4)
    assert mine_here(tmp_path).returncode == 0
    first = outcome(tmp_path)
    done = mine_here(tmp_path, "--trials", "10")
    assert done.returncode == 0
    assert outcome(tmp_path) == outcome(directory)
    assert first.items() <= outcome(tmp_path).items()


@pytest.mark.slow
def test_the_same_data_under_another_path_and_set_resume_the_study(tmp_path):
    data = write_numerai_directory(tmp_path / "numerai")
    path = write_experiment(tmp_path, data, trials=3)
    assert mine_here(tmp_path).returncode == 0
    (study,) = runs_of(tmp_path, "study")
    sets = json.loads((data / "features.json").read_text())
    sets["feature_sets"]["everything"] = sets["feature_sets"]["all"]
    (data / "features.json").write_text(json.dumps(sets))
    path.write_text(path.read_text().replace('feature_set = "all"', 'feature_set = "everything"'))
    for number, spelled in enumerate(("numerai", "./numerai", "numerai/../numerai"), start=4):
        done = mine_here(tmp_path, "--data", spelled, "--trials", str(number))
        assert done.returncode == 0, done.stderr
        assert len(runs_of(tmp_path)) == number
        (same,) = runs_of(tmp_path, "study")
        assert (same.info.run_id, same.info.status) == (study.info.run_id, "FINISHED")
        assert len(same.inputs.dataset_inputs) == 1


@pytest.mark.slow
def test_failing_trials_are_tracked_and_the_others_continue(tmp_path):
    data = write_numerai_directory(tmp_path / "numerai")
    # LightGBM as it is installed was built without CUDA; nothing before it can know.
    extra = 'device_type = ["cpu", "cuda"]'
    write_experiment(tmp_path, data, grid=extra)
    done = mine_here(tmp_path)
    assert done.returncode == 0, done.stderr
    runs = runs_of(tmp_path)
    failed = [run for run in runs if run.info.status == "FAILED"]
    assert len(runs) == 10
    assert 0 < len(failed) < 10
    assert all(run.data.params["device_type"] == "cuda" for run in failed)
    assert all("LightGBMError" in run.data.tags["signal_miner.error"] for run in failed)
    assert f"{10 - len(failed)} trials finished, {len(failed)} failed" in done.stdout
    (study,) = runs_of(tmp_path, "study")
    assert study.data.metrics["trials/failed"] == len(failed)
    again = mine_here(tmp_path)
    assert again.returncode == 0
    assert len(runs_of(tmp_path)) == 10


@pytest.mark.slow
def test_an_exhausted_grid_is_no_error(tmp_path):
    data = write_numerai_directory(tmp_path / "numerai")
    path = write_experiment(tmp_path, data, trials=50)
    text = path.read_text()
    head, _, tail = text.partition("[grid]")
    head = head.replace('constraint = "num_leaves <= 2**max_depth"', "")
    path.write_text(f"{head}[grid]\nn_estimators = [5, 10]\n\n[benchmark]{tail.partition('[benchmark]')[2]}")
    done = mine_here(tmp_path)
    assert done.returncode == 0, done.stderr
    assert "The grid has no further configuration" in done.stdout
    assert len(runs_of(tmp_path)) == 4


@pytest.mark.slow
def test_real_data_gives_numerais_scores(legacy_directory, tmp_path):
    write_experiment(tmp_path, legacy_directory, embargo=1, trials=2)
    path = tmp_path / "tiny.toml"
    path.write_text(path.read_text().replace('"target", "target_cyrusd_60"', '"target"'))
    done = mine_here(tmp_path, "--horizon-days", "20")
    assert done.returncode == 0, done.stderr
    assert_metrics_are_numerais(tmp_path, open_dataset(legacy_directory, "all", "target"))
