"""One tree whose splits are chosen era by era, grown best leaf first.

T. DeLise, "Era Splitting: Invariant Learning for Decision Trees" (arXiv 2309.14496), with LightGBM's formula of a gain.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import float64, int64, uint64
from numpy.typing import NDArray

from signal_miner.engine.bitplane.compilation import compiled, inner
from signal_miner.engine.bitplane.era_kernels import count_environments, count_in, exponential, sum_environments, sum_in
from signal_miner.engine.bitplane.growth import add_children, is_plain, leaf_gain, mark_rows, number_splits, output, pop
from signal_miner.engine.bitplane.kernels import BLOCK
from signal_miner.engine.bitplane.planes import VECTOR
from signal_miner.engine.bitplane.random_numbers import choose, drawn, mixed
from signal_miner.engine.bitplane.residuals import BAG


class EraCriterion(NamedTuple):
    r"""How a split is scored over the environments *e* = 1 … *M* that have a row in the tree's sample.

    In a node, environment *e* has :math:`n_e` rows whose residuals sum to :math:`s_e`; of these, L and R go left and
    right. An environment with rows on one side only says nothing: the split is degenerate in it.

    *Gain* of an environment, which is what the split would gain in it alone:

    .. math:: I_e = \frac{s_{e,L}^2}{n_{e,L} + \lambda} + \frac{s_{e,R}^2}{n_{e,R} + \lambda}
        - \frac{s_e^2}{n_e + \lambda}

    *Era gain*, their smooth mean (Boltzmann operator) over the environments in which the split is not degenerate; the
    mean for :math:`\alpha = 0`, near their minimum for a large negative one:

    .. math:: B_\alpha = \frac{\sum_e I_e e^{\alpha I_e}}{\sum_e e^{\alpha I_e}}

    *Direction agreement*, 1 where all environments have the larger mean on the same side; a degenerate one has no
    direction:

    .. math:: D = \frac{1}{M} \left| \sum_e \mathrm{sign}
        \left(\frac{s_{e,R}}{n_{e,R} + \lambda} - \frac{s_{e,L}}{n_{e,L} + \lambda}\right) \right|

    Attributes
    ----------
    directional : bool
        Whether the largest D is the best split, and of equal ones the largest era gain; else the largest era gain is.
    boltzmann_alpha : float
        α, in 1 over the unit of a gain, which is the target's squared.
    min_direction_agreement : float
        The least D of a split.
    allow_degenerate_splits : bool
        Whether a split may be degenerate in some of the environments.

    Notes
    -----
    Under either criterion a split has an era gain above ``min_split_gain``; a directional one has D above 0. L1
    regularisation, a bound of leaf values and smoothing change the gains as they change LightGBM's, with the node's
    value over all environments; they do not change directions. The rows of a child are limited over all environments.
    """

    directional: bool
    boltzmann_alpha: float
    min_direction_agreement: float
    allow_degenerate_splits: bool


class _Scratch(NamedTuple):
    """Arrays to choose a node's splits: by column, by threshold, and by environment and threshold."""

    allowed: NDArray[np.bool_]
    directions: NDArray[np.float64]
    informative: NDArray[np.float64]
    pooled: NDArray[np.int64]
    listed: NDArray[np.int64]
    gains: NDArray[np.float64]
    largest: NDArray[np.float64]
    totals: NDArray[np.float64]
    weights: NDArray[np.float64]
    words: NDArray[np.int64]
    of_each: NDArray[np.float64]


@inner
def _judge(sums, of_node, reg_lambda, directions, informative, pooled):
    """Write, of each threshold, the sum of directions, the environments with one, and the sum over environments."""
    for t in range(pooled.shape[0]):
        directions[t] = 0.0
        informative[t] = 0.0
        pooled[t] = 0
    for e in range(sums.shape[0]):
        node_count = count_in(of_node[e])
        if node_count == 0.0:
            continue
        node_sum = sum_in(of_node[e])
        row = sums[e]
        for t in range(pooled.shape[0]):
            right_sum, right = sum_in(row[t]), count_in(row[t])
            left_sum, left = node_sum - right_sum, node_count - right
            both = 1.0 if (right > 0.0) & (left > 0.0) else 0.0
            # the difference of the means times both counts, which no division rounds
            slope = right_sum * (left + reg_lambda) - left_sum * (right + reg_lambda)
            sign = 1.0 if slope > 0.0 else (-1.0 if slope < 0.0 else 0.0)
            directions[t] += sign * both
            informative[t] += both
            pooled[t] += row[t]


