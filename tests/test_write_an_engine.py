"""An engine written from the documentation alone: what its three attributes are enough for."""

from __future__ import annotations

import inspect
import re
import sys
import types
from collections.abc import Iterator
from io import StringIO
from typing import Any

import numpy as np
import pytest
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.db import NotSupportedError, connections, migrations
from django.db.models import F
from django.db.models.functions import Cast

from dorm_vector import (
    CosineDistance,
    CosineSimilarity,
    HnswIndex,
    L1Distance,
    L2Distance,
    MaxInnerProduct,
    VectorAdd,
    VectorExtension,
    VectorIndex,
    VectorNorm,
    VectorSum,
    bulk_copy,
    engine_for,
    models,
    nearest,
    search_params,
)
from dorm_vector.checks import check_not_built
from dorm_vector.engines import Engine
from dorm_vector.testing import explain_nearest
from tests.support.blocks import blocks
from tests.support.paths import DOCS
from tests.support.schema import Schema

VECTORS: list[Any] = [[1, 2, 3], [3, 2, 1], [-1, 0, 5], [0, 0, 0], None, [2, 0.1, 0.3]]
QUERY = [1.0, 2.0, 4.0]


@pytest.fixture(scope="module")
def plain() -> Any:
    """The module ``palette.plain`` of docs/engines.rst."""
    (block,) = (each for each in blocks(DOCS / "engines.rst") if each.caption == "palette/plain.py")
    module = types.ModuleType("palette.plain")
    exec(compile(block.source, str(block.page), "exec"), module.__dict__)
    return module


@pytest.fixture
def schema(
    plain: Any, open_database: Any, settings: Any, tmp_path: Any, monkeypatch: Any
) -> Schema:
    monkeypatch.setitem(sys.modules, "palette", types.ModuleType("palette"))
    monkeypatch.setitem(sys.modules, "palette.plain", plain)
    settings.DORM_VECTOR = {"ENGINES": {"scratch": "palette.plain.PlainSQLiteEngine"}}
    open_database("default", NAME=str(tmp_path / "db"))
    return Schema("scratch")


@pytest.fixture
def rows(schema: Schema) -> Any:
    rows = schema.model.objects.using("scratch")
    for vector in VECTORS:
        rows.create(embedding=vector)
    return rows


def test_three_attributes_are_enough(plain: Any) -> None:
    """Besides ``prepare()``, which is not of the contract, but of this database."""
    cls = plain.PlainSQLiteEngine
    own = {name for name in vars(cls) if not name.startswith("__")}
    assert own == {"name", "column_types", "distances", "prepare"}
    assert cls.__bases__ == (Engine,)


def test_the_engine_is_in_use(schema: Schema) -> None:
    assert engine_for(schema.connection).name == "plain"
    assert "blob" in schema.sql(
        migrations.AddField("thing", "other", models.VectorField(3, null=True))
    )


def test_save_read_and_update(rows: Any) -> None:
    assert rows.get(pk=6).embedding == np.array([2, 0.1, 0.3], "f4").tolist()
    assert rows.get(pk=5).embedding is None
    thing = rows.get(pk=1)
    thing.embedding = np.array([4, 5, 6])
    thing.save()
    assert rows.filter(pk=2).update(embedding="[7,8,9]") == 1
    assert list(rows.filter(pk__lt=3).values_list("embedding", flat=True).order_by("pk")) == [
        [4.0, 5.0, 6.0],
        [7.0, 8.0, 9.0],
    ]


def test_bad_values(rows: Any) -> None:
    with pytest.raises(ValidationError) as caught:
        rows.create(embedding=[1, 2])
    assert caught.value.messages == ["shop.Thing.embedding: Expected 3 dimensions, not 2."]
    with (
        rows.model._meta.apps.get_model("shop", "Thing")._meta.apps
        and connections["scratch"].cursor() as cursor
    ):
        cursor.execute("UPDATE shop_thing SET embedding = x'0000' WHERE id = 1")
    with pytest.raises(ValidationError) as caught:
        rows.get(pk=1)
    assert caught.value.messages == ["shop.Thing.embedding: Expected 3 dimensions, not 2 bytes."]


def test_filters(rows: Any) -> None:
    assert rows.get(embedding=[3, 2, 1]).pk == 2
    assert {row.pk for row in rows.filter(embedding__in=[[1, 2, 3], [-1, 0, 5]])} == {1, 3}
    assert rows.get(embedding__isnull=True).pk == 5
    assert rows.exclude(embedding=None).count() == 5


