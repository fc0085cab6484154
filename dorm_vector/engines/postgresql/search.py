"""Searching with pgvector's indexes."""

from __future__ import annotations

import contextlib
import functools
import json
import math
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any

from django.conf import settings
from django.core.exceptions import EmptyResultSet
from django.db.models import Model, Q, QuerySet
from django.db.models.sql import Query
from django.db.models.sql.compiler import SQLCompiler

from dorm_vector import conf
from dorm_vector.engines.base import statements
from dorm_vector.engines.base.inspection import IndexState
from dorm_vector.engines.base.search import (
    EngineSearch,
    oversample_of,
    oversampled,
    tried,
    tried_oversampling,
)
from dorm_vector.engines.base.sequence import EXACT, STRIDE, Step
from dorm_vector.engines.postgresql.plans import REMOTE, nodes, searched_indexes
from dorm_vector.engines.postgresql.session import backend_pid
from dorm_vector.engines.postgresql.settings import PostgreSQLSettings
from dorm_vector.options import Option
from dorm_vector.registry import METHODS
from dorm_vector.sql import SQL, Operand, fill, literal, word

__all__ = ["PostgreSQLSearch"]

# The mode of a session, the session, and whether pgvector, where it is loaded, knows of modes.
SESSION = """
SELECT current_setting('hnsw.iterative_scan', true), pg_backend_pid(), (
    SELECT bool_or(name = 'hnsw.iterative_scan') FROM pg_catalog.pg_settings
    WHERE name IN ('hnsw.iterative_scan', 'hnsw.ef_search')
)
"""

DEFAULT_EF_SEARCH = 40
# How many candidates a scan keeps, by the search option that says so: what the extensions' own
# default is, and the most.
DEFAULT_CANDIDATES = {"ef_search": DEFAULT_EF_SEARCH, "query_rescore": 50}
MAX_KEPT = 1000

# How many rows the blocks of the sequence reach, and with how many candidates. The first one is
# what an index finds with its defaults. Later ones are large enough not to miss much, and more of
# their candidates are read: those that an earlier one has, or has missed, are none of theirs.
LADDER = ((40, 40), (125, 200), (250, 400), (500, 800), (1000, 1000))
MORE_READ = 1.2
# The same for recall="high", and how many times as many rows as a block has are read of the index
# then, in relaxed order: docs/performance.rst has the curve.
HIGH_LADDER = ((10, 400), (40, 400), (100, 800), (250, 1000), (1000, 1000))
HIGH_READ = 4
# The share of the lists of IVFFlat that is looked at for it.
HIGH_PROBES = 0.2
# What an index search costs for each tuple that it visits, in the planner's units, of which one is
# a page that is read in a row; and all rows of a filter for each component of their vectors.
VISIT_COST, COMPONENT_COST = 15.0, 0.002
# What searches are tried with; see ``tunable``.
TRIED = {
    "ef_search": (40, 60, 100, 200, 400, 600, 1000),
    "probes": (1, 2, 4, 8, 16, 32, 64, 128, 256),
    "query_rescore": (50, 100, 200, 400, 1000),
}
# The most candidates that are ordered by their true distance; past them the table is read.
MAX_CANDIDATES = 4000

# The rows of a table, as the planner knows them.
ROWS = "SELECT reltuples FROM pg_catalog.pg_class WHERE oid = to_regclass(%s)"

HALF = "{}::halfvec({})"

# The types of keys that Python sorts as the database does, which takes the database longer.
SORTED_AS_IN_PYTHON = frozenset({"smallint", "integer", "bigint", "uuid"})

# The planner takes so many rows more, not sorted by key, to cost as much as a block that is.
UNSORTED = 4


def reduced_sql(reduction: str | int, sql: str, kind: str, dimensions: int | None) -> str:
    """What a coarse index is over: a vector as float16, its signs, or its first components."""
    if reduction == "half":
        return HALF.format(sql, dimensions)
    if reduction == "bit":
        return f"binary_quantize({sql})::bit({dimensions})"
    count = literal(reduction)
    return f"subvector({sql}, 1, {count})::{word(kind)}({count})"


