"""Experiment files: those that come with the package, reading and changing one, and building one in code."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import replace
from importlib.resources import files
from pathlib import Path, PurePath
from typing import Any

import tomli_w

from signal_miner.errors import UserError, did_you_mean
from signal_miner.experiment.grid import Axis, Grid
from signal_miner.experiment.schema import TABLES, Experiment, parse_experiment, tables_of, without_none
from signal_miner.utils.files import file_exists
from signal_miner.utils.redaction import reason_of_system
from signal_miner.utils.validation import LARGEST_AXIS, as_path, shown

DEFAULT = "demo"
"""The experiment that is mined where none is named."""

_DEEPEST = 3


def make_experiment(**settings: Any) -> Experiment:
    """Build an experiment in code.

    Parameters
    ----------
    **settings
        The keys of an experiment file: ``name``, ``data``, ``grid``, ``benchmark``, ``folds``, …. Tables are mappings;
        lists may be tuples, ranges or arrays, numbers numpy's, paths `pathlib.Path`. None counts as not given.

    Returns
    -------
    Experiment
        Its `text` is the file that says the same.

    Raises
    ------
    UserError
        If a key, type or value is wrong.

    Examples
    --------
    >>> experiment = make_experiment(
    ...     name="mine_my_own",
    ...     data="demo",
    ...     grid={"n_estimators": range(50, 201, 50), "max_depth": {"from": 2, "to": 5}},
    ...     benchmark={"n_estimators": 100},
    ... )
    >>> experiment.axes
    {'n_estimators': (50, 100, 150, 200), 'max_depth': (2, 3, 4, 5)}
    >>> print(experiment.text.partition("[grid]")[2])
    <BLANKLINE>
    n_estimators = [
        50,
        100,
        150,
        200,
    ]
    max_depth = { from = 2, to = 5 }
    <BLANKLINE>
    """
    table = _keywords(settings)
    return replace(parse_experiment(table), text=_as_toml(without_none(table)))


def load_experiment(path: str | Path = DEFAULT, **changes: Any) -> Experiment:
    """Read an experiment file, with changes.

    Parameters
    ----------
    path : str or Path, optional
        The file, or the name of one that comes with the package; the synthetic demo market's if not given.
    **changes
        Values that replace the file's, as `make_experiment` takes them. Of a table, ``folds={"count": 3}``, only the
        keys that are named change. None removes a key, so that its default holds. With ``scoring_target``, a
        benchmark trained on the file's one is trained on the new one.

    Returns
    -------
    Experiment
        Its `text` is the file as written or, if something has changed, the changed file.

    Raises
    ------
    UserError
        If the file is absent or not TOML, keys, types or values are wrong, or the constraint allows no configuration.
    """
    path = find_experiment(as_path("path", path, "experiments/demo.toml"))
    table, text = _read(path)
    changed = dict(table)
    for key, value in _keywords(changes).items():
        old = table.get(key)
        if value is True and isinstance(old, dict):  # race=True of a file that says how
            continue
        if key in TABLES and isinstance(value, dict) and old is not None:
            changed[key] = old | value if isinstance(old, dict) else old  # which is refused below
        else:
            changed[key] = value
    if "scoring_target" in changes:
        _score_benchmark_alike(table, changed, changes)
    try:
        experiment = parse_experiment(changed, text)
        Grid(tuple(Axis(*each) for each in experiment.searched.items()), experiment.constraint).check_feasible()
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    changed = without_none(changed)
    return experiment if changed == table else replace(experiment, text=_as_toml(changed))


def shipped_experiments() -> dict[str, Path]:
    """Return the files by name: ``experiments/`` of a checkout, or the copy in an installed package."""
    package = Path(str(files("signal_miner")))
    for directory in (package.parent / "experiments", package / "experiments"):
        found = {path.stem: path for path in sorted(directory.glob("*.toml"))}
        if DEFAULT in found:
            return found
    return {}


def description_of(path: Path) -> str:
    """Return the comment on the first line of an experiment file."""
    with path.open(encoding="utf-8-sig") as file:
        return file.readline().removeprefix("#").strip()


def _score_benchmark_alike(table: Mapping[str, Any], changed: dict[str, Any], changes: Mapping[str, Any]) -> None:
    """Let a benchmark that is trained on the file's scoring target follow a change of that."""
    benchmark = changed.get("benchmark")
    given = "target" in (changes.get("benchmark") or {})
    if not given and isinstance(benchmark, dict) and benchmark.get("target") == table.get("scoring_target", "target"):
        changed["benchmark"] = benchmark | {"target": changed["scoring_target"]}


def find_experiment(named: str | Path) -> Path:
    """Return the experiment file of this path, or the one of this name: in the working directory, then as shipped.

    Raises
    ------
    UserError
        If a name, which has neither a suffix nor a directory, is not known.
    """
    path = Path(named).expanduser()
    try:
        if path.exists():
            return path
    except OSError:  # too long a name, or a directory that may not be read: reported when the file is opened
        return path
    shipped = shipped_experiments()
    if path.suffix == ".toml" and path.parent == Path("experiments"):  # as in a checkout, from anywhere
        return shipped.get(path.stem, path)
    if path.suffix or path.parent != Path():
        return path
    own = path.with_suffix(".toml")
    if file_exists(own):
        return own
    if path.name not in shipped:
        raise UserError(
            f"experiment {str(named)!r} is neither a file nor an experiment of the package"
            f"{did_you_mean(path.name, shipped)}"
        )
    return shipped[path.name]


