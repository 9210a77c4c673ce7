"""From mined studies to a registered model that predicts in a process without this package."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import lightgbm as lgb
import mlflow
import numpy as np
import pandas as pd
import pytest
from numerai_tools import scoring as oracle

from signal_miner.data.dataset import open_dataset
from signal_miner.data.demo import ensure_demo
from signal_miner.ensemble import maker
from signal_miner.models import retraining
from signal_miner.models.portable import load_predict
from signal_miner.tracking.tags import ENSEMBLE_SHA256
from tests.conftest import write_numerai_directory
from tests.helpers.mining import ROOT, artifact, client_of, environment, mine_here, runs_of, write_experiment
from tests.helpers.study import artifact_path, command, copy_study, members_of, newest_ensemble, predict_file

pytestmark = pytest.mark.slow

LOAD = """
import importlib.util, sys
assert importlib.util.find_spec("signal_miner") is None
import mlflow, pandas as pd
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model("models:/signal-miner@champion")
model.predict(pd.read_parquet(sys.argv[2])).to_parquet(sys.argv[3])
"""


def predict_elsewhere(directory: Path, live: pd.DataFrame) -> pd.DataFrame:
    """Predict with the champion in a fresh process that has neither this package nor its folder."""
    elsewhere = directory / "elsewhere"
    elsewhere.mkdir(exist_ok=True)
    live.to_parquet(elsewhere / "live.parquet")
    store = f"sqlite:///{directory / 'mlflow.db'}"
    kept = {name: value for name, value in environment().items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-I", "-c", LOAD, store, "live.parquet", "out.parquet"],
        cwd=elsewhere,
        env=kept,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return pd.read_parquet(elsewhere / "out.parquet")


def predict_here(directory: Path, live: pd.DataFrame) -> pd.DataFrame:
    """Predict with the champion as MLflow loads it, in this process."""
    client = client_of(directory)
    version = client.get_model_version_by_alias("signal-miner", "champion")
    model = mlflow.pyfunc.load_model(client.get_model_version_download_uri("signal-miner", version.version))
    predictions: pd.DataFrame = model.predict(live)
    return predictions


def assert_live_predictions(predictions: pd.DataFrame, live: pd.DataFrame) -> None:
    assert list(predictions.columns) == ["prediction"]
    assert predictions.index.equals(live.index)
    assert predictions.index.name == "id"
    assert predictions["prediction"].between(0, 1, inclusive="neither").all()
    assert predictions["prediction"].nunique() > len(live) / 4


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """A study of the demo's own experiment, short of trials."""
    directory = tmp_path_factory.mktemp("demo")
    ensure_demo(directory / "data" / "demo")
    shutil.copy(ROOT / "experiments" / "demo.toml", directory / "tiny.toml")
    done = mine_here(directory, "--trials", "10")
    assert done.returncode == 0, done.stderr
    return directory


@pytest.fixture(scope="module")
def tiny(tiny_study, tmp_path_factory):
    """A finished study of ten trials, to which these tests add nothing but ensembles."""
    return copy_study(tiny_study, tmp_path_factory.mktemp("tiny") / "study")


@pytest.fixture
def study(tiny_study, tmp_path):
    """The finished study, to be changed."""
    return copy_study(tiny_study, tmp_path / "study")


@pytest.fixture(scope="module")
def registered(tiny_study, tmp_path_factory):
    """The study with an ensemble of its four best trials, registered; tests that change it take a copy."""
    directory = copy_study(tiny_study, tmp_path_factory.mktemp("registered") / "study")
    assert command(directory, "ensemble", "--select", "top", "--members", "4") == 0
    assert command(directory, "register", "--promote", "always") == 0
    return directory


def test_demo_from_mining_to_live(demo):
    assert command(demo, "ensemble", "--select", "top", "--members", "5") == 0
    assert command(demo, "ensemble", "--select", "greedy", "--members", "5") == 0
    top, greedy = runs_of(demo, "ensemble")
    members = members_of(demo, greedy)
    trials = {run.info.run_id: run.data.metrics for run in runs_of(demo)}
    best = max(trials[member["run_id"]]["best/validation_sharpe"] for member in members)
    assert len(members) > 1
    assert greedy.data.metrics["validation/sharpe"] >= best
    assert greedy.data.metrics["validation/benchmark_corr"] < top.data.metrics["validation/benchmark_corr"]
    assert {"test/sharpe", "test/corr", "test/bmc"} <= greedy.data.metrics.keys()

    assert command(demo, "register", "--ensemble", greedy.info.run_id, "--promote", "always") == 0
    live = pd.read_parquet(demo / "data" / "demo" / "live.parquet")
    predictions = predict_elsewhere(demo, live)
    assert_live_predictions(predictions, live)
    ours = load_predict(predict_file(demo))(live, None)
    pd.testing.assert_frame_equal(predictions, ours, rtol=0, atol=1e-12)


