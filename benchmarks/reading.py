"""
Reading vectors: lists and numpy arrays, against the others and the bare drivers.

5,000 rows of 768 dimensions. The models of the others are on the same tables. The bare drivers make
tuples of a number and a vector, and object-relational mappers make objects; so values_list() stands
beside both. Every array can be written to. Writes reading.txt.

    pip install -e '.[bench]'
    python benchmarks/reading.py
"""

from __future__ import annotations

import argparse
import sys
from array import array
from collections.abc import Callable
from typing import Any

import common
import numpy as np
import peers

TABLE = "reading"
DIMENSIONS = 768
SEED = 20_240

LIST, ARRAY, PEER = "lists", "numpy=True", peers.PGVECTOR
DEFERRED = "without"
UNPACKED, UNPACKED_LIST = "BinaryField, numpy arrays", "BinaryField, lists"
LIST_ROWS, ARRAY_ROWS = "lists, values_list()", "numpy=True, values_list()"
BARE_LIST, BARE_ARRAY = "bare driver, lists", "bare driver, numpy arrays"

# What lists and what arrays are compared with, under the heading of a column.
TO_PEER = ("to pgvector.django", {"list": PEER, "ndarray": PEER})
TO_BARE = ("to bare", {"list": BARE_LIST, "ndarray": BARE_ARRAY})
TO_BINARY = ("to BinaryField", {"list": UNPACKED_LIST, "ndarray": UNPACKED})

DEFERRED_PEER = f"{DEFERRED}, {PEER}"

Ways = dict[str, Callable[[int], Any]]
Comparison = tuple[str, dict[str, str]]
Databases = dict[str, dict[str, Any]]


def run(databases: Databases, options: argparse.Namespace) -> list[str]:
    rows, rounds = (500, 5) if options.quick else (5_000, 7)
    models = declared(databases["default"])
    vectors = np.random.default_rng(SEED).standard_normal((rows, DIMENSIONS), np.float32)
    parts = [f"{rows:,} rows of {DIMENSIONS} dimensions, {rounds} rounds; milliseconds."]
    with common.tables(models[LIST], *common.ALIASES):
        fill(models[LIST], vectors, list(common.ALIASES))
        ways = postgresql(models, peers.connect("default", databases["default"]))
        parts.append(measured("PostgreSQL", ways, vectors, rounds, (TO_PEER, TO_BARE)))
        for alias in ("sqlite", "libsql"):
            ways = in_file(models, alias, peers.connect(alias, databases[alias]))
            label = peers.LABELS[alias]
            parts.append(measured(label, ways, vectors, rounds, (TO_BARE, TO_BINARY)))
    return parts


def declared(database: dict[str, Any]) -> dict[str, Any]:
    """Models of one table, by what they read."""
    from dorm_vector import models

    def model_of(field: Any, managed: bool = False) -> Any:
        return common.model(TABLE, managed=managed, embedding=field)

    return {
        LIST: model_of(models.VectorField(DIMENSIONS), managed=True),
        ARRAY: model_of(models.VectorField(DIMENSIONS, numpy=True)),
        PEER: peers.pgvector_model(TABLE, DIMENSIONS),
        peers.DJANORM: peers.djanorm_model(database, TABLE, DIMENSIONS),
        UNPACKED: model_of(models.BinaryField()),
    }


def fill(model: Any, vectors: np.ndarray, aliases: list[str]) -> None:
    from dorm_vector import bulk_copy

    for alias in aliases:
        with common.step(f"Loading {alias}"):
            bulk_copy(model.objects.using(alias), (model(embedding=row) for row in vectors))
    common.execute(f"VACUUM ANALYZE {TABLE}")


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


def postgresql(models: dict[str, Any], raw: Any) -> Ways:
    def bare() -> list[Any]:
        return raw.execute(f"SELECT id, vector_send(embedding) FROM {TABLE}").fetchall()

    peer, djanorm = models[PEER].objects, models[peers.DJANORM].objects
    return {
        **orm(models, "default"),
        PEER: lambda number: [item.embedding for item in peer.all()],
        DEFERRED_PEER: lambda number: [item.pk for item in peer.defer("embedding")],
        peers.DJANORM: lambda number: [item.embedding for item in djanorm.all()],
        BARE_LIST: lambda number: [from_network(row[1]) for row in bare()],
        BARE_ARRAY: lambda number: [
            np.frombuffer(row[1], ">f4", offset=4).astype("f4") for row in bare()
        ],
    }


def from_network(data: Any) -> list[float]:
    numbers = array("f", bytes(data)[4:])
    numbers.byteswap()
    return numbers.tolist()


def in_file(models: dict[str, Any], alias: str, raw: Any) -> Ways:
    binary = models[UNPACKED].objects.using(alias)

    def bare() -> list[Any]:
        return raw.execute(f"SELECT id, embedding FROM {TABLE}").fetchall()

    def unpacked(data: Any) -> Any:
        return np.frombuffer(data, "f4").copy()

    return {
        **orm(models, alias),
        UNPACKED: lambda number: [unpacked(item.embedding) for item in binary.all()],
        UNPACKED_LIST: lambda number: [
            np.frombuffer(item.embedding, "f4").tolist() for item in binary.all()
        ],
        BARE_LIST: lambda number: [np.frombuffer(row[1], "f4").tolist() for row in bare()],
        BARE_ARRAY: lambda number: [unpacked(row[1]) for row in bare()],
    }


def measured(
    label: str, ways: Ways, vectors: np.ndarray, rounds: int, comparisons: tuple[Comparison, ...]
) -> str:
    """A table. Ends with an error where other vectors are read than were written."""
    with common.step(f"Reading, {label}"):
        kinds = {}
        for name, way in ways.items():
            found = way(0)
            if name in (DEFERRED, DEFERRED_PEER):
                continue
            # What numpy=True reads is a subclass.
            kinds[name] = "ndarray" if isinstance(found[0], np.ndarray) else "list"
            # djanorm reads the text of PostgreSQL: the nearest float64 of the shortest spelling.
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
    return common.titled(label, header, rows)


def discarding(ways: Ways) -> Ways:
    """The same ways, with nothing kept: memory that fills would slow down the later rounds."""
    return {name: lambda number, way=way: len(way(number)) for name, way in ways.items()}


if __name__ == "__main__":
    common.main("reading", __doc__, run)
