"""A trial's scores as named metrics, and whether it beats the benchmark."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from signal_miner.plan import BENCHMARK
from signal_miner.scoring import max_drawdown, sharpe
from signal_miner.trial import BEST, DRAWN, FoldResult, TrialResult

_IN_SUMMARY = ("validation/sharpe", "test/sharpe", "validation/benchmark_corr")

VALIDATION, TEST, WHOLE = "validation", "test", "whole"


@dataclass(frozen=True)
class TrialMetrics:
    """What is logged of a trial.

    Attributes
    ----------
    values : mapping of str to float
        Metric name, such as ``validation/sharpe``, to value. A value that is not defined is left out.
    curves : mapping of str to tuple of float
        ``validation/corr_curve`` and ``test/corr_curve``: mean CORR at each checkpoint.
    checkpoints : tuple of int
        Numbers of trees of the curves' points.
    beats_benchmark : mapping of str to bool
        For ``validation`` and ``test``: whether CORR and Sharpe are both above the benchmark's.
    """

    values: Mapping[str, float]
    curves: Mapping[str, tuple[float, ...]]
    checkpoints: tuple[int, ...]
    beats_benchmark: Mapping[str, bool]

    @property
    def summary(self) -> str:
        """One sentence for a reader of the run's page."""
        value = {name: f"{self.values[name]:.2f}" if name in self.values else "not defined" for name in _IN_SUMMARY}
        beaten = [part for part, beats in self.beats_benchmark.items() if beats]
        return (
            f"Sharpe {value['validation/sharpe']} in validation, {value['test/sharpe']} in test; beats the benchmark "
            f"in {' and '.join(beaten) if beaten else 'neither'}; correlation with it "
            f"{value['validation/benchmark_corr']}; best in validation at {self.values['best/trees']:.0f} of "
            f"{self.checkpoints[-1]} trees."
        )


def sections(folds: Sequence[FoldResult]) -> dict[str, tuple[FoldResult, ...]]:
    """Return the folds of each part of the eras that scores are given for."""
    parts = {VALIDATION: tuple(folds[:-1]), TEST: tuple(folds[-1:]), WHOLE: tuple(folds)}
    return parts | {f"fold_{part.fold.number}": (part,) for part in folds}


def trial_metrics(result: TrialResult, benchmark_scores: Mapping[int, NDArray[np.float64]]) -> TrialMetrics:
    """Return a trial's metrics.

    Parameters
    ----------
    result : TrialResult
        Scored against `BENCHMARK`, and Numerai's columns where there are some.
    benchmark_scores : mapping of int to ndarray of float64, shape (n_eras,)
        The benchmark run's CORR of each validation era, by fold number.

    Returns
    -------
    TrialMetrics
        ``corr`` and the like are means over eras in which they are defined; CORR of an era in which all predictions
        are the same is not defined. ``<section>/undefined_eras`` counts such eras, less those in which the benchmark
        has none either.
    """
    values: dict[str, float] = {}
    beats = {}
    for name, folds in sections(result.folds).items():
        corr = _eras(folds, DRAWN)
        reference = np.concatenate([benchmark_scores[part.fold.number] for part in folds])
        mine, other = _summary(corr), _summary(reference)
        # An era that cannot be scored for anybody, such as one of a single row, is no fault of the trial.
        undefined = int((np.isnan(corr) & np.isfinite(reference)).sum())
        values |= {f"{name}/{key}": value for key, value in mine.items()}
        values[f"{name}/bmc"] = _mean(np.concatenate([part.scores.bmc[BENCHMARK][:, DRAWN] for part in folds]))
        values[f"{name}/benchmark_corr"] = _mean(
            np.concatenate([part.scores.benchmark_corr[BENCHMARK][:, DRAWN] for part in folds])
        )
        values[f"{name}/sharpe_over_benchmark"] = mine["sharpe"] - other["sharpe"]
        values[f"{name}/corr_over_benchmark"] = mine["corr"] - other["corr"]
        if undefined:
            values[f"{name}/undefined_eras"] = undefined
        if name in (VALIDATION, TEST):
            beats[name] = not undefined and mine["corr"] > other["corr"] and mine["sharpe"] > other["sharpe"]
        if name in (VALIDATION, TEST, WHOLE):
            values |= _against_numerai(name, folds)
    parts = sections(result.folds)
    for name in (VALIDATION, TEST):
        best = _summary(_eras(parts[name], BEST))
        values |= {f"best/{name}_corr": best["corr"], f"best/{name}_sharpe": best["sharpe"]}
    values["best/trees"] = result.checkpoints[result.best]
    values["best/test_bmc"] = _mean(np.concatenate([part.scores.bmc[BENCHMARK][:, BEST] for part in parts[TEST]]))
    values["train_seconds"] = result.train_seconds
    curves = {
        f"{name}/corr_curve": tuple(_mean_columns(np.concatenate([part.curve for part in parts[name]])))
        for name in (VALIDATION, TEST)
    }
    return TrialMetrics(
        {name: float(value) for name, value in values.items() if math.isfinite(value)},
        curves,
        result.checkpoints,
        beats,
    )


def _against_numerai(section: str, folds: Sequence[FoldResult]) -> dict[str, float]:
    """Return BMC and correlation with each of Numerai's benchmarks, under the benchmark's own heading."""
    values = {}
    for name in folds[0].scores.bmc:
        if name != BENCHMARK:
            bmc = np.concatenate([part.scores.bmc[name][:, DRAWN] for part in folds])
            corr = np.concatenate([part.scores.benchmark_corr[name][:, DRAWN] for part in folds])
            values[f"{name}/{section}_bmc"] = _mean(bmc)
            values[f"{name}/{section}_benchmark_corr"] = _mean(corr)
    return values


def _eras(folds: Sequence[FoldResult], column: int) -> NDArray[np.float64]:
    return np.concatenate([part.scores.corr[:, column] for part in folds])


def _summary(corr: NDArray[np.float64]) -> dict[str, float]:
    return {"corr": _mean(corr), "sharpe": float(sharpe(corr)), "max_drawdown": float(max_drawdown(corr))}


def _mean(scores: NDArray[np.float64]) -> float:
    defined = scores[np.isfinite(scores)]
    mean = float(defined.mean()) if len(defined) else math.nan
    # The benchmark's own BMC is 0 but for rounding, which the UI would show as 1.4 with its exponent cut off.
    return 0.0 if abs(mean) < 1e-14 else mean


def _mean_columns(curve: NDArray[np.float64]) -> list[float]:
    return [_mean(column) for column in curve.T]
