"""A catalogue of bad inputs: experiment files, data, and arguments, each with what its one line has to name."""

from __future__ import annotations

import json
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from signal_miner.__main__ import COMMANDS
from signal_miner.cli.options import options_of
from tests.conftest import make_frame, write_numerai_directory

MINE = ("mine", "bad.toml", "--report", "false")


@dataclass(frozen=True)
class BadInput:
    """An input that must be refused.

    Attributes
    ----------
    name : str
        Names the test.
    says : str
        Regular expression that the line has to match: the value, file, key or column that is wrong.
    prepare : callable
        Writes the files into an empty workspace, given its directory.
    arguments : tuple of str
        Of the command line.
    """

    name: str
    says: str
    prepare: Callable[[Path], object] = lambda workspace: None
    arguments: tuple[str, ...] = MINE


def sound_table(data: str = "data.parquet") -> dict[str, str]:
    """Return the lines of a sound experiment file, by key; those of its tables by ``table.key``."""
    return {
        "name": '"bad"',
        "data": f'"{data}"',
        "feature_set": '"all"',
        "targets": '["target"]',
        "scoring_target": '"target"',
        "trials": "1",
        "jobs": "1",
        "seed": "1",
        "folds.embargo_eras": "8",
        "grid.learning_rate": "[0.1, 0.2]",
        "grid.n_estimators": "[2, 3]",
        "grid.max_depth": "[2, 3]",
        "grid.num_leaves": "[3, 4]",
        "benchmark.learning_rate": "0.1",
        "benchmark.n_estimators": "2",
    }


def written(table: dict[str, str]) -> str:
    """Return the text of an experiment file."""
    lines = [f"{key} = {value}" for key, value in table.items() if "." not in key]
    for name in ("folds", "grid", "benchmark", "confirm", "race"):
        inside = [(key, value) for key, value in table.items() if key.startswith(f"{name}.")]
        if name in ("confirm", "race") and not inside:
            continue
        lines += [f"[{name}]", *(f"{key.partition('.')[2]} = {value}" for key, value in inside)]
    return "\n".join(lines) + "\n"


def _frame(eras: int = 40, rows: int = 12) -> pd.DataFrame:
    return make_frame(range(1, eras + 1), rows)


def _experiment(workspace: Path, source: str = "data.parquet", /, **changes: str) -> None:
    (workspace / "bad.toml").write_text(written(sound_table(source) | changes), encoding="utf-8")


def _sound(workspace: Path) -> None:
    _frame().to_parquet(workspace / "data.parquet")


# Experiment files ----------------------------------------------------------------------------------------------------

WRONG_VALUES = {
    "text": ["true", "3", "1.5", "[]", '["a", 1]', "{}", '""', '"  "', '"a\\u0000b"', "2020-01-01", "nan"],
    "names": ["true", "3", "[1]", '[""]', '["target", "target"]', "{}", '["no such target"]', "[[]]"],
    "count": ["true", '"3"', "0", "-1", "1.5", "[]", "{}", "nan", "inf", "1e30", "99999999999999999999999"],
    "seed": ["true", '"3"', "-1", "1.5", "[]", "{}", "nan", "99999999999999999999999", "2147483648"],
    "jobs": ["true", '"3"', "0", "-2", "1.5", "[]", "1025", "nan"],
    "horizon": ["true", '"20"', "0", "30", "[]", "-20", "nan", "20.5"],
    "gigabytes": ["true", '"3"', "-1", "[]", "{}", "nan", "inf", "-inf"],
    "eras": ["true", '"3"', "-1", "1.5", "[]", "{}", "nan"],
    "fraction": ["[true]", '["a"]', "[0]", "[-0.1]", "[1.5]", "[nan]", "[inf]", "[[0.1]]", "[]", "[0.1, 0.1]", "{}"],
    "share": ["[true]", '["a"]', "[-0.1]", "[1.2]", "[nan]", "[]", "[0.5, 0.5]", "[[0.1]]", "[0.5]"],
    "positive": ["[true]", '["a"]', "[-1]", "[nan]", "[inf]", "[]", "[0.5, 0.5]", "{ from = 1, to = 0, count = 2 }"],
    "sets": ["true", "3", "[]", '["small", "small"]', '["small", 1]', '["small", ""]', "{}", '[["small"]]', '""'],
    "window": ["[true]", '["all"]', "[2.5]", "[1]", "[0]", "[-2]", "[]", "[3, 3]", "[nan]", "{ from = 1, to = 9 }"],
    "integer": [
        "[true]",
        '["3"]',
        "[2.5]",
        "[-5]",
        "[]",
        "[3, 3]",
        "[3, 3.0]",
        "{ from = 9, to = 3 }",
        "{ from = 3, to = 9, step = 0 }",
        "{ from = 3, to = 9, step = -1 }",
        "{ from = 3, to = 9, count = 3, step = 2 }",
        "{ from = 3 }",
        "{ from = 3, to = 9, by = 2 }",
        '{ from = "3", to = 9 }',
        "{ from = 3, to = 9, count = 100 }",
        "{ from = 3, to = 9, count = 0 }",
    ],
}
"""Wrong values for each kind of setting, as TOML. Written without a look at the checks."""

