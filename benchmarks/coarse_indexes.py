"""
nearest() through coarse indexes: recall and time by ``oversample``.

Real text, which are paragraphs of docstrings, and the demo's embeddings in 256 dimensions, and
GloVe's word vectors of 50, on PostgreSQL and SQLite; 50 queries held out; the expected answers are
numpy's. Writes coarse_indexes.txt.

    pip install -e '.[bench]'
    python benchmarks/coarse_indexes.py
"""

from __future__ import annotations

import statistics
import time
from typing import Any

import common
import libsql_index
import numpy as np

K = 10
QUERIES = 50
OVERSAMPLES = (4, 10, 20, 40, 100)
# The rows of each.
DATA = {"paragraphs": 100_000, "demo": 100_000, "glove": 30_000}
QUICK_DATA = {"paragraphs": 2_000}
# Options of VectorIndex.
REDUCTIONS: dict[str, dict[str, Any]] = {
    "all of it": {},
    "float16": {"precision": "half"},
    "signs": {"precision": "bit"},
    "a quarter of the components": {"prefix": 4},
}
HEAD = ("Data", "Database", "Index over", *(f"{number} times" for number in OVERSAMPLES))


def main() -> None:
    options = common.arguments(__doc__)
    rows: list[tuple[str, ...]] = []
    with common.every_database() as databases:
        others = {"sqlite": databases["sqlite"]}
        common.configure(databases["default"], **others)
        for name, count in (QUICK_DATA if options.quick else DATA).items():
            data = libsql_index.load(name, count, "cosine")
            for reduction, given in REDUCTIONS.items():
                rows.extend(measure(name, data, reduction, dict(given)))
        common.report(options.output / "coarse_indexes.txt", common.table(HEAD, rows))


def measure(name: str, data: Any, reduction: str, given: dict[str, Any]) -> list[tuple[str, ...]]:
    dimensions = data.vectors.shape[1]
    if "prefix" in given:
        given["prefix"] = dimensions // given["prefix"]
    model = declared(dimensions, given)
    found = []
    for alias, label in (("default", "PostgreSQL"), ("sqlite", "SQLite")):
        with common.step(f"{name} {label} {reduction}"), common.tables(model, alias):
            model.objects.using(alias).bulk_copy(model(embedding=row) for row in data.vectors)
            common.build(model, alias)
            cells = [search(model, alias, data, number) for number in OVERSAMPLES]
        found.append((f"{name}, {len(data.vectors):,} x {dimensions}", label, reduction, *cells))
    return found


def declared(dimensions: int, given: dict[str, Any]) -> Any:
    from dorm_vector import VectorIndex, models

    index = VectorIndex(fields=["embedding"], name="coarse_embedding", metric="cosine", **given)
    return common.model("coarse", indexes=[index], embedding=models.VectorField(dimensions))


def search(model: Any, alias: str, data: Any, oversample: int) -> str:
    manager = model.objects.using(alias)
    hits, seconds = 0, []
    for query, expected in zip(data.queries[:QUERIES], data.exact[:QUERIES], strict=True):
        start = time.perf_counter()
        found = manager.nearest("embedding", query, k=K, oversample=oversample)
        distances = list(found.values_list("distance", flat=True))
        seconds.append(time.perf_counter() - start)
        hits += int(np.sum(np.array(distances) <= expected[K - 1] + 1e-6))
    return f"{hits / (K * QUERIES):.3f}, {1000 * statistics.median(seconds):.1f} ms"


if __name__ == "__main__":
    main()
