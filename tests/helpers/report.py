"""Synthetic contents of a report: a study of any size, as it could have been tracked and evaluated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from signal_miner.overfitting.records import (
    Deflation,
    Estimate,
    Expectation,
    ModelEvaluation,
    Overfitting,
    Pool,
    Relation,
    Standing,
    Strength,
    StudyEvaluation,
    Superiority,
    Verdict,
)
from signal_miner.report.contents import ReportContents, ReportedEnsemble
from signal_miner.scoring.objective import Objective
from signal_miner.scoring.series import max_drawdown, sharpe
from signal_miner.scoring.study_scores import TEST, VALIDATION, WHOLE, Correlations, StudyScores
from signal_miner.tracking.records import TrackedTrial, trial_name

SOURCES = {
    "deflation": "Bailey, D. and López de Prado, M. (2014). The deflated Sharpe ratio.",
    "overfitting": "Bailey, D. et al. (2017). The probability of backtest overfitting.",
    "superiority": "Hansen, P. R. (2005). A test for superior predictive ability.",
    "bootstrap": "Politis, D. and Romano, J. (1994). The stationary bootstrap.",
    "expectation": "Efron, B. and Morris, C. (1975). Data analysis using Stein's estimator.",
    "relation": "Spearman, C. (1904). The proof and measurement of association.",
}

GRID: dict[str, list[object]] = {
    "colsample_bytree": [0.05, 0.1, 0.2, 0.4, 0.7, 1.0],
    "learning_rate": [round(value, 4) for value in np.linspace(0.001, 0.1, 100)],
    "n_estimators": list(range(25, 201, 25)),
    "max_bin": [3, 5],
    "max_depth": [2, 3, 4, 5, 6, 7, 8],
    "num_leaves": [4, 8, 15, 31],
    "min_child_samples": [5, 20, 100, 500],
    "reg_lambda": [0.0, 1.0, 100.0, 10000.0],
    "extra_trees": [False, True],
    "target": [f"target_{name}_{days}" for name in ("cyrusd", "teager2b", "ender", "victor") for days in (20, 60)],
}


def make_contents(
    n_trials: int = 80,
    n_eras: int = 52,
    n_folds: int = 2,
    n_leaders: int = 10,
    n_checkpoints: int = 6,
    seed: int = 0,
    holdout_eras: int = 26,
    signal: float = 0.003,
    study: str = "demo-17898a15",
) -> ReportContents:
    """Return a synthetic study of `n_trials` trials whose folds each predict `n_eras` eras."""
    random = np.random.default_rng(seed)
    first, purge = 53, 16
    eras = first + np.arange(n_eras * n_folds)
    folds = np.repeat(np.arange(1, n_folds + 1), n_eras)
    market = random.normal(0.02, 0.04, len(eras))
    market = np.convolve(market, np.ones(4) / 4, mode="same") + random.normal(0, 0.015, len(eras))
    closeness = random.uniform(0.15, 0.95, n_trials)
    skill = random.normal(0, signal, n_trials)
    noise = random.normal(0, 0.028, (len(eras), n_trials))
    corr = market[:, None] * closeness + skill + noise * (1.1 - closeness)
    corr[:, : min(3, n_trials)] += 0.004
    order = np.argsort(-sharpe(corr[folds < n_folds] if n_folds > 1 else corr), kind="stable")
    corr, closeness, skill = corr[:, order], closeness[order], skill[order]
    benchmark = market + random.normal(0, 0.004, len(eras))
    candidates, trial_of, trees_of = [], [], []
    draws = _draws(random, n_trials)
    for place in range(n_trials):
        peak = random.uniform(0.4, 1.2)
        for step in range(1, n_checkpoints + 1):
            share = step / n_checkpoints
            grown = 1.0 if step == n_checkpoints else 1.15 - 0.6 * (share - peak) ** 2 - 0.2 * (1 - share)
            candidates.append(corr[:, place] * grown)
            trial_of.append(place)
            trees_of.append(max(int(draws[place]["n_estimators"]) * step // n_checkpoints, 1))
    numbers = tuple(int(number) for number in random.permutation(n_trials + 2)[:n_trials])
    scores = StudyScores(
        study=study,
        era_labels=tuple(f"{era:04d}" for era in eras),
        eras=eras.astype(np.int64),
        folds=folds.astype(np.int64),
        overlap_eras=11,
        names=tuple(trial_name(number) for number in numbers),
        numbers=numbers,
        failed=2,
        era_scores=corr,
        bmc=skill * 0.8 + random.normal(0, 0.008, corr.shape) * (1 - closeness**2),
        benchmark_corr=np.clip(closeness + random.normal(0, 0.03, corr.shape), -1, 1),
        benchmark=benchmark,
        candidates=np.column_stack(candidates),
        candidate_trial=np.array(trial_of, dtype=np.int64),
        candidate_trees=np.array(trees_of, dtype=np.int64),
    )
    trials, tracked_benchmark = _tracked(scores, draws)
    return ReportContents(
        study=study,
        experiment="demo",
        made=datetime(2026, 11, 24, 9, 30, tzinfo=UTC),
        plan=_plan(study, eras, n_folds, n_eras, purge, holdout_eras),
        scores=scores,
        evaluation=_evaluation(scores, min(n_leaders, n_trials), random),
        trials=trials,
        benchmark=tracked_benchmark,
        correlations=_correlations(scores, min(n_leaders, n_trials), random),
        holdout=None,
    )


def with_ensembles(contents: ReportContents) -> ReportContents:
    """Return the same with two ensembles, of which the second's selection cannot be repeated."""
    first, chosen = contents.trials[0], contents.chosen
    expected = {"expected/sharpe": 0.5, "expected/sharpe_low": 0.05, "expected/sharpe_high": 0.95}
    ensembles = tuple(
        ReportedEnsemble(
            f"ensemble {number}",
            f"e{number}",
            {**first.metrics, **further},
            {VALIDATION: True, TEST: number == 1},
            5,
            replace(chosen, name=f"ensemble {number}", number=-1),
        )
        for number, further in ((1, expected), (2, {}))
    )
    return replace(contents, ensembles=ensembles, experiment_id="1")


