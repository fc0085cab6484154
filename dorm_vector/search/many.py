"""Searches of rows that have many vectors each: every row comes once, at its nearest."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import (
    FloatField,
    ManyToOneRel,
    Model,
    OneToOneRel,
    OuterRef,
    QuerySet,
    Subquery,
)
from django.db.models.sql import Query
from django.db.models.sql.compiler import SQLCompiler

from dorm_vector.engines.base.sequence import Found
from dorm_vector.sql import SQL

__all__ = ["Members", "NearestMember", "one_further_out"]

# How many members are asked for at first, for each row that is wanted.
MEMBERS = 4


class NearestMember(Subquery):
    """The least distance of the vectors that belong to a row; NULL if none has one."""

    output_field = FloatField()
    #: The search that orders by it.
    search: Any = None

    def defined_sql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper) -> SQL:
        """The condition that such a distance exists."""
        sql, params = compiler.compile(self)
        return SQL(f"{sql} IS NOT NULL", tuple(params))


@dataclasses.dataclass(frozen=True)
class Members:
    """
    The rows that hold the vectors, where an index of theirs can tell the nearest of the others.

    ``nearest`` searches that many of them in a database, and ``key`` is the column that says which
    row each belongs to.
    """

    nearest: Callable[[str, int], QuerySet[Any]]
    key: str

    @classmethod
    def relation(cls, model: type[Model], relation: list[str]) -> ManyToOneRel | None:
        """The relation, where it is the other side of one foreign key."""
        if len(relation) != 1:
            return None
        found: Any = next(
            (field for field in model._meta.get_fields() if field.name == relation[0]), None
        )
        plain = isinstance(found, ManyToOneRel) and not isinstance(found, OneToOneRel)
        return found if plain and found.field.target_field.primary_key else None

    def found(self, query: Query, search: Any, using: str) -> Found | None:
        """The keys of the first rows; None where the table has to be read."""
        if search.exact or query.high_mark is None or not _is_plain(query):
            return None
        wanted = query.high_mark + 1
        count = MEMBERS * wanted
        while True:
            pairs = list(self.nearest(using, count).values_list(self.key, "_distance"))
            nearest: dict[Any, float] = {}
            for key, distance in pairs:
                if key is not None:
                    nearest.setdefault(key, distance)
            if len(nearest) >= wanted or len(pairs) < count:
                break
            count *= MEMBERS
        distances = list(nearest.values())
        if any(_ties(distances, end) for end in (query.low_mark, query.high_mark)):
            return None
        found = list(nearest)[: query.high_mark]
        last = distances[len(found) - 1] if found else -math.inf
        return Found([found], len(nearest) < wanted, last)


def _is_plain(query: Any) -> bool:
    """Whether a query is of all rows of a table."""
    return not (
        query.is_filtered
        or query.distinct
        or query.group_by is not None
        or sum(used > 0 for used in query.alias_refcount.values()) > 1
        or query.composed_with is not Query
    )


def _ties(distances: list[float], end: int) -> bool:
    """Whether the rows on both sides of the end of a slice are equally near."""
    return 0 < end < len(distances) and distances[end - 1] == distances[end]


def one_further_out(expression: Any) -> Any:
    """An expression as it is written inside another query."""
    return OuterRef(expression) if isinstance(expression, OuterRef) else expression
