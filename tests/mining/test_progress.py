"""The progress bars, also while datasets are binned, which may take longer than anything else."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from signal_miner.data.dataset import open_dataset
from signal_miner.data.folds import Fold, WalkForward
from signal_miner.engine.binning import BinnedFolds
from signal_miner.mining.observer import BenchmarkStep, Compiling, FeaturesBinned, observers
from signal_miner.mining.progress import BenchmarkBar, MiningProgress, TrialsBar
from signal_miner.mining.status import TrialCounts, all_statuses
from signal_miner.mining.status_writer import StatusWriter
from signal_miner.tracking.records import TrackedTrial
from signal_miner.utils import console
from signal_miner.utils.console import TreesProgress

FOLD = Fold(2, (1, 2, 3), (5, 6))


def test_a_build_reports_how_many_features_are_binned(numerai_directory: Path) -> None:
    dataset = open_dataset(numerai_directory, "all", "target", ["target"])
    fold = WalkForward(2, 8).folds(dataset.eras)[0]
    reported: list[tuple[int, int, int]] = []
    binned = BinnedFolds(dataset, ("target",), 0, group_bytes=1, on_features=lambda *each: reported.append(each))
    binned.get(fold, 5, "target")
    count = len(dataset.features)
    assert reported == [(fold.number, done, count) for done in range(1, count + 1)]
    binned.get(fold, 5, "target")
    assert len(reported) == count


@pytest.mark.parametrize("terminal", [True, False])
def test_both_bars_show_binning(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "_SECONDS_BETWEEN_LINES", 0.0)
    for before in (BenchmarkStep(1, 2, 0, 10, 0.0), TrialCounts(4)):
        shown = io.StringIO()
        with MiningProgress(Console(file=shown, force_terminal=terminal, width=120)) as progress:
            progress(before)
            progress(FeaturesBinned(FOLD.number, 1240, 3555))
        assert "old 2: 1,240 of 3,555 features binned" in shown.getvalue()


@pytest.mark.parametrize("terminal", [True, False])
def test_compiling_is_a_line_beside_the_bar_and_in_the_status(terminal: bool, tmp_path: Path) -> None:
    shown = io.StringIO()
    with (
        StatusWriter(tmp_path) as writer,
        MiningProgress(Console(file=shown, force_terminal=terminal, width=120)) as progress,
    ):
        writer.claim("some", lambda: None)
        observer = observers(progress, writer.observe)
        observer(BenchmarkStep(1, 2, 0, 10, 0.0))
        observer(Compiling())
        writer.release()
        assert all_statuses(tmp_path)[0].at == "Compiling the trainer, once for this machine …"
        observer(BenchmarkStep(1, 2, 1, 10, 0.1))
        writer.release()
        assert "Compiling" not in all_statuses(tmp_path)[0].at
    assert shown.getvalue().count("Compiling the trainer, once for this machine …") == 1


def frame(bar: object, console: Console) -> str:
    """Return what a bar shows now."""
    with console.capture() as shown:
        console.print(bar._bar.get_renderable())  # type: ignore[attr-defined]
    return re.sub(r"\x1b\[[0-9;]*m", "", shown.get())


@pytest.mark.parametrize("width", [40, 60, 80, 100, 140])
def test_a_bar_is_whole_at_any_width(width: int) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=width)
    counts = TrialCounts(80, done=61, beating=10, best="trial 0058", best_score=1.04)
    mining = TrialsBar(console, counts)
    mining.show(counts.after(TrackedTrial("r", "trial", 61, "FAILED", {}, {}, {"validation": False, "test": False})))
    training, trees = BenchmarkBar(console), TreesProgress(console, "Refitting", 12000)
    training.show(BenchmarkStep(2, 4, 1240, 3000, 0.2))
    trees.advance(4200)
    shown = [frame(bar, console) for bar in (mining, training, trees)]
    assert str(FeaturesBinned(0, 1240, 3555)) == "1,240 of 3,555 features stored as bit planes"
    mining.show_binning(str(FeaturesBinned(FOLD.number, 1240, 3555)))
    shown.append(frame(mining, console))
    for text in shown:
        line = text.rstrip("\n")
        assert "\n" not in line
        assert "…" not in line
        assert len(line) <= width
        assert "━" * 6 in line
    assert "62/80" in shown[0]
    assert "62/80" in shown[3]
    assert ("best Sharpe 1.04 · 10 beat · 1 failed" in shown[0]) == (60 <= width <= 100)
    assert ("best validation Sharpe 1.04 (trial 0058) · 10 beat the benchmark" in shown[0]) == (width == 140)
    assert ("1,240 of 3,555 features" in shown[3]) == (width >= 60)
    if width >= 60:
        assert "fold 2 of 4, 1,240 of 3,000 trees" in shown[1]
    assert "4,200 of 12,000 trees" in shown[2]
