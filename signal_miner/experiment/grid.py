"""The categorical grid of LightGBM parameters, and draws from it without repetition."""

from __future__ import annotations

import math
from collections.abc import Set
from dataclasses import dataclass
from itertools import chain

import numpy as np

from signal_miner.errors import UserError
from signal_miner.experiment.constraint import Constraint
from signal_miner.utils.validation import Value

ENUMERATED_CELLS = 100_000
"""A grid of at most this many cells is shuffled whole; a larger one is drawn by rejection."""

_FEW_DRAWS = 100

REJECTED_DRAWS = 20_000
"""Consecutive rejections after which a large grid counts as exhausted."""


@dataclass(frozen=True)
class Axis:
    """One dimension of the grid: a parameter and its values, in the order written."""

    name: str
    values: tuple[Value, ...]


@dataclass(frozen=True)
class Grid:
    """A categorical grid: axes in the order of the experiment file, and what a cell must satisfy to be trained."""

    axes: tuple[Axis, ...]
    constraint: Constraint | None = None

    @property
    def size(self) -> int:
        """Cells in the grid, feasible or not."""
        return math.prod(len(axis.values) for axis in self.axes)

    def params(self, cell: tuple[int, ...]) -> dict[str, Value]:
        """Return the parameters at a cell, one index an axis."""
        return {axis.name: axis.values[index] for axis, index in zip(self.axes, cell, strict=True)}

    def is_feasible(self, cell: tuple[int, ...]) -> bool:
        """Return whether the constraint allows a cell."""
        return self.constraint is None or self.constraint.allows(self.params(cell))

    def check_feasible(self) -> None:
        """Raise a UserError if the constraint allows no cell; a few draws show one of most grids that have any."""
        shape = [len(axis.values) for axis in self.axes]
        drawn = np.random.default_rng(0).integers(shape, size=(_FEW_DRAWS, len(shape)))
        if self.constraint is not None and not any(self.is_feasible(tuple(cell)) for cell in drawn.tolist()):
            Draws(self, 0)


class Draws:
    """Uniform draws of distinct feasible cells: draw *k* depends only on the seed and the draws before it.

    Raises
    ------
    UserError
        If the constraint leaves no cell.
    """

    def __init__(self, grid: Grid, seed: int) -> None:
        self._grid = grid
        self._seed = seed
        self._shuffled: list[tuple[int, ...]] | None = None
        shape = [len(axis.values) for axis in grid.axes]
        if grid.size <= ENUMERATED_CELLS:
            order = np.random.default_rng(seed).permutation(grid.size)
            cells = (tuple(int(i) for i in np.unravel_index(flat, shape)) for flat in order)
            self._shuffled = [cell for cell in cells if grid.is_feasible(cell)]
        if self._shuffled == [] or (self._shuffled is None and self.draw(0, frozenset()) is None):
            text = grid.constraint.expression if grid.constraint else ""
            raise UserError(f"constraint = {text!r} allows no configuration of the grid; loosen it")

    def draw(self, number: int, drawn: Set[tuple[int, ...]]) -> tuple[int, ...] | None:
        """Return the cell of draw `number`, from 0, one index an axis; None if the grid is exhausted.

        `drawn` holds the cells of all draws before it.
        """
        if self._shuffled is not None:
            # The cell at `number` is free, unless the study's journal lost a line; then the next free one is.
            cells = self._shuffled
            order = chain(range(number, len(cells)), range(min(number, len(cells))))
            return next((cells[index] for index in order if cells[index] not in drawn), None)
        # Too many cells to shuffle, and far more than are ever drawn: rejection is uniform and rarely repeats. A
        # generator of its own for each draw, so that a resumed study draws the same without replaying earlier draws.
        generator = np.random.default_rng([self._seed, number])
        shape = [len(axis.values) for axis in self._grid.axes]
        for _ in range(REJECTED_DRAWS):
            cell = tuple(int(index) for index in generator.integers(shape))
            if cell not in drawn and self._grid.is_feasible(cell):
                return cell
        return None
