"""Altering columns of vectors: as an operation says, and never silently."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from django.db import NotSupportedError

from dorm_vector.engines.base.freshness import FreshnessEditor

__all__ = ["VectorAlterations", "described", "differ", "typed", "with_alterations"]


class VectorAlterations(FreshnessEditor):
    """
    The part of a schema editor that converts vectors, if it is told how.

    Otherwise databases would fail halfway, truncate, or keep the bytes of another kind.
    """

    #: The SQL of the new values of a column that is converted, by its quoted name.
    conversion: Callable[[str], str] | None = None

    def alter_field(self, model: Any, old_field: Any, new_field: Any, strict: bool = False) -> None:
        if differ(old_field, new_field):
            self.refuse_silence(model, old_field, new_field)
        super().alter_field(model, old_field, new_field, strict)

    def remove_index(self, model: Any, index: Any, **options: Any) -> None:
        if not self.forget(model, index):
            super().remove_index(model, index, **options)  # type: ignore[misc]

    def rename_index(self, model: Any, old_index: Any, new_index: Any) -> None:
        if self.forget(model, old_index):
            self.add_index(model, new_index)  # type: ignore[attr-defined]
        else:
            super().rename_index(model, old_index, new_index)  # type: ignore[misc]

    def refuse_silence(self, model: Any, old: Any, new: Any) -> None:
        """Raise NotSupportedError if nothing says what becomes of existing vectors."""
        unknown = self.conversion is None and not self.collect_sql
        if unknown and self.holds_vectors(model, old):
            raise NotSupportedError(
                f"{described(model, old)}, which AlterField cannot convert to {typed(new)}: use "
                "ChangeVectorDimensions, or add a field, fill it, and remove the old one."
            )

    def change_vectors(self, model: Any, old: Any, new: Any, convert: Callable[[str], str]) -> None:
        """Alter a vector field; ``convert`` gives the SQL of its new values for a quoted column."""
        self.conversion = convert
        try:
            self.alter_field(model, old, new)
        finally:
            self.conversion = None

    def holds_vectors(self, model: Any, field: Any) -> bool:
        """Whether any row has a vector in the field."""
        return self._is_there(model, f" WHERE {self._quoted(field.column)} IS NOT NULL")

    def holds_rows(self, model: Any) -> bool:
        return self._is_there(model, "")

    def clear_vectors(self, model: Any, field: Any) -> None:
        """Make all vectors of a field NULL."""
        table, column = self._quoted(model._meta.db_table), self._quoted(field.column)
        self.execute(f"UPDATE {table} SET {column} = NULL WHERE {column} IS NOT NULL", None)  # noqa: S608 - quoted

    def _is_there(self, model: Any, condition: str) -> bool:
        table = self._quoted(model._meta.db_table)
        with self.connection.cursor() as cursor:
            cursor.execute(f"SELECT 1 FROM {table}{condition} LIMIT 1")  # noqa: S608 - quoted
            return cursor.fetchone() is not None

    def _quoted(self, name: str) -> str:
        return str(self.connection.ops.quote_name(name))


def typed(field: Any) -> str:
    """The type of a vector field, for messages."""
    return f"{field.kind}({field.dimensions})"


def described(model: Any, field: Any) -> str:
    """The beginning of a message about a field that has vectors."""
    return f"{model._meta.object_name}.{field.name} holds vectors of {typed(field)}"


def differ(old: Any, new: Any) -> bool:
    """Whether the vectors of one field do not fit another."""
    both = getattr(old, "holds_vectors", False) and getattr(new, "holds_vectors", False)
    return both and (old.kind, old.dimensions) != (new.kind, new.dimensions)


@functools.cache
def with_alterations(base: type, part: type[VectorAlterations] = VectorAlterations) -> type:
    """The schema editor class ``base`` that refuses what cannot be altered: one for each."""
    if issubclass(base, VectorAlterations):
        return base
    return type(base.__name__, (part, base), {"__module__": base.__module__})