def test_real_data_from_mining_to_live(legacy_directory, tmp_path):
    path = write_experiment(tmp_path, legacy_directory, embargo=1, trials=4)
    path.write_text(path.read_text().replace('"target", "target_cyrusd_60"', '"target"'))
    assert mine_here(tmp_path, "--horizon-days", "20").returncode == 0
    assert command(tmp_path, "ensemble", "--select", "top", "--members", "3", "--weights", "rank") == 0
    assert command(tmp_path, "register", "--promote", "always") == 0
    live = pd.read_parquet(legacy_directory / "live.parquet")
    assert_live_predictions(predict_here(tmp_path, live), live)


@pytest.mark.parametrize(
    ("options", "neutralizer"),
    [
        ((), None),
        (("--weights", "rank", "--neutralize", "benchmark", "--proportion", "0.5"), "benchmark"),
        (("--neutralize", "features"), "features"),
        (("--neutralize", "tiny_lgbm_ender20", "--proportion", "0.8"), "tiny_lgbm_ender20"),
    ],
)
def test_the_tracked_blend_is_numerais(tiny, options, neutralizer):
    """Blended, neutralised and scored once more by `numerai_tools` alone, from the members' artifacts."""
    assert command(tiny, "ensemble", "--select", "top", "--members", "3", *options) == 0
    run = newest_ensemble(tiny)
    tracked = artifact(tiny, run, "predictions.parquet")
    members = members_of(tiny, run)
    by_id = {trial.info.run_id: trial for trial in runs_of(tiny)}
    columns = pd.DataFrame(
        {m["run_id"]: artifact(tiny, by_id[m["run_id"]], "predictions.parquet")["best_prediction"] for m in members}
    )
    weights = np.array([member["weight"] for member in members])
    benchmark = artifact(tiny, runs_of(tiny, "benchmark")[0], "predictions.parquet")["prediction"]
    dataset = open_dataset(tiny / "numerai", "all", "target")
    ids = dataset.read_ids().to_pylist()
    features = dataset.read_features(dataset.features, slice(0, len(dataset))).to_pandas().set_index(pd.Index(ids))
    numerai = pd.Series(
        dataset.read_benchmarks(["tiny_lgbm_ender20"], slice(0, len(dataset)))["tiny_lgbm_ender20"], ids
    )
    target = pd.Series(dataset.read_target("target"), ids, name="target").astype(float)
    proportion = float(run.data.params.get("proportion", 0))
    corr = {}
    for era, part in columns.groupby(tracked["era"]):
        ranked = oracle.gaussian(oracle.tie_kept_rank(part))
        blend = (ranked @ weights).to_frame("blend")
        if neutralizer == "features":
            blend = oracle.neutralize(blend, features.loc[part.index].astype(float), proportion)
        elif neutralizer:
            other = (benchmark if neutralizer == "benchmark" else numerai).loc[part.index].to_frame()
            blend = oracle.neutralize(blend, oracle.gaussian(oracle.tie_kept_rank(other)).fillna(0), proportion)
        expected = oracle.tie_kept_rank(blend.round(10))["blend"]
        given = tracked.loc[part.index, "prediction"]
        assert given.to_numpy() == pytest.approx(expected.to_numpy(), abs=1e-9)
        corr[era] = oracle.numerai_corr(given.to_frame(), target.loc[part.index])["prediction"]
    fold = tracked.groupby("era")["fold"].first()
    scores = pd.Series(corr)
    assert run.data.metrics["validation/sharpe"] == pytest.approx(oracle.sharpe_ratio(scores[fold == 1]), abs=1e-9)
    assert run.data.metrics["test/corr"] == pytest.approx(scores[fold == 2].mean(), abs=1e-9)


