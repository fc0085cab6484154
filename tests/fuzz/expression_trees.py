"""Random expressions of vectors, each with what it is of a row by numpy."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from django.db.models import Case, ExpressionWrapper, F, FloatField, Q, Value, When
from django.db.models.functions import Abs, Cast, Ceil, Coalesce, Floor

from dorm_vector import (
    CosineDistance,
    CosineSimilarity,
    InnerProduct,
    L1Distance,
    L2Distance,
    MaxInnerProduct,
    Normalize,
    Subvector,
    VectorAdd,
    VectorConcat,
    VectorDims,
    VectorField,
    VectorMultiply,
    VectorNorm,
    VectorSubtract,
)
from tests.support import oracle

__all__ = ["UNSURE", "Tree", "Unsure", "number", "stands_alone", "vector"]

# Components of results, and lengths of which the direction is compared.
GREATEST, LEAST = 1e6, 1e-2


class Unsure(Exception):  # noqa: N818 - no error
    """Float32 cannot tell what an expression is of a row."""


UNSURE = object()


class Tree(NamedTuple):
    """An expression, its value for a row, its dimensions (None of a number), and its words."""

    expression: Any
    value: Callable[[Any], Any]
    dimensions: int | None
    words: str
    scale: Callable[[Any], float] = lambda row: 1.0
    metrics: frozenset[str] = frozenset()


def stands_alone(tree: Tree) -> Tree:
    """The same, where no other expression takes it as an operand."""
    return tree._replace(expression=_expression(tree)) if tree.dimensions else tree


def vector(random: Any, depth: int = 2) -> Tree:
    """A random vector."""
    kinds = [_column, _column, _constant]
    if depth:
        kinds += [_arithmetic, _arithmetic, _normalized, _part, _joined, _case, _coalesce]
    tree: Tree = random.choice(kinds)(random, depth - 1)
    return tree


def _column(random: Any, depth: int) -> Tree:
    name = random.choice("ab")
    return Tree(F(name), lambda row: getattr(row, name), 3, name)


def _constant(random: Any, depth: int, dimensions: int = 3) -> Tree:
    numbers = [random.choice([-2, -1, -0.5, 0, 0.25, 1, 1, 3]) for _ in range(dimensions)]
    given = random.choice([list, tuple, np.array])(numbers)
    exact = np.array(numbers, dtype="f8")
    return Tree(given, lambda row: exact, dimensions, repr(numbers))


def _strict(function: Callable[..., Any], *trees: Tree) -> Callable[[Any], Any]:
    def value(row: Any) -> Any:
        operands = [tree.value(row) for tree in trees]
        if any(operand is None for operand in operands):
            return None
        return function(*operands)

    return value


def _bounded(result: np.ndarray) -> np.ndarray:
    if np.abs(result).max() > GREATEST:
        raise Unsure
    return result


def _second(random: Any, depth: int, first: Tree) -> Tree:
    tree = vector(random, depth)
    if tree.dimensions != first.dimensions:
        tree = _constant(random, depth, first.dimensions or 3)
    if isinstance(tree.expression, list) and random.random() < 0.5:
        return tree._replace(expression=str(tree.expression))
    return tree


def _expression(tree: Tree) -> Any:
    """A vector where Django's own expressions take one."""
    if hasattr(tree.expression, "resolve_expression"):
        return tree.expression
    return Value(tree.expression, VectorField(tree.dimensions or 1))


def _arithmetic(random: Any, depth: int) -> Tree:
    function, operate = random.choice(
        [(VectorAdd, np.add), (VectorSubtract, np.subtract), (VectorMultiply, np.multiply)]
    )
    a = vector(random, depth)
    b = _second(random, depth, a)
    value = _strict(lambda x, y: _bounded(operate(x, y)), a, b)
    words = f"{function.__name__}({a.words}, {b.words})"
    return Tree(function(a.expression, b.expression), value, a.dimensions, words)


def _direction(x: np.ndarray) -> np.ndarray:
    norm = np.linalg.norm(x)
    if 0 < norm < LEAST:
        raise Unsure
    return x / norm if norm else x


def _normalized(random: Any, depth: int) -> Tree:
    a = vector(random, depth)
    value = _strict(_direction, a)
    return Tree(Normalize(a.expression), value, a.dimensions, f"Normalize({a.words})")


def _part(random: Any, depth: int) -> Tree:
    a = vector(random, depth)
    start = random.randint(1, a.dimensions or 1)
    length = random.randint(1, (a.dimensions or 1) - start + 1)
    value = _strict(lambda x: x[start - 1 : start - 1 + length], a)
    words = f"Subvector({a.words}, {start}, {length})"
    return Tree(Subvector(a.expression, start, length), value, length, words)


def _joined(random: Any, depth: int) -> Tree:
    a, b = vector(random, depth), vector(random, depth)
    value = _strict(lambda x, y: np.concatenate([x, y]), a, b)
    dimensions = (a.dimensions or 0) + (b.dimensions or 0)
    words = f"VectorConcat({a.words}, {b.words})"
    return Tree(VectorConcat(a.expression, b.expression), value, dimensions, words)


def _case(random: Any, depth: int) -> Tree:
    a = vector(random, depth)
    b = _second(random, depth, a)
    group = random.randint(0, 2)
    expression = Case(When(Q(group=group), then=_expression(a)), default=_expression(b))

    def value(row: Any) -> Any:
        return (a if row.group == group else b).value(row)

    words = f"Case(group={group}, {a.words}, {b.words})"
    return Tree(expression, value, a.dimensions, words)


