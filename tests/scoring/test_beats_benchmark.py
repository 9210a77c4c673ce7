from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from signal_miner.scoring.beats_benchmark import beats_benchmark, undefined_eras
from signal_miner.scoring.series import mean, sharpe

era_scores = hnp.arrays(
    np.float64,
    st.tuples(st.integers(1, 20), st.integers(1, 3)),
    elements=st.one_of(st.floats(-1, 1).map(lambda x: round(x, 6)), st.just(np.nan)),
)


@given(era_scores, st.integers(0, 2))
def test_beating_the_benchmark_is_the_same_for_one_model_and_for_many(scores: NDArray[np.float64], place: int) -> None:
    benchmark = scores[:, min(place, scores.shape[1] - 1)]
    together = beats_benchmark(scores, benchmark)
    assert together.tolist() == [bool(beats_benchmark(column, benchmark)) for column in scores.T]
    for beats, column in zip(together, scores.T, strict=True):
        undefined = int((np.isnan(column) & ~np.isnan(benchmark)).sum())
        assert undefined_eras(column, benchmark) == undefined
        compared = np.where(np.isnan(benchmark), np.nan, column)  # the eras in which both can be scored
        above = np.array([mean(compared) - mean(benchmark), sharpe(compared) - sharpe(benchmark)])
        if np.isnan(above).any() or undefined:
            assert not beats
        elif (np.abs(above) > 1e-9).all():
            assert beats == (above > 0).all()


@given(era_scores, st.integers(0, 10))
def test_what_scores_as_the_benchmark_does_not_beat_it(scores: NDArray[np.float64], copies: int) -> None:
    benchmark = scores[:, 0]
    assert not beats_benchmark(benchmark, benchmark)
    assert not beats_benchmark(np.column_stack([benchmark] * (copies + 1)), benchmark).any()


def test_what_is_above_in_corr_alone_or_in_sharpe_alone_does_not_beat() -> None:
    benchmark = [0.02, 0.01, 0.03]
    better, unsteady, small = [0.03, 0.02, 0.04], [0.09, -0.05, 0.08], [0.011, 0.01, 0.009]
    assert beats_benchmark(np.transpose([better, unsteady, small]), benchmark).tolist() == [True, False, False]
    assert not beats_benchmark([0.03, np.nan, 0.04], benchmark)
    assert beats_benchmark(better, [0.02, np.nan, 0.01])  # no model can be scored in that era
