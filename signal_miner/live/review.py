"""All slots reviewed: their rounds fetched and kept, and compared with what was expected of their models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import pandas as pd

from signal_miner.errors import UserError
from signal_miner.live.comparison import Comparison, compare_rounds
from signal_miner.live.history import DIRECTORY, Revision, RoundHistory, history_file
from signal_miner.live.live_runs import LiveRecord, LiveRuns
from signal_miner.live.slots import Slot
from signal_miner.live.stake import StakeView, stake_view
from signal_miner.live.terms import read_kept_terms, write_terms
from signal_miner.models.expectation import EXPECTED_SCORES, ExpectedScores
from signal_miner.models.registry import ModelVersion, Registry
from signal_miner.numerai.account import NumeraiAccount
from signal_miner.numerai.live.submission_runs import SubmissionRuns
from signal_miner.numerai.round_records import RoundTerms
from signal_miner.tracking.artifacts import ERA_SCORES
from signal_miner.tracking.run_store import RunStore
from signal_miner.utils.files import temporary_directory
from signal_miner.utils.redaction import reason_of


@dataclass(frozen=True, eq=False)
class SlotReview:
    """A slot as it is today.

    Attributes
    ----------
    version : ModelVersion or None
        None if it could not be read.
    comparison : Comparison or None
        None without a version, an expectation or terms to compare by.
    revisions : tuple of Revision
        Resolved scores that Numerai changed since the last look.
    problems : tuple of str
        What failed, a line each; what was kept of earlier looks is compared all the same.
    """

    slot: Slot
    history: RoundHistory
    version: ModelVersion | None = None
    comparison: Comparison | None = None
    stake: StakeView | None = None
    revisions: tuple[Revision, ...] = ()
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class LiveReview:
    """All slots as they are today.

    Attributes
    ----------
    terms : RoundTerms or None
        What the newest round pays on; None if that was never known.
    problems : tuple of str
        What failed for all slots, a line each.
    """

    slots: tuple[SlotReview, ...]
    terms: RoundTerms | None
    problems: tuple[str, ...] = ()

    @property
    def failed(self) -> bool:
        """Whether anything failed."""
        return bool(self.problems) or any(each.problems for each in self.slots)


@dataclass(frozen=True, eq=False)
class LiveModel:
    """A slot as of the last look, read from the tracking store; `model` is name and version of the registered model."""

    slot: str
    model: str
    comparison: Comparison


def tracked_live(experiment_id: str, study: str, tracking_uri: str | None = None) -> tuple[LiveModel, ...]:
    """Return the slots that a study's ensembles are in, as `review_slots` logged them; damaged ones are left out."""
    runs = LiveRuns(tracking_uri)
    found = []
    for run_id, record in runs.records(experiment_id, study):
        with suppress(UserError):  # the run's era scores are damaged
            expectation = scores_of_run(run_id, runs).expected(record.terms.payout)
            model = f"{record.model} {record.version}"
            found.append(LiveModel(record.slot, model, compare_rounds(record.series, expectation)))
    return tuple(found)


def review_slots(
    slots: Sequence[Slot], tracking_uri: str | None = None, directory: Path = DIRECTORY, *, fetch: bool = True
) -> LiveReview:
    """Fetch the rounds of slots, keep them in the workspace and in MLflow, and compare them with what was expected.

    Parameters
    ----------
    directory : Path
        Of the histories.
    fetch : bool, default True
        False compares what is kept, without asking Numerai.

    Raises
    ------
    UserError
        If the tracking store cannot be opened. What fails for a slot, and what Numerai refuses or does not answer, is a
        problem of the review instead.
    """
    return _Reviewer(tracking_uri, directory).review(slots, fetch=fetch)


@dataclass
class _Problems:
    """Collects what fails, a line each."""

    lines: list[str] = field(default_factory=list)

    def attempt(self, work: Callable[[], None]) -> bool:
        try:
            work()
        except UserError as error:
            self.lines.append(str(error))
            return False
        return True


