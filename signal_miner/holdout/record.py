"""What is kept of an opened holdout: when and for which model, and what that model scored there. Free of MLflow."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from signal_miner.data.eras import recorded_era_numbers
from signal_miner.engine.metrics import mean_score, payout_summary, score_summary
from signal_miner.scoring.beats_benchmark import beats_benchmark, in_common, is_positive, scores_above
from signal_miner.scoring.objective import DEFAULT_SCORING, Objective, Scoring
from signal_miner.scoring.sharpe_ratio import effective_observations
from signal_miner.tracking.tags import (
    HOLDOUT_DIGEST,
    HOLDOUT_ERAS,
    HOLDOUT_MODEL,
    HOLDOUT_OPENED,
    HOLDOUT_RESULT,
    HOLDOUT_RUN,
)

TWICE = "a holdout that is looked at twice is a validation set"

_SPAN = "–"


@dataclass(frozen=True)
class Opening:
    """The fact that a study's holdout was opened.

    Attributes
    ----------
    time : str
        ISO 8601, UTC.
    model, run_id : str
        What it was opened for.
    digest : str
        Of what the model was made of.
    eras : str
        Labels of the first and the last era of the holdout.
    result : str
        One sentence; empty where the evaluation was not finished.
    """

    time: str
    model: str
    run_id: str
    digest: str
    eras: str
    result: str = ""

    @classmethod
    def now(cls, model: str, run_id: str, digest: str, era_labels: Sequence[str]) -> Self:
        """Return an opening of this moment."""
        time = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(time, model, run_id, digest, span(era_labels))

    @classmethod
    def of(cls, tags: Mapping[str, str]) -> Self | None:
        """Return the opening that the tags of a study's run record; None where there was none."""
        if HOLDOUT_OPENED not in tags:
            return None
        named = (HOLDOUT_MODEL, HOLDOUT_RUN, HOLDOUT_DIGEST, HOLDOUT_ERAS, HOLDOUT_RESULT)
        return cls(tags[HOLDOUT_OPENED], *(tags.get(name, "") for name in named))

    @property
    def tags(self) -> dict[str, str]:
        """Tags of the study's run, all but the result's."""
        return {
            HOLDOUT_OPENED: self.time,
            HOLDOUT_MODEL: self.model,
            HOLDOUT_RUN: self.run_id,
            HOLDOUT_DIGEST: self.digest,
            HOLDOUT_ERAS: self.eras,
        }

    @property
    def when(self) -> str:
        """The time as a person reads it: ``2026-10-03 12:00 UTC``."""
        try:
            return datetime.fromisoformat(self.time).astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
        except ValueError:
            return self.time

    @property
    def outcome(self) -> str:
        """The result, or that there is none yet."""
        return self.result or "not finished, the same command for the same model resumes it"

    def overlaps(self, other: Opening) -> bool:
        """Say whether both holdouts have an era number in common."""
        try:
            (first, last), (start, end) = (recorded_era_numbers(each.eras.split(_SPAN)) for each in (self, other))
        except ValueError:  # a tag that was changed
            return False
        return bool(first <= end and start <= last)


def span(era_labels: Sequence[str]) -> str:
    """Return the first and the last of these labels, ``1118–1221``."""
    return f"{era_labels[0]}{_SPAN}{era_labels[-1]}"


def earlier_opening_text(study: str, opening: Opening) -> str:
    """Return a clause, kept with a result, on another study that opened a holdout with eras of this one."""
    return f"eras of it were looked at before: study {study} opened its holdout {opening.eras} on {opening.when}"


