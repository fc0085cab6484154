"""nearest() over 20,000 rows: always as many as were asked for, on every page, however filtered."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from django.conf import settings
from django.db import connections, migrations, transaction
from django.test.utils import CaptureQueriesContext

from dorm_vector import VectorIndex, models, nearest, search_params
from dorm_vector.testing import explain_nearest
from tests.support.matrix import only
from tests.support.planner import forced
from tests.support.schema import Schema

ROWS = 20_000
VECTORS = np.random.default_rng(11).normal(size=(ROWS, 16)).astype("f4").astype("f8")
# A row's category is its position modulo 1,000: the first so many categories are this part of all.
SELECTIVITY = {"all": 1000, "10%": 100, "1%": 10, "0.1%": 1}
QUERY = np.random.default_rng(12).normal(size=16)


@pytest.fixture(scope="module", params=list(settings.ENGINES), ids=list(settings.ENGINES.values()))
def things(request: pytest.FixtureRequest, django_db_setup: None, django_db_blocker: Any) -> Any:
    """The manager of a table with a vector index, in one database."""
    with django_db_blocker.unblock():
        schema = Schema(request.param)
        schema.run(migrations.AddField("thing", "vector", models.VectorField(16, null=True)))
        manager = schema.model.objects.using(request.param)
        rows = (
            schema.model(pk=position + 1, category=position % 1000, vector=vector)
            for position, vector in enumerate(VECTORS)
        )
        manager.bulk_create(rows, batch_size=5000)
        index = VectorIndex(fields=["vector"], name="thing_vector", metric="l2")
        schema.run(migrations.AddIndex("thing", index))
        with schema.connection.cursor() as cursor:
            cursor.execute("ANALYZE shop_thing")
        yield schema.model.objects.using(request.param)
        with schema.connection.schema_editor() as editor:
            editor.delete_model(schema.model)


def expected(categories: int) -> list[int]:
    """The primary keys of the matching rows, nearest first, by numpy."""
    distances = np.linalg.norm(VECTORS - QUERY.astype("f4"), axis=1)
    return [int(n) + 1 for n in np.argsort(distances, kind="stable") if n % 1000 < categories]


def true_distances(keys: Iterable[int]) -> list[float]:
    positions = np.array(list(keys), dtype=int) - 1
    return np.linalg.norm(VECTORS[positions] - QUERY.astype("f4"), axis=1).tolist()


@pytest.mark.django_db(databases="__all__", transaction=True)
@pytest.mark.parametrize("selectivity", SELECTIVITY)
@pytest.mark.parametrize("offset", [0, 100])
@pytest.mark.parametrize("k", [1, 10, 100, 2000])
class TestRows:
    def check(self, found: list[Any], k: int, offset: int, wanted: list[int]) -> None:
        assert len(found) == min(k, max(0, len(wanted) - offset))
        assert len({thing.pk for thing in found}) == len(found)
        assert {thing.pk for thing in found} <= set(wanted)
        distances = [thing.distance for thing in found]
        assert distances == sorted(distances)
        true = true_distances(thing.pk for thing in found)
        assert distances == pytest.approx(true, rel=1e-5)

    @pytest.mark.parametrize("by", ["planner", "index"])
    def test_exactly_so_many(
        self, things: Any, k: int, offset: int, selectivity: str, by: str
    ) -> None:
        wanted = expected(SELECTIVITY[selectivity])
        queryset = nearest(self.filtered(things, selectivity), "vector", QUERY)
        with forced(things.db) if by == "index" else contextlib.nullcontext():
            page = queryset[offset : offset + k]
            if by == "index" and things.db == "postgresql":
                assert explain_nearest(page).index == "thing_vector"
            found = list(page)
            self.check(found, k, offset, wanted)
            assert page.count() == len(found)

    def test_exact_paths_agree_with_numpy(
        self, things: Any, k: int, offset: int, selectivity: str
    ) -> None:
        wanted = expected(SELECTIVITY[selectivity])[offset : offset + k]
        filtered = self.filtered(things, selectivity)
        exact = nearest(filtered, "vector", QUERY, exact=True)[offset : offset + k]
        self.assert_agree(exact, wanted)
        if things.db == "default":  # a search of vec0 is exact as well
            found = nearest(filtered, "vector", QUERY)[offset : offset + k]
            self.assert_agree(found, wanted)
            is_scanned = selectivity != "all" or k == 2000
            assert (explain_nearest(found).index is None) == is_scanned

    def assert_agree(self, found: Any, wanted: list[int]) -> None:
        """The same rows in the same order, but for distances that float32 cannot tell apart."""
        assert len(found) == len(wanted)
        assert true_distances(thing.pk for thing in found) == pytest.approx(
            true_distances(wanted), rel=1e-6
        )

    def filtered(self, things: Any, selectivity: str) -> Any:
        categories = SELECTIVITY[selectivity]
        return things.all() if categories == 1000 else things.filter(category__lt=categories)


@pytest.mark.django_db(databases="__all__", transaction=True)
class TestStatements:
    """A search that needs no setting is one statement."""

    def sent(self, things: Any, **options: Any) -> list[str]:
        with CaptureQueriesContext(connections[things.db]) as captured:
            list(nearest(things, "vector", QUERY, **options))
        return [query["sql"] for query in captured]

    def test_one(self, things: Any) -> None:
        for options in (
            {"k": 10},
            {"k": 40},
            {"k": 10, "exact": True},
            {"k": 10, "max_distance": 0.001},
            {"max_distance": 0.001},
            {"k": 10, "metric": "cosine"},
        ):
            (statement,) = self.sent(things, **options)
            assert statement.startswith("SELECT")

    @only("postgresql", fixture="things")
    def test_settings_where_they_are_needed(self, things: Any) -> None:
        for options, setting in (
            ({"k": 50}, "SET LOCAL hnsw.ef_search = '200'"),
            ({"k": 2000}, "SET LOCAL hnsw.ef_search = '1000'"),
            ({"k": 5, "ef_search": 80}, "SET LOCAL hnsw.ef_search = '80'"),
            ({"k": 5, "probes": 3}, "SET LOCAL ivfflat.probes = '3'"),
            (
                {"k": 5, "iterative_scan": "strict_order"},
                "SET LOCAL hnsw.iterative_scan = 'strict_order'",
            ),
        ):
            assert setting in self.sent(things, **options)

    def test_a_hundred_rows(self, things: Any) -> None:
        with forced(things.db):
            sent = self.sent(things, k=100)
        # The keys of two blocks, and the rows of both.
        reads = [statement for statement in sent if "shop_thing" in statement]
        assert len(reads) == {"postgresql": 3, "libsql": 1, "default": 1}[things.db]

    @only("postgresql", fixture="things")
    def test_a_higher_setting_is_left_alone(self, things: Any) -> None:
        with search_params("postgresql", ef_search=200):
            assert not [sql for sql in self.sent(things, k=50) if sql.startswith("SET LOCAL")]

    def test_relaxed_order_is_sorted_again(self, things: Any) -> None:
        with forced(things.db):
            options = {"ef_search": 10, "iterative_scan": "relaxed_order"}
            found = list(nearest(things, "vector", QUERY, k=200, **options))
        distances = [thing.distance for thing in found]
        assert (len(distances), sorted(distances)) == (200, distances)


@pytest.mark.django_db(databases="__all__", transaction=True)
class TestDeletedRows:
    def test_deleted_rows_leave_no_gap(self, things: Any) -> None:
        """The nearest 500 rows are deleted: as many as were asked for of those after them come."""
        order = expected(1000)
        with transaction.atomic(using=things.db), forced(things.db):
            things.filter(pk__in=order[:500]).delete()
            found = list(nearest(things, "vector", QUERY, k=100))
            assert len({thing.pk for thing in found}) == 100
            assert not {thing.pk for thing in found} & set(order[:500])
            transaction.set_rollback(True, using=things.db)

    @only("postgresql", fixture="things")
    def test_an_exhausted_scan_is_completed(self, things: Any) -> None:
        """With max_scan_tuples at its least, an index search finds next to nothing."""
        connection = connections[things.db]
        wanted = expected(1)
        with forced(things.db), connection.cursor() as cursor:
            cursor.execute("SET LOCAL hnsw.max_scan_tuples = 1")
            cursor.execute("SET LOCAL hnsw.ef_search = 1")
            plain = things.filter(category=0).order_by("pk")
            queryset = nearest(things.filter(category=0), "vector", QUERY, k=10)
            assert explain_nearest(queryset).index == "thing_vector"
            assert [thing.pk for thing in queryset] == wanted[:10]
            assert plain.count() == len(wanted)
