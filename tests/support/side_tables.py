"""Tables with a VectorIndex on SQLite and libSQL, and the side tables that follow them."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
from django.db import migrations, transaction
from django.db.models import GeneratedField

from dorm_vector import VectorIndex, models
from tests.support.schema import Schema

__all__ = [
    "QUERY",
    "VECTORS",
    "LibSQLTable",
    "Table",
    "index",
    "packed",
    "rolled_back",
    "uses_index",
]

QUERY = [1.0, 1.0, 2.0]
VECTORS: list[Any] = [
    [1, 2, 3],
    [0.1, 0.2, 0.4],
    None,
    [-2, 0, 1],
    [0, 0, 0],
    [1e15, -1e15, 1e-15],
    [-0.0, 0.0, -0.0],
    [-0.0, 1e-15, 0.0],
    [1, 2, 3],
]


def index(metric: str = "l2", **kwargs: Any) -> VectorIndex:
    return VectorIndex(**{"fields": ["embedding"], "name": "i", "metric": metric, **kwargs})


def packed(vector: Any) -> bytes:
    return np.asarray(vector, "<f4").tobytes()


def in_bytes(vector: bytes) -> bytes:
    """
    A packed vector of fewer than 64 dimensions as one of length 1, at a byte a component.

    As sqlite-vec computes it, in float32: 255 steps from -1 to 1, rounded towards zero.
    """
    one, numbers = np.float32(1), np.frombuffer(vector, "<f4")
    squares = np.float32(0)
    for number in numbers:
        squares += number * number
    steps = (numbers / np.sqrt(squares) + one) / (np.float32(2) / np.float32(255)) - np.float32(128)
    return np.trunc(np.clip(steps, -128, 127)).astype("i1").tobytes()


class Table(Schema):
    """The table of a model in a SQLite database of its own, and the side tables of its indexes."""

    metrics: ClassVar[tuple[str, ...]] = ("l2", "cosine", "l1")
    #: Rows of every kind.
    vectors: ClassVar[list[Any]] = VECTORS

    def __init__(self, metric: str | None = None) -> None:
        super().__init__("scratch")
        name = models.CharField(max_length=20, unique=True, null=True)
        self.run(migrations.AddField("thing", "name", name))
        if metric:
            self.run(migrations.AddIndex("thing", index(metric)))

    @property
    def model(self) -> Any:
        (key,) = self.state.models
        return self.state.apps.get_model(*key)

    @property
    def rows(self) -> Any:
        return self.model.objects.using("scratch")

    @property
    def column(self) -> str:
        """The name of the vector field."""
        kinds = (models.VectorField, GeneratedField)
        return next(field.name for field in self.model._meta.fields if isinstance(field, kinds))

    def fill(self, vectors: Any = None) -> list[Any]:
        given = self.vectors if vectors is None else vectors
        made = [self.model(**{self.column: vector}) for vector in given]
        return self.rows.bulk_create(made)

    def query(self, sql: str, *params: Any) -> list[Any]:
        with self.connection.cursor() as cursor:
            cursor.execute(sql, params or None)
            return list(cursor.fetchall())

    def stored(self, index: Any) -> dict[int, bytes]:
        """What the side table has to hold, read from the table."""
        meta = self.model._meta
        quote = self.connection.ops.quote_name
        # Django's RenameField leaves the old name in the state of an index.
        known = index.fields[0] in {field.name for field in meta.fields}
        vector = quote(meta.get_field(index.fields[0] if known else self.column).column)
        rows = self.query(f"SELECT {quote(meta.pk.column)}, {vector} FROM {quote(meta.db_table)}")
        return {
            pk: in_bytes(value) if self.holds_bytes(index) else value
            for pk, value in rows
            if value is not None and (index.metric != "cosine" or np.frombuffer(value, "<f4").any())
        }

    def holds_bytes(self, index: Any) -> bool:
        """Whether a side table has a byte of each component."""
        return bool(index.metric == "cosine" and index.precision in (None, "int8"))

    def held(self, vector: Any) -> bytes:
        """What the side table of the first index has of a vector."""
        (declared, *_) = self.model._meta.indexes
        return in_bytes(packed(vector)) if self.holds_bytes(declared) else packed(vector)

    def side(self, name: str = "i") -> dict[int, bytes]:
        return dict(self.query(f'SELECT rowid, vector FROM "{name}"'))

    def found(self, index: Any) -> set[int]:
        """The rows that a search of the side table meets, which reads other parts of it."""
        place = "vec_int8(%s)" if self.holds_bytes(index) else "%s"
        vector = in_bytes(packed(QUERY)) if self.holds_bytes(index) else packed(QUERY)
        sql = f'SELECT rowid FROM "{index.name}" WHERE vector MATCH {place} AND k = 4096'
        return {pk for (pk,) in self.query(sql, vector)}

    def assert_in_step(self) -> None:
        assert self.model._meta.indexes
        for declared in self.model._meta.indexes:
            stored, side = self.stored(declared), self.side(declared.name)
            if self.holds_bytes(declared):  # the last digit of a float32 may round otherwise
                off = {
                    pk: np.frombuffer(stored[pk], "i1") - np.frombuffer(value, "i1").astype(int)
                    for pk, value in side.items()
                }
                assert all(np.abs(differences).max() <= 1 for differences in off.values())
            else:
                assert side == stored
            assert self.found(declared) == set(stored)

    def objects(self) -> set[str]:
        """Everything in the schema; SQLite's own tables come with the first AUTOINCREMENT."""
        sql = "SELECT type || ' ' || name FROM sqlite_master WHERE name NOT LIKE 'sqlite%'"
        return {name for (name,) in self.query(sql)}


@contextlib.contextmanager
def rolled_back() -> Iterator[None]:
    """A transaction, or a savepoint in one, that is rolled back."""
    with transaction.atomic("scratch"):
        yield
        transaction.set_rollback(True, using="scratch")


def uses_index(queryset: Any, name: str = "i") -> bool:
    """Whether the plan has the side table, or the tables of its rows under its name."""
    return bool(re.search(rf"SCAN {name}( VIRTUAL TABLE|$)", queryset.explain(), re.MULTILINE))


class LibSQLTable(Table):
    """The table of a model in a libSQL database of its own, and the side tables of its indexes."""

    metrics = ("l2", "cosine")
    # libSQL has no cosine distance of lengths beyond 1e-9 and 1e9.
    vectors = [
        [1e8, -1e8, 1e-8] if vector == [1e15, -1e15, 1e-15] else vector
        for vector in ([-0.0, 1e-8, 0.0] if v == [-0.0, 1e-15, 0.0] else v for v in VECTORS)
    ]

    def holds_bytes(self, index: Any) -> bool:
        return False

    def side(self, name: str = "i") -> dict[int, bytes]:
        """The vectors of the side table, numbered in an order of their own."""
        found = self.query(f'SELECT id, vector FROM "{name}"')
        assert sorted(number for number, _ in found) == list(range(1, len(found) + 1))
        return dict(enumerate(sorted(vector for _, vector in found)))

    def assert_in_step(self) -> None:
        """Each vector once, those that were there before included."""
        assert self.model._meta.indexes
        for declared in self.model._meta.indexes:
            side = list(self.side(declared.name).values())
            assert len(side) == len(set(side))
            assert set(self.stored(declared).values()) <= set(side)

    def objects(self) -> set[str]:
        """Without libSQL's own list of graphs, which it makes with the first one."""
        return super().objects() - {"table libsql_vector_meta_shadow"}
