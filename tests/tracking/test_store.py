"""Opening a store: moved, copied, locked, outdated or damaged ones are opened or refused in one line."""

from __future__ import annotations

import shutil
import sqlite3
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric
from mlflow.exceptions import MlflowException
from mlflow.tracking._tracking_service.utils import _artifact_repos_cache
from sqlalchemy.engine.default import DefaultDialect

from signal_miner.errors import StoreError, UserError
from signal_miner.tracking import local_store, relocation
from signal_miner.tracking.relocation import beside, here, local_path, relocate
from signal_miner.tracking.store import open_client, store_errors
from signal_miner.tracking.studies import Studies
from signal_miner.tracking.study_reader import StudyReader
from tests.helpers.mining import mine_here, put_store, runs_of
from tests.helpers.study import artifact_path, command


@pytest.fixture
def mined(tiny_study: Path, tmp_path: Path) -> Path:
    """A copy of the study as `cp -r` makes it, its records still naming the original's folder."""
    _artifact_repos_cache.clear()  # MLflow keeps the locations of runs, and copies share their ids
    return Path(shutil.copytree(tiny_study, tmp_path / "one"))


def locations(directory: Path) -> list[str]:
    with closing(sqlite3.connect(directory / "mlflow.db")) as store:
        found = store.execute("SELECT artifact_location FROM experiments UNION SELECT artifact_uri FROM runs")
        return [location for (location,) in found]


def rewritten(directory: Path, old: Path, new: Path) -> None:
    """Make a store's records name another folder."""
    with closing(sqlite3.connect(directory / "mlflow.db")) as store, store:
        for table, column in (("runs", "artifact_uri"), ("experiments", "artifact_location")):
            store.execute(f"update {table} set {column} = replace({column}, ?, ?)", (str(old), str(new)))


def read(directory: Path) -> bytes:
    """Return the era scores of a study's trials, from their artifacts."""
    uri = f"sqlite:///{directory / 'mlflow.db'}"
    return StudyReader(uri).scores(Studies(uri).find()).era_scores.tobytes()


def files(directory: Path) -> set[Path]:
    return {path.relative_to(directory) for path in (directory / "mlruns").rglob("*")}


def test_a_renamed_workspace_is_read_and_resumed_where_it_is(tiny_study: Path, mined: Path, caplog) -> None:
    old = mined.parent / "old"
    rewritten(mined, tiny_study, old)
    assert read(mined) == read(tiny_study)
    assert f"were moved from {old}/mlruns to {mined}/mlruns;" in caplog.text
    assert not old.exists()
    done = mine_here(mined, "--trials", "12")
    assert done.returncode == 0, done.stderr
    assert not old.exists()
    assert not [location for location in locations(mined) if str(old) in location]
    assert len(runs_of(mined)) == 12
    assert all(artifact_path(mined, run, "predictions.parquet").is_file() for run in runs_of(mined))
    newest = runs_of(mined)[-1]
    assert str(mined) in newest.info.artifact_uri


def test_a_copied_workspace_leaves_the_original_alone(tiny_study: Path, mined: Path) -> None:
    before = files(tiny_study)
    done = mine_here(mined, "--trials", "11")
    assert done.returncode == 0, done.stderr
    assert files(tiny_study) == before
    assert len(files(mined)) > len(before)
    assert all(str(tiny_study) in location for location in locations(tiny_study) if "mlruns/1" in location)


