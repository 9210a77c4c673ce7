"""Downloads that break off: real sockets that drop, real processes that are killed."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from signal_miner.errors import UserError
from signal_miner.numerai.download import transfer
from tests.helpers.download import BODY, NEWER, TRAIN, bring, interrupt, left_over, parquet, serve_numerai
from tests.helpers.numerai_server import NumeraiServer


@pytest.fixture
def numerai(monkeypatch: pytest.MonkeyPatch) -> Iterator[NumeraiServer]:
    yield from serve_numerai(monkeypatch)


def test_a_dropped_connection_is_resumed_at_once(numerai: NumeraiServer, tmp_path: Path) -> None:
    numerai.faults.cut_after = [100_000, 70_000]
    bring(tmp_path)
    first, second, third = numerai.gets()
    assert (first.status, second.status, third.status) == (200, 206, 206)
    assert second.headers["If-Range"] == numerai.objects[TRAIN].etag
    assert numerai.body_bytes() <= len(BODY) + 2 * transfer.CHUNK_BYTES
    assert (tmp_path / "train.parquet").read_bytes() == BODY


def test_the_next_run_resumes_what_is_there(numerai: NumeraiServer, tmp_path: Path) -> None:
    interrupt(numerai, tmp_path)
    gathered = (tmp_path / "train.parquet.part").stat().st_size
    bring(tmp_path)
    (request,) = numerai.gets()
    assert request.headers["Range"] == f"bytes={gathered}-"
    assert numerai.body_bytes() == len(BODY) - gathered
    assert (tmp_path / "train.parquet").read_bytes() == BODY
    assert not left_over(tmp_path)


def test_progress_on_a_bad_line_is_not_counted_as_failure(numerai: NumeraiServer, tmp_path: Path) -> None:
    numerai.faults.cut_after = [transfer.CHUNK_BYTES] * 3 + [0] * 2
    bring(tmp_path)
    assert len(numerai.gets()) == 6


@pytest.mark.parametrize("name", ["train.parquet.part", "train.parquet.temp"])
def test_stray_bytes_are_never_put_before_new_ones(numerai: NumeraiServer, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"stale" * 1000)
    bring(tmp_path)
    assert (tmp_path / "train.parquet").read_bytes() == BODY
    assert "Range" not in numerai.gets()[0].headers


def test_a_part_with_other_bytes_than_recorded_is_found_by_the_checksum(numerai: NumeraiServer, tmp_path: Path) -> None:
    interrupt(numerai, tmp_path)
    part = tmp_path / "train.parquet.part"
    part.write_bytes(b"\0" * part.stat().st_size)
    bring(tmp_path)
    assert [each.status for each in numerai.gets()] == [206, 200]
    assert (tmp_path / "train.parquet").read_bytes() == BODY


@pytest.mark.parametrize("extra", [0, 1000])
def test_a_part_that_is_whole_or_too_long(numerai: NumeraiServer, tmp_path: Path, extra: int) -> None:
    interrupt(numerai, tmp_path)
    (tmp_path / "train.parquet.part").write_bytes(BODY + b"x" * extra)
    bring(tmp_path)
    assert numerai.body_bytes() == (len(BODY) if extra else 1)
    assert (tmp_path / "train.parquet").read_bytes() == BODY


def test_a_server_that_ignores_ranges_starts_anew(numerai: NumeraiServer, tmp_path: Path) -> None:
    interrupt(numerai, tmp_path)
    numerai.faults.ignore_range = True
    bring(tmp_path)
    assert [each.status for each in numerai.gets()] == [200]
    assert (tmp_path / "train.parquet").read_bytes() == BODY


@pytest.mark.parametrize("ignore_if_range", [False, True])
def test_an_object_that_changed_before_the_resume_is_fetched_whole(
    numerai: NumeraiServer, tmp_path: Path, ignore_if_range: bool
) -> None:
    interrupt(numerai, tmp_path)
    numerai.put(TRAIN, NEWER)
    numerai.faults.ignore_if_range = ignore_if_range
    bring(tmp_path)
    assert [each.status for each in numerai.gets()] == ([206, 200] if ignore_if_range else [200])
    assert (tmp_path / "train.parquet").read_bytes() == NEWER


def test_an_object_that_shrank_below_the_part(numerai: NumeraiServer, tmp_path: Path) -> None:
    interrupt(numerai, tmp_path)
    numerai.faults.ignore_if_range = True
    small = parquet(3, n_rows=50)
    numerai.put(TRAIN, small)
    bring(tmp_path)
    assert [each.status for each in numerai.gets()] == [416, 200]
    assert (tmp_path / "train.parquet").read_bytes() == small


def test_an_expired_link_is_replaced(numerai: NumeraiServer, tmp_path: Path) -> None:
    numerai.faults.object_status = [403]
    bring(tmp_path)
    assert [each.status for each in numerai.gets()] == [403, 200]


def test_each_attempt_asks_for_a_new_link(numerai: NumeraiServer, tmp_path: Path) -> None:
    numerai.faults.expired_links = True
    numerai.faults.cut_after = [100_000]
    bring(tmp_path)
    assert [each.status for each in numerai.gets()] == [200, 206]


def test_a_busy_storage_is_asked_again(numerai: NumeraiServer, tmp_path: Path) -> None:
    numerai.faults.object_status = [503, 429]
    assert bring(tmp_path).fetched


def test_the_old_file_stands_until_the_new_one_is_whole(numerai: NumeraiServer, tmp_path: Path) -> None:
    path = bring(tmp_path).path
    numerai.put(TRAIN, NEWER)
    numerai.faults.cut_after = [100_000] + [0] * 8
    with pytest.raises(UserError, match="broke off"):
        bring(tmp_path)
    assert path.read_bytes() == BODY
    numerai.faults.cut_after = []
    numerai.served.clear()
    bring(tmp_path)
    assert path.read_bytes() == NEWER
    assert numerai.body_bytes() < len(NEWER)


def test_killed_between_record_and_name_costs_one_byte(
    numerai: NumeraiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", _but_not_for("train.parquet.part", Path.replace, killed))
        with pytest.raises(KeyboardInterrupt):
            bring(tmp_path)
    numerai.served.clear()
    assert bring(tmp_path).fetched
    assert numerai.body_bytes() == 1
    assert (tmp_path / "train.parquet").read_bytes() == BODY


def _but_not_for(name: str, usual, instead):  # type: ignore[no-untyped-def]
    return lambda self, *rest: instead() if self.name == name else usual(self, *rest)


ROOT = Path(__file__).parents[2]

SCRIPT = """
import sys, numerapi.base_api
from pathlib import Path
numerapi.base_api.API_TOURNAMENT_URL = sys.argv[1]
from signal_miner.numerai.download import download_version
files = download_version("v5.3", Path(sys.argv[2]), files=["train.parquet", "live.parquet"])
print(*[file.fetched for file in files])
"""


def start(numerai: NumeraiServer, directory: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, numerai.url, str(directory)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="the system has no SIGKILL")
def test_a_killed_download_is_resumed(numerai: NumeraiServer, tmp_path: Path) -> None:
    numerai.faults.bytes_per_second = 100_000
    process, part = start(numerai, tmp_path), tmp_path / "train.parquet.part"
    deadline = time.monotonic() + 30
    while not (part.exists() and part.stat().st_size >= transfer.CHUNK_BYTES):
        if time.monotonic() > deadline or process.poll() is not None:
            pytest.fail(f"no part came: {process.communicate()}")
        time.sleep(0.01)
    process.kill()
    process.communicate()
    assert not (tmp_path / "train.parquet").exists()
    numerai.faults.bytes_per_second = None
    numerai.served.clear()
    gathered = part.stat().st_size
    assert bring(tmp_path).fetched
    (request,) = numerai.gets("train.parquet")
    assert (request.status, request.body_bytes) == (206, len(BODY) - gathered)
    assert (tmp_path / "train.parquet").read_bytes() == BODY


def test_two_downloads_at_once_share_the_work(numerai: NumeraiServer, tmp_path: Path) -> None:
    numerai.faults.bytes_per_second = 400_000
    processes = [start(numerai, tmp_path) for _ in range(2)]
    outcomes = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outcomes
    assert sorted(out.strip() for out, _ in outcomes) == ["False False", "True True"]
    assert numerai.body_bytes("train.parquet") == len(BODY)
    assert (tmp_path / "train.parquet").read_bytes() == BODY
    assert not left_over(tmp_path)
