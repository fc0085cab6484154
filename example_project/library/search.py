"""Searching: the entries about a text, with its words, or both; and those like another."""

from __future__ import annotations

from typing import Any, NamedTuple

from django.db.models import QuerySet, TextChoices

from dorm_vector import hybrid, matching, nearest
from example_project.library.embedding import embed
from example_project.library.facets import within
from example_project.library.marking import has_words
from example_project.library.models import Entry

__all__ = [
    "FARTHEST",
    "HITS",
    "LAST_PAGE",
    "Mode",
    "Ranks",
    "entries_like",
    "entries_matching",
    "is_weak",
    "ranks_of",
    "searched",
]

#: How many hits a page has, and which page is the last: 1,000 hits are one sequence.
HITS = 20
LAST_PAGE = 50

#: The cosine distance from which on not even the nearest entry is about a text.
#: benchmarks/weak_matches.py measures it: 92 % of 50 questions about anything but programming have
#: nothing as near, and of 36 about the standard library 94 % have. Entries beyond it are shown all
#: the same, under a notice.
FARTHEST = 0.6


class Mode(TextChoices):
    """What counts: the meaning of a text, its words, or both."""

    BOTH = "both"
    MEANING = "meaning"
    WORDS = "words"


class Ranks(NamedTuple):
    """The places that a hit has by meaning and by words; None where it was not found that way."""

    meaning: int | None
    words: int | None


def entries_matching(
    text: str, mode: str = Mode.BOTH, *, kind: str = "", module: str = ""
) -> QuerySet[Entry]:
    """
    Entries for ``text``, the best first, of a kind and a module if need be.

    By meaning each has its ``distance``, by words its ``rank``, and by both its ``score`` and its
    ``score_ranks``. None for a text without a single word, which has nothing to be near to.
    """
    rows = within(_entries(), kind, module)
    if not has_words(text):
        return rows.none()
    if mode == Mode.WORDS:
        return matching(rows, text, match="any")
    vector = embed([text])[0]
    if mode == Mode.MEANING:
        return nearest(rows, "embedding", vector)
    # Who types a name wants the entry of that name; benchmarks/hybrid_quality.py chose these two.
    return hybrid(rows, "embedding", vector, text, k=None, rank_constant=10, weights=(1, 1.5))


def searched(text: str, mode: str) -> QuerySet[Entry]:
    """The entries among which a search looks: all with a vector, or those with a word of it."""
    if mode == Mode.WORDS:
        return entries_matching(text, mode)
    return Entry.objects.exclude(embedding=None) if has_words(text) else Entry.objects.none()


def is_weak(text: str, mode: str, *, kind: str = "", module: str = "") -> bool:
    """Whether no entry is near to ``text``, and, where words count too, none has all of them."""
    rows = within(Entry.objects.all(), kind, module)
    if mode == Mode.WORDS or not has_words(text):
        return False
    if nearest(rows, "embedding", embed([text])[0], max_distance=FARTHEST, k=1):
        return False
    return mode == Mode.MEANING or not matching(rows, text).exists()


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
