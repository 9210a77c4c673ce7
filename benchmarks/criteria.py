"""What splits chosen by era are worth: test scores of what a study picks, by criterion.

``python -m benchmarks.criteria`` draws configurations from the grid of ``demo.toml``, the same for each criterion, and
trains them on synthetic markets of five seeds, or on directories in Numerai's layout that are named. Models are picked
by payout in validation: the best one, the mean of the ten best, and what `ensemble` grows greedily; the last rows pick
from the models of all criteria together. Columns are the means over the markets of their test scores.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from benchmarks.common import measured, ratio_table, run_in_scratch
from benchmarks.objectives import WAYS, Mined, mine, picks, spread
from signal_miner.data.demo import DEFAULT_MARKET, write_market
from signal_miner.experiment.schema import BENCHMARK
from signal_miner.scoring.objective import Objective

CRITERIA = ("pooled", "era", "directional")
SHOWN = (Objective.CORR, Objective.SHARPE, Objective.BMC, Objective.PAYOUT)


def figures(mined: Mined) -> NDArray[np.float64]:
    """Return test scores and correlation with the benchmark of what each way picks, shape (ways, scores)."""
    rows, found = [], picks(mined, Objective.PAYOUT)
    for columns in (found[way] for way in WAYS):
        scores = [mined.scores(score, mined.test, columns)[0] for score in SHOWN]
        near = [
            np.nanmean(mined.against.scorers[number].score(columns[number], (BENCHMARK,)).benchmark_corr[BENCHMARK])
            for number in mined.test
        ]
        rows.append([*scores, float(np.mean(near))])
    return np.array(rows)


def together(studies: Sequence[Mined]) -> Mined:
    """Return one study of the models of several, which differ in their criterion alone."""
    numbers = studies[0].predictions.keys()
    predictions = {number: np.column_stack([each.predictions[number] for each in studies]) for number in numbers}
    configurations = [params for each in studies for params in each.configurations]
    return replace(studies[0], configurations=configurations, predictions=predictions)


def of_data(data: str, given: argparse.Namespace, changes: Mapping[str, Any]) -> NDArray[np.float64]:
    """Return `figures` by criterion, those of all together last."""
    blocks = {"era_block": [given.era_block]} if given.era_block > 1 else {}
    grids = [{"split_criterion": [each]} | (blocks if each != "pooled" else {}) for each in CRITERIA]
    studies = [mine(data, given.trials, grid, **changes) for grid in grids]
    return np.array([figures(each) for each in (*studies, together(studies))])


def places(given: argparse.Namespace) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each data directory and what its experiment changes."""
    for named in given.data:
        folds = {"embargo_eras": given.embargo_eras}
        own: dict[str, Any] = {"targets": "all", "contribution_to": None, "numerai_benchmarks": []}
        yield named, own | {"horizon_days": given.horizon_days, "folds": folds}
    for number in range(0 if given.data else given.markets):
        market = replace(DEFAULT_MARKET, seed=given.first_seed + number)
        yield str(write_market(Path(f"market-{market.seed}"), market).resolve()), {}


def measure(given: argparse.Namespace, console: Console) -> None:
    """Run everything and print the table."""
    os.environ["OMP_NUM_THREADS"] = "1"
    done = measured(lambda: np.array([of_data(data, given, changes) for data, changes in places(given)]))
    found = done.result
    title = f"Picked by payout in validation, {given.trials} trials a criterion, {len(found)} markets"
    table = ratio_table(title, "", *(f"test {score.label}" for score in SHOWN), "correlation with the benchmark")
    for place, way in enumerate(WAYS):
        for row, criterion in enumerate((*CRITERIA, "all")):
            table.add_row(f"{way}, {criterion}", *spread(found[:, row, place]))
    console.print(table)
    console.print(f"{done.cpu_seconds:.0f} CPU s", highlight=False)


def main() -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="*", help="directories in Numerai's layout; synthetic markets if none is named")
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--markets", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--era-block", type=int, default=1)
    parser.add_argument("--horizon-days", type=int, help="of a directory's targets, if their names do not say it")
    parser.add_argument("--embargo-eras", type=int, help="of a directory, if its eras are not a week apart")
    run_in_scratch(measure, parser)


if __name__ == "__main__":
    main()
