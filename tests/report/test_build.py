"""The report of a tracked study: what it reads is what was tracked, and what it finds is tracked in turn."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from signal_miner.errors import UserError
from signal_miner.report.build import read_contents
from signal_miner.report.runs import DEFLATED_SHARPE
from signal_miner.scoring.blending import gaussianised, mean_correlations
from signal_miner.scoring.series import max_drawdown, sharpe
from signal_miner.scoring.study_scores import TEST, VALIDATION, WHOLE
from signal_miner.tracking.studies import Studies
from signal_miner.tracking.study_reader import StudyReader, finished_trials
from signal_miner.tracking.tags import NOTE, VERDICT
from tests.helpers.mining import client_of, mine_here, runs_of
from tests.helpers.study import artifact_path, command, copy_study


@pytest.fixture(scope="module")
def reported(tiny_study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tiny study, without its data, with a report."""
    directory = copy_study(tiny_study, tmp_path_factory.mktemp("reported") / "study")
    shutil.rmtree(directory / "numerai")
    assert command(directory, "report", "--directory", "out") == 0
    return directory


def study_run(directory: Path):
    return runs_of(directory, "study")[0]


def test_scores_are_those_that_were_tracked(tiny_study: Path) -> None:
    uri = f"sqlite:///{tiny_study / 'mlflow.db'}"
    study = Studies(uri).find()
    scores = StudyReader(uri).scores(study)
    assert scores.names == tuple(trial.name for trial in finished_trials(study))
    assert scores.overlap_eras == 3  # a purge of 8 eras is that of 20 days
    for place, trial in enumerate(finished_trials(study)):
        for section in (VALIDATION, TEST, WHOLE):
            rows = scores.rows(section)
            found = {
                "corr": scores.era_scores[rows, place].mean(),
                "sharpe": sharpe(scores.era_scores[rows, place]),
                "max_drawdown": max_drawdown(scores.era_scores[rows, place]),
                "bmc": scores.bmc[rows, place].mean(),
                "benchmark_corr": scores.benchmark_corr[rows, place].mean(),
            }
            for name, value in found.items():
                assert value == pytest.approx(trial.metrics[f"{section}/{name}"], abs=1e-12)
        own = np.flatnonzero(scores.candidate_trial == place)
        assert scores.candidate_trees[own[-1]] == int(trial.params["n_estimators"])
        np.testing.assert_array_equal(scores.candidates[:, own[-1]], scores.era_scores[:, place])
    ordered = [trial.metrics["validation/sharpe"] for trial in finished_trials(study)]
    assert ordered == sorted(ordered, reverse=True)


def test_a_draw_whose_run_is_deleted_is_not_finished_and_still_a_try(tiny_study: Path, tmp_path: Path) -> None:
    directory = copy_study(tiny_study, tmp_path / "study")
    uri = f"sqlite:///{directory / 'mlflow.db'}"
    whole = StudyReader(uri).scores(Studies(uri).find())
    assert whole.unfinished == 0
    deleted = next(run for run in runs_of(directory) if run.info.run_name == "trial 0003")
    client_of(directory).delete_run(deleted.info.run_id)
    left = StudyReader(uri).scores(Studies(uri).find())
    assert (left.unfinished, left.failed, left.tries) == (1, whole.failed, whole.tries)


def test_correlations_are_of_validation_predictions(tiny_study: Path) -> None:
    uri = f"sqlite:///{tiny_study / 'mlflow.db'}"
    study = Studies(uri).find()
    found = StudyReader(uri).correlations(study, 2)
    first, second = finished_trials(study)[:2]
    assert found.names == (first.name, second.name, "benchmark")
    frames = [
        pd.read_parquet(tiny_study / trial.artifact_uri.removeprefix("file://") / "predictions.parquet")
        for trial in (first, second, study.benchmark)
    ]
    eras = frames[0].loc[frames[0]["fold"] == 1, "era"].astype(int).to_numpy()
    columns = np.stack([frame.loc[frame["fold"] == 1, "prediction"] for frame in frames], axis=1)
    np.testing.assert_allclose(found.matrix, mean_correlations(eras, gaussianised(eras, columns)), atol=1e-12)


def test_a_report_is_on_the_studys_run_and_its_numbers_beside_it(reported: Path) -> None:
    run = study_run(reported)
    files = {file.path for file in client_of(reported).list_artifacts(run.info.run_id, "report")}
    assert {"report/report.html", "report/past_vs_future.png"} <= files
    assert {f"report/{file.name}" for file in (reported / "out").iterdir()} == files
    links, *lines = run.data.tags[NOTE].splitlines()
    page = f"#/experiments/1/runs/{run.info.run_id}/artifacts/report/report.html?workflowType="
    assert links.startswith(f"[Report]({page}")
    assert "[All trials against the benchmark](#/experiments/1/runs?workflowType=" in links
    assert sum(line.startswith("- ") for line in lines) == 7
    verdict = run.data.tags[VERDICT]
    assert verdict in {"skill", "unclear", "luck"}
    assert 0 <= run.data.metrics[DEFLATED_SHARPE] <= 1
    leaders = [trial for trial in runs_of(reported) if VERDICT in trial.data.tags]
    finished = [trial for trial in runs_of(reported) if trial.info.status == "FINISHED"]
    assert len(leaders) == min(10, len(finished))
    best = max(leaders, key=lambda trial: trial.data.metrics["validation/sharpe"])
    assert best.data.tags[VERDICT] == verdict
    assert best.data.metrics[DEFLATED_SHARPE] == run.data.metrics[DEFLATED_SHARPE]


