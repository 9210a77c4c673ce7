"""The memory plan: within its budget by its own estimate, compared with measured memory, rejected with what fits."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from signal_miner.data.dataset import Dataset
from signal_miner.data.feature_values import FeatureValues
from signal_miner.data.folds import Fold
from signal_miner.data.parquet_rows import ParquetRows
from signal_miner.data.sources import open_source
from signal_miner.engine.memory_needs import BoosterShape, StudyShape, shape_of
from signal_miner.engine.memory_plan import GROUP_BYTES, MemoryPlan, plan_memory
from signal_miner.errors import UserError
from signal_miner.experiment.files import load_experiment
from signal_miner.experiment.plan import Plan, make_plan, plan_record
from signal_miner.experiment.schema import parse_experiment
from signal_miner.report.sentences import describe_plan, memory_lines
from tests.helpers.mining import ROOT, environment, write_experiment

GB = 10**9
V53_SETS = {"small": 42, "medium": 780, "rain": 666, "all": 3555}
V53_TARGETS = ("target", *(f"target_{name}_60" for name in ("cyrusd", "teager2b", "victor", "xerxes", "jasper")))
LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


class DataOfAShape(Dataset):
    """Rows, columns and gaps in targets as given, without files."""

    unknown: dict[str, tuple[int, int]] = {}  # noqa: RUF012 - set anew for each
    levels: int | None = 5
    content = "0" * 16
    nullable_features = ()

    @property
    def feature_values(self) -> Any:
        return [FeatureValues((0, 1, 2, 3, 4), 0, 4)] * len(self.features)

    def read_target(self, name: str, rows: Any = slice(None)) -> Any:
        eras = self.eras[rows]
        first, last = self.unknown.get(name, (0, 0))
        return np.where((eras >= first) & (eras < last), np.nan, np.float32(0.5)).astype(np.float32)

    def horizon_days(self, target: str, declared: int | None = None) -> int:
        return 20 if target.endswith("_20") else 60

    def largest_level_count(self) -> int | None:
        return self.levels


def data_of(
    directory: Path,
    n_features: int,
    rows_of_era: np.ndarray,
    targets: tuple[str, ...] = ("target",),
    sets: dict[str, int] | None = None,
    footer_bytes: int = 0,
) -> DataOfAShape:
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "train.parquet"
    path.write_bytes(footer_bytes.to_bytes(4, "little") + b"PAR1")
    listed = {name: [f"feature_{place}" for place in range(size)] for name, size in (sets or {}).items()}
    (directory / "features.json").write_text(json.dumps({"feature_sets": listed}))
    eras = np.repeat(np.arange(1, len(rows_of_era) + 1, dtype=np.int32), rows_of_era)
    return DataOfAShape(
        name="shape",
        digest="0" * 16,
        eras=eras,
        era_labels={era: f"{era:04d}" for era in range(1, len(rows_of_era) + 1)},
        features=tuple(f"feature_{place}" for place in range(n_features)),
        targets=targets,
        scoring_target="target",
        source=ParquetRows((path,), np.empty(0, np.int64)),
        id_column="id",
        feature_bytes=1,
        benchmark_paths=(),
        benchmark_columns=("v53_lgbm_ender20", "v53_lgbm_ender60"),
    )


@pytest.fixture(scope="module")
def v53(tmp_path_factory):
    """Return plans of shipped experiments over the shape of v5.3: 6.8 million rows, 1,221 eras."""
    rows = np.linspace(2400, 8740, 1221).astype(np.int64)

    @cache
    def plan(name: str, **changes: Any) -> Plan:
        experiment = load_experiment(ROOT / "experiments" / f"{name}.toml", **{"jobs": 2} | changes)
        targets = experiment.targets or V53_TARGETS
        size = V53_SETS[experiment.feature_set]
        directory = tmp_path_factory.mktemp("v53")
        dataset = data_of(directory, size, rows, targets, V53_SETS, footer_bytes=20_000_000)
        dataset.unknown = {"target_cyrusd_60": (1, 400), "target_jasper_60": (1210, 1222)}
        return make_plan(experiment, dataset)

    return plan


def a_plan(directory: Path, n_features: int, rows: int, sets: dict[str, int] | None = None, **changes: Any) -> Plan:
    table: dict[str, Any] = {
        "name": "tiny",
        "data": "somewhere",
        "targets": ["target", "target_ender_20"],
        "numerai_benchmarks": [],
        "grid": {"n_estimators": [10, 200], "num_leaves": [4, 31], "max_bin": changes.pop("max_bin", [3, 5])},
        "benchmark": {"n_estimators": 100, "max_bin": 5},
    }
    data = data_of(directory, n_features, np.full(100, rows), ("target", "target_ender_20"), sets)
    data.levels = None
    data.unknown = changes.pop("unknown", {})
    return make_plan(parse_experiment(table | changes), data)


def plan_or_refusal(plan: Plan, budget: int) -> MemoryPlan | str:
    try:
        return plan_memory(plan, 4, available_bytes=2 * budget)
    except UserError as error:
        return str(error)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("shapes")


studies = st.fixed_dictionaries(
    {
        "n_features": st.integers(1, 6000),
        "rows": st.integers(2, 3000),
        "jobs": st.integers(1, 6),
        "max_bin": st.lists(st.sampled_from([2, 5, 15, 63, 255, 1000]), min_size=1, max_size=3, unique=True),
        "unknown": st.sampled_from([{}, {"target_ender_20": (1, 30)}, {"target_ender_20": (90, 101)}]),
        # Of four folds the first has four eras to train on, which a step of four would leave one of.
        "folds": st.sampled_from(
            [{"count": n, "train_era_step": step} for n in (2, 3, 4) for step in (1, 2, 4) if (n, step) != (4, 4)]
        ),
    }
)


@given(study=studies, budgets=st.lists(st.floats(0.3, 40), min_size=2, max_size=6))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_plan_fits_its_budget_and_more_memory_never_gives_less(scratch, study, budgets):
    jobs = []
    for budget in sorted(budgets):
        plan = a_plan(scratch, **study, memory_gb=budget)
        made = plan_or_refusal(plan, int(budget * GB))
        if isinstance(made, str):
            assert not jobs, "what fitted less memory fits more"
            assert "\n" not in made
            continue
        assert made.needed_bytes <= made.budget_bytes == int(budget * GB)
        assert 1 <= made.jobs <= study["jobs"]
        assert made.group_bytes in GROUP_BYTES
        assert 1 <= len(memory_lines(made)) <= 3
        shape = shape_of(plan)
        datasets = shape.together_bytes if made.together else shape.largest_bytes
        assert made.kept_bytes >= datasets
        assert made.needed_bytes - datasets + made.kept_bytes <= made.budget_bytes
        jobs.append((made.jobs, made.together))
    assert jobs == sorted(jobs)


@given(study=studies, share=st.floats(0.05, 0.99))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_a_refusal_names_fits(scratch, study, share):
    sets = {"tiny": 1, "half": max(1, study["n_features"] // 2), "all": study["n_features"]}
    plan = a_plan(scratch, **study, sets=sets)
    shape = shape_of(plan)
    budget = share * min(shape.needed_bytes(1, GROUP_BYTES[-1], together) for together in (False, True)) / GB
    with pytest.raises(UserError, match=r"cannot hold one binned dataset of .* what fits: .*memory_gb = ") as caught:
        plan_memory(a_plan(scratch, **study, sets=sets, memory_gb=budget), 4)
    named = str(caught.value).partition("what fits: ")[2]
    more = float(re.search(r"memory_gb = ([\d.]+)", named).group(1))
    assert plan_memory(a_plan(scratch, **study, memory_gb=more), 4, available_bytes=1).jobs >= 1
    if found := re.search(r"train_era_step = (\d+)", named):
        thinner = study | {"folds": study["folds"] | {"train_era_step": int(found.group(1))}}
        assert plan_memory(a_plan(scratch, **thinner, memory_gb=budget), 4).jobs >= 1
    if found := re.search(r"feature_set = '(\w+)'", named):
        smaller = study | {"n_features": sets[found.group(1)]}
        assert plan_memory(a_plan(scratch, **smaller, memory_gb=budget), 4).jobs >= 1
    if "max_bin of at most 15" in named:
        packed = study | {"max_bin": sorted({min(value, 15) for value in study["max_bin"]})}
        assert plan_memory(a_plan(scratch, **packed, memory_gb=budget), 4).jobs >= 1


def test_all_of_v53_is_grouped_on_22_gb(v53):
    plan = v53("numerai_all", engine="lightgbm")
    made = plan_memory(plan, 2, available_bytes=64 * GB)
    assert (made.together, made.jobs) == (False, 2)
    made = plan_memory(v53("numerai_all", engine="lightgbm", memory_gb=22), 2, available_bytes=22 * GB)
    assert not made.together
    assert made.jobs == 2
    assert re.fullmatch(
        r"Memory: [\d.]+ of 22\.0 GB: [\d.]+ GB for the program itself; trials are grouped by fold and target, "
        r"one dataset of at most [\d.]+ GB at a time; 2 trials at a time of [\d.]+ GB",
        memory_lines(made)[0],
    )
    (largest,) = {
        need.bytes for need in shape_of(plan).datasets if need.fold.number == 2 and need.key.target == "target"
    }
    assert 0.5 < largest / (3555 * 6.2e6) < 0.7


def test_medium_and_small_on_8_gb(v53):
    medium = plan_memory(v53("numerai_medium", engine="lightgbm"), 2, available_bytes=8 * GB)
    assert (medium.together, medium.jobs) == (False, 2)
    small = plan_memory(v53("numerai_small", engine="lightgbm"), 2, available_bytes=8 * GB)
    assert (small.together, small.jobs) == (True, 2)
    assert "kept together" in memory_lines(small)[0]


def test_all_of_v53_on_8_gb_is_refused_with_what_fits(v53):
    with pytest.raises(UserError) as caught:
        plan_memory(v53("numerai_all", engine="lightgbm"), 2, available_bytes=8 * GB)
    assert re.fullmatch(
        r"6\.5 GB cannot hold one binned dataset of [\d.]+ GB and one trial, [\d.]+ GB with all that belongs to them; "
        r"what fits: feature_set = 'medium' \(780 features\), or memory_gb = [\d.]+ where there is as much",
        str(caught.value),
    )


@pytest.mark.parametrize(
    ("named", "gigabytes", "jobs"), [("all", 22, 2), ("all", 17, 1), ("medium", 12, 2), ("small", 8, 2)]
)
def test_v53_as_bit_planes(v53, named, gigabytes, jobs):
    made = plan_memory(v53(f"numerai_{named}", memory_gb=gigabytes), 2, available_bytes=gigabytes * GB)
    assert (made.together, made.jobs) == (True, jobs)
    size = {"all": "12.1", "medium": "2.7", "small": "0.1"}[named]
    assert f"one store of bit planes for every fold and target, {size} GB" in memory_lines(made)[0]


def test_fewer_jobs_are_reported_with_the_memory_for_all(tmp_path):
    shape = shape_of(a_plan(tmp_path, 2000, 2000))
    enough = shape.needed_bytes(3, GROUP_BYTES[-1], together=False)
    made = plan_memory(a_plan(tmp_path, 2000, 2000, jobs=8, memory_gb=enough / GB + 0.001), 2)
    assert made.jobs == 3
    assert made.group_bytes == GROUP_BYTES[-1]
    assert re.fullmatch(r"Memory: 8 trials at a time, as asked for, would take [\d.]+ GB", memory_lines(made)[1])


@pytest.mark.parametrize(("available", "budget"), [(2, 1), (4, 2.5), (20, 18), (100, 90)])
def test_the_default_leaves_a_margin(tmp_path, available, budget):
    assert plan_memory(a_plan(tmp_path, 10, 10), 2, available_bytes=available * GB).budget_bytes == budget * GB


def test_thinning_is_part_of_a_study_only_where_it_thins(tmp_path):
    def plan(**folds: int) -> Plan:
        return a_plan(tmp_path, 10, 10, folds=folds)

    assert plan().study == plan(train_era_step=1).study != plan(train_era_step=2).study
    assert plan_record(plan(train_era_step=2))["experiment"]["folds"]["train_era_step"] == 2
    assert plan().config_hash == a_plan(tmp_path, 10, 10, memory_gb=3, cache_gb=0).config_hash
    assert "train 0001–0018, purge" in describe_plan(plan())[3]
    assert "train 0002–0018, 1 era in 4, purge" in describe_plan(plan(train_era_step=4))[3]
    assert shape_of(plan(train_era_step=4)).datasets[0].train_rows == 50


def test_a_budget_above_the_free_memory_is_reported(tmp_path):
    made = plan_memory(a_plan(tmp_path, 10, 10, memory_gb=64), 2, available_bytes=8 * GB)
    assert memory_lines(made)[-1] == "Memory: memory_gb = 64 is more than the 8.0 GB that are free"


def test_a_target_with_gaps_in_training_rows_is_counted_with_a_dataset_of_its_own(tmp_path):
    def needs(**unknown: tuple[int, int]) -> StudyShape:
        return shape_of(a_plan(tmp_path, 100, 500, unknown=unknown, benchmark={"n_estimators": 9, "max_bin": 5}))

    whole = needs()
    assert all(need.whole for need in whole.datasets)
    partly = needs(target_ender_20=(1, 2))
    assert [need.whole for need in partly.datasets] == [need.key.target == "target" for need in partly.datasets]
    newest = needs(target_ender_20=(95, 101))  # in no fold's training eras
    assert all(need.whole for need in newest.datasets)
    assert partly.together_bytes > whole.together_bytes > sum(need.bytes for need in whole.datasets)


def test_fewer_levels_than_bins_are_counted_as_they_are_packed(tmp_path):
    plan = a_plan(tmp_path, 100, 500, max_bin=[255])
    unknown = max(need.bytes for need in shape_of(plan).datasets)
    plan.dataset.levels = 5
    assert max(need.bytes for need in shape_of(plan).datasets) < 0.7 * unknown


def test_the_largest_booster_of_a_grid():
    assert BoosterShape.of({"n_estimators": (10, 20)}) == BoosterShape(20, 31, 20, False, 1.0, None)
    axes = {"n_estimators": (10,), "num_leaves": (7, 1023), "max_depth": (3, 5), "subsample": (0.5,)}
    assert BoosterShape.of(axes | {"min_child_samples": (0, 50)}) == BoosterShape(10, 32, 1, True, 1.0, None)
    assert BoosterShape.of(axes | {"max_depth": (-1, 5)}).leaves == 1023


BOOSTERS = {
    "rows": (500_000, 10, 2, 2, 5, None),
    "sampled rows": (500_000, 10, 2, 2, 5, 0.5),
    "leaves": (5_000, 1_000, 128, 2, 5, None),
    "bins": (5_000, 1_000, 32, 2, 100, None),
    "trees": (5_000, 10, 31, 800, 5, None),
}
"""What a booster takes most for: rows, features, leaves, trees, bins, subsample."""

_MEASURED_BOOSTERS = """
import ctypes, gc, json, re, sys
from multiprocessing import get_context
import numpy as np, lightgbm as lgb
from signal_miner.engine.binning import BinnedFold
from signal_miner.experiment.parameters import dataset_params

