"""A trained model as LightGBM's model text, which ``lightgbm.Booster(model_str=...)`` loads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_NUMERICAL_LEFT_BY_DEFAULT = 2  # LightGBM's decision type of a feature without missing values


@dataclass(frozen=True, eq=False)
class FinishedTree:
    """A tree as the model text has it: a row goes left where its feature is at most the threshold.

    Attributes
    ----------
    features : ndarray of int64, shape (n_splits,)
    thresholds : ndarray of float64, shape (n_splits,)
    gains : ndarray of float64, shape (n_splits,)
    left, right : ndarray of int64, shape (n_splits,)
        A split, or ``~leaf``.
    split_values : ndarray of float64, shape (n_splits,)
        What a node would predict were it a leaf.
    split_counts : ndarray of int64, shape (n_splits,)
        Rows that were trained on.
    leaf_values : ndarray of float64, shape (n_splits + 1,)
    leaf_counts : ndarray of int64, shape (n_splits + 1,)
    shrinkage : float
        The learning rate, which the values contain; 1 of the first tree, which contains the targets' mean, too.
    """

    features: NDArray[np.int64]
    thresholds: NDArray[np.float64]
    gains: NDArray[np.float64]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    split_values: NDArray[np.float64]
    split_counts: NDArray[np.int64]
    leaf_values: NDArray[np.float64]
    leaf_counts: NDArray[np.int64]
    shrinkage: float


def constant_tree(value: float, count: int) -> FinishedTree:
    """Return a tree of one leaf: the model where no split was found."""
    none, nothing = np.empty(0, np.int64), np.empty(0)
    return FinishedTree(none, nothing, nothing, none, none, nothing, none, np.array([value]), np.array([count]), 1.0)


def model_text(trees: Sequence[FinishedTree], names: Sequence[str], ranges: Sequence[tuple[float, float]]) -> str:
    """Return the text of a model.

    Parameters
    ----------
    names : sequence of str
        Of all features that a predicted matrix has, in order.
    ranges : sequence of tuple of float
        Least and largest value of each.
    """
    blocks = [_tree_text(number, tree) for number, tree in enumerate(trees)]
    infos = ["none" if low == high else f"[{low:.17g}:{high:.17g}]" for low, high in ranges]
    head = (
        "tree",
        "version=v4",
        "num_class=1",
        "num_tree_per_iteration=1",
        "label_index=0",
        f"max_feature_idx={len(names) - 1}",
        "objective=regression",
        f"feature_names={' '.join(names)}",
        f"feature_infos={' '.join(infos)}",
        f"tree_sizes={_joined(len(block) for block in blocks)}",
    )
    splits = np.concatenate([tree.features for tree in trees]) if trees else np.empty(0, np.int64)
    importances = np.bincount(splits, minlength=len(names))
    used = sorted(np.flatnonzero(importances).tolist(), key=lambda feature: (-importances[feature], feature))
    tail = "".join(f"{names[feature]}={importances[feature]}\n" for feature in used)
    body = "\n".join(head) + "\n\n" + "".join(blocks)
    end = "parameters:\nend of parameters\n\npandas_categorical:null\n"
    return f"{body}end of trees\n\nfeature_importances:\n{tail}\n{end}"


def _tree_text(number: int, tree: FinishedTree) -> str:
    lines = (
        f"Tree={number}",
        f"num_leaves={len(tree.leaf_values)}",
        "num_cat=0",
        f"split_feature={_joined(tree.features)}",
        f"split_gain={_joined(tree.gains)}",
        f"threshold={_joined(tree.thresholds)}",
        f"decision_type={_joined([_NUMERICAL_LEFT_BY_DEFAULT] * len(tree.features))}",
        f"left_child={_joined(tree.left)}",
        f"right_child={_joined(tree.right)}",
        f"leaf_value={_joined(tree.leaf_values)}",
        f"leaf_weight={_joined(tree.leaf_counts)}",  # the Hessian of a squared error is 1 a row
        f"leaf_count={_joined(tree.leaf_counts)}",
        f"internal_value={_joined(tree.split_values)}",
        f"internal_weight={_joined(tree.split_counts)}",
        f"internal_count={_joined(tree.split_counts)}",
        "is_linear=0",
        f"shrinkage={tree.shrinkage!r}",
    )
    return "\n".join(lines) + "\n\n\n"


def _joined(values: Iterable[float]) -> str:
    plain = values.tolist() if isinstance(values, np.ndarray) else values
    return " ".join(map(repr, plain))
