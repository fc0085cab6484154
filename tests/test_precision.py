"""precision="half": an index over float16, for embeddings of more than 2,000 dimensions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from django.conf import settings
from django.db import migrations

from dorm_vector import (
    CosineDistance,
    HnswIndex,
    IvfflatIndex,
    VectorIndex,
    models,
    nearest,
)
from dorm_vector.testing import explain_nearest
from tests.support import oracle
from tests.support.matrix import only
from tests.support.planner import forced
from tests.support.schema import Schema, hnsw

DIMENSIONS = 3072
ROWS = 300
VECTORS = np.random.default_rng(21).normal(size=(ROWS, DIMENSIONS)).astype("f4")


class TestDeclaration:
    def test_deconstruct(self) -> None:
        index = hnsw(metric="cosine", precision="half")
        assert index.deconstruct()[2] == {
            "fields": ["embedding"],
            "name": "i",
            "metric": "cosine",
            "precision": "half",
        }
        assert index.clone() == index != hnsw(metric="cosine")
        assert hnsw(opclass="halfvec_cosine_ops", precision="half") == index

    @pytest.mark.parametrize("precision", ["byte", "double", True])
    def test_unknown(self, precision: Any) -> None:
        message = (
            'HnswIndex(name=\'i\') takes precision="half" or "bit" over a field, '
            f"not {precision!r}."
        )
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            hnsw(precision=precision)

    def test_distances(self) -> None:
        with pytest.raises(ValueError, match='precision takes "half", "bit" or None'):
            CosineDistance("embedding", [1, 2, 3], precision="byte")
        distance = CosineDistance("embedding", [1, 2, 3], precision="half")
        assert distance != CosineDistance("embedding", [1, 2, 3])
        assert distance.deconstruct()[2] == {"precision": "half"}


@pytest.fixture(scope="module", params=list(settings.ENGINES), ids=list(settings.ENGINES.values()))
def schema(
    request: pytest.FixtureRequest, django_db_setup: None, django_db_blocker: Any
) -> Iterator[Schema]:
    with django_db_blocker.unblock():
        schema = Schema(request.param)
        field = models.VectorField(DIMENSIONS, null=True)
        schema.run(migrations.AddField("thing", "vector", field))
        manager = schema.model.objects.using(request.param)
        manager.bulk_create(
            [
                *(schema.model(category=n % 2, vector=v) for n, v in enumerate(VECTORS)),
                schema.model(vector=None),
                schema.model(vector=np.zeros(DIMENSIONS)),
            ]
        )
        index = VectorIndex(fields=["vector"], name="v", metric="cosine", precision="half")
        schema.run(migrations.AddIndex("thing", index))
        with schema.connection.cursor() as cursor:
            cursor.execute("ANALYZE shop_thing")
        yield schema
        with schema.connection.schema_editor() as editor:
            editor.delete_model(schema.model)


@pytest.mark.django_db(databases="__all__", transaction=True)
class TestSearch:
    def order(self, query: Any, kept: Any = lambda n: True) -> list[int]:
        rows = [n for n in range(ROWS) if kept(n)]
        return [n + 1 for n in sorted(rows, key=lambda n: oracle.cosine(VECTORS[n], query))]

    @pytest.mark.parametrize("k", [1, 10, 100])
    def test_true_distances_in_true_order(self, schema: Schema, k: int) -> None:
        query = VECTORS[7] + 0.5 * np.random.default_rng(22).normal(size=DIMENSIONS)
        manager = schema.model.objects.using(schema.connection.alias)
        with forced(manager.db):
            queryset = nearest(manager, "vector", query, k=k)
            assert explain_nearest(queryset).index == "v"
            found = list(queryset)
        assert [thing.pk for thing in found] == self.order(query)[:k]
        for thing in found:
            true = oracle.cosine(VECTORS[thing.pk - 1], query)
            assert thing.distance == pytest.approx(true, abs=1e-5)

    def test_filtered(self, schema: Schema) -> None:
        manager = schema.model.objects.using(schema.connection.alias)
        with forced(manager.db):
            found = nearest(manager.filter(category=1), "vector", VECTORS[3], k=20)
            wanted = self.order(VECTORS[3], lambda n: n % 2 == 1)
            assert [thing.pk for thing in found] == wanted[:20]
            assert found.count() == 20

    def test_more_than_there_are(self, schema: Schema) -> None:
        manager = schema.model.objects.using(schema.connection.alias)
        with forced(manager.db):
            assert len(nearest(manager, "vector", VECTORS[0], k=1000)) == ROWS
            assert len(nearest(manager, "vector", VECTORS[0])[290:400]) == 10

    def test_an_instance_and_a_subquery(self, schema: Schema) -> None:
        manager = schema.model.objects.using(schema.connection.alias)
        with forced(manager.db):
            found = nearest(manager, "vector", manager.get(pk=4), k=5)
            assert [thing.pk for thing in found] == self.order(VECTORS[3], lambda n: n != 3)[:5]
            inner = nearest(manager, "vector", VECTORS[3], k=5).values("pk")
            assert manager.filter(pk__in=inner).count() == 5

    def test_plain_distances_use_it_when_they_say_so(self, schema: Schema) -> None:
        manager = schema.model.objects.using(schema.connection.alias)
        half = CosineDistance("vector", VECTORS[0], precision="half")
        with forced(manager.db):
            found = manager.filter(vector__isnull=False).annotate(d=half).order_by("d")[:5]
            assert [thing.pk for thing in found] == self.order(VECTORS[0])[:5]
            if schema.connection.vendor == "postgresql":
                assert explain_nearest(found).index == "v"
                plain = manager.order_by(CosineDistance("vector", VECTORS[0]))[:5]
                assert explain_nearest(plain).reason == (
                    "v has the precision half: use nearest(), or order by a distance with "
                    'precision="half".'
                )

    @only("postgresql", fixture="schema")
    def test_sqlmigrate_text(self, schema: Schema) -> None:
        options = {"fields": ["vector"], "name": "w", "precision": "half"}
        for index, written in (
            (HnswIndex(metric="l1", m=8, **options), "hnsw {} halfvec_l1_ops) WITH (m = 8)"),
            (
                IvfflatIndex(metric="ip", lists=9, **options),
                "ivfflat {} halfvec_ip_ops) WITH (lists = 9)",
            ),
        ):
            sql = schema.sql(migrations.AddIndex("thing", index))
            columns = written.format(f'(("vector"::halfvec({DIMENSIONS}))')
            assert sql == f'CREATE INDEX "w" ON "shop_thing" USING {columns};'
