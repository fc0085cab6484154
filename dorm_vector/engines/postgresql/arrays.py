"""
Arrays of vectors, as ``ArrayField(VectorField(...))`` and ``ArrayAgg`` read them.

The driver delivers an array as a list only where it knows the type, whose number differs by
database and exists from CREATE EXTENSION on: that would depend on when a connection was opened.
Text, which it delivers otherwise, is the same always.
"""

from __future__ import annotations

from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Expression

from dorm_vector import codecs

__all__ = ["read_arrays"]


def read_arrays(ops: Any) -> None:
    """Have a connection's operations convert arrays of vectors into lists as they read them."""
    if "get_db_converters" in vars(ops):
        return
    others = ops.get_db_converters

    def get_db_converters(expression: Any) -> list[Any]:
        converters: list[Any] = others(expression)
        if _holds_vectors(getattr(expression, "output_field", None)):
            return [*converters, _to_list]
        return converters

    ops.get_db_converters = get_db_converters


def _holds_vectors(field: Any) -> bool:
    """Whether a field is an array of vectors, or an array of such arrays."""
    base = getattr(field, "base_field", None)
    return base is not None and (getattr(base, "holds_vectors", False) or _holds_vectors(base))


def _to_list(value: object, expression: Expression, connection: BaseDatabaseWrapper) -> Any:
    return codecs.from_array_text(value) if isinstance(value, str) else value