KINDS = {
    "name": "text",
    "data": "text",
    "feature_set": "sets",
    "contribution_to": "text",
    "benchmark.predictions": "text",
    "scoring_target": "text",
    "study_storage": "text",
    "tracking_uri": "text",
    "targets": "names",
    "numerai_benchmarks": "names",
    "trials": "count",
    "seed": "seed",
    "jobs": "jobs",
    "horizon_days": "horizon",
    "memory_gb": "gigabytes",
    "cache_gb": "gigabytes",
    "folds.count": "count",
    "folds.embargo_eras": "eras",
    "folds.holdout_eras": "eras",
    "folds.train_era_step": "count",
    "confirm.leaders": "eras",
    "confirm.seeds": "count",
    "race.controls": "gigabytes",
    "race.recovery": "gigabytes",
    "race.patience": "count",
    "grid.learning_rate": "positive",
    "grid.colsample_bytree": "fraction",
    "grid.target_residual": "share",
    "grid.reg_lambda": "positive",
    "grid.n_estimators": "integer",
    "grid.max_bin": "integer",
    "grid.num_leaves": "integer",
    "grid.train_last_eras": "window",
    "benchmark.train_last_eras": "window",
}


def _values() -> Iterator[BadInput]:
    for key, kind in KINDS.items():
        for number, value in enumerate(WRONG_VALUES[kind]):

            def prepare(workspace: Path, key: str = key, value: str = value) -> None:
                _sound(workspace)
                _experiment(workspace, **{key: value})

            says = "target" if "no such" in value else rf"{key.rpartition('.')[2]}"
            yield BadInput(f"file-{key}-{number}", says, prepare)


def _text_of(text: str | bytes, says: str, name: str) -> BadInput:
    def prepare(workspace: Path) -> None:
        _sound(workspace)
        (workspace / "bad.toml").write_bytes(text.encode() if isinstance(text, str) else text)

    return BadInput(f"file-{name}", says, prepare)


def _changed(case: str, says: str, drop: tuple[str, ...] = (), /, **changes: str) -> BadInput:
    table = {key: value for key, value in (sound_table() | changes).items() if key not in drop}
    return _text_of(written(table), says, case)


