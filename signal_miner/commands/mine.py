"""``mine``: train and compare configurations of an experiment file."""

from __future__ import annotations

import argparse
import sys
import traceback
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console

from signal_miner.announcement import Announcement
from signal_miner.background.handing import HANDED, Handed
from signal_miner.commands import ALL_FAILED, INTERRUPTED, integer, report, truth
from signal_miner.commands.ui_address import print_address
from signal_miner.errors import UserError
from signal_miner.experiment import Experiment, load_experiment
from signal_miner.miner_status import REPORT
from signal_miner.redaction import without_passwords
from signal_miner.study_files import study_directory

_NUMBERS = ("trials", "jobs", "seed", "horizon_days", "embargo_eras")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("--experiment", default="experiments/demo.toml", help="experiment file (%(default)s)")
    parser.add_argument(
        "--name", help="name of the MLflow experiment and the beginning of the study's, in place of the file's"
    )
    parser.add_argument("--data", help="data in place of the file's: demo, a version, a directory or a file")
    parser.add_argument("--trials", help="number of trials in all")
    parser.add_argument("--jobs", help="trials trained at a time; -1 for one a core")
    parser.add_argument("--seed", help="seed of draws and boosters")
    parser.add_argument("--horizon-days", help="horizon of targets whose names do not say it: 20 or 60")
    parser.add_argument("--embargo-eras", help="purge in eras, in place of what the horizons ask for")
    parser.add_argument("--report", help="whether the report is made at the end (true)")
    parser.add_argument("--tracking-uri", help="MLflow tracking store")


def run(given: argparse.Namespace, console: Console) -> int:
    """Mine, and return the exit code."""
    if given.experiment == HANDED:
        handed = Handed.from_json(sys.stdin.read())
        sys.excepthook = _print_without_passwords  # all that it prints is kept in a file
        directory = study_directory(handed.experiment.study_storage)
        with Announcement(directory, handed.study, handed.token, handed.log) as announcement:
            return _mine(handed.experiment, handed.report, announcement, console)
    overrides: dict[str, Any] = {
        key: value for key in ("name", "data", "tracking_uri") if (value := getattr(given, key))
    }
    for option in _NUMBERS:
        text = getattr(given, option)
        if text:  # `mlflow run` passes '' for a parameter that is not given
            key = "folds.embargo_eras" if option == "embargo_eras" else option
            overrides[key] = integer(option, text)
    reported = truth("report", given.report or "true")
    experiment = load_experiment(Path(given.experiment or "experiments/demo.toml"), overrides)
    with Announcement(study_directory(experiment.study_storage)) as announcement:
        return _mine(experiment, reported, announcement, console)


def _print_without_passwords(kind: type[BaseException], error: BaseException, where: TracebackType | None) -> None:
    sys.stderr.write(without_passwords("".join(traceback.format_exception(kind, error, where))))


def _mine(experiment: Experiment, reported: bool, announcement: Announcement, console: Console) -> int:
    import joblib

    from signal_miner.memory import plan_memory
    from signal_miner.plan import describe, make_plan
    from signal_miner.sources import open_data

    plan = make_plan(experiment, open_data(experiment))
    for line in describe(plan):
        console.print(line)
    memory = plan_memory(plan, joblib.cpu_count())
    for line in memory.lines:
        console.print(line)
    for warning in plan.warnings:
        console.print(f"Warning: {warning}", style="yellow")

    # MLflow takes seconds to import; a mistake in the file is told before it.
    from signal_miner.leaderboard_table import print_leaderboard
    from signal_miner.mining import mine

    summary = mine(plan, memory, console, announcement)
    print_leaderboard(summary.leaderboard, console)
    if summary.exhausted:
        console.print("The grid has no further configuration: every one was trained.")
    finished, failed = len(summary.leaderboard.places) - 1, summary.leaderboard.failed
    pages: dict[str, str] = {}
    if reported and finished and not summary.stopped:
        announcement.tell(state=REPORT)
        pages = _report(summary.study, experiment.tracking_uri, console)
    purpose = "To compare the trials with the benchmark"
    print_address(console, summary.tracking_uri, summary.view, purpose, pages)
    if summary.stopped:
        console.print("Stopped before the last trial; the same command goes on.")
        return INTERRUPTED
    if not summary.exhausted:
        more = 2 * max(experiment.trials, finished + failed)
        console.print(f"For more trials run the same command with -P trials={more}; finished ones are kept.")
    if finished and plan.holdout_eras:
        console.print("The holdout is untouched; once you have chosen: mlflow run . -e holdout (see README)")
    if finished:
        console.print(f"For an ensemble: mlflow run . -e ensemble --env-manager local -P study={summary.study}")
    return ALL_FAILED if failed and not finished else 0


def _report(study: str, tracking_uri: str | None, console: Console) -> dict[str, str]:
    """Make the report and return where it is; where that fails, all that was mined is tracked already."""
    from signal_miner.reporting import make_report

    try:
        console.print("Making the report …")
        made = make_report(study, tracking_uri)
    except UserError as error:
        again = f"mlflow run . -e report --env-manager local -P study={study}"
        console.print(f"The report was not made: {error}. Once that is mended: {again}")
        return {}
    console.print()
    console.print("Skill or luck:")
    report.print_lines(made.lines[1:], console)  # the first is in the leaderboard
    return {"The report": made.address}
