"""
How a search runs.

Exact unless proven: an index may serve a search at top level where none of the ``OBSTACLES`` of
the engine is there, and then still has to deliver as many rows as were asked for; where it does
not, the table is read. A search inside another query is always exact, since nobody could see that
it came back short.

An index that finds other rows for other numbers of candidates would give pages that do not fit
together. So the rows have one sequence, made of blocks: the first ``Step`` of the index gives the
first rows, each later one what lies beyond them, and past the last step the table is read.
"""

from __future__ import annotations

import contextlib
import math
import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, NamedTuple

from django.db.models import OneToOneRel, Q, QuerySet
from django.db.models.expressions import ColPairs
from django.db.models.fields.related import ForeignObject
from django.db.transaction import TransactionManagementError

from dorm_vector.sql import SQL, Plan

__all__ = [
    "OBSTACLES",
    "EngineSearch",
    "Found",
    "Obstacle",
    "Run",
    "Step",
    "driver_column",
    "joins_many",
    "oversampled",
]

EXACT = Plan()

Rows = list[Any]
Obstacle = tuple[str, Callable[[Any, Any], bool]]


class Step(NamedTuple):
    """How many rows a block of the sequence reaches, and how many candidates it takes."""

    rows: int
    candidates: int


# How many rows the blocks reach where candidates are ordered by their true distance.
ROWS = (10, 25, 50, 100, 250, 1000)


def oversampled(query: Any, oversample: int, most: int, least: int = 0) -> list[Step]:
    """The steps with as many times as many candidates as rows, ``most`` of them at most."""
    ladder = [(rows, max((rows + query.left_out) * oversample, least)) for rows in ROWS]
    return [Step(rows, number) for rows, number in ladder if number <= most]


class Found(NamedTuple):
    """Primary keys in the order of the search, by block, and whether there are no others."""

    blocks: list[list[Any]]
    complete: bool
    #: The distance of the last of them; nearer rows that are not among them were missed.
    last: float = -math.inf


def joins_many(query: Any) -> bool:
    """Whether a join may give several rows for one of the model's."""
    joins = (query.alias_map[alias] for alias, used in query.alias_refcount.items() if used)
    fields = [join.join_field for join in joins if getattr(join, "join_field", None)]
    return not all(isinstance(field, ForeignObject | OneToOneRel) for field in fields)


def driver_column(compiler: Any, annotation: str) -> int | None:
    """The place of an annotation in a row of the driver's, or None where it is not selected."""
    place = compiler.annotation_col_map.get(annotation)
    if place is None:
        return None
    # A primary key of several columns is one expression of the select clause.
    before = (expression for expression, _, _ in compiler.select[:place])
    return sum(len(each) if isinstance(each, ColPairs) else 1 for each in before)


def other_in_each_row(query: Any, search: Any) -> bool:
    """Whether the distance is to another vector in each row."""
    distance = query.annotations[search.annotation]
    operands = distance.get_source_expressions()
    if search.members is not None or len(operands) < 2:
        return True
    return any(hasattr(part, "target") for part in operands[1].flatten())


#: What keeps every index from serving a search: a sentence, and how it is seen.
OBSTACLES: tuple[Obstacle, ...] = (
    ("exact=True was asked for.", lambda query, search: bool(search.exact)),
    ("The queryset has no limit: slice it.", lambda query, search: query.high_mark is None),
    (
        "No vector index is declared that serves the search.",
        lambda query, search: not search.indexes,
    ),
    ("Groups are searched exactly.", lambda query, search: query.group_by is not None),
    ("distinct() makes the search exact.", lambda query, search: bool(query.distinct)),
    ("A join to many rows makes the search exact.", lambda query, search: joins_many(query)),
    ("The distance is to another vector in each row.", other_in_each_row),
    (
        "Window functions make the search exact.",
        lambda query, search: any(
            getattr(part, "contains_over_clause", False)
            for part in (*query.annotations.values(), *query.where.children)
        ),
    ),
)


