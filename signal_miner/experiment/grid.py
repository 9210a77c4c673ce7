"""The categorical grid of LightGBM parameters, its constraint, and draws from it without repetition."""

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

REJECTED_DRAWS = 20_000
"""Draws in a row that a large grid may reject before it counts as exhausted."""


@dataclass(frozen=True)
class Axis:
    """One dimension of the grid: a parameter and its values, in the order written."""

    name: str
    values: tuple[Value, ...]


@dataclass(frozen=True)
class Grid:
    """A categorical grid with an optional constraint.

    Attributes
    ----------
    axes : tuple of Axis
        Dimensions, in the order of the experiment file.
    constraint : Constraint or None
        What a cell must satisfy to be trained.
    """

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
        """Say whether the constraint allows a cell."""
        return self.constraint is None or self.constraint.allows(self.params(cell))


class Draws:
    """Uniform draws of distinct feasible cells: draw *k* depends on the seed and the draws before it alone.

    Parameters
    ----------
    grid : Grid
    seed : int

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
        """Return draw `number`, or None where the grid is exhausted.

        Parameters
        ----------
        number : int
            Which draw, from 0.
        drawn : set of tuple of int
            The cells of all draws before it.

        Returns
        -------
        tuple of int or None
            One index an axis.
        """
        if self._shuffled is not None:
            # In an undisturbed study the cell at `number` is free; in one that lost a line of its journal, a later one.
            order = chain(range(number, len(self._shuffled)), range(min(number, len(self._shuffled))))
            return next((self._shuffled[place] for place in order if self._shuffled[place] not in drawn), None)
        generator = np.random.default_rng([self._seed, number])
        shape = [len(axis.values) for axis in self._grid.axes]
        for _ in range(REJECTED_DRAWS):
            cell = tuple(int(index) for index in generator.integers(shape))
            if cell not in drawn and self._grid.is_feasible(cell):
                return cell
        return None
