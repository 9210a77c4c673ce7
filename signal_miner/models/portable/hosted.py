"""A ``predict.pkl`` run in a process of its own: tried as Numerai's hosted runner would, or to predict live data."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from signal_miner.errors import UserError
from signal_miner.utils.files import temporary_directory
from signal_miner.utils.redaction import reason_of

HOSTED_SECONDS = 600.0
"""Wall-clock time that Numerai's hosted runner gives a model."""

HOSTED_MEMORY_BYTES = 4 * 1024**3
"""Resident memory that it gives a model."""

# Enough to start an interpreter, and none of the keys that an environment may hold.
_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT", "TMPDIR", "TEMP", "TMP", "LANG", "LC_ALL")
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


@dataclass(frozen=True, eq=False)
class HostedCheck:
    """What a run under the hosted runner's conditions took and gave.

    Attributes
    ----------
    seconds : float
        Wall clock, from the start of the interpreter to its end.
    peak_memory_bytes : int
        Largest resident memory of that process.
    predictions : pandas.DataFrame
        First column of what the function returned, float64, indexed as the live features are.
    """

    seconds: float
    peak_memory_bytes: int
    predictions: pd.DataFrame


def check_as_hosted(path: Path, live_features: pd.DataFrame, live_benchmark_models: pd.DataFrame | None) -> HostedCheck:
    """Run a ``predict.pkl`` as Numerai's hosted runner does: a fresh interpreter, one thread, none of our code.

    Parameters
    ----------
    live_features : pandas.DataFrame
        Indexed by ``id``, or with the column ``id``.
    live_benchmark_models : pandas.DataFrame or None
        Numerai's live benchmark predictions, indexed by ``id``.

    Raises
    ------
    UserError
        If the runner would not accept the file or what it returns, or if it takes more than `HOSTED_SECONDS` or
        `HOSTED_MEMORY_BYTES`; the message names the check.
    """
    refused = f"Numerai's hosted runner would refuse {path.name}"
    try:
        outcome = _run(path, live_features, live_benchmark_models, HOSTED_SECONDS)
    except _Refusal as error:
        raise UserError(f"{refused}: {error}") from None
    if outcome.peak_memory_bytes > HOSTED_MEMORY_BYTES:
        raise UserError(
            f"{refused}: it takes {outcome.peak_memory_bytes / 1024**3:.1f} GB of {HOSTED_MEMORY_BYTES / 1024**3:g}; "
            "use fewer or smaller members"
        )
    return outcome


def predict_apart(path: Path, live_features: pd.DataFrame, live_benchmark_models: pd.DataFrame | None) -> pd.DataFrame:
    """Predict with a ``predict.pkl`` in a process of its own, whose environment holds no keys; without limits.

    Returns
    -------
    pandas.DataFrame
        Column ``prediction``, indexed by the ids of the live features.

    Raises
    ------
    UserError
        If the model refuses the live data, the file cannot be loaded, or what it returns is no predictions.
    """
    try:
        return _run(path, live_features, live_benchmark_models, None).predictions.set_axis(["prediction"], axis=1)
    except _Refusal as error:
        raise UserError(error.by_model or f"{path.name} does not predict: {error}") from None


class _Refusal(Exception):
    """What the runner does not accept; `by_model` is the model's own message where it refuses the live data."""

    def __init__(self, reason: str, by_model: str = "") -> None:
        super().__init__(reason)
        self.by_model = by_model


def _run(
    path: Path, live_features: pd.DataFrame, live_benchmark_models: pd.DataFrame | None, timeout_seconds: float | None
) -> HostedCheck:
    with temporary_directory() as job:
        _write_job(job, path, live_features, live_benchmark_models)
        started = time.perf_counter()
        try:
            ended = subprocess.run(
                [sys.executable, "-I", str(Path(__file__).with_name("hosted_runner.py")), "."],
                cwd=job,
                env=_environment(),
                capture_output=True,
                text=True,
                errors="replace",
                timeout=timeout_seconds,
                check=False,
                start_new_session=os.name == "posix",  # a Ctrl-C is ours to answer, not the check's
            )
        except subprocess.TimeoutExpired:
            raise _Refusal(f"it takes more than {timeout_seconds:g} s; use fewer or smaller members") from None
        seconds = time.perf_counter() - started
        if ended.returncode != 0 or not (job / "outcome.json").exists():
            last = (ended.stderr.strip().splitlines() or ["no message"])[-1]
            raise _Refusal(f"the interpreter ended with code {ended.returncode} ({last}); write it again")
        outcome: dict[str, Any] = json.loads((job / "outcome.json").read_text(encoding="utf-8"))
        if outcome["reason"] is not None:
            raise _Refusal(outcome["reason"], outcome.get("by_model", ""))
        return HostedCheck(seconds, int(outcome["peak_memory_bytes"]), _read_predictions(job, live_features))


def _write_job(job: Path, path: Path, live_features: pd.DataFrame, live_benchmark_models: pd.DataFrame | None) -> None:
    """Lay out what `signal_miner.models.portable.hosted_runner` reads."""
    try:
        (job / "predict.pkl").write_bytes(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path} cannot be read ({reason_of(error)}); write it with write_predict") from error
    for name, frame in (("live_features", live_features), ("live_benchmark_models", live_benchmark_models)):
        if frame is None:
            continue
        try:
            frame.to_parquet(job / f"{name}.parquet")
        except (TypeError, ValueError, NotImplementedError) as error:
            reason = reason_of(error)
            raise UserError(
                f"{name} cannot be written as parquet ({reason}); give them as Numerai publishes them"
            ) from error


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    return kept | dict.fromkeys(_ONE_THREAD, "1")


def _read_predictions(job: Path, live_features: pd.DataFrame) -> pd.DataFrame:
    """Return the predictions under the ids of the live features, which they must match one to one."""
    table = pd.read_csv(job / "predictions.csv", dtype=str, keep_default_na=False, index_col="id")
    predictions = table.iloc[:, [0]].astype(np.float64)  # as Python reads a number: exactly what was written
    ids = pd.Index(live_features["id"] if "id" in live_features.columns else live_features.index, name="id")
    places = pd.Index(ids.astype(str)).get_indexer(predictions.index.astype(str))
    if len(predictions) != len(ids) or len(set(places.tolist()) - {-1}) != len(ids):
        raise _Refusal(f"it does not predict each of the {len(ids)} ids once; predict the rows as they come")
    predictions.index = ids[places]
    return predictions
