"""What a download fetches and what it leaves alone, against a small Numerai on loopback."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from signal_miner.__main__ import main
from signal_miner.errors import UserError
from signal_miner.numerai.download.checks import DamagedFile, agrees_with, check_contents
from signal_miner.numerai.download.manifest import MANIFEST_NAME
from signal_miner.numerai.download.versions import DEFAULT_FILES, download_version, list_versions
from tests.helpers.download import BODY, FEATURES, NEWER, TRAIN, VERSION, bring, left_over, serve_numerai
from tests.helpers.numerai_server import NumeraiServer


@pytest.fixture
def numerai(monkeypatch: pytest.MonkeyPatch) -> Iterator[NumeraiServer]:
    yield from serve_numerai(monkeypatch)


def test_versions_are_listed_oldest_first(numerai: NumeraiServer) -> None:
    numerai.put("v5.10/train.parquet", BODY)
    assert list_versions() == ["v4.3", "v5.2", "v5.3", "v5.10"]


def test_a_fresh_download_brings_all_default_files(numerai: NumeraiServer, tmp_path: Path) -> None:
    files = download_version(VERSION, tmp_path / "data", show_progress=False)
    assert [file.path.name for file in files] == list(DEFAULT_FILES)
    for file in files:
        assert file.fetched
        assert file.path.read_bytes() == numerai.objects[f"{VERSION}/{file.path.name}"].body
        assert file.size == file.path.stat().st_size
    assert not left_over(tmp_path)


def test_a_second_run_costs_one_request_and_no_bytes_a_file(numerai: NumeraiServer, tmp_path: Path) -> None:
    download_version(VERSION, tmp_path, show_progress=False)
    numerai.served.clear()
    files = download_version(VERSION, tmp_path, show_progress=False)
    assert not any(file.fetched for file in files)
    assert [each.status for each in numerai.gets()] == [304] * len(DEFAULT_FILES)
    assert numerai.body_bytes() == 0


def test_a_file_not_yet_offered_is_left_out_unless_required(numerai: NumeraiServer, tmp_path: Path) -> None:
    del numerai.objects[f"{VERSION}/meta_model.parquet"]
    files = download_version(VERSION, tmp_path, show_progress=False)
    assert "meta_model.parquet" not in {file.path.name for file in files}
    del numerai.objects[f"{VERSION}/features.json"]
    with pytest.raises(UserError, match=r"file 'features.json' is not in version 'v5.3'"):
        download_version(VERSION, tmp_path, show_progress=False)


def test_a_server_that_knows_no_conditions_costs_no_second_copy(numerai: NumeraiServer, tmp_path: Path) -> None:
    bring(tmp_path)
    numerai.faults.ignore_conditions = True
    before = (tmp_path / "train.parquet").stat().st_mtime_ns
    assert not bring(tmp_path).fetched
    assert (tmp_path / "train.parquet").stat().st_mtime_ns == before


def test_what_is_in_a_files_place_is_refused_before_anything_is_fetched(numerai: NumeraiServer, tmp_path: Path) -> None:
    (tmp_path / "train.parquet").mkdir()
    with pytest.raises(UserError, match=r"train.parquet is no file; replace or remove it"):
        bring(tmp_path)
    (tmp_path / "train.parquet").rmdir()
    (tmp_path / "train.parquet").symlink_to(tmp_path / "moved.parquet")
    with pytest.raises(UserError, match=r"train.parquet is a link to nothing"):
        bring(tmp_path)
    assert numerai.body_bytes() == 0


@pytest.mark.parametrize("damage", ["truncated", "a byte changed", "deleted", "emptied", "replaced"])
def test_a_damaged_local_file_is_fetched_again(numerai: NumeraiServer, tmp_path: Path, damage: str) -> None:
    path = bring(tmp_path).path
    kept = path.stat().st_mtime_ns
    damaged = {
        "truncated": BODY[:-100],
        "a byte changed": BODY[:50_000] + bytes([BODY[50_000] ^ 1]) + BODY[50_001:],
        "deleted": b"",
        "emptied": b"",
        "replaced": NEWER,
    }
    path.write_bytes(damaged[damage])
    os.utime(path, ns=(kept, kept))  # the time of change must not count as proof
    if damage == "deleted":
        path.unlink()
    assert bring(tmp_path).fetched
    assert path.read_bytes() == BODY


def test_a_stale_file_of_the_same_size_is_fetched_again(numerai: NumeraiServer, tmp_path: Path) -> None:
    path = bring(tmp_path).path
    assert len(NEWER) == len(BODY)
    numerai.put(TRAIN, NEWER)
    numerai.served.clear()
    assert bring(tmp_path).fetched
    assert path.read_bytes() == NEWER
    assert numerai.body_bytes() == len(NEWER)
    assert not bring(tmp_path).fetched


def test_a_stale_file_is_found_by_its_date_where_there_is_no_tag(numerai: NumeraiServer, tmp_path: Path) -> None:
    numerai.put(TRAIN, BODY, etag="")
    bring(tmp_path)
    assert not bring(tmp_path).fetched
    numerai.put(TRAIN, NEWER, etag="", last_modified="Sat, 29 Aug 2026 12:00:00 GMT")
    assert bring(tmp_path).fetched
    assert (tmp_path / "train.parquet").read_bytes() == NEWER


@pytest.mark.parametrize(("body", "fetched"), [(BODY, False), (NEWER, True)])
def test_a_file_brought_by_other_means_is_kept_if_its_checksum_is_right(
    numerai: NumeraiServer, tmp_path: Path, body: bytes, fetched: bool
) -> None:
    (tmp_path / "train.parquet").write_bytes(body)
    assert bring(tmp_path).fetched is fetched
    assert (tmp_path / "train.parquet").read_bytes() == BODY
    numerai.served.clear()
    assert not bring(tmp_path).fetched
    assert numerai.gets()[0].status == 304


@pytest.mark.parametrize("manifest", ["{", "[]", '{"format": 1}', '{"format": 99}', "null", "\xff"])
def test_an_unreadable_manifest_means_checking_anew(numerai: NumeraiServer, tmp_path: Path, manifest: str) -> None:
    bring(tmp_path)
    (tmp_path / MANIFEST_NAME).write_bytes(manifest.encode("latin-1"))
    assert not bring(tmp_path).fetched


def test_bytes_changed_on_the_way_are_fetched_again(numerai: NumeraiServer, tmp_path: Path) -> None:
    numerai.faults.flip_byte = [True]
    bring(tmp_path)
    assert numerai.body_bytes() == 2 * len(BODY)
    assert (tmp_path / "train.parquet").read_bytes() == BODY


def test_bytes_changed_every_time_never_get_the_name(numerai: NumeraiServer, tmp_path: Path) -> None:
    numerai.faults.flip_byte = [True] * 9
    match = r"v5.3/train.parquet was fetched twice and both times it did not have the checksum"
    with pytest.raises(UserError, match=match):
        bring(tmp_path)
    assert not (tmp_path / "train.parquet").exists()
    assert not left_over(tmp_path)


@pytest.mark.parametrize(
    ("name", "body", "reason"),
    [
        ("train.parquet", BODY[:100_000], "not a readable parquet file"),
        ("train.parquet", BODY[:4] + BODY[50_000:], "not a readable parquet file|is outside of it"),
        ("train.parquet", b"<html>", "not a readable parquet file"),
        ("train.parquet", b"", "is empty"),
        ("features.json", FEATURES[:-10], "not a readable JSON file"),
        ("features.json", b"\xff\xfe", "not a readable JSON file"),
        ("features.json", b'{"targets": []}', "has no feature_sets"),
    ],
)
def test_a_file_that_is_damaged_at_its_source(
    numerai: NumeraiServer, tmp_path: Path, name: str, body: bytes, reason: str
) -> None:
    numerai.put(f"{VERSION}/{name}", body)
    with pytest.raises(UserError, match=f"{name} was fetched twice and both times .*({reason})"):
        download_version(VERSION, tmp_path, files=[name], show_progress=False)
    assert not (tmp_path / name).exists()


def test_without_a_checksum_every_value_is_decoded(tmp_path: Path) -> None:
    path = tmp_path / "train.parquet"
    table = pa.table({"feature_0": np.arange(50_000), "feature_1": np.arange(50_000)})
    pq.write_table(table, path, compression="zstd", use_dictionary=False)
    body = bytearray(path.read_bytes())
    body[4:60] = bytes(56)
    path.write_bytes(body)
    check_contents(path, path.name, every_value=False)  # layout and last column are whole
    with pytest.raises(DamagedFile, match="not a readable parquet file"):
        check_contents(path, path.name, every_value=True)


def test_the_checksum_of_an_object_uploaded_in_parts(tmp_path: Path) -> None:
    path, mib = tmp_path / "object", 1024 * 1024
    body = np.random.default_rng(0).bytes(11 * mib)
    path.write_bytes(body)
    digests = b"".join(hashlib.md5(body[start : start + 5 * mib]).digest() for start in range(0, 11 * mib, 5 * mib))
    checksum = f"{hashlib.md5(digests).hexdigest()}-3"
    assert agrees_with(path, checksum) is True
    path.write_bytes(body[:-1] + b"x")
    assert agrees_with(path, checksum) is None  # the size of the parts is only guessed
    assert agrees_with(path, hashlib.md5(body).hexdigest()) is False
    assert agrees_with(path, None) is None


def test_the_tag_of_an_encrypted_object_is_no_checksum(numerai: NumeraiServer, tmp_path: Path) -> None:
    numerai.put(TRAIN, BODY, etag=f'"{"0" * 32}"', headers={"x-amz-server-side-encryption": "aws:kms"})
    assert bring(tmp_path).fetched
    assert not bring(tmp_path).fetched


def test_the_command_downloads_into_data_and_says_so(
    numerai: NumeraiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["download", "--version", VERSION, "--directory", "", "--files", "features.json,train.parquet"]
    assert main(arguments) == 0
    assert (tmp_path / "data" / VERSION / "train.parquet").read_bytes() == BODY
    assert f"2 files in data/{VERSION}" in (printed := capsys.readouterr().out)
    assert "2 fetched, 0 here already" in printed
    assert main(arguments) == 0
    assert "0 fetched, 2 here already" in capsys.readouterr().out
    assert main([*arguments[:-1], "trian.parquet"]) == 2
    assert "did you mean 'train.parquet'" in capsys.readouterr().err