class EngineSearch:
    """The part of an engine that searches."""

    connection: Any
    label: str

    #: Whether the rows of a whole block are looked at, whichever slice of it is asked for.
    reads_blocks: ClassVar[bool] = False
    #: How many rows a block may lack and be whole.
    slack: ClassVar[int] = 0
    #: What keeps the engine's indexes from serving a search.
    obstacles: ClassVar[tuple[Obstacle, ...]] = OBSTACLES

    def run_search(self, query_compiler: Any, search: Any, execute: Callable[[], Any]) -> Any:
        """
        Run a search at top level, and return its rows in chunks.

        ``execute`` runs the query that ``query_compiler`` has at the time.
        """
        return Run(self, query_compiler, search, execute).rows()

    def obstacle(self, query: Any, search: Any) -> str | None:
        """Why no index serves a search, in one sentence, or None. Sends no SQL."""
        return next((said for said, is_there in self.obstacles if is_there(query, search)), None)

    def declared_index(self, query: Any, search: Any) -> Any:
        """The index that a search without obstacles goes through, or None. Sends no SQL."""
        return None

    def serving_index(self, query: Any, search: Any) -> Any:
        """``declared_index``, where the database has it too."""
        return self.declared_index(query, search)

    def steps(self, query: Any, search: Any, index: Any) -> Sequence[Step]:
        """The blocks of the sequence, the first one first."""
        return ()

    def step_of(self, query: Any, steps: Sequence[Step]) -> Step:
        """The step that the last row of a query is in, or the last step."""
        return next((step for step in steps if step.rows >= query.high_mark), steps[-1])

    def written(self, query: Any, search: Any) -> Any:
        """A query as it reads where an index serves its search. Sends no SQL."""
        if self.obstacle(query, search):
            return query
        index = self.declared_index(query, search)
        steps = self.steps(query, search, index) if index is not None else ()
        return self.indexed(query, search, index, self.step_of(query, steps)) if steps else query

    def indexed(self, query: Any, search: Any, index: Any, step: Step) -> Any:
        """A clone of a query, written such that the index serves it."""
        plan = query.clone()
        plan.plan = Plan(search)
        return plan

    def settings_for(
        self, search: Any, index: Any, step: Step
    ) -> contextlib.AbstractContextManager[Any]:
        """A block with the settings that the search of a step needs."""
        return contextlib.nullcontext()

    def is_cut_short(self, plan_compiler: Any) -> bool:
        """Whether a search that found too few rows may have left out others."""
        return True

    def can_run_at_once(self, query: Any, search: Any, index: Any) -> bool:
        """Whether one statement gives the rows of the first block, and shows what they lack."""
        return not query.select_for_update and (
            search.max_distance is None or search.annotation in query.annotation_select
        )

    def widen(self, plan: Any, index: Any, step: Step) -> int:
        """
        Let a plan read more rows than are asked for, where the last of these could not be told.

        Return how many it reads before them.
        """
        return 0

    def needs_other_settings(self, search: Any, index: Any) -> bool:
        """Whether a search that came back short is to run once more, with other settings."""
        return False

    def is_undecided(self, distances: Sequence[Any], wanted: int) -> bool:
        """Whether the index may have chosen the last rows among others that are as near."""
        return False

    def explain_search(self, queryset: Any) -> tuple[str | None, str]:
        """The vector index that a search goes through, or None, and the database's plan."""
        return None, queryset.explain()

    def why_unused(self, queryset: Any) -> str:
        """Why an index that could serve a search is not used, in one sentence."""
        query = queryset.query
        search = getattr(query, "search_in_force", None)
        return (search and self.obstacle(query, search)) or f"{self.label} has no vector indexes."

    def search_settings(self, params: dict[str, Any]) -> dict[str, Any]:
        """The database's own settings for search parameters; nothing where it has none."""
        return {}

    def local_settings(self, settings: dict[str, Any]) -> contextlib.AbstractContextManager[None]:
        """A block in which ``settings`` hold, and after which those before it hold again."""
        return contextlib.nullcontext()

    def without_index(self, distance: SQL) -> SQL:
        """The same distance, written such that no index can serve it."""
        return distance


