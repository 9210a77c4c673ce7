"""``register``: reproduce and refit an ensemble, and register it as a model with its ``predict.pkl``."""

from __future__ import annotations

import argparse

from rich.console import Console

from signal_miner.cli import integer
from signal_miner.cli.ui_address import MODEL_TRAINING, print_address


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("--ensemble", help="run id, name or STUDY/name, or a study: its newest; else the newest of all")
    parser.add_argument("--model", help="name of the registered model (signal-miner)")
    parser.add_argument("--trees", help="kept (default): those of the best checkpoint; scaled: more, as eras are more")
    parser.add_argument("--promote", help="to champion: if_better (default) on validation, always or never")
    parser.add_argument("--jobs", help="members trained at a time; as the study was mined if not given")
    parser.add_argument("--data", help="where the study's data lie now")
    parser.add_argument("--tracking-uri", help="MLflow tracking store")


def run(given: argparse.Namespace, console: Console) -> int:
    """Register, and return the exit code."""
    from signal_miner.data.sources import is_data_version
    from signal_miner.models.registration import register
    from signal_miner.models.registration_options import RegistrationOptions

    plain = RegistrationOptions()
    done = register(
        RegistrationOptions(
            ensemble=given.ensemble or None,
            model=given.model or plain.model,
            trees=given.trees or plain.trees,
            promote=given.promote or plain.promote,
            jobs=integer("jobs", given.jobs) if given.jobs else None,
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
    submit = "mlflow run . -e submit --env-manager local"
    for option, value, usual in (
        ("model", made.name, plain.model),
        ("alias", "champion" if done.champion else made.version, "champion"),
        ("tracking_uri", given.tracking_uri or "", ""),
    ):
        submit += f" -P {option}={value}" if value != usual else ""
    if is_data_version(done.data):
        console.print(f"To submit with it: {submit} -P numerai_model=…  (first with -P dry_run=true)")
    else:
        console.print(f"To predict with it: {submit} -P dry_run=true -P live=…  (a parquet file, such as live.parquet)")
    page = f"/#/models/{made.name}/versions/{made.version}?{MODEL_TRAINING}"
    print_address(console, done.tracking_uri, page, "To look at it")
    return 0
