"""
Meaning, words, and both: which finds the right entry of the standard library's documentation.

The entries are those of the demo, each with the embedding of its name and summary, and a TextIndex
over name, summary and docstring. The questions and their right entries are in hybrid_questions.py.
No vector index is declared, so that meaning is exact.
"both" is hybrid() at its defaults, and "both, tuned" what the demo does. Writes hybrid_quality.txt.

    pip install -e '.[bench]'
    python benchmarks/hybrid_quality.py --output docs/performance
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

import common
from hybrid_questions import IN_WORDS, WITH_NAMES

# The hits that are looked through for the right entry.
DEPTH = 100
HEAD = ("Search", "hit@5", "MRR", "in words", "with names")
LABELS = {"default": "PostgreSQL", "sqlite": "SQLite", "libsql": "libSQL"}

Search = Callable[[Any, Any, str], Any]


def by_meaning(rows: Any, vector: Any, text: str) -> Any:
    return rows.nearest("embedding", vector, k=DEPTH)


def by_words(rows: Any, vector: Any, text: str) -> Any:
    return rows.matching(text, match="any", k=DEPTH)


def by_both(rows: Any, vector: Any, text: str) -> Any:
    return rows.hybrid("embedding", vector, text, k=DEPTH)


def by_both_tuned(rows: Any, vector: Any, text: str) -> Any:
    return rows.hybrid("embedding", vector, text, k=DEPTH, **TUNED)


# In the middle of those that do well, of ranks of 1 to 60 and of weights of 1 to 3 that were tried.
TUNED: dict[str, Any] = {"rank_constant": 10, "weights": (1, 1.5)}
SEARCHES: dict[str, Search] = {
    "meaning": by_meaning,
    "words": by_words,
    "both": by_both,
    "both, tuned": by_both_tuned,
}


def run(databases: dict[str, dict[str, Any]], options: argparse.Namespace) -> list[str]:
    from example_project.library.embedding import embed, text_of
    from example_project.library.stdlib import documented

    items = documented()
    vectors = embed([text_of(item) for item in items])
    pairs = [*IN_WORDS, *WITH_NAMES]
    questions = embed([question for question, _ in pairs])
    model = declared()
    entries = [
        model(name=item.name, summary=item.summary, doc=item.doc, embedding=vector)
        for item, vector in zip(items, vectors, strict=True)
    ]
    parts = []
    for alias, label in LABELS.items():
        with common.step(label), common.tables(model, alias):
            model.objects.using(alias).bulk_create(entries)
            common.build(model, alias)
            rows = [
                row(name, search, model.objects.using(alias), questions)
                for name, search in SEARCHES.items()
            ]
        parts.append(common.titled(f"{label}, {len(items):,} entries", HEAD, rows))
    return parts


def declared() -> Any:
    from dorm_vector import TextIndex, models

    return common.model(
        "entry",
        indexes=[TextIndex(fields=["name", "summary", "doc"], name="entry_text")],
        name=models.CharField(max_length=200),
        summary=models.TextField(),
        doc=models.TextField(),
        embedding=models.VectorField(256),
    )


def row(name: str, search: Search, entries: Any, questions: Sequence[Any]) -> list[str]:
    places = [
        place(search(entries, vector, text), right)
        for vector, (text, right) in zip(questions, [*IN_WORDS, *WITH_NAMES], strict=True)
    ]
    in_words, with_names = places[: len(IN_WORDS)], places[len(IN_WORDS) :]
    parts = (
        f"{hit_at_5(part):.2f}, {mean_reciprocal_rank(part):.2f}" for part in (in_words, with_names)
    )
    return [name, f"{hit_at_5(places):.3f}", f"{mean_reciprocal_rank(places):.3f}", *parts]


def place(found: Any, right: Sequence[str]) -> int | None:
    """The place of the first right entry among the hits, from 1."""
    names = list(found.values_list("name", flat=True))
    return next((number for number, name in enumerate(names, start=1) if name in right), None)


def hit_at_5(places: Sequence[int | None]) -> float:
    return sum(place is not None and place <= 5 for place in places) / len(places)


def mean_reciprocal_rank(places: Sequence[int | None]) -> float:
    return sum(1 / place for place in places if place) / len(places)


if __name__ == "__main__":
    common.main("hybrid_quality", __doc__, run)
