"""
Meaning, words, and both: which finds the right entry of the standard library's documentation.

The entries are those of the demo, each with the embedding of its name and summary, and a TextIndex
over name, summary and docstring. The questions and their right entries are in hybrid_questions.py.
No vector index is declared, so that meaning is exact. "both" is hybrid() at its defaults, and
"both, tuned" what the demo does. Then the constant of ranks and the weight of words are chosen on
seven eighths of the questions, by their MRR, and judged on the last eighth, in turn. Writes
hybrid_quality.txt and hybrid_weights.txt.

    pip install -e '.[bench]'
    python benchmarks/hybrid_quality.py
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import common
from hybrid_questions import IN_WORDS, WITH_NAMES

# The hits that are looked through for the right entry.
DEPTH = 100
PAIRS = [*IN_WORDS, *WITH_NAMES]
HEAD = ("Search", "hit@5", "MRR", "in words", "with names")
WEIGHTS_HEAD = ("Database", "both, hit@5", "words, hit@5", "both, MRR", "words, MRR")
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


def main() -> None:
    options = common.arguments(__doc__)
    with common.every_database() as databases:
        common.configure(**databases)
        qualities, weights = [], []
        for label, quality, chosen in measured({"sqlite"} if options.quick else {*LABELS}):
            qualities.append(quality)
            weights.append([label, *chosen])
        common.report(options.output / "hybrid_quality.txt", *qualities)
        title = f"Chosen on other questions, {FOLDS} times"
        table = common.titled(title, WEIGHTS_HEAD, weights)
        common.report(options.output / "hybrid_weights.txt", table)


def measured(aliases: set[str]) -> Iterator[tuple[str, str, list[str]]]:
    """Of each database its name, the table of its searches, and what is chosen by others."""
    from example_project.library.embedding import embed, text_of
    from example_project.library.stdlib import documented

    items = documented()
    vectors = embed([text_of(item) for item in items])
    questions = embed([question for question, _ in PAIRS])
    model = declared()
    entries = [
        model(name=item.name, summary=item.summary, doc=item.doc, embedding=vector)
        for item, vector in zip(items, vectors, strict=True)
    ]
    for alias, label in LABELS.items():
        if alias not in aliases:
            continue
        rows = model.objects.using(alias)
        with common.step(label), common.tables(model, alias):
            rows.bulk_create(entries)
            common.build(model, alias)
            found = [row(name, search, rows, questions) for name, search in SEARCHES.items()]
            ranks = [
                (ranked(by_meaning(rows, vector, text)), ranked(by_words(rows, vector, text)))
                for vector, (text, _) in zip(questions, PAIRS, strict=True)
            ]
        title = f"{label}, {len(items):,} entries"
        yield label, common.titled(title, HEAD, found), validated(ranks)


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
        for vector, (text, right) in zip(questions, PAIRS, strict=True)
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


# Choosing the constant and the weight

FOLDS = 8
CONSTANTS = (1, 2, 5, 10, 15, 20, 30, 60)
WEIGHTS = (1.0, 1.2, 1.5, 2.0, 2.5, 3.0)

# Ranks of the hits of one search, from 1, by their names.
Ranks = dict[str, int]


def ranked(found: Any) -> Ranks:
    """Of two entries of one name the first."""
    ranks: Ranks = {}
    for rank, name in enumerate(found.values_list("name", flat=True), start=1):
        ranks.setdefault(name, rank)
    return ranks


def validated(ranks: list[tuple[Ranks, Ranks]]) -> list[str]:
    """hit@5 and MRR of both and of words alone, each question by what others have chosen."""
    places = {
        choice: [fused_place(*each, PAIRS[number][1], *choice) for number, each in enumerate(ranks)]
        for choice in itertools.product(CONSTANTS, WEIGHTS)
    }
    both: list[int | None] = []
    for fold in range(FOLDS):
        judged = range(fold, len(ranks), FOLDS)
        learned = [number for number in range(len(ranks)) if number not in judged]
        best = max(
            places,
            key=lambda choice: mean_reciprocal_rank([places[choice][n] for n in learned]),
        )
        both += [places[best][number] for number in judged]
    words = [
        min((found[name] for name in right if name in found), default=None)
        for (_, found), (_, right) in zip(ranks, PAIRS, strict=True)
    ]
    numbers = [judge(each) for judge in (hit_at_5, mean_reciprocal_rank) for each in (both, words)]
    return [f"{number:.2f}" for number in numbers]


def fused_place(
    meaning: Ranks, words: Ranks, right: Sequence[str], constant: int, weight: float
) -> int | None:
    scores: dict[str, float] = defaultdict(float)
    for ranks, factor in ((meaning, 1.0), (words, weight)):
        for name, rank in ranks.items():
            scores[name] += factor / (constant + rank)
    order = sorted(scores, key=lambda name: -scores[name])
    return next((place for place, name in enumerate(order, start=1) if name in right), None)


if __name__ == "__main__":
    main()
