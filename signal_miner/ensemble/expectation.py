"""What to expect of an ensemble: its selection repeated without some eras, and evaluated on these."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from signal_miner.engine.racing import Curve
from signal_miner.ensemble.options import GREEDY, OBJECTIVES, RUNS, SelectionRule
from signal_miner.ensemble.selection import grow, weights_of
from signal_miner.errors import UserError
from signal_miner.overfitting.choice import choice_splits, score_left_out, summary_of_known
from signal_miner.overfitting.expectation import expectation_from
from signal_miner.overfitting.records import Expectation
from signal_miner.scoring.objective import Objective, Scoring
from signal_miner.scoring.series import era_slices

_ALL_OF_IT = 1.0  # of a model's own variance: nothing is averaged away


@dataclass(frozen=True, eq=False)
class Candidates:
    """Validation scores of the trials that were chosen among.

    Attributes
    ----------
    corr, bmc : ndarray of float64, shape (n_eras, n_candidates)
        Of each alone, at the checkpoint that members have.
    correlations : ndarray of float32, shape (n_eras, n_candidates, n_candidates), or None
        Of their ranks in each era; None where every pair correlates as the members do.
    curves : mapping of int to Curve
        Of the same eras, at each checkpoint, by candidate; of those whose checkpoint was chosen, too.
    """

    corr: NDArray[np.float64]
    bmc: NDArray[np.float64]
    correlations: NDArray[np.float32] | None = None
    curves: Mapping[int, Curve] = field(default_factory=dict)

    def at_best_checkpoints(self, rows: NDArray[np.bool_], scoring: Scoring) -> Candidates:
        """Return them at the checkpoints that a scoring of some eras would have chosen.

        Parameters
        ----------
        rows : ndarray of bool, shape (n_eras,)
        """
        corr, bmc = self.corr.copy(), self.bmc.copy()
        for place, curve in self.curves.items():
            best, _ = Curve(curve.corr[rows], curve.bmc[rows]).best(scoring)
            corr[:, place], bmc[:, place] = curve.corr[:, best], curve.bmc[:, best]
        return replace(self, corr=corr, bmc=bmc)

    def blended(self, weights: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return CORR and BMC of blends by era, each of shape (n_eras, n_blends).

        Of ranks with correlations R, a blend with weights w scores ``w'c / √(w'Rw)`` where its members score c, but for
        the ranking of the blend and CORR's power.

        Parameters
        ----------
        weights : ndarray of float64, shape (n_candidates, n_blends)
            Few of a blend's are not 0.
        """
        most = int((weights != 0).sum(axis=0).max())
        places = np.argsort(-np.abs(weights), axis=0)[:most]
        shares = np.take_along_axis(weights, places, axis=0)
        corr = sum(share * self.corr[:, place] for share, place in zip(shares, places, strict=True))
        bmc = sum(share * self.bmc[:, place] for share, place in zip(shares, places, strict=True))
        if self.correlations is None:
            return np.asarray(corr), np.asarray(bmc)
        variance = np.zeros((len(self.corr), weights.shape[1]))
        for one, first in zip(shares, places, strict=True):
            for other, second in zip(shares, places, strict=True):
                variance += one * other * self.correlations[:, first, second]
        deviation = np.sqrt(np.maximum(variance, 1e-12))
        return np.asarray(corr) / deviation, np.asarray(bmc) / deviation


@dataclass(frozen=True, eq=False)
class OwnScores:
    """CORR and BMC of an ensemble's own eras, in their order, in validation and in test."""

    corr: tuple[NDArray[np.float64], NDArray[np.float64]]
    bmc: tuple[NDArray[np.float64], NDArray[np.float64]]


