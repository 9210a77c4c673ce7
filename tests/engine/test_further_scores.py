"""FNC, feature exposure, MMC and CWMM: equal to `numerai_tools`, of the eras that can be scored."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numerai_tools import scoring as oracle

from signal_miner.engine import further_scores as module
from signal_miner.engine.further_scores import CWMM, MMC, further_scores, meta_model_scores, meta_model_text
from signal_miner.errors import Stopped, UserError
from signal_miner.experiment.plan import make_plan, open_data
from signal_miner.experiment.schema import parse_experiment
from tests.helpers.mining import artifact, mine_here, runs_of, write_experiment
from tests.helpers.study import command

FIRST, LAST = 45, 62  # eras of the meta model; the data are resolved up to 60


@pytest.fixture
def plan(numerai_directory):
    table = {
        "name": "further",
        "data": str(numerai_directory),
        "folds": {"embargo_eras": 8},
        "grid": {"n_estimators": [5]},
        "benchmark": {"n_estimators": 5},
    }
    experiment = parse_experiment(table)
    return make_plan(experiment, open_data(experiment))


def write_meta_model(directory, seed=0):
    """Write a meta model for the newest eras, without a few of their rows; return it."""
    rows = pd.read_parquet(directory / "validation.parquet")
    rows = rows[rows["era"].astype(int).between(FIRST, LAST)].iloc[3:]
    meta = rows[["era"]].assign(numerai_meta_model=np.random.default_rng(seed).random(len(rows)))
    meta.to_parquet(directory / "meta_model.parquet")
    return meta


def random_predictions(plan, n_models=2, seed=0):
    generator = np.random.default_rng(seed)
    sizes = {fold.number: plan.dataset.span_of(fold.validation_eras) for fold in plan.scored_folds}
    return {number: generator.random((span.stop - span.start, n_models)).round(2) for number, span in sizes.items()}


def rows_of(plan, directory):
    """Return the rows that the folds predict, as pandas reads them."""
    frame = pd.concat([pd.read_parquet(directory / f"{name}.parquet") for name in ("train", "validation")])
    eras = frame["era"].astype(int)
    return {fold.number: frame[eras.isin(fold.validation_eras)] for fold in plan.scored_folds}


def by_numerai_tools(own, rows, features, meta=None):
    """Return the scores of one section's predictions, era by era with `numerai_tools`, of all models."""
    scores = {"fnc": [], "feature_exposure": [], "mmc": [], "cwmm": []}
    for _, part in rows.groupby("era"):
        models, target = own.loc[part.index], part["target"].astype(float)
        values = part[list(features)].astype(float)
        scores["fnc"].append(oracle.feature_neutral_corr(models, values, target))
        ranked = oracle.gaussian(oracle.tie_kept_rank(models))
        scores["feature_exposure"].append([oracle.max_feature_correlation(ranked[name], values)[1] for name in models])
        known = part.index if meta is None else part.index.intersection(meta.index)
        if meta is None or not len(known):
            continue
        scores["mmc"].append(oracle.correlation_contribution(models.loc[known], meta[known], target[known]))
        ranks = oracle.gaussian(oracle.tie_kept_rank(models.loc[known].assign(meta=meta[known])))
        scores["cwmm"].append([oracle.pearson_correlation(ranks["meta"], ranks[name]) for name in models])
    return {name: np.mean(eras, axis=0) for name, eras in scores.items() if eras}


@pytest.mark.parametrize("group_bytes", [1, 2**12, 2**28])
def test_fnc_and_exposure_are_numerais(plan, numerai_directory, group_bytes):
    predictions = random_predictions(plan)
    found = further_scores(plan, predictions, group_bytes)
    for number, section in ((1, "validation"), (2, "test")):
        rows = rows_of(plan, numerai_directory)[number]
        own = pd.DataFrame(predictions[number], rows.index, ["a", "b"])
        for name, expected in by_numerai_tools(own, rows, plan.dataset.features).items():
            for model in range(2):
                assert found[model][f"{section}/{name}"] == pytest.approx(expected[model], abs=1e-9)
    assert not {MMC, CWMM} & found[0].keys()


def test_mmc_and_cwmm_are_numerais_in_the_eras_that_the_meta_model_covers(plan, numerai_directory):
    meta = write_meta_model(numerai_directory)["numerai_meta_model"].astype(np.float32).astype(float)
    predictions = random_predictions(plan)
    found = meta_model_scores(plan, predictions)
    rows = rows_of(plan, numerai_directory)[2]
    own = pd.DataFrame(predictions[2], rows.index, ["a", "b"])
    expected = by_numerai_tools(own, rows, plan.dataset.features, meta)
    n_eras = 60 - FIRST + 1
    for model in range(2):
        assert found[model][MMC] == pytest.approx(expected["mmc"][model], abs=1e-9)
        assert found[model][CWMM] == pytest.approx(expected["cwmm"][model], abs=1e-9)
        assert found[model]["meta_model/eras"] == n_eras
        assert found[model]["meta_model/independent_blocks"] == n_eras / 4  # 20 days overlap the next three eras


