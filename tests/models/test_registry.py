"""A registered model predicts as its predict.pkl does, wherever it is loaded; none is made that does not load."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import sys
from contextlib import chdir
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient

from signal_miner.errors import UserError
from signal_miner.models.registry import CHAMPION, Registry
from signal_miner.models.registry.package import ModelRecord
from signal_miner.tracking.tags import MODEL_FILES
from tests.helpers.registry import BENCHMARK, FEATURES, NULLABLE, live, make_record, predict_pkl, write_model

SECRET = "s3cret-password"


@pytest.fixture
def store(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A database that MLflow's global state knows nothing of: the working directory has another one."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "store").mkdir()
    shutil.copy(empty_store, tmp_path / "store")
    return f"sqlite:///{tmp_path}/store/mlflow.db"


@pytest.fixture
def registry(store: str) -> Registry:
    return Registry(store)


def test_a_version_carries_what_it_was_made_of(registry, store, tmp_path, capfd):
    record = make_record(tmp_path / "made", store)
    version = registry.register(record)
    assert capfd.readouterr() == ("", "")
    assert not Path("mlflow.db").exists()  # MLflow's own default store
    assert (version.name, version.version, version.run_id, version.aliases) == ("signal-miner", "1", record.run_id, ())
    assert version.tags["signal_miner.data"] == "v5.3"
    assert version.tags["signal_miner.features"] == "6"
    assert version.tags["beats_benchmark.validation"] == "true"
    assert registry.find("signal-miner", "1") == version
    client = MlflowClient(store)
    (model,) = client.search_logged_models([record.needs.experiment_id])
    assert model.source_run_id == record.run_id
    assert model.status == "READY"
    assert model.params == record.params
    assert {metric.key: metric.value for metric in model.metrics} == record.metrics
    assert json.loads(model.tags["mlflow.modelVersions"]) == [{"name": "signal-miner", "version": 1}]
    run = client.get_run(record.run_id)
    assert [output.model_id for output in run.outputs.model_outputs] == [model.model_id]
    assert [len(client.get_metric_history(record.run_id, name)) for name in record.metrics] == [1, 1]
    names = {info.path for info in client.list_logged_model_artifacts(model.model_id, "artifacts")}
    wanted = ("predict.pkl", "experiment.toml", "ensemble.json", "plan.json")
    assert names == {f"artifacts/{name}" for name in wanted}
    described = client.get_model_version("signal-miner", "1")
    assert described.run_id == record.run_id
    assert described.description.startswith("**Three** members\n\n[Files](#/experiments/")
    assert model.model_id in described.description
    text = Path(model.artifact_location.removeprefix("file://"), "MLmodel").read_text()
    assert str(tmp_path) not in text  # no place on this machine


def test_requirements_are_pinned_and_python_is_recorded(registry, store, tmp_path):
    registry.register(make_record(tmp_path / "made", store))
    place = registry.load("signal-miner", "1", tmp_path / "loaded").predict_file.parents[1]
    pins = (place / "requirements.txt").read_text().split()
    assert {pin.split("==")[0] for pin in pins} == {"mlflow", "numpy", "pandas", "scipy", "lightgbm", "cloudpickle"}
    assert f"mlflow=={mlflow.__version__}" in pins
    assert "{}.{}.{}".format(*sys.version_info[:3]) in (place / "python_env.yaml").read_text()


@pytest.mark.parametrize("benchmark", [None, BENCHMARK])
def test_predicts_as_predict_pkl_whatever_the_frame_looks_like(registry, store, tmp_path, benchmark):
    record = make_record(tmp_path / "made", store, benchmark)
    registry.register(record)
    loaded = registry.load("signal-miner", "1", tmp_path / "loaded")
    pyfunc = mlflow.pyfunc.load_model(str(loaded.predict_file.parents[1]))
    frame = live(80, seed=3)
    wanted = predict_pkl(record, frame)
    shuffled = frame.assign(feature_99=1.0, data_type="live")[["feature_99", *reversed(frame.columns), "data_type"]]
    same = [frame, shuffled, frame.reset_index(), frame.assign(era=frame["era"].astype(object))]
    same += [frame.astype(dict.fromkeys(FEATURES, dtype)) for dtype in ("float32", "float64", "Int8", "int16")]
    for given in same:
        before = given.copy()
        pd.testing.assert_frame_equal(pyfunc.predict(given), wanted)
        pd.testing.assert_frame_equal(given, before)
    for given in (frame, shuffled.reset_index().astype(dict.fromkeys(FEATURES, "Int8"))):  # each starts a process
        before = given.copy()
        pd.testing.assert_frame_equal(loaded.predict(given), wanted)
        pd.testing.assert_frame_equal(given, before)
    odd = frame.drop(columns="era").astype({NULLABLE: "float32"})
    odd.loc[odd.index[::7], NULLABLE] = np.nan
    pd.testing.assert_frame_equal(pyfunc.predict(odd), predict_pkl(record, odd))


def test_what_is_missing_is_named(registry, store, tmp_path):
    registry.register(make_record(tmp_path / "made", store, BENCHMARK))
    loaded = registry.load("signal-miner", "1", tmp_path / "loaded")
    pyfunc = mlflow.pyfunc.load_model(str(loaded.predict_file.parents[1]))
    for name in (FEATURES[2], BENCHMARK):
        with pytest.raises(mlflow.MlflowException, match=rf"missing inputs \['{name}'\]"):
            pyfunc.predict(live().drop(columns=name))
        with pytest.raises(UserError, match=f"{name}.*;"):
            loaded.predict(live().drop(columns=name))


def test_a_loaded_model_knows_what_it_needs(registry, store, tmp_path):
    record = make_record(tmp_path / "made", store, BENCHMARK)
    registry.register(record)
    registry.promote("signal-miner", "1")
    loaded = registry.load("signal-miner", CHAMPION, tmp_path / "loaded")
    for name in ("name", "run_id", "needs"):
        assert getattr(loaded, name) == getattr(record, name)
    assert loaded.version == "1"
    assert loaded.predict_file.read_bytes() == record.predict_file.read_bytes()
    assert loaded.predict_file.name == "predict.pkl"


def test_registering_again_makes_another_version_and_the_alias_stays(registry, store, tmp_path):
    record = make_record(tmp_path / "made", store)
    assert registry.find("signal-miner") is None
    registry.register(record)
    assert registry.find("signal-miner") is None
    registry.promote("signal-miner", "1")
    assert registry.register(record).version == "2"
    assert registry.find("signal-miner") == registry.find("signal-miner", "1")
    registry.promote("signal-miner", "2")
    assert registry.find("signal-miner").version == "2"
    assert registry.find("signal-miner").aliases == (CHAMPION,)
    assert registry.find("signal-miner", "1").aliases == ()
    assert registry.find("signal-miner", "latest").version == "2"
    assert registry.find("signal-miner", "3") is None
    assert registry.find("a/b") is None


def test_unknown_names_are_answered_with_near_ones(registry, store, tmp_path):
    with pytest.raises(UserError, match="no registered model 'signal-miner'; the registry is empty: make"):
        registry.load("signal-miner", CHAMPION, tmp_path / "loaded")
    registry.register(make_record(tmp_path / "made", store))
    with pytest.raises(UserError, match="no alias or version 'champion'; known are 1"):
        registry.load("signal-miner", CHAMPION, tmp_path / "loaded")
    registry.promote("signal-miner", "1")
    with pytest.raises(UserError, match="no registered model 'signal-minor'; did you mean 'signal-miner'"):
        registry.load("signal-minor", CHAMPION, tmp_path / "loaded")
    with pytest.raises(UserError, match="no alias or version 'champoin'; did you mean 'champion'"):
        registry.load("signal-miner", "champoin", tmp_path / "loaded")
    with pytest.raises(UserError, match="no alias or version '7'; known are champion, 1"):
        registry.promote("signal-miner", "7")
    with pytest.raises(UserError, match="'v3' cannot be an alias"):
        registry.promote("signal-miner", "1", "v3")
    with pytest.raises(UserError, match="'a/b' cannot name a registered model"):
        registry.register(make_record(tmp_path / "made", store, name="a/b"))


@pytest.fixture(scope="module")
def championed(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ModelRecord]:
    """A store to be copied, whose champion is version 1 of a record."""
    place = tmp_path_factory.mktemp("championed")
    path = Path(shutil.copy(empty_store, place))
    with chdir(place):
        record = make_record(place / "made", f"sqlite:///{path}")
        registry = Registry(f"sqlite:///{path}")
        registry.promote("signal-miner", registry.register(record).version)
    return path, record


STEPS = (
    "create_logged_model",
    "log_model_artifacts",
    "log_outputs",
    "log_batch",
    "finalize_logged_model",
    "create_registered_model",
    "create_model_version",
)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_what_ends_between_two_steps_leaves_no_version(championed, store, tmp_path, monkeypatch, step, error):
    path, record = championed
    shutil.copy(path, store.removeprefix("sqlite:///"))
    registry = Registry(store)

    def stop(*arguments: Any, **options: Any) -> None:
        raise error("the disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(registry._client, step, stop)
        with pytest.raises(UserError if error is OSError else error) as raised:
            registry.register(record)
    if error is OSError:
        assert re.search(r"model registry sqlite:.* failed \(the disk is full\); once it answers", str(raised.value))
    assert registry.find("signal-miner", "latest").version == "1"
    models = MlflowClient(store).search_logged_models([record.needs.experiment_id])
    assert [model.status for model in models] == ["READY"] * len(models)
    assert registry.register(record).version == "2"
    registry.load("signal-miner", "2", tmp_path / "loaded").predict(live())


def test_a_model_that_does_not_predict_is_not_registered(registry, store, tmp_path):
    record = make_record(tmp_path / "made", store)
    write_model(tmp_path / "other.pkl", "absent_benchmark")
    for bad in (pickle.dumps(len), b"no pickle", (tmp_path / "other.pkl").read_bytes()):
        record.predict_file.write_bytes(bad)
        with pytest.raises(UserError, match=r"does not predict its example .*nothing was registered"):
            registry.register(record)
    assert registry.find("signal-miner", "latest") is None
    record.predict_file.unlink()
    with pytest.raises(UserError, match=r"cannot be packed .*predict\.bin"):
        registry.register(record)


def test_a_version_without_artifacts_or_of_other_origin_is_reported(registry, store, tmp_path):
    record = make_record(tmp_path / "made", store)
    registry.register(record)
    client = MlflowClient(store)
    location = Path(client.get_model_version_download_uri("signal-miner", "1").removeprefix("file://"))
    client.delete_model_version_tag("signal-miner", "1", MODEL_FILES)  # as registered before there were checksums
    (location / "artifacts" / "predict.pkl").write_bytes(b"cut off")
    loaded = registry.load("signal-miner", "1", tmp_path / "a")
    assert not loaded.verified
    with pytest.raises(UserError, match=r"predict\.pkl does not predict: it cannot be loaded"):
        loaded.predict(live())
    location.rename(tmp_path / "moved")
    with pytest.raises(UserError, match=r"failed .*check that the artifacts of version 1 of 'signal-miner'"):
        registry.load("signal-miner", "1", tmp_path / "b")
    (tmp_path / "moved" / "MLmodel").write_text("flavors: {}\n")
    (tmp_path / "moved").rename(location)
    with pytest.raises(UserError, match="was not registered by Signal Miner"):
        registry.load("signal-miner", "1", tmp_path / "c")
    (location / "MLmodel").write_text("flavors: {cut off")
    with pytest.raises(UserError, match="version 1 of 'signal-miner' has no readable MLmodel"):
        registry.load("signal-miner", "1", tmp_path / "d")


HOSTILE = """
import pathlib
pathlib.Path({mark!r}).write_text("run")
"""


class Hostile:
    """Runs code when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self):
        return exec, (HOSTILE.format(mark=str(self._mark)),)


