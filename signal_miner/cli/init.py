"""``init``: copy an experiment file of the package to be edited."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from signal_miner.experiment.files import DEFAULT, copy_experiment
from signal_miner.utils.next_command import next_command
from signal_miner.utils.option import option

EXAMPLE = "signal-miner init numerai_small my_experiment.toml"


@dataclass(frozen=True)
class Options:
    """What to copy where."""

    experiment: str = option("name of an experiment (demo)", DEFAULT, positional=True)
    path: Path | None = field(
        default=None,
        metadata={"help": "new file, or directory for it (the experiment's name here)", "positional": True},
    )


def run(options: Options, console: Console) -> int:
    """Copy, and return the exit code."""
    path = copy_experiment(options.experiment, options.path)
    console.print(f"Copied {options.experiment} to {path}. Edit it, then: {next_command('mine', experiment=path)}")
    return 0