def test_ensembles_are_reported_beside_the_trials(tiny_study: Path, tmp_path: Path, capsys) -> None:
    directory = copy_study(tiny_study, tmp_path / "study")
    assert command(directory, "ensemble", "--select", "top", "--members", "3") == 0
    assert "Expect a Sharpe of about " in capsys.readouterr().out
    assert command(directory, "ensemble", "--select", "runs", "--runs", "1,2") == 0
    assert "Expect" not in capsys.readouterr().out  # whoever named them may have chosen by anything
    _, contents = read_contents(None, f"sqlite:///{directory / 'mlflow.db'}")
    found = {each.name: each for each in contents.ensembles}
    assert set(found) == {"ensemble 1", "ensemble 2"}
    for each in found.values():
        for section in (VALIDATION, TEST):
            tracked = each.metrics[f"{section}/sharpe"]
            assert each.evaluation.sharpe[section].value == pytest.approx(tracked, abs=1e-12)
    top, named = found["ensemble 1"], found["ensemble 2"]
    assert top.members == 3
    expected = top.expectation(contents.ratio)
    assert expected.low < expected.value < expected.high
    lowered = top.metrics["validation/sharpe"] - top.metrics["expected/sharpe_by_validation"]
    assert top.evaluation.sharpe[VALIDATION].value - top.evaluation.corrected.value == pytest.approx(lowered)
    assert np.isnan(named.expectation(contents.ratio).value)
    assert named.evaluation.against_benchmark == "not shown better"


def test_leaders_of_earlier_reports_lose_their_verdict(
    reported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from signal_miner.report import build as reporting

    directory = copy_study(reported, tmp_path / "study")
    monkeypatch.setattr(reporting, "LEADERS", 2)
    for _ in range(2):  # the second finds what the first took away
        assert command(directory, "report") == 0
    evaluated = [trial for trial in runs_of(directory) if VERDICT in trial.data.tags]
    assert len(evaluated) == 2
    assert all(DEFLATED_SHARPE in trial.data.metrics for trial in runs_of(directory) if trial.info.status == "FINISHED")


def test_mining_ends_with_a_report(tiny_study: Path, tmp_path: Path) -> None:
    directory = copy_study(tiny_study, tmp_path / "study")
    done = mine_here(directory, "--report", "true")
    assert done.returncode == 0, done.stderr
    assert "Skill or luck:" in done.stdout
    assert done.stdout.count("Chosen by validation Sharpe") == 1
    assert artifact_path(directory, study_run(directory), "report/report.html").is_file()


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("era_scores.parquet", lambda path: path.unlink()),
        ("curve_scores.parquet", lambda path: path.write_bytes(b"PAR1 and no more")),
        ("curve_scores.parquet", lambda path: pd.read_parquet(path).iloc[1:].to_parquet(path)),
        ("era_scores.parquet", lambda path: pd.read_parquet(path).drop(columns="bmc").to_parquet(path)),
    ],
)
def test_a_damaged_artifact_is_named_in_one_line(tiny_study: Path, tmp_path: Path, capsys, name, damage) -> None:
    directory = copy_study(tiny_study, tmp_path / "study")
    run = runs_of(directory)[3]
    damage(artifact_path(directory, run, name))
    assert command(directory, "report") == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert run.info.run_id in message
    assert "rerun `mine`" in message


def test_eras_that_are_not_the_benchmarks(tiny_study: Path, tmp_path: Path, capsys) -> None:
    directory = copy_study(tiny_study, tmp_path / "study")
    run = runs_of(directory)[0]
    for name in ("era_scores.parquet", "curve_scores.parquet"):
        path = artifact_path(directory, run, name)
        pd.read_parquet(path).iloc[1:].to_parquet(path)
    assert command(directory, "report") == 2
    assert "other eras than the benchmark" in capsys.readouterr().err


def test_a_study_that_is_not_there(tiny_study: Path, capsys) -> None:
    assert command(tiny_study, "report", "--study", "tinny") == 2
    shown = capsys.readouterr()
    assert "did you mean 'tiny'" in shown.err
    assert "Making the report" not in shown.out


def test_a_study_without_a_finished_trial(tiny_study: Path, tmp_path: Path) -> None:
    directory = copy_study(tiny_study, tmp_path / "study")
    client = client_of(directory)
    for run in runs_of(directory):
        client.delete_run(run.info.run_id)
    from signal_miner.report.build import make_report

    with pytest.raises(UserError, match="no finished trial to report on; rerun `mine` to resume"):
        make_report(None, f"sqlite:///{directory / 'mlflow.db'}")
