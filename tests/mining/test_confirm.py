"""Leaders trained again with further seeds: what is tracked, resumed, ranked, blended and packed."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from signal_miner.engine.binning import BinnedFolds
from signal_miner.engine.trial import train_fold
from signal_miner.errors import UserError
from signal_miner.experiment.plan import open_data, restore_plan, tracked_configuration
from signal_miner.experiment.schema import parse_experiment
from signal_miner.report.sentences import seed_noise_sentence
from signal_miner.scoring.objective import Objective
from signal_miner.tracking.frames import leaderboard
from signal_miner.tracking.ranking import make_leaderboard, ranked, seed_noise
from signal_miner.tracking.records import TrackedTrial
from signal_miner.tracking.studies import Studies
from signal_miner.tracking.study_writer import Tracker
from tests.conftest import write_numerai_directory
from tests.helpers.mining import artifact, client_of, mine_here, runs_of, write_experiment
from tests.helpers.study import command, copy_study

SEED = 11  # of the experiment
CONFIRM = "\n[confirm]\nleaders = 2\nseeds = 3\n"


@pytest.fixture(scope="module")
def mined(tmp_path_factory):
    """A finished study of five trials, which gets its table [confirm] afterwards; and what that printed."""
    directory = tmp_path_factory.mktemp("confirm")
    path = write_experiment(directory, write_numerai_directory(directory / "numerai"), trials=5)
    assert mine_here(directory).returncode == 0
    assert not runs_of(directory, "repeat")
    path.write_text(path.read_text() + CONFIRM)
    done = mine_here(directory)
    assert done.returncode == 0, done.stderr
    return directory, done.stdout


def study_of(directory):
    return Studies(f"sqlite:///{directory / 'mlflow.db'}").find()


def test_a_finished_study_gets_the_further_seeds_of_its_leaders_alone(mined):
    directory, output = mined
    assert "Training the leaders again with further seeds, 4 in all" in output
    assert len(runs_of(directory)) == 5
    study = study_of(directory)
    single = sorted(study.trials, key=lambda trial: -trial.metrics["validation/sharpe"])
    assert {trial.number for trial in study.trials if trial.repeats} == {trial.number for trial in single[:2]}
    trials = {trial.number: trial for trial in study.trials}
    for run in runs_of(directory, "repeat"):
        trial = trials[int(run.data.tags["signal_miner.trial"])]
        assert run.data.tags["mlflow.parentRunId"] == trial.run_id
        assert dict(run.data.params) == trial.params | {"seed": run.data.params["seed"]}
        assert run.info.run_name == f"{trial.name} seed {run.data.params['seed']}"
    assert [repeat.seed for repeat in single[0].repeats] == [SEED + 1, SEED + 2]


def test_a_repeat_is_what_its_seed_trains_on_the_studys_bins(mined):
    directory, _ = mined
    study = study_of(directory)
    trial = next(trial for trial in study.trials if trial.repeats)
    plan = restore_plan(study.plan, str(directory / "numerai"))
    assert plan.experiment.confirm.leaders == 2
    params = tracked_configuration(plan, trial.params)
    binned = BinnedFolds(plan.dataset, plan.targets, SEED)
    for repeat in trial.repeats:
        run = next(run for run in runs_of(directory, "repeat") if run.info.run_id == repeat.run_id)
        predictions = artifact(directory, run, "predictions.parquet")
        for fold in plan.folds[str(params["target"])]:
            data = binned.get(fold, int(params["max_bin"]), str(params["target"]))
            own = predictions.loc[predictions["fold"] == fold.number, "prediction"]
            np.testing.assert_array_equal(own, train_fold(data, params, repeat.seed)[:, -1])


def test_leaders_are_ranked_by_the_mean_of_their_seeds(mined):
    directory, output = mined
    study = study_of(directory)
    order = [trial for trial in ranked([*study.trials, study.benchmark], study.objective) if trial.number is not None]
    means = [np.mean([run.metrics["validation/sharpe"] for run in (each, *each.repeats)]) for each in order]
    assert [bool(trial.repeats) for trial in order] == [True, True, False, False, False]
    assert means[:2] == sorted(means[:2], reverse=True)
    assert means[2:] == sorted(means[2:], reverse=True)
    frame = leaderboard(tracking_uri=f"sqlite:///{directory / 'mlflow.db'}")
    np.testing.assert_allclose(frame.loc[[trial.name for trial in order], "mean_of_seeds"], means)
    assert frame.loc[order[0].name, "seeds"] == 3
    assert "Of the 2 leaders, ranked by the mean of 3 seeds, seeds alone move Sharpe by " in output
    assert "mean of" in output


def test_a_stop_in_the_middle_is_resumed_without_training_anything_twice(mined, tmp_path, monkeypatch):
    directory, _ = mined
    copy = copy_study(directory, tmp_path / "copy")
    for run in runs_of(copy, "repeat"):
        client_of(copy).delete_run(run.info.run_id)
    real, logged = Tracker.log_repeat, []

    def cut_off(self, trial, params, *rest):
        if len(logged) == 1:
            raise OSError("no space left on device")
        logged.append((trial.number, params["seed"]))
        return real(self, trial, params, *rest)

    monkeypatch.setattr(Tracker, "log_repeat", cut_off)
    assert mine_here(copy).returncode != 0
    monkeypatch.undo()
    assert [run.info.status for run in runs_of(copy, "study")] == ["FAILED"]
    done = mine_here(copy)
    assert "Training the leaders again with further seeds, 3 in all" in done.stdout
    found = {run.info.run_name: run.data.metrics["validation/sharpe"] for run in runs_of(copy, "repeat")}
    assert found == {run.info.run_name: run.data.metrics["validation/sharpe"] for run in runs_of(directory, "repeat")}
    assert [run.info.status for run in runs_of(copy, "study")] == ["FINISHED"]


def test_an_ensemble_takes_all_seeds_of_a_leader_as_one_member(mined, tmp_path):
    copy = copy_study(mined[0], tmp_path / "copy")
    leader = ranked(study_of(copy).trials, Objective.SHARPE)[0]
    rule = ["--select", "runs", "--runs", str(leader.number), "--checkpoint", "drawn"]
    assert command(copy, "ensemble", *rule, "--seeds", "average") == 0
    (run,) = runs_of(copy, "ensemble")
    assert run.data.params["seeds"] == "average"
    assert "members/highest_correlation" not in run.data.metrics  # its seeds are alike by design
    blend = artifact(copy, run, "predictions.parquet")
    names = {leader.run_id, *(repeat.run_id for repeat in leader.repeats)}
    runs = [each for kind in ("trial", "repeat") for each in runs_of(copy, kind) if each.info.run_id in names]
    assert len(runs) == 3
    from numerai_tools import scoring as oracle

    single = [artifact(copy, each, "predictions.parquet")["prediction"].astype(float) for each in runs]
    for _, rows in blend.groupby("era"):
        ranks = [oracle.gaussian(oracle.tie_kept_rank(each.loc[rows.index].to_frame("p")))["p"] for each in single]
        mean = sum(ranks) / 3
        expected = (mean.round(10).rank(method="average") - 0.5) / len(mean)
        np.testing.assert_allclose(rows["prediction"], expected, atol=1e-9)


def test_seeds_cannot_be_averaged_where_there_are_none(mined, capsys, tmp_path):
    copy = copy_study(mined[0], tmp_path / "copy")
    last = ranked(study_of(copy).trials, Objective.SHARPE)[-1]
    assert command(copy, "ensemble", "--select", "runs", "--runs", str(last.number), "--seeds", "average") == 2
    assert "none of the members was trained with several seeds" in capsys.readouterr().err
    assert command(copy, "ensemble", "--seeds", "averge") == 2
    assert "seeds = 'averge' is not one of own, average; did you mean 'average'?" in capsys.readouterr().err


@pytest.mark.slow
def test_register_packs_all_seeds_of_a_member(mined, tmp_path):
    copy = copy_study(mined[0], tmp_path / "copy")
    leader = ranked(study_of(copy).trials, Objective.SHARPE)[0]
    assert command(copy, "ensemble", "--select", "runs", "--runs", str(leader.number), "--seeds", "average") == 0
    assert command(copy, "register") == 0


def test_the_benchmark_is_placed_by_its_own_score_among_means():
    def model(number, sharpe, *seeds):
        run = TrackedTrial(str(number), "trial", number, "FINISHED", {}, {"validation/sharpe": sharpe}, {})
        again = (replace(run, kind="repeat", metrics={"validation/sharpe": each}) for each in seeds)
        return replace(run, repeats=tuple(again))

    trials = [model(0, 2.0, 0.0, 1.0), model(1, 1.5, 1.4, 1.6), model(2, 1.2), model(3, 1.9)]
    board = make_leaderboard(trials, model(None, 1.3), Objective.SHARPE)
    assert [place.trial.number for place in board.places] == [1, None, 0, 3, 2]
    noise = seed_noise((place.trial for place in board.places), Objective.SHARPE)
    assert noise is not None
    assert (noise.leaders, noise.seeds, noise.lead) == (2, 3, pytest.approx(0.5))
    assert noise.spread == pytest.approx(math.sqrt((1.0 + 0.01) / 2))
    assert noise.of_lead == pytest.approx(noise.spread * math.sqrt(2 / 3))
    assert "the first leads the second by 0.50, no more than two standard deviations" in seed_noise_sentence(noise)
    assert seed_noise(trials[2:], Objective.SHARPE) is None


@pytest.mark.parametrize(
    ("confirm", "message"),
    [
        (3, r"confirm = 3 is not a table; write \[confirm\] and below it leaders = 10"),
        ({"seeds": 0}, r"confirm.seeds = 0 is not an integer of at least 2 and at most 1000"),
        ({"leaders": -1}, r"confirm.leaders = -1 "),
        ({"leaders": 6}, r"confirm.leaders = 6 is more than trials = 5; lower it"),
        ({"leader": 6}, r"unknown key 'confirm.leader'; did you mean 'leaders'\?"),
        ({}, r"confirm.leaders = 10 is more than trials = 5"),
    ],
)
def test_a_wrong_table_is_one_line(numerai_directory, confirm, message):
    table = {
        "name": "confirm",
        "data": str(numerai_directory),
        "trials": 5,
        "grid": {"n_estimators": [5]},
        "benchmark": {"n_estimators": 5},
    }
    with pytest.raises(UserError, match=message):
        parse_experiment(table | {"confirm": confirm})
    assert open_data(parse_experiment(table)).name == "numerai"
