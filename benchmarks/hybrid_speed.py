"""
What a hybrid search of 100,000 paragraphs costs, beside the two searches that it is made of.

The paragraphs are those of corpus.py, with a TextIndex, and an HnswIndex of their embeddings, which
only PostgreSQL builds: on SQLite and libSQL meaning is searched exactly. The
questions are those of hybrid_questions.py. The three searches take turns. Writes hybrid_speed.txt.

    pip install -e '.[bench]'
    python benchmarks/hybrid_speed.py
"""

from __future__ import annotations

import argparse
import statistics
from typing import Any

import common
from corpus import DIMENSIONS, Corpus, corpus
from hybrid_questions import IN_WORDS, WITH_NAMES

CANDIDATES = 100
K = 10
LABELS = {"default": "PostgreSQL", "sqlite": "SQLite", "libsql": "libSQL"}
HEAD = ("Database", "nearest, ms", "matching, ms", "sum, ms", "hybrid, ms", "hybrid / sum")


def run(databases: dict[str, dict[str, Any]], options: argparse.Namespace) -> list[str]:
    count = 10_000 if options.quick else 100_000
    with common.step("corpus"):
        data = corpus(count)
    questions, model = asked(8 if options.quick else 72), declared()
    cells = [row(model, alias, data, questions) for alias in common.ALIASES]
    title = f"{len(data.texts):,} paragraphs, {CANDIDATES} candidates of each, the medians"
    return [common.titled(title, HEAD, cells)]


def asked(count: int) -> list[tuple[str, Any]]:
    from example_project.library.embedding import embed

    pairs = [*IN_WORDS, *WITH_NAMES]
    texts = [text for text, _ in pairs[:: len(pairs) // count]]
    return list(zip(texts, embed(texts), strict=True))


def declared() -> Any:
    from dorm_vector import HnswIndex, TextIndex, models

    return common.model(
        "paragraph",
        indexes=[
            HnswIndex(fields=["embedding"], name="paragraph_embedding", metric="cosine"),
            TextIndex(fields=["title", "text"], name="paragraph_text"),
        ],
        title=models.CharField(max_length=200),
        text=models.TextField(),
        embedding=models.VectorField(DIMENSIONS),
    )


def row(model: Any, alias: str, data: Corpus, questions: list[Any]) -> list[str]:
    rows = model.objects.using(alias)
    with common.step(LABELS[alias]), common.tables(model, alias):
        rows.bulk_copy(
            model(title=title, text=text, embedding=vector)
            for title, text, vector in zip(*data, strict=True)
        )
        common.build(model, alias)
        seconds = measured(rows.defer("embedding"), questions)
    near, worded, both = (
        statistics.median(common.milliseconds(seconds[name])) for name in ("near", "worded", "both")
    )
    # Of the same question, so that a slow one is slow in both.
    ratios = [
        hybrid / (one + other)
        for one, other, hybrid in zip(
            *(seconds[n] for n in ("near", "worded", "both")), strict=True
        )
    ]
    numbers = [f"{number:.1f}" for number in (near, worded, near + worded, both)]
    return [LABELS[alias], *numbers, f"{statistics.median(ratios):.2f}"]


def measured(rows: Any, questions: list[Any]) -> dict[str, list[float]]:
    """The seconds of each search, question by question; the two legs read the rows they find."""

    def near(number: int) -> None:
        list(rows.nearest("embedding", questions[number][1], k=CANDIDATES))

    def worded(number: int) -> None:
        list(rows.matching(questions[number][0], match="any", k=CANDIDATES))

    def both(number: int) -> None:
        text, vector = questions[number]
        list(rows.hybrid("embedding", vector, text, k=K, candidates=CANDIDATES))

    ways = {"near": near, "worded": worded, "both": both}
    common.warm_up(ways)
    return common.alternating(ways, len(questions))[0]


if __name__ == "__main__":
    common.main("hybrid_speed", __doc__, run)