def copy_experiment(named: str, target: Path | None = None) -> Path:
    """Copy an experiment file to be edited, and return the copy.

    Parameters
    ----------
    named : str
        As for `find_experiment`.
    target : Path, optional
        A file or an existing directory; the working directory if not given.

    Raises
    ------
    UserError
        If there is no such experiment, or a file in the way: nothing is overwritten.
    """
    shipped = shipped_experiments()
    source = shipped.get(named) or find_experiment(named)
    place = Path() if target is None else target.expanduser()
    path = place / source.name if place.is_dir() else place
    try:
        text = read_experiment_file(source)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise UserError(f"{path} exists already; name another file, or edit this one") from error
    except OSError as error:
        raise UserError(
            f"experiment {named!r} cannot be copied to {path} ({reason_of_system(error)}); name another file"
        ) from error
    return path


def read_experiment_file(path: Path) -> str:
    """Return an experiment file as written, without a byte-order mark.

    Raises
    ------
    UserError
        If it is not UTF-8 text.
    OSError
        If it cannot be read.
    """
    body = path.read_bytes()
    try:
        return body.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        utf16 = body.startswith((b"\xff\xfe", b"\xfe\xff"))
        line = body[: error.start].count(b"\n") + 1
        found = "is UTF-16" if utf16 else f"is not UTF-8 text in line {line}"
        raise UserError(f"{path} {found}; save it as UTF-8") from error


def _read(path: Path) -> tuple[dict[str, Any], str]:
    """Return an experiment file as TOML reads it, and as written."""
    try:
        text = read_experiment_file(path) if path.is_file() or file_exists(path) else None
        table = tomllib.loads(text or "")
    except OSError as error:
        raise UserError(
            f"experiment file {shown(str(path))} cannot be read ({reason_of_system(error)}); name another"
        ) from error
    except UserError:
        raise
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not a TOML file: {error}") from error
    if text is None:
        folders = [folder for folder in (path.parent, Path("experiments")) if folder.is_dir()]
        near = sorted({str(other) for folder in folders for other in folder.glob("*.toml")} - {"pyproject.toml"})
        raise UserError(f"experiment file {str(path)!r} does not exist{did_you_mean(str(path), near)}")
    return table, text


def _as_toml(table: Mapping[str, Any]) -> str:
    # The order of the axes decides what is drawn, but tomli_w moves tables, such as ranges, to the end.
    axes = [
        f"{name} = {{ {', '.join(tomli_w.dumps(axis).splitlines())} }}\n"
        if isinstance(axis, Mapping)
        else tomli_w.dumps({name: axis})
        for name, axis in table["grid"].items()
    ]
    rest = {key: value for key, value in table.items() if key != "grid"}
    return "".join([tomli_w.dumps(rest), "\n[grid]\n", *axes])


def _keywords(settings: Mapping[str, Any]) -> dict[str, Any]:
    table = _plain_table(settings)
    for key, value in table.items():
        if tables := tables_of(key):
            raise UserError(
                f"{key} is not a setting but a key of {' and '.join(tables)}; "
                f'write {tables[0]}={{"{key}": {shown(value)}}}'
            )
    return table


def _plain_table(table: Mapping[Any, Any], where: str = "", depth: int = 0) -> dict[str, Any]:
    """Return a table of plain values; None stays, as a change that removes a key."""
    plain: dict[str, Any] = {}
    for key, value in table.items():
        if not isinstance(key, str):
            raise UserError(f"{where.rstrip('.')} has the key {shown(key)}, which is not text; write it in quotes")
        plain[key] = None if value is None else _plain(f"{where}{key}", value, depth)
    return plain


def _plain(key: str, value: Any, depth: int) -> Any:
    if isinstance(value, PurePath):
        bare = len(value.parts) == 1 and not value.is_absolute()
        value = f"./{value}" if bare and key == "data" else str(value)  # "demo" would be the synthetic market
    elif hasattr(value, "tolist") and not isinstance(value, type):  # numpy's and pandas' conversion to plain values
        value = value.tolist()
    if isinstance(value, Mapping | list | tuple) and depth > _DEEPEST:  # it may hold itself
        raise UserError(
            f"{key} holds lists or tables more than {_DEEPEST} deep, which no experiment does; write it flat"
        )
    if isinstance(value, Mapping):
        return _plain_table(value, f"{key}.", depth + 1)
    if isinstance(value, range) and value[LARGEST_AXIS:]:
        raise UserError(f"{key} has more than {LARGEST_AXIS} values; use a larger step")
    if isinstance(value, list | tuple | range):
        return [_plain(key, item, depth + 1) for item in value]
    if value is None:
        raise UserError(f"{key} holds None, which is not a value; leave it out")
    if not isinstance(value, bool | int | float | str):
        kind = type(value).__name__
        raise UserError(
            f"{key} holds a value of type {kind!r}, which no experiment file can; write text, numbers, a list or table"
        )
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise UserError(f"{key} = {shown(value)} is not Unicode text; write it in other letters") from error
    return value
