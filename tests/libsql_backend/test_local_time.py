"""Local times, compared with zoneinfo."""

from __future__ import annotations

import datetime as dt
import zoneinfo
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dorm_vector.backends.libsql import dbapi, timezones
from dorm_vector.sql import SQL

DAYS = dt.timedelta(days=1)
NAMES = sorted(zoneinfo.available_timezones())
UNTIL = dt.datetime(9999, 12, 30)


def in_zone(naive: list[dt.datetime], name: str, source: str = "UTC") -> list[str]:
    """What the SQL of ``local_time`` says."""
    sql = timezones.local_time(SQL("column1"), name, source).sql.replace("%%", "%")
    values = ", ".join(f"('{moment.isoformat(' ')}')" for moment in naive)
    with closing(dbapi.connect(":memory:")) as connection:
        return [text for (text,) in connection.execute(f"SELECT {sql} FROM (VALUES {values})")]


def by_zoneinfo(naive: list[dt.datetime], name: str, source: str = "UTC") -> list[str]:
    zone, base = zoneinfo.ZoneInfo(name), zoneinfo.ZoneInfo(source)
    return [
        moment.replace(tzinfo=base)
        .astimezone(zone)
        .replace(tzinfo=None, microsecond=0)
        .isoformat(" ")
        for moment in naive
    ]


class TestLocalTime:
    @given(
        naive=st.lists(
            st.datetimes(dt.datetime(1, 1, 2), UNTIL)
            | st.datetimes(dt.datetime(1840, 1, 1), dt.datetime(2250, 1, 1)),
            min_size=20,
            max_size=200,
        ),
        name=st.sampled_from(NAMES),
    )
    @settings(max_examples=30, deadline=None)
    def test_any_zone(self, naive: list[dt.datetime], name: str) -> None:
        assert in_zone(naive, name) == by_zoneinfo(naive, name)

    @given(naive=st.lists(st.datetimes(dt.datetime(1840, 1, 1), UNTIL), min_size=20, max_size=100))
    @settings(max_examples=15, deadline=None)
    @pytest.mark.parametrize(
        ("name", "source"),
        [("Europe/Berlin", "America/New_York"), ("UTC", "Europe/Berlin"), ("Asia/Kolkata", "UTC")],
    )
    def test_from_another_zone(self, naive: list[dt.datetime], name: str, source: str) -> None:
        naive = [moment.replace(fold=0) for moment in naive]  # which text does not have
        assert in_zone(naive, name, source) == by_zoneinfo(naive, name, source)

    @pytest.mark.parametrize("name", ["Etc/GMT-10", "Etc/GMT+5", "GMT-0", "EST5EDT"])
    def test_names_that_look_like_offsets(self, name: str) -> None:
        naive = [dt.datetime(2026, 1, 1), dt.datetime(2026, 7, 1, 23, 30)]
        assert in_zone(naive, name) == by_zoneinfo(naive, name)

    @pytest.mark.parametrize(
        ("name", "hours"), [("UTC+05:30", 5.5), ("UTC-09:30", -9.5), ("+02:00", 2), ("UTC-03", -3)]
    )
    def test_offsets(self, name: str, hours: float) -> None:
        naive = [dt.datetime(2026, 1, 1), dt.datetime(1, 7, 1, 23, 30)]
        expected = [str(moment + dt.timedelta(hours=hours)) for moment in naive]
        assert in_zone(naive, name) == expected

    @pytest.mark.parametrize("name", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe"])
    def test_around_every_change(self, name: str) -> None:
        zone = zoneinfo.ZoneInfo(name)
        second = dt.timedelta(seconds=1)
        naive = []
        for year in (1945, 1974, 1986, 1996, 2007, 2026, 2027, 2037, 2038, 2100, 2400):
            days = [dt.datetime(year, 1, 1) + n * DAYS for n in range(366)]
            for day in days:
                low, high = day, day + DAYS
                if offset(low, zone) == offset(high, zone):
                    continue
                while high - low > second:
                    middle = low + (high - low) // 2
                    middle = middle.replace(microsecond=0)
                    low, high = (
                        (middle, high)
                        if offset(middle, zone) == offset(low, zone)
                        else (low, middle)
                    )
                naive += [high - second, high, high + second]
        assert len(naive) >= 30
        assert in_zone(naive, name) == by_zoneinfo(naive, name)

    @pytest.mark.parametrize(
        "name",
        [
            "Africa/Cairo",
            "Africa/Casablanca",
            "Africa/El_Aaiun",
            "America/Anchorage",
            "America/Argentina/San_Luis",
            "America/Indiana/Vincennes",
            "America/Sao_Paulo",
            "Antarctica/Troll",
            "Asia/Gaza",
            "Asia/Pyongyang",
            "Europe/Dublin",
            "Europe/London",
            "Europe/Moscow",
            "Pacific/Apia",
            "Pacific/Fiji",
        ],
    )
    def test_no_change_is_missed(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        zone = zoneinfo.ZoneInfo(name)

        def shift(moment: dt.datetime) -> int:
            return round(offset(moment, zone).total_seconds())

        monkeypatch.setattr(timezones, "YEARS", range(1910, 2045))
        coarse = timezones._changes(shift)
        monkeypatch.setattr(timezones, "STEP", dt.timedelta(hours=12))
        assert timezones._changes(shift) == coarse


def offset(naive: dt.datetime, zone: dt.tzinfo) -> dt.timedelta:
    found = naive.replace(tzinfo=dt.UTC).astimezone(zone).utcoffset()
    assert found is not None
    return found
