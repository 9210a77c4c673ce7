"""``predict.pkl`` from Python: a file that Numerai's runner loads, made of an ensemble in one call."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest

from signal_miner.data.dataset import open_dataset
from signal_miner.ensemble.build import BuiltEnsemble, build_ensemble
from signal_miner.errors import UserError
from signal_miner.models import packing
from signal_miner.models.export import ExportedModel, export_predict
from signal_miner.models.retraining import Configuration, Retraining
from tests.helpers.mining import client_of, environment
from tests.helpers.study import command, copy_study, predict_file

LOAD = """
import importlib.util, sys
assert importlib.util.find_spec("signal_miner") is None
import pandas as pd
pd.read_pickle("model.pkl")(pd.read_parquet("live.parquet"), None).to_parquet("out.parquet")
"""


@pytest.fixture(scope="module")
def study(tiny_study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the finished study, to which ensembles and their refits are added."""
    return copy_study(tiny_study, tmp_path_factory.mktemp("exported") / "study")


@pytest.fixture(scope="module")
def uri(study: Path) -> str:
    return f"sqlite:///{study / 'mlflow.db'}"


@pytest.fixture(scope="module")
def built(study: Path, uri: str) -> BuiltEnsemble:
    return build_ensemble(select="top", members=3, tracking_uri=uri)


@pytest.fixture(scope="module")
def exported(study: Path, built: BuiltEnsemble, tmp_path_factory: pytest.TempPathFactory) -> ExportedModel:
    """The ensemble in a file, by the reference alone."""
    return export_predict(built, tmp_path_factory.mktemp("new") / "models" / "model.pkl")


