"""Some five hundred bad inputs: each is refused in one clear line with exit code 2, and nothing of it is mined."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from signal_miner.__main__ import main
from tests.helpers.bad_inputs import MINE, BadInput, catalogue
from tests.helpers.mining import put_store

CATALOGUE = catalogue()


@pytest.mark.timeout(60)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # as where pytest does not show them
@pytest.mark.parametrize("bad", CATALOGUE, ids=lambda bad: bad.name)
def test_a_bad_input_is_refused_in_one_line(
    bad: BadInput, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "NUMERAI_PUBLIC_ID", "NUMERAI_SECRET_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    bad.prepare(tmp_path)
    if bad.arguments == MINE:
        put_store(tmp_path)  # which takes MLflow two seconds
    assert main(list(bad.arguments)) == 2
    line = capfd.readouterr().err
    assert line.startswith("signal-miner: ")
    assert line.count("\n") == 1, "more than one line"
    assert len(line) < 600, "too long for a line"
    assert "Traceback" not in line
    assert re.search(bad.says, line), f"{line!r} does not say {bad.says!r}"
    assert not any(ord(letter) < 32 for letter in line.rstrip("\n")), "control characters"


def test_the_catalogue_is_large_and_its_names_are_distinct() -> None:
    assert len(CATALOGUE) > 400
    assert len({bad.name for bad in CATALOGUE}) == len(CATALOGUE)
