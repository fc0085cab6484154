"""Dates, times and time zones, compared with stock SQLite."""

from __future__ import annotations

import datetime as dt
import operator
import zoneinfo
from typing import Any

import pytest
from django.db import utils as django_errors
from django.db.models import functions as fn
from django.utils import timezone

from tests.support.libsql_backend import (
    MOMENTS,
    Moment,
    create_tables,
    insert,
    moments,
    ordered,
    rows_of,
    same,
)

ZONES: list[dt.tzinfo] = [
    *map(
        zoneinfo.ZoneInfo,
        [
            "UTC",
            "Europe/Berlin",
            "America/New_York",
            "Asia/Kolkata",
            "Australia/Lord_Howe",
            "Africa/Casablanca",
        ],
    ),
    dt.timezone(dt.timedelta(hours=5, minutes=30)),
    dt.timezone(-dt.timedelta(hours=9, minutes=30)),
]


EDGES = ["0001-01-01 00:00:00", "0999-12-31 23:59:59.999999", "9999-12-31 23:59:59.999999"]
OF_DATES = ["Year", "IsoYear", "Quarter", "Month", "Week", "Day", "WeekDay", "IsoWeekDay"]
OF_TIMES = ["Hour", "Minute", "Second"]
KINDS = ["Year", "Quarter", "Month", "Week", "Day", *OF_TIMES, "Date", "Time"]
LOOKUPS = {
    "date": lambda moment: moment.date(),
    "time": lambda moment: moment.time(),
    "year": lambda moment: moment.year,
    "iso_year": lambda moment: moment.isocalendar()[0],
    "quarter": lambda moment: (moment.month + 2) // 3,
    "month": lambda moment: moment.month,
    "week": lambda moment: moment.isocalendar()[1],
    "day": lambda moment: moment.day,
    "week_day": lambda moment: moment.isoweekday() % 7 + 1,
    "iso_week_day": lambda moment: moment.isoweekday(),
    "hour": lambda moment: moment.hour,
    "minute": lambda moment: moment.minute,
    "second": lambda moment: moment.second,
}


@pytest.mark.parametrize("zone", ZONES, ids=str)
class TestZones:
    def test_extract(self, both: Any, zone: dt.tzinfo) -> None:
        insert(both, Moment, [*rows_of(MOMENTS), {}])
        parts = {p: getattr(fn, f"Extract{p}")("at", tzinfo=zone) for p in OF_DATES + OF_TIMES}
        same(both, ordered(**parts))

    def test_truncate(self, both: Any, zone: dt.tzinfo) -> None:
        insert(both, Moment, [*rows_of(MOMENTS), {}])
        kinds = {kind: getattr(fn, f"Trunc{kind}")("at", tzinfo=zone) for kind in KINDS}
        same(both, ordered(**kinds))

    def test_lookups(self, both: Any, zone: dt.tzinfo) -> None:
        insert(both, Moment, [*rows_of(MOMENTS), {}])
        found = Moment.objects.using("scratch")
        local = {moment: moment.astimezone(zone) for moment in moments(MOMENTS)}
        with timezone.override(zone):
            for lookup, part in LOOKUPS.items():
                for chosen in (local[moment] for moment in list(local)[2::7]):
                    value = part(chosen)
                    for compare in (operator.eq, operator.ge, operator.lt):
                        name = {"eq": "exact", "ge": "gte", "lt": "lt"}[compare.__name__]
                        matching = found.filter(**{f"at__{lookup}__{name}": value})
                        assert set(matching.values_list("at", flat=True)) == {
                            moment for moment, here in local.items() if compare(part(here), value)
                        }


class TestDates:
    def test_edges(self, both: Any) -> None:
        insert(both, Moment, rows_of(EDGES))
        parts = {p: getattr(fn, f"Extract{p}")("at", tzinfo=dt.UTC) for p in OF_DATES + OF_TIMES}
        kinds = {f"T{kind}": getattr(fn, f"Trunc{kind}")("at", tzinfo=dt.UTC) for kind in KINDS}
        same(both, ordered(**parts, **kinds))

    def test_dates_alone(self, both: Any) -> None:
        insert(both, Moment, [*rows_of(MOMENTS + EDGES), {}])
        parts = {part: getattr(fn, f"Extract{part}")("day") for part in OF_DATES}
        kinds = {f"T{kind}": getattr(fn, f"Trunc{kind}")("day") for kind in KINDS[:5]}
        same(both, ordered(**parts, **kinds))

    def test_times_alone(self, both: Any) -> None:
        insert(both, Moment, [*rows_of(MOMENTS), {}])
        parts = {part: getattr(fn, f"Extract{part}")("time") for part in OF_TIMES}
        kinds = {f"T{kind}": getattr(fn, f"Trunc{kind}")("time") for kind in OF_TIMES}
        same(both, ordered(**parts, **kinds))

    def test_values_come_back(self, both: Any) -> None:
        insert(both, Moment, [*rows_of(MOMENTS + EDGES), {}])
        rows = Moment.objects.using("scratch").order_by("pk").values("at", "day", "time")
        assert list(rows)[:-1] == rows_of(MOMENTS + EDGES)

    def test_a_unknown_kind(self, both: Any) -> None:
        insert(both, Moment, rows_of(MOMENTS[:1]))
        with pytest.raises(django_errors.OperationalError, match="no part or period 'century'"):
            list(Moment.objects.using("scratch").annotate(v=fn.Extract("at", "century")))

    def test_lists_of_dates(self, both: Any) -> None:
        insert(both, Moment, rows_of(MOMENTS))
        for kind in ("year", "month", "week", "day"):
            expected, found = (list(Moment.objects.using(a).dates("day", kind)) for a in both)
            assert found == expected
        zone = zoneinfo.ZoneInfo("Europe/Berlin")
        for kind in ("year", "month", "week", "day", "hour", "minute", "second"):
            expected, found = (
                list(Moment.objects.using(a).datetimes("at", kind, tzinfo=zone)) for a in both
            )
            assert found == expected

    def test_a_zone_of_the_database(self, open_database: Any) -> None:
        """Moments are stored in its zone, and extracted in another one."""
        connection = open_database("libsql", NAME=":memory:", TIME_ZONE="America/New_York")
        create_tables(connection)
        rows = Moment.objects.using("scratch")
        (moment,) = moments(["2026-07-01 02:30:00"])
        rows.create(at=moment)
        assert rows.get().at == moment
        with connection.cursor() as cursor:
            cursor.execute("SELECT at FROM libsql_backend_moment")
            assert cursor.fetchone() == ("2026-06-30 22:30:00",)
        berlin = zoneinfo.ZoneInfo("Europe/Berlin")
        found = rows.annotate(
            a=fn.ExtractDay("at", tzinfo=berlin), b=fn.ExtractHour("at", tzinfo=dt.UTC)
        ).get()
        assert (found.a, found.b) == (1, 2)

    def test_moments_that_exist_in_another_zone_only(self, both: Any) -> None:
        """Half an hour is skipped, and an hour happens twice."""
        zone = zoneinfo.ZoneInfo("Europe/Berlin")
        insert(both, Moment, rows_of(["2026-03-29 00:59:59.9", "2026-03-29 01:00:00"]))
        rows = Moment.objects.using("scratch").order_by("pk")
        hours = rows.annotate(v=fn.ExtractHour("at", tzinfo=zone)).values_list("v", flat=True)
        assert list(hours) == [1, 3]
