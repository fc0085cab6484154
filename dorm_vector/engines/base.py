"""The contract that an engine keeps, and the parts that every engine shares."""

from __future__ import annotations

import contextlib
import math
import operator
from array import array
from collections.abc import Callable, Iterable
from string import Formatter
from typing import Any, ClassVar, NamedTuple

from django.core.checks import CheckMessage
from django.db import NotSupportedError
from django.db.backends.ddl_references import Statement

from dorm_vector import codecs, values

__all__ = ["SQL", "Engine", "Operand", "fill"]


class SQL(NamedTuple):
    """A piece of SQL and the parameters of its placeholders."""

    sql: str
    params: tuple[Any, ...] = ()


class Operand(NamedTuple):
    """
    One side of a distance: its SQL, its packed value where that is known in Python, and the number
    of dimensions of the distance, where that is known.
    """

    sql: str
    params: tuple[Any, ...] = ()
    packed: bytes | None = None
    dimensions: int | None = None


def fill(template: str, **parts: SQL | Operand) -> SQL:
    """Put ``parts`` into the ``{name}`` places of ``template``, their parameters in that order."""
    sql: list[str] = []
    params: list[Any] = []
    for literal, name, _, _ in Formatter().parse(template):
        sql.append(literal)
        if name:
            sql.append(parts[name].sql)
            params.extend(parts[name].params)
    return SQL("".join(sql), tuple(params))


