"""
Binary formats of values, for the column types of Django's fields and for vectors.

Source of the formats: the ``_send`` functions of PostgreSQL's types, and of pgvector's.
"""

from __future__ import annotations

import datetime
import ipaddress
import re
import struct
import zoneinfo
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import psycopg
from psycopg.pq import Format
from psycopg.types.json import Json, Jsonb

from dorm_vector import codecs

__all__ = ["NULL", "dumper", "vector_dump", "vector_header"]

NULL = b"\xff\xff\xff\xff"
# OIDs of types; source: https://github.com/postgres/postgres, pg_type.dat.
INET, NUMERIC, JSONB = 869, 1700, 3802

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
    """Without the sign of zero, which the text of a statement loses too."""
    return _float(value + 0.0)


def _sized(data: bytes) -> bytes:
    return _LENGTH(len(data)) + data


def _text(value: object) -> bytes:
    # str() of an enum's member may be its name.
    data = value.encode() if isinstance(value, str) else str(value).encode()
    if b"\0" in data:
        raise ValueError("PostgreSQL text fields cannot contain NUL (0x00) bytes.")
    return _sized(data)


def _date(value: datetime.date) -> bytes:
    return struct.pack(">ii", 4, value.toordinal() - _EPOCH)


def _timestamps(zone: datetime.tzinfo) -> Dump:
    """Aware datetimes; naive ones are in the time zone of the connection."""

    def dump(value: datetime.datetime) -> bytes:
        since = value - _NAIVE - _offset(value, zone) if value.tzinfo is None else value - _AWARE
        return struct.pack(">iq", 8, since // _MICROSECOND)

    return dump


def _offset(value: datetime.datetime, zone: datetime.tzinfo) -> datetime.timedelta:
    """For an hour that does not exist, or occurs twice, PostgreSQL takes the lesser offset."""
    offsets = [value.replace(tzinfo=zone, fold=fold).utcoffset() for fold in (0, 1)]
    return min(offset for offset in offsets if offset is not None)


def _time(value: datetime.time) -> bytes:
    seconds = (value.hour * 60 + value.minute) * 60 + value.second
    return struct.pack(">iq", 8, seconds * 1_000_000 + value.microsecond)


def _interval(value: datetime.timedelta) -> bytes:
    rest = value.seconds * 1_000_000 + value.microseconds
    return struct.pack(">iqii", 16, rest, value.days, 0)


def _by_driver(oid: int, python_type: type) -> Dump:
    """
    By the driver's own, where that is as safe and no slower.

    Measured with psycopg 3.3.9, compiled, in microseconds a value, here and there: integers 0.07
    and 0.13, floats and booleans 0.06 and 0.12, dates 0.09 and 0.13, bytes 0.17 and 0.37; uuid,
    time and interval 0.15 and 0.13, text 0.25 and 0.14. But there 70,000 is a smallint of 4,464,
    any object is some interval, and text has NUL, which the server refuses without saying in which
    row. Numbers take a fourth of the time there, addresses an eleventh, JSON the same.
    """
    dump = psycopg.adapters.get_dumper_by_oid(oid, Format.BINARY)(python_type, None).dump

    def sized(value: object) -> bytes:
        try:
            data: Any = dump(value)
        except psycopg.Error as error:
            raise ValueError(str(error)) from None
        return _sized(data)

    return sized


_decimal = _by_driver(NUMERIC, Decimal)
_document = _by_driver(JSONB, Jsonb)
_address = _by_driver(INET, ipaddress.IPv4Address)


def _numeric(value: Any) -> bytes:
    return _decimal(value if type(value) is Decimal else Decimal(value))


def _inet(value: object) -> bytes:
    plain = isinstance(value, ipaddress.IPv4Address | ipaddress.IPv6Address)
    return _address(value if plain else ipaddress.ip_interface(str(value)))


def _bytea(value: object) -> bytes:
    data: Any = getattr(value, "obj", value)  # the driver's Binary
    return _sized(bytes(data))


def _json(value: Any) -> bytes:
    if isinstance(value, Json | Jsonb):
        return _document(Jsonb(value.obj, value.dumps))
    text = value if isinstance(value, bytes) else value.encode()
    return _sized(b"\x01" + text)


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
    """The dumper of a field's values, with their length; None if there is none."""
    if getattr(field, "holds_vectors", False):
        if not field.prepares_as_declared:
            return None
        return vector_dump(field)
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

    def prepared(value: object) -> bytes:
        ready = field.get_db_prep_save(value, connection)
        return NULL if ready is None else dump(ready)

    return prepared


def vector_dump(field: Any) -> Dump:
    """The same for a vector field."""
    pack, dump = field.pack, _packed_dump(field)

    def prepared(value: object) -> bytes:
        packed = pack(value)
        return NULL if packed is None else dump(packed)

    return prepared


def _packed_dump(field: Any) -> Dump:
    size = field.dimensions
    if field.kind == "vector":
        header = vector_header(4 * size, size)
        return lambda packed: header + codecs.to_network(packed)
    if field.kind == "halfvec":
        header = vector_header(2 * size, size)
        form = struct.Struct(f">{size}e")
        return lambda packed: header + form.pack(*codecs.from_packed(packed))
    return {"bit": _bits, "sparsevec": _sparse}[field.kind]


def vector_header(length: int, dimensions: int) -> bytes:
    """The header of a vector: its length, int16 dimensions, int16 unused."""
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
