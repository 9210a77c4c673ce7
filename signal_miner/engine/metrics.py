"""A trial's or an ensemble's scores as named metrics."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from signal_miner.engine.trial import BEST, DRAWN, FoldResult, TrialResult
from signal_miner.experiment.schema import BENCHMARK
from signal_miner.scoring.beats_benchmark import beats_benchmark, in_common, least_lead, undefined_eras
from signal_miner.scoring.objective import DEFAULT_SCORING, Scoring
from signal_miner.scoring.payout import Payout
from signal_miner.scoring.scorer import EraScores
from signal_miner.scoring.series import max_drawdown, mean, sharpe
from signal_miner.scoring.study_scores import TEST, VALIDATION, WHOLE


@dataclass(frozen=True)
class RunMetrics:
    """What is logged of a trial or an ensemble.

    Attributes
    ----------
    values : mapping of str to float
        By name, such as ``validation/sharpe``. Undefined values are left out.
    beats_benchmark : mapping of str to bool
        For ``validation`` and ``test``.
    curves : mapping of str to tuple of float
        A trial's ``validation/corr_curve`` and ``test/corr_curve``: mean CORR at each checkpoint; ``…/payout_curve``.
    checkpoints : tuple of int
        Numbers of trees of the curves' points.
    scoring : Scoring
        Its objective decides `beats_benchmark`.
    at_best : bool
        Whether scores by section are those at the best checkpoint.
    """

    values: Mapping[str, float]
    beats_benchmark: Mapping[str, bool]
    curves: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    checkpoints: tuple[int, ...] = ()
    scoring: Scoring = DEFAULT_SCORING
    at_best: bool = False


@dataclass(frozen=True, eq=False)
class ModelEras:
    """CORR, BMC and correlation with the benchmark of a model's eras, each of shape (n_eras,)."""

    corr: NDArray[np.float64]
    bmc: NDArray[np.float64]
    benchmark_corr: NDArray[np.float64]

    def of(self, rows: NDArray[np.bool_]) -> ModelEras:
        """Return some of the eras."""
        return ModelEras(self.corr[rows], self.bmc[rows], self.benchmark_corr[rows])


def sections(folds: Sequence[FoldResult]) -> dict[str, tuple[FoldResult, ...]]:
    """Return the folds of each section that is scored, by its name."""
    parts = {VALIDATION: tuple(folds[:-1]), TEST: tuple(folds[-1:]), WHOLE: tuple(folds)}
    return parts | {f"fold_{part.fold.number}": (part,) for part in folds}


def trial_metrics(
    result: TrialResult,
    benchmark_scores: Mapping[int, EraScores],
    scoring: Scoring = DEFAULT_SCORING,
    *,
    at_best: bool = False,
) -> RunMetrics:
    """Return a trial's metrics: by section at the drawn number of trees, and as ``best/…`` at the best checkpoint.

    Other arguments are those of `score_metrics`.

    Parameters
    ----------
    at_best : bool, default False
        Whether the metrics by section are at the best checkpoint, too.
    """
    scored = score_metrics(result.folds, benchmark_scores, scoring, BEST if at_best else DRAWN)
    parts = sections(result.folds)
    values = {**scored.values, **_best_metrics(result, (VALIDATION, TEST), scoring)}
    curves = {
        name: curve for section in (VALIDATION, TEST) for name, curve in _curves(section, parts[section], scoring)
    }
    return replace(scored, values=values, curves=curves, checkpoints=result.checkpoints, at_best=at_best)


def stopped_metrics(result: TrialResult, scoring: Scoring = DEFAULT_SCORING) -> RunMetrics:
    """Return the metrics of a trial that a race stopped, over the validation folds that it was trained on.

    They are at its best checkpoint, as ``best/validation_…``, so that none is taken for that of a finished trial.
    """
    curves = dict(_curves(VALIDATION, result.folds, scoring))
    best = _best_metrics(result, (VALIDATION,), scoring)
    beats = {VALIDATION: False, TEST: False}
    return RunMetrics(best, beats, curves, result.checkpoints, scoring, at_best=True)


def _best_metrics(result: TrialResult, names: Sequence[str], scoring: Scoring) -> dict[str, float]:
    parts = {VALIDATION: result.folds} if result.stop is not None else sections(result.folds)
    best: dict[str, float] = {"best/trees": result.checkpoints[result.best]}
    for name in names:
        own = _model_eras(parts[name], BEST)
        summary, paid = score_summary(own.corr), payout_summary(scoring.payout.of(own.corr, own.bmc))
        best |= {f"best/{name}_{key}": summary[key] for key in ("corr", "sharpe")}
        best |= {f"best/{name}_{key}": paid[key] for key in ("payout", "payout_sharpe")}
        bmc, benchmark_corr = _against(BENCHMARK, parts[name], BEST)
        best |= {f"best/{name}_bmc": bmc, f"best/{name}_benchmark_corr": benchmark_corr}
    best["train_seconds"] = result.train_seconds
    return _defined(best)


