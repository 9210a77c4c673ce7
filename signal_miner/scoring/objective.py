"""What a study looks for: the one score that ranks its models, and all that follows from it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from signal_miner.scoring.columns import score_digits, score_head
from signal_miner.scoring.payout import DEFAULT_PAYOUT, Payout
from signal_miner.scoring.series import mean, sharpe


class Objective(StrEnum):
    """The score that ranks models, chooses checkpoints and grows ensembles; higher is better for each.

    Its value is the end of the metric's name, such as ``payout`` of ``validation/payout``.
    """

    PAYOUT = "payout"
    PAYOUT_SHARPE = "payout_sharpe"
    SHARPE = "sharpe"
    CORR = "corr"
    BMC = "bmc"

    @property
    def metric(self) -> str:
        """The tracked metric that ranks models."""
        return f"validation/{self}"

    @property
    def label(self) -> str:
        """How tables and charts call it."""
        return score_head(self)

    @property
    def digits(self) -> int:
        """Decimals that it is shown with."""
        return score_digits(self)

    @property
    def era_score(self) -> str:
        """The score of each era that it summarises: ``payout``, ``corr`` or ``bmc``."""
        return {Objective.PAYOUT_SHARPE: "payout", Objective.SHARPE: "corr"}.get(self, str(self))

    @property
    def is_ratio(self) -> bool:
        """Whether it is the Sharpe ratio of the eras' scores, and not their mean."""
        return self in (Objective.PAYOUT_SHARPE, Objective.SHARPE)

    @property
    def compared(self) -> Objective:
        """What a model has to be better in to beat the benchmark: CORR, or the payout.

        For BMC it is the payout, as a benchmark's contribution to itself is 0.
        """
        return Objective.CORR if self.era_score == "corr" else Objective.PAYOUT

    @property
    def ratio_label(self) -> str:
        """How the Sharpe ratio of what is compared is called."""
        return (Objective.SHARPE if self.compared is Objective.CORR else Objective.PAYOUT_SHARPE).label

    def summary(self, era_scores: ArrayLike, axis: int = 0) -> NDArray[np.float64]:
        """Return the score from the scores of its eras, without their axis; see `era_score`."""
        return sharpe(era_scores, axis) if self.is_ratio else mean(era_scores, axis)


@dataclass(frozen=True)
class Scoring:
    """How the models of a study are scored: its objective, and the multipliers of the payout."""

    objective: Objective = Objective.SHARPE
    payout: Payout = DEFAULT_PAYOUT

    def era_scores(self, corr: ArrayLike, bmc: ArrayLike, of: Objective | None = None) -> NDArray[np.float64]:
        """Return the score of each era that the objective, or `of`, summarises; arguments broadcast."""
        score = (of or self.objective).era_score
        if score == "payout":
            return self.payout.of(corr, bmc)
        return np.asarray(corr if score == "corr" else bmc, dtype=np.float64)


DEFAULT_SCORING = Scoring()
