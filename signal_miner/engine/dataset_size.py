"""The bytes of a binned dataset, by formula: what is planned with, and what is counted while mining."""

from __future__ import annotations

PACKED_BINS = 16
"""A feature with fewer bins than this takes LightGBM half a byte a value; from here on, its level count matters."""

_OVERHEAD = 1.1
"""Resident bytes of a dataset over those of its bins: bin boundaries, what the allocator cannot give back."""

_LABEL_BYTES = 8  # LightGBM's and its Python object's


def dataset_bytes(n_rows: int, n_features: int, max_bin: int) -> int:
    """Estimate the resident bytes of a binned dataset.

    A value takes half a byte below 16 bins, one byte below 256, two above. Where features have fewer levels than
    `max_bin`, pass their number of levels instead.
    """
    value = 0.5 if max_bin < PACKED_BINS else 1 if max_bin < 256 else 2
    return int(n_rows * n_features * value * _OVERHEAD) + _LABEL_BYTES * n_rows


def copy_bytes(n_rows: int, n_features: int, max_bin: int) -> int:
    """Estimate the same of a copy of some rows, which keeps LightGBM's slack, as it is not merged: 1.0 a value."""
    return dataset_bytes(n_rows, n_features, max(max_bin, PACKED_BINS))
