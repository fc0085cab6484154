"""Undefined distances in arithmetic and aggregates: they stay undefined, or are refused by name."""

from __future__ import annotations

import math
from typing import Any

import pytest
from django.db import NotSupportedError, connections, transaction
from django.db.models import Avg, Case, F, Max, Min, Q, StdDev, Sum, Variance, When
from django.db.models import functions as fn

from dorm_vector import CosineDistance, CosineSimilarity, L2Distance
from tests.support import oracle
from tests.testapp.models import Full

QUERY = [1.0, 1.0, 2.0]
VECTORS = [[1, 2, 3], [3, 2, 1], [-1, 0, 2]]
WANTED = [oracle.cosine(vector, QUERY) for vector in VECTORS]
DEFINED = Case(When(d__lte=2, then="d"))


@pytest.fixture
def rows(alias: str) -> Any:
    for vector in (*VECTORS, [0, 0, 0], None):
        Full.objects.using(alias).create(a=vector)
    return Full.objects.using(alias).annotate(d=CosineDistance("a", QUERY))


FUNCTIONS: dict[str, Any] = {
    "Floor": fn.Floor,
    "Ceil": fn.Ceil,
    "JSONObject": lambda d: fn.JSONObject(d=d),
}
AGGREGATES: dict[str, Any] = {"StdDev": StdDev, "Variance": Variance, "Avg": Avg, "Sum": Sum}
ONLY_LIBSQL = {"Avg", "Sum"}


def is_refused(alias: str, name: str) -> bool:
    return alias == "libsql" or (alias == "default" and name not in ONLY_LIBSQL)


@pytest.mark.parametrize("name", [*FUNCTIONS, *AGGREGATES])
@pytest.mark.parametrize("direct", [True, False], ids=["direct", "by name"])
def test_what_cannot_carry_it_is_refused(rows: Any, alias: str, name: str, direct: bool) -> None:
    distance = CosineDistance("a", QUERY) if direct else F("d")
    expression = {**FUNCTIONS, **AGGREGATES}[name](distance)

    def run() -> Any:
        if name in AGGREGATES:
            return rows.aggregate(x=expression)["x"]
        return [row.x for row in rows.annotate(x=expression).order_by("pk")]

    if not is_refused(alias, name):
        found = run()
        found = found if isinstance(found, list) else [found]
        assert name == "JSONObject" or any(not math.isfinite(x) for x in found if x is not None)
    else:
        with pytest.raises(NotSupportedError) as caught, transaction.atomic(alias):
            run()
        assert str(caught.value) == (
            f"{connections[alias].display_name} has no NaN, and {name} would make a number of an "
            "undefined CosineDistance: use Case(When(distance__lte=2, then='distance')), which is "
            "NULL there."
        )


def test_null_where_it_is_undefined(rows: Any) -> None:
    found = rows.aggregate(
        mean=Avg(DEFINED), total=Sum(DEFINED), spread=StdDev("d", filter=Q(d__lte=2))
    )
    mean = sum(WANTED) / 3
    assert found["mean"] == pytest.approx(mean, abs=1e-6)
    assert found["total"] == pytest.approx(sum(WANTED), abs=1e-6)
    spread = math.sqrt(sum((d - mean) ** 2 for d in WANTED) / 3)
    assert found["spread"] == pytest.approx(spread, abs=1e-6)
    floors = list(rows.annotate(x=fn.Floor(DEFINED)).order_by("pk").values_list("x", flat=True))
    assert floors == [*map(math.floor, WANTED), None, None]


def test_rounded(rows: Any) -> None:
    found = list(rows.annotate(x=fn.Round("d", 2)).order_by("pk").values_list("x", flat=True))
    assert found[:3] == [round(distance, 2) for distance in WANTED]
    assert not math.isfinite(found[3]) or found[3] > 1e300
    assert found[4] is None


def test_least_and_greatest(rows: Any) -> None:
    found = rows.aggregate(low=Min("d"), high=Max("d"))
    assert found["low"] == pytest.approx(min(WANTED), abs=1e-6)
    assert math.isnan(found["high"])


def test_similarity_is_the_least(rows: Any) -> None:
    found = rows.annotate(s=CosineSimilarity("a", QUERY)).filter(a__isnull=False).order_by("-s")
    assert math.isnan(found.last().s)
    assert [row.s for row in found[:3]] == pytest.approx(sorted(1 - d for d in WANTED)[::-1])


def test_other_distances_are_let_through(rows: Any) -> None:
    distances = [oracle.l2(vector, QUERY) for vector in [*VECTORS, [0, 0, 0]]]
    found = rows.aggregate(x=Avg(L2Distance("a", QUERY)), y=Sum(fn.Floor(L2Distance("a", QUERY))))
    assert found["x"] == pytest.approx(sum(distances) / 4, rel=1e-5)
    assert found["y"] == sum(map(math.floor, distances))
