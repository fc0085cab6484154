"""A metric and functions of a project's own: one subclass each, in one file."""

from __future__ import annotations

import math
import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from django.core.exceptions import FieldError
from django.db import NotSupportedError, connections
from django.db.models import FloatField, Q

from dorm_vector import HnswIndex, VectorNorm, VectorSum, nearest
from dorm_vector.distances import CosineDistance, Distance, L2Distance
from dorm_vector.functions import VectorFunction
from dorm_vector.registry import METRICS
from tests.testapp.models import Bits, Full, Item


@pytest.fixture(autouse=True)
def own_metrics() -> Iterator[None]:
    known = dict(METRICS)
    yield
    METRICS.clear()
    METRICS.update(known)


def squared() -> type[Distance]:
    """The squared Euclidean distance."""

    class SquaredDistance(Distance):
        """The squared Euclidean distance."""

        metric = "squared"
        kinds = ("vector",)
        sql = {
            "postgresql": "power({a} <-> {b}, 2)",
            "sqlite": "pow(vec_distance_l2({a}, {b}), 2)",
            "libsql": "power(vector_distance_l2({a}, {b}), 2)",
        }
        indexed_by = {"hnsw": ("vector",)}
        operator_class = "squared_ops"

    return SquaredDistance


def angle() -> type[Distance]:
    """The angle between two vectors, which zero has with none."""

    class AngleDistance(Distance):
        metric = "angle"
        kinds = ("vector",)
        sql = {
            "postgresql": "acos(greatest(-1, least(1, 1 - ({a} <=> {b}))))",
            "sqlite": "acos(max(-1, min(1, 1 - vec_distance_cosine({a}, {b}))))",
            "libsql": "acos(max(-1, min(1, 1 - vector_distance_cos({a}, {b}))))",
        }
        may_be_undefined = True
        undefined_at_zero = True

    return AngleDistance


@pytest.fixture
def rows(alias: str) -> Any:
    rows = Item.objects.using(alias)
    vectors = {"a": [1, 2, 3], "b": [3, 2, 1], "c": [-1, 0, 5], "zero": [0, 0, 0], "none": None}
    for name, vector in vectors.items():
        rows.create(name=name, embedding=vector)
    return rows


def test_annotate_filter_and_order(rows: Any) -> None:
    distance = squared()("embedding", [1, 2, 4])
    found = rows.annotate(d=distance).filter(d__lt=20).order_by("d").values_list("name", "d")
    expected = {"a": 1.0, "b": 13.0, "c": 9.0}
    assert dict(found) == pytest.approx(expected)
    assert [name for name, _ in found] == ["a", "c", "b"]
    assert rows.annotate(d=distance).get(name="none").d is None


def test_nearest(rows: Any) -> None:
    squared()
    found = nearest(rows, "embedding", [1, 2, 4], k=3, metric="squared", max_distance=20)
    assert [(row.name, row.distance) for row in found] == [
        ("a", pytest.approx(1.0)),
        ("c", pytest.approx(9.0)),
        ("b", pytest.approx(13.0)),
    ]


def test_undefined_distances_are_left_out(rows: Any) -> None:
    angle()
    found = nearest(rows, "embedding", [1, 2, 4], k=5, metric="angle")
    expected = {
        name: math.acos(
            np.dot(vector, [1, 2, 4]) / np.linalg.norm(vector) / np.linalg.norm([1, 2, 4])
        )
        for name, vector in {"a": [1, 2, 3], "b": [3, 2, 1], "c": [-1, 0, 5]}.items()
    }
    assert {row.name: row.distance for row in found} == pytest.approx(expected, rel=1e-4)
    assert list(nearest(rows, "embedding", [0, 0, 0], metric="angle")) == []
    inside = Item.objects.using(rows.db).get(name="a")
    assert nearest(rows, "embedding", inside, metric="angle").first().name == "c"


def test_of_other_columns(alias: str) -> None:
    rows = Full.objects.using(alias)
    rows.create(a=[1, 2, 3], b=[1, 2, 5])
    assert rows.annotate(d=squared()("a", "b")).get().d == pytest.approx(4.0)
    assert rows.filter(Q(pk__in=rows.alias(d=squared()("a", "b")).filter(d=4.0))).count() == 1


def test_a_kind_that_lacks_it() -> None:
    with pytest.raises(FieldError) as caught:
        Bits.objects.annotate(d=squared()("a", "1100110011"))
    assert (
        str(caught.value)
        == "SquaredDistance does not compare bit vectors; use one for hamming, jaccard."
    )


