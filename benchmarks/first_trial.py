"""How long a person waits for the first trial: data on disk, an empty workspace, nothing compiled yet.

``python -m benchmarks.first_trial`` writes data of v5.3's eras with Numerai's benchmark predictions, and mines one
trial of ``experiments/numerai_medium.toml`` on them in a process of its own. Steps are printed with their seconds and
CPU seconds, and when the first tree stood and the trial was tracked. ``--data DIRECTORY`` keeps the data, or uses those
that are there; without a race, which may stop the trial earlier. ``--rows 6782302`` is v5.3's size.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import tomli_w
from rich.console import Console

from benchmarks.common import ratio_table
from benchmarks.full_size import write

EXPERIMENT = Path(__file__).parents[1] / "experiments" / "numerai_medium.toml"
FIRST_PREDICTED = "0158"
"""Era in which Numerai's benchmark predictions begin."""

STEPS = {
    "opening the data": ("signal_miner.experiment.plan", "open_data"),
    "folds, grid and hash": ("signal_miner.experiment.plan", "make_plan"),
    "memory plan": ("signal_miner.engine.memory_plan", "plan_memory"),
    "benchmark": ("signal_miner.mining.miner", "Miner._train_benchmark"),
    "store of planes": ("signal_miner.engine.bitplane.folds", "open_store"),
    "the trial: both folds, trained and scored": ("signal_miner.mining.training", "SideBySide._train"),
    "FNC of benchmark and trial": ("signal_miner.mining.miner", "further_scores"),
}
COMPILING = "compiling, within the trial"


class _Clock:
    """Seconds of steps, and since the process began."""

    def __init__(self) -> None:
        self._began = psutil.Process().create_time()
        self.steps: dict[str, tuple[float, float]] = {}
        self.marks: dict[str, float] = {}

    def mark(self, name: str) -> None:
        """Note when something was first reached."""
        self.marks.setdefault(name, time.time() - self._began)

    def timed(self, name: str, work: Callable[..., Any], done: str = "") -> Callable[..., Any]:
        """Return a function whose first call is timed."""

        @functools.wraps(work)
        def timing(*given: Any, **named: Any) -> Any:
            wall, cpu = time.perf_counter(), time.process_time()
            result = work(*given, **named)
            self.steps.setdefault(name, (time.perf_counter() - wall, time.process_time() - cpu))
            if done:
                self.mark(done)
            return result

        return timing


def child(experiment: Path, scratch: Path) -> None:
    """Mine in this process, and leave its times in the scratch directory."""
    clock = _Clock()
    from importlib import import_module

    from numba.core import event

    from signal_miner.engine.bitplane import compilation

    compiled = scratch / "compiled"
    vars(compilation)["code_directory"] = lambda: compiled  # before a kernel is imported: an empty cache
    for name, (module_name, path) in STEPS.items():
        *owners, last = path.split(".")
        owner: Any = import_module(module_name)
        for each in owners:
            owner = getattr(owner, each)
        setattr(owner, last, clock.timed(name, getattr(owner, last)))
    from signal_miner.engine.bitplane.booster import Booster
    from signal_miner.mining.miner import Miner

    for owner, last, done in ((Booster, "_grow_one", "first tree"), (Miner, "_finish", "first trial tracked")):
        setattr(owner, last, clock.timed(done, getattr(owner, last), done))
    clock.mark("libraries imported")
    from signal_miner.__main__ import main as signal_miner

    with event.install_recorder("numba:compile") as recorded:
        code = signal_miner(["mine", str(experiment), "--trials", "1", "--race", "false", "--report", "false"])
    clock.mark("end")
    depth, began, compiling = 0, 0.0, 0.0
    for moment, each in recorded.buffer:  # compiling a function compiles those that it calls
        began = moment if each.is_start and depth == 0 else began
        depth += 1 if each.is_start else -1
        compiling += moment - began if depth == 0 else 0.0
    steps = {name: values for name, values in clock.steps.items() if name in STEPS} | {COMPILING: (compiling, np.nan)}
    (scratch / "times.json").write_text(json.dumps({"steps": steps, "marks": clock.marks}))
    sys.exit(code)


def write_predictions(data: Path, columns: list[str]) -> None:
    """Write benchmark predictions beside the data, from the era on in which Numerai's begin."""
    generator = np.random.default_rng(0)
    for name in ("train", "validation"):
        rows = pq.read_table(data / f"{name}.parquet", columns=["id", "era", "target"])
        rows = rows.filter(pa.compute.greater_equal(rows.column("era"), FIRST_PREDICTED))
        target = rows.column("target").to_numpy()
        made = {
            column: pa.array(0.5 + 0.01 * (target - 0.5) + 0.1 * generator.standard_normal(len(target)))
            for column in columns
        }
        table = pa.table({"id": rows.column("id"), "era": rows.column("era"), **made})
        pq.write_table(table, data / f"{name}_benchmark_models.parquet")


def experiment_file(data: Path, workspace: Path) -> Path:
    """Write the experiment for the data into the workspace: one target, whose horizon its name does not say."""
    own = tomllib.loads(EXPERIMENT.read_text(encoding="utf-8"))
    own |= {"data": data.resolve().as_posix(), "feature_set": "all", "targets": ["target"], "horizon_days": 60}
    path = workspace / "first_trial.toml"
    path.write_text(tomli_w.dumps(own), encoding="utf-8")
    return path


def measure(data: Path, scratch: Path, console: Console) -> None:
    """Mine in a process of its own, and print what took how long."""
    workspace = scratch / "workspace"
    workspace.mkdir()
    experiment = experiment_file(data, workspace)
    command = [sys.executable, "-m", "benchmarks.first_trial", "--child", str(experiment), "--data", str(scratch)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(command, cwd=workspace, env=environment, check=False, text=True, capture_output=True)
    console.print(done.stdout, markup=False, highlight=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    times = json.loads((scratch / "times.json").read_text())
    table = ratio_table(f"{os.cpu_count()} cores", "step", "s", "CPU s")
    for name in (*STEPS, COMPILING):
        wall, cpu = times["steps"].get(name, (np.nan, np.nan))
        table.add_row(name, f"{wall:.1f}", "" if np.isnan(cpu) else f"{cpu:.1f}")
    table.add_section()
    for name, moment in times["marks"].items():
        table.add_row(f"{name}, after", f"{moment:.1f}", "")
    console.print(table)


def main() -> None:
    """Write the data where there are none, and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--features", type=int, default=740)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        child(given.child, given.data)
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        data = given.data or scratch / "data"
        if not data.is_dir():
            write(data, given)
            own = tomllib.loads(EXPERIMENT.read_text(encoding="utf-8"))
            write_predictions(data, sorted({own["benchmark"]["predictions"], *own["numerai_benchmarks"]}))
        measure(data, scratch, Console())


if __name__ == "__main__":
    main()
