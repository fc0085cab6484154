"""The vectors in an existing database: columns, indexes, and the tables that they use."""

from __future__ import annotations

import functools
from typing import Any, ClassVar, NamedTuple

__all__ = ["EngineIntrospection", "FoundIndex", "FoundTextIndex", "VectorColumn"]


class VectorColumn(NamedTuple):
    """A column of vectors: its field kind, and its dimensions; None if it takes any."""

    kind: str
    dimensions: int | None


class FoundIndex(NamedTuple):
    """
    A vector index of a table.

    ``options`` are keyword arguments of the class that ``method`` stands for ("vector", "hnsw",
    "ivfflat"); ``gap`` is what they cannot say of the index, None where they say all.
    """

    name: str
    column: str
    method: str
    metric: str
    options: dict[str, Any]
    gap: str | None = None
    definition: str | None = None


class FoundTextIndex(NamedTuple):
    """
    A text index of a table.

    ``options`` are keyword arguments of ``TextIndex``, with the weights by column; ``gap`` is what
    they cannot say of it, so that it is not written, and ``note`` what the database does not know.
    """

    name: str
    columns: list[str]
    options: dict[str, Any]
    gap: str | None = None
    note: str | None = None


class EngineIntrospection:
    """The part of an engine that introspects a database. The base class finds nothing."""

    connection: Any
    #: What the connection's introspection is given.
    introspection: ClassVar[Any] = None

    @classmethod
    def prepare_introspection(cls, wrapper: Any) -> None:
        """Teach the introspection of a connection, or of a class of them, about vectors."""
        if cls.introspection is None:
            return
        if not issubclass(wrapper.introspection_class, cls.introspection):
            wrapper.introspection_class = _over(cls.introspection, wrapper.introspection_class)
        if isinstance(wrapper, type):
            return
        if not isinstance(wrapper.introspection, wrapper.introspection_class):
            wrapper.introspection = wrapper.introspection_class(wrapper)

    def vector_columns(self, table: str) -> dict[str, VectorColumn]:
        """The columns of a table that hold vectors, by name."""
        return {}

    def vector_indexes(self, table: str) -> list[FoundIndex]:
        """The vector indexes of a table, including those made without this package."""
        return []

    def found_text_indexes(self, table: str) -> list[FoundTextIndex]:
        """The text indexes of a table that a TextIndex can declare."""
        return []

    def own_tables(self) -> frozenset[str]:
        """The tables that indexes are kept in, which belong to no model."""
        return frozenset()


@functools.cache
def _over(part: Any, base: Any) -> type[Any]:
    """The introspection class ``base`` with vectors: one class for each."""
    return type(base.__name__, (part, base), {"__module__": base.__module__})
