"""CPU seconds of our scores beside those of ``numerai_tools`` called era by era.

``python -m benchmarks.scoring`` prints one table. Both sides score the same columns in the same run;
``numerai_tools`` the first ``--oracle-eras`` eras only, so the ratio is of the seconds an era. The scores of those
eras are compared too.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import pandas as pd
from numerai_tools.scoring import correlation_contribution, numerai_corr
from numpy.typing import NDArray

from signal_miner.scoring.scorer import Scorer

TARGET_VALUES, TARGET_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0), (0.05, 0.2, 0.5, 0.2, 0.05)

Result = TypeVar("Result")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--eras", type=int, default=500)
    parser.add_argument("--rows", type=int, default=5000, help="rows an era")
    parser.add_argument("--columns", type=int, default=20, help="prediction columns (checkpoints)")
    parser.add_argument("--oracle-eras", type=int, default=25, help="eras that numerai_tools scores")
    parser.add_argument("--distinct", type=int, default=0, help="distinct values a column; 0: no limit")
    parser.add_argument("--repeats", type=int, default=3, help="runs of ours; the fastest counts")
    options = parser.parse_args()
    n_compared = min(options.oracle_eras, options.eras)
    compared = slice(0, n_compared * options.rows)

    rng = np.random.default_rng(0)
    n_rows = options.eras * options.rows
    eras = np.repeat(np.arange(1, options.eras + 1), options.rows)
    target = rng.choice(TARGET_VALUES, size=n_rows, p=TARGET_SHARES)
    benchmark = rng.standard_normal(n_rows, dtype=np.float32)
    predictions = rng.random((n_rows, options.columns), dtype=np.float32)
    if options.distinct:
        predictions = np.floor(predictions * options.distinct)

    with_corr, prepare_corr = timed(lambda: Scorer(eras, target))
    with_bmc, prepare_bmc = timed(lambda: with_corr.with_benchmark("benchmark", benchmark))
    corr, corr_seconds = fastest(lambda: with_corr.corr(predictions), options.repeats)
    _, column_seconds = fastest(lambda: with_corr.corr(predictions[:, 0]), options.repeats)
    scores, score_seconds = fastest(lambda: with_bmc.score(predictions), options.repeats)
    oracle_corr, oracle_corr_seconds = timed(
        lambda: groupby_corr(eras[compared], target[compared], predictions[compared])
    )
    _, oracle_column_seconds = timed(lambda: groupby_corr(eras[compared], target[compared], predictions[compared, :1]))
    oracle_bmc, oracle_bmc_seconds = timed(
        lambda: groupby_bmc(eras[compared], target[compared], benchmark[compared], predictions[compared])
    )

    print(f"{options.eras} eras x {options.rows} rows of float32, one thread; CPU seconds, prepared once:")
    print(f"target {prepare_corr:.3f} s, benchmark {prepare_bmc:.3f} s")
    print(f"numerai_tools: the first {n_compared} of the eras, groupby era; ratio of the seconds an era\n")
    heads = f"{'score':<36}{'columns':>8}{'ours':>9}{'numerai_tools':>15}"
    print(f"{heads}{'ours/era':>12}{'theirs/era':>12}{'ratio':>8}{'difference':>12}")
    corr_difference = np.abs(corr[:n_compared] - oracle_corr).max()
    bmc_difference = np.abs(scores.bmc["benchmark"][:n_compared] - oracle_bmc).max()
    for name, columns, seconds, oracle_seconds, difference in (
        ("CORR", options.columns, corr_seconds, oracle_corr_seconds, corr_difference),
        ("CORR", 1, column_seconds, oracle_column_seconds, corr_difference),
        ("BMC (ours: all scores)", options.columns, score_seconds, oracle_bmc_seconds, bmc_difference),
        (
            "CORR and BMC (ours: all scores)",
            options.columns,
            score_seconds,
            oracle_corr_seconds + oracle_bmc_seconds,
            max(corr_difference, bmc_difference),
        ),
    ):
        ours, theirs = seconds / options.eras, oracle_seconds / n_compared
        print(
            f"{name:<36}{columns:>8}{seconds:>9.3f}{oracle_seconds:>15.3f}{ours:>12.6f}{theirs:>12.6f}"
            f"{theirs / ours:>7.1f}x{difference:>12.1e}"
        )


def groupby_corr(
    eras: NDArray[np.int64], target: NDArray[np.float64], predictions: NDArray[np.float32]
) -> NDArray[np.float64]:
    frame = pd.DataFrame(predictions).add_prefix("model_")
    models = list(frame.columns)
    frame["target"] = target
    by_era = frame.groupby(eras)
    return by_era.apply(lambda era: numerai_corr(era[models], era["target"])).to_numpy()


def groupby_bmc(
    eras: NDArray[np.int64],
    target: NDArray[np.float64],
    benchmark: NDArray[np.float32],
    predictions: NDArray[np.float32],
) -> NDArray[np.float64]:
    frame = pd.DataFrame(predictions).add_prefix("model_")
    models = list(frame.columns)
    frame["target"], frame["benchmark"] = target, benchmark
    by_era = frame.groupby(eras)
    return by_era.apply(lambda era: correlation_contribution(era[models], era["benchmark"], era["target"])).to_numpy()


def timed(function: Callable[[], Result]) -> tuple[Result, float]:
    start = time.process_time()
    result = function()
    return result, time.process_time() - start


def fastest(function: Callable[[], Result], repeats: int) -> tuple[Result, float]:
    runs = [timed(function) for _ in range(repeats)]
    return runs[-1][0], min(seconds for _, seconds in runs)


if __name__ == "__main__":
    main()
