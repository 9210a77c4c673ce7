"""What a study's models scored in each era, as its report evaluates them: frozen, independent of where it was read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from signal_miner.scoring.objective import Objective

VALIDATION, TEST, WHOLE = "validation", "test", "whole"
"""Parts of the eras: all folds but the last, the last, and both together."""

FEWEST_CONTROLS = 10
"""Controls of a race that can stand for all trials."""


@dataclass(frozen=True, eq=False)
class StudyScores:
    """The scores of every era and model of a study.

    A *trial* is a configuration as drawn; a *candidate* is a trial cut at one of its checkpoints, of which the last is
    the trial itself. An era in which a model's predictions were all equal is NaN.

    Attributes
    ----------
    era_labels : tuple of str
        As in the files, ascending.
    eras : ndarray of int64, shape (n_eras,)
        Their numbers.
    folds : ndarray of int64, shape (n_eras,)
        Number of the fold that predicted each era; the highest is test, those before it are validation.
    overlap_eras : int
        Eras after an era whose scoring targets still share returns with its own: 11 of a 60-day target where eras
        are a week apart, 3 of a 20-day one.
    names : tuple of str
        Of the finished trials, best first by the objective in validation.
    numbers : tuple of int
        Of these trials in the study.
    failed : int
        Trials that failed: drawn all the same.
    era_scores : ndarray of float64, shape (n_eras, n_trials)
        What trials are compared with the benchmark in, as drawn: CORR, or payouts; see `Objective.compared`.
    bmc, benchmark_corr : ndarray of float64, shape (n_eras, n_trials)
        BMC and correlation with the benchmark, as drawn.
    benchmark : ndarray of float64, shape (n_eras,)
        CORR, or payouts, of the benchmark.
    candidates : ndarray of float64, shape (n_eras, n_candidates)
        CORR, or payouts, of each trial at each of its checkpoints, trial by trial.
    candidate_trial, candidate_trees : ndarray of int64, shape (n_candidates,)
        Place of a candidate's trial in `names`, and its number of trees.
    unfinished : int, default 0
        Trials that were drawn and have neither finished nor failed: in training, stopped, or deleted since.
    objective : Objective, default `Objective.SHARPE`
        What trials are ranked by.
    stopped : int, default 0
        Trials that a race stopped: drawn all the same.
    sampled : ndarray of bool, shape (n_trials,), or None
        Trials that a race trained to the end whatever they scored, an unbiased sample of all; none without a race,
        which finishes all.
    stopped_scores, stopped_bmc : ndarray of float64, shape (n_eras, n_known), or None
        As `era_scores` and `bmc`, at the best checkpoint, of the trials that a race stopped after the last validation
        fold; NaN in test.
    """

    study: str
    era_labels: tuple[str, ...]
    eras: NDArray[np.int64]
    folds: NDArray[np.int64]
    overlap_eras: int
    names: tuple[str, ...]
    numbers: tuple[int, ...]
    failed: int
    era_scores: NDArray[np.float64]
    bmc: NDArray[np.float64]
    benchmark_corr: NDArray[np.float64]
    benchmark: NDArray[np.float64]
    candidates: NDArray[np.float64]
    candidate_trial: NDArray[np.int64]
    candidate_trees: NDArray[np.int64]
    unfinished: int = 0
    objective: Objective = Objective.SHARPE
    stopped: int = 0
    sampled: NDArray[np.bool_] | None = None
    stopped_scores: NDArray[np.float64] | None = None
    stopped_bmc: NDArray[np.float64] | None = None

    @property
    def tries(self) -> int:
        """Trials that were drawn, however they ended."""
        return len(self.names) + self.failed + self.stopped + self.unfinished

    @property
    def has_controls(self) -> bool:
        """Whether a race stopped trials, and finished some whatever they scored."""
        return bool(self.stopped and self.sampled is not None and self.sampled.any())

    @property
    def unbiased(self) -> NDArray[np.bool_]:
        """Trials that stand for all that were drawn, shape (n_trials,): where a race stopped some, its controls.

        The others were chosen by validation. All of them where there is no control.
        """
        if self.has_controls and self.sampled is not None:
            return self.sampled
        return np.ones(len(self.names), dtype=np.bool_)

    def chosen_among(self, scores: NDArray[np.float64], stopped: NDArray[np.float64] | None) -> NDArray[np.float64]:
        """Return the validation scores of all that the first trial was chosen from, finished trials first.

        Where a race stopped some after an earlier fold, so that their scores are not known, its controls stand for all,
        unless they are too few.

        Parameters
        ----------
        scores : ndarray of float64, shape (n_eras, n_trials)
            Such as `era_scores`.
        stopped : ndarray of float64, shape (n_eras, n_known), or None
            The same of stopped trials, such as `stopped_scores`.

        Returns
        -------
        ndarray of float64, shape (n_validation_eras, n_all)
        """
        known = 0 if stopped is None else stopped.shape[1]
        if known < self.stopped and self.has_controls and self.unbiased.sum() >= FEWEST_CONTROLS:
            return scores[self.rows(VALIDATION)][:, self.unbiased]
        return self.known_in_validation(scores, stopped)

    def known_in_validation(
        self, scores: NDArray[np.float64], stopped: NDArray[np.float64] | None
    ) -> NDArray[np.float64]:
        """Return the validation scores of finished trials and then of stopped ones; arguments as `chosen_among`."""
        rows = self.rows(VALIDATION)
        return scores[rows] if stopped is None else np.concatenate([scores[rows], stopped[rows]], axis=1)

    def rows(self, section: str) -> NDArray[np.bool_]:
        """Return which eras belong to `VALIDATION`, `TEST` or `WHOLE`, shape (n_eras,); `ValueError` for others."""
        last: NDArray[np.bool_] = self.folds == self.folds.max()
        sections = {VALIDATION: ~last, TEST: last, WHOLE: np.ones(len(last), dtype=np.bool_)}
        if section not in sections:
            raise ValueError(f"section = {section!r} is not one of {', '.join(sections)}")
        return sections[section]


@dataclass(frozen=True, eq=False)
class Correlations:
    """How alike the predictions of the leaders and the benchmark are.

    Attributes
    ----------
    names : tuple of str
        Of the models; the benchmark's is ``benchmark``.
    matrix : ndarray of float64, shape (n_models, n_models)
        Correlations, symmetric; NaN where one is not defined.
    """

    names: tuple[str, ...]
    matrix: NDArray[np.float64]

    def __post_init__(self) -> None:
        if self.matrix.shape != (len(self.names), len(self.names)):
            raise ValueError(f"matrix has shape {self.matrix.shape}; it must have a row and a column for each name")
