"""Ensembles of several studies: matched by id, compared before they are blended, reproduced and refitted each."""

from __future__ import annotations

import json
from pathlib import Path

import lightgbm as lgb
import numpy as np
import pandas as pd
import pytest
from numerai_tools import scoring as oracle

from signal_miner.ensemble.build import build_ensemble
from signal_miner.errors import UserError
from signal_miner.models.portable import load_predict
from tests.conftest import write_numerai_directory
from tests.helpers.mining import artifact, mine_here, runs_of, write_experiment
from tests.helpers.study import artifact_path, command, members_of, newest_ensemble, predict_file

pytestmark = pytest.mark.slow


def mined(directory: Path, name: str, *arguments: str, **edits: str) -> str:
    """Mine a variant of the small experiment and return its study's name."""
    path = write_experiment(directory, directory / "numerai", trials=3)
    text = path.read_text()
    for before, after in (edit.split(" -> ") for edit in edits.values()):
        assert before in text
        text = text.replace(before, after)
    path.write_text(text)
    done = mine_here(directory, "--name", name, *arguments)
    assert done.returncode == 0, done.stderr
    names = [str(run.data.tags["signal_miner.study"]) for run in runs_of(directory, "study")]
    return next(each for each in names if each.startswith(name))


def shuffled(source: Path, target: Path) -> Path:
    """Write the same data with rows and columns in another order."""
    target.mkdir()
    for path in source.iterdir():
        if path.suffix != ".parquet":
            (target / path.name).write_bytes(path.read_bytes())
            continue
        frame = pd.read_parquet(path)
        order = np.lexsort((np.random.default_rng(1).random(len(frame)), frame["era"]))
        frame.iloc[order][[*frame.columns[:2], *frame.columns[:1:-1]]].to_parquet(target / path.name)
    return target


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    directory = tmp_path_factory.mktemp("studies")
    data = write_numerai_directory(directory / "numerai")
    other = write_numerai_directory(directory / "other", seed=4)
    mixed = shuffled(data, directory / "mixed")
    changed = shuffled(data, directory / "changed")
    for path in changed.glob("*[nt]*.parquet"):
        frame = pd.read_parquet(path)
        if "feature_03" in frame:
            frame["feature_03"] = 4 - frame["feature_03"]
            frame.to_parquet(path)
    return directory, {
        "all": mined(directory, "all"),
        "small": mined(directory, "small", "--seed", "5", features='feature_set = "all" -> feature_set = "small"'),
        "mixed": mined(directory, "mixed", "--data", str(mixed)),
        "planes": mined(directory, "planes", "--engine", "bitplane"),
        "other": mined(directory, "other", "--data", str(other), "--trials", "1"),
        "changed": mined(directory, "changed", "--data", str(changed), "--trials", "1"),
        "folds": mined(directory, "folds", "--trials", "1", folds="embargo_eras = 8 -> embargo_eras = 8\ncount = 3"),
        "scored": mined(
            directory, "scored", "--trials", "1", target='jobs = 2 -> jobs = 2\nscoring_target = "target_cyrusd_60"'
        ),
    }


def tracked_predictions(directory: Path, members: list[dict[str, object]]) -> pd.DataFrame:
    runs = {run.info.run_id: run for run in runs_of(directory)}
    read = {
        str(number): artifact(directory, runs[str(member["run_id"])], "predictions.parquet")[
            "prediction" if member.get("checkpoint") == "drawn" else "best_prediction"
        ]
        for number, member in enumerate(members)
    }
    return pd.DataFrame(read)  # pandas joins on the ids


