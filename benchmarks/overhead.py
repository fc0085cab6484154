"""
The query itself: what nearest() costs beside the same SQL run by a bare driver.

20,000 random vectors of 384 dimensions. On PostgreSQL the ten nearest primary keys by an HnswIndex,
against psycopg with the same SQL and parameters, and against the query that pgvector.django's
documentation shows. On SQLite nearest(exact=True), against sqlite3 with the same SQL. Then making a
query and its SQL alone, without running it. Writes overhead.rst.

    pip install -e '.[bench]'
    python benchmarks/overhead.py
"""

from __future__ import annotations

import functools
import sqlite3
import statistics
import sys
from collections.abc import Callable
from typing import Any

import common
import numpy as np

DIMENSIONS = 384
SEED = 20_240
K = 10

NEAREST, BARE, PREPARED = "nearest()", "bare driver", "bare driver, prepared statement"
PEER, PLAIN = "pgvector.django", "order_by(CosineDistance)"

Ways = dict[str, Callable[[int], Any]]


def main() -> None:
    options = common.arguments(__doc__)
    rows, rounds = (2_000, 50) if options.quick else (20_000, 300)
    with common.every_database() as databases:
        databases.pop("libsql")
        common.configure(**databases)
        ours, theirs = load(rows, databases)
        queries = np.random.default_rng(SEED + 1).standard_normal((rounds, DIMENSIONS), np.float32)
        file = databases["sqlite"]["NAME"]
        common.report(
            options.output / "overhead.rst",
            f"{rows:,} rows of {DIMENSIONS} dimensions, k={K}",
            measured("PostgreSQL, HnswIndex", postgresql(ours, theirs, queries), rounds, 2),
            measured("SQLite, exact=True", sqlite(ours, queries, file), rounds // 3, 2),
            building(ours, theirs, queries, rounds),
        )


def load(rows: int, aliases: Any) -> tuple[Any, Any]:
    """The models, dorm_vector's and pgvector.django's, of one table with its rows and its index."""
    from django.db import connection

    from dorm_vector import bulk_copy

    ours, theirs = declared()
    (index,), ours._meta.indexes = ours._meta.indexes, []
    vectors = np.random.default_rng(SEED).standard_normal((rows, DIMENSIONS), np.float32)
    common.create(ours, *aliases)
    for alias in aliases:
        with common.step(f"Loading {rows:,} rows into {alias}"):
            bulk_copy(ours.objects.using(alias), (ours(embedding=row) for row in vectors))
    with common.step("Building the index"), connection.schema_editor() as editor:
        editor.add_index(ours, index)
    common.execute("VACUUM ANALYZE item")
    ours._meta.indexes = [index]
    return ours, theirs


def declared() -> tuple[Any, Any]:
    from pgvector.django import VectorField as PgvectorField

    from dorm_vector import HnswIndex, VectorQuerySet, models

    class Item(models.Model):
        embedding = models.VectorField(DIMENSIONS)

        objects = VectorQuerySet.as_manager()

        class Meta:
            app_label = "benchmarks"
            db_table = "item"
            indexes = [HnswIndex(fields=["embedding"], name="item_hnsw", metric="cosine")]

        def __str__(self) -> str:
            return f"Item {self.pk}"

    class PgvectorItem(models.Model):
        embedding = PgvectorField(dimensions=DIMENSIONS)

        class Meta:
            app_label = "benchmarks"
            db_table = "item"
            managed = False

        def __str__(self) -> str:
            return f"Item {self.pk}"

    return Item, PgvectorItem


# The queries


def nearest(model: Any, query: Any, alias: str = "default", exact: bool = False) -> Any:
    rows = model.objects.using(alias).nearest("embedding", query, k=K, exact=exact)
    return rows.values_list("pk", flat=True)


def plain(model: Any, query: Any) -> Any:
    from dorm_vector import CosineDistance

    return model.objects.order_by(CosineDistance("embedding", query)).values_list("pk", flat=True)[
        :K
    ]


def peer(model: Any, query: Any) -> Any:
    from pgvector.django import CosineDistance

    return model.objects.order_by(CosineDistance("embedding", query)).values_list("pk", flat=True)[
        :K
    ]


def statement(rows: Any) -> Any:
    """The SQL and its parameters, as they are for the database of the rows."""
    return rows.query.get_compiler(rows.db).as_sql()


# The ways


def postgresql(ours: Any, theirs: Any, queries: np.ndarray) -> Ways:
    import psycopg
    from django.db import connection

    statements = [statement(nearest(ours, query)) for query in queries]
    if "item_hnsw" not in nearest(ours, queries[0]).explain():
        sys.exit("The index is not used.")
    given = connection.get_connection_params()
    given = {name: given[name] for name in ("dbname", "user", "host", "password") if name in given}
    # Django's cursors put the parameters into the text; psycopg's own send them apart from it.
    client = psycopg.connect(**given, autocommit=True, cursor_factory=psycopg.ClientCursor)
    server = psycopg.connect(**given, autocommit=True)
    for raw in (client, server):
        raw.execute("SET hnsw.iterative_scan = strict_order")

    def bare(raw: Any, number: int) -> list[int]:
        return [row[0] for row in raw.execute(*statements[number]).fetchall()]

    return {
        NEAREST: lambda number: list(nearest(ours, queries[number])),
        BARE: functools.partial(bare, client),
        PREPARED: functools.partial(bare, server),
        PLAIN: lambda number: list(plain(ours, queries[number])),
        PEER: lambda number: list(peer(theirs, queries[number])),
    }


def sqlite(ours: Any, queries: np.ndarray, file: str) -> Ways:
    from dorm_vector import load_sqlite_vec_extension

    raw = sqlite3.connect(file)
    load_sqlite_vec_extension(raw)
    prepared = [statement(nearest(ours, query, "sqlite", exact=True)) for query in queries]
    statements = [(sql.replace("%s", "?"), params) for sql, params in prepared]
    return {
        NEAREST: lambda number: list(nearest(ours, queries[number], "sqlite", exact=True)),
        BARE: lambda number: [row[0] for row in raw.execute(*statements[number]).fetchall()],
    }


def building(ours: Any, theirs: Any, queries: np.ndarray, rounds: int) -> str:
    """Making a query and its SQL, of a numpy array and of a list."""
    lists = queries.tolist()
    ways: Ways = {
        "nearest(), numpy array": lambda number: statement(nearest(ours, queries[number])),
        "nearest(), list": lambda number: statement(nearest(ours, lists[number])),
        f"{PLAIN}, numpy array": lambda number: statement(plain(ours, queries[number])),
        f"{PLAIN}, list": lambda number: statement(plain(ours, lists[number])),
        f"{PEER}, numpy array": lambda number: statement(peer(theirs, queries[number])),
        f"{PEER}, list": lambda number: statement(peer(theirs, lists[number])),
        "nearest(), SQLite, numpy array": lambda number: statement(
            nearest(ours, queries[number], "sqlite", exact=True)
        ),
    }
    common.warm_up(ways)
    seconds, _ = common.alternating(ways, rounds)
    rows = common.compared(seconds, [f"{PEER}, list"], unit=1e6, digits=0)
    header = ["Made of", "median", "min", "max", f"to {PEER}, list"]
    return f"Queries and their SQL, not run; microseconds\n\n{common.table(header, rows)}"


def measured(label: str, ways: Ways, rounds: int, digits: int) -> str:
    """A table. Ends with an error where other rows are found than by the bare driver."""
    with common.step(label):
        common.warm_up(ways)
        seconds, found = common.alternating(ways, rounds)
    if differing := [name for name in found if found[name] != found[BARE]]:
        sys.exit(f"{label}: other rows than by the bare driver from {differing}")
    to = [name for name in (BARE, PEER) if name in ways]
    rows = [
        [*row, *(f"{more(seconds[row[0]], seconds[name]):+.2f}" for name in to)]
        for row in common.compared(seconds, [], digits=digits)
    ]
    header = ["Rows by", "median", "min", "max", *(f"more than {name}" for name in to)]
    return f"{label}, {rounds} rounds; milliseconds\n\n{common.table(header, rows)}"


def more(some: list[float], others: list[float]) -> float:
    """The median of the differences, round by round: each of them is about one query."""
    pairs = zip(some, others, strict=True)
    return statistics.median(1000 * (one - other) for one, other in pairs)


if __name__ == "__main__":
    main()