@pytest.mark.parametrize("neutralize", ["", "benchmark", "tiny_lgbm_ender20", "features"])
def test_three_ways_give_the_same_ranks(study, neutralize):
    """The registered model, predict.pkl and plain LightGBM with `numerai_tools`, on every era at once."""
    options = ("--neutralize", neutralize) if neutralize else ()
    assert command(study, "ensemble", "--select", "top", "--members", "3", *options) == 0
    assert command(study, "register", "--promote", "always") == 0
    run = newest_ensemble(study)
    dataset = open_dataset(study / "numerai", "all", "target")
    ids = pd.Index(dataset.read_ids().to_pylist(), name="id")
    rows = dataset.read_features(dataset.features, slice(0, len(dataset))).to_pandas().set_index(ids)
    column = "tiny_lgbm_ender20"
    rows["era"] = [dataset.era_labels[int(era)] for era in dataset.eras]
    rows[column] = dataset.read_benchmarks([column], slice(0, len(dataset)))[column]
    registered = predict_here(study, rows)
    packed = load_predict(predict_file(study))(rows, rows[[column]])
    assert (registered["prediction"] - packed["prediction"]).abs().max() < 1e-12

    folder = artifact_path(study, run, "refit")
    members = members_of(study, run)
    matrix = rows[list(dataset.features)].to_numpy(np.float32)

    def plain(name: str) -> np.ndarray:
        (file,) = folder.glob(f"{name}-*")
        return lgb.Booster(model_file=str(file)).predict(matrix).astype(np.float32)

    columns = pd.DataFrame({m["number"]: plain(f"trial-{m['number']:04d}") for m in members}, ids)
    for _, part in columns.groupby(rows["era"].to_numpy()):
        blend = (oracle.gaussian(oracle.tie_kept_rank(part)).mean(axis=1)).to_frame("blend")
        if neutralize == "features":
            blend = oracle.neutralize(blend, rows.loc[part.index, list(dataset.features)].astype(float))
        elif neutralize:
            other = pd.Series(plain("benchmark"), ids) if neutralize == "benchmark" else rows[column]
            ranked = oracle.gaussian(oracle.tie_kept_rank(other.loc[part.index].to_frame())).fillna(0)
            blend = oracle.neutralize(blend, ranked)
        expected = oracle.tie_kept_rank(blend.round(10))["blend"].to_numpy()
        assert packed.loc[part.index, "prediction"].to_numpy() == pytest.approx(expected, abs=1e-9)


def test_a_refit_is_plain_lightgbm_on_all_resolved_eras(registered):
    run = newest_ensemble(registered)
    dataset = open_dataset(registered / "numerai", "all", "target")
    features = dataset.read_features(dataset.features, slice(0, len(dataset))).to_pandas()
    for member in members_of(registered, run):
        params = member["params"]
        target = dataset.read_target(params["target"])
        known = np.isfinite(target)
        plain = lgb.LGBMRegressor(
            n_estimators=member["trees"],
            learning_rate=float(params["learning_rate"]),
            max_bin=int(params["max_bin"]),
            max_depth=int(params["max_depth"]),
            num_leaves=int(params["num_leaves"]),
            colsample_bytree=float(params["colsample_bytree"]),
            random_state=11,
            force_col_wise=True,
            deterministic=True,
            n_jobs=1,
            verbosity=-1,
        ).fit(features[known], target[known])
        (file,) = artifact_path(registered, run, "refit").glob(f"trial-{member['number']:04d}-*")
        refitted = lgb.Booster(model_file=str(file)).predict(features.to_numpy(np.float32))
        assert refitted == pytest.approx(plain.predict(features), abs=1e-12)


def retrain_with_seed(directory: Path, run, seed: int) -> None:
    """Put predictions of the same configuration under another seed in place of a trial's."""
    path = artifact_path(directory, run, "predictions.parquet")
    frame = pd.read_parquet(path)
    dataset = open_dataset(directory / "numerai", "all", "target")
    params = run.data.params
    target = dataset.read_target(params["target"])
    for fold, purge in ((1, 16), (2, 16)):
        labels = frame.loc[frame["fold"] == fold, "era"].unique()
        train = (dataset.eras < int(labels[0]) - purge) & np.isfinite(target)
        features = dataset.read_features(dataset.features, slice(0, len(dataset))).to_pandas()
        model = lgb.LGBMRegressor(
            n_estimators=int(run.data.metrics["best/trees"]),
            learning_rate=float(params["learning_rate"]),
            colsample_bytree=0.3,
            random_state=seed,
            verbosity=-1,
            n_jobs=1,
        ).fit(features[train], target[train])
        rows = np.isin(dataset.eras, [int(label) for label in labels])
        frame.loc[frame["fold"] == fold, "best_prediction"] = model.predict(features[rows]).astype(np.float32)
    frame.to_parquet(path)


def test_a_member_of_another_seed_is_named_and_nothing_is_registered(study, capsys):
    assert command(study, "ensemble", "--select", "top", "--members", "3") == 0
    members = members_of(study, newest_ensemble(study))
    tampered = next(run for run in runs_of(study) if run.info.run_id == members[1]["run_id"])
    retrain_with_seed(study, tampered, seed=12)
    capsys.readouterr()
    assert command(study, "register") == 2
    error = capsys.readouterr().err
    assert error.startswith(f"signal-miner: not reproduced on the last fold: {tampered.info.run_name} (by ")
    assert error.count("trial") == 1
    assert error.count("\n") == 1
    assert not client_of(study).search_registered_models()
    assert not list(study.rglob("predict.pkl"))


