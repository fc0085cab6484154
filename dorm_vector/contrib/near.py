"""The rows nearest to a row, or to a text, that a request names."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.db.models import QuerySet

from dorm_vector import values
from dorm_vector.search.nearest import nearest

__all__ = ["named", "near"]


def near(
    queryset: QuerySet[Any],
    field: str,
    value: str,
    *,
    embedder: Any = None,
    **options: Any,
) -> QuerySet[Any]:
    """
    ``nearest()`` to the row of ``queryset`` whose key is ``value``, or to a text by the embedder.

    Raises ValidationError if there is neither.
    """
    return nearest(queryset, field, named(queryset, value, embedder), **options)


def named(queryset: QuerySet[Any], value: str, embedder: Any = None) -> Any:
    """The row whose key is ``value``, or the vector of a text. Raises ValidationError."""
    if "\0" in value:
        raise ValidationError(
            "A key or a text cannot contain NUL.", code="null_characters_not_allowed"
        )
    if row := _row(queryset, value):
        return row
    if embedder is None:
        raise ValidationError(f"There is no row {values.short(value)}.", code="no_row")
    return embedder(value)


def _row(queryset: QuerySet[Any], value: str) -> Any:
    """The row with a key that came as text; None if there is none."""
    try:
        key = queryset.model._meta.pk.to_python(value)
        return queryset.filter(pk=key).order_by().first()
    except (ValidationError, ValueError, TypeError, OverflowError):
        return None
