"""``predict.pkl`` in the environments of Numerai's hosted runner: the same predictions in all of them."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import cloudpickle
import lightgbm as lgb
import numpy as np
import pandas as pd
import pytest

from signal_miner.ensemble.members import FEATURES, Neutralization
from signal_miner.models.portable import PortableModel, load_predict, write_predict
from tests.conftest import SHARED_DATA
from tests.helpers.hosted_environments import (
    PINS,
    HostedEnvironments,
    HostedRun,
    run_hosted,
    run_in_turn,
    run_python,
    write_job,
)
from tests.helpers.portable import COLUMN, EVERY_WAY, NAMES, benchmark_frame, live_frame, portable_model

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

REAL_MODEL = SHARED_DATA / "official_example_model_v5.2_small.txt"
REAL_ERA = SHARED_DATA / "live_like_era_0575_small.parquet"


@pytest.fixture(scope="session")
def environments(tmp_path_factory: pytest.TempPathFactory) -> HostedEnvironments:
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    directory = shared / "hosted_environments"
    directory.mkdir(exist_ok=True)
    return HostedEnvironments(directory)


@dataclass(frozen=True, eq=False)
class Job:
    """A file, what it is given, and what our own Python makes of that."""

    path: Path
    frame: pd.DataFrame
    benchmarks: pd.DataFrame | None
    expected: pd.Series


def make_job(path: Path, model: PortableModel, frame: pd.DataFrame, benchmarks: pd.DataFrame | None = None) -> Job:
    write_predict(model, path)
    return Job(path, frame, benchmarks, load_predict(path)(frame, benchmarks)["prediction"])


def run_all(python: Path, directory: Path, jobs: list[Job]) -> list[HostedRun]:
    """Run jobs in an environment, two at a time."""

    def run(job: Job) -> HostedRun:
        return run_hosted(python, directory / job.path.stem, job.path, job.frame, job.benchmarks)

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(run, jobs))


@pytest.fixture(scope="module")
def every_way(tmp_path_factory: pytest.TempPathFactory) -> list[Job]:
    """The same files for every Python: one neutralised in each way, and one that is not."""
    directory, frame = tmp_path_factory.mktemp("every_way"), live_frame(1000, 3)
    return [
        make_job(
            directory / f"{to}.pkl",
            portable_model(5, to, trees=20),
            frame,
            benchmark_frame(frame) if to == COLUMN else None,
        )
        for to in EVERY_WAY
    ]


@pytest.mark.parametrize("version", PINS)
def test_every_hosted_python_predicts_what_ours_does(
    version: str, environments: HostedEnvironments, every_way: list[Job], tmp_path: Path
) -> None:
    places = [tmp_path / job.path.stem for job in every_way]
    for job, place in zip(every_way, places, strict=True):
        write_job(place, job.path, job.frame, job.benchmarks)
    for job, run in zip(every_way, run_in_turn(environments.python(version), tmp_path, places), strict=True):
        pd.testing.assert_index_equal(run.predictions.index, job.expected.index)
        np.testing.assert_allclose(run.predictions, job.expected, rtol=0, atol=1e-9)


TYPES_AND_ERRORS = """
import pandas as pd
predict = pd.read_pickle("predict.pkl")
frame = pd.read_csv("live_features.csv", index_col="id", dtype={"era": str})
names = [name for name in frame if name.startswith("feature")]
plain = predict(frame, None)
untouched = frame.copy(deep=True)
others = [
    frame.astype(dict.fromkeys(names, "Int8")),
    frame.astype({names[0]: "Float32", names[1]: "int8", names[2]: "float64"}),
    frame[sorted(frame, reverse=True)].assign(extra="text"),
    frame.assign(era=frame["era"].where(frame["era"] != "1001")),
    frame.assign(era=frame["era"].astype("category")),
    frame.reset_index(),
]
for number, other in enumerate(others):
    if not predict(other, None).equals(plain):
        raise SystemExit(f"frame {number} is predicted otherwise")
pd.testing.assert_frame_equal(frame, untouched)
for wrong in (frame.drop(columns=names[:2]), frame.iloc[:0], frame.assign(**{names[0]: float("inf")})):
    try:
        predict(wrong, None)
    except ValueError as error:
        print(error)