def resident():
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    return int(re.search(r"VmRSS:\\s+(\\d+)", open("/proc/self/status").read()).group(1)) * 1024

def measure(rows, features, leaves, trees, bins, subsample):
    params = {"num_leaves": leaves, "max_bin": bins, "min_child_samples": 1, "learning_rate": 0.01}
    if subsample is not None:
        params |= {"subsample": subsample, "subsample_freq": 1}
    generator = np.random.default_rng(0)
    values = generator.integers(0, min(bins, 120), (rows, features), dtype=np.int8)
    label = generator.normal(size=rows)
    train = lgb.Dataset(values, label=label, params=dataset_params(bins, 0)).construct()
    validation = lgb.Dataset(values, reference=train, params=dataset_params(bins, 0)).construct()
    del values

    def make():
        booster = BinnedFold(train, validation).start(params, 0)
        booster.grow(trees)
        booster.predictions()
        return booster

    held = [make()]
    before = resident()
    held += [make() for _ in range(4)]
    print((resident() - before) / 4)

for case in json.loads(sys.argv[1]):  # each in a process of its own, which does not import all of it anew
    process = get_context("fork").Process(target=measure, args=case)
    process.start()
    process.join()
"""


@pytest.fixture(scope="module")
def measured_boosters() -> dict[str, float]:
    """Bytes that a booster of each case takes in a process."""
    command = [sys.executable, "-W", "ignore", "-c", _MEASURED_BOOSTERS, json.dumps(list(BOOSTERS.values()))]
    done = subprocess.run(command, env=environment(), stdout=subprocess.PIPE, text=True, check=True)
    return dict(zip(BOOSTERS, map(float, done.stdout.split()), strict=True))


@LINUX
@pytest.mark.slow
@pytest.mark.parametrize("case", BOOSTERS)
def test_a_trial_takes_what_is_counted(tmp_path, measured_boosters, case):
    rows, features, leaves, trees, bins, subsample = BOOSTERS[case]
    axes: dict[str, tuple[Any, ...]] = {"n_estimators": (trees,), "num_leaves": (leaves,)}
    axes |= {} if subsample is None else {"subsample": (subsample,)}
    assert 0.8 < counted_booster(tmp_path, rows, features, bins, axes) / measured_boosters[case] < 1.4


def counted_booster(directory: Path, rows: int, features: int, bins: int, axes: dict[str, tuple[Any, ...]]) -> float:
    """Return what is counted for a booster that trains on and predicts the same rows, less its stored predictions."""
    plan = a_plan(directory, features, 10, max_bin=[bins], benchmark={"n_estimators": 1, "max_bin": bins})
    one_era_each = dict.fromkeys(plan.folds, (Fold(1, (1,), (2,)),))
    shape = replace(shape_of(plan), folds=one_era_each, rows_of_era={1: rows, 2: rows})
    booster = BoosterShape.of({"min_child_samples": (1,)} | axes)
    return shape.trial_bytes(booster) - 4 * min(20, booster.trees) * rows


@LINUX
@pytest.mark.slow
def test_a_process_that_mines_takes_what_is_counted(tmp_path, numerai_directory):
    path = write_experiment(tmp_path, numerai_directory)
    # Of its own: what the system reports for a parent can be the parent's own size at the fork.
    code = (
        "import re, sys; from pathlib import Path; from signal_miner.__main__ import main; "
        "code = main(['mine', '--experiment', sys.argv[1]]); "
        "print(re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1]); sys.exit(code)"
    )
    if not Path("/proc/self/status").exists():
        pytest.skip("this system does not report a process's peak memory")
    done = subprocess.run(
        [sys.executable, "-c", code, path.name], cwd=tmp_path, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    peak = int(done.stdout.split()[-1]) * 1024
    experiment = load_experiment(path)
    plan = make_plan(experiment, open_source(experiment.data, "all", "target"))
    needed = plan_memory(plan, 2, available_bytes=8 * GB).needed_bytes
    assert 0.4 < peak / needed < 1.05
