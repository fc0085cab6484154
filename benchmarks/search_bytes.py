"""
nearest() on SQLite through the index for the cosine distance, a byte a component, against its scan.

Real text (100,000 paragraphs in 256 dimensions), random vectors and clusters of them (50,000 in
384), and GloVe's words. Each query goes through the index and through the table, in turn; the right
answers are numpy's, in float64. The milliseconds are the processor's: SQLite runs in this process,
and they are the same whatever else the machine does. Writes search_bytes.txt.

    pip install -e '.[bench]'
    python benchmarks/search_bytes.py
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import common
import corpus
import glove
import numpy as np

SEED = 20_240
QUERIES = 15
# How many rows, and up to how many bytes of the file are mapped into memory.
SEARCHES = ((10, 0), (100, 0), (1000, 0), (10, 1 << 30))
HEAD = ("Data", "Rows", "k", "Index ms", "Scan ms", "Scan to index", "Recall")


def main() -> None:
    options = common.arguments(__doc__)
    part = 10 if options.quick else 1
    with common.temporary_folder() as folder:
        file = os.path.join(folder, "db.sqlite3")
        common.configure({"ENGINE": "django.db.backends.sqlite3", "NAME": file})
        rows = [
            row
            for number, (name, make) in enumerate(DATA.items())
            for row in measure(number, name, make(part))
        ]
    common.report(options.output / "search_bytes.txt", common.table(HEAD, rows))


def text(part: int) -> np.ndarray:
    return np.random.default_rng(SEED).permutation(corpus.corpus(100_000 // part).vectors)


def scattered(part: int) -> np.ndarray:
    return np.random.default_rng(SEED).standard_normal((50_000 // part, 384), np.float32)


def clusters(part: int) -> np.ndarray:
    random = np.random.default_rng(SEED)
    centers = random.standard_normal((100, 384), np.float32)
    chosen = centers[random.integers(0, 100, 50_000 // part)]
    return chosen + 0.3 * random.standard_normal(chosen.shape, np.float32)


def words(part: int) -> np.ndarray:
    vectors = np.random.default_rng(SEED).permutation(glove.glove())
    return vectors[: len(vectors) // part]


DATA: dict[str, Callable[[int], np.ndarray]] = {
    "paragraphs": text,
    "random": scattered,
    "clusters": clusters,
    "GloVe": words,
}


def measure(number: int, name: str, vectors: np.ndarray) -> Iterator[list[str]]:
    from django.db import connection

    from dorm_vector import VectorIndex, bulk_copy, models

    queries, kept = vectors[:QUERIES], vectors[QUERIES:]
    index = VectorIndex(fields=["embedding"], name=f"bytes_{number}", metric="cosine")
    field = models.VectorField(vectors.shape[1])
    model = common.model(f"table_{number}", indexes=[index], embedding=field)
    with common.step(name), common.tables(model, "default"):
        bulk_copy(model, (model(embedding=vector) for vector in kept))
        common.build(model, "default")
        for k, mapped in SEARCHES:
            with connection.cursor() as cursor:
                cursor.execute(f"PRAGMA mmap_size = {mapped}")
            yield [
                f"{name}, mmap" if mapped else name,
                f"{len(kept):,} x {vectors.shape[1]}",
                str(k),
                *compare(model, kept, queries, k),
            ]


def compare(model: Any, vectors: np.ndarray, queries: np.ndarray, k: int) -> list[str]:
    def search(place: int, exact: bool) -> list[float]:
        found = model.objects.nearest("embedding", queries[place], k=k, exact=exact)
        return list(found.values_list("distance", flat=True))

    ways: dict[str, Callable[[int], Any]] = {
        "index": lambda place: search(place, False),
        "scan": lambda place: search(place, True),
    }
    common.warm_up(ways)
    seconds, found = common.alternating(ways, len(queries), clock=time.process_time)
    units, wanted = glove.unit(vectors), glove.unit(queries)
    hits = 0
    for distances, query in zip(found["index"], wanted, strict=True):
        last = np.partition(1 - units @ query, k - 1)[k - 1]
        hits += int(np.count_nonzero(np.array(distances) <= last + 1e-6))
    medians = [common.spread(common.milliseconds(seconds[way]))[0] for way in ways]
    ratio = common.ratio(seconds["scan"], seconds["index"])
    return [*medians, f"{ratio:.2f}", f"{hits / (k * len(queries)):.4f}"]


if __name__ == "__main__":
    main()
