"""The criteria of "Era Splitting" (arXiv 2309.14496) in plain NumPy, and trees grown by them: the trainer's oracle."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from signal_miner.engine.bitplane.era_kernels import exponential

LIGHTGBM = {
    "num_leaves": 31,
    "max_depth": -1,
    "min_child_samples": 20,
    "min_child_weight": 1e-3,
    "min_split_gain": 0.0,
    "reg_lambda": 0.0,
    "reg_alpha": 0.0,
    "max_delta_step": 0.0,
    "path_smooth": 0.0,
}
ERAS = {
    "split_criterion": "era",
    "boltzmann_alpha": 0.0,
    "min_direction_agreement": 0.0,
    "allow_degenerate_splits": False,
}


def value_of(residuals, parent, params):
    """Return LightGBM's value of a leaf with these residuals."""
    total = residuals.sum()
    value = np.sign(total) * max(0.0, abs(total) - params["reg_alpha"]) / (len(residuals) + params["reg_lambda"])
    if params["max_delta_step"] > 0:
        value = np.clip(value, -params["max_delta_step"], params["max_delta_step"])
    if params["path_smooth"] > 0 and parent is not None:
        weight = len(residuals) / params["path_smooth"]
        value = (value * weight + parent) / (weight + 1)
    return value


def gain_of(residuals, parent, params):
    """Return what the value of a leaf gains over 0 by LightGBM's formula."""
    total = residuals.sum()
    shrunk = np.sign(total) * max(0.0, abs(total) - params["reg_alpha"])
    hessian = len(residuals) + params["reg_lambda"]
    if params["max_delta_step"] <= 0 and params["path_smooth"] <= 0:
        return shrunk * shrunk / hessian
    value = value_of(residuals, parent, params)
    return 2 * shrunk * value - hessian * value * value


def smooth_mean(gains, alpha):
    """Return the Boltzmann operator of some gains."""
    powers = alpha * gains
    weights = np.array([exponential(power) for power in powers - powers.max()])
    return np.add.accumulate(weights * gains)[-1] / np.add.accumulate(weights)[-1]


def scored(residuals, right, environments, n_environments, value, params):
    """Return the agreement of a split's directions and the gains of the environments in which it is not degenerate."""
    directions, gains = [], []
    for environment in range(n_environments):
        here = environments == environment
        one, other = residuals[here & ~right], residuals[here & right]
        if not len(one) or not len(other):
            continue
        means = [side.sum() / (len(side) + params["reg_lambda"]) for side in (one, other)]
        directions.append(np.sign(round(means[1] - means[0], 12)))
        own = gain_of(residuals[here], value, params)
        gains.append(gain_of(one, value, params) + gain_of(other, value, params) - own)
    return abs(sum(directions)) / n_environments, np.array(gains)


@dataclass(eq=False)
class Node:
    """A node of the oracle's tree: its rows, and its best split as a score, a gain, a feature and a level."""

    rows: np.ndarray
    value: float
    depth: int
    leaf: int
    split: tuple[tuple[float, float], float, int, int] | None = None
    children: list[Node] = field(default_factory=list)


def grown(matrix, residuals, environments, candidates, params):
    """Grow a tree; return its splits in order, each as feature, level, gain and rows of both sides, and its leaves.

    `candidates` are pairs of feature and level, of which rows above go right, in the order in which ties are decided.
    """
    params = LIGHTGBM | ERAS | params
    n_environments = environments.max() + 1
    smallest = max(params["min_child_samples"], 2 * (params["path_smooth"] > 0), 1, params["min_child_weight"])

    def find(node):
        if 0 < params["max_depth"] <= node.depth:
            return
        best = None
        for feature, level in candidates:
            right = matrix[node.rows, feature] > level
            if min(right.sum(), (~right).sum()) < smallest:
                continue
            agreement, gains = scored(
                residuals[node.rows], right, environments[node.rows], n_environments, node.value, params
            )
            if len(gains) < (1 if params["allow_degenerate_splits"] else n_environments):
                continue
            if agreement < params["min_direction_agreement"]:
                continue
            gain = smooth_mean(gains, params["boltzmann_alpha"])
            directional = params["split_criterion"] == "directional"
            if not gain > params["min_split_gain"] or (directional and not agreement):
                continue
            score = (agreement if directional else 0.0, gain)
            if best is None or score > best[0]:
                best = score, gain, feature, level
        node.split = best

    root = Node(np.arange(len(matrix)), value_of(residuals, None, params), 0, 0)
    find(root)
    leaves, splits = [root], []
    while len(leaves) < params["num_leaves"]:
        open_leaves = [leaf for leaf in leaves if leaf.split]
        if not open_leaves:
            break
        node = max(open_leaves, key=lambda leaf: (leaf.split[0], -leaf.leaf))
        _, gain, feature, level = node.split
        right = matrix[node.rows, feature] > level
        for rows, leaf in ((node.rows[~right], node.leaf), (node.rows[right], len(leaves))):
            node.children.append(Node(rows, value_of(residuals[rows], node.value, params), node.depth + 1, leaf))
            find(node.children[-1])
        leaves.remove(node)
        leaves += node.children
        splits.append((feature, level, gain, node.children[0].rows, node.children[1].rows))
    return splits, sorted(leaves, key=lambda leaf: leaf.leaf)
