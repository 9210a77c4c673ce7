"""Which ensemble a name means, where several studies have one of that name."""

from __future__ import annotations

import pytest
from mlflow import MlflowClient

from signal_miner.engine.metrics import RunMetrics
from signal_miner.ensemble.members import Ensemble, Member
from signal_miner.ensemble.runs import EnsembleRuns
from signal_miner.errors import UserError

STUDIES = ("demo-1111", "demo-2222", "other-3333", "demo-1111")  # in the order of their ensembles


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> tuple[EnsembleRuns, list[str]]:
    """A store with four ensembles: the last is "ensemble 2", the others "ensemble 1"; and their runs."""
    directory = tmp_path_factory.mktemp("names")
    uri = f"sqlite:///{directory / 'mlflow.db'}"
    client, runs, made = MlflowClient(uri), EnsembleRuns(uri), []
    experiments: dict[str, str] = {}
    for study in STUDIES:
        place = experiments.get(study) or client.create_experiment(study, (directory / study).as_uri())
        experiments[study] = place
        (files := directory / "files").mkdir(exist_ok=True)
        ensemble = Ensemble(study, (Member("a", 1, {"seed": "7"}, 10, 1.0),), None, {})
        made.append(runs.log(place, "hash", ensemble, {}, RunMetrics({}, {}), files, "").run_id)
    return runs, made


@pytest.mark.parametrize(
    ("which", "place"),
    [
        (None, 3),
        ("ensemble 2", 3),
        ("demo", 3),
        ("demo-2222", 1),
        ("demo-1111/ensemble 1", 0),
        ("demo-2222/ensemble 1", 1),
        ("other/ensemble 1", 2),
        ("demo/ensemble 2", 3),
    ],
)
def test_a_name_that_fits_one_is_that_one(store: tuple[EnsembleRuns, list[str]], which: str | None, place: int) -> None:
    runs, made = store
    assert runs.find(which).run_id == made[place]


def test_a_run_id_is_always_one(store: tuple[EnsembleRuns, list[str]]) -> None:
    runs, made = store
    assert [runs.find(run_id).run_id for run_id in made] == made


@pytest.mark.parametrize(
    ("which", "message"),
    [
        (
            "ensemble 1",
            "fits 3 ensembles; give one of other-3333/ensemble 1, demo-2222/ensemble 1, demo-1111/ensemble 1, or a run",
        ),
        (
            "demo/ensemble 1",
            "ensemble 'demo/ensemble 1' fits 2 ensembles; give one of demo-2222/ensemble 1, demo-1111/ensemble 1, or",
        ),
        ("ensemble 9", "ensemble 'ensemble 9' is not tracked; did you mean 'ensemble 2'?"),
        ("demo-2222/ensemble 2", "is not tracked; did you mean 'demo-2222/ensemble 1'?"),
    ],
)
def test_a_name_that_fits_several_or_none_is_one_line(
    store: tuple[EnsembleRuns, list[str]], which: str, message: str
) -> None:
    with pytest.raises(UserError) as raised:
        store[0].find(which)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
