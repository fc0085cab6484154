"""
PostgreSQL's binary COPY, for the column types of Django's fields and for vectors.

Source of the formats: https://www.postgresql.org/docs/current/sql-copy.html, and the ``_send``
functions of the types.
"""

from __future__ import annotations

import datetime
import ipaddress
import math
import operator
import re
import struct
import sys
import zoneinfo
from array import array
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import psycopg
from django.core.exceptions import ValidationError
from psycopg.pq import Format

from dorm_vector import codecs, values
from dorm_vector.engines.base.engine import prepares_as_declared
from dorm_vector.engines.base.loaders import Loader
from dorm_vector.fields import AnyVectorField

__all__ = ["Copies", "dumper"]

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"
NULL = b"\xff\xff\xff\xff"
# Bytes of one COPY, after which it ends, and of what is sent at a time.
SIZE = 1 << 20
PIECE = 1 << 16
# Rows of the first one; the next has as many times as many, until there are SIZE bytes, or so many
# VALUES: Python needs a hundred bytes or so for each, however short it is.
FEW = 32
VALUES = 1 << 14
# Bytes before the numbers of a vector: the length, int16 dimensions, int16 unused.
HEAD = 8

# Numbers of types; source: https://github.com/postgres/postgres, pg_type.dat.
INET, NUMERIC = 869, 1700

Dump = Callable[[Any], bytes]

_EPOCH = datetime.date(2000, 1, 1).toordinal()
_NAIVE = datetime.datetime(2000, 1, 1)
_AWARE = _NAIVE.replace(tzinfo=datetime.UTC)
_MICROSECOND = datetime.timedelta(microseconds=1)
_LENGTH = struct.Struct(">i").pack


def _fixed(code: str) -> Dump:
    form = struct.Struct(f">i{code}")
    length = form.size - 4

    def dump(value: Any) -> bytes:
        try:
            return form.pack(length, value)
        except struct.error:
            raise ValueError(f"{int(value)} is out of the range of {length} bytes.") from None

    return dump


_float = _fixed("d")


def _positive_zero(value: Any) -> bytes:
    """Without the sign of zero, which is lost in the text of a statement too."""
    return _float(value + 0.0)


def _sized(data: bytes) -> bytes:
    return _LENGTH(len(data)) + data


def _text(value: Any) -> bytes:
    # The str() of an enum's member may be its name.
    data = value.encode() if isinstance(value, str) else str(value).encode()
    if b"\0" in data:
        raise ValueError("PostgreSQL text fields cannot contain NUL (0x00) bytes.")
    return _sized(data)


def _date(value: datetime.date) -> bytes:
    return struct.pack(">ii", 4, value.toordinal() - _EPOCH)


