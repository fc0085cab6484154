"""The PostgreSQL engine: how connections are prepared, what is read, and the rows one asked for."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from django.db import migrations, transaction
from django.db.models import OuterRef, Subquery
from django.test.utils import CaptureQueriesContext

from dorm_vector import (
    CosineDistance,
    HnswIndex,
    L2Distance,
    VectorExtension,
    conf,
    models,
    nearest,
)
from dorm_vector.testing import explain_nearest
from tests.support.postgres import shown
from tests.support.schema import Schema
from tests.testapp.models import Item


class TestPreparedConnections:
    def test_iterative_scans_are_on(self, scratch: Any) -> None:
        """Also without the extension, as in this empty database."""
        connection = scratch()
        assert shown(connection) == "strict_order"
        connection.close()
        assert shown(connection) == "strict_order"

    @pytest.mark.parametrize("mode", ["off", "relaxed_order", None])
    def test_setting(self, scratch: Any, settings: Any, mode: str | None) -> None:
        settings.DORM_VECTOR = {"ITERATIVE_SCAN": mode}
        assert shown(scratch()) == mode

    def test_with_the_library_loaded_first(self, scratch: Any) -> None:
        connection = scratch(OPTIONS={"options": "-c session_preload_libraries=vector"})
        assert shown(connection) == "strict_order"

    def test_a_server_that_refuses_is_logged(
        self,
        scratch: Any,
        settings: Any,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        monkeypatch.setitem(conf.CHOICES, "ITERATIVE_SCAN", ("refused",))
        settings.DORM_VECTOR = {"ITERATIVE_SCAN": "refused"}
        for autocommit in (True, False):
            connection = scratch(
                OPTIONS={"options": "-c session_preload_libraries=vector"}, AUTOCOMMIT=autocommit
            )
            with caplog.at_level(logging.WARNING, "dorm_vector"):
                assert shown(connection) == "off"
            (record,) = caplog.records
            assert record.getMessage().startswith(
                "hnsw.iterative_scan cannot be set on the database 'scratch', so that filtered "
                "searches may return too few rows: invalid value for parameter"
            )
            caplog.clear()

    def test_without_autocommit(self, scratch: Any) -> None:
        connection = scratch(AUTOCOMMIT=False)
        connection.connect()
        connection.connection.rollback()
        assert shown(connection) == "strict_order"

    def test_queries_are_neither_counted_nor_logged(self, scratch: Any) -> None:
        connection = scratch()
        with CaptureQueriesContext(connection) as captured, connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        assert [query["sql"] for query in captured] == ["SELECT 1"]

    def test_pooled_connections(self, scratch: Any) -> None:
        connection = scratch(OPTIONS={"pool": {"min_size": 1, "max_size": 1}})
        for _ in range(3):
            assert shown(connection) == "strict_order"
            connection.close()

    def test_in_a_transaction_that_rolls_back(self, scratch: Any) -> None:
        connection = scratch()
        with transaction.atomic(using="scratch"):
            shown(connection)
            transaction.set_rollback(True, using="scratch")
        assert shown(connection) == "strict_order"


class TestSQL:
    def sql(self, queryset: Any) -> tuple[str, Any]:
        return queryset.query.get_compiler("postgresql").as_sql()

    def test_columns_are_read_in_binary(self) -> None:
        sql, _ = self.sql(Item.objects.values("embedding"))
        assert sql == (
            'SELECT vector_send("testapp_item"."embedding") AS "embedding" FROM "testapp_item"'
        )

    def test_subqueries_deliver_vectors(self) -> None:
        inner = Item.objects.filter(pk=OuterRef("pk")).values("other")
        sql, _ = self.sql(Item.objects.values(o=Subquery(inner)))
        assert sql == (
            'SELECT vector_send((SELECT U0."other" AS "other" FROM "testapp_item" U0 '
            'WHERE U0."id" = ("testapp_item"."id"))) AS "o" FROM "testapp_item"'
        ).replace("U0", '"U0"' if '"U0"' in sql else "U0")

    def test_distances_are_bare_operators(self) -> None:
        sql, params = self.sql(Item.objects.values(d=CosineDistance("embedding", [0.1, 2, 3])))
        assert sql == (
            'SELECT ("testapp_item"."embedding" <=> %s::vector) AS "d" FROM "testapp_item"'
        )
        # The spelling depends on whether orjson is installed.
        assert json.loads(params[0]) == pytest.approx([0.1, 2, 3], rel=1e-7)


@pytest.mark.django_db(databases=["postgresql"])
class TestServerSideBinding:
    def test_everything_still_works(self, scratch: Any) -> None:
        connection = scratch(OPTIONS={"server_side_binding": True})
        with connection.schema_editor() as editor:
            VectorExtension().database_forwards("shop", editor, None, None)
            editor.create_model(Item)
        items = Item.objects.using("scratch")
        items.bulk_create(Item(name=f"{n}", embedding=[n, 0, 0]) for n in range(3))
        items.filter(name="0").update(embedding=[9, 0, 0])
        nearest = items.annotate(d=L2Distance("embedding", [1, 0, 0])).order_by("d")
        assert [(item.name, item.d) for item in nearest] == [("1", 0), ("2", 1), ("0", 8)]
        assert items.get(embedding=[2, 0, 0]).embedding == [2, 0, 0]
        assert items.filter(embedding__in=[[2, 0, 0], [1, 0, 0]]).count() == 2


ROWS = 20_000


@pytest.fixture(scope="module")
def schema(django_db_setup: None, django_db_blocker: Any) -> Iterator[Schema]:
    """A table that is filled once, with its index built afterwards."""
    with django_db_blocker.unblock():
        schema = Schema("postgresql")
        schema.run(migrations.AddField("thing", "vector", models.VectorField(16, null=True)))
        fill(schema)
        for name, metric in (("thing_hnsw", "l2"), ("thing_cosine", "cosine")):
            index = HnswIndex(fields=["vector"], name=name, metric=metric)
            schema.run(migrations.AddIndex("thing", index))
        with schema.connection.cursor() as cursor:
            cursor.execute("ANALYZE shop_thing")
        yield schema
        with schema.connection.schema_editor() as editor:
            editor.delete_model(schema.model)


def fill(schema: Schema) -> None:
    things = (
        schema.model(category=position % 100, vector=vector)
        for position, vector in enumerate(np.random.default_rng(7).normal(size=(ROWS, 16)))
    )
    schema.model.objects.using("postgresql").bulk_create(things, batch_size=5000)


@pytest.mark.django_db(databases=["postgresql"], transaction=True)
class TestIterativeScans:
    """20,000 rows behind an HNSW index: the plain Django query returns what it was asked for."""

    def nearest(self, schema: Any, query: Any, **filters: Any) -> Any:
        manager = schema.model.objects.using("postgresql").filter(**filters)
        return manager.order_by(L2Distance("vector", query))

    def plans_with(self, schema: Any, queryset: Any, count: int) -> list[int]:
        """The ids that come through the index; the planner may not look elsewhere."""
        with transaction.atomic(using="postgresql"), schema.connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off")
            cursor.execute("SET LOCAL enable_sort = off")
            assert "Index Scan using thing_hnsw" in queryset[:count].explain()
            return [thing.pk for thing in queryset[:count]]

    def exactly(self, schema: Any, queryset: Any, count: int) -> list[int]:
        with transaction.atomic(using="postgresql"), schema.connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_indexscan = off")
            assert "thing_hnsw" not in queryset[:count].explain()
            return [thing.pk for thing in queryset[:count]]

    @pytest.mark.parametrize(
        ("count", "filters"), [(100, {}), (10, {"category": 5}), (100, {"category": 5})]
    )
    def test_rows_that_were_asked_for(
        self, schema: Any, count: int, filters: dict[str, int]
    ) -> None:
        queries = np.random.default_rng(8).normal(size=(10, 16))
        agreed = 0
        for query in queries:
            queryset = self.nearest(schema, query, **filters)
            found = self.plans_with(schema, queryset, count)
            assert len(found) == len(set(found)) == count
            agreed += len(set(found) & set(self.exactly(schema, queryset, count)))
        assert agreed >= 0.95 * count * len(queries)

    @pytest.mark.parametrize("metric", ["l2", "cosine"])
    def test_the_planner_chooses_the_index_by_itself(self, schema: Any, metric: str) -> None:
        """The conditions of nearest() must not look to it as if few rows fulfilled them."""
        manager = schema.model.objects.using("postgresql")
        index = {"l2": "thing_hnsw", "cosine": "thing_cosine"}[metric]
        for found in (
            nearest(manager, "vector", [1] * 16, metric=metric, k=10),
            nearest(manager, "vector", [1] * 16, metric=metric, max_distance=1, k=10),
            nearest(manager, "vector", manager.first(), metric=metric, k=10),
            nearest(manager.filter(category__gt=5), "vector", [1] * 16, metric=metric, k=10),
        ):
            assert explain_nearest(found).index == index

    def test_pgvectors_default_comes_back_short(self, schema: Any) -> None:
        """What the prepared connection protects from; were it no more so, it could go."""
        queryset = self.nearest(schema, [0.5] * 16)
        with schema.connection.cursor() as cursor:
            cursor.execute("SET hnsw.iterative_scan = off")
            try:
                assert len(self.plans_with(schema, queryset, 100)) == 40
            finally:
                cursor.execute("SET hnsw.iterative_scan = strict_order")
