"""The binary forms of values beside psycopg's own."""

from __future__ import annotations

import datetime
import uuid
from decimal import Decimal
from ipaddress import IPv4Address
from typing import Any

import psycopg
import pytest
from psycopg.pq import Format
from psycopg.types.json import Json, Jsonb

from dorm_vector.engines.postgresql.dumpers import DUMPERS

VALUES: list[tuple[str, Any]] = [
    ("smallint", -7),
    ("integer", 70_000),
    ("bigint", 7 * 10**12),
    ("boolean", True),
    ("double precision", -1.5),
    ("numeric", Decimal("-12345.6789")),
    ("text", "Grüße"),
    ("date", datetime.date(1999, 12, 31)),
    ("time", datetime.time(1, 2, 3, 4)),
    ("interval", datetime.timedelta(-3, 4, 5)),
    ("uuid", uuid.UUID(int=2**127 + 5)),
    ("bytea", b"\0\xff"),
    ("jsonb", Jsonb({"a": [1, None]})),
    ("inet", IPv4Address("10.2.3.4")),
]


@pytest.mark.parametrize(("column", "value"), VALUES, ids=[column for column, _ in VALUES])
def test_the_same_bytes(column: str, value: Any) -> None:
    oid = psycopg.adapters.types[column].oid
    theirs = psycopg.adapters.get_dumper_by_oid(oid, Format.BINARY)(type(value), None)
    data: Any = theirs.dump(value)
    assert DUMPERS[column](value) == len(data).to_bytes(4) + bytes(data)


@pytest.mark.parametrize(
    "value", [Jsonb({"ä": 1}), Json({"ä": 1}), Jsonb(0, dumps=lambda _: '"x"')]
)
def test_json_with_and_without_a_function_of_its_own(value: Any) -> None:
    text = b'"x"' if value.obj == 0 else b'{"\\u00e4": 1}'
    assert DUMPERS["jsonb"](value) == (len(text) + 1).to_bytes(4) + b"\x01" + text


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("smallint", 70_000, "70000 is out of the range of 2 bytes."),
        ("integer", 2**40, "1099511627776 is out of the range of 4 bytes."),
        ("text", "a\0b", "PostgreSQL text fields cannot contain NUL (0x00) bytes."),
    ],
)
def test_what_psycopg_would_let_through(column: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=r"\.$") as caught:
        DUMPERS[column](value)
    assert str(caught.value) == message


def test_an_interval_is_no_other_object() -> None:
    with pytest.raises(AttributeError):
        DUMPERS["interval"](object())
