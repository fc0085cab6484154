"""The first block of a search on PostgreSQL goes on where one scan gives more of its rows."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from django.db import connections, transaction
from django.db.migrations import AddIndex
from django.test.utils import CaptureQueriesContext

from dorm_vector import HnswIndex, nearest, search_params
from tests.support import oracle
from tests.support.planner import forced
from tests.support.schema import Schema

ROWS = 3000
VECTORS = np.random.default_rng(15).normal(size=(ROWS, 3)).round(2)
QUERY = [0.3, -0.2, 0.5]
SLICES = ((0, 100), (40, 50), (35, 60), (0, 50), (50, 60), (99, 125), (110, 130), (0, 125), (0, 41))
#: What may be in force while a scan is not known to go on, or ends early.
SETTINGS: dict[str, dict[str, Any]] = {
    "relaxed": {"iterative_scan": "relaxed_order"},
    "off": {"iterative_scan": "off"},
    "few": {"max_scan_tuples": 1},
    "some": {"max_scan_tuples": 100},
    "many candidates": {"ef_search": 300},
}


@pytest.fixture
def rows(scratch: Callable[..., Any]) -> Iterator[Any]:
    with scratch().cursor() as cursor:
        cursor.execute("CREATE EXTENSION vector")
    table = Schema("scratch")
    table.model.objects.using("scratch").bulk_create(
        table.model(embedding=vector, category=number) for number, vector in enumerate(VECTORS)
    )
    # With so few links a scan finds many rows too late.
    options = {"metric": "l2", "m": 2, "ef_construction": 6}
    table.run(AddIndex("Thing", HnswIndex(fields=["embedding"], name="i", **options)))
    with connections["scratch"].cursor() as cursor:
        cursor.execute("ANALYZE shop_thing")
    with forced("scratch"):
        yield table.model.objects.using("scratch")


def keys(found: Any) -> list[int]:
    return [row.pk for row in found]


def assert_one_sequence(search: Any, sizes: tuple[int, ...] = (10, 15)) -> None:
    sequence = keys(search[:250])
    assert len(set(sequence)) == 250
    for low, high in SLICES * 2:  # the second time by a statement that is there
        assert keys(search[low:high]) == sequence[low:high]
        assert list(search.values_list("pk", flat=True)[low:high]) == sequence[low:high]
    for size in sizes:
        pages = [keys(search[low : low + size]) for low in range(0, 150, size)]
        assert list(itertools.chain(*pages)) == sequence[:150]


def test_slices_are_parts_of_one_sequence(rows: Any) -> None:
    assert_one_sequence(nearest(rows, "embedding", QUERY, metric="l2"))


def test_from_an_instance(rows: Any) -> None:
    instance = rows.all()[77]
    search = nearest(rows, "embedding", instance, metric="l2")
    assert instance.pk not in keys(search[:250])
    assert_one_sequence(search)


@pytest.mark.parametrize("name", list(SETTINGS))
def test_with_other_settings(rows: Any, name: str) -> None:
    with search_params("scratch", **SETTINGS[name]):
        assert_one_sequence(nearest(rows, "embedding", QUERY, metric="l2"))


@pytest.mark.parametrize("share", [2, 5])
def test_after_rows_were_deleted(rows: Any, share: int) -> None:
    """They stay among the candidates of the index until it is vacuumed."""
    with transaction.atomic("scratch"):
        rows.filter(pk__in=[pk for pk in keys(rows.all()) if pk % share == 0]).delete()
        assert_one_sequence(nearest(rows, "embedding", QUERY, metric="l2"))


def test_within_a_distance(rows: Any) -> None:
    distances = np.sort([oracle.l2(vector, QUERY) for vector in VECTORS])
    search = nearest(rows, "embedding", QUERY, metric="l2", max_distance=float(distances[90]))
    found = keys(search[:200])
    for low, high in SLICES:
        assert keys(search[low:high]) == found[low:high]


def test_a_hundred_rows_take_one_scan_and_no_settings(rows: Any) -> None:
    for number in (0, 1):
        with CaptureQueriesContext(connections["scratch"]) as queries:
            found = nearest(rows, "embedding", QUERY, metric="l2", k=100)
            distances = [row.distance for row in found]
        assert len(distances) == 100
        assert distances == sorted(distances)
        words = [query["sql"].split()[0] for query in queries]
        assert words == ["SELECT", "EXPLAIN", "SELECT"], number


def test_fifty_rows_take_the_mode_and_one_scan(rows: Any) -> None:
    for _ in range(2):
        with CaptureQueriesContext(connections["scratch"]) as queries:
            assert len(nearest(rows, "embedding", QUERY, metric="l2")[40:50]) == 10
        assert [query["sql"].split()[0] for query in queries] == ["SELECT", "SELECT"]


def test_a_statement_that_is_kept_is_planned_otherwise(rows: Any) -> None:
    """The planner may turn to reading the table for many rows before it does so for a few."""
    search = nearest(rows, "embedding", QUERY, metric="l2")
    by_index = keys(search[:100])
    with transaction.atomic("scratch"):
        with connections["scratch"].cursor() as cursor:
            cursor.execute("SET LOCAL enable_indexscan = off")
            cursor.execute("SET LOCAL enable_seqscan = on")
            cursor.execute("SET LOCAL enable_sort = on")
        assert keys(search[:100]) == keys(
            nearest(rows, "embedding", QUERY, metric="l2", exact=True)[:100]
        )
        transaction.set_rollback(True, "scratch")
    assert keys(search[:100]) == by_index


def test_the_plan_is_that_of_the_scan(rows: Any) -> None:
    plan = nearest(rows, "embedding", QUERY, metric="l2")[:100].explain()
    assert "Index Scan using i" in plan
    with CaptureQueriesContext(connections["scratch"]) as queries:
        nearest(rows, "embedding", QUERY, metric="l2")[:100].explain()
    assert not [query["sql"] for query in queries if query["sql"].startswith("SET")]
