"""``predict.pkl``: an ensemble in one file that Numerai's hosted runner loads on every Python it has.

An ordinary pickled function carries bytecode, which another Python refuses or crashes on. This one carries source text,
`signal_miner.models.portable.predict_source`, and LightGBM's model texts; nothing but builtins is needed to rebuild it.
"""

from __future__ import annotations

import io
import pickle
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from math import fsum, isclose, isfinite
from pathlib import Path
from typing import Any

import pandas as pd

from signal_miner.data.feature_values import FeatureValues
from signal_miner.ensemble.members import FEATURES, OWN_BENCHMARK, Neutralization
from signal_miner.errors import UserError, did_you_mean
from signal_miner.models.portable.booster_text import BoosterText
from signal_miner.utils.files import write_whole
from signal_miner.utils.redaction import reason_of

Predict = Callable[[pd.DataFrame, "pd.DataFrame | None"], pd.DataFrame]
"""``predict(live_features, live_benchmark_models)``; the latter may be None where no column of it is needed."""

_PROTOCOL = 4  # known to every hosted Python
_COMPRESSION = 9

# The lines are given to linecache so that a traceback can show them.
_REBUILD = (
    "[__import__('linecache').cache.__setitem__(name, (len(source), None, source.splitlines(True), name)), "
    "exec(compile(source, name, 'exec'), namespace), "
    "namespace['build_predict'](**spec)][-1]"
)
_SOURCE_NAME = "predict.pkl"


@dataclass(frozen=True)
class PortableModel:
    """All that ``predict.pkl`` holds.

    Attributes
    ----------
    features : tuple of str
        In the order the boosters were trained in.
    boosters : tuple of str
        LightGBM model text (``Booster.model_to_string()``) of each member, cut at its number of trees.
    weights : tuple of float
        Each member's share of the blend; above 0, and 1 together.
    neutralization : Neutralization or None
        What is taken out of the blend, if anything.
    benchmark_booster : str or None
        Model text of the study's benchmark, where it is neutralised to that.
    nullable_features : tuple of str
        Features that were NaN somewhere in training.
    values : tuple of FeatureValues
        Of each feature in training; other ones are refused. Empty where they are not known: nothing is refused then.
    constant_features : tuple of str
        Features that were constant in a whole era, and may be again.
    """

    features: tuple[str, ...]
    boosters: tuple[str, ...]
    weights: tuple[float, ...]
    neutralization: Neutralization | None
    benchmark_booster: str | None
    nullable_features: tuple[str, ...]
    values: tuple[FeatureValues, ...] = ()
    constant_features: tuple[str, ...] = ()


def write_predict(model: PortableModel, path: Path) -> None:
    """Write or replace ``predict.pkl``, whole or not at all; the same model gives the same bytes.

    Raises
    ------
    UserError
        If the model's parts do not fit together or the file cannot be written.
    """
    _validate(model)
    buffer = io.BytesIO()
    pickler = pickle.Pickler(buffer, protocol=_PROTOCOL)
    # Without a memo the bytes depend on values alone, not on which strings happen to be one object.
    pickler.fast = True
    pickler.dump(_Rebuilt(model))
    write_whole(path, buffer.getvalue())


def load_predict(path: Path) -> Predict:
    """Return the function that a ``predict.pkl`` holds. This runs the code in the file: load only what you trust.

    Returns
    -------
    callable
        ``predict(live_features, live_benchmark_models)``. It raises ValueError, in one line with the repair, where the
        live data are not what the model needs.

    Raises
    ------
    UserError
        If the file cannot be read, or holds no function.
    """
    try:
        with path.open("rb") as file:
            predict: Predict = pickle.load(file)
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist; write it with write_predict, or name another file") from error
    except Exception as error:
        raise UserError(f"{path} cannot be loaded ({reason_of(error)}); write it again with write_predict") from error
    if not callable(predict):
        raise UserError(f"{path} holds a {type(predict).__name__}, not a function; write it again with write_predict")
    return predict


class _Rebuilt:
    """Pickles as a call of ``eval`` that rebuilds the function from text."""

    def __init__(self, model: PortableModel) -> None:
        self._model = model

    def __reduce__(self) -> tuple[Any, tuple[str, dict[str, Any]]]:
        source = Path(__file__).with_name("predict_source.py").read_text(encoding="utf-8")
        namespace = {"__name__": "predict"}
        return eval, (
            _REBUILD,
            {"name": _SOURCE_NAME, "source": source, "namespace": namespace, "spec": _spec(self._model)},
        )


