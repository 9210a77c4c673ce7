"""The command line: each mistake is one line and an exit code, and leaves nothing behind."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from signal_miner.__main__ import main
from tests.conftest import write_numerai_directory
from tests.helpers.mining import environment, write_experiment


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A directory with data and a sound experiment file."""
    directory = tmp_path_factory.mktemp("commands")
    write_experiment(directory, write_numerai_directory(directory / "numerai"))
    return directory


def edited(place, tmp_path, before="", after="", append=""):
    """Write the sound experiment file with one thing changed."""
    text = (place / "tiny.toml").read_text()
    assert before in text
    path = tmp_path / "edited.toml"
    path.write_text(text.replace(before, after, 1) + append)
    return str(path)


BAD_FILES = {
    "unknown key": ('name = "tiny"', 'nmae = "tiny"', "unknown key 'nmae'; did you mean 'name'"),
    "not toml": ('name = "tiny"', "name = tiny", "is not a TOML file"),
    "no such data": ("numerai", "numeria", "does not exist; give a directory or file that does"),
    "feature set": ('feature_set = "all"', 'feature_set = "big"', "feature_set = 'big' is not in"),
    "target": (
        '"target_cyrusd_60"',
        '"target_cyrus_60"',
        "no target 'target_cyrus_60'; did you mean 'target_cyrusd_60'",
    ),
    "scoring target": (
        "trials =",
        'scoring_target = "targett"\ntrials =',
        "no target 'targett'; did you mean 'target'",
    ),
    "benchmark target": ("[benchmark]", '[benchmark]\ntarget = "x"', "target 'x' is not in numerai"),
    "numerai benchmark": (
        "trials =",
        'numerai_benchmarks = ["v9"]\ntrials =',
        "'v9' is not in the benchmark predictions",
    ),
    "range": (
        "learning_rate = [0.03, 0.1, 0.3]",
        "learning_rate = [-1]",
        "grid.learning_rate = -1 is not a number above 0",
    ),
    "type": ("max_bin = [3, 5]", 'max_bin = ["3"]', "grid.max_bin = '3' is not an integer of at least 2"),
    "parameter": ("max_bin = [3, 5]", "max_bins = [3, 5]", "max_bins is not a parameter .* did you mean 'max_bin'"),
    "alias": ("max_bin = [3, 5]", "feature_fraction = [0.5]", "use colsample_bytree"),
    "constraint": ("2**max_depth", "2**depth", "'depth' is not in the grid; did you mean 'max_depth'"),
    "impossible": ("num_leaves <= 2**max_depth", "num_leaves > 99", "allows no configuration of the grid; loosen it"),
    "purge": ("embargo_eras = 8", "embargo_eras = 30", "fold 1 has no eras to train on"),
    "holdout": ("embargo_eras = 8", "holdout_eras = 60", "holdout_eras = 60 leaves nothing of 60 eras"),
    "folds": ("embargo_eras = 8", "count = 70", "60 eras are too few for 70 folds"),
    "one fold": ("embargo_eras = 8", "count = 1", "folds.count = 1 is not an integer of at least 2"),
    "no trees": ("n_estimators = 20\n", "", "benchmark.n_estimators is missing"),
    "tracking": ("trials =", 'tracking_uri = "nosuch://x"\ntrials =', "the tracking store nosuch://x cannot be opened"),
    "one database": (
        "trials =",
        'study_storage = "sqlite:///./mlflow.db"\ntrials =',
        r"study_storage = 'sqlite:///\./mlflow.db' is the tracking store, and a database holds one of both; leave",
    ),
    "study storage": ("trials =", 'study_storage = "nosuch://x"\ntrials =', "study_storage cannot be opened"),
}


@pytest.mark.parametrize("mistake", BAD_FILES)
def test_a_mistake_in_the_file_is_one_line_and_leaves_nothing(place, tmp_path, monkeypatch, capfd, mistake):
    before, after, message = BAD_FILES[mistake]
    monkeypatch.chdir(tmp_path)
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    assert main(["mine", "--experiment", edited(place, tmp_path, before, after)]) == 2
    error = capfd.readouterr().err
    assert error.startswith("signal-miner: ")
    assert error.count("\n") == 1
    assert re.search(message, error)
    if (tmp_path / "mlflow.db").exists():
        from mlflow import MlflowClient

        client = MlflowClient("sqlite:///mlflow.db")
        ids = [experiment.experiment_id for experiment in client.search_experiments()]
        assert not client.search_runs(ids, "attributes.status = 'RUNNING'")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mine", "--experiment", "nowhere.toml"], "experiment file 'nowhere.toml' does not exist"),
        (["mine", "--experiment", "tiny.toml", "--trials", "ten"], "trials = 'ten' is not an integer"),
        (["mine", "--experiment", "tiny.toml", "--trials", "0"], "trials = 0 is not an integer of at least 1"),
        (["mine", "--experiment", "tiny.toml", "--jobs", "-3"], "jobs = -3 is not an integer from 1"),
        (["mine", "--experiment", "tiny.toml", "--data", "v8.8"], "data = 'v8.8' is not here yet; fetch it with"),
        (["mine", "--experiment", "tiny.toml", "--horizon-days", "7"], "horizon_days = 7 is not a horizon"),
        (["mine", "--experiment", "tiny.toml", "--trails=7"], "unrecognized arguments: --trails=7"),
        (["mien"], "invalid choice: 'mien'"),
        ([], "the following arguments are required: COMMAND"),
        (["download"], "the following arguments are required: --version"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line(place, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(place)
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_mistake_ends_the_process_with_its_code_and_no_traceback(place):
    done = subprocess.run(
        [sys.executable, "-m", "signal_miner", "mine", "--experiment", "tiny.toml", "--data", "missing"],
        cwd=place,
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr == ("signal-miner: data 'missing' does not exist; give a directory or file that does\n")
    assert done.stdout == ""


def test_mlflows_empty_parameters_mean_not_given(place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    arguments = ["mine", "--experiment", "tiny.toml", "--data", "missing", "--trials", "", "--jobs", "", "--seed", ""]
    assert main([*arguments, "--horizon-days", "", "--embargo-eras", "", "--tracking-uri", ""]) == 2
    assert "'missing' does not exist" in capsys.readouterr().err