@functools.lru_cache(maxsize=256)
def ladder(least: int, left_out: int, is_filtered: bool) -> tuple[Step, ...]:
    """The steps of an index whose first block has ``least`` candidates."""
    # With a filter the index has to go further for each row.
    first = [Step(10, least)] if is_filtered else []
    later = [Step(*step) for step in LADDER if step[0] > least]
    return (*first, Step(least - left_out, least), *later)


class PostgreSQLSearch(PostgreSQLSettings, EngineSearch):
    """The part of the engine that searches."""

    methods: dict[str, str]
    access_method: Callable[[Any], str]
    index_states: Callable[[Any], list[IndexState]]
    names_candidates = True
    # Whether a block came back short must not depend on the slice: what follows would not fit.
    reads_blocks = True
    # To sort equal distances by key takes one row more, and with it another round of candidates.
    slack = 1
    #: Whether sessions turned out not to have the settings that a new connection is given.
    lacks_settings = False

    @functools.cached_property
    def iterative_scan(self) -> str | None:
        """The mode that a new connection is given; engines are made anew where settings change."""
        mode: str | None = conf.get("ITERATIVE_SCAN")
        return mode

    def search_settings(self, params: dict[str, Any]) -> dict[str, Any]:
        return {
            f"{prefix}.{name}": value
            for prefix, options in self._search_options()
            for name, value in params.items()
            if name in options and options[name].takes(value)
        }

    def _search_options(self) -> Iterator[tuple[str, Mapping[str, Option]]]:
        """The options of searches by access method, which is what names of settings begin with."""
        for name, method in METHODS.items():
            yield self.methods.get(name, name), method.search_options

    def reduced(
        self, reduction: str | int, metric: str, a: Operand, b: Operand
    ) -> tuple[str, Operand, Operand]:
        # Without its dimensions the cast would not be the one of the index.
        a, b = (
            operand._replace(
                sql=reduced_sql(reduction, operand.sql, operand.kind, operand.dimensions)
            )
            for operand in (a, b)
        )
        return ("hamming" if reduction == "bit" else metric), a, b

    def without_index(self, distance: SQL) -> SQL:
        return fill("({distance} + 0.0)", distance=distance)

    # Planning

    def declared_index(self, query: Query, search: Any) -> Any:
        """One over all of a vector, if there is one; which one it is, the planner decides."""
        return next((index for index in search.indexes if not index.reduction), search.indexes[0])

    def serving_index(self, query: Any, search: Any) -> Any:
        if search.recall and query.is_filtered and self._is_exact_cheaper(query):
            return None
        return super().serving_index(query, search)

    def _is_exact_cheaper(self, query: Any) -> bool:
        """
        Whether to read all rows that pass a filter takes less time than to find some by an index.

        An index has to visit the more rows the fewer of them pass. The planner does not count all
        that costs. For the same block whichever rows of it are wanted, so that pages fit together.
        """
        rows, candidates = HIGH_LADDER[1]
        exact = query.clone()
        exact.plan = EXACT
        exact.explain_info, exact.select_for_update = None, False
        exact.clear_limits()
        exact.set_limits(0, rows)
        plan = list(nodes(self._plan(exact.get_compiler(self.connection.alias))))
        table = self.connection.ops.quote_name(query.get_meta().concrete_model._meta.db_table)
        with self.connection.cursor() as cursor:
            cursor.execute(ROWS, [table])
            (there,) = cursor.fetchone() or (0,)
        if not plan or there <= 0:  # nothing can match, or nothing is known
            return False
        passing = max(1, *(node["Plan Rows"] for node in plan))
        visited = max(candidates, HIGH_READ * rows * there / passing)
        distance = query.annotations[query.search_in_force.annotation]
        dimensions = distance.get_source_expressions()[0].output_field.dimensions
        reading = plan[0]["Total Cost"] + COMPONENT_COST * dimensions * passing
        return bool(reading <= VISIT_COST * visited)

    def steps(self, query: Any, search: Any, index: Any) -> Sequence[Step]:
        given = search.params.get("ef_search", 0)
        least = max(DEFAULT_EF_SEARCH, given)
        if index.reduction:
            default = oversample_of(index.reduction, recall=search.recall)
            oversample = search.oversample or default
            return oversampled(query, oversample, MAX_CANDIDATES, given)
        if search.recall:
            return [Step(rows, max(candidates, given)) for rows, candidates in HIGH_LADDER]
        return ladder(least, query.left_out, bool(query.is_filtered))

    def tunable(self, index: Any) -> list[dict[str, Any]]:
        if index.reduction:
            return tried_oversampling(index.reduction)
        name = index.candidates_option
        if name in TRIED:
            return tried(name, TRIED[name], DEFAULT_CANDIDATES[name])
        if self.access_method(index) != "ivfflat":
            return [{}]
        lists = index.parameters("storage").get("lists", 1)
        return tried("probes", [number for number in TRIED["probes"] if number <= lists], 1)

    def indexed(self, query: Any, search: Any, index: Any, step: Step) -> Any:
        plan = super().indexed(query, search, index, step)
        if not index.reduction:
            return plan
        inner = plan.clone()
        inner.explain_info, inner.select_for_update, inner.select_related = None, False, False
        coarse = inner.annotations[search.annotation].reduced(index.reduction)
        inner.add_annotation(coarse, "_coarse", select=False)
        inner.clear_ordering(force=True)
        inner.add_ordering("_coarse")
        inner.set_values(["pk"])
        inner.clear_limits()
        inner.set_limits(0, step.candidates)
        limits = plan.low_mark, plan.high_mark
        plan.clear_limits()
        plan.add_q(Q(pk__in=inner))
        plan.set_limits(*limits)
        return plan

    def reads_first_rows(self, query: Any, search: Any, index: Any) -> bool:
        vector = query.query_vector
        # Bits have few distances, so that many rows are equally near.
        if vector is None or vector.kind == "bit" or len(query.get_meta().pk_fields) > 1:
            return False
        if query.is_filtered or search.recall or index.reduction:
            return False
        by_key = [type(part).__name__ for part in query.order_by] == ["Order", "Key"]
        return by_key and not self._may_be_unsorted(search, index)

    def read_first(self, plan: Any, index: Any, step: Step) -> int:
        low, high = int(plan.low_mark), int(plan.high_mark)
        least = -(-high // STRIDE) * STRIDE
        search = plan.plan.search
        if least > step.rows - STRIDE or not self.reads_first_rows(plan, search, index):
            return 0
        # The planner has to choose as it does for the whole block, whichever slice is wanted.
        plan.clear_limits()
        plan.set_limits(0, step.rows + UNSORTED)
        plan.order_by = plan.order_by[:1]
        is_plain = plan.get_meta().pk.db_type(self.connection) in SORTED_AS_IN_PYTHON
        plan.plan = plan.plan._replace(first=(low, least + 1), by_key=low > 0 or not is_plain)
        return least

    def rows_read(self, search: Any, index: Any, step: Step) -> int:
        if index.reduction:
            return super().rows_read(search, index, step)
        if search.recall:
            return HIGH_READ * step.rows - self.slack
        return max(step.rows, min(step.candidates, int(MORE_READ * step.rows))) - self.slack

    def can_run_at_once(self, query: Any, search: Any, index: Any) -> bool:
        if not super().can_run_at_once(query, search, index):
            return False
        return search.annotation in query.annotation_select or not self._may_be_unsorted(
            search, index
        )

    def _may_be_unsorted(self, search: Any, index: Any) -> bool:
        """Whether a scan may deliver the rows in another order than that of their distances."""
        mode = self._given(search, index).get("iterative_scan", self.iterative_scan)
        # None leaves it to the database, which may have either.
        return not index.is_ordered or mode in (None, "relaxed_order")

    # Running

    def form(self, query_compiler: Any, search: Any) -> Hashable | None:
        # Under DEBUG each distance that is written may be advised on.
        if settings.DEBUG or self.lacks_settings:
            return None
        return statements.form(query_compiler, query_compiler.query, search)

    def needs_settings(self, search: Any, index: Any, step: Step) -> bool:
        return bool(self.lacks_settings or search.params or step.candidates > DEFAULT_EF_SEARCH)

    def settings_for(
        self, search: Any, index: Any, step: Step
    ) -> contextlib.AbstractContextManager[None]:
        params = self._given(search, index)
        if index.candidates_option is not None:
            wanted = step.candidates
            if index.candidates_option not in params:
                wanted = max(wanted, step.rows * index.candidates_per_row)
            if wanted > DEFAULT_EF_SEARCH:
                self._raise_candidates(params, wanted, index)
        if self.lacks_settings and self.iterative_scan:
            params.setdefault("iterative_scan", self.iterative_scan)
        return self.local_settings(self.search_settings(params))

    def _given(self, search: Any, index: Any) -> dict[str, Any]:
        """The parameters that the caller gave, and those that ``recall`` stands for."""
        if not search.recall or index.reduction:
            return dict(search.params)
        # In strict order an iterative scan drops what it finds too late; the rows are sorted here.
        meant: dict[str, Any] = {"iterative_scan": "relaxed_order"}
        if lists := index.parameters("storage").get("lists"):
            meant["probes"] = math.ceil(HIGH_PROBES * lists)
        known = {name: meant[name] for name in meant if name in index.search_options}
        return {**known, **search.params}

    def _raise_candidates(self, params: dict[str, Any], count: int, index: Any) -> None:
        """A scan keeps ``ef_search`` candidates, or the like, at a time; more rows want more."""
        option = index.candidates_option
        name = f"{self.access_method(index)}.{option}"
        given = params.get(option) or self._current_settings([name])[name]
        current = int(given or DEFAULT_CANDIDATES.get(option, DEFAULT_EF_SEARCH))
        if count > current:
            params[option] = min(count, MAX_KEPT)

    def needs_other_settings(self, search: Any, index: Any) -> bool:
        """
        Whether the session has not got the settings that a new connection is given.

        A pool between here and the server gives each transaction another session, some of which
        may have got them.
        """
        given = "iterative_scan" in self._given(search, index)
        if self.lacks_settings or given or self.iterative_scan in (None, "off"):
            return False
        with self.connection.cursor() as cursor:
            cursor.execute(SESSION)
            mode, session, is_known = cursor.fetchone()
        if is_known is False:  # pgvector before 0.8, or YugabyteDB's: setting it is an error
            return False
        pooled = session != backend_pid(self.connection.connection)
        # What a new session of Citus's coordinator is given does not reach its workers.
        self.lacks_settings = pooled or self.has_citus or mode in (None, "", "off")
        return self.lacks_settings

    def may_sort_all(self, query: Any, index: Any) -> bool:
        return bool(query.is_filtered) and not index.reduction

    def is_cut_short(self, plan_compiler: SQLCompiler) -> bool:
        """
        Whether an index was searched, here or on another server.

        An iterative scan gives up at ``hnsw.max_scan_tuples``, and IVFFlat looks at a few lists
        only: too few rows are either all that match, or all that the index came across.
        """
        plan = self._plan(plan_compiler)
        remote = any(node["Node Type"] in REMOTE for node in nodes(plan))
        return remote or any(searched_indexes(plan))

    def _plan(self, plan_compiler: SQLCompiler) -> Any:
        try:
            sql, params = plan_compiler.as_sql()
        except EmptyResultSet:
            return []
        with self.connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN (FORMAT JSON) {sql}", params)
            (plan,) = cursor.fetchone()
        return json.loads(plan) if isinstance(plan, str) else plan

    def explain_search(self, queryset: QuerySet[Model]) -> tuple[str | None, str]:
        plan = json.loads(queryset.explain(format="json"))
        return next(searched_indexes(plan), None), queryset.explain()

    def why_unused(self, queryset: QuerySet[Model]) -> str:
        query = queryset.query
        search = getattr(query, "search_in_force", None)
        if search is not None and (sentence := self.obstacle(query, search)):
            return sentence
        if search is not None and self.serving_index(query, search) is None:
            return (
                "With recall='high' all rows that pass the filter are read: an index would have to "
                "look at too many others."
            )
        plan = json.loads(queryset.explain(format="json"))
        for node in nodes(plan):
            if place := REMOTE.get(node["Node Type"]):
                return (
                    f"The rows come from a {place}: whether an index serves them only its server "
                    "can say."
                )
        with self.local_settings({"enable_seqscan": "off", "enable_sort": "off"}):
            index, _ = self.explain_search(queryset)
        if index is None:
            for state in self.index_states(queryset.model):
                if state.state in ("invalid", "building"):
                    return state.advice
            return "The planner cannot use an index; has it been migrated?"
        return (
            f"The planner finds another plan cheaper than a search of {index}: the table is small, "
            "or few rows pass the filter."
        )
