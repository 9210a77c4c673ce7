"""A submission: predicted, checked, uploaded once a round, read back and tracked."""

from __future__ import annotations

import logging
import pickle
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow import MlflowClient

from signal_miner.errors import UserError
from signal_miner.numerai.account import NumeraiAccount
from signal_miner.numerai.live.submission import submit
from signal_miner.numerai.live.submission_file import as_csv, checked_submission, same_predictions
from signal_miner.numerai.live.submission_runs import SubmissionRuns
from tests.conftest import SHARED_DATA
from tests.helpers.numerai_server import GraphQLError
from tests.helpers.tournament import (
    BENCHMARK,
    FEATURES,
    MODEL_ID,
    NAME,
    PUBLIC_ID,
    SECRET_KEY,
    VERSION,
    Tournament,
    live_frame,
    make_console,
    make_model,
    options,
    parquet_bytes,
    predict,
)


def test_a_submission_from_live_data_to_confirmation(
    tournament: Tournament, runs: SubmissionRuns, store: str, tmp_path: Path
) -> None:
    console, written = make_console()
    outcome = submit(options(tmp_path), make_model(tmp_path), runs, console)
    assert outcome.uploaded
    assert outcome.confirmed
    assert [each["id"] for each in tournament.submissions] == [outcome.submission_id]
    sent = tournament.submitted()
    expected = predict(live_frame())
    assert list(sent.columns) == ["id", "prediction"]
    assert np.allclose(sent.set_index("id")["prediction"], expected["prediction"], rtol=0, atol=1e-12)
    assert outcome.path == tmp_path / "submissions" / f"{NAME}_round_1400.csv"
    assert outcome.path.read_bytes() == next(iter(tournament.server.uploads.values()))
    run = MlflowClient(store).get_run(outcome.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.tags["signal_miner.kind"] == "submission"
    assert run.data.tags["signal_miner.submission_id"] == outcome.submission_id
    assert "signal_miner.study" not in run.data.tags
    assert run.data.params["live_era"] == "1234"
    assert run.data.params["rows"] == "300"
    assert (tmp_path / "artifacts" / outcome.run_id / "artifacts" / outcome.path.name).is_file()
    lines = written.getvalue().splitlines()
    assert lines[0].startswith("Round 1400 is open until")
    assert lines[1:3] == [
        "It pays on 3 × CORR60 + 15 × MMC60",
        "Live data v5.3: era 1234, 300 rows, 6 features",
    ]
    assert lines[3].startswith("Predicted by signal-miner version 3: ")
    assert lines[4:] == [
        f"Submitted to {NAME} as {outcome.submission_id}",
        "Confirmed: Numerai lists it, and its file, read back, has the same predictions",
    ]


def test_a_second_one_uploads_nothing(tournament: Tournament, runs: SubmissionRuns, tmp_path: Path) -> None:
    model = make_model(tmp_path)
    first = submit(options(tmp_path), model, runs, make_console()[0])
    console, written = make_console()
    second = submit(options(tmp_path), model, runs, console)
    assert not second.uploaded
    assert second.submission_id == first.submission_id
    assert len(tournament.submissions) == len(tournament.server.uploads) == 1
    assert f"{NAME} has a submission for round 1400 ({first.submission_id}, made at" in written.getvalue()
    replaced = submit(options(tmp_path, again=True), model, runs, make_console()[0])
    assert replaced.uploaded
    assert [each["id"] for each in tournament.submissions] == [first.submission_id, replaced.submission_id]


def test_a_submission_made_elsewhere_counts(tournament: Tournament, runs: SubmissionRuns, tmp_path: Path) -> None:
    tournament.create_submission({"filename": "by-hand.csv", "modelId": MODEL_ID})
    tournament.create_submission({"filename": "of-another.csv", "modelId": "another"})
    outcome = submit(options(tmp_path), make_model(tmp_path), runs, make_console()[0])
    assert not outcome.uploaded
    assert outcome.submission_id == tournament.submissions[0]["id"]
    tournament.next_round()
    assert submit(options(tmp_path), make_model(tmp_path), runs, make_console()[0]).uploaded


def test_columns_may_stand_in_any_order_and_be_more(
    tournament: Tournament, runs: SubmissionRuns, tmp_path: Path
) -> None:
    frame = live_frame()
    tournament.publish(frame[[*sorted(frame.columns, reverse=True)]].assign(feature_new=np.int8(2)))
    submit(options(tmp_path), make_model(tmp_path), runs, make_console()[0])
    sent = tournament.submitted().set_index("id")["prediction"]
    assert np.allclose(sent, predict(frame)["prediction"], rtol=0, atol=1e-12)


def test_benchmark_predictions_are_joined_by_id(tournament: Tournament, runs: SubmissionRuns, tmp_path: Path) -> None:
    seen: list[pd.DataFrame] = []

    def remember(frame: pd.DataFrame) -> pd.DataFrame:
        seen.append(frame)
        return predict(frame)

    model = make_model(tmp_path, benchmark_columns=(BENCHMARK,), predict=remember)
    assert submit(options(tmp_path), model, runs, make_console()[0]).confirmed
    assert list(seen[0].columns) == ["era", *FEATURES, BENCHMARK]
    assert seen[0].index.name == "id"
    expected = np.random.default_rng(0).random(300)
    assert np.array_equal(seen[0][BENCHMARK].to_numpy(), expected)


def test_nan_where_training_had_it(tournament: Tournament, runs: SubmissionRuns, tmp_path: Path) -> None:
    frame = live_frame().astype({"feature_5": "float32"})
    frame.iloc[:7, frame.columns.get_loc("feature_5")] = np.nan
    tournament.publish(frame)

    def predict_with_nan(live: pd.DataFrame) -> pd.DataFrame:
        return predict(live.fillna(2))

    model = make_model(tmp_path, nullable_features=("feature_5",), predict=predict_with_nan)
    assert submit(options(tmp_path), model, runs, make_console()[0]).uploaded


def test_a_dry_run_needs_no_key_and_uploads_nothing(
    tournament: Tournament, runs: SubmissionRuns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NUMERAI_PUBLIC_ID")
    monkeypatch.delenv("NUMERAI_SECRET_KEY")
    console, written = make_console()
    outcome = submit(options(tmp_path, dry_run=True), make_model(tmp_path), runs, console)
    assert outcome.path == tmp_path / "submissions" / f"{NAME}_dry_run.csv"
    assert len(pd.read_csv(outcome.path)) == 300
    assert written.getvalue().splitlines()[-1].startswith("Dry run: nothing uploaded; without it they would be")
    assert not tournament.server.uploads
    assert {each.field for each in tournament.server.served if each.method == "POST"} == {"listDatasets", "dataset"}
    assert not [each for each in tournament.server.served if "Authorization" in each.headers]


def test_a_dry_run_on_a_local_file_is_offline(
    runs: SubmissionRuns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("numerapi.base_api.API_TOURNAMENT_URL", "http://127.0.0.1:1")
    (tmp_path / "live.parquet").write_bytes(parquet_bytes(live_frame()))
    given_options = options(tmp_path, numerai_model="", dry_run=True, live=tmp_path / "live.parquet")
    outcome = submit(given_options, make_model(tmp_path, data="demo"), runs, make_console()[0])
    assert outcome.path == tmp_path / "submissions" / "signal-miner_dry_run.csv"
    with pytest.raises(UserError, match=r"live='.*live.parquet' is for -P dry_run=true"):
        submit(options(tmp_path, live=tmp_path / "live.parquet"), make_model(tmp_path), runs, make_console()[0])


def test_real_live_data(runs: SubmissionRuns, tmp_path: Path) -> None:
    live = SHARED_DATA / "live_like_era_0575_small.parquet"
    if not live.is_file():
        pytest.skip("real Numerai data are not beside this checkout")
    features = tuple(name for name in pd.read_parquet(live) if name.startswith("feature"))

    def average(frame: pd.DataFrame) -> pd.DataFrame:
        ranks = frame[list(features)].mean(axis=1).rank(method="first")
        return ((ranks - 0.5) / len(ranks)).to_frame("prediction")

    model = make_model(tmp_path, features=features, predict=average)
    outcome = submit(options(tmp_path, dry_run=True, live=live), model, runs, make_console()[0])
    assert len(pd.read_csv(outcome.path)) == 5592
    example = SHARED_DATA / "live_example_preds_v5.3.csv"
    theirs = pd.read_csv(example)  # with one prediction of exactly 1, which a real submission of ours never has
    assert same_predictions(as_csv(theirs.iloc[::-1]), example.read_bytes())
    inside = theirs.set_index("id").clip(5e-7, 1 - 5e-7)
    assert same_predictions(as_csv(checked_submission(inside, inside.index)), example.read_bytes())


def test_the_key_appears_nowhere(
    tournament: Tournament,
    runs: SubmissionRuns,
    store: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    console, written = make_console()
    model = make_model(tmp_path)
    with caplog.at_level(logging.DEBUG):
        submit(options(tmp_path), model, runs, console)
        tournament.server.key = "another"
        tournament.next_round()
        with pytest.raises(UserError) as caught:
            submit(options(tmp_path), model, runs, console)
    shown = capfd.readouterr()
    said = [written.getvalue(), caplog.text, str(caught.value), shown.out, shown.err, repr(vars(model))]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    files += [path for path in Path(store.removeprefix("sqlite:///")).parent.rglob("*") if path.is_file()]
    assert len(files) >= 4
    kept = b"".join(path.read_bytes() for path in files)
    for secret in (PUBLIC_ID, SECRET_KEY, "X-Amz-Signature"):
        assert not any(secret in text for text in said)
        assert secret.encode() not in kept


def test_an_account_shows_and_pickles_no_key(tournament: Tournament) -> None:
    account = NumeraiAccount.from_environment()
    assert repr(account) == "<NumeraiAccount>"
    with pytest.raises(TypeError, match="holds an API key and is not pickled"):
        pickle.dumps(account)

    def echo(_given: object) -> None:
        raise GraphQLError(f"bad header Token {PUBLIC_ID}${SECRET_KEY}")

    tournament.server.answers["account"] = echo
    with pytest.raises(UserError, match=r"bad header Token \*\*\*\$\*\*\*"):
        account.model_id(NAME)


def test_the_key_comes_from_the_environment_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("NUMERAI_PUBLIC_ID=A\nNUMERAI_SECRET_KEY=B\n")
    monkeypatch.delenv("NUMERAI_PUBLIC_ID", raising=False)
    monkeypatch.delenv("NUMERAI_SECRET_KEY", raising=False)
    with pytest.raises(UserError, match="NUMERAI_PUBLIC_ID and NUMERAI_SECRET_KEY are not set; make an API key"):
        NumeraiAccount.from_environment()
    monkeypatch.setenv("NUMERAI_PUBLIC_ID", "A")
    with pytest.raises(UserError, match=r"^NUMERAI_SECRET_KEY is not set"):
        NumeraiAccount.from_environment()
    monkeypatch.setenv("NUMERAI_SECRET_KEY", "se\ncret")  # requests would show it in an error
    with pytest.raises(UserError, match="NUMERAI_SECRET_KEY holds characters that no API key has") as caught:
        NumeraiAccount.from_environment()
    assert "cret;" not in str(caught.value)


@given(
    values=st.lists(st.floats(0, 1, exclude_min=True, exclude_max=True), min_size=2, max_size=30, unique=True),
    seed=st.integers(0, 99),
)
def test_a_written_file_reads_back_the_same(values: list[float], seed: int) -> None:
    ids = pd.Index([f"n{number:04d}" for number in range(len(values))])
    predictions = pd.DataFrame({"prediction": values}, index=ids)
    shuffled = predictions.sample(frac=1, random_state=seed)
    try:
        body = as_csv(checked_submission(shuffled, ids))
    except UserError as error:  # closer together than the official check can distinguish
        assert "non-zero standard deviation" in str(error)  # noqa: PT017 - either outcome is right
        return
    assert same_predictions(body, as_csv(predictions.reset_index(names="id").sample(frac=1, random_state=seed)))
    moved = predictions.assign(prediction=predictions["prediction"] + 2e-6).reset_index(names="id")
    assert not same_predictions(body, as_csv(moved))
    assert not same_predictions(body, body[: len(body) // 2])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frame: frame.iloc[1:], "1 live ids have none, 0 are for ids"),
        (lambda frame: frame.rename({"n0": "m0"}), "1 live ids have none, 1 are for ids"),
        (lambda frame: frame.assign(prediction=0.5), "all are equal"),
        (lambda frame: frame.replace(0.1, 0.0), "1 of 9 are not strictly between 0 and 1"),
        (lambda frame: frame.replace(0.1, np.nan), "1 of 9 are not strictly between 0 and 1"),
        (lambda frame: frame.replace(0.1, np.inf), "1 of 9 are not strictly between 0 and 1"),
        (lambda frame: frame.rename(columns={"prediction": "score"}), "no column 'prediction'"),
        (lambda frame: pd.concat([frame, frame.iloc[:1]]), "an id has more than one prediction"),
        (lambda frame: 0.5 + frame * 1e-12, "invalid_submission_values: submission must have non-zero standard"),
    ],
)
def test_predictions_that_are_no_submission(change, message: str) -> None:
    ids = pd.Index([f"n{number}" for number in range(9)], name="id")
    frame = pd.DataFrame({"prediction": np.arange(1, 10) / 10}, index=ids)
    with pytest.raises(UserError, match=message):
        checked_submission(change(frame), ids)


def test_data_that_are_no_version_need_one(tournament: Tournament, runs: SubmissionRuns, tmp_path: Path) -> None:
    model = make_model(tmp_path, data="demo")
    with pytest.raises(UserError, match=r"was mined on data='demo', which is no version .* -P version=v5.3"):
        submit(options(tmp_path), model, runs, make_console()[0])
    assert submit(options(tmp_path, data_version=VERSION), model, runs, make_console()[0]).uploaded


def test_live_data_that_the_model_refuses_are_named(runs: SubmissionRuns, tmp_path: Path) -> None:
    path = tmp_path / "live.parquet"
    path.write_bytes(parquet_bytes(live_frame()))

    def refuse(_frame: pd.DataFrame) -> pd.DataFrame:
        raise UserError("6 of 6 features have values that they never had in training")

    with pytest.raises(UserError, match=rf"{re.escape(str(path))}: 6 of 6 features have values"):
        submit(
            options(tmp_path, dry_run=True, live=path), make_model(tmp_path, predict=refuse), runs, make_console()[0]
        )
