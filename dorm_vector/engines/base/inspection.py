"""The state of vectors and indexes in a database, as ``manage.py vectors`` reports it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

from django.db import DEFAULT_DB_ALIAS
from django.db.models import Count, Field, Model, Sum
from django.db.models.expressions import RawSQL

from dorm_vector.engines.base.freshness import fresh_vectors
from dorm_vector.sql import SQL, Operand, fill

__all__ = [
    "ColumnState",
    "EngineInspection",
    "IndexState",
    "Progress",
    "Reported",
    "text_indexes",
]


class ColumnState(NamedTuple):
    """A column of vectors: its rows, how many are NULL and zero vectors, and its bytes."""

    rows: int
    nulls: int
    zeros: int
    bytes: int


class IndexState(NamedTuple):
    """An index of vectors or words, or what is left of one."""

    name: str
    #: What the database has: "hnsw", "ivfflat", "vec0", "DiskANN", "gin", "FTS5".
    method: str
    #: "valid", "invalid", "building", "absent", "damaged", "left over" or "not built".
    state: str = "valid"
    #: In bytes, if known.
    size: int | None = None
    #: How many searches went through it, if counted.
    uses: int | None = None
    #: What is wrong, in one sentence.
    problem: str | None = None
    #: The statement or the command that repairs it.
    cure: str | None = None

    @property
    def is_broken(self) -> bool:
        """Whether it is unusable until somebody repairs it."""
        return self.state in ("invalid", "damaged", "left over")

    @property
    def advice(self) -> str:
        """What is wrong, and what to do."""
        return " ".join(filter(None, [self.problem, self.cure and f"Run {self.cure}."]))


class Progress(NamedTuple):
    """The progress of building an index: its phase, and how much of that is done."""

    phase: str
    done: int
    total: int


Reported = Callable[[Progress], object]


class EngineInspection:
    """The part of an engine that inspects vectors and indexes. Its methods query the database."""

    connection: Any
    label: str
    why_not_built: Callable[[Any, Any], str | None]
    why_no_text_index: Callable[[Any, Any], str | None]
    same_name: Callable[[str], str]
    functions: ClassVar[dict[str, dict[str, str]]]
    function: Callable[..., SQL]
    encode: Callable[..., Any]
    placeholder: Callable[[str, int], str]

    #: How many bytes the column ``{a}`` takes in a row.
    size_template: ClassVar[str] = "length({a})"

    def facts(self) -> dict[str, Any]:
        """
        Facts about the database: "versions", the "settings" of a session, and others.

        The values are numbers, texts, and dicts of these.
        """
        return {"versions": {}, "settings": {}}

    def column_state(self, model: type[Model], field: Field) -> ColumnState:
        """The state of a column. Reads all of it."""
        rows = model._base_manager.using(self.connection.alias).order_by()
        vectors = getattr(field, "output_field", None) or field
        column = self.connection.ops.quote_name(field.column).replace("%", "%%")
        found = rows.aggregate(
            rows=Count("*"),
            filled=Count(field.name),
            zeros=Count(RawSQL(*self._zero(column, vectors))),  # noqa: S611 - quoted
            bytes=Sum(RawSQL(self.size_template.replace("{a}", column), ()), default=0),  # noqa: S611 - quoted
        )
        nulls = found["rows"] - found["filled"]
        return ColumnState(found["rows"], nulls, found["zeros"], int(found["bytes"]))

    def _zero(self, column: str, field: Any) -> SQL:
        """SQL that is not NULL where a column has the zero vector, with zeros of either sign."""
        kind, dimensions = field.kind, field.dimensions
        if kind in self.functions.get("norm", {}):
            norm = self.function("norm", [Operand(column, (), None, dimensions, kind)])
            return fill("CASE WHEN {norm} = 0 THEN 1 END", norm=norm)
        zero = self.encode(field.values.zero(dimensions), kind)
        place = SQL(self.placeholder(kind, dimensions), (zero,))
        return fill("CASE WHEN {column} = {zero} THEN 1 END", column=SQL(column), zero=place)

    def index_states(self, model: type[Model]) -> list[IndexState]:
        """The vector indexes that a model declares, and others on its table."""
        return [
            IndexState(index.name, index.method, "not built", problem=f"{reason}.")
            for index in model._meta.indexes
            if hasattr(index, "metric") and (reason := self.why_not_built(index, model))
        ]

    def command(self, text: str) -> str:
        """A manage.py command for this database."""
        alias = self.connection.alias
        return f"manage.py {text}" + ("" if alias == DEFAULT_DB_ALIAS else f" --database {alias}")

    def names_there(self, model: Any) -> set[str]:
        """The names of the indexes and triggers of a table, as ``same_name`` has them."""
        return set()

    def absent_freshness(self, model: Any) -> list[Any]:
        """The FreshVectors that a model declares, and whose triggers its table does not have."""
        declared = fresh_vectors(model)
        there = self.names_there(model) if declared else set()
        return [each for each in declared if self.same_name(each.name) not in there]

    def lacking(self, index: Any, model: Any) -> int | None:
        """How many rows with a vector an index lacks; None if not known."""
        return None

    def text_index_states(self, model: Any) -> list[IndexState]:
        """The text indexes that a model declares, those that are not built included."""
        return [
            IndexState(index.name, index.method, "not built", problem=f"{reason}.")
            for index in text_indexes(model)
            if (reason := self.why_no_text_index(index, model))
        ]

    def lacking_words(self, index: Any, model: Any) -> int | None:
        """How many rows a text index lacks, or has with other words; None if not known."""
        return None

    def absent(self, index: Any, model: Any, method: str) -> IndexState:
        """The state of an index that is declared, and not there."""
        migrate, reindex = "migrate", f"vector_reindex {model._meta.label}"
        return IndexState(
            index.name,
            method,
            "absent",
            problem=f"{index.name} is declared, but does not exist in the database.",
            cure=f"{self.command(migrate)}, or {self.command(reindex)}",
        )


def text_indexes(model: Any) -> list[Any]:
    """The text indexes that a model declares."""
    return [index for index in model._meta.indexes if getattr(index, "method", None) == "text"]
