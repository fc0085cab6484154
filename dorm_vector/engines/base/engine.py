"""The contract that an engine keeps, and the parts that every engine shares."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from django.core.checks import CheckMessage
from django.db import NotSupportedError
from django.db.backends.ddl_references import Statement
from django.db.models import BinaryField

from dorm_vector import codecs, values
from dorm_vector.engines.base.loaders import Inserts, Loader
from dorm_vector.engines.base.search import EngineSearch
from dorm_vector.kinds import KINDS
from dorm_vector.parameters import parameter
from dorm_vector.sql import SQL, Operand, fill, literal

__all__ = ["Engine", "prepares_as_declared"]

# With these, a field writes its values by SQL of its own.
PLACEHOLDERS = ("get_placeholder", "get_placeholder_sql")
# And with these it prepares them.
PREPARES = ("get_prep_value", "get_db_prep_value", "get_db_prep_save", "pack")


def prepares_as_declared(field: Any) -> bool:
    """Whether a field is one of the vector fields, and prepares its values as they do."""
    from dorm_vector.fields import AnyVectorField

    return isinstance(field, AnyVectorField) and not any(
        getattr(type(field), name) is not getattr(AnyVectorField, name) for name in PREPARES
    )


def _padding_check(column: str, bits: int) -> str:
    """The condition that the last byte has no bit but the ``bits``, of which the least is first."""
    return f" AND substr({column}, -1) < X'{1 << bits % 8:02X}'" if bits % 8 else ""


class Engine(EngineSearch):
    """
    What one database can do with vectors.

    A subclass is mostly data: the attributes below. Its methods never look at another engine. The
    base class is the engine of a database that has no vectors: it refuses everything, by name.

    Templates hold ``{a}`` and ``{b}`` for the operands of a distance; see ``distance``.
    """

    name: ClassVar[str] = ""

    #: Column types by field kind, with a place for ``{dimensions}``.
    column_types: ClassVar[dict[str, str]] = {}
    #: CHECK constraints by field kind, with places for ``{column}``, ``{dimensions}``, and of
    #: bits ``{bytes}`` and the condition on their ``{padding}``.
    column_checks: ClassVar[dict[str, str]] = {}
    #: How a vector is written as a parameter, by field kind, with a place for ``{dimensions}``.
    placeholders: ClassVar[dict[str, str]] = {}
    #: What SELECT reads of a vector, by field kind, with a place for the column, ``{a}``.
    select_templates: ClassVar[dict[str, str]] = {}
    #: How the numbers lie in the bytes that SELECT reads, by field kind.
    layouts: ClassVar[dict[str, codecs.Layout]] = {}
    #: SQL by metric.
    distances: ClassVar[dict[str, str]] = {}
    #: By metric, the condition that the distance, ``{distance}``, is what it ought to be. Float32
    #: overflows and vanishes, and NaN may have been stored past the field.
    trusted: ClassVar[dict[str, str]] = {}
    #: By metric, slower SQL that is right always: for distances that are not trusted, and where a
    #: column, a constraint or an index is made, which take no subqueries.
    exact_distances: ClassVar[dict[str, str]] = {}
    #: ``{distance}`` as a similarity, minus infinity where it is undefined.
    similarity_template: ClassVar[str] = "(1 - {distance})"
    #: SQL by the name of a function of vectors and by field kind: "norm", "normalize", "add", ...
    #: with the operands ``{a}`` and ``{b}``.
    functions: ClassVar[dict[str, dict[str, str]]] = {}
    #: Aggregates of Django's that work for vectors: "Avg", "Sum".
    native_aggregates: ClassVar[frozenset[str]] = frozenset()
    #: Functions and aggregates of Django's that an undefined distance would mislead.
    finite_only: ClassVar[frozenset[str]] = frozenset()
    #: Whether CAST converts vectors to text, and text to vectors.
    casts_text: ClassVar[bool] = False
    #: Whether operands that are queries are named once, for a parser that has little room.
    binds_operands: ClassVar[bool] = False
    #: Whether a distance must be guarded against NULL operands, because it raises on them.
    guards_null: ClassVar[bool] = False
    #: The condition that ``{distance}`` is a number, for metrics that always are one where no
    #: operand is NULL, and for the cosine distance.
    defined_templates: ClassVar[tuple[str, str]] = ("{distance} IS NOT NULL", "")
    #: By field kind, the condition that the vector ``{a}`` is neither NULL nor ``{zero}``, for the
    #: cosine ``{distance}`` to a vector that is not zero. Cheaper than computing it twice.
    nonzero_templates: ClassVar[dict[str, str]] = {}
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
        self.prepare_editors(connection)
        #: ``parameter``, of query vectors: one query asks for the same one several times.
        self.encoded = functools.lru_cache(maxsize=8)(self.parameter)

    @classmethod
    def prepare_editors(cls, wrapper: Any) -> None:
        """Give a connection, or a class of connections, the schema editor that indexes need."""

    @property
    def label(self) -> str:  # type: ignore[override]
        """The database's name in sentences for people."""
        return str(self.connection.display_name)

    # Columns and values

    def column_type(self, kind: str, dimensions: int) -> str:
        """The SQL type of a column of ``dimensions`` components."""
        if kind not in self.column_types:
            raise NotSupportedError(self.why_no_column(kind))
        return self.column_types[kind].format(dimensions=literal(dimensions))

    def why_no_column(self, kind: str) -> str:
        """Why there is no column type for a kind, and what to use instead."""
        if not self.column_types:
            return (
                f"The database {self.connection.alias!r} ({self.label}) has no column type for "
                "vectors that dorm_vector knows; see DORM_VECTOR['ENGINES']."
            )
        return (
            f"{self.label} has no {kind} columns (database {self.connection.alias!r}); use "
            "VectorField there, or PostgreSQL."
        )

    def cast_type(self, kind: str, dimensions: int) -> str:
        """The SQL type that CAST takes. Raises NotSupportedError for what it would not convert."""
        if kind == "vector":
            return self.column_type(kind, dimensions)
        raise NotSupportedError(f"{self.label} cannot cast to {kind}; PostgreSQL can.")

    def column_check(self, kind: str, column: str, dimensions: int) -> str | None:
        """The CHECK that keeps a column clean where its type does not, or None."""
        template = self.column_checks.get(kind)
        return template and template.format(
            column=column,
            dimensions=literal(dimensions),
            bytes=literal((dimensions + 7) // 8),
            padding=_padding_check(column, dimensions),
        )

    def placeholder(self, kind: str, dimensions: int) -> str:
        """The place of a vector among the parameters."""
        return self.placeholders.get(kind, "%s").format(dimensions=literal(dimensions))

    def encode(self, packed: Any, kind: str = "vector") -> Any:
        """A packed vector (see ``dorm_vector.kinds``) as a parameter for the driver."""
        return codecs.bits_to_reversed_bytes(packed) if kind == "bit" else packed

    def parameter(self, packed: Any, kind: str = "vector") -> Any:
        """``encode``, and logs of queries show the beginning only."""
        return parameter(self.encode(packed, kind), packed)

    def decode(self, value: Any, kind: str = "vector", dimensions: int | None = None) -> Any:
        """
        What the driver returned for a vector that is not NULL: float32 numbers, or packed text.

        Raises ValueError for bytes that are no such vector.
        """
        if isinstance(value, bytes):
            return self._decode_bytes(value, kind, dimensions)
        if kind in ("vector", "halfvec"):
            return values.to_float32(value)
        return KINDS[kind].pack(value, dimensions)

    def _decode_bytes(self, value: bytes, kind: str, dimensions: int | None) -> Any:
        if kind != "bit":
            return codecs.from_packed(value)
        if dimensions is not None and len(value) != (dimensions + 7) // 8:
            raise ValueError("not as many bits")
        bits = codecs.bits_from_reversed_bytes(value)
        # What else is there would be compared as well, although it is not read.
        return bits if dimensions is None else KINDS[kind].fit(bits, dimensions)

    def reader(self, field: Any) -> Callable[..., Any]:
        """What reads the values of a field: a converter of Django's, prepared for the field."""
        slow: Callable[..., Any] = field.from_db_value
        if field.kind not in self.layouts:
            return slow
        dtype = {"vector": "f4", "halfvec": "f2"}[field.kind] if field.numpy else None
        size, read = codecs.reader(self.layouts[field.kind], field.dimensions, dtype)

        def convert(value: Any, expression: Any, connection: Any) -> Any:
            if type(value) is bytes and len(value) == size:
                return read(value)
            return slow(value, expression, connection)

        return convert

    def writer(self, field: Any) -> Callable[[Any], Any]:
        """What makes the driver's parameters of a field's values that are no expressions."""
        if not prepares_as_declared(field):
            return functools.partial(field.get_db_prep_save, connection=self.connection)
        pack, kind, encode = field.pack, field.kind, self.encode

        def write(value: Any) -> Any:
            packed = pack(value)
            return None if packed is None else encode(packed, kind)

        return write

    def select_sql(self, sql: str, kind: str = "vector") -> str:
        """What SELECT reads of the vector ``sql``."""
        return fill(self.select_templates.get(kind, "{a}"), a=SQL(sql)).sql

    # Distances

    def distance(self, metric: str, a: Operand, b: Operand, *, stored: bool = False) -> SQL:
        """
        The SQL of a distance.

        ``{a}`` and ``{b}`` are the operands, ``{norm_a}`` and ``{norm_b}`` their L2 norms. NULL
        where an operand is NULL. ``stored`` is for the definition of a column, a constraint or an
        index.
        """
        # An aggregate may not stand in a query inside its own.
        grouped = a.is_aggregate or b.is_aggregate
        if self.binds_operands and not (stored or grouped):
            (a, b), bind = self._bound([a, b])
            return bind(self._distance(metric, a, b))
        return self._distance(metric, a, b, stored=stored or grouped)

    def _distance(self, metric: str, a: Operand, b: Operand, *, stored: bool = False) -> SQL:
        template = self._checked_template(metric, stored)
        a, b = self.prepared(a), self.prepared(b)
        guards = [name for name, operand in (("a", a), ("b", b)) if operand.packed is None]
        if self.guards_null and guards:
            condition = " AND ".join(f"{{{name}}} IS NOT NULL" for name in guards)
            template = f"CASE WHEN {condition} THEN {template} END"
        norms = {}
        if "{norm_" in template:
            norms = {"norm_a": self._norm(a), "norm_b": self._norm(b)}
        return fill(template, a=a, b=b, **norms, **self.distance_parts(a, b))

    def function(
        self,
        name: str,
        operands: Sequence[Operand],
        numbers: dict[str, int] | None = None,
        *,
        stored: bool = False,
    ) -> SQL:
        """
        The SQL of a function of one vector or two; ``numbers`` are arguments of its own.

        NULL where an operand is NULL. ``stored`` is for the definition of a column, a constraint or
        an index. Raises NotSupportedError.
        """
        if stored and (reason := self.why_not_stored(name)):
            raise NotSupportedError(f"{reason}.")
        if self.binds_operands and not (stored or any(each.is_aggregate for each in operands)):
            operands, bind = self._bound(operands)
            return bind(self._function(name, operands, numbers))
        return self._function(name, operands, numbers)

    def _bound(self, operands: Sequence[Operand]) -> tuple[list[Operand], Callable[[SQL], SQL]]:
        """
        The operands, those that are queries as the columns of one, and what puts that around.

        Templates name their operands several times: nested, they would double with each level, and
        a parser has room for so many levels only.
        """
        named = {f"dorm_{place}": each for place, each in enumerate(operands)}
        deep = {name: each for name, each in named.items() if "(SELECT" in each.sql}
        if not deep:
            return list(operands), lambda made: made
        columns = ", ".join(f"{{{name}}} AS {name}" for name in deep)

        def bind(made: SQL) -> SQL:
            return fill(f"(SELECT {{made}} FROM (SELECT {columns}))", made=made, **deep)  # noqa: S608 - names

        shallow = [
            each._replace(sql=name, params=()) if name in deep else each
            for name, each in named.items()
        ]
        return shallow, bind

    def _function(
        self, name: str, operands: Sequence[Operand], numbers: dict[str, int] | None
    ) -> SQL:
        kind = operands[0].kind
        template = self.functions.get(name, {}).get(kind)
        if template is None:
            raise NotSupportedError(f"{self.label} has no function {name} of {kind}.")
        named = dict(zip("ab", operands, strict=False))
        if self.guards_null:
            condition = " AND ".join(f"{{{each}}} IS NOT NULL" for each in named)
            template = f"CASE WHEN {condition} THEN {template} END"
        parts = {each: SQL(literal(number)) for each, number in (numbers or {}).items()}
        return fill(template, **named, **parts)

    def why_not_stored(self, name: str) -> str | None:
        """Why a function cannot stand in a definition, a sentence without its end; or None."""
        if not any("(SELECT" in template for template in self.functions.get(name, {}).values()):
            return None
        return (
            f"{self.label} takes no subqueries in generated columns, constraints and indexes, and "
            f"computes {name} of vectors by one: compute it in queries"
        )

    def aggregate(self, name: str, a: Operand, suffix: SQL) -> SQL:
        """The SQL of an aggregate; ``suffix`` is its FILTER clause. Raises NotSupportedError."""
        template = self.functions.get(name, {}).get(a.kind)
        if template is None:
            raise NotSupportedError(f"{self.label} has no aggregate {name} of {a.kind}.")
        return fill(template, a=a, filter=suffix, dimensions=SQL(str(a.dimensions)))

    def distance_parts(self, a: Operand, b: Operand) -> dict[str, SQL]:
        """What the template of a distance has places for, besides its operands."""
        return {}

    def prepared(self, operand: Operand) -> Operand:
        """An operand of a distance in the form that the database's functions take."""
        return operand

    def at_precision(
        self, precision: str | int, metric: str, a: Operand, b: Operand
    ) -> tuple[str, Operand, Operand]:
        """The metric and the operands of an index of less precision, where there are such."""
        return metric, a, b

    def defined(self, metric: str, a: Operand, b: Operand) -> SQL:
        """The condition that a distance is a number: no operand is NULL, nor zero by cosine."""
        if b.packed is not None and metric != "cosine":
            self._distance_template(metric)  # raises where there is none
            return fill("{a} IS NOT NULL", a=a)
        if b.packed is None:
            template = self.defined_templates[metric == "cosine"]
        else:
            template = self.nonzero_templates[b.kind]
        parts: dict[str, SQL | Operand] = {"a": a}
        if "{distance}" in template:
            parts["distance"] = self.distance(metric, a, b)
        if "{zero}" in template:
            kind = KINDS[b.kind]
            dimensions = kind.size(b.packed)
            zero = self.encoded(kind.zero(dimensions), b.kind)
            parts["zero"] = SQL(self.placeholder(b.kind, dimensions), (zero,))
        return fill(template, **parts)

    def similarity(self, distance: SQL, a: Operand, b: Operand) -> SQL:
        """A distance as a similarity."""
        return fill(self.similarity_template, distance=distance, a=a, b=b)

    def _checked_template(self, metric: str, stored: bool) -> str:
        """The template of a distance, with the exact one where it cannot be trusted."""
        template = self._distance_template(metric)
        if stored:
            return self.exact_distances.get(metric, template)
        if metric not in self.trusted:
            return template
        condition = self.trusted[metric].replace("{distance}", "dorm_d")
        return (
            f"(SELECT CASE WHEN {condition} THEN dorm_d ELSE {self.exact_distances[metric]} END "  # noqa: S608 - templates
            f"FROM (SELECT {template} AS dorm_d))"
        )

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
            return fill(self.functions["norm"][operand.kind], a=operand)
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

    def made_names(self, index: Any) -> list[str]:
        """The names that an index takes among those of tables, views and other indexes."""
        return [index.name]

    def same_name(self, name: str) -> str:
        """What two names have in common that the database takes for one."""
        return name

    def reindex(self, index: Any, model: Any) -> str | None:
        """
        Make an index anew from the rows of its table.

        Returns why it is not built here, the first half of a sentence, or None where it was made.
        """
        return self.why_not_built(index, model)

    def _nothing_built(self, index: Any, model: Any) -> Statement:
        # Django runs whatever create_sql() returns, so nothing has to be a statement as well.
        what = f"{self.why_not_built(index, model)}: {index.name} is not built"
        return Statement("SELECT %(what)s", what=literal(what.translate({0: " ", 92: "/"})))

    # Loading

    def why_not_copied(self, field: Any) -> str | None:
        """Why ``bulk_copy()`` cannot load a field by its ``loader``, the rest of a sentence."""
        from dorm_vector.fields import AnyVectorField

        known = isinstance(field, AnyVectorField | BinaryField)
        if known or not any(hasattr(field, name) for name in PLACEHOLDERS):
            return None
        return f"{field} ({type(field).__name__}) is written by SQL of its own"

    def loader(self, load: Any, fields: tuple[Any, ...]) -> Loader:
        """What takes rows of values of ``fields`` for a ``dorm_vector.bulk.Load``."""
        return Inserts(load, fields)

    def without_indexes(
        self, model: Any, settings: dict[str, Any]
    ) -> contextlib.AbstractContextManager[None]:
        """A block in which a model has no vector indexes; they are made again at its end."""
        return contextlib.nullcontext()

    # Connections

    def check(self) -> list[CheckMessage]:
        """System check messages on how the engine does its work here. Opens no connection."""
        return []

    def prepare(self) -> None:
        """Make a connection that was just opened fit for vectors. Sends nothing that is logged."""

    def check_database(self) -> list[CheckMessage]:
        """The same on what is in the database, where it is named; this may ask it."""
        return []

    def enable(self, schema_editor: Any, *, schema: str | None = None) -> None:
        """
        Install vector support in the database, for the VectorExtension operation.

        ``schema`` is passed where the operation names one.
        """

    def disable(self, schema_editor: Any) -> None:
        """Undo ``enable``."""
