"""Searching where an index is a side table: it names candidates, and the query re-ranks them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar

from django.db import models
from django.db.models import Model, QuerySet
from django.db.models.expressions import RawSQL
from django.db.models.sql import Query

from dorm_vector.engines.base.search import OBSTACLES, EngineSearch, Obstacle
from dorm_vector.engines.base.sequence import Step
from dorm_vector.sql import SQL

__all__ = ["COUNT", "SideTableSearch"]

# How many objects have one of some names.
COUNT = "SELECT count(*) FROM sqlite_master WHERE name IN ({places})"


def uses_joins(query: Query) -> bool:
    """Whether a query joins other tables."""
    return bool(sum(used > 0 for used in query.alias_refcount.values()) > 1)


FILTERED: Obstacle = (
    "A filter, a join or distinct() makes the search exact.",
    lambda query, search: bool(query.is_filtered or query.distinct or uses_joins(query)),
)
OWN_TABLE: Obstacle = (
    "The vector is not a column of the model's own table.",
    lambda query, search: query.query_vector is None,
)
OWN_QUERY: Obstacle = (
    "A Query class of the project's own makes the search exact.",
    lambda query, search: query.composed_with is not Query,
)


class SideTableSearch(EngineSearch):
    """The part of an engine that searches side tables."""

    _is_present: Callable[[str], bool]
    why_not_built: Callable[[Any, Any], str | None]
    sorts_by_outer_columns = False
    obstacles: ClassVar[tuple[Obstacle, ...]] = (FILTERED, *OBSTACLES, OWN_TABLE, OWN_QUERY)

    #: Why an index has no ``steps`` for as many rows as are wanted.
    too_many: ClassVar[str] = ""
    #: Why ``is_ready`` refused although the table exists.
    too_few: ClassVar[str] = ""

    def candidate_condition(self, index: Any, query: Query, vector: Any, count: int) -> SQL:
        """The condition that a row is one of the ``count`` that the index finds."""
        raise NotImplementedError

    def declared_index(self, query: Any, search: Any) -> Any:
        built = self._built(query, search)
        return next((each for each in built if self.reaches(query, search, each)), None)

    def serving_index(self, query: Query, search: Any) -> Any:
        self.connection.ensure_connection()  # which shows what is loaded, and what exists
        built = self._built(query, search)
        if query.explain_info:
            built = (each for each in built if self.reaches(query, search, each))
        # Even one with too few steps: later pages continue those that it gives.
        with self.connection.wrap_database_errors:
            return next(filter(None, map(self.as_built, built)), None)

    def _built(self, query: Query, search: Any) -> Iterator[Any]:
        model = query.get_meta().concrete_model
        return (
            index
            for index in search.indexes
            if not self.why_not_built(index, model) and self.steps(query, search, index)
        )

    def reaches(self, query: Query, search: Any, index: Any) -> bool:
        """Whether the index finds as many rows as the query asks for."""
        steps = self.steps(query, search, index)
        return bool(steps) and (query.high_mark or 0) <= steps[-1].rows

    def indexed(self, query: Any, search: Any, index: Any, step: Step) -> Any:
        plan = super().indexed(query, search, index, step)
        vector = query.query_vector
        if vector is None:  # an obstacle
            return plan
        condition = self.candidate_condition(index, plan, vector, step.candidates)
        plan.where.add(RawSQL(*condition, models.BooleanField()), "AND")  # noqa: S611 - quoted
        return plan

    def why_unused(self, queryset: QuerySet[Model]) -> str:
        query = queryset.query
        search = getattr(query, "search_in_force", None)
        if search is None:
            return f"{self.label} serves no ORDER BY from an index: use nearest()."
        if sentence := self.obstacle(query, search):
            return sentence
        if not any(self.reaches(query, search, index) for index in search.indexes):
            return self.too_many
        if not any(self._is_present(index.name) for index in search.indexes):
            return (
                "The index is declared, but missing or incomplete: migrate, or run vector_reindex."
            )
        return self.too_few

    def as_built(self, index: Any) -> Any:
        """The index as the database has it, or None where it is not fit to be searched."""
        return index if self.is_ready(index.name) else None

    def is_ready(self, table: str) -> bool:
        """Whether the side table exists, and is better than reading all rows."""
        return self._is_present(table)