"""


@pytest.mark.parametrize("version", PINS)
def test_types_and_errors_are_the_same_on_every_hosted_python(
    version: str, environments: HostedEnvironments, tmp_path: Path
) -> None:
    python = environments.python(version)
    write_predict(portable_model(2, FEATURES), tmp_path / "predict.pkl")
    live_frame(200, 3).to_csv(tmp_path / "live_features.csv")
    ended = run_python(python, tmp_path, "-W", "error", "-c", TYPES_AND_ERRORS)
    assert ended.returncode == 0, ended.stderr
    missing, empty, infinite = ended.stdout.splitlines()
    assert missing.startswith(f"2 of 12 features are missing, such as {NAMES[0]}, {NAMES[1]} (a data version change?)")
    assert empty == "live_features has no rows; give the rows to predict"
    assert infinite == "feature 'feature_00' is infinite in 200 rows; download the live data again"
    assert ended.stderr == ""


@pytest.fixture(scope="module")
def real_jobs(tmp_path_factory: pytest.TempPathFactory) -> list[Job]:
    """A real era for Numerai's own example model, as it is and neutralised to its features."""
    if not REAL_MODEL.exists():
        pytest.skip("real Numerai data are not beside this checkout")
    directory, text, frame = tmp_path_factory.mktemp("real"), REAL_MODEL.read_text(), pd.read_parquet(REAL_ERA)
    booster = lgb.Booster(model_str=text)
    features = tuple(booster.feature_name())
    assert set(features) == {name for name in frame if name.startswith("feature_")}
    assert (booster.num_trees(), len(features)) == (2000, 42)
    plain = PortableModel(features, (text,), (1.0,), None, None, ())
    jobs = [
        make_job(directory / "plain.pkl", plain, frame),
        make_job(directory / "neutral.pkl", replace(plain, neutralization=Neutralization(FEATURES, 0.5)), frame),
    ]
    own = pd.Series(booster.predict(frame[list(features)]).astype(np.float32), frame.index)
    np.testing.assert_array_equal(jobs[0].expected, (own.rank() - 0.5) / len(own))
    return jobs


@pytest.mark.parametrize("version", PINS)
def test_a_real_era_and_a_model_of_2000_trees_take_less_than_a_minute_and_a_gigabyte(
    version: str, environments: HostedEnvironments, real_jobs: list[Job], tmp_path: Path
) -> None:
    python = environments.python(version)
    plain, neutral = run_all(python, tmp_path, real_jobs)
    for job, run in zip(real_jobs, (plain, neutral), strict=True):
        np.testing.assert_allclose(run.predictions, job.expected, rtol=0, atol=1e-9)
        _show(version, job.path, run)
        assert run.load_seconds + run.predict_seconds < 60
        assert run.peak_memory_bytes < 10**9
    np.testing.assert_array_equal(plain.predictions, real_jobs[0].expected)


def _show(version: str, path: Path, run: HostedRun) -> None:
    megabytes, peak = path.stat().st_size / 1e6, run.peak_memory_bytes / 1e6
    sys.stdout.write(
        f"Python {version}, {path.stem}: {megabytes:.2f} MB, loaded in {run.load_seconds:.2f} s; "
        f"{len(run.predictions)} rows in {run.predict_seconds:.2f} s; peak {peak:.0f} MB\n"
    )


def test_a_cloudpickled_function_does_not_load_on_another_python(
    environments: HostedEnvironments, tmp_path: Path
) -> None:
    python = environments.python("3.10")
    shares = [0.25, 0.75]

    def predict(live_features: pd.DataFrame, live_benchmark_models: pd.DataFrame | None) -> pd.DataFrame:
        return (live_features[["feature_00"]] * shares[0] / 4).rename(columns={"feature_00": "prediction"})

    (tmp_path / "predict.pkl").write_bytes(cloudpickle.dumps(predict))
    with pytest.raises(AssertionError, match=r"cannot be loaded \(TypeError|ended with code -"):
        run_hosted(python, tmp_path / "job", tmp_path / "predict.pkl", live_frame(20), None)
