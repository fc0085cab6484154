"""bulk_copy() loads of every field what save() saves."""

from __future__ import annotations

import datetime
import uuid
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from django.db import connections, models
from django.db.models import Value
from django.utils.safestring import mark_safe
from django.utils.translation import gettext_lazy
from pgvector import SparseVector

from dorm_vector import bulk_copy
from tests.support.bulk import KEY, KOLKATA, NEW_YORK, UTC, saved_and_copied
from tests.testapp.models import (
    Chunk,
    Colour,
    Document,
    Everything,
    Full,
    Item,
    Level,
    Numpy,
    Owner,
    Sparse,
)

DATE, DATETIME = datetime.date, datetime.datetime


def utc(*parts: int) -> datetime.datetime:
    return DATETIME(*parts, tzinfo=UTC)


VALUES: dict[str, list[Any]] = {
    "small": [0, -1, 32767, -32768, True, "12", 3.0],
    "integer": [0, 2**31 - 1, -(2**31), Decimal(5)],
    "big": [0, 2**63 - 1, -(2**63), np.int64(7)],
    "positive_small": [0, 32767],
    "positive": [0, 2**31 - 1],
    "positive_big": [0, 2**63 - 1],
    "number": [
        *map(
            Decimal,
            [
                "0",
                "-0",
                "-0.0",
                "0E+5",
                "1",
                "-1",
                "1E-8",
                "-1E-8",
                "0.012",
                "0.12",
                "0.10",
                "0.00000100",
                "12.0345",
                "10000",
                "10001",
                "100000000",
                "9999.9999",
                "1E+4",
                "1.5E+3",
                "-123456789.12345678",
                "9999999999999999999999.99999999",
                "1000000000000000000000",
                "0.00010001",
                "0.000100010001",
                "1.000000005",
                "1.000000015",
            ],
        ),
        7,
        0.5,
        "3.25",
    ],
    "cents": [Decimal("999.99"), Decimal("-0.01"), Decimal("1.5"), Decimal(0)],
    "real": [0.0, 5e-324, 1.7976931348623157e308, 0.1, 3, "2.5", np.float64(1.25)],
    "flag": [True, False, 1, 0, "True"],
    "char": ["", "a", "ä€𝄞", "👩‍👩‍👧", "%s %% \\ ' \"", "\t\n\\N", mark_safe("<b>"), Colour.RED, 5],
    "text": ["", "x" * 100_000, "\x01\x7f\ufffd", gettext_lazy("lazy"), 1.5],
    "slug": ["", "a-b_c"],
    "email": ["someone@example.com"],
    "url": ["https://example.com/?a=%20&b=ü"],
    "file": ["", "folder/name.txt"],
    "path": ["/tmp/x"],
    "date": [DATE(1, 1, 1), DATE(9999, 12, 31), DATE(2000, 1, 1), DATE(1999, 12, 31), "2024-02-29"],
    "moment": [
        utc(1, 1, 1),
        utc(9999, 12, 31, 23, 59, 59, 999999),
        utc(2000, 1, 1),
        utc(1999, 12, 31, 23, 59, 59, 999999),
        DATETIME(2024, 5, 6, 7, 8, 9, 123456, tzinfo=KOLKATA),
        DATETIME(2024, 11, 3, 1, 30, tzinfo=NEW_YORK, fold=1),
        "2024-01-02T03:04:05.000006+02:00",
    ],
    "time": [
        datetime.time(0),
        datetime.time(23, 59, 59, 999999),
        datetime.time(12, 30),
        "01:02:03",
    ],
    "duration": [
        datetime.timedelta(0),
        datetime.timedelta(microseconds=1),
        datetime.timedelta(microseconds=-1),
        datetime.timedelta(days=-3, hours=5, microseconds=7),
        datetime.timedelta(days=400, seconds=86399),
        datetime.timedelta(days=100_000_000),
    ],
    "key": [KEY, uuid.UUID(int=0), str(KEY), KEY.hex],
    "binary": [b"", b"\0\xff", memoryview(b"abc"), bytearray(b"xyz"), bytes(range(256))],
    "json": [
        {},
        [],
        "",
        "text \\ \" '",
        0,
        1.5,
        True,
        False,
        None,
        {"a": [1, {"b": None}], "ü": "👩 \x7f", "c": {"d": [[]]}},
        [None],
        Value(None, models.JSONField()),
        10**30,
    ],
    "rich": [{"at": utc(2024, 1, 2), "key": KEY, "price": Decimal("1.10")}],
    "address": ["192.0.2.1", "2001:0db8::0001", "::ffff:192.0.2.1", "::", "0.0.0.0", "::1", ""],
    "address4": ["255.255.255.255"],
    "colour": [Colour.RED, Colour.NONE, "red"],
    "level": [Level.LOW, Level.HIGH, 2],
    "vector": [[1, 2, 3], (0.1, -0.0, 1e-45), "[1,2,3]", np.array([1e-3, 2, 3]), range(3)],
    "half": [[1, 2, 3], [65504, -6e-8, 0.1], np.array([1, 2, 3], "f2"), "[1,2,3]"],
    "bits": ["0000000000", "1111111111", [True] + [False] * 9, b"\xff\xc0", np.ones(10, bool)],
}


