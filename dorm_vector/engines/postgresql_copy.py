"""
PostgreSQL's binary COPY, for the column types of Django's fields and for vectors.

Source of the formats: https://www.postgresql.org/docs/current/sql-copy.html, and the ``_send``
functions of the types.
"""

from __future__ import annotations

import datetime
import ipaddress
import math
import re
import struct
import sys
import zoneinfo
from array import array
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from typing import Any

from dorm_vector import codecs, values
from dorm_vector.fields import AnyVectorField
from dorm_vector.kinds import KINDS

__all__ = ["dumper", "row_dumper", "streams"]

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"
NULL = b"\xff\xff\xff\xff"
# Bytes of one COPY, after which it ends.
SIZE = 1 << 20

Dump = Callable[[Any], bytes]
PREPARES = ("get_prep_value", "get_db_prep_value", "get_db_prep_save")

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


def _numeric(value: Any) -> bytes:
    """Groups of four decimal digits, the weight of the first one, the sign, and the scale."""
    number = Decimal(value)
    if not number.is_finite():
        sign = 0xC000 if number.is_nan() else (0xF000 if number < 0 else 0xD000)
        return struct.pack(">iHhHH", 8, 0, 0, sign, 0)
    negative, digits, exponent = number.as_tuple()
    scale = max(-int(exponent), 0)
    text = "".join(map(str, digits)) + "0" * max(int(exponent), 0)
    text = text.rjust(scale, "0")
    whole, part = text[: len(text) - scale], text[len(text) - scale :]
    whole = whole.rjust(-(-len(whole) // 4) * 4, "0")
    part = part.ljust(-(-len(part) // 4) * 4, "0")
    joined = whole + part
    groups = [int(joined[place : place + 4]) for place in range(0, len(joined), 4)]
    weight = len(whole) // 4 - 1
    while groups and not groups[0]:
        groups.pop(0)
        weight -= 1
    while groups and not groups[-1]:
        groups.pop()
    weight = weight if groups else 0
    return _sized(
        struct.pack(f">HhHH{len(groups)}H", len(groups), weight, 0x4000 * negative, scale, *groups)
    )


def _inet(value: Any) -> bytes:
    address = ipaddress.ip_interface(str(getattr(value, "obj", value)))
    family = 2 if address.version == 4 else 3
    packed = address.packed
    prefix = address.network.prefixlen
    return _sized(bytes([family, prefix, 0, len(packed)]) + packed)


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
    "double precision": _fixed("d"),
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
        return _vectors(field)
    internal = field.get_internal_type()
    target = getattr(field, "target_field", field)
    if "SerialField" in internal:
        return None
    column = re.sub(r"\(.*?\)", "", str(target.rel_db_type(connection))).strip()
    dump = DUMPERS.get(column)
    if column == "timestamp with time zone":
        dump = _timestamps(zoneinfo.ZoneInfo(connection.timezone_name))
    if dump is None:
        return None

    def prepared(value: Any) -> bytes:
        ready = field.get_db_prep_save(value, connection)
        return NULL if ready is None else dump(ready)

    return prepared


def _vectors(field: AnyVectorField) -> Dump | None:
    """Of a field that prepares its values as its class does in this package."""
    if any(getattr(type(field), name) is not getattr(AnyVectorField, name) for name in PREPARES):
        return None
    dump = _vector_dump(field)
    return lambda value: NULL if value is None else dump(value)


def _vector_dump(field: AnyVectorField) -> Dump:
    size, kind = field.dimensions, KINDS[field.kind]
    if field.kind == "vector":
        header = struct.pack(">iHH", 4 + 4 * size, size, 0)
        return lambda value: header + network(value, size)
    if field.kind == "halfvec":
        header = struct.pack(">iHH", 4 + 2 * size, size, 0)
        form = struct.Struct(f">{size}e")
        return lambda value: header + form.pack(*codecs.from_packed(kind.pack(value, size)))
    if field.kind == "bit":
        return lambda value: _bits(kind.pack(value, size))
    return lambda value: _sparse(kind.pack(value, size))


def network(value: Any, size: int) -> bytes:
    """A vector as packed big-endian float32."""
    numpy = sys.modules.get("numpy")
    if numpy is not None and type(value) is numpy.ndarray and value.dtype.kind == "f":
        packed = _from_numpy(numpy, value, size)
        if packed is not None:
            return packed
    numbers = values.to_float32(value)
    values.check_dimensions(len(numbers), size)
    if sys.byteorder == "little":
        numbers = array("f", numbers)
        numbers.byteswap()
    return numbers.tobytes()


def _from_numpy(numpy: Any, value: Any, size: int) -> bytes | None:
    """The fast way; None for what the other one refuses in a sentence."""
    if value.shape != (size,):
        return None
    if value.dtype.itemsize > 4:
        with numpy.errstate(over="ignore"):
            value = value.astype("f4")
    # A sum in float64 of float32 numbers is finite where they all are.
    if not math.isfinite(numpy.add.reduce(value, dtype="f8")):
        return None
    packed: bytes = value.astype(">f4").tobytes()
    return packed


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


def row_dumper(fields: Iterable[Any], connection: Any) -> Callable[[list[Any]], bytes]:
    """What makes the binary form of a row of values of ``fields``."""
    dumps: list[Any] = [dumper(field, connection) for field in fields]
    start = struct.pack(">h", len(dumps))

    def dump(row: list[Any]) -> bytes:
        parts = [each(value) for each, value in zip(dumps, row, strict=True)]
        return start + b"".join(parts)

    return dump


def streams(rows: Iterable[bytes]) -> Iterator[bytes]:
    """
    The streams of one COPY after another, of about ``SIZE`` bytes each.

    While a COPY goes on, its connection takes no query; between two of them, what makes the rows
    can read from the same database.
    """
    parts, size = [HEADER], 0
    for row in rows:
        parts.append(row)
        size += len(row)
        if size > SIZE:
            yield b"".join((*parts, TRAILER))
            parts, size = [HEADER], 0
    if size:
        yield b"".join((*parts, TRAILER))
