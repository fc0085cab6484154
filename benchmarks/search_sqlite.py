"""
nearest() on SQLite with a VectorIndex, against the exact scan and against bare sqlite3.

100,000 random vectors of 384 dimensions in a file; the vector itself is left out of the rows. Bare
sqlite3 runs the SQL of either search on a connection of its own. Once with SQLite's defaults, and
once with the file mapped into memory: PRAGMA mmap_size. Writes search_sqlite.txt.

    pip install -e '.[bench]'
    python benchmarks/search_sqlite.py
"""

from __future__ import annotations

import contextlib
import functools
import os
import sqlite3
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import common
import numpy as np
import peers

DIMENSIONS = 384
SEED = 20_240
K = 10
MEASURED = ("cosine", "l2")
# The label of a series of runs has this at its end where the file is mapped into memory.
MMAP_SIZES = {"": 0, " mmap": 2**30}
TARGET = 2.5

INDEXED, BARE_INDEXED = "VectorIndex", "VectorIndex, bare sqlite3"
EXACT, BARE_EXACT = "exact=True", "exact=True, bare sqlite3"
# Two names each: the second one takes as many times as long as the first.
RATIOS = {
    "the exact search to the index": (INDEXED, EXACT),
    "nearest() by the index to bare sqlite3": (BARE_INDEXED, INDEXED),
    "nearest(exact=True) to bare sqlite3": (BARE_EXACT, EXACT),
}


def main() -> None:
    options = common.arguments(__doc__)
    with common.temporary_folder() as folder:
        file = os.path.join(folder, "db.sqlite3")
        common.configure({"ENGINE": "django.db.backends.sqlite3", "NAME": file})
        rows, rounds = (10_000, 30) if options.quick else (100_000, 40)
        measure(load(rows), rows, rounds, options.output)


def load(rows: int) -> Any:
    """The model, with ``rows`` rows; the indexes are built when the rows are there."""
    from dorm_vector import bulk_copy

    model = declared()
    common.create(model, "default")
    with common.step(f"Loading {rows:,} rows"):
        bulk_copy(model, records(model, rows))
    with common.step("Building the indexes"):
        common.build(model, "default")
    return model


def declared() -> Any:
    """The model, which can only be declared when Django is set up."""
    from dorm_vector import VectorIndex, models

    indexes = [
        VectorIndex(fields=["embedding"], name=f"item_{metric}", metric=metric, precision="full")
        for metric in MEASURED
    ]
    return common.model(
        "item",
        indexes=indexes,
        title=models.CharField(max_length=50),
        embedding=models.VectorField(DIMENSIONS),
    )


def records(model: Any, rows: int) -> Iterator[Any]:
    random = np.random.default_rng(SEED)
    for number in range(rows):
        vector = random.standard_normal(DIMENSIONS, np.float32)
        yield model(title=f"Item {number}", embedding=vector)


def measure(model: Any, rows: int, rounds: int, output: Path) -> None:
    queries = np.random.default_rng(SEED + 1).standard_normal((rounds, DIMENSIONS), np.float32)
    runs = {
        f"{metric}{label}": run(model, metric, queries, mmap_size)
        for label, mmap_size in MMAP_SIZES.items()
        for metric in MEASURED
    }
    common.report(
        output / "search_sqlite.txt",
        f"{rows:,} rows of {DIMENSIONS} dimensions, k={K}, {rounds} rounds; milliseconds",
        common.table(["Search", "median", "min", "max"], list(timed(runs))),
        common.table(["Ratio of", *runs], list(compared(runs))),
    )
    verdict(runs)


Runs = dict[str, dict[str, list[float]]]


def run(model: Any, metric: str, queries: np.ndarray, mmap_size: int) -> dict[str, list[float]]:
    """The seconds of each way, one query a round. Ends with an error where rows differ."""
    from django.db import connection

    with contextlib.closing(peers.connect("sqlite", connection.settings_dict)) as raw:
        common.execute(f"PRAGMA mmap_size = {mmap_size}")
        raw.execute(f"PRAGMA mmap_size = {mmap_size}")
        return timings(ways(model, metric, queries, raw), len(queries), metric)


def timings(
    searches: dict[str, Callable[[int], Any]], rounds: int, metric: str
) -> dict[str, list[float]]:
    with common.step(f"Searching by {metric}"):
        common.warm_up(searches)
        seconds, found = common.alternating(searches, rounds)
    differing = {name for name in found if found[name] != found[EXACT]}
    if differing:
        sys.exit(f"{metric}: other rows than by the exact search from {differing}")
    return seconds


def ways(
    model: Any, metric: str, queries: np.ndarray, raw: sqlite3.Connection
) -> dict[str, Callable[[int], Any]]:
    def nearest(number: int, exact: bool) -> Any:
        found = model.objects.nearest("embedding", queries[number], k=K, metric=metric, exact=exact)
        return found.defer("embedding")

    indexed, exact = (functools.partial(nearest, exact=exact) for exact in (False, True))
    check_sql(indexed(0), exact(0))
    return {
        INDEXED: lambda number: [item.pk for item in indexed(number)],
        BARE_INDEXED: bare(raw, indexed, len(queries)),
        EXACT: lambda number: [item.pk for item in exact(number)],
        BARE_EXACT: bare(raw, exact, len(queries)),
    }


def check_sql(indexed: Any, exact: Any) -> None:
    if " MATCH " not in str(indexed.query) or " MATCH " in str(exact.query):
        sys.exit(f"The index is not used, or used for an exact search: {indexed.query}")


def bare(
    raw: sqlite3.Connection, search: Callable[[int], Any], rounds: int
) -> Callable[[int], list[int]]:
    """The same searches on a connection of the sqlite3 module, and no more than that."""
    found = peers.bare_search("default", raw, search, rounds)
    # The statement of an index search asks for one row more, to see whether the last are tied.
    return lambda number: found(number)[:K]


def timed(runs: Runs) -> Iterator[list[str]]:
    for metric, seconds in runs.items():
        for name, measured in seconds.items():
            yield [f"{metric}, {name}", *common.spread(common.milliseconds(measured))]


def compared(runs: Runs) -> Iterator[list[str]]:
    for label, (base, other) in RATIOS.items():
        ratios = (common.ratio(seconds[other], seconds[base]) for seconds in runs.values())
        yield [label, *(f"{ratio:.2f}" for ratio in ratios)]


def verdict(runs: Runs) -> None:
    """Tell where the index is as many times as fast as it should be, and where it is not."""
    for label, seconds in runs.items():
        ratio = common.ratio(seconds[EXACT], seconds[INDEXED])
        found = "at least" if ratio >= TARGET else "LESS THAN"
        print(f"{label}: the index is {found} {TARGET} times as fast ({ratio:.2f}).")


if __name__ == "__main__":
    main()
