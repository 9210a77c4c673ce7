"""``holdout``: open a study's holdout, once, for one model, and evaluate the model there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rich.console import Console

from signal_miner.cli.options import StoreOptions
from signal_miner.cli.terminal import print_address
from signal_miner.errors import UserError
from signal_miner.tracking.ui import run_page
from signal_miner.utils.next_command import next_command, option_text
from signal_miner.utils.option import option

if TYPE_CHECKING:
    from signal_miner.holdout.model import EvaluatedModel
    from signal_miner.tracking.studies import TrackedStudy

EXAMPLE = "signal-miner holdout --study demo --trial 19"


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
            raise UserError(
                f"the holdout is opened for one model; name it with {option_text('ensemble', '…')}, or with "
                f"{option_text('study', '…')} and {option_text('trial', '…')}"
            )


def run(options: Options, console: Console) -> int:
    """Open the holdout, or preview it, and return the exit code."""
    from signal_miner.cli.tables import print_holdout
    from signal_miner.experiment.plan import restore_plan
    from signal_miner.holdout.evaluation import Holdout
    from signal_miner.holdout.runs import HoldoutRuns
    from signal_miner.report.sentences import holdout_preview
    from signal_miner.utils.interruption import StopRequest

    study, model = _find(options)
    runs = HoldoutRuns(options.tracking_uri)
    holdout = Holdout(study, model, runs)
    result = holdout.stored()
    if result is None:
        plan = restore_plan(study.plan, options.data)
        if options.jobs is not None:
            plan = replace(plan, experiment=replace(plan.experiment, jobs=options.jobs))
        for line in holdout_preview(holdout.preview(plan)):
            console.print(line)
        if not options.open:
            console.print(f"Nothing was done. To open it: {_command(options, study, model)}")
            return 0
        with StopRequest(lambda: console.print("Stopping; models trained so far are kept …")) as stop:
            result = holdout.open(plan, stop, console)
    else:
        console.print(f"Opened on {result.opening.when} for this model; nothing is trained or evaluated again")
    print_holdout(result, study.benchmark, model, console)
    page = run_page(study.experiment_id, study.run_id)
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
