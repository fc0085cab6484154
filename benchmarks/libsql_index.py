"""
VectorIndex on libSQL by its options: size, speed and recall, against exact searches.

All of it through Django. Paragraphs of real text and the demo's embeddings of the standard
library's docstrings, both of 256 dimensions, and GloVe's word vectors of 50. For each combination
of options AddIndex runs on the filled table, 500 more rows are inserted, and 200 queries held out
are searched: ``nearest("embedding", query, k=10)``. The expected answers are numpy's, in float64.
Writes libsql_index.txt; names choose of its tables.

    pip install -e '.[bench]'
    python benchmarks/libsql_index.py
    python benchmarks/libsql_index.py glove-cosine text-l2
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import common
import glove
import numpy as np
from sources import paragraphs

K = 10
QUERIES = 200
EXACT_QUERIES = 50
INSERTED = 500
QUICK_ROWS = 1_000
SEED = 20_240

# What libSQL takes where it is given no options; max_neighbors is 3 times the root of dimensions.
LIBSQL = "max_neighbors=auto compress_neighbors=float32 alpha=1.2"

# The options of VectorIndex: none are its own defaults, the last ones those of libSQL itself.
GRID = (
    "",
    "max_neighbors=12",
    "max_neighbors=32",
    "search_l=100",
    "search_l=400",
    "alpha=1.2",
    LIBSQL,
)
FEW = ("", "max_neighbors=32")


class Case(NamedTuple):
    title: str
    source: str
    rows: int
    metric: str
    grid: tuple[str, ...]


CASES = {
    "text-cosine": Case("Paragraphs", "paragraphs", 10_000, "cosine", FEW),
    "text-l2": Case("Paragraphs", "paragraphs", 10_000, "l2", FEW),
    "demo-cosine": Case("The example's entries", "demo", 20_000, "cosine", GRID),
    "demo-l2": Case("The example's entries", "demo", 20_000, "l2", FEW),
    "glove-cosine": Case("GloVe", "glove", 20_000, "cosine", GRID),
    "glove-l2": Case("GloVe", "glove", 20_000, "l2", GRID),
    "glove-cosine-50000": Case("GloVe", "glove", 50_000, "cosine", FEW),
    "glove-l2-50000": Case("GloVe", "glove", 50_000, "l2", FEW),
}


class Data(NamedTuple):
    vectors: np.ndarray
    queries: np.ndarray
    exact: np.ndarray


class Measured(NamedTuple):
    build: float
    inserts: float
    bytes: int
    recall: float
    seconds: float
    exact_seconds: float


def main() -> None:
    options = common.arguments(__doc__, CASES)
    with common.temporary_folder() as folder:
        filled, file = (os.path.join(folder, name) for name in ("filled.db", "indexed.db"))
        common.configure({"ENGINE": "dorm_vector.backends.libsql", "NAME": file})
        parts = [
            table(CASES[name], filled, file, QUICK_ROWS if options.quick else None)
            for name in options.names[: 2 if options.quick else None]
        ]
        common.report(options.output / "libsql_index.txt", *parts)


def table(case: Case, filled: str, file: str, most: int | None) -> str:
    data = load(case.source, min(case.rows, most or case.rows), case.metric)
    count, dimensions = data.vectors.shape
    model = declared(dimensions)
    later = len(data.vectors) - INSERTED
    with common.step(f"Loading {later:,} rows"):
        bare_inserts = fill(model, data.vectors[:later], data.vectors[later:])
        shutil.move(file, filled)
    rows = [
        ["no index", "", f"{bare_inserts:,.0f}", megabytes(os.path.getsize(filled)), "", "", ""]
    ]
    for grid_options in case.grid[: 1 if most else None]:
        shutil.copy(filled, file)
        with common.step(grid_options or "defaults"):
            measured = measure(model, data, case.metric, grid_options, file)
        rows.append([label(grid_options), *cells(measured)])
    os.remove(file)
    title = f"{case.title}, {count:,} rows of {dimensions} dimensions, {case.metric}"
    return common.titled(title, HEADER, rows)


def label(options: str) -> str:
    return {"": "defaults", LIBSQL: "libSQL's own"}.get(options, options)


# The vectors


def load(name: str, rows: int, metric: str) -> Data:
    """At most ``rows`` vectors in random order, the queries, and the K least distances of each."""
    with common.step(f"Loading {name}"):
        vectors = SOURCES[name](rows)
        chosen = np.random.default_rng(SEED).permutation(len(vectors))[: rows + QUERIES]
        queries, kept = vectors[chosen[:QUERIES]], vectors[chosen[QUERIES:]]
        nearest = [np.sort(distances(kept, query, metric))[:K] for query in queries]
    return Data(kept, queries, np.array(nearest))


def stdlib() -> np.ndarray:
    """The demo's embeddings of what has a docstring, without those that are there already."""
    from example_project.library import embedding
    from example_project.library import stdlib as library

    texts = sorted({embedding.text_of(item) for item in library.documented()})
    return np.unique(np.array(embedding.embed(texts), np.float32), axis=0)


