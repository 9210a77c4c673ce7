"""The notes on runs' pages in MLflow: numbers in, Markdown out."""

from __future__ import annotations

from signal_miner.engine.metrics import RunMetrics


def scores_note(metrics: RunMetrics) -> str:
    """Return a trial's or an ensemble's scores in one sentence."""
    validation, test, alike = (
        f"{metrics.values[name]:.2f}" if name in metrics.values else "not defined"
        for name in ("validation/sharpe", "test/sharpe", "validation/benchmark_corr")
    )
    beaten = " and ".join(section for section, beats in metrics.beats_benchmark.items() if beats) or "neither"
    trees = ""
    if metrics.checkpoints:
        trees = f"; best in validation at {metrics.values['best/trees']:.0f} of {metrics.checkpoints[-1]} trees"
    return (
        f"Sharpe {validation} in validation, {test} in test; beats the benchmark in {beaten}; correlation with it "
        f"{alike}{trees}."
    )
