"""
Loading rows: bulk_copy(), bulk_create() and save(), against pgvector.django and the bare drivers.

5,000 rows of 768 dimensions, as numpy arrays and as lists, into an empty table without an index.
The objects of a model are made within the measured time. The bare drivers get the same numbers: a
hand-written binary COPY by psycopg, and executemany() of packed bytes by sqlite3 and libsql.
"without extras" is as if orjson were not installed. Then the peak memory of bulk_copy() from a
generator, of 10,000 and of 200,000 rows of 50 dimensions, on Linux. Writes loading.rst.

    pip install -e '.[bench]'
    python benchmarks/loading.py
"""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import re
import sqlite3
import struct
import sys
import time
from array import array
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any
from unittest import mock

import common
import numpy as np

DIMENSIONS = 768
SEED = 20_240
MEMORY_DIMENSIONS = 50
MEMORY_ROWS = (10_000, 200_000)

COPY, CREATE, PLAIN = "bulk_copy()", "bulk_create()", "bulk_create(), without extras"
PEER, BARE = "bulk_create() of pgvector.django", "bare driver"

Ways = dict[str, Callable[[int], Any]]


def main() -> None:
    options = common.arguments(__doc__)
    rows, saved, rounds = (500, 50, 3) if options.quick else (5_000, 300, 5)
    with common.every_database() as databases:
        common.configure(**databases)
        ours, theirs = declared(DIMENSIONS)
        common.create(ours, *databases)
        vectors = np.random.default_rng(SEED).standard_normal((rows, DIMENSIONS), np.float32)
        parts = []
        for form, values in {"numpy arrays": list(vectors), "lists": vectors.tolist()}.items():
            parts += postgresql(ours, theirs, values, saved, rounds, form)
            parts += [
                in_file(ours, values, rounds, form, alias, databases[alias]["NAME"])
                for alias in ("sqlite", "libsql")
            ]
        parts.append(memory(databases["default"], options.quick))
        common.report(
            options.output / "loading.rst",
            f"{rows:,} rows of {DIMENSIONS} dimensions, {rounds} rounds; milliseconds",
            *parts,
        )


def declared(dimensions: int) -> tuple[Any, Any]:
    """The model, and one of pgvector.django on the same table."""
    from pgvector.django import VectorField as PgvectorField

    from dorm_vector import models

    class Item(models.Model):
        embedding = models.VectorField(dimensions)

        class Meta:
            app_label = "benchmarks"
            db_table = "item"

        def __str__(self) -> str:
            return f"Item {self.pk}"

    class PgvectorItem(models.Model):
        embedding = PgvectorField(dimensions=dimensions)

        class Meta:
            app_label = "benchmarks"
            db_table = "item"
            managed = False

        def __str__(self) -> str:
            return f"Item {self.pk}"

    return Item, PgvectorItem


# PostgreSQL


def postgresql(
    ours: Any, theirs: Any, values: Any, saved: int, rounds: int, form: str
) -> Iterator[str]:
    ways: Ways = {
        COPY: lambda number: copied(ours, values, "default"),
        BARE: lambda number: bare_copy(values),
        CREATE: lambda number: created(ours, values, "default"),
        PLAIN: lambda number: without_extras(created)(ours, values, "default"),
        PEER: lambda number: created(theirs, values, "default"),
    }
    clear = functools.partial(common.execute, "TRUNCATE item")
    seconds = measured(ways, len(values), rounds, clear, "default", form)
    yield titled(f"PostgreSQL, {form}", seconds, [PEER, BARE])
    ways = {
        "save()": lambda number: save(ours, values[:saved]),
        "save(), without extras": lambda number: without_extras(save)(ours, values[:saved]),
        "save() of pgvector.django": lambda number: save(theirs, values[:saved]),
    }
    seconds = measured(ways, saved, rounds, clear, "default", form)
    yield titled(
        f"PostgreSQL, save() of {saved} rows in one transaction, {form}", seconds, list(ways)[2:]
    )


def copied(model: Any, values: Any, alias: str) -> None:
    from dorm_vector import bulk_copy

    bulk_copy(model.objects.using(alias), (model(embedding=value) for value in values))


