"""VectorIndex over vectors of half precision and over bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from django.conf import settings
from django.db import migrations

from dorm_vector import HnswIndex, IvfflatIndex, VectorIndex, models, nearest
from dorm_vector.testing import explain_nearest
from tests.support import oracle
from tests.support.planner import forced
from tests.support.schema import Schema

DIMENSIONS, ROWS = 37, 400
VECTORS = np.random.default_rng(32).normal(size=(ROWS, DIMENSIONS)).astype("f4")
ALIASES = list(settings.ENGINES)


class TestKinds:
    """A portable index over another kind of vectors is built where it can be, and never in vain."""

    def search(self, alias: str, field: Any, vectors: Any, query: Any, **options: Any) -> Any:
        schema = Schema(alias)
        schema.run(migrations.AddField("thing", "kind", field))
        try:
            index = VectorIndex(fields=["kind"], name="k", metric=options.pop("metric"))
            schema.run(migrations.AddIndex("thing", index))
            manager = schema.model.objects.using(alias)
            manager.bulk_create(schema.model(kind=vector) for vector in vectors)
            with forced(alias):
                queryset = nearest(manager, "kind", query, k=5)
                return list(queryset), explain_nearest(queryset)
        finally:
            with schema.connection.schema_editor() as editor:
                editor.delete_model(schema.model)

    @pytest.mark.django_db(databases="__all__", transaction=True)
    @pytest.mark.parametrize("alias", ALIASES)
    def test_half(self, alias: str) -> None:
        field = models.HalfVectorField(DIMENSIONS, null=True)
        found, plan = self.search(alias, field, VECTORS, VECTORS[5], metric="cosine")
        halves = VECTORS.astype("f2").astype("f8")
        wanted = sorted(range(ROWS), key=lambda n: oracle.cosine(halves[n], halves[5]))[:5]
        assert plan.index == "k"
        assert found[0].pk == 6
        assert len({thing.pk for thing in found} & {n + 1 for n in wanted}) >= 4

    @pytest.mark.django_db(databases="__all__", transaction=True)
    @pytest.mark.parametrize("alias", ALIASES)
    def test_bits(self, alias: str) -> None:
        field = models.BitField(length=DIMENSIONS, null=True)
        bits = ["".join("1" if x > 0 else "0" for x in vector) for vector in VECTORS]
        found, plan = self.search(alias, field, bits, bits[5], metric="hamming")
        wanted = sorted(sum(x != y for x, y in zip(b, bits[5], strict=True)) for b in bits)[:5]
        assert [thing.distance for thing in found] == wanted
        maker = {"default": "sqlite-vec", "libsql": "libSQL"}
        if alias in maker:
            assert plan.reason == f"{maker[alias]} has no index of bit vectors: k is not built."
        else:
            assert plan.index == "k"


@pytest.mark.django_db(databases=["postgresql"], transaction=True)
class TestOperatorClasses:
    """PostgreSQL builds an index of every kind, method and metric that is said to be there."""

    FIELDS = {
        "vector": models.VectorField(5, null=True),
        "halfvec": models.HalfVectorField(5, null=True),
        "bit": models.BitField(length=5, null=True),
        "sparsevec": models.SparseVectorField(5, null=True),
    }

    @pytest.mark.parametrize("method", [HnswIndex, IvfflatIndex])
    @pytest.mark.parametrize("kind", FIELDS)
    def test_built(self, method: Any, kind: str) -> None:
        schema = Schema("postgresql")
        schema.run(migrations.AddField("thing", "kind", self.FIELDS[kind].clone()))
        options = {"lists": 2} if method is IvfflatIndex else {}
        metrics = method.metrics.get(kind, ())
        try:
            for metric in metrics:
                index = method(fields=["kind"], name=f"of_{metric}", metric=metric, **options)
                schema.run(migrations.AddIndex("thing", index))
            built = {name for name in schema.indexes() if name.startswith("of_")}
            assert built == {f"of_{metric}" for metric in metrics}
        finally:
            with schema.connection.schema_editor() as editor:
                editor.delete_model(schema.model)
