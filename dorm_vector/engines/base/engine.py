"""The contract of engines, and what all of them share."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from typing import Any, ClassVar

from django.core.checks import CheckMessage
from django.core.exceptions import ValidationError
from django.db import NotSupportedError
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.models import BinaryField, Expression, Field, Model
from django.utils.functional import Promise

from dorm_vector import codecs, values
from dorm_vector.engines.base.embedding import EngineEmbedding
from dorm_vector.engines.base.expressions import EngineExpressions
from dorm_vector.engines.base.freshness import EngineFreshness
from dorm_vector.engines.base.indexes import EngineIndexes
from dorm_vector.engines.base.inspection import EngineInspection
from dorm_vector.engines.base.introspection import EngineIntrospection
from dorm_vector.engines.base.loaders import Inserts, Loader
from dorm_vector.engines.base.search import EngineSearch
from dorm_vector.engines.base.statements import Statements
from dorm_vector.engines.base.text import EngineText
from dorm_vector.kinds import DENSE_KINDS, KINDS
from dorm_vector.parameters import abbreviated
from dorm_vector.sql import SQL, fill, literal

__all__ = ["Engine"]

# A field with one of these writes its values by its own SQL.
PLACEHOLDERS = ("get_placeholder", "get_placeholder_sql")


def _padding_check(column: str, bits: int) -> str:
    """The condition that the last byte has no bit set beyond the ``bits``, least first."""
    return f" AND substr({column}, -1) < X'{1 << bits % 8:02X}'" if bits % 8 else ""


class Engine(
    EngineExpressions,
    EngineIndexes,
    EngineFreshness,
    EngineInspection,
    EngineIntrospection,
    EngineSearch,
    EngineText,
    EngineEmbedding,
):
    """
    What one database can do with vectors.

    A subclass is mostly data: the attributes below. Its methods never look at another engine. The
    base class is the engine of a database without vectors: it refuses everything, by name.

    Templates hold ``{a}`` and ``{b}`` for the operands of a distance; see ``distance``.
    """

    name: ClassVar[str] = ""
    #: Why a database is refused that seems to have vectors, the first part of a sentence.
    why_refused: str | None = None

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
    #: Aggregates of Django's that work for vectors: "Avg", "Sum".
    native_aggregates: ClassVar[frozenset[str]] = frozenset()
    #: Whether columns may be arrays of vectors, as Django's ArrayField makes them.
    has_arrays: ClassVar[bool] = False
    #: Whether CAST converts vectors to text and back.
    casts_text: ClassVar[bool] = False
    #: A ``{value}`` in the first row of VALUES, written such that its column has a ``{type}``.
    listed_value: ClassVar[str] = "{value}"

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self.connection = connection
        self.prepare_wrapper(connection)
        #: ``parameter`` of query vectors: one query asks for the same one several times.
        self.cached_parameter = functools.lru_cache(maxsize=8)(self.parameter)
        self.search_statements = Statements()

    @classmethod
    def prepare_wrapper(cls, wrapper: BaseDatabaseWrapper) -> None:
        """Teach a connection, or a class of connections, about vectors."""
        cls.prepare_editors(wrapper)
        cls.prepare_introspection(wrapper)

    @classmethod
    def prepare_editors(cls, wrapper: BaseDatabaseWrapper) -> None:
        """Give a connection, or a class of connections, the schema editor that indexes need."""

    @property
    def label(self) -> str:  # type: ignore[override]
        """The name of the database in messages."""
        return str(self.connection.display_name)

    # Columns and values

    def column_type(self, kind: str, dimensions: int) -> str:
        """The SQL type of a column of ``dimensions`` components."""
        if kind not in self.column_types:
            raise NotSupportedError(self.why_no_column(kind))
        return self.column_types[kind].format(dimensions=literal(dimensions))

    def why_no_column(self, kind: str) -> str:
        """Why there is no column type for a kind, and what to use instead."""
        if not self.column_types and self.why_refused:
            return (
                f"{self.why_refused} (database {self.connection.alias!r}): have a router keep "
                "models with vectors on PostgreSQL, SQLite or libSQL."
            )
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
        """The CHECK that keeps a column valid if its type does not, or None."""
        template = self.column_checks.get(kind)
        return template and template.format(
            column=column,
            dimensions=literal(dimensions),
            bytes=literal((dimensions + 7) // 8),
            padding=_padding_check(column, dimensions),
        )

    def placeholder(self, kind: str, dimensions: int) -> str:
        """The placeholder of a vector."""
        template = self.placeholders.get(kind)
        return template.format(dimensions=literal(dimensions)) if template else "%s"

    def encode(self, packed: Any, kind: str = "vector") -> Any:
        """A packed vector (see ``dorm_vector.kinds``) as a parameter for the driver."""
        return codecs.bits_to_reversed_bytes(packed) if kind == "bit" else packed

    def parameter(self, packed: Any, kind: str = "vector") -> Any:
        """What ``encode`` gives, abbreviated in the log of queries."""
        return abbreviated(self.encode(packed, kind), packed)

    def decode(self, value: object, kind: str = "vector", dimensions: int | None = None) -> Any:
        """
        What the driver returned for a vector that is not NULL: float32 numbers, or packed text.

        Raises ValueError for bytes that are not such a vector.
        """
        if isinstance(value, bytes):
            return self._decode_bytes(value, kind, dimensions)
        if kind in DENSE_KINDS:
            return values.to_float32(value)
        return KINDS[kind].pack(value, dimensions)

    def _decode_bytes(self, value: bytes, kind: str, dimensions: int | None) -> Any:
        if kind != "bit":
            return codecs.from_packed(value)
        if dimensions is not None and len(value) != (dimensions + 7) // 8:
            raise ValueError("not as many bits")
        bits = codecs.bits_from_reversed_bytes(value)
        # Bits past the end would not be read, but compared.
        return bits if dimensions is None else KINDS[kind].fit(bits, dimensions)

    def reader(self, field: Any) -> Callable[..., Any]:
        """The converter that reads the values of a field, prepared for it."""
        slow: Callable[..., Any] = field.from_db_value
        if field.kind not in self.layouts:
            return slow
        layout = self.layouts[field.kind]
        size = layout.size(field.dimensions)
        read = field.values.reader(layout, field.dimensions, numpy=field.numpy)

        def convert(value: object, expression: Expression, connection: BaseDatabaseWrapper) -> Any:
            if type(value) is bytes and len(value) == size:
                return read(value)
            return slow(value, expression, connection)

        return convert

    def writer(self, field: Any) -> Callable[[Any], Any]:
        """The function that turns a field's values, except expressions, into parameters."""
        if not getattr(field, "prepares_as_declared", False):
            return functools.partial(field.get_db_prep_save, connection=self.connection)
        slow, kind, encode = field.pack, field.kind, self.encode
        pack, dimensions = field.values.pack, field.dimensions
        at_once = field.values.packer(dimensions)

        def write(value: Any) -> Any:
            if (packed := at_once(value)) is not None:
                return encode(packed, kind)
            if value is None:
                return None
            if isinstance(value, str | Promise):  # blank text may stand for NULL
                packed = slow(value)
                return None if packed is None else encode(packed, kind)
            try:
                return encode(pack(value, dimensions), kind)
            except ValidationError as error:
                raise field.named(error) from None

        return write

    def select_sql(self, sql: str, kind: str = "vector") -> str:
        """What SELECT reads of the vector ``sql``."""
        return fill(self.select_templates.get(kind, "{a}"), a=SQL(sql)).sql

    # Loading

    def why_not_copied(self, field: Field) -> str | None:
        """Why ``bulk_copy()`` cannot load a field by ``loader()``, the rest of a sentence."""
        known = isinstance(field, BinaryField) or getattr(field, "holds_vectors", False)
        if known or not any(hasattr(field, name) for name in PLACEHOLDERS):
            return None
        return f"{field} ({type(field).__name__}) is written by its own SQL"

    def loader(self, load: Any, fields: tuple[Any, ...]) -> Loader:
        """The loader of a ``dorm_vector.bulk.Load``, for rows of values of ``fields``."""
        return Inserts(load, fields)

    def loading(self) -> contextlib.AbstractContextManager[None]:
        """A block that loads rows, whose errors say what to do."""
        return contextlib.nullcontext()

    def without_indexes(
        self, model: type[Model], settings: dict[str, Any]
    ) -> contextlib.AbstractContextManager[None]:
        """A block in which a model has no vector indexes; they are rebuilt at its end."""
        return contextlib.nullcontext()

    # Connections

    def check(self) -> list[CheckMessage]:
        """System check messages on how the engine does its work here. Opens no connection."""
        return []

    def check_settings(self, *, is_indexed: bool) -> list[CheckMessage]:
        """
        The same for the settings of the database. Opens no connection.

        ``is_indexed`` says whether models of the database have vector indexes.
        """
        return []

    def prepare(self) -> None:
        """Prepare a connection that was just opened for vectors. Sends nothing that is logged."""

    #: Whether a migration has to install an extension before columns of vectors are made.
    needs_extension: ClassVar[bool] = False

    def check_database(self) -> list[CheckMessage]:
        """The same for the contents of a database that is named; may query it."""
        return []

    def enable(self, schema_editor: BaseDatabaseSchemaEditor, *, schema: str | None = None) -> None:
        """
        Install vector support in the database, for the VectorExtension operation.

        ``schema`` is passed where the operation names one.
        """

    def disable(self, schema_editor: BaseDatabaseSchemaEditor) -> None:
        """Undo ``enable``."""

    def enable_other(
        self, name: str, schema_editor: BaseDatabaseSchemaEditor, *, schema: str | None = None
    ) -> None:
        """Install another extension of PostgreSQL's over its vectors, where it is that."""

    def disable_other(self, name: str, schema_editor: BaseDatabaseSchemaEditor) -> None:
        """Undo ``enable_other``."""
