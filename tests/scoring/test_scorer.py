from __future__ import annotations

import tracemalloc
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numerai_tools.scoring import (
    correlation_contribution,
    gaussian,
    numerai_corr,
    pearson_correlation,
    tie_kept_rank,
)
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

from signal_miner.errors import UserError
from signal_miner.scoring.ranking import gaussian_ranks, gaussian_table, sort_columns
from signal_miner.scoring.scorer import EraScores, Scorer

LEGACY = Path(__file__).parents[3] / "shared" / "data" / "numerai_legacy"
TOLERANCE = 1e-12


def oracle(
    eras: NDArray[Any], target: NDArray[Any], predictions: NDArray[Any], benchmarks: Mapping[str, NDArray[Any]]
) -> EraScores:
    """Score with numerai_tools, era by era."""
    frame = pd.DataFrame(predictions).add_prefix("model_")
    models = list(frame.columns)
    labels = np.unique(eras)
    corr = np.full((labels.size, len(models)), np.nan)
    bmc = {name: corr.copy() for name in benchmarks}
    benchmark_corr = {name: corr.copy() for name in benchmarks}
    for number, era in enumerate(labels):
        rows = eras == era
        of_era, truth = frame[rows], pd.Series(target[rows], index=frame.index[rows], name="target")
        if truth.count() == 0:
            continue
        with np.errstate(all="ignore"):
            corr[number] = numerai_corr(of_era, truth, max_filtered_index_ratio=1.0)
            for name, values in benchmarks.items():
                meta = pd.Series(values[rows], index=of_era.index, name=name)
                ids = truth.index[truth.notna() & meta.notna()]
                if ids.empty:
                    continue
                bmc[name][number] = correlation_contribution(of_era.loc[ids], meta.loc[ids], truth.loc[ids])
                ranked = gaussian(tie_kept_rank(of_era.loc[ids]))
                ranked_meta = gaussian(tie_kept_rank(meta.loc[ids].to_frame()))[name]
                benchmark_corr[name][number] = [pearson_correlation(ranked_meta, ranked[m]) for m in models]
    return EraScores(labels, corr, bmc, benchmark_corr)


def assert_same_scores(actual: EraScores, expected: EraScores) -> None:
    assert_array_equal(actual.eras, expected.eras)
    assert_allclose(actual.corr, expected.corr, rtol=0, atol=TOLERANCE)
    assert actual.bmc.keys() == actual.benchmark_corr.keys() == expected.bmc.keys()
    for name in expected.bmc:
        assert_allclose(actual.bmc[name], expected.bmc[name], rtol=0, atol=TOLERANCE)
        assert_allclose(actual.benchmark_corr[name], expected.benchmark_corr[name], rtol=0, atol=TOLERANCE)


TARGETS = {
    "five": lambda rng, size: rng.choice([0, 0.25, 0.5, 0.75, 1], p=[0.05, 0.2, 0.5, 0.2, 0.05], size=size),
    "binary": lambda rng, size: rng.integers(0, 2, size).astype(float),
    "outside 0 to 1": lambda rng, size: rng.choice([-2.0, -1.0, 0.0, 1.0, 2.0], size=size),
    "continuous": lambda rng, size: rng.uniform(size=size),
}


