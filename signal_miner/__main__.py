"""The commands: ``python -m signal_miner mine`` and ``download``."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from signal_miner.errors import Stopped, UserError

USER_ERROR, ALL_FAILED, INTERRUPTED = 2, 1, 130


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are ours: one line, exit code 2; options are written out."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings, allow_abbrev=False)

    def error(self, message: str) -> None:  # type: ignore[override]
        raise UserError(message)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    Parameters
    ----------
    arguments : sequence of str, optional
        ``sys.argv[1:]`` if not given.

    Returns
    -------
    int
        0; 1 if every trial failed; 2 for a user's mistake, told in one line; 130 if stopped by the user.
    """
    console = Console(highlight=False, soft_wrap=True, markup=False)
    try:
        given = _parser().parse_args(arguments)
        return int(given.run(given, console))
    except UserError as error:
        print(f"signal-miner: {' '.join(str(error).split())}", file=sys.stderr)
        return USER_ERROR
    except OSError as error:  # no room, no right, or nobody reads what is printed
        print(f"signal-miner: {error}; once that is mended, the same command goes on", file=sys.stderr)
        return USER_ERROR
    except (KeyboardInterrupt, Stopped):
        print("signal-miner: interrupted; the same command goes on where it stopped", file=sys.stderr)
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m signal_miner", description="Mine models for the Numerai Classic tournament.")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND", parser_class=_Parser)
    mine = commands.add_parser("mine", help="train and compare configurations of an experiment file")
    mine.add_argument("--experiment", default="experiments/demo.toml", help="experiment file (%(default)s)")
    mine.add_argument("--data", help="data in place of the file's: demo, a version, a directory or a file")
    mine.add_argument("--trials", help="number of trials in all")
    mine.add_argument("--jobs", help="trials trained at a time; -1 for one a core")
    mine.add_argument("--seed", help="seed of draws and boosters")
    mine.add_argument("--horizon-days", help="horizon of targets whose names do not say it: 20 or 60")
    mine.add_argument("--embargo-eras", help="purge in eras, in place of what the horizons ask for")
    mine.add_argument("--tracking-uri", help="MLflow tracking store")
    mine.set_defaults(run=_mine)
    download = commands.add_parser("download", help="fetch a version of Numerai's data")
    download.add_argument("--version", required=True, help="such as v5.3")
    download.add_argument("--directory", help="where to (data/<version>)")
    download.add_argument("--files", help="file names, separated by commas, in place of the usual ones")
    download.set_defaults(run=_download)
    return parser


def _mine(given: argparse.Namespace, console: Console) -> int:
    from signal_miner.experiment import load_experiment
    from signal_miner.plan import describe, make_plan
    from signal_miner.sources import open_source

    overrides: dict[str, Any] = {
        key: value for key, value in (("data", given.data), ("tracking_uri", given.tracking_uri)) if value
    }
    for option in ("trials", "jobs", "seed", "horizon_days", "embargo_eras"):
        text = getattr(given, option)
        if text:  # `mlflow run` passes '' for a parameter that is not given
            key = "folds.embargo_eras" if option == "embargo_eras" else option
            overrides[key] = _integer(option, text)
    experiment = load_experiment(Path(given.experiment or "experiments/demo.toml"), overrides)
    dataset = open_source(experiment.data, experiment.feature_set, experiment.scoring_target, experiment.targets)
    plan = make_plan(experiment, dataset)
    for line in describe(plan):
        console.print(line)
    for warning in plan.warnings:
        console.print(f"Warning: {warning}", style="yellow")

    # MLflow takes seconds to import; a mistake in the file is told before it.
    from signal_miner.leaderboard import print_leaderboard
    from signal_miner.mining import mine
    from signal_miner.redaction import without_passwords

    summary = mine(plan, console)
    print_leaderboard(summary.leaderboard, console)
    if summary.exhausted:
        console.print("The grid has no further configuration: every one was trained.")
    console.print()
    store = without_passwords(summary.tracking_uri)
    if store.startswith(("http://", "https://")):
        server = store.rstrip("/")
    else:
        server = "http://127.0.0.1:5000"
        console.print("To compare the trials with the benchmark, start the MLflow UI:")
        console.print(f"  {_ui_command(store)}")
    console.print(f"and open  {server}{summary.view}")
    if summary.stopped:
        console.print("Stopped before the last trial; the same command goes on.")
        return INTERRUPTED
    finished, failed = len(summary.leaderboard.places) - 1, summary.leaderboard.failed
    if not summary.exhausted:
        more = 2 * max(experiment.trials, finished + failed)
        console.print(f"For more trials run the same command with -P trials={more}; finished ones are kept.")
    return ALL_FAILED if failed and not finished else 0


def _download(given: argparse.Namespace, console: Console) -> int:
    from signal_miner.download import download_version
    from signal_miner.sources import DATA_DIRECTORY

    directory = Path(given.directory) if given.directory else DATA_DIRECTORY / given.version
    files = [name.strip() for name in given.files.split(",") if name.strip()] if given.files else None
    fetched = download_version(given.version, directory, files=files)
    new = sum(file.fetched for file in fetched)
    size = sum(file.size for file in fetched) / 1e6
    console.print(
        f"{len(fetched)} files in {directory}, {size:,.1f} MB: {new} fetched, {len(fetched) - new} here already"
    )
    console.print(f'Mine it with an experiment file that says data = "{given.directory or given.version}".')
    return 0


def _integer(option: str, text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise UserError(f"{option} = {text!r} is not an integer; write one such as {option}=100") from error


def _ui_command(tracking_uri: str) -> str:
    # Without the variable the UI starts job workers that take 2 GB and serve nothing here.
    setting = "MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false"
    setting = f"set {setting} &&" if os.name == "nt" else setting
    return f"{setting} mlflow ui --backend-store-uri {shlex.quote(tracking_uri)}"


if __name__ == "__main__":
    sys.exit(main())
