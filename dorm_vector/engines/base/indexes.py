"""Vector indexes in the schema."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.backends.ddl_references import Statement
from django.db.models import Model

from dorm_vector.engines.base.inspection import Reported
from dorm_vector.sql import literal

__all__ = ["EngineIndexes"]


class EngineIndexes:
    """The part of an engine that builds indexes; this one builds none."""

    label: str

    #: The largest number of dimensions that an approximate index takes, by field kind, and by
    #: method and kind where methods differ.
    index_dimensions: ClassVar[dict[str | tuple[str, str], int]] = {}
    #: Whether an index serves a plain ORDER BY, without ``nearest()``.
    index_serves_order: ClassVar[bool] = False
    #: The index methods that the engine builds: "hnsw", "ivfflat".
    index_methods: ClassVar[frozenset[str]] = frozenset()
    #: The largest number of dimensions that a B-tree takes: ``unique`` and ``db_index``.
    btree_dimensions: ClassVar[int | None] = None

    def create_index(
        self,
        index: Any,
        model: type[Model],
        schema_editor: BaseDatabaseSchemaEditor,
        **kwargs: object,
    ) -> Statement:
        """The statement that builds an index."""
        return self._nothing_built(index, model)

    def add_index_by_parts(
        self, model: type[Model], index: Any, schema_editor: BaseDatabaseSchemaEditor
    ) -> None:
        """Add an index, of a partitioned table one partition at a time."""
        schema_editor.add_index(model, index)

    def remove_index(
        self,
        index: Any,
        model: type[Model],
        schema_editor: BaseDatabaseSchemaEditor,
        **kwargs: object,
    ) -> Statement:
        """The statement that drops an index."""
        return self._nothing_built(index, model)

    def why_not_built(self, index: Any, model: type[Model]) -> str | None:
        """Why the index is not built here, the first half of a sentence; None if it is."""
        if index.method in self.index_methods:
            return None
        return f"{self.label} has no {index.method} index"

    def most_dimensions(self, index: Any, kind: str) -> int | None:
        """The most dimensions that an index takes of a field kind; None for no limit."""
        own: int | None = index.max_dimensions.get(kind)
        return own or self.index_dimensions.get(
            (index.method, kind), self.index_dimensions.get(kind)
        )

    def made_names(self, index: Any) -> list[str]:
        """The names that an index takes among those of tables, views and other indexes."""
        return [index.name]

    def same_name(self, name: str) -> str:
        """The form of a name that is equal for names that the database takes for the same."""
        return name

    def check_names(self, index: Any, model: type[Model]) -> None:
        """Raise ProgrammingError if something else has a name that an index needs."""

    def reindex(
        self, index: Any, model: type[Model], progress: Reported | None = None
    ) -> str | None:
        """
        Rebuild an index from the rows of its table.

        ``progress`` is called now and then, maybe from another thread, if the database reports it.
        Returns why the index is not built here, the first half of a sentence, or None if it was
        rebuilt.
        """
        return self.why_not_built(index, model)

    def _nothing_built(self, index: Any, model: type[Model]) -> Statement:
        # Django runs whatever create_sql() returns, so that doing nothing takes a statement too.
        what = f"{self.why_not_built(index, model)}: {index.name} is not built"
        return Statement("SELECT %(what)s", what=literal(what.translate({0: " ", 92: "/"})))
