"""Studies over feature sets and training windows: from the search to the file that predicts."""

from __future__ import annotations

from contextlib import chdir
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from signal_miner.data.folds import Fold
from signal_miner.engine.fold_sources import fold_source
from signal_miner.engine.memory_plan import plan_memory
from signal_miner.experiment.files import load_experiment
from signal_miner.experiment.plan import make_plan, open_data
from signal_miner.models.portable import load_predict
from tests.conftest import FEATURES, write_numerai_directory
from tests.helpers.mining import mine_here, outcome, runs_of, write_experiment
from tests.helpers.study import artifact_path, command, members_of, newest_ensemble, predict_file

pytestmark = pytest.mark.slow

SMALL, MEDIUM = FEATURES[:4], FEATURES[:8]


@pytest.fixture(scope="module", params=["lightgbm", "bitplane"])
def study(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a study over two sets and two windows."""
    directory = tmp_path_factory.mktemp(request.param)
    data = write_numerai_directory(directory / "numerai")
    path = write_experiment(directory, data, grid="train_last_eras = [9, -1]")
    sets = f'feature_set = ["small", "medium"]\nengine = "{request.param}"'
    path.write_text(path.read_text().replace('feature_set = "all"', sets))
    done = mine_here(directory)
    assert done.returncode == 0, done.stderr
    return directory


def test_trials_are_drawn_from_sets_and_windows_and_resume(study: Path) -> None:
    runs = runs_of(study)
    assert {run.data.params["feature_set"] for run in runs} == {"small", "medium"}
    assert {run.data.params["train_last_eras"] for run in runs} == {"9", "-1"}
    (benchmark,) = runs_of(study, "benchmark")
    assert benchmark.data.params["feature_set"] == "small"
    (tracked,) = runs_of(study, "study")
    assert tracked.data.params["feature_set"] == "small, medium"
    before = outcome(study)
    assert mine_here(study, "--trials", "11").returncode == 0
    after = outcome(study)
    assert len(after) == 11
    assert before.items() <= after.items()


def test_members_are_reproduced_refitted_on_their_window_and_need_their_set_alone(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = [run for run in runs_of(study) if run.data.params["feature_set"] == "small"]
    windows = {run.data.params["train_last_eras"]: run.info.run_id for run in small}
    assert windows.keys() == {"9", "-1"}
    neutralized = study.name.startswith("bitplane")  # in one of the two, as it takes features of every set
    select = ("--select", "runs", "--runs", ",".join(windows.values()))
    assert command(study, "ensemble", *select, *(("--neutralize", "features") if neutralized else ())) == 0
    assert command(study, "register", "--trees", "scaled") == 0
    assert "the largest difference to what is tracked is 0\n" in capsys.readouterr().out
    predict = load_predict(predict_file(study))
    rows = pd.read_parquet(study / "numerai" / "validation.parquet").iloc[-80:]
    needed = MEDIUM if neutralized else SMALL
    assert np.isfinite(predict(rows[["era", *needed]], None)["prediction"]).all()
    with pytest.raises(Exception, match=f"1 of {len(needed)} features are missing, such as {needed[-1]}"):
        predict(rows[["era", *needed[:-1]]], None)
    run = newest_ensemble(study)
    for member in members_of(study, run):
        params, last = member["params"], int(member["params"]["train_last_eras"])
        eras = tuple(range(1, 61) if last == -1 else range(52, 61))
        (file,) = artifact_path(study, run, "refit").glob(f"trial-{member['number']:04d}-*")
        trees = int(file.name.split("-")[2])
        # Each validation fold has as many eras of a window, and the refit of the others has more.
        assert trees == member["trees"] if last == 9 else trees > member["trees"]
        with chdir(study):
            experiment = load_experiment("tiny.toml", feature_set="small")
            plan = make_plan(experiment, open_data(experiment))
            source = fold_source(plan, plan_memory(plan, 2), plan.targets, lambda: False)
            by_hand = source.get(Fold(3, eras, ()), int(params["max_bin"]), params["target"])
        named = {name: float(params[name]) for name in ("learning_rate", "colsample_bytree")}
        named |= {name: int(params[name]) for name in ("max_bin", "max_depth", "num_leaves")}
        booster = by_hand.start(named, int(params["seed"]))
        booster.grow(trees)
        assert booster.model_text() == file.read_text()
