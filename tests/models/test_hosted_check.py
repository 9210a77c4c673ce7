"""A ``predict.pkl`` tried as the hosted runner would: each thing it would refuse is one line."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from signal_miner.errors import UserError
from signal_miner.models.portable import hosted, load_predict, write_predict
from signal_miner.models.portable.hosted import check_as_hosted
from tests.helpers.portable import COLUMN, benchmark_frame, live_frame, portable_model


class _Source:
    """Pickles as the ``predict`` that a source text defines."""

    def __init__(self, source: str) -> None:
        self._source = source

    def __reduce__(self) -> tuple[Any, ...]:
        return eval, ("[exec(source, names), names['predict']][1]", {"source": self._source, "names": {}})


def predict_file(directory: Path, body: str, arguments: str = "live_features, live_benchmark_models") -> Path:
    path = directory / "predict.pkl"
    path.write_bytes(pickle.dumps(_Source(f"import pandas as pd\ndef predict({arguments}):\n    {body}\n"), protocol=4))
    return path


@pytest.mark.parametrize("index", ["id", "column", "numbers"])
def test_it_predicts_there_what_it_predicts_here(index: str, tmp_path: Path) -> None:
    path = tmp_path / "predict.pkl"
    write_predict(portable_model(2, None if index == "numbers" else COLUMN), path)
    frame = live_frame(60, 2)
    benchmarks = benchmark_frame(frame)
    if index != "id":
        frame = frame.reset_index(drop=index == "numbers")
    check = check_as_hosted(path, frame, benchmarks)
    pd.testing.assert_frame_equal(check.predictions, load_predict(path)(frame, benchmarks), check_exact=True)
    assert 0 < check.seconds < 60
    assert 30e6 < check.peak_memory_bytes < 1e9


@pytest.mark.parametrize(
    ("body", "arguments", "message"),
    [
        ("return live_features.iloc[:, 0]", "live_features, b", "returns a Series; it must return a pandas.DataFrame"),
        ("return None", "live_features, b", "returns a NoneType; it must return a pandas.DataFrame"),
        (
            "return live_features.iloc[:0]",
            "live_features, b",
            "returns no predictions; it must return a row for each id",
        ),
        ("return pd.DataFrame({'p': None}, live_features.index)", "live_features", "returns NaN predictions; it must"),
        ("return live_features[['feature_00']]", "live_features", r"is outside \[0, 1\]; return ranks between 0 and 1"),
        ("return pd.DataFrame({'p': 'a'}, live_features.index)", "live_features", r"is no numbers .*; it must lie bet"),
        ("return live_features", "live_features, b, c=1", "takes 3 arguments; it must take live features, or live"),
        ("raise RuntimeError('no\\nluck')", "live_features", r"the function fails: RuntimeError: no$"),
        (
            "return (live_features[['feature_00']] / 4).rename_axis('key')",
            "live_features",
            "is named 'key'; it must be",
        ),
        (
            "return live_features[['feature_00']].iloc[1:] / 4",
            "live_features",
            "does not predict each of the 20 ids once",
        ),
        ("import signal_miner", "live_features", "fails: ModuleNotFoundError: No module named 'signal_miner'"),
        ("import os; os._exit(3)", "live_features", r"the interpreter ended with code 3 \(no message\)"),
    ],
)
def test_what_the_hosted_runner_refuses_is_one_line(body: str, arguments: str, message: str, tmp_path: Path) -> None:
    path = predict_file(tmp_path, body, arguments)
    with pytest.raises(UserError, match=message) as raised:
        check_as_hosted(path, live_frame(20), None)
    assert str(raised.value).startswith("Numerai's hosted runner would refuse predict.pkl: ")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no pickle", "it cannot be loaded .*; write it with write_predict"),
        (pickle.dumps(3), "holds a int, which cannot"),
    ],
)
def test_a_file_that_holds_no_function_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "predict.pkl").write_bytes(content)
    with pytest.raises(UserError, match=message):
        check_as_hosted(tmp_path / "predict.pkl", live_frame(20), None)


def test_what_the_model_says_of_the_live_data_is_passed_on(tmp_path: Path) -> None:
    path = tmp_path / "predict.pkl"
    write_predict(portable_model(1, COLUMN), path)
    with pytest.raises(UserError, match=r"the function fails: ValueError: 1 of 12 features are missing, such as featu"):
        check_as_hosted(path, live_frame(20).drop(columns="feature_00"), None)
    with pytest.raises(UserError, match="ValueError: live_benchmark_models is None"):
        check_as_hosted(path, live_frame(20), None)
    with pytest.raises(
        UserError, match=r"live_features cannot be written as parquet .*; give them as Numerai publishes"
    ):
        check_as_hosted(path, live_frame(20).assign(mixed=[object()] * 20), None)
    with pytest.raises(UserError, match=r"absent\.pkl cannot be read .*; write it with write_predict"):
        check_as_hosted(tmp_path / "absent.pkl", live_frame(20), None)


def test_more_time_or_memory_than_numerai_gives_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = predict_file(tmp_path, "return live_features[['feature_00']] / 4")
    monkeypatch.setattr(hosted, "HOSTED_MEMORY_BYTES", 2**20)
    with pytest.raises(UserError, match=r"it takes 0\.\d GB of 0\.00\d+; use fewer or smaller members"):
        check_as_hosted(path, live_frame(20), None)
    monkeypatch.setattr(hosted, "HOSTED_SECONDS", 0.1)
    with pytest.raises(UserError, match=r"it takes more than 0\.1 s; use fewer or smaller members"):
        check_as_hosted(path, live_frame(20), None)


def test_neither_our_memory_nor_our_keys_go_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMERAI_SECRET_KEY", "s3cret")
    ballast = np.ones(2**26)  # half a GiB
    lines = "import os; assert 'NUMERAI_SECRET_KEY' not in os.environ; return live_features[['feature_00']] / 4"
    check = check_as_hosted(predict_file(tmp_path, lines), live_frame(20), None)
    assert check.peak_memory_bytes < ballast.nbytes