def test_nothing_of_a_changed_version_is_run(registry, store, tmp_path):
    record = make_record(tmp_path / "made", store)
    version = registry.register(record)
    location = Path(MlflowClient(store).get_model_version_download_uri("signal-miner", "1").removeprefix("file://"))
    files = {path.relative_to(location).as_posix(): path for path in location.rglob("*") if path.is_file()}
    assert json.loads(version.tags[MODEL_FILES]).keys() == files.keys()
    assert registry.load("signal-miner", "1", tmp_path / "before").verified
    mark = tmp_path / "mark"
    for number, (name, path) in enumerate(files.items()):
        whole = path.read_bytes()
        code = HOSTILE.format(mark=str(mark)).encode()
        for hostile in (pickle.dumps(Hostile(mark)) if name.endswith(".pkl") else code, None):
            path.unlink() if hostile is None else path.write_bytes(hostile)
            with pytest.raises(UserError) as raised:
                registry.load("signal-miner", "1", tmp_path / f"{number} {hostile is None}")
            assert str(raised.value).startswith(
                f"1 of {len(files)} files of version 1 of 'signal-miner' are not those that were registered ({name})"
            )
            assert "\n" not in str(raised.value)
        path.write_bytes(whole)
    assert not mark.exists()
    assert registry.load("signal-miner", "1", tmp_path / "after").verified