class TestFields:
    """Rows that were copied are those that were saved, as the database shows them."""

    @pytest.mark.parametrize("name", VALUES)
    def test_values(self, alias: str, name: str) -> None:
        def make() -> list[Any]:
            return [Everything(pk=pk, **{name: value}) for pk, value in enumerate(VALUES[name], 1)]

        saved, copied = saved_and_copied(alias, make)
        assert copied == saved

    def test_all_at_once_and_read(self, alias: str) -> None:
        manager = Everything.objects.using(alias)
        owner, item = Owner.objects.using(alias).create(), self.item(alias)
        others = {"owner": owner, "item": item, "named": item}
        rows = [
            {name: values[place % len(values)] for name, values in VALUES.items()} | others
            for place in range(2)
        ]
        found = []
        for row in rows:
            for load in (lambda obj: obj.save(using=alias), lambda obj: bulk_copy(manager, [obj])):
                load(Everything(pk=1, **row))
                found.append(manager.values().get())
                manager.all().delete()
        assert found[0] == found[1]
        assert found[2] == found[3]
        assert found[0]["moment"] == utc(1, 1, 1)

    def item(self, alias: str) -> Item:
        return Item.objects.using(alias).create(name="an item")

    def test_null(self, alias: str) -> None:
        saved, copied = saved_and_copied(alias, lambda: [Everything(pk=1), Everything(pk=2)])
        assert copied == saved
        bulk_copy(Everything.objects.using(alias), [Everything()])
        (row,) = Everything.objects.using(alias).values()
        assert {name for name, value in row.items() if value is not None} == {"id", "file"}

    @pytest.mark.parametrize("by", ["instance", "id", "text"])
    def test_relations(self, alias: str, by: str) -> None:
        owner, item = Owner.objects.using(alias).create(), self.item(alias)
        row = {
            "instance": {"owner": owner, "item": item, "named": item},
            "id": {"owner_id": owner.pk, "item_id": item.pk, "named_id": item.name},
            "text": {"owner_id": str(owner.pk), "item_id": str(item.pk), "named_id": "an item"},
        }[by]
        saved, copied = saved_and_copied(alias, lambda: [Everything(pk=1, **row)])
        assert copied == saved
        bulk_copy(Everything.objects.using(alias), [Everything(**row)])
        found = Everything.objects.using(alias).get()
        assert (found.owner, found.item, found.named) == (owner, item, item)

    def test_related_object_that_was_saved_after_its_assignment(self, alias: str) -> None:
        document = Document(title="later", embedding=[1, 2, 3])
        chunk = Chunk(document=document)
        chunk._state.db = alias
        document.save(using=alias)
        bulk_copy(Chunk.objects.using(alias), [chunk])
        assert Chunk.objects.using(alias).get().document == document

    def test_numpy(self, alias: str) -> None:
        rows = [
            {"vector": np.array([1, 2, 3], dtype), "half": np.array([1, 2, 3], dtype)}
            for dtype in ("f2", "f4", "f8", ">f4", "i8")
        ]
        rows.append({"bits": np.array([1, 0] * 5, bool), "vector": np.arange(6.0)[::2]})

        def make() -> list[Any]:
            return [Numpy(pk=pk, **row) for pk, row in enumerate(rows)]

        saved, copied = saved_and_copied(alias, make)
        assert copied == saved

    def test_iterators_as_vectors(self, alias: str) -> None:
        bulk_copy(Full.objects.using(alias), [Full(a=iter([1, 2, 3]), b=(n for n in range(3)))])
        assert Full.objects.using(alias).values_list("a", "b").get() == ([1, 2, 3], [0, 1, 2])

    def test_sparse(self, db: None) -> None:
        def make() -> list[Any]:
            given = [
                {},
                {0: 1.5, 4: -2},
                "{1:0.1}/5",
                [0, 0, 1e-45, 0, 3],
                SparseVector([1, 0] * 2 + [0]),
            ]
            return [Sparse(pk=pk, a=value) for pk, value in enumerate([*given, None])]

        saved, copied = saved_and_copied("postgresql", make)
        assert copied == saved

    @pytest.mark.parametrize("zone", ["America/New_York", "UTC", "Australia/Lord_Howe"])
    def test_without_time_zones(self, alias: str, settings: Any, zone: str) -> None:
        """A naive datetime is in the time zone of the connection, where hours may be twice."""
        settings.USE_TZ, settings.TIME_ZONE = False, zone
        connection = connections[alias]
        for name in ("timezone", "timezone_name"):
            connection.__dict__.pop(name, None)
        connection.ensure_timezone()
        moments = [
            DATETIME(2024, 7, 1, 12, 0, 0, 5),
            DATETIME(2024, 3, 10, 2, 30),
            DATETIME(2024, 11, 3, 1, 30),
            DATETIME(2024, 11, 3, 1, 30, fold=1),
            DATETIME(2024, 4, 7, 1, 45),
            DATETIME(2024, 10, 6, 2, 15),
            DATETIME(1850, 1, 1),
            DATETIME(1, 1, 1),
            DATETIME(9999, 12, 31, 23, 59, 59, 999999),
        ]
        try:
            saved, copied = saved_and_copied(
                alias, lambda: [Everything(pk=pk, moment=m) for pk, m in enumerate(moments)]
            )
            assert copied == saved
        finally:
            settings.USE_TZ, settings.TIME_ZONE = True, "America/Chicago"
            for name in ("timezone", "timezone_name"):
                connection.__dict__.pop(name, None)
            connection.ensure_timezone()

    def test_naive_datetime_with_time_zones(self, alias: str) -> None:
        rows = [Everything(moment=DATETIME(2024, 7, 1))]
        with pytest.warns(RuntimeWarning, match="received a naive datetime"):
            bulk_copy(Everything.objects.using(alias), rows)
        assert Everything.objects.using(alias).get().moment == utc(2024, 7, 1, 5)

    @pytest.mark.parametrize("zone", ["America/New_York", "Asia/Kolkata"])
    def test_connection_in_another_time_zone(self, db: None, zone: str) -> None:
        with connections["postgresql"].cursor() as cursor:
            cursor.execute(f"SET LOCAL TIME ZONE '{zone}'")
        saved, copied = saved_and_copied(
            "postgresql",
            lambda: [Everything(pk=1, moment=utc(2024, 1, 1), date=DATE(2024, 1, 1))],
        )
        assert copied == saved
