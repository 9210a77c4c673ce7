"""Numerai's data files: what is offered, and a complete, current copy of it in a directory."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numerapi
from filelock import FileLock, Timeout
from rich.filesize import decimal

from signal_miner.data.sources import is_data_version
from signal_miner.errors import UserError, did_you_mean
from signal_miner.numerai.api import anonymous_client, ask_numerai
from signal_miner.numerai.download.checks import DamagedFile, agrees_with, check_contents
from signal_miner.numerai.download.manifest import FileRecord, Manifest
from signal_miner.numerai.download.progress import DownloadProgress
from signal_miner.numerai.download.transfer import Transfer, run_transfer
from signal_miner.numerai.remote import RemoteObject
from signal_miner.numerai.signed_links import quiet_urllib3
from signal_miner.utils.files import file_exists, sha256_of
from signal_miner.utils.redaction import reason_of_system
from signal_miner.utils.validation import shown

REQUIRED_FILES: tuple[str, ...] = ("train.parquet", "validation.parquet", "features.json")
DEFAULT_FILES: tuple[str, ...] = (
    "features.json",
    "train.parquet",
    "validation.parquet",
    "live.parquet",
    "train_benchmark_models.parquet",
    "validation_benchmark_models.parquet",
    "live_benchmark_models.parquet",
    "meta_model.parquet",
)
"""What `download_version` fetches by default; of these the `REQUIRED_FILES` must be listed by Numerai."""

LOCK_NAME = ".downloads.lock"

_LIST_QUERY = "query ($tournament: Int) { listDatasets(tournament: $tournament) }"
_LINK_QUERY = """
query ($filename: String! $tournament: Int) { dataset(filename: $filename tournament: $tournament) }
"""


@dataclass(frozen=True)
class DownloadedFile:
    """A local file, complete and current."""

    path: Path
    size: int  # bytes
    fetched: bool  # False: it was already here and has been verified


def list_versions() -> list[str]:
    """List the data versions that Numerai offers, such as ``"v5.3"``, oldest first."""
    return list(_listing(anonymous_client()))


def download_version(
    version: str, directory: Path, *, files: Sequence[str] | None = None, show_progress: bool = True
) -> tuple[DownloadedFile, ...]:
    """Fetch the files of a data version that are missing, truncated, damaged or out of date.

    A file gets its own name only once it is complete: its bytes gather in ``<name>.part``, are checked, recorded in
    ``.downloads.json`` and renamed in one step. A killed download therefore resumes where it stopped, and a repeated
    one costs one question to Numerai and, for each file that is still good, one request without bytes.

    Parameters
    ----------
    directory : Path
        Created if absent; it holds one version only.
    files : sequence of str, optional
        Names without the version; by default those of `DEFAULT_FILES` that Numerai lists.
    show_progress : bool, default True
        Show a bar on a terminal, else one line per file, on standard error.

    Returns
    -------
    tuple of DownloadedFile
        In the order of `files`.

    Raises
    ------
    UserError
        A text that is no version, no such version or file, no answer, a transfer that failed too often, a file that
        is damaged at its source, a full or read-only disk, a directory with another version.
    """
    directory = Path(directory)
    check_version(version)
    client = anonymous_client()
    names = _choose(version, files, _listing(client))
    with _disk_errors(directory), quiet_urllib3(), DownloadProgress(show=show_progress) as progress:
        directory.mkdir(parents=True, exist_ok=True)
        with _alone_in(directory, progress):
            manifest = Manifest.read(directory)
            if manifest.version not in (None, version):
                raise UserError(
                    f"directory {str(directory)!r} holds version {manifest.version!r}, not {version!r}; "
                    "give each version a directory of its own"
                )
            manifest.version = version
            return tuple(_bring(client, manifest, name, progress) for name in names)


def check_version(version: str) -> None:
    """Raise UserError unless a text is written as a version of Numerai's data."""
    if not is_data_version(version):
        near = f"; did you mean 'v{version}'?" if is_data_version(f"v{version}") else "; use one such as v5.3"
        raise UserError(f"version = {shown(version)} is not a version of Numerai's data{near}")


def _listing(client: numerapi.NumerAPI) -> dict[str, list[str]]:
    """Ask Numerai for the names of all files by version, oldest version first."""
    answer = ask_numerai(_LIST_QUERY, {"tournament": client.tournament_id}, client=client).get("listDatasets")
    listing: dict[str, list[str]] = {}
    for full_name in answer if isinstance(answer, list) else []:
        version, _, name = str(full_name).partition("/")
        if name and is_data_version(version):
            listing.setdefault(version, []).append(name)
    if not listing:
        raise UserError("Numerai's API lists no data versions; try again later")
    oldest_first = sorted(listing, key=lambda version: [int(number) for number in version[1:].split(".")])
    return {version: listing[version] for version in oldest_first}


