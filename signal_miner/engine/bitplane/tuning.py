"""What decides speed and memory of training on planes, apart from the kernels: memory is planned without numba."""

from __future__ import annotations

from dataclasses import dataclass

PLANES_A_WORD = 64
"""Planes of which a row's bits share a word of the copy."""


@dataclass(frozen=True)
class Tuning:
    """What decides speed and memory, and no result.

    Attributes
    ----------
    batch : int
        Most nodes that are split and counted in one pass over the planes: with several, some are split in vain.
    listed_leaves : int
        Trees with at least so many leaves copy the bits of their columns, a row's side by side, from which small nodes
        are counted by lists of rows.
    list_share : int
        Such nodes have less than one in so many of the counted rows.
    copy_bytes : int
        Most bytes of the copy; where all rows would take more, it is made in parts, anew in each pass.
    leaves_of_parts : int
        Trees with fewer leaves are faster without a copy than with one in parts.
    batch_of_parts : int
        The `batch` of trees whose copy is made in parts.
    """

    batch: int = 1
    listed_leaves: int = 24
    list_share: int = 6
    copy_bytes: int = 1024**3
    leaves_of_parts: int = 400
    batch_of_parts: int = 24

    def copied_words(self, n_words: int, n_thresholds: int, leaves: int) -> int:
        """Return the words of the copy of a tree's columns, 0 where there is none.

        `n_words` are those of a plane, of 64 rows each; `n_thresholds` the tree's planes.
        """
        of_word = 64 * -(-n_thresholds // PLANES_A_WORD)
        fits = 8 * of_word * n_words <= self.copy_bytes
        if leaves < (self.listed_leaves if fits else max(self.listed_leaves, self.leaves_of_parts)):
            return 0
        return of_word * max(1, min(n_words, self.copy_bytes // (8 * of_word)))

    def batch_for(self, n_words: int, n_thresholds: int, leaves: int) -> int:
        """Return how many nodes of such a tree are split in one pass."""
        copied = self.copied_words(n_words, n_thresholds, leaves)
        whole = n_words * 64 * -(-n_thresholds // PLANES_A_WORD)
        return self.batch_of_parts if 0 < copied < whole else self.batch


DEFAULT_TUNING = Tuning()
