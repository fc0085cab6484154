"""
How a search runs.

Exact unless proven: an index may serve a search at top level where none of the ``OBSTACLES`` of
the engine applies, and then still has to deliver as many rows as were asked for; if it does not,
the table is read. A search inside another query is always exact, since nobody could see that it
came back short.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Hashable, Sequence
from typing import Any, ClassVar

from django.db.models import Model, OneToOneRel, QuerySet
from django.db.models.fields.related import ForeignObject
from django.db.models.sql import Query
from django.db.models.sql.compiler import SQLCompiler

from dorm_vector.engines.base.run import Run
from dorm_vector.engines.base.sequence import Step
from dorm_vector.engines.base.statements import Statements
from dorm_vector.sql import SQL, Plan

__all__ = [
    "OBSTACLES",
    "EngineSearch",
    "Obstacle",
    "joins_many",
    "least_components",
    "oversample_of",
    "oversampled",
    "tried",
    "tried_oversampling",
]

Obstacle = tuple[str, Callable[[Any, Any], bool]]

# Up to which row the blocks go if candidates are re-ranked.
ROWS = (10, 25, 50, 100, 250, 1000)


# How many times as many candidates as rows find nineteen of twenty of the nearest, of real text at
# 256 dimensions, by what a coarse index holds: float16 keeps eleven bits, signs one. The second
# number is that of recall="high".
OVERSAMPLE = {"half": (2, 4), "bit": (40, 100)}
OVERSAMPLE_OF_PREFIX, OVERSAMPLE_OF_SHORT_PREFIX = (20, 40), (40, 100)
# The first components of a prefix that is not short.
LONG_PREFIX = 96
TRIED = (1, 2, 4, 10, 20, 40, 100)

# The fewest components that find as many by these: of signs; and of a prefix, by the dimensions of
# the vectors from which on it holds. Measured for vectors of 32 to 256 dimensions.
LEAST_SIGNS = 192
LEAST_OF_PREFIX = ((256, 64), (128, 48), (64, 40), (32, 24))


def oversample_of(reduction: str | int, *, recall: str | None = None) -> int:
    """How many times as many candidates as rows an index of a reduction has by default."""
    is_short = isinstance(reduction, int) and reduction < LONG_PREFIX
    prefix = OVERSAMPLE_OF_SHORT_PREFIX if is_short else OVERSAMPLE_OF_PREFIX
    return OVERSAMPLE.get(str(reduction), prefix)[bool(recall)]


def least_components(reduction: str | int | None, dimensions: int) -> int:
    """
    The fewest components with which an index of a reduction finds 95 % of the nearest by default.

    Of vectors of so many ``dimensions``; 0 if any number does, or none was measured.
    """
    if reduction == "bit":
        return LEAST_SIGNS
    if not isinstance(reduction, int):
        return 0
    return next((least for longer, least in LEAST_OF_PREFIX if dimensions >= longer), 0)


def tried_oversampling(reduction: str | int) -> list[dict[str, Any]]:
    """The settings of ``oversample`` to try with an index of a reduction."""
    return tried("oversample", TRIED, oversample_of(reduction))


def oversampled(query: Any, oversample: int, most: int, least: int = 0) -> list[Step]:
    """The steps with ``oversample`` times as many candidates as rows, up to ``most`` of them."""
    ladder = [(rows, max((rows + query.left_out) * oversample, least)) for rows in ROWS]
    return [Step(rows, number) for rows, number in ladder if number <= most]


def tried(name: str, values: Sequence[int], default: int) -> list[dict[str, Any]]:
    """Settings to try: each value of a keyword, and nothing for its default."""
    return [{} if value == default else {name: value} for value in values]


def joins_many(query: Any) -> bool:
    """Whether a join may repeat a row of the model."""
    joins = (query.alias_map[alias] for alias, used in query.alias_refcount.items() if used)
    fields = [join.join_field for join in joins if getattr(join, "join_field", None)]
    return not all(isinstance(field, ForeignObject | OneToOneRel) for field in fields)


def other_in_each_row(query: Query, search: Any) -> bool:
    """Whether the distance is to a different vector in each row."""
    distance = query.annotations[search.annotation]
    operands = distance.get_source_expressions()
    if search.members is not None or len(operands) < 2:
        return True
    return any(hasattr(part, "target") for part in operands[1].flatten())


#: What keeps every index from serving a search: a sentence, and its test.
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
    #: Those that a connection has written for searches.
    search_statements: Statements

    #: Whether the index may find other rows each time. Searches past its last step are then exact
    #: from the first row on.
    finds_at_random: ClassVar[bool] = False
    #: Whether an index of signs or of a prefix holds no more than these, and names candidates.
    names_candidates: ClassVar[bool] = False
    #: Whether all rows of a block are read, whichever slice of it is asked for.
    reads_blocks: ClassVar[bool] = False
    #: Whether ORDER BY in a subquery may refer to the query around it.
    sorts_by_outer_columns: ClassVar[bool] = True
    #: How many rows a block may lack and still count as complete.
    slack: ClassVar[int] = 0
    #: What keeps the engine's indexes from serving a search.
    obstacles: ClassVar[tuple[Obstacle, ...]] = OBSTACLES

    def run_search(self, query_compiler: Any, search: Any, execute: Callable[[], Any]) -> Any:
        """
        Run a search at top level, and return its rows in chunks.

        ``execute`` runs the query that ``query_compiler`` holds at the time.
        """
        return Run(self, query_compiler, search, execute).rows()

    def obstacle(self, query: Query, search: Any) -> str | None:
        """Why no index serves a search, in one sentence, or None. Sends no SQL."""
        return next((said for said, is_there in self.obstacles if is_there(query, search)), None)

    def form(self, query_compiler: Any, search: Any) -> Hashable | None:
        """What searches have in common that one statement serves, or None; see ``statements``."""
        return None

    def needs_settings(self, search: Any, index: Any, step: Step) -> bool:
        """Whether the search of a step takes settings of its own."""
        return True

    def declared_index(self, query: Query, search: Any) -> Any:
        """The index that a search without obstacles goes through, or None. Sends no SQL."""
        return None

    def serving_index(self, query: Query, search: Any) -> Any:
        """``declared_index``, if the database has it too."""
        return self.declared_index(query, search)

    def steps(self, query: Query, search: Any, index: Any) -> Sequence[Step]:
        """The blocks of the sequence, the first one first."""
        return ()

    def tunable(self, index: Any) -> list[dict[str, Any]]:
        """
        Keywords of ``nearest()`` to try searches of an index with, the fastest first; empty ones
        for its defaults.
        """
        return [{}]

    def step_of(self, query: Any, steps: Sequence[Step]) -> Step:
        """The step that the last row of a query is in, or the last step."""
        return next((step for step in steps if step.rows >= query.high_mark), steps[-1])

    def written(self, query: Query, search: Any) -> Any:
        """A query as it is written if an index serves its search. Sends no SQL."""
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
        """A block with the settings that a step needs."""
        return contextlib.nullcontext()

    def is_cut_short(self, plan_compiler: SQLCompiler) -> bool:
        """Whether a search that found too few rows may have missed others."""
        return True

    def may_sort_all(self, query: Any, index: Any) -> bool:
        """
        Whether to ask for the database's plan before a search that takes several blocks.

        Where it sorts all rows of a filter each block would do it again.
        """
        return False

    def can_run_at_once(self, query: Query, search: Any, index: Any) -> bool:
        """Whether one statement gives the rows of the first block, and shows what they lack."""
        return not query.select_for_update and (
            search.max_distance is None or search.annotation in query.annotation_select
        )

    def widen(self, plan: Any, index: Any, step: Step) -> int:
        """
        Have a plan read more rows than are asked for, if the last of these may be undecided.

        Return how many it reads before them.
        """
        if not self.reads_blocks:
            return 0
        # The same limit for all slices of a block: a planner chooses by it.
        low, high = int(plan.low_mark), int(plan.high_mark)
        read = max(high, self.rows_read(plan.plan.search, index, step))
        plan.clear_limits()
        plan.set_limits(0, read)
        if (low, high) == (0, read) or not self._is_counted(plan):
            return low
        plan.plan = plan.plan._replace(sent=(low, high))
        return 0

    def reads_first_rows(self, query: Any, search: Any, index: Any) -> bool:
        """
        Whether the first rows of the first block can be read alone.

        Then a block that is short is kept as far as it is known to be there; see ``STRIDE``.
        """
        return False

    def read_first(self, plan: Any, index: Any, step: Step) -> int:
        """
        Have a plan read no more of the first block than the rows that are asked for.

        Return up to which row the block must go, or 0 where all of it has to be read.
        """
        return 0

    def rows_read(self, search: Any, index: Any, step: Step) -> int:
        """At least how many rows of a block are read; ``slack`` may be missing at its end."""
        return step.rows - self.slack

    def _is_counted(self, plan: Any) -> bool:
        """
        Whether the database counts the rows of a block, and sends only those that are wanted.

        Counting takes longer than sending forty keys and distances.
        """
        annotation = plan.plan.search.annotation
        if annotation not in plan.annotation_select:
            return False
        others = plan.annotation_select.keys() - {annotation}
        keys = set(plan.get_meta().pk_fields)
        columns = {getattr(column, "target", None) for column in plan.select}
        return bool(plan.default_cols or others or not columns <= keys)

    def needs_other_settings(self, search: Any, index: Any) -> bool:
        """Whether to run a search that came back short again, with other settings."""
        return False

    def is_proven(self, index: Any, measured: Sequence[tuple[float, float]], last: float) -> bool:
        """
        Whether no row is missed that is as near as ``last``.

        ``measured`` has the distance of each row that was read, and that by which it was chosen.
        """
        return True

    def wider(self, index: Any, step: Step, read: int) -> Step | None:
        """A step of more candidates for a search that has ``read`` rows, which prove nothing."""
        return None

    def is_undecided(self, distances: Sequence[Any], wanted: int) -> bool:
        """Whether the index may have picked the last rows among equally near ones."""
        return False

    def explain_search(self, queryset: QuerySet[Model]) -> tuple[str | None, str]:
        """The vector index that a search uses, or None, and the database's plan."""
        return None, queryset.explain()

    def why_unused(self, queryset: QuerySet[Model]) -> str:
        """Why an index that could serve a search is not used, in one sentence."""
        query = queryset.query
        search = getattr(query, "search_in_force", None)
        return (search and self.obstacle(query, search)) or f"{self.label} has no vector indexes."

    def search_settings(self, params: dict[str, Any]) -> dict[str, Any]:
        """The database's own settings for search parameters; nothing where it has none."""
        return {}

    def local_settings(self, settings: dict[str, Any]) -> contextlib.AbstractContextManager[None]:
        """A block in which ``settings`` hold; afterwards those before it hold again."""
        return contextlib.nullcontext()

    def without_index(self, distance: SQL) -> SQL:
        """The same distance, written such that no index can serve it."""
        return distance
