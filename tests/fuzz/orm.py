"""
Ordinary work of the ORM, without vectors, on the libSQL backend and on stock SQLite.

``python -m tests.fuzz.orm --seconds 60 --seed 1`` makes rows and queries at random, and compares
what both say. Each case has a seed of its own, which a failure prints: ``--case`` runs it alone.
What may differ is listed in ``REASONS``.
"""

from __future__ import annotations

import argparse
import datetime as dt
import itertools
import math
import random
import re
import sys
import time
import uuid
import zoneinfo
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import django
from django.conf import settings

if __name__ == "__main__" and not settings.configured:
    settings.configure(
        USE_TZ=True,
        INSTALLED_APPS=["dorm_vector"],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    )
    django.setup()

from django.db import connections, models
from django.db.models import Avg, Count, F, Max, Min, Q, StdDev, Sum, Value
from django.db.models import functions as fn

__all__ = ["Difference", "Thing", "databases", "run", "run_case"]

ENGINES = {
    "fuzz_stock": "django.db.backends.sqlite3",
    "fuzz_libsql": "dorm_vector.backends.libsql",
}
ZONES = sorted(zoneinfo.available_timezones() - {"localtime", "Factory"})

#: Why a case may differ: (what stock SQLite raises, what libSQL raises), a pattern each.
REASONS = {
    "Python's functions raise where a value has no result; in SQL it is NULL or infinite.": (
        r"user-defined (?:aggregate|function)|OverflowError|domain error",
        r".*",
    ),
    "Python cannot read a result of an arithmetic on dates that is out of its range.": (
        r"out of range|year .* is out of range|Invalid isoformat|too large",
        r".*",
    ),
    "Sums past 64 bits are an error on both.": (r"integer overflow", r"integer overflow"),
}

# SQLite before 3.43 rounds 103.55, whose float is less than that, to 103.6; later ones, libSQL and
# Python round it to 103.5.
PAST_HALVES = 1e-7


class Difference(AssertionError):  # noqa: N818 - it is a finding
    """The two databases do not say the same."""


class Thing(models.Model):
    number = models.IntegerField(null=True)
    big = models.BigIntegerField(null=True)
    real = models.FloatField(null=True)
    exact = models.DecimalField(max_digits=12, decimal_places=3, null=True)
    text = models.CharField(max_length=200, null=True)
    note = models.TextField(default="")
    flag = models.BooleanField(null=True)
    blob = models.BinaryField(null=True)
    day = models.DateField(null=True)
    hour = models.TimeField(null=True)
    at = models.DateTimeField(null=True)
    length = models.DurationField(null=True)
    key = models.UUIDField(null=True)
    data = models.JSONField(null=True)

    class Meta:
        app_label = "fuzz_orm"

    def __str__(self) -> str:
        return f"{self.pk}"


@contextmanager
def databases() -> Iterator[None]:
    """Both databases in memory, with an empty table."""
    for alias, engine in ENGINES.items():
        given = {"ENGINE": engine, "NAME": ":memory:"}
        connections.settings[alias] = {**connections["default"].settings_dict, **given}
        connections.settings[alias]["OPTIONS"] = {}
        connections[alias] = connections.create_connection(alias)
        with connections[alias].schema_editor() as editor:
            editor.create_model(Thing)
    try:
        yield
    finally:
        for alias in ENGINES:
            connections[alias].connection.close()
            del connections[alias], connections.settings[alias]


# Values: edges as often as not.

TEXTS = [
    "",
    " ",
    "a",
    "A",
    "ä",
    "😀",
    "it's",
    '"q"',
    "%",
    "_",
    "\\",
    "%s",
    "?",
    "a;b",
    "-- x",
    "/*",
]
EDGES: dict[str, list[Any]] = {
    "number": [0, 1, -1, 2**31 - 1, -(2**31)],
    "big": [0, 2**31, -(2**31) - 1, 2**53 + 1, 2**63 - 1, -(2**63), 12345678901],
    "real": [0.0, -0.5, 1e-300, 1e300, 0.1, 2.5, -7.25, 1e15 + 0.5],
    "exact": [Decimal("0"), Decimal("-0.001"), Decimal("999999999.999"), Decimal("2.500")],
    "text": [*TEXTS, "x" * 200, "12345678901", "1e3", "é" * 50],
    "note": TEXTS,
    "flag": [True, False],
    "blob": [b"", b"\0", b"'?;", bytes(range(256))],
    "day": [dt.date(1, 1, 2), dt.date(9999, 12, 30), dt.date(2024, 2, 29), dt.date(2026, 1, 1)],
    "hour": [dt.time(0), dt.time(23, 59, 59, 999999), dt.time(23, 59, 59, 999500)],
    "length": [dt.timedelta(0), dt.timedelta(microseconds=-1), dt.timedelta(days=400, hours=5)],
    "data": [None, {}, [], {"a": [1, {"b": None}]}, "x", 2**53, {"é": "'"}, True],
}


