"""The address of a database names the file that SQLAlchemy opens, whatever its path contains."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.engine import make_url

from signal_miner.errors import UserError
from signal_miner.tracking.store import open_client
from signal_miner.utils.store_address import absolute_address, same_database, sqlite_address, sqlite_path
from tests.helpers.mining import put_store

NAMES = st.text(st.characters(exclude_characters="\0/\\", exclude_categories=["Cs", "Cc"]), min_size=1)


@given(NAMES, NAMES)
def test_path_and_address_are_one_file(folder: str, name: str) -> None:
    path = Path(os.sep) / "home" / folder / name
    address = sqlite_address(path)
    assert make_url(address).database == path.as_posix()
    assert sqlite_path(address) == path
    assert absolute_address(address) == address
    assert sqlite_path(absolute_address(sqlite_address(Path(folder) / name))) == Path.cwd() / folder / name


@pytest.mark.parametrize("name", ["my Zürich 2", "100% 20%41?"])
def test_a_store_is_created_in_the_working_directory_whatever_its_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (workspace := tmp_path / name).mkdir()
    monkeypatch.chdir(workspace)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    put_store(workspace)
    for address in (None, "sqlite:///mlflow.db"):
        open_client(address).create_experiment(f"by {address}")
    assert len(open_client(sqlite_address(workspace / "mlflow.db")).search_experiments()) == 3
    assert [path.parent for path in tmp_path.rglob("*.db")] == [workspace]


@pytest.mark.parametrize(
    ("second", "same"),
    [
        ("sqlite:///studies.db", True),
        ("sqlite:///./studies.db?timeout=5", True),
        ("sqlite+pysqlite:///{here}/studies.db", True),
        ("sqlite:///link.db", True),
        ("sqlite:///other.db", False),
        ("sqlite://", False),
        ("http://host:5000", False),
        ("postgresql://host/studies.db", False),
        ("no address", False),
    ],
)
def test_a_database_is_the_same_however_it_is_spelled(
    second: str, same: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "studies.db").touch()
    (tmp_path / "link.db").symlink_to(tmp_path / "studies.db")
    assert same_database("sqlite:///studies.db", second.format(here=tmp_path)) is same


def test_a_servers_database_is_the_same_for_every_user_and_driver() -> None:
    first = "postgresql://one:secret@host/studies"
    assert same_database(first, "postgresql+psycopg://two@host:5432/studies")
    assert not same_database(first, "postgresql://one:secret@host/mlflow")
    assert not same_database(first, "postgresql://one:secret@other/studies")
    assert not same_database(first, "postgresql://host/studies?options=-csearch_path%3Dmlflow")


@pytest.mark.skipif(os.name != "posix", reason="names that are no text are POSIX")
def test_a_folder_whose_name_is_no_text_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (workspace := tmp_path / os.fsdecode(b"w\xff")).mkdir()
    monkeypatch.chdir(workspace)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for address in (None, "sqlite:///mlflow.db"):
        with pytest.raises(UserError, match="is not named in Unicode; rename it"):
            open_client(address)
    assert not list(workspace.iterdir())
