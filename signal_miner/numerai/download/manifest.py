"""The record of a directory of downloads, ``.downloads.json``: written completely or not at all."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from signal_miner.numerai.remote import RemoteObject
from signal_miner.utils.validation import parsed_json

MANIFEST_NAME = ".downloads.json"
_FORMAT = 1


@dataclass(frozen=True)
class FileRecord:
    """A file that was complete when it got its name."""

    remote: RemoteObject  # what it was fetched from
    sha256: str


@dataclass
class Manifest:
    """The records of one directory.

    Attributes
    ----------
    version : str or None
        Data version of all files; None before the first download.
    files : dict
        Complete files by name.
    partial : dict
        By file name, the object that the bytes in its ``.part`` were fetched from.
    """

    directory: Path
    version: str | None = None
    files: dict[str, FileRecord] = field(default_factory=dict)
    partial: dict[str, RemoteObject] = field(default_factory=dict)

    @classmethod
    def read(cls, directory: Path) -> Manifest:
        """Read a directory's manifest; an absent or unreadable one is empty, and every file is then checked anew."""
        try:
            content: Any = parsed_json((directory / MANIFEST_NAME).read_text(encoding="utf-8"))
            if content["format"] != _FORMAT:
                return cls(directory)
            return cls(
                directory=directory,
                version=content["version"],
                files={
                    name: FileRecord(RemoteObject(**record["remote"]), record["sha256"])
                    for name, record in content["files"].items()
                },
                partial={name: RemoteObject(**remote) for name, remote in content["partial"].items()},
            )
        except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
            return cls(directory)

    def write(self) -> None:
        """Replace the manifest on disk."""
        content = {
            "format": _FORMAT,
            "version": self.version,
            "files": {name: asdict(record) for name, record in sorted(self.files.items())},
            "partial": {name: asdict(remote) for name, remote in sorted(self.partial.items())},
        }
        target = self.directory / MANIFEST_NAME
        fresh = target.with_name(f"{MANIFEST_NAME}.new")
        with fresh.open("w", encoding="utf-8") as file:
            file.write(json.dumps(content, indent=1) + "\n")
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(target)
