"""From live data to a confirmed submission, once a round."""

# Why a submission cannot happen twice, wherever a process is killed: Numerai's own list of submissions decides, never
# what is recorded here.
# - A lock file keeps two processes of one machine apart; the list is read again just before the upload because of
#   others. Both are needed, since Numerai accepts any number of submissions a round and counts the last.
# - The name that the file got at Numerai is tracked before the submission is created from it. The next run finds a
#   submission of an interrupted one by that name (`confirmation.settle`) and confirms it instead of submitting again.
# - What creates something is asked once; if its answer is lost, the list is searched (`NumeraiAccount.upload`).
# - The round is asked for again after predicting, which may outlast it: its predictions are for no other round.

from __future__ import annotations

import re
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

import pandas as pd
from rich.console import Console

from signal_miner.data.sources import is_data_version
from signal_miner.errors import UserError
from signal_miner.models.registry import RegisteredModel
from signal_miner.numerai.account import RoundClosed
from signal_miner.numerai.live.confirmation import confirm, predictions_file, settle
from signal_miner.numerai.live.data import LiveFiles, data_version, fetch_live, local_live, read_live
from signal_miner.numerai.live.model_slot import ModelSlot
from signal_miner.numerai.live.submission_file import as_csv, checked_submission
from signal_miner.numerai.live.submission_runs import SubmissionRuns, TrackedSubmission
from signal_miner.numerai.records import Round, Submission, clock
from signal_miner.utils.files import alone, write_whole
from signal_miner.utils.next_command import option_text

DIRECTORY = Path("submissions")
"""Directory of predictions and of the live data they are computed from, below the working directory."""


@dataclass(frozen=True)
class SubmitOptions:
    """Options of `submit`.

    Attributes
    ----------
    numerai_model : str
        Name of the model slot at Numerai; may be empty in a dry run.
    dry_run : bool
        Write the file and stop; needs no API key.
    data_version : str or None
        Of the live data; None for the one the model was mined on.
    live, live_benchmarks : Path or None
        Parquet files to use instead of Numerai's newest, in a dry run only.
    again : bool
        Replace an earlier submission of the same round.
    """

    numerai_model: str
    dry_run: bool = False
    data_version: str | None = None
    live: Path | None = None
    live_benchmarks: Path | None = None
    again: bool = False
    late: bool = False
    directory: Path = DIRECTORY


@dataclass(frozen=True)
class SubmissionOutcome:
    """Result of `submit`.

    Attributes
    ----------
    path : Path or None
        The file of predictions; None if the round had a submission already.
    round : int or None
        None in a dry run.
    uploaded : bool
        Whether this call made a submission.
    confirmed : bool
        Whether Numerai's own copy was read back and is the same.
    """

    path: Path | None
    round: int | None = None
    submission_id: str | None = None
    run_id: str | None = None
    uploaded: bool = False
    confirmed: bool = False


@dataclass(frozen=True)
class _Work:
    """A submission to one model slot in one round."""

    options: SubmitOptions
    model: RegisteredModel
    runs: SubmissionRuns
    console: Console
    slot: ModelSlot
    round: Round

    @property
    def path(self) -> Path:
        return predictions_file(self.options.directory, self.slot.name, self.round.number)


def submit(options: SubmitOptions, model: RegisteredModel, runs: SubmissionRuns, console: Console) -> SubmissionOutcome:
    """Predict the newest live data and submit the predictions, once a round.

    A dry run is not tracked.

    Raises
    ------
    UserError
        No key or a wrong one, no such model, no open round, live data that are absent, old or not what the model
        needs, invalid predictions, an upload that is refused or whose outcome is unknown. Unless the message states
        otherwise nothing was submitted; a file of predictions that was written is kept.
    """
    if options.dry_run:
        return _dry_run(options, model, console)
    if options.live or options.live_benchmarks:
        raise UserError(
            f"live={str(options.live or options.live_benchmarks)!r} is for {option_text('dry_run', 'true')}; a "
            "submission takes the newest live data from Numerai, leave it out"
        )
    slot = ModelSlot.find(options.numerai_model, options.data_version, model)
    with _alone(options.directory, slot.name, console):
        _refuse_where_deployed(slot)
        current = _round(slot, options, console)
        scores = slot.account.payout_scores(current.number)
        if scores:
            console.print(f"It pays on {' + '.join(f'{score.multiplier:g} × {score.name}' for score in scores)}")
        return _once(_Work(options, model, runs, console, slot, current))


