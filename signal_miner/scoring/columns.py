"""Columns of score tables: each score's heading and digits, declared once."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

_SCORES = {
    "corr": ("CORR", 4),
    "sharpe": ("Sharpe", 2),
    "max_drawdown": ("max. drawdown", 2),
    "bmc": ("BMC", 4),
    "payout": ("payout", 3),
    "payout_sharpe": ("payout Sharpe", 2),
    "payout_drawdown": ("payout drawdown", 2),
    "benchmark_corr": ("corr. with benchmark", 2),
    "fnc": ("FNC", 4),
    "feature_exposure": ("largest exposure", 2),
    "mmc": ("MMC", 4),
    "cwmm": ("CWMM", 2),
}


def score_head(score: str) -> str:
    """Return the heading of a score such as ``corr``."""
    return _SCORES[score][0]


def score_digits(score: str) -> int:
    """Return the decimals that a score is shown with."""
    return _SCORES[score][1]


@dataclass(frozen=True)
class Column:
    """A column of a score table; `priority` orders what a narrow terminal leaves out, the lowest first, None never."""

    head: str
    metric: str
    digits: int
    priority: int | None = None

    @classmethod
    def of(cls, metric: str, priority: int | None = None, group: str = "") -> Column:
        """Return the column of a metric such as ``corr`` or ``test/corr``, its group above its heading."""
        head, digits = _SCORES[metric.rpartition("/")[2]]
        return cls(f"{group}\n{head}" if group else "\n".join(head.rsplit(" ", 1)), metric, digits, priority)

    def text(self, value: float | None) -> str:
        """Return a cell; a dash where the metric is missing or not defined."""
        return "–" if value is None or math.isnan(value) else f"{value:.{self.digits}f}"


def least_important_first(columns: Iterable[Column]) -> list[str]:
    """Return the headings of the columns that may be left out, by priority."""
    optional = [(column.priority, column.head) for column in columns if column.priority is not None]
    return [head for _, head in sorted(optional)]
