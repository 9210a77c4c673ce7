"""Reads submissions back from Numerai: confirms a new one, and settles tracked runs that were interrupted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from signal_miner.errors import UserError
from signal_miner.numerai.account import NumeraiAccount
from signal_miner.numerai.live.submission_file import same_predictions
from signal_miner.numerai.live.submission_runs import SubmissionRuns, TrackedSubmission
from signal_miner.numerai.records import Submission, same_file
from signal_miner.numerai.retries import look_until_listed
from signal_miner.utils.next_command import option_text


def predictions_file(directory: Path, numerai_model: str, round_number: int) -> Path:
    """Return where the predictions for a model slot and round are written."""
    return directory / f"{numerai_model}_round_{round_number}.csv"


def confirm(account: NumeraiAccount, model_id: str, submission_id: str, body: bytes | None) -> tuple[bool, str]:
    """Read back a submission that Numerai acknowledged.

    Parameters
    ----------
    body : bytes or None
        The file that was sent; None if it no longer exists.

    Returns
    -------
    compared : bool
        Whether Numerai's copy was read and has the same predictions.
    note : str
        A line on it. A submission that cannot be read back is not a failure.

    Raises
    ------
    UserError
        If Numerai does not list the submission, or holds other predictions.
    """
    try:
        listed = _is_listed(account, model_id, submission_id)
        back = account.download(submission_id) if listed and body is not None else b""
    except UserError as error:
        return False, f"Numerai acknowledged it, but it could not be read back ({error})"
    if not listed:
        raise UserError(
            f"Numerai does not list the submission {submission_id} that it acknowledged; look at the model's page, and "
            f"submit anew with {option_text('again', 'true')}"
        )
    if body is None:
        return False, "Confirmed: Numerai lists it"
    if not same_predictions(body, back):
        raise UserError(
            f"submission {submission_id} holds other predictions than were sent; replace it at once: "
            f"{option_text('again', 'true')}"
        )
    return True, "Confirmed: Numerai lists it, and its file, read back, has the same predictions"


def settle(
    account: NumeraiAccount,
    runs: SubmissionRuns,
    model_id: str,
    listed: Sequence[Submission],
    tracked: Sequence[TrackedSubmission],
    directory: Path,
) -> dict[int, str]:
    """End the `tracked` runs of a model slot that were interrupted or not confirmed, by Numerai's list of submissions.

    Returns
    -------
    dict of int to str
        By round, what is wrong with a submission that such a run made.
    """
    wrong: dict[int, str] = {}
    for run in tracked:
        if run.finished or not (run.running or run.uploaded_file):
            continue
        made = next(
            (each for each in listed if each.id == run.submission_id or same_file(run.uploaded_file, each.filename)),
            None,
        )
        if made is None:
            if run.running:
                runs.fail(run.run_id, "cut off before Numerai had the submission")
            continue
        file = predictions_file(directory, run.numerai_model, run.round)
        runs.note_submission(run.run_id, made.id)
        try:
            _, note = confirm(account, model_id, made.id, file.read_bytes() if file.is_file() else None)
        except UserError as error:
            runs.fail(run.run_id, error)
            wrong[run.round] = str(error)
        else:
            runs.finish(run.run_id, made.id, f"{note}. The run was not confirmed at once, and settled later.")
    return wrong


def _is_listed(account: NumeraiAccount, model_id: str, submission_id: str) -> bool:
    def look() -> Submission | None:
        return next((each for each in account.submissions(model_id) if each.id == submission_id), None)

    return look_until_listed(look) is not None
