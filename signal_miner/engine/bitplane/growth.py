"""One tree on bit planes, grown best leaf first as LightGBM grows it, with its formulas."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import float64, int64, uint64
from numpy.typing import NDArray

from signal_miner.engine.bitplane.compilation import compiled, inner
from signal_miner.engine.bitplane.intrinsics import GROUP, lowest, popcount
from signal_miner.engine.bitplane.kernels import BLOCK, count_masks, count_rows, transpose
from signal_miner.engine.bitplane.random_numbers import choose, drawn, mixed
from signal_miner.engine.bitplane.residuals import RESIDUAL_BITS

EPSILON = float64(np.float32(1e-15))  # LightGBM adds it to the Hessians of a histogram: equal sums, equal ties


class Rules(NamedTuple):
    """What stops and weighs splits; LightGBM's parameters of these names."""

    num_leaves: int
    max_depth: int
    min_child_samples: int
    min_child_weight: float
    min_split_gain: float
    reg_lambda: float
    reg_alpha: float
    max_delta_step: float
    path_smooth: float
    colsample_bynode: float
    extra_trees: bool


class Columns(NamedTuple):
    """The columns that a tree may split.

    Attributes
    ----------
    ids : ndarray of int64, shape (n_thresholds,)
        Planes, those of a column side by side, the highest threshold first: LightGBM's order of ties.
    starts : ndarray of int64, shape (n_columns + 1,)
        A column's place among `ids`.
    features : ndarray of int64, shape (n_columns,)
        Ascending.
    """

    ids: NDArray[np.int64]
    starts: NDArray[np.int64]
    features: NDArray[np.int64]


class Rows(NamedTuple):
    """The rows of a fold, as words of the planes from `first` on.

    Attributes
    ----------
    first : int
    all : ndarray of uint64, shape (n_words,)
        Rows that are sent to a leaf: training and validation.
    spans : ndarray of int64, shape (n_spans, 2)
        Words with training rows.
    residuals : ndarray of uint64, shape (5, n_words)
        Bits of the rounded residuals; the rows that are counted.
    values : ndarray of int8, shape (64 * n_words,)
        Rounded residuals by row.
    scale : float
        Of a rounded residual.
    """

    first: int
    all: NDArray[np.uint64]
    spans: NDArray[np.int64]
    residuals: NDArray[np.uint64]
    values: NDArray[np.int8]
    scale: float


class Tree(NamedTuple):
    """A grown tree; splits in the order in which they were made, leaves numbered as LightGBM numbers them.

    Attributes
    ----------
    thresholds : ndarray of int64, shape (n_splits,)
        Places in the columns' `ids`.
    gains : ndarray of float64, shape (n_splits,)
    left, right : ndarray of int64, shape (n_splits,)
        A split, or ``~leaf``.
    passes : int
        Times the planes were read.
    """

    thresholds: NDArray[np.int64]
    gains: NDArray[np.float64]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    passes: int


@inner
def _shrunk(total, reg_alpha):
    return np.sign(total) * max(0.0, abs(total) - reg_alpha)


@inner
def output(gradient, hessian, count, parent, rules):
    """Return a node's value (LightGBM's CalculateSplittedLeafOutput); NaN as `parent` smooths nothing."""
    value = -_shrunk(gradient, rules.reg_alpha) / (hessian + rules.reg_lambda)
    if rules.max_delta_step > 0.0 and abs(value) > rules.max_delta_step:
        value = np.sign(value) * rules.max_delta_step
    if rules.path_smooth > 0.0 and not np.isnan(parent):
        weight = count / rules.path_smooth
        value = value * weight / (weight + 1.0) + parent / (weight + 1.0)
    return value


@inner
def leaf_gain(gradient, hessian, count, parent, rules):
    """Return what a node's value gains over 0 (LightGBM's GetLeafGain)."""
    shrunk = _shrunk(gradient, rules.reg_alpha)
    if rules.max_delta_step <= 0.0 and rules.path_smooth <= 0.0:
        return shrunk * shrunk / (hessian + rules.reg_lambda)
    value = output(gradient, hessian, count, parent, rules)
    return -(2.0 * shrunk * value + (hessian + rules.reg_lambda) * value * value)


@inner
def is_plain(rules):
    """Return whether a gain is a sum's square over its rows and `reg_lambda`."""
    return rules.reg_alpha <= 0.0 and rules.max_delta_step <= 0.0 and rules.path_smooth <= 0.0


