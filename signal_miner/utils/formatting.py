"""Numbers as text, for sentences, tables and figures."""

from __future__ import annotations

import math

UNKNOWN = "–"


def number_text(value: float | None, digits: int = 2) -> str:
    """Return a number with `digits` decimals and a typographic minus; a dash if it is undefined."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if float(text) == 0 else text.replace("-", "−")


def probability_text(probability: float) -> str:
    """Return a probability in percent, rounded down to a tenth, so it never seems to reach a level it is below."""
    if not math.isfinite(probability):
        return UNKNOWN
    if probability > 0.999:
        return "above 99.9%"
    return "below 0.1%" if probability < 0.001 else f"{math.floor(1000 * probability + 1e-9) / 10:.1f}%"


def percent_text(share: float) -> str:
    """Return a share in percent; a dash if it is undefined."""
    if not math.isfinite(share):
        return UNKNOWN
    if 0 < share < 0.01:
        return "below 1%"
    return "above 99%" if 0.99 < share < 1 else f"{share:.0%}"


def shortened(text: str, length: int) -> str:
    """Return a text of at most `length` characters, its end replaced by an ellipsis."""
    return text if len(text) <= length else text[: length - 1] + "…"


def bytes_text(n_bytes: int) -> str:
    """Return bytes in GB with one decimal, below 0.1 GB in whole MB."""
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e8 else f"{max(1, round(n_bytes / 1e6))} MB"


def gigabytes_rounded_up(n_bytes: int) -> str:
    """Return bytes in GB with one decimal and no unit, rounded up: a limit set to this is never too low."""
    return f"{math.ceil(n_bytes / 1e9 * 10) / 10:.1f}"
