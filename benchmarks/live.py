"""How often, and how soon, ``live`` says that a model is below what was expected of it.

Live histories of weekly rounds, each scored over the 12 weeks that follow it, are drawn and looked at each week.
"""

from __future__ import annotations

import argparse

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.common import ratio_table
from signal_miner.live.evidence import HORIZON_WEEKS, LEVEL, evidence_below

MARKETS = ("normal", "fat tails and crashes", "two regimes")


def histories(generator: np.random.Generator, count: int, weeks: int, market: str = "normal") -> NDArray[np.float64]:
    """Return scores of mean 0 and variance 1, shape (count, weeks), of weekly returns over `HORIZON_WEEKS`."""
    shape = (count, weeks + HORIZON_WEEKS - 1)
    returns = generator.standard_normal(shape)
    if market == MARKETS[1]:
        returns = generator.standard_t(4, shape)
        returns -= 4.5 * (generator.random(shape) < 0.04) * np.abs(generator.standard_normal(shape))
    elif market == MARKETS[2]:
        calm = np.cumsum(generator.random(shape) < 1 / 26, axis=1) % 2 == 0
        returns *= np.where(calm, 0.6, 1.4)
    returns = (returns - returns.mean()) / returns.std()
    sums = np.cumsum(np.pad(returns, ((0, 0), (1, 0))), axis=1)
    return np.asarray((sums[:, HORIZON_WEEKS:] - sums[:, :-HORIZON_WEEKS]) / np.sqrt(HORIZON_WEEKS))


def said(surprises: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the number of resolved weeks after which each history is said to be below; 0 if never."""
    reached = evidence_below(surprises) >= 1 / LEVEL
    return np.where(reached.any(axis=1), reached.argmax(axis=1) + 1, 0)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--histories", type=int, default=2000)
    count = parser.parse_args().histories
    generator, console = np.random.default_rng(20), Console()
    console.print(_error_rates(generator, count))
    console.print(_delays(generator, count // 4))


def _error_rates(generator: np.random.Generator, count: int) -> Table:
    table = ratio_table(
        "As good as expected, and said to be below", "returns", "in a year", "in five", "by a weekly z-test, in a year"
    )
    for market in MARKETS:
        shares = [f"{(said(histories(generator, count, weeks, market)) > 0).mean():.1%}" for weeks in (52, 260)]
        naive = histories(generator, count, 52, market).cumsum(axis=1) / np.sqrt(np.arange(1, 53))
        table.add_row(market, *shares, f"{(naive < -1.645).any(axis=1).mean():.0%}")
    backtest = histories(generator, count, 104)
    estimated = histories(generator, count, 52) - backtest.mean(axis=1, keepdims=True)
    table.add_row("normal, expectation estimated on 104 eras", f"{(said(estimated) > 0).mean():.1%}", "", "")
    return table


def _delays(generator: np.random.Generator, count: int) -> Table:
    table = ratio_table(
        "Resolved weeks until half are said to be below (in %: the share within 520 weeks)",
        "Sharpe of an era's payout",
        "half the expected payout",
        "no payout",
        "the expected payout lost",
    )
    for sharpe in (0.5, 1.0, 1.5, 2.0):
        cells = []
        for lost in (0.5, 1.0, 2.0):
            weeks = said(histories(generator, count, 520) - lost * sharpe)
            median = int(np.sort(np.where(weeks == 0, 10**6, weeks))[count // 2])
            cells.append(f"{(weeks > 0).mean():.0%}" if median == 10**6 else str(median))
        table.add_row(f"{sharpe:g}", *cells)
    return table


if __name__ == "__main__":
    main()
