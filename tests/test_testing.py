"""explain_nearest, assert_uses_vector_index, and the warning about orders that no index serves."""

from __future__ import annotations

import re
import warnings
from typing import Any

import numpy as np
import pytest
from django.db import connections
from django.db.models import F
from django.db.models.functions import Round

from dorm_vector import (
    CosineDistance,
    L1Distance,
    L2Distance,
    nearest,
)
from dorm_vector.testing import assert_uses_vector_index, explain_nearest
from tests.support.matrix import only
from tests.testapp.models import Indexed, Item, Portable

QUERY = [1.0] * 8


@pytest.fixture
def rows(alias: str, monkeypatch: pytest.MonkeyPatch) -> str:
    # 300 rows are few enough for libSQL to read them all.
    monkeypatch.setattr("dorm_vector.engines.libsql.LibSQLEngine.least_vectors", 1)
    vectors = np.random.default_rng(5).normal(size=(300, 8))
    for model in (Indexed, Portable):
        model.objects.using(alias).bulk_create(
            model(category=position % 50, embedding=vector)
            for position, vector in enumerate(vectors)
        )
    if connections[alias].vendor == "postgresql":
        with connections[alias].cursor() as cursor:
            cursor.execute("ANALYZE testapp_indexed, testapp_portable")
            # 300 rows are few enough for the planner to prefer reading them all.
            cursor.execute("SET LOCAL enable_seqscan = off")
    return alias


class TestIndexUsed:
    def test_nearest_with_the_portable_index(self, rows: str) -> None:
        found = explain_nearest(nearest(Portable.objects.using(rows), "embedding", QUERY, k=5))
        assert found.index == "portable_embedding"
        assert found.reason is None
        assert "portable_embedding" in found.plan
        assert_uses_vector_index(nearest(Portable.objects.using(rows), "embedding", QUERY)[:5])

    def test_instances_distances_and_pages_keep_it(self, rows: str) -> None:
        manager = Portable.objects.using(rows)
        for found in (
            nearest(manager, "embedding", manager.first(), k=5),
            nearest(manager, "embedding", QUERY, k=5, max_distance=1.5),
            nearest(manager, "embedding", QUERY)[100:110],
            nearest(manager, "embedding", QUERY, k=5).values("pk"),
            nearest(manager, "embedding", QUERY, k=5).defer("embedding"),
        ):
            assert_uses_vector_index(found)

    @only("postgresql")
    def test_plain_order(self, rows: str) -> None:
        queryset = Indexed.objects.using(rows).order_by(L2Distance("embedding", QUERY))[:5]
        assert explain_nearest(queryset).index == "indexed_l2"


def reason(queryset: Any) -> str | None:
    found = explain_nearest(queryset)
    assert found.index is None
    assert found.plan
    return found.reason