def test_a_process_without_the_package_gives_the_registered_models_ranks(
    study: Path, built: BuiltEnsemble, exported: ExportedModel, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = open_dataset(study / "numerai", "all", "target")
    ids = pd.Index(dataset.read_ids().to_pylist(), name="id")
    rows = dataset.read_features(dataset.features, slice(0, len(dataset))).to_pandas().set_index(ids)
    rows["era"] = [dataset.era_labels[int(era)] for era in dataset.eras]
    elsewhere = exported.path.parent
    rows.to_parquet(elsewhere / "live.parquet")
    kept = {name: value for name, value in environment().items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-I", "-c", LOAD], cwd=elsewhere, env=kept, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    predicted = pd.read_parquet(elsewhere / "out.parquet")

    assert command(study, "register", "--ensemble", built.run_id, "--promote", "always") == 0
    assert "3 of 3 members were refitted before" in capsys.readouterr().out
    assert exported.path.read_bytes() == predict_file(study).read_bytes()
    version = client_of(study).get_model_version_by_alias("signal-miner", "champion").version
    model = mlflow.pyfunc.load_model(client_of(study).get_model_version_download_uri("signal-miner", version))
    pd.testing.assert_frame_equal(predicted, model.predict(rows), rtol=0, atol=1e-12)


def test_what_was_written_reads_as_one_line(built: BuiltEnsemble, exported: ExportedModel) -> None:
    assert exported.size_bytes == exported.path.stat().st_size
    assert exported.ensemble == built.name
    assert exported.study == built.study
    assert 30e6 < exported.peak_memory_bytes < 1e9
    assert str(exported) == repr(exported)
    took = r"ran as Numerai hosts it in \d+\.\d s with \d+\.\d MB"
    assert re.fullmatch(rf"model\.pkl \(\d+\.\d kB\): {built.name} of study {built.study}, {took}", str(exported))


def test_another_call_takes_the_refits_and_replaces_the_file(
    exported: ExportedModel, built: BuiltEnsemble, uri: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "predict.pkl"
    path.write_bytes(b"of last week")
    again = export_predict(built.name, str(path), tracking_uri=uri)
    output = capsys.readouterr().out
    assert f"{built.name} of study {built.study}: 3 members; data " in output
    assert "3 reproduced; the largest difference to what is tracked is 0" in output
    assert "3 of 3 members were refitted before" in output
    assert "predict.pkl, " in output
    assert path.read_bytes() == exported.path.read_bytes()
    assert again.path == path
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupted_call_goes_on(
    study: Path, uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = build_ensemble(select="top", members=4, tracking_uri=uri)
    handler = signal.getsignal(signal.SIGINT)

    class Interrupted(Retraining):
        def refit(self, on_model: Any) -> None:
            def interrupt(each: Configuration, model: str) -> None:
                on_model(each, model)
                os.kill(os.getpid(), signal.SIGINT)

            super().refit(interrupt)

    with monkeypatch.context() as patched:
        patched.setattr(packing, "Retraining", Interrupted)
        with pytest.raises(KeyboardInterrupt, match="the same call resumes with the members refitted so far"):
            export_predict(made, tmp_path / "predict.pkl", jobs=1)
    assert "Stopping; members refitted so far are kept …" in capsys.readouterr().out
    assert signal.getsignal(signal.SIGINT) is handler
    assert list(tmp_path.iterdir()) == []
    export_predict(made, tmp_path / "predict.pkl")
    assert "1 of 4 members were refitted before" in capsys.readouterr().out
    assert (tmp_path / "predict.pkl").exists()


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ((), r"path = '.*' is a directory; name a file in it, such as .*predict\.pkl"),
        (("file", "predict.pkl"), r"file/predict\.pkl cannot be written \(Not a directory\); choose another place"),
        (("n" * 300,), r"cannot be written \(File name too long\); choose another place"),
    ],
)
def test_an_unwritable_path_is_reported_before_the_work(
    parts: Sequence[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=message) as raised:
        export_predict("a study that is not looked for", tmp_path.joinpath(*parts), tracking_uri="no store")
    assert "\n" not in str(raised.value)
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (None, "path = None is not a path; write one such as 'predict.pkl'"),
        (5, "path = 5 is not a path"),
        (b"predict.pkl", "path = b'predict.pkl' is not a path"),
        ("a\0b", r"path = 'a\\x00b' is not a path"),
        ("~nouser/x", "path = '~nouser/x' names no user's home directory; write the absolute path"),
        ("/dev/null", "path = '/dev/null' is a device, a pipe or a socket; name a file"),
        ("pipe", "path = 'pipe' is a device, a pipe or a socket; name a file"),
        ("socket", "path = 'socket' is a device, a pipe or a socket; name a file"),
    ],
)
def test_an_invalid_path_is_reported_before_the_work(
    path: Any, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("socket")
        with pytest.raises(UserError, match=message) as raised:
            export_predict("a study that is not looked for", path, tracking_uri="no store")
    assert "\n" not in str(raised.value)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["pipe", "socket"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ensemble": "ensembel 1"}, "ensemble 'ensembel 1' is not tracked; did you mean 'ensemble 1'"),
        ({"ensemble": 3}, "ensemble is a int; give a run id, a name, or what build_ensemble returned"),
        ({"trees": "more"}, "trees = 'more' is not one of kept, scaled; use one of them"),
        ({"jobs": 0}, r"jobs = 0 is not 1 or more \(an integer\), nor -1 \(one a core\)"),
        ({"jobs": -2}, r"jobs = -2 is not 1 or more"),
        ({"jobs": "2"}, r"jobs = '2' is not 1 or more \(an integer\), nor -1"),
        ({"jobs": 1.5}, r"jobs = 1.5 is not 1 or more \(an integer\), nor -1"),
        ({"data": "nowhere"}, "data 'nowhere' does not exist"),
    ],
)
def test_mistakes_are_one_line(
    options: dict[str, Any], message: str, built: BuiltEnsemble, uri: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message) as raised:
        export_predict(path=tmp_path / "predict.pkl", tracking_uri=uri, **options)
    assert "\n" not in str(raised.value)
    assert list(tmp_path.iterdir()) == []
