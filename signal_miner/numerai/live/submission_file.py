"""The file of a submission: checked, written as CSV, compared with Numerai's copy."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
from numerai_tools.submissions import validate_submission_numerai

from signal_miner.errors import UserError

TOLERANCE = 1e-6
"""Largest difference between a prediction that was sent and the one that Numerai gives back."""


def checked_submission(predictions: pd.DataFrame, live_ids: pd.Index) -> pd.DataFrame:
    """Convert predictions into the form that Numerai accepts, and check them as Numerai does.

    Parameters
    ----------
    predictions : pandas.DataFrame
        Column ``prediction``, index the ids, in any order.

    Returns
    -------
    pandas.DataFrame
        Columns ``id`` and ``prediction`` (float64), in the order of `live_ids`.

    Raises
    ------
    UserError
        If an id is missing or unknown, a prediction is not strictly between 0 and 1, all are equal, or
        ``numerai_tools.submissions.validate_submission_numerai`` finds something.
    """
    if "prediction" not in predictions:
        raise _refusal("there is no column 'prediction'")
    if not predictions.index.is_unique:
        raise _refusal("an id has more than one prediction")
    absent, unknown = live_ids.difference(predictions.index), predictions.index.difference(live_ids)
    if len(absent) or len(unknown):
        raise _refusal(f"{len(absent):,} live ids have none, {len(unknown):,} are for ids that are not live")
    values = predictions["prediction"].loc[live_ids].to_numpy(np.float64)
    inside = (values > 0) & (values < 1)  # false for NaN, too
    if not inside.all():
        raise _refusal(f"{int((~inside).sum()):,} of {len(values):,} are not strictly between 0 and 1")
    if np.ptp(values) == 0:
        raise _refusal("all are equal")
    submission = pd.DataFrame({"id": np.asarray(live_ids, dtype=object), "prediction": values})
    try:
        validate_submission_numerai(pd.Series(np.asarray(live_ids, dtype=object)), submission)
    except AssertionError as error:  # how numerai_tools refuses
        raise _refusal(" ".join(str(error).split())) from None
    return submission


def as_csv(submission: pd.DataFrame) -> bytes:
    """Return a submission as the bytes that are written and uploaded."""
    return submission.to_csv(index=False, lineterminator="\n").encode()


def same_predictions(body: bytes, other: bytes) -> bool:
    """Whether two files have the same ids, in any order, and predictions equal to `TOLERANCE`."""
    try:
        frames = [pd.read_csv(io.BytesIO(each), dtype={"id": str}).set_index("id") for each in (body, other)]
        values = [frame.sort_index()["prediction"] for frame in frames]
    except (ValueError, KeyError):  # not such a file
        return False
    if not values[0].index.equals(values[1].index):
        return False
    return bool(np.allclose(values[0].to_numpy(float), values[1].to_numpy(float), rtol=0, atol=TOLERANCE))


def _refusal(what: str) -> UserError:
    return UserError(f"the predictions are no submission: {what}; check the model on this live data")
