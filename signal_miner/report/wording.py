"""Numbers and estimates as a reader sees them."""

from __future__ import annotations

import math

from signal_miner.overfitting.records import INTERVAL_LEVEL, Estimate
from signal_miner.utils.formatting import UNKNOWN, number_text, probability_text

__all__ = ["UNKNOWN", "interval_text", "number_text", "percent_text", "probability_text", "shortened"]


def percent_text(share: float) -> str:
    """Return a share in percent; a dash where it is not defined."""
    if not math.isfinite(share):
        return UNKNOWN
    if 0 < share < 0.01:
        return "below 1%"
    return "above 99%" if 0.99 < share < 1 else f"{share:.0%}"


def interval_text(estimate: Estimate, digits: int = 2) -> str:
    """Return an estimate with its interval, such as ``0.31 (90% interval 0.02 to 0.55)``."""
    value, low, high = (number_text(part, digits) for part in (estimate.value, estimate.low, estimate.high))
    if UNKNOWN in (low, high):
        return value
    return f"{value} ({INTERVAL_LEVEL:.0%} interval {low} to {high})"


def shortened(text: str, length: int) -> str:
    """Return a text of at most so many characters, its end left out."""
    return text if len(text) <= length else text[: length - 1] + "…"
