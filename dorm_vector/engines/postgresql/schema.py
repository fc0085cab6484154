"""PostgreSQL's schema editor, with what vectors need."""

from __future__ import annotations

from typing import Any

from dorm_vector.engines import engine_for
from dorm_vector.engines.base.schema import VectorAlterations, differ

__all__ = ["PostgreSQLAlterations"]


class PostgreSQLAlterations(VectorAlterations):
    """The part of PostgreSQL's schema editor that handles vectors."""

    @property
    def engine(self) -> Any:
        return engine_for(self.connection)

    def alter_field(self, model: Any, old_field: Any, new_field: Any, strict: bool = False) -> None:
        """PostgreSQL rebuilds indexes by itself, but not with another operator class."""
        indexes = []
        if differ(old_field, new_field):
            self.refuse_silence(model, old_field, new_field)
            indexes = [
                index
                for index in model._meta.indexes
                if hasattr(index, "vector_field") and index.fields == [old_field.name]
            ]
        for index in indexes:
            self.remove_index(model, index)
        super().alter_field(model, old_field, new_field, strict)
        for index in indexes:
            self.add_index(new_field.model, index)  # type: ignore[attr-defined]

    def _using_sql(self, new_field: Any, old_field: Any) -> str:
        if self.conversion is not None:
            converted = self.conversion(self._quoted(new_field.column))
            return f" USING {converted.replace('%', '%%')}"
        using: str = super()._using_sql(new_field, old_field)  # type: ignore[misc]
        return using
