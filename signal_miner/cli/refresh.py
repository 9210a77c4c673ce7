"""``refresh``: refit registered models on the newest data, check, register and, if asked, submit or deploy them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from signal_miner.cli.options import ModelOptions
from signal_miner.cli.several_slots import slots_file
from signal_miner.cli.terminal import SOME_FAILED
from signal_miner.errors import UserError
from signal_miner.utils.option import option

EXAMPLE = "signal-miner refresh --slots slots.toml --deliver true"


@dataclass(frozen=True, kw_only=True)
class Options(ModelOptions):
    """Which models to refresh, on which data, and what becomes of them."""

    slots: Path | None = option("file of slots, in place of model and alias: the models of all of them", None)
    slot: tuple[str, ...] = option("of these, names separated by commas (all)", ())
    deliver: bool = option("true: submit to the slots, or deploy to them, once all checks have passed", False)
    late: bool = option("true: where no round is open, submit for the next one", False)
    data: str | None = option("where the study's data are (as it was mined)", None)
    trees: str = option("kept (default) or scaled, as of register", "kept")
    jobs: int | None = option("members trained at a time (as the study was mined)", None)
    least_correlation: float = option("rank correlation with the old version that is required (0.5)", 0.5)
    promote: str | None = option("always or never moves the alias to the new version (as registered)", None)


def run(options: Options, console: Console) -> int:
    """Refresh, print a line for each model, and return the exit code."""
    from signal_miner.live.refresh import RefreshOptions, refresh
    from signal_miner.live.slots import Slot, chosen_slots

    if options.deliver and options.slots is None:
        raise UserError("deliver needs slots, a file that names the model slots at Numerai; give one, or leave it out")
    slots: tuple[Slot, ...] = (Slot("", options.model, options.alias),)
    if (file := slots_file(options)) is not None:
        slots = chosen_slots(file, options.slot)
    given = RefreshOptions(
        data=options.data,
        trees=options.trees,
        jobs=options.jobs,
        deliver=options.deliver,
        late=options.late,
        least_correlation=options.least_correlation,
        promote=options.promote,
        tracking_uri=options.tracking_uri,
    )
    refreshed = refresh(slots, given, console)
    for each in refreshed:
        console.print(f"refresh {each}")
    return SOME_FAILED if any(each.failed for each in refreshed) else 0
