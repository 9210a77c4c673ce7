"""The grid: axes as files write them, constraints without eval, draws without repetition."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signal_miner.errors import UserError
from signal_miner.experiment import grid as grid_module
from signal_miner.experiment.constraint import parse_constraint
from signal_miner.experiment.grid import Axis, Draws, Grid
from signal_miner.experiment.parameters import parse_axis


def make_grid(depths: int, leaves: int, constraint: str | None = "num_leaves <= 2**max_depth") -> Grid:
    axes = (Axis("max_depth", tuple(range(1, depths + 1))), Axis("num_leaves", tuple(range(2, leaves + 2))))
    names = [axis.name for axis in axes]
    return Grid(axes, parse_constraint(constraint, names) if constraint else None)


def draw_all(draws: Draws, most: int) -> list[tuple[int, ...]]:
    drawn: list[tuple[int, ...]] = []
    while len(drawn) < most and (cell := draws.draw(len(drawn), set(drawn))) is not None:
        drawn.append(cell)
    return drawn


@given(depths=st.integers(1, 6), leaves=st.integers(1, 40), seed=st.integers(0, 9), enumerated=st.booleans())
@settings(deadline=None, max_examples=60)
def test_draws_are_distinct_feasible_and_exhaust_the_grid(depths, leaves, seed, enumerated):
    grid = make_grid(depths, leaves)
    feasible = {(d, n) for d in range(depths) for n in range(leaves) if n + 2 <= 2 ** (d + 1)}
    limit = grid_module.ENUMERATED_CELLS
    grid_module.ENUMERATED_CELLS = limit if enumerated else 0
    try:
        drawn = draw_all(Draws(grid, seed), most=1000)
    finally:
        grid_module.ENUMERATED_CELLS = limit
    assert len(drawn) == len(set(drawn))
    assert set(drawn) == feasible


def test_a_draw_that_was_lost_is_made_good_without_repetition():
    grid = make_grid(3, 6)
    draws = Draws(grid, 5)
    whole = draw_all(draws, 100)
    holed = [cell for place, cell in enumerate(whole[:5]) if place != 2]
    rest = draw_all_after(draws, holed)
    assert len(holed + rest) == len(set(holed + rest)) == len(whole)


def draw_all_after(draws: Draws, drawn: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
    rest: list[tuple[int, ...]] = []
    while (cell := draws.draw(len(drawn) + len(rest), {*drawn, *rest})) is not None:
        rest.append(cell)
    return rest


def test_the_same_seed_draws_the_same_and_another_does_not():
    grid = make_grid(300, 600)
    first, again, other = (draw_all(Draws(grid, seed), 50) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_draws_are_uniform_over_feasible_cells():
    grid = make_grid(2, 3)
    counts: dict[tuple[int, ...], int] = {}
    for seed in range(4000):
        cell = Draws(grid, seed).draw(0, set())
        counts[cell] = counts.get(cell, 0) + 1
    expected = 4000 / len(counts)
    assert len(counts) == 4
    assert sum((count - expected) ** 2 / expected for count in counts.values()) < 16.3  # chi-square, 3 df, p = .001


def test_a_constraint_that_allows_nothing_is_refused():
    with pytest.raises(UserError, match=r"'num_leaves > 999' allows no configuration of the grid; loosen it"):
        Draws(make_grid(3, 3, "num_leaves > 999"), 0)


@pytest.mark.parametrize(
    ("expression", "params", "allowed"),
    [
        ("num_leaves <= 2**max_depth", {"num_leaves": 8, "max_depth": 3}, True),
        ("num_leaves <= 2**max_depth", {"num_leaves": 9, "max_depth": 3}, False),
        ("2 < num_leaves < 9 and not max_depth == 4", {"num_leaves": 5, "max_depth": 3}, True),
        ("2 < num_leaves < 9 and not max_depth == 4", {"num_leaves": 5, "max_depth": 4}, False),
        ("num_leaves % 2 == 0 or max_depth // 2 > 1", {"num_leaves": 3, "max_depth": 4}, True),
        ("-max_depth * 1.5 + num_leaves / 2 >= 0", {"num_leaves": 3, "max_depth": 1}, True),
    ],
)
def test_constraints_compute_as_python_does(expression, params, allowed):
    constraint = parse_constraint(expression, params)
    assert constraint.allows(params) is allowed
    assert constraint.allows(params) == bool(eval(expression, {}, params))


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("num_leaves <=", "is not an expression"),
        ("num_leavs <= 4", "'num_leavs' is not in the grid; did you mean 'num_leaves'"),
        ("num_leaves", "is not a comparison"),
        ("__import__('os').system('x') == 0", "not allowed|not in the grid"),
        ("num_leaves in [1, 2]", "is not allowed"),
        ("max_depth.real > 1", "is not allowed"),
        ("(lambda: 1) == 1", "is not allowed"),
    ],
)
def test_constraints_that_are_more_than_comparisons_are_refused(expression, message):
    with pytest.raises(UserError, match=message):
        parse_constraint(expression, ["num_leaves", "max_depth"])


def test_a_constraint_that_cannot_be_computed_names_the_values():
    constraint = parse_constraint("num_leaves / max_depth > 1", ["num_leaves", "max_depth"])
    with pytest.raises(UserError, match=r"max_depth = 0, num_leaves = 3 \(division by zero\)"):
        constraint.allows({"num_leaves": 3, "max_depth": 0})
    with pytest.raises(UserError, match="a power above 4096"):
        parse_constraint("9**9**9 > num_leaves", ["num_leaves"]).allows({"num_leaves": 1})


@pytest.mark.parametrize("expression", ["-" * 20_000 + "1", "(" * 900 + "max_bin" + ")" * 900])
def test_a_constraint_that_is_too_long_is_refused(expression):
    message = r"^constraint = '.*\.\.\..*' has more than 1000 characters; write a shorter one$"
    with pytest.raises(UserError, match=message):
        parse_constraint(expression, ["max_bin"])


@pytest.mark.parametrize("expression", ["max_bin\0 < 3", "(" * 400 + "max_bin" + ")" * 400])
def test_what_python_does_not_read_is_no_constraint(expression):
    with pytest.raises(UserError, match=r"^constraint = '.*' is not an expression; use parameter names"):
        parse_constraint(expression, ["max_bin"])


def test_a_constraint_is_no_deeper_than_what_is_computed():
    assert parse_constraint("-" * 96 + "max_bin < 3", ["max_bin"]).allows({"max_bin": 2})
    for deep in ("-" * 200 + "max_bin < 3", "max_bin < 0" + "+1" * 300):
        with pytest.raises(UserError, match=r"^constraint = .* is nested more than 100 deep; write a flatter one$"):
            parse_constraint(deep, ["max_bin"])


def test_ranges_are_numpys():
    spaced = parse_axis("reg_lambda", {"from": 0, "to": 100_000, "count": 10_000})
    assert spaced == tuple(np.linspace(0, 100_000, 10_000).tolist())
    leaves = parse_axis("num_leaves", {"from": 2, "to": 24, "count": 15})
    assert leaves == tuple(np.linspace(2, 24, 15, dtype=int).tolist())
    assert parse_axis("max_bin", {"from": 2, "to": 5}) == (2, 3, 4, 5)
    assert parse_axis("n_estimators", {"from": 10, "to": 35, "step": 10}) == (10, 20, 30)
    assert parse_axis("learning_rate", 0.1) == (0.1,)
    assert parse_axis("reg_alpha", [0, 1]) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("name", "written", "message"),
    [
        ("num_leavs", [3], "grid.num_leavs is not a parameter that can be mined; did you mean 'num_leaves'"),
        ("lambda_l2", [3], "LightGBM's other name; use reg_lambda"),
        ("boosting", ["dart"], "learning curve is read from gbdt"),
        ("max_depth", [2.5], r"grid.max_depth = 2.5 is not an integer"),
        ("max_depth", [0], "use -1 for no limit"),
        ("max_depth", [True], "is not an integer"),
        ("learning_rate", ["fast"], "'fast' is not a number above 0"),
        ("learning_rate", [0], "is not a number above 0"),
        ("learning_rate", [math.nan], "nan is not a number"),
        ("colsample_bytree", [1.5], "above 0 and at most 1"),
        ("max_bin", [1], "of at least 2"),
        ("extra_trees", [1], "true or false"),
        ("data_sample_strategy", ["gos"], "one of bagging, goss"),
        ("max_bin", [], "has no values"),
        ("max_bin", [3, 3], "holds 3 twice"),
        ("max_bin", {"from": 2, "to": 5, "cont": 2}, "unknown key 'cont'; did you mean 'count'"),
        ("max_bin", {"from": 2}, "is not a range"),
        ("max_bin", {"from": 5, "to": 2}, "from = 5 is above to = 2; swap them"),
        ("max_bin", {"from": 2, "to": 5, "count": 9}, "more than the 4 integers"),
        ("max_bin", {"from": 2, "to": 5, "count": 0}, "count = 0"),
        ("max_bin", {"from": 2, "to": 5, "step": 0}, "step = 0"),
        ("reg_alpha", {"from": 0, "to": 1}, "needs a count"),
        ("extra_trees", {"from": 0, "to": 1}, "cannot be a range"),
        ("n_estimators", [10**400], "n_estimators = about 1e400 is not an integer of at least 1 and at most 1000000"),
        ("learning_rate", 10**400, "learning_rate = about 1e400 is not a number above 0 and at most 10"),
        ("reg_lambda", [10**5000], r"reg_lambda = about 1e5000 is not a number of at least 0 and at most 1e\+30"),
        ("reg_lambda", {"from": 0, "to": 10**400, "count": 3}, "reg_lambda = about 1e400 is not a number"),
        ("min_child_samples", {"from": 0, "to": 10**30, "count": 3}, "of at least 0 and at most 1000000000"),
        ("max_bin", {"from": 2, "to": 5, "count": 10**5000}, "count = about 1e5000 is not an integer from 1"),
        ("max_bin", {"from": 2, "to": 5, "step": 10**5000}, "step = about 1e5000 is not an integer of at least 1"),
    ],
)
def test_an_axis_that_breaks_a_rule_is_refused_with_the_repair(name, written, message):
    with pytest.raises(UserError, match=message):
        parse_axis(name, written)
