"""Tiny and huge vectors, and what raw SQL stores past the field: distances are right, or last."""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np
import pytest
from django.core.exceptions import ValidationError
from django.db import DatabaseError, NotSupportedError, connections, transaction
from django.db.models import F, Q

from dorm_vector import (
    CosineDistance,
    CosineSimilarity,
    InnerProduct,
    L1Distance,
    L2Distance,
    MaxInnerProduct,
    Normalize,
    VectorAdd,
    VectorAvg,
    VectorMultiply,
    VectorNorm,
    VectorSubtract,
    VectorSum,
    nearest,
)
from dorm_vector.engines.base.expressions import COSINE_IN_RANGE
from tests.support import oracle
from tests.testapp.models import Full

FUNCTIONS = {"l2": L2Distance, "cosine": CosineDistance, "ip": MaxInnerProduct, "l1": L1Distance}
metrics = pytest.mark.parametrize("metric", FUNCTIONS)
QUERY = [1.0, 2.0, 2.0]
# Vectors by their length. Their squares leave the range of float32.
EXTREME = {
    "tiny": [1e-23, 1e-23, 1e-23],
    "tiniest": [1e-45, 0.0, 0.0],
    "opposite and tiny": [-1e-25, -2e-25, -2e-25],
    "huge": [1e20, 0.0, 0.0],
    "hugest": [3e38, 3e38, 3e38],
    "opposite and huge": [-3e38, 0.0, -3e38],
    "both": [1e-30, 1e30, 0.0],
}
ORDINARY = {"same": [2.0, 4.0, 4.0], "right": [2.0, -1.0, 0.0], "near": [1.0, 2.0, 2.5]}
NOT_FINITE = {
    "nan": (math.nan, 1.0, 1.0),
    "inf": (math.inf, 1.0, 1.0),
    "-inf": (-math.inf, 0.0, 0.0),
    "both": (math.inf, -math.inf, math.nan),
}
NO_NAN = [pytest.param(alias, id=alias) for alias in ("default", "libsql")]


@pytest.fixture
def rows(alias: str) -> Any:
    for vector in (*EXTREME.values(), *ORDINARY.values()):
        Full.objects.using(alias).create(a=vector, b=QUERY)
    return Full.objects.using(alias)


def expected(metric: str, vector: Any, query: Any) -> float:
    return oracle.DISTANCES[metric](vector, query)


def beyond_float32(metric: str, a: Any, b: Any) -> bool:
    """Whether a distance, or a length in it, is more than libSQL's functions return."""
    lengths = {
        "l2": [oracle.l2(a, b)],
        "ip": [float(np.linalg.norm(oracle.float32(a)))],
    }
    return any(length > 3.4e38 for length in lengths.get(metric, []))


@metrics
@pytest.mark.parametrize("query", ["ordinary", "column", "tiny", "huge"])
def test_distance(rows: Any, alias: str, metric: str, query: str) -> None:
    vector = {"tiny": EXTREME["tiny"], "huge": EXTREME["hugest"]}.get(query, QUERY)
    second = F("b") if query == "column" else vector
    found = rows.annotate(d=FUNCTIONS[metric]("a", second))
    extreme = [oracle.float32(each).tolist() for each in EXTREME.values()]
    for row in found:
        if alias == "postgresql" and (query in ("tiny", "huge") or row.a in extreme):
            # pgvector's own operators, which indexes need; see test_nearest_by_cosine.
            assert metric != "cosine" or math.isnan(row.d) or 0 <= row.d <= 2
            continue
        wanted = expected(metric, row.a, vector)
        if metric == "l2" and alias == "default" and not 1e-17 < wanted < 1e18:
            # sqlite-vec's own; an exact one would cost each search a twentieth of its time.
            assert math.isnan(row.d) if wanted > 1 else row.d == pytest.approx(0, abs=1e-17)
            continue
        if alias == "libsql" and beyond_float32(metric, row.a, vector):
            assert math.isnan(row.d)
            continue
        scale = {
            "cosine": 1.0,
            "ip": np.linalg.norm(oracle.float32(row.a)) * np.linalg.norm(vector),
        }
        tolerance = 1e-5 * scale.get(metric, abs(wanted))
        assert row.d == pytest.approx(wanted, abs=tolerance, rel=0), row.a


def test_nearest_by_cosine(rows: Any, alias: str) -> None:
    Full.objects.using(alias).create(a=[0, 0, 0], b=QUERY)
    found = list(nearest(rows, "a", QUERY, metric="cosine", max_distance=0.02))
    wanted = [[2.0, 4.0, 4.0], [1.0, 2.0, 2.5]]
    assert [row.a for row in found] == wanted
    everything = list(nearest(rows, "a", QUERY, metric="cosine"))
    assert all(-1e-6 <= row.distance <= 2 + 1e-6 for row in everything)
    if alias != "postgresql":
        assert len(everything) == len(EXTREME) + len(ORDINARY)
        assert everything[-1].a == oracle.float32(EXTREME["opposite and tiny"]).tolist()


