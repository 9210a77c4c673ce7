"""What is expected of what a study picks, against what came: the best trial, the mean of the ten best, a greedy blend.

``python -m benchmarks.expected_test`` mines ``demo.toml`` on synthetic markets of several seeds, through the miner and
the store as a person would, and makes the three ensembles of each. The first table has, as means over the markets with
standard errors, by how much the validation score is above test, and by how much what validation alone lets expect is.
Test takes no part in either. ``all trials`` has by how much the mean of all trials, among which nothing was chosen, is
above test: how much better the validation eras were for everyone, or how much less was trained on, but for
``--train-last-eras``. With ``--holdout ERAS`` so many eras are kept out of mining, the greedy ensemble of each market
is evaluated there, and a further table shows what was said of it before, and what came.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from benchmarks.common import ratio_table, run_in_scratch
from signal_miner.data.demo import DEFAULT_MARKET, write_market
from signal_miner.engine.memory_plan import plan_memory
from signal_miner.ensemble.build import BuiltEnsemble, build_ensemble
from signal_miner.ensemble.options import AVERAGED, GREEDY, TOP
from signal_miner.ensemble.runs import EnsembleRuns
from signal_miner.experiment.files import load_experiment
from signal_miner.experiment.plan import Plan, make_plan, open_data
from signal_miner.holdout.evaluation import Holdout
from signal_miner.holdout.model import EvaluatedModel
from signal_miner.holdout.runs import HoldoutRuns
from signal_miner.mining.session import mine
from signal_miner.overfitting.records import Expectation
from signal_miner.overfitting.verdict import evaluate
from signal_miner.scoring.objective import Objective
from signal_miner.scoring.payout import Payout
from signal_miner.scoring.study_scores import TEST, VALIDATION, StudyScores
from signal_miner.tracking.studies import Studies
from signal_miner.tracking.study_reader import StudyReader
from signal_miner.utils.interruption import StopRequest

WAYS: dict[str, dict[str, Any]] = {
    "best trial": {"select": TOP, "members": 1},
    f"mean of the {AVERAGED} best": {"select": TOP, "members": AVERAGED},
    "greedy": {"select": GREEDY},
}


@dataclass(frozen=True)
class OfMarket:
    """What was said of a market's picks by way, the ratio first and then the payout, and what came in the holdout.

    Attributes
    ----------
    verdict, standing : str
        Of the best trial, against luck and against the benchmark.
    pool : tuple of float
        Mean validation score of all trials less their mean in test, by the same scores.
    came : tuple of float
        Of the greedy ensemble, in the holdout, by the same scores; empty without one.
    """

    seed: int
    said: dict[str, tuple[Expectation, ...]]
    verdict: str
    standing: str
    pool: tuple[float, ...]
    came: tuple[float, ...]
    cpu_seconds: float


def of_market(seed: int, given: argparse.Namespace) -> OfMarket:
    """Mine a market, blend its trials, and open its holdout if it has one."""
    started, directory = time.process_time(), Path(f"market-{seed}").resolve()
    data = write_market(directory / "data", replace(DEFAULT_MARKET, seed=seed))
    scratch = Path.cwd()
    os.chdir(directory)
    folds = {"count": given.folds, "holdout_eras": given.holdout}
    grid = {"train_last_eras": [given.train_last_eras]} if given.train_last_eras else {}
    experiment = load_experiment(
        "demo",
        data=str(data),
        trials=given.trials,
        objective=given.objective,
        seed=seed,
        jobs=1,
        folds=folds,
        grid=grid,
    )
    plan, quiet = make_plan(experiment, open_data(experiment)), Console(quiet=True)
    name = mine(plan, plan_memory(plan, 1), quiet).study
    study = Studies(None).find(name)
    made = {way: build_ensemble(study.name, **chosen) for way, chosen in WAYS.items()}
    tracked = StudyReader(None).scores(study)
    leader = evaluate(tracked, 1, payout=study.scoring.payout).leaders[0]
    said = {way: each.expectations for way, each in made.items()}
    came = _opened(study.name, made["greedy"], plan, quiet) if given.holdout else {}
    scores = tuple(came[str(each.objective)] for each in said["greedy"]) if came else ()
    os.chdir(scratch)
    shutil.rmtree(directory)
    return OfMarket(
        seed,
        said,
        str(leader.verdict),
        str(leader.against_benchmark),
        tuple(_less_in_test(tracked, each.objective, study.scoring.payout) for each in said["greedy"]),
        scores,
        time.process_time() - started,
    )


def _less_in_test(tracked: StudyScores, objective: Objective, payout: Payout) -> float:
    eras = tracked.era_scores
    if objective.compared is not tracked.objective.compared:
        eras = payout.of(eras, tracked.bmc)
    validation, test = (objective.summary(eras[tracked.rows(part)]) for part in (VALIDATION, TEST))
    return float(np.nanmean(validation - test))


def _opened(study: str, greedy: BuiltEnsemble, plan: Plan, console: Console) -> dict[str, float]:
    model = EvaluatedModel.of_ensemble(EnsembleRuns(None).find(greedy.run_id))
    opened = Holdout(Studies(None).find(study), model, HoldoutRuns(None)).open(plan, StopRequest(), console)
    return opened.scores.model_scores


def show(found: Sequence[OfMarket], console: Console) -> None:
    """Print the mean errors, and what came in the holdouts."""
    heads = ("validation less test", "expected by validation less test", "the same less all trials'", "RMSE", "test")
    objectives = [each.objective for each in found[0].said["greedy"]]
    for place, objective in enumerate(objectives):
        title = f"{objective.label} of {len(found)} markets, mean ± standard error"
        table = ratio_table(title, "picked", *heads)
        for way in WAYS:
            said = [each.said[way][place] for each in found]
            test = np.array([each.test for each in said])
            errors = [
                np.array([getattr(each, name) for each in said]) - test for name in ("validation", "by_validation")
            ]
            beyond = _mean(errors[1] - np.array([each.pool[place] for each in found]))
            rms = ", ".join(f"{np.sqrt((error**2).mean()):.3f}" for error in errors)
            table.add_row(way, *map(_mean, errors), beyond, rms, f"{test.mean():.3f}")
        table.add_row("all trials", _mean(np.array([each.pool[place] for each in found])), "", "", "", "")
        console.print(table)
    if not found[0].came:
        return
    columns = ("market", "score", "validation", "expected, and interval", "holdout", "best trial")
    table = ratio_table("The greedy ensemble", *columns)
    for market in found:
        for expected, came in zip(market.said["greedy"], market.came, strict=True):
            within = "" if expected.low <= came <= expected.high else ", outside"
            table.add_row(
                str(market.seed),
                expected.objective.label,
                f"{expected.validation:.2f}",
                f"{expected.value:.2f}, {expected.low:.2f} to {expected.high:.2f}",
                f"{came:.2f}{within}",
                f"{market.verdict}, {market.standing}",
            )
    console.print(table)


def _mean(errors: NDArray[np.float64]) -> str:
    return f"{errors.mean():+.3f} ± {errors.std(ddof=1) / np.sqrt(len(errors)):.3f}"


def measure(given: argparse.Namespace, console: Console) -> None:
    """Run every market and print the tables."""
    os.environ["OMP_NUM_THREADS"] = "1"
    seeds = range(given.first_seed, given.first_seed + given.markets)
    found = list[OfMarket]()
    with multiprocessing.get_context("spawn").Pool(given.processes, maxtasksperchild=1) as pool:
        for each in pool.imap(partial(of_market, given=given), seeds):
            found.append(each)
            console.print(f"market {each.seed}: {each.cpu_seconds:.0f} CPU s", highlight=False)
            if len(found) > 1:
                show(found, console)


def main() -> None:
    """Run the benchmark and print its tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--markets", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--trials", type=int, default=80)
    parser.add_argument("--objective", default="payout")
    parser.add_argument("--folds", type=int, default=2)
    parser.add_argument("--holdout", type=int, default=0, help="eras kept out of mining")
    parser.add_argument("--train-last-eras", type=int, default=0, help="as many on each fold; default: all before it")
    parser.add_argument("--processes", type=int, default=1)
    run_in_scratch(measure, parser)


if __name__ == "__main__":
    main()
