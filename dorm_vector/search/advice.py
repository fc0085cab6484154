"""Why an index cannot serve the order of a query, in one sentence."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

from django.db.models import Expression, F, OrderBy
from django.db.models.sql import Query

from dorm_vector.distances import ADVISERS, Distance
from dorm_vector.expressions import VectorValue
from dorm_vector.indexes import MethodIndex, declared_indexes
from dorm_vector.search.query import Named

__all__ = ["Order", "mistake", "obstacle", "order_of", "warn", "warn_of_mistake"]


class Order(NamedTuple):
    """What a query is ordered by first, and the distance in it."""

    expression: Any
    distance: Distance
    descending: bool
    nulls_first: bool

    @property
    def field(self) -> Any:
        return getattr(self.distance.get_source_expressions()[0], "target", None)

    @property
    def indexes(self) -> list[MethodIndex]:
        return list(declared_indexes(self.field))

    @property
    def serving(self) -> list[MethodIndex]:
        return [index for index in self.indexes if index.metric == self.distance.metric]

    @property
    def needs_reranking(self) -> bool:
        """Whether all indexes that serve it are coarse, and order by another distance."""
        served = (None, self.distance.reduction)
        return bool(self.serving) and all(index.reduction not in served for index in self.serving)

    @property
    def is_constant(self) -> bool:
        """Whether the distance is to the same vector in every row."""
        vector = self.distance.get_source_expressions()[1]
        return isinstance(vector, VectorValue) or not any(
            hasattr(part, "target") for part in vector.flatten()
        )


def order_of(query: Any) -> Order | None:
    """The order by a distance, or None if a query is first ordered by something else."""
    if not query.order_by:
        return None
    first, descending, nulls_first = query.order_by[0], not query.standard_ordering, False
    if isinstance(first, str):
        descending ^= first.startswith("-")
        first = query.annotations.get(first.lstrip("-+"))
    if isinstance(first, OrderBy):
        descending, nulls_first = descending ^ first.descending, bool(first.nulls_first)
        first = first.expression
    if isinstance(first, F | Named):
        first = query.annotations.get(getattr(first, "name", ""))
    expression = _resolved(first, query)
    distance = next(_distances(expression), None)
    if distance is None:
        return None
    return Order(expression, distance, descending, nulls_first)


def _resolved(expression: Expression, query: Query) -> Any:
    if hasattr(expression, "resolve_expression") and next(_unresolved(expression), None):
        return expression.resolve_expression(query.clone())
    return expression


def _unresolved(expression: Any) -> Iterator[F]:
    return (part for part in expression.flatten() if isinstance(part, F))


def _distances(expression: Expression) -> Iterator[Distance]:
    parts = expression.flatten() if hasattr(expression, "flatten") else ()
    return (part for part in parts if isinstance(part, Distance))


def mistake(order: Order) -> str | None:
    """What in the order itself keeps every index from serving it."""
    name = order.field and f"{order.field.model._meta.label}.{order.field.name}"
    if order.expression is not order.distance:
        return f"The distance is wrapped in a {type(order.expression).__name__}: order by it alone."
    if order.descending:
        return "The order is descending, and indexes return the nearest rows first."
    if order.nulls_first:
        return "The order puts NULL first, and indexes hold no NULL."
    if order.indexes and not order.serving:
        metrics = ", ".join(f"{index.name} serves {index.metric}" for index in order.indexes)
        return (
            f"The order is by {order.distance.metric}, which no index of {name} serves: {metrics}."
        )
    return None


def obstacle(query: Query, engine: Any) -> str | None:
    """Why no index can serve a query, or None where one could."""
    order = order_of(query)
    if order is None:
        return "The queryset is not ordered by a distance."
    if not order.indexes:
        return "No vector index is declared for the field."
    if sentence := mistake(order):
        return sentence
    if query.high_mark is None:
        return "The queryset has no limit: slice it."
    if getattr(query, "search_in_force", None) is None and order.needs_reranking:
        index = order.serving[0]
        if index.prefix:
            return f"{index.name} is over the first {index.prefix} components: use nearest()."
        return (
            f"{index.name} has the precision {index.precision}: use nearest(), or order by a "
            f'distance with precision="{index.precision}".'
        )
    if not order.is_constant:
        return "The distance is to another vector in each row."
    reasons = [engine.why_not_built(index, query.get_meta().model) for index in order.serving]
    if all(reasons):
        return f"{reasons[0]}: {order.serving[0].name} is not built."
    return None


def warn_of_mistake(distance: Distance, query: Query, engine: Any) -> None:
    """
    Warn under DEBUG if a distance is ordered such that no index can serve it.

    Only if an index is declared that the database would use for a plain ORDER BY.
    """
    if not engine.index_serves_order or _is_exact(distance.search, query):
        return
    order = order_of(query)
    if order is None or order.distance != distance or not order.indexes:
        return
    if sentence := mistake(order):
        warn(f"No vector index serves this query. {sentence}")


def _is_exact(search: Any, query: Query) -> bool:
    """Whether a search reads all rows on request or by plan."""
    return search is not None and (search.exact or getattr(query, "plan", None) is not None)


def warn(message: str) -> None:
    """Warn at the line outside Django and this package that evaluates the query."""
    frame = sys._getframe(1)
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] in _INNER:
        frame = frame.f_back
    warnings.warn_explicit(
        message,
        RuntimeWarning,
        frame.f_code.co_filename,
        frame.f_lineno,
        registry=frame.f_globals.setdefault("__warningregistry__", {}),
    )


_INNER = {"django", "dorm_vector"}

ADVISERS.append(warn_of_mistake)
