"""What figures and tables count from a study's scores: Sharpe by section, and who beats the benchmark."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from signal_miner.scoring import beats_benchmark as rule
from signal_miner.scoring.series import mean, sharpe
from signal_miner.scoring.study_scores import StudyScores


def trial_sharpe(scores: StudyScores, section: str) -> NDArray[np.float64]:
    """Return each trial's Sharpe in a section, shape (n_trials,); NaN where it is not defined."""
    return np.asarray(sharpe(scores.era_scores[scores.rows(section)]), dtype=np.float64)


def benchmark_sharpe(scores: StudyScores, section: str) -> float:
    """Return the benchmark's Sharpe in a section; NaN where it is not defined."""
    return float(sharpe(scores.benchmark[scores.rows(section)]))


def wins(scores: StudyScores, section: str) -> NDArray[np.bool_]:
    """Return which trials beat the benchmark in a section with a mean score above 0, shape (n_trials,)."""
    return rule.wins(beats_benchmark(scores, section), mean(scores.era_scores[scores.rows(section)]))


def beats_benchmark(scores: StudyScores, section: str) -> NDArray[np.bool_]:
    """Return which trials beat the benchmark in a section, shape (n_trials,)."""
    rows = scores.rows(section)
    return rule.beats_benchmark(scores.era_scores[rows], scores.benchmark[rows], scores.objective.compared)
