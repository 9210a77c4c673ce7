"""The synthetic market: Numerai's layout, weak signal, and a directory that is always whole."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from numerai_tools.scoring import correlation_contribution, numerai_corr

from signal_miner.data import demo
from signal_miner.data.demo import Market, ensure_demo, write_market
from signal_miner.data.demo_market import simulate
from signal_miner.errors import UserError

TINY = Market(train_eras=30, validation_eras=16, rows_per_era=60, features=20)
PARTS = ("train", "validation", "live")
PARQUETS = [f"{part}{kind}.parquet" for part in PARTS for kind in ("", "_benchmark_models")]
TARGETS = [f"target_{name}_{days}" for name in ("cyrusd", "ender", "teager2b") for days in (20, 60)]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_market(tmp_path_factory.mktemp("demo") / "tiny", TINY)


@pytest.fixture(scope="module")
def default(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ensure_demo(tmp_path_factory.mktemp("demo") / "default")


def read(directory: Path, name: str) -> pd.DataFrame:
    return pd.read_parquet(directory / f"{name}.parquet")


def frames_equal(one: Path, other: Path) -> bool:
    return all(pd.read_parquet(one / name).equals(pd.read_parquet(other / name)) for name in PARQUETS)


def era_scores(predictions: pd.Series, rows: pd.DataFrame, target: str = "target") -> pd.Series:
    """CORR of each era with a resolved target, by Numerai's own function."""
    rows = rows.loc[predictions.index].assign(prediction=predictions)
    rows = rows[rows[target].notna()]
    return pd.Series(
        {era: numerai_corr(of[["prediction"]], of[target])["prediction"] for era, of in rows.groupby("era")}
    )


# --- layout ---------------------------------------------------------------------------------------------


def test_files_are_numerais(tiny: Path) -> None:
    assert {path.name for path in tiny.iterdir()} == {*PARQUETS, "features.json", "demo.json"}
    sets = json.loads((tiny / "features.json").read_text())["feature_sets"]
    assert [len(sets[name]) for name in ("small", "medium", "all")] == [4, 10, 20]
    assert set(sets["small"]) < set(sets["medium"]) < set(sets["all"])
    assert json.loads((tiny / "features.json").read_text())["targets"] == [*TARGETS, "target"]
    for part in PARTS:
        frame = read(tiny, part)
        assert list(frame.columns) == ["era", "data_type", *sets["all"], "target", *TARGETS]
        assert frame.index.name == "id"
        schema = pq.read_schema(tiny / f"{part}.parquet")
        assert {str(schema.field(name).type) for name in sets["all"]} == {"int8"}
        assert {str(schema.field(name).type) for name in ["target", *TARGETS]} == {"float"}


def test_eras_and_data_types_follow_one_another(tiny: Path) -> None:
    frame = pd.concat(read(tiny, part) for part in PARTS)
    spans = frame.groupby("data_type")["era"].agg(["min", "max", "nunique"])
    assert spans.loc["train"].tolist() == ["0001", "0030", 30]
    assert spans.loc["validation"].tolist() == ["0031", "0046", 16]
    assert spans.loc["test"].tolist() == ["0047", "0059", 13]
    assert spans.loc["live"].tolist() == ["0060", "0060", 1]
    assert frame.index.is_unique
    assert frame.index.str.fullmatch(r"n[0-9a-f]{15}").all()
    counts = frame.groupby("era").size()
    assert counts.nunique() > 10
    assert counts.between(0.8 * 60, 1.2 * 60).all()


def test_targets_have_numerais_values_and_proportions(default: Path) -> None:
    frame = read(default, "train")
    assert frame["target"].equals(frame["target_ender_60"].rename("target"))
    for target in ("target_ender_20", "target_ender_60"):
        shares = pd.crosstab(frame["era"], frame[target], normalize="index")
        assert list(shares.columns) == [0, 0.25, 0.5, 0.75, 1]
        assert np.abs(shares - [0.05, 0.2, 0.5, 0.2, 0.05]).to_numpy().max() < 0.005
    auxiliary = frame[[name for name in TARGETS if "ender" not in name]]
    assert auxiliary.isna().mean().between(0.01, 0.10).all()
    assert set(np.unique(auxiliary.to_numpy()[auxiliary.notna()])) == {0, 0.25, 0.5, 0.75, 1}
    related = frame[TARGETS].corr()["target_ender_60"]
    assert related.drop("target_ender_60").between(0.15, 0.97).all()


def test_targets_resolve_with_their_horizon(tiny: Path) -> None:
    frame = pd.concat(read(tiny, part) for part in PARTS)
    known = frame.groupby("era")[["target", *TARGETS]].agg(lambda values: values.notna().mean())
    newest = {name: known.index[known[name] > 0].max() for name in known}
    assert {newest[name] for name in known if not name.endswith("_20")} == {"0046"}
    assert {newest[name] for name in known if name.endswith("_20")} == {"0055"}
    assert (known.loc[:"0046", ["target", "target_ender_20", "target_ender_60"]] == 1).all(axis=None)


