"""``register``: reproduce and refit an ensemble, and register it as a model with its ``predict.pkl``."""

from __future__ import annotations

import argparse

from rich.console import Console

from signal_miner.commands import choice
from signal_miner.commands.mine import MODEL_TRAINING, print_address


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("--ensemble", help="run id of an ensemble, or a study's name; the newest ensemble if not given")
    parser.add_argument("--model", help="name of the registered model (signal-miner)")
    parser.add_argument("--trees", help="kept (default): those of the best checkpoint; scaled: more, as eras are more")
    parser.add_argument("--promote", help="to champion: if_better (default) on validation, always or never")
    parser.add_argument("--data", help="where the study's data lie now")
    parser.add_argument("--tracking-uri", help="MLflow tracking store")


def run(given: argparse.Namespace, console: Console) -> int:
    """Register, and return the exit code."""
    trees = choice("trees", given.trees, ("kept", "scaled"))
    promote = choice("promote", given.promote, ("if_better", "always", "never"))

    from signal_miner.registration import RegistrationOptions, register

    plain = RegistrationOptions()
    done = register(
        RegistrationOptions(
            ensemble=given.ensemble or None,
            model=given.model or plain.model,
            trees=trees,
            promote=promote,
            data=given.data or None,
            tracking_uri=given.tracking_uri or None,
        ),
        console,
    )
    made = done.version
    console.print(f"Registered {made.name} version {made.version}")
    if done.champion:
        console.print(f"It is champion now ({done.reason}): models:/{made.name}@champion")
    else:
        console.print(f"It is not champion ({done.reason}); -P promote=always makes it so")
    if done.champion:
        console.print(
            "To submit with it: mlflow run . -e submit --env-manager local -P numerai_model=… (first: -P dry_run=true)"
        )
    page = f"/#/models/{made.name}/versions/{made.version}?{MODEL_TRAINING}"
    print_address(console, done.tracking_uri, page, "To look at it")
    return 0