def _coalesce(random: Any, depth: int) -> Tree:
    a = vector(random, depth)
    b = _second(random, depth, a)

    def value(row: Any) -> Any:
        first = a.value(row)
        return b.value(row) if first is None else first

    words = f"Coalesce({a.words}, {b.words})"
    return Tree(Coalesce(_expression(a), _expression(b)), value, a.dimensions, words)


def _cosine(x: np.ndarray, y: np.ndarray) -> float:
    norms = [np.linalg.norm(each) for each in (x, y)]
    if any(0 < norm < LEAST for norm in norms):
        raise Unsure
    return float(1 - x @ y / (norms[0] * norms[1])) if all(norms) else math.nan


DISTANCES: list[tuple[Any, Callable[[np.ndarray, np.ndarray], float]]] = [
    (L2Distance, lambda x, y: float(np.linalg.norm(x - y))),
    (CosineDistance, _cosine),
    (CosineSimilarity, lambda x, y: 1 - _cosine(x, y)),
    (MaxInnerProduct, lambda x, y: float(-(x @ y))),
    (InnerProduct, lambda x, y: float(x @ y)),
    (L1Distance, lambda x, y: float(np.abs(x - y).sum())),
]
assert {function.metric for function, _ in DISTANCES} >= set(oracle.DISTANCES)


def number(random: Any, depth: int = 2) -> Tree:
    """A random number made of vectors."""
    kinds: list[Callable[[Any, int], Tree]] = [_distance, _distance, _distance, _norm, _size]
    if depth > 1:
        kinds += [_shifted, _or_else, _of_function, _combined]
    return random.choice(kinds)(random, depth - 1)


def _distance(random: Any, depth: int) -> Tree:
    function, measure = random.choice(DISTANCES)
    a = vector(random, depth)
    b = _second(random, depth, a)

    def scale(row: Any) -> float:
        norms = [np.linalg.norm(tree.value(row)) for tree in (a, b)]
        return float(max(1.0, *norms, norms[0] * norms[1]))

    words = f"{function.__name__}({a.words}, {b.words})"
    expression = function(a.expression, b.expression)
    return Tree(
        expression, _strict(measure, a, b), None, words, scale, frozenset({function.metric})
    )


def _norm(random: Any, depth: int) -> Tree:
    a = vector(random, depth)
    value = _strict(lambda x: float(np.linalg.norm(x)), a)
    expression = VectorNorm(a.expression)
    return Tree(expression, value, None, f"VectorNorm({a.words})", lambda row: value(row) or 1.0)


def _size(random: Any, depth: int) -> Tree:
    a = vector(random, depth)
    return Tree(VectorDims(a.expression), _strict(len, a), None, f"VectorDims({a.words})")


def _computed(value: Any) -> Any:
    """What others compute of a number: NULL, where it is undefined."""
    return None if value is None or math.isnan(value) else value


def _shifted(random: Any, depth: int) -> Tree:
    a = number(random, depth)
    factor, more = random.choice([-1.0, 0.5, 2.0]), random.choice([-1.0, 0.0, 3.0])

    def value(row: Any) -> Any:
        of_a = _computed(a.value(row))
        return None if of_a is None else of_a * factor + more

    words = f"({a.words} * {factor} + {more})"
    return a._replace(expression=a.expression * factor + more, value=value, words=words)


def _or_else(random: Any, depth: int) -> Tree:
    a = number(random, depth)
    other = float(random.choice([-1, 0, 7]))

    def value(row: Any) -> Any:
        of_a = _computed(a.value(row))
        return other if of_a is None else of_a

    expression = Coalesce(a.expression, Value(other), output_field=a.expression.output_field)
    return a._replace(expression=expression, value=value, words=f"Coalesce({a.words}, {other})")


def _near_whole(value: float) -> float:
    if abs(value - round(value)) < TO_TELL:
        raise Unsure
    return value


FUNCTIONS: list[tuple[Any, Callable[[float], float]]] = [
    (Floor, lambda x: math.floor(_near_whole(x))),
    (Ceil, lambda x: math.ceil(_near_whole(x))),
    (Abs, abs),
    (lambda x: Cast(x, FloatField()), float),
    (lambda x: ExpressionWrapper(x, output_field=FloatField()), float),
]
# Further from a whole number than rounding takes a distance of vectors of such lengths.
TO_TELL = 1e-3


def _of_function(random: Any, depth: int) -> Tree:
    a = number(random, depth)
    number_of_function = random.randrange(len(FUNCTIONS))
    function, exact = FUNCTIONS[number_of_function]

    def value(row: Any) -> Any:
        of_a = _computed(a.value(row))
        if of_a is not None and a.scale(row) > 1 / TO_TELL:
            raise Unsure
        return None if of_a is None else exact(of_a)

    words = f"FUNCTIONS[{number_of_function}]({a.words})"
    return a._replace(expression=function(a.expression), value=value, words=words)


def _combined(random: Any, depth: int) -> Tree:
    a, b = number(random, depth), number(random, depth)

    def value(row: Any) -> Any:
        numbers = [_computed(tree.value(row)) for tree in (a, b)]
        return None if None in numbers else numbers[0] - numbers[1]

    def scale(row: Any) -> float:
        return max(1.0, a.scale(row), b.scale(row))

    expression = ExpressionWrapper(a.expression - b.expression, output_field=FloatField())
    words, metrics = f"({a.words} - {b.words})", a.metrics | b.metrics
    return Tree(expression, value, None, words, scale, metrics)
