"""The registered model as MLflow loads it: this file travels with the model and knows nothing of the project.

MLflow runs it as a script ("models from code"), in processes that have MLflow, pandas and what ``predict.pkl`` needs,
and nothing else. It is never imported.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext


class RegisteredEnsemble(PythonModel):
    """Predicts with the ``predict.pkl`` among the model's artifacts."""

    _predict: Callable[[pd.DataFrame, pd.DataFrame | None], pd.DataFrame]
    _benchmark_columns: list[str]

    def load_context(self, context: PythonModelContext) -> None:
        """Load the artifact ``predict.pkl``, and ``benchmark_columns`` of the configuration."""
        self._predict = pd.read_pickle(context.artifacts["predict.pkl"])
        self._benchmark_columns = list(context.model_config.get("benchmark_columns", ()))

    def predict(
        self, context: PythonModelContext | None, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Return the predictions of live rows.

        Parameters
        ----------
        model_input : pandas.DataFrame
            Features of shape (n_rows, n_features or more), indexed by ``id`` or with a column of that name; ``era``
            where there are several; the columns of Numerai's benchmark predictions where the model needs them.

        Returns
        -------
        pandas.DataFrame
            ``prediction``, float64 in (0, 1), of shape (n_rows, 1), with the ids as index.

        Raises
        ------
        ValueError
            If a column is missing or holds what the model was not trained on; the message names it.
        """
        frame = model_input.set_index("id") if "id" in model_input else model_input
        columns = [column for column in self._benchmark_columns if column in frame]
        return self._predict(frame, frame[columns] if columns else None)


set_model(RegisteredEnsemble())
