"""A cluster: two workers against one, what the process that mines carries, and many workers whose trials sleep.

``python -m benchmarks.cluster workers`` mines the demo with one local worker and with two. ``parent`` asks, tracks and
reports ready-made trials, up to ``--trials``. ``crowd`` runs a scheduler and ``--workers`` workers, all in one process,
whose trials only sleep, and prints how busy they are. ``--study-storage`` and ``--tracking-uri`` name servers.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from mlflow import MlflowClient
from rich.console import Console

from benchmarks.common import ratio_table, run_in_scratch
from signal_miner.engine.benchmark_run import score_benchmark
from signal_miner.engine.fold_sources import fold_source
from signal_miner.engine.memory_plan import plan_memory
from signal_miner.engine.metrics import trial_metrics
from signal_miner.engine.trial import DRAWN, TrialResult, run_trial
from signal_miner.engine.validation_rows import fold_rows, fold_scorers
from signal_miner.experiment.files import load_experiment
from signal_miner.experiment.plan import Plan, make_plan, open_data
from signal_miner.mining.search import Search
from signal_miner.mining.session import mine
from signal_miner.tracking.artifacts import write_artifacts
from signal_miner.tracking.study_writer import Tracker
from signal_miner.tracking.tags import KIND, TRIAL_KIND

_GRID = {"n_estimators": [20], "learning_rate": {"from": 0.001, "to": 0.1, "count": 12_000}, "max_depth": [3]}
_BENCHMARK = {"n_estimators": 20, "max_depth": 3}
_OWN_MACHINES = {
    "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",
    "DASK_DISTRIBUTED__ADMIN__TICK__INTERVAL": "1s",
    "DASK_DISTRIBUTED__ADMIN__SYSTEM_MONITOR__INTERVAL": "10s",
}
"""What each of many workers does a hundred times a second, on its own machine: here it would take both cores."""


def main() -> None:
    """Run one of the benchmarks and print its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=["workers", "parent", "crowd", "host"])
    parser.add_argument("--trials", type=int, default=0)
    parser.add_argument("--workers", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--trees", type=int, default=2000)
    parser.add_argument("--study-storage", default="studies")
    parser.add_argument("--tracking-uri", default="sqlite:///mlflow.db")
    parser.add_argument("--scheduler", default="")
    if "host" in sys.argv[1:2]:
        asyncio.run(_host(parser.parse_args()))
        return
    run_in_scratch(_measure, parser)


def _measure(given: argparse.Namespace, console: Console) -> None:
    {"workers": _workers, "parent": _parent, "crowd": _crowd}[given.part](given, console)


def _plan(given: argparse.Namespace, **changes: Any) -> Plan:
    settings: dict[str, Any] = {"grid": _GRID, "benchmark": _BENCHMARK, "constraint": None, "cache_gb": 0}
    settings |= {"study_storage": given.study_storage, "tracking_uri": given.tracking_uri}
    experiment = load_experiment("demo", **settings | changes)
    return make_plan(experiment, open_data(experiment))


def _workers(given: argparse.Namespace, console: Console) -> None:
    """Mine the same trials with one worker and with two."""
    trials = given.trials or 24
    heads = "s", "against one", "trials a minute once all are busy", "against one"
    table = ratio_table(f"{trials} trials of {given.trees:,} trees of the demo", "workers", *heads)
    found: list[tuple[float, float]] = []
    for count in (1, 2):
        grid = _GRID | {"n_estimators": [given.trees]}
        plan = _plan(given, name=f"with {count}", grid=grid, trials=trials, jobs=count, cluster={"workers": count})
        mine(replace(plan, experiment=replace(plan.experiment, trials=count)), None, Console(quiet=True))  # bins
        started = time.monotonic()
        mine(plan, None, Console(quiet=True))
        found.append((time.monotonic() - started, _rate(plan, count)))
        ratios = found[0][0] / found[-1][0], found[-1][1] / found[0][1]
        table.add_row(
            str(count), f"{found[-1][0]:.1f}", f"{ratios[0]:.2f} ×", f"{found[-1][1]:.1f}", f"{ratios[1]:.2f} ×"
        )
    console.print(table)


def _rate(plan: Plan, workers: int) -> float:
    """Return trials a minute, from the first that ended with all workers in training to the last that ended so."""
    client = MlflowClient(str(plan.experiment.tracking_uri))
    experiment = client.get_experiment_by_name(plan.experiment.name)
    if experiment is None:
        raise RuntimeError("nothing was tracked")
    runs = client.search_runs([experiment.experiment_id], f"tags.`{KIND}` = '{TRIAL_KIND}'", max_results=1000)
    ended = sorted(run.info.end_time / 1000 for run in runs)
    inside = ended[2 * workers - 1 : len(ended) - workers + 1]  # after those of the run that bins, and the first ones
    return float(60 * (len(inside) - 1) / (inside[-1] - inside[0]))


def _parent(given: argparse.Namespace, console: Console) -> None:
    """Ask, track and report trials that are trained already."""
    trials = given.trials or 3000
    plan = _plan(given, name="parent")
    result, benchmark = _reference(plan)
    rows = fold_rows(plan)
    search = Search(plan.study, plan.grid, 0, given.study_storage)
    tracker = Tracker("parent", plan.study, plan.config_hash, given.tracking_uri)
    heads = "ask, ms", "track, ms", "report, ms", "trials/s", "CPU, ms"
    table = ratio_table("a trial, wall clock and CPU", "trials in the study", *heads)
    spent, cpu = np.zeros(3), time.process_time()
    marks = sorted({100, *range(1000, trials + 1, 1000), trials})
    last = 0
    for number in range(1, trials + 1):
        moments = [time.perf_counter()]
        draw = search.ask()
        if draw is None:
            raise RuntimeError("the grid is exhausted; ask for fewer trials")
        moments.append(time.perf_counter())
        metrics = trial_metrics(result, benchmark, plan.scoring)
        with tempfile.TemporaryDirectory() as directory:
            write_artifacts(Path(directory), result, rows)
            tracker.log_trial(draw.number, draw.params, metrics, Path(directory), time.time())
        moments.append(time.perf_counter())
        search.tell(draw.number, float(number))
        moments.append(time.perf_counter())
        spent += np.diff(moments)
        if number in marks:
            each = spent / (number - last)
            busy = 1000 * (time.process_time() - cpu) / (number - last)
            shown = (f"{1000 * value:.0f}" for value in each)
            table.add_row(f"{number:,}", *shown, f"{1 / each.sum():.1f}", f"{busy:.0f}")
            spent, last, cpu = np.zeros(3), number, time.process_time()
    console.print(table)


def _reference(plan: Plan) -> tuple[TrialResult, Any]:
    source = fold_source(plan, plan_memory(plan, 1), plan.labels, lambda: False)
    plain = fold_scorers(plan)
    benchmark = run_trial(source, plan.scored_folds, plain, plan.benchmark, 0, scoring=plan.scoring)
    predictions = {part.fold.number: part.predictions[:, DRAWN] for part in benchmark.folds}
    scored = score_benchmark(plan, plain, predictions)
    return run_trial(source, plan.scored_folds, scored.scorers, plan.benchmark, 0, scoring=plan.scoring), scored.scores


def _crowd(given: argparse.Namespace, console: Console) -> None:
    """Mine trials that sleep on many workers of one process."""
    trials = given.trials or 5 * given.workers
    here = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "DASK_DISTRIBUTED__ADMIN__TICK__LIMIT": "1h"}
    port = 18_786
    address = f"tcp://127.0.0.1:{port}"
    log = Path("processes.log").open("w", encoding="utf-8")  # noqa: SIM115
    commands = [
        ["distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard", "--no-show"],
        ["benchmarks.cluster", "host", "--scheduler", address, "--workers", str(given.workers)],
    ]
    commands[1] += ["--seconds", str(given.seconds)]
    running = [
        subprocess.Popen([sys.executable, "-m", *words], stdout=log, stderr=log, env=own)
        for words, own in zip(commands, (here, here | _OWN_MACHINES), strict=True)
    ]
    try:
        plan = _plan(given, name="crowd", trials=trials, cluster={"scheduler": address})
        while not _answers(port):
            time.sleep(0.1)
        mine(plan, None, console)
        spans = np.array([json.loads(line) for line in Path("spans.jsonl").read_text().splitlines()])
    finally:
        for process in running:
            process.terminate()
            process.wait()
    # Up to the last start: then there is no further trial for a worker that becomes free.
    first, last = spans[:, 0].min(), spans[:, 0].max()
    inside = np.clip(spans[:, 1], first, last) - np.clip(spans[:, 0], first, last)
    busy = inside.sum() / (given.workers * (last - first))
    table = ratio_table(f"{trials:,} trials of {given.seconds:g} s", "workers", "busy", "trials/s")
    table.add_row(f"{given.workers:,}", f"{busy:.1%}", f"{len(spans) / (spans[:, 1].max() - first):.1f}")
    console.print(table)


