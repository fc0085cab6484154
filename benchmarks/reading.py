"""
Reading vectors: lists and numpy arrays, against pgvector.django and the bare drivers.

5,000 rows of 768 dimensions. The models of the others are on the same tables. The bare drivers make
tuples of a number and a vector, and the ORM makes objects; so values_list() stands beside both.
Writes reading.rst.

    pip install -e '.[bench]'
    python benchmarks/reading.py
"""

from __future__ import annotations

import sqlite3
import sys
from array import array
from collections.abc import Callable
from typing import Any

import common
import numpy as np

DIMENSIONS = 768
SEED = 20_240

LIST, ARRAY, PEER = "lists", "numpy=True", "pgvector.django"
DEFERRED = "without"
UNPACKED, UNPACKED_LIST = "BinaryField, numpy arrays", "BinaryField, lists"
LIST_ROWS, ARRAY_ROWS = "lists, values_list()", "numpy=True, values_list()"
BARE_LIST, BARE_ARRAY = "bare driver, lists", "bare driver, numpy arrays"

# What lists and what arrays are compared with, under the heading of a column.
TO_PEER = ("to pgvector.django", {"list": PEER, "ndarray": PEER})
TO_BARE = ("to bare", {"list": BARE_LIST, "ndarray": BARE_ARRAY})
TO_BINARY = ("to BinaryField", {"list": UNPACKED_LIST, "ndarray": UNPACKED})

Ways = dict[str, Callable[[int], Any]]
Comparison = tuple[str, dict[str, str]]


def main() -> None:
    options = common.arguments(__doc__)
    rows, rounds = (500, 5) if options.quick else (5_000, 7)
    with common.every_database() as databases:
        common.configure(**databases)
        models = declared()
        common.create(models[LIST], *databases)
        vectors = np.random.default_rng(SEED).standard_normal((rows, DIMENSIONS), np.float32)
        fill(models[LIST], vectors, list(databases))
        parts = [
            measured("PostgreSQL", postgresql(models), vectors, rounds, (TO_PEER, TO_BARE)),
            *(
                measured(
                    label,
                    in_file(models, alias, databases[alias]["NAME"]),
                    vectors,
                    rounds,
                    (TO_BARE, TO_BINARY),
                )
                for alias, label in (("sqlite", "SQLite"), ("libsql", "libSQL"))
            ),
        ]
        common.report(
            options.output / "reading.rst",
            f"{rows:,} rows of {DIMENSIONS} dimensions, {rounds} rounds; milliseconds",
            *parts,
        )


def declared() -> dict[str, Any]:
    """Models of one table, by what they read."""
    from pgvector.django import VectorField as PgvectorField

    from dorm_vector import models

    fields = {
        LIST: models.VectorField(DIMENSIONS),
        ARRAY: models.VectorField(DIMENSIONS, numpy=True),
        PEER: PgvectorField(dimensions=DIMENSIONS),
        UNPACKED: models.BinaryField(),
    }
    return {name: model_of(models, name, field) for name, field in fields.items()}


def model_of(models: Any, name: str, field: Any) -> Any:
    options = {"app_label": "benchmarks", "db_table": "item", "managed": name == LIST}
    attributes = {"__module__": __name__, "Meta": type("Meta", (), options), "embedding": field}
    return type(f"Item{type(field).__name__}{name[0]}", (models.Model,), attributes)


def fill(model: Any, vectors: np.ndarray, aliases: list[str]) -> None:
    from dorm_vector import bulk_copy

    for alias in aliases:
        with common.step(f"Loading {alias}"):
            bulk_copy(model.objects.using(alias), (model(embedding=row) for row in vectors))
    common.execute("VACUUM ANALYZE item")


def orm(models: dict[str, Any], alias: str) -> Ways:
    """Every way to read the column by dorm_vector."""
    lists, arrays = (models[name].objects.using(alias) for name in (LIST, ARRAY))
    return {
        LIST: lambda number: [item.embedding for item in lists.all()],
        ARRAY: lambda number: [item.embedding for item in arrays.all()],
        LIST_ROWS: lambda number: [row[1] for row in lists.values_list("pk", "embedding")],
        ARRAY_ROWS: lambda number: [row[1] for row in arrays.values_list("pk", "embedding")],
        DEFERRED: lambda number: [item.pk for item in lists.defer("embedding")],
    }


def postgresql(models: dict[str, Any]) -> Ways:
    from django.db import connection

    def bare() -> list[Any]:
        with connection.cursor() as cursor:
            raw = cursor.cursor
            raw.execute("SELECT id, vector_send(embedding) FROM item")
            return raw.fetchall()

    peer = models[PEER].objects
    return {
        **orm(models, "default"),
        PEER: lambda number: [item.embedding for item in peer.all()],
        BARE_LIST: lambda number: [from_network(row[1]) for row in bare()],
        BARE_ARRAY: lambda number: [
            np.frombuffer(row[1], ">f4", offset=4).astype("f4") for row in bare()
        ],
    }


def from_network(data: Any) -> list[float]:
    numbers = array("f", bytes(data)[4:])
    numbers.byteswap()
    return numbers.tolist()


def in_file(models: dict[str, Any], alias: str, file: str) -> Ways:
    binary = models[UNPACKED].objects.using(alias)
    if alias == "libsql":
        import libsql

        raw: Any = libsql.connect(file)
    else:
        raw = sqlite3.connect(file)

    def bare() -> list[Any]:
        return raw.execute("SELECT id, embedding FROM item").fetchall()

    return {
        **orm(models, alias),
        UNPACKED: lambda number: [np.frombuffer(item.embedding, "f4") for item in binary.all()],
        UNPACKED_LIST: lambda number: [
            np.frombuffer(item.embedding, "f4").tolist() for item in binary.all()
        ],
        BARE_LIST: lambda number: [np.frombuffer(row[1], "f4").tolist() for row in bare()],
        BARE_ARRAY: lambda number: [np.frombuffer(row[1], "f4") for row in bare()],
    }


def measured(
    label: str, ways: Ways, vectors: np.ndarray, rounds: int, comparisons: tuple[Comparison, ...]
) -> str:
    """A table. Ends with an error where other vectors are read than were written."""
    with common.step(label):
        kinds = {}
        for name, way in ways.items():
            found = way(0)
            if name == DEFERRED:
                continue
            kinds[name] = type(found[0]).__name__
            if not np.array_equal(np.array(found, "f4"), vectors):
                sys.exit(f"{label}: {name} reads other vectors.")
        seconds, _ = common.alternating(discarding(ways), rounds)
    rows = []
    for name, *times in common.compared(seconds, []):
        others = [others.get(kinds.get(name, "")) for _, others in comparisons]
        ratios = [
            f"{common.ratio(seconds[name], seconds[other]):.2f}" if other else ""
            for other in others
        ]
        rows.append([name, kinds.get(name, ""), *times, *ratios])
    header = ["Vectors by", "read as", "median", "min", "max", *(title for title, _ in comparisons)]
    return f"{label}\n\n{common.table(header, rows)}"


def discarding(ways: Ways) -> Ways:
    """The same ways, with nothing kept: memory that fills would slow down the later rounds."""
    return {name: lambda number, way=way: len(way(number)) for name, way in ways.items()}


if __name__ == "__main__":
    main()
