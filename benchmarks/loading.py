"""
Loading rows: bulk_copy(), bulk_create() and save(), against the others and the bare drivers.

5,000 rows of 768 dimensions, as numpy arrays and as lists, into an empty table without an index.
The objects of a model are made within the measured time. By hand a binary COPY is written of the
same objects, and of their vectors alone; the bare drivers of SQLite and libSQL get the vectors as
packed bytes, by executemany(), and the time there is the processor's. "without extras" is as if
orjson were not installed. On SQLite and libSQL also into tables with a VectorIndex, whose triggers
run for the bare drivers too; 300 rows on libSQL, whose graph takes about a millisecond for each.
Then the peak memory of bulk_copy() from a generator, of 10,000 and of 1,000,000 rows of 50
dimensions, on Linux. Writes loading.txt.

    pip install -e '.[bench]'
    python benchmarks/loading.py
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import multiprocessing
import re
import struct
import sys
import time
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import common
import numpy as np
import peers

TABLE = "loading"
INDEXED = "loading_indexed"
DIMENSIONS = 768
SEED = 20_240
MEMORY_DIMENSIONS = 50
MEMORY_ROWS = (10_000, 1_000_000)

COPY, CREATE, PLAIN = "bulk_copy()", "bulk_create()", "bulk_create(), without extras"
PGVECTOR, DJANORM = f"bulk_create() of {peers.PGVECTOR}", f"bulk_create() of {peers.DJANORM}"
HAND, HAND_VECTORS = "COPY by hand", "COPY by hand, of vectors"
COPY_WITHOUT, CREATE_WITHOUT = f"{COPY}, without the index", f"{CREATE}, without the index"
CPU = "processor time"
SAVE, PLAIN_SAVE = "save()", "save(), without extras"
PGVECTOR_SAVE = f"save() of {peers.PGVECTOR}"

# SQLite keeps bytes for the cosine distance, and float32 for the other.
INDEXES = [("sqlite", "cosine"), ("sqlite", "l2"), ("libsql", "cosine")]

Ways = dict[str, Callable[[int], Any]]
Databases = dict[str, dict[str, Any]]


class Models(NamedTuple):
    ours: Any
    pgvector: Any
    djanorm: Any


def run(databases: Databases, options: argparse.Namespace) -> list[str]:
    rows, saved, rounds = (200, 20, 3) if options.quick else (5_000, 300, 5)
    models = Models(
        declared(DIMENSIONS),
        peers.pgvector_model(TABLE, DIMENSIONS),
        peers.djanorm_model(databases["default"], TABLE, DIMENSIONS),
    )
    vectors = np.random.default_rng(SEED).standard_normal((rows, DIMENSIONS), np.float32)
    parts = [f"{rows:,} rows of {DIMENSIONS} dimensions, {rounds} rounds; milliseconds."]
    with common.tables(models.ours, *common.ALIASES):
        for form, values in {"numpy arrays": list(vectors), "lists": vectors.tolist()}.items():
            parts += postgresql(models, values, saved, rounds, form)
            for alias in ("sqlite", "libsql"):
                parts.append(in_file(models, values, rounds, form, alias, databases[alias]))
        for alias, metric in INDEXES:
            some = list(vectors[: saved if alias == "libsql" else rows])
            parts.append(with_index(models.ours, some, rounds, alias, metric, databases[alias]))
    return [*parts, memory(databases["default"], options.quick)]


def declared(dimensions: int) -> Any:
    from dorm_vector import models

    return common.model(TABLE, embedding=models.VectorField(dimensions))


# PostgreSQL


def postgresql(models: Models, values: Any, saved: int, rounds: int, form: str) -> Iterator[str]:
    ours = models.ours
    clear = functools.partial(common.execute, f"TRUNCATE {TABLE}")
    ways: Ways = {
        COPY: lambda number: copied(ours, values, "default"),
        HAND: lambda number: copied_by_hand(row.embedding for row in objects(ours, values)),
        HAND_VECTORS: lambda number: copied_by_hand(values),
    }
    # Apart from those that take twenty times as long, and more often.
    seconds = measured(ways, len(values), 4 * rounds, clear, "default", form)
    yield compared(f"PostgreSQL, {form}: COPY", seconds, [HAND])
    ways = {
        COPY: ways[COPY],
        CREATE: lambda number: created(ours, values, "default"),
        PLAIN: lambda number: without_extras(created)(ours, values, "default"),
        PGVECTOR: lambda number: created(models.pgvector, values, "default"),
        DJANORM: lambda number: created(models.djanorm, values, "default"),
    }
    seconds = measured(ways, len(values), rounds, clear, "default", form)
    yield compared(f"PostgreSQL, {form}", seconds, [PGVECTOR])
    ways = {
        SAVE: lambda number: save(ours, values[:saved]),
        PLAIN_SAVE: lambda number: without_extras(save)(ours, values[:saved]),
        PGVECTOR_SAVE: lambda number: save(models.pgvector, values[:saved]),
    }
    seconds = measured(ways, saved, rounds, clear, "default", form)
    title = f"PostgreSQL, {form}: save() of {saved} rows in one transaction"
    yield compared(title, seconds, [PGVECTOR_SAVE])


def objects(model: Any, values: Any) -> Iterable[Any]:
    return (model(embedding=value) for value in values)


def copied(model: Any, values: Any, alias: str) -> None:
    from dorm_vector import bulk_copy

    bulk_copy(model.objects.using(alias), objects(model, values))


def created(model: Any, values: Any, alias: str) -> None:
    model.objects.using(alias).bulk_create(list(objects(model, values)))


def save(model: Any, values: Any) -> None:
    from django.db import transaction

    with transaction.atomic():
        for made in objects(model, values):
            made.save()


def without_extras(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapped(*args: Any) -> None:
        with no_orjson():
            function(*args)

    return wrapped


@contextlib.contextmanager
def no_orjson() -> Iterator[None]:
    from dorm_vector import codecs

    with mock.patch.dict(sys.modules, orjson=None):
        codecs._writer.cache_clear()
        yield
        assert codecs._writer.cache_info().misses == 1
    codecs._writer.cache_clear()


def copied_by_hand(vectors: Iterable[Any]) -> None:
    """The binary COPY that one would write for this table and no other."""
    from django.db import connection

    connection.ensure_connection()
    raw: Any = connection.connection
    header = struct.pack(">hiHH", 1, 4 + 4 * DIMENSIONS, DIMENSIONS, 0)
    with (
        raw.transaction(),
        raw.cursor() as cursor,
        cursor.copy(f"COPY {TABLE} (embedding) FROM STDIN (FORMAT BINARY)") as copy,
    ):
        copy.write(b"PGCOPY\n\xff\r\n\0" + bytes(8))
        for vector in vectors:
            copy.write(header + network(vector))
        copy.write(b"\xff\xff")


def network(value: Any) -> bytes:
    if isinstance(value, np.ndarray):
        return value.astype(">f4").tobytes()
    numbers = array("f", value)
    numbers.byteswap()
    return numbers.tobytes()


# SQLite and libSQL


def in_file(
    models: Models, values: Any, rounds: int, form: str, alias: str, settings: dict[str, Any]
) -> str:
    bare, label = peers.BARE[alias], peers.LABELS[alias]
    ways: Ways = {
        COPY: lambda number: copied(models.ours, values, alias),
        CREATE: lambda number: created(models.ours, values, alias),
        bare: bare_inserts(peers.connect(alias, settings), values),
    }
    clear = functools.partial(common.execute, f"DELETE FROM {TABLE}", alias)
    seconds = measured(ways, len(values), 2 * rounds, clear, alias, form)
    return compared(f"{label}, {form}: {CPU}", seconds, [bare])


def with_index(
    plain: Any, values: Any, rounds: int, alias: str, metric: str, settings: dict[str, Any]
) -> str:
    from dorm_vector import VectorIndex, models

    index = VectorIndex(fields=["embedding"], name="loading_index", metric=metric)
    indexed = common.model(INDEXED, indexes=[index], embedding=models.VectorField(DIMENSIONS))
    bare, label = peers.BARE[alias], peers.LABELS[alias]
    ways: Ways = {
        COPY: lambda number: copied(indexed, values, alias),
        COPY_WITHOUT: lambda number: copied(plain, values, alias),
        CREATE: lambda number: created(indexed, values, alias),
        CREATE_WITHOUT: lambda number: created(plain, values, alias),
        bare: bare_inserts(peers.connect(alias, settings), values, INDEXED),
    }

    def clear() -> None:
        for table in (TABLE, INDEXED):
            common.execute(f"DELETE FROM {table}", alias)

    common.create(indexed, alias)
    common.build(indexed, alias)
    seconds = measured(ways, len(values), rounds, clear, alias, metric, (TABLE, INDEXED))
    common.drop(indexed, alias)
    title = f"{label}, {len(values):,} numpy arrays, VectorIndex of the metric {metric}: {CPU}"
    return compared(title, seconds, [CREATE_WITHOUT, bare])


def bare_inserts(raw: Any, values: Any, table: str = TABLE) -> Callable[[int], Any]:
    def insert(number: int) -> None:
        packed = [(packed_bytes(value),) for value in values]
        raw.executemany(f"INSERT INTO {table} (embedding) VALUES (?)", packed)
        raw.commit()

    return insert


def packed_bytes(value: Any) -> bytes:
    return value.tobytes() if isinstance(value, np.ndarray) else array("f", value).tobytes()


# Measuring


def measured(
    ways: Ways,
    rows: int,
    rounds: int,
    clear: Callable[[], Any],
    alias: str,
    form: str,
    tables: Sequence[str] = (TABLE,),
) -> dict[str, list[float]]:
    """The seconds of each way. Ends with an error where one does not load all rows."""
    with common.step(f"Loading {rows:,} rows, {alias}, {form}"):
        for name, way in ways.items():
            clear()
            way(0)
            counts = [common.execute(f"SELECT count(*) FROM {table}", alias) for table in tables]
            if sum(count for ((count,),) in counts) != rows:
                sys.exit(f"{name} did not load {rows} rows.")
        # What else the machine does falls on one way and not on another: in files, where all of the
        # work is done in this process, it does not count.
        clock = time.perf_counter if alias == "default" else time.process_time
        seconds, _ = common.alternating(ways, rounds, clear, clock)
        clear()
    return seconds


def compared(title: str, seconds: dict[str, list[float]], to: list[str]) -> str:
    header = ["Rows by", "median", "min", "max", *(f"to {short(name)}" for name in to)]
    return common.titled(title, header, common.compared(seconds, to))


def short(name: str) -> str:
    return name.rpartition(" of ")[2] if "() of " in name else name


# Memory


def memory(database: dict[str, Any], quick: bool) -> str:
    """Each load in a process of its own."""
    rows = []
    for number in (count // 10 if quick else count for count in MEMORY_ROWS):
        with (
            common.step(f"Memory of {number:,} rows"),
            ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool,
        ):
            found = pool.submit(load_alone, number, database).result()
        rows.append([f"{number:,}", *(f"{each:.1f}" for each in found)])
    header = ["Rows", "MB before", "MB at the peak", "seconds"]
    title = f"bulk_copy() of a generator on PostgreSQL, {MEMORY_DIMENSIONS} dimensions"
    return common.titled(title, header, rows)


def load_alone(rows: int, database: dict[str, Any]) -> tuple[float, float, float]:
    """Load rows that are made one by one: the megabytes before it and at its peak, the seconds."""
    common.configure(database)
    model = declared(MEMORY_DIMENSIONS)
    random = np.random.default_rng(SEED)
    vectors = (random.standard_normal(MEMORY_DIMENSIONS, np.float32) for _ in range(rows))
    with common.tables(model, "default"):
        copied(model, [next(vectors)], "default")
        before, start = peak(), time.perf_counter()
        copied(model, vectors, "default")
        seconds = time.perf_counter() - start
    return before, peak(), seconds


def peak() -> float:
    """The most megabytes of this process. getrusage() would begin with those of its parent."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024


if __name__ == "__main__":
    common.main("loading", __doc__, run)
