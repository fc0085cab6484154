"""Tools for tests: whether a search uses a vector index, and if not, why."""

from __future__ import annotations

import dataclasses
from typing import Any

from django.db import connections
from django.db.models import QuerySet

from dorm_vector.engines import engine_for
from dorm_vector.search.advice import obstacle

__all__ = ["Explanation", "assert_uses_vector_index", "explain_nearest"]


@dataclasses.dataclass(frozen=True)
class Explanation:
    """How a database would execute a search."""

    #: The name of the vector index that is searched, or None.
    index: str | None
    #: The database's own plan, as text.
    plan: str
    #: Why no index is searched, in one sentence; None if one is.
    reason: str | None


def explain_nearest(queryset: QuerySet[Any]) -> Explanation:
    """
    Ask the database how it would execute ``queryset``, from ``nearest()`` or a plain one.

    Nothing is searched; on PostgreSQL the planner goes by the statistics of the table, so ANALYZE
    it first.
    """
    engine = engine_for(connections[queryset.db])
    index, plan = engine.explain_search(queryset)
    if index is not None:
        return Explanation(index, plan, None)
    return Explanation(None, plan, obstacle(queryset.query, engine) or engine.why_unused(queryset))


def assert_uses_vector_index(queryset: QuerySet[Any]) -> None:
    """Raise AssertionError, with the reason and the plan, unless a vector index is searched."""
    found = explain_nearest(queryset)
    if found.index is None:
        raise AssertionError(f"{found.reason}\n{found.plan}")
