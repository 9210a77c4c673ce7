"""``deploy``: upload a registered model's ``predict.pkl`` to Numerai and follow its validation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from signal_miner.cli.options import ModelOptions
from signal_miner.cli.several_slots import deliver_to_slots, slots_file
from signal_miner.cli.terminal import print_if_unverified
from signal_miner.utils.option import option

EXAMPLE = "signal-miner deploy --numerai-model my_model"


@dataclass(frozen=True, kw_only=True)
class Options(ModelOptions):
    """What to upload, and where."""

    numerai_model: str = option("name of the model slot in your Numerai account", "")
    slots: Path | None = option('file of slots, in place of one: all of them with delivery = "deploy"', None)
    slot: tuple[str, ...] = option("of these, names separated by commas (all)", ())
    version: str | None = option("version of the live data (the one that the model was mined on)", None)
    image: str | None = option("such as 'Python 3.12' (the newest tested one)", None)
    again: bool = option("true: upload again what is uploaded already", False)


def run(options: Options, console: Console) -> int:
    """Deploy, and return the exit code."""
    from signal_miner.live.delivery import DeliveryOptions
    from signal_miner.live.slots import Delivery
    from signal_miner.models.registry import Registry
    from signal_miner.numerai.live.deployment import DeployOptions, deploy
    from signal_miner.utils.files import temporary_directory

    if slots_file(options) is not None:
        how = DeliveryOptions(again=options.again, image=options.image, tracking_uri=options.tracking_uri)
        return deliver_to_slots(options, Delivery.DEPLOY, bool(options.numerai_model or options.version), how, console)
    with temporary_directory() as directory:
        model = Registry(options.tracking_uri).load(options.model, options.alias, directory)
        print_if_unverified(model, console)
        deploy(DeployOptions(options.numerai_model, options.version, options.image, options.again), model, console)
    return 0
