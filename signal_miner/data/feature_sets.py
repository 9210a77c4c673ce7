"""Feature sets: the columns that ``features.json`` lists under a name."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from signal_miner.errors import UserError, did_you_mean


def features_of(source: Path, feature_set: str, names: Sequence[str]) -> tuple[str, ...]:
    """Return the columns of a feature set.

    Parameters
    ----------
    source : Path
        Data directory, or a single file.
    feature_set : str
        Key of ``feature_sets`` in ``features.json``; ``all`` where there is none.
    names : sequence of str
        Columns of the data.

    Returns
    -------
    tuple of str

    Raises
    ------
    UserError
        If there is no such set, or it lists what the data lack.
    """
    file = source / "features.json"
    if not file.is_file():
        if feature_set != "all":
            raise UserError(f'feature_set = {feature_set!r} needs a features.json, and {source} has none; use "all"')
        features = tuple(name for name in names if name.startswith("feature"))
        if not features:
            raise UserError(f"{source} has no column whose name starts with 'feature'; name the features so")
        return features
    try:
        sets = json.loads(file.read_text(encoding="utf-8"))["feature_sets"]
        listed = sets.get(feature_set)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{file} is not Numerai's features.json ({error}); download it again") from error
    if listed is None:
        raise UserError(f"feature_set = {feature_set!r} is not in {file}{did_you_mean(feature_set, sets)}")
    if not isinstance(listed, list) or not listed or not all(isinstance(name, str) for name in listed):
        raise UserError(f"feature_set = {feature_set!r} in {file} is no list of features; name another")
    foreign = next((name for name in listed if not name.startswith("feature")), None)
    if foreign is not None:
        raise UserError(f"feature_set = {feature_set!r} in {file} holds {foreign!r}, which is no feature; take it out")
    known = set(names)
    missing = [name for name in listed if name not in known]
    if missing:
        raise UserError(
            f"{len(missing)} features of set {feature_set!r} are not in train.parquet, such as {missing[0]!r}; "
            "download features.json and train.parquet of one version"
        )
    return tuple(listed)
