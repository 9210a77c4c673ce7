"""What to register and how, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass

from signal_miner.errors import UserError
from signal_miner.models.packing import PackingOptions
from signal_miner.models.registry import ModelVersion

IF_BETTER, ALWAYS, NEVER = "if_better", "always", "never"


@dataclass(frozen=True)
class RegistrationOptions(PackingOptions):
    """What to pack and register, and how: beside what is packed, the model's name and when it is promoted.

    Attributes
    ----------
    model : str
        Name of the registered model.
    promote : str
        When the version becomes champion: ``if_better``, ``always`` or ``never``.

    Raises
    ------
    UserError
        If a value is not one of these.
    """

    model: str = "signal-miner"
    promote: str = IF_BETTER

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.promote not in (IF_BETTER, ALWAYS, NEVER):
            known = ", ".join((IF_BETTER, ALWAYS, NEVER))
            raise UserError(f"promote = {self.promote!r} is not one of {known}; use one of them")


@dataclass(frozen=True, eq=False)
class Registration:
    """How it ended.

    Attributes
    ----------
    version : ModelVersion
    champion : bool
        Whether it is champion now.
    reason : str
        Why, in a few words.
    data : str
        What the study was mined on.
    tracking_uri : str
    """

    version: ModelVersion
    champion: bool
    reason: str
    data: str
    tracking_uri: str
