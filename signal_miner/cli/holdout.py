"""``holdout``: open a study's holdout, once, for one model, and judge the model there."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Container, Mapping
from typing import TYPE_CHECKING

from rich.console import Console

from signal_miner.cli import integer, truth
from signal_miner.cli.ui_address import MODEL_TRAINING, print_address
from signal_miner.errors import UserError
from signal_miner.utils.redaction import without_passwords

if TYPE_CHECKING:
    from signal_miner.holdout.judging import HoldoutResult
    from signal_miner.holdout.model import JudgedModel
    from signal_miner.tracking.studies import TrackedStudy

_SCORES = {
    "CORR": ("corr", 4),
    "Sharpe": ("sharpe", 2),
    "max.\ndrawdown": ("max_drawdown", 2),
    "BMC": ("bmc", 4),
    "corr. with\nbenchmark": ("benchmark_corr", 2),
}
_OF_BENCHMARK = {
    "benchmark\nCORR": ("corr", 4),
    "benchmark\nSharpe": ("sharpe", 2),
    "benchmark\nmax. drawdown": ("max_drawdown", 2),
}
_LEAST_FIRST = (
    "corr. with\nbenchmark",
    "benchmark\nmax. drawdown",
    "max.\ndrawdown",
    "BMC",
    "benchmark\nCORR",
    "CORR",
    "benchmark\nSharpe",
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("--ensemble", help="run id, name or STUDY/name of an ensemble, or a study: its newest")
    parser.add_argument("--study", help="of --trial: a study's name or its beginning; the newest if not given")
    parser.add_argument("--trial", help="in place of an ensemble: number or run id of a trial, at its best checkpoint")
    parser.add_argument("--open", help="true: open the holdout; without it nothing is touched")
    parser.add_argument("--jobs", help="models trained at a time; as the study was mined if not given")
    parser.add_argument("--data", help="where the study's data lie now")
    parser.add_argument("--tracking-uri", help="MLflow tracking store")


def run(given: argparse.Namespace, console: Console) -> int:
    """Open the holdout, or say what would be done, and return the exit code."""
    opens = truth("open", given.open)
    jobs = integer("jobs", given.jobs) if given.jobs else None
    if jobs is not None and jobs != -1 and jobs < 1:
        raise UserError(f"jobs = {jobs} is not 1 or more, nor -1 (one a core)")
    if given.ensemble and (given.trial or given.study):
        raise UserError("ensemble names the model already; leave out study and trial, or leave out ensemble")
    if not (given.ensemble or given.trial):
        raise UserError("the holdout is opened for one model; name it with ensemble=…, or with study=… and trial=…")

    from dataclasses import replace

    from signal_miner.experiment.plan import restore_plan
    from signal_miner.holdout.judging import Holdout
    from signal_miner.holdout.runs import HoldoutRuns
    from signal_miner.utils.interruption import StopRequest

    study, model = _find(given)
    runs = HoldoutRuns(given.tracking_uri or None)
    holdout = Holdout(study, model, runs)
    judgement = holdout.stored()
    if judgement is None:
        plan = restore_plan(study.plan, given.data or None)
        if jobs is not None:
            plan = replace(plan, experiment=replace(plan.experiment, jobs=jobs))
        for line in holdout.describe(plan):
            console.print(line)
        if not opens:
            console.print(f"Nothing was done. To open it: {_command(given, study, model)}")
            return 0
        with StopRequest(lambda: console.print("Stopping; models trained so far are kept …")) as stop:
            judgement = holdout.open(plan, stop, console)
    else:
        console.print(f"Opened on {judgement.opening.when} for this model; nothing is trained or looked at again")
    _print(judgement, study, model, console)
    page = f"/#/experiments/{study.experiment_id}/runs/{study.run_id}?{MODEL_TRAINING}"
    print_address(console, runs.tracking_uri, page, "To look at it")
    return 0


def _find(given: argparse.Namespace) -> tuple[TrackedStudy, JudgedModel]:
    from signal_miner.ensemble.runs import EnsembleRuns
    from signal_miner.ensemble.selection import RUNS, SelectionRule, ranked_trials
    from signal_miner.holdout.model import JudgedModel
    from signal_miner.tracking.studies import Studies

    studies = Studies(given.tracking_uri or None)
    if given.ensemble:
        tracked = EnsembleRuns(given.tracking_uri or None).find(given.ensemble)
        return studies.find(tracked.ensemble.study), JudgedModel.of_ensemble(tracked)
    study = studies.find(given.study or None)
    (trial,) = ranked_trials(SelectionRule(select=RUNS, runs=(given.trial,)), study.trials)
    return study, JudgedModel.of_trial(study, trial)


def _command(given: argparse.Namespace, study: TrackedStudy, model: JudgedModel) -> str:
    """Return the command that opens the holdout for this very model, whatever is the newest then."""
    named = {"study": study.name, "trial": str(model.ensemble.members[0].number)}
    chosen = (named if model.single else {"ensemble": model.run_id}) | {
        option: getattr(given, option) for option in ("jobs", "data", "tracking_uri") if getattr(given, option)
    }
    parameters = [f"-P {shlex.quote(f'{option}={without_passwords(value)}')}" for option, value in chosen.items()]
    return " ".join(["mlflow run . -e holdout --env-manager local", *parameters, "-P open=true"])


def _print(judgement: HoldoutResult, study: TrackedStudy, model: JudgedModel, console: Console) -> None:
    """Print the model beside the benchmark in validation, test and holdout, and the result in a sentence."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from signal_miner.utils.console import fitting, for_a_table

    def table(left_out: Container[str]) -> Table:
        title = f"{model.name.capitalize()} beside the benchmark"
        made = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
        made.add_column("", no_wrap=True)
        own, other = ({h: c for h, c in heads.items() if h not in left_out} for heads in (_SCORES, _OF_BENCHMARK))
        for head in own:
            made.add_column(head, justify="right", no_wrap=True)
        for head in other:
            made.add_column(head, justify="right", no_wrap=True, style="yellow")
        for part in ("validation", "test"):
            metrics = [_of_part(part, each.metrics) for each in (model, study.benchmark)]
            made.add_row(part, *_cells(own, metrics[0]), *_cells(other, metrics[1]))
        made.add_section()
        scores = judgement.scores
        holdout = *_cells(own, scores.model_scores), *_cells(other, scores.benchmark_scores)
        made.add_row("holdout", *holdout, style="bold")
        return made

    console = for_a_table(console)
    console.print(fitting(table, _LEAST_FIRST, console))
    console.print(f"Holdout {judgement.opening.eras}, opened for {model.name}: {judgement.opening.result}.")


def _of_part(part: str, metrics: Mapping[str, float]) -> dict[str, float]:
    return {name.removeprefix(f"{part}/"): value for name, value in metrics.items() if name.startswith(f"{part}/")}


def _cells(columns: Mapping[str, tuple[str, int]], scores: Mapping[str, float]) -> list[str]:
    values = [(scores.get(name, float("nan")), decimals) for name, decimals in columns.values()]
    return ["–" if value != value else f"{value:.{decimals}f}" for value, decimals in values]
