"""One fold trained by the engine, and by LightGBM's scikit-learn wrapper on the raw matrix."""

from __future__ import annotations

import lightgbm as lgb
import numpy as np

from signal_miner.engine.trial import train_fold


def train(binned, fold, params, seed, **options):
    """Train one fold on its binned data."""
    return train_fold(binned.get(fold, params.get("max_bin", 255), params["target"]), params, seed, **options)


def plain_predictions(dataset, fold, params, seed):
    """Train LightGBM's scikit-learn wrapper on the raw matrix; return it and the raw validation rows."""
    rows = dataset.rows_of(fold.train_eras)
    label = dataset.read_target(params["target"], rows)
    known = np.isfinite(label)
    features = dataset.read_features(dataset.features, rows).to_pandas().to_numpy(np.float32)[known]
    model = lgb.LGBMRegressor(
        **{name: value for name, value in params.items() if name != "target"},
        random_state=seed,
        n_jobs=1,
        force_col_wise=True,
        deterministic=True,
        feature_pre_filter=False,
        verbosity=-1,
    ).fit(features, label[known])
    unseen = dataset.read_features(dataset.features, dataset.rows_of(fold.validation_eras))
    return model, unseen.to_pandas().to_numpy(np.float32)