def test_norm_and_normalize(rows: Any) -> None:
    if rows.db == "libsql":
        with pytest.raises(DatabaseError, match="beyondtherange"), transaction.atomic("libsql"):
            list(rows.annotate(unit=Normalize("a")))
        rows.filter(a=EXTREME["hugest"]).delete()
        rows.filter(a=EXTREME["opposite and huge"]).delete()
    for row in rows.annotate(norm=VectorNorm("a"), unit=Normalize("a")):
        exact = np.asarray(row.a, dtype="f8")
        norm = float(np.linalg.norm(exact))
        assert row.norm == pytest.approx(norm, rel=1e-5)
        assert row.unit == pytest.approx((exact / norm).tolist(), abs=1e-6)


@pytest.mark.parametrize(
    ("function", "operands"),
    [
        (VectorAdd, ("a", [3e38] * 3)),
        (VectorSubtract, ("a", [-3e38] * 3)),
        (VectorMultiply, ("a", "a")),
    ],
)
def test_results_beyond_float32_are_refused(alias: str, function: Any, operands: Any) -> None:
    rows = Full.objects.using(alias)
    rows.create(a=[3e38] * 3)
    with pytest.raises(DatabaseError), transaction.atomic(alias):
        rows.update(b=function(*operands))
    with pytest.raises(DatabaseError), transaction.atomic(alias):
        list(rows.annotate(x=function(*operands)))
    assert rows.get().b is None


def test_sums_beyond_float32_are_refused(alias: str) -> None:
    rows = Full.objects.using(alias)
    rows.bulk_create([Full(a=[3e38] * 3), Full(a=[3e38] * 3)])
    with pytest.raises(DatabaseError), transaction.atomic(alias):
        rows.aggregate(x=VectorSum("a"))


def test_mean_of_huge_vectors(alias: str) -> None:
    rows = Full.objects.using(alias)
    rows.bulk_create([Full(a=[1e38] * 3), Full(a=[1e38] * 3)])
    assert rows.aggregate(x=VectorAvg("a"))["x"] == pytest.approx([1e38] * 3, rel=1e-6)


@pytest.fixture(params=NO_NAN)
def raw(request: Any, db: None) -> Any:
    """Rows that raw SQL has written, past the field and the CHECK."""
    alias = str(request.param)
    connection = connections[alias]
    rows = Full.objects.using(alias)
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA ignore_check_constraints = ON")
        for numbers in NOT_FINITE.values():
            cursor.execute(
                "INSERT INTO testapp_full (a, b, [group]) VALUES (%s, %s, 1)",
                [struct.pack("<3f", *numbers), struct.pack("<3f", *QUERY)],
            )
        cursor.execute("PRAGMA ignore_check_constraints = OFF")
    for vector in ORDINARY.values():
        rows.create(a=vector, b=QUERY)
    return rows


@metrics
@pytest.mark.parametrize("second", [QUERY, F("b")], ids=["value", "column"])
def test_not_finite_is_last(raw: Any, metric: str, second: Any) -> None:
    if raw.db == "libsql" and metric == "l1":
        with pytest.raises(NotSupportedError, match="libSQL has no l1 distance"):
            list(raw.annotate(d=L1Distance("a", second)))
    else:
        assert_not_finite_is_last(raw.annotate(d=FUNCTIONS[metric]("a", second)))


def assert_not_finite_is_last(rows: Any) -> None:
    found = list(rows.order_by("d").values_list("d", "group"))
    assert [group for _, group in found] == [0] * len(ORDINARY) + [1] * len(NOT_FINITE)
    assert all(math.isnan(d) for d, group in found if group)
    assert not any(math.isnan(d) for d, group in found if not group)
    assert rows.filter(d__lt=1e300).count() == len(ORDINARY)


def test_not_finite_is_read_found_and_mended(raw: Any) -> None:
    """Read as it is, since an error would keep its row from being mended."""
    stored = [list(map(str, oracle.float32(each))) for each in NOT_FINITE.values()]
    rows = raw.filter(group=1).order_by("pk")
    assert [list(map(str, row.a)) for row in rows] == stored
    found = raw.annotate(d=L2Distance("a", [0, 0, 0])).filter(d__gt=1e300)
    assert list(found.values_list("pk", flat=True)) == list(rows.values_list("pk", flat=True))
    with pytest.raises(ValidationError) as caught, transaction.atomic(raw.db):
        rows[0].save()
    assert caught.value.messages == ["testapp.Full.a: Component 0 is NaN."]
    found.update(a=None)
    assert raw.filter(a=None).count() == len(NOT_FINITE)


