"""Statements of searches on PostgreSQL are written once, and serve other vectors."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from django.db import connections
from django.db.migrations import AddField, AddIndex
from django.db.models import F, Q
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from dorm_vector import HnswIndex, models, nearest
from dorm_vector.engines import engine_for
from dorm_vector.engines.base import statements
from dorm_vector.search.query import Search
from tests.support import oracle
from tests.support.planner import forced
from tests.support.schema import Schema

ROWS = 3000
VECTORS = np.random.default_rng(5).normal(size=(ROWS, 3)).astype("f4")
QUERIES = np.random.default_rng(6).normal(size=(4, 3)).astype("f4")

Shape = Callable[[Any], Any]

#: What may be made of a search for ten rows, and one for all, each in another form.
WRITTEN: dict[str, Shape] = {
    "rows": lambda found: found[:10],
    "ten from the third": lambda found: found[2:12],
    "five": lambda found: found[:5],
    "only": lambda found: found.only("category")[:10],
    "defer": lambda found: found.defer("embedding")[:10],
    "keys": lambda found: found.values_list("pk", flat=True)[:10],
    "keys and distances": lambda found: found.values_list("pk", "distance")[:10],
    "distances and keys": lambda found: found.values_list("distance", "pk")[:10],
    "values": lambda found: found.values("category", "pk")[:10],
    "no key": lambda found: found.values_list("category")[:10],
}
#: What has no form.
NOT_WRITTEN: dict[str, Shape] = {
    "filter": lambda found: found.filter(category__lt=8)[:10],
    "annotation": lambda found: found.annotate(next=F("category") + 1)[:10],
    "other column": lambda found: found.values_list("pk", F("category") * 2)[:10],
    "extra": lambda found: found.extra(select={"one": "1"})[:10],
    "distinct": lambda found: found.distinct()[:10],
    "conditions": lambda found: found.filter(Q(category=1) | Q(category=2))[:10],
    "reversed": lambda found: found.reverse()[:10],
    "other order": lambda found: found.order_by("category")[:10],
    "all": lambda found: found,
}


@pytest.fixture
def rows(scratch: Callable[..., Any]) -> Iterator[Any]:
    with scratch().cursor() as cursor:
        cursor.execute("CREATE EXTENSION vector")
    table = Schema("scratch")
    table.model.objects.using("scratch").bulk_create(
        table.model(embedding=vector, category=number % 10) for number, vector in enumerate(VECTORS)
    )
    for metric in ("l2", "cosine"):
        index = HnswIndex(fields=["embedding"], name=f"thing_{metric}", metric=metric)
        table.run(AddIndex("Thing", index))
    with connections["scratch"].cursor() as cursor:
        cursor.execute("ANALYZE shop_thing")
    with forced("scratch"):
        yield table.model.objects.using("scratch")


def kept() -> int:
    return len(engine_for(connections["scratch"]).search_statements)


def forget() -> None:
    engine_for(connections["scratch"]).search_statements = statements.Statements()


def shown(found: Any) -> list[Any]:
    """The rows as they compare: fields that are not deferred, and what is annotated."""
    return [
        {name: value for name, value in vars(row).items() if name != "_state"}
        if hasattr(row, "_state")
        else row
        for row in found
    ]


@pytest.mark.parametrize("metric", ["l2", "cosine"])
def test_the_same_rows_by_a_statement_that_is_there(rows: Any, metric: str) -> None:
    def found(query: Any) -> dict[str, list[Any]]:
        search = nearest(rows, "embedding", query, metric=metric)
        return {name: shown(shape(search)) for name, shape in WRITTEN.items()}

    expected = []
    for query in QUERIES:
        forget()
        expected.append(found(query))
    assert kept() == len(WRITTEN)
    with CaptureQueriesContext(connections["scratch"]) as queries:
        assert [found(query) for query in QUERIES] == expected
    assert kept() == len(WRITTEN)
    assert len(queries) == len(QUERIES) * len(WRITTEN)


def test_distances_are_to_the_vector_at_hand(rows: Any) -> None:
    for query in QUERIES:
        found = nearest(rows, "embedding", query, metric="cosine", k=10)
        for row in found:
            true = oracle.cosine(VECTORS[row.category :: 10][(row.pk - 1) // 10], query)
            assert row.distance == pytest.approx(true, abs=1e-6)
    assert kept() == 1


def test_other_queries_have_no_form(rows: Any) -> None:
    list(nearest(rows, "embedding", QUERIES[0], metric="l2", k=10))
    for name, shape in NOT_WRITTEN.items():
        for query in QUERIES:
            list(shape(nearest(rows, "embedding", query, metric="l2")))
        assert kept() == 1, name


@pytest.mark.parametrize("option", [{"exact": True}, {"ef_search": 200}, {"recall": "high"}])
def test_options_that_change_what_is_sent(rows: Any, option: dict[str, Any]) -> None:
    list(nearest(rows, "embedding", QUERIES[0], metric="l2", k=10))
    with CaptureQueriesContext(connections["scratch"]) as before:
        list(nearest(rows, "embedding", QUERIES[1], metric="l2", k=10))
    with CaptureQueriesContext(connections["scratch"]) as after:
        list(nearest(rows, "embedding", QUERIES[1], metric="l2", k=10, **option))
    assert (kept(), len(before)) == (1, 1)
    assert [each["sql"] for each in before] != [each["sql"] for each in after]


def test_every_option_is_known() -> None:
    """Each field of a search is a part of the form, or keeps it from having one."""
    in_form = {"annotation", "indexes", "max_distance"}
    assert {field.name for field in dataclasses.fields(Search)} == {
        *in_form,
        *statements.OTHERWISE,
    }


def test_max_distance(rows: Any) -> None:
    """A statement is the same for each number, and another one than without any."""
    search = nearest(rows, "embedding", QUERIES[0], metric="l2", k=10)
    distances = [row.distance for row in search]
    for count in (2, 5, 8):
        found = nearest(
            rows, "embedding", QUERIES[0], metric="l2", k=10, max_distance=distances[count - 1]
        )
        assert [row.distance for row in found] == distances[:count]
    assert kept() == 2


def test_a_table_that_loses_its_rows(rows: Any) -> None:
    search = nearest(rows, "embedding", QUERIES[0], metric="l2")
    keys = [row.pk for row in search[:10]]
    assert kept() == 1
    rows.filter(pk__in=keys[:5]).delete()
    assert [row.pk for row in search.all()[:5]] == keys[5:]
    rows.exclude(pk__in=keys[5:8]).delete()
    assert [row.pk for row in search.all()[:10]] == keys[5:8]
    assert [row.pk for row in search.all()[:10]] == keys[5:8]
    rows.all().delete()
    assert list(search.all()[:10]) == []


def test_after_an_error(rows: Any) -> None:
    search = nearest(rows, "embedding", QUERIES[0], metric="l2", k=10)
    keys = [row.pk for row in search]
    connection = connections["scratch"]

    def fail(*args: Any) -> Any:
        raise ZeroDivisionError

    with connection.execute_wrapper(fail), pytest.raises(ZeroDivisionError):
        list(search.all())
    assert [row.pk for row in search.all()] == keys


@pytest.mark.parametrize("keys_alone", [False, True])
def test_a_database_in_relaxed_order(rows: Any, keys_alone: bool) -> None:
    """Whose index delivers rows unsorted; a statement that is there sorts them no less."""
    table = Schema("scratch", "unsorted")
    table.run(AddField("thing", "wide", models.VectorField(32, null=True)))
    table.run(AddIndex("thing", HnswIndex(fields=["wide"], name="wide_l2", metric="l2")))
    vectors = np.random.default_rng(8).normal(size=(2000, 32)).astype("f4")
    found = table.model.objects.using("scratch")
    found.bulk_create(table.model(pk=key, wide=each) for key, each in enumerate(vectors))
    with connections["scratch"].cursor() as cursor:
        cursor.execute("ANALYZE unsorted")
        for setting in ("iterative_scan = relaxed_order", "ef_search = 10"):
            cursor.execute(f"SET LOCAL hnsw.{setting}")
    columns = ["pk"] if keys_alone else ["pk", "distance"]
    with override_settings(DORM_VECTOR={"ITERATIVE_SCAN": None}):
        for query in np.random.default_rng(9).normal(size=(100, 32)):
            read = nearest(found, "wide", query, metric="l2").values_list(*columns)[:39]
            distances = [float(np.linalg.norm(vectors[row[0]] - query)) for row in read]
            assert distances == pytest.approx(sorted(distances), abs=1e-5)
            assert len(distances) == 39
        assert kept() == (not keys_alone)


@override_settings(DEBUG=True)
def test_none_are_kept_under_debug(rows: Any) -> None:
    list(nearest(rows, "embedding", QUERIES[0], metric="l2", k=10))
    assert kept() == 0


def test_no_more_are_kept_than_a_number(rows: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statements, "KEPT", 3)
    for k in range(1, 8):
        assert len(nearest(rows, "embedding", QUERIES[0], metric="l2", k=k)) == k
    assert kept() == 3
