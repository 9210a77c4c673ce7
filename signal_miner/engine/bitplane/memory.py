"""The memory that training on planes needs, in bytes, as pure functions of sizes.

The planes themselves are mapped from a file. They are read again and again, so that all of `planes_bytes` should fit
into memory, but the system can drop them when it needs room.
"""

from __future__ import annotations

from signal_miner.engine.bitplane.planes import words_of
from signal_miner.engine.bitplane.tuning import DEFAULT_TUNING, Tuning

READ_FACTOR = 3
"""Bytes needed to store a group of columns, per byte of it; measured: 2.0, the columns as read and as planes."""

_FOLD_ROW_BYTES = 13  # target 4, label 8, masks of rows 1
_VALIDATED_ROW_BYTES = 8  # position
_ROW_BYTES = 22  # score 8, residual 8, leaf 4, rounded residual 1 and its bits with those of the bag 1
_LISTED_ROW_BYTES = 12  # row numbers inside and outside the bag, and room to split them
_COUNT_BYTES = 9  # sum, rows, and whether the column may be split
_NODE_BYTES = 160
_BLOCK_BYTES = 8 * 5 * 1024  # residuals of a node in the words counted together


def build_bytes(rows_held: int, n_features: int, feature_bytes: int, group_bytes: int) -> int:
    """Return the bytes that building a store needs, in groups of at least one column.

    `rows_held` are those that are in memory while a column is read, see `ParquetRows.rows_held`.
    """
    column = rows_held * feature_bytes
    return READ_FACTOR * min(max(group_bytes, column), column * n_features)


def fold_bytes(n_rows: int, n_validation_rows: int) -> int:
    """Return the bytes that all boosters of a fold and target share, besides the planes.

    `n_rows` are all rows from the fold's first to its last, purged ones included.
    """
    return _FOLD_ROW_BYTES * n_rows + _VALIDATED_ROW_BYTES * n_validation_rows


def booster_bytes(n_rows: int, n_thresholds: int, leaves: int, tuning: Tuning = DEFAULT_TUNING) -> int:
    """Return the bytes of a booster at the most, while it grows a tree, besides those of the trees it has.

    Parameters
    ----------
    n_rows : int
        All rows from the fold's first to its last, purged ones included.
    n_thresholds : int
        Planes of the features that a tree samples: levels less one, summed.
    leaves : int
        Of a tree, at most.
    tuning : Tuning, optional
    """
    n_words = words_of(n_rows)
    copied = tuning.copied_words(n_words, n_thresholds, leaves)
    batch = tuning.batch_for(n_words, n_thresholds, leaves)
    nodes = 2 * (leaves + (leaves if batch > 1 else 0) + batch) + 2
    if copied:
        rows = (tuning.list_share + 2) * 8 * n_words + _LISTED_ROW_BYTES * n_rows + 8 * copied
    else:
        rows = nodes // 2 * 8 * n_words
    counts = (nodes // 2 + 2 * batch) * (n_thresholds + 64) * _COUNT_BYTES
    passes = nodes * _NODE_BYTES + batch * _BLOCK_BYTES
    return _ROW_BYTES * n_rows + rows + counts + passes


def era_booster_bytes(n_rows: int, n_thresholds: int, leaves: int, n_environments: int) -> int:
    """Return the bytes of a booster that chooses splits by era, as `booster_bytes`.

    Sums and counts of every environment are kept for each leaf that can still be split: 8 bytes an environment and
    threshold. Gains of a node's splits in each environment take as much as those of one leaf.
    """
    n_words = words_of(n_rows)
    histograms = leaves * n_environments * (n_thresholds + 8) * 8
    rows = _ROW_BYTES * n_rows + leaves * 8 * n_words
    return rows + histograms + 2 * leaves * _NODE_BYTES + 72 * n_thresholds + _BLOCK_BYTES
