"""What is there instead: pgvector.django, djanorm, the bare drivers, and indexes in memory."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from typing import Any

import common
import numpy as np

PGVECTOR, DJANORM = "pgvector.django", "djanorm"
BARE = {"default": "bare psycopg", "sqlite": "bare sqlite3", "libsql": "bare libsql"}
LABELS = {"default": "PostgreSQL", "sqlite": "SQLite", "libsql": "libSQL"}

# Object-relational mappers


def pgvector_model(table: str, dimensions: int, **fields: Any) -> Any:
    """A model with pgvector.django's field, of a table that another model has made."""
    from pgvector.django import VectorField

    return common.model(
        table, managed=False, embedding=VectorField(dimensions=dimensions), **fields
    )


def djanorm_model(database: dict[str, Any], table: str, dimensions: int) -> Any:
    """The same for djanorm, whose vectors are those of its default database: PostgreSQL."""
    import dorm

    # It logs each statement that takes half a second, with all of its parameters.
    logging.getLogger("dorm").setLevel(logging.ERROR)
    from dorm.contrib.pgvector import VectorField

    given = {key: database.get(key) or "" for key in ("NAME", "USER", "PASSWORD", "HOST")}
    dorm.configure(DATABASES={"default": {"ENGINE": "postgresql", **given}}, INSTALLED_APPS=[])
    attributes = {
        "__module__": __name__,
        "Meta": type("Meta", (), {"db_table": table, "app_label": "benchmarks"}),
        "embedding": VectorField(dimensions=dimensions),
    }
    return type(f"Djanorm{table.title()}", (dorm.Model,), attributes)


# Bare drivers


def connect(alias: str, settings: dict[str, Any], **options: Any) -> Any:
    """A connection of the driver of a database, beside that of Django."""
    if alias == "libsql":
        import libsql

        return libsql.connect(settings["NAME"])
    if alias == "sqlite":
        from dorm_vector import load_sqlite_vec_extension

        raw = sqlite3.connect(settings["NAME"])
        load_sqlite_vec_extension(raw)
        return raw
    import psycopg

    # Django's cursors put the parameters into the text; psycopg's own send them apart from it.
    options = {"autocommit": True, "cursor_factory": psycopg.ClientCursor, **options}
    given = {"dbname": "NAME", "user": "USER", "password": "PASSWORD", "host": "HOST"}
    found = {name: settings[key] for name, key in given.items() if settings.get(key)}
    raw = psycopg.connect(**found, **options)
    raw.execute("SET hnsw.iterative_scan = strict_order")
    return raw


def statement(rows: Any) -> tuple[str, Any]:
    """The SQL of a queryset and its parameters, as they are for the driver of its database."""
    from django.db import connections

    sql, params = rows.query.get_compiler(rows.db).as_sql()
    # Of the drivers' own types, and without what Django's logs are told.
    plain = [bytes(each) if isinstance(each, bytes) else each for each in params]
    is_postgresql = connections[rows.db].vendor == "postgresql"
    return (sql if is_postgresql else sql.replace("%s", "?")), plain


def bare_search(
    alias: str, raw: Any, search: Callable[[int], Any], rounds: int
) -> Callable[[int], list[Any]]:
    """What runs the very SQL of a search on a driver's connection, made beforehand."""
    statements = [statement(search(number)) for number in range(rounds)]
    if alias == "libsql":
        statements = [(sql, tuple(params)) for sql, params in statements]
    return lambda number: [row[0] for row in raw.execute(*statements[number]).fetchall()]


# In memory


class BruteForce:
    """Cosine distances by numpy, in float32, from vectors of length 1 that are held in memory."""

    def __init__(self, vectors: np.ndarray) -> None:
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        self.units = np.ascontiguousarray(vectors / lengths, np.float32)

    @property
    def bytes(self) -> int:
        return self.units.nbytes

    def search(self, query: np.ndarray, k: int, rows: np.ndarray | None = None) -> list[int]:
        """Primary keys from 1 on, of all rows or of those at ``rows``, the nearest first."""
        units = self.units if rows is None else self.units[rows]
        nearness = units @ query
        best = np.argpartition(-nearness, k)[:k]
        best = best[np.argsort(-nearness[best])]
        return [int(place) + 1 for place in (best if rows is None else rows[best])]


class Usearch:
    """usearch's HNSW index, in memory, with the parameters that are pgvector's defaults."""

    def __init__(self, vectors: np.ndarray) -> None:
        from usearch.index import Index

        self.index = Index(
            ndim=vectors.shape[1],
            metric="cos",
            dtype="f32",
            connectivity=16,
            expansion_add=64,
            expansion_search=40,
        )
        self.index.add(np.arange(1, len(vectors) + 1), vectors)

    @property
    def bytes(self) -> int:
        return int(self.index.serialized_length)

    def search(self, query: np.ndarray, k: int, exact: bool = False) -> list[int]:
        """Primary keys, the nearest first."""
        return [int(key) for key in self.index.search(query, k, exact=exact).keys]


# Comparing


def found_pks(objects: Any, query: Any, k: int, pk: str = "pk") -> list[int]:
    """The plain way of pgvector.django."""
    from pgvector.django import CosineDistance

    return list(objects.order_by(CosineDistance("embedding", query)).values_list(pk, flat=True)[:k])


def found_by_djanorm(objects: Any, query: Any, k: int) -> list[int]:
    from dorm.contrib.pgvector import CosineDistance

    rows = objects.annotate(distance=CosineDistance("embedding", query)).order_by("distance")
    return list(rows.values_list("id", flat=True)[:k])
