"""What `submit`, `deploy` and `refresh` do with a file of slots."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from rich.console import Console

from signal_miner.cli.terminal import SOME_FAILED
from signal_miner.errors import UserError

if TYPE_CHECKING:
    from signal_miner.live.delivery import DeliveryOptions
    from signal_miner.live.slots import Delivery


class SeveralSlots(Protocol):
    """Options that may name a file of slots."""

    @property
    def slots(self) -> Path | None:
        """The file."""

    @property
    def slot(self) -> tuple[str, ...]:
        """Names of slots in it."""


def slots_file(options: SeveralSlots) -> Path | None:
    """Return the file of slots or None; raise a `UserError` where some of its slots are given without it."""
    if options.slot and options.slots is None:
        raise UserError("slot names some of the slots of a file; give slots, too, or leave it out")
    return options.slots


def deliver_to_slots(
    options: SeveralSlots, delivery: Delivery, of_one: bool, how: DeliveryOptions, console: Console
) -> int:
    """Deliver to the slots of a file, and return the exit code; `of_one` says that options of one slot were given."""
    from signal_miner.live.delivery import deliver, slots_delivered_by
    from signal_miner.live.slots import chosen_slots

    if of_one or options.slots is None:
        raise UserError(
            "slots names a file that says which model and data each slot has; leave out those of a single slot"
        )
    slots = slots_delivered_by(chosen_slots(options.slots, options.slot), delivery)
    return SOME_FAILED if any(outcome.error for outcome in deliver(slots, how, console)) else 0