def with_further_scores(contents: ReportContents) -> ReportContents:
    """Return the same with scores of the leaders, the ensembles and the benchmark that nothing is chosen by."""
    leaders = {leader.number for leader in contents.evaluation.leaders}
    further = {
        "validation/fnc": 0.0123,
        "test/fnc": -0.0045,
        "validation/feature_exposure": 0.31,
        "test/feature_exposure": 0.29,
        "meta_model/mmc": 0.0012,
        "meta_model/cwmm": 0.45,
        "meta_model/eras": 86.0,
        "meta_model/independent_blocks": 7.2,
    }
    trials = tuple(
        replace(trial, metrics={**trial.metrics, **further}) if trial.number in leaders else trial
        for trial in contents.trials
    )
    ensembles = tuple(replace(each, metrics={**each.metrics, **further}) for each in contents.ensembles)
    benchmark = replace(contents.benchmark, metrics={**contents.benchmark.metrics, **further})
    return replace(contents, trials=trials, ensembles=ensembles, benchmark=benchmark)


def with_payouts(contents: ReportContents) -> ReportContents:
    """Return the same as the objective payout would have it."""
    scores = {"payout": 0.123, "payout_sharpe": 0.55}
    paid = {f"{section}/{score}": value for section in (VALIDATION, TEST) for score, value in scores.items()}
    return replace(
        contents,
        scores=replace(contents.scores, objective=Objective.PAYOUT),
        trials=tuple(replace(trial, metrics={**trial.metrics, **paid}) for trial in contents.trials),
        ensembles=tuple(replace(each, metrics={**each.metrics, **paid}) for each in contents.ensembles),
        benchmark=replace(contents.benchmark, metrics={**contents.benchmark.metrics, **paid}),
    )


def bare(contents: ReportContents) -> ReportContents:
    """Return the same without the optional parts, with one configuration for all trials."""
    params = dict(contents.trials[0].params)
    nothing = replace(contents.evaluation, overfitting=None, superiority=None, sharpe_superiority=None, expectations=())
    trials = tuple(replace(trial, params=params) for trial in contents.trials)
    return replace(contents, correlations=None, evaluation=nothing, trials=trials)