def value(random_: random.Random, name: str) -> Any:
    if name not in ("note", "data") and random_.random() < 0.15:
        return None
    if name in EDGES and random_.random() < 0.6:
        return random_.choice(EDGES[name])
    return VALUES[name](random_)


def moment(random_: random.Random) -> dt.datetime:
    naive = dt.datetime(random_.choice([1900, 1970, 2024, 2037, 2100]), 1, 1) + dt.timedelta(
        seconds=random_.randrange(366 * 86400), microseconds=random_.choice([0, 1, 999999, 123000])
    )
    return naive.replace(tzinfo=dt.UTC)


VALUES: dict[str, Callable[[random.Random], Any]] = {
    "number": lambda r: r.randrange(-100, 100),
    "big": lambda r: r.randrange(-(2**62), 2**62) >> r.randrange(62),
    "real": lambda r: round(r.uniform(-1000, 1000), r.randrange(6)),
    "exact": lambda r: Decimal(r.randrange(-(10**9), 10**9)) / 1000,
    "text": lambda r: "".join(r.choices("aAbBäß %_'\"", k=r.randrange(8))),
    "note": lambda r: "".join(r.choices(TEXTS, k=3)),
    "flag": lambda r: r.random() < 0.5,
    "blob": lambda r: r.randbytes(5),
    "day": lambda r: moment(r).date(),
    "hour": lambda r: moment(r).time(),
    "at": moment,
    "length": lambda r: dt.timedelta(microseconds=r.randrange(-(10**13), 10**13)),
    "key": lambda r: uuid.UUID(int=r.getrandbits(128), version=4),
    "data": lambda r: {"a": r.randrange(5), "b": [r.choice(TEXTS)]},
}


# Expressions, of a field's type and of numbers.


def text_expression(random_: random.Random, depth: int = 2) -> Any:
    if depth == 0 or random_.random() < 0.3:
        return random_.choice([F("text"), F("note"), Value(random_.choice(TEXTS))])
    inner = text_expression(random_, depth - 1)
    number = random_.randrange(1, 12)
    return random_.choice(
        [
            lambda: fn.Lower(inner),
            lambda: fn.Upper(inner),
            lambda: fn.Trim(inner),
            lambda: fn.Reverse(inner),
            lambda: fn.LPad(inner, number, Value("xy")),
            lambda: fn.RPad(inner, number, Value("-")),
            lambda: fn.Repeat(inner, number % 4),
            lambda: fn.Substr(inner, number % 4 + 1, number),
            lambda: fn.Replace(inner, Value("a"), Value("'?")),
            lambda: fn.Concat(inner, Value("%"), F("note")),
            lambda: fn.Coalesce(inner, Value("?"), output_field=models.TextField()),
            lambda: fn.Left(inner, number),
            lambda: fn.Right(inner, number),
            lambda: fn.NullIf(inner, Value("a")),
        ]
    )()


