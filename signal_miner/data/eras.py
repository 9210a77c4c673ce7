"""Era labels as the numbers of weeks: ``"0575"``, ``"era575"`` and ``575`` are one week, and so are dates in it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from signal_miner.errors import UserError

LIVE_ERA = -1
"""The number given to a live era, whose label is ``X`` (or ``eraX``) in older files."""

LARGEST_ERA = 99_999
"""The largest number of an era that is no date; six digits are a month (``201701``), more a date or a time."""

_LABEL = re.compile(r"(?:era)?_?(\d+)(?:\.0)?", re.IGNORECASE)
_DATE = re.compile(r"((?:19|20|21)\d\d)(-?)(\d\d)\2(\d\d)(?:[T ][\d:.+Z]*|\.0)?")
_FIRST_MONDAY = date(1900, 1, 1)


def is_date(label: object) -> bool:
    """Return whether an era label is a date, such as ``2017-01-06``, ``20170106`` or a timestamp."""
    return _week(str(label).strip()) is not None


def weeks_of(labels: Sequence[object]) -> list[int]:
    """Return the number of the week of each distinct era label; `LIVE_ERA` for ``X``.

    A number is that of a week already. Dates are numbered by the week that they are in, counted from 1900, so that
    the distance between two of them is one in weeks.

    Raises
    ------
    UserError
        If a label is neither a number nor a date, some are dates and others are not, or two dates are in one week.
    """
    texts = [str(label).strip() for label in labels]
    weeks = [LIVE_ERA if text.lower() in {"x", "erax"} else _week(text) for text in texts]
    if all(week in (None, LIVE_ERA) for week in weeks):
        return [_number(text) if week is None else week for text, week in zip(texts, weeks, strict=True)]
    label_of: dict[int, str] = {}
    for text, week in sorted(zip(texts, weeks, strict=True)):
        if week is None:
            dated = next(iter(label_of.values()), "") or next(each for each in texts if is_date(each))
            raise UserError(f"era {text!r} is no date, but era {dated!r} is; write all eras in one way")
        if week != LIVE_ERA and label_of.setdefault(week, text)[:10] != text[:10]:
            raise UserError(
                f"eras {label_of[week]!r} and {text!r} are in one week, and eras are a week apart or more; keep one "
                "date a week, or number the eras"
            )
    return [LIVE_ERA if week is None else week for week in weeks]


def era_numbers(labels: ArrayLike | Iterable[Any]) -> NDArray[np.int64]:
    """Return the era number of each row, shape (n_rows,), of labels that are strings, integers or dates.

    See `weeks_of`, which reads the distinct labels together.
    """
    values = np.asarray(labels if isinstance(labels, np.ndarray) else list(labels))  # type: ignore[arg-type]
    if np.issubdtype(values.dtype, np.integer) and not (values > LARGEST_ERA).any():
        return values.astype(np.int64)
    distinct, codes = np.unique(values.astype(str), return_inverse=True)
    numbers = np.array(weeks_of(distinct.tolist()), dtype=np.int64)
    return numbers[codes.reshape(-1)] if len(distinct) else np.empty(0, dtype=np.int64)


def recorded_era_numbers(labels: Iterable[Any]) -> NDArray[np.int64]:
    """Return the era numbers of eras that were mined already, as `era_numbers`.

    Earlier versions took any whole number for an era; what they mined can still be read.
    """
    texts = [str(label).strip() for label in labels]
    try:
        return era_numbers(texts)
    except UserError:
        matches = [_LABEL.fullmatch(text) for text in texts]
        if not all(match and len(match.group(1)) < 19 for match in matches):
            raise
        return np.array([int(match.group(1)) for match in matches if match], dtype=np.int64)


def _number(text: str) -> int:
    match = _LABEL.fullmatch(text)
    if match and len(match.group(1)) < 20 and int(match.group(1)) <= LARGEST_ERA:
        return int(match.group(1))
    raise UserError(
        f"era {text!r} is not an era label; write the number of its week as '0001', 'era1' or 1, or a date as "
        "'2017-01-06'"
    )


def _week(text: str) -> int | None:
    """Return the week of a date, counted from 1900; None if it is no date."""
    match = _DATE.fullmatch(text)
    if match is None:
        return None
    try:
        day = date(int(match.group(1)), int(match.group(3)), int(match.group(4)))
    except ValueError:
        return None
    return (day - _FIRST_MONDAY).days // 7 + 1
