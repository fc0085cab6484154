"""Searching the vec0 tables of sqlite-vec."""

from __future__ import annotations

import copy
import functools
import math
import re
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from django.db.models import Model, QuerySet
from django.db.models.sql import Query

from dorm_vector import codecs
from dorm_vector.engines.base.run import Step
from dorm_vector.engines.base.search import Obstacle, oversample_of, oversampled, tried_oversampling
from dorm_vector.engines.side_tables.search import SideTableSearch
from dorm_vector.engines.sqlite.bytes import (
    QUANTIZE,
    built_element,
    coding_for,
    proves_all_found,
    scaled,
    shift_of,
)
from dorm_vector.engines.sqlite.extremes import ORDINARY
from dorm_vector.engines.sqlite.nearest import CANDIDATES, aggregates
from dorm_vector.engines.sqlite.picking import Sampled, bound, saves
from dorm_vector.parameters import PackedVector, abbreviated
from dorm_vector.sql import SQL, literal

__all__ = ["MAX_K", "QUANTIZED", "SQLiteSearch", "built_precision"]

# The most rows that vec0 finds; source: https://github.com/asg017/sqlite-vec, sqlite-vec.c.
MAX_K = 4096
# How EXPLAIN QUERY PLAN names a side table, or what its chunks are read under.
SCANNED = re.compile(r"SCAN (.+?)(?: VIRTUAL TABLE.*)?$", re.MULTILINE)


def reduction_of(index: Any) -> Any:
    """What a coarse index holds of a vector; None where it is all, as there is no float16 here."""
    return None if index.reduction == "half" else index.reduction


# The greatest number of candidates with which vec0 is faster than reading all rows, whatever their
# number: it looks through a chunk of its rows once for each. Measured at 100,000 rows.
FEW_CANDIDATES, CANDIDATES_PER_DIMENSION, ROWS_PER_CANDIDATE = 300, 0.5, 40
# numpy picks them all at once: what is left is reading a row by its key, seven times as long as
# reading it among all others. Lists of keys are not to take more than a megabyte.
ROWS_PER_PICKED, MOST_PICKED = 16, 65_536
# Of bytes: twice as many as rows are wanted, and some more to compare with.
BYTES_OVERSAMPLE, BYTES_MORE, LEAST_BYTES = 2, 25, 40
# Where these prove too little. numpy reads all rows again, and some hundreds more cost it little.
WIDER, MOST_WIDER = 4, 400
MORE_PICKED, MOST_MORE_PICKED = 700, 1000
# The bearers of the names of an index, and the statement that made its side table.
BUILT = (
    "SELECT count(*), max(CASE WHEN name = ? THEN sql END) FROM sqlite_master "
    "WHERE name IN ({places})"
)

# Where side tables are: a temporary table may have any name, and would be read before them.
MAIN = "main"
# vec0's tables of chunks, by the endings of their names.
ENDINGS = ("chunks", "vector_chunks00")

# EXPLAIN shows the name without its schema.
BY_VEC0 = "SELECT rowid FROM {main}.{index} AS {index} WHERE vector MATCH {searched} AND k = %s"
# A bit for each component, padded with zeros to whole bytes.
QUANTIZED = "vec_quantize_binary(CAST({a} || zeroblob(-length({a}) & 31) AS BLOB))"
# How many rows a side table has room for, whether none of its chunks is lost, and how many it has.
HELD = (
    "SELECT COALESCE(sum(size), 0), count(*) = (SELECT count(*) FROM {vector_chunks00}) "
    "FROM {chunks}"
)
ROWS = "SELECT count(*) FROM {table}"


# Between these lengths sqlite-vec's sums of squares, in float32, neither vanish nor overflow.
SHORTEST, LONGEST = 1e-17, 1e18


@functools.lru_cache(maxsize=16)
def is_ordinary(packed: bytes) -> bool:
    return SHORTEST <= math.hypot(*codecs.from_packed(packed)) <= LONGEST


EXTREME: Obstacle = (
    "The vector searched for is too short or too long for sqlite-vec's float32.",
    lambda query, search: (
        search.indexes[0].metric == "cosine" and not is_ordinary(query.query_vector.value)
    ),
)


def built_precision(index: Any) -> str:
    """What the side table of an index is made of: "bit", "int8" or "full"."""
    if index.precision in ("bit", "int8"):
        return str(index.precision)
    is_default = index.precision is None and not index.prefix
    return "int8" if is_default and index.metric == "cosine" else "full"


