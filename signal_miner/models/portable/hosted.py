"""A ``predict.pkl`` tried under the conditions of Numerai's hosted runner, before it is uploaded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from signal_miner.errors import UserError
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
    with tempfile.TemporaryDirectory(prefix="signal-miner-") as name:
        job = Path(name)
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
                timeout=HOSTED_SECONDS,
                check=False,
                start_new_session=os.name == "posix",  # a Ctrl-C is ours to answer, not the check's
            )
        except subprocess.TimeoutExpired as error:
            raise UserError(
                f"{refused}: it takes more than {HOSTED_SECONDS:g} s; use fewer or smaller members"
            ) from error
        seconds = time.perf_counter() - started
        if ended.returncode != 0 or not (job / "outcome.json").exists():
            last = (ended.stderr.strip().splitlines() or ["no message"])[-1]
            raise UserError(f"{refused}: the interpreter ended with code {ended.returncode} ({last}); write it again")
        outcome: dict[str, Any] = json.loads((job / "outcome.json").read_text(encoding="utf-8"))
        if outcome["reason"] is not None:
            raise UserError(f"{refused}: {outcome['reason']}")
        peak = int(outcome["peak_memory_bytes"])
        if peak > HOSTED_MEMORY_BYTES:
            raise UserError(
                f"{refused}: it takes {peak / 1024**3:.1f} GB of {HOSTED_MEMORY_BYTES / 1024**3:g}; "
                "use fewer or smaller members"
            )
        return HostedCheck(seconds, peak, _read_predictions(job, live_features, refused))


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


def _read_predictions(job: Path, live_features: pd.DataFrame, refused: str) -> pd.DataFrame:
    """Return the predictions under the ids of the live features, which they must match one to one."""
    table = pd.read_csv(job / "predictions.csv", dtype=str, keep_default_na=False, index_col="id")
    predictions = table.iloc[:, [0]].astype(np.float64)  # as Python reads a number: exactly what was written
    ids = pd.Index(live_features["id"] if "id" in live_features.columns else live_features.index, name="id")
    places = pd.Index(ids.astype(str)).get_indexer(predictions.index.astype(str))
    if len(predictions) != len(ids) or len(set(places.tolist()) - {-1}) != len(ids):
        raise UserError(
            f"{refused}: it does not predict each of the {len(ids)} ids once; predict the rows as they come"
        )
    predictions.index = ids[places]
    return predictions