def era_correlations(eras: NDArray[np.integer[Any]], columns: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Return the correlations of gaussianised ranks within each era.

    Parameters
    ----------
    eras : ndarray of int, shape (n_rows,)
        Ascending; of all folds.
    columns : sequence of ndarray of float32, shape (n_rows_of_fold, n_candidates)
        By fold.

    Returns
    -------
    ndarray of float32, shape (n_eras, n_candidates, n_candidates)
        0 where a column is constant.
    """
    found, start = [], 0
    for fold in columns:
        for rows in era_slices(eras[start : start + len(fold)]):
            part = fold[rows] - fold[rows].mean(axis=0)
            norms = np.sqrt(np.einsum("nk,nk->k", part, part))
            part = np.divide(part, norms, out=np.zeros_like(part), where=norms > 0)
            found.append(part.T @ part)
        start += len(fold)
    return np.stack(found).astype(np.float32)


def can_be_repeated(rule: SelectionRule) -> bool:
    """Return whether a rule can be repeated on other eras: not where runs are named, nor of any metric."""
    return rule.select != RUNS and rule.score in OBJECTIVES


def expected_of_ensemble(
    rule: SelectionRule,
    candidates: Candidates,
    own: OwnScores,
    scoring: Scoring,
    overlap_eras: int,
    correlations: NDArray[np.float64] | None = None,
    preselected: float = 0.0,
) -> tuple[Expectation, ...]:
    """Return what to expect of an ensemble: the ratio that its study compares, and its payout.

    By validation alone, its validation score less what choosing adds to it: the score of the whole selection, of
    checkpoints and of trials, made on all eras, less that of selections that left some out, over those.

    Parameters
    ----------
    scoring : Scoring
        Of the study.
    correlations : ndarray of float64, shape (n_candidates, n_candidates), optional
        With ``greedy``: what its cap is held to.
    preselected : float, default 0
        What the choice of the candidates themselves adds to a Sharpe ratio.
    """
    choose = _chooser(rule, candidates, scoring, correlations)
    n_eras = len(candidates.corr)
    splits = choice_splits(n_eras, overlap_eras)
    whole_corr, whole_bmc = choose(np.full(n_eras, True))
    repeated = [choose(rows) for rows in splits.chosen_by]
    corr, bmc = (np.stack([each[part] for each in repeated]) for part in (0, 1))
    ratio = Objective.PAYOUT_SHARPE if scoring.objective.compared is Objective.PAYOUT else Objective.SHARPE
    found = []
    for objective in (ratio, Objective.PAYOUT):
        whole = scoring.era_scores(whole_corr, whole_bmc, objective)
        left_out = score_left_out(splits, scoring.era_scores(corr, bmc, objective), objective)
        by_choosing = float(objective.summary(whole)) - left_out
        validation, test = (scoring.era_scores(own.corr[part], own.bmc[part], objective) for part in (0, 1))
        shown = float(objective.summary(validation))
        prior = shown - by_choosing - (preselected if objective.is_ratio else 0.0)
        found.append(expectation_from(prior, _ALL_OF_IT, validation, test, overlap_eras, objective))
    return tuple(each for each in found if np.isfinite(each.value))


def _chooser(
    rule: SelectionRule, candidates: Candidates, scoring: Scoring, correlations: NDArray[np.float64] | None
) -> Callable[[NDArray[np.bool_]], tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Return a function from some of the eras to CORR and BMC of every era of what a rule selects by those."""
    objective = Objective(rule.score)
    n_candidates = candidates.corr.shape[1]
    scored = np.isfinite(scoring.era_scores(candidates.corr, candidates.bmc, objective)).any(axis=1)

    def choose(rows: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        rows = rows & scored  # such as eras without benchmark predictions, which no blend has a score in
        own = candidates.at_best_checkpoints(rows, scoring)
        alone = scoring.era_scores(own.corr, own.bmc, objective)
        if rule.select == GREEDY and correlations is not None:

            def score(blends: Sequence[NDArray[np.float32]]) -> NDArray[np.float64]:
                of_eras = scoring.era_scores(*own.blended(blends[0].astype(np.float64)), objective)
                return summary_of_known(of_eras[rows], objective)

            try:
                chosen, shares = grow(rule, [np.eye(n_candidates, dtype=np.float32)], score, correlations)
            except UserError:  # none is known in all of these eras
                unknown = np.full(len(alone), np.nan)
                return unknown, unknown
        else:
            values = np.nan_to_num(summary_of_known(alone[rows], objective), nan=-np.inf)
            chosen = tuple(np.argsort(-values, kind="stable")[: rule.members].tolist())
            shares = weights_of(rule, values[list(chosen)].tolist())
        column = np.zeros((n_candidates, 1))
        column[list(chosen), 0] = shares
        corr, bmc = own.blended(column)
        return corr[:, 0], bmc[:, 0]

    return choose
