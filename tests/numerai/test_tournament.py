"""The commands in a row, as a staker runs them: ensemble, register, submit, deploy; against a Numerai on loopback."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from signal_miner.models.portable import load_predict
from signal_miner.tracking.tags import MODEL_FILES
from tests.conftest import FEATURES
from tests.helpers.mining import client_of, runs_of
from tests.helpers.study import command, copy_study, predict_file
from tests.helpers.tournament import NAME, PUBLIC_ID, SECRET_KEY, Tournament, live_frame, parquet_bytes

pytestmark = pytest.mark.slow


class Touch:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self):
        return open, (str(self._path), "w")


@pytest.fixture(scope="module")
def registered(tiny_study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = copy_study(tiny_study, tmp_path_factory.mktemp("tournament") / "study")
    assert command(directory, "ensemble", "--select", "top", "--members", "3") == 0
    assert command(directory, "register", "--promote", "always") == 0
    return directory


def live(seed: int = 0) -> pd.DataFrame:
    """Live data with the study's features, in another order, and one of others."""
    frame = live_frame(seed)
    generator = np.random.default_rng(seed)
    values = pd.DataFrame(
        generator.integers(0, 5, (len(frame), len(FEATURES))).astype(np.int8), frame.index, list(reversed(FEATURES))
    )
    return pd.concat([frame[["era", "data_type", "feature_of_others_1", "target"]], values], axis=1)


def publish(tournament: Tournament, frame: pd.DataFrame) -> None:
    tournament.server.put("v5.3/live.parquet", parquet_bytes(frame))


def test_submit_and_again(registered, tournament, capsys):
    frame = live()
    publish(tournament, frame)
    arguments = ("submit", "--numerai-model", NAME, "--version", "v5.3")
    before = {run.info.run_id for run in runs_of(registered, "submission")}
    assert command(registered, *arguments) == 0
    submitted = tournament.submitted()
    expected = load_predict(predict_file(registered))(frame, None)
    assert list(submitted.columns) == ["id", "prediction"]
    assert submitted.set_index("id")["prediction"].to_numpy() == pytest.approx(
        expected["prediction"].to_numpy(), abs=1e-9
    )
    (run,) = [run for run in runs_of(registered, "submission") if run.info.run_id not in before]
    assert run.info.status == "FINISHED"
    assert run.data.tags["signal_miner.submission_id"] == tournament.submissions[0]["id"]
    assert "signal_miner.study" not in run.data.tags
    capsys.readouterr()
    assert command(registered, *arguments) == 0
    assert "nothing uploaded" in capsys.readouterr().out
    assert len(tournament.submissions) == 1


def test_deploy(registered, tournament, capsys):
    assert command(registered, "deploy", "--numerai-model", NAME, "--version", "v5.3", "--image", "Python 3.11") == 0
    (made,) = tournament.pickles
    assert tournament.server.uploads[f"/uploads/{made['filename']}"] == predict_file(registered).read_bytes()
    assert made["dockerImageName"] == "Python 3.11"
    assert "Validated" in capsys.readouterr().out


def test_a_dry_run_needs_neither_keys_nor_numerai(registered, monkeypatch, tmp_path, capsys):
    monkeypatch.delenv("NUMERAI_PUBLIC_ID", raising=False)
    monkeypatch.delenv("NUMERAI_SECRET_KEY", raising=False)
    path = tmp_path / "live.parquet"
    live().to_parquet(path)
    assert command(registered, "submit", "--dry-run", "true", "--live", str(path)) == 0
    written = pd.read_csv(registered / "submissions" / "signal-miner_dry_run.csv")
    assert set(written["id"]) == set(live().index)
    assert "nothing uploaded" in capsys.readouterr().out


def test_live_data_of_a_failed_round_are_not_the_next_rounds(registered, tournament, capsys):
    publish(tournament, live(seed=21))
    tournament.round_number = 1700
    tournament.server.faults.put_status = [403] * 9
    arguments = ("submit", "--numerai-model", NAME, "--version", "v5.3")
    assert command(registered, *arguments) == 2
    tournament.server.faults.put_status = []
    tournament.next_round()
    capsys.readouterr()
    assert command(registered, *arguments) == 2
    assert "the live data are still those of round 1700" in capsys.readouterr().err
    assert not tournament.submissions


