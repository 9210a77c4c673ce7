"""The default data: a small synthetic market in Numerai's layout, generated once from a seed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from filelock import FileLock
from numpy.typing import NDArray

from signal_miner.data.demo_market import HORIZON_WEEKS, Market, Panel, simulate
from signal_miner.data.folds import PURGE_ERAS
from signal_miner.errors import UserError
from signal_miner.utils.validation import parsed_json

__all__ = ["DEFAULT_MARKET", "DEMO_VERSION", "PAYOUT_TARGET", "Market", "ensure_demo", "write_market"]

DEMO_VERSION = 3
"""Raised whenever the synthetic data change, so that data of an older version are generated again."""

DEFAULT_MARKET = Market()
"""The market that ``data = "demo"`` is."""

PAYOUT_TARGET = "target_ender_60"
"""The named target that the column ``target`` equals."""

_MARKER = "demo.json"
_ROW_GROUP = 20_000
_FIRST_WINDOW, _REFIT_EVERY = 4, 8
"""Eras of the first window that a benchmark model is trained on, and eras until it is trained on a longer one."""

_GROUPS = ("intelligence", "charisma", "strength", "dexterity")
_FIRST = "amber brisk candid dapper eager frugal gentle humid"
_SECOND = "idle jovial keen lucid mellow nimble opaque placid quaint rustic sober tepid umber vivid wistful zesty"
_THIRD = (
    "abacus badger cobalt domino ember fjord gravel harbor inkwell juniper kestrel lantern meadow nutmeg orchid pebble "
    "quartz raven saffron thistle urchin velvet walnut yarrow acorn bramble cinder drizzle falcon glacier hazel ivory"
)


def write_market(directory: Path, market: Market = DEFAULT_MARKET) -> Path:
    """Generate a synthetic market in Numerai's layout, and return its directory.

    The files are ``train.parquet``, ``validation.parquet`` and ``live.parquet`` (index ``id``; columns ``era``,
    ``data_type``, int8 features, float32 targets), the same three with ``_benchmark_models`` (index ``id``;
    ``era`` and ridge predictions in (0, 1)), ``features.json``, and ``demo.json`` with the `market` and the files'
    sizes. All are written to a sibling folder that is renamed when complete; an earlier synthetic market is replaced.
    The same `market` gives the same values.

    Raises
    ------
    UserError
        If `directory` holds anything but a synthetic market, or cannot be written.
    """
    directory = Path(directory)
    with _writing(directory):
        _write(directory, market)
    return directory


def ensure_demo(directory: Path, market: Market = DEFAULT_MARKET) -> Path:
    """Return the directory of a synthetic market, generated now if it is not there.

    One that is incomplete (a file missing or of another size), of another `DEMO_VERSION` or of another `market`
    is generated again. Of several processes at once the first generates it and the others wait.

    Raises
    ------
    UserError
        As `write_market`.
    """
    directory = Path(directory)
    if not _is_complete(directory, market):
        with _writing(directory):
            if not _is_complete(directory, market):
                _write(directory, market)
    return directory


def _is_complete(directory: Path, market: Market) -> bool:
    marker = _read_marker(directory)
    if marker is None or marker.get("version") != DEMO_VERSION or marker.get("market") != asdict(market):
        return False
    sizes = marker.get("bytes")
    if not isinstance(sizes, dict) or not sizes:
        return False
    files = {name: directory / name for name in sizes}
    return all(path.is_file() and path.stat().st_size == sizes[name] for name, path in files.items())


def _read_marker(directory: Path) -> dict[str, Any] | None:
    try:
        marker = parsed_json((directory / _MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return marker if isinstance(marker, dict) else None


@contextmanager
def _writing(directory: Path) -> Iterator[None]:
    """Hold the lock on writing `directory`; the system frees the lock of a killed process."""
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(directory.parent / f".{directory.name}.lock"):
            yield
    except OSError as error:
        raise UserError(f"cannot write the demo data to {directory} ({error}); choose another directory") from error


def _write(directory: Path, market: Market) -> None:
    if directory.exists() and not directory.is_dir():
        raise UserError(f"{directory} is a file; name a directory for the demo data")
    # A marker, even a broken one, distinguishes our own data from the user's.
    if directory.is_dir() and not (directory / _MARKER).exists() and any(directory.iterdir()):
        raise UserError(f"{directory} holds other files than the demo data; choose a new or empty directory")
    for leftover in directory.parent.glob(f".{directory.name}.partial-*"):  # of killed writers
        shutil.rmtree(leftover)
    new, old = (directory.parent / f".{directory.name}.partial-{age}" for age in ("new", "old"))
    new.mkdir()
    try:
        _write_files(new, market)
        if directory.exists():
            directory.replace(old)
        new.replace(directory)
    finally:
        for folder in (new, old):
            shutil.rmtree(folder, ignore_errors=True)


def _write_files(directory: Path, market: Market) -> None:
    panel = simulate(market)
    names, feature_sets = _feature_sets(panel)
    benchmarks = _benchmarks(panel, market)
    predicted = ~np.isnan(next(iter(benchmarks.values())))
    ids = pd.Index(_ids(panel.eras, market.seed), name="id")
    eras = pd.Series(panel.eras).map("{:04d}".format).to_numpy(dtype=object)
    newest = panel.eras.max()
    parts = {
        "train": panel.eras <= market.train_eras,
        "validation": (panel.eras > market.train_eras) & (panel.eras < newest),
        "live": panel.eras == newest,
    }
    kinds = np.where(parts["train"], "train", np.where(parts["live"], "live", "validation")).astype(object)
    kinds[(panel.eras > market.resolved_eras) & (panel.eras < newest)] = "test"

    for part, rows in parts.items():
        columns: dict[str, NDArray[Any]] = {"era": eras[rows], "data_type": kinds[rows]}
        columns |= {name: panel.features[names.index(name), rows] for name in feature_sets["all"]}
        columns["target"] = panel.targets[PAYOUT_TARGET][rows]
        columns |= {name: panel.targets[name][rows] for name in sorted(panel.targets)}
        _write_parquet(pd.DataFrame(columns, index=ids[rows]), directory / f"{part}.parquet")
        rows = rows & predicted
        columns = {"era": eras[rows]} | {name: values[rows] for name, values in benchmarks.items()}
        _write_parquet(pd.DataFrame(columns, index=ids[rows]), directory / f"{part}_benchmark_models.parquet")
    features = {"feature_sets": feature_sets, "targets": [*sorted(panel.targets), "target"]}
    (directory / "features.json").write_text(json.dumps(features, indent=1) + "\n", encoding="utf-8")
    sizes = {path.name: path.stat().st_size for path in sorted(directory.iterdir())}
    marker = {"version": DEMO_VERSION, "market": asdict(market), "bytes": sizes}
    (directory / _MARKER).write_text(json.dumps(marker, indent=1) + "\n", encoding="utf-8")


def _write_parquet(frame: pd.DataFrame, path: Path) -> None:
    frame.to_parquet(path, engine="pyarrow", compression="zstd", row_group_size=_ROW_GROUP)


def _feature_sets(panel: Panel) -> tuple[list[str], dict[str, list[str]]]:
    """Return the features' names, and Numerai's nested sets and named groups, each in alphabetical order."""
    n_features = len(panel.features)
    possible = [f"feature_{'_'.join(name)}" for name in product(*(part.split() for part in (_FIRST, _SECOND, _THIRD)))]
    names = [possible[index] for index in np.random.default_rng(0).permutation(len(possible))[:n_features]]
    sets = {"small": sorted(names[: n_features // 5]), "medium": sorted(names[: n_features // 2]), "all": sorted(names)}
    for number, group in enumerate(_GROUPS):
        members = panel.characteristics % len(_GROUPS) == number
        sets[group] = sorted(name for name, member in zip(names, members, strict=True) if member)
    return names, sets


def _ids(eras: NDArray[np.int64], seed: int) -> NDArray[np.object_]:
    """Return an id a row, unique over all eras and ascending within each: ``n`` and 15 hexadecimal digits."""
    rng = np.random.default_rng([seed, 100])
    # Sixteen more than needed: one market in about 10^8 has any duplicates to drop.
    drawn = np.unique(rng.integers(0, 16**15, len(eras) + 16))
    drawn = rng.permutation(drawn)[: len(eras)]
    drawn = drawn[np.lexsort((drawn, eras))]
    return np.array([f"n{number:015x}" for number in drawn], dtype=object)


def _benchmarks(panel: Panel, market: Market) -> dict[str, NDArray[np.float32]]:
    """Predict walk-forward with a ridge a horizon, ranked within each era to (0, 1).

    As Numerai's benchmark models: expanding windows, trained again every few eras, purged by the target's
    horizon. Predictions by model, shape (n_rows,), are NaN in the first eras, which no purged window can precede.
    """
    first = PURGE_ERAS[60] + _FIRST_WINDOW + 1
    offsets = np.searchsorted(panel.eras, np.arange(1, market.eras + 2))  # (n_eras + 1,)
    models = {}
    for days in HORIZON_WEEKS:
        target = panel.targets[f"target_ender_{days}"]
        prediction = np.full(len(panel.eras), np.nan, dtype=np.float32)
        for start in range(first, market.eras + 1, _REFIT_EVERY):
            newest = min(start - PURGE_ERAS[days] - 1, market.resolved_eras)
            weights = _ridge(panel.features[:, : offsets[newest]], target[: offsets[newest]])
            for era in range(start, min(start + _REFIT_EVERY, market.eras + 1)):
                rows = slice(offsets[era - 1], offsets[era])
                # Rounded, so that another order of summation on another machine changes no rank.
                raw = np.round(weights @ panel.features[:, rows], 10)
                rank = np.empty(len(raw))
                rank[np.argsort(raw, kind="stable")] = np.arange(len(raw))
                prediction[rows] = (rank + 0.5) / len(raw)
        models[f"demo_ridge_ender{days}"] = prediction
    return models


def _ridge(features: NDArray[np.int8], target: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return ridge weights, shape (n_features,), penalty one twentieth of the rows; centred at 2 and at .5."""
    centred = features.astype(np.float64) - 2
    gram = centred @ centred.T  # of whole numbers, so exact in any order
    penalty = 0.05 * features.shape[1] * np.eye(len(gram))
    weights: NDArray[np.float64] = np.linalg.solve(gram + penalty, centred @ (target - 0.5))
    return weights