def _timestamps(zone: datetime.tzinfo) -> Dump:
    """Of datetimes that are aware, or else in the time zone of the connection."""

    def dump(value: datetime.datetime) -> bytes:
        since = value - _NAIVE - _offset(value, zone) if value.tzinfo is None else value - _AWARE
        return struct.pack(">iq", 8, since // _MICROSECOND)

    return dump


def _offset(value: datetime.datetime, zone: datetime.tzinfo) -> datetime.timedelta:
    """Of an hour that does not exist, or is there twice, PostgreSQL takes the lesser offset."""
    offsets = [value.replace(tzinfo=zone, fold=fold).utcoffset() for fold in (0, 1)]
    return min(offset for offset in offsets if offset is not None)


def _time(value: datetime.time) -> bytes:
    seconds = (value.hour * 60 + value.minute) * 60 + value.second
    return struct.pack(">iq", 8, seconds * 1_000_000 + value.microsecond)


def _interval(value: datetime.timedelta) -> bytes:
    rest = value.seconds * 1_000_000 + value.microseconds
    return struct.pack(">iqii", 16, rest, value.days, 0)


def _by_driver(oid: int, kind: type) -> Dump:
    """
    By the driver's own, for the types where that is quicker: four times for numbers, eleven for
    addresses.

    For those of a fixed length it takes twice as long as ``struct``; and compiled, psycopg 3.3
    stores what is out of range as another number, and any object as some interval.
    """
    dump = psycopg.adapters.get_dumper_by_oid(oid, Format.BINARY)(kind, None).dump

    def sized(value: Any) -> bytes:
        try:
            data: Any = dump(value)
        except psycopg.Error as error:
            raise ValueError(str(error)) from None
        return _sized(data)

    return sized


_decimal = _by_driver(NUMERIC, Decimal)
_address = _by_driver(INET, ipaddress.IPv4Address)


def _numeric(value: Any) -> bytes:
    return _decimal(value if type(value) is Decimal else Decimal(value))


def _inet(value: Any) -> bytes:
    plain = isinstance(value, ipaddress.IPv4Address | ipaddress.IPv6Address)
    return _address(value if plain else ipaddress.ip_interface(str(value)))


def _bytea(value: Any) -> bytes:
    data: Any = getattr(value, "obj", value)  # the driver's Binary
    return _sized(bytes(data))


def _json(value: Any) -> bytes:
    dumps = getattr(value, "dumps", None)
    data = value.obj if dumps else value
    text = dumps(data) if dumps else data
    return _sized(b"\x01" + (text if isinstance(text, bytes) else text.encode()))


DUMPERS: dict[str, Dump] = {
    "smallint": _fixed("h"),
    "integer": _fixed("i"),
    "bigint": _fixed("q"),
    "boolean": _fixed("?"),
    "double precision": _float,
    "numeric": _numeric,
    "varchar": _text,
    "text": _text,
    "char": _text,
    "date": _date,
    "time": _time,
    "interval": _interval,
    "uuid": lambda value: _sized(value.bytes),
    "bytea": _bytea,
    "jsonb": _json,
    "inet": _inet,
}


def dumper(field: Any, connection: Any) -> Dump | None:
    """What makes the binary form of a field's value, after its length; None where nothing does."""
    if isinstance(field, AnyVectorField):
        if not prepares_as_declared(field):
            return None
        return _vector_dump(field)
    internal = field.get_internal_type()
    target = getattr(field, "target_field", field)
    if "SerialField" in internal:
        return None
    column = re.sub(r"\(.*?\)", "", str(target.rel_db_type(connection))).strip()
    dump = DUMPERS.get(column)
    if column == "double precision" and not connection.features.uses_server_side_binding:
        dump = _positive_zero
    if column == "timestamp with time zone":
        dump = _timestamps(zoneinfo.ZoneInfo(connection.timezone_name))
    if dump is None:
        return None

    def prepared(value: Any) -> bytes:
        ready = field.get_db_prep_save(value, connection)
        return NULL if ready is None else dump(ready)

    return prepared


def _vector_dump(field: AnyVectorField) -> Dump:
    pack, dump = field.pack, _packed_dump(field)

    def prepared(value: Any) -> bytes:
        packed = pack(value)
        return NULL if packed is None else dump(packed)

    return prepared


def _packed_dump(field: AnyVectorField) -> Dump:
    size = field.dimensions
    if field.kind == "vector":
        header = _header(4 * size, size)
        return lambda packed: header + codecs.to_network(packed)
    if field.kind == "halfvec":
        header = _header(2 * size, size)
        form = struct.Struct(f">{size}e")
        return lambda packed: header + form.pack(*codecs.from_packed(packed))
    return {"bit": _bits, "sparsevec": _sparse}[field.kind]


def _header(length: int, dimensions: int) -> bytes:
    return struct.pack(">iHH", 4 + length, dimensions, 0)


def _bits(bits: str) -> bytes:
    length = (len(bits) + 7) // 8
    padded = bits.ljust(8 * length, "0")
    return _sized(struct.pack(">i", len(bits)) + int(padded, 2).to_bytes(length))


def _sparse(text: str) -> bytes:
    elements, size = codecs.from_sparse_text(text)
    count = len(elements)
    return _sized(
        struct.pack(f">iii{count}i{count}f", size, count, 0, *elements, *elements.values())
    )


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
            # What makes the rows may load others meanwhile.
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
        if prepares_as_declared(field) and field.kind == "vector":
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
            # The server works on one piece while the next is on its way.
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
        self._pack, self._dump = field.pack, _vector_dump(field)
        self._form = struct.Struct(f">{self.size}f")
        self._arrays: tuple[type, ...] = ()
        self._numpy = sys.modules.get("numpy")
        self._shape = (self.size,)
        if self._numpy:
            from dorm_vector.arrays import VectorArray

            # Others may have a mask, or a meaning of their own.
            self._arrays = (self._numpy.ndarray, VectorArray)
            self._dtype = self._numpy.dtype("f4")

    def make_room(self, rows: int) -> None:
        """For so many vectors."""
        vector = _header(4 * self.size, self.size) + bytes(4 * self.size)
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
        slot, kind = self._slots[place], type(value)
        if (kind is list or kind is tuple) and value and type(value[0]) in values.PLAIN:
            try:
                self._form.pack_into(self._buffer, place * self.width + HEAD, *value)
            except Exception:  # whatever a float() of somebody's raises
                return self._put_otherwise(slot, value)
        elif kind in self._arrays and value.shape == self._shape and value.dtype == self._dtype:
            self._array[place] = value
        else:
            return self._put_otherwise(slot, value)
        return slot

    def _put_otherwise(self, slot: memoryview, value: Any) -> Any:
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
