"""``holdout``: open a study's holdout, once, for one model, and evaluate the model there."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rich.console import Console

from signal_miner.cli import StoreOptions
from signal_miner.cli.ui_address import MODEL_TRAINING, print_address
from signal_miner.errors import UserError
from signal_miner.utils.next_command import next_command
from signal_miner.utils.option import option

if TYPE_CHECKING:
    from signal_miner.holdout.evaluation import HoldoutResult
    from signal_miner.holdout.model import EvaluatedModel
    from signal_miner.tracking.studies import TrackedStudy

EXAMPLE = "signal-miner holdout --study demo --trial 19"

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


@dataclass(frozen=True, kw_only=True)
class Options(StoreOptions):
    """Which model to evaluate on the holdout, and whether to do it."""

    ensemble: str | None = option("run id, name or STUDY/name of an ensemble, or a study: its newest", None)
    study: str | None = option("with trial: name of a study, or the start of it (the newest study)", None)
    trial: str | None = option("instead of an ensemble: number or run id of a trial, at its best checkpoint", None)
    open: bool = option("true: open the holdout; without it nothing is touched", False)
    jobs: int | None = option("models trained at a time; -1 for one per core (as the study was mined)", None)
    data: str | None = option("where the study's data are now", None)

    def __post_init__(self) -> None:
        if self.jobs is not None and self.jobs != -1 and self.jobs < 1:
            raise UserError(f"jobs = {self.jobs} is not 1 or more, nor -1 (one per core)")
        if self.ensemble and (self.trial or self.study):
            raise UserError("ensemble names the model already; leave out study and trial, or leave out ensemble")
        if not (self.ensemble or self.trial):
            raise UserError("the holdout is opened for one model; name it with ensemble=…, or with study=… and trial=…")


def run(options: Options, console: Console) -> int:
    """Open the holdout, or preview it, and return the exit code."""
    from signal_miner.experiment.plan import restore_plan
    from signal_miner.holdout.evaluation import Holdout
    from signal_miner.holdout.runs import HoldoutRuns
    from signal_miner.utils.interruption import StopRequest

    study, model = _find(options)
    runs = HoldoutRuns(options.tracking_uri)
    holdout = Holdout(study, model, runs)
    judgement = holdout.stored()
    if judgement is None:
        plan = restore_plan(study.plan, options.data)
        if options.jobs is not None:
            plan = replace(plan, experiment=replace(plan.experiment, jobs=options.jobs))
        for line in holdout.describe(plan):
            console.print(line)
        if not options.open:
            console.print(f"Nothing was done. To open it: {_command(options, study, model)}")
            return 0
        with StopRequest(lambda: console.print("Stopping; models trained so far are kept …")) as stop:
            judgement = holdout.open(plan, stop, console)
    else:
        console.print(f"Opened on {judgement.opening.when} for this model; nothing is trained or evaluated again")
    _print(judgement, study, model, console)
    page = f"/#/experiments/{study.experiment_id}/runs/{study.run_id}?{MODEL_TRAINING}"
    print_address(console, runs.tracking_uri, page, "To look at it")
    return 0


def _find(options: Options) -> tuple[TrackedStudy, EvaluatedModel]:
    from signal_miner.ensemble.options import RUNS, SelectionRule
    from signal_miner.ensemble.runs import EnsembleRuns
    from signal_miner.ensemble.selection import ranked_trials
    from signal_miner.holdout.model import EvaluatedModel
    from signal_miner.tracking.studies import Studies

    studies = Studies(options.tracking_uri)
    if options.ensemble:
        tracked = EnsembleRuns(options.tracking_uri).find(options.ensemble)
        return studies.find(tracked.ensemble.study), EvaluatedModel.of_ensemble(tracked)
    study = studies.find(options.study)
    (trial,) = ranked_trials(SelectionRule(select=RUNS, runs=(str(options.trial),)), study.trials)
    return study, EvaluatedModel.of_trial(study, trial)


def _command(options: Options, study: TrackedStudy, model: EvaluatedModel) -> str:
    """Return the command that opens the holdout for this very model, whichever is the newest by then."""
    named = {"study": study.name, "trial": str(model.ensemble.members[0].number)}
    chosen: dict[str, object] = dict(named) if model.single else {"ensemble": model.run_id}
    given = {"jobs": options.jobs, "data": options.data, "tracking_uri": options.tracking_uri}
    return next_command("holdout", **chosen, **given, open="true")


def _print(judgement: HoldoutResult, study: TrackedStudy, model: EvaluatedModel, console: Console) -> None:
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
