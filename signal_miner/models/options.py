"""The options of `register` and of packing, declared once: Python's calls and the command line follow from them."""

from __future__ import annotations

from dataclasses import dataclass

from signal_miner.errors import UserError
from signal_miner.utils.option import option
from signal_miner.utils.validation import LARGEST_INTEGER, Rule, shown

KEPT, SCALED = "kept", "scaled"
IF_BETTER, ALWAYS, NEVER = "if_better", "always", "never"


@dataclass(frozen=True)
class PackingOptions:
    """Which ensemble to pack, and how; the help of each field says what it means.

    Raises
    ------
    UserError
        If a value is not allowed.
    """

    ensemble: str | None = option("run id, name or STUDY/name, or a study: its newest; else the newest of all", None)
    trees: str = option("kept (default): those of the best checkpoint; scaled: more, in proportion to the eras", KEPT)
    jobs: int | None = option("members trained at a time; as the study was mined if not given", None)
    data: str | None = option("where the study's data are now", None)
    tracking_uri: str | None = option("MLflow tracking store", None)

    def __post_init__(self) -> None:
        if self.trees not in (KEPT, SCALED):
            raise UserError(f"trees = {shown(self.trees)} is not one of {KEPT}, {SCALED}; use one of them")
        if self.jobs is not None and not (Rule(int, -1, LARGEST_INTEGER).admits(self.jobs) and self.jobs):
            raise UserError(f"jobs = {shown(self.jobs)} is not 1 or more (an integer), nor -1 (one a core)")


@dataclass(frozen=True)
class RegistrationOptions(PackingOptions):
    """All options of `register`: what is packed, the model's name and when it becomes champion.

    Raises
    ------
    UserError
        If a value is not allowed.
    """

    model: str = option("name of the registered model (signal-miner)", "signal-miner")
    promote: str = option("to champion: if_better (default) on validation, always or never", IF_BETTER)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.promote not in (IF_BETTER, ALWAYS, NEVER):
            known = ", ".join((IF_BETTER, ALWAYS, NEVER))
            raise UserError(f"promote = {self.promote!r} is not one of {known}; use one of them")