def test_artifacts_that_are_nowhere_are_asked_for_and_nothing_is_written(
    tiny_study: Path, mined: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = mined.parent / "old"
    rewritten(mined, tiny_study, old)
    (mined / "mlruns").rename(mined / "elsewhere")
    for arguments in (["report"], ["mine", "--experiment", "tiny.toml", "--trials", "12"]):
        assert command(mined, *arguments) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert f"neither in {old}/mlruns/1 nor, moved with the store, in {mined}/mlruns/1; move the folder" in error
        assert "delete" not in error
    assert not old.exists()
    assert not (mined / "mlruns").exists()
    (mined / "elsewhere").rename(mined / "mlruns")
    assert read(mined) == read(tiny_study)


def test_a_run_created_under_the_path_of_another_mount_is_written_to_this_one(tiny_study: Path, mined: Path) -> None:
    uri, elsewhere = f"sqlite:///{mined / 'mlflow.db'}", mined.parent / "host"
    studies = Studies(uri)
    study = studies.find()
    rewritten(mined, mined, elsewhere)  # as the host does while a container has the store open
    run_id = studies._create(study.experiment_id, "new", {})
    studies._client.log_text(run_id, "here", "here.txt")
    assert (mined / "mlruns" / study.experiment_id / run_id / "artifacts" / "here.txt").is_file()
    assert not elsewhere.exists()


def test_a_study_is_read_while_another_mount_corrects_its_locations(tiny_study: Path, mined: Path) -> None:
    uri, elsewhere = f"sqlite:///{mined / 'mlflow.db'}", mined.parent / "host"
    reader, studies = StudyReader(uri), Studies(uri)
    study = studies.find()
    rewritten(mined, mined, elsewhere)
    there = replace(study, trials=studies.find().trials)  # which corrects the store again
    assert reader.scores(there).era_scores.tobytes() == read(tiny_study)
    rewritten(mined, mined, elsewhere)
    trials = studies._trials(study.experiment_id, study.name)
    assert all(str(elsewhere) in trial.artifact_uri for trial in trials)
    assert reader.scores(replace(study, trials=trials)).era_scores.tobytes() == read(tiny_study)
    assert not elsewhere.exists()


def test_artifacts_are_written_here_while_another_mount_corrects_the_locations(tiny_study: Path, mined: Path) -> None:
    elsewhere = mined.parent / "host"
    studies = Studies(f"sqlite:///{mined / 'mlflow.db'}")
    study = studies.find()
    new = studies._create(study.experiment_id, "new", {})
    for run_id in (study.run_id, new):
        rewritten(mined, mined, elsewhere)  # after the run was looked up, before anything is written
        studies._log_texts(run_id, {"here.txt": "text"})
        assert (mined / "mlruns" / study.experiment_id / run_id / "artifacts" / "here.txt").read_text() == "text"
        assert studies.download(run_id, "here.txt", mined).read_text() == "text"
    assert not elsewhere.exists()


@pytest.mark.parametrize(
    ("existing", "found"),
    [
        ((), "new"),  # nothing is known but that the old workspace is gone
        (("old/mlruns",), "old"),
        (("old/mlruns/1/r",), "old"),
        (("new/mlruns/1/r",), "new"),
        (("old/mlruns/1/r", "new/mlruns/1/r"), "old"),
        (("old/mlruns/1", "new/mlruns/1/r"), "new"),
        (("old/mlruns/1", "new/mlruns/1"), "old"),
        (("old/mlruns", "new/mlruns/1"), "new"),
    ],
)
def test_where_a_run_s_artifacts_are(tmp_path: Path, existing: tuple[str, ...], found: str) -> None:
    for each in existing:
        (tmp_path / each / ("artifacts" if each.endswith("/r") else "")).mkdir(parents=True)
    place = here(tmp_path / "new" / "mlflow.db", tmp_path / "old" / "mlruns" / "1" / "r" / "artifacts")
    assert place == tmp_path / found / "mlruns" / "1" / "r" / "artifacts"


def test_a_store_that_cannot_be_written_is_named(tiny_study: Path, mined: Path, monkeypatch) -> None:
    elsewhere = mined.parent / "host"
    rewritten(mined, tiny_study, elsewhere)

    def refuse(*_: object) -> None:
        raise sqlite3.OperationalError("attempt to write a readonly database")

    monkeypatch.setattr(relocation, "_correct", refuse)
    with pytest.raises(UserError, match=f"but .* names {elsewhere}/mlruns/1 and cannot be written"):
        Studies(f"sqlite:///{mined / 'mlflow.db'}").find()
    assert not elsewhere.exists()


def test_a_location_that_exists_elsewhere_only_is_kept(tmp_path: Path) -> None:
    store = put_store(tmp_path)
    client = MlflowClient(f"sqlite:///{store}")
    elsewhere = tmp_path / "bucket"
    experiment = client.create_experiment("apart", artifact_location=str(elsewhere / "mlruns" / "7"))
    client.log_text(client.create_run(experiment).info.run_id, "text", "a.txt")
    (tmp_path / "mlruns" / "7").mkdir(parents=True)  # another store's
    before = locations(tmp_path)
    relocate(store)
    assert locations(tmp_path) == before


def test_registered_models_move_with_their_store(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    client = MlflowClient(f"sqlite:///{put_store(one)}")
    experiment = client.create_experiment("e", artifact_location=(one / "mlruns" / "1").as_uri())
    run = client.create_run(experiment)
    client.log_text(run.info.run_id, "text", "model/MLmodel")
    client.create_registered_model("m")
    client.create_model_version("m", f"{run.info.artifact_uri}/model", run.info.run_id)
    one.rename(two)
    opened = open_client(f"sqlite:///{two / 'mlflow.db'}")
    (version,) = opened.search_model_versions("name='m'")
    assert version.source == (two / "mlruns" / "1" / run.info.run_id / "artifacts" / "model").as_uri()


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("/a/b#c?d", "/a/b#c?d"),
        ("file:///a/b%20c", "/a/b c"),
        ("s3://bucket/1", None),
        ("mlflow-artifacts:/1/a", None),
        ("", None),
    ],
)
def test_a_location_on_this_machine(uri: str, path: str | None) -> None:
    assert local_path(uri) == (None if path is None else Path(path))


def test_a_folder_that_was_moved_below_the_store_s(tmp_path: Path) -> None:
    assert beside(tmp_path / "mlflow.db", Path("/old/out/mlruns/1")) == tmp_path / "mlruns" / "1"
    (tmp_path / "out" / "mlruns" / "1").mkdir(parents=True)
    assert beside(tmp_path / "mlflow.db", Path("/old/out/mlruns/1")) == tmp_path / "out" / "mlruns" / "1"


