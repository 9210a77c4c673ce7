"""What to register and how, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass

from signal_miner.errors import UserError
from signal_miner.registry import ModelVersion

KEPT, SCALED = "kept", "scaled"
IF_BETTER, ALWAYS, NEVER = "if_better", "always", "never"


@dataclass(frozen=True)
class RegistrationOptions:
    """What to register, and how.

    Attributes
    ----------
    ensemble : str or None
        Run id, or study; the newest ensemble if None.
    model : str
        Name of the registered model.
    trees : str
        ``kept``: members are refitted with the trees of their best checkpoint. ``scaled``: with more, as the refit
        has more eras than the validation folds had.
    promote : str
        When the version becomes champion: ``if_better``, ``always`` or ``never``.
    jobs : int or None
        Members trained at a time; -1 for one a core; as the study was mined if None.
    data : str or None
        Where the study's data lie now.
    tracking_uri : str or None

    Raises
    ------
    UserError
        If a value is not one of these.
    """

    ensemble: str | None = None
    model: str = "signal-miner"
    trees: str = KEPT
    promote: str = IF_BETTER
    jobs: int | None = None
    data: str | None = None
    tracking_uri: str | None = None

    def __post_init__(self) -> None:
        for name, value, known in (
            ("trees", self.trees, (KEPT, SCALED)),
            ("promote", self.promote, (IF_BETTER, ALWAYS, NEVER)),
        ):
            if value not in known:
                raise UserError(f"{name} = {value!r} is not one of {', '.join(known)}; use one of them")
        if self.jobs is not None and self.jobs != -1 and self.jobs < 1:
            raise UserError(f"jobs = {self.jobs} is not 1 or more, nor -1 (one a core)")


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
