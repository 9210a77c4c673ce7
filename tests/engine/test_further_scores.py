"""FNC, feature exposure, MMC and CWMM: equal to `numerai_tools`, of the eras that can be scored."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numerai_tools import scoring as oracle

from signal_miner.engine import further_scores as module
from signal_miner.engine.further_scores import CWMM, MMC, further_scores, meta_model_scores
from signal_miner.errors import Stopped, UserError
from signal_miner.experiment.plan import make_plan, open_data
from signal_miner.experiment.schema import parse_experiment
from tests.helpers.mining import mine_here, runs_of, write_experiment
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


@pytest.mark.parametrize("group_bytes", [1, 2**12, 2**28])
def test_fnc_and_exposure_are_numerais(plan, numerai_directory, group_bytes):
    predictions = random_predictions(plan)
    found = further_scores(plan, predictions, group_bytes)
    for number, section in ((1, "validation"), (2, "test")):
        rows = rows_of(plan, numerai_directory)[number]
        own = pd.DataFrame(predictions[number], rows.index, ["a", "b"])
        fnc, exposure = [], []
        for _, part in rows.groupby("era"):
            features, models = part[list(plan.dataset.features)].astype(float), own.loc[part.index]
            fnc.append(oracle.feature_neutral_corr(models, features, part["target"].astype(float)))
            ranked = oracle.gaussian(oracle.tie_kept_rank(models))
            exposure.append([oracle.max_feature_correlation(ranked[name], features)[1] for name in models])
        for model in range(2):
            assert found[model][f"{section}/fnc"] == pytest.approx(np.mean(fnc, axis=0)[model], abs=1e-9)
            expected = np.mean(exposure, axis=0)[model]
            assert found[model][f"{section}/feature_exposure"] == pytest.approx(expected, abs=1e-9)
    assert not {MMC, CWMM} & found[0].keys()


def test_mmc_and_cwmm_are_numerais_in_the_eras_that_the_meta_model_covers(plan, numerai_directory):
    meta = write_meta_model(numerai_directory)["numerai_meta_model"].astype(np.float32).astype(float)
    predictions = random_predictions(plan)
    found = meta_model_scores(plan, predictions)
    rows = rows_of(plan, numerai_directory)[2]
    rows = rows[rows["era"].astype(int) >= FIRST]
    own = pd.DataFrame(predictions[2], rows_of(plan, numerai_directory)[2].index, ["a", "b"]).loc[rows.index]
    mmc, cwmm = [], []
    for _, part in rows.groupby("era"):
        known = part.index.intersection(meta.index)
        target = part.loc[known, "target"].astype(float)
        mmc.append(oracle.correlation_contribution(own.loc[known], meta[known], target))
        ranks = oracle.gaussian(oracle.tie_kept_rank(own.loc[known].assign(meta=meta[known])))
        cwmm.append([oracle.pearson_correlation(ranks["meta"], ranks[name]) for name in own])
    assert len(mmc) == 60 - FIRST + 1
    for model in range(2):
        assert found[model][MMC] == pytest.approx(np.mean(mmc, axis=0)[model], abs=1e-9)
        assert found[model][CWMM] == pytest.approx(np.mean(cwmm, axis=0)[model], abs=1e-9)
        assert found[model]["meta_model/eras"] == len(mmc)
        assert found[model]["meta_model/independent_blocks"] == len(mmc) / 4  # 20 days overlap the next three eras


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


def test_leaders_benchmark_and_ensembles_have_them_and_nothing_is_chosen_by_them(numerai_directory, tmp_path):
    write_meta_model(numerai_directory)
    write_experiment(tmp_path, numerai_directory, trials=3)
    done = mine_here(tmp_path)
    assert done.returncode == 0, done.stderr
    (benchmark,) = runs_of(tmp_path, "benchmark")
    for run in (benchmark, *runs_of(tmp_path)):
        names = {"validation/fnc", "test/fnc", "validation/feature_exposure", MMC, CWMM, "meta_model/eras"}
        assert names <= run.data.metrics.keys()
    assert "Shown, never chosen by: trial 000" in done.stdout
    assert "eras that the meta model" in " ".join(done.stdout.split())
    assert command(tmp_path, "ensemble") == 0
    assert {"validation/fnc", MMC} <= runs_of(tmp_path, "ensemble")[0].data.metrics.keys()
    write_meta_model(numerai_directory, 1).rename(index=lambda name: f"x{name}").to_parquet(
        numerai_directory / "meta_model.parquet"
    )
    more = mine_here(tmp_path, "--trials", "4")
    assert more.returncode == 0, more.stderr
    assert "FNC, feature exposure, MMC and CWMM are left out: " in more.stdout
