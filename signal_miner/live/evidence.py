"""Evidence that live scores are below, or above, what was expected: valid however often one looks."""

# A single test a week would call one in three good models broken within a year. An e-process is evidence that may be
# looked at each week: if the expectation is right, the probability that it *ever* reaches 1/α is at most α (Ville).

from __future__ import annotations

from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr

HORIZON_WEEKS = 12
"""Weeks over which a round is scored, 60 business days: the scores of rounds less far apart share returns."""

LEVEL = 0.05
"""Largest probability that a model as good as expected is ever said to be below; and the same of above."""

_SPREAD = 60.0  # of the mixture: the clock after nine weeks of rounds; chosen in benchmarks/live.py
_RESTART_WEEKS = HORIZON_WEEKS + 1
_FROM_THE_START = 0.5


class Standing(StrEnum):
    """Live scores against their expectation."""

    NONE = "no resolved round"
    WITHIN = "within"
    BELOW = "below"
    ABOVE = "above"


def evidence_below(surprises: NDArray[np.float64], horizon: int = HORIZON_WEEKS) -> NDArray[np.float64]:
    r"""Return, week by week, the evidence that scores are lower than expected: below if it ever reaches 1 / `LEVEL`.

    The cumulated surprise S after n weeks is tested against its variance V as if scores held the same stocks for
    `horizon` weeks, ``V = n + 2 Σₖ (n − k)(1 − k / horizon)`` (Hansen & Hodrick 1980): 52 weeks count as four or five.
    Evidence is the one-sided normal mixture ``2 √(ρ / (V + ρ)) exp(S² / 2(V + ρ)) Φ(−S / √(V + ρ))`` of Howard et al.
    (2021), half of it from the first week and half of it restarted every `horizon` + 1 weeks with weights
    1 / j(j + 1), so that a model which breaks after good months is found, too. S is, but for its ends, a smoothed
    Brownian motion, so V is its clock; the error rate is measured in ``benchmarks/live.py``.

    Parameters
    ----------
    surprises : ndarray of float64, shape (..., n_weeks)
        Live less expected mean, in standard deviations of one era's score; NaN in weeks without a resolved round.

    Returns
    -------
    ndarray of float64, shape (..., n_weeks)
        Not cumulated maxima: the evidence after each week.

    References
    ----------
    Howard, S. R., Ramdas, A., McAuliffe, J. and Sekhon, J. (2021), "Time-uniform, nonparametric, nonasymptotic
    confidence sequences", Annals of Statistics 49(2), 1055–1080.
    Ramdas, A. and Wang, R. (2025), "Hypothesis Testing with E-values", Foundations and Trends in Statistics 1(1–2).
    """
    weeks = surprises.shape[-1]
    evidence = np.zeros(surprises.shape)
    unused = np.ones(weeks)  # weight of the restarts to come, which is kept as it is
    for number, start in enumerate(range(0, weeks, _RESTART_WEEKS)):
        weight = (1 - _FROM_THE_START) / (number * (number + 1)) if number else _FROM_THE_START
        since = surprises[..., start:]
        total = np.nancumsum(since, axis=-1)
        evidence[..., start:] += weight * np.exp(
            np.minimum(_log_mixture(total, cumulated_variance(since, horizon)), 600.0)
        )
        unused[start:] -= weight
    return np.asarray(evidence + unused, dtype=np.float64)


def standing(surprises: NDArray[np.float64]) -> Standing:
    """Return whether one series of surprises, as of `evidence_below`, is below or above its expectation.

    What was once said is not taken back. Of both, which only a model that changed can be, the last said counts.
    """
    if not np.isfinite(surprises).any():
        return Standing.NONE
    said = {Standing.BELOW: first_said(surprises), Standing.ABOVE: first_said(-surprises)}
    known = {answer: week for answer, week in said.items() if week is not None}
    return max(known, key=lambda answer: known[answer]) if known else Standing.WITHIN


def first_said(surprises: NDArray[np.float64]) -> int | None:
    """Return the position of the first week after which one series is said to be below; None if it is not."""
    reached = np.flatnonzero(evidence_below(surprises) >= 1 / LEVEL)
    return int(reached[0]) if len(reached) else None


def cumulated_variance(surprises: NDArray[np.float64], horizon: int = HORIZON_WEEKS) -> NDArray[np.float64]:
    """Return the variance of the cumulated surprise after each week, where a week without a score adds nothing."""
    known = np.isfinite(surprises).astype(np.float64)
    covariances = np.zeros_like(known)
    for lag in range(1, min(horizon, known.shape[-1])):
        covariances[..., lag:] += (1 - lag / horizon) * known[..., :-lag]
    return np.asarray(np.cumsum(known * (1 + 2 * covariances), axis=-1), dtype=np.float64)


def _log_mixture(total: NDArray[np.float64], variance: NDArray[np.float64]) -> NDArray[np.float64]:
    clock = variance + _SPREAD
    mixture = np.log(2) + np.log(_SPREAD / clock) / 2 + total**2 / (2 * clock) + log_ndtr(-total / np.sqrt(clock))
    return np.asarray(mixture, dtype=np.float64)
