"""What a person sees while datasets are binned, which may take longer than all else."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from signal_miner import progress
from signal_miner.binning import BinnedFolds
from signal_miner.data import open_dataset
from signal_miner.folds import Fold, WalkForward
from signal_miner.progress import BenchmarkProgress, MiningProgress
from signal_miner.standing import Standing

FOLD = Fold(2, (1, 2, 3), (5, 6))


def test_a_build_tells_how_many_features_are_binned(numerai_directory: Path) -> None:
    dataset = open_dataset(numerai_directory, "all", "target", ["target"])
    fold = WalkForward(2, 8).folds(dataset.eras)[0]
    binned = BinnedFolds(dataset, ("target",), 0, group_bytes=1)
    told: list[tuple[Fold, int, int]] = []
    binned.on_features = lambda *each: told.append(each)
    binned.get(fold, 5, "target")
    count = len(dataset.features)
    assert told == [(fold, done, count) for done in range(1, count + 1)]
    binned.get(fold, 5, "target")
    assert len(told) == count


@pytest.mark.parametrize("terminal", [True, False])
def test_both_bars_show_it(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_LINES", 0.0)
    for made in (
        lambda console: BenchmarkProgress(console, [FOLD], 10),
        lambda console: MiningProgress(console, Standing(4)),
    ):
        shown = io.StringIO()
        with made(Console(file=shown, force_terminal=terminal, width=120)) as bar:
            bar.binning(FOLD, 1240, 3555)
        assert "old 2: 1,240 of 3,555 features binned" in shown.getvalue()