@inner
def _best_split(sums, counts, total, count, value, key, columns, rules, scale, splittable, allowed):
    """Return gain and place of a node's best threshold, -1 where there is none; a row goes right where its bit is set.

    As LightGBM does, a column without any gain is never looked at again further down: `splittable` is set to 0.
    """
    gradient = -total * scale
    hessian = count + 2.0 * EPSILON
    least = leaf_gain(gradient, hessian, count, value, rules) + rules.min_split_gain
    n_columns = columns.features.shape[0]
    by_node = rules.colsample_bynode < 1.0
    if by_node:
        share = int64(np.floor(n_columns * rules.colsample_bynode + 0.5))
        choose(mixed(key ^ uint64(0xB)), n_columns, max(share, min(2, n_columns)), allowed)
    plain = is_plain(rules)
    smallest = max(float64(rules.min_child_samples), 1.0)
    best, best_at = -1.0, -1
    for column in range(n_columns):
        if not splittable[column]:
            continue
        low, high = columns.starts[column], columns.starts[column + 1]
        if rules.extra_trees:  # one threshold at random; as in LightGBM never the highest, unless it is the only one
            place = int64(drawn(key, columns.features[column]) % uint64(max(high - low - 1, 1)))
            low = high - 1 - place
            high = low + 1
        found = False
        for t in range(low, high):
            right = float64(counts[t])
            left = count - right
            right_hessian = right + EPSILON
            left_hessian = hessian - right_hessian
            if right < smallest or left < smallest:
                continue
            if right_hessian < rules.min_child_weight or left_hessian < rules.min_child_weight:
                continue
            right_gradient = -sums[t] * scale
            left_gradient = gradient - right_gradient
            if plain:
                gain = left_gradient * left_gradient / (left_hessian + rules.reg_lambda) + (
                    right_gradient * right_gradient / (right_hessian + rules.reg_lambda)
                )
            else:
                gain = leaf_gain(left_gradient, left_hessian, left, value, rules) + leaf_gain(
                    right_gradient, right_hessian, right, value, rules
                )
            if gain > least:
                found = True
                if gain - least > best and (not by_node or allowed[column]):
                    best, best_at = gain - least, t
        splittable[column] = found
    return best, best_at


@inner
def _before(x, y, gain, feature, leaf):
    """Return whether a node is split before another: more gain, then the lower feature, then the lower leaf."""
    if gain[x] != gain[y]:
        return gain[x] > gain[y]
    if feature[x] != feature[y]:
        return feature[x] < feature[y]
    return leaf[x] < leaf[y]


@inner
def push(heap, size, x, gain, feature, leaf):
    """Add a node to a heap of `size` nodes."""
    at = size
    while at > 0:
        up = (at - 1) >> 1
        if not _before(x, heap[up], gain, feature, leaf):
            break
        heap[at] = heap[up]
        at = up
    heap[at] = x


@inner
def pop(heap, size, gain, feature, leaf):
    """Take the node that is split first from a heap of `size` nodes."""
    top, x = heap[0], heap[size - 1]
    at = 0
    while True:
        child = 2 * at + 1
        if child >= size - 1:
            break
        if child + 1 < size - 1 and _before(heap[child + 1], heap[child], gain, feature, leaf):
            child += 1
        if not _before(heap[child], x, gain, feature, leaf):
            break
        heap[at] = heap[child]
        at = child
    heap[at] = x
    return top


@inner
def add_children(x, n_splits, heap, size, child, at, gain, feature, leaf):
    """Push the children of a split node that can be split, numbered as leaves; return the new size of the heap."""
    leaf[child[x, 0]], leaf[child[x, 1]] = leaf[x], n_splits + 1
    for side in range(2):
        if at[child[x, side]] >= 0:
            push(heap, size, child[x, side], gain, feature, leaf)
            size += 1
    return size


@inner
def _look_ahead(heap, size, n_splits, most_splits, picked, ahead, child, at, gain, feature, leaf):
    """Pick nodes to split together, as if children that are not known yet had no split; return how many."""
    ahead[:size] = heap[:size]
    n_picked = int64(0)
    while size and n_splits < most_splits and n_picked < picked.shape[0]:
        x = pop(ahead, size, gain, feature, leaf)
        size -= 1
        if child[x, 0] < 0:
            picked[n_picked] = x
            n_picked += 1
        else:
            size = add_children(x, n_splits, ahead, size, child, at, gain, feature, leaf)
        n_splits += 1
    return n_picked


