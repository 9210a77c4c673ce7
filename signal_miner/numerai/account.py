"""A Numerai account: its models, the open round, submissions and uploaded models."""

# A request that changes something at Numerai is sent once: if its answer is lost, Numerai's own list shows whether it
# had an effect.

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn, TypeVar

from signal_miner.errors import UserError, did_you_mean
from signal_miner.numerai import queries
from signal_miner.numerai.api import NumeraiRefused, NumeraiUnreachable, ask_numerai, authorized_client
from signal_miner.numerai.records import (
    PayoutScore,
    Round,
    Submission,
    UploadedPickle,
    clock,
    read_pickle,
    read_submission,
    read_time,
    same_file,
)
from signal_miner.numerai.retries import look_until_listed
from signal_miner.numerai.round_records import (
    RoundScore,
    RoundStake,
    RoundTerms,
    read_scores,
    read_stakes,
    read_terms,
)
from signal_miner.numerai.storage import StorageLink, get_file, put_file

PUBLIC_ID, SECRET_KEY = "NUMERAI_PUBLIC_ID", "NUMERAI_SECRET_KEY"
"""The environment variables that hold an API key."""

_RECENT_ROUNDS = 100  # of five a week; also those to come
_KEYS_PAGE = "https://numer.ai/account"
_ROUND_HOURS = "rounds open on weekdays at about 13:00 UTC for an hour, run the same command then"
T = TypeVar("T", Submission, UploadedPickle)


class WrongKey(UserError):
    """Numerai does not accept the API key."""


class RoundClosed(UserError):
    """No round accepts submissions now."""