def test_predict_pkl_is_run_without_keys_and_not_in_this_process(registry, store, tmp_path, monkeypatch):
    registry.register(make_record(tmp_path / "made", store))
    loaded = registry.load("signal-miner", "1", tmp_path / "loaded")
    for key in ("NUMERAI_PUBLIC_ID", "NUMERAI_SECRET_KEY", "MLFLOW_TRACKING_PASSWORD", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(key, SECRET)
    spied = "import os, pathlib; pathlib.Path({!r}).write_text(f'{{os.getpid()}} {{dict(os.environ)}}')"
    mark = tmp_path / "environment"
    spy = Hostile(mark)
    monkeypatch.setattr(Hostile, "__reduce__", lambda self: (exec, (spied.format(str(mark)),)))
    loaded.predict_file.write_bytes(pickle.dumps(spy))
    with pytest.raises(UserError, match=r"predict\.pkl does not predict: it holds a NoneType"):
        loaded.predict(live())
    process, _, environment = mark.read_text().partition(" ")
    assert int(process) != os.getpid()
    assert "PATH" in environment
    assert SECRET not in environment


@pytest.mark.parametrize("name", ["my model 1.2", "it's mine", 'the "best"', "größer 100%"])
def test_any_name_that_mlflow_takes_will_do(registry, store, tmp_path, name):
    example = live(4).astype(dict.fromkeys(FEATURES, "int64")).astype({"era": "category"})
    record = make_record(tmp_path / "made", store, name=name, example=example)
    assert registry.register(record).version == "1"
    registry.promote(name, "1")
    assert registry.load(name, CHAMPION, tmp_path / "loaded").name == name


def test_passwords_are_not_shown_or_kept(store, tmp_path, monkeypatch):
    address = f"http://me:{SECRET}@data.example/v5"
    record = make_record(tmp_path / "made", store, data=address, tags={"source": address}, params={"data": address})
    registry = Registry(store)
    version = registry.register(replace(record, description=f"from {address}"))
    assert version.tags["signal_miner.data"] == "http://***@data.example/v5"
    kept = [path for path in (tmp_path / "store").rglob("*") if path.is_file()]
    kept += [path for path in tmp_path.rglob("mlruns/**/*") if path.is_file()]
    assert not [path for path in kept if SECRET.encode() in path.read_bytes()]
    monkeypatch.setattr(Registry, "tracking_uri", property(lambda self: f"http://me:{SECRET}@host:5000"))
    monkeypatch.setattr(registry._client, "get_registered_model", lambda name: open(f"/{SECRET}@missing"))  # noqa: SIM115, PTH123
    with pytest.raises(UserError, match=r"http://\*\*\*@host:5000 failed"):
        registry.find("signal-miner")