def test_an_engine_that_lacks_it(rows: Any) -> None:
    class Nowhere(Distance):
        metric = "nowhere"
        sql = {"another": "x({a}, {b})"}

    name = connections[rows.db].display_name
    for queryset in (
        rows.annotate(d=Nowhere("embedding", [1, 2, 3])),
        nearest(rows, "embedding", [1, 2, 3], metric="nowhere"),
    ):
        with pytest.raises(NotSupportedError) as caught:
            list(queryset)
        assert str(caught.value) == f"{name} has no nowhere distance."


def test_kinds_know_it() -> None:
    from dorm_vector.kinds import KINDS

    squared()
    assert KINDS["vector"].metrics == ["cosine", "l2", "ip", "l1", "squared"]
    assert KINDS["bit"].metrics == ["hamming", "jaccard"]


def test_an_index_serves_it() -> None:
    with pytest.raises(ValueError, match="has no metric 'squared'"):
        HnswIndex(fields=["embedding"], name="i", metric="squared")
    squared()
    index = HnswIndex(fields=["embedding"], name="i", metric="squared")
    assert index.opclasses_for(Item) == ["vector_squared_ops"]
    assert index.deconstruct()[2]["metric"] == "squared"
    assert (
        HnswIndex(fields=["embedding"], name="i", opclass="vector_squared_ops").metric == "squared"
    )


def test_without_a_metric() -> None:
    class Nameless(Distance):
        pass

    with pytest.raises(TypeError) as caught:
        Nameless("embedding", [1, 2, 3])
    assert str(caught.value) == (
        "Nameless needs a metric: name one in the class, such as 'chebyshev'."
    )


def test_a_metric_has_one_class() -> None:
    with pytest.raises(ValueError, match="l2") as caught:

        class Second(Distance):
            metric = "l2"

    assert str(caught.value) == (
        "test_a_metric_has_one_class.<locals>.Second needs another name than 'l2', which "
        "L2Distance has."
    )
    assert METRICS["l2"] is L2Distance


def test_a_module_may_be_loaded_again() -> None:
    first, second = squared(), squared()
    assert first is not second
    assert METRICS["squared"] is second


def test_a_subclass_keeps_the_metric() -> None:
    class Renamed(CosineDistance):
        pass

    class Restated(CosineDistance):
        metric = "cosine"

    assert METRICS["cosine"] is CosineDistance
    assert Renamed("embedding", [1, 2, 3]).metric == "cosine"
    assert Restated("embedding", [1, 2, 3]).metric == "cosine"


class Largest(VectorFunction):
    """A function of a project's own."""

    name = "chebyshev_norm"
    output_field = FloatField()
    sql = {
        "postgresql": {"vector": "(SELECT max(abs(x)) FROM unnest({a}::real[]) AS x)"},
        "sqlite": {"vector": "vec_distance_l1({a}, zeroblob(length({a})))"},
    }


class Count(VectorSum):
    """An aggregate of a project's own, over the vectors' first components."""

    name = "Count"
    engine_name = "own_count"
    output_field = FloatField()
    sql = {
        name: {"vector": f"count({{a}}){{filter}} * {factor}"}
        for name, factor in {"postgresql": 1, "sqlite": 1, "libsql": 1}.items()
    }


def test_functions(rows: Any) -> None:
    expected = {"default": 6.0, "postgresql": 3.0}
    queryset = rows.annotate(x=Largest("embedding"), norm=VectorNorm("embedding"))
    if rows.db in expected:
        assert queryset.get(name="a").x == pytest.approx(expected[rows.db])
    else:
        with pytest.raises(NotSupportedError) as caught:
            queryset.get(name="a")
        assert str(caught.value) == "libSQL has no function chebyshev_norm of vector."


def test_aggregates(rows: Any) -> None:
    assert rows.aggregate(x=Count("embedding"))["x"] == 4
    assert rows.aggregate(x=Count("embedding", filter=Q(name="a")))["x"] == 1


class PickledDistance(Distance):
    metric = "pickled"
    sql = dict.fromkeys(("postgresql", "sqlite", "libsql"), "(1.0 + 7 %% 4)")


def test_percent_signs_and_pickles(rows: Any) -> None:
    METRICS["pickled"] = PickledDistance
    found = nearest(rows, "embedding", [1, 2, 3], k=2, metric="pickled")
    assert [row.distance for row in found] == [4.0, 4.0]
    again = rows.all()
    again.query = pickle.loads(pickle.dumps(found.query))
    assert list(again) == list(found)


del METRICS["pickled"]