def test_a_locked_store_is_to_be_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_store, "_SECONDS_FOR_THE_LOCK", 0.1)
    store = put_store(tmp_path)
    with closing(sqlite3.connect(store)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreError, match=r"mlflow\.db is locked by another process; try again") as raised:
            open_client(f"sqlite:///{store}")
    assert "delete" not in str(raised.value)
    open_client(f"sqlite:///{store}")
    with pytest.raises(StoreError, match="locked by another process; try again"), store_errors(f"sqlite:///{store}"):
        raise MlflowException("(sqlite3.OperationalError) database is locked")


def changed_revision(store: Path, revision: str) -> None:
    with closing(sqlite3.connect(store)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))


def with_a_run(store: Path) -> None:
    client = MlflowClient(f"sqlite:///{store}")
    client.create_run(client.create_experiment("e"))


def test_a_store_of_an_older_mlflow_is_not_touched_and_the_upgrade_is_named(tmp_path: Path) -> None:
    store = put_store(tmp_path)
    with_a_run(store)
    changed_revision(store, "451aebb31d03")
    with closing(sqlite3.connect(store)) as connection, connection:
        connection.execute("DROP TABLE scorers")  # MLflow itself would start to upgrade a store that lacks a table
    before = store.read_bytes()
    with pytest.raises(UserError, match="back it up, then run") as raised:
        open_client(f"sqlite:///{store}")
    assert f"`mlflow db upgrade sqlite:///{store}`" in str(raised.value)
    assert "delete" not in str(raised.value)
    assert store.read_bytes() == before


def test_a_store_of_a_newer_mlflow(tmp_path: Path) -> None:
    store = put_store(tmp_path)
    with_a_run(store)
    changed_revision(store, "ffffffffffff")
    with pytest.raises(UserError, match="was made by a newer MLflow; install that version"):
        open_client(f"sqlite:///{store}")


def test_an_empty_file_is_no_store_yet(tmp_path: Path) -> None:
    store = tmp_path / "mlflow.db"
    store.touch()
    with pytest.raises(UserError, match="there is no tracking store"):
        open_client(f"sqlite:///{store}", make=False)
    assert open_client(f"sqlite:///{store}").search_experiments()


def test_a_store_that_was_cut_off_while_it_was_created_holds_nothing(tmp_path: Path) -> None:
    store = put_store(tmp_path)
    changed_revision(store, "451aebb31d03")
    with pytest.raises(UserError, match="was not created to its end and holds no run; delete it and rerun"):
        open_client(f"sqlite:///{store}")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.mkdir(), "is a directory; set tracking_uri to"),
        (lambda path: path.write_bytes(b"something else entirely" * 100), "is not an SQLite database; restore it"),
        (lambda path: path.symlink_to("elsewhere.db"), r"mlflow\.db is a link to nothing; replace or remove it"),
        (lambda path: other_program(path), r"is a database of another program \(tables studies, trials"),
    ],
)
def test_what_is_no_store_is_refused_untouched(tmp_path: Path, make, message: str) -> None:
    store = tmp_path / "mlflow.db"
    make(store)
    before = store.read_bytes() if store.is_file() else None
    with pytest.raises(UserError, match=message):
        open_client(f"sqlite:///{store}")
    assert before == (store.read_bytes() if store.is_file() else None)


def other_program(path: Path) -> None:
    """Write what Optuna writes: tables of its own, and a table of Alembic's."""
    with closing(sqlite3.connect(path)) as connection, connection:
        for table in ("studies (id)", "trials (id)", "alembic_version (version_num)"):
            connection.execute(f"CREATE TABLE {table}")
        connection.execute("INSERT INTO alembic_version VALUES ('v3.2.0.a')")


def test_a_database_that_does_not_answer_is_not_waited_for() -> None:
    started = time.monotonic()
    with pytest.raises(StoreError, match=r"^the tracking store postgresql\+psycopg://\*\*\*@\S+ cannot be opened \(.*"):
        open_client("postgresql+psycopg://me:s3cret@127.0.0.1:1/runs")
    assert time.monotonic() - started < 10


def test_an_interruption_within_a_transaction_leaves_the_database_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_store(tmp_path)
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    client = MlflowClient(uri)
    run_id = client.create_run(client.create_experiment("interrupted")).info.run_id

    def interrupted(_dialect: object, cursor: sqlite3.Cursor, statement: str, parameters, context=None) -> None:
        cursor.executemany(statement, parameters)
        raise KeyboardInterrupt

    monkeypatch.setattr(DefaultDialect, "do_executemany", interrupted)
    with pytest.raises(KeyboardInterrupt) as held, store_errors(uri):  # `held` keeps the traceback, as a handler does
        client.log_batch(run_id, metrics=[Metric(name, 1.0, 0, 0) for name in ("one", "two")])
    with closing(sqlite3.connect(tmp_path / "mlflow.db", timeout=0)) as other:
        other.execute("BEGIN IMMEDIATE")
    assert held.value is not None