def test_a_wrong_submission_is_told_until_it_is_replaced(registered, tournament, capsys, monkeypatch):
    publish(tournament, live(seed=22))
    tournament.round_number = 1800
    right = tournament.server.answers["submissionDownloadAuth"]

    def wrong(given):
        answer = right(given)
        tournament.server.put(answer["filename"], b"id,prediction\nn000,0.5\n")
        return answer

    arguments = ("submit", "--numerai-model", NAME, "--version", "v5.3")
    monkeypatch.setitem(tournament.server.answers, "submissionDownloadAuth", wrong)
    for _ in range(2):
        assert command(registered, *arguments) == 2
        assert "holds other predictions than were sent" in capsys.readouterr().err
    monkeypatch.setitem(tournament.server.answers, "submissionDownloadAuth", right)
    assert command(registered, *arguments, "--again", "true") == 0
    capsys.readouterr()
    monkeypatch.setitem(tournament.server.answers, "submissionDownloadAuth", wrong)
    assert command(registered, *arguments) == 0  # the one that replaced it was confirmed
    assert "nothing uploaded" in capsys.readouterr().out
    assert len(tournament.submissions) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frame: frame.assign(era=["0001", *[None] * (len(frame) - 1)]), "rows without an era"),
        (
            lambda frame: frame.drop(columns=FEATURES[:2]),
            "lacks 2 of the 12 features that signal-miner version 1 needs",
        ),
        (lambda frame: frame.astype({FEATURES[3]: float}).assign(**{FEATURES[3]: np.nan}), "has NaN in 1 columns"),
        (lambda frame: frame.iloc[:0], "has no rows"),
        (lambda frame: pd.concat([frame, frame.head(1)]), "1 ids more than once"),
        (lambda frame: frame.assign(target=0.5), "has known targets (target), so it is not live data"),
    ],
)
def test_faulty_live_data_are_one_line_and_nothing_is_uploaded(registered, tournament, capsys, change, message):
    publish(tournament, change(live(seed=3)))
    tournament.round_number = 1500
    assert command(registered, "submit", "--numerai-model", NAME, "--version", "v5.3") == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not tournament.submissions
    assert not tournament.server.uploads


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("submit",), "numerai_model is missing"),
        (("submit", "--numerai-model", NAME), "is no version of Numerai's data"),
        (("submit", "--numerai-model", "miner_oen", "--version", "v5.3"), "did you mean 'miner_one'"),
        (("submit", "--numerai-model", NAME, "--model", "signal-minor"), "did you mean 'signal-miner'"),
        (("submit", "--numerai-model", NAME, "--alias", "champ"), "did you mean 'champion'"),
        (("submit", "--numerai-model", NAME, "--dry-run", "maybe"), "dry_run = 'maybe' is neither true nor false"),
        (("submit", "--numerai-model", NAME, "--live", "live.parquet"), "is for -P dry_run=true"),
        (("deploy", "--numerai-model", NAME, "--version", "v5.3", "--image", "Python 3.1"), "Python 3.1"),
        (("deploy", "--numerai-model", NAME, "--version", "v9.9"), "v9.9"),
    ],
)
def test_mistakes_are_one_line(registered, tournament, capsys, arguments, message):
    assert command(registered, *arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not tournament.submissions
    assert not tournament.pickles


def test_the_keys_are_nowhere(registered, tournament):
    """After all that was done in this folder: not in the store, an artifact, a file of predictions or a lock."""
    publish(tournament, live(seed=9))
    tournament.round_number = 1600
    assert command(registered, "submit", "--numerai-model", NAME, "--version", "v5.3") == 0
    for path in registered.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert SECRET_KEY.encode() not in content, path
            assert PUBLIC_ID.encode() not in content, path


@pytest.mark.parametrize("name", ["artifacts/predict.pkl", "pyfunc_model.py", "artifacts/ensemble.json"])
def test_nothing_of_a_hostile_store_is_run(registered, tournament, tmp_path, capsys, name):
    directory = copy_study(registered, tmp_path / "study")
    publish(tournament, live(seed=30))
    place = predict_file(directory).parents[1]
    assert place.is_relative_to(directory)
    mark = tmp_path / "mark"
    code = f"open({str(mark)!r}, 'w')".encode()
    (place / name).write_bytes(pickle.dumps(Touch(mark)) if name.endswith(".pkl") else code)
    live_data = ("--version", "v5.3", "--numerai-model", NAME)
    for arguments in (("submit",), ("submit", "--dry-run", "true"), ("deploy",)):
        assert command(directory, *arguments, *live_data) == 2
        error = capsys.readouterr().err
        assert f"1 of 12 files of version 1 of 'signal-miner' are not those that were registered ({name})" in error
        assert error.count("\n") == 1
    assert not mark.exists()
    assert not tournament.submissions
    assert not tournament.pickles


def test_a_model_registered_without_checksums_is_used_with_a_line_on_it(registered, tmp_path, capsys):
    directory = copy_study(registered, tmp_path / "study")
    client_of(directory).delete_model_version_tag("signal-miner", "1", MODEL_FILES)
    live().to_parquet(tmp_path / "live.parquet")
    assert command(directory, "submit", "--dry-run", "true", "--live", str(tmp_path / "live.parquet")) == 0
    assert "signal-miner version 1 was registered without checksums, so its files are not verified" in (
        capsys.readouterr().out
    )
