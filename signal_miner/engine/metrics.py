"""A trial's or an ensemble's scores as named metrics."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
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
    """

    values: Mapping[str, float]
    beats_benchmark: Mapping[str, bool]
    curves: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    checkpoints: tuple[int, ...] = ()
    scoring: Scoring = DEFAULT_SCORING


@dataclass(frozen=True, eq=False)
class ModelEras:
    """CORR and BMC of a model's eras, each of shape (n_eras,)."""

    corr: NDArray[np.float64]
    bmc: NDArray[np.float64]

    def of(self, rows: NDArray[np.bool_]) -> ModelEras:
        """Return some of the eras."""
        return ModelEras(self.corr[rows], self.bmc[rows])


def sections(folds: Sequence[FoldResult]) -> dict[str, tuple[FoldResult, ...]]:
    """Return the folds of each section that is scored, by its name."""
    parts = {VALIDATION: tuple(folds[:-1]), TEST: tuple(folds[-1:]), WHOLE: tuple(folds)}
    return parts | {f"fold_{part.fold.number}": (part,) for part in folds}


def trial_metrics(
    result: TrialResult, benchmark_scores: Mapping[int, EraScores], scoring: Scoring = DEFAULT_SCORING
) -> RunMetrics:
    """Return a trial's metrics: at the drawn number of trees by section, and as ``best/…`` at the best checkpoint.

    Arguments are those of `score_metrics`.
    """
    scored = score_metrics(result.folds, benchmark_scores, scoring)
    parts = sections(result.folds)
    best: dict[str, float] = {"best/trees": result.checkpoints[result.best]}
    for name in (VALIDATION, TEST):
        summary = score_summary(_eras(parts[name], BEST))
        best |= {f"best/{name}_corr": summary["corr"], f"best/{name}_sharpe": summary["sharpe"]}
        best |= _best_payouts(name, ModelEras(_eras(parts[name], BEST), _bmc_eras(parts[name], BEST)), scoring.payout)
        bmc, benchmark_corr = _against(BENCHMARK, parts[name], BEST)
        best |= {f"best/{name}_bmc": bmc, f"best/{name}_benchmark_corr": benchmark_corr}
    best["train_seconds"] = result.train_seconds
    curves = {}
    for name in (VALIDATION, TEST):
        corr = np.concatenate([part.curve for part in parts[name]])
        curves[f"{name}/corr_curve"] = tuple(_mean_columns(corr))
        bmc_curves = [part.bmc_curve for part in parts[name] if part.bmc_curve is not None]
        if len(bmc_curves) == len(parts[name]):
            paid_curve = scoring.payout.of(corr, np.concatenate(bmc_curves))
            curves[f"{name}/payout_curve"] = tuple(_mean_columns(paid_curve))
    return replace(
        scored,
        values={**scored.values, **_defined(best)},
        curves=curves,
        checkpoints=result.checkpoints,
    )


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
        corr = _eras(part, column)
        reference = np.concatenate([benchmark_scores[each.fold.number].corr[:, 0] for each in part])
        reference_bmc = np.concatenate([benchmark_scores[each.fold.number].bmc[BENCHMARK][:, 0] for each in part])
        mine, other = score_summary(corr), score_summary(reference)
        compared = score_summary(in_common(corr, reference))
        values |= {f"{name}/{key}": value for key, value in mine.items()}
        values[f"{name}/bmc"], values[f"{name}/benchmark_corr"] = _against(BENCHMARK, part, column)
        values[f"{name}/sharpe_over_benchmark"] = compared["sharpe"] - other["sharpe"]
        values[f"{name}/corr_over_benchmark"] = compared["corr"] - other["corr"]
        if undefined := int(undefined_eras(corr, reference)):
            values[f"{name}/undefined_eras"] = undefined
        if left_out := int((np.isnan(reference) & ~np.isnan(corr)).sum()):
            values[f"{name}/eras_without_benchmark"] = left_out
        own, other_eras = ModelEras(corr, _bmc_eras(part, column)), ModelEras(reference, reference_bmc)
        values |= {f"{name}/{key}": value for key, value in payout_metrics(own, other_eras, scoring.payout).items()}
        if name in (VALIDATION, TEST):
            beats[name] = _beats(own, other_eras, scoring)
        if name in (VALIDATION, TEST, WHOLE):
            values |= _against_numerai(name, part, column)
    return RunMetrics(_defined(values), beats, scoring=scoring)


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


def _bmc_eras(folds: Sequence[FoldResult], column: int) -> NDArray[np.float64]:
    return np.concatenate([part.scores.bmc[BENCHMARK][:, column] for part in folds])


def _eras(folds: Sequence[FoldResult], column: int) -> NDArray[np.float64]:
    return np.concatenate([part.scores.corr[:, column] for part in folds])


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
) -> RunMetrics:
    """Return a run's metrics under another scoring, from the tracked scores of its eras.

    Parameters
    ----------
    values : mapping of str to float
        As tracked: what does not depend on the scoring stays.
    folds : ndarray of int64, shape (n_eras,)
        Number of the fold of each era.
    best : ModelEras or None
        At the best checkpoint, which stays the one that it was, as no other's predictions are tracked.
    """
    last = folds.max()
    parts = {VALIDATION: folds < last, TEST: folds == last, WHOLE: folds > 0}
    parts |= {f"fold_{number}": folds == number for number in np.unique(folds)}
    changed: dict[str, float] = {}
    beats = {}
    for name, rows in parts.items():
        own, other = model.of(rows), benchmark.of(rows)
        changed |= {f"{name}/{key}": value for key, value in payout_metrics(own, other, scoring.payout).items()}
        if name in (VALIDATION, TEST):
            beats[name] = _beats(own, other, scoring)
            if best is not None:
                changed |= _best_payouts(name, best.of(rows), scoring.payout)
    return RunMetrics({**values, **_defined(changed)}, beats, scoring=scoring)


def _beats(model: ModelEras, benchmark: ModelEras, scoring: Scoring) -> bool:
    compared = scoring.objective.compared
    own, other = (scoring.era_scores(each.corr, each.bmc, compared) for each in (model, benchmark))
    return bool(beats_benchmark(own, other, compared))


def _best_payouts(section: str, best: ModelEras, payout: Payout) -> dict[str, float]:
    paid = payout_summary(payout.of(best.corr, best.bmc))
    return {f"best/{section}_{key}": paid[key] for key in ("payout", "payout_sharpe")}


def mean_score(scores: NDArray[np.float64]) -> float:
    """Return the mean of scores, shape (n_eras,), over the eras in which they are defined; NaN if none is."""
    average = float(mean(scores))
    # The benchmark's own BMC is 0 except for rounding, which MLflow's UI would show as 1.4, without its exponent.
    return 0.0 if abs(average) < 1e-14 else average


def _mean_columns(curve: NDArray[np.float64]) -> list[float]:
    return [mean_score(column) for column in curve.T]