def _choose(version: str, files: Sequence[str] | None, listing: dict[str, list[str]]) -> list[str]:
    """Check the requested names against Numerai's listing."""
    if version not in listing:
        raise UserError(f"version {version!r} is not offered by Numerai{did_you_mean(version, listing)}")
    listed = listing[version]
    if isinstance(files, str):
        raise UserError(f"files={files!r} is a single string; give a list of file names")
    wanted = [name.removeprefix(f"{version}/") for name in files or ()]
    if files is None:
        wanted = [name for name in DEFAULT_FILES if name in listed or name in REQUIRED_FILES]
    for name in wanted:
        if name not in listed:
            raise UserError(f"file {name!r} is not in version {version!r}{did_you_mean(name, listed)}")
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or "\\" in name:
            raise UserError(f"file {name!r} would be outside the directory; leave it out")
    return list(dict.fromkeys(wanted))


def _bring(client: numerapi.NumerAPI, manifest: Manifest, name: str, progress: DownloadProgress) -> DownloadedFile:
    """Fetch one file, or find that the local one is good."""
    path = manifest.directory / name
    part = path.with_name(f"{path.name}.part")
    label = f"{manifest.version}/{name}"
    file_exists(path)  # what is in its place and no file is refused now, not after gigabytes
    path.parent.mkdir(parents=True, exist_ok=True)
    progress.begin(label)
    record = _good_record(manifest, name)

    def find_url() -> str:
        variables = {"filename": label, "tournament": client.tournament_id}
        url = ask_numerai(_LINK_QUERY, variables, client=client).get("dataset")
        if not isinstance(url, str) or not url.startswith(("http://", "https://")):
            raise UserError(f"Numerai's API gives no link for {label}; try again later")
        return url

    def is_here(remote: RemoteObject) -> bool:
        if record is not None:
            return remote.same_as(record.remote)
        if not path.is_file() or path.stat().st_size != remote.size or not agrees_with(path, remote.checksum):
            return False
        manifest.files[name] = FileRecord(remote, sha256_of(path))  # fetched by other means
        return True

    def on_start(remote: RemoteObject) -> None:
        manifest.partial[name] = remote
        manifest.write()

    transfer = Transfer(
        label=label,
        part=part,
        find_url=find_url,
        partial=manifest.partial.get(name),
        here=record.remote if record is not None else None,
        is_here=is_here,
        on_start=on_start,
        on_bytes=progress.advance,
    )
    for _ in range(2):
        remote = run_transfer(transfer)
        if remote is None:
            return _keep(manifest, path, part, name, progress)
        progress.check()
        try:
            return _put_in_place(manifest, path, part, name, remote, progress)
        except DamagedFile as error:
            problem = error
            part.unlink()
            transfer = replace(transfer, partial=None)
    raise UserError(f"{label} was fetched twice and both times {problem}; Numerai may be replacing it, try again later")


def _good_record(manifest: Manifest, name: str) -> FileRecord | None:
    """Find the record of the local file if its bytes are still those that were recorded."""
    record, path = manifest.files.get(name), manifest.directory / name
    if record is None or not path.is_file() or path.stat().st_size != record.remote.size:
        return None
    return record if sha256_of(path) == record.sha256 else None


def _keep(manifest: Manifest, path: Path, part: Path, name: str, progress: DownloadProgress) -> DownloadedFile:
    """Leave the good file where it is and remove any unfinished part."""
    part.unlink(missing_ok=True)
    manifest.partial.pop(name, None)
    manifest.write()
    size = path.stat().st_size
    progress.end(f"already here and verified, {decimal(size)}")
    return DownloadedFile(path, size, fetched=False)


def _put_in_place(
    manifest: Manifest, path: Path, part: Path, name: str, remote: RemoteObject, progress: DownloadProgress
) -> DownloadedFile:
    """Check the part, record it and rename it to the file's own name."""
    agrees = agrees_with(part, remote.checksum)
    if agrees is False:
        raise DamagedFile("it did not have the checksum that Numerai's storage gives")
    check_contents(part, name, every_value=agrees is None)
    size = part.stat().st_size
    # Recorded before the rename: killed in between, the next run finds a complete part and no file that matches the
    # record, and asks for one byte. In the other order it would find a file without a record and might fetch it again.
    manifest.files[name] = FileRecord(replace(remote, size=size), sha256_of(part))
    manifest.write()
    part.replace(path)
    _sync_directory(path.parent)
    manifest.partial.pop(name, None)
    manifest.write()
    progress.end(f"fetched and verified, {decimal(size)}")
    return DownloadedFile(path, size, fetched=True)


def _sync_directory(directory: Path) -> None:
    """Make the new name survive a power cut, where the system can."""
    if os.name != "posix":
        return
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _alone_in(directory: Path, progress: DownloadProgress) -> Iterator[None]:
    """Wait until no other download uses the directory; a killed one leaves no lock behind."""
    lock = FileLock(directory / LOCK_NAME)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        progress.say(f"waiting for another download into {directory}")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _disk_errors(directory: Path) -> Iterator[None]:
    """Turn an error of the disk into one line."""
    try:
        yield
    except OSError as error:
        reason = reason_of_system(error)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(
                f"directory {str(directory)!r}: the disk is full ({reason}); "
                "free some space, then running the same command again resumes"
            ) from None
        raise UserError(f"directory {str(directory)!r} can't be used ({reason}); choose another") from None
