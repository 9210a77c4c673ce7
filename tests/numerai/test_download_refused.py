"""What goes wrong at Numerai, on the disk or at the keyboard is one line each."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import numerapi.base_api
import pytest

from signal_miner.errors import UserError
from signal_miner.numerai import api as numerai_api
from signal_miner.numerai.download.versions import download_version, list_versions
from tests.helpers.download import BODY, FEATURES, VERSION, bring, serve_numerai
from tests.helpers.numerai_server import GraphQLError, NumeraiServer


@pytest.fixture
def numerai(monkeypatch: pytest.MonkeyPatch) -> Iterator[NumeraiServer]:
    yield from serve_numerai(monkeypatch)


def test_unknown_version(numerai: NumeraiServer, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"version 'v5.33' is not offered by Numerai; did you mean 'v5.3'\?"):
        download_version("v5.33", tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_unknown_file(numerai: NumeraiServer, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"file 'trian.parquet' is not in version.*did you mean 'train.parquet'\?"):
        download_version(VERSION, tmp_path, files=["trian.parquet"])
    numerai.put(f"{VERSION}/../escape.json", b"{}")
    with pytest.raises(UserError, match="would be outside the directory"):
        download_version(VERSION, tmp_path, files=["../escape.json"])


def test_one_directory_holds_one_version(numerai: NumeraiServer, tmp_path: Path) -> None:
    bring(tmp_path)
    with pytest.raises(UserError, match=r"holds version 'v5.3', not 'v5.2'; give each version a directory"):
        download_version("v5.2", tmp_path, files=["train.parquet"], show_progress=False)


def test_the_api_is_down(tmp_path: Path, numerai: NumeraiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numerapi.base_api, "API_TOURNAMENT_URL", "http://127.0.0.1:1")
    with pytest.raises(UserError, match=r"127.0.0.1:1 gave no answer \(connection refused\); check the network"):
        bring(tmp_path)

    def unknown_name(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(numerapi.base_api, "API_TOURNAMENT_URL", "http://numerai.invalid")
    monkeypatch.setattr(socket, "getaddrinfo", unknown_name)
    with pytest.raises(UserError, match="its host name could not be resolved"):
        list_versions()


def test_the_api_answers_nonsense(numerai: NumeraiServer, tmp_path: Path) -> None:
    numerai.faults.api_status = [403]
    with pytest.raises(UserError, match=r"gave no answer \(it answered 403 Forbidden\)"):
        bring(tmp_path)
    numerai.faults.api_status = [200]
    with pytest.raises(UserError, match="gave no answer"):
        bring(tmp_path)
    numerai.faults.api_status = [502, 503]  # numerapi asks again
    assert bring(tmp_path).fetched
    numerai.answers["dataset"] = lambda _variables: None
    with pytest.raises(UserError, match=r"gives no link for v5.3/live.parquet"):
        download_version(VERSION, tmp_path, files=["live.parquet"], show_progress=False)

    def refuse(_variables: object) -> None:
        raise GraphQLError("Too\nmany requests")

    numerai.answers["listDatasets"] = refuse
    with pytest.raises(UserError, match="refused the question: Too many requests"):
        bring(tmp_path)


def test_the_api_never_answers(numerai: NumeraiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numerai_api, "ANSWER_SECONDS", 0.1)
    numerai.faults.api_delay_seconds = 1.0
    with pytest.raises(UserError, match=r"no answer within 0.1 s"):
        list_versions()


@pytest.mark.parametrize(
    ("statuses", "message"),
    [
        (
            [403] * 9,
            r"train.parquet: http://127.0.0.1:\d+/datasets/v5.3/train.parquet answered 403 Forbidden, also",
        ),
        ([404], r"answered 404 Not Found; Numerai lists this file but does not serve it"),
        ([500] * 9, r"broke off \(answered 500 Internal Server Error\); .* run the same command again to resume"),
    ],
)
def test_the_storage_refuses(
    numerai: NumeraiServer,
    tmp_path: Path,
    statuses: list[int],
    message: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    numerai.faults.object_status = statuses
    with caplog.at_level(logging.DEBUG), pytest.raises(UserError, match=message) as caught:
        bring(tmp_path)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value) + caplog.text


def test_a_full_disk(numerai: NumeraiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        usage = shutil.disk_usage(tmp_path)._replace(free=1000)
        patch.setattr(shutil, "disk_usage", lambda _path: usage)
        with pytest.raises(UserError, match=r"disk is full \(v5.3/train.parquet needs .* more, 1.0 kB are free\)"):
            bring(tmp_path)

    def full(_handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(UserError, match=r"disk is full \(No space left on device\); free some space"):
            bring(tmp_path)
    assert bring(tmp_path).fetched


def test_a_directory_that_is_none(numerai: NumeraiServer, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    with pytest.raises(UserError, match=r"can't be used \(File exists\); choose another"):
        bring(tmp_path / "data")


def test_numerapi_leaves_no_trace_in_the_log(
    numerai: NumeraiServer, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    numerai.faults.api_status = [503]
    bring(tmp_path)
    assert (list(root.handlers), root.level) == (handlers, level)
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


def test_progress_is_a_line_a_file_without_a_terminal(
    numerai: NumeraiServer, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    names = ["features.json", "train.parquet"]
    download_version(VERSION, tmp_path, files=names)
    download_version(VERSION, tmp_path, files=names[:1])
    assert capfd.readouterr().err.splitlines() == [
        f"v5.3/features.json: fetched and verified, {len(FEATURES)} bytes",
        f"v5.3/train.parquet: fetched and verified, {len(BODY) / 1000:.1f} kB",
        f"v5.3/features.json: already here and verified, {len(FEATURES)} bytes",
    ]