@inner
def number_splits(order, at, gain, child, leaf, passes):
    """Return the tree of the nodes that were split, in that order; number the leaves as LightGBM numbers them."""
    n_splits = order.shape[0]
    number = np.full(leaf.shape[0], -1, np.int64)
    thresholds = np.empty(n_splits, np.int64)
    gains = np.empty(n_splits)
    sides = np.empty((2, n_splits), np.int64)
    for i in range(n_splits):
        number[order[i]] = i
    for i in range(n_splits):
        x = order[i]
        thresholds[i], gains[i] = at[x], gain[x]
        for side in range(2):
            y = child[x, side]
            leaf[y] = leaf[x] if side == 0 else i + 1
            sides[side, i] = number[y] if number[y] >= 0 else ~leaf[y]
    return Tree(thresholds, gains, sides[0], sides[1], passes)


@inner
def mark_rows(mask, leaf, leaf_of_row):
    """Write a leaf's number to its rows."""
    for w in range(mask.shape[0]):
        word = mask[w]
        while word != uint64(0):
            leaf_of_row[w * 64 + lowest(word)] = leaf
            word &= word - uint64(1)


@inner
def _split_list(rows, begin, end, plane, spare):
    """Put the rows whose bit is clear before those whose bit is set, both in order; return where the latter begin."""
    low, high = begin, 0
    for i in range(begin, end):
        row = rows[i]
        bit = int64((plane[row >> 6] >> uint64(row & 63)) & uint64(1))
        rows[low] = row
        spare[high] = row
        low += 1 - bit
        high += bit
    for i in range(high):
        rows[low + i] = spare[i]
    return low


@inner
def _list_rows(mask, counted, inside, n_inside, outside, n_outside):
    """Append the rows of a mask to two lists, by whether they are counted; return the lists' new lengths."""
    for w in range(mask.shape[0]):
        for part in range(2):
            word = mask[w] & (counted[w] if part == 0 else ~counted[w])
            while word != uint64(0):
                row = w * 64 + lowest(word)
                word &= word - uint64(1)
                if part == 0:
                    inside[n_inside] = row
                    n_inside += 1
                else:
                    outside[n_outside] = row
                    n_outside += 1
    return n_inside, n_outside


