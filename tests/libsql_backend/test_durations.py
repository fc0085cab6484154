"""Durations and arithmetic of dates, compared with stock SQLite."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from django.db import models
from django.db.models import F, Value

from tests.support.libsql_backend import MOMENTS, Moment, insert, moments, ordered, rows_of, same

LENGTHS = [
    dt.timedelta(0),
    dt.timedelta(microseconds=1),
    dt.timedelta(microseconds=-1),
    dt.timedelta(days=1, hours=12),
    dt.timedelta(days=-40, seconds=1),
    dt.timedelta(days=20_000, microseconds=999_999),
    None,
]


class TestDurations:
    @pytest.fixture
    def rows(self, both: Any) -> list[dict[str, Any]]:
        starts = rows_of([*MOMENTS[3:12], "2020-02-28 23:59:59.999999"])
        rows = [{**start, "length": length} for start in starts for length in LENGTHS]
        insert(both, Moment, [*rows, {"length": LENGTHS[1]}])
        return rows

    def test_sums(self, both: Any, rows: list[dict[str, Any]]) -> None:
        at, length = F("at"), F("length")
        annotations = {"a": at + length, "b": at - length, "c": length + at}
        same(both, ordered(**annotations))
        found = Moment.objects.using("scratch").annotate(**annotations).order_by("pk")
        for row, moment in zip(rows, found, strict=False):
            known = row["length"] is not None
            expected = (
                (row["at"] + row["length"], row["at"] - row["length"]) if known else (None,) * 2
            )
            assert (moment.a, moment.b, moment.c) == (*expected, expected[0])

    def test_dates(self, both: Any, rows: list[dict[str, Any]]) -> None:
        field = models.DateField()
        same(
            both,
            ordered(
                a=F("day") + F("length"),
                b=F("day") - F("length"),
                c=models.ExpressionWrapper(F("day") + dt.timedelta(days=40), field),
                d=models.ExpressionWrapper(F("day") - dt.timedelta(hours=1), field),
            ),
        )

    def test_products(self, both: Any, rows: list[dict[str, Any]]) -> None:
        field = models.DurationField()
        same(
            both,
            ordered(
                a=models.ExpressionWrapper(F("length") * 3, field),
                b=models.ExpressionWrapper(F("length") / 4, field),
                c=F("length") + F("length") - dt.timedelta(days=1),
                d=F("at") + models.ExpressionWrapper(F("length") * 2, field),
            ),
        )

    def test_differences(self, both: Any, rows: list[dict[str, Any]]) -> None:
        moment = moments(["2024-02-29 12:34:56.789012"])[0]
        same(
            both,
            ordered(
                a=F("at") - Value(moment),
                b=F("day") - Value(moment.date()),
                c=F("time") - Value(moment.time()),
                d=Value(moment) - F("at"),
                e=F("at") - F("at"),
            ),
        )
        found = Moment.objects.using("scratch").annotate(v=F("at") - Value(moment)).order_by("pk")
        for row, each in zip(rows, found, strict=False):
            assert each.v == row["at"] - moment

    def test_five_deep(self, both: Any, rows: list[dict[str, Any]]) -> None:
        deep = F("at")
        steps = [{"days": 1}, {"hours": -5}, {"minutes": 61}, {"microseconds": 7}, {"weeks": -60}]
        for step in steps:
            deep = deep + dt.timedelta(**step)
        same(both, ordered(v=deep))
        total = sum((dt.timedelta(**step) for step in steps), dt.timedelta(0))
        first = Moment.objects.using("scratch").annotate(v=deep).order_by("pk").first()
        assert first.v == rows[0]["at"] + total

    def test_filters(self, both: Any, rows: list[dict[str, Any]]) -> None:
        late = Moment.objects.filter(at__gt=F("at") - F("length")).order_by("pk")
        same(both, late.values_list("at", "length"))
        long = Moment.objects.annotate(v=F("at") - F("day")).filter(length__gt=dt.timedelta(days=1))
        same(both, long.order_by("pk").values_list("at"))

    def test_update(self, both: Any, rows: list[dict[str, Any]]) -> None:
        for alias in both:
            Moment.objects.using(alias).filter(length=LENGTHS[4]).update(at=F("at") + F("length"))
        same(both, ordered())