def test_features_are_quintiles_or_not_yet_born(default: Path) -> None:
    frame = read(default, "train")
    features = json.loads((default / "features.json").read_text())["feature_sets"]
    early = frame[frame["era"] == "0001"][features["all"]]
    unborn = [name for name in features["all"] if (early[name] == 2).all()]
    assert len(unborn) == 3
    assert not set(unborn) & set(features["small"])
    assert (frame.loc[frame["era"] <= "0020", unborn] == 2).all(axis=None)
    for name in [*features["small"][:3], unborn[0]]:
        shares = frame[frame["era"] == "0021"][name].value_counts(normalize=True)
        assert shares.index.sort_values().tolist() == [0, 1, 2, 3, 4]
        assert shares.between(0.19, 0.21).all()


def test_benchmark_predictions_start_late_and_are_ranks(tiny: Path) -> None:
    models = ["demo_ridge_ender20", "demo_ridge_ender60"]
    for part in PARTS:
        frame, rows = read(tiny, f"{part}_benchmark_models"), read(tiny, part)
        assert list(frame.columns) == ["era", *models]
        assert ((frame[models] > 0) & (frame[models] < 1)).all(axis=None)
        assert frame["era"].equals(rows.loc[frame.index, "era"])
        assert np.allclose(frame.groupby("era")[models].mean(), 0.5)
        assert frame["era"].min() == max("0021", rows["era"].min())


@pytest.mark.parametrize(("days", "purge"), [(20, 8), (60, 16)])
def test_benchmarks_do_not_train_within_the_purge(days: int, purge: int) -> None:
    panel = simulate(TINY)
    first = 21
    chunk = (panel.eras >= first) & (panel.eras < first + 7)
    before = demo._benchmarks(panel, TINY)[f"demo_ridge_ender{days}"][chunk]

    def after(oldest_changed: int) -> np.ndarray:
        target = panel.targets[f"target_ender_{days}"].copy()
        changed = panel.eras >= oldest_changed
        target[changed] = 1 - target[changed]
        changed_panel = replace(panel, targets=panel.targets | {f"target_ender_{days}": target})
        return demo._benchmarks(changed_panel, TINY)[f"demo_ridge_ender{days}"][chunk]

    assert np.array_equal(after(first - purge), before)
    assert not np.array_equal(after(first - purge - 1), before)


# --- the same market from the same seed -----------------------------------------------------------------


