"""
Loading by PostgreSQL's binary COPY.

Source of the format: https://www.postgresql.org/docs/current/sql-copy.html
"""

from __future__ import annotations

import math
import operator
import struct
import sys
from array import array
from typing import Any

from django.core.exceptions import ValidationError

from dorm_vector import codecs
from dorm_vector.engines.base.loaders import Loader
from dorm_vector.engines.postgresql.dumpers import NULL, dumper, vector_dump, vector_header
from dorm_vector.packing import PLAIN

__all__ = ["Copies"]

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"
# After how many bytes a COPY ends, and how many are sent at a time.
SIZE = 1 << 20
PIECE = 1 << 16
# Rows of the first one; the next has as many times as many, until there are SIZE bytes, or so many
# VALUES: Python needs a hundred bytes or so for each, however short it is.
FEW = 32
VALUES = 1 << 14
# Bytes before the numbers of a vector: the length, int16 dimensions, int16 unused.
HEAD = 8


class Copies(Loader):
    """
    By binary COPYs; where rows may be in conflict, into a temporary table first.

    While a COPY goes on, its connection takes no query. So it begins when its rows are complete:
    what makes the objects can read from the same database.
    """

    def __init__(self, load: Any, fields: tuple[Any, ...]) -> None:
        super().__init__(load, fields)
        quote = self.connection.ops.quote_name
        self._table = quote(load.model._meta.db_table)
        if load.on_conflict:
            # Whatever makes the rows may load others meanwhile.
            target, self._table = self._table, quote(f"dorm_vector_load_{id(load)}")
            self._execute(
                f"CREATE TEMPORARY TABLE {self._table} ON COMMIT DROP AS "  # noqa: S608 - quoted
                f"SELECT {self.columns()} FROM {target} WITH NO DATA"
            )
        self._vectors: list[Vectors] = []
        self._puts = [self._put(field) for field in fields]
        width = sum(vectors.width for vectors in self._vectors)
        rows = VALUES // max(1, len(fields))
        self._most = max(1, min(SIZE // width, rows) if width else rows)
        self._start = struct.pack(">h", len(fields))
        self._make_room(FEW)

    def _put(self, field: Any) -> Any:
        if getattr(field, "prepares_as_declared", False) and field.kind == "vector":
            self._vectors.append(Vectors(field))
            return self._vectors[-1].put
        return dumper(field, self.connection)

    def _make_room(self, rows: int) -> None:
        self._room = min(rows, self._most)
        for vectors in self._vectors:
            vectors.make_room(self._room)
        self._clear()

    def _clear(self) -> None:
        self._parts: list[Any] = [HEADER]
        self._size = self._count = 0
        for vectors in self._vectors:
            vectors.place = 0

    def add(self, row: list[Any]) -> bool:
        parts, size = self._parts, self._size
        parts.append(self._start)
        for put, value in zip(self._puts, row, strict=True):
            part = put(value)
            parts.append(part)
            size += len(part)
        self._size = size
        self._count += 1
        self._number = self.load.count
        return self._count == self._room or self._size > SIZE

    def send(self) -> None:
        if not self._count:
            return
        self._refuse()
        stream = memoryview(b"".join((*self._parts, TRAILER)))
        with (
            self.connection.cursor() as cursor,
            self.connection.wrap_database_errors,
            cursor.copy(
                f"COPY {self._table} ({self.columns()}) FROM STDIN (FORMAT BINARY)"
            ) as copying,
        ):
            # The server works on one piece while the next one is on its way.
            for start in range(0, len(stream), PIECE):
                copying.write(stream[start : start + PIECE])
        # A few rows need no room for many.
        if self._count == self._room < self._most:
            self._make_room(FEW * self._room)
        else:
            self._clear()

    def _refuse(self) -> None:
        """Raise for the first vector that is not finite."""
        found = [(vectors.refused(), vectors) for vectors in self._vectors]
        refused = [(place, vectors) for place, vectors in found if place is not None]
        if refused:
            place, vectors = min(refused, key=operator.itemgetter(0))
            try:
                vectors.check(place)
            except ValidationError as error:
                number = self._number - self._count + 1 + place
                raise self.load.named(error, number) from error

    def finish(self) -> None:
        self.send()
        if self.load.on_conflict:
            self._execute(
                f"{self.insert_sql()} SELECT {self.columns()} FROM {self._table} "  # noqa: S608
                f"{self.conflict_sql()}"
            )
            self._execute(f"DROP TABLE pg_temp.{self._table}")  # and no other of that name

    def _execute(self, sql: str) -> None:
        with self.connection.cursor() as cursor:
            cursor.execute(sql)


class Vectors:
    """
    The vectors of a column, of float32, in one buffer: each as it stands in the stream.

    The bytes of each are made where they are needed, and whether they are finite is asked once for
    all of them. With numpy's arrays that takes a third of the time of looking at each.
    """

    def __init__(self, field: Any) -> None:
        self.size = field.dimensions
        self.width = HEAD + 4 * self.size
        self.place = 0
        self._pack, self._dump = field.pack, vector_dump(field)
        self._form = struct.Struct(f">{self.size}f")
        self._arrays: tuple[type, ...] = ()
        self._numpy = sys.modules.get("numpy")
        self._shape = (self.size,)
        if self._numpy:
            from dorm_vector.arrays import VectorArray

            # Subclasses may have a mask, or a meaning of their own.
            self._arrays = (self._numpy.ndarray, VectorArray)
            self._dtype = self._numpy.dtype("f4")

    def make_room(self, rows: int) -> None:
        """For so many vectors."""
        vector = vector_header(4 * self.size, self.size) + bytes(4 * self.size)
        self._buffer = bytearray(vector * rows)
        whole = memoryview(self._buffer)
        width = self.width
        self._slots = [whole[place * width :][:width] for place in range(rows)]
        if self._numpy:
            shape, strides = (rows, self.size), (width, 4)
            self._array = self._numpy.ndarray(shape, ">f4", self._buffer, HEAD, strides)

    def put(self, value: Any) -> Any:
        """The bytes of the next vector. Raises ValidationError, except for NaN and infinity."""
        place, self.place = self.place, self.place + 1
        if value is None:
            return NULL
        slot, type_ = self._slots[place], type(value)
        if (type_ is list or type_ is tuple) and value and type(value[0]) in PLAIN:
            try:
                self._form.pack_into(self._buffer, place * self.width + HEAD, *value)
            except Exception:  # whatever a float() of somebody's raises
                return self._put_otherwise(slot, value)
        elif type_ in self._arrays and value.shape == self._shape and value.dtype == self._dtype:
            self._array[place] = value
        else:
            return self._put_otherwise(slot, value)
        return slot

    def _put_otherwise(self, slot: memoryview, value: object) -> Any:
        dumped = self._dump(value)
        if dumped is NULL:
            return NULL
        slot[:] = dumped
        return slot

    def refused(self) -> int | None:
        """The place of the first vector that is not finite."""
        if self._numpy:
            finite = self._numpy.isfinite(self._array[: self.place])
            return None if finite.all() else int(finite.all(axis=1).argmin())
        places = range(self.place)
        return next((place for place in places if not math.isfinite(sum(self._read(place)))), None)

    def check(self, place: int) -> None:
        """Raise ValidationError for a vector that is not finite."""
        self._pack(self._read(place))

    def _read(self, place: int) -> array[float]:
        return codecs.from_network(self._slots[place][4:])
