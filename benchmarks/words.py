"""
Searching 100,000 paragraphs for words: milliseconds, the index's size, and what an insert costs.

The paragraphs are those of ``corpus.py``, in a table with a TextIndex over title (weight A) and
text (B). Searches read the keys of the first ten rows, of the best rank; "counted" counts all that
match. A search on PostgreSQL makes the words of each row that it finds once more, for the rank. The
inserts are of 1,000 rows in one transaction, with the index and without it, in turns. Writes
words.txt.

    pip install -e '.[bench]'
    python benchmarks/words.py
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import common
from corpus import corpus

LABELS = {"default": "PostgreSQL", "sqlite": "SQLite", "libsql": "libSQL"}
K = 10
INSERTED = 1_000
#: What is searched: the text, and options of matching().
SEARCHES: dict[str, tuple[str, dict[str, Any]]] = {
    "a rare word": ("singledispatch", {}),
    "a name with dots": ("os.path", {}),
    "a common word": ("function", {}),
    "two words": ("sparse matrix", {}),
    "a phrase": ('"regular expression"', {}),
    "one word without another": ("thread -lock", {}),
    "any of five words": ("parse json file encoding error", {"match": "any"}),
}


def run(databases: dict[str, dict[str, Any]], options: argparse.Namespace) -> list[str]:
    from dorm_vector import TextIndex, models

    count = 5_000 if options.quick else 100_000
    rounds = 3 if options.quick else 7
    with common.step("paragraphs"):
        found = corpus(10_000 if options.quick else count)
    fields = {"title": models.CharField(max_length=200), "text": models.TextField()}
    index = TextIndex(
        fields=["title", "text"], name="words_text", weights={"title": "A", "text": "B"}
    )
    model = common.model("words", indexes=[index], **{k: f.clone() for k, f in fields.items()})
    plain = common.model("words_plain", **{k: f.clone() for k, f in fields.items()})
    pairs = [(title[-200:], text) for title, text in zip(found.titles, found.texts, strict=True)]
    pairs = pairs[:count]
    built, searched = [], []
    for alias in common.ALIASES:
        with common.tables(model, alias), common.tables(plain, alias):
            built.append(build(alias, model, plain, pairs, rounds))
            searched.append(search(alias, model, rounds))
    intro = (
        f"{count:,} paragraphs of {statistics.mean(len(text) for _, text in pairs):.0f} characters."
    )
    head = ("Built by", "build s", "index MB", "table MB", f"{INSERTED:,} rows ms", "without index")
    return [intro, common.table(head, built), searches(searched)]


def build(
    alias: str, model: Any, plain: Any, pairs: list[tuple[str, str]], rounds: int
) -> list[str]:
    with common.step(f"{LABELS[alias]}: load and build"):
        fill(model, alias, pairs)
        fill(plain, alias, pairs)
        table = size(alias)
        start = time.perf_counter()
        common.build(model, alias)
        seconds = time.perf_counter() - start
        index = size(alias) - table
    ways = {"with": inserting(model, alias, pairs), "without": inserting(plain, alias, pairs)}
    common.warm_up(ways)
    measured, _ = common.alternating(ways, rounds)
    with_index, without = (
        f"{statistics.median(common.milliseconds(measured[way])):,.0f}" for way in ways
    )
    return [
        LABELS[alias],
        f"{seconds:.1f}",
        f"{index / 1e6:,.0f}",
        f"{table / 2e6:,.0f}",
        with_index,
        without,
    ]


def fill(model: Any, alias: str, pairs: list[tuple[str, str]]) -> None:
    made = (model(title=title, text=text) for title, text in pairs)
    model.objects.using(alias).bulk_create(made, batch_size=5_000)


def inserting(model: Any, alias: str, pairs: list[tuple[str, str]]) -> Callable[[int], Any]:
    rows = model.objects.using(alias)

    def insert(number: int) -> None:
        part = pairs[number * INSERTED : (number + 1) * INSERTED]
        rows.bulk_create([model(title=title, text=text) for title, text in part])

    return insert


def size(alias: str) -> int:
    """The bytes that the database takes."""
    if alias == "default":
        return int(common.execute("SELECT pg_database_size(current_database())", alias)[0][0])
    common.execute("VACUUM", alias)
    pages, size = (
        common.execute(f"PRAGMA {each}", alias)[0][0] for each in ("page_count", "page_size")
    )
    return int(pages) * int(size)


def search(alias: str, model: Any, rounds: int) -> dict[str, list[float]]:
    from dorm_vector import matching

    rows = model.objects.using(alias)
    found: dict[str, list[float]] = {}
    with common.step(f"{LABELS[alias]}: search"):
        for name, (text, options) in SEARCHES.items():
            ways = {
                name: lambda n, t=text, o=options: list(
                    matching(rows, t, k=K, **o).values_list("pk")
                ),
                "counted": lambda n, t=text, o=options: matching(rows, t, **o).count(),
            }
            common.warm_up(ways)
            measured, results = common.alternating(ways, rounds)
            found[name] = [
                *(statistics.median(common.milliseconds(measured[way])) for way in ways),
                results["counted"][0],
            ]
    return found


def searches(measured: list[dict[str, list[float]]]) -> str:
    head = ("Search", "rows", *(f"{LABELS[alias]} ms" for alias in common.ALIASES))
    head = (*head, *(f"{LABELS[alias]} counted" for alias in common.ALIASES))
    rows = []
    for name in measured[0]:
        each = [found[name] for found in measured]
        numbers = [f"{found[0]:,.1f}" for found in each] + [f"{found[1]:,.1f}" for found in each]
        rows.append([name, f"{each[0][2]:,.0f}", *numbers])
    return common.table(head, rows)


if __name__ == "__main__":
    common.main("words", __doc__, run)