@inner
def _gains_in(row, of_node, value, rules, scale, gains):
    """Write the gains of splits in one environment, minus infinity where one is degenerate."""
    node_sum, node_count = sum_in(of_node) * scale, count_in(of_node)
    own = leaf_gain(-node_sum, node_count, node_count, value, rules) if node_count > 0.0 else 0.0
    if is_plain(rules):  # apart, so that LLVM makes vectors of it
        reg_lambda = rules.reg_lambda
        for i in range(gains.shape[0]):
            right_sum, right = sum_in(row[i]) * scale, count_in(row[i])
            left_sum, left = node_sum - right_sum, node_count - right
            both = (right > 0.0) & (left > 0.0)
            one = left + reg_lambda if both else 1.0
            other = right + reg_lambda if both else 1.0
            gain = left_sum * left_sum / one + right_sum * right_sum / other - own
            gains[i] = gain if both else -np.inf
    else:
        for i in range(gains.shape[0]):
            right_sum, right = sum_in(row[i]) * scale, count_in(row[i])
            left_sum, left = node_sum - right_sum, node_count - right
            gain = leaf_gain(-left_sum, left, left, value, rules) + leaf_gain(-right_sum, right, right, value, rules)
            gains[i] = gain - own if (right > 0.0) & (left > 0.0) else -np.inf


@inner
def _weigh(gain, alpha, largest):
    return exponential(alpha * gain - largest) if gain > -np.inf else 0.0


@inner
def _era_gains(sums, of_node, value, listed, n, rules, alpha, scale, informative, scratch):
    """Write the era gains of `n` listed thresholds to `scratch.gains`, environments added in their order.

    Where another of them is larger for certain, minus infinity is written instead.
    """
    gains, largest, totals, weights, words, of_each = (
        scratch.gains,
        scratch.largest,
        scratch.totals,
        scratch.weights,
        scratch.words,
        scratch.of_each,
    )
    for i in range(n):
        gains[i] = 0.0
        largest[i] = -np.inf
    for e in range(sums.shape[0]):
        row = sums[e]
        if n < informative.shape[0]:
            for i in range(n):
                words[i] = row[listed[i]]
            row = words
        each = of_each[e if alpha != 0.0 else 0][:n]
        _gains_in(row, of_node[e], value, rules, scale, each)
        for i in range(n):
            gains[i] += each[i] if each[i] > -np.inf else 0.0
        if alpha != 0.0:
            for i in range(n):
                power = alpha * each[i] if each[i] > -np.inf else -np.inf
                largest[i] = power if power > largest[i] else largest[i]
    for i in range(n):
        gains[i] /= informative[listed[i]]
    if alpha == 0.0:
        return

    # The smooth mean grows with alpha: where that is negative it is at most the mean, else at most the largest.
    if alpha > 0.0:
        for i in range(n):
            gains[i] = largest[i] / alpha
    promising = 0
    for i in range(n):
        if gains[i] > gains[promising]:
            promising = i
    total = weight = 0.0
    for e in range(sums.shape[0]):
        gain = of_each[e, promising]
        part = _weigh(gain, alpha, largest[promising])
        total += part * gain if gain > -np.inf else 0.0
        weight += part
    reached = total / weight - 1e-9 * abs(total / weight)  # sums are rounded
    m = int64(0)
    for i in range(n):
        if gains[i] >= reached:
            words[m] = i
            m += 1
        gains[i] = -np.inf
    for j in range(m):
        totals[j] = 0.0
        weights[j] = 0.0
        largest[j] = largest[words[j]]
    for e in range(sums.shape[0]):
        each = of_each[e]
        if m < n:
            for j in range(m):
                each[j] = each[words[j]]
        for j in range(m):
            gain = each[j]
            part = _weigh(gain, alpha, largest[j])
            totals[j] += part * gain if gain > -np.inf else 0.0
            weights[j] += part
    for j in range(m):
        gains[words[j]] = totals[j] / weights[j]