SOURCES: dict[str, Callable[[int], np.ndarray]] = {
    "paragraphs": paragraphs,
    "demo": lambda rows: stdlib(),
    "glove": lambda rows: glove.glove(),
}


def distances(vectors: np.ndarray, query: np.ndarray, metric: str) -> np.ndarray:
    if metric == "cosine":
        return 1 - glove.unit(vectors) @ glove.unit(query)
    return np.linalg.norm(vectors.astype(np.float64) - query, axis=-1)


def recall(data: Data, metric: str, answers: list[list[int]]) -> float:
    """The share of the nearest rows that was found. Equally near ones will do."""
    found = 0
    for query, exact, pks in zip(data.queries, data.exact, answers, strict=True):
        near_enough = distances(data.vectors[pks], query, metric) <= exact[-1] + 1e-6
        found += int(np.count_nonzero(near_enough))
    return found / (K * len(answers))


# libSQL


def declared(dimensions: int) -> Any:
    """The model, without its index."""
    from dorm_vector import models

    return common.model("item", embedding=models.VectorField(dimensions))


def fill(model: Any, vectors: np.ndarray, later: np.ndarray) -> float:
    """Create the table and load it. Returns the rows a second of the later ones, taken back."""
    from django.db import connection, transaction

    common.create(model, "default")
    insert(model, vectors)
    with transaction.atomic():
        rate = len(later) / timed(insert, model, later)
        transaction.set_rollback(True)
    connection.close()
    return rate


def insert(model: Any, vectors: np.ndarray) -> None:
    from django.db import connection, transaction

    connection.ensure_connection()
    with transaction.atomic():
        model.objects.bulk_create([model(embedding=vector) for vector in vectors])


def measure(model: Any, data: Data, metric: str, options: str, file: str) -> Measured:
    from django.db import connection

    later = len(data.vectors) - INSERTED
    model._meta.indexes = [index(metric, options, data.vectors.shape[1])]
    try:
        build = timed(add_index, model)
        size = os.path.getsize(file)
        inserting = timed(insert, model, data.vectors[later:])
        answers, seconds = timings(model, data.queries, metric=metric)
        _, exact_seconds = timings(model, data.queries[:EXACT_QUERIES], metric=metric, exact=True)
    finally:
        connection.close()
    found = recall(data, metric, answers)
    return Measured(build, INSERTED / inserting, size, found, seconds, exact_seconds)


def index(metric: str, options: str, dimensions: int) -> Any:
    from dorm_vector import VectorIndex

    given: dict[str, Any] = {}
    options = options.replace("auto", str(int(3 * dimensions**0.5)))
    for name, value in (option.split("=") for option in options.split()):
        given[name] = value if name == "compress_neighbors" else json.loads(value)
    return VectorIndex(fields=["embedding"], name="item_embedding", metric=metric, **given)


def add_index(model: Any) -> None:
    """In a transaction, as a migration does it."""
    from django.db import connection

    with connection.schema_editor() as editor:
        editor.add_index(model, model._meta.indexes[0])


def timings(model: Any, queries: np.ndarray, **how: Any) -> tuple[list[list[int]], float]:
    """The primary keys found, in lists, and the median of the seconds of a search."""

    def search(query: np.ndarray) -> list[int]:
        found = model.objects.nearest("embedding", query, k=K, **how)
        return [pk - 1 for pk in found.values_list("pk", flat=True)]

    search(queries[0])
    answers, seconds = [], []
    for query in queries:
        start = time.perf_counter()
        answers.append(search(query))
        seconds.append(time.perf_counter() - start)
    return answers, statistics.median(seconds)


def timed(function: Any, *args: Any) -> float:
    start = time.perf_counter()
    function(*args)
    return time.perf_counter() - start


# The table


HEADER = ["options", "build s", "inserts/s", "MB", "recall@10", "ms", "ms exact"]


def cells(measured: Measured) -> list[str]:
    return [
        f"{measured.build:.1f}",
        f"{measured.inserts:,.0f}",
        megabytes(measured.bytes),
        f"{measured.recall:.3f}",
        f"{1000 * measured.seconds:.1f}",
        f"{1000 * measured.exact_seconds:.1f}",
    ]


def megabytes(size: int) -> str:
    return f"{size / 1e6:.1f}"


if __name__ == "__main__":
    main()