@pytest.mark.parametrize("checkpoint", ["best", "drawn"])
def test_predictions_are_joined_on_ids_and_blended_as_numerais(studies, checkpoint):
    directory, names = studies
    uri = f"sqlite:///{directory / 'mlflow.db'}"
    built = build_ensemble(
        [names["all"], names["mixed"], names["small"]],
        select="top",
        members=9,
        min_trees=1,
        checkpoint=checkpoint,
        tracking_uri=uri,
    )
    run = newest_ensemble(directory)
    members = members_of(directory, run)
    assert run.data.tags["signal_miner.study"] == built.study == names["all"]
    assert {member.get("study", names["all"]) for member in members} == {names["all"], names["mixed"], names["small"]}
    assert {member.get("checkpoint", "best") for member in members} == {checkpoint}
    trials = {each.info.run_id: each.data for each in runs_of(directory)}
    for member in members:
        data = trials[member["run_id"]]
        trees = data.metrics["best/trees"] if checkpoint == "best" else float(data.params["n_estimators"])
        assert member["trees"] == trees
    tracked = artifact(directory, run, "predictions.parquet")
    columns = tracked_predictions(directory, members).loc[tracked.index]
    assert not columns.isna().any().any()
    for _, part in columns.groupby(tracked["era"]):
        blend = oracle.gaussian(oracle.tie_kept_rank(part)).mean(axis=1).to_frame("blend")
        expected = oracle.tie_kept_rank(blend.round(10))["blend"]
        assert tracked.loc[part.index, "prediction"].to_numpy() == pytest.approx(expected.to_numpy(), abs=1e-9)
    assert ("as drawn" if checkpoint == "drawn" else "at their best checkpoints") in repr(built)
    assert ("as drawn" if checkpoint == "drawn" else "at their best checkpoints") in run.data.tags[
        "mlflow.note.content"
    ]
    assert f"trial 0000 of {names['small']}" in built.table.index


def test_members_of_several_studies_are_reproduced_refitted_and_registered(studies, capsys):
    directory, names = studies
    trials = {(run.data.tags["signal_miner.study"], run.info.run_name): run for run in runs_of(directory)}
    chosen = [trials[names[study], f"trial 000{number}"] for study, number in (("small", 1), ("all", 0), ("mixed", 2))]
    ids = ",".join(run.info.run_id for run in chosen)
    assert command(directory, "ensemble", "--select", "runs", "--runs", ids, "--neutralize", "benchmark") == 0
    assert command(directory, "register") == 0
    assert "3 members" in capsys.readouterr().out
    run = newest_ensemble(directory)
    assert run.data.tags["signal_miner.study"] == names["small"]
    predict = load_predict(predict_file(directory))
    rows = pd.concat(pd.read_parquet(directory / "numerai" / name) for name in ("train.parquet", "validation.parquet"))
    rows = rows[rows["target"].notna()]
    features = [name for name in rows if name.startswith("feature")]
    known = {"target": rows["target"].notna(), "target_cyrusd_60": rows["target_cyrusd_60"].notna()}
    folder = artifact_path(directory, run, "refit")
    columns = []
    for member in members_of(directory, run):
        study = member.get("study")
        label = f"trial-{member['number']:04d}" + (f"-of-{study}" if study else "") + f"-{member['trees']}-trees"
        (file,) = folder.glob(f"{label}-*")
        booster = lgb.Booster(model_file=str(file))
        columns.append(booster.predict(rows[booster.feature_name()].to_numpy(np.float32)).astype(np.float32))
        plain = lgb.LGBMRegressor(
            n_estimators=member["trees"], verbosity=-1, n_jobs=1, deterministic=True, force_col_wise=True,
            random_state=int(member["params"]["seed"]),
            **{name: float(member["params"][name]) for name in ("learning_rate", "colsample_bytree")},
            **{name: int(member["params"][name]) for name in ("max_bin", "max_depth", "num_leaves")},
        )  # fmt: skip
        fitted = known[member["params"]["target"]]
        ordered = rows[fitted] if study != names["mixed"] else None
        if ordered is not None:
            plain.fit(ordered[booster.feature_name()], ordered[member["params"]["target"]])
            assert columns[-1] == pytest.approx(plain.predict(rows[booster.feature_name()]), abs=1e-6)
    (file,) = folder.glob("benchmark-*")
    booster = lgb.Booster(model_file=str(file))
    own = pd.DataFrame({"b": booster.predict(rows[booster.feature_name()].to_numpy(np.float32))}, rows.index)
    table = pd.DataFrame(np.column_stack(columns), rows.index)
    given = predict(rows[["era", *features]], None)["prediction"]
    for _, part in table.groupby(rows["era"]):
        blend = oracle.gaussian(oracle.tie_kept_rank(part)).mean(axis=1).to_frame("blend")
        blend = oracle.neutralize(blend, oracle.gaussian(oracle.tie_kept_rank(own.loc[part.index])))
        expected = oracle.tie_kept_rank(blend.round(10))["blend"]
        assert given.loc[part.index].to_numpy() == pytest.approx(expected.to_numpy(), abs=1e-9)
    assert command(directory, "holdout", "--ensemble", run.info.run_id) == 2
    assert "the holdout is opened for a model of one study" in capsys.readouterr().err


