"""
Searching: the ten nearest rows, by each way that there is.

Exactly, of 100,000 random vectors of 384 dimensions. By an index, of 100,000 paragraphs of real
text in 256 dimensions, and of as many of GloVe's vectors of 50: of all of them, of one in a hundred
by a filter, and from two processes at once. The queries are held out, and rows are primary keys.
numpy's brute force and usearch, in the memory of this process, are the limit. The right answers are
numpy's, in float64. Writes searching.txt.

    pip install -e '.[bench]'
    python benchmarks/searching.py
"""

from __future__ import annotations

import argparse
import functools
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any, NamedTuple

import common
import glove
import numpy as np
import peers
from sources import SOURCES, TEXT, Source

K = 10
SEED = 20_240
DIMENSIONS = 384
# One row in so many passes the filter.
SHARE = 100
BRUTE_FORCE, USEARCH, USEARCH_EXACT = "numpy, in memory", "usearch, in memory", "usearch, exact"
TIMES = ("ms, median", "min", "max")

Ways = dict[str, Callable[[int], Any]]
Databases = dict[str, dict[str, Any]]


class Data(NamedTuple):
    vectors: np.ndarray
    queries: np.ndarray
    #: What a filter goes by: 0 to one less than the number of rows, in random order.
    rank: np.ndarray