class _Reviewer:
    """Reviews slots one by one; the failure of one does not stop the others."""

    def __init__(self, tracking_uri: str | None, directory: Path) -> None:
        self._tracking_uri = tracking_uri
        self._directory = directory
        self._registry = Registry(tracking_uri)
        self._runs = LiveRuns(tracking_uri)
        self._account: NumeraiAccount | None = None
        self._terms: RoundTerms | None = None

    def review(self, slots: Sequence[Slot], *, fetch: bool) -> LiveReview:
        self._terms = read_kept_terms(self._directory)
        problems = _Problems()
        if fetch:
            problems.attempt(self._connect)
        elif self._terms is None:
            problems.lines.append(f"nothing is kept in {self._directory} yet; fetch it first")
        return LiveReview(tuple(map(self._slot, slots)), self._terms, tuple(problems.lines))

    def _connect(self) -> None:
        account = NumeraiAccount.from_environment()
        self._terms = account.recent_terms()
        write_terms(self._directory, self._terms)
        self._account = account

    def _slot(self, slot: Slot) -> SlotReview:
        path = history_file(self._directory, slot.name)
        history, problems = RoundHistory(), _Problems()
        revisions: list[Revision] = []

        def read() -> None:
            nonlocal history
            history = RoundHistory.read(path)

        def fetched() -> None:
            nonlocal history
            account, terms = self._account, self._terms
            if account is None or terms is None:
                return
            model_id = account.model_id(slot.name)
            names = [name for name in (terms.corr, terms.mmc, terms.bmc) if name]
            scores = [score for name in names for score in account.round_scores(model_id, name)]
            history, changed = history.updated(scores)
            revisions.extend(changed)
            history.write(path)
            history, _ = history.updated((), account.round_stakes(model_id))
            history.write(path)

        if not problems.attempt(read):  # what cannot be read is not written over
            return SlotReview(slot, history, problems=tuple(problems.lines))
        problems.attempt(fetched)
        version: ModelVersion | None = None
        comparison: Comparison | None = None
        stake: StakeView | None = None

        def compared() -> None:
            nonlocal version, comparison, stake
            version = self._registry.get(slot.model, slot.alias)
            if self._terms is None:
                return
            expectation = expected_scores(version, self._registry, self._runs).expected(self._terms.payout)
            stake = stake_view(history.stakes, expectation, self._terms)
            first = self._first_round(slot, version, history)
            record = LiveRecord(slot.name, slot.model, version.version, first, self._terms, history)
            comparison = compare_rounds(record.series, expectation)
            if len(comparison.series.rounds):
                self._runs.log(version.run_id, record, str(comparison.standing))

        problems.attempt(compared)
        return SlotReview(slot, history, version, comparison, stake, tuple(revisions), tuple(problems.lines))

    def _first_round(self, slot: Slot, version: ModelVersion, history: RoundHistory) -> int:
        """Return the first round whose scores are of the version's ensemble."""
        if slot.from_round is not None:
            return slot.from_round
        submitted = SubmissionRuns(self._tracking_uri, "").first_round(slot.name, version.run_id)
        if submitted is not None:
            return submitted
        since: datetime = self._registry.first_registered(version)
        later = [score.round for score in history.scores if score.closes is not None and score.closes >= since]
        return min(later, default=1 + max((score.round for score in history.scores), default=0))


def expected_scores(version: ModelVersion, registry: Registry, runs: RunStore) -> ExpectedScores:
    """Return the scores that a version was registered with, or else those of its ensemble's run.

    Raises
    ------
    UserError
        If it has neither.
    """
    with temporary_directory() as directory:
        path = registry.fetch(version, EXPECTED_SCORES, directory)
        if path is not None:
            return ExpectedScores.read(path)
    try:
        return scores_of_run(version.run_id, runs)
    except UserError as error:
        raise UserError(
            f"{version.name} version {version.version} has no era scores to compare with ({reason_of(error)}); "
            "register the ensemble again"
        ) from error


def scores_of_run(run_id: str, runs: RunStore) -> ExpectedScores:
    """Return the era scores of an ensemble's run; raise a `UserError` if it has none that can be read."""
    with temporary_directory() as directory:
        path = runs.download(run_id, ERA_SCORES, directory)
        try:
            return ExpectedScores.of_run(pd.read_parquet(path), runs.metrics(run_id))
        except (OSError, ValueError, KeyError) as error:
            raise UserError(f"its {ERA_SCORES} cannot be read ({reason_of(error)})") from error