class SQLiteSearch(SideTableSearch):
    """The part of the engine that searches."""

    _needed: Callable[[str], tuple[str, ...]]
    storable: ClassVar[dict[str, str]]

    names_candidates = True
    obstacles = (*SideTableSearch.obstacles, EXTREME)
    too_many = "So many rows are found faster by reading all of them than by sqlite-vec's index."
    too_few = too_many  # by the number of rows, which is only known of an index that is there

    def steps(self, query: Any, search: Any, index: Any) -> Sequence[Step]:
        if reduction_of(index):
            default = oversample_of(index.reduction, recall=search.recall)
            most = max(self._most_candidates(query, index), MAX_K)
            return oversampled(query, search.oversample or default, most)
        # The index itself is exact, and one row more shows whether the last ones are equally near.
        wanted = query.high_mark or 0
        needed = wanted + query.left_out
        candidates = needed + 1
        if built_precision(index) == "int8":
            oversample = max(search.oversample or 0, BYTES_OVERSAMPLE)
            candidates = max(oversample * needed + BYTES_MORE, LEAST_BYTES)
        most = self._most_candidates(query, index)
        return [Step(wanted, candidates)] if needed > 0 and candidates <= most else []

    def _most_candidates(self, query: Any, index: Any) -> int:
        aggregate = self._aggregate(index)
        most = MOST_PICKED if aggregate else MAX_K
        rows: int | None = getattr(index, "rows", None)
        if rows is None:  # the database has not been asked
            return most
        vector = query.query_vector
        dimensions = 0 if vector is None else len(vector.value) // 4
        few = FEW_CANDIDATES + int(CANDIDATES_PER_DIMENSION * dimensions)
        return min(max(few, rows // (ROWS_PER_PICKED if aggregate else ROWS_PER_CANDIDATE)), most)

    def tunable(self, index: Any) -> list[dict[str, Any]]:
        if not reduction_of(index):  # which compares all of a vector, and of all rows
            return [{}]
        return tried_oversampling(index.reduction)

    def widen(self, plan: Any, index: Any, step: Step) -> int:
        if plan.plan.coarse is not None:
            low = int(plan.low_mark)
            plan.clear_limits()
            plan.set_limits(0, step.candidates)
            return low
        if not reduction_of(index):
            plan.high_mark += 1
        return 0

    def indexed(self, query: Any, search: Any, index: Any, step: Step) -> Any:
        plan = super().indexed(query, search, index, step)
        if hasattr(index, "coding") and query.query_vector is not None:
            plan.plan = plan.plan._replace(coarse=self._distance_of_bytes(index, plan))
        return plan

    def _distance_of_bytes(self, index: Any, query: Any) -> SQL:
        """The distance by which a side table of bytes orders."""
        column, vector = query.annotations[query.search.annotation].get_source_expressions()
        quote = self.connection.ops.quote_name
        stored = f"{quote(column.alias)}.{quote(column.target.column)}".replace("%", "%%")
        made = index.coding.quantized(stored, "%s")
        shift = [PackedVector(shift_of(index.size))] if index.coding.is_shifted else []
        sql = f"vec_distance_l2({made}, {QUANTIZE.format('%s')})"
        # NULL for extreme vectors: nothing is proven by what the side table has of them.
        sql = f"CASE WHEN {ORDINARY.replace('{a}', stored)} THEN {sql} END"
        return SQL(sql, (*shift, PackedVector(scaled(vector.value, index.coding))))

    def is_proven(self, index: Any, measured: Sequence[tuple[float, float]], last: float) -> bool:
        if any(coarse is None for _, coarse in measured):
            return False
        return proves_all_found(measured, last, index.coding.scale, index.size)

    def wider(self, index: Any, step: Step, read: int) -> Step | None:
        if self._aggregate(index):
            candidates, most = step.candidates + MORE_PICKED, MOST_MORE_PICKED
        else:
            candidates, most = WIDER * step.candidates, MOST_WIDER
        # With fewer rows than candidates there are no others.
        if read < step.candidates or candidates > most:
            return None
        return step._replace(candidates=candidates)

    def as_built(self, index: Any) -> Any:
        """
        The index with the precision of its side table, which older versions built otherwise.

        It says for how many ``rows`` there is room, and of what ``size`` and ``coding`` bytes are.
        """
        names = self._needed(index.name)
        sql = BUILT.format(places=", ".join("?" * len(names)))
        row = self.connection.connection.execute(sql, (index.name, *names)).fetchone()
        if row[0] != len(names):
            return None
        element, size, coding = built_element(row[1] or "")
        built = copy.copy(index)
        if element == "int8":
            built.precision, built.size, built.coding = "int8", size, coding
        elif built_precision(index) == "int8":
            built.precision = "full"
        sql = HELD.format(**{end: self._of(index, end) for end in ENDINGS})
        built.rows, is_whole = self.connection.connection.execute(sql).fetchone()
        return built if is_whole else None

    def is_undecided(self, distances: Sequence[Any], wanted: int) -> bool:
        return len(distances) > wanted > 0 and distances[wanted] == distances[wanted - 1]

    def can_run_at_once(self, query: Query, search: Any, index: Any) -> bool:
        # Of rows that are equally near vec0 chooses any.
        seen = reduction_of(index) or search.annotation in query.annotation_select
        return bool(seen) and super().can_run_at_once(query, search, index)

    def candidate_condition(self, index: Any, query: Query, vector: Any, count: int) -> SQL:
        def quote(name: Any) -> str:
            # What is compiled is formatted with %, once.
            return str(self.connection.ops.quote_name(name)).replace("%", "%%")

        key = f"{quote(query.get_initial_alias())}.{quote(query.get_meta().pk.column)}"
        place, packed = self._searched_for(index, vector.value)
        params = [abbreviated(packed, vector.value), count]
        name = quote(index.name)
        if aggregate := self._aggregate(index):
            tables = {end: self._of(index, end).replace("%", "%%") for end in ENDINGS}
            nearest = CANDIDATES.format(aggregate=aggregate, index=name, searched=place, **tables)
        else:
            nearest = BY_VEC0.format(main=MAIN, index=name, searched=place)
            if (farthest := self._farthest(index, query, count)) is not None:
                nearest += " AND distance <= %s"
                params.append(farthest)
        return SQL(f"{key} IN ({nearest})", tuple(params))

    def _of(self, index: Any, ending: str) -> str:
        """One of vec0's tables of an index, quoted."""
        return f"{MAIN}.{self.connection.ops.quote_name(f'{index.name}_{ending}')}"

    def _aggregate(self, index: Any) -> str | None:
        """The aggregate that finds candidates, or None where vec0 does."""
        element = built_precision(index)
        if element == "full":
            element = index.metric if index.prefix else ""
        name = f"dorm_nearest_{element}"
        return name if name in aggregates() else None

    def _searched_for(self, index: Any, packed: bytes) -> tuple[str, bytes]:
        """What an index is asked for: its SQL, and the parameter."""
        if built_precision(index) == "int8":
            coding = getattr(index, "coding", None) or coding_for(len(packed) // 4)
            return QUANTIZE.format("%s"), PackedVector(scaled(packed, coding))
        if index.precision == "bit":
            signs = "".join("1" if number > 0 else "0" for number in codecs.from_packed(packed))
            return "vec_bit(%s)", codecs.bits_to_reversed_bytes(signs)
        return "%s", packed[: 4 * index.prefix] if index.prefix else packed

    def _farthest(self, index: Any, query: Any, count: int) -> float | None:
        """A distance that the rows to be found are within, where knowing one is worth its while."""
        room = getattr(index, "rows", 0)  # nothing is sent before the database was asked
        if not (room and saves(count, room)):
            return None
        raw, quote = self.connection.connection, self.connection.ops.quote_name
        meta = query.get_meta()
        table = quote(meta.db_table)
        key, distance = f"{table}.{quote(meta.pk.column)}", self._sampled_distance(index, query)
        with self.connection.wrap_database_errors:
            (rows,) = raw.execute(ROWS.format(table=self._of(index, "rowids"))).fetchone()
            return bound(raw, Sampled(table, key, distance), count, rows)

    def _sampled_distance(self, index: Any, query: Any) -> SQL:
        """The distance by which an index orders, of a row of the model's table."""
        column, vector = query.annotations[query.search.annotation].get_source_expressions()
        quote = self.connection.ops.quote_name
        stored = f"{quote(query.get_meta().db_table)}.{quote(column.target.column)}"
        place, packed = self._searched_for(index, vector.value)
        element, function, shift = stored, f"vec_distance_{index.metric}", list[bytes]()
        if built_precision(index) == "int8":
            element, function = index.coding.quantized(stored, "?"), "vec_distance_l2"
            shift = [shift_of(index.size)] if index.coding.is_shifted else []
        elif index.precision == "bit":
            element, function = QUANTIZED.replace("{a}", stored), "vec_distance_hamming"
        elif index.prefix:
            element = f"substr({stored}, 1, {literal(4 * index.prefix)})"
        distance = f"{function}({element}, {place.replace('%s', '?')})"
        is_compared = self.storable[index.metric].format(row="").replace("%(column)s", stored)
        if index.metric == "cosine":
            is_compared = f"{stored} IS NOT NULL AND {ORDINARY.replace('{a}', stored)}"
        return SQL(f"CASE WHEN {is_compared} THEN {distance} END", (*shift, packed))

    def explain_search(self, queryset: QuerySet[Model]) -> tuple[str | None, str]:
        plan = queryset.explain()
        search = getattr(queryset.query, "search_in_force", None)
        names = {index.name for index in search.indexes} if search else set()
        return next((name for name in SCANNED.findall(plan) if name in names), None), plan
