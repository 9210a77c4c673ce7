"""The parquet artifacts of trials and ensembles: predictions, scores and learning curve of each era."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from signal_miner.engine.trial import BEST, DRAWN, FoldResult, TrialResult
from signal_miner.engine.validation_rows import FoldRows
from signal_miner.experiment.schema import BENCHMARK

PREDICTIONS = "predictions.parquet"
"""Index ``id``; ``era``, ``fold``, ``prediction``; of a trial float32, and beside it ``best_prediction`` (at the best
checkpoint); of an ensemble float64 in (0, 1)."""

ERA_SCORES = "era_scores.parquet"
"""A row an era: ``era``, ``fold``, ``corr``, ``bmc``, ``benchmark_corr``, the same against each of Numerai's
benchmarks, and ``best_corr``, ``best_bmc``, ``best_benchmark_corr`` at the best checkpoint."""

CURVE_SCORES = "curve_scores.parquet"
"""A row an era: ``era``, ``fold``, CORR at each checkpoint in a column named by its number of trees such as ``50``, and
BMC in ``bmc_50``; runs made before, and a trained benchmark, lack BMC."""


def write_artifacts(directory: Path, result: TrialResult, rows: Mapping[int, FoldRows]) -> None:
    """Write the three files of a trial; of one that a race stopped, its learning curve alone.

    Parameters
    ----------
    directory : Path
    result : TrialResult
    rows : mapping of int to FoldRows
        By fold number.
    """
    _write_frames(directory / CURVE_SCORES, [_curve_scores(part, rows, result.checkpoints) for part in result.folds])
    if result.stop is not None:
        return
    columns = {"prediction": DRAWN, "best_prediction": BEST}
    _write_predictions(directory, result.folds, rows, columns)
    _write_frames(directory / ERA_SCORES, [_era_scores(part, rows, best=True) for part in result.folds])


def write_ensemble_artifacts(directory: Path, folds: Sequence[FoldResult], rows: Mapping[int, FoldRows]) -> None:
    """Write predictions and era scores of a model of one column, as a trial's without what a best checkpoint has."""
    _write_predictions(directory, folds, rows, {"prediction": DRAWN})
    _write_frames(directory / ERA_SCORES, [_era_scores(part, rows, best=False) for part in folds])


def read_predictions(path: Path, column: str = "prediction") -> dict[int, NDArray[np.floating[Any]]]:
    """Return a column of the predictions of each fold, shape (n_rows,), by fold number."""
    table = pq.read_table(path, columns=["fold", column])
    fold, values = table.column("fold").to_numpy(), table.column(column).to_numpy()
    return {int(number): values[fold == number] for number in np.unique(fold)}


def _write_predictions(
    directory: Path, folds: Sequence[FoldResult], rows: Mapping[int, FoldRows], columns: Mapping[str, int]
) -> None:
    tables = []
    for part in folds:
        labels = rows[part.fold.number]
        fold = pa.array(np.full(len(labels.ids), part.fold.number, dtype=np.int8))
        predictions = {
            name: pa.array(np.ascontiguousarray(part.predictions[:, column])) for name, column in columns.items()
        }
        tables.append(pa.table({"era": labels.eras, "fold": fold, **predictions, "id": labels.ids}))
    table = pa.concat_tables(tables)
    # pandas makes `id` the index of what it reads by metadata of its own, which an empty frame gives.
    empty = table.schema.empty_table().to_pandas().set_index("id")
    table = table.replace_schema_metadata(pa.Schema.from_pandas(empty).metadata)
    pq.write_table(table, directory / PREDICTIONS, compression="zstd")


def _write_frames(path: Path, frames: Sequence[pd.DataFrame]) -> None:
    pd.concat(frames, ignore_index=True).to_parquet(path, index=False)


def _era_scores(part: FoldResult, rows: Mapping[int, FoldRows], *, best: bool) -> pd.DataFrame:
    scores = part.scores
    columns: dict[str, object] = {
        "era": rows[part.fold.number].era_labels,
        "fold": np.int8(part.fold.number),
        "corr": scores.corr[:, DRAWN],
        "bmc": scores.bmc[BENCHMARK][:, DRAWN],
        "benchmark_corr": scores.benchmark_corr[BENCHMARK][:, DRAWN],
    }
    if best:
        columns["best_corr"] = scores.corr[:, BEST]
        columns["best_bmc"] = scores.bmc[BENCHMARK][:, BEST]
        columns["best_benchmark_corr"] = scores.benchmark_corr[BENCHMARK][:, BEST]
    for name in scores.bmc:
        if name != BENCHMARK:
            columns[f"{name}_bmc"] = scores.bmc[name][:, DRAWN]
            columns[f"{name}_benchmark_corr"] = scores.benchmark_corr[name][:, DRAWN]
    return pd.DataFrame(columns)


def _curve_scores(part: FoldResult, rows: Mapping[int, FoldRows], checkpoints: Sequence[int]) -> pd.DataFrame:
    frame = pd.DataFrame({"era": rows[part.fold.number].era_labels, "fold": np.int8(part.fold.number)})
    curves = [pd.DataFrame(part.curve, columns=[str(trees) for trees in checkpoints])]
    if part.bmc_curve is not None:
        curves.append(pd.DataFrame(part.bmc_curve, columns=[f"bmc_{trees}" for trees in checkpoints]))
    return pd.concat([frame, *curves], axis=1)
