"""Era labels as numbers: ``"0575"``, ``"era575"`` and ``575`` are the same week."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from signal_miner.errors import UserError

LIVE_ERA = -1
"""The number given to a live era, whose label is ``X`` (or ``eraX``) in older files."""

_LABEL = re.compile(r"(?:era)?_?(\d+)(?:\.0)?", re.IGNORECASE)


def era_number(label: object) -> int:
    """Return the number of one era label; `LIVE_ERA` for ``X``.

    Raises
    ------
    UserError
        If the label holds no number.
    """
    text = str(label).strip()
    match = _LABEL.fullmatch(text)
    if match and int(match.group(1)) < 2**31:
        return int(match.group(1))
    if text.lower() in {"x", "erax"}:
        return LIVE_ERA
    raise UserError(f"era {text!r} is not an era label; write eras as '0001', 'era1' or 1")


def era_numbers(labels: ArrayLike | Iterable[Any]) -> NDArray[np.int64]:
    """Return the era number of each row, shape (n_rows,), of labels that are strings or integers; see `era_number`."""
    values = np.asarray(labels if isinstance(labels, np.ndarray) else list(labels))  # type: ignore[arg-type]
    if np.issubdtype(values.dtype, np.integer):
        return values.astype(np.int64)
    distinct, codes = np.unique(values.astype(str), return_inverse=True)
    numbers = np.array([era_number(label) for label in distinct], dtype=np.int64)
    return numbers[codes.reshape(-1)] if len(distinct) else np.empty(0, dtype=np.int64)
