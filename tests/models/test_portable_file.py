"""The file ``predict.pkl``: what it is made of, and which models and files are refused."""

from __future__ import annotations

import pickletools
import traceback
from dataclasses import replace
from pathlib import Path

import lightgbm as lgb
import numpy as np
import pytest

from signal_miner.ensemble.members import FEATURES, OWN_BENCHMARK, Neutralization
from signal_miner.errors import UserError
from signal_miner.models.portable import load_predict, write_predict
from tests.helpers.portable import EVERY_WAY, NAMES, booster_text, live_frame, loaded, portable_model


@pytest.mark.parametrize("to", EVERY_WAY)
def test_the_same_model_gives_the_same_bytes(to: str | None, tmp_path: Path) -> None:
    model = portable_model(3, to)
    apart = tuple("".join(list(name)) for name in NAMES)  # equal, and none of them the same object
    shared = replace(model, boosters=(model.boosters[0],) * 3)
    for number, same in enumerate((model, replace(model, features=apart), shared, replace(shared, features=apart))):
        write_predict(same, tmp_path / f"{number}.pkl")
    contents = [(tmp_path / f"{number}.pkl").read_bytes() for number in range(4)]
    assert contents[0] == contents[1]
    assert contents[2] == contents[3]
    assert contents[0] != contents[2]


def test_the_pickle_names_nothing_but_builtins_and_holds_no_bytecode(tmp_path: Path) -> None:
    write_predict(portable_model(2, OWN_BENCHMARK), tmp_path / "predict.pkl")
    content = (tmp_path / "predict.pkl").read_bytes()
    named, strings = [], []
    for opcode, argument, _ in pickletools.genops(content):
        if opcode.name in ("GLOBAL", "INST", "EXT1", "EXT2", "EXT4", "PERSID", "BINPERSID"):
            named.append((opcode.name, argument))
        if opcode.name == "STACK_GLOBAL":
            named.append(tuple(strings[-2:]))
        if isinstance(argument, str):
            strings.append(argument)
    assert named == [("builtins", "eval")]
    assert content[:2] == b"\x80\x04"
    assert not any(name in content for name in (b"signal_miner.members", b"cloudpickle", b"code_new"))


def test_boosters_are_parsed_once_and_their_texts_let_go(tmp_path: Path) -> None:
    predict = loaded(portable_model(2, OWN_BENCHMARK), tmp_path)
    held = [cell.cell_contents for cell in predict.__closure__]
    parts = [part for value in held for part in (value if isinstance(value, (list, tuple)) else [value])]
    assert sum(isinstance(part, lgb.Booster) for part in parts) == 3
    assert not any(isinstance(part, bytes) for part in parts)


def test_a_traceback_shows_its_lines(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="features are missing") as raised:
        loaded(portable_model(1), tmp_path)(live_frame(20)[["era"]], None)
    shown = "".join(traceback.format_exception(raised.value))
    assert 'File "predict.pkl", line ' in shown
    assert "in _checked_features" in shown
    assert "inputs = _checked_features(frame, features, nullable)" in shown


GOOD = portable_model(2)
WRONG_MODELS = {
    "no features": (replace(GOOD, features=()), "features has 0 names, some twice or none; give each feature once"),
    "twice": (replace(GOOD, features=(*NAMES[:-1], NAMES[0])), "some twice or none; give each feature once"),
    "weights": (replace(GOOD, weights=(1.0,)), "2 boosters have 1 weights; give one weight for each"),
    "none": (replace(GOOD, boosters=(), weights=()), "0 boosters have 0 weights; give one weight for each"),
    "zero": (replace(GOOD, weights=(1.0, 0.0)), "weights are 1, 0; each must be finite and above 0"),
    "nan": (replace(GOOD, weights=(1.0, np.nan)), "weights are 1, nan; each must be finite and above 0"),
    "sum": (replace(GOOD, weights=(0.5, 0.4)), "weights add up to 0.9; they must to 1: divide each by their sum"),
    "nullable": (
        replace(GOOD, nullable_features=("feature_3",)),
        "'feature_3' is no feature; did you mean 'feature_03'",
    ),
    "proportion": (replace(GOOD, neutralization=Neutralization(FEATURES, 1.5)), r"1.5 is outside \[0, 1\]; choose one"),
    "no booster": (replace(GOOD, neutralization=Neutralization(OWN_BENCHMARK, 1)), "go together; give the booster"),
    "booster": (replace(GOOD, benchmark_booster=booster_text(9)), "go together; give none without it"),
    "no text": (
        replace(GOOD, boosters=(GOOD.boosters[0], "x")),
        "booster 1 is no LightGBM model text; give Booster.mod",
    ),
    "count": (
        replace(GOOD, features=(*NAMES, "feature_12")),
        "booster 0 was trained on 12 features, not 13; give those",
    ),
    "order": (
        replace(GOOD, features=NAMES[::-1]),
        "booster 0 has feature 'feature_00' where features has 'feature_11'",
    ),
}


@pytest.mark.parametrize("case", WRONG_MODELS)
def test_a_model_that_does_not_fit_together_is_not_written(case: str, tmp_path: Path) -> None:
    model, message = WRONG_MODELS[case]
    with pytest.raises(UserError, match=message) as raised:
        write_predict(model, tmp_path / "predict.pkl")
    assert "\n" not in str(raised.value)
    assert not list(tmp_path.iterdir())


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "predict.pkl").mkdir()
    (tmp_path / "predict.pkl" / "kept").touch()
    with pytest.raises(UserError, match=r"predict\.pkl cannot be written .*; choose another place"):
        write_predict(GOOD, tmp_path / "predict.pkl")
    assert [path.name for path in tmp_path.iterdir()] == ["predict.pkl"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "does not exist; write it with write_predict"),
        (b"", r"cannot be loaded \(.*\); write it again"),
        (b"not a pickle", r"cannot be loaded \(.*\); write it again"),
        (b"\x80\x04K\x01.", "holds a int, not a function; write it again"),
    ],
)
def test_a_file_that_is_no_predict_pkl_is_refused(content: bytes | None, message: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "predict.pkl").write_bytes(content)
    with pytest.raises(UserError, match=message):
        load_predict(tmp_path / "predict.pkl")