@compiled
def grow_tree(planes, rows, columns, rules, key, listed, bits, batch, list_share, leaf_of_row):
    """Grow a tree and write the leaf of each row.

    Nodes are masks. Where `listed`, those with few rows are lists of rows, counted from a copy of the columns' bits
    that has a row's side by side. Only the smaller child of a split is counted, the other is the difference.

    Where `batch` is above 1, several nodes are split and counted together before it is known that growth comes to each
    of them. The tree depends neither on that nor on `list_share`.

    Parameters
    ----------
    planes : ndarray of uint64, shape (n_planes, n_words)
        Of the store.
    rows : Rows
    columns : Columns
    rules : Rules
    key : uint64
        Of this tree's random numbers.
    listed : bool
    bits : ndarray of uint64
        Room for the copied bits: of all words' rows, or of as many words as fit, which are then copied in turn in
        each pass.
    batch : int
        Most nodes that are split and counted in one pass.
    list_share : int
        A node with less than one in so many of the counted rows is a list.
    leaf_of_row : ndarray of int32, shape (64 * n_words,)
        Written for `rows.all`.
    """
    words = rows.all.shape[0]
    counted = rows.residuals[RESIDUAL_BITS]
    n_thresholds = columns.ids.shape[0]
    n_columns = columns.features.shape[0]
    stride = (n_thresholds + GROUP - 1) // GROUP
    width = stride * GROUP
    vain = rules.num_leaves if batch > 1 else 0  # splits that growth may turn out not to come to
    cap = 2 * (rules.num_leaves + vain + batch) + 2

    # nodes: 2 children a split, the root first
    total = np.zeros(cap, np.int64)
    count = np.zeros(cap, np.int64)
    value = np.zeros(cap)
    depth = np.zeros(cap, np.int64)
    gain = np.full(cap, -1.0)
    at = np.full(cap, -1, np.int64)
    feature = np.full(cap, -1, np.int64)
    keys = np.zeros(cap, np.uint64)
    child = np.full((cap, 2), -1, np.int64)
    leaf = np.zeros(cap, np.int64)
    n_nodes = 1

    # a node's rows: a mask, or ranges of the lists of rows inside and outside the bag
    mask_of = np.full(cap, -1, np.int64)
    ranges = np.zeros((cap, 4), np.int64)
    for w in range(words):
        count[0] += int64(popcount(counted[w]))
        for bit in range(RESIDUAL_BITS):
            weight = -8 if bit == 3 else 1 << bit
            total[0] += weight * int64(popcount(rows.residuals[bit, w]))
    least = count[0] // list_share + 1 if listed else 0
    n_masks = list_share + 2 if listed else cap // 2 + 2
    masks = np.empty((n_masks, words), np.uint64)
    free_masks = np.arange(n_masks)
    n_free_masks = n_masks - 1
    mask_of[0] = free_masks[n_free_masks]
    masks[mask_of[0]] = rows.all
    n_listed = words * 64 if listed else 0
    inside = np.empty(n_listed, np.int32)
    outside = np.empty(n_listed, np.int32)
    spare = np.empty(n_listed, np.int32)
    n_inside = n_outside = int64(0)

    # histograms of nodes that may be split, and which columns may
    n_slots = cap // 2 + 2
    sums = np.empty((n_slots, width), np.int32)
    counts = np.empty((n_slots, width), np.int32)
    splittable = np.empty((n_slots, n_columns), np.bool_)
    slot = np.full(cap, -1, np.int64)
    free_slots = np.arange(n_slots)
    n_free_slots = n_slots - 1
    slot[0] = free_slots[n_free_slots]
    splittable[slot[0]] = True
    allowed = np.empty(n_columns, np.bool_)

    scratch = np.empty((batch, RESIDUAL_BITS + 1, BLOCK), np.uint64)
    batch_sums = np.zeros((batch, width), np.int32)
    batch_counts = np.zeros((batch, width), np.int32)
    masked = np.empty(batch, np.int64)
    gathered = np.empty(256, np.int8)
    n_chunk = bits.shape[0] // max(64 * stride, 1)
    copied = False

    masked[0] = mask_of[0]
    one = int64(1)
    count_masks(
        planes,
        columns.ids,
        rows.first,
        rows.spans,
        rows.residuals,
        masks,
        masked,
        one,
        scratch,
        batch_sums,
        batch_counts,
    )
    sums[slot[0]] = batch_sums[0]
    counts[slot[0]] = batch_counts[0]
    keys[0] = key
    value[0] = np.nan
    value[0] = output(-total[0] * rows.scale, count[0] + 2.0 * EPSILON, float64(count[0]), value[0], rules)
    gain[0], at[0] = _best_split(
        sums[slot[0]],
        counts[slot[0]],
        float64(total[0]),
        float64(count[0]),
        value[0],
        keys[0],
        columns,
        rules,
        rows.scale,
        splittable[slot[0]],
        allowed,
    )
    passes = 1

    heap = np.empty(rules.num_leaves + 2, np.int64)
    ahead = np.empty_like(heap)
    order = np.empty(rules.num_leaves, np.int64)
    picked = np.empty(batch, np.int64)
    small = np.empty(batch, np.int64)
    place = np.empty(batch, np.int64)
    column_of = np.empty(n_thresholds, np.int64)
    for column in range(n_columns):
        column_of[columns.starts[column] : columns.starts[column + 1]] = column
    if at[0] >= 0:
        feature[0] = columns.features[column_of[at[0]]]
    heap[0] = 0
    size = int64(at[0] >= 0)
    n_splits = int64(0)
    while True:
        # best-first growth, as far as nodes are split already
        while size and n_splits < rules.num_leaves - 1 and child[heap[0], 0] >= 0:
            x = pop(heap, size, gain, feature, leaf)
            size = add_children(x, n_splits, heap, size - 1, child, at, gain, feature, leaf)
            order[n_splits] = x
            n_splits += 1
        if not size or n_splits == rules.num_leaves - 1:
            break
        # its next node, and others that it would come to were there no better ones among their descendants
        n_picked = int64(1)
        picked[0] = heap[0]
        if batch > 1:
            n_picked = _look_ahead(
                heap, size, n_splits, rules.num_leaves - 1, picked, ahead, child, at, gain, feature, leaf
            )
        if n_nodes + 2 * (n_picked + rules.num_leaves) > cap:  # room for those only that are split for certain
            n_picked = int64(1)
        final = n_splits == rules.num_leaves - 2

        n_masked = n_counted = int64(0)
        for i in range(n_picked):
            x = picked[i]
            t = at[x]
            a, b = n_nodes, n_nodes + 1
            n_nodes += 2
            child[x, 0], child[x, 1] = a, b
            count[b], total[b] = counts[slot[x], t], sums[slot[x], t]
            count[a], total[a] = count[x] - count[b], total[x] - total[b]
            for side in range(2):
                y = child[x, side]
                depth[y] = depth[x] + 1
                keys[y] = mixed(keys[x] + uint64(0x9E3779B97F4A7C15) * uint64(side + 1))
                value[y] = output(
                    -total[y] * rows.scale, float64(count[y]) + EPSILON, float64(count[y]), value[x], rules
                )

            plane = planes[columns.ids[t], rows.first : rows.first + words]
            if mask_of[x] >= 0:
                mask = masks[mask_of[x]]
                n_free_masks -= 1
                other = free_masks[n_free_masks]
                right = masks[other]
                for w in range(words):
                    right[w] = mask[w] & plane[w]
                    mask[w] &= ~plane[w]
                mask_of[a], mask_of[b] = mask_of[x], other
                for side in range(2):
                    y = child[x, side]
                    if count[y] < least:
                        ranges[y, 0], ranges[y, 2] = n_inside, n_outside
                        n_inside, n_outside = _list_rows(
                            masks[mask_of[y]], counted, inside, n_inside, outside, n_outside
                        )
                        ranges[y, 1], ranges[y, 3] = n_inside, n_outside
                        free_masks[n_free_masks] = mask_of[y]
                        n_free_masks += 1
                        mask_of[y] = -1
            else:
                middle = _split_list(inside, ranges[x, 0], ranges[x, 1], plane, spare)
                ranges[a, 0], ranges[a, 1], ranges[b, 0], ranges[b, 1] = ranges[x, 0], middle, middle, ranges[x, 1]
                middle = _split_list(outside, ranges[x, 2], ranges[x, 3], plane, spare)
                ranges[a, 2], ranges[a, 3], ranges[b, 2], ranges[b, 3] = ranges[x, 2], middle, middle, ranges[x, 3]

            small[i] = -1
            deep = rules.max_depth > 0 and depth[a] >= rules.max_depth
            few = max(count[a], count[b]) < 2 * rules.min_child_samples
            if deep or few or final:
                free_slots[n_free_slots] = slot[x]
                n_free_slots += 1
                continue
            y = a if count[a] <= count[b] else b
            small[i] = y
            if mask_of[y] >= 0:
                masked[n_masked] = mask_of[y]
                place[i] = n_masked
                n_masked += 1
            else:
                n_counted += 1
                place[i] = batch - n_counted

        batch_sums[:n_masked] = 0
        batch_counts[:n_masked] = 0
        batch_sums[batch - n_counted :] = 0
        batch_counts[batch - n_counted :] = 0
        if n_masked:
            count_masks(
                planes,
                columns.ids,
                rows.first,
                rows.spans,
                rows.residuals,
                masks,
                masked,
                n_masked,
                scratch,
                batch_sums,
                batch_counts,
            )
        if n_counted:
            for start in range(0, words, n_chunk):
                stop = min(start + n_chunk, words)
                if not copied:
                    transpose(planes, columns.ids, rows.first, counted, start, stop, bits, stride)
                copied = n_chunk >= words
                for i in range(n_picked):
                    y = small[i]
                    if y < 0 or mask_of[y] >= 0:
                        continue
                    begin, end = ranges[y, 0], ranges[y, 1]
                    if not copied:
                        here = inside[begin:end]
                        end = begin + np.searchsorted(here, stop * 64)
                        begin += np.searchsorted(here, start * 64)
                    count_rows(
                        bits,
                        stride,
                        start * 64,
                        inside,
                        begin,
                        end,
                        rows.values,
                        gathered,
                        batch_sums[place[i]],
                        batch_counts[place[i]],
                    )
        passes += 1
        for i in range(n_picked):
            y = small[i]
            if y < 0:
                continue
            x = picked[i]
            other = child[x, 0] + child[x, 1] - y
            slot[other] = slot[x]
            n_free_slots -= 1
            slot[y] = free_slots[n_free_slots]
            u, v = slot[y], slot[other]
            for t in range(width):
                sums[u, t] = batch_sums[place[i], t]
                counts[u, t] = batch_counts[place[i], t]
                sums[v, t] -= sums[u, t]
                counts[v, t] -= counts[u, t]
            splittable[u] = splittable[v]
            for side in range(2):
                z = child[x, side]
                if count[z] >= 2 * rules.min_child_samples:
                    gain[z], at[z] = _best_split(
                        sums[slot[z]],
                        counts[slot[z]],
                        float64(total[z]),
                        float64(count[z]),
                        value[z],
                        keys[z],
                        columns,
                        rules,
                        rows.scale,
                        splittable[slot[z]],
                        allowed,
                    )
                if at[z] >= 0:
                    feature[z] = columns.features[column_of[at[z]]]
                else:
                    free_slots[n_free_slots] = slot[z]
                    n_free_slots += 1

    tree = number_splits(order[:n_splits], at, gain, child, leaf, passes)
    split = np.zeros(n_nodes, np.bool_)
    split[order[:n_splits]] = True
    for x in range(n_nodes):  # a parent comes before its children
        if child[x, 0] >= 0:
            if not split[x]:
                leaf[child[x, 0]] = leaf[child[x, 1]] = leaf[x]
        elif mask_of[x] >= 0:
            mark_rows(masks[mask_of[x]], leaf[x], leaf_of_row)
        else:
            for i in range(ranges[x, 0], ranges[x, 1]):
                leaf_of_row[inside[i]] = leaf[x]
            for i in range(ranges[x, 2], ranges[x, 3]):
                leaf_of_row[outside[i]] = leaf[x]
    return tree


