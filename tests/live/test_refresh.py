"""The weekly refresh: newest data, changes, refit, checks, registration; stopped anywhere, it resumes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient

from signal_miner.ensemble.build import build_ensemble
from signal_miner.errors import UserError
from signal_miner.live import refresh as refreshing
from signal_miner.live.data_changes import SHIFTED
from signal_miner.live.delivery import Delivered
from signal_miner.live.refresh import Refreshed, RefreshOptions, refresh
from signal_miner.live.slots import Slot
from signal_miner.models import packing, registration
from signal_miner.models.expectation import EXPECTED_SCORES, FEWEST_ERAS, ExpectedScores
from signal_miner.models.registry import Registry
from signal_miner.scoring.payout import DEFAULT_PAYOUT
from signal_miner.tracking.tags import MODEL_PROMOTE
from tests.helpers.refresh import newer, versions, write_live
from tests.helpers.refresh import run as run_in
from tests.helpers.study import command, copy_study
from tests.helpers.tournament import make_console


@pytest.fixture(scope="module")
def registered_study(tiny_study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the finished study with a registered champion, and live data beside its data."""
    study = copy_study(tiny_study, tmp_path_factory.mktemp("refreshed") / "study")
    build_ensemble(select="top", members=2, tracking_uri=f"sqlite:///{study}/mlflow.db")
    assert command(study, "register", "--promote", "always", "--data", str(study / "numerai")) == 0
    write_live(study / "numerai")
    return study


@pytest.fixture
def study(registered_study: Path, tmp_path: Path) -> Path:
    return copy_study(registered_study, tmp_path / "study")


def run(study: Path, slots: Sequence[Slot] = (Slot(""),), **options: object) -> tuple[Refreshed, str]:
    return run_in(study, slots, data=str(study / "numerai"), **options)


def test_register_keeps_what_is_expected(registered_study, tmp_path):
    registry = Registry(f"sqlite:///{registered_study}/mlflow.db")
    champion = registry.get("signal-miner", "champion")
    kept = ExpectedScores.read(registry.fetch(champion, EXPECTED_SCORES, tmp_path))
    assert kept.in_test.any()
    assert not kept.in_test.all()
    assert np.isfinite(kept.corr).all()
    assert kept.in_test.sum() < FEWEST_ERAS
    expected = MlflowClient(registry.tracking_uri).get_run(champion.run_id).data.metrics["expected/payout"]
    assert kept.expected(DEFAULT_PAYOUT).mean == pytest.approx(expected)


def test_unchanged_data_are_not_refitted(study):
    found, written = run(study)
    assert not found.failed
    assert (found.version, found.is_new) == ("1", False)
    assert "Nothing to refit: version 1 was fitted on these data" in written
    assert versions(study) == ["1"]


def test_new_eras_are_refitted_checked_and_registered_once(study):
    newer(study / "numerai")
    found, written = run(study)
    assert not found.failed, found.error
    assert (found.version, found.is_new) == ("2", True)
    assert (found.changes.eras, found.changes.new_eras) == (62, 2)
    assert found.check.era == "0099"
    assert -1 <= found.check.rank_correlation <= 1
    assert "champion is version 2 now" in written
    assert str(found).startswith("signal-miner@champion: new version 2, 62 eras to 0062 (2 since it was mined)")
    again, written = run(study)
    assert (again.version, again.is_new) == ("2", False)
    assert "Nothing to refit: version 2 was fitted on these data" in written
    assert versions(study) == ["1", "2"]


def test_a_feature_that_is_gone_is_named_before_anything_is_registered(study):
    newer(study / "numerai")
    used = Registry(f"sqlite:///{study}/mlflow.db").load("signal-miner", "champion", study / "loaded").needs.features
    path = study / "numerai" / "validation.parquet"
    pd.read_parquet(path).drop(columns=used[1]).to_parquet(path)
    found, _ = run(study)
    assert found.failed
    assert f"1 of the {len(used)} features that version 1 needs are gone from the data: {used[1]};" in found.error
    assert versions(study) == ["1"]


def test_a_version_that_predicts_otherwise_or_nonsense_is_not_registered(study, monkeypatch):
    newer(study / "numerai")
    packed: list[object] = []
    pack = refreshing.pack_on_newest
    monkeypatch.setattr(
        refreshing, "pack_on_newest", lambda *given: (packed or packed.append(pack(*given)) or packed)[0]
    )
    found, _ = run(study, least_correlation=1.0)
    assert "below 1; look at the data, or lower least_correlation" in found.error
    assert versions(study) == ["1"]
    assert str(found).startswith("signal-miner@champion: stopped, nothing registered or delivered:")
    for value in (np.nan, 0.5, 1.5, -0.1):

        def predict(_path: Path, frame: pd.DataFrame, *_: object, value: float = value) -> pd.DataFrame:
            predictions = pd.DataFrame({"prediction": np.linspace(0.1, 0.9, len(frame))}, frame.index)
            predictions.iloc[slice(None) if value == 0.5 else slice(1)] = value
            return predictions

        monkeypatch.setattr(refreshing, "predict_apart", predict)
        found, _ = run(study)
        assert found.failed, value
        assert found.version == ""
        assert "\n" not in found.error
        assert versions(study) == ["1"]
    assert len(packed) == 1