def _files() -> Iterator[BadInput]:
    sound = written(sound_table())
    yield _text_of("", "name|grid|missing", "empty")
    yield _text_of("\0\0\0", "bad.toml", "null-bytes")
    yield _text_of(sound.encode("utf-16"), "UTF-16", "utf-16")
    yield _text_of(sound.replace('"bad"', '"bäd"').encode("latin-1"), "bad.toml.*(UTF-8|utf-8)", "latin-1")
    yield _text_of(sound + sound, "bad.toml", "every-key-twice")
    yield _text_of("name = " + "[" * 5000, "bad.toml", "nested")
    yield _text_of('{"name": "bad"}', "bad.toml", "json")
    yield _text_of("name: bad\ndata: demo\n", "bad.toml", "yaml")
    yield _text_of(sound.replace("[grid]", "[grid"), "bad.toml", "bracket")
    yield _text_of(sound.replace("[grid]", "[[grid]]"), "grid", "array-of-tables")
    yield _text_of(sound.replace('"bad"', '"bad'), "bad.toml", "quote")
    yield _text_of(sound.replace("=", ":"), "bad.toml", "colons")
    for key in ("name", "data", "grid.n_estimators", "benchmark.n_estimators"):
        yield _changed(f"without-{key}", key.rpartition(".")[2], (key,))
    for key in ("nmae", "trails", "grid.learning_rat", "benchmark.max_dept", "folds.cuont", "grid.target", "model"):
        yield _changed(f"unknown-{key}", key.rpartition(".")[2], **{key: "[1]"})
    for key in ("grid.feature_fraction", "grid.seed", "grid.n_jobs", "grid.boosting", "grid.objective", "grid.model"):
        yield _changed(f"lightgbm-{key}", key.rpartition(".")[2], (), **{key: "[1]"})
    for key in ("learning_rate", "embargo_eras", "max_depth"):
        yield _changed(f"at-the-top-{key}", rf"{key}.*\[(grid|folds)\]", **{key: "1"})
    for key in ("folds", "grid", "benchmark"):
        without = written({each: value for each, value in sound_table().items() if not each.startswith(f"{key}.")})
        yield _text_of(f"{key} = 3\n" + without.replace(f"[{key}]\n", ""), key, f"{key}-is-a-number")
    for number, expression in enumerate(
        [
            "num_leaves <=",
            "num_leaves > 99",
            "depth < 3",
            "__import__('os').system('true')",
            "open('/etc/passwd')",
            "num_leaves.__class__",
            "(lambda: 1)()",
            "9**9**9**9 > num_leaves",
            "num_leaves if max_depth else 1",
            "1" + " + 1" * 5000 + " > num_leaves",
            "",
            "num_leaves = 3",
            "'a' * 999999999 == 'b'",
        ]
    ):
        yield _changed(f"constraint-{number}", "constraint|num_leaves|depth", constraint=json.dumps(expression))
    for value in ("true", "3", "[]", "{}"):
        yield _changed(f"constraint-is-{value}", "constraint", constraint=value)
    yield _changed("goss-bagging", "goss.*(bagging|subsample)", **{
        "grid.data_sample_strategy": '["goss"]', "grid.subsample": "[0.5]", "grid.subsample_freq": "[1]",
    })  # fmt: skip
    yield _changed("subsample-without-freq", "subsample_freq", **{"grid.subsample": "[0.5]"})
    yield _changed("zero-depth", "max_depth", **{"grid.max_depth": "[0]"})
    yield _changed("many-values", "n_estimators", **{"grid.n_estimators": "{ from = 1, to = 999999999 }"})
    yield _changed("name-path", "name", name='"../../escape"')
    yield _changed("name-escape", "name", name='"a\\u001b[31mb"')
    yield _changed("name-long", "name", name=json.dumps("a" * 300))
    yield _changed("data-long", "data", data=json.dumps("a" * 5000))
    yield _changed("data-nowhere", "nowhere", data='"nowhere"')
    yield _changed("data-version", "download", data='"v9.9"')
    yield _changed("data-escape", "data", data='"a\\u001b[31mb"')
    yield _changed("set-unknown", "medium", feature_set='"medium"')
    yield _changed("set-of-several-unknown", "medium", feature_set='["all", "medium"]')
    yield _changed("set-of-benchmark-unknown", "medium", **{"benchmark.feature_set": '"medium"'})
    yield _changed("set-of-benchmark-number", "benchmark.feature_set", **{"benchmark.feature_set": "3"})
    yield _changed("set-in-grid", r"feature_set.* at the top of the file", **{"grid.feature_set": '["all"]'})
    yield _changed("set-not-in-grid", "feature_set.*not in the grid", constraint="\"feature_set == 'all'\"")
    for key in ("train_last_eras", "folds.train_last_eras"):
        yield _changed(f"misplaced-{key}", r"train_last_eras.*\[grid\]", **{key: "8"})
    yield _changed("window-of-one-era", "train_last_eras = 3 leaves", **{
        "folds.train_era_step": "3", "grid.train_last_eras": "[9, 3]",
    })  # fmt: skip
    yield _changed("window-compared", "train_last_eras = -1", **{
        "grid.train_last_eras": "[9, -1]", "constraint": '"train_last_eras > 8"',
    })  # fmt: skip
    yield _changed("target-unknown", "did you mean 'target'", targets='["targett"]')
    yield _changed("scoring-unknown", "did you mean 'target'", scoring_target='"targett"')
    yield _changed("benchmark-target", "target", **{"benchmark.target": '"targett"'})
    yield _changed("numerai-benchmark", "v1_lgbm", numerai_benchmarks='["v1_lgbm"]')
    yield _changed("benchmark-column", "benchmark.predictions.*v1_lgbm", tuple(
        key for key in sound_table() if key.startswith("benchmark.")
    ), **{"benchmark.predictions": '"v1_lgbm"'})  # fmt: skip
    yield _changed("contribution", "contribution_to.*v1_lgbm", contribution_to='"v1_lgbm"')
    yield _changed("leaders", "confirm.leaders = 2 is more than trials = 1", **{"confirm.leaders": "2"})
    yield _changed("one-seed", "confirm.seeds", **{"confirm.leaders": "1", "confirm.seeds": "1"})
    yield _changed("race", "race = 'fast' is neither true, false nor a table", race='"fast"')
    yield _changed("race-share", "race.controls = 2", **{"race.controls": "2"})
    yield _changed("race-level", "race.significance = 0.9", **{"race.significance": "0.9"})
    yield _changed("race-key", "did you mean 'race.controls'|race.control", **{"race.control": "0.1"})
    yield _changed("purge", "purge|train", **{"folds.embargo_eras": "30"})
    yield _changed("holdout", "holdout", **{"folds.holdout_eras": "39"})
    yield _changed("folds", "folds", **{"folds.count": "41"})
    yield _changed("step", "train_era_step|train", **{"folds.train_era_step": "1000"})
    yield _changed("memory", "memory", memory_gb="0.0001")
    yield _changed("store-scheme", "nosuch", tracking_uri='"nosuch://x"')
    yield _changed("store-folder", "data.parquet", tracking_uri='"sqlite:///data.parquet/folder/x.db"')
    yield _changed("store-file", "bad.toml", tracking_uri='"sqlite:///bad.toml"')
    yield _changed("storage-scheme", "nosuch", study_storage='"nosuch://x"')
    yield _changed("storage-file", "bad.toml", study_storage='"bad.toml"')
    yield _changed("one-database", "one.db", tracking_uri='"sqlite:///one.db"', study_storage='"sqlite:///one.db"')

    def directory(workspace: Path) -> None:
        (workspace / "bad.toml").mkdir()

    def dangling(workspace: Path) -> None:
        (workspace / "bad.toml").symlink_to("nowhere.toml")

    yield BadInput("file-directory", "bad.toml", directory)
    yield BadInput("file-dangling-link", "bad.toml", dangling)


