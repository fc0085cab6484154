"""Migration operations."""

from __future__ import annotations

from typing import Any

from django.db import router
from django.db.migrations.operations.base import Operation, OperationCategory

from dorm_vector.engines import engine_for

__all__ = ["VectorExtension"]


class VectorExtension(Operation):
    """
    Install vector support in the database.

    On PostgreSQL ``CREATE EXTENSION IF NOT EXISTS vector``, in the ``schema`` if one is named, and
    DROP EXTENSION backwards. On SQLite sqlite-vec is loaded here and into every later connection.
    Nothing elsewhere. Both directions may run any number of times. ``hints`` go to the database
    routers' ``allow_migrate()``.
    """

    reversible = True
    category = OperationCategory.ADDITION

    def __init__(self, hints: dict[str, Any] | None = None, *, schema: str | None = None) -> None:
        self.hints = hints or {}
        self.schema = schema

    def deconstruct(self) -> tuple[str, list[Any], dict[str, Any]]:
        given = {"hints": self.hints, "schema": self.schema}
        return type(self).__name__, [], {name: value for name, value in given.items() if value}

    def state_forwards(self, app_label: str, state: Any) -> None:
        """The state of the models is as before."""

    def database_forwards(
        self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any
    ) -> None:
        if self._allowed(app_label, schema_editor):
            engine = engine_for(schema_editor.connection)
            engine.enable(schema_editor, **({"schema": self.schema} if self.schema else {}))

    def database_backwards(
        self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any
    ) -> None:
        if self._allowed(app_label, schema_editor):
            engine_for(schema_editor.connection).disable(schema_editor)

    def describe(self) -> str:
        return "Install vector support (pgvector or sqlite-vec)"

    @property
    def migration_name_fragment(self) -> str:
        return "enable_pgvector"

    def _allowed(self, app_label: str, schema_editor: Any) -> bool:
        return router.allow_migrate(schema_editor.connection.alias, app_label, **self.hints)
