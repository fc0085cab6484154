"""
Undefined distances, wherever they stand in a query.

Read, compared and sorted by they are greater than all others; for what is computed of them they are
NULL.
"""

from __future__ import annotations

import json
import math
import statistics
from typing import Any

import pytest
from django.db import NotSupportedError, connections
from django.db.models import (
    Avg,
    Case,
    Count,
    ExpressionWrapper,
    F,
    FloatField,
    Func,
    Max,
    Min,
    OuterRef,
    Q,
    StdDev,
    Subquery,
    Sum,
    TextField,
    Value,
    Variance,
    When,
    Window,
)
from django.db.models import functions as fn

from dorm_vector import (
    CosineDistance,
    CosineSimilarity,
    InnerProduct,
    L2Distance,
    MaxInnerProduct,
    nearest,
)
from tests.support import oracle
from tests.testapp.models import Full

QUERY = [1.0, 1.0, 2.0]
VECTORS = [[1, 2, 3], [3, 2, 1], [-1, 0, 2]]
UNDEFINED = {CosineDistance: [0, 0, 0], L2Distance: [3e38, 3e38, 3e38]}
MEASURES = {CosineDistance: oracle.cosine, L2Distance: oracle.l2}
WANTED = [oracle.cosine(vector, QUERY) for vector in VECTORS]


def close(wanted: Any) -> Any:
    return None if wanted is None else pytest.approx(wanted, abs=1e-6, rel=1e-5, nan_ok=True)