def test_a_seed_changed_in_the_run_is_caught(study, capsys):
    drawn = [run for run in runs_of(study) if float(run.data.params["colsample_bytree"]) < 1]
    drawn.sort(key=lambda run: run.data.metrics["best/trees"])
    assert command(study, "ensemble", "--select", "runs", "--runs", drawn[-1].info.run_id) == 0
    path = artifact_path(study, newest_ensemble(study), "ensemble.json")
    ensemble = json.loads(path.read_text())
    ensemble["members"][0]["params"]["seed"] = "99"
    path.write_text(json.dumps(ensemble))
    assert command(study, "register") == 2
    assert "has no readable ensemble.json (it was changed: its SHA-256" in capsys.readouterr().err
    client_of(study).delete_tag(newest_ensemble(study).info.run_id, ENSEMBLE_SHA256)  # made before there were any
    assert command(study, "register") == 2
    assert f"not reproduced on the last fold: {drawn[-1].info.run_name}" in capsys.readouterr().err


@pytest.mark.parametrize("damage", ["cut", "rows", "fold", "missing"])
def test_damaged_predictions_are_one_line(study, capsys, damage):
    assert command(study, "ensemble", "--select", "top", "--members", "2") == 0
    run = next(r for r in runs_of(study) if r.info.run_id == members_of(study, newest_ensemble(study))[0]["run_id"])
    path = artifact_path(study, run, "predictions.parquet")
    frame = pd.read_parquet(path)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    elif damage == "missing":
        path.unlink()
    else:
        (frame.iloc[:-5] if damage == "rows" else frame[frame["fold"] == 1]).to_parquet(path)
    capsys.readouterr()
    for arguments in (("register",), ("ensemble", "--select", "top", "--members", "2")):
        assert command(study, *arguments) == 2
        error = capsys.readouterr().err
        assert f"{run.info.run_name} (run {run.info.run_id}) has no readable predictions.parquet" in error
        assert error.count("\n") == 1


@pytest.mark.parametrize("neutralize", ["", "benchmark", "features"])
def test_the_greedy_score_is_the_tracked_score(study, neutralize, monkeypatch):
    """The score that the selection reached is the tracked one, also neutralised and with weights by rank."""
    reached = []
    grow = maker.grow

    def spy(rule, columns, score, correlations):
        places, weights = grow(rule, columns, score, correlations)
        reached.append(score([fold[:, list(places)] @ np.array(weights, np.float32)[:, None] for fold in columns])[0])
        return places, weights

    monkeypatch.setattr(maker, "grow", spy)
    options = ("--neutralize", neutralize) if neutralize else ()
    assert command(study, "ensemble", "--weights", "rank", "--max-correlation", "0.8", *options) == 0
    metrics = newest_ensemble(study).data.metrics
    assert metrics["validation/sharpe"] == pytest.approx(reached[0], abs=1e-4)
    assert metrics.get("members/highest_correlation", 0) <= 0.8 + 1e-6


def test_a_blend_changed_in_the_run_is_caught(study, capsys):
    assert command(study, "ensemble", "--select", "top", "--members", "3") == 0
    path = artifact_path(study, newest_ensemble(study), "predictions.parquet")
    frame = pd.read_parquet(path)
    frame["prediction"] = 1 - frame["prediction"]
    frame.to_parquet(path)
    assert command(study, "register") == 2
    assert "other ranks than the tracked ensemble" in capsys.readouterr().err


def champion(directory: Path) -> str:
    return str(client_of(directory).get_model_version_by_alias("signal-miner", "champion").version)


def test_a_champion_falls_only_to_a_better_one(registered, tmp_path, capsys):
    study = copy_study(registered, tmp_path / "study")
    worst = min(runs_of(study), key=lambda run: run.data.metrics["best/validation_sharpe"])
    assert command(study, "ensemble", "--select", "runs", "--runs", worst.info.run_id) == 0
    own, other = (run.data.metrics for run in (newest_ensemble(study), runs_of(study, "benchmark")[0]))
    below = any(own[f"test/{score}"] < other[f"test/{score}"] for score in ("sharpe", "corr"))
    assert ("Below the benchmark in test: " in capsys.readouterr().out) == below
    assert command(study, "register") == 0
    output = capsys.readouterr().out
    for part in ("validation", "test"):
        assert f"{part.capitalize()}: CORR {own[f'{part}/corr']:.4f}".replace("-", "−") in output
    assert "It is not champion (" in output
    assert champion(study) == "1"
    assert command(study, "register", "--trees", "scaled", "--ensemble", "ensemble 1") == 0
    assert "It is not champion (" in capsys.readouterr().out
    assert champion(study) == "1"
    assert command(study, "register", "--promote", "always", "--trees", "scaled") == 0
    assert champion(study) == "4"
    capsys.readouterr()
    assert command(study, "register") == 0
    assert "It is now the champion (it is the same ensemble, refitted)" in capsys.readouterr().out
    assert champion(study) == "5"


