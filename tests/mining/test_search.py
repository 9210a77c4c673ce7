"""The study: distinct, reproducible configurations; resumed after a kill; small in the store."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest
from optuna.exceptions import StorageInternalError

from signal_miner.errors import UserError
from signal_miner.experiment.constraint import parse_constraint
from signal_miner.experiment.files import load_experiment
from signal_miner.experiment.grid import Axis, Grid
from signal_miner.mining.search import PARAMS_ATTRIBUTE, Search, distributions
from tests.helpers.mining import put_store

ROOT = Path(__file__).resolve().parents[2]


def make_grid() -> Grid:
    axes = (Axis("max_depth", tuple(range(2, 9))), Axis("num_leaves", tuple(range(2, 60))), Axis("target", ("a", "b")))
    return Grid(axes, parse_constraint("num_leaves <= 2**max_depth", ["max_depth", "num_leaves"]))


def original_grid() -> Grid:
    experiment = load_experiment(ROOT / "experiments" / "original.toml")
    targets = tuple(f"target_name{number:02d}_{horizon}" for number in range(20) for horizon in (20, 60))
    axes = (*(Axis(name, values) for name, values in experiment.axes.items()), Axis("target", targets))
    return Grid(axes, experiment.constraint)


def params_of(search: Search, count: int) -> list[dict]:
    return [dict(search.ask().params) for _ in range(count)]


def test_the_same_seed_asks_the_same_whatever_is_told_between(tmp_path):
    straight = params_of(Search("s", make_grid(), 3, str(tmp_path / "a")), 40)
    mixed = []
    for number in range(40):
        search = Search("s", make_grid(), 3, str(tmp_path / "b")) if number % 7 == 0 else search  # noqa: F821
        draw = search.ask()
        mixed.append(dict(draw.params))
        if number % 3:
            search.tell(draw.number, 0.1)
        elif number % 2:
            search.tell_failed(draw.number)
    assert straight == mixed
    assert len({tuple(params.values()) for params in straight}) == 40
    assert params_of(Search("s", make_grid(), 4, str(tmp_path / "c")), 40) != straight


def test_running_trials_of_a_dead_process_keep_their_numbers(tmp_path):
    first = Search("s", make_grid(), 3, str(tmp_path))
    draws = [first.ask() for _ in range(5)]
    for draw in draws[:3]:
        first.tell(draw.number, 1.0)
    second = Search("s", make_grid(), 3, str(tmp_path))
    assert second.interrupted() == tuple(draws[3:])
    assert second.finished() == tuple(draws[:3])
    second.tell(3, 0.5)
    second.tell(3, 0.5)
    assert second.ask().number == 5
    assert [draw.number for draw in second.finished()] == [0, 1, 2, 3]


def test_a_configuration_that_was_stored_in_part_is_drawn_again(tmp_path):
    whole = params_of(Search("s", make_grid(), 3, str(tmp_path / "whole")), 4)
    cut = Search("s", make_grid(), 3, str(tmp_path / "cut"))
    params_of(cut, 2)
    first = dict(list(distributions(make_grid()).items())[:1])
    cut._study.ask(fixed_distributions=first)  # as an earlier version left it that was killed after the first parameter
    resumed = Search("s", make_grid(), 3, str(tmp_path / "cut"))
    assert [dict(draw.params) for draw in resumed.interrupted()] == whole[:2]
    again = [resumed.ask(), resumed.ask()]
    assert [dict(draw.params) for draw in again] == whole[2:]
    assert [draw.number for draw in again] == [2, 3]
    resumed.tell(2, 0.7)
    assert [draw.number for draw in Search("s", make_grid(), 3, str(tmp_path / "cut")).finished()] == [2]


@pytest.mark.parametrize(
    "axes",
    [
        (Axis("max_depth", (20, 30)), Axis("num_leaves", (2, 3)), Axis("target", ("a", "b"))),
        (Axis("max_bin", (2, 3)), Axis("num_leaves", (2, 3)), Axis("target", ("a", "b"))),
        (Axis("max_depth", (2, 3)), Axis("num_leaves", tuple(range(2, 900))), Axis("target", ("a", "b"))),
        (Axis("max_depth", (2, 3)), Axis("target", ("a", "b"))),
    ],
)
def test_a_journal_of_another_grid_is_refused(tmp_path, axes):
    other = Search("s", Grid(axes, None), 3, str(tmp_path))
    for draw in [other.ask() for _ in range(8 if len(axes) > 2 else 4)]:
        other.tell(draw.number, 0.1)
    with pytest.raises(UserError, match=r"study s in study_storage holds trial \d+ of another grid \(.*max_|target"):
        Search("s", make_grid(), 3, str(tmp_path))


def test_a_journal_that_is_a_link_to_nothing_is_refused(tmp_path):
    (tmp_path / "s.journal").symlink_to("elsewhere.journal")
    with pytest.raises(UserError, match=r"s\.journal is a link to nothing; replace or remove it"):
        Search("s", make_grid(), 3, str(tmp_path))


def test_an_exhausted_grid_says_so(tmp_path):
    grid = Grid((Axis("n_estimators", (1, 2, 3)), Axis("target", ("a",))))
    search = Search("s", grid, 0, str(tmp_path))
    assert sorted(params["n_estimators"] for params in params_of(search, 3)) == [1, 2, 3]
    assert search.ask() is None
    assert Search("s", grid, 0, str(tmp_path)).ask() is None


@pytest.mark.parametrize("store", ["journal", "sqlite"])
def test_the_originals_grid_costs_little_in_the_store(tmp_path, store):
    url = str(tmp_path) if store == "journal" else f"sqlite:///{tmp_path / 'study.db'}"
    search = Search("original", original_grid(), 42, url)
    path = tmp_path / ("original.journal" if store == "journal" else "study.db")
    before = path.stat().st_size
    count = 40
    for draw in [search.ask() for _ in range(count)]:
        search.tell(draw.number, 1.0)
    assert (path.stat().st_size - before) / count < 5000


def test_values_stored_by_index_can_be_read_from_the_study_alone(tmp_path):
    search = Search("original", original_grid(), 42, f"sqlite:///{tmp_path / 'study.db'}")
    draw = search.ask()
    study = optuna.load_study(study_name="original", storage=f"sqlite:///{tmp_path / 'study.db'}")
    assert study.trials[0].user_attrs[PARAMS_ATTRIBUTE] == dict(draw.params)


def test_a_stale_lock_of_a_killed_process_does_not_stall(tmp_path):
    Search("s", make_grid(), 3, str(tmp_path)).ask()
    (tmp_path / "s.journal.lock").write_text("")
    started = time.monotonic()
    Search("s", make_grid(), 3, str(tmp_path)).ask()
    assert time.monotonic() - started < 10


def test_three_hundred_draws_survive_a_kill(tmp_path):
    """A process asks and tells until it is killed with -9; what it drew is what another would have drawn."""
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from tests.mining.test_search import make_grid; from signal_miner.mining.search import Search\n"
        "search = Search('s', make_grid(), 3, sys.argv[2])\n"
        "print('ready', flush=True)\n"
        "while (draw := search.ask()): search.tell(draw.number, 1.0)\n"
    )
    arguments = [sys.executable, "-c", script, str(ROOT), str(tmp_path / "killed")]
    for pause in (0.3, 0.7):
        process = subprocess.Popen(arguments, stdout=subprocess.PIPE)
        process.stdout.readline()
        time.sleep(pause)
        process.send_signal(signal.SIGKILL)
        process.wait()
    killed = Search("s", make_grid(), 3, str(tmp_path / "killed"))
    for draw in killed.interrupted():
        killed.tell(draw.number, 1.0)
    while len(killed.finished()) < 300:
        killed.tell(killed.ask().number, 1.0)
    straight = params_of(Search("s", make_grid(), 3, str(tmp_path / "straight")), 300)
    assert [dict(draw.params) for draw in killed.finished()][:300] == straight


def test_a_database_of_mlflow_is_refused_and_left_as_it_is(tmp_path):
    path = put_store(tmp_path)
    before = path.read_bytes()
    with pytest.raises(UserError, match=r"study_storage = 'sqlite:///.*mlflow.db' is a database of MLflow, and a"):
        Search("s", make_grid(), 0, f"sqlite:///{path}")
    assert path.read_bytes() == before


def test_a_storage_that_cannot_be_opened_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"study_storage cannot be opened \(.*\); check the URL"):
        Search("s", make_grid(), 3, "nosuchdialect://somewhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"study_storage = .* cannot be written"):
        Search("s", make_grid(), 3, str(tmp_path / "file" / "below"))


def test_a_database_that_has_not_answered_yet_is_not_waited_for():
    started = time.monotonic()
    with pytest.raises(UserError, match=r"study_storage cannot be opened \(.*\); check the URL"):
        Search("s", make_grid(), 3, "postgresql+psycopg://me:s3cret@127.0.0.1:1/studies")
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("answer", ["lost before", "lost after"])
def test_a_database_that_is_gone_for_a_moment_changes_no_draw(tmp_path, monkeypatch, answer):
    straight = params_of(Search("s", make_grid(), 3, str(tmp_path)), 12)
    search = Search("s", make_grid(), 3, f"sqlite:///{tmp_path / 'study.db'}")
    monkeypatch.setattr(search, "_patience", 10.0)  # as for a database with a server
    monkeypatch.setattr("signal_miner.mining.search._SECONDS_BETWEEN_ATTEMPTS", 0.0)
    work, calls = search._study.add_trial, iter(range(100))

    def add(trial):
        broken = next(calls) % 3 == 1
        if broken and answer == "lost before":
            raise StorageInternalError("the server closed the connection")
        work(trial)
        if broken:
            raise StorageInternalError("the server closed the connection")

    monkeypatch.setattr(search._study, "add_trial", add)
    draws = [search.ask() for _ in range(12)]
    assert [dict(draw.params) for draw in draws] == straight
    assert [draw.number for draw in draws] == list(range(12))
    for draw in draws:
        search.tell(draw.number, 1.0)
    assert len(Search("s", make_grid(), 3, f"sqlite:///{tmp_path / 'study.db'}").finished()) == 12


def test_a_database_that_stays_away_ends_the_mining_in_one_line(tmp_path, monkeypatch):
    search = Search("s", make_grid(), 3, f"sqlite:///{tmp_path / 'study.db'}")
    monkeypatch.setattr(search, "_patience", 0.2)
    monkeypatch.setattr("signal_miner.mining.search._SECONDS_BETWEEN_ATTEMPTS", 0.05)

    def gone(_trial):
        raise StorageInternalError("the server closed the connection")

    monkeypatch.setattr(search._study, "add_trial", gone)
    with pytest.raises(UserError, match=r"the study's storage failed \(the server closed.*rerun the command to resume"):
        search.ask()
