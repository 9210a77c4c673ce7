"""``mine``: train and compare configurations of an experiment."""

from __future__ import annotations

from _thread import interrupt_main
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from rich.console import Console

from signal_miner.cli import report
from signal_miner.cli.options import StoreOptions
from signal_miner.cli.terminal import ALL_FAILED, INTERRUPTED, print_address
from signal_miner.errors import UserError
from signal_miner.experiment.files import DEFAULT, find_experiment, load_experiment, read_experiment_file
from signal_miner.experiment.schema import Experiment
from signal_miner.experiment.study_files import lock_message, refuse_shared_database, study_directory
from signal_miner.mining.status import FAILED, REPORT, read_status
from signal_miner.mining.status_writer import StatusWriter
from signal_miner.utils.next_command import next_command, option_text
from signal_miner.utils.option import option

_BACK = "Back from a trial, reload the page to see these charts; if the menu shows GenAI, click Model training once."
EXAMPLE = "signal-miner mine numerai_small --trials 200"


@dataclass(frozen=True, kw_only=True)
class Options(StoreOptions):
    """Which experiment to mine, and what replaces its settings."""

    experiment: str = option("experiment file, or the name of one of the package (demo)", DEFAULT, positional=True)
    name: str | None = option("name of the MLflow experiment and start of the study's, instead of the file's", None)
    data: str | None = option("data instead of the file's: demo, a version, a directory or a file", None)
    trials: int | None = option("number of trials in all", None)
    jobs: int | None = option("trials trained at a time; -1 for one per core", None)
    seed: int | None = option("seed of draws and boosters", None)
    engine: str | None = option("lightgbm or bitplane, instead of the file's", None)
    horizon_days: int | None = option("horizon of targets whose names do not say it: 20 or 60", None)
    embargo_eras: int | None = option("purge in eras, instead of what the horizons ask for", None)
    objective: str | None = option("payout, payout_sharpe, sharpe, corr or bmc, instead of the file's", None)
    scoring_target: str | None = option("target that every model is scored on, instead of the file's", None)
    race: bool | None = option("whether trials that cannot win are stopped early, instead of what the file says", None)
    scheduler: str | None = option("Dask scheduler whose workers train, such as tcp://10.0.0.1:8786", None)
    report: bool = option("whether the report is made at the end (true)", True)

    def changes(self) -> Mapping[str, Any]:
        """Return the settings that replace the file's."""
        names = (
            "name", "data", "trials", "jobs", "seed", "engine", "horizon_days", "objective", "scoring_target", "race",
            "tracking_uri",
        )  # fmt: skip
        given = {name: value for name in names if (value := getattr(self, name)) is not None}
        if self.embargo_eras is not None:
            given["folds"] = {"embargo_eras": self.embargo_eras}
        if self.scheduler is not None:
            given["cluster"] = {"scheduler": self.scheduler, "workers": None}
        return given


def run(options: Options, console: Console) -> int:
    """Mine, and return the exit code."""
    path = find_experiment(options.experiment)
    experiment = load_experiment(path, **options.changes())
    # The run keeps the file as its author wrote it, comments included; plan.json holds what the options changed.
    experiment = replace(experiment, text=read_experiment_file(path))
    with StatusWriter(study_directory(experiment.study_storage)) as status_writer:
        return mine_experiment(experiment, options.report, status_writer, console)


