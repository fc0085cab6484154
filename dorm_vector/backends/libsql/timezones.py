"""
Time zones in SQL.

SQLite knows no time zones, and Django's SQLite backend asks Python. Here the shifts of a zone
become a decision tree of CASE expressions, which takes about ten comparisons.
"""

from __future__ import annotations

import calendar
import functools
import math
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.db import NotSupportedError
from django.db.backends.utils import split_tzname_delta

from dorm_vector.backends.libsql.datetimes import OVER
from dorm_vector.sql import SQL

__all__ = ["local_time"]

# No zone had rules before the first year, and all of them have had a regular one before the last.
YEARS = range(1840, 2200)
# Far less than the time between two changes of any zone; a test looks at all zones.
STEP = timedelta(days=4)
FORMAT = "%Y-%m-%d %H:%M:%S"

# Of each CASE: a flat tree takes less of the parser's stack, and a few comparisons more.
BRANCHES = 6

Shift = Callable[[datetime], int]

# What tells a year from others: the weekday of its first day, and how many days it has.
CALENDAR = (
    "strftime('%%w', substr(d, 1, 4) || '-01-01') || strftime('%%j', substr(d, 1, 4) || '-12-31')"
)


class Shifts(NamedTuple):
    """
    By how many seconds a zone is ahead, from each time in ``changes`` on.

    Years from ``regular`` on go by the rule of another one with the same calendar, in ``years``.
    """

    changes: list[tuple[str, int]]
    regular: int
    years: dict[str, int]


def local_time(value: SQL, tzname: str | None, source: str | None) -> SQL:
    """
    The text ``value``, a date and a time in the zone ``source``, in the zone ``tzname``.

    To the second. ``tzname`` names a zone, or ends in an offset, like "UTC+05:30".
    """
    start = SQL(f"substr({value.sql}, 1, 19)", value.params)
    if tzname is None or source is None or tzname == source:
        return start
    shifts = shifts_of(tzname, source)
    if len(shifts.changes) == 1:
        return SQL(f"datetime({start.sql}, '{shifts.changes[0][1]} seconds')", start.params)
    if OVER in start.sql:
        raise NotSupportedError(
            "libSQL cannot convert the result of a window function to another time zone: convert "
            f"it in Python, or use {source} there."
        )
    same = "d"
    if shifts.years:
        whens = " ".join(
            f"WHEN '{calendar}' THEN '{year}'" for calendar, year in shifts.years.items()
        )
        year = f"CASE {CALENDAR} {whens} END"
        same = f"CASE WHEN d < '{shifts.regular}' THEN d ELSE {year} || substr(d, 5) END"
    # The value is nested as little as possible: the parser allows only so many levels.
    return SQL(
        f"(SELECT (SELECT datetime(d, ({_tree(shifts.changes)}) || ' seconds') "  # noqa: S608 - no user's text
        f"FROM (SELECT {same} AS e)) FROM (SELECT {start.sql} AS d))",
        start.params,
    )


def _tree(changes: list[tuple[str, int]]) -> str:
    if len(changes) == 1:
        return str(changes[0][1])
    size = math.ceil(len(changes) / BRANCHES)
    parts = [changes[start : start + size] for start in range(0, len(changes), size)]
    *before, last = map(_tree, parts)
    ends = (part[0][0] for part in parts[1:])
    whens = " ".join(
        f"WHEN e < '{end}' THEN {tree}" for end, tree in zip(ends, before, strict=True)
    )
    return f"CASE {whens} ELSE {last} END"


@functools.lru_cache(maxsize=64)
def shifts_of(tzname: str, source: str) -> Shifts:
    """Where the zone ``tzname`` is ahead of the times of ``source``, found by asking it."""
    zone, given = _zone(tzname, source)
    base = ZoneInfo(source)

    def shift(moment: datetime) -> int:
        aware = moment.replace(tzinfo=base) + given
        local = aware.astimezone(zone).replace(tzinfo=None)
        return round((local - moment).total_seconds())

    changes = _changes(shift)
    regular, years = _regular(changes)
    kept = [("", changes[0][1])]
    for moment, seconds in changes[1:]:
        if moment.year < regular and seconds != kept[-1][1]:
            kept.append((moment.strftime(FORMAT).removesuffix(":00").removesuffix(":00"), seconds))
    return Shifts(kept, regular, years)


def _zone(tzname: str, source: str) -> tuple[ZoneInfo, timedelta]:
    """A zone, and the offset at the end of the name. "Etc/GMT-10" is the name of a zone itself."""
    try:
        return ZoneInfo(tzname), timedelta(0)
    except (ZoneInfoNotFoundError, ValueError):
        name, sign, offset = split_tzname_delta(tzname)
    hours, minutes = offset.split(":") if offset else (0, 0)
    given = timedelta(hours=int(hours), minutes=int(minutes))
    return ZoneInfo(name or source), -given if sign == "-" else given


def _changes(shift: Shift) -> list[tuple[datetime, int]]:
    ask: Shift = functools.cache(shift)
    low, end = datetime(YEARS[0], 1, 1), datetime(YEARS[-1] + 1, 1, 1)
    changes = [(low, ask(low))]
    while low < end:
        high = low + STEP
        if ask(high) != ask(low):
            changes.append((_change(ask, low, high), ask(high)))
        low = high
    return changes


def _change(ask: Shift, low: datetime, high: datetime) -> datetime:
    before = ask(low)
    while high - low > timedelta(seconds=1):
        middle = low + timedelta(seconds=(high - low) // timedelta(seconds=2))
        if ask(middle) == before:
            low = middle
        else:
            high = middle
    return high


def _regular(changes: list[tuple[datetime, int]]) -> tuple[int, dict[str, int]]:
    """The first year from which on all go by the rule of years before it, and these by calendar."""
    rules: dict[int, list[tuple[str, int]]] = {year: [] for year in YEARS}
    for moment, seconds in changes[1:]:
        rules[moment.year].append((moment.strftime("%m-%d %H:%M:%S"), seconds))
    rule_of = {_kind(year): rules[year] for year in YEARS[-28:]}
    if not any(rule_of.values()):
        return YEARS[-1] + 1, {}
    last = next(year for year in reversed(YEARS) if rules[year] != rule_of[_kind(year)])
    years: dict[str, int] = {}
    for year in range(last + 1, YEARS[-1]):
        years.setdefault(_kind(year), year)
        if len(years) == 14:
            return year + 1, years
    return YEARS[-1] + 1, {}


def _kind(year: int) -> str:
    weekday = (calendar.weekday(year, 1, 1) + 1) % 7
    return f"{weekday}{366 if calendar.isleap(year) else 365}"