def _spec(model: PortableModel) -> dict[str, Any]:
    """Return the arguments of `predict_source.build_predict`."""
    neutralization = model.neutralization
    column = None if neutralization is None else neutralization.numerai_column
    to = None
    if neutralization is not None:
        to = {FEATURES: "features", OWN_BENCHMARK: "benchmark"}.get(neutralization.to, "column")
    return {
        "features": [str(feature) for feature in model.features],
        "boosters": [_compressed(text) for text in model.boosters],
        "weights": [float(weight) for weight in model.weights],
        "neutralize_to": to,
        "proportion": 0.0 if neutralization is None else float(neutralization.proportion),
        "benchmark_booster": None if model.benchmark_booster is None else _compressed(model.benchmark_booster),
        "benchmark_column": column,
        "nullable_features": [str(feature) for feature in model.nullable_features],
        "levels": _levels(model.values),
        "ranges": [
            [number, each.low, each.high]
            for number, each in enumerate(model.values)
            if not each.levels and isfinite(each.low)
        ],
        "constant_features": [str(feature) for feature in model.constant_features],
    }


def _levels(values: tuple[FeatureValues, ...]) -> list[list[list[Any]]]:
    """Return pairs of levels and the positions of the features that may have them.

    A feature may also have the levels of another that has all of its own: one that did not exist in the eras of
    training has a single level there, as all have in which Numerai lacks it, and others later.
    """
    positions: dict[tuple[float, ...], list[int]] = {}
    for number, each in enumerate(values):
        if each.levels:
            positions.setdefault(each.levels, []).append(number)
    sets = [frozenset(levels) for levels in positions]
    return [
        [sorted(frozenset().union(*(other for other in sets if other.issuperset(levels)))), numbers]
        for levels, numbers in positions.items()
    ]


def _compressed(text: str) -> bytes:
    return zlib.compress(text.encode(), _COMPRESSION)


def _validate(model: PortableModel) -> None:
    if not model.features or len(set(model.features)) != len(model.features):
        raise UserError(f"features has {len(model.features)} names, some twice or none; give each feature once")
    if not model.boosters or len(model.boosters) != len(model.weights):
        raise UserError(f"{len(model.boosters)} boosters have {len(model.weights)} weights; give one weight for each")
    if not all(isfinite(weight) and weight > 0 for weight in model.weights):
        raise UserError(
            f"weights are {_shown(model.weights)}; each must be finite and above 0: leave out members without"
        )
    if not isclose(fsum(model.weights), 1.0, abs_tol=1e-9):
        raise UserError(f"weights add up to {fsum(model.weights):.10g}; they must to 1: divide each by their sum")
    unknown = [feature for feature in model.nullable_features if feature not in set(model.features)]
    if unknown:
        raise UserError(f"nullable feature {unknown[0]!r} is no feature{did_you_mean(unknown[0], model.features)}")
    if len(model.values) not in (0, len(model.features)):
        raise UserError(f"{len(model.features)} features have values of {len(model.values)}; give those of each")
    neutralization = model.neutralization
    if neutralization is not None and not 0 <= neutralization.proportion <= 1:
        raise UserError(f"neutralization proportion {neutralization.proportion} is outside [0, 1]; choose one within")
    needed = neutralization is not None and neutralization.to == OWN_BENCHMARK
    if needed != (model.benchmark_booster is not None):
        raise UserError(
            f"neutralization to {OWN_BENCHMARK!r} and a benchmark booster go together; give "
            + ("the booster" if needed else "none without it")
        )
    for number, text in enumerate(model.boosters):
        _validate_booster(f"booster {number}", text, model.features)
    if model.benchmark_booster is not None:
        _validate_booster("the benchmark booster", model.benchmark_booster, model.features)


def _validate_booster(name: str, text: str, features: tuple[str, ...]) -> None:
    """Check that a model text takes the features in their order."""
    try:
        header = BoosterText.parse(text)
    except ValueError:
        raise UserError(f"{name} is no LightGBM model text; give Booster.model_to_string()") from None
    if header.outputs != 1:
        raise UserError(f"{name} predicts {header.outputs} classes; give a regression booster")
    if header.feature_count != len(features):
        raise UserError(
            f"{name} was trained on {header.feature_count} features, not {len(features)}; give those it was trained on"
        )
    for own, given in zip(header.feature_names, features, strict=False) if header.named else ():
        if own != given.replace(" ", "_"):
            raise UserError(f"{name} has feature {own!r} where features has {given!r}; give them in the trained order")


def _shown(weights: tuple[float, ...]) -> str:
    return ", ".join(f"{weight:g}" for weight in weights[:8]) + (", …" if len(weights) > 8 else "")
