"""Arrays of vectors on PostgreSQL: written, found and read, whenever the extension was made."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from django.contrib.postgres.aggregates import ArrayAgg
from django.contrib.postgres.expressions import ArraySubquery
from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.operations import CreateExtension
from django.core.exceptions import ValidationError
from django.db import connections, migrations
from django.db.models import F, Value
from pgvector import SparseVector

from dorm_vector import VectorIn, codecs, models
from tests.support.paths import ROOT
from tests.testapp.models import Arrays, Item


@pytest.fixture
def rows(db: None) -> Any:
    rows = Arrays.objects.using("postgresql")
    rows.create(
        vectors=[[1, 1, 1], [1, 2, 3]],
        halves=[[1, 2, 0.5]],
        bits=["1010101010", "0000000000"],
    )
    rows.create(vectors=[[1, 1, 1]], halves=[[4, 4, 4], [1, 2, 0.5]], bits=["1111111111"])
    rows.create(vectors=[])
    rows.create(vectors=None)
    return rows


def found(rows: Any, **lookups: Any) -> list[int]:
    everything = list(rows.order_by("pk").values_list("pk", flat=True))
    return [everything.index(row.pk) for row in rows.filter(**lookups).order_by("pk")]


class TestLookups:
    @pytest.mark.parametrize(
        ("lookup", "value", "expected"),
        [
            ("vectors", [[1, 1, 1]], [1]),
            ("vectors", [np.ones(3)], [1]),
            ("vectors", [Value([1, 1, 1], models.VectorField(3))], [1]),
            ("vectors", [], [2]),
            ("vectors__contains", [[1, 1, 1]], [0, 1]),
            ("vectors__contains", ([1, 2, 3], [1, 1, 1]), [0]),
            ("vectors__contained_by", [[1, 1, 1], [5, 5, 5]], [1, 2]),
            ("vectors__overlap", [[1, 2, 3], [9, 9, 9]], [0]),
            ("vectors__len", 2, [0]),
            ("vectors__len", 0, [2]),
            ("vectors__isnull", True, [3]),
            ("vectors__0", [1, 1, 1], [0, 1]),
            ("vectors__1", [1, 2, 3], [0]),
            ("vectors__1__in", [[1, 2, 3], [0, 0, 0]], [0]),
            ("vectors__0_1", [[1, 1, 1]], [0, 1]),
            ("vectors__in", [[[1, 1, 1]], []], [1, 2]),
            ("halves", [[1, 2, 0.5]], [0]),
            ("halves__contains", [[1, 2, 0.5]], [0, 1]),
            ("halves__overlap", [[4, 4, 4]], [1]),
            ("bits", ["1111111111"], [1]),
            ("bits__contains", ["0000000000"], [0]),
            ("bits__contains", [np.ones(10, bool)], [1]),
            ("bits__contained_by", ["1111111111"], [1]),
        ],
    )
    def test_rows_found(self, rows: Any, lookup: str, value: Any, expected: list[int]) -> None:
        assert found(rows, **{lookup: value}) == expected

    def test_wrong_length(self, rows: Any) -> None:
        with pytest.raises(ValidationError, match="Expected 3 dimensions, not 2"):
            rows.filter(vectors__contains=[[1, 2]])

    def test_pickled(self, rows: Any) -> None:
        query = pickle.loads(pickle.dumps(rows.filter(vectors__overlap=[[1, 2, 3]]).query))
        again = rows.all()
        again.query = query
        assert again.count() == 1

    def test_other_arrays_are_compared_as_before(self) -> None:
        lhs = Value(None, ArrayField(models.IntegerField()))
        lookup = lhs.get_lookup("contains")(lhs, [1, 2])
        values = [value.value for value in lookup.rhs.get_source_expressions()]
        assert values == [1, 2]


class TestReading:
    def test_transforms(self, rows: Any) -> None:
        row = rows.order_by("pk").values("vectors__0", "vectors__1_2", "halves__0").first()
        assert row == {
            "vectors__0": [1.0, 1.0, 1.0],
            "vectors__1_2": [[1.0, 2.0, 3.0]],
            "halves__0": [1.0, 2.0, 0.5],
        }

    def test_null_elements(self, rows: Any) -> None:
        row = rows.create(vectors=[None, [1, 2, 3]], halves=[None], bits=[None, "1" * 10])
        row.refresh_from_db()
        assert row.vectors == [None, [1.0, 2.0, 3.0]]
        assert (row.halves, row.bits) == ([None], [None, "1" * 10])
        assert rows.get(vectors=[None, [1, 2, 3]]).pk == row.pk

    def test_aggregates(self, db: None) -> None:
        items = Item.objects.using("postgresql")
        items.create(name="a", embedding=[1, 2, 3])
        items.create(name="b")
        items.create(name="c", embedding=[0.1, 0, 0])
        first, second = [1.0, 2.0, 3.0], np.asarray([0.1, 0, 0], "f4").tolist()
        found = items.aggregate(a=ArrayAgg("embedding", order_by="name"))
        assert found == {"a": [first, None, second]}
        inner = items.order_by("-name").values("embedding")
        assert items.annotate(a=ArraySubquery(inner)).first().a == [second, None, first]
        grouped = items.values("category").annotate(a=ArrayAgg("embedding", order_by="name"))
        assert grouped.filter(a__contains=[[1, 2, 3]]).get()["a"] == [first, None, second]

    def test_raw_sql(self, rows: Any) -> None:
        sql = "SELECT * FROM testapp_arrays ORDER BY id"
        assert rows.raw(sql)[0].vectors == [[1.0, 1.0, 1.0], [1.0, 2.0, 3.0]]


@pytest.fixture
def model(scratch: Any) -> Any:
    """
    A model with arrays of every kind, in a database whose extension another package made.

    On the connection that has been open since before.
    """

    class Things(models.Model):
        vectors = ArrayField(models.VectorField(3), null=True)
        numpy = ArrayField(models.VectorField(3, numpy=True), null=True)
        sparse = ArrayField(models.SparseVectorField(5), null=True)
        nested = ArrayField(ArrayField(models.VectorField(2)), null=True)

        class Meta:
            app_label = "shop"

    connection = scratch()
    connection.ensure_connection()
    with connection.schema_editor() as editor:
        state = migrations.state.ProjectState()
        CreateExtension("vector").database_forwards("shop", editor, state, state)
        editor.create_model(Things)
    return Things


class TestKinds:
    def test_on_the_connection_that_was_open_before(self, model: Any) -> None:
        rows = model.objects.using("scratch")
        sparse = SparseVector({0: 1.5, 3: 2.0}, 5)
        nested = [[[1, 2], [3, 4]], [[5, 6], [7, 8]]]
        rows.create(
            vectors=[[1, 2, 3]], numpy=[[1, 2, 3], None], sparse=[sparse, None], nested=nested
        )
        (row,) = rows.all()
        assert row.vectors == [[1.0, 2.0, 3.0]]
        assert type(row.numpy[0]).__mro__[-2] is np.ndarray
        assert (row.numpy[0].tolist(), row.numpy[1]) == ([1.0, 2.0, 3.0], None)
        assert (row.sparse[0].to_text(), row.sparse[1]) == (sparse.to_text(), None)
        assert row.nested == nested
        row.save()
        for lookups in (
            {"sparse": [sparse, None]},
            {"sparse__contains": [{0: 1.5, 3: 2.0}]},
            {"nested": nested},
            {"nested__contains": [[[5, 6]]]},
            {"nested__1__0": [5, 6]},
            {"numpy__overlap": [np.asarray([1, 2, 3], "f4")]},
        ):
            assert rows.filter(**lookups).count() == 1, lookups
        connections["scratch"].close()  # and on a later connection
        assert rows.get().nested == nested


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{}", []),
        ("{NULL}", [None]),
        ('{"[1,2]",NULL,"[3]"}', ["[1,2]", None, "[3]"]),
        ('{{"[1,2]"},{NULL}}', [["[1,2]"], [None]]),
        ('[0:1]={"[1]","[2]"}', ["[1]", "[2]"]),
        ("{101,NULL}", ["101", None]),
        ('{"{1:0.5,2:3}/5"}', ["{1:0.5,2:3}/5"]),
        (r'{"a\"b\\c","NULL",""}', ['a"b\\c', "NULL", ""]),
    ],
)
def test_array_text(text: str, expected: list[Any]) -> None:
    assert codecs.from_array_text(text) == expected


class TestIn:
    def test_vectors_beside_expressions(self, alias: str) -> None:
        items = Item.objects.using(alias)
        items.create(name="equal", embedding=[1, 2, 3], other=[1, 2, 3])
        items.create(name="named", embedding=[4, 5, 6], other=[0, 0, 0])
        items.create(name="neither", embedding=[7, 8, 9], other=[0, 0, 0])
        items.create(name="null", other=[0, 0, 0])
        wanted = [F("other"), [4, 5, 6], None]
        found = items.filter(embedding__in=wanted).order_by("pk")
        assert [item.name for item in found] == ["equal", "named"]
        excluded = items.exclude(embedding__in=wanted)
        assert "neither" in {item.name for item in excluded}

    def test_values_only(self, alias: str) -> None:
        items = Item.objects.using(alias)
        items.create(name="named", embedding=[4, 5, 6])
        assert (
            items.filter(embedding__in=(vector for vector in ([4, 5, 6], [1, 1, 1]))).count() == 1
        )
        assert items.filter(embedding__in=[]).count() == 0

    def test_a_subquery(self, alias: str) -> None:
        items = Item.objects.using(alias)
        items.create(name="a", embedding=[4, 5, 6], other=[4, 5, 6])
        assert items.filter(embedding__in=items.values("other")).count() == 1

    def test_is_a_lookup_of_every_kind(self) -> None:
        for field in (models.VectorField(3), models.BitField(length=3), models.HalfVectorField(3)):
            assert field.get_lookup("in") is VectorIn


def test_psycopg2() -> None:
    """Django takes psycopg where it is installed, so the other driver has a process of its own."""
    pytest.importorskip("psycopg2")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.support.psycopg2_process"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "driver": "psycopg2",
        "scan": ["strict_order", "strict_order"],
        "rolled back": True,
        "read": [[[1.0, 2.0, 3.0], None], ["101", None], [[[1.0, 2.0]]]],
        "found": [1, 1, 1],
        "aggregate": [[1.0, 2.0, 3.0]],
        "loaded": [
            "bulk_copy() inserts as bulk_create() does: a binary COPY needs psycopg 3.",
            1,
            [[4.0, 5.0, 0.0], [4.0, 5.0, 1.0], [4.0, 5.0, 2.0]],
        ],
    }