def _dry_run(options: SubmitOptions, model: RegisteredModel, console: Console) -> SubmissionOutcome:
    name = re.sub(r"[^\w-]", "_", options.numerai_model or model.name)
    if options.live_benchmarks and not options.live:
        raise UserError("live_benchmarks goes with live; give both, or neither to take Numerai's newest")
    with _alone(options.directory, name, console):
        if options.live:
            files, source = local_live(options.live, options.live_benchmarks), str(options.live)
        else:
            version = data_version(options.data_version, model)
            files, source = _fetch(options, model, version), version
        frame = _read(files, model, source, console)
        path = options.directory / f"{name}_dry_run.csv"
        _write(_predict(model, frame, files.features), path, model, console)
    without = ""
    if is_data_version(options.data_version or model.needs.data):
        slot = f"to {options.numerai_model} " if options.numerai_model else ""
        without = f"; without it they would be submitted {slot}in the open round"
    console.print(f"Dry run: nothing uploaded{without}")
    return SubmissionOutcome(path)


def _refuse_where_deployed(slot: ModelSlot) -> None:
    uploaded = slot.account.uploaded_model(slot.id, slot.name)
    if uploaded is not None:
        raise UserError(
            f"{slot.name} has an uploaded model ({uploaded.filename}), and takes no other submission; deploy to it, or "
            "remove the upload on the model's page at numer.ai"
        )


def _round(slot: ModelSlot, options: SubmitOptions, console: Console | None = None) -> Round:
    """Return the open round or, where none is and it was asked for, the next; print which one it is."""
    try:
        current = slot.account.open_round()
        line = f"Round {current.number} is open until {clock(current.closes)}"
    except RoundClosed as closed:
        if not options.late:
            raise RoundClosed(f"{closed}; {option_text('late', 'true')} submits for the next round") from None
        current = slot.account.next_round()
        line = f"No round is open: the submission is late, and counts for round {current.number}"
    if console is not None:
        console.print(line)
    return current


def _once(work: _Work) -> SubmissionOutcome:
    """Submit unless the round has a submission already."""
    tracked = work.runs.submissions()
    listed = work.slot.account.submissions(work.slot.id)
    unsettled = settle(
        work.slot.account, work.runs, work.slot.id, listed, _unconfirmed(tracked, work), work.options.directory
    )
    if work.round.number in unsettled and not work.options.again:
        raise UserError(unsettled[work.round.number])
    before = _of_round(work, listed)
    name, number = work.slot.name, work.round.number
    if not work.options.again:
        ours = {each.submission_id for each in tracked if _same_slot(each, work)}
        made = before or [each for each in listed if each.id in ours]
        if made:
            return _nothing_to_do(work, made[-1])
    run_id = work.runs.begin(number, name, work.model, work.slot.data_version)
    try:
        return _predict_and_upload(work, run_id, tracked, {each.id for each in before})
    except BaseException as error:
        with suppress(UserError):  # a store that fails, too, must not hide what happened
            work.runs.fail(run_id, error)
        raise


def _predict_and_upload(
    work: _Work, run_id: str, tracked: tuple[TrackedSubmission, ...], before: set[str]
) -> SubmissionOutcome:
    files = _fetch(work.options, work.model, work.slot.data_version)
    if not work.options.late:  # which predicts the data of the round that closed
        _refuse_old(files, tracked, work.round)
    frame = _read(files, work.model, work.slot.data_version, work.console)
    work.runs.log_live(run_id, files.sha256, _era(frame), len(frame))
    body = _write(_predict(work.model, frame, files.features), work.path, work.model, work.console)
    try:
        work.runs.log_file(run_id, work.path)
        now_open = _round(work.slot, work.options)
        if now_open.number != work.round.number:
            raise RoundClosed(f"round {work.round.number} closed before the upload; nothing was submitted")
        others = [
            each for each in _of_round(work, work.slot.account.submissions(work.slot.id)) if each.id not in before
        ]
        if others and not work.options.again:
            work.runs.fail(run_id, f"another process submitted {others[-1].id} first")
            return _nothing_to_do(work, others[-1])
        return _upload(work, run_id, body)
    except UserError as error:
        raise UserError(f"{error}; the predictions are kept in {work.path}") from error


