"""``ensemble``: choose trials of a study and blend their tracked predictions."""

from __future__ import annotations

import argparse

from rich.console import Console

from signal_miner.cli import integer, listed, number
from signal_miner.cli.ui_address import MODEL_TRAINING, print_address


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
    from signal_miner.cli.tables import print_ensemble
    from signal_miner.ensemble.build import EnsembleOptions, make_ensemble

    options = EnsembleOptions(
        study=given.study or None,
        select=given.select or None,
        members=_integer(given, "members"),
        metric=given.metric or None,
        max_correlation=_number(given, "max_correlation"),
        max_benchmark_correlation=_number(given, "max_benchmark_correlation"),
        pool=_integer(given, "pool"),
        runs=listed(given.runs),
        weights=given.weights or None,
        neutralize=given.neutralize or None,
        proportion=_number(given, "proportion"),
        data=given.data or None,
        tracking_uri=given.tracking_uri or None,
    )
    made = make_ensemble(
        options,
        console,
        lambda study, plan: console.print(
            f"Study {study.name}: {len(study.trials)} trials, data {plan.experiment.data}"
        ),
    )
    print_ensemble(made.summary, made.study.benchmark, console)
    run_id = made.summary.tracked.run_id
    page = f"/#/experiments/{made.study.experiment_id}/runs/{run_id}?{MODEL_TRAINING}"
    print_address(console, made.tracking_uri, page, "To look at it")
    console.print(f"To refit and register it: mlflow run . -e register --env-manager local -P ensemble={run_id}")
    return 0


def _integer(given: argparse.Namespace, option: str) -> int | None:
    text = getattr(given, option)
    return integer(option, text) if text else None


def _number(given: argparse.Namespace, option: str) -> float | None:
    text = getattr(given, option)
    return number(option, text) if text else None
