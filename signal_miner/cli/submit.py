"""``submit``: predict the newest live data with a registered model and submit the predictions, once a round."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from signal_miner.cli.options import ModelOptions
from signal_miner.cli.several_slots import deliver_to_slots, slots_file
from signal_miner.cli.terminal import print_if_unverified
from signal_miner.utils.option import option

EXAMPLE = "signal-miner submit --dry-run true --live data/demo/live.parquet"


@dataclass(frozen=True, kw_only=True)
class Options(ModelOptions):
    """What to submit, and where."""

    numerai_model: str = option("name of the model slot in your Numerai account", "")
    slots: Path | None = option('file of slots, in place of one: all of them with delivery = "submit"', None)
    slot: tuple[str, ...] = option("of these, names separated by commas (all)", ())
    dry_run: bool = option("true: write the predictions and stop; needs no keys", False)
    version: str | None = option("version of the live data (the one that the model was mined on)", None)
    live: Path | None = option("for a dry run: a parquet file instead of Numerai's newest", None)
    live_benchmarks: Path | None = option("for a dry run: benchmark predictions that belong to --live", None)
    again: bool = option("true: replace a submission of the same round", False)
    late: bool = option("true: where no round is open, submit for the next one", False)


def run(options: Options, console: Console) -> int:
    """Submit, and return the exit code."""
    from signal_miner.live.delivery import DeliveryOptions
    from signal_miner.live.slots import Delivery
    from signal_miner.models.registry import Registry
    from signal_miner.numerai.live.submission import SubmitOptions, submit
    from signal_miner.numerai.live.submission_runs import SubmissionRuns
    from signal_miner.utils.files import temporary_directory

    if slots_file(options) is not None:
        own = (options.numerai_model, options.version, options.live, options.live_benchmarks)
        how = DeliveryOptions(options.dry_run, options.again, options.late, tracking_uri=options.tracking_uri)
        return deliver_to_slots(options, Delivery.SUBMIT, any(own), how, console)
    submission = SubmitOptions(
        numerai_model=options.numerai_model,
        dry_run=options.dry_run,
        data_version=options.version,
        live=options.live,
        live_benchmarks=options.live_benchmarks,
        again=options.again,
        late=options.late,
    )
    with temporary_directory() as directory:
        model = Registry(options.tracking_uri).load(options.model, options.alias, directory)
        print_if_unverified(model, console)
        submit(submission, model, SubmissionRuns(options.tracking_uri, model.needs.experiment_id), console)
    return 0
