"""Django's own apps, and JSON, on libSQL."""

from __future__ import annotations

import decimal
from typing import Any

import pytest
from django.db import models
from django.db.models import F, Value
from django.db.models import functions as fn
from django.test.utils import CaptureQueriesContext

from tests.support.libsql_backend import Book, Sample, create, insert, nearly, same

DATA = [
    {"a": 1, "b": {"c": [1, 2, {"d": None}]}, "é": "ü"},
    {"a": "1", "b": [], "t": True},
    [1, "x", None, [2]],
    "text",
    17,
    2**60 + 1,
    1.5,
    True,
    None,
    {},
]


JSON_LOOKUPS: list[dict[str, Any]] = [
    {"data__a": 1},
    {"data__a": "1"},
    {"data__b__c__2__d": None},
    {"data__has_key": "a"},
    {"data__has_keys": ["a", "t"]},
    {"data__has_any_keys": ["t", "é"]},
    {"data__a__isnull": True},
    {"data__0": 1},
    {"data__1__icontains": "X"},
    {"data__é__startswith": "ü"},
    {"data__t": True},
    {"data": "text"},
    {"data": 2**60 + 1},
    {"data": {}},
    {"data__a__gt": 0},
    {"data__a__in": [1, "1"]},
    {"data__é__iregex": "^Ü|ü$"},
    {"data__isnull": True},
]


class TestApplications:
    @pytest.mark.parametrize("lookup", JSON_LOOKUPS, ids=str)
    def test_json(self, both: Any, lookup: dict[str, Any]) -> None:
        insert(both, Sample, [*({"data": data} for data in DATA), {}])
        rows = Sample.objects.filter(**lookup).order_by("pk")
        expected, found = (list(rows.using(a).values_list("pk", "data")) for a in both)
        assert found == expected

    def test_json_values(self, both: Any) -> None:
        insert(both, Sample, [{"data": data} for data in DATA])
        rows = Sample.objects.order_by("pk").values_list("data", "data__a", "data__b__c")
        same(both, rows)
        assert [row[0] for row in rows.using("scratch")] == DATA

    def test_explain(self, database: Any) -> None:
        books = Book.objects.using("scratch")
        assert "pages_title" in books.filter(pages=3).explain()
        assert "SCAN libsql_backend_book" in books.filter(note="x").explain()

    def test_bulk_create(self, database: Any) -> None:
        samples = Sample.objects.using("scratch")
        made = samples.bulk_create(
            Sample(group=n, big=2**40 + n, number=n / 2, text=f"{n}") for n in range(5000)
        )
        assert samples.count() == 5000
        pks = [sample.pk for sample in made]
        assert pks == list(samples.order_by("group").values_list("pk", flat=True))
        found = samples.aggregate(models.Sum("big"), models.Max("text"), models.Min("number"))
        assert found == {
            "big__sum": sum(2**40 + n for n in range(5000)),
            "text__max": "999",
            "number__min": 0.0,
        }
        assert len(samples.in_bulk(pks)) == 5000
        assert samples.filter(pk__in=pks).delete()[0] == 5000

    def test_upserts(self, database: Any) -> None:
        author = create("a")
        books = Book.objects.using("scratch")
        books.create(author=author, title="old", pages=1)
        some = [Book(author=author, title=title, pages=7) for title in ("old", "new")]
        books.bulk_create(some, ignore_conflicts=True)
        assert dict(books.values_list("title", "pages")) == {"old": 1, "new": 7}
        books.bulk_create(
            [Book(author=author, title="old", pages=9)],
            update_conflicts=True,
            unique_fields=["title"],
            update_fields=["pages"],
        )
        assert dict(books.values_list("title", "pages")) == {"old": 9, "new": 7}
        book, made = books.update_or_create(title="new", defaults={"pages": 8, "author": author})
        assert (book.pages, made) == (8, False)
        assert books.get_or_create(title="third", defaults={"author": author})[1] is True

    def test_bulk_update(self, database: Any) -> None:
        samples = Sample.objects.using("scratch")
        samples.bulk_create(Sample(group=n) for n in range(300))
        rows = list(samples.order_by("group"))
        for sample in rows:
            sample.big, sample.blob = 2**33 + sample.group, bytes([sample.group % 256])
        assert samples.bulk_update(rows, ["big", "blob"]) == 300
        found = samples.order_by("group").values_list("big", "blob")
        assert list(found) == [(2**33 + n, bytes([n % 256])) for n in range(300)]

    def test_decimals(self, both: Any) -> None:
        exact = ["0.0001", "12345678.9", "-5", "3.1415"]
        insert(both, Sample, [{"exact": decimal.Decimal(text)} for text in exact])
        same(
            both,
            Sample.objects.order_by("exact").values_list(
                "exact", F("exact") * 2, fn.Round("exact")
            ),
        )
        same(both, Sample.objects.filter(exact__gt=decimal.Decimal("3.1")).values_list("exact"))

    def test_functions_of_sqlite(self, both: Any) -> None:
        insert(both, Sample, [{"text": text, "number": 2.5} for text in ("abc", " É ", None)])
        rows = Sample.objects.annotate(
            a=fn.Upper(fn.Trim("text")),
            b=fn.Concat("text", Value("-"), "number", output_field=models.TextField()),
            c=fn.StrIndex("text", Value("b")),
            d=fn.Sqrt("number"),
            e=fn.Greatest("number", Value(3.0)),
            f=fn.Ceil("number"),
            g=fn.Power("number", 3),
            h=fn.Sign("number"),
            i=fn.Left("text", 2),
            j=fn.Degrees("number"),
        )
        same(both, rows.order_by("pk").values_list(*"abcdefghij"), nearly)

    def test_logged_queries(self, database: Any) -> None:
        with CaptureQueriesContext(database) as queries:
            create("it's")
            Sample.objects.using("scratch").create(blob=b"\1\2" * 600, text="x" * 1500, big=2**40)
        first, second = (query["sql"] for query in queries)
        assert "VALUES ('it''s')" in first
        assert f"X'{'0102' * 500}...' /* 1200 bytes */" in second
        assert f"'{'x' * 1000}...'" in second
        assert str(2**40) in second
