"""Files kept among a run's artifacts with a checksum each, so that interrupted work resumes from them."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

from signal_miner.errors import StoreError, UserError
from signal_miner.tracking.run_store import RunStore, reports_store_errors
from signal_miner.utils.files import temporary_directory


class ArtifactCache(RunStore):
    """A tracking store whose runs keep intermediate files.

    A file that was cut off or replaced does not match the checksum in its tag and counts as absent.
    """

    @reports_store_errors
    def keep_file(self, run_id: str, file: Path, folder: str, tag_prefix: str) -> None:
        """Log a file to an artifact folder of a run, then its checksum as the tag ``tag_prefix`` + its name."""
        self._log_files(run_id, [file], folder)
        self._set_tags(run_id, {f"{tag_prefix}{file.name}": sha256(file.read_bytes()).hexdigest()})

    @reports_store_errors
    def kept_file(self, run_id: str, name: str, folder: str, tag_prefix: str) -> bytes | None:
        """Return a kept file's bytes; None where it is absent or does not match its checksum."""
        checksum = self._client.get_run(run_id).data.tags.get(f"{tag_prefix}{name}")
        if checksum is None:
            return None
        try:
            with temporary_directory() as directory:
                body = self.download(run_id, f"{folder}/{name}", directory).read_bytes()
        except StoreError:
            raise
        except UserError:
            return None
        return body if sha256(body).hexdigest() == checksum else None
