"""The first rows of a search on PostgreSQL are read alone, and are those of the whole sequence."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from django.db import connections, transaction
from django.db import models as django_models
from django.db.migrations import AddIndex, CreateModel
from django.test.utils import CaptureQueriesContext

from dorm_vector import HnswIndex, models, nearest, search_params
from tests.support import oracle
from tests.support.planner import forced
from tests.support.schema import Schema

ROWS = 1500
# Of so few numbers that many rows are equally near.
VECTORS = np.random.default_rng(8).integers(-6, 7, size=(ROWS, 3)).astype("f4")
QUERY = [0.5, -0.5, 1.0]
KEYS = {
    "integer": models.BigAutoField(primary_key=True),
    "uuid": models.UUIDField(primary_key=True),
    "text": models.CharField(max_length=40, primary_key=True),
}
#: What may be selected; with the key and the distance, or without one of them or both.
SHAPES: dict[str, Callable[[Any], Any]] = {
    "rows": lambda found: [row.pk for row in found],
    "key": lambda found: list(found.values_list("pk", flat=True)),
    "deferred": lambda found: [row.pk for row in found.defer("embedding", "category")],
    "key and distance": lambda found: [key for _, key in found.values_list("distance", "pk")],
    "others": lambda found: [number for (number,) in found.values_list("category")],
    "distances": lambda found: list(found.values_list("distance", flat=True)),
}
SLICES = ((0, 10), (0, 1), (0, 3), (2, 7), (5, 25), (9, 11), (10, 20), (19, 30), (28, 33), (0, 40))


def key_of(kind: str, number: int) -> Any:
    if kind == "integer":
        return number + 1
    digits = f"{(number * 7919) % ROWS:032d}"
    return digits if kind == "uuid" else f"{digits} é"


@pytest.fixture(params=list(KEYS))
def rows(request: Any, scratch: Callable[..., Any]) -> Iterator[Any]:
    with scratch().cursor() as cursor:
        cursor.execute("CREATE EXTENSION vector")
    kind = request.param
    fields = [
        ("id", KEYS[kind]),
        ("category", django_models.IntegerField(default=0)),
        ("embedding", models.VectorField(3)),
    ]
    table = Schema("scratch")
    table.run(CreateModel("Keyed", fields))
    table.run(AddIndex("Keyed", HnswIndex(fields=["embedding"], name="i", metric="l2")))
    model: Any = table.state.apps.get_model("shop", "Keyed")
    objects = model.objects.using("scratch")
    objects.bulk_create(
        model(pk=key_of(kind, number), embedding=vector, category=number)
        for number, vector in enumerate(VECTORS)
    )
    with connections["scratch"].cursor() as cursor:
        cursor.execute("ANALYZE shop_keyed")
    with forced("scratch"):
        yield objects


@pytest.mark.parametrize("shape", list(SHAPES))
def test_any_slice_is_part_of_one_sequence(rows: Any, shape: str) -> None:
    read, search = SHAPES[shape], nearest(rows, "embedding", QUERY)
    sequence = read(search[:120])
    for low, high in SLICES * 2:  # the second time by a statement that is there
        assert read(search[low:high]) == sequence[low:high]


def test_equal_distances_are_in_the_order_of_keys(rows: Any) -> None:
    for query in VECTORS[:40] + 0.5:
        found = list(nearest(rows, "embedding", query, k=10))
        expected = [(oracle.l2(VECTORS[row.category], query), row.category) for row in found]
        assert [row.distance for row in found] == pytest.approx([one for one, _ in expected])
        by_key = list(rows.filter(pk__in=[row.pk for row in found]).order_by("pk"))
        places = {row.pk: place for place, row in enumerate(by_key)}
        order = [(row.distance, places[row.pk]) for row in found]
        assert order == sorted(order)


@pytest.mark.parametrize("equal", [8, 45, 200])
def test_more_equal_rows_than_are_read(rows: Any, equal: int) -> None:
    near = rows.filter(category__lt=equal)
    near.update(embedding=QUERY)
    search = nearest(rows, "embedding", QUERY)
    sequence = [row.pk for row in search[:100]]
    first = min(equal, 39)
    assert sequence[:first] == list(near.order_by("pk").values_list("pk", flat=True)[:first])
    for low in range(0, 100, 5):
        assert [row.pk for row in search[low : low + 5]] == sequence[low : low + 5]


@pytest.mark.parametrize("gone", [4, 17, 25, 38])
def test_an_index_that_holds_fewer_rows(rows: Any, gone: int) -> None:
    """Rows that are deleted stay in the index, whose candidates they are until it is vacuumed."""
    with transaction.atomic("scratch"):
        nearest_rows = nearest(rows, "embedding", QUERY, exact=True, k=gone)
        rows.filter(pk__in=[row.pk for row in nearest_rows]).delete()
        with search_params("scratch", iterative_scan="off"):
            search = nearest(rows, "embedding", QUERY)
            whole = [row.pk for row in search[:60]]
            assert len(set(whole)) == 60
            for size in (1, 4, 10, 15):
                pages = [search[low : low + size] for low in range(0, 60, size)]
                assert [row.pk for page in pages for row in page] == whole


def test_no_more_rows_are_visited_than_are_wanted(rows: Any) -> None:
    search = nearest(rows, "embedding", [7.1, 6.3, -7.7])
    assert visited(lambda: list(search[:10])) <= 20
    assert visited(lambda: list(search[:30].values_list("pk"))) <= 40


def test_equally_near_rows_take_a_second_statement(rows: Any) -> None:
    equal, apart = (query_with(rows, is_equal) for is_equal in (True, False))
    for query, expected in ((apart, 1), (equal, 2), (apart, 1), (equal, 2)):
        with CaptureQueriesContext(connections["scratch"]) as queries:
            found = list(nearest(rows, "embedding", query, k=10))
        assert len(found) == 10
        assert len(queries) == expected


def test_planned_as_the_whole_block_is(rows: Any) -> None:
    limits = set()
    for low, high in ((0, 1), (0, 10), (10, 20), (20, 30)):
        with CaptureQueriesContext(connections["scratch"]) as queries:
            list(nearest(rows, "embedding", QUERY)[low:high])
        limits |= set(re.findall(r"LIMIT (\d+)\) AS", queries[0]["sql"]))
    assert limits == {"44"}


def test_a_filter_whose_rows_are_sorted_takes_one_statement_and_its_plan(rows: Any) -> None:
    with connections["scratch"].cursor() as cursor:
        for setting in ("enable_seqscan", "enable_sort"):
            cursor.execute(f"SET LOCAL {setting} = on")
    few = rows.filter(category__lt=95)
    expected = sorted(oracle.l2(vector, QUERY) for vector in VECTORS[:95])
    for low, high in ((0, 100), (0, 60), (30, 80), (90, 200)):
        with CaptureQueriesContext(connections["scratch"]) as queries:
            found = list(nearest(few, "embedding", QUERY)[low:high])
        assert [row.distance for row in found] == pytest.approx(expected[low:high])
        assert [query["sql"].split()[0] for query in queries] == ["EXPLAIN", "SELECT"]


def query_with(rows: Any, is_equal: bool) -> Any:
    """A query whose tenth and eleventh row are equally near, or are not."""
    for query in np.random.default_rng(9).normal(size=(200, 3)) * 3:
        tenth, eleventh = nearest(rows, "embedding", query, exact=True)[9:11]
        if (tenth.distance == eleventh.distance) is is_equal:
            return query
    raise AssertionError("no such query")


def visited(search: Callable[[], Any]) -> int:
    """How many rows of the table an index delivers for a search of one statement."""
    with CaptureQueriesContext(connections["scratch"]) as queries:
        search()
    (query,) = queries
    with connections["scratch"].cursor() as cursor:
        cursor.execute("EXPLAIN (ANALYZE, FORMAT JSON) " + query["sql"].replace("%", "%%"))
        (plan,) = cursor.fetchone()
    node = (json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"]
    while "Plans" in node:
        (node,) = node["Plans"]
    assert node["Index Name"] == "i"
    return int(node["Actual Rows"])