@pytest.mark.parametrize("metric", ["l2", "cosine"])
def test_distances(rows: Any, metric: str) -> None:
    def expected(vector: Any) -> float:
        a, b = np.array(vector, "f8"), np.array(QUERY)
        if metric == "l2":
            return np.linalg.norm(a - b)
        return 1 - a @ b / (np.linalg.norm(a) * np.linalg.norm(b)) if a.any() else float("nan")

    function = {"l2": L2Distance, "cosine": CosineDistance}[metric]
    assert rows.annotate(d=function("embedding", QUERY)).get(embedding=None).d is None
    for operands in (("embedding", QUERY), (F("embedding"), np.array(QUERY))):
        found = rows.exclude(embedding=None).annotate(d=function(*operands))
        for distance, vector in found.values_list("d", "embedding"):
            assert distance == pytest.approx(expected(vector), rel=1e-5, nan_ok=True)


@pytest.mark.parametrize(("metric", "order"), [("l2", [1, 3, 2, 6, 4]), ("cosine", [1, 3, 2, 6])])
def test_nearest(rows: Any, metric: str, order: list[int]) -> None:
    found = nearest(rows, "embedding", QUERY, k=10, metric=metric)
    assert [row.pk for row in found] == order
    assert [row.pk for row in nearest(rows, "embedding", QUERY, metric=metric)[1:3]] == order[1:3]
    assert found.count() == len(order)
    near = found[1].distance + 1e-9
    within = nearest(rows, "embedding", QUERY, metric=metric, max_distance=near)
    assert [row.pk for row in within] == order[:2]
    assert list(nearest(rows, "embedding", rows.get(pk=1), k=1, metric=metric)) != [rows.get(pk=1)]
    assert rows.filter(pk__in=found.values("pk")).count() == len(order)
    assert list(nearest(rows, "embedding", None, metric=metric)) == []


def test_zero_has_no_cosine(rows: Any) -> None:
    assert list(nearest(rows, "embedding", [0, 0, 0], metric="cosine")) == []
    by_column = nearest(rows.exclude(pk=3), "embedding", F("embedding"), metric="cosine")
    assert {row.pk for row in by_column} == {1, 2, 6}
    last = rows.exclude(embedding=None).order_by(CosineDistance("embedding", QUERY)).last()
    assert last.pk == 4


def test_similarity(rows: Any) -> None:
    found = rows.annotate(s=CosineSimilarity("embedding", QUERY)).values_list("pk", "s")
    assert dict(found)[1] == pytest.approx(17 / np.sqrt(14 * 21), rel=1e-5)
    assert np.isnan(dict(found)[4])


def test_indexes_are_declared_and_not_built(schema: Schema, install: Any) -> None:
    rows = schema.model.objects.using("scratch")
    rows.create(embedding=[1, 2, 3])
    for index in (
        VectorIndex(fields=["embedding"], name="v", metric="l2", m=8, max_neighbors=10),
        HnswIndex(fields=["embedding"], name="h", metric="cosine"),
    ):
        assert schema.sql(migrations.AddIndex("thing", index)).rstrip(";") == (
            f"SELECT 'SQLite has no {index.method} index: {index.name} is not built'"
        )
        schema.run(migrations.AddIndex("thing", index))
    rows = schema.model.objects.using("scratch")
    found = nearest(rows, "embedding", QUERY, k=1, ef_search=50)
    assert [row.pk for row in found] == [1]
    assert explain_nearest(found).reason == "SQLite has no vector index: v is not built."
    install(schema.model)
    said = check_not_built(databases=["scratch"])
    assert [message.msg for message in said if message.obj is schema.model] == [
        f"SQLite has no {method} index: {name!r} is not built on the database 'scratch', and "
        "searches read every row."
        for name, method in (("v", "vector"), ("h", "hnsw"))
    ]
    schema.run(migrations.RenameIndex("thing", new_name="w", old_name="v"))
    schema.run(migrations.RemoveIndex("thing", "w"))
    schema.run(migrations.AlterField("thing", "category", models.IntegerField(default=1)))
    schema.run(migrations.DeleteModel("Thing"))