class Engine:
    """
    What one database can do with vectors.

    A subclass is mostly data: the attributes below. Its methods never look at another engine. The
    base class is the engine of a database that has no vectors: it refuses everything, by name.

    Templates hold ``{a}`` and ``{b}`` for the operands of a distance; see ``distance``.
    """

    name: ClassVar[str] = ""

    #: Column types by field kind, with a place for ``{dimensions}``.
    column_types: ClassVar[dict[str, str]] = {}
    #: CHECK constraints by field kind, with places for ``{column}`` and ``{dimensions}``.
    column_checks: ClassVar[dict[str, str]] = {}
    #: How a vector is written as a parameter.
    placeholder: ClassVar[str] = "%s"
    #: What SELECT reads of a vector, with a place for the column, ``{a}``.
    select_template: ClassVar[str] = "{a}"
    #: SQL by metric.
    distances: ClassVar[dict[str, str]] = {}
    #: The L2 norm of the operand ``{a}``.
    norm_template: ClassVar[str] = ""
    #: Whether a distance must be guarded against NULL operands, because it raises on them.
    guards_null: ClassVar[bool] = False
    #: The condition that ``{distance}`` is a number, for metrics that always are one where no
    #: operand is NULL, and for the cosine distance.
    defined_templates: ClassVar[tuple[str, str]] = ("{distance} IS NOT NULL", "")
    #: The condition that the vector ``{a}`` is neither NULL nor ``{zero}``, for the cosine
    #: ``{distance}`` to a vector that is not zero. Cheaper than computing the distance twice.
    nonzero_template: ClassVar[str] = ""
    #: Sentences on what to use instead of a metric that is missing.
    alternatives: ClassVar[dict[str, str]] = {}
    #: The largest number of dimensions that an approximate index takes, by field kind.
    index_dimensions: ClassVar[dict[str, int]] = {}
    #: The largest number of dimensions that a B-tree takes: ``unique`` and ``db_index``.
    btree_dimensions: ClassVar[int | None] = None
    #: Whether an index serves a plain ORDER BY, without ``nearest()``.
    index_serves_order: ClassVar[bool] = False
    #: The index methods that the engine builds: "hnsw", "ivfflat".
    index_methods: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, connection: Any) -> None:
        self.connection = connection

    @property
    def label(self) -> str:
        """The database's name in sentences for people."""
        return str(self.connection.display_name)

    # Columns and values

    def column_type(self, kind: str, dimensions: int) -> str:
        """The SQL type of a column of ``dimensions`` components."""
        if kind not in self.column_types:
            raise NotSupportedError(
                f"The database {self.connection.alias!r} ({self.label}) has no column type for "
                "vectors that dorm_vector knows; see DORM_VECTOR['ENGINES']."
            )
        return self.column_types[kind].format(dimensions=dimensions)

    def column_check(self, kind: str, column: str, dimensions: int) -> str | None:
        """The CHECK that keeps a column clean where its type does not, or None."""
        template = self.column_checks.get(kind)
        return template and template.format(column=column, dimensions=dimensions)

    def encode(self, packed: bytes) -> Any:
        """A vector (packed little-endian float32) as a parameter for the driver."""
        return packed

    def decode(self, value: Any) -> array[float]:
        """What the driver returned for a vector that is not NULL, as float32."""
        if isinstance(value, bytes):
            return codecs.from_packed(value)
        return values.to_float32(value)

    def select_sql(self, sql: str) -> str:
        """What SELECT reads of the vector ``sql``."""
        return fill(self.select_template, a=SQL(sql)).sql

    # Distances

    def distance(self, metric: str, a: Operand, b: Operand) -> SQL:
        """
        The SQL of a distance.

        ``{a}`` and ``{b}`` are the operands, ``{norm_a}`` and ``{norm_b}`` their L2 norms. NULL
        where an operand is NULL.
        """
        template = self._distance_template(metric)
        guards = [name for name, operand in (("a", a), ("b", b)) if operand.packed is None]
        if self.guards_null and guards:
            condition = " AND ".join(f"{{{name}}} IS NOT NULL" for name in guards)
            template = f"CASE WHEN {condition} THEN {template} END"
        norms = {}
        if "{norm_" in template:
            norms = {"norm_a": self._norm(a), "norm_b": self._norm(b)}
        return fill(template, a=a, b=b, **norms)

    def at_half_precision(self, operand: Operand) -> Operand:
        """An operand rounded to float16, where an index is over such values."""
        return operand

    def without_index(self, distance: SQL) -> SQL:
        """The same distance, written such that no index can serve it."""
        return distance

    def defined(self, metric: str, a: Operand, b: Operand) -> SQL:
        """The condition that a distance is a number: no operand is NULL, nor zero by cosine."""
        distance = self.distance(metric, a, b)
        if b.packed is None:
            return fill(self.defined_templates[metric == "cosine"], distance=distance)
        if metric != "cosine":
            return fill("{a} IS NOT NULL", a=a)
        zero = SQL(self.placeholder, (self.encode(bytes(len(b.packed))),))
        return fill(self.nonzero_template, a=a, distance=distance, zero=zero)

    def _distance_template(self, metric: str) -> str:
        try:
            return self.distances[metric]
        except KeyError:
            instead = self.alternatives.get(metric, "")
            raise NotSupportedError(
                f"{self.label} has no {metric} distance. {instead}".rstrip()
            ) from None

    def _norm(self, operand: Operand) -> SQL:
        if operand.packed is None:
            return fill(self.norm_template, a=operand)
        return SQL("%s", (math.hypot(*codecs.from_packed(operand.packed)),))

    # Indexes

    def create_index(self, index: Any, model: Any, schema_editor: Any, **kwargs: Any) -> Statement:
        """The statement that builds an index."""
        return self._nothing_built(index, model)

    def remove_index(self, index: Any, model: Any, schema_editor: Any, **kwargs: Any) -> Statement:
        """The statement that drops an index."""
        return self._nothing_built(index, model)

    def why_not_built(self, index: Any, model: Any) -> str | None:
        """Why the index is not built here, the first half of a sentence; None where it is."""
        if index.method in self.index_methods:
            return None
        return f"{self.label} has no {index.method} index"

    def _nothing_built(self, index: Any, model: Any) -> Statement:
        # Django runs whatever create_sql() returns, so nothing has to be a statement as well.
        what = f"{self.why_not_built(index, model)}: {index.name} is not built"
        return Statement("SELECT %(what)s", what="'" + what.replace("'", "''") + "'")

    # Searching

    def search_settings(self, params: dict[str, Any]) -> dict[str, Any]:
        """The database's own settings for search parameters; nothing where it has none."""
        return {}

    def plan_search(self, query: Any, nested: bool) -> Any:
        """
        The query that does the work of a ``NearestQuery``: it, or a changed clone.

        ``nested`` queries are executed as a part of another one.
        """
        return query

    def run_search(self, compiler: Any, execute: Callable[[], Any]) -> Any:
        """Run a search that is no part of another query, and return its rows in chunks."""
        return execute()

    def in_order(self, compiler: Any, chunks: Iterable[Any]) -> list[Any]:
        """
        The rows of a search in the order of their distance, without those that are too far away.

        A scan in relaxed order delivers them out of order.
        """
        rows = [row for chunk in chunks for row in chunk]
        column = compiler.annotation_col_map.get("distance")
        if column is None:
            return rows
        reach = math.inf if compiler.query.reach is None else compiler.query.reach
        rows.sort(key=operator.itemgetter(column))
        return [row for row in rows if row[column] <= reach]

    def explain_search(self, queryset: Any) -> tuple[str | None, str]:
        """The vector index that a search goes through, or None, and the database's plan."""
        return None, queryset.explain()

    def why_unused(self, queryset: Any) -> str:
        """Why an index that could serve a search is not used, in one sentence."""
        return f"{self.label} has no vector indexes."

    def local_settings(self, settings: dict[str, Any]) -> contextlib.AbstractContextManager[None]:
        """A block in which ``settings`` hold, and after which those before it hold again."""
        return contextlib.nullcontext()

    # Connections

    def check(self) -> list[CheckMessage]:
        """System check messages on how the engine does its work here. Opens no connection."""
        return []

    def prepare(self) -> None:
        """Make a connection that was just opened fit for vectors. Sends nothing that is logged."""

    def enable(self, schema_editor: Any) -> None:
        """Install vector support in the database, for the VectorExtension operation."""

    def disable(self, schema_editor: Any) -> None:
        """Undo ``enable``."""
