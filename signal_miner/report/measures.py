"""What figures and tables count from a study's scores: Sharpe by section, and who beats the benchmark."""

from __future__ import annotations

import math
import warnings

import numpy as np
from numpy.typing import NDArray

from signal_miner.scoring.series import sharpe
from signal_miner.scoring.study_scores import StudyScores


def trial_sharpe(scores: StudyScores, section: str) -> NDArray[np.float64]:
    """Return each trial's Sharpe in a section, shape (n_trials,); NaN where it is not defined."""
    return np.asarray(sharpe(scores.corr[scores.rows(section)]), dtype=np.float64)


def benchmark_sharpe(scores: StudyScores, section: str) -> float:
    """Return the benchmark's Sharpe in a section; NaN where it is not defined."""
    return float(sharpe(scores.benchmark[scores.rows(section)]))


def beats_benchmark(scores: StudyScores, section: str) -> NDArray[np.bool_]:
    """Return which trials' CORR and Sharpe are both above the benchmark's, shape (n_trials,).

    A trial that has no CORR in an era in which the benchmark has one does not beat it, as in the trials' own tags.
    """
    rows = scores.rows(section)
    corr, reference = scores.corr[rows], scores.benchmark[rows]
    undefined = (np.isnan(corr) & np.isfinite(reference)[:, None]).any(axis=0)
    above = mean_over_eras(corr) > mean_over_eras(reference[:, None])
    better: NDArray[np.bool_] = ~undefined & above & (trial_sharpe(scores, section) > benchmark_sharpe(scores, section))
    return better


def mean_over_eras(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of each column over the eras in which it is defined, shape (n_columns,); NaN where none is."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a column without any is NaN
        return np.asarray(np.nanmean(values, axis=0)) if len(values) else np.full(values.shape[1], math.nan)