class TestReasons:
    """The same sentence on every engine, wherever the query itself is at fault."""

    @pytest.fixture
    def manager(self, rows: str) -> Any:
        return Portable.objects.using(rows)

    def test_other_metric(self, manager: Any) -> None:
        sentence = (
            "The order is by l2, which no index of testapp.Portable.embedding serves: "
            "portable_embedding serves"
        )
        for queryset in (
            nearest(manager, "embedding", QUERY, metric="l2", k=5),
            manager.order_by(L2Distance("embedding", QUERY))[:5],
        ):
            assert reason(queryset) == f"{sentence} cosine."

    def test_no_limit(self, manager: Any) -> None:
        expected = "The queryset has no limit: slice it."
        assert reason(nearest(manager, "embedding", QUERY)) == expected
        connection = connections[manager.db]
        with connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                cursor.execute("SET LOCAL enable_seqscan = on")
        assert reason(manager.order_by(CosineDistance("embedding", QUERY))) == expected

    def test_descending(self, manager: Any) -> None:
        expected = "The order is descending, and indexes return the nearest rows first."
        found = nearest(manager, "embedding", QUERY)
        for queryset in (
            found.order_by("-distance")[:5],
            found.reverse()[:5],
            manager.order_by(CosineDistance("embedding", QUERY).desc())[:5],
        ):
            assert reason(queryset) == expected

    def test_wrapped(self, manager: Any) -> None:
        distance = CosineDistance("embedding", QUERY)
        for wrapped, name in (
            (1 - distance, "CombinedExpression"),
            (distance + 0.0, "CombinedExpression"),
            (Round(distance), "Round"),
        ):
            expected = f"The distance is wrapped in a {name}: order by it alone."
            assert reason(manager.order_by(wrapped)[:5]) == expected
            assert reason(manager.annotate(d=wrapped).order_by("d")[:5]) == expected

    def test_nulls_first(self, manager: Any) -> None:
        first = F("distance").asc(nulls_first=True)
        queryset = nearest(manager, "embedding", QUERY).order_by(first)
        expected = "The order puts NULL first, and indexes hold no NULL."
        assert reason(queryset[:5]) == expected

    def test_not_by_a_distance(self, manager: Any) -> None:
        expected = "The queryset is not ordered by a distance."
        for queryset in (manager.all()[:5], manager.order_by("category")[:5]):
            assert reason(queryset) == expected

    def test_a_vector_of_each_row(self, manager: Any) -> None:
        queryset = nearest(manager, "embedding", F("embedding"), k=5)
        assert reason(queryset) == "The distance is to another vector in each row."

    def test_nothing_declared(self, rows: str) -> None:
        queryset = nearest(Item.objects.using(rows), "embedding", [1, 2, 3], k=5)
        assert reason(queryset) == "No vector index is declared for the field."

    def test_exact(self, manager: Any) -> None:
        queryset = nearest(manager, "embedding", QUERY, k=5, exact=True)
        assert reason(queryset) == "exact=True was asked for."

    def test_filter(self, manager: Any) -> None:
        queryset = nearest(manager.filter(pk=manager.first().pk), "embedding", QUERY, k=5)
        assert reason(queryset) in (
            "A filter, a join or distinct() makes the search exact.",
            "The planner finds another plan cheaper than a search of portable_embedding: the table "
            "is small, or few rows pass the filter.",
        )

    @only("sqlite", "libsql")
    def test_not_built(self, rows: str) -> None:
        queryset = nearest(Indexed.objects.using(rows), "embedding", QUERY, k=5)
        label = connections[rows].display_name
        assert reason(queryset) == f"{label} has no hnsw index: indexed_l2 is not built."

    @only("sqlite")
    def test_sqlite_wants_nearest(self, rows: str) -> None:
        queryset = Portable.objects.order_by(CosineDistance("embedding", QUERY))[:5]
        assert reason(queryset) == "SQLite serves no ORDER BY from an index: use nearest()."
        assert reason(nearest(Portable.objects, "embedding", QUERY, k=5000)) == (
            "So many rows are found faster by reading all of them than by sqlite-vec's index."
        )

    def test_small_tables(self, db: None) -> None:
        queryset = nearest(Portable.objects.using("postgresql"), "embedding", QUERY, k=5)
        assert reason(queryset) == (
            "The planner finds another plan cheaper than a search of portable_embedding: the table "
            "is small, or few rows pass the filter."
        )

    def test_assertions_carry_reason_and_plan(self, manager: Any) -> None:
        queryset = nearest(manager, "embedding", QUERY)
        with pytest.raises(AssertionError) as caught:
            assert_uses_vector_index(queryset)
        first, *plan = str(caught.value).splitlines()
        assert first == "The queryset has no limit: slice it."
        assert plan


class TestWarnings:
    @pytest.fixture(autouse=True)
    def debug(self, settings: Any) -> None:
        settings.DEBUG = True

    def test_once_a_call_site(self, db: None) -> None:
        queryset = Portable.objects.using("postgresql").order_by(
            CosineDistance("embedding", QUERY).desc()
        )
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("default")
            for _ in range(3):
                list(queryset.all()[:5])
            list(queryset.all()[:5])
        assert [warning.filename for warning in caught] == [__file__] * 2
        assert str(caught[0].message) == (
            "No vector index serves this query. The order is descending, and indexes return the "
            "nearest rows first."
        )

    @pytest.mark.parametrize(
        "queryset",
        [
            nearest(Portable.objects, "embedding", QUERY, k=5),
            nearest(Portable.objects, "embedding", QUERY, metric="l2", k=5, exact=True),
            Portable.objects.order_by(CosineDistance("embedding", QUERY))[:5],
            Portable.objects.annotate(d=1 - CosineDistance("embedding", QUERY)),
            Item.objects.order_by(CosineDistance("embedding", [1, 2, 3]).desc()),
        ],
        ids=["nearest", "exact", "plain", "unordered", "undeclared"],
    )
    def test_silent(self, alias: str, queryset: Any) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            list(queryset.using(alias))

    def test_silent_without_debug(self, db: None, settings: Any) -> None:
        settings.DEBUG = False
        queryset = Portable.objects.order_by(1 - CosineDistance("embedding", QUERY))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            list(queryset.using("postgresql"))

    def test_other_metric_is_a_warning(self, db: None) -> None:
        queryset = Portable.objects.order_by(L1Distance("embedding", QUERY))
        message = (
            "The order is by l1, which no index of testapp.Portable.embedding serves: "
            "portable_embedding serves"
        )
        with pytest.warns(RuntimeWarning, match=re.escape(message)):
            list(queryset.using("postgresql")[:5])
