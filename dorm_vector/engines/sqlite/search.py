"""Searching the vec0 tables of sqlite-vec."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from django.db.models import Model, QuerySet
from django.db.models.sql import Query

from dorm_vector import codecs
from dorm_vector.engines.base.run import Step
from dorm_vector.engines.base.search import oversampled, tried
from dorm_vector.engines.side_tables.search import SideTableSearch
from dorm_vector.parameters import abbreviated
from dorm_vector.sql import SQL

__all__ = ["MAX_K", "SQLiteSearch"]

# The most rows that vec0 finds; source: https://github.com/asg017/sqlite-vec, sqlite-vec.c.
MAX_K = 4096
# How EXPLAIN QUERY PLAN names a side table.
VIRTUAL_TABLE = re.compile(r"SCAN (.+?) VIRTUAL TABLE")
OVERSAMPLE, HIGH_OVERSAMPLE = 4, 40


def reduction_of(index: Any) -> Any:
    """What a coarse index holds of a vector; None where it is all, as there is no float16 here."""
    return None if index.reduction == "half" else index.reduction


class SQLiteSearch(SideTableSearch):
    """The part of the engine that searches."""

    too_many = f"sqlite-vec finds at most {MAX_K} rows; more are searched exactly."

    def steps(self, query: Any, search: Any, index: Any) -> Sequence[Step]:
        if reduction_of(index):
            default = HIGH_OVERSAMPLE if search.recall else OVERSAMPLE
            return oversampled(query, search.oversample or default, MAX_K)
        # The index itself is exact, and one row more shows whether the last ones are equally near.
        wanted = query.high_mark or 0
        needed = wanted + query.left_out
        return [Step(wanted, min(needed + 1, MAX_K))] if 0 < needed <= MAX_K else []

    def tunable(self, index: Any) -> list[dict[str, Any]]:
        if not reduction_of(index):  # which compares all of a vector, and of all rows
            return [{}]
        return tried("oversample", (1, 2, 4, 8, 16, 32), OVERSAMPLE)

    def widen(self, plan: Any, index: Any, step: Step) -> int:
        if not reduction_of(index):
            plan.high_mark += 1
        return 0

    def is_undecided(self, distances: Sequence[Any], wanted: int) -> bool:
        return len(distances) > wanted > 0 and distances[wanted] == distances[wanted - 1]

    def can_run_at_once(self, query: Query, search: Any, index: Any) -> bool:
        # Of rows that are equally near vec0 chooses any.
        seen = reduction_of(index) or search.annotation in query.annotation_select
        return bool(seen) and super().can_run_at_once(query, search, index)

    def candidate_condition(self, index: Any, query: Query, vector: Any, count: int) -> SQL:
        quote = self.connection.ops.quote_name
        key = f"{quote(query.get_initial_alias())}.{quote(query.get_meta().pk.column)}"
        place, packed = "%s", vector.value
        if index.precision == "bit":
            place = "vec_bit(%s)"
            signs = "".join("1" if number > 0 else "0" for number in codecs.from_packed(packed))
            packed = codecs.bits_to_reversed_bytes(signs)
        elif index.prefix:
            packed = packed[: 4 * index.prefix]
        # What is compiled is formatted with %, once.
        table = quote(index.name).replace("%", "%%")
        nearest = f"SELECT rowid FROM {table} WHERE vector MATCH {place} AND k = %s"  # noqa: S608 - quoted
        return SQL(f"{key} IN ({nearest})", (abbreviated(packed, vector.value), count))

    def explain_search(self, queryset: QuerySet[Model]) -> tuple[str | None, str]:
        plan = queryset.explain()
        return next((name for name in VIRTUAL_TABLE.findall(plan)), None), plan
