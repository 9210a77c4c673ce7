"""Mines what another process hands over on standard input: the entry point of a miner in the background."""

from __future__ import annotations

import sys

from rich.console import Console

from signal_miner.cli.mine import mine_experiment
from signal_miner.cli.terminal import run_reporting_errors
from signal_miner.errors import UserError
from signal_miner.experiment.study_files import study_directory
from signal_miner.mining.background.handoff import MiningJob
from signal_miner.mining.status_writer import StatusWriter


def run(console: Console) -> int:
    """Read a job, mine it, and return the exit code."""
    try:
        job = MiningJob.from_json(sys.stdin.read())
    except (ValueError, KeyError, TypeError) as error:
        raise UserError("standard input holds no mining job; use start_mining or the command mine") from error
    directory = study_directory(job.experiment.study_storage)
    with StatusWriter(directory, job.study, job.token, job.log) as status_writer:
        return mine_experiment(job.experiment, job.report, status_writer, console, job.study)


if __name__ == "__main__":
    sys.exit(run_reporting_errors(run, to_log=True))