def _answers(port: int) -> bool:
    with suppress(OSError):
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    return False


async def _host(given: argparse.Namespace) -> None:
    """Run many workers in this process; what they train is trained once."""
    from distributed import Worker

    from signal_miner.cluster import worker as workers

    ready: dict[int, TrialResult] = {}  # by the scorers
    training, writing = threading.Lock(), threading.Lock()

    def sleeping(source: Any, folds: Any, scorers: Any, params: Any, seed: int, *others: Any) -> TrialResult:
        against = id(next(iter(scorers.values())))
        with training:
            if against not in ready:
                ready[against] = run_trial(source, folds, scorers, params, seed, *others)
            is_trial = len(ready) > 1  # the first is the benchmark, which there is nothing to score against yet
        if is_trial:
            started = time.time()
            time.sleep(given.seconds)
            with writing, Path("spans.jsonl").open("a", encoding="utf-8") as file:
                file.write(f"{json.dumps([started, time.time()])}\n")
        return replace(ready[against], params=dict(params))

    workers.run_trial = sleeping  # type: ignore[attr-defined,assignment]
    running = [Worker(given.scheduler, nthreads=1, memory_limit=0, dashboard=False) for _ in range(given.workers)]
    with suppress(asyncio.CancelledError):
        await asyncio.gather(*running)
        await asyncio.gather(*(each.finished() for each in running))


if __name__ == "__main__":
    main()
