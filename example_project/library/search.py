"""Searching: the entries nearest to a text, or to another entry."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet

from dorm_vector import nearest
from example_project.library.embedding import embed
from example_project.library.models import Entry

__all__ = ["entries_like", "entries_matching"]


def entries_matching(text: str) -> QuerySet[Entry]:
    """
    Entries about ``text``, the nearest first, each with its ``distance``.

    None for a text without a single word: it is the zero vector, which has no neighbours.
    """
    return _nearest(embed([text])[0])


def entries_like(entry: Entry) -> QuerySet[Entry]:
    """Entries like ``entry``, itself left out, the nearest first, each with its ``distance``."""
    return _nearest(entry)


def _nearest(to: Any) -> QuerySet[Entry]:
    # A list shows neither, and the vector alone is a kilobyte a row.
    return nearest(Entry.objects, "embedding", to).defer("embedding", "doc")
