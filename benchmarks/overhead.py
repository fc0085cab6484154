"""
The query itself: what nearest() costs beside the same SQL run by a bare driver.

20,000 random vectors of 384 dimensions. On PostgreSQL the ten nearest primary keys by an HnswIndex,
against psycopg with the same SQL and parameters, and against the query that pgvector.django's
documentation shows. On SQLite nearest(exact=True), against sqlite3 with the same SQL. Then making a
query and its SQL alone, without running it. At last, on Linux, the processor time of client and
server for both with 50, 384 and 1,536 dimensions: a busy machine changes it less than the time. So
for the ten nearest rows, and for a hundred and for those from row 41 on: there against the plain
query with as many candidates as rows, set in a transaction. Writes overhead.txt.

    pip install -e '.[bench]'
    python benchmarks/overhead.py
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import common
import numpy as np
import peers
import psycopg

TABLE = "overhead"
DIMENSIONS = 384
SEED = 20_240
K = 10

NEAREST, BARE, PREPARED = "nearest()", "bare driver", "bare driver, prepared statement"
INDEX = "overhead_hnsw"
# The rows of other numbers of dimensions.
ROWS = {50: 20_000, 384: 20_000, 1536: 12_000}
PEER, PLAIN = peers.PGVECTOR, "order_by(CosineDistance)"

Ways = dict[str, Callable[[int], Any]]


def run(databases: dict[str, dict[str, Any]], options: argparse.Namespace) -> list[str]:
    # Of fewer rows PostgreSQL would read them all where nearest() asks for a block of them.
    rows, rounds = (6_000, 50) if options.quick else (20_000, 300)
    ours, theirs = declared()
    queries = np.random.default_rng(SEED + 1).standard_normal((rounds, DIMENSIONS), np.float32)
    aliases = ("default", "sqlite")
    with common.tables(ours, *aliases):
        load(ours, rows, aliases)
        ways = postgresql(ours, theirs, queries, databases["default"])
        tables = [measured("PostgreSQL, HnswIndex", ways, rounds, 2)]
        ways = sqlite(ours, queries, databases["sqlite"])
        tables.append(measured("SQLite, exact=True", ways, rounds // 3, 2))
        tables.append(building(ours, theirs, queries, rounds))
    tables += by_dimensions(10 if options.quick else 1, rounds)
    return [f"{rows:,} rows of {DIMENSIONS} dimensions, k={K}.", *tables]


def declared(dimensions: int = DIMENSIONS) -> tuple[Any, Any]:
    """The models, dorm_vector's and pgvector.django's, of one table."""
    from dorm_vector import HnswIndex, models

    index = HnswIndex(fields=["embedding"], name=INDEX, metric="cosine")
    ours = common.model(TABLE, embedding=models.VectorField(dimensions), indexes=[index])
    return ours, peers.pgvector_model(TABLE, dimensions)


def load(model: Any, rows: int, aliases: tuple[str, ...], dimensions: int = DIMENSIONS) -> None:
    from dorm_vector import bulk_copy

    vectors = np.random.default_rng(SEED).standard_normal((rows, dimensions), np.float32)
    for alias in aliases:
        with common.step(f"Loading {rows:,} rows into {alias}"):
            bulk_copy(model.objects.using(alias), (model(embedding=row) for row in vectors))
    with common.step("Building the index"):
        common.build(model, "default")


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
    return rows.query.get_compiler(rows.db).as_sql()


# The ways


def postgresql(ours: Any, theirs: Any, queries: np.ndarray, database: dict[str, Any]) -> Ways:
    if INDEX not in nearest(ours, queries[0]).explain():
        sys.exit("The index is not used.")

    def search(number: int) -> Any:
        return nearest(ours, queries[number])

    client = peers.connect("default", database)
    server = peers.connect("default", database, cursor_factory=psycopg.Cursor)
    return {
        NEAREST: lambda number: list(search(number)),
        BARE: peers.bare_search("default", client, search, len(queries)),
        PREPARED: peers.bare_search("default", server, search, len(queries)),
        PLAIN: lambda number: list(plain(ours, queries[number])),
        PEER: lambda number: list(peer(theirs, queries[number])),
    }


def sqlite(ours: Any, queries: np.ndarray, database: dict[str, Any]) -> Ways:
    def search(number: int) -> Any:
        return nearest(ours, queries[number], "sqlite", exact=True)

    raw = peers.connect("sqlite", database)
    return {
        NEAREST: lambda number: list(search(number)),
        BARE: peers.bare_search("sqlite", raw, search, len(queries)),
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
    return common.titled("Queries and their SQL, not run; microseconds", header, rows)


def by_dimensions(divisor: int, rounds: int) -> list[str]:
    """The processor time of searches, by what is read of the ten rows, and by the slice."""
    forms, slices = [], []
    for dimensions, rows in ROWS.items():
        ours, theirs = declared(dimensions)
        with common.tables(ours, "default"):
            load(ours, rows // divisor, ("default",), dimensions)
            generator = np.random.default_rng(SEED + 1)
            queries = generator.standard_normal((rounds, dimensions), np.float32)
            for label, shape in SHAPES.items():
                spent, _ = processor(*of_ten(ours, theirs, shape), queries)
                forms.append([f"{dimensions:,}, {label}", *beside(spent)])
            for low, high in SLICES:
                some = queries[: max(rounds // 3, 1)]
                spent, found = processor(*of_slice(ours, theirs, low, high), some)
                nearest_keys = exact(dimensions, rows // divisor, some, high)
                shares = [f"{share_of(each, nearest_keys, low):.2f}" for each in found]
                name = f"{dimensions:,}, rows {low + 1} to {high}"
                slices.append([name, *beside(spent), *shares])
    title = f"PostgreSQL, HnswIndex, {rounds} rounds; milliseconds of both processors"
    header = ["Dimensions, and what is read", NEAREST, PEER, "ratio"]
    found_by = [f"found by {NEAREST}", f"by {PEER}"]
    return [
        common.titled(title, header, forms),
        common.titled("The keys of more rows, the same way", [*header, *found_by], slices),
    ]


SHAPES: dict[str, Callable[[Any], Any]] = {
    "keys": lambda rows: rows.values_list("pk", flat=True),
    "rows": lambda rows: rows,
    "rows without the vector": lambda rows: rows.defer("embedding"),
}
SLICES = ((0, 100), (40, 50))

Search = Callable[[Any], Any]


def of_ten(ours: Any, theirs: Any, shape: Callable[[Any], Any]) -> tuple[Search, Search]:
    from pgvector.django import CosineDistance

    def mine(query: Any) -> Any:
        return list(shape(ours.objects.nearest("embedding", query, k=K)))

    def other(query: Any) -> Any:
        rows = theirs.objects.using(common.PEER).order_by(CosineDistance("embedding", query))
        return list(shape(rows)[:K])

    return mine, other


def of_slice(ours: Any, theirs: Any, low: int, high: int) -> tuple[Search, Search]:
    from django.db import transaction
    from pgvector.django import CosineDistance

    def mine(query: Any) -> Any:
        rows = ours.objects.nearest("embedding", query)
        return list(rows.values_list("pk", flat=True)[low:high])

    def other(query: Any) -> Any:
        rows = theirs.objects.using(common.PEER).order_by(CosineDistance("embedding", query))
        with transaction.atomic(using=common.PEER):
            common.execute(f"SET LOCAL hnsw.ef_search = {high}", common.PEER)
            return list(rows.values_list("pk", flat=True)[low:high])

    return mine, other


def exact(dimensions: int, rows: int, queries: np.ndarray, high: int) -> list[set[int]]:
    """The keys of the nearest rows for each query, by numpy."""
    vectors = np.random.default_rng(SEED).standard_normal((rows, dimensions), np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    places = np.argsort(-(queries @ vectors.T), axis=1)[:, :high]
    return [set(row) for row in (places + 1).tolist()]


def share_of(found: list[list[int]], nearest_keys: list[set[int]], low: int) -> float:
    """How many of the rows found are among the nearest ones, up to the last of the slice."""
    pairs = zip(found, nearest_keys, strict=True)
    return statistics.mean(len(keys.intersection(some)) / (len(keys) - low) for some, keys in pairs)


def processor(mine: Search, other: Search, queries: np.ndarray) -> tuple[Any, Any]:
    """The milliseconds and rows of either, each on a connection of its own."""
    spent: tuple[list[float], list[float]] = ([], [])
    found: tuple[list[Any], list[Any]] = ([], [])
    ways = [
        (mine, session("default"), spent[0], found[0]),
        (other, session(common.PEER), spent[1], found[1]),
    ]
    for search, *_ in ways:
        search(queries[0])
    for query in queries:
        random.shuffle(ways)
        for search, number, times, rows in ways:
            before = used(number)
            rows.append(search(query))
            times.append(1000 * (used(number) - before))
    return spent, found


def beside(spent: Any) -> list[str]:
    """Both medians, and their ratio."""
    mine, other = map(statistics.median, spent)
    return [f"{mine:.2f}", f"{other:.2f}", f"{mine / other:.2f}"]


def used(session: int) -> float:
    """The seconds that this process and that of a session have been running."""
    text = Path(f"/proc/{session}/schedstat").read_text()
    return time.process_time() + int(text.split()[0]) / 1e9


def session(alias: str) -> int:
    ((number,),) = common.execute("SELECT pg_backend_pid()", alias)
    return int(number)


def measured(label: str, ways: Ways, rounds: int, digits: int) -> str:
    """A table. Ends with an error where other rows are found than by the bare driver."""
    with common.step(f"Searching, {label}"):
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
    return common.titled(f"{label}, {rounds} rounds; milliseconds", header, rows)


def more(some: list[float], others: list[float]) -> float:
    """The median of the differences, round by round: each of them is about one query."""
    pairs = zip(some, others, strict=True)
    return statistics.median(1000 * (one - other) for one, other in pairs)


if __name__ == "__main__":
    common.main("overhead", __doc__, run)
