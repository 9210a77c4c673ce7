"""A trial's parquet artifacts: predictions, scores of each era, and the learning curve of each era."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from signal_miner.plan import BENCHMARK
from signal_miner.trial import BEST, DRAWN, TrialResult

PREDICTIONS = "predictions.parquet"
"""Index ``id``; ``era``, ``fold``, ``prediction`` and ``best_prediction`` (at the best checkpoint), both float32."""

ERA_SCORES = "era_scores.parquet"
"""A row an era: ``era``, ``fold``, ``corr``, ``bmc``, ``benchmark_corr``, the same against each of Numerai's
benchmarks, and ``best_corr``, ``best_bmc``, ``best_benchmark_corr`` at the best checkpoint."""

CURVE_SCORES = "curve_scores.parquet"
"""A row an era: ``era``, ``fold``, and CORR at each checkpoint in a column named by its number of trees."""


@dataclass(frozen=True, eq=False)
class FoldRows:
    """Labels of a fold's validation rows.

    Attributes
    ----------
    ids, eras : pyarrow.Array of string
        Id and era label of each row.
    era_labels : tuple of str
        The eras, ascending.
    """

    ids: pa.Array
    eras: pa.Array
    era_labels: tuple[str, ...]


@contextmanager
def temporary_directory() -> Iterator[Path]:
    """Give a directory for a trial's files that goes away after use."""
    with tempfile.TemporaryDirectory(prefix="signal-miner-") as directory:
        yield Path(directory)


def write_artifacts(directory: Path, result: TrialResult, rows: Mapping[int, FoldRows]) -> None:
    """Write the three files of a trial.

    Parameters
    ----------
    directory : Path
    result : TrialResult
    rows : mapping of int to FoldRows
        By fold number.
    """
    pq.write_table(_predictions(result, rows), directory / PREDICTIONS, compression="zstd")
    pd.concat([_era_scores(result, rows, index) for index in range(len(result.folds))], ignore_index=True).to_parquet(
        directory / ERA_SCORES, index=False
    )
    pd.concat([_curve_scores(result, rows, index) for index in range(len(result.folds))], ignore_index=True).to_parquet(
        directory / CURVE_SCORES, index=False
    )


def read_predictions(path: Path) -> dict[int, NDArray[np.float32]]:
    """Return the predictions of each fold, shape (n_rows, 2): at the drawn trees and at the best checkpoint."""
    table = pq.read_table(path, columns=["fold", "prediction", "best_prediction"])
    fold = table.column("fold").to_numpy()
    columns = np.column_stack([table.column("prediction").to_numpy(), table.column("best_prediction").to_numpy()])
    return {int(number): np.asfortranarray(columns[fold == number]) for number in np.unique(fold)}


def _predictions(result: TrialResult, rows: Mapping[int, FoldRows]) -> pa.Table:
    tables = []
    for part in result.folds:
        labels = rows[part.fold.number]
        tables.append(
            pa.table(
                {
                    "era": labels.eras,
                    "fold": pa.array(np.full(len(labels.ids), part.fold.number, dtype=np.int8)),
                    "prediction": pa.array(np.ascontiguousarray(part.predictions[:, DRAWN])),
                    "best_prediction": pa.array(np.ascontiguousarray(part.predictions[:, BEST])),
                    "id": labels.ids,
                }
            )
        )
    table = pa.concat_tables(tables)
    # Only an empty frame knows how pandas wants to be told that `id` is the index.
    empty = table.schema.empty_table().to_pandas().set_index("id")
    return table.replace_schema_metadata(pa.Schema.from_pandas(empty).metadata)


def _era_scores(result: TrialResult, rows: Mapping[int, FoldRows], index: int) -> pd.DataFrame:
    part = result.folds[index]
    scores = part.scores
    columns: dict[str, object] = {
        "era": rows[part.fold.number].era_labels,
        "fold": np.int8(part.fold.number),
        "corr": scores.corr[:, DRAWN],
        "bmc": scores.bmc[BENCHMARK][:, DRAWN],
        "benchmark_corr": scores.benchmark_corr[BENCHMARK][:, DRAWN],
        "best_corr": scores.corr[:, BEST],
        "best_bmc": scores.bmc[BENCHMARK][:, BEST],
        "best_benchmark_corr": scores.benchmark_corr[BENCHMARK][:, BEST],
    }
    for name in scores.bmc:
        if name != BENCHMARK:
            columns[f"{name}_bmc"] = scores.bmc[name][:, DRAWN]
            columns[f"{name}_benchmark_corr"] = scores.benchmark_corr[name][:, DRAWN]
    return pd.DataFrame(columns)


def _curve_scores(result: TrialResult, rows: Mapping[int, FoldRows], index: int) -> pd.DataFrame:
    part = result.folds[index]
    frame = pd.DataFrame({"era": rows[part.fold.number].era_labels, "fold": np.int8(part.fold.number)})
    curve = pd.DataFrame(part.curve, columns=[str(trees) for trees in result.checkpoints])
    return pd.concat([frame, curve], axis=1)
