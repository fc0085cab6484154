"""Searching libSQL's graphs."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from dorm_vector.engines.base.search import Obstacle, tried
from dorm_vector.engines.base.sequence import Step
from dorm_vector.engines.side_tables.search import COUNT, SideTableSearch
from dorm_vector.sql import SQL

__all__ = ["LibSQLSearch", "without_repeated"]

# The bytes by which a vector is found: its first and last four components.
KEY = "substr({vector}, 1, 16) || substr({vector}, -16)"
OWN_KEY = KEY.format(vector="vector")

# libSQL's default limit of candidates, and the first rows of a search that sets its own.
SEARCH_L = 200
FEWEST = 10
# Candidates per row: the graph ranks by rounded neighbours.
OVERSAMPLE = 4
# With fewer vectors reading all rows is as fast, and finds what a graph may have lost: some vectors
# cannot be reached from where a search happens to begin.
LEAST_VECTORS = 1000


ZERO: Obstacle = (
    "libSQL's graph finds arbitrary rows for the zero vector, so all rows are read.",
    lambda query, search: query.query_vector.is_zero,
)
NO_MORE: Obstacle = (
    "With recall='high' all rows are read: libSQL's graph cannot search any further.",
    lambda query, search: bool(search.recall),
)


def without_repeated(steps: Sequence[Step], wanted: int | None) -> list[Step]:
    """The steps without those before the row ``wanted`` whose walk the next one repeats."""
    kept = [
        step
        for step, following in itertools.pairwise(steps)
        if step.candidates != following.candidates or step.rows >= (wanted or math.inf)
    ]
    return [*kept, *steps[-1:]]


class LibSQLSearch(SideTableSearch):
    """The part of the engine that searches."""

    cached_parameter: Any
    _needed: Callable[[str], tuple[str, ...]]
    too_many = "libSQL finds at most search_l rows, 200 by default; more are searched exactly."
    too_few = f"With fewer than {LEAST_VECTORS:,} vectors libSQL reads all rows, which is as fast."

    obstacles = (*SideTableSearch.obstacles, ZERO, NO_MORE)
    # The graph may have lost rows, and still has deleted ones: some pages of a block might be
    # complete, and others not.
    reads_blocks = True
    # A walk of the graph begins at a random vector.
    finds_at_random = True

    #: The least number of vectors for which the graph is searched.
    least_vectors: ClassVar[int] = LEAST_VECTORS

    def steps(self, query: Any, search: Any, index: Any) -> Sequence[Step]:
        most = int(index.parameters("graph").get("search_l", SEARCH_L))
        oversample, less = search.oversample or OVERSAMPLE, query.left_out
        # The graph is walked for search_l vectors, however many are asked for.
        ladder = [((most // oversample) - less, most), (most - less, most)]
        if given := search.params.get("ef_search"):
            ladder = [(FEWEST, max(given, FEWEST + less)), *ladder]
        found: list[Step] = []
        for rows, number in ladder:
            if rows > (found[-1].rows if found else 0):
                found.append(Step(rows, min(number, most)))
        return without_repeated(found, query.high_mark)

    def tunable(self, index: Any) -> list[dict[str, Any]]:
        # No more than search_l are found, with which the graph was built.
        most = int(index.parameters("graph").get("search_l", SEARCH_L))
        less = [number for number in (20, 50, 100, 200, 500, 1000) if number < most]
        return tried("ef_search", [*less, most], most)

    def is_ready(self, table: str) -> bool:
        # Vectors are only deleted all at once there, so that their numbers have no gaps.
        names = self._needed(table)
        count = COUNT.format(places=", ".join("?" * len(names)))
        side = self.connection.ops.quote_name(table)
        sql = f"SELECT 1 WHERE ({count}) = ? AND EXISTS (SELECT 1 FROM {side} WHERE id = ?)"  # noqa: S608 - quoted
        parameters = (*names, len(names), self.least_vectors)
        try:
            found = self.connection.connection.execute(sql, parameters).fetchone()
        except self.connection.Database.Error:
            if self._is_present(table):
                raise
            return False
        return found is not None

    def candidate_condition(self, index: Any, query: Any, vector: Any, count: int) -> SQL:
        """
        The rows with one of the vectors that the graph finds, and those with the one searched for.

        There are more of them than rows wanted: some may belong to rows that no longer exist, and
        the graph ranks by rounded neighbours.
        """
        quote = self.connection.ops.quote_name
        distance = query.annotations[query.plan.search.annotation]
        column = distance.get_source_expressions()[0].target.column
        row = KEY.format(vector=f"{quote(query.get_initial_alias())}.{quote(column)}")
        found = "SELECT id FROM vector_top_k(%s, %s, %s)"
        keys = f"SELECT {OWN_KEY} FROM {quote(index.name)} WHERE id IN ({found})"  # noqa: S608 - quoted
        sql = f"{row} IN ({keys} UNION ALL SELECT {KEY.format(vector='%s')})"
        value = self.cached_parameter(vector.value, vector.kind)
        return SQL(sql, (f"{index.name}_graph", value, count, value, value))

    def explain_search(self, queryset: Any) -> tuple[str | None, str]:
        plan = queryset.explain()
        if "vector_top_k" not in plan:
            return None, plan
        query = queryset.query
        return self.serving_index(query, query.search_in_force).name, plan
