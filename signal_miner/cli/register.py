"""``register``: reproduce and refit an ensemble, and register it as a model with its ``predict.pkl``."""

from __future__ import annotations

from rich.console import Console

from signal_miner.cli.terminal import print_address
from signal_miner.models.options import RegistrationOptions
from signal_miner.tracking.ui import MODEL_TRAINING
from signal_miner.utils.next_command import next_command, option_text

EXAMPLE = 'signal-miner register --ensemble "ensemble 1"'
Options = RegistrationOptions


def run(options: Options, console: Console) -> int:
    """Register, and return the exit code."""
    from signal_miner.data.sources import is_data_version
    from signal_miner.models.registration import register
    from signal_miner.report.sentences import promotion_reason, section_line

    done = register(options, console)
    version = done.version
    for section in done.sections:
        console.print(section_line(section), highlight=False)
    console.print(f"Registered {version.name} version {version.version}")
    reason = promotion_reason(done.promotion, options.promote)
    if done.promotion.promoted:
        console.print(f"It is now the champion ({reason}): models:/{version.name}@champion")
    else:
        console.print(f"It is not champion ({reason}); {option_text('promote', 'always')} makes it so")
    named = {
        "model": version.name if version.name != RegistrationOptions.model else None,
        "alias": None if done.promotion.promoted else version.version,
        "tracking_uri": options.tracking_uri,
    }
    submit = next_command("submit", **named)
    dry_run = option_text("dry_run", "true")
    if is_data_version(done.data):
        console.print(f"To submit with it: {submit} {option_text('numerai_model', '…')}  (first with {dry_run})")
    else:
        live = option_text("live", "…")
        console.print(f"To predict with it: {submit} {dry_run} {live}  (a parquet file, such as live.parquet)")
    page = f"/#/models/{version.name}/versions/{version.version}?{MODEL_TRAINING}"
    print_address(console, done.tracking_uri, page, "To look at it")
    return 0
