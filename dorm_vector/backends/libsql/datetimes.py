"""
The date and time functions that Django's SQLite backend has in Python, in SQL.

Dates are text, "2026-01-31", times "12:30:00.500000", and both with a space between. SQLite rounds
fractions of a second to milliseconds: they are cut off before, and put back where they are wanted.
Durations are numbers of microseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from django.db import OperationalError

from dorm_vector.sql import SQL, fill

__all__ = [
    "DURATIONS",
    "OVER",
    "difference",
    "extract",
    "made_of",
    "truncate",
    "truncate_datetime",
    "truncate_time",
]

# How Django writes a window function.
OVER = " OVER ("

THURSDAY = "date({0}, '-3 days', 'weekday 4')"  # of the same ISO week
MONTH = "CAST(strftime('%%m', {0}) AS INTEGER)"
QUARTER = f"printf('%%02d', ({MONTH} - 1) / 3 * 3 + 1)"

PARTS = {
    "year": "CAST(strftime('%%Y', {0}) AS INTEGER)",
    "iso_year": f"CAST(strftime('%%Y', {THURSDAY}) AS INTEGER)",
    "quarter": f"({MONTH} + 2) / 3",
    "month": MONTH,
    "week": f"(CAST(strftime('%%j', {THURSDAY}) AS INTEGER) + 6) / 7",
    "day": "CAST(strftime('%%d', {0}) AS INTEGER)",
    "week_day": "CAST(strftime('%%w', {0}) AS INTEGER) + 1",
    "iso_week_day": "(CAST(strftime('%%w', {0}) AS INTEGER) + 6) %% 7 + 1",
    "hour": "CAST(strftime('%%H', {0}) AS INTEGER)",
    "minute": "CAST(strftime('%%M', {0}) AS INTEGER)",
    "second": "CAST(strftime('%%S', {0}) AS INTEGER)",
}

DAYS = {
    "year": "strftime('%%Y-01-01', {0})",
    "quarter": f"strftime('%%Y-', {{0}}) || {QUARTER} || '-01'",
    "month": "strftime('%%Y-%%m-01', {0})",
    "week": "date({0}, '-6 days', 'weekday 1')",
    "day": "date({0})",
}
TIMES = {
    "hour": "strftime('%%H:00:00', {0})",
    "minute": "strftime('%%H:%%M:00', {0})",
    "second": "time({0})",
}

FRACTION = "CAST(substr(substr({value}, {place}) || '000000', 1, 6) AS INTEGER)"


def _microseconds(value: str, length: int, start: str) -> str:
    fraction = FRACTION.format(value=value, place=length + 2)
    return f"(unixepoch({start}) * 1000000 + {fraction})"


def _of_datetime(value: str) -> str:
    return _microseconds(value, 19, f"substr({value}, 1, 19)")


def _of_time(value: str) -> str:
    return _microseconds(value, 8, f"'1970-01-01 ' || substr({value}, 1, 8)")


def _moved(moment: str, duration: str) -> str:
    """A date, with or without a time, plus microseconds; the sum has a time if the date has."""
    total = f"({_of_datetime(moment)} + {duration})"
    fraction = f"(({total} %% 1000000 + 1000000) %% 1000000)"
    return (
        f"(SELECT strftime(CASE length({moment}) "  # noqa: S608 - names
        "WHEN 10 THEN '%%Y-%%m-%%d' ELSE '%%Y-%%m-%%d %%H:%%M:%%S' END, "
        f"({total} - {fraction}) / 1000000, 'unixepoch') || "
        f"CASE WHEN length({moment}) = 10 OR {fraction} = 0 THEN '' "
        f"ELSE printf('.%%06d', {fraction}) END FROM (SELECT {{0}} AS l, {{1}} AS r))"
    )


#: By operator; each operand stands once.
DURATIONS = {
    "+": _moved(
        "CASE typeof(l) WHEN 'text' THEN l ELSE r END",
        "CASE typeof(l) WHEN 'text' THEN r ELSE l END",
    ),
    # Less than a day is not taken off a date; neither does Python.
    "-": _moved("l", "CASE length(l) WHEN 10 THEN 86399999999 - r ELSE -r END"),
    "*": "({0} * {1})",
    "/": "({0} * 1.0 / {1})",
}


def extract(part: str, local: SQL) -> SQL:
    """A number out of a date, a time, or both. Raises OperationalError for an unknown ``part``."""
    return _filled(PARTS, part, local)


def truncate(period: str, local: SQL) -> SQL:
    """The day on which a period begins."""
    return _filled(DAYS, period, local)


def truncate_datetime(period: str, local: SQL) -> SQL:
    """The moment at which a period begins."""
    if period in DAYS:
        day = truncate(period, local)
        return SQL(f"({day.sql} || ' 00:00:00')", day.params)
    day, time = truncate("day", local), truncate_time(period, local)
    return SQL(f"({day.sql} || ' ' || {time.sql})", day.params + time.params)


def truncate_time(period: str, local: SQL) -> SQL:
    """The time at which a period within a day begins."""
    return _filled(TIMES, period, local)


def difference(internal_type: str, left: SQL, right: SQL) -> SQL:
    """Microseconds between two dates or times."""
    of = _of_time if internal_type == "TimeField" else _of_datetime
    template = f"({of('{l}')} - {of('{r}')})"
    return made_of([left, right], lambda first, second: fill(template, l=first, r=second))


def made_of(operands: Sequence[SQL], make: Callable[..., SQL]) -> SQL:
    """
    SQL made of operands, which are named if one of them is a query or a CASE itself.

    Nested, they would double with each level, and the parser allows only so many levels.
    """
    texts = [each.sql for each in operands]
    is_deep = any("(SELECT" in text or "CASE " in text for text in texts)
    # A window function would see the one row of that query.
    if not is_deep or any(OVER in text for text in texts):
        return make(*operands)
    named = {f"dorm_{place}": each for place, each in enumerate(operands)}
    columns = ", ".join(f"{{{name}}} AS {name}" for name in named)
    made = make(*map(SQL, named))
    return fill(f"(SELECT {{made}} FROM (SELECT {columns}))", made=made, **named)  # noqa: S608 - names


def _filled(templates: dict[str, str], name: str, local: SQL) -> SQL:
    if name not in templates:
        raise OperationalError(f"libSQL has no part or period {name!r} of a date or a time.")
    return fill(templates[name], **{"0": local})