class Killed(BaseException):
    """Ends a process where it is raised."""


@pytest.mark.slow
def test_killed_at_each_step_it_resumes(study, monkeypatch):
    newer(study / "numerai")

    def killed(*_: object, **__: object) -> None:
        raise Killed

    for place, name in (
        (refreshing, "data_changes"),
        (packing, "write_predict"),
        (refreshing, "checked_submission"),
        (registration, "_record"),
        (Registry, "promote"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(place, name, killed)
            with pytest.raises(Killed):
                run(study)
        assert versions(study) == ["1", "2"] if name == "promote" else ["1"]
    found, written = run(study)
    assert not found.failed, found.error
    assert (found.version, found.is_new) == ("2", False)
    assert "champion is version 2 now" in written
    assert versions(study) == ["1", "2"]


def test_slots_are_delivered_to_only_after_all_checks(study, monkeypatch):
    newer(study / "numerai")
    delivered: list[list[str]] = []

    def deliver(slots: list[Slot], *_: object) -> tuple[Delivered, ...]:
        delivered.append([slot.name for slot in slots])
        return tuple(Delivered(slot, "no" * (slot.name == "two")) for slot in slots)

    monkeypatch.setattr(refreshing, "deliver", deliver)
    slots = [Slot("one"), Slot("two")]
    found, _ = run(study, slots, deliver=True, least_correlation=1.0)
    assert found.failed
    assert delivered == []
    run(study, slots)
    assert delivered == []
    found, _ = run(study, slots, deliver=True)
    assert delivered == [["one", "two"]]
    assert found.failed
    assert str(found).endswith("; 1 of 2 slots delivered, failed: two")


def test_a_model_registered_never_to_be_promoted_keeps_its_alias_unless_asked(study, monkeypatch):
    client = MlflowClient(f"sqlite:///{study}/mlflow.db")
    assert client.get_model_version("signal-miner", "1").tags[MODEL_PROMOTE] == "always"
    client.set_model_version_tag("signal-miner", "1", MODEL_PROMOTE, "never")
    newer(study / "numerai")
    found, written = run(study)
    assert (found.version, found.is_new, found.alias_version) == ("2", True, "1")
    assert "champion stays version 1; " in written
    assert str(found).endswith("(2 since it was mined); champion stays version 1")
    assert client.get_model_version("signal-miner", "2").tags[MODEL_PROMOTE] == "never"
    found, _ = run(study)
    assert (found.version, found.is_new, found.alias_version) == ("2", False, "1")

    def refuse(*_: object) -> None:
        raise UserError("the store is read-only; permit it")

    with monkeypatch.context() as patch:
        patch.setattr(Registry, "promote", refuse)
        found, _ = run(study, promote="always")
    assert str(found) == (
        "signal-miner@champion: version 2 is registered, but not delivered: the store is read-only; permit it"
    )
    found, written = run(study, promote="always")
    assert (found.version, found.is_new, found.alias_version) == ("2", False, "2")
    assert client.get_model_version("signal-miner", "2").aliases == ["champion"]
    assert versions(study) == ["1", "2"]


def test_drift_of_the_features_that_are_used_is_shown(study):
    newer(study / "numerai")
    path = study / "numerai" / "live.parquet"
    live = pd.read_parquet(path)
    used = Registry(f"sqlite:///{study}/mlflow.db").load("signal-miner", "champion", study / "loaded").needs.features
    live[used[0]] = np.where(np.arange(len(live)) % 8, 4, 0).astype(live[used[0]].dtype)
    live.to_parquet(path)
    found, written = run(study)
    assert next(iter(found.changes.drift)) == used[0]
    assert found.changes.drift[used[0]] > SHIFTED
    assert set(found.changes.drift) == set(used)
    assert f"the largest is {used[0]}" in written


def test_a_version_cannot_be_refreshed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    console, _ = make_console()
    (found,) = refresh([Slot("", alias="3")], RefreshOptions(), console)
    assert "alias 3 of signal-miner is a version" in found.error
    (found,) = refresh([Slot("", alias="latest")], RefreshOptions(), console)
    assert "alias latest of signal-miner is whichever version is newest" in found.error
    with pytest.raises(ValueError, match=r"promote = 'if_better' is neither always nor never; leave it out"):
        RefreshOptions(promote="if_better")
    assert isinstance(UserError(found.error), ValueError)