def number_expression(random_: random.Random) -> Any:
    real = models.FloatField()
    small = fn.Cast(random_.choice(["number", "real"]), real)
    other = Value(random_.choice([0.5, 2.0, -3.0, 10.0]))
    return random_.choice(
        [
            lambda: fn.Length(text_expression(random_)),
            lambda: fn.StrIndex("note", Value("a")),
            lambda: fn.Ord("text"),
            lambda: fn.Abs("real"),
            lambda: fn.Ceil(small),
            lambda: fn.Floor(small),
            lambda: fn.Round(small + PAST_HALVES, precision=random_.randrange(3)),
            lambda: fn.Sign("real"),
            lambda: fn.Sqrt(small),
            lambda: fn.Ln(small),
            lambda: fn.Exp(fn.Cast("number", real) / 10),
            lambda: fn.ACos(small),
            lambda: fn.ATan2(small, other),
            lambda: fn.Power(small, other),
            lambda: fn.Log(Value(2.0), small),
            lambda: fn.Mod("number", other),
            lambda: fn.Cast("text", models.IntegerField()),
            lambda: F("number") * 2 + F("real"),
            lambda: F("number").bitxor(5),
            lambda: fn.Greatest("number", Value(3)),
        ]
    )()


def moment_expression(random_: random.Random) -> Any:
    zone = zoneinfo.ZoneInfo(random_.choice(ZONES))
    kind = random_.choice(["year", "quarter", "month", "week", "day", "hour", "minute", "second"])
    part = random_.choice(
        ["year", "iso_year", "quarter", "month", "week", "day", "week_day", "hour", "second"]
    )
    days = ["year", "quarter", "month", "week", "day"]
    span = Value(dt.timedelta(seconds=random_.randrange(-(10**7), 10**7), microseconds=5))
    return random_.choice(
        [
            lambda: fn.Extract("at", part, tzinfo=zone),
            lambda: fn.Trunc("at", kind, tzinfo=zone, output_field=models.DateTimeField()),
            lambda: fn.TruncDate("at", tzinfo=zone),
            lambda: fn.TruncTime("at", tzinfo=zone),
            lambda: fn.Trunc("day", random_.choice(days), output_field=models.DateField()),
            lambda: fn.Trunc("hour", random_.choice(["hour", "minute", "second"])),
            lambda: fn.Extract("day", random_.choice(["year", "week", "iso_week_day"])),
            lambda: models.ExpressionWrapper(F("at") + span, models.DateTimeField()),
            lambda: F("at") - Value(dt.datetime(2000, 1, 1, tzinfo=dt.UTC)),
            lambda: F("length") + span,
            lambda: fn.Cast("at", models.DateField()),
            lambda: fn.Cast("hour", models.TimeField()),
        ]
    )()


def condition(random_: random.Random) -> Q:
    name = random_.choice([name for name in VALUES if name != "data"])
    given = value(random_, name)
    if given is None:
        return Q(**{f"{name}__isnull": random_.random() < 0.5})
    lookups = ["exact", "in", "gt", "lte"]
    if name in ("text", "note"):
        lookups += ["contains", "icontains", "startswith", "iendswith", "iexact"]
    lookup = random_.choice(lookups)
    found = Q(**{f"{name}__{lookup}": [given, value(random_, "note")] if lookup == "in" else given})
    if lookup == "in" and name not in ("text", "note"):
        found = Q(**{f"{name}__in": [given]})
    return ~found if random_.random() < 0.3 else found


# Cases: each is told by what it is called with, and asked of both databases.

Ask = Callable[[str], Any]


def fetch(random_: random.Random) -> Ask:
    expressions = [text_expression, number_expression, moment_expression]
    annotated = Thing.objects.annotate(v=random_.choice(expressions)(random_))
    found = annotated.filter(condition(random_) | condition(random_)).order_by("pk")
    return lambda alias: list(found.using(alias).values_list("pk", "v"))


def whole(random_: random.Random) -> Ask:
    names = [field.attname for field in Thing._meta.concrete_fields]
    found = Thing.objects.filter(condition(random_)).order_by(
        random_.choice(["number", "-big", "real", "exact", "day", "-at", "length"]), "pk"
    )
    return lambda alias: list(found.using(alias).values_list(*names))


def grouped(random_: random.Random) -> Ask:
    aggregate = random_.choice(
        [Count("pk"), Sum("number"), Avg("real"), Max("at"), Min("text"), StdDev("number")]
    )
    found = Thing.objects.values("flag").annotate(v=aggregate).order_by("flag")
    return lambda alias: list(found.using(alias))


def changed(random_: random.Random) -> Ask:
    name = random_.choice(list(VALUES))
    where, new = condition(random_), value(random_, name)
    later = whole(random.Random(random_.random()))

    def ask(alias: str) -> Any:
        return Thing.objects.using(alias).filter(where).update(**{name: new}), later(alias)

    return ask


