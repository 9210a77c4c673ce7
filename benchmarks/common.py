"""What the benchmarks share: synthetic data, a plan over them, configurations, and measurement of time and memory."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from signal_miner.data.demo import Market, write_market
from signal_miner.data.sources import open_source
from signal_miner.experiment.files import load_experiment
from signal_miner.experiment.grid import Axis, Draws, Grid
from signal_miner.experiment.plan import Plan, make_plan
from signal_miner.experiment.schema import parse_experiment

T = TypeVar("T")

_ORIGINAL = Path(__file__).parents[1] / "experiments" / "original.toml"
_MAXRSS_BYTES = 1 if sys.platform == "darwin" else 1024


@dataclass(frozen=True)
class Measured(Generic[T]):
    """What some work returned, and what it took.

    Attributes
    ----------
    result : object
    cpu_seconds, wall_seconds : float
    peak_bytes : int
        Of a process that did nothing else; 0 where not asked for.
    """

    result: T
    cpu_seconds: float
    wall_seconds: float
    peak_bytes: int = 0


def measured(work: Callable[[], T]) -> Measured[T]:
    """Do work in this process."""
    cpu, wall = time.process_time(), time.perf_counter()
    result = work()
    return Measured(result, time.process_time() - cpu, time.perf_counter() - wall)


def peak_bytes() -> int:
    """Return the most that this process has held so far."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux's ru_maxrss begins with what the parent held, where a process is spawned
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _MAXRSS_BYTES


def _reporting(work: Callable[..., T], given: tuple[Any, ...]) -> Measured[T]:
    done = measured(lambda: work(*given))
    return Measured(done.result, done.cpu_seconds, done.wall_seconds, peak_bytes())


def alone(work: Callable[..., T], *given: Any) -> Measured[T]:
    """Do work in a new process, so that its peak memory is its own.

    Parameters
    ----------
    work : callable
        A module's function; it returns what can be pickled.
    *given : object
        Its arguments.
    """
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_reporting, (work, given))


def add_size(parser: argparse.ArgumentParser, rows: int = 500_000, features: int = 42) -> None:
    """Add the arguments that say the size of the synthetic data."""
    parser.add_argument("--rows", type=int, default=rows)
    parser.add_argument("--features", type=int, default=features)
    parser.add_argument("--eras", type=int, default=100)
    parser.add_argument("--market-seed", type=int, default=Market.seed)


def write_large(directory: Path, given: argparse.Namespace) -> Path:
    """Write the synthetic market at the requested size."""
    market = Market(
        seed=given.market_seed,
        train_eras=given.eras * 2 // 3,
        validation_eras=given.eras - given.eras * 2 // 3,
        rows_per_era=given.rows // given.eras,
        features=given.features,
    )
    return write_market(directory, market)


def plan_over(data: Path, trees: int = 10, max_bin: int = 5) -> Plan:
    """Return a plan of two folds over all features of a directory."""
    own = {"n_estimators": trees, "max_bin": max_bin}
    experiment = parse_experiment(
        {
            "name": "benchmarks",
            "data": str(data),
            "horizon_days": 60,
            "targets": ["target"],
            "grid": {name: [value] for name, value in own.items()},
            "benchmark": own,
        }
    )
    return make_plan(experiment, open_source(str(data), "all", "target", ["target"]))


def raw_matrix(plan: Plan) -> NDArray[np.int8]:
    """Return all features of all rows as one matrix, as scikit-learn's interface wants them."""
    whole = slice(0, len(plan.dataset))
    matrix = np.empty((len(plan.dataset), len(plan.dataset.features)), dtype=np.int8)
    for place, feature in enumerate(plan.dataset.features):
        matrix[:, place] = plan.dataset.read_features([feature], whole).column(0).to_numpy()
    return matrix


def usual_configurations(count: int, trees: int, colsample: float, max_bin: int, seed: int = 0) -> list[dict[str, Any]]:
    """Return configurations like Numerai's example model, of different learning rates."""
    generator = np.random.default_rng(seed)
    usual = {"n_estimators": trees, "max_depth": 5, "num_leaves": 15, "colsample_bytree": colsample, "max_bin": max_bin}
    return [usual | {"learning_rate": float(rate)} for rate in generator.uniform(0.005, 0.1, count)]


def original_configurations(count: int, most_trees: int, seed: int = 0) -> list[dict[str, Any]]:
    """Return configurations drawn at random from ``experiments/original.toml``, their trees capped."""
    experiment = load_experiment(_ORIGINAL)
    grid = Grid(tuple(Axis(name, values) for name, values in experiment.axes.items()), experiment.constraint)
    params = drawn_configurations(grid, count, seed)
    return [each | {"n_estimators": min(int(each["n_estimators"]), most_trees)} for each in params]


def drawn_configurations(grid: Grid, count: int, seed: int) -> list[dict[str, Any]]:
    """Return the configurations that a study of this seed draws first."""
    draws, drawn = Draws(grid, seed), list[tuple[int, ...]]()
    for number in range(count):
        cell = draws.draw(number, frozenset(drawn))
        if cell is None:
            raise RuntimeError("the grid is exhausted; ask for fewer configurations")
        drawn.append(cell)
    return [grid.params(cell) for cell in drawn]


def run_in_scratch(measure: Callable[[argparse.Namespace, Console], None], parser: argparse.ArgumentParser) -> None:
    """Measure what the command line asks for, in a directory that goes away after."""
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)
        measure(given, Console())


def ratio_table(title: str, *columns: str) -> Table:
    """Return a table whose first column names and whose others are figures."""
    table = Table(title=title, title_justify="left")
    for number, name in enumerate(columns):
        table.add_column(name, justify="right" if number else "left")
    return table
