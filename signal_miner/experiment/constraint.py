"""A constraint between parameters, such as ``num_leaves <= 2**max_depth``, parsed and computed without ``eval``."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from signal_miner.errors import UserError, did_you_mean
from signal_miner.utils.validation import shown

_OPERATIONS: dict[type, Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Not: operator.not_,
}
_RULE = "use parameter names, numbers, + - * / // % **, comparisons, and, or, not"
_LARGEST_POWER = 4096
_LONGEST = 1000  # characters
_DEEPEST = 100


@dataclass(frozen=True)
class Constraint:
    """A comparison that a configuration must satisfy; `expression` is as written."""

    expression: str
    _tree: ast.expr = field(repr=False, compare=False)

    @property
    def names(self) -> frozenset[str]:
        """The parameters that it compares."""
        return frozenset(node.id for node in ast.walk(self._tree) if isinstance(node, ast.Name))

    def allows(self, params: Mapping[str, Any]) -> bool:
        """Return whether a configuration, which must hold all `names`, satisfies the constraint.

        Raises
        ------
        UserError
            If the expression cannot be computed for these values.
        """
        try:
            return bool(_compute(self._tree, params))
        except (TypeError, ArithmeticError) as error:
            used = ", ".join(f"{name} = {params[name]!r}" for name in sorted(self.names))
            raise UserError(
                f"constraint = {self.expression!r} fails for {used} ({error}); write one that holds for every value"
            ) from error


def parse_constraint(expression: str, known: Iterable[str]) -> Constraint:
    """Parse a constraint, written in Python's comparison syntax over the names in `known`.

    Raises
    ------
    UserError
        If it is not such an expression, or has another name.
    """
    if len(expression) > _LONGEST:
        raise UserError(f"constraint = {shown(expression)} has more than {_LONGEST} characters; write a shorter one")
    try:
        tree = ast.parse(expression.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:  # the last three: a null byte, too deep
        raise UserError(f"constraint = {expression!r} is not an expression; {_RULE}") from error
    # Its depth is measured level by level, as `_compute` recurses and Python bounds recursion.
    level: list[ast.AST] = [tree]
    depth = 0
    while level := [child for node in level for child in ast.iter_child_nodes(node)]:
        depth += 1
    if depth > _DEEPEST:
        raise UserError(f"constraint = {shown(expression)} is nested more than {_DEEPEST} deep; write a flatter one")
    known = list(known)
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            if node.id not in known:
                raise UserError(
                    f"constraint = {expression!r}: {node.id!r} is not in the grid{did_you_mean(node.id, known)}"
                )
        elif isinstance(node, ast.Constant):
            if not isinstance(node.value, int | float | str):
                raise UserError(f"constraint = {expression!r}: {node.value!r} is not allowed; {_RULE}")
        elif not isinstance(
            node, ast.BinOp | ast.UnaryOp | ast.Compare | ast.BoolOp | ast.boolop | ast.expr_context
        ) and (type(node) not in _OPERATIONS):
            raise UserError(f"constraint = {expression!r}: {ast.unparse(node)!r} is not allowed; {_RULE}")
    if not isinstance(tree, ast.Compare | ast.BoolOp) and not (
        isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.Not)
    ):
        raise UserError(
            f"constraint = {expression!r} is not a comparison; write one such as 'num_leaves <= 2**max_depth'"
        )
    return Constraint(expression, tree)


def _compute(node: ast.expr, params: Mapping[str, Any]) -> Any:
    match node:
        case ast.Constant():
            return node.value
        case ast.Name():
            return params[node.id]
        case ast.UnaryOp():
            operand = _compute(node.operand, params)
            if not isinstance(node.op, ast.Not):
                _require_numbers(node, operand)
            return _OPERATIONS[type(node.op)](operand)
        case ast.BinOp():
            left, right = _compute(node.left, params), _compute(node.right, params)
            _require_numbers(node, left, right)
            if isinstance(node.op, ast.Pow) and abs(right) > _LARGEST_POWER:
                raise OverflowError(f"a power above {_LARGEST_POWER}")
            return _OPERATIONS[type(node.op)](left, right)
        case ast.BoolOp():
            parts = (bool(_compute(part, params)) for part in node.values)
            return all(parts) if isinstance(node.op, ast.And) else any(parts)
        case ast.Compare():
            left = _compute(node.left, params)
            for operation, comparator in zip(node.ops, node.comparators, strict=True):
                right = _compute(comparator, params)
                if not _OPERATIONS[type(operation)](left, right):
                    return False
                left = right
            return True
    raise TypeError(f"{ast.unparse(node)!r} is not allowed")


def _require_numbers(node: ast.expr, *operands: Any) -> None:
    # Text times a number would be a text of any length.
    if any(isinstance(operand, str) for operand in operands):
        raise TypeError(f"{ast.unparse(node)!r} computes with text")
