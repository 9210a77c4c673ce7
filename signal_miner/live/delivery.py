"""Several slots at once: each model submitted or deployed, and the failure of one does not stop the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console

from signal_miner.errors import UserError
from signal_miner.live.slots import Delivery, Slot
from signal_miner.models.registry import RegisteredModel, Registry
from signal_miner.numerai.live.deployment import DeployOptions, deploy
from signal_miner.numerai.live.submission import SubmitOptions, submit
from signal_miner.numerai.live.submission_runs import SubmissionRuns
from signal_miner.utils.files import temporary_directory


@dataclass(frozen=True)
class Delivered:
    """How the delivery to a slot ended; `error` is empty if it succeeded."""

    slot: Slot
    error: str = ""


@dataclass(frozen=True)
class DeliveryOptions:
    """How slots are delivered to; see `SubmitOptions` and `DeployOptions`."""

    dry_run: bool = False
    again: bool = False
    late: bool = False
    image: str | None = None
    tracking_uri: str | None = None


def deliver(slots: Sequence[Slot], options: DeliveryOptions, console: Console) -> tuple[Delivered, ...]:
    """Submit to each slot, or deploy to it, as the slot says; what fails is printed, a line each, and returned."""
    outcomes = []
    for slot in slots:
        console.print(f"{slot.name}: {slot.delivery} {slot.model}@{slot.alias}")
        try:
            with temporary_directory() as directory:
                model = Registry(options.tracking_uri).load(slot.model, slot.alias, directory)
                _deliver(slot, model, options, console)
            outcomes.append(Delivered(slot))
        except UserError as error:
            console.print(f"{slot.name} failed: {error}")
            outcomes.append(Delivered(slot, str(error)))
    failed = [outcome.slot.name for outcome in outcomes if outcome.error]
    done = len(outcomes) - len(failed)
    named = f"; failed: {', '.join(failed)}" if failed else ""
    console.print(f"{done} of {len(outcomes)} slots done{named}")
    return tuple(outcomes)


def slots_delivered_by(slots: Sequence[Slot], delivery: Delivery) -> tuple[Slot, ...]:
    """Return the slots that one way is for; raise a `UserError` if there is none."""
    found = tuple(slot for slot in slots if slot.delivery is delivery)
    if not found:
        raise UserError(f'no slot has delivery = "{delivery}"; set it in the file of slots')
    return found


def _deliver(slot: Slot, model: RegisteredModel, options: DeliveryOptions, console: Console) -> None:
    if slot.delivery is Delivery.DEPLOY and not options.dry_run:
        deploy(DeployOptions(slot.name, slot.version, options.image, options.again), model, console)
        return
    runs = SubmissionRuns(options.tracking_uri, model.needs.experiment_id)
    given = SubmitOptions(
        slot.name, dry_run=options.dry_run, data_version=slot.version, again=options.again, late=options.late
    )
    submit(given, model, runs, console)
