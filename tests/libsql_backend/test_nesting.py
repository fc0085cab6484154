"""Functions within functions, for which libSQL's parser has little room, against stock SQLite."""

from __future__ import annotations

import datetime as dt
import functools
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.db import NotSupportedError
from django.db.models import (
    Count,
    DateField,
    DateTimeField,
    F,
    Max,
    OuterRef,
    Subquery,
    Value,
    Window,
)
from django.db.models import functions as fn

from tests.support.libsql_backend import Moment, Sample, insert, same

ZONES = [ZoneInfo(name) for name in ("Europe/Berlin", "Asia/Kathmandu", "America/New_York")]
MOMENTS = [
    {"at": None},
    *(
        {"at": dt.datetime(*parts, tzinfo=dt.UTC)}
        for parts in [(2024, 3, 10, 9, 59, 59, 999500), (1950, 1, 1), (2024, 10, 27, 0, 30)]
    ),
]
TRUNCATIONS = {
    "hour": fn.TruncHour,
    "day": fn.TruncDay,
    "week": fn.TruncWeek,
    "month": fn.TruncMonth,
    "date": lambda value, tzinfo: fn.Cast(fn.TruncDate(value, tzinfo=tzinfo), DateTimeField()),
}


def nested(function: Any, levels: int, value: Any) -> Any:
    return functools.reduce(lambda inner, level: function(inner, level), range(levels), value)


def zoned(function: Any, levels: int, value: Any = "at") -> Any:
    """A truncation within others, each in another time zone."""
    return nested(lambda inner, level: function(inner, tzinfo=ZONES[level % 3]), levels, value)


@pytest.mark.parametrize(
    ("kind", "levels"),
    # A date is cast to a moment again, which is one function more.
    [(kind, levels) for kind in TRUNCATIONS for levels in range(1, 3 if kind == "date" else 5)],
)
def test_time_zones(both: Any, kind: str, levels: int) -> None:
    insert(both, Moment, MOMENTS)
    truncated = zoned(TRUNCATIONS[kind], levels)
    rows = Moment.objects.order_by("pk")
    same(both, rows.annotate(v=truncated).values_list("v"))
    same(both, rows.annotate(v=fn.ExtractHour(truncated, tzinfo=ZONES[0])).values_list("v"))


def test_time_zones_elsewhere(both: Any) -> None:
    insert(both, Moment, MOMENTS)
    truncated = zoned(fn.TruncDay, 3)
    rows = Moment.objects.all()
    grouped = rows.values(v=truncated).annotate(n=Count("pk"), at=Max("at"))
    same(both, grouped.order_by("v").values_list("v", "n"))
    same(both, rows.order_by(truncated, "pk").values_list("pk"))
    same(both, rows.filter(at__gte=zoned(fn.TruncDay, 2)).order_by("pk").values_list("pk"))
    same(both, rows.annotate(v=F("at") - truncated).order_by("pk").values_list("v"))
    inner = Moment.objects.filter(pk=OuterRef("pk")).annotate(v=truncated).values("v")
    same(both, rows.annotate(v=Subquery(inner)).order_by("pk").values_list("v"))
    greatest = rows.values("day").annotate(v=zoned(fn.TruncDay, 3, Max("at")))
    same(both, greatest.values_list("v"))


TEXTS = [{"text": text, "number": 2.5} for text in ("", "a", "abc", "äöü", None)]
FUNCTIONS: dict[str, tuple[Any, int]] = {
    "LPad": (lambda value, level: fn.LPad(value, 4 + level, Value("*")), 6),
    "RPad": (lambda value, level: fn.RPad(value, 4 + level, Value("ä")), 7),
    "Reverse": (lambda value, level: fn.Reverse(value), 5),
    "Repeat": (lambda value, level: fn.Repeat(value, 2), 5),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_of_texts(both: Any, name: str) -> None:
    function, levels = FUNCTIONS[name]
    insert(both, Sample, TEXTS)
    rows = Sample.objects.order_by("pk")
    same(both, rows.annotate(v=nested(function, levels, F("text"))).values_list("v"))
    grouped = Sample.objects.values("number").annotate(v=nested(function, 2, Max("text")))
    same(both, grouped.values_list("v"))


@pytest.mark.parametrize("name", ["LPad", "RPad", "Repeat"])
def test_functions_of_windows(both: Any, name: str) -> None:
    """They stand in no query of their own, where they would see one row."""
    function, _ = FUNCTIONS[name]
    insert(both, Sample, TEXTS)
    padded = nested(function, 2, Window(Max("text")))
    same(both, Sample.objects.annotate(v=padded).order_by("pk").values_list("v"))


def test_casts(both: Any) -> None:
    insert(both, Moment, MOMENTS)
    cast = nested(
        lambda value, _: fn.Cast(fn.Cast(value, DateField()), DateTimeField()), 3, F("at")
    )
    same(both, Moment.objects.annotate(v=cast).order_by("pk").values_list("v"))


TOO_DEEP: dict[str, tuple[Any, Any]] = {
    "Cast(TruncDate)": (Moment, zoned(TRUNCATIONS["date"], 5)),
    "RPad": (Sample, nested(FUNCTIONS["RPad"][0], 12, F("text"))),
    "sums": (Moment, nested(lambda value, _: value + dt.timedelta(days=1), 9, F("at"))),
}


@pytest.mark.parametrize("name", TOO_DEEP)
def test_more_levels_than_the_parser_has_room_for(database: Any, name: str) -> None:
    model, expression = TOO_DEEP[name]
    with pytest.raises(NotSupportedError) as caught:
        list(model.objects.using("scratch").annotate(v=expression))
    assert str(caught.value) == (
        "libSQL's parser has no room for expressions that are nested so deeply (parser stack "
        "overflow): compute the inner ones in Python."
    )
    assert list(model.objects.using("scratch")) == []  # the connection is as it was


def test_mod(both: Any) -> None:
    insert(both, Sample, [{"number": number} for number in (0.0, 100.5, -7.25, None)])
    moduli = nested(lambda value, level: fn.Mod(value, Value(50.0 - 7 * level)), 5, F("number"))
    same(both, Sample.objects.annotate(v=moduli).order_by("pk").values_list("v"))


def test_window_functions_in_another_time_zone(database: Any) -> None:
    """A query of its own would see one row; SQL has no other name for the value."""
    rows = Moment.objects.using("scratch").annotate(v=zoned(fn.TruncDay, 1, Window(Max("at"))))
    with pytest.raises(NotSupportedError) as caught:
        list(rows)
    assert str(caught.value) == (
        "libSQL cannot convert the result of a window function to another time zone: convert it "
        "in Python, or use UTC there."
    )