def undefined(contents: ReportContents) -> ReportContents:
    """Return the same with no scores and estimates for the first trial and the benchmark."""
    scores = contents.scores
    corr, candidates = scores.era_scores.copy(), scores.candidates.copy()
    corr[:, 0] = np.nan
    candidates[:, scores.candidate_trial == 0] = np.nan
    none = Estimate(np.nan, np.nan, np.nan)
    both = {VALIDATION: none, TEST: none}
    leaders = tuple(
        replace(
            leader,
            sharpe=both,
            sharpe_over_benchmark=both,
            corrected=none,
            corrected_over_benchmark=none,
            over_average=none,
            deflated_sharpe=np.nan,
        )
        for leader in contents.evaluation.leaders
    )
    evaluation = replace(
        contents.evaluation,
        leaders=leaders,
        relation=Relation(np.nan, np.nan, none, 0, Strength.NO),
        deflation=Deflation(1, np.nan, np.nan, np.nan, np.nan, False, np.nan),
    )
    return replace(
        contents,
        scores=replace(scores, era_scores=corr, candidates=candidates, benchmark=np.full(len(scores.eras), np.nan)),
        evaluation=evaluation,
        trials=tuple(replace(trial, metrics={}) for trial in contents.trials),
        benchmark=replace(contents.benchmark, metrics={}),
    )


def _draws(random: np.random.Generator, n_trials: int) -> list[dict[str, str]]:
    fixed = {"subsample": "1.0", "seed": "7"}
    return [
        {**fixed, **{name: str(values[random.integers(len(values))]) for name, values in GRID.items()}}
        for _ in range(n_trials)
    ]


def _tracked(scores: StudyScores, draws: list[dict[str, str]]) -> tuple[tuple[TrackedTrial, ...], TrackedTrial]:
    reference = _metrics(scores, scores.benchmark[:, None], np.zeros((len(scores.eras), 1)))[0]
    reference |= {f"{section}/benchmark_corr": 1.0 for section in (VALIDATION, TEST, WHOLE)}
    benchmark = TrackedTrial(
        "b0", "benchmark", None, "FINISHED", draws[0], {**reference, "best/trees": 120.0},
        {VALIDATION: False, TEST: False},
    )  # fmt: skip
    trials = []
    for place, metrics in enumerate(_metrics(scores, scores.era_scores, scores.bmc, scores.benchmark_corr)):
        beats = {
            section: all(
                metrics.get(f"{section}/{name}", 0) > reference.get(f"{section}/{name}", 0)
                for name in ("corr", "sharpe")
            )
            for section in (VALIDATION, TEST)
        }
        metrics["best/trees"] = float(scores.candidate_trees[scores.candidate_trial == place][-2:].min())
        trials.append(
            TrackedTrial(f"r{place}", "trial", scores.numbers[place], "FINISHED", draws[place], metrics, beats)
        )
    return tuple(trials), benchmark


def _metrics(
    scores: StudyScores,
    corr: NDArray[np.float64],
    bmc: NDArray[np.float64],
    benchmark_corr: NDArray[np.float64] | None = None,
) -> list[dict[str, float]]:
    columns: dict[str, NDArray[np.float64]] = {}
    for section in (VALIDATION, TEST, WHOLE):
        rows = scores.rows(section)
        if not rows.any():
            continue
        columns[f"{section}/corr"] = corr[rows].mean(axis=0)
        columns[f"{section}/sharpe"] = sharpe(corr[rows])
        columns[f"{section}/max_drawdown"] = max_drawdown(corr[rows])
        columns[f"{section}/bmc"] = bmc[rows].mean(axis=0)
        if benchmark_corr is not None:
            columns[f"{section}/benchmark_corr"] = benchmark_corr[rows].mean(axis=0)
    return [{name: float(column[place]) for name, column in columns.items()} for place in range(corr.shape[1])]