def test_a_market_is_its_seed(tiny: Path, tmp_path: Path) -> None:
    assert frames_equal(tiny, write_market(tmp_path / "again", TINY))
    other = write_market(tmp_path / "other", replace(TINY, seed=1))
    assert not set(read(other, "train").index) & set(read(tiny, "train").index)
    assert not frames_equal(tiny, other)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_eras": 1}, "train_eras=1 is below 2; raise it"),
        ({"rows_per_era": 19}, "rows_per_era=19 is below 20"),
        ({"seed": -1}, "seed=-1 is below 0"),
        ({"features": 5000}, "features=5000 is above 4096; lower it"),
        ({"train_eras": 9999}, "more than four digits can label"),
        ({"signal": -0.5}, "signal=-0.5 is not a finite number from 0 up"),
        ({"signal": float("nan")}, "signal=nan is not a finite number"),
    ],
)
def test_impossible_markets_are_refused(changes: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        Market(**changes)  # type: ignore[arg-type]


def test_the_smallest_market_can_be_written(tmp_path: Path) -> None:
    smallest = Market(train_eras=2, validation_eras=1, test_eras=0, rows_per_era=20, features=5)
    directory = write_market(tmp_path / "smallest", smallest)
    assert read(directory, "validation")["data_type"].unique().tolist() == ["validation"]
    assert list(read(directory, "live_benchmark_models").columns) == ["era", "demo_ridge_ender20", "demo_ridge_ender60"]


# --- a directory that is always whole -------------------------------------------------------------------


def spoil_file(directory: Path) -> None:
    (directory / "live.parquet").unlink()


def truncate_file(directory: Path) -> None:
    whole = (directory / "train.parquet").read_bytes()
    (directory / "train.parquet").write_bytes(whole[: len(whole) // 2])


def age_version(directory: Path) -> None:
    marker = json.loads((directory / "demo.json").read_text())
    (directory / "demo.json").write_text(json.dumps(marker | {"version": demo.DEMO_VERSION - 1}))


def break_marker(directory: Path) -> None:
    (directory / "demo.json").write_text('{"version": ')


@pytest.mark.parametrize("spoil", [spoil_file, truncate_file, age_version, break_marker])
def test_a_spoiled_market_is_generated_again(spoil: object, tiny: Path, tmp_path: Path) -> None:
    directory = ensure_demo(tmp_path / "demo", TINY)
    assert callable(spoil)
    spoil(directory)
    assert frames_equal(ensure_demo(directory, TINY), tiny)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".demo.lock", "demo"]


def test_a_whole_market_is_left_alone(tmp_path: Path) -> None:
    directory = ensure_demo(tmp_path / "new" / "demo", TINY)
    made = (directory / "train.parquet").stat().st_mtime_ns
    ensure_demo(directory, TINY)
    assert (directory / "train.parquet").stat().st_mtime_ns == made
    ensure_demo(directory, replace(TINY, seed=1))
    assert (directory / "train.parquet").stat().st_mtime_ns > made


@pytest.mark.parametrize("make", [ensure_demo, write_market])
def test_the_users_own_files_are_never_replaced(make: object, tmp_path: Path) -> None:
    (tmp_path / "v5.3").mkdir()
    (tmp_path / "v5.3" / "train.parquet").write_bytes(b"PAR1")
    (tmp_path / "file").write_text("mine")
    assert callable(make)
    with pytest.raises(UserError, match="holds other files than the demo data; choose a new or empty directory"):
        make(tmp_path / "v5.3", TINY)
    assert (tmp_path / "v5.3" / "train.parquet").read_bytes() == b"PAR1"
    with pytest.raises(UserError, match="is a file; name a directory"):
        make(tmp_path / "file", TINY)
    with pytest.raises(UserError, match=r"cannot write the demo data to .*; choose another directory"):
        make(tmp_path / "file" / "below", TINY)


def start(directory: Path, market: str, before: str = "") -> subprocess.Popen[str]:
    code = (
        "import sys; from pathlib import Path; from signal_miner.data import demo\n"
        f"{before}\ndemo.ensure_demo(Path(sys.argv[1]), demo.{market})"
    )
    root = Path(__file__).parents[2]
    return subprocess.Popen([sys.executable, "-c", code, str(directory)], cwd=root, text=True, stdout=subprocess.PIPE)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL on Windows")
def test_a_killed_writer_leaves_nothing_in_the_way(tiny: Path, tmp_path: Path) -> None:
    directory = tmp_path / "demo"
    stall = (
        "import time; write = demo._write_parquet\n"
        "def stalling(frame, path):\n"
        "    write(frame, path)\n"
        "    if path.name == 'validation.parquet': print('half', flush=True); time.sleep(60)\n"
        "demo._write_parquet = stalling"
    )
    writer = start(directory, repr(TINY), stall)
    assert writer.stdout is not None
    assert writer.stdout.readline() == "half\n"
    writer.send_signal(signal.SIGKILL)
    writer.communicate()
    assert not directory.exists()
    assert list(tmp_path.glob(".demo.partial-*"))
    assert frames_equal(ensure_demo(directory, TINY), tiny)
    assert not list(tmp_path.glob(".demo.partial-*"))


def test_several_processes_at_once_generate_one_market(tiny: Path, tmp_path: Path) -> None:
    writers = [start(tmp_path / "demo", repr(TINY)) for _ in range(3)]
    assert [writer.communicate(timeout=60) and writer.returncode for writer in writers] == [0, 0, 0]
    assert frames_equal(tmp_path / "demo", tiny)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".demo.lock", "demo"]


# --- signal ---------------------------------------------------------------------------------------------


def test_neighbouring_eras_share_their_horizon() -> None:
    """With no signal, what features score is noise, and only overlapping targets make it last."""
    panel = simulate(Market(train_eras=120, validation_eras=40, rows_per_era=300, features=36, signal=0.0))
    likeness = {}
    for days in (20, 60):
        scores = []  # (n_eras, n_features)
        for era in range(30, 160):  # all features are born
            rows = panel.eras == era
            features = panel.features[:, rows] - panel.features[:, rows].mean(axis=1, keepdims=True)
            scores.append(features @ (panel.targets[f"target_ender_{days}"][rows] - 0.5))
        table = np.array(scores)
        for lag in (1, 3, 4, 8, 16):
            likeness[days, lag] = (table[:-lag] * table[lag:]).sum() / (table**2).sum()
    assert likeness[20, 1] > 0.5
    assert likeness[60, 1] > 0.7
    assert likeness[60, 1] > likeness[60, 4] > likeness[60, 8] > 0.08
    assert likeness[60, 4] > 0.3
    assert likeness[20, 3] > 0.08
    assert max(abs(likeness[20, 8]), abs(likeness[20, 16]), abs(likeness[60, 16])) < 0.15


def benchmark_corr(market: Market) -> float:
    panel = simulate(market)
    rows = pd.DataFrame({"era": panel.eras, "target": panel.targets[demo.PAYOUT_TARGET]})
    predictions = pd.Series(demo._benchmarks(panel, market)["demo_ridge_ender60"]).dropna()
    return float(era_scores(predictions, rows).mean())


def test_without_signal_nothing_is_predictable() -> None:
    """Overlapping targets leave the mean of 50 eras a wide standard error, so it takes several markets."""
    market = Market(train_eras=40, validation_eras=30, rows_per_era=200, features=24, signal=0.0)
    corrs = [benchmark_corr(replace(market, seed=seed)) for seed in range(6)]
    assert abs(np.mean(corrs)) < 0.025
    assert np.std(corrs) < 0.05


def test_a_strong_signal_cannot_be_missed() -> None:
    strong = Market(train_eras=40, validation_eras=30, rows_per_era=200, features=24, signal=6.0)
    assert 0.12 < benchmark_corr(strong) < 0.60


def test_another_target_shows_what_the_benchmark_lacks(default: Path) -> None:
    """A model of teager2b is paid for its contribution to the benchmark, more than one of the scoring target."""
    lightgbm = pytest.importorskip("lightgbm")
    rows = pd.concat(read(default, part) for part in ("train", "validation"))
    benchmark = pd.concat(read(default, f"{part}_benchmark_models") for part in ("train", "validation"))
    features = json.loads((default / "features.json").read_text())["feature_sets"]["all"]
    number = rows["era"].astype(int)
    ahead = rows[number.between(105, 156)].join(benchmark["demo_ridge_ender60"])
    scores = {}
    for target in ("target", "target_teager2b_60"):
        train = rows[(number <= 88) & rows[target].notna()]
        model = lightgbm.LGBMRegressor(
            n_estimators=60, learning_rate=0.05, num_leaves=15, colsample_bytree=0.4, max_bin=5, n_jobs=1, verbose=-1
        )
        predictions = ahead.assign(prediction=model.fit(train[features], train[target]).predict(ahead[features]))
        eras = [era for _, era in predictions.groupby("era")]
        corr = [numerai_corr(era[["prediction"]], era["target"])["prediction"] for era in eras]
        bmc = [
            correlation_contribution(era[["prediction"]], era["demo_ridge_ender60"], era["target"])["prediction"]
            for era in eras
        ]
        scores[target] = np.mean(bmc), np.mean(corr) / np.std(corr)
    assert scores["target_teager2b_60"][0] > max(0.015, scores["target"][0])
    assert scores["target_teager2b_60"][1] < scores["target"][1]


def test_some_features_turn_and_others_do_not() -> None:
    panel = simulate(Market(train_eras=120, validation_eras=40))
    target = panel.targets["target_teager2b_20"]
    scores = []  # (n_eras, n_characteristics)
    for era in range(30, 160, 4):  # all features are born
        rows = (panel.eras == era) & np.isfinite(target)
        covariances = (panel.features[:, rows] - 2.0) @ (target[rows] - target[rows].mean()) / rows.sum()
        scores.append([covariances[panel.characteristics == each].mean() for each in (5, 9, 10, 11)])
    spread = np.std(scores, axis=0)
    steadiness = np.abs(np.mean(scores, axis=0)) / spread
    assert steadiness[0] > 1 > 0.8 > steadiness[1:].max()
    assert spread[1:].min() > spread[0]


def test_the_default_is_weakly_predictable(default: Path) -> None:
    lightgbm = pytest.importorskip("lightgbm")
    rows = pd.concat(read(default, part) for part in ("train", "validation"))
    rows = rows[rows["target"].notna()]
    features = json.loads((default / "features.json").read_text())["feature_sets"]["all"]
    number = rows["era"].astype(int)
    for train_to, from_era, to_era in ((36, 53, 104), (88, 105, 156)):
        train, ahead = rows[number <= train_to], rows[number.between(from_era, to_era)]
        model = lightgbm.LGBMRegressor(
            n_estimators=300, learning_rate=0.02, max_depth=5, num_leaves=15, colsample_bytree=0.1,
            max_bin=5, n_jobs=1, verbose=-1, seed=0,
        )  # fmt: skip
        model.fit(train[features], train["target"])
        scores = era_scores(pd.Series(model.predict(ahead[features]), index=ahead.index), ahead)
        assert 0.015 < scores.mean() < 0.05
        assert 0.4 < scores.mean() / scores.std(ddof=0) < 1.4
        assert scores.autocorr(1) > 0.2


def test_the_default_is_small_and_quick(default: Path, tmp_path: Path) -> None:
    assert sum(path.stat().st_size for path in default.iterdir()) < 40e6
    start_cpu = time.process_time()
    write_market(tmp_path / "again")
    assert time.process_time() - start_cpu < 20
