"""Mines LightGBM models for the Numerai Classic tournament.

Examples
--------
>>> import signal_miner
>>> experiment = signal_miner.load_experiment("experiments/demo.toml", trials=40)
>>> miner = signal_miner.start_mining(experiment)  # doctest: +SKIP
>>> miner.progress()  # doctest: +SKIP
>>> miner.leaderboard()  # doctest: +SKIP
"""

import warnings

import lazy_loader

__version__ = "0.1.0"

# MLflow and matplotlib take seconds to import, and a worker needs neither: names are imported on first use.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

# In a notebook without ipywidgets, MLflow's imports warn of a bar that nothing here draws.
warnings.filterwarnings("ignore", message="IProgress not found")