def _evaluation(scores: StudyScores, n_leaders: int, random: np.random.Generator) -> StudyEvaluation:
    past, future = (sharpe(scores.era_scores[scores.rows(section)]) for section in (VALIDATION, TEST))
    reference = {section: float(sharpe(scores.benchmark[scores.rows(section)])) for section in (VALIDATION, TEST)}
    fitted = len(past) > 1 and np.isfinite(past).all()
    slope, intercept = np.polyfit(past, future, 1) if fitted else (np.nan, np.nan)
    luck = float(past.mean() + 1.9 * past.std())
    leaders = []
    for place in range(n_leaders):
        width = random.uniform(0.25, 0.5)
        own = {
            VALIDATION: Estimate(past[place], past[place] - width, past[place] + width * 1.2),
            TEST: Estimate(future[place], future[place] - width, future[place] + width * 1.2),
        }
        over: Mapping[str, Estimate] = {
            section: Estimate(*(value - reference[section] for value in (one.value, one.low, one.high)))
            for section, one in own.items()
        }
        verdict = tuple(Verdict)[min(place, 2) if place < 4 else place % 3]
        leaders.append(
            ModelEvaluation(
                scores.names[place],
                scores.numbers[place],
                own,
                over,
                _moved(own[VALIDATION], -0.2),
                _moved(over[VALIDATION], -0.2),
                Estimate(0.1, -0.1, 0.3),
                Standing.NOT_SHOWN,
                Standing.BETTER if place == 0 else Standing.NOT_SHOWN,
                float(np.clip(0.97 - 0.07 * place, 0, 1)),
                verdict,
            )
        )
    logits = np.log(np.clip(random.beta(2.6, 2.1, 924), 0.01, 0.99))
    logits = logits - np.log1p(-np.exp(logits))
    probability = float((logits <= 0).mean())
    return StudyEvaluation(
        leaders=tuple(leaders),
        deflation=Deflation(
            n_candidates=len(scores.candidate_trial),
            correlation=0.6,
            effective_eras=21.5,
            deviation=0.22,
            expected_best_sharpe=luck,
            has_unfinished=True,
            best_sharpe=float(past[0]),
        ),
        relation=Relation(
            float(slope),
            float(intercept),
            Estimate(0.31, 0.02, 0.55),
            len(past),
            Strength.WEAK,
        ),
        overfitting=Overfitting(
            probability,
            12,
            924,
            12,
            logits,
            len(scores.eras),
            0.18,
            0.81,
        ),
        superiority=Superiority(0.041, 0.048, 0.092, len(past)),
        sharpe_superiority=Superiority(0.051, 0.058, 0.072, len(past)),
        pool=Pool(float(past.mean()), len(past), 0.6, 21.5, 0.5, 0.4),
        expectations=(
            Expectation(Objective.SHARPE, 0.42, -0.05, 0.9, float(past[0]), float(future[0]), 0.31, 52),
            Expectation(Objective.PAYOUT, 0.061, -0.02, 0.14, 0.11, 0.05, 0.04, 52),
        ),
    )  # fmt: skip


def _moved(estimate: Estimate, by: float) -> Estimate:
    return Estimate(estimate.value + by, estimate.low + by, estimate.high + by)


def _correlations(scores: StudyScores, n_leaders: int, random: np.random.Generator) -> Correlations:
    kind = random.integers(3, size=n_leaders)
    columns = random.normal(0, 1, (4000, 3))[:, kind] + random.normal(0, 0.5, (4000, n_leaders))
    columns += random.normal(0, 1, (4000, 1))
    benchmark = columns.mean(axis=1, keepdims=True) + random.normal(0, 0.6, (4000, 1))
    matrix = np.atleast_2d(np.corrcoef(np.hstack([columns, benchmark]), rowvar=False))
    return Correlations((*scores.names[:n_leaders], "benchmark"), matrix)


def _plan(
    study: str, eras: NDArray[np.int64], n_folds: int, n_eras: int, purge: int, holdout_eras: int
) -> dict[str, object]:
    def folds(gap: int) -> list[dict[str, object]]:
        starts = [int(eras[0]) + n_eras * number for number in range(n_folds)]
        return [
            {
                "number": number + 1,
                "train_eras": list(range(1, start - gap)),
                "validation_eras": list(range(start, start + n_eras)),
            }
            for number, start in enumerate(starts)
        ]

    newest = int(eras[-1])
    holdout = list(range(newest + purge + 1, newest + purge + 1 + holdout_eras))
    return {
        "study": study,
        "config_hash": "17898a15",
        "experiment": {
            "name": "demo",
            "data": "demo",
            "feature_set": "all",
            "scoring_target": "target",
            "trials": 82,
            "seed": 7,
            "folds": {"n_splits": n_folds, "purge_eras": purge, "holdout_eras": holdout_eras, "train_era_step": 1},
            "grid": {**GRID, "subsample": [1.0]},
            "benchmark": {"n_estimators": 150, "target": "target_ender_60"},
            "numerai_benchmarks": [],
        },
        "data": {"digest": "abc", "files": [], "features": 60, "rows": 78129},
        "targets": {
            str(name): {
                "purge_eras": purge if str(name).endswith("60") else purge // 2,
                "folds": folds(purge if str(name).endswith("60") else purge // 2),
            }
            for name in GRID["target"]
        },
        "holdout_eras": holdout,
        "era_labels": {str(era): f"{era:04d}" for era in range(1, newest + purge + holdout_eras + 1)},
    }
