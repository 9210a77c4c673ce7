"""LightGBM's boosters, as a trial uses them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray

from signal_miner.engine.boosters import add_trees
from signal_miner.experiment.parameters import booster_params
from signal_miner.utils.validation import Value


class LightGBMBooster:
    """A booster over datasets binned for the configuration's target and ``max_bin``.

    Raises
    ------
    lightgbm.basic.LightGBMError
        If LightGBM rejects the configuration.
    """

    def __init__(
        self, train: lgb.Dataset, validation: lgb.Dataset | None, params: Mapping[str, Value], seed: int
    ) -> None:
        self._booster = lgb.Booster(booster_params(params, seed), train)
        if validation is not None:
            self._booster.add_valid(validation, "validation")

    def grow(self, trees: int, should_stop: Callable[[], bool] = lambda: False) -> None:
        """Add trees; where LightGBM finds no split it adds none, as in its own training.

        Raises
        ------
        Stopped
            If `should_stop`, called before each tree, returned true.
        """
        add_trees(self._booster.update, trees, should_stop)

    def predictions(self) -> NDArray[np.float32]:
        """Return the predictions of the validation rows, rounded as they are tracked, shape (n_rows,)."""
        # LightGBM updates these at each tree but has no public name for them; test_trial compares them with
        # Booster.predict, which would walk all trees again at every checkpoint.
        predictions: NDArray[np.float64] = self._booster._Booster__inner_predict(data_idx=1)  # type: ignore[attr-defined]
        return predictions.astype(np.float32)

    def model_text(self) -> str:
        """Return the model as LightGBM's text."""
        return str(self._booster.model_to_string())