OF_VECTORS = {
    "Normalize": Normalize("a"),
    "VectorAdd": VectorAdd("a", [1, 1, 1]),
    "VectorSubtract": VectorSubtract("a", "a"),
    "times little": VectorMultiply("a", [1e-30, 1e-30, 1e-30]),
    "times nothing": VectorMultiply("a", [0, 0, 0]),
}


@pytest.mark.parametrize("name", OF_VECTORS)
def test_no_vector_is_made_of_what_is_not_finite(raw: Any, name: str) -> None:
    """The databases' errors have words of their own."""
    for row in raw.filter(group=1):
        with pytest.raises(DatabaseError), transaction.atomic(raw.db):
            list(raw.filter(pk=row.pk).values_list(OF_VECTORS[name]))


@pytest.mark.parametrize("aggregate", [VectorSum, VectorAvg])
def test_no_mean_is_made_of_what_is_not_finite(raw: Any, aggregate: Any) -> None:
    for row in raw.filter(group=1):
        rows = raw.filter(Q(pk=row.pk) | Q(group=0))
        with pytest.raises(DatabaseError), transaction.atomic(raw.db):
            rows.aggregate(x=aggregate("a"))


@pytest.mark.parametrize("function", [CosineSimilarity, InnerProduct])
def test_similarities_of_what_is_not_finite_are_last(raw: Any, function: Any) -> None:
    found = list(raw.annotate(s=function("a", QUERY)).order_by("-s").values_list("s", "group"))
    assert [group for _, group in found] == [0] * len(ORDINARY) + [1] * len(NOT_FINITE)
    assert all(math.isnan(s) for s, group in found if group)
    assert raw.annotate(s=function("a", QUERY)).filter(s__gte=-1e300).count() == len(ORDINARY)


@pytest.mark.parametrize("second", [QUERY, F("b")], ids=["value", "column"])
def test_similarity_of_a_zero_vector(alias: str, second: Any) -> None:
    rows = Full.objects.using(alias)
    for vector in ([0, 0, 0], *ORDINARY.values(), None):
        rows.create(a=vector, b=QUERY)
    found = rows.annotate(s=CosineSimilarity("a", second))
    assert found.filter(s__gte=-1).count() == len(ORDINARY)
    assert found.filter(s__gte=0.8).count() == 2
    assert math.isnan(found.get(a=[0, 0, 0]).s)
    assert found.get(a=None).s is None
    ordered = list(found.filter(a__isnull=False).order_by("-s").values_list("a", flat=True))
    assert ordered[-1] == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("second", [[1, 0, 0], F("b")], ids=["value", "column"])
def test_exact_products(alias: str, second: Any) -> None:
    """Products of small integers are integers, so that equal ones are equal."""
    rows = Full.objects.using(alias)
    for number in range(1, 40):
        rows.create(a=[1, number, -number], b=[1, 0, 0])
    found = rows.annotate(p=MaxInnerProduct("a", second))
    if alias == "libsql":
        assert [row.p for row in found] == pytest.approx([-1.0] * 39, abs=1e-5)
    else:
        assert {row.p for row in found} == {-1.0}
        assert found.filter(p__lte=-1).count() == 39


@pytest.mark.parametrize("alias", NO_NAN, indirect=True)
def test_cosines_in_range(alias: str) -> None:
    """One expression tells distances from what float32 makes of short and long vectors."""
    random = np.random.default_rng(7)
    inside = [0.0, 0.5, 1.5, 2.0, -9e-4, 2.0009, 1 - 6e-8, *random.uniform(0, 2, 500)]
    outside = ["1.0", "-0.0011", "2.0011", "1e30", "-16.0", "9e999", "-9e999", "NULL"]
    with connections[alias].cursor() as cursor:

        def found(distance: str, *params: float) -> Any:
            sql = COSINE_IN_RANGE.replace("{distance}", distance)
            cursor.execute(f"SELECT {sql}", params)
            return cursor.fetchone()[0]

        for number in map(float, np.float32(inside)):
            assert found("%s", number) == pytest.approx(number, abs=3e-16, rel=0)
        for number in (0.0, 0.5, 1.5, 2.0):
            assert found("%s", number) == number
        assert [found(each) for each in outside] == [None] * len(outside)


@pytest.mark.parametrize("alias", NO_NAN, indirect=True)
def test_right_angles_of_long_vectors(alias: str) -> None:
    """A cosine of 0 is what is left of products that overflow, and what it is."""
    rows = Full.objects.using(alias)
    vectors = [[0.0, 1.0, 0.0], [0.0, 1e20, 0.0], [1e20, 1e20, 0.0], [0.0, 1e-30, 0.0]]
    for vector in vectors:
        rows.create(a=vector)
    found = rows.annotate(d=CosineDistance("a", [1.0, 0.0, 0.0])).order_by("pk")
    assert [row.d for row in found] == pytest.approx([1.0, 1.0, 1 - math.sqrt(0.5), 1.0], abs=1e-6)
