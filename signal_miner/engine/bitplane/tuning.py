"""What decides speed and memory of training on planes, apart from the kernels: memory is planned without numba."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Tuning:
    """What decides speed and memory, and no result.

    Attributes
    ----------
    batch : int
        Most nodes that are split and counted in one pass over the planes.
    listed_leaves : int
        Trees with at least so many leaves copy the bits of their columns, a row's side by side, from which small nodes
        are counted by lists of rows.
    list_share : int
        Such nodes have less than one in so many of the counted rows.
    copy_bytes : int
        Most bytes of the copy; where all rows would take more, it is made in parts, anew in each pass.
    """

    batch: int = 24
    listed_leaves: int = 24
    list_share: int = 6
    copy_bytes: int = 256 * 1024**2


DEFAULT_TUNING = Tuning()