@inner
def _best_split(sums, of_node, of_root, node, value, key, columns, rules, criterion, scale, scratch):
    """Return agreeing environments, era gain and place of a node's best threshold, -1 where there is none."""
    directions, informative, pooled = scratch.directions, scratch.informative, scratch.pooled
    listed, allowed = scratch.listed, scratch.allowed
    n_columns = columns.features.shape[0]
    by_node = rules.colsample_bynode < 1.0
    if by_node:
        share = int64(np.floor(n_columns * rules.colsample_bynode + 0.5))
        choose(mixed(key ^ uint64(0xB)), n_columns, max(share, min(2, n_columns)), allowed)
    n_environments = 0.0
    for e in range(of_root.shape[0]):
        n_environments += 1.0 if count_in(of_root[e]) > 0.0 else 0.0
    _judge(sums, of_node, rules.reg_lambda, directions, informative, pooled)
    smallest = max(float64(rules.min_child_samples), 1.0, rules.min_child_weight)
    least = 1.0 if criterion.allow_degenerate_splits else n_environments
    most = -1.0
    for column in range(n_columns):
        low, high = columns.starts[column], columns.starts[column + 1]
        if rules.extra_trees:
            place = int64(drawn(key, columns.features[column]) % uint64(max(high - low - 1, 1)))
        for t in range(low, high):
            right = count_in(pooled[t])
            agreeing = abs(directions[t])
            if (
                (by_node and not allowed[column])
                or (rules.extra_trees and t != high - 1 - place)
                or min(right, count_in(node) - right) < smallest
                or informative[t] < least
                or agreeing / n_environments < criterion.min_direction_agreement
                or (criterion.directional and agreeing == 0.0)
            ):
                directions[t] = -1.0
            else:
                directions[t] = agreeing if criterion.directional else 0.0
            most = max(most, directions[t])
    while most >= 0.0:
        n = int64(0)
        following = -1.0
        for t in range(columns.ids.shape[0]):
            if directions[t] == most:
                listed[n] = t
                n += 1
            elif directions[t] < most:
                following = max(following, directions[t])
        _era_gains(
            sums,
            of_node,
            value,
            listed,
            n,
            rules,
            criterion.boltzmann_alpha,
            scale,
            informative,
            scratch,
        )
        best, best_at = rules.min_split_gain, int64(-1)
        for i in range(n):
            if scratch.gains[i] > best:
                best, best_at = scratch.gains[i], listed[i]
        if best_at >= 0:
            return most, best - rules.min_split_gain, best_at
        most = following
    return -1.0, -1.0, int64(-1)


