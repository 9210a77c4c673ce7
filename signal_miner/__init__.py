"""Mines LightGBM models for the Numerai Classic tournament; from Python, what a mined study came to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from signal_miner.analysis import compare_to_benchmark, leaderboard, past_vs_future

__all__ = ["compare_to_benchmark", "leaderboard", "past_vs_future"]


def __dir__() -> list[str]:
    """Name what may be asked for."""
    return sorted(__all__)


def __getattr__(name: str) -> Any:
    """Import what is asked for: MLflow and matplotlib take seconds, and a worker needs neither."""
    if name in __all__:
        from signal_miner import analysis

        return getattr(analysis, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