def raw(random_: random.Random) -> Ask:
    gap = lambda: random_.choice([" ", "\n", " /* ? ; ' */ ", ' -- %% ? ; "\n', "\t"])  # noqa: E731
    literal = random_.choice(["'?'", "'it''s; --'", "'/* %% */'", '"text"', "[note]", "`number`"])
    given = value(random_, random_.choice(["text", "big", "real", "blob"]))
    parts = ["", "SELECT", f"%s, {literal}, id", "FROM", "fuzz_orm_thing", "WHERE", "id < %s",
             "AND", "note <> %s", "ORDER", "BY", "id", ""]  # fmt: skip
    sql = "".join(part + gap() for part in parts) + random_.choice(["", ";", "; -- end"])

    def ask(alias: str) -> Any:
        with connections[alias].cursor() as cursor:
            cursor.execute(sql, [given, random_.randrange(30), random_.choice(TEXTS)])
            return cursor.fetchall()

    state = random_.getstate()

    def same_choices(alias: str) -> Any:
        random_.setstate(state)
        return ask(alias)

    return same_choices


CASES = [fetch, fetch, fetch, whole, grouped, changed, raw]


def fill(random_: random.Random, size: int = 25) -> None:
    rows = [{name: value(random_, name) for name in VALUES} for _ in range(size)]
    for alias in ENGINES:
        things = Thing.objects.using(alias)
        things.all().delete()
        things.bulk_create(Thing(pk=place, **row) for place, row in enumerate(rows, 1))


def run_case(seed: int) -> None:
    """Fill both databases, and ask some questions. Raises Difference."""
    random_ = random.Random(seed)
    fill(random_)
    for _ in range(8):
        case = random_.choice(CASES)
        ask = case(random_)
        stock, libsql = (answer(ask, alias) for alias in ENGINES)
        if not same(stock, libsql) and not explained(stock, libsql):
            raise Difference(
                f"--case {seed} ({case.__name__}):\nSQLite: {shown(stock)}\nlibSQL: {shown(libsql)}"
            )


def shown(found: Any) -> str:
    return repr(found)[:1500]


def answer(ask: Ask, alias: str) -> Any:
    try:
        return ask(alias)
    except Exception as error:
        return error


def explained(stock: Any, libsql: Any) -> str | None:
    def said(found: Any) -> str:
        return f"{type(found).__name__}: {found}" if isinstance(found, Exception) else ""

    return next(
        (
            reason
            for reason, (ours, theirs) in REASONS.items()
            if said(stock) and re.search(ours, said(stock)) and re.search(theirs, said(libsql))
        ),
        None,
    )


def same(stock: Any, libsql: Any) -> bool:
    if isinstance(stock, Exception) and isinstance(libsql, Exception):
        return type(stock) is type(libsql)
    if isinstance(stock, float) and isinstance(libsql, float):
        both_nan = math.isnan(stock) and math.isnan(libsql)
        return both_nan or math.isclose(stock, libsql, rel_tol=1e-9, abs_tol=1e-9)
    if isinstance(stock, list | tuple) and isinstance(libsql, list | tuple):
        return len(stock) == len(libsql) and all(map(same, stock, libsql))
    if isinstance(stock, dict) and isinstance(libsql, dict):
        return stock.keys() == libsql.keys() and all(same(stock[k], libsql[k]) for k in stock)
    return type(stock) is type(libsql) and bool(stock == libsql)


def run(seconds: float, seed: int) -> int:
    """Cases from ``seed`` on for so long; how many they were. Raises Difference."""
    deadline = time.monotonic() + seconds
    with databases():
        for number in itertools.count():
            if number and time.monotonic() > deadline:
                return number
            run_case(seed * 1_000_000 + number)
    raise AssertionError  # what never ends never comes here


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--case", type=int, help="the one case of this seed")
    options = parser.parse_args()
    try:
        if options.case is not None:
            with databases():
                run_case(options.case)
            return 0
        cases = run(options.seconds, options.seed)
    except Difference as difference:
        print(difference)
        return 1
    print(f"{cases} cases from seed {options.seed} on, and no difference.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