@dataclass(frozen=True, eq=False)
class HoldoutScores:
    """Scores of each era of the holdout.

    Attributes
    ----------
    era_labels : tuple of str
        Ascending.
    corr, bmc, benchmark_corr : ndarray of float64, shape (n_eras,)
        Of the model: CORR, contribution to the benchmark, correlation with it. NaN where it is not defined.
    benchmark : ndarray of float64, shape (n_eras,)
        CORR of the benchmark.
    benchmark_bmc : ndarray of float64, shape (n_eras,), or None
        BMC of the benchmark, which is not 0 where contributions are taken against other predictions; None of a holdout
        that was opened before it was kept.
    scoring : Scoring
        Of the study: by what the model is compared with the benchmark.
    """

    era_labels: tuple[str, ...]
    corr: NDArray[np.float64]
    bmc: NDArray[np.float64]
    benchmark_corr: NDArray[np.float64]
    benchmark: NDArray[np.float64]
    benchmark_bmc: NDArray[np.float64] | None = None
    scoring: Scoring = DEFAULT_SCORING

    @property
    def undefined_eras(self) -> int:
        """Eras in which the model has no CORR and the benchmark has."""
        return int((np.isnan(self.corr) & np.isfinite(self.benchmark)).sum())

    @property
    def payouts(self) -> NDArray[np.float64]:
        """Payout of each era."""
        return self.scoring.payout.of(self.corr, self.bmc)

    @property
    def benchmark_payouts(self) -> NDArray[np.float64]:
        """Payout of the benchmark in each era; NaN where its BMC was not kept."""
        return self.scoring.payout.of(self.benchmark, np.nan if self.benchmark_bmc is None else self.benchmark_bmc)

    @property
    def model_scores(self) -> dict[str, float]:
        """Of `score_summary` and `payout_summary`, ``bmc`` and ``benchmark_corr``; NaN for what is not defined."""
        return (
            score_summary(self.corr)
            | {"bmc": mean_score(self.bmc), "benchmark_corr": mean_score(self.benchmark_corr)}
            | payout_summary(self.payouts)
        )

    @property
    def benchmark_scores(self) -> dict[str, float]:
        """What `score_summary` and `payout_summary` have of the benchmark."""
        return score_summary(self.benchmark) | payout_summary(self.benchmark_payouts)

    @property
    def _compared(self) -> dict[str, float]:
        """The model's scores in the eras in which the benchmark has one."""
        payouts = in_common(self.payouts, self.benchmark_payouts)
        return score_summary(in_common(self.corr, self.benchmark)) | payout_summary(payouts)

    @property
    def metrics(self) -> dict[str, float]:
        """What is logged: metric name, such as ``holdout/sharpe``, to value. What is not defined is left out."""
        own, other, compared = self.model_scores, self.benchmark_scores, self._compared
        over = {f"{name}_over_benchmark": compared[name] - other[name] for name in ("sharpe", "corr", "payout")}
        values = {f"holdout/{name}": value for name, value in (own | over).items() if math.isfinite(value)}
        return values | ({"holdout/undefined_eras": float(self.undefined_eras)} if self.undefined_eras else {})

    def result(self, overlap_eras: int = 0) -> str:
        """Return the result that is kept as a tag, in one sentence without a full stop.

        Parameters
        ----------
        overlap_eras : int, default 0
            Eras after an era whose targets share returns with its own.
        """
        own, other = self.model_scores, self.benchmark_scores
        pays = self.scoring.objective.compared is Objective.PAYOUT and math.isfinite(other["payout"])
        count = len(self.era_labels)
        if pays:
            verdict, era_scores, benchmark = self._verdict_on_payouts(), self.payouts, self.benchmark_payouts
            head = f"payout {_number(own['payout'], 3)}, "
            figures = f"{_number(other['payout'], 3)}, "
        else:
            verdict, era_scores, benchmark, head, figures = self._verdict(), self.corr, self.benchmark, "", ""
        above = int((era_scores > benchmark).sum())
        missing = f"; no CORR in {self.undefined_eras} eras" if self.undefined_eras else ""
        independent = effective_observations(era_scores, overlap_eras)
        worth = f"; as targets overlap, these eras are worth about {independent:.1f} independent ones"
        return (
            f"{head}CORR {_number(own['corr'], 4)} and Sharpe {_number(own['sharpe'], 2)} over {_eras(count)}, "
            f"the benchmark {figures}{_number(other['corr'], 4)} and {_number(other['sharpe'], 2)}: {verdict}, "
            f"and is above it in {above} of {_eras(count)}{missing}{worth if independent < count - 1 else ''}"
        )

    def _verdict(self) -> str:
        own, other, compared = self.model_scores, self.benchmark_scores, self._compared
        better = [
            head
            for name, head in (("corr", "CORR"), ("sharpe", "Sharpe"))
            if scores_above(compared[name], other[name], self.undefined_eras)
        ]
        verdict = "it beats the benchmark in " + " and ".join(better) if better else "it does not beat the benchmark"
        verdict += " alone" if len(better) == 1 else ""
        return verdict + (", but its own CORR is not above 0" if better and not is_positive(own["corr"]) else "")

    def _verdict_on_payouts(self) -> str:
        if not beats_benchmark(self.payouts, self.benchmark_payouts, Objective.PAYOUT):
            return "it does not beat the benchmark"
        positive = is_positive(self.model_scores["payout"])
        return (
            "it beats the benchmark, with a higher payout in each half of the eras"
            f"{'' if positive else ', but its own payout is not above 0'}"
        )

    def to_frame(self) -> pd.DataFrame:
        """Return a row an era: ``era``, and the scores by their names here."""
        return pd.DataFrame(
            {
                "era": list(self.era_labels),
                "corr": self.corr,
                "bmc": self.bmc,
                "benchmark_corr": self.benchmark_corr,
                "benchmark": self.benchmark,
                **({} if self.benchmark_bmc is None else {"benchmark_bmc": self.benchmark_bmc}),
            }
        )

    @classmethod
    def of_frame(cls, frame: pd.DataFrame, scoring: Scoring = DEFAULT_SCORING) -> Self:
        """Return the scores that `to_frame` wrote; raise `KeyError` or `ValueError` where it did not."""
        names = ("corr", "bmc", "benchmark_corr", "benchmark")
        corr, bmc, benchmark_corr, benchmark = (frame[name].to_numpy(np.float64) for name in names)
        known = frame["benchmark_bmc"].to_numpy(np.float64) if "benchmark_bmc" in frame else None
        return cls(tuple(map(str, frame["era"])), corr, bmc, benchmark_corr, benchmark, known, scoring)


def _number(value: float, decimals: int) -> str:
    return f"{value:.{decimals}f}" if math.isfinite(value) else "not defined"


def _eras(count: int) -> str:
    return f"{count} era{'s' * (count != 1)}"
