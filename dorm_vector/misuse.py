"""
Django's own functions and aggregates over vectors, which would work on their bytes.

They are refused by name when a query is compiled. A project's own classes are let through: it may
know what it does.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

from django.core.exceptions import FieldDoesNotExist, FieldError
from django.db import NotSupportedError
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Expression, F, Value
from django.db.models.expressions import Col
from django.db.models.functions import Cast
from django.db.models.sql import Query
from django.db.models.sql.compiler import SQLCompiler

from dorm_vector.engines import engine_for
from dorm_vector.sql import Compiled

__all__ = ["VectorCol", "output_field_of", "refuse_misuse", "refuse_misused"]

# Those that only pass vectors on, compare them for equality, or count them.
HARMLESS = frozenset(
    {
        "Aggregate",  # the project names their function, as in Func
        "Func",
        "AnyValue",
        "ArrayAgg",
        "ArraySubquery",
        "Case",
        "Cast",
        "Coalesce",
        "Col",
        "ColPairs",
        "Count",
        "DatabaseDefault",  # the values of db_default, if one of several rows has them
        "Exact",
        "Exists",
        "ExpressionList",
        "ExpressionWrapper",
        "FirstValue",
        "GroupByExpressions",
        "In",
        "IsNull",
        "Lag",
        "LastValue",
        "Lead",
        "NegatedExpression",
        "NthValue",
        "NullIf",
        "OrderBy",
        "OrderByList",
        "OuterRef",
        "PositionRef",
        "RawSQL",
        "Ref",
        "ResolvedOuterRef",
        "Subquery",
        "Value",
        "ValueRange",
        "VectorCol",
        "When",
        "WhereNode",
        "Window",
        "WindowFrame",
    }
)
# What to use instead of the others.
INSTEAD = {
    **dict.fromkeys(("Max", "Min", "Greatest", "Least"), "order by a distance or VectorNorm"),
    **dict.fromkeys(("JSONObject", "JSONArray", "Cast"), "use VectorToJSON"),
    **dict.fromkeys(("Concat", "ConcatPair"), "use VectorConcat"),
    **dict.fromkeys(("Left", "Right", "Substr"), "use Subvector"),
    "Length": "use VectorDims or VectorNorm",
    "Avg": "use VectorAvg",
    "Sum": "use VectorSum",
    "Abs": "use VectorNorm",
    "CombinedExpression": "use VectorAdd, VectorSubtract or VectorMultiply",
}
# These contain no expressions, and none of their classes is refused.
LEAVES = (str, Col, Value)


class VectorCol(Col):
    """A column of vectors. Compiling it checks the query."""

    def as_sql(  # type: ignore[override]
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper
    ) -> Compiled:
        refuse_misuse(compiler)
        return super().as_sql(compiler, connection)


def refuse_misuse(compiler: SQLCompiler) -> None:
    """
    Check the expressions of the query that is compiled, once.

    Raises NotSupportedError for what would work on the bytes of vectors.
    """
    if vars(compiler).get("_looked_for_misuse") is compiler.query:
        return
    vars(compiler)["_looked_for_misuse"] = compiler.query
    for expression in _expressions(compiler.query):
        refuse_misused(expression, compiler.query, compiler.connection)


def refuse_misused(expression: Expression, query: Query, connection: BaseDatabaseWrapper) -> None:
    """The same for one expression and its parts."""
    engine = engine_for(connection)
    for node in _nodes(expression):
        name = type(node).__name__
        if isinstance(node, Cast):
            _check_cast(node, query, engine)
        elif (
            _is_refused(type(node))  # type: ignore[arg-type]
            and name not in engine.native_aggregates
            and any(_is_vector(each, query) for each in _sources(node))
        ):
            instead = INSTEAD.get(name, "use the functions and aggregates of dorm_vector")
            raise NotSupportedError(f"{name} takes no vectors: {instead}.")


def _check_cast(cast: Any, query: Query, engine: Any) -> None:
    if engine.casts_text:
        return
    source, target = _sources(cast)[0], cast.output_field
    holds, wanted = _is_vector(source, query), _holds_vectors(target)
    if holds and not wanted:
        raise NotSupportedError(
            f"{engine.label} stores vectors as bytes, which Cast would not convert: "
            f"{INSTEAD['Cast']}."
        )
    if wanted and not holds and _is_known(source):
        raise NotSupportedError(
            f"{engine.label} stores vectors as bytes, and cannot cast to "
            f"{target.kind}; PostgreSQL can."
        )


def _expressions(query: Query) -> Iterator[Any]:
    yield from query.annotations.values()
    yield query.where
    yield from query.order_by
    if isinstance(query.group_by, tuple):
        yield from query.group_by
    yield from (value for _, _, value in getattr(query, "values", None) or ())


def _nodes(expression: Expression) -> Iterator[Any]:
    """What contains expressions, the outer ones first."""
    waiting = [expression]
    while waiting:
        node = waiting.pop()
        if isinstance(node, LEAVES) or getattr(node, "is_settled", False):
            continue
        if _has_parts(node):
            yield node
            waiting += reversed(_sources(node))


def _has_parts(node: Any) -> bool:
    return hasattr(node, "get_source_expressions") or hasattr(node, "children")


def _sources(node: Any) -> list[Any]:
    if hasattr(node, "children"):  # a WHERE clause
        return list(node.children)
    return [each for each in node.get_source_expressions() if each is not None]


@functools.lru_cache(maxsize=1024)
def _is_refused(node_class: type) -> bool:
    """Whether a class is one of Django's that takes no vectors."""
    return node_class.__module__.startswith("django.") and node_class.__name__ not in HARMLESS


def _is_vector(expression: Any, query: Query) -> bool:
    if isinstance(expression, F):
        name: str = expression.name  # type: ignore[attr-defined]
        return _names_vector(name, query)
    field = output_field_of(expression)
    if field is None and hasattr(expression, "get_source_expressions"):  # not resolved yet
        return any(_is_vector(each, query) for each in _sources(expression))
    return _holds_vectors(field)


def _is_known(expression: Any) -> bool:
    field = output_field_of(expression)
    return field is not None and bool(field.get_internal_type())


def output_field_of(expression: Any) -> Any:
    """The field of an expression's values, or None."""
    try:
        return expression.output_field
    except (AttributeError, FieldError):
        return None


def _holds_vectors(field: Any) -> bool:
    return bool(getattr(getattr(field, "output_field", None) or field, "holds_vectors", False))


def _names_vector(name: str, query: Query) -> bool:
    """Whether a name in an ORDER BY, which Django resolves later, is a vector's."""
    if name in query.annotations:
        return _holds_vectors(output_field_of(query.annotations[name]))
    try:
        path = query.names_to_path(name.split("__"), query.get_meta(), fail_on_missing=True)
    except (FieldError, FieldDoesNotExist, AttributeError):
        return False
    return _holds_vectors(path[1])
