from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numerai_tools.scoring import sharpe_ratio
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

from signal_miner.scoring.series import max_drawdown, sharpe

era_scores = hnp.arrays(
    np.float64,
    st.tuples(st.integers(1, 20), st.integers(1, 3)),
    elements=st.one_of(st.floats(-1, 1).map(lambda x: round(x, 6)), st.just(np.nan)),
)


@given(era_scores)
def test_sharpe_equals_numerai_tools(scores: NDArray[np.float64]) -> None:
    for ratio, column in zip(sharpe(scores), scores.T, strict=True):
        if np.unique(column[~np.isnan(column)]).size > 1:
            assert ratio == pytest.approx(sharpe_ratio(pd.Series(column)), rel=1e-9, abs=1e-12)
        else:
            assert np.isnan(ratio)


@given(era_scores)
def test_max_drawdown_equals_its_definition(scores: NDArray[np.float64]) -> None:
    total = pd.DataFrame(scores).cumsum()
    assert_allclose(max_drawdown(scores), (total.cummax() - total).max(), rtol=0, atol=1e-12)


def test_sharpe_and_drawdown_of_one_series_are_numbers() -> None:
    scores = [0.02, -0.01, np.nan, -0.02, 0.05]
    assert isinstance(sharpe(scores), float)
    assert sharpe(scores) == pytest.approx(0.01 / np.sqrt(0.00075))
    assert max_drawdown(scores) == pytest.approx(0.03)
    assert max_drawdown([-0.03, 0.01]) == 0.0  # the first loss is where the running maximum starts
    assert_array_equal(sharpe(np.transpose([scores, scores]), axis=0), [sharpe(scores)] * 2)
    assert_array_equal(max_drawdown([scores, scores], axis=1), [max_drawdown(scores)] * 2)


@pytest.mark.parametrize("scores", [[], [np.nan, np.nan], [0.1], [0.1, 0.1, 0.1]])
def test_sharpe_without_spread_is_nan(scores: list[float]) -> None:
    assert np.isnan(sharpe(scores))
    assert np.isnan(max_drawdown(scores)) == (not np.isfinite(scores).any())