class NumeraiAccount:
    """Client for one API key (two parts of printable ASCII), which appears in no message, repr or pickle."""

    def __init__(self, public_id: str, secret_key: str) -> None:
        self._client = authorized_client(public_id, secret_key)
        self._keys = (public_id, secret_key)
        self._tournament: int = self._client.tournament_id

    @classmethod
    def from_environment(cls) -> NumeraiAccount:
        """Read the key from the environment only; raise `UserError` if a part of it is missing or malformed."""
        keys = {name: os.environ.get(name, "").strip() for name in (PUBLIC_ID, SECRET_KEY)}
        missing = [name for name, value in keys.items() if not value]
        if missing:
            verb = "is" if len(missing) == 1 else "are"
            raise UserError(
                f"{' and '.join(missing)} {verb} not set; make an API key at {_KEYS_PAGE} and export both parts "
                "of it in the environment"
            )
        for name, value in keys.items():
            if not re.fullmatch(r"[\x21-\x7e]+", value):  # requests would show it in its error message
                raise UserError(f"{name} holds characters that no API key has; copy it again from {_KEYS_PAGE}")
        return cls(keys[PUBLIC_ID], keys[SECRET_KEY])

    def __repr__(self) -> str:
        return "<NumeraiAccount>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a NumeraiAccount holds an API key and is not pickled; make one where it is needed")

    def model_id(self, name: str) -> str:
        """Return the id of one of the account's models in the tournament."""
        account = self._ask(queries.MODELS).get("account") or {}
        models = {
            str(model["name"]): str(model["id"])
            for model in account.get("models") or ()
            if model.get("tournament") == self._tournament
        }
        if name not in models:
            hint = did_you_mean(name, models) or f"; it has none yet, make one at {_KEYS_PAGE}"
            raise UserError(f"numerai_model={name!r} is not a model of this Numerai account{hint}")
        return models[name]

    def open_round(self) -> Round:
        """Return the round that accepts submissions now; raise `RoundClosed` if none does."""
        try:
            rounds = self._ask(queries.ROUND, authorization=False).get("rounds")
        except NumeraiRefused as error:
            if "round" not in error.reason.lower():
                raise
            raise RoundClosed(f"no round is open ({error.reason}); {_ROUND_HOURS}") from None
        found = rounds[0] if isinstance(rounds, list) and rounds else None
        if found is None:
            raise RoundClosed(f"no round is open; {_ROUND_HOURS}")
        opened, closes = read_time(found.get("openTime")), read_time(found.get("closeStakingTime"))
        if opened is None or closes is None:
            raise UserError(f"Numerai does not say when round {found.get('number')} opens and closes; try again later")
        current, now = Round(int(found["number"]), opened, closes), datetime.now(UTC)
        if now >= closes:
            raise RoundClosed(f"round {current.number} closed at {clock(closes)}; {_ROUND_HOURS}")
        if now < opened:
            raise RoundClosed(f"round {current.number} opens at {clock(opened)}; run the same command then")
        return current

    def next_round(self) -> Round:
        """Return the round that a submission counts for while none is open: the one after the newest that closed.

        Its `opened` is when that one closed, from when on submissions count for the next.

        Raises
        ------
        UserError
            If Numerai lists no closed round.
        """
        listed = self._ask(queries.RECENT_ROUNDS, {"limit": _RECENT_ROUNDS}, authorization=False).get("rounds") or ()
        times = {
            int(each["number"]): (read_time(each.get("openTime")), read_time(each.get("closeStakingTime")))
            for each in listed
            if each and each.get("number") is not None
        }
        now = datetime.now(UTC)
        closed = {number: closes for number, (_, closes) in times.items() if closes is not None and closes <= now}
        if not closed:
            raise UserError(
                "Numerai's list of rounds does not say which one is next; run the command while one is open"
            )
        last = max(closed)
        closes = times.get(last + 1, (None, None))[1]
        return Round(last + 1, closed[last], closes or closed[last] + timedelta(days=1))

    def uploaded_model(self, model_id: str, name: str) -> UploadedPickle | None:
        """Return the uploaded model that submits for a model slot; None if there is none."""
        answer = self._ask(queries.PICKLES, {"modelId": model_id, "unassigned": False})
        assigned = (each for each in map(read_pickle, answer.get("computePickles") or ()) if each.assigned)
        return next((each for each in assigned if {name, model_id} & set(each.assigned or ())), None)

    def payout_scores(self, number: int) -> tuple[PayoutScore, ...]:
        """Return the scores that the open round pays on; none if Numerai does not publish them."""
        try:
            rounds = self._ask(queries.PAYOUT, authorization=False).get("rounds") or [None]
        except (NumeraiRefused, NumeraiUnreachable):
            return ()
        if not rounds[0] or rounds[0].get("number") != number:
            return ()
        return tuple(
            PayoutScore(str(config["displayName"]), float(config["defaultMultiplier"]))
            for config in rounds[0].get("roundScoreConfigs") or ()
            if config.get("isPayout") and config.get("displayName") and config.get("defaultMultiplier") is not None
        )

    def recent_terms(self) -> RoundTerms:
        """Return what the newest round pays on that Numerai has set terms for.

        Raises
        ------
        UserError
            If Numerai's answer has no such round.
        """
        listed = self._ask(queries.RECENT_ROUNDS, {"limit": _RECENT_ROUNDS}, authorization=False).get("rounds") or ()
        found = read_terms(listed)
        if not found:
            raise UserError("Numerai's list of rounds does not say what they pay on; try again later")
        return max(found, key=lambda terms: terms.number)

    def round_scores(self, model_id: str, name: str) -> tuple[RoundScore, ...]:
        """Return a model's newest score of a name in each round, such as of ``CORR60``."""
        variables = {"modelId": model_id, "displayName": name, "distinctOnRound": True}
        listed = self._ask(queries.ROUND_SCORES, variables, authorization=False).get("submissionScores") or ()
        return tuple(score for score in read_scores(listed) if score.name == name)

    def round_stakes(self, model_id: str) -> tuple[RoundStake, ...]:
        """Return what a model has at stake, and what it was paid, by round."""
        listed = self._ask(queries.ROUND_STAKES, {"modelId": model_id}).get("v2RoundModelPerformances") or ()
        return read_stakes(listed)

    def submissions(self, model_id: str) -> tuple[Submission, ...]:
        """Return a model's submissions, as Numerai orders them."""
        listed = self._ask(queries.SUBMISSIONS, {"modelId": model_id}).get("submissions") or ()
        return tuple(read_submission(each) for each in listed)

    def upload(
        self,
        model_id: str,
        file_name: str,
        body: bytes,
        *,
        on_deposit: Callable[[str], None] = lambda _filename: None,
    ) -> str:
        """Submit a file of predictions.

        Parameters
        ----------
        body : bytes
            CSV with the columns ``id`` and ``prediction``.
        on_deposit : callable, optional
            Called with the file's name at Numerai once it is complete there, before the submission is created.

        Returns
        -------
        str
            Id of the submission.

        Raises
        ------
        StorageRefused
            The file was not accepted: nothing is submitted.
        UserError
            Numerai refused, or its answer was lost and its list does not hold the submission (yet).
        """
        before = {each.id for each in self.submissions(model_id)}
        asked = {"filename": file_name, "tournament": self._tournament, "modelId": model_id}
        link = put_file(file_name, body, lambda: self._link("submission_upload_auth", queries.SUBMISSION_LINK, asked))
        on_deposit(link.filename)
        made = self._make("create_submission", queries.CREATE_SUBMISSION, asked | {"filename": link.filename})
        return made or self._look_for(link.filename, before, lambda: self.submissions(model_id)).id

    def download(self, submission_id: str) -> bytes:
        """Return the file of a submission."""
        return get_file(
            "the submission",
            lambda: self._link("submissionDownloadAuth", queries.DOWNLOAD_LINK, {"id": submission_id}),
        )

    def data_versions(self) -> dict[str, str]:
        """Return name and id of the data versions for uploaded models, in Numerai's order."""
        return _ids_by_name(self._ask(queries.DATA_VERSIONS).get("computePickleDataVersions"))

    def images(self) -> dict[str, str]:
        """Return name and id of the environments for uploaded models, in Numerai's order."""
        return _ids_by_name(self._ask(queries.IMAGES).get("computePickleDockerImages"))

    def upload_pickle(self, model_id: str, file_name: str, body: bytes, data_version_id: str, image_id: str) -> str:
        """Upload a model for a model slot and return the upload's id.

        Parameters
        ----------
        file_name : str
            Ends with ``.pkl``.
        data_version_id, image_id : str
            Values of `data_versions` and `images`.

        Raises
        ------
        StorageRefused
            The file was not accepted: nothing is uploaded.
        UserError
            Numerai refused, or its answer was lost and its list does not hold the upload (yet).
        """
        before = {each.id for each in self.pickles(model_id)}
        asked = {"filename": file_name, "modelId": model_id}
        link = put_file(file_name, body, lambda: self._link("computePickleUploadAuth", queries.PICKLE_LINK, asked))
        chosen = {"tournament": self._tournament, "dataVersionId": data_version_id, "dockerImageId": image_id}
        made = self._make(
            "createComputePickleUpload", queries.CREATE_PICKLE, asked | chosen | {"filename": link.filename}
        )
        return made or self._look_for(link.filename, before, lambda: self.pickles(model_id)).id

    def pickles(self, model_id: str) -> tuple[UploadedPickle, ...]:
        """Return what was uploaded for a model slot, assigned to it or not (yet)."""
        found: dict[str, UploadedPickle] = {}
        for unassigned in (False, True):
            answer = self._ask(queries.PICKLES, {"modelId": model_id, "unassigned": unassigned})
            for each in map(read_pickle, answer.get("computePickles") or ()):
                found.setdefault(each.id, each)
        return tuple(found.values())

    def assign_pickle(self, model_id: str, pickle_id: str) -> None:
        """Let an uploaded model submit for a model slot; repeating it changes nothing."""
        variables = {"modelId": model_id, "pickleId": pickle_id}
        if self._ask(queries.ASSIGN, variables, repeatable=False).get("assignPickleToModel") is not True:
            raise UserError("Numerai did not assign the uploaded model; assign it on the model's page at numer.ai")

    def last_log_message(self, pickle_id: str) -> str:
        """Return the last message of an uploaded model's validation, or ``""``."""
        try:
            logs = self._ask(queries.LOGS, {"pickleId": pickle_id}).get("diagnosticsTriggerLogs") or ()
        except (NumeraiRefused, NumeraiUnreachable):
            return ""
        messages = [log for log in logs if str(log.get("message") or "").strip()]
        last = max(messages, key=lambda log: str(log.get("timestamp") or ""), default={"message": ""})
        return " ".join(str(last["message"]).split())

    def _link(self, field: str, query: str, variables: Mapping[str, Any]) -> StorageLink:
        given = self._ask(query, variables).get(field) or {}
        if not str(given.get("url") or "").startswith(("http://", "https://")):
            raise UserError("Numerai's API gives no link to its storage; try again later")
        return StorageLink(str(given.get("filename") or ""), str(given["url"]))

    def _make(self, field: str, mutation: str, variables: Mapping[str, Any]) -> str:
        """Send a mutation once and return the new id; ``""`` if the answer was lost."""
        try:
            made = self._ask(mutation, variables, repeatable=False).get(field)
        except NumeraiUnreachable:
            return ""
        return str(made["id"]) if isinstance(made, dict) and made.get("id") else ""

    def _look_for(self, filename: str, before: set[str], listing: Callable[[], tuple[T, ...]]) -> T:
        """Find what was uploaded when Numerai's answer to the upload was lost."""

        def look() -> T | None:
            found = [each for each in listing() if each.id not in before and same_file(each.filename, filename)]
            return found[-1] if found else None

        try:
            found = look_until_listed(look)
        except NumeraiUnreachable as error:
            raise NumeraiUnreachable(
                f"Numerai's answer to the upload was lost, and it is not known whether it counts ({error}); "
                "run the same command again, it looks there first"
            ) from None
        if found is not None:
            return found
        raise UserError(
            "Numerai's answer to the upload was lost and its list does not show it; "
            "run the same command again, it looks there first"
        )

    def _ask(
        self,
        query: str,
        variables: Mapping[str, Any] | None = None,
        *,
        authorization: bool = True,
        repeatable: bool = True,
    ) -> dict[str, Any]:
        given = dict(variables or {})
        if "$tournament" in query:
            given["tournament"] = self._tournament
        try:
            return ask_numerai(query, given, client=self._client, authorization=authorization, repeatable=repeatable)
        except NumeraiRefused as error:
            reason = self._without_keys(error.reason)
            if re.search(r"session is invalid|not authenticated|unauthorized|authentication", reason, re.IGNORECASE):
                raise _wrong_key(reason) from None
            raise NumeraiRefused(reason) from None
        except NumeraiUnreachable as error:
            if "answered 401" in str(error):
                raise _wrong_key("401 Unauthorized") from None
            raise NumeraiUnreachable(self._without_keys(str(error))) from None

    def _without_keys(self, text: str) -> str:
        for key in self._keys:
            text = text.replace(key, "***")
        return text


def _ids_by_name(listed: list[dict[str, Any]] | None) -> dict[str, str]:
    return {str(each["name"]): str(each["id"]) for each in listed or ()}


def _wrong_key(reason: str) -> WrongKey:
    return WrongKey(
        f"Numerai does not accept the API key ({reason}); check {PUBLIC_ID} and {SECRET_KEY} against {_KEYS_PAGE}"
    )