def mine_experiment(
    experiment: Experiment, reported: bool, status_writer: StatusWriter, console: Console, study: str | None = None
) -> int:
    """Mine an experiment, print what comes of it, and return the exit code.

    Parameters
    ----------
    reported : bool
        Whether the report is made at the end.
    study : str, optional
        Name of the study that was planned by another process, which the data must still give.
    """
    import joblib

    from signal_miner.data.sources import DATA_DIRECTORY, DEMO
    from signal_miner.engine.memory_plan import plan_memory
    from signal_miner.experiment.plan import make_plan, open_data
    from signal_miner.report.sentences import describe_plan, memory_lines, study_note

    refuse_shared_database(experiment.study_storage, experiment.tracking_uri)
    if experiment.data == DEMO and not (DATA_DIRECTORY / DEMO).is_dir():
        console.print("Generating the synthetic demo market …")
    plan = make_plan(experiment, open_data(experiment))
    if study not in (None, plan.study):
        raise UserError(
            f"the data changed while the miner was started (study {plan.study}, then {study}); start it again"
        )
    _refuse_second(experiment.study_storage, plan.study, status_writer)
    for line in describe_plan(plan):
        console.print(line)
    # On a cluster each worker plans with the memory that it has.
    memory = None if experiment.cluster else plan_memory(plan, joblib.cpu_count())
    for line in memory_lines(memory) if memory else ():
        console.print(line)
    for warning in plan.warnings:
        console.print(f"Warning: {warning}", style="yellow")

    # MLflow takes seconds to import; a mistake in the file is reported before that.
    from signal_miner.cli.tables import print_leaderboard
    from signal_miner.ensemble.options import AVERAGED
    from signal_miner.mining.session import mine

    summary = mine(plan, memory, console, status_writer, study_note)
    print_leaderboard(summary.leaderboard, console)
    if summary.exhausted:
        console.print("The grid has no further configuration: every one was trained.")
    finished, failed = summary.leaderboard.finished, summary.leaderboard.failed
    pages: dict[str, str] = {}
    if reported and finished and not summary.stopped:
        status_writer.update(state=REPORT)
        pages = _report(summary.study, experiment.tracking_uri, status_writer, console)
    purpose = "To compare the trials with the benchmark"
    print_address(console, summary.tracking_uri, summary.view, purpose, pages, _BACK)
    if summary.stopped:
        console.print("Stopped before the last trial; rerun the command to resume.")
        return INTERRUPTED
    if not summary.exhausted:
        more = option_text("trials", 2 * max(experiment.trials, finished + failed))
        console.print(f"For more trials rerun the command with {more}; finished ones are kept.")
    if finished and plan.holdout_eras:
        holdout = next_command("holdout", study=summary.study, trial="…")
        console.print(f"The holdout is untouched. Once you have chosen a model: {holdout}")
    if finished > 1:
        averaged = next_command("ensemble", study=summary.study, select="top", members=min(AVERAGED, finished))
        console.print(f"For an average of the best trials, which the evidence favours over the first alone: {averaged}")
    if failed and not finished:
        status_writer.update(state=FAILED, message=f"every trial failed, the last one with: {summary.last_error}")
        return ALL_FAILED
    return 0


def _refuse_second(storage: str, study: str, status_writer: StatusWriter) -> None:
    """Refuse a study that another process mines before anything is printed; its lock decides later."""
    status = read_status(study_directory(storage), study)
    if status is not None and status.alive and status.token != status_writer.token:
        raise UserError(lock_message(study, storage))


def _report(study: str, tracking_uri: str | None, status_writer: StatusWriter, console: Console) -> dict[str, str]:
    """Make the report and return its address; if that fails, everything that was mined is tracked already."""
    again = next_command("report", study=study)
    status_writer.listen(interrupt_main)
    try:
        console.print("Making the report …")
        from signal_miner.report.build import make_report
        from signal_miner.report.sentences import SKILL_OR_LUCK

        made = make_report(study, tracking_uri)
    except UserError as error:
        console.print(f"The report was not made: {error}. Once this is fixed: {again}")
        return {}
    except KeyboardInterrupt:
        console.print(f"The report was not made, as a stop was requested; all trials are tracked: {again}")
        return {}
    finally:
        status_writer.listen(None)
    console.print()
    console.print(f"{SKILL_OR_LUCK}:")
    report.print_lines((made.lines[0], *made.lines[2:]), console)  # the second is in the leaderboard
    return {"The report": made.address}
