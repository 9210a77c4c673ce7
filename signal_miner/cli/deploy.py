"""``deploy``: hand a registered model's ``predict.pkl`` to Numerai's model upload and follow its validation."""

from __future__ import annotations

import argparse

from rich.console import Console

from signal_miner.cli import add_model_options, truth


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("--numerai-model", help="name of the model slot in your Numerai account")
    add_model_options(parser)
    parser.add_argument("--version", help="of the live data; the one the model was mined on if not given")
    parser.add_argument("--image", help="such as 'Python 3.12'; the newest tested one if not given")
    parser.add_argument("--again", help="true: upload anew what is uploaded already")


def run(given: argparse.Namespace, console: Console) -> int:
    """Deploy, and return the exit code."""
    again = truth("again", given.again)

    from signal_miner.models.registry import Registry
    from signal_miner.numerai.live.deployment import DeployOptions, deploy
    from signal_miner.utils.files import temporary_directory

    options = DeployOptions(
        numerai_model=given.numerai_model or "",
        data_version=given.version or None,
        image=given.image or None,
        again=again,
    )
    with temporary_directory() as directory:
        model = Registry(given.tracking_uri or None).load(
            given.model or "signal-miner", given.alias or "champion", directory
        )
        deploy(options, model, console)
    return 0
