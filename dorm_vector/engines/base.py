"""The contract that an engine keeps, and the parts that every engine shares."""

from __future__ import annotations

import contextlib
import math
from array import array
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
    """One side of a distance: its SQL, and its packed value where that is known in Python."""

    sql: str
    params: tuple[Any, ...] = ()
    packed: bytes | None = None


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
    #: Sentences on what to use instead of a metric that is missing.
    alternatives: ClassVar[dict[str, str]] = {}
    #: The largest number of dimensions that an approximate index takes, by field kind.
    index_dimensions: ClassVar[dict[str, int]] = {}
    #: The largest number of dimensions that a B-tree takes: ``unique`` and ``db_index``.
    btree_dimensions: ClassVar[int | None] = None
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
        return fill(template, a=a, b=b, norm_a=self._norm(a), norm_b=self._norm(b))

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
        return self._nothing_built(index)

    def remove_index(self, index: Any, model: Any, schema_editor: Any, **kwargs: Any) -> Statement:
        """The statement that drops an index."""
        return self._nothing_built(index)

    def _nothing_built(self, index: Any) -> Statement:
        # Django runs whatever create_sql() returns, so nothing has to be a statement as well.
        what = f"{self.label} has no {index.method} index: {index.name} is not built"
        return Statement("SELECT %(what)s", what="'" + what.replace("'", "''") + "'")

    # Searching

    def search_settings(self, params: dict[str, Any]) -> dict[str, Any]:
        """The database's own settings for search parameters; nothing where it has none."""
        return {}

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
