"""Searching: the entries about a text, with its words, or both; and those like another."""

from __future__ import annotations

from typing import Any, NamedTuple

from django.db.models import QuerySet, TextChoices

from dorm_vector import hybrid, matching, nearest
from example_project.library.embedding import embed
from example_project.library.models import Entry

__all__ = ["Mode", "Ranks", "entries_like", "entries_matching", "ranks_of"]


class Mode(TextChoices):
    """What counts: the meaning of a text, its words, or both."""

    BOTH = "both"
    MEANING = "meaning"
    WORDS = "words"


class Ranks(NamedTuple):
    """The places that a hit has by meaning and by words; None where it was not found that way."""

    meaning: int | None
    words: int | None


def entries_matching(text: str, mode: str = Mode.BOTH) -> QuerySet[Entry]:
    """
    Entries for ``text``, the best first.

    By meaning each has its ``distance``, by words its ``rank``, and by both its ``score`` and its
    ``score_ranks``. None for a text without a single word: it is the zero vector, which has no
    neighbours.
    """
    if mode == Mode.WORDS:
        return matching(_entries(), text, match="any")
    vector = embed([text])[0]
    if mode == Mode.MEANING:
        return nearest(_entries(), "embedding", vector)
    # Who types a name wants the entry of that name; benchmarks/hybrid_quality.py chose these two.
    return hybrid(_entries(), "embedding", vector, text, k=None, rank_constant=10, weights=(1, 1.5))


def entries_like(entry: Entry) -> QuerySet[Entry]:
    """Entries like ``entry``, itself left out, the nearest first, each with its ``distance``."""
    return nearest(_entries(), "embedding", entry)


def ranks_of(hit: Any) -> Ranks | None:
    """The ranks of a hit, where it was searched for by both."""
    ranks = getattr(hit, "score_ranks", None)
    return None if ranks is None else Ranks(*ranks)


def _entries() -> QuerySet[Entry]:
    # A list shows neither, and the vector alone is a kilobyte a row.
    return Entry.objects.defer("embedding", "doc")
