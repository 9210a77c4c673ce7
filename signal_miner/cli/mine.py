"""``mine``: train and compare configurations of an experiment file."""

from __future__ import annotations

import argparse
import sys
import traceback
from _thread import interrupt_main
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console

from signal_miner.cli import ALL_FAILED, INTERRUPTED, integer, report, truth
from signal_miner.cli.ui_address import print_address
from signal_miner.errors import UserError
from signal_miner.experiment.experiment import Experiment
from signal_miner.experiment.library import DEFAULT_EXPERIMENT, find_experiment
from signal_miner.experiment.loading import load_experiment
from signal_miner.experiment.study_files import lock_message, study_directory
from signal_miner.mining.background.handoff import HANDED, Handed
from signal_miner.mining.status import FAILED, REPORT, read_status
from signal_miner.mining.status_writer import Announcement
from signal_miner.utils.redaction import without_passwords

_NUMBERS = ("trials", "jobs", "seed", "horizon_days", "embargo_eras")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument(
        "path", nargs="?", metavar="EXPERIMENT", help="experiment file, or the name of one of `experiments`"
    )
    parser.add_argument("--experiment", help=f"the same, as an option ({DEFAULT_EXPERIMENT})")
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
        handed = _read_handed()
        sys.excepthook = _print_without_passwords  # all that it prints is kept in a file
        directory = study_directory(handed.experiment.study_storage)
        with Announcement(directory, handed.study, handed.token, handed.log) as announcement:
            return _mine(handed.experiment, handed.report, announcement, console, handed)
    changes: dict[str, Any] = {key: value for key in ("name", "data", "tracking_uri") if (value := getattr(given, key))}
    for option in _NUMBERS:
        text = getattr(given, option)
        if text:  # `mlflow run` passes '' for a parameter that is not given
            value = integer(option, text)
            changes |= {"folds": {option: value}} if option == "embargo_eras" else {option: value}
    reported = truth("report", given.report or "true")
    if given.path and given.experiment:
        raise UserError(f"experiment = {given.experiment!r} and {given.path!r} are both given; leave one out")
    path = find_experiment(Path(given.path or given.experiment or DEFAULT_EXPERIMENT))
    experiment = load_experiment(path, **changes)
    # The run keeps the file as its author wrote it, comments included; plan.json holds what the options changed.
    experiment = replace(experiment, text=path.read_text(encoding="utf-8"))
    with Announcement(study_directory(experiment.study_storage)) as announcement:
        return _mine(experiment, reported, announcement, console)


def _read_handed() -> Handed:
    try:
        return Handed.from_json(sys.stdin.read())
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"experiment = {HANDED!r} is what start_mining uses; name an experiment file") from error


def _print_without_passwords(kind: type[BaseException], error: BaseException, where: TracebackType | None) -> None:
    sys.stderr.write(without_passwords("".join(traceback.format_exception(kind, error, where))))


def _mine(
    experiment: Experiment, reported: bool, announcement: Announcement, console: Console, handed: Handed | None = None
) -> int:
    import joblib

    from signal_miner.data.sources import DATA_DIRECTORY, DEMO
    from signal_miner.engine.memory_plan import plan_memory
    from signal_miner.experiment.plan import make_plan, open_data
    from signal_miner.report.sentences import describe_plan, memory_lines

    if experiment.data == DEMO and not (DATA_DIRECTORY / DEMO).is_dir():
        console.print("Generating the synthetic demo market …")
    plan = make_plan(experiment, open_data(experiment))
    if handed is not None and plan.study != handed.study:
        raise UserError(
            f"the data changed while the miner was started (study {plan.study}, then {handed.study}); start it again"
        )
    _refuse_second(experiment.study_storage, plan.study, announcement)
    for line in describe_plan(plan):
        console.print(line)
    memory = plan_memory(plan, joblib.cpu_count())
    for line in memory_lines(memory):
        console.print(line)
    for warning in plan.warnings:
        console.print(f"Warning: {warning}", style="yellow")

    # MLflow takes seconds to import; a mistake in the file is told before it.
    from signal_miner.cli.tables import print_leaderboard
    from signal_miner.mining.session import mine

    summary = mine(plan, memory, console, announcement)
    print_leaderboard(summary.leaderboard, console)
    if summary.exhausted:
        console.print("The grid has no further configuration: every one was trained.")
    finished, failed = len(summary.leaderboard.places) - 1, summary.leaderboard.failed
    pages: dict[str, str] = {}
    if reported and finished and not summary.stopped:
        announcement.tell(state=REPORT)
        pages = _report(summary.study, experiment.tracking_uri, announcement, console)
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
    if failed and not finished:
        announcement.tell(state=FAILED, message=f"every trial failed, the last one with: {summary.last_error}")
        return ALL_FAILED
    return 0


def _refuse_second(storage: str, study: str, announcement: Announcement) -> None:
    """Tell at once where another process mines the study, before what it would mine is told."""
    status = read_status(study_directory(storage), study)
    if status is not None and status.alive and status.token != announcement.token:
        raise UserError(lock_message(study))


def _report(study: str, tracking_uri: str | None, announcement: Announcement, console: Console) -> dict[str, str]:
    """Make the report and return where it is; where that fails, all that was mined is tracked already."""
    again = f"mlflow run . -e report --env-manager local -P study={study}"
    announcement.listen(interrupt_main)
    try:
        console.print("Making the report …")
        from signal_miner.report.build import make_report

        made = make_report(study, tracking_uri)
    except UserError as error:
        console.print(f"The report was not made: {error}. Once that is mended: {again}")
        return {}
    except KeyboardInterrupt:
        console.print(f"The report was not made, as a stop was asked for; all trials are tracked: {again}")
        return {}
    finally:
        announcement.listen(None)
    console.print()
    console.print("Skill or luck:")
    report.print_lines(made.lines[1:], console)  # the first is in the leaderboard
    return {"The report": made.address}
