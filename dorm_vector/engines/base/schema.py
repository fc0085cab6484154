"""What AlterField cannot do with a column of vectors: it is refused before a statement is sent."""

from __future__ import annotations

import functools
from typing import Any

from django.db import NotSupportedError

from dorm_vector.engines.base.freshness import FreshnessEditor

__all__ = ["VectorAlterations", "with_alterations"]


class VectorAlterations(FreshnessEditor):
    """
    The part of a schema editor that refuses to make vectors others.

    Databases would refuse it half way, cut, or keep the bytes of another kind.
    """

    def alter_field(self, model: Any, old_field: Any, new_field: Any, strict: bool = False) -> None:
        if _differ(old_field, new_field) and not self.collect_sql:
            self._refuse_with_vectors_there(model, old_field, new_field)
        super().alter_field(model, old_field, new_field, strict)

    def _refuse_with_vectors_there(self, model: Any, old: Any, new: Any) -> None:
        quote = self.connection.ops.quote_name
        column, table = quote(old.column), quote(model._meta.db_table)
        with self.connection.cursor() as cursor:
            cursor.execute(f"SELECT 1 FROM {table} WHERE {column} IS NOT NULL LIMIT 1")  # noqa: S608 - quoted
            if cursor.fetchone() is None:
                return
        raise NotSupportedError(
            f"{model._meta.object_name}.{old.name} holds vectors of {old.kind}({old.dimensions}), "
            f"which AlterField does not make {new.kind}({new.dimensions}): add a field, fill it, "
            "and remove the old one."
        )


def _differ(old: Any, new: Any) -> bool:
    both = getattr(old, "holds_vectors", False) and getattr(new, "holds_vectors", False)
    return both and (old.kind, old.dimensions) != (new.kind, new.dimensions)


@functools.cache
def with_alterations(base: type, part: type[VectorAlterations] = VectorAlterations) -> type:
    """The schema editor class ``base`` that refuses what cannot be altered: one for each."""
    if issubclass(base, VectorAlterations):
        return base
    return type(base.__name__, (part, base), {"__module__": base.__module__})
