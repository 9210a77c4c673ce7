"""Uploads ``predict.pkl`` to Numerai and follows its validation."""

from __future__ import annotations

import re
from dataclasses import dataclass

from rich.console import Console
from rich.filesize import decimal

from signal_miner.errors import UserError, did_you_mean
from signal_miner.models.registry import RegisteredModel
from signal_miner.numerai.account import NumeraiAccount
from signal_miner.numerai.api import NumeraiUnreachable
from signal_miner.numerai.live.model_slot import ModelSlot
from signal_miner.numerai.records import UploadedPickle
from signal_miner.numerai.retries import poll
from signal_miner.utils.files import sha256_of
from signal_miner.utils.next_command import option_text
from signal_miner.utils.redaction import reason_of_system

IMAGES: tuple[str, ...] = ("Python 3.13", "Python 3.12", "Python 3.11", "Python 3.10")
"""Numerai's environments in which ``predict.pkl`` predicts identically, newest first."""

TIMEOUT_SECONDS = 3600.0

_VALIDATED, _FAILED = "validated", "failed"
_LONGEST_MESSAGE = 300


@dataclass(frozen=True)
class DeployOptions:
    """Options of `deploy`.

    Attributes
    ----------
    numerai_model : str
        Name of the model slot at Numerai.
    data_version : str or None
        Of the live data that Numerai gives the model; None for the one it was mined on.
    image : str or None
        Name of Numerai's environment; None for the newest of `IMAGES` that Numerai offers.
    again : bool
        Upload a file again that is uploaded already.
    timeout_seconds : float
        How long validation is followed.
    """

    numerai_model: str
    data_version: str | None = None
    image: str | None = None
    again: bool = False
    timeout_seconds: float = TIMEOUT_SECONDS


@dataclass(frozen=True)
class DeployOutcome:
    """A validated upload, with Numerai's names for it."""

    pickle_id: str
    file_name: str
    image: str
    data_version: str
    uploaded: bool  # by this call


def deploy(options: DeployOptions, model: RegisteredModel, console: Console) -> DeployOutcome:
    """Upload a model's ``predict.pkl`` and follow it until it is validated and assigned.

    Raises
    ------
    UserError
        No key or a wrong one; no such model, data version or image; an upload that is refused or whose outcome is
        unknown; a validation that failed or did not end in time.
    """
    try:
        body, digest = model.predict_file.read_bytes(), sha256_of(model.predict_file)
    except OSError as error:
        reason = reason_of_system(error)
        raise UserError(f"{model.predict_file} can't be read ({reason}); register the model again") from None
    name = _file_name(model, digest)
    slot = ModelSlot.find(options.numerai_model, options.data_version, model)
    account, version = slot.account, slot.data_version
    image, image_id = _image(options.image, account.images())
    version_id = _version_id(version, account.data_versions())
    there = () if options.again else account.pickles(slot.id)
    earlier = _uploaded_before(there, name, {"", version, version_id}, options.image)
    if earlier is not None:
        anew = option_text("again", "true")
        console.print(f"{earlier.filename} is uploaded already and {earlier.status}; {anew} uploads it anew")
        pickle_id = earlier.id
    else:
        console.print(f"Uploading {name}, {decimal(len(body))}, for {image} and data {version}")
        pickle_id = account.upload_pickle(slot.id, name, body, version_id, image_id)
        console.print(f"Uploaded to {slot.name} as {pickle_id}")
    try:
        validated = _follow(slot, pickle_id, options.timeout_seconds, console)
    except KeyboardInterrupt:
        console.print(
            f"The upload {pickle_id} stays at Numerai and is still validated; the same command looks at it again"
        )
        raise
    if validated.assigned is not None and not {slot.name, slot.id} & set(validated.assigned):
        account.assign_pickle(slot.id, pickle_id)
        console.print(f"Assigned to {slot.name}")
    console.print(f"Validated: Numerai submits {slot.name} with it from the next round on")
    return DeployOutcome(
        pickle_id, name, validated.image or image, validated.data_version or version, uploaded=earlier is None
    )


def _file_name(model: RegisteredModel, digest: str) -> str:
    """Name the file by its content: Numerai gives no checksum to recognise a repeated upload by."""
    return f"{re.sub(r'[^A-Za-z0-9_-]', '_', model.name)}-v{model.version}-{digest[:8]}.pkl"


def _image(wanted: str | None, offered: dict[str, str]) -> tuple[str, str]:
    """Choose an environment: name and id."""
    if wanted:
        if wanted not in offered:
            raise UserError(f"image={wanted!r} is not offered by Numerai{did_you_mean(wanted, offered)}")
        return wanted, offered[wanted]
    for name in IMAGES:
        # "Python 3.12" may be listed with more words, such as a date; "Python 3.1" is not it.
        found = [each for each in offered if re.match(rf"{re.escape(name)}(?!\d)", each, re.IGNORECASE)]
        if found:
            return found[0], offered[found[0]]
    raise UserError(
        f"Numerai offers none of the environments that predict.pkl is made for ({', '.join(IMAGES)}); choose one of "
        f"its own with {option_text('image', '…')}{did_you_mean('', offered)}"
    )


def _version_id(version: str, offered: dict[str, str]) -> str:
    if version not in offered:
        raise UserError(f"version={version!r} is not offered for uploaded models{did_you_mean(version, offered)}")
    return offered[version]


def _uploaded_before(
    pickles: tuple[UploadedPickle, ...], name: str, versions: set[str], image: str | None
) -> UploadedPickle | None:
    """Find an upload of the same file that has not failed, for the same data and, where one was named, image."""
    stem = name.removesuffix(".pkl")
    same = [
        each
        for each in pickles
        if stem in each.filename  # Numerai may add to a name
        and each.status != _FAILED
        and each.data_version in versions
        and (not image or each.image in ("", image))
    ]
    return max(same, key=lambda each: (each.status == _VALIDATED, str(each.inserted_at)), default=None)


def _follow(slot: ModelSlot, pickle_id: str, timeout_seconds: float, console: Console) -> UploadedPickle:
    """Wait until the upload is validated; print its status when it changes."""
    status = shown = ""

    def look() -> UploadedPickle | None:
        nonlocal status, shown
        try:
            listed = {each.id: each for each in slot.account.pickles(slot.id)}.get(pickle_id)
            status = listed.status if listed else "not listed yet"
        except NumeraiUnreachable:
            listed, status = None, "not known, Numerai's API does not answer"
        if listed is not None and status == _VALIDATED:
            return listed
        if listed is not None and status == _FAILED:
            raise UserError(_failure(slot.account, listed))
        if status != shown:
            console.print(f"Validation: {status}")
            shown = status
        return None

    validated = poll(look, timeout_seconds)
    if validated is None:
        raise UserError(
            f"the upload {pickle_id} is not validated after {timeout_seconds / 60:g} minutes ({status}); "
            "it stays at Numerai, the same command looks at it again"
        )
    return validated


def _failure(account: NumeraiAccount, failed: UploadedPickle) -> str:
    said = account.last_log_message(failed.id)
    said = said if len(said) <= _LONGEST_MESSAGE else f"…{said[-_LONGEST_MESSAGE:]}"
    why = f" ({said})" if said else ""
    return (
        f"{failed.filename} failed Numerai's validation{why}; see the log on the model's page, or try another "
        f"environment with {option_text('image', '…')}"
    )