class Run:
    """One run of a search at top level."""

    def __init__(self, engine: Any, compiler: Any, search: Any, execute: Callable[[], Any]) -> None:
        self.engine, self.compiler, self.search = engine, compiler, search
        self.execute = execute
        self.query = compiler.query
        self.low, self.high = self.query.low_mark, self.query.high_mark

    def rows(self) -> Any:
        self._refuse_to_lock()
        if self.high is not None and self.high <= self.low:
            return self.execute()
        engine, query, search = self.engine, self.query, self.search
        if search.members is not None:
            found = search.members.found(query, search, self.compiler.using)
            return self._exactly() if found is None else self._in_sequence(found)
        if engine.obstacle(query, search):
            return self._exactly()
        self.index = engine.serving_index(query, search)
        self.steps = engine.steps(query, search, self.index) if self.index is not None else ()
        if not self.steps:
            return self._exactly()
        if query.explain_info:
            return self._explained()
        if self.high <= self.steps[0].rows and engine.can_run_at_once(query, search, self.index):
            return self._at_once(self.steps[0])
        return self._in_sequence(self._found())

    def _refuse_to_lock(self) -> None:
        """Refuse as Django does, also where the search would open a transaction for itself."""
        locks = self.query.select_for_update
        connection = self.compiler.connection
        if locks and connection.features.has_select_for_update and connection.get_autocommit():
            raise TransactionManagementError(
                "select_for_update cannot be used outside of a transaction."
            )

    def _run(self, query: Any) -> Any:
        self.compiler.query = query
        return self.execute()

    def _exactly(self) -> Any:
        query = self.query.clone()
        query.plan = EXACT
        return self._run(query)

    def _explained(self) -> Any:
        """What the database says of the block that the last row is in."""
        step = self.engine.step_of(self.query, self.steps)
        plan = self.engine.indexed(self.query, self.search, self.index, step)
        with self.engine.settings_for(self.search, self.index, step):
            return list(self._run(plan))

    def _at_once(self, step: Step) -> Any:
        """One statement, and others where it comes back short."""
        engine, search, index = self.engine, self.search, self.index
        plan = engine.indexed(self.query, search, index, step)
        before = engine.widen(plan, index, step)
        wanted = self.high - self.low
        least = step.rows - engine.slack if engine.reads_blocks else wanted
        with engine.settings_for(search, index, step):
            rows, there = self._counted(flat(self._run(plan)), plan.plan)
            column = driver_column(self.compiler, self.search.annotation)
            if column is not None:  # scans in relaxed order deliver them unsorted
                rows.sort(key=operator.itemgetter(column))
            rows = rows[before:]
            short = there < least and engine.is_cut_short(self.compiler)
        if short and engine.needs_other_settings(search, index):
            return self._at_once(step)
        distances = [] if column is None else [row[column] for row in rows]
        if short or engine.is_undecided(distances, wanted):
            return self._exactly()
        if len(rows) < wanted and there >= least:  # all of the block, but for its last row
            return self._in_sequence(self._found())
        return [self._within_reach(rows[:wanted], column)]

    def _counted(self, rows: Rows, plan: Plan) -> tuple[Rows, int]:
        """The rows, and how many of them there are in the block."""
        if plan.sent is None:
            return rows, len(rows)
        return [row[:-1] for row in rows], rows[0][-1] if rows else 0

    def _within_reach(self, rows: Rows, column: int | None) -> Rows:
        if column is None or self.search.max_distance is None:
            return rows
        return [row for row in rows if row[column] <= self.search.max_distance]

    # The sequence

    def _found(self) -> Found:
        """The keys of the sequence up to the last row that is asked for, or the last step."""
        blocks, seen, last = list[list[Any]](), set[Any](), -math.inf
        reach = math.inf if self.search.max_distance is None else self.search.max_distance
        for step in self.steps:
            if sum(map(len, blocks)) >= self.high:
                break
            block, complete = self._block(step)
            if block is None:
                break
            beyond = [(pk, d) for pk, d in block if d >= last and pk not in seen]
            blocks.append([pk for pk, d in beyond if d <= reach])
            seen.update(pk for pk, _ in beyond)
            last = block[-1][1] if block else last
            if complete or last > reach:
                return Found(blocks, True, last)
        return Found(blocks, False, last)

    def _block(self, step: Step) -> tuple[list[tuple[Any, float]] | None, bool]:
        """The keys and distances that the index gives for a step; None where it cannot."""
        engine, search = self.engine, self.search
        query = engine.indexed(self._unlocked(), search, self.index, step)
        query.clear_limits()
        query.set_limits(0, step.rows)
        engine.widen(query, self.index, step)
        with engine.settings_for(search, self.index, step):
            queryset = self._keyed(query)
            block = list(queryset)
            short = len(block) < step.rows - engine.slack
            compiler = queryset.query.get_compiler(self.compiler.using)
            cut_short = short and engine.is_cut_short(compiler)
        if cut_short:
            again = engine.needs_other_settings(search, self.index)
            return self._block(step) if again else (None, False)
        block.sort(key=operator.itemgetter(1))
        if engine.is_undecided([d for _, d in block], step.rows):
            return None, False
        return block[: step.rows], short

    def _unlocked(self) -> Any:
        query = self.query.clone()
        query.select_for_update = False
        query.select_related = False
        return query

    def _keyed(self, query: Any) -> QuerySet[Any]:
        query.set_annotation_mask(None)
        rows: QuerySet[Any] = QuerySet(query.model, query, self.compiler.using)
        return rows.values_list("pk", self.search.annotation)

    def _in_sequence(self, found: Found) -> Any:
        """The rows of the keys, and after them those that the table has besides."""
        keys = [key for block in found.blocks for key in block]
        if not keys and not found.complete:
            return self._exactly()
        rows, start = [], 0
        for block in found.blocks:
            # Each by itself: rows of two blocks may be equally near.
            part = block[max(self.low - start, 0) : max(self.high - start, 0)]
            start += len(block)
            if part:
                rows += flat(self._run(self._of(Q(pk__in=part))))
        if not found.complete and start < self.high:
            rows += self._rest(keys, found.last, self.low - start, self.high - start)
            if self.low == 0 and len(rows) < self.high:  # all that there are
                return self._exactly()
        return [rows] if rows else self._run(self._of(Q(pk__in=[])))

    def _rest(self, keys: Rows, last: float, low: int, high: int) -> Rows:
        """Rows that are not among the keys: those beyond the last, then those that were missed."""
        distance, low = self.search.annotation, max(low, 0)
        rows: Rows = []
        for part in (Q(**{f"{distance}__gte": last}), Q(**{f"{distance}__lt": last})):
            query = self._of(~Q(pk__in=keys) & part)
            query.set_limits(low, high)
            found = flat(self._run(query))
            rows += found
            if low + len(found) >= high:
                break
            ended = bool(found) or not low
            query = self._of(~Q(pk__in=keys) & part)
            length = low + len(found) if ended else query.get_count(self.compiler.using)
            low, high = max(low - length, 0), high - length
        return rows

    def _of(self, condition: Q) -> Any:
        """The query for the rows of a condition, exactly."""
        query = self.query.clone()
        query.clear_limits()
        query.plan = EXACT
        query.add_q(condition)
        return query


def flat(chunks: Iterable[Any]) -> Rows:
    """The rows of all chunks."""
    return [row for chunk in chunks for row in chunk]
