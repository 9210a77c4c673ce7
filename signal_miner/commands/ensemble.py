"""``ensemble``: choose trials of a study and blend their tracked predictions."""

from __future__ import annotations

import argparse

from rich.console import Console

from signal_miner.commands import integer, listed, number
from signal_miner.commands.ui_address import MODEL_TRAINING, print_address
from signal_miner.errors import UserError


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("--study", help="a study's name or its beginning; the newest if not given")
    parser.add_argument("--select", help="greedy (default), top, beating or runs")
    parser.add_argument("--members", help="members at most (5)")
    parser.add_argument("--metric", help="sharpe (default), corr or bmc, in validation; of top any validation metric")
    parser.add_argument("--max-correlation", help="of greedy: between two members at most (0.9)")
    parser.add_argument("--max-benchmark-correlation", help="trials closer to the benchmark take no part (1)")
    parser.add_argument("--pool", help="of greedy: candidates, the best trials by metric (100)")
    parser.add_argument("--runs", help="of runs: run ids or trial numbers, separated by commas")
    parser.add_argument("--weights", help="equal (default) or rank")
    parser.add_argument("--neutralize", help="features, benchmark, or a column of Numerai's benchmark predictions")
    parser.add_argument("--proportion", help="of the neutralisation, from 0 to 1 (1)")
    parser.add_argument("--data", help="where the study's data lie now")
    parser.add_argument("--tracking-uri", help="MLflow tracking store")


def run(given: argparse.Namespace, console: Console) -> int:
    """Make an ensemble, and return the exit code."""
    from signal_miner.selection import GREEDY, SelectionRule

    plain = SelectionRule()
    for option in ("max_correlation", "pool"):
        if getattr(given, option) and (given.select or plain.select) != GREEDY:
            raise UserError(f"{option} belongs to select=greedy, not to select={given.select}; leave it out")
    if given.proportion and not given.neutralize:
        raise UserError("proportion says how much of a neutralisation, and none is asked for; add neutralize=…")
    rule = SelectionRule(
        select=given.select or plain.select,
        members=integer("members", given.members) if given.members else plain.members,
        metric=given.metric or plain.metric,
        max_correlation=_number(given, "max_correlation", plain.max_correlation),
        max_benchmark_correlation=_number(given, "max_benchmark_correlation", plain.max_benchmark_correlation),
        weights=given.weights or plain.weights,
        pool=integer("pool", given.pool) if given.pool else plain.pool,
        runs=listed(given.runs),
    )
    proportion = _number(given, "proportion", 1.0)

    from signal_miner.ensemble import EnsembleMaker, make_neutralization
    from signal_miner.ensemble_runs import EnsembleRuns
    from signal_miner.ensemble_table import print_ensemble
    from signal_miner.reopening import reopen_plan
    from signal_miner.studies import Studies

    studies = Studies(given.tracking_uri or None)
    study = studies.find(given.study or None)
    plan = reopen_plan(study.plan, given.data or None)
    console.print(f"Study {study.name}: {len(study.trials)} trials, data {plan.experiment.data}")
    neutralization = make_neutralization(given.neutralize or "", proportion, plan)
    runs = EnsembleRuns(given.tracking_uri or None)
    summary = EnsembleMaker(study, plan, runs, console).make(rule, neutralization)
    print_ensemble(summary, study.benchmark, console)
    page = f"/#/experiments/{study.experiment_id}/runs/{summary.tracked.run_id}?{MODEL_TRAINING}"
    print_address(console, runs.tracking_uri, page, "To look at it")
    console.print(
        f"To refit and register it: mlflow run . -e register --env-manager local -P ensemble={summary.tracked.run_id}"
    )
    return 0


def _number(given: argparse.Namespace, option: str, default: float) -> float:
    text = getattr(given, option)
    return number(option, text) if text else default
