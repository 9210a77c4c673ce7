"""What several test files need: tiny data in Numerai's layout, and real data where a checkout has it beside it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from signal_miner.numerai.live.submission_runs import SubmissionRuns
    from tests.helpers.tournament import Tournament

settings.register_profile("steady", deadline=None)  # other processes may hold the cores
settings.load_profile("steady")


def _is_whole_suite(config: pytest.Config) -> bool:
    return config.args == config.getini("testpaths")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Use all cores for the whole suite alone: workers take longer to start than most files take to run.

    Tests of the documentation are in one folder, one after the other, as a reader is; those of a cluster share servers.
    """
    alone = re.search(r"\b(docs|cluster)\b", config.getoption("markexpr"))
    return None if _is_whole_suite(config) and not alone else 0


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is marked ``docs`` or ``cluster``, and ``slow`` tests of the whole suite, unless `-m` names it."""
    marks = ("docs", "cluster", "slow") if _is_whole_suite(config) else ("docs", "cluster")
    unasked = [mark for mark in marks if not re.search(rf"\b{mark}\b", config.getoption("markexpr"))]
    left_out = [item for item in items if any(map(item.get_closest_marker, unasked))]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
FEATURES = [f"feature_{number:02d}" for number in range(12)]


def make_frame(eras: range, rows: int, seed: int = 0, levels: int = 5) -> pd.DataFrame:
    """Return Numerai-like rows: a weak signal, `target` equal to `target_ender_20`, an auxiliary target with NaN."""
    generator = np.random.default_rng([seed, eras.start])
    count = len(eras) * rows
    frame = pd.DataFrame(generator.integers(0, levels, (count, len(FEATURES))).astype(np.int8), columns=FEATURES)
    signal = frame[FEATURES[0]] - frame[FEATURES[1]] * (frame[FEATURES[2]] > 2) + generator.normal(0, 6, count)
    buckets = np.clip(np.round((signal - signal.mean()) / signal.std() + 2), 0, 4) / 4
    frame["target"] = buckets.to_numpy(np.float32)
    frame["target_ender_20"] = frame["target"]
    auxiliary = (frame["target"] + generator.choice([-0.25, 0, 0.25], count)).clip(0, 1).astype(np.float32)
    auxiliary[generator.random(count) < 0.1] = np.nan
    frame["target_cyrusd_60"] = auxiliary
    frame.insert(0, "era", np.repeat([f"{era:04d}" for era in eras], rows))
    frame.insert(1, "data_type", "train")
    frame.index = pd.Index([f"n{seed:02d}{eras.start:04d}{row:09d}" for row in range(count)], name="id")
    return frame


def write_numerai_directory(directory: Path, eras: int = 60, rows: int = 40, seed: int = 0) -> Path:
    """Write train, validation, benchmark predictions and features.json; return the directory."""
    directory.mkdir(parents=True, exist_ok=True)
    cut = eras * 2 // 3
    train = make_frame(range(1, cut + 1), rows, seed)
    validation = make_frame(range(cut + 1, eras + 3), rows, seed)
    validation["data_type"] = "validation"
    newest = validation["era"] > f"{eras:04d}"
    validation.loc[newest, "data_type"] = "test"
    validation.loc[newest, ["target", "target_ender_20", "target_cyrusd_60"]] = np.nan
    train.to_parquet(directory / "train.parquet")
    validation.to_parquet(directory / "validation.parquet")
    sets = {"small": FEATURES[:4], "medium": FEATURES[:8], "all": FEATURES}
    targets = [name for name in train if name.startswith("target")]
    (directory / "features.json").write_text(json.dumps({"feature_sets": sets, "targets": targets}))
    generator = np.random.default_rng(seed)
    for name, frame in (("train", train), ("validation", validation)):
        part = frame.iloc[len(frame) // 4 if name == "train" else 0 :]
        predictions = pd.DataFrame({"era": part["era"], "tiny_lgbm_ender20": generator.random(len(part))}, part.index)
        predictions.to_parquet(directory / f"{name}_benchmark_models.parquet")
    return directory


@pytest.fixture
def numerai_directory(tmp_path: Path) -> Path:
    """A tiny data directory in Numerai's layout."""
    return write_numerai_directory(tmp_path / "numerai")


@pytest.fixture(scope="session")
def legacy_directory() -> Path:
    """Real Numerai data of 2017, if it is beside the checkout."""
    directory = SHARED_DATA / "numerai_legacy"
    if not directory.is_dir():
        pytest.skip("real Numerai data are not beside this checkout")
    return directory


# MLflow and numerapi take seconds to import: a test that needs neither does not wait for them.
@pytest.fixture(scope="session")
def tiny_mining(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, CompletedProcess[str]]:
    """A directory in which the command, as a process, created a store and mined ten trials; and its output."""
    from tests.helpers.mining import run_mining, write_experiment

    directory = tmp_path_factory.mktemp("tiny")
    write_experiment(directory, write_numerai_directory(directory / "numerai"))
    done = run_mining(directory)
    assert done.returncode == 0, done.stderr
    return directory, done


@pytest.fixture(scope="session")
def tiny_study(tiny_mining: tuple[Path, CompletedProcess[str]]) -> Path:
    """The directory of that study, to which only ensembles are added; tests that change it use a copy."""
    return tiny_mining[0]


@pytest.fixture
def tournament(monkeypatch: pytest.MonkeyPatch) -> Iterator[Tournament]:
    """A Numerai on loopback, with a key for it in the environment."""
    from tests.helpers.tournament import serve_tournament

    yield from serve_tournament(monkeypatch)


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database, to be copied."""
    from tests.helpers.mining import put_store

    return put_store(tmp_path_factory.mktemp("empty"))


@pytest.fixture(scope="session")
def store(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of one real tracking store for all tests; each has an experiment of its own in it."""
    return f"sqlite:///{shutil.copy(empty_store, tmp_path_factory.mktemp('store'))}"


@pytest.fixture
def experiment(store: str, tmp_path: Path) -> Iterator[str]:
    """The id of an experiment whose runs are seen by one test alone."""
    from signal_miner.tracking.store import open_client

    client = open_client(store)
    experiment_id = client.create_experiment(tmp_path.name, artifact_location=(tmp_path / "artifacts").as_uri())
    yield str(experiment_id)
    client.delete_experiment(experiment_id)


@pytest.fixture
def runs(store: str, experiment: str) -> SubmissionRuns:
    """The submissions of this test's experiment."""
    from signal_miner.numerai.live.submission_runs import SubmissionRuns

    return SubmissionRuns(store, experiment)
