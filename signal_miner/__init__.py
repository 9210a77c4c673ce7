"""Mines LightGBM models for the Numerai Classic tournament.

From Python: an experiment is loaded or made, mined in the background, looked at, and turned into a file that predicts.

Examples
--------
>>> import signal_miner
>>> experiment = signal_miner.load_experiment("experiments/demo.toml", trials=40)
>>> miner = signal_miner.start_mining(experiment)  # doctest: +SKIP
>>> miner.progress()  # doctest: +SKIP
>>> miner.leaderboard()  # doctest: +SKIP
"""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from signal_miner.analysis import compare_to_benchmark, leaderboard, past_vs_future, plot_folds, plot_parameters
    from signal_miner.background.handle import BackgroundMiner, attach
    from signal_miner.background.progress import Progress
    from signal_miner.background.starting import start_mining
    from signal_miner.ensemble_building import build_ensemble
    from signal_miner.errors import UserError
    from signal_miner.experiment import Experiment
    from signal_miner.experiment_in_code import load_experiment, make_experiment
    from signal_miner.predict_export import export_predict
    from signal_miner.reporting import skill_or_luck
    from signal_miner.sources import open_data

_ROOMS = {
    "analysis": ("compare_to_benchmark", "leaderboard", "past_vs_future", "plot_folds", "plot_parameters"),
    "background.handle": ("BackgroundMiner", "attach"),
    "background.progress": ("Progress",),
    "background.starting": ("start_mining",),
    "ensemble_building": ("build_ensemble",),
    "errors": ("UserError",),
    "experiment": ("Experiment",),
    "experiment_in_code": ("load_experiment", "make_experiment"),
    "predict_export": ("export_predict",),
    "reporting": ("skill_or_luck",),
    "sources": ("open_data",),
}
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}

__all__ = [
    "BackgroundMiner",
    "Experiment",
    "Progress",
    "UserError",
    "attach",
    "build_ensemble",
    "compare_to_benchmark",
    "export_predict",
    "leaderboard",
    "load_experiment",
    "make_experiment",
    "open_data",
    "past_vs_future",
    "plot_folds",
    "plot_parameters",
    "skill_or_luck",
    "start_mining",
]


def __dir__() -> list[str]:
    """Name what may be asked for."""
    return sorted(__all__)


def __getattr__(name: str) -> Any:
    """Import what is asked for: MLflow and matplotlib take seconds, and a worker needs neither."""
    if name in _ROOM_OF:
        # In a notebook without ipywidgets, MLflow's imports warn of a bar that nothing here draws.
        warnings.filterwarnings("ignore", message="IProgress not found")
        return getattr(import_module(f"signal_miner.{_ROOM_OF[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