@pytest.mark.parametrize("kept", ["one era", "one row", "nothing", "constant"])
def test_a_meta_model_that_covers_hardly_anything(plan, numerai_directory, kept):
    path = numerai_directory / "meta_model.parquet"
    meta = write_meta_model(numerai_directory)
    part = {
        "one era": meta[meta["era"] == "0050"],
        "one row": meta[meta["era"] == "0050"].iloc[:1],
        "nothing": meta.iloc[:0],
        "constant": meta.assign(numerai_meta_model=0.5),
    }[kept]
    part.to_parquet(path)
    scores = meta_model_scores(plan, random_predictions(plan))
    assert len(scores) == 2
    if kept != "one era":
        assert scores == [{}, {}]
        return
    assert scores[0]["meta_model/eras"] == 1
    assert scores[0]["meta_model/independent_blocks"] == 1 / 4
    assert "in the one era that the meta model covers, worth about 0.2 independent ones" in meta_model_text(scores[0])


def test_eras_without_all_predictions_are_left_out_for_the_model_that_lacks_them(plan, monkeypatch):
    predictions = random_predictions(plan)
    whole = further_scores(plan, predictions)
    predictions[1][:40, 0] = np.nan  # an era
    part = further_scores(plan, predictions)
    assert part[0]["test/fnc"] == whole[0]["test/fnc"]
    assert part[0]["validation/fnc"] != whole[0]["validation/fnc"]
    assert part[1] == pytest.approx(whole[1])
    assert further_scores(plan, {number: each[:, :1] for number, each in predictions.items()})[0] == pytest.approx(
        part[0]
    )
    monkeypatch.setattr(module, "FEW_FEATURES", 3)
    monkeypatch.setattr(module, "MOST_ERAS", 20)
    assert further_scores(plan, predictions)[0] == pytest.approx(part[0])


def test_it_stops_between_eras(plan):
    calls = iter([False, False, True])
    with pytest.raises(Stopped):
        further_scores(plan, random_predictions(plan), should_stop=lambda: next(calls))


def test_a_meta_model_of_other_data_is_one_line(plan, numerai_directory):
    path = numerai_directory / "meta_model.parquet"
    meta = write_meta_model(numerai_directory)
    meta.rename(index=lambda name: f"x{name}").to_parquet(path)
    with pytest.raises(UserError, match=r"meta_model.parquet has era 0045 with other ids than numerai; download"):
        plan.dataset.read_meta_model()
    meta.rename(columns={"numerai_meta_model": "numerai_meta"}).to_parquet(path)
    with pytest.raises(UserError, match=r"has no numbers in a column .numerai_meta_model.; did you"):
        plan.dataset.read_meta_model()


def assert_scores_are_numerais(workspace, data):
    """Compare what is tracked of the benchmark, the trials and the ensemble with `numerai_tools`."""
    frame = pd.concat([pd.read_parquet(data / f"{name}.parquet") for name in ("train", "validation")])
    features = [name for name in frame if name.startswith("feature")]
    meta = pd.read_parquet(data / "meta_model.parquet")["numerai_meta_model"].astype(np.float32).astype(float)
    runs = [run for kind in ("benchmark", "trial", "ensemble") for run in runs_of(workspace, kind)]
    assert len(runs) == 5
    predictions = [artifact(workspace, run, "predictions.parquet") for run in runs]
    own = pd.DataFrame({place: each["prediction"] for place, each in enumerate(predictions)})
    for number, section in ((1, "validation"), (2, "test")):
        rows = frame.loc[predictions[0].index[predictions[0]["fold"] == number]]
        for name, expected in by_numerai_tools(own, rows, features, meta).items():
            metric = f"meta_model/{name}" if name in ("mmc", "cwmm") else f"{section}/{name}"
            for place, run in enumerate(runs):
                assert run.data.metrics[metric] == pytest.approx(expected[place], abs=1e-9), (run.info.run_name, name)


def test_leaders_benchmark_and_ensembles_have_them_and_nothing_is_chosen_by_them(numerai_directory, tmp_path):
    write_meta_model(numerai_directory)
    write_experiment(tmp_path, numerai_directory, trials=3)
    done = mine_here(tmp_path)
    assert done.returncode == 0, done.stderr
    (benchmark,) = runs_of(tmp_path, "benchmark")
    for run in (benchmark, *runs_of(tmp_path)):
        names = {"validation/fnc", "test/fnc", "validation/feature_exposure", MMC, CWMM, "meta_model/eras"}
        assert names <= run.data.metrics.keys()
    assert "Not used for selection: trial 000" in done.stdout
    assert "eras that the meta model" in " ".join(done.stdout.split())
    assert command(tmp_path, "ensemble") == 0
    assert_scores_are_numerais(tmp_path, numerai_directory)
    write_meta_model(numerai_directory, 1).rename(index=lambda name: f"x{name}").to_parquet(
        numerai_directory / "meta_model.parquet"
    )
    more = mine_here(tmp_path, "--trials", "4")
    assert more.returncode == 0, more.stderr
    assert "FNC, feature exposure, MMC and CWMM are left out: " in more.stdout