@compiled
def some_columns(columns, share, key):
    """Return a random share of the columns, as many as LightGBM would take."""
    n = columns.features.shape[0]
    count = max(int64(np.floor(n * share + 0.5)), min(2, n))
    if count >= n:
        return columns
    chosen = np.empty(n, np.bool_)
    choose(key, n, count, chosen)
    ids = np.empty(columns.ids.shape[0], np.int64)
    starts = np.zeros(count + 1, np.int64)
    features = np.empty(count, np.int64)
    taken = size = 0
    for column in range(n):
        if chosen[column]:
            for t in range(columns.starts[column], columns.starts[column + 1]):
                ids[size] = columns.ids[t]
                size += 1
            features[taken] = columns.features[column]
            taken += 1
            starts[taken] = size
    return Columns(ids[:size].copy(), starts, features)


@compiled
def refit(tree, rows, bag, residual, leaf_of_row, rules, rate, score):
    """Compute a tree's values from the exact residuals and add them to the scores of all its rows.

    Returns values and counts of leaves and of splits. Rows are summed in their order, whoever grew the tree.
    """
    n_splits = tree.gains.shape[0]
    sums = np.zeros(n_splits + 1)
    counts = np.zeros(n_splits + 1, np.int64)
    for w in range(bag.shape[0]):
        mask = bag[w]
        if mask == uint64(0):
            continue
        for b in range(64):
            row = w * 64 + b
            inside = int64((mask >> uint64(b)) & uint64(1))
            sums[leaf_of_row[row]] += residual[row] * inside
            counts[leaf_of_row[row]] += inside
    split_sums = np.zeros(n_splits)
    split_counts = np.zeros(n_splits, np.int64)
    for split in range(n_splits - 1, -1, -1):  # children come after their parent
        for child in (tree.left[split], tree.right[split]):
            split_sums[split] += sums[~child] if child < 0 else split_sums[child]
            split_counts[split] += counts[~child] if child < 0 else split_counts[child]
    values = np.zeros(n_splits + 1)
    split_values = np.zeros(n_splits)
    split_values[0] = output(-split_sums[0], float64(split_counts[0]), float64(split_counts[0]), np.nan, rules)
    for split in range(n_splits):
        for child in (tree.left[split], tree.right[split]):
            if child < 0:
                n = float64(counts[~child])
                values[~child] = output(-sums[~child], n + EPSILON, n, split_values[split], rules)
            else:
                n = float64(split_counts[child])
                split_values[child] = output(-split_sums[child], n + EPSILON, n, split_values[split], rules)
    values *= rate
    split_values *= rate
    for w in range(rows.shape[0]):
        if rows[w] != uint64(0):
            for row in range(w * 64, w * 64 + 64):
                score[row] += values[leaf_of_row[row]]
    return values, counts, split_values, split_counts