def _upload(work: _Work, run_id: str, body: bytes) -> SubmissionOutcome:
    submission_id = work.slot.account.upload(
        work.slot.id, work.path.name, body, on_deposit=lambda name: work.runs.note_upload(run_id, name)
    )
    work.console.print(f"Submitted to {work.slot.name} as {submission_id}")
    work.runs.note_submission(run_id, submission_id)
    confirmed, note = confirm(work.slot.account, work.slot.id, submission_id, body)
    work.console.print(note)
    work.runs.finish(run_id, submission_id, note)
    return SubmissionOutcome(work.path, work.round.number, submission_id, run_id, uploaded=True, confirmed=confirmed)


def _nothing_to_do(work: _Work, made: Submission) -> SubmissionOutcome:
    when = f", made at {clock(made.inserted_at)}" if made.inserted_at else ""
    work.console.print(
        f"{work.slot.name} has a submission for round {work.round.number} ({made.id}{when}); nothing "
        f"uploaded, {option_text('again', 'true')} replaces it"
    )
    return SubmissionOutcome(None, work.round.number, made.id)


def _unconfirmed(tracked: tuple[TrackedSubmission, ...], work: _Work) -> list[TrackedSubmission]:
    """Select the model's runs that were cut off, and those of this round that no confirmed one has replaced."""
    mine = [each for each in tracked if each.numerai_model == work.slot.name]
    of_round = [each for each in mine if each.round == work.round.number]
    newer = list(takewhile(lambda each: not each.finished, of_round))
    return [each for each in mine if each.running or each in newer]


def _same_slot(tracked: TrackedSubmission, work: _Work) -> bool:
    return tracked.round == work.round.number and tracked.numerai_model == work.slot.name


def _of_round(work: _Work, listed: tuple[Submission, ...]) -> list[Submission]:
    """Select what was submitted since the round opened, oldest first."""
    made = [(each.inserted_at, each) for each in listed if each.inserted_at and each.inserted_at >= work.round.opened]
    return [each for _, each in sorted(made, key=lambda pair: pair[0])]


def _refuse_old(files: LiveFiles, tracked: tuple[TrackedSubmission, ...], current: Round) -> None:
    """Refuse live data that were the newest in an earlier round, whether or not they were submitted then."""
    rounds = [each.round for each in tracked if each.live_sha256 == files.sha256 and each.round < current.number]
    if rounds:
        raise UserError(
            f"the live data are still those of round {max(rounds)}, byte for byte; Numerai has not published those of "
            f"round {current.number} yet, run the same command again in a few minutes"
        )


def _fetch(options: SubmitOptions, model: RegisteredModel, version: str) -> LiveFiles:
    # Not the directory of the training data: a long download holds its lock, perhaps beyond the end of the round.
    return fetch_live(version, options.directory / "live" / version, bool(model.needs.benchmark_columns))


def _read(files: LiveFiles, model: RegisteredModel, source: str, console: Console) -> pd.DataFrame:
    frame = read_live(files.features, model, files.benchmarks)
    console.print(f"Live data {source}: era {_era(frame)}, {len(frame):,} rows, {len(model.needs.features):,} features")
    return frame


def _predict(model: RegisteredModel, frame: pd.DataFrame, live: Path) -> pd.DataFrame:
    try:
        predictions = model.predict(frame)
    except UserError as error:
        raise UserError(f"{live}: {error}") from error
    return checked_submission(predictions, frame.index)


def _write(submission: pd.DataFrame, path: Path, model: RegisteredModel, console: Console) -> bytes:
    body = as_csv(submission)
    write_whole(path, body)
    console.print(
        f"Predicted by {model.name} version {model.version}: {path}, {len(submission):,} rows, official checks passed"
    )
    return body


def _era(frame: pd.DataFrame) -> str:
    return str(frame["era"].iloc[0]) if "era" in frame else "unknown"


def _alone(directory: Path, name: str, console: Console) -> AbstractContextManager[None]:
    """Wait until no other process submits for the same model here."""
    return alone(directory / f".{name}.lock", lambda: console.print(f"Waiting for another submission to {name}"))
