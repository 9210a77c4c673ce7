"""Runs one ``predict.pkl`` as Numerai's hosted runner does, and reports; a script, not a module of the package.

``python -I hosted_runner.py JOB``: the directory JOB has ``predict.pkl``, ``live_features.parquet`` (or ``.csv``) and,
where there are any, ``live_benchmark_models.parquet`` (or ``.csv``). It gets ``outcome.json`` (``reason``, null where
every check holds; ``load_seconds``, ``predict_seconds``, ``peak_memory_bytes``) and ``predictions.csv``.

The checks are those of ``predict.py`` in Numerai's public repository ``numerai-predict``, and that the index is named
``id``. It needs pandas alone, and runs on every hosted Python.
"""

from __future__ import annotations

import inspect
import json
import sys
import time
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any

OURS = "signal_miner"


class Refusal(Exception):
    """What the hosted runner does not accept, in one line with the repair."""


class _NotThere(MetaPathFinder):
    """Hides our package, which the hosted runner does not have, even where it is installed."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> None:
        if fullname.split(".")[0] == OURS:
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)


def run(job: Path, report: dict[str, Any]) -> Any:
    """Load, call and check; return the predictions, a frame.

    Parameters
    ----------
    job : Path
        The directory described above.
    report : dict
        Gets ``load_seconds`` and ``predict_seconds``; ``by_model`` where the model itself refuses the live data.

    Raises
    ------
    Refusal
        If the hosted runner would not accept the file or what it returns.
    """
    import pandas as pd  # here, so that its import counts neither as loading nor as an import error of the model

    started = time.perf_counter()
    try:
        predict = pd.read_pickle(job / "predict.pkl")
    except Exception as error:
        raise Refusal(f"it cannot be loaded ({said(error)}); write it with write_predict") from error
    report["load_seconds"] = time.perf_counter() - started
    try:
        count = len(inspect.signature(predict).parameters)
    except (TypeError, ValueError) as error:
        raise Refusal(f"it holds a {type(predict).__name__}, which cannot be called; pickle a function") from error
    if count not in (1, 2):
        raise Refusal(
            f"the function takes {count} arguments; it must take live features, or live features and benchmarks"
        )
    arguments = [read(job, "live_features"), read(job, "live_benchmark_models")][:count]
    started = time.perf_counter()
    try:
        predictions = predict(*arguments)
    except Exception as error:
        if isinstance(error, (ValueError, TypeError)):
            report["by_model"] = " ".join(str(error).split())
        raise Refusal(f"the function fails: {said(error)}") from error
    report["predict_seconds"] = time.perf_counter() - started
    if type(predictions) is not pd.DataFrame:
        raise Refusal(f"the function returns a {type(predictions).__name__}; it must return a pandas.DataFrame")
    if len(predictions) == 0 or len(predictions.columns) == 0:
        raise Refusal("the function returns no predictions; it must return a row for each id")
    if predictions.isna().any().any():
        raise Refusal("the function returns NaN predictions; it must predict every row")
    try:
        within = bool(predictions.iloc[:, 0].between(0, 1).all())
    except TypeError as error:
        raise Refusal(f"the first column is no numbers ({said(error)}); it must lie between 0 and 1") from error
    if not within:
        raise Refusal("the first column is outside [0, 1]; return ranks between 0 and 1")
    if predictions.index.name != "id":
        raise Refusal(f"the index is named {predictions.index.name!r}; it must be 'id'")
    return predictions


def read(job: Path, name: str) -> Any:
    """Return a frame of the job, indexed as it was written; None where there is none."""
    import pandas as pd

    parquet, csv = job / f"{name}.parquet", job / f"{name}.csv"
    if parquet.exists():
        return pd.read_parquet(parquet)
    if csv.exists():
        frame = pd.read_csv(csv, index_col="id", dtype=str)
        numbers = [column for column in frame if column not in ("era", "data_type")]
        return frame.astype(dict.fromkeys(numbers, float))
    return None


def said(error: BaseException) -> str:
    """Return an error's type and first line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def peak_memory_bytes() -> int:
    """Return the largest resident memory this process has had."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would count what the parent had at the fork
        for line in status.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    if sys.platform == "win32":
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def main(job: Path) -> None:
    """Run the job and write its outcome."""
    sys.meta_path.insert(0, _NotThere())
    report: dict[str, Any] = {"reason": None}
    try:
        run(job, report).to_csv(job / "predictions.csv")
    except Refusal as refusal:
        report["reason"] = str(refusal)
    report["peak_memory_bytes"] = peak_memory_bytes()
    (job / "outcome.json").write_text(json.dumps(report), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