# Data ----------------------------------------------------------------------------------------------------------------


def _frames() -> Iterator[tuple[str, str, Callable[[pd.DataFrame], object]]]:
    """Yield a name, what the line has to say, and what is done to a sound frame of 40 eras."""
    first = "feature_00"
    weeks, days, months = (pd.date_range("2017-01-06", periods=40, freq=step) for step in ("7D", "1D", "30D"))
    by_era = np.repeat(np.arange(40), 12)

    def put(column: str, value: Any, rows: Any = slice(0, 1)) -> Callable[[pd.DataFrame], object]:
        def change(frame: pd.DataFrame) -> None:
            values = frame[column].to_numpy().astype(object if isinstance(value, str) else float)
            values[rows] = value
            frame[column] = values

        return change

    def column(name: str, values: Any) -> Callable[[pd.DataFrame], object]:
        return lambda frame: frame.__setitem__(name, values)

    yield "era-missing", "era", lambda frame: frame.drop(columns="era")
    yield "era-null", "era", put("era", None, [3])
    yield "era-days", "in one week", column("era", days.strftime("%Y%m%d").astype(int).to_numpy()[by_era])
    yield "era-days-text", "in one week", column("era", days.strftime("%Y-%m-%d").to_numpy()[by_era])
    yield "era-months", "era", column("era", months.strftime("%Y%m").astype(int).to_numpy()[by_era])
    yield "era-no-date", "era", column("era", np.array([f"2017-13-{number:02d}" for number in by_era]))
    yield "era-date-or-number", "one way", column("era", np.where(by_era < 20, "2017-01-06", by_era.astype(str)))
    yield "era-unix", "era", column("era", (weeks.astype("int64") // 10**9).to_numpy()[by_era])
    yield "era-nan", "era", column("era", np.where(by_era == 3, np.nan, by_era))
    yield "era-negative", "era", column("era", by_era - 20)
    yield "era-fraction", "era", column("era", by_era + 0.5)
    yield "era-words", "era", column("era", np.array([f"week {n}" for n in by_era]))
    yield "era-huge", "era", column("era", by_era + 2**40)
    yield "era-bool", "era", column("era", by_era % 2 == 0)
    yield "era-one", "era", column("era", "0001")
    yield "era-empty", "era", column("era", "")
    yield "era-lists", "era", column("era", [[n] for n in by_era.tolist()])
    yield "feature-inf", first, put(first, np.inf)
    yield "feature-minus-inf", first, put(first, -np.inf)
    yield "feature-text", first, column(first, "a")
    yield "feature-bool", first, column(first, True)
    yield "feature-null", first, column(first, None)
    yield "feature-lists", first, column(first, [[1]] * 480)
    yield "feature-date", first, column(first, weeks.to_numpy()[by_era])
    yield "feature-2-53", first, column(first, np.arange(480) + 2**53)
    yield "no-features", "feature", lambda frame: frame.filter(regex="^(era|data_type|target)")
    yield "features-constant", "constant", lambda frame: frame.assign(**dict.fromkeys(frame.filter(like="feature"), 2))
    for number, name in enumerate(['feature"a"', "feature,a", "feature[a]", "feature:a", "feature{a}"]):
        yield f"feature-name-{number}", r"feature", lambda frame, name=name: frame.rename(columns={first: name})
    yield "target-missing", "target", lambda frame: frame.drop(columns="target")
    yield "target-null", "target", column("target", np.nan)
    yield "target-inf", "target", put("target", np.inf)
    yield "target-text", "target", column("target", "a")
    yield "target-constant", "target", column("target", 0.5)
    yield "target-lists", "target", column("target", [[0.5]] * 480)
    yield "target-one-era", "target|era", put("target", np.nan, slice(12, None))
    yield "id-twice", "id", lambda frame: frame.set_axis(pd.Index(["n1"] * 480, name="id"))
    yield "id-null", "id", lambda frame: frame.set_axis(pd.Index([None] * 480, name="id"))
    yield "rows-none", "era", lambda frame: frame.iloc[:0]
    yield "rows-live", "era", column("data_type", "live")


def _data() -> Iterator[BadInput]:
    for name, says, change in _frames():
        for suffix in ("parquet", "csv"):
            if suffix == "csv" and name in {
                "era-lists",
                "feature-lists",
                "target-lists",
                "feature-bool",
                "feature-null",
            }:
                continue

            def prepare(workspace: Path, change: Callable[..., object] = change, suffix: str = suffix) -> None:
                frame = _frame()
                made = change(frame)
                frame = made if isinstance(made, pd.DataFrame) else frame
                path = workspace / f"data.{suffix}"
                frame.to_parquet(path) if suffix == "parquet" else frame.to_csv(path)
                _experiment(workspace, path.name)

            yield BadInput(f"{suffix}-{name}", says, prepare)
    yield from _parquet_files()
    yield from _csv_files()
    yield from _directories()


def _file(name: str, says: str, write: Callable[[Path], object], data: str = "data.parquet") -> BadInput:
    def prepare(workspace: Path) -> None:
        write(workspace / data)
        _experiment(workspace, data)

    return BadInput(name, says, prepare)


def _twice(path: Path) -> None:
    table = pa.Table.from_pandas(_frame())
    pq.write_table(table.append_column("feature_00", table.column("feature_01")), path)


def _truncated(path: Path) -> None:
    _frame().to_parquet(path)
    path.write_bytes(path.read_bytes()[:-100])


def _decimal(path: Path) -> None:
    table = pa.Table.from_pandas(_frame())
    index = table.schema.get_field_index("feature_00")
    pq.write_table(table.set_column(index, "feature_00", table.column(index).cast(pa.decimal128(5, 1))), path)


def _parquet_files() -> Iterator[BadInput]:
    yield _file("parquet-truncated", "data.parquet", _truncated)
    yield _file("parquet-empty", "data.parquet", lambda path: path.write_bytes(b""))
    yield _file("parquet-text", "data.parquet", lambda path: path.write_text("era,id\n1,a\n"))
    yield _file("parquet-dangling", "data.parquet", lambda path: path.symlink_to("nowhere"))
    yield _file("parquet-directory", "data.parquet", lambda path: path.mkdir())
    yield _file("parquet-loop", "data.parquet", lambda path: path.symlink_to(path))
    yield _file("parquet-column-twice", "feature_00", _twice)
    yield _file("parquet-decimal", "feature_00", _decimal)
    yield _file("data-pickle", "data.pkl", lambda path: _frame().to_pickle(path), "data.pkl")
    yield _file("data-json", "data.json", lambda path: path.write_text("{}"), "data.json")
    yield _file("data-excel", "data.xlsx", lambda path: path.write_bytes(b"PK"), "data.xlsx")


def _csv_files() -> Iterator[BadInput]:
    text = _frame().to_csv()
    header, _, rest = text.partition("\n")

    def csv(name: str, says: str, content: str | bytes) -> BadInput:
        return _file(
            f"csv-{name}",
            says,
            lambda path: path.write_bytes(content.encode() if isinstance(content, str) else content),
            "data.csv",
        )

    yield csv("empty", "data.csv.*empty", "")
    yield csv("blank-lines", "data.csv", "\n\n\n")
    yield csv("header-only", "data.csv", header + "\n")
    yield csv("semicolons", ";", text.replace(",", ";"))
    yield csv("tabs", r"tab|\\t", text.replace(",", "\t"))
    yield csv("utf-16", "UTF-16", text.encode("utf-16"))
    yield csv("latin-1", "data.csv.*UTF-8", text.replace("feature_00", "feature_ä").encode("latin-1"))
    yield csv("latin-1-row", "data.csv.*UTF-8", text.replace("n00", "nä0", 1).encode("latin-1"))
    yield csv("column-twice", "feature_00", header.replace("feature_01", "feature_00") + "\n" + rest)
    yield csv("short-row", "data.csv", text + "n1,0041\n")
    yield csv("long-row", "data.csv", text + rest.partition("\n")[0] + ",1,1\n")
    yield csv("quote", "data.csv", header + '\n"' + rest)
    yield csv("null-bytes", "data.csv", b"\0" * 1000)
    yield csv("gzip", "data.csv", b"\x1f\x8b" + b"\x00" * 500)
    yield csv("html", "data.csv", "<!doctype html>\n<html></html>\n")
    row = rest.partition("\n")[0].split(",")
    row[header.split(",").index("feature_03")] = "abc"
    yield csv("text-in-feature", "feature_03.*abc", f"{header}\n{','.join(row)}\n{rest}")
    yield _file("csv-directory", "data.csv", lambda path: path.mkdir(), "data.csv")
    yield _file("csv-dangling", "data.csv", lambda path: path.symlink_to("nowhere"), "data.csv")


def _directory(name: str, says: str, spoil: Callable[[Path], object], **changes: str) -> BadInput:
    def prepare(workspace: Path) -> None:
        directory = write_numerai_directory(workspace / "numerai", eras=40, rows=12)
        spoil(directory)
        _experiment(workspace, "numerai", **changes)

    return BadInput(f"directory-{name}", says, prepare)


def _rewritten(name: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Callable[[Path], None]:
    def spoil(directory: Path) -> None:
        path = directory / name
        change(pd.read_parquet(path)).to_parquet(path)

    return spoil


def _replaced(name: str, replace: Callable[[Path], object]) -> Callable[[Path], None]:
    def spoil(directory: Path) -> None:
        (directory / name).unlink()
        replace(directory / name)

    return spoil


def _same_rows(directory: Path) -> None:
    frame = pd.read_parquet(directory / "train.parquet")
    frame.set_axis([f"other{number}" for number in range(len(frame))]).rename_axis("id").to_parquet(
        directory / "validation.parquet"
    )


def _directories() -> Iterator[BadInput]:
    validation, train, benchmark = "validation.parquet", "train.parquet", "validation_benchmark_models.parquet"
    for name in (train, validation, benchmark, "features.json"):
        yield _directory(f"{name}-dangling", name, _replaced(name, lambda path: path.symlink_to("nowhere")))
        yield _directory(f"{name}-directory", name, _replaced(name, lambda path: path.mkdir()))
        yield _directory(f"{name}-empty", name, _replaced(name, lambda path: path.write_bytes(b"")))
        yield _directory(f"{name}-text", name, _replaced(name, lambda path: path.write_text("<html>403</html>")))
    yield _directory("no-train", train, lambda directory: (directory / train).unlink())
    for column in ("era", "target", "target_cyrusd_60", "feature_03"):
        yield _directory(
            f"validation-without-{column}",
            f"{validation}.*{column}",
            _rewritten(validation, lambda frame, column=column: frame.drop(columns=column)),
        )
    yield _directory(
        "validation-without-id", f"{validation}.*id", _rewritten(validation, lambda f: f.reset_index(drop=True))
    )
    yield _directory(
        "validation-other-type", "feature_03", _rewritten(validation, lambda f: f.astype({"feature_03": float}))
    )
    yield _directory("validation-text", "feature_03", _rewritten(validation, lambda f: f.assign(feature_03="a")))
    yield _directory("validation-inf", "feature_03", _rewritten(validation, lambda f: f.assign(feature_03=np.inf)))
    yield _directory("validation-ids-numbers", "id", _rewritten(validation, lambda f: f.set_axis(range(len(f)))))
    yield _directory("same-rows", "validation.*same|same.*validation|train.*validation", _same_rows)
    yield _directory(
        "rows-in-both",
        "twice",
        lambda d: pd.concat([pd.read_parquet(d / validation), pd.read_parquet(d / train).head(20)]).to_parquet(
            d / validation
        ),
    )
    yield _directory("benchmark-id-twice", "twice", _rewritten(benchmark, lambda f: pd.concat([f, f])))
    yield _directory("benchmark-without-id", "id", _rewritten(benchmark, lambda f: f.reset_index(drop=True)))
    yield _directory(
        "benchmark-inf", "tiny_lgbm_ender20", _rewritten(benchmark, lambda f: f.assign(tiny_lgbm_ender20=np.inf))
    )
    for name, content in {
        "nested": '{"feature_sets": ' + "[" * 100_000,
        "list": "[]",
        "number": "3",
        "no-sets": '{"targets": []}',
        "sets-list": '{"feature_sets": ["small"]}',
        "set-text": '{"feature_sets": {"small": "feature_00"}}',
        "set-numbers": '{"feature_sets": {"small": [1, 2]}}',
        "set-empty": '{"feature_sets": {"small": []}}',
        "set-twice": '{"feature_sets": {"small": ["feature_00", "feature_00"]}}',
        "set-unknown": '{"feature_sets": {"small": ["feature_99"]}}',
        "set-target": '{"feature_sets": {"small": ["target"]}}',
        "set-missing": '{"feature_sets": {"medium": ["feature_00"]}}',
        "set-null": '{"feature_sets": {"small": null}}',
    }.items():
        yield _directory(
            f"features-{name}",
            "features.json|small",
            lambda directory, content=content: (directory / "features.json").write_text(content),
            feature_set='"small"',
        )
    for name, says, changes in (
        ("of-several", "did you mean 'medium'", {"feature_set": '["small", "mediun"]'}),
        ("of-the-benchmark", "did you mean 'small'", {"benchmark.feature_set": '"smal"'}),
    ):
        yield _directory(f"set-{name}", says, lambda directory: None, **changes)


# Arguments -----------------------------------------------------------------------------------------------------------

WRONG_TEXTS = {int: ["ten", "1.5", "1e3", "0x10"], float: ["ten", "1,5", "nan"], bool: ["maybe", "2", "on"]}


def _arguments() -> Iterator[BadInput]:
    def prepare(workspace: Path) -> None:
        _sound(workspace)
        _experiment(workspace)

    for command, module in COMMANDS.items():
        required = {"download": ("--version", "v5.3"), "mine": ("bad.toml",)}.get(command, ())
        hints = get_type_hints(module.Options)
        for each in options_of(module.Options):
            hint = hints[each.name]
            kind = get_args(hint)[0] if isinstance(hint, types.UnionType) else hint
            flag = f"--{each.name.replace('_', '-')}"
            if get_origin(kind) is None:
                for text in WRONG_TEXTS.get(kind, ()):
                    yield BadInput(
                        f"{command}{flag}-{text}", each.name, prepare, (command, *required, f"{flag}={text}")
                    )
        yield BadInput(f"{command}-unknown", "--nosuch", prepare, (command, *required, "--nosuch=1"))
        yield BadInput(f"{command}-abbreviated", "--tracking", prepare, (command, *required, "--tracking=x"))
        yield BadInput(
            f"{command}-too-many", "surplus|more", prepare, (command, *required, "bad.toml", "surplus.toml", "more")
        )
    yield from (
        BadInput(f"arguments-{line}", says, prepare, tuple(line.split())) for line, says in COMMAND_LINES.items()
    )


COMMAND_LINES = {
    "": "COMMAND",
    "mien": "mien",
    "--nosuch": "COMMAND",
    "mine --trials=0": "trials = 0",
    "mine --trials=-5": "trials = -5",
    "mine --jobs=0": "jobs = 0",
    "mine --seed=-1": "seed = -1",
    "mine --embargo-eras=-1": "embargo_eras = -1",
    "mine --horizon-days=7": "horizon_days = 7",
    "mine --name=a/b": "name = 'a/b'",
    "mine --scoring-target=targett": "did you mean 'target'",
    "mine --data=nowhere": "nowhere",
    "mine --experiment=other.toml": "other.toml",
    "mine bad.toml --experiment=other.toml": "twice",
    "ensemble --select=best": "select = 'best'",
    "ensemble --members=0": "members = 0",
    "ensemble --members=-1": "members = -1",
    "ensemble --max-correlation=0": "max_correlation = 0",
    "ensemble --max-correlation=2": "max_correlation = 2",
    "ensemble --max-benchmark-correlation=nan": "max_benchmark_correlation = nan",
    "ensemble --metric=test/sharpe": "test/sharpe",
    "ensemble --metric=sharp": "did you mean 'sharpe'",
    "ensemble --weights=ranks": "did you mean 'rank'",
    "ensemble --pool=0": "pool = 0",
    "ensemble --select=top --pool=5": "pool",
    "ensemble --proportion=0.5": "neutralize",
    "ensemble --neutralize=features --proportion=2": "proportion = 2",
    "ensemble --neutralize=features --proportion=-1": "proportion = -1",
    "ensemble --select=runs": "runs",
    "ensemble --runs=1": "select=runs",
    "ensemble --study=nowhere": "no tracking store",
    "report --study=nowhere": "no tracking store",
    "status --study=nowhere": "nowhere",
    "stop --study=nowhere": "nowhere",
    "report": "no tracking store",
    "ensemble": "no tracking store",
    "register": "no ensemble",
    "register --trees=all": "trees = 'all'",
    "register --promote=maybe": "promote = 'maybe'",
    "register --jobs=0": "jobs = 0",
    "register --ensemble=nowhere": "no ensemble",
    "holdout": "ensemble",
    "holdout --trial=0 --ensemble=1": "ensemble.*trial",
    "holdout --trial=0 --jobs=-2": "jobs = -2",
    "submit": "no registered model",
    "submit --dry-run=true": "no registered model",
    "submit --model=nowhere --dry-run=true": "no registered model 'nowhere'",
    "submit --live=nowhere.parquet": "no registered model",
    "submit --dry-run=true --live=nowhere.parquet": "no registered model",
    "deploy": "no registered model",
    "download --version=5.3": "did you mean 'v5.3'",
    "download --version=../x": "'../x'",
    "download --version=v5.3/../../x": "v5.3/../../x",
    "download --version=": "version",
    "download": "version",
    "init nowhere": "nowhere",
    "init demo bad.toml": "bad.toml",
}
"""Command lines in a workspace with a sound experiment and nothing mined, and what each line has to say."""


def catalogue() -> list[BadInput]:
    """Return every bad input; names are distinct."""
    return [*_values(), *_files(), *_data(), *_arguments()]