def run(databases: Databases, options: argparse.Namespace) -> list[str]:
    rows, rounds = (10_000, 20) if options.quick else (100_000, 200)
    parts = [*exact(databases, rows, rounds // 5)]
    for source in (TEXT,) if options.quick else SOURCES.values():
        parts += by_index(databases, source, rows, rounds, QUICK if options.quick else THOROUGH)
    return parts


def drawn(vectors: np.ndarray, rows: int, queries: int) -> Data:
    """At most ``rows`` of the vectors and ``queries`` others, at random."""
    random = np.random.default_rng(SEED)
    chosen = random.permutation(len(vectors))[: rows + queries]
    kept = vectors[chosen[queries:]]
    return Data(kept, vectors[chosen[:queries]], random.permutation(len(kept)))


# Exactly


def exact(databases: Databases, rows: int, rounds: int) -> Iterator[str]:
    from dorm_vector import models

    vectors = np.random.default_rng(SEED).standard_normal((rows + rounds, DIMENSIONS), np.float32)
    data = drawn(vectors, rows, rounds)
    ours = common.model("searching", embedding=models.VectorField(DIMENSIONS))
    pgvector = peers.pgvector_model("searching", DIMENSIONS)
    djanorm = peers.djanorm_model(databases["default"], "searching", DIMENSIONS)
    with common.tables(ours, *common.ALIASES):
        ways: Ways = {}
        for alias in common.ALIASES:
            fill(ours, alias, data)
            ways |= of_engine(ours, alias, databases, data, exact=True)
        queries, brute_force = data.queries, peers.BruteForce(data.vectors)
        usearch = peers.Usearch(data.vectors)
        ways |= {
            f"PostgreSQL, {peers.PGVECTOR}": lambda number: peers.found_pks(
                pgvector.objects.using(common.PEER), queries[number], K
            ),
            f"PostgreSQL, {peers.DJANORM}": lambda number: peers.found_by_djanorm(
                djanorm.objects, queries[number], K
            ),
            BRUTE_FORCE: lambda number: brute_force.search(queries[number], K),
            USEARCH_EXACT: lambda number: usearch.search(queries[number], K, exact=True),
        }
        seconds, found = timed("exactly", ways, rounds)
    recalls = {name: recall(data, answers) for name, answers in found.items()}
    if wrong := {name: share for name, share in recalls.items() if share < 1}:
        sys.exit(f"Searches that are to be exact found too little: {wrong}")
    title = f"Exactly, {rows:,} random rows of {DIMENSIONS} dimensions, {rounds} rounds"
    bare = [f"{peers.LABELS[alias]}, {peers.BARE[alias]}" for alias in common.ALIASES]
    yield common.titled(
        title,
        ["Rows by", *TIMES, "to its bare driver"],
        [[*row, to_bare(row[0], seconds, bare)] for row in common.compared(seconds, [])],
    )


def to_bare(name: str, seconds: dict[str, list[float]], bare: list[str]) -> str:
    database = name.partition(",")[0]
    drivers = [driver for driver in bare if driver.partition(",")[0] == database]
    return f"{common.ratio(seconds[name], seconds[drivers[0]]):.2f}" if drivers else ""


def fill(model: Any, alias: str, data: Data) -> None:
    from dorm_vector import bulk_copy

    ranked = any(field.name == "rank" for field in model._meta.fields)
    with common.step(f"Loading {len(data.vectors):,} rows into {alias}"):
        if ranked:
            pairs = zip(data.rank.tolist(), data.vectors, strict=True)
            rows = (model(rank=rank, embedding=vector) for rank, vector in pairs)
        else:
            rows = (model(embedding=vector) for vector in data.vectors)
        bulk_copy(model.objects.using(alias), rows)
        if alias == "default":
            common.execute(f"VACUUM ANALYZE {model._meta.db_table}")


def of_engine(
    model: Any, alias: str, databases: Databases, data: Data, exact: bool = False
) -> Ways:
    """nearest(), and its SQL run by the bare driver."""
    label = peers.LABELS[alias]
    name = "nearest(exact=True)" if exact else "nearest()"

    def search(number: int) -> Any:
        return nearest(model.objects.using(alias), data.queries[number], exact=exact)

    raw = peers.connect(alias, databases[alias])
    bare = peers.bare_search(alias, raw, search, len(data.queries))
    return {
        f"{label}, {name}": lambda number: list(search(number)),
        # The statement of an index search of SQLite asks for one row more, in case of a tie.
        f"{label}, {peers.BARE[alias]}": lambda number: bare(number)[:K],
    }


def nearest(objects: Any, query: Any, **options: Any) -> Any:
    return objects.nearest("embedding", query, k=K, **options).values_list("pk", flat=True)


# By an index


def by_index(
    databases: Databases, source: Source, rows: int, rounds: int, effort: Effort
) -> Iterator[str]:
    from django.db import connections

    data = drawn(source.load(rows), rows, rounds)
    ours, pgvector = indexed_models(source.key, source.dimensions)
    djanorm = peers.djanorm_model(databases["default"], ours._meta.db_table, source.dimensions)
    aliases = ("default", "sqlite")
    with common.tables(ours, *aliases):
        for alias in aliases:
            fill(ours, alias, data)
            with common.step(f"Building the index, {alias}"):
                common.build(ours, alias)
        with common.step("Building the index, usearch"):
            usearch = peers.Usearch(data.vectors)
        in_memory = (peers.BruteForce(data.vectors), usearch)
        others = (pgvector, djanorm)
        what = f"{len(data.vectors):,} {source.title}"
        yield of_all(ours, others, databases, data, in_memory, what)
        yield of_some(ours, others, data, in_memory[0], what)
        yield at_once(databases, data, source, what, effort)
    # The next one's begins as dorm_vector prepares it.
    connections[common.PEER].close()


def indexed_models(name: str, dimensions: int) -> tuple[Any, Any]:
    from dorm_vector import VectorIndex, models

    table = f"indexed_{name}"
    index = VectorIndex(fields=["embedding"], name=f"{table}_embedding", metric="cosine")
    ours = common.model(
        table,
        indexes=[index],
        rank=models.IntegerField(),
        embedding=models.VectorField(dimensions),
    )
    return ours, peers.pgvector_model(table, dimensions, rank=models.IntegerField())


def of_all(
    ours: Any,
    others: tuple[Any, Any],
    databases: Databases,
    data: Data,
    in_memory: Any,
    what: str,
) -> str:
    queries, rounds = data.queries, len(data.queries)
    pgvector, djanorm = others
    brute_force, usearch = in_memory
    ways = {
        **of_engine(ours, "default", databases, data),
        f"PostgreSQL, {peers.PGVECTOR}": lambda number: peers.found_pks(
            pgvector.objects.using(common.PEER), queries[number], K
        ),
        f"PostgreSQL, {peers.DJANORM}": lambda number: peers.found_by_djanorm(
            djanorm.objects, queries[number], K
        ),
        **of_engine(ours, "sqlite", databases, data),
        BRUTE_FORCE: lambda number: brute_force.search(queries[number], K),
        USEARCH: lambda number: usearch.search(queries[number], K),
    }
    seconds, found = timed("by an index", ways, rounds)
    rows = [
        [*row, f"{recall(data, found[row[0]]):.3f}"]
        for row in common.compared(seconds, [], digits=2)
    ]
    title = f"By an index, {what}, {rounds} rounds"
    return common.titled(title, ["Rows by", *TIMES, "recall@10"], rows)


def of_some(ours: Any, others: tuple[Any, Any], data: Data, brute_force: Any, what: str) -> str:
    """With a filter, and connections as each package has them."""
    common.execute("SET hnsw.iterative_scan = off", common.PEER)
    limit = len(data.vectors) // SHARE
    matching = np.flatnonzero(data.rank < limit)
    queries = data.queries

    def filtered(alias: str, number: int) -> list[int]:
        objects = ours.objects.using(alias).filter(rank__lt=limit)
        return list(nearest(objects, queries[number]))

    peer = others[0].objects.using(common.PEER).filter(rank__lt=limit)
    ways: Ways = {
        "PostgreSQL, nearest()": functools.partial(filtered, "default"),
        f"PostgreSQL, {peers.PGVECTOR}": lambda number: peers.found_pks(peer, queries[number], K),
        "SQLite, nearest()": functools.partial(filtered, "sqlite"),
        BRUTE_FORCE: lambda number: brute_force.search(queries[number], K, matching),
    }
    seconds, found = timed("with a filter", ways, len(queries))
    rows = [
        [
            *row,
            f"{min(map(len, found[row[0]]))} to {max(map(len, found[row[0]]))}",
            f"{recall(data, found[row[0]], matching):.3f}",
        ]
        for row in common.compared(seconds, [], digits=2)
    ]
    title = f"By an index, {what}, with a filter that {limit:,} rows pass"
    return common.titled(title, ["Rows by", *TIMES, "rows", "recall@10"], rows)


def timed(
    what: str, ways: Ways, rounds: int
) -> tuple[dict[str, list[float]], dict[str, list[Any]]]:
    with common.step(f"Searching {what}"):
        common.warm_up(ways)
        return common.alternating(ways, rounds)


def recall(data: Data, answers: list[list[int]], rows: np.ndarray | None = None) -> float:
    """The share of the nearest rows that was found. Equally near ones will do."""
    units = glove.unit(data.vectors)
    candidates = units if rows is None else units[rows]
    hits = 0
    for query, found in zip(data.queries, answers, strict=False):
        unit = glove.unit(query)
        expected = np.sort(1 - candidates @ unit)[K - 1]
        distances = 1 - units[np.array(found, int) - 1] @ unit
        hits += int(np.count_nonzero(distances <= expected + 1e-6))
    return hits / (K * len(answers))


# From several processes

PROCESSES = (1, 2)


class Effort(NamedTuple):
    rounds: int
    seconds: float


THOROUGH, QUICK = Effort(3, 1.5), Effort(1, 0.3)


def at_once(databases: Databases, data: Data, source: Source, what: str, effort: Effort) -> str:
    """Searches a second, of one process and of two at once."""
    searchers = {
        "PostgreSQL, nearest()": "default",
        f"PostgreSQL, {peers.PGVECTOR}": common.PEER,
        "SQLite, nearest()": "sqlite",
    }
    rates: dict[tuple[str, int], list[float]] = {}
    with common.step("Searching from processes"):
        for _, count, (label, who) in product(range(effort.rounds), PROCESSES, searchers.items()):
            given = (databases, source.key, data.queries, who, effort.seconds)
            rates.setdefault((label, count), []).append(rate(count, *given))
    rows = []
    for label in searchers:
        one, two = (statistics.median(rates[label, count]) for count in PROCESSES)
        rows.append([label, f"{one:,.0f}", f"{two:,.0f}", f"{two / one:.2f}"])
    header = ["Searches a second by", "1 process", "2 processes", "ratio"]
    return common.titled(f"By an index, {what}, from two processes at once", header, rows)


def rate(count: int, *given: Any) -> float:
    context = multiprocessing.get_context("spawn")
    barrier, queue = context.Barrier(count), context.Queue()
    given = (*given, barrier, queue)
    processes = [context.Process(target=search_for_a_while, args=given) for _ in range(count)]
    for process in processes:
        process.start()
    rates = [queue.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    return sum(rates)


def search_for_a_while(
    databases: Databases,
    name: str,
    queries: np.ndarray,
    who: str,
    seconds: float,
    barrier: Any,
    queue: Any,
) -> None:
    common.configure(**databases)
    ours, pgvector = indexed_models(name, queries.shape[1])
    if who == common.PEER:
        common.execute("SET hnsw.iterative_scan = off", who)
        objects = pgvector.objects.using(who)
        search: Callable[[Any], Any] = functools.partial(peers.found_pks, objects, k=K)
    else:
        objects = ours.objects.using(who)

        def search(query: Any) -> Any:
            return list(nearest(objects, query))

    for query in queries[:20]:
        search(query)
    barrier.wait(60)
    start, searches = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - start) < seconds:
        search(queries[searches % len(queries)])
        searches += 1
    queue.put(searches / elapsed)


if __name__ == "__main__":
    common.main("searching", __doc__, run)
