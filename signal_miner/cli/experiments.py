"""``experiments``: list the experiment files that come with the package."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console

from signal_miner.experiment.files import description_of, shipped_experiments
from signal_miner.utils.next_command import next_command

EXAMPLE = "signal-miner experiments"


@dataclass(frozen=True)
class Options:
    """No options."""


def run(_options: Options, console: Console) -> int:
    """Print a line for each experiment, and return the exit code."""
    shipped = shipped_experiments()
    width = max(map(len, shipped), default=0)
    for name, path in shipped.items():
        console.print(f"{name:{width}}  {description_of(path)}")
    mine, copy = (next_command(name, experiment="demo") for name in ("mine", "init"))
    console.print(f"To mine one: {mine}; to edit a copy: {copy}")
    return 0
