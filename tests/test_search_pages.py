"""Pages of PostgreSQL's indexes are parts of one sequence, and locks are on their rows alone."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import psycopg
import pytest
from django.core.paginator import Paginator
from django.db import connections, transaction
from django.db.migrations import AddIndex

from dorm_vector import HnswIndex, IvfflatIndex, nearest
from tests.support.planner import forced
from tests.support.schema import Schema

ROWS = 3000
QUERY = [0.3, -0.2, 0.5]
INDEXES = {
    "whole": HnswIndex(fields=["embedding"], name="i", metric="l2"),
    "half": HnswIndex(fields=["embedding"], name="i", metric="l2", precision="half"),
    "prefix": HnswIndex(fields=["embedding"], name="i", metric="l2", prefix=2),
    "bit": HnswIndex(fields=["embedding"], name="i", metric="cosine", precision="bit"),
    "ivfflat": IvfflatIndex(fields=["embedding"], name="i", metric="l2", lists=30),
}


@pytest.fixture(params=list(INDEXES))
def rows(request: Any, scratch: Callable[..., Any]) -> Iterator[Any]:
    with scratch().cursor() as cursor:
        cursor.execute("CREATE EXTENSION vector")
    table = Schema("scratch")
    vectors = np.random.default_rng(5).normal(size=(ROWS, 3)).round(2)
    table.model.objects.using("scratch").bulk_create(
        table.model(embedding=vector, category=number % 10) for number, vector in enumerate(vectors)
    )
    table.run(AddIndex("Thing", INDEXES[request.param]))
    with connections["scratch"].cursor() as cursor:
        cursor.execute("ANALYZE shop_thing")
    with forced("scratch"):
        yield table.model.objects.using("scratch")


def keys(found: Any) -> list[int]:
    return [row.pk for row in found]


def test_pages_of_the_first_hundred(rows: Any) -> None:
    search = nearest(rows, "embedding", QUERY)
    pages = Paginator(search, 10)
    sequence = [key for number in range(1, 11) for key in keys(pages.page(number))]
    assert len(set(sequence)) == 100
    for low, high in ((0, 100), (0, 30), (35, 45), (39, 41), (95, 100)):
        assert keys(search[low:high]) == sequence[low:high]
        assert list(search.values_list("pk", flat=True)[low:high]) == sequence[low:high]


@pytest.mark.parametrize("size", [130, 500])
def test_no_row_comes_twice(rows: Any, size: int) -> None:
    search = nearest(rows.filter(category__lt=8), "embedding", QUERY).values_list("pk", flat=True)
    pages = [list(search[start : start + size]) for start in range(0, ROWS, size)]
    found = list(itertools.chain(*pages))
    assert len(found) == len(set(found))
    assert set(found) == set(rows.filter(category__lt=8).values_list("pk", flat=True))


def test_pages_from_an_instance(rows: Any) -> None:
    instance = rows.all()[77]
    search = nearest(rows, "embedding", instance)
    found = [key for start in range(0, 120, 12) for key in keys(search[start : start + 12])]
    assert len(set(found)) == 120
    assert instance.pk not in found
    assert keys(search[:120]) == found


def test_pages_within_a_distance(rows: Any) -> None:
    search = nearest(rows, "embedding", QUERY, max_distance=0.4)
    expected = set(keys(nearest(rows, "embedding", QUERY, max_distance=0.4, exact=True)))
    pages = [search[start : start + 15] for start in range(0, len(expected) + 30, 15)]
    found = [key for page in pages for key in keys(page)]
    assert len(found) == len(set(found)) >= 0.97 * len(expected)
    assert set(found) <= expected
    for page in pages:
        distances = [row.distance for row in page]
        assert distances == sorted(distances)


def test_what_a_block_has_missed_comes_last(scratch: Callable[..., Any]) -> None:
    with scratch().cursor() as cursor:
        cursor.execute("CREATE EXTENSION vector")
    table, random = Schema("scratch"), np.random.default_rng(5)
    vectors = random.normal(size=(ROWS, 3))
    rows = table.model.objects.using("scratch")
    rows.bulk_create(table.model(embedding=vector) for vector in vectors)
    # With so few links in the graph, blocks miss a tenth of what later ones find.
    options = {"metric": "l2", "m": 2, "ef_construction": 6}
    table.run(AddIndex("Thing", HnswIndex(fields=["embedding"], name="i", **options)))
    count = 0
    with forced("scratch"):
        for query in random.normal(size=(20, 3)):
            limit = np.sort(np.linalg.norm(vectors - query, axis=1))[150]
            search = nearest(rows, "embedding", query, metric="l2", max_distance=limit)
            found = keys(search[:1000])
            pages = [keys(search[start : start + 30]) for start in range(0, 180, 30)]
            assert sorted(itertools.chain(*pages)) == sorted(found)
            assert found == [row.pk for row in search[:1000].iterator()]
            distances = [row.distance for row in search[:1000]]
            assert distances == sorted(distances)
            assert distances[-1] <= limit * (1 + 1e-6)
            count += len(found)
    assert count > 0.94 * 20 * 151


@pytest.mark.parametrize("part", [slice(3), slice(5, 8), slice(38, 45)])
def test_locks_are_on_the_rows_that_are_returned(rows: Any, part: slice) -> None:
    settings = connections["scratch"].settings_dict
    names = {"dbname": "NAME", "host": "HOST", "port": "PORT", "user": "USER"}
    address = {key: settings[name] for key, name in names.items() if settings[name]}
    with transaction.atomic("scratch"):
        locked = keys(nearest(rows, "embedding", QUERY).select_for_update()[part])
        with psycopg.connect(**address) as other:
            free = other.execute("SELECT id FROM shop_thing FOR UPDATE SKIP LOCKED").fetchall()
        assert len(locked) == part.stop - (part.start or 0)
        assert set(rows.values_list("pk", flat=True)) - {key for (key,) in free} == set(locked)