@st.composite
def markets(
    draw: st.DrawFn,
) -> tuple[NDArray[np.int64], NDArray[Any], NDArray[Any], dict[str, NDArray[Any]]]:
    """Draw eras, a target, predictions and benchmarks, with ties and holes."""
    sizes = draw(st.lists(st.integers(2, 60), min_size=1, max_size=6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    labels = np.cumsum(rng.integers(1, 5, len(sizes)))
    eras, n_rows = np.repeat(labels, sizes), sum(sizes)

    def column() -> NDArray[Any]:
        spread = draw(st.sampled_from([0.0, 1.0, 10.0, 1e6]))  # 0: constant; the smaller, the more ties
        return np.round(rng.normal(size=n_rows) * spread) / max(spread, 1.0)

    def with_holes(values: NDArray[Any]) -> NDArray[Any]:
        holes = rng.uniform(size=n_rows) < draw(st.sampled_from([0.0, 0.1, 0.9, 1.0]))
        holes &= np.isin(eras, draw(st.lists(st.sampled_from(list(labels)), max_size=len(sizes))))
        # numerai_tools can't score a lone row.
        lone = [rows[0] for rows in (np.flatnonzero((eras == era) & ~holes) for era in labels) if rows.size == 1]
        holes[lone] = True
        return np.where(holes, np.nan, values)

    target = with_holes(TARGETS[draw(st.sampled_from(sorted(TARGETS)))](rng, n_rows))
    predictions: NDArray[Any] = np.column_stack([column() for _ in range(draw(st.integers(1, 4)))])
    benchmarks = {name: np.where(np.isnan(target), np.nan, with_holes(column())) for name in ("ours", "theirs")}
    for values in benchmarks.values():
        for era in labels:
            rows = np.flatnonzero((eras == era) & ~np.isnan(values))
            if rows.size == 1:
                values[rows] = np.nan
    return eras, target, predictions.astype(draw(st.sampled_from([np.float32, np.float64]))), benchmarks


@settings(max_examples=40, deadline=None)
@given(markets())
def test_scores_equal_numerai_tools(
    market: tuple[NDArray[np.int64], NDArray[Any], NDArray[Any], dict[str, NDArray[Any]]],
) -> None:
    eras, target, predictions, benchmarks = market
    scorer = Scorer(eras, target, benchmarks)
    expected = oracle(eras, target, predictions, benchmarks)
    assert_same_scores(scorer.score(predictions), expected)
    assert_allclose(scorer.corr(predictions), expected.corr, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("distinct", [3, 2000, 10**9])
def test_eras_of_real_size_equal_numerai_tools(dtype: type, distinct: int) -> None:
    rng = np.random.default_rng(distinct)
    eras = np.repeat([575, 576, 580], [5601, 4999, 2314])
    target = TARGETS["five"](rng, eras.size)
    rounded = np.round(rng.normal(size=(eras.size, 9)) * distinct) / distinct
    predictions: NDArray[Any] = (0.5 + 0.01 * rounded).astype(dtype)
    benchmark = np.where(rng.uniform(size=eras.size) < 0.1, np.nan, rng.normal(size=eras.size))
    benchmark[eras == 576] = predictions[eras == 576, 0]
    scorer = Scorer(eras, target, {"benchmark": benchmark})
    assert_same_scores(scorer.score(predictions), oracle(eras, target, predictions, {"benchmark": benchmark}))


@pytest.mark.skipif(not LEGACY.exists(), reason="Numerai's legacy sample is not beside the checkout")
def test_real_data_equals_numerai_tools() -> None:
    data = pd.read_parquet(LEGACY / "train.parquet").sort_values("era", kind="stable")
    features = data.filter(like="feature").to_numpy(np.float32)
    predictions = np.column_stack([features[:, :10].mean(axis=1), features[:, 10:].mean(axis=1), features[:, 0]])
    eras, target = data["era"].astype(int).to_numpy(), data["target"].to_numpy(np.float64)
    benchmarks = {"benchmark": features.mean(axis=1)}
    assert_same_scores(
        Scorer(eras, target, benchmarks).score(predictions), oracle(eras, target, predictions, benchmarks)
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(data=st.data())
def test_columns_are_sorted_and_ranked_as_scipy_ranks_them(dtype: type, data: st.DataObject) -> None:
    stats = pytest.importorskip("scipy.stats")
    width: Literal[32, 64] = 32 if dtype is np.float32 else 64
    values = st.floats(allow_nan=False, allow_infinity=False, width=width)
    repeated = st.one_of(values, st.sampled_from([0.0, -0.0, 1.0, -1.0, float(np.finfo(dtype).max)]))
    shape = hnp.array_shapes(min_dims=2, max_dims=2, max_side=12)
    columns = data.draw(hnp.arrays(dtype, shape, elements=repeated))
    order, keys = sort_columns(columns)
    assert_array_equal(order, columns.argsort(axis=0, kind="stable").T)
    n_rows = len(columns)
    ranks = np.broadcast_to(gaussian_ranks(keys, gaussian_table(n_rows)), order.shape)
    expected = stats.norm.ppf((stats.rankdata(columns, axis=0) - 0.5) / n_rows).T
    assert_array_equal(ranks, np.take_along_axis(expected, order, axis=1))


def small_market(
    n_models: int = 5, n_eras: int = 12, n_rows: int = 300
) -> tuple[NDArray[np.int64], NDArray[Any], NDArray[Any], NDArray[Any]]:
    rng = np.random.default_rng(7)
    eras = np.repeat(np.arange(1, n_eras + 1), n_rows)
    target = TARGETS["five"](rng, eras.size)
    predictions = (target[:, np.newaxis] * 0.1 + rng.normal(size=(eras.size, n_models))).astype(np.float32)
    return eras, target, predictions, rng.normal(size=eras.size)


@pytest.mark.parametrize("transform", [np.exp, np.cbrt, lambda x: 3 * x - 8])
def test_a_monotone_transform_changes_no_score(transform: Any) -> None:
    eras, target, predictions, benchmark = small_market()
    scorer = Scorer(eras, target, {"benchmark": benchmark})
    plain, other = scorer.score(predictions), scorer.score(transform(predictions.astype(np.float64)))
    assert_allclose(other.corr, plain.corr, rtol=0, atol=1e-15)
    assert_allclose(other.bmc["benchmark"], plain.bmc["benchmark"], rtol=0, atol=1e-15)


def test_reversed_predictions_score_the_opposite() -> None:
    eras, target, predictions, benchmark = small_market()
    scorer = Scorer(eras, target, {"benchmark": benchmark})
    plain, reversed_ = scorer.score(predictions), scorer.score(-predictions)
    assert_allclose(reversed_.corr, -plain.corr, rtol=0, atol=1e-14)
    assert_allclose(reversed_.bmc["benchmark"], -plain.bmc["benchmark"], rtol=0, atol=1e-14)


def test_the_order_of_the_rows_in_an_era_is_irrelevant() -> None:
    eras, target, predictions, benchmark = small_market()
    target[::7] = np.nan
    shuffled = np.lexsort((np.random.default_rng(0).permutation(eras.size), eras))
    plain = Scorer(eras, target, {"b": benchmark}).score(predictions)
    other = Scorer(eras, target[shuffled], {"b": benchmark[shuffled]}).score(predictions[shuffled])
    assert_allclose(other.corr, plain.corr, rtol=0, atol=1e-14)
    assert_allclose(other.bmc["b"], plain.bmc["b"], rtol=0, atol=1e-14)


def test_a_column_scores_the_same_alone_among_others_and_in_either_memory_order() -> None:
    eras, target, predictions, benchmark = small_market(n_models=150)
    predictions[:, 3] = np.round(predictions[:, 3])
    scorer = Scorer(eras, target, {"b": benchmark})
    together = scorer.score(predictions)
    assert_array_equal(scorer.corr(np.asfortranarray(predictions)), together.corr)
    for model in (0, 3, 149):
        alone = scorer.score(predictions[:, model])
        assert alone.corr.shape == (12, 1)
        assert_allclose(alone.corr[:, 0], together.corr[:, model], rtol=0, atol=1e-15)
        assert_allclose(alone.bmc["b"][:, 0], together.bmc["b"][:, model], rtol=0, atol=1e-15)


def test_float32_predictions_are_ranked_as_they_are() -> None:
    eras, target = np.array([1, 1, 1, 1]), np.array([0.0, 0.25, 1.0, 0.5])
    close = np.array([1.0, 1.0 + 1e-12, 2.0, 3.0])
    scorer = Scorer(eras, target)
    assert scorer.corr(close) != scorer.corr(close.astype(np.float32))
    assert_array_equal(scorer.corr(close.astype(np.float32)), scorer.corr(np.array([1.0, 1.0, 2.0, 3.0])))


def test_integer_predictions_are_scored_as_numbers() -> None:
    eras, target = np.array([1, 1, 1]), np.array([0.0, 0.25, 1.0])
    scorer = Scorer(eras, target)
    assert_array_equal(scorer.corr(np.array([1, 3, 2])), scorer.corr(np.array([1.0, 3.0, 2.0])))


def test_a_constant_prediction_has_no_corr_and_contributes_nothing() -> None:
    eras, target, predictions, benchmark = small_market(n_models=2)
    predictions[:, 1] = 0.5
    scores = Scorer(eras, target, {"b": benchmark}).score(predictions)
    assert np.isfinite(scores.corr[:, 0]).all()
    assert np.isnan(scores.corr[:, 1]).all()
    assert_array_equal(scores.bmc["b"][:, 1], 0.0)
    assert np.isnan(scores.benchmark_corr["b"][:, 1]).all()


def test_a_benchmark_correlates_perfectly_with_itself_and_contributes_nothing() -> None:
    eras, target, predictions, _ = small_market()
    scores = Scorer(eras, target, {"first": predictions[:, 0]}).score(predictions)
    assert_allclose(scores.benchmark_corr["first"][:, 0], 1.0, rtol=0, atol=1e-14)
    assert_allclose(scores.bmc["first"][:, 0], 0.0, rtol=0, atol=1e-15)
    assert np.abs(scores.benchmark_corr["first"][:, 1:]).max() < 0.5


def test_eras_without_a_target_or_a_benchmark_score_nan_and_leave_the_others_alone() -> None:
    eras, target, predictions, benchmark = small_market()
    whole = Scorer(eras, target, {"b": benchmark}).score(predictions)
    target[eras == 3] = np.nan
    benchmark[eras == 5] = np.nan
    scores = Scorer(eras, target, {"b": benchmark}).score(predictions)
    assert_array_equal(np.isnan(scores.corr).all(axis=1), scores.eras == 3)
    assert_array_equal(np.isnan(scores.bmc["b"]).all(axis=1), np.isin(scores.eras, [3, 5]))
    assert_array_equal(np.isnan(scores.benchmark_corr["b"]).all(axis=1), np.isin(scores.eras, [3, 5]))
    others = ~np.isin(scores.eras, [3, 5])
    assert_array_equal(scores.corr[others], whole.corr[others])
    assert_array_equal(scores.bmc["b"][others], whole.bmc["b"][others])


def test_a_lone_row_and_a_constant_target_score_nan() -> None:
    scorer = Scorer(np.array([1, 2, 2, 2]), np.array([1.0, 0.1, 0.1, 0.1]), {"b": np.arange(4.0)})
    scores = scorer.score(np.array([3.0, 1.0, 2.0, 3.0]))
    assert np.isnan(scores.corr).all()
    assert_allclose(scores.bmc["b"][:, 0], [np.nan, 0.0], rtol=0, atol=1e-15)


def test_with_benchmark_gives_a_new_scorer_and_leaves_the_old_one() -> None:
    eras, target, predictions, benchmark = small_market()
    benchmark[::3] = np.nan
    scorer = Scorer(eras, target)
    with_one = scorer.with_benchmark("b", benchmark)
    assert scorer.score(predictions).bmc == {}
    assert_same_scores(with_one.score(predictions), Scorer(eras, target, {"b": benchmark}).score(predictions))
    assert list(with_one.with_benchmark("c", -benchmark).score(predictions).bmc) == ["b", "c"]


def test_neither_the_caller_nor_a_score_can_change_a_scorer() -> None:
    eras, target, predictions, benchmark = small_market()
    scorer = Scorer(eras, target, {"b": benchmark})
    before = scorer.score(predictions)
    copies = [array.copy() for array in (eras, target, predictions, benchmark)]
    for array in (eras, target, benchmark):
        array[:] = 0
    assert_same_scores(scorer.score(predictions), before)
    assert_array_equal(predictions, copies[2])
    with pytest.raises(ValueError, match="read-only"):
        before.eras[0] = 9


def test_threads_that_share_a_scorer_get_identical_scores() -> None:
    eras, target, predictions, benchmark = small_market(n_models=20)
    predictions[:, 2] = np.round(predictions[:, 2])
    scorer = Scorer(eras, target, {"b": benchmark})
    alone = scorer.score(predictions)
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda _: scorer.score(predictions), range(24)))
    for scores in together:
        assert scores.corr.tobytes() == alone.corr.tobytes()
        assert scores.bmc["b"].tobytes() == alone.bmc["b"].tobytes()
        assert scores.benchmark_corr["b"].tobytes() == alone.benchmark_corr["b"].tobytes()


def test_scratch_memory_does_not_grow_with_the_rows() -> None:
    eras, target, predictions, benchmark = small_market(n_models=20, n_eras=100, n_rows=1000)
    scorer = Scorer(eras, target, {"b": benchmark})
    tracemalloc.start()
    try:
        scorer.score(predictions)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert predictions.nbytes == 8_000_000
    assert peak < 4_000_000


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_predictions_must_be_finite(value: float) -> None:
    eras, target, predictions, _ = small_market()
    target[eras == 4] = np.nan  # also where nothing is scored
    predictions[1000, 2] = value
    message = rf"predictions is {value} in row 1000 \(era 4\), column 2; every row needs a finite prediction"
    with pytest.raises(ValueError, match=message):
        Scorer(eras, target).corr(predictions)


@pytest.mark.parametrize("shape", [(3,), (3, 2), (4, 2, 2), ()])
def test_predictions_need_one_row_each(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match=r"predictions has shape .*it must be \(4,\) or \(4, n_models\)"):
        Scorer(np.array([1, 1, 2, 2]), np.zeros(4)).corr(np.zeros(shape))


def test_eras_must_be_ascending_integers() -> None:
    with pytest.raises(UserError, match="eras has 1 after 2 in row 2; they must ascend; sort the rows"):
        Scorer(np.array([1, 2, 1]), np.zeros(3))
    with pytest.raises(UserError, match=r"must be a column of integers, .* '0575' with int"):
        Scorer(np.array(["0001", "0002"]), np.zeros(2))
    with pytest.raises(UserError, match=r"eras is int64 of shape \(0,\)"):
        Scorer(np.array([], dtype=np.int64), np.zeros(0))


def test_target_and_benchmarks_must_fit_the_rows() -> None:
    eras = np.array([1, 1, 2])
    with pytest.raises(UserError, match=r"target has shape \(2,\); it must be \(3,\)"):
        Scorer(eras, np.zeros(2))
    with pytest.raises(UserError, match="target is infinite in row 1; it must be finite, or NaN"):
        Scorer(eras, np.array([0.0, np.inf, 1.0]))
    with pytest.raises(UserError, match=r"benchmark 'b' has shape \(3, 1\)"):
        Scorer(eras, np.zeros(3), {"b": np.zeros((3, 1))})
    with pytest.raises(UserError, match="benchmark 'b' is infinite in row 2"):
        Scorer(eras, np.zeros(3)).with_benchmark("b", np.array([0.0, 1.0, -np.inf]))
    with pytest.raises(UserError, match="benchmark 'b' is there already"):
        Scorer(eras, np.zeros(3), {"b": np.zeros(3)}).with_benchmark("b", np.zeros(3))
