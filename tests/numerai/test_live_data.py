"""Live data that a submission refuses, replaces or fetches again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from signal_miner.errors import UserError
from signal_miner.numerai.live.submission import submit
from signal_miner.numerai.live.submission_runs import SubmissionRuns
from tests.helpers.tournament import (
    BENCHMARK,
    FEATURES,
    LIVE,
    LIVE_BENCHMARKS,
    Tournament,
    benchmark_frame,
    live_frame,
    make_console,
    make_model,
    options,
    parquet_bytes,
    refused,
)


def test_live_data_of_an_earlier_round(tournament: Tournament, runs: SubmissionRuns, tmp_path: Path) -> None:
    assert submit(options(tmp_path), make_model(tmp_path), runs, make_console()[0]).uploaded
    tournament.next_round()
    with pytest.raises(UserError, match="live data are still those of round 1400, byte for byte"):
        submit(options(tmp_path), make_model(tmp_path), runs, make_console()[0])
    tournament.publish(live_frame(seed=3, rows=300))
    assert submit(options(tmp_path), make_model(tmp_path), runs, make_console()[0]).uploaded
    assert set(tournament.submitted()["id"]) == set(live_frame(seed=3).index)


@pytest.mark.parametrize("damage", ["old", "cut off", "of the same size"])
def test_a_stale_or_damaged_local_file_is_replaced(
    tournament: Tournament, runs: SubmissionRuns, tmp_path: Path, damage: str
) -> None:
    here = tmp_path / "submissions" / "live" / "v5.3" / "live.parquet"
    here.parent.mkdir(parents=True)
    current = parquet_bytes(live_frame())
    if damage == "of the same size":
        body = bytes(len(current))
    else:
        body = parquet_bytes(live_frame(seed=5)) if damage == "old" else current[: len(current) // 2]
    here.write_bytes(body)
    submit(options(tmp_path), make_model(tmp_path), runs, make_console()[0])
    assert here.read_bytes() == current
    assert set(tournament.submitted()["id"]) == set(live_frame().index)


def test_live_data_that_come_cut_off(tournament: Tournament, runs: SubmissionRuns, tmp_path: Path) -> None:
    tournament.server.faults.cut_after = [3000] + [0] * 9
    refused(tournament, runs, tmp_path, "live.parquet: the transfer .* broke off", tracked=True)
    tournament.server.faults.cut_after = [1000]  # resumes where the connection broke
    assert submit(options(tmp_path), make_model(tmp_path), runs, make_console()[0]).confirmed


def drop(*names: str) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda frame: frame.drop(columns=list(names))


def put(column: str, value: float, rows: int = 1) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def change(frame: pd.DataFrame) -> pd.DataFrame:
        frame = frame.astype({column: "float32"})
        frame.iloc[:rows, frame.columns.get_loc(column)] = value
        return frame

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop("feature_2"), r"lacks 1 of the 6 features that signal-miner version 3 needs \(feature_2\); a change of"),
        (drop(*FEATURES[:5]), r"lacks 5 of the 6 features .* \(feature_0, feature_1, feature_2, …\); a change of data"),
        (put("feature_3", np.nan, 2), r"NaN in 1 columns that never had one in training \(feature_3\), in 2 rows"),
        (put("feature_3", np.inf), r"has infinite values in 1 columns \(feature_3\)"),
        (put("target", 0.5), r"has known targets \(target\), so it is not live data"),
        (lambda frame: frame.assign(feature_1="x"), r"1 columns that are not numbers \(feature_1\)"),
        (lambda frame: pd.concat([frame, frame.iloc[:2]]), r"has 2 ids more than once \(n000000000000000, "),
        (lambda frame: frame.rename({frame.index[0]: None}), "has 1 rows without an id"),
        (lambda frame: frame.rename({frame.index[0]: ""}), "has 1 rows without an id"),
        (lambda frame: frame.reset_index(drop=True), "has no column or index 'id'"),
        (lambda frame: frame.assign(era=["1233"] * 7 + ["1234"] * 293), r"has 2 eras \(1233 to 1234\); live data"),
    ],
)
def test_live_data_that_are_none(
    tournament: Tournament,
    runs: SubmissionRuns,
    tmp_path: Path,
    change: Callable[[pd.DataFrame], pd.DataFrame],
    message: str,
) -> None:
    tournament.publish(live_frame())
    tournament.server.put(LIVE, parquet_bytes(change(live_frame())))
    refused(tournament, runs, tmp_path, message)
    assert not tournament.server.uploads


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop(BENCHMARK), r"lacks 1 of the 1 benchmark columns that signal-miner version 3 needs \(v53_lgbm_ender60\)"),
        (lambda frame: frame.iloc[5:], r"lacks 5 of the 300 ids of .*live.parquet \(.*, …\); fetch both files again"),
        (put(BENCHMARK, np.nan), r"live_benchmark_models.parquet has NaN in 1 columns"),
    ],
)
def test_benchmark_predictions_that_do_not_fit(
    tournament: Tournament,
    runs: SubmissionRuns,
    tmp_path: Path,
    change: Callable[[pd.DataFrame], pd.DataFrame],
    message: str,
) -> None:
    tournament.server.put(LIVE_BENCHMARKS, parquet_bytes(change(benchmark_frame(live_frame()))))
    refused(tournament, runs, tmp_path, message, model=make_model(tmp_path, benchmark_columns=(BENCHMARK,)))


def test_a_local_file_that_is_no_parquet(runs: SubmissionRuns, tmp_path: Path) -> None:
    (tmp_path / "live.parquet").write_bytes(parquet_bytes(live_frame())[:-100])
    given = options(tmp_path, dry_run=True, live=tmp_path / "live.parquet")
    with pytest.raises(UserError, match=r"live.parquet is not a whole parquet file"):
        submit(given, make_model(tmp_path), runs, make_console()[0])
    (tmp_path / "live.parquet").write_bytes(parquet_bytes(live_frame().iloc[:0]))
    with pytest.raises(UserError, match=r"live.parquet has no rows; Numerai may be about to publish it"):
        submit(given, make_model(tmp_path), runs, make_console()[0])
    (tmp_path / "live.parquet").write_bytes(parquet_bytes(live_frame()))
    needs = make_model(tmp_path, benchmark_columns=(BENCHMARK,))
    with pytest.raises(UserError, match=r"needs Numerai's benchmark predictions \(v53_lgbm_ender60\); give live_bench"):
        submit(given, needs, runs, make_console()[0])
