"""How many winners a race loses, estimated from the controls that it trains to the end.

Source
------
Clopper, C. J. and Pearson, E. S. (1934), "The Use of Confidence or Fiducial Limits Illustrated in the Case of the
Binomial", Biometrika 26(4), 404–413.
"""

from __future__ import annotations

import math

from scipy.special import betaincinv

from signal_miner.overfitting.records import INTERVAL_LEVEL, Estimate


def share_lost(winners: int, stopped: int) -> Estimate:
    """Return the share of winners that a race stops, and its exact interval.

    Parameters
    ----------
    winners : int
        Controls that beat the benchmark in validation and in test.
    stopped : int
        Those of them that the race would have stopped.

    Returns
    -------
    Estimate
        NaN with the interval 0 to 1 where no control wins.
    """
    if not winners:
        return Estimate(math.nan, 0.0, 1.0)
    tail = (1 - INTERVAL_LEVEL) / 2
    low = float(betaincinv(stopped, winners - stopped + 1, tail)) if stopped else 0.0
    high = float(betaincinv(stopped + 1, winners - stopped, 1 - tail)) if stopped < winners else 1.0
    return Estimate(stopped / winners, low, high)