REFUSED = [
    (
        lambda rows: rows.annotate(x=VectorNorm("embedding")),
        "SQLite has no function norm of vector.",
    ),
    (
        lambda rows: rows.annotate(x=VectorAdd("embedding", QUERY)),
        "SQLite has no function add of vector.",
    ),
    (lambda rows: rows.order_by(L1Distance("embedding", QUERY)), "SQLite has no l1 distance."),
    (
        lambda rows: nearest(rows, "embedding", QUERY, metric="ip"),
        "SQLite has no ip distance.",
    ),
    (
        lambda rows: rows.annotate(x=MaxInnerProduct("embedding", F("embedding"))),
        "SQLite has no ip distance.",
    ),
    (
        lambda rows: rows.annotate(x=Cast("embedding", models.TextField())),
        "SQLite stores vectors as bytes, which Cast would not convert: use VectorToJSON.",
    ),
]


@pytest.mark.parametrize(("query", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_what_is_missing_is_refused(rows: Any, query: Any, message: str) -> None:
    with pytest.raises(NotSupportedError) as caught:
        list(query(rows))
    assert str(caught.value) == message


def test_a_missing_aggregate(rows: Any) -> None:
    with pytest.raises(NotSupportedError) as caught:
        rows.aggregate(x=VectorSum("embedding"))
    assert str(caught.value) == "SQLite has no aggregate sum of vector."


@pytest.mark.parametrize(
    ("kind", "field"),
    [
        ("halfvec", models.HalfVectorField(3, null=True)),
        ("bit", models.BitField(length=3, null=True)),
        ("sparsevec", models.SparseVectorField(3, null=True)),
    ],
)
def test_other_kinds(schema: Schema, kind: str, field: Any) -> None:
    with pytest.raises(NotSupportedError) as caught:
        schema.run(migrations.AddField("thing", "other", field))
    assert str(caught.value) == (
        f"SQLite has no {kind} columns (database 'scratch'); use VectorField there, or PostgreSQL."
    )


def test_a_norm_that_a_template_needs(rows: Any, plain: Any, monkeypatch: Any) -> None:
    distances = {"ip": "(plain_cosine({a}, {b}) - 1) * {norm_a} * {norm_b}"}
    monkeypatch.setattr(plain.PlainSQLiteEngine, "distances", distances)
    with pytest.raises(NotSupportedError) as caught:
        list(rows.annotate(x=MaxInnerProduct("embedding", QUERY)))
    assert str(caught.value) == "SQLite has no function norm of vector."


def test_loading(rows: Any) -> None:
    made = [rows.model(embedding=[n, 0, 1]) for n in range(10)]
    assert bulk_copy(rows, made, rebuild_indexes=True) == 10
    assert rows.count() == 16
    assert rows.get(embedding=[7, 0, 1]).category == 0
    rows.bulk_create([rows.model(embedding=[n, 1, 1]) for n in range(10)])
    assert rows.filter(embedding=[3, 1, 1]).exists()


def test_the_rest_of_the_app(rows: Any, schema: Schema) -> None:
    with search_params("scratch", ef_search=100, probes=3):
        assert nearest(rows, "embedding", QUERY, k=1).get().pk == 1
    operation = VectorExtension()
    with schema.connection.schema_editor() as editor:
        operation.database_forwards("shop", editor, schema.state, schema.state)
        operation.database_backwards("shop", editor, schema.state, schema.state)
    written = StringIO()
    call_command("inspectdb", "shop_thing", database="scratch", stdout=written)
    assert "embedding = models.BinaryField(" in written.getvalue()
    call_command("check", "--tag", "dorm_vector", "--database", "scratch", stdout=StringIO())


# What the documentation says may be overridden is there, and has that signature.


def documented_methods() -> Iterator[tuple[str, list[str]]]:
    text = (DOCS / "engines.rst").read_text().split("These methods may be overridden:")[1]
    for line in re.findall(r"^(``.*\)``.*)$", text, re.M):
        for name, arguments in re.findall(r"``(\w+)\((.*?)\)``", line):
            yield name, [argument for argument in arguments.split(", ") if argument]


@pytest.mark.parametrize(
    ("name", "arguments"), list(documented_methods()), ids=lambda part: str(part)
)
def test_signatures(name: str, arguments: list[str]) -> None:
    parameters = list(inspect.signature(getattr(Engine, name)).parameters.values())[1:]
    assert [p.name for p in parameters if p.kind is not p.VAR_KEYWORD] == arguments
