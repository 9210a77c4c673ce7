"""The multipliers of the open round, kept beside the data, on a small Numerai on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from signal_miner.data.payout_file import read_payout
from signal_miner.errors import UserError
from signal_miner.numerai.download.payout import download_payout
from signal_miner.scoring.payout import Payout
from tests.helpers.download import serve_numerai
from tests.helpers.numerai_server import NumeraiServer


@pytest.fixture
def numerai(monkeypatch: pytest.MonkeyPatch) -> Iterator[NumeraiServer]:
    yield from serve_numerai(monkeypatch)


def config(name: str, multiplier: float | None, *, pays: bool = True, clip: float | None = 1.0) -> dict[str, Any]:
    return {"displayName": name, "isPayout": pays, "defaultMultiplier": multiplier, "clipThreshold": clip}


def test_the_multipliers_of_the_open_round_are_kept(numerai: NumeraiServer, tmp_path: Path) -> None:
    configs = [config("CORR60", 5), config("MMC60", 10, clip=0.5), config("CORR20", 1, pays=False)]
    numerai.answers["rounds"] = lambda _given: [{"number": 1400, "roundScoreConfigs": configs}]
    published = download_payout(tmp_path)
    assert published is not None
    assert (published.payout, published.round) == (Payout(5, 10, 0.5), 1400)
    assert read_payout(tmp_path) == published
    numerai.answers["rounds"] = lambda _given: []  # no round is open: what is there stays
    assert download_payout(tmp_path) is None
    assert read_payout(tmp_path) == published


@pytest.mark.parametrize(
    "rounds",
    [
        [],
        [None],
        [{"number": 7, "roundScoreConfigs": None}],
        [{"number": 7, "roundScoreConfigs": []}],
        [{"number": 7, "roundScoreConfigs": [config("CORR60", None)]}],
        [{"number": 7, "roundScoreConfigs": [config("CORR60", float("inf"))]}],
        [{"number": 7, "roundScoreConfigs": [config("CORR60", 0), config("MMC60", 0)]}],
        [{"number": None, "roundScoreConfigs": [config("CORR60", 3)]}],
    ],
)
def test_an_answer_that_pays_nothing_leaves_no_file(numerai: NumeraiServer, tmp_path: Path, rounds: list[Any]) -> None:
    numerai.answers["rounds"] = lambda _given: rounds
    assert download_payout(tmp_path) is None
    assert read_payout(tmp_path) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"payout": {"corr": 3}, "round": 1, "date": "x"}',
        '{"payout": {"corr": 0, "mmc": 0, "clip": 1}, "round": 1, "date": "x"}',
        '{"payout": {"corr": 3, "mmc": 15, "clip": 0}, "round": 1, "date": "x"}',
        '{"payout": {"corr": NaN, "mmc": 15, "clip": 1}, "round": 1, "date": "x"}',
    ],
)
def test_a_damaged_record_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "payout.json").write_text(text)
    with pytest.raises(UserError, match="is not a record of payouts; download the data again, or set") as refused:
        read_payout(tmp_path)
    assert "\n" not in str(refused.value)


def test_a_record_that_is_no_file_is_not_taken_for_none(tmp_path: Path) -> None:
    (tmp_path / "payout.json").symlink_to("elsewhere.json")
    with pytest.raises(UserError, match=r"payout\.json is a link to nothing; replace or remove it"):
        read_payout(tmp_path)
    (tmp_path / "payout.json").unlink()
    (tmp_path / "payout.json").mkdir()
    with pytest.raises(UserError, match=r"payout\.json is no file; replace or remove it"):
        read_payout(tmp_path)
