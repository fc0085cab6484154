"""Values that the client of libSQL takes and gives, and those that it has to be helped with."""

from __future__ import annotations

import datetime as dt
import decimal
import math
import re
from collections.abc import Callable
from typing import Any

import pytest
from django.db import utils as django_errors
from django.db.models import Value

from dorm_vector.backends.libsql import dbapi
from tests.support.libsql_backend import Author, Sample, one


class Text(str):
    __slots__ = ()


class Whole(int):
    pass


INTEGERS = [
    0,
    -1,
    2**31 - 1,
    2**31,
    -(2**31),
    -(2**31) - 1,
    2**53 + 1,
    -(2**53) - 1,
    2**63 - 1,
    -(2**63),
    1234567890123456789,
]


class TestValues:
    @pytest.mark.parametrize("value", INTEGERS)
    def test_integers(self, raw: dbapi.Connection, value: int) -> None:
        assert raw.execute("SELECT ?, typeof(?)", [value, value]).fetchone() == (value, "integer")
        raw.execute("INSERT INTO t VALUES (?)", [value])
        assert raw.execute("SELECT v FROM t WHERE v = ?", [value]).fetchall() == [(value,)]
        assert raw.execute("SELECT v FROM t WHERE v < ?", [value]).fetchall() == []

    @pytest.mark.parametrize("value", [2**63, -(2**63) - 1, 10**30])
    def test_integers_of_more_than_64_bits(self, raw: dbapi.Connection, value: int) -> None:
        with pytest.raises(OverflowError, match=f"^{value} is not a 64-bit integer"):
            raw.execute("SELECT ?", [value])

    def test_integers_of_mixed_rows(self, raw: dbapi.Connection) -> None:
        values = [1, 2**40, None, "text", 2**62, 2.5, 7, *INTEGERS]
        cursor = raw.executemany("INSERT INTO t VALUES (?)", ([value] for value in values))
        assert cursor.rowcount == len(values)
        assert [value for (value,) in raw.execute("SELECT v FROM t ORDER BY rowid")] == values

    def test_integers_beside_marks_that_are_no_parameters(self, raw: dbapi.Connection) -> None:
        sql = """SELECT '?', "v", ?, [v], `v`, ? /* ? */ FROM (SELECT 3 AS v) -- ?"""
        assert raw.execute(sql, [2**40, "x"]).fetchone() == ("?", 3, 2**40, 3, 3, "x")

    def test_integers_of_models(self, database: Any) -> None:
        samples = Sample.objects.using("scratch")
        samples.bulk_create(Sample(big=value, group=place) for place, value in enumerate(INTEGERS))
        assert list(samples.order_by("group").values_list("big", flat=True)) == INTEGERS
        for place, value in enumerate(INTEGERS):
            assert samples.get(big=value).group == place
            assert samples.filter(big__gt=value).count() == sum(n > value for n in INTEGERS)
            assert samples.annotate(v=Value(value)).first().v == value
        samples.filter(big=0).update(big=2**53 + 3)
        assert samples.get(group=0).big == 2**53 + 3

    @pytest.mark.parametrize("value", [0.1, -0.0, 5e-324, 1.7e308, math.inf, -math.inf, 1e15 + 0.3])
    def test_floats(self, raw: dbapi.Connection, value: float) -> None:
        found = one(raw, "SELECT ?", [value])
        assert (found, math.copysign(1, found)) == (value, math.copysign(1, value))

    @pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
    def test_bytes(self, raw: dbapi.Connection, kind: Callable[[bytes], Any]) -> None:
        for value in (b"", b"\0\xff?", bytes(range(256)) * 300):
            assert one(raw, "SELECT ?", [kind(value)]) == value

    @pytest.mark.parametrize("value", ["", "é😀", "a'b\"c", "?", "%s", "x" * 1_000_000])
    def test_text(self, raw: dbapi.Connection, value: str) -> None:
        assert one(raw, "SELECT ?", [value]) == value
        assert one(raw, "SELECT ?", [Text(value)]) == value

    def test_subclasses_of_int(self, raw: dbapi.Connection) -> None:
        row = raw.execute("SELECT ?, ?, ?, ?", [Whole(7), Whole(2**40), True, None]).fetchone()
        assert row == (7, 2**40, 1, None)

    def test_adapters_of_django(self, raw: dbapi.Connection) -> None:
        values = [decimal.Decimal("1.50"), dt.date(2026, 1, 31), dt.datetime(2026, 1, 31, 12, 30)]
        row = raw.execute("SELECT ?, ?, ?", values).fetchone()
        assert row == ("1.50", "2026-01-31", "2026-01-31 12:30:00")

    def test_nul_is_refused(self, raw: dbapi.Connection, database: Any) -> None:
        message = r"^libSQL cuts text at NUL \(0x00\) characters: 'a\\x00b'\.$"
        with pytest.raises(ValueError, match=message):
            raw.execute("SELECT ?", ["a\0b"])
        with pytest.raises(ValueError, match=message):
            Author.objects.using("scratch").create(name="a\0b")

    @pytest.mark.parametrize("value", [[1], {"a": 1}, object, 1j])
    def test_other_types_are_refused(self, raw: dbapi.Connection, value: Any) -> None:
        message = f"libSQL cannot store {value!r}: type {type(value).__name__!r} is not supported."
        with pytest.raises(dbapi.ProgrammingError, match=f"^{re.escape(message)}$"):
            raw.execute("SELECT ?", [value])

    @pytest.mark.parametrize("params", [[], [1], [1, 2, 3]])
    def test_a_wrong_number_of_parameters(self, database: Any, params: list[int]) -> None:
        message = rf"The current statement uses 2, and there are {len(params)} supplied"
        with (
            pytest.raises(django_errors.ProgrammingError, match=message),
            database.cursor() as cursor,
        ):
            cursor.execute("SELECT %s, %s", params)

    def test_named_parameters(self, database: Any) -> None:
        with database.cursor() as cursor:
            cursor.execute("SELECT %(a)s, %(b)s, %(a)s, '%%'", {"a": 1, "b": 2**40, "c": 3})
            assert cursor.fetchone() == (1, 2**40, 1, "%")
            with pytest.raises(KeyError, match="missing"):
                cursor.execute("SELECT %(missing)s", {"a": 1})

    def test_percent_signs(self, database: Any) -> None:
        with database.cursor() as cursor:
            cursor.execute("SELECT '%%s', '%%', 7 %% %s, '%%%%'", [4])
            assert cursor.fetchone() == ("%s", "%", 3, "%%")
            cursor.execute("SELECT '%s', '100%'")
            assert cursor.fetchone() == ("%s", "100%")
