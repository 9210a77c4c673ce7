"""``submit``: predict the newest live data with a registered model and submit them, once a round."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from signal_miner.cli import add_model_options, truth


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("--numerai-model", help="name of the model slot in your Numerai account")
    add_model_options(parser)
    parser.add_argument("--dry-run", help="true: write the file of predictions and stop; needs no keys")
    parser.add_argument("--version", help="of the live data; the one the model was mined on if not given")
    parser.add_argument("--live", help="of a dry run: a parquet file in place of Numerai's newest")
    parser.add_argument("--live-benchmarks", help="of a dry run: benchmark predictions that belong to --live")
    parser.add_argument("--again", help="true: replace a submission of the same round")


def run(given: argparse.Namespace, console: Console) -> int:
    """Submit, and return the exit code."""
    dry_run, again = truth("dry_run", given.dry_run), truth("again", given.again)

    from signal_miner.models.registry import Registry
    from signal_miner.numerai.live.submission import SubmitOptions, submit
    from signal_miner.numerai.live.submission_runs import SubmissionRuns
    from signal_miner.utils.files import temporary_directory

    options = SubmitOptions(
        numerai_model=given.numerai_model or "",
        dry_run=dry_run,
        data_version=given.version or None,
        live=Path(given.live) if given.live else None,
        live_benchmarks=Path(given.live_benchmarks) if given.live_benchmarks else None,
        again=again,
    )
    with temporary_directory() as directory:
        registry = Registry(given.tracking_uri or None)
        model = registry.load(given.model or "signal-miner", given.alias or "champion", directory)
        submit(options, model, SubmissionRuns(given.tracking_uri or None, model.experiment_id), console)
    return 0