def _curves(name: str, folds: Sequence[FoldResult], scoring: Scoring) -> Iterator[tuple[str, tuple[float, ...]]]:
    corr = np.concatenate([part.curve for part in folds])
    yield f"{name}/corr_curve", tuple(_mean_columns(corr))
    bmc_curves = [part.bmc_curve for part in folds if part.bmc_curve is not None]
    if len(bmc_curves) == len(folds):
        yield f"{name}/payout_curve", tuple(_mean_columns(scoring.payout.of(corr, np.concatenate(bmc_curves))))


def score_metrics(
    folds: Sequence[FoldResult],
    benchmark_scores: Mapping[int, EraScores],
    scoring: Scoring = DEFAULT_SCORING,
    column: int = DRAWN,
) -> RunMetrics:
    """Return the metrics of scored folds, section by section.

    Parameters
    ----------
    folds : sequence of FoldResult
        Earliest first, scored against `BENCHMARK` and, if the data has them, Numerai's benchmarks.
    benchmark_scores : mapping of int to EraScores
        The benchmark run's, of its one column, by fold number.
    column : int, default `DRAWN`
        Of the predictions.

    Notes
    -----
    ``corr`` and the like are means over the eras in which they are defined. CORR is undefined in an era whose
    predictions are all equal; ``<section>/undefined_eras`` counts such eras in which the benchmark's is defined.
    Comparisons are over the eras in which the benchmark's is; ``<section>/eras_without_benchmark`` counts the others.
    """
    values: dict[str, float] = {}
    beats = {}
    for name, part in sections(folds).items():
        own = _model_eras(part, column)
        reference = [benchmark_scores[each.fold.number] for each in part]
        other = ModelEras(
            np.concatenate([scores.corr[:, 0] for scores in reference]),
            np.concatenate([scores.bmc[BENCHMARK][:, 0] for scores in reference]),
            np.concatenate([scores.benchmark_corr[BENCHMARK][:, 0] for scores in reference]),
        )
        values |= _corr_metrics(name, own, other)
        if left_out := int((np.isnan(other.corr) & ~np.isnan(own.corr)).sum()):
            values[f"{name}/eras_without_benchmark"] = left_out
        values |= {f"{name}/{key}": value for key, value in payout_metrics(own, other, scoring.payout).items()}
        if name in (VALIDATION, TEST):
            beats[name] = _beats(own, other, scoring)
        if name in (VALIDATION, TEST, WHOLE):
            values |= _against_numerai(name, part, column)
    return RunMetrics(_defined(values), beats, scoring=scoring)


def _corr_metrics(name: str, own: ModelEras, benchmark: ModelEras) -> dict[str, float]:
    """Return a section's metrics that depend on no payout."""
    mine, other = score_summary(own.corr), score_summary(benchmark.corr)
    compared = score_summary(in_common(own.corr, benchmark.corr))
    values = {f"{name}/{key}": value for key, value in mine.items()}
    values[f"{name}/bmc"], values[f"{name}/benchmark_corr"] = mean_score(own.bmc), mean_score(own.benchmark_corr)
    values[f"{name}/sharpe_over_benchmark"] = compared["sharpe"] - other["sharpe"]
    values[f"{name}/corr_over_benchmark"] = compared["corr"] - other["corr"]
    if undefined := int(undefined_eras(own.corr, benchmark.corr)):
        values[f"{name}/undefined_eras"] = undefined
    return values


def _defined(values: Mapping[str, float]) -> dict[str, float]:
    return {name: float(value) for name, value in values.items() if math.isfinite(value)}


def _against_numerai(section: str, folds: Sequence[FoldResult], column: int) -> dict[str, float]:
    """Return BMC and correlation with each of Numerai's benchmarks, under the benchmark's name."""
    values: dict[str, float] = {}
    for name in folds[0].scores.bmc:
        if name != BENCHMARK:
            bmc, benchmark_corr = _against(name, folds, column)
            values |= {f"{name}/{section}_bmc": bmc, f"{name}/{section}_benchmark_corr": benchmark_corr}
    return values


