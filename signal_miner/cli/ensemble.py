"""``ensemble``: choose trials of a study and blend their tracked predictions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console

from signal_miner.cli.terminal import print_address
from signal_miner.ensemble.options import AVERAGED, TOP, EnsembleOptions
from signal_miner.tracking.ui import run_page
from signal_miner.utils.next_command import next_command

if TYPE_CHECKING:
    from signal_miner.ensemble.sources import Source

EXAMPLE = "signal-miner ensemble --study demo --members 5 --max-correlation 0.8"
Options = EnsembleOptions


def run(options: Options, console: Console) -> int:
    """Make an ensemble, and return the exit code."""
    from signal_miner.cli.tables import print_ensemble
    from signal_miner.ensemble.build import make_ensemble

    def describe(sources: Sequence[Source]) -> None:
        for each in sources:
            study, data = each.study, each.plan.experiment.data
            console.print(f"Study {study.name}: {len(study.trials)} trials, data {data}")

    made = make_ensemble(options, console, describe)
    print_ensemble(made.summary, made.study.benchmark, console)
    run_id = made.summary.tracked.run_id
    page = run_page(made.study.experiment_id, run_id)
    print_address(console, made.tracking_uri, page, "To look at it")
    register = next_command("register", ensemble=run_id, tracking_uri=options.tracking_uri)
    console.print(f"To refit and register it: {register}")
    if made.summary.mean_of_best:
        study = ",".join(options.study)
        same = {name: getattr(options, name) for name in ("metric", "neutralize", "tracking_uri")}
        best = next_command("ensemble", study=study, select=TOP, members=AVERAGED, **same)
        console.print(f"To make the mean of the {AVERAGED} best: {best}")
    return 0