def created(model: Any, values: Any, alias: str) -> None:
    model.objects.using(alias).bulk_create([model(embedding=value) for value in values])


def save(model: Any, values: Any) -> None:
    from django.db import transaction

    with transaction.atomic():
        for value in values:
            model(embedding=value).save()


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


def bare_copy(values: Any) -> None:
    """The binary COPY that one would write for this table and no other."""
    from django.db import connection

    connection.ensure_connection()
    raw: Any = connection.connection
    header = struct.pack(">hiHH", 1, 4 + 4 * DIMENSIONS, DIMENSIONS, 0)
    with (
        raw.transaction(),
        raw.cursor() as cursor,
        cursor.copy("COPY item (embedding) FROM STDIN (FORMAT BINARY)") as copy,
    ):
        copy.write(b"PGCOPY\n\xff\r\n\0" + bytes(8))
        for value in values:
            copy.write(header + network(value))
        copy.write(b"\xff\xff")


def network(value: Any) -> bytes:
    if isinstance(value, np.ndarray):
        return value.astype(">f4").tobytes()
    numbers = array("f", value)
    numbers.byteswap()
    return numbers.tobytes()


# SQLite and libSQL


def in_file(ours: Any, values: Any, rounds: int, form: str, alias: str, file: str) -> str:
    ways: Ways = {
        COPY: lambda number: copied(ours, values, alias),
        CREATE: lambda number: created(ours, values, alias),
        BARE: bare_inserts(alias, file, values),
    }
    clear = functools.partial(common.execute, "DELETE FROM item", alias)
    seconds = measured(ways, len(values), rounds, clear, alias, form)
    label = {"sqlite": "SQLite", "libsql": "libSQL"}[alias]
    return titled(f"{label}, {form}", seconds, [BARE])


def bare_inserts(alias: str, file: str, values: Any) -> Callable[[int], Any]:
    if alias == "libsql":
        import libsql

        raw: Any = libsql.connect(file)
    else:
        raw = sqlite3.connect(file)

    def insert(number: int) -> None:
        packed = [(packed_bytes(value),) for value in values]
        raw.executemany("INSERT INTO item (embedding) VALUES (?)", packed)
        raw.commit()

    return insert


def packed_bytes(value: Any) -> bytes:
    return value.tobytes() if isinstance(value, np.ndarray) else array("f", value).tobytes()


# Measuring


def measured(
    ways: Ways, rows: int, rounds: int, clear: Callable[[], Any], alias: str, form: str
) -> dict[str, list[float]]:
    """The seconds of each way. Ends with an error where one does not load all rows."""
    with common.step(f"{alias}, {form}"):
        for name, way in ways.items():
            clear()
            way(0)
            if common.execute("SELECT count(*) FROM item", alias) != [(rows,)]:
                sys.exit(f"{name} did not load {rows} rows.")
        seconds, _ = common.alternating(ways, rounds, clear)
        clear()
    return seconds


def titled(title: str, seconds: dict[str, list[float]], to: list[str]) -> str:
    header = ["Rows by", "median", "min", "max", *(f"to {name}" for name in to)]
    return f"{title}\n\n{common.table(header, common.compared(seconds, to))}"


# Memory


def memory(database: dict[str, Any], quick: bool) -> str:
    """Each load in a process of its own."""
    common.execute("DROP TABLE item")
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
    return f"{title}\n\n{common.table(header, rows)}"


def load_alone(rows: int, database: dict[str, Any]) -> tuple[float, float, float]:
    """Load rows that are made one by one: the megabytes before it and at its peak, the seconds."""
    common.configure(database)
    model, _ = declared(MEMORY_DIMENSIONS)
    common.create(model, "default")
    random = np.random.default_rng(SEED)
    vectors = (random.standard_normal(MEMORY_DIMENSIONS, np.float32) for _ in range(rows))
    copied(model, [next(vectors)], "default")
    before, start = peak(), time.perf_counter()
    copied(model, vectors, "default")
    seconds = time.perf_counter() - start
    common.execute("DROP TABLE item")
    return before, peak(), seconds


def peak() -> float:
    """The most megabytes of this process. getrusage() would begin with those of its parent."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024


if __name__ == "__main__":
    main()