@compiled
def grow_era_tree(planes, rows, environments, columns, rules, criterion, key, leaf_of_row):
    """Grow a tree whose splits are chosen environment by environment, and write the leaf of each row.

    Nodes are masks. The leaf with the best split is split next: by the criterion, then the lower leaf. Only the smaller
    child of a split is counted, the other is the difference.

    Parameters
    ----------
    planes : ndarray of uint64, shape (n_planes, n_words)
        Of the store.
    rows : Rows
    environments : Environments
    columns : Columns
    rules : Rules
    criterion : EraCriterion
    key : uint64
        Of this tree's random numbers.
    leaf_of_row : ndarray of int32, shape (64 * n_words,)
        Written for `rows.all`.
    """
    words = rows.all.shape[0]
    n_thresholds = columns.ids.shape[0]
    width = (n_thresholds + VECTOR - 1) // VECTOR * VECTOR
    ids = np.full(width, columns.ids[n_thresholds - 1], np.int64)
    ids[:n_thresholds] = columns.ids
    n_environments = environments.n_environments
    cap = 2 * rules.num_leaves + 1

    total = np.zeros(cap, np.int64)
    value = np.zeros(cap)
    depth = np.zeros(cap, np.int64)
    agreeing = np.full(cap, -1.0)
    loss = np.zeros(cap)  # minus the era gain: the heap wants the least
    at = np.full(cap, -1, np.int64)
    keys = np.zeros(cap, np.uint64)
    child = np.full((cap, 2), -1, np.int64)
    leaf = np.zeros(cap, np.int64)
    mask_of = np.full(cap, -1, np.int64)
    masks = np.empty((rules.num_leaves, words), np.uint64)
    n_nodes = n_masks = 1
    mask_of[0] = 0
    masks[0] = rows.all

    # histograms of leaves that can be split, and the sums of the environments in them
    n_slots = rules.num_leaves - 1  # the last split's children are not counted
    sums = np.empty((n_slots, n_environments, width), np.int64)
    of_node = np.zeros((n_slots, n_environments), np.int64)
    slot = np.full(cap, -1, np.int64)
    free_slots = np.arange(n_slots)
    n_free_slots = n_slots - 1
    slot[0] = free_slots[n_free_slots]

    masked = np.empty((BAG + 1, BLOCK), np.uint64)
    kept = n_environments if criterion.boltzmann_alpha != 0.0 else 1
    scratch = _Scratch(
        np.empty(columns.features.shape[0], np.bool_),
        np.empty(n_thresholds),
        np.empty(n_thresholds),
        np.empty(n_thresholds, np.int64),
        np.empty(n_thresholds, np.int64),
        np.empty(n_thresholds),
        np.empty(n_thresholds),
        np.empty(n_thresholds),
        np.empty(n_thresholds),
        np.empty(n_thresholds, np.int64),
        np.empty((kept, n_thresholds)),
    )
    of_root = np.empty(n_environments, np.int64)
    sum_environments(rows.first, environments, rows.residuals, of_root)
    of_node[slot[0]] = of_root
    total[0] = of_root.sum()
    count_environments(planes, ids, rows.first, environments, rows.residuals, masks[0], masked, sums[slot[0]])
    keys[0] = key
    count = count_in(total[0])
    value[0] = output(-sum_in(total[0]) * rows.scale, count, count, np.nan, rules)
    passes = 1

    heap = np.empty(rules.num_leaves + 2, np.int64)
    order = np.empty(rules.num_leaves, np.int64)
    size = n_splits = int64(0)
    children = np.zeros(2, np.int64)
    n_new = 1
    while True:
        for i in range(n_new):
            z = children[i]
            if count_in(total[z]) >= 2 * rules.min_child_samples:
                agreeing[z], gained, at[z] = _best_split(
                    sums[slot[z]],
                    of_node[slot[z]],
                    of_root,
                    total[z],
                    value[z],
                    keys[z],
                    columns,
                    rules,
                    criterion,
                    rows.scale,
                    scratch,
                )
                loss[z] = -gained
            if at[z] < 0:
                free_slots[n_free_slots] = slot[z]
                n_free_slots += 1
        if n_splits == 0:
            size = int64(at[0] >= 0)
            heap[0] = 0
        else:
            x = order[n_splits - 1]
            size = add_children(x, n_splits - 1, heap, size, child, at, agreeing, loss, leaf)
        if not size or n_splits == rules.num_leaves - 1:
            break
        x = pop(heap, size, agreeing, loss, leaf)
        size -= 1
        order[n_splits] = x
        n_splits += 1
        final = n_splits == rules.num_leaves - 1

        t = at[x]
        a, b = n_nodes, n_nodes + 1
        n_nodes += 2
        child[x, 0], child[x, 1] = a, b
        parent = slot[x]
        total[b] = int64(0)
        for e in range(n_environments):
            total[b] += sums[parent, e, t]
        total[a] = total[x] - total[b]
        for side in range(2):
            y = child[x, side]
            depth[y] = depth[x] + 1
            keys[y] = mixed(keys[x] + uint64(0x9E3779B97F4A7C15) * uint64(side + 1))
            count = count_in(total[y])
            value[y] = output(-sum_in(total[y]) * rows.scale, count, count, value[x], rules)
        plane = planes[columns.ids[t], rows.first : rows.first + words]
        left, right = masks[mask_of[x]], masks[n_masks]
        for w in range(words):
            right[w] = left[w] & plane[w]
            left[w] &= ~plane[w]
        mask_of[a], mask_of[b] = mask_of[x], n_masks
        n_masks += 1

        deep = rules.max_depth > 0 and depth[a] >= rules.max_depth
        few = max(count_in(total[a]), count_in(total[b])) < 2 * rules.min_child_samples
        children[0], children[1] = a, b
        n_new = 0 if deep or few or final else 2
        if n_new == 0:
            free_slots[n_free_slots] = parent
            n_free_slots += 1
            continue
        y = a if count_in(total[a]) <= count_in(total[b]) else b
        other = a + b - y
        slot[other] = parent
        n_free_slots -= 1
        slot[y] = free_slots[n_free_slots]
        u = slot[y]
        for e in range(n_environments):
            of_right = sums[parent, e, t]
            of_node[u, e] = of_right if y == b else of_node[parent, e] - of_right
            of_node[parent, e] -= of_node[u, e]
        count_environments(planes, ids, rows.first, environments, rows.residuals, masks[mask_of[y]], masked, sums[u])
        passes += 1
        for e in range(n_environments):
            for place in range(width):
                sums[parent, e, place] -= sums[u, e, place]

    tree = number_splits(order[:n_splits], at, -loss, child, leaf, passes)
    for x in range(n_nodes):
        if child[x, 0] < 0:
            mark_rows(masks[mask_of[x]], leaf[x], leaf_of_row)
    return tree