def test_members_of_both_engines_are_blended_refitted_and_predict_alike(studies):
    directory, names = studies
    trials = {(run.data.tags["signal_miner.study"], run.info.run_name): run for run in runs_of(directory)}
    ids = ",".join(trials[names[study], "trial 0001"].info.run_id for study in ("all", "planes"))
    assert command(directory, "ensemble", "--select", "runs", "--runs", ids) == 0
    assert command(directory, "register") == 0
    run = newest_ensemble(directory)
    rows = pd.read_parquet(directory / "numerai" / "validation.parquet")
    files = sorted(artifact_path(directory, run, "refit").glob("trial-*"))
    boosters = [lgb.Booster(model_file=str(file)) for file in files]
    assert len(boosters) == 2
    table = pd.DataFrame(
        {place: each.predict(rows[each.feature_name()].to_numpy(np.float32)) for place, each in enumerate(boosters)},
        rows.index,
    ).astype(np.float32)
    features = [name for name in rows if name.startswith("feature")]
    given = load_predict(predict_file(directory))(rows[["era", *features]], None)["prediction"]
    for _, part in table.groupby(rows["era"]):
        blend = oracle.gaussian(oracle.tie_kept_rank(part)).mean(axis=1).to_frame("blend")
        expected = oracle.tie_kept_rank(blend.round(10))["blend"]
        assert given.loc[part.index].to_numpy() == pytest.approx(expected.to_numpy(), abs=1e-9)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ("other", "other validation rows; choose studies of the same data"),
        ("changed", "other values of feature_03; choose studies of the same version of the data"),
        ("folds", r"other validation eras; choose studies with the same data and \[folds\]"),
        ("scored", "the scoring targets target and target_cyrusd_60; choose studies scored on the same target"),
    ],
)
def test_studies_that_cannot_be_blended_are_one_line(studies, other, message):
    directory, names = studies
    before = len(runs_of(directory, "ensemble"))
    with pytest.raises(
        UserError, match=f"studies {names['all']} and {names[other]} cannot be blended: they have {message}"
    ):
        build_ensemble(f"{names['all']}, {names[other]}", tracking_uri=f"sqlite:///{directory / 'mlflow.db'}")
    assert len(runs_of(directory, "ensemble")) == before


def test_other_features_are_not_neutralised_to(studies):
    directory, names = studies
    uri = f"sqlite:///{directory / 'mlflow.db'}"
    with pytest.raises(UserError, match="neutralize = 'features' needs studies of one feature set, and these have 2"):
        build_ensemble([names["all"], names["small"]], neutralize="features", tracking_uri=uri)


def test_an_ensemble_of_one_study_is_written_as_before(studies):
    directory, names = studies
    assert command(directory, "ensemble", "--study", names["all"], "--min-trees", "1") == 0
    table = json.loads(artifact_path(directory, newest_ensemble(directory), "ensemble.json").read_text())
    assert all(set(member) == {"run_id", "number", "params", "trees", "weight"} for member in table["members"])