def test_a_model_of_other_data_does_not_become_champion(registered, tmp_path, capsys):
    study = copy_study(registered, tmp_path / "study")
    other = tmp_path / "other"
    other.mkdir()
    write_experiment(other, write_numerai_directory(other / "numerai", seed=3), trials=2)
    store = ("--tracking-uri", f"sqlite:///{study / 'mlflow.db'}")
    assert mine_here(other, *store).returncode == 0
    assert command(other, "ensemble", "--select", "top", "--min-trees", "1", *store) == 0
    capsys.readouterr()
    assert command(other, "register", *store) == 0
    assert "It is not champion (" in capsys.readouterr().out
    assert champion(study) == "1"


def test_a_stopped_registration_resumes(registered, tmp_path, capsys):
    study = copy_study(registered, tmp_path / "study")
    folder = artifact_path(study, newest_ensemble(study), "refit")
    models = sorted(folder.iterdir())
    contents = {path.name: path.read_bytes() for path in models}
    models[0].write_bytes(contents[models[2].name])  # of another member
    models[1].write_bytes(contents[models[1].name][: len(contents[models[1].name]) // 2])  # cut off
    capsys.readouterr()
    assert command(study, "register", "--model", "second") == 0
    assert "2 of 4 members were refitted before" in capsys.readouterr().out
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == contents
    first, second = (sorted(study.rglob("predict.pkl"), key=lambda p: p.stat().st_mtime)[place] for place in (0, -1))
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("ensemble", "--study", "tinny"), "study 'tinny' is not tracked; did you mean 'tiny'"),
        (("ensemble", "--select", "best"), "select = 'best' is not one of greedy, top, beating, runs"),
        (("ensemble", "--members", "three"), "members = 'three' is not an integer"),
        (("ensemble", "--max-correlation", "high"), "max_correlation = 'high' is not a number"),
        (
            ("ensemble", "--neutralize", "features", "--proportion", "2"),
            "proportion = 2.0 is not a number of at least 0",
        ),
        (("ensemble", "--neutralize", "feature"), "neutralize = 'feature' is not one of the study's neutralizers; did"),
        (("ensemble", "--data", "nowhere"), "data 'nowhere' does not exist"),
        (("register", "--ensemble", "nothing"), "no ensemble yet"),
        (("register", "--trees", "more"), "trees = 'more' is not one of kept, scaled; use"),
        (("register", "--jobs", "0"), "jobs = 0 is not 1 or more"),
        (("register", "--model", "a/b"), "'a/b' cannot name a registered model"),
        (("ensemble", "--proportion", "0.5"), "none is set; add neutralize"),
        (("ensemble", "--select", "top", "--pool", "3"), "pool belongs to select=greedy"),
        (("register", "--promote", "yes"), "promote = 'yes' is not one of if_better, always, never"),
    ],
)
def test_mistakes_are_one_line(tmp_path_factory, tiny, arguments, message, capsys):
    empty = arguments[:2] == ("register", "--ensemble")
    directory = tmp_path_factory.mktemp("empty") if empty else tiny
    assert command(directory, *arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_other_data_are_refused(study, capsys, tmp_path):
    other = write_numerai_directory(tmp_path / "other", seed=5)
    assert command(study, "ensemble", "--data", str(other)) == 2
    assert "are not those that study tiny-" in capsys.readouterr().err
    assert not os.environ.get("MLFLOW_RUN_ID")


def test_a_refit_with_room_for_one_dataset_is_the_same(registered, tmp_path, monkeypatch):
    study = copy_study(registered, tmp_path / "study")
    folder = artifact_path(study, newest_ensemble(study), "refit")
    roomy = {path.name: path.read_bytes() for path in folder.iterdir()}
    shutil.rmtree(folder)
    planned = retraining.plan_memory
    monkeypatch.setattr(
        retraining, "plan_memory", lambda *given: replace(planned(*given), together=False, kept_bytes=1)
    )
    assert command(study, "register", "--model", "narrow") == 0
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == roomy