def _against(benchmark: str, folds: Sequence[FoldResult], column: int) -> tuple[float, float]:
    """Return mean BMC and mean correlation with a benchmark."""
    return (
        mean_score(np.concatenate([part.scores.bmc[benchmark][:, column] for part in folds])),
        mean_score(np.concatenate([part.scores.benchmark_corr[benchmark][:, column] for part in folds])),
    )


def _model_eras(folds: Sequence[FoldResult], column: int) -> ModelEras:
    return ModelEras(
        np.concatenate([part.scores.corr[:, column] for part in folds]),
        np.concatenate([part.scores.bmc[BENCHMARK][:, column] for part in folds]),
        np.concatenate([part.scores.benchmark_corr[BENCHMARK][:, column] for part in folds]),
    )


def score_summary(corr: NDArray[np.float64]) -> dict[str, float]:
    """Return ``corr``, ``sharpe`` and ``max_drawdown`` of eras' CORR, shape (n_eras,); NaN where undefined."""
    return {"corr": mean_score(corr), "sharpe": float(sharpe(corr)), "max_drawdown": float(max_drawdown(corr))}


def payout_summary(payouts: NDArray[np.float64]) -> dict[str, float]:
    """Return ``payout``, ``payout_sharpe`` and ``payout_drawdown`` of eras' payouts, shape (n_eras,)."""
    return {
        "payout": mean_score(payouts),
        "payout_sharpe": float(sharpe(payouts)),
        "payout_drawdown": float(max_drawdown(payouts)),
    }


def payout_metrics(model: ModelEras, benchmark: ModelEras, payout: Payout) -> dict[str, float]:
    """Return a section's metrics of payouts: `payout_summary`, and how far they are above the benchmark's.

    ``payout_lead`` is `least_lead`, which has to be above 0 to beat the benchmark.
    """
    own, other = (payout.of(each.corr, each.bmc) for each in (model, benchmark))
    return payout_summary(own) | {
        "payout_over_benchmark": mean_score(own - other),
        "payout_lead": float(least_lead(own, other)),
    }


def rescored(
    values: Mapping[str, float],
    folds: NDArray[np.int64],
    model: ModelEras,
    benchmark: ModelEras,
    scoring: Scoring,
    best: ModelEras | None = None,
    *,
    at_best: bool = False,
) -> RunMetrics:
    """Return a run's metrics under another scoring, from the tracked scores of its eras.

    Parameters
    ----------
    values : mapping of str to float
        As tracked: contributions to Numerai's benchmarks stay.
    folds : ndarray of int64, shape (n_eras,)
        Number of the fold of each era.
    model : ModelEras
        As drawn.
    best : ModelEras or None
        At the best checkpoint, which stays the one that it was, as no other's predictions are tracked.
    at_best : bool, default False
        Whether the metrics by section are those of `best`.
    """
    last = folds.max()
    parts = {VALIDATION: folds < last, TEST: folds == last, WHOLE: folds > 0}
    parts |= {f"fold_{number}": folds == number for number in np.unique(folds)}
    changed: dict[str, float] = {}
    beats = {}
    scored = best if at_best and best is not None else model
    for name, rows in parts.items():
        own, other = scored.of(rows), benchmark.of(rows)
        if f"{name}/undefined_eras" in values:
            changed[f"{name}/undefined_eras"] = 0.0
        changed |= _corr_metrics(name, own, other)
        changed |= {f"{name}/{key}": value for key, value in payout_metrics(own, other, scoring.payout).items()}
        if name in (VALIDATION, TEST):
            beats[name] = _beats(own, other, scoring)
            if best is not None:
                paid = payout_summary(scoring.payout.of(best.of(rows).corr, best.of(rows).bmc))
                changed |= {f"best/{name}_{key}": paid[key] for key in ("payout", "payout_sharpe")}
    return RunMetrics({**values, **_defined(changed)}, beats, scoring=scoring, at_best=at_best)


def _beats(model: ModelEras, benchmark: ModelEras, scoring: Scoring) -> bool:
    compared = scoring.objective.compared
    own, other = (scoring.era_scores(each.corr, each.bmc, compared) for each in (model, benchmark))
    return bool(beats_benchmark(own, other, compared))


def mean_score(scores: NDArray[np.float64]) -> float:
    """Return the mean of scores, shape (n_eras,), over the eras in which they are defined; NaN if none is."""
    average = float(mean(scores))
    # The benchmark's own BMC is 0 except for rounding, which MLflow's UI would show as 1.4, without its exponent.
    return 0.0 if abs(average) < 1e-14 else average


def _mean_columns(curve: NDArray[np.float64]) -> list[float]:
    return [mean_score(column) for column in curve.T]