@pytest.fixture(params=[CosineDistance, L2Distance], ids=["zero", "overflow"])
def distance(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def rows(alias: str, distance: Any) -> Any:
    for number, vector in enumerate((*VECTORS, UNDEFINED[distance], None)):
        Full.objects.using(alias).create(a=vector, group=number % 2)
    return Full.objects.using(alias).annotate(d=distance("a", QUERY)).order_by("pk")


@pytest.fixture
def wanted(distance: Any) -> list[float]:
    return [MEASURES[distance](vector, QUERY) for vector in VECTORS]


# An expression of a distance, and the same in Python.
COMPUTED: dict[str, tuple[Any, Any]] = {
    "1 - d": (lambda d: 1 - d, lambda d: 1 - d),
    "d - 1": (lambda d: d - 1, lambda d: d - 1),
    "d * 2": (lambda d: d * 2, lambda d: d * 2),
    "-d": (lambda d: -d, lambda d: -d),
    "d + d": (lambda d: d + d, lambda d: d + d),
    "d / 4": (lambda d: d / 4.0, lambda d: d / 4),
    "1 / d": (lambda d: 1.0 / (d + 1.0), lambda d: 1 / (d + 1)),
    "d ** 2": (lambda d: d**2.0, lambda d: d**2),
    "1 - d twice": (lambda d: 1 - (1 - d), lambda d: d),
    "Round": (lambda d: fn.Round(d, 2), lambda d: round(d, 2)),
    "Floor": (fn.Floor, math.floor),
    "Ceil": (fn.Ceil, math.ceil),
    "Abs": (fn.Abs, abs),
    "Sqrt": (lambda d: fn.Sqrt(fn.Abs(d)), lambda d: math.sqrt(abs(d))),
    "Exp": (fn.Exp, math.exp),
    "Power": (lambda d: fn.Power(d, 2), lambda d: d**2),
    "Sign": (fn.Sign, lambda d: math.copysign(1, d)),
    "Cast": (lambda d: fn.Cast(d, FloatField()), lambda d: d),
    "ExpressionWrapper": (lambda d: ExpressionWrapper(d, FloatField()), lambda d: d),
    "a function of the project's": (lambda d: Func(d, function="ABS"), abs),
    "of another type": (
        lambda d: Case(When(pk=0, then=Value(1.0)), default=d, output_field=FloatField()),
        lambda d: d,
    ),
    "in a Case": (lambda d: 1 - Case(When(pk__gt=0, then=d)), lambda d: 1 - d),
}


@pytest.mark.parametrize("name", COMPUTED)
@pytest.mark.parametrize("by", ["itself", "name"])
def test_computed(rows: Any, distance: Any, wanted: list[float], name: str, by: str) -> None:
    made, exact = COMPUTED[name]
    expression = made(distance("a", QUERY) if by == "itself" else F("d"))
    expected = [*(close(exact(value)) for value in wanted), None, None]
    computed = rows.annotate(x=expression)
    assert [row.x for row in computed] == expected
    # In this order in SQL, too.
    assert [row["x"] for row in computed.values("x", "d")] == expected
    named = rows.alias(x=expression).annotate(y=F("x"))
    assert list(named.values_list("y", flat=True)) == expected
    inner = computed.filter(pk=OuterRef("pk")).values("x")
    assert list(rows.annotate(y=Subquery(inner)).values_list("y", flat=True)) == expected


@pytest.mark.parametrize("name", ["1 - d", "Floor", "Cast", "in a Case"])
def test_filtered_and_sorted_by(rows: Any, wanted: list[float], name: str) -> None:
    made, exact = COMPUTED[name]
    computed = rows.alias(x=made(F("d")))
    for condition in (Q(x__gt=-100), Q(x__lt=100), ~Q(x__gt=100), ~Q(x__isnull=True)):
        assert computed.filter(condition).count() == 3
    assert computed.filter(x__isnull=True).count() == 2
    keys = list(rows.values_list("pk", flat=True))
    nearest_first = sorted(zip((exact(value) for value in wanted), keys, strict=False))
    for order in (F("x").asc(nulls_last=True), made(F("d")).asc(nulls_last=True)):
        found = list(computed.order_by(order, "pk").values_list("pk", flat=True))
        assert found == [*(key for _, key in nearest_first), *keys[3:]]


AGGREGATES: dict[str, tuple[Any, Any]] = {
    "Avg": (Avg, statistics.fmean),
    "Sum": (Sum, math.fsum),
    "1 - Min": (lambda d: 1 - Min(d), lambda values: 1 - min(values)),
    "Count": (Count, len),
    "Sum of Floor": (lambda d: Sum(fn.Floor(d)), lambda values: sum(map(math.floor, values))),
    "Avg of 1 - d": (lambda d: Avg(1 - d), lambda values: 1 - statistics.fmean(values)),
    "1 - Avg": (lambda d: 1 - Avg(d), lambda values: 1 - statistics.fmean(values)),
}


@pytest.mark.parametrize("name", AGGREGATES)
@pytest.mark.parametrize("by", ["itself", "name"])
def test_aggregates(rows: Any, distance: Any, wanted: list[float], name: str, by: str) -> None:
    made, exact = AGGREGATES[name]
    expression = made(distance("a", QUERY) if by == "itself" else F("d"))
    assert rows.aggregate(x=expression)["x"] == close(exact(wanted))
    assert rows[:5].aggregate(x=expression)["x"] == close(exact(wanted))


SPREADS: dict[str, tuple[Any, Any]] = {
    "StdDev": (StdDev, statistics.pstdev),
    "Variance": (Variance, statistics.pvariance),
}


@pytest.mark.parametrize("name", SPREADS)
@pytest.mark.parametrize("sample", [True, False])
def test_spreads(rows: Any, wanted: list[float], name: str, sample: bool) -> None:
    made, exact = SPREADS[name]
    exact = (
        {"pstdev": statistics.stdev, "pvariance": statistics.variance}[exact.__name__]
        if sample
        else exact
    )
    expression = made("d", sample=sample, filter=Q(d__lt=1e30))
    assert rows.aggregate(x=expression)["x"] == close(exact(wanted))


@pytest.mark.parametrize("name", SPREADS)
@pytest.mark.parametrize("alias", ["postgresql", "libsql"], indirect=True)
def test_spreads_of_what_is_null(rows: Any, wanted: list[float], name: str) -> None:
    made, exact = SPREADS[name]
    assert rows.aggregate(x=made("d"))["x"] == close(exact(wanted))
    assert rows.aggregate(x=made(1 - F("d")))["x"] == close(exact(wanted))


@pytest.mark.parametrize("name", SPREADS)
@pytest.mark.parametrize("alias", ["default"], indirect=True)
@pytest.mark.parametrize("distance", [CosineDistance], indirect=True)
def test_spreads_on_sqlite(rows: Any, name: str) -> None:
    made, _ = SPREADS[name]
    for expression in (made("d"), made(CosineDistance("a", QUERY)), made(1 - F("d"))):
        with pytest.raises(NotSupportedError) as caught:
            rows.aggregate(x=expression)
        assert str(caught.value) == (
            f"Django's {name} does not accept NULL on SQLite, and an undefined CosineDistance is "
            f"NULL: use {name}('distance', filter=Q(distance__lte=2))."
        )


def test_groups(rows: Any, wanted: list[float]) -> None:
    found = rows.order_by().values("group").annotate(x=Avg("d"), n=Count("d")).order_by("group")
    assert [(row["x"], row["n"]) for row in found] == [
        (close((wanted[0] + wanted[2]) / 2), 2),
        (close(wanted[1]), 1),
    ]
    by_distance = rows.order_by().values("d").annotate(n=Count("pk")).order_by("n", "d")
    assert sorted(row["n"] for row in by_distance) == [1] * 5
    assert sum(row["d"] is not None and math.isnan(row["d"]) for row in by_distance) == 1


def test_windows(rows: Any, wanted: list[float]) -> None:
    found = rows.annotate(
        mean=Window(Avg("d")),
        previous=Window(fn.Lag("d"), order_by="pk"),
        place=Window(fn.RowNumber(), order_by=[F("d").asc(nulls_last=True), "pk"]),
    )
    assert [row.mean for row in found] == [close(statistics.fmean(wanted))] * 5
    assert math.isnan(found[4].previous)
    assert [row.previous for row in found[:4]] == [None, *map(close, wanted)]
    places = sorted(range(3), key=wanted.__getitem__)
    assert [row.place for row in found] == [*(places.index(n) + 1 for n in range(3)), 4, 5]


def test_replaced(rows: Any, wanted: list[float]) -> None:
    found = rows.annotate(known=fn.Coalesce("d", 9.0), unequal=fn.NullIf("d", Value(9.0)))
    assert [row.known for row in found] == [*map(close, wanted), 9.0, 9.0]
    assert [row.unequal for row in found] == [*map(close, wanted), None, None]


def test_json_and_text(rows: Any, alias: str, wanted: list[float]) -> None:
    found = [row.x for row in rows.annotate(x=fn.JSONObject(d="d"))]
    read = [each if isinstance(each, dict) else json.loads(each) for each in found]
    assert [each["d"] for each in read] == [*map(close, wanted), None, None]
    texts = [row.x for row in rows.annotate(x=fn.Cast("d", TextField()))]
    assert [float(text) for text in texts[:3]] == [close(value) for value in wanted]
    assert texts[3:] == [None, None]
    joined = rows.annotate(
        x=fn.Concat(Value("<"), fn.Cast("d", TextField()), Value(">"), output_field=TextField())
    )
    assert [row.x for row in joined][3:] == ["<>", "<>"]


def test_read_compared_and_sorted_by(rows: Any, wanted: list[float]) -> None:
    found = [row.d for row in rows]
    assert found[:3] == [close(value) for value in wanted]
    assert math.isnan(found[3])
    assert found[4] is None
    assert rows.filter(d__lt=1e30).count() == 3
    assert rows.filter(d__gt=1e30).count() == 1
    assert rows.filter(d__isnull=True).count() == 1
    undefined = rows.filter(a__isnull=False).order_by("d").last()
    assert math.isnan(undefined.d)
    handed = rows.annotate(x=Case(When(pk__gt=0, then="d")), y=Subquery(itself(rows)))
    for row, wanted_value in zip(handed, [*wanted, math.nan, None], strict=True):
        assert [row.x, row.y] == [close(wanted_value)] * 2
    assert rows.filter(Q(d__lt=1e30)).aggregate(n=Count("d", filter=Q(d__gt=-5)))["n"] == 3


def itself(rows: Any) -> Any:
    return rows.filter(pk=OuterRef("pk")).order_by("d").values("d")[:1]


def test_least_and_greatest(rows: Any, wanted: list[float]) -> None:
    found = rows.aggregate(low=Min("d"), high=Max("d"))
    assert found["low"] == close(min(wanted))
    assert math.isnan(found["high"])
    assert rows.aggregate(x=1 - Max("d"))["x"] == close(1 - max(wanted))
    both = rows.annotate(x=fn.Greatest("d", F("d")), y=fn.Least("d", F("d")), z=1 - F("x"))
    for row, wanted_value in zip(both, [*wanted, math.nan, None], strict=True):
        assert [row.x, row.y] == [close(wanted_value)] * 2
    assert [row.z for row in both] == [*(close(1 - value) for value in wanted), None, None]


def test_computed_of_subqueries(rows: Any, wanted: list[float]) -> None:
    inner = rows.filter(pk=OuterRef("pk")).order_by().values("d")
    found = [row.x for row in rows.annotate(x=1 - Subquery(inner))]
    assert found == [*(close(1 - value) for value in wanted), None, None]
    assert rows.aggregate(x=Avg(Subquery(inner)))["x"] == close(statistics.fmean(wanted))


def test_stored(rows: Any, distance: Any, wanted: list[float], alias: str) -> None:
    # "group" is an integer: NULL, which it does not take, is kept out by the Coalesce.
    Full.objects.using(alias).update(group=fn.Coalesce(fn.Floor(distance("a", QUERY)), 99))
    found = list(rows.values_list("group", flat=True))
    assert found == [*map(math.floor, wanted), 99, 99]


def test_similarities(rows: Any) -> None:
    rows = rows.filter(pk__gt=0)
    found = rows.annotate(s=CosineSimilarity("a", QUERY), x=F("s") + 1).filter(a__isnull=False)
    read, computed = [row.s for row in found], [row.x for row in found]
    assert computed[:3] == [close(2 - value) for value in WANTED]
    assert [value is None for value in computed] == [math.isnan(value) for value in read]


def test_similarity_is_the_least(alias: str) -> None:
    for vector in (*VECTORS, [0, 0, 0]):
        Full.objects.using(alias).create(a=vector)
    rows = Full.objects.using(alias).annotate(s=CosineSimilarity("a", QUERY))
    found = [row.s for row in rows.order_by("-s")]
    assert found[:3] == [close(1 - value) for value in sorted(WANTED)]
    assert math.isnan(found[3])
    assert rows.filter(s__gte=-2).count() == 3
    assert math.isnan(rows.aggregate(x=Min("s"))["x"])
    assert rows.aggregate(x=Max("s"))["x"] == close(1 - min(WANTED))
    assert rows.aggregate(x=Avg("s"))["x"] == close(1 - statistics.fmean(WANTED))


@pytest.mark.parametrize("function", [InnerProduct, MaxInnerProduct])
def test_products_of_zeros_are_defined(alias: str, function: Any) -> None:
    for vector in (*VECTORS, [0, 0, 0]):
        Full.objects.using(alias).create(a=vector)
    sign = 1 if function is MaxInnerProduct else -1
    exact = [sign * oracle.ip(vector, QUERY) for vector in (*VECTORS, [0, 0, 0])]
    found = Full.objects.using(alias).aggregate(x=Sum(function("a", QUERY) * 2))["x"]
    assert found == close(2 * sum(exact))


def test_computed_of_searches(rows: Any, wanted: list[float], distance: Any) -> None:
    found = nearest(rows.model.objects.using(rows.db), "a", QUERY, metric=distance.metric, k=9)
    found = found.annotate(similarity=1 - F("distance"))
    left = {"cosine": [], "l2": [None]}[distance.metric]  # by cosine zero vectors are left out
    expected = [*(close(1 - value) for value in sorted(wanted)), *left]
    assert [row.similarity for row in found] == expected


def test_a_slice_that_is_sorted_by_it(rows: Any, wanted: list[float]) -> None:
    """The rows of the slice depend on it, so that it stays what it is."""
    defined = rows.filter(a__isnull=False).order_by("d")
    assert defined[:3].aggregate(x=Avg("d"))["x"] == close(statistics.fmean(wanted))
    assert math.isnan(defined[:4].aggregate(x=Avg("d"))["x"])
    assert math.isnan(defined.reverse()[:1].aggregate(x=Max("d"))["x"])


def test_the_sql_of_one_place_is_not_that_of_another(alias: str) -> None:
    rows = Full.objects.using(alias).annotate(d=CosineDistance("a", QUERY))
    for queryset in (rows.alias(x=1 - F("d")), rows.annotate(x=1 - F("d"))):
        before = str(rows.query)
        str(queryset.order_by("x").query)
        assert str(rows.query) == before
        assert connections[alias].ops.quote_name("d") in before
