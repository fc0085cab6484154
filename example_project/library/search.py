"""Searching: the entries nearest to a text, or to another entry."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet

from dorm_vector import CosineDistance
from example_project.library.embedding import embed
from example_project.library.models import Entry

__all__ = ["entries_like", "entries_matching"]


def entries_matching(text: str) -> QuerySet[Entry]:
    """Entries about ``text``, the nearest first, each with its ``distance``."""
    vector = embed([text])[0]
    # A text without a single word is the zero vector, which has no direction to be near to.
    return _nearest(vector) if vector.any() else Entry.objects.none()


def entries_like(entry: Entry) -> QuerySet[Entry]:
    """Entries like ``entry``, itself left out, the nearest first, each with its ``distance``."""
    return _nearest(entry.embedding).exclude(pk=entry.pk)


def _nearest(vector: Any) -> QuerySet[Entry]:
    return (
        Entry.objects.annotate(distance=CosineDistance("embedding", vector))
        .order_by("distance", "name")
        # A list shows neither, and the vector alone is a kilobyte a row.
        .defer("embedding", "doc")
    )
