"""nearest() on every engine: the rows that were asked for, compared with numpy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from asgiref.sync import async_to_sync
from django.core.exceptions import FieldError, ValidationError
from django.core.paginator import Paginator
from django.db import connections
from django.db.models import Avg, Count, Exists, F, OuterRef, Prefetch, Subquery
from django.db.models.sql import Query
from django.test.utils import CaptureQueriesContext

from dorm_vector import VectorQuerySet, nearest
from tests.support import oracle
from tests.testapp.models import Chunk, Document, Indexed, Item

QUERY = [1.0, 1.0, 2.0]
ROWS = {"a": [1, 2, 3], "b": [3, 2, 1], "c": [0.1, 0.2, 0.4], "d": [-2, 0, 1], "e": [5, 5, 9]}


def ordered(metric: str, rows: dict[str, Any] = ROWS, to: Any = QUERY) -> list[str]:
    return sorted(rows, key=lambda name: oracle.DISTANCES[metric](rows[name], to))


@pytest.fixture
def items(alias: str) -> Any:
    vectors = {**ROWS, "null": None, "zero": [0, 0, 0]}
    Item.objects.using(alias).bulk_create(
        Item(name=name, embedding=vector, category=position % 2)
        for position, (name, vector) in enumerate(vectors.items())
    )
    return Item.objects.using(alias)


def names(queryset: Any) -> list[str]:
    return [item.name for item in queryset]


class TestResults:
    @pytest.mark.parametrize("metric", oracle.DISTANCES)
    def test_order_and_distance(self, items: Any, metric: str) -> None:
        rows = ROWS if metric == "cosine" else {**ROWS, "zero": [0, 0, 0]}
        found = nearest(items, "embedding", QUERY, metric=metric)
        assert names(found) == ordered(metric, rows)
        for item in found:
            expected = oracle.DISTANCES[metric](rows[item.name], QUERY)
            assert item.distance == pytest.approx(expected, abs=1e-5, rel=1e-5)

    def test_cosine_is_the_default(self, items: Any) -> None:
        assert names(nearest(items, "embedding", QUERY)) == ordered("cosine")

    def test_k_and_slices(self, items: Any) -> None:
        assert names(nearest(items, "embedding", QUERY, k=3)) == ordered("cosine")[:3]
        found = nearest(items, "embedding", QUERY)
        assert names(found[1:4]) == ordered("cosine")[1:4]
        assert names(nearest(items, "embedding", QUERY, k=0)) == []
        assert names(nearest(items, "embedding", QUERY, k=100)) == ordered("cosine")

    def test_max_distance(self, items: Any) -> None:
        distances = sorted(oracle.l2(vector, QUERY) for vector in ROWS.values())
        limit = (distances[1] + distances[2]) / 2
        found = nearest(
            items.exclude(name="zero"), "embedding", QUERY, metric="l2", max_distance=limit
        )
        assert names(found) == ordered("l2")[:2]
        assert names(found[:5]) == ordered("l2")[:2]
        assert found.count() == 2

    def test_max_distance_on_pages_and_without_the_column(self, items: Any) -> None:
        items.filter(name="zero").delete()
        distances = sorted(oracle.l2(vector, QUERY) for vector in ROWS.values())
        limit = (distances[2] + distances[3]) / 2
        found = nearest(items, "embedding", QUERY, metric="l2", max_distance=limit)
        assert names(found[1:4]) == ordered("l2")[1:3]
        assert names(found[3:9]) == []
        assert list(found[:9].values_list("name", flat=True)) == ordered("l2")[:3]
        assert names(found.filter(category=0)[:9]) == [
            name for name in ordered("l2")[:3] if name in "ace"
        ]
        assert set(names(items.filter(pk__in=found[:9].values("pk")))) == set(ordered("l2")[:3])

    def test_exact(self, items: Any) -> None:
        found = nearest(items, "embedding", QUERY, k=3, exact=True)
        assert names(found) == ordered("cosine")[:3]

    def test_ties_are_broken_by_primary_key(self, alias: str) -> None:
        manager = Item.objects.using(alias)
        manager.bulk_create(Item(name=f"{n}", embedding=[1, 2, 3]) for n in range(20))
        assert names(nearest(manager, "embedding", [3, 2, 1], k=10)) == [f"{n}" for n in range(10)]

    def test_negative_zeros_are_zero(self, alias: str) -> None:
        manager = Item.objects.using(alias)
        manager.create(name="one", embedding=[-0.0, 0.0, -0.0])
        manager.create(name="two", embedding=[-0.0, 0.0, 1.0])
        assert names(nearest(manager, "embedding", QUERY)) == ["two"]

    def test_manager_queryset_and_method(self, items: Any, alias: str) -> None:
        for source in (items, items.all(), VectorQuerySet(Item, using=alias)):
            assert names(nearest(source, "embedding", QUERY, k=2)) == ordered("cosine")[:2]
        manager = VectorQuerySet.as_manager()
        manager.model, manager._db = Item, alias
        assert names(manager.nearest("embedding", QUERY, k=2)) == ordered("cosine")[:2]


class TestTo:
    def test_none_and_the_zero_vector_have_no_neighbours(self, items: Any) -> None:
        assert names(nearest(items, "embedding", None)) == []
        assert names(nearest(items, "embedding", [0, 0, 0])) == []
        assert len(nearest(items, "embedding", [0, 0, 0], metric="l2")) == 6

    def test_an_instance_is_left_out(self, items: Any) -> None:
        instance = items.get(name="a")
        rows = {name: vector for name, vector in ROWS.items() if name != "a"}
        assert names(nearest(items, "embedding", instance)) == ordered("cosine", rows, ROWS["a"])
        assert names(nearest(items, "embedding", items.get(name="null"))) == []

    def test_an_unsaved_instance(self, items: Any) -> None:
        found = nearest(items, "embedding", Item(embedding=QUERY))
        assert names(found) == ordered("cosine")

    def test_an_instance_with_the_vector_deferred(self, items: Any) -> None:
        instance = items.defer("embedding").get(name="a")
        assert len(nearest(items, "embedding", instance)) == 4

    def test_expressions(self, items: Any) -> None:
        query = Subquery(items.filter(name="a").values("embedding"))
        found = nearest(items, "embedding", query)
        assert names(found) == ordered("cosine", to=ROWS["a"])
        items.update(other=F("embedding"))
        itself = nearest(items, "embedding", F("other"))
        assert set(names(itself)) == set(ROWS)

    def test_an_expression_that_is_null(self, items: Any) -> None:
        query = Subquery(items.filter(name="nobody").values("embedding"))
        assert names(nearest(items, "embedding", query, metric="l2")) == []


class TestOrdinaryQuerysets:
    """What nearest() returns can be used as any queryset."""

    def test_count_exists_and_first(self, items: Any) -> None:
        found = nearest(items, "embedding", QUERY)
        assert (found.count(), found[:2].count(), found[4:9].count()) == (5, 2, 1)
        assert found.exists()
        assert found.first().name == ordered("cosine")[0]
        assert found.last().name == ordered("cosine")[-1]
        assert names(found.reverse()) == ordered("cosine")[::-1]

    def test_the_queryset_that_is_searched_is_left_alone(self, items: Any) -> None:
        for before in (items.filter(category=0), items.filter(category=0) | items.filter(name="b")):
            sql, found = str(before.query), set(before)
            assert len(nearest(before, "embedding", QUERY, k=1)) == 1
            assert (type(before.query), str(before.query)) == (Query, sql)
            assert set(before.all()) == found
            again = nearest(before, "embedding", QUERY)
            assert names(again) == [name for name in ordered("cosine") if name in names(before)]
            assert names(again.filter(name="zz")) == []

    def test_filters_before_and_after(self, items: Any) -> None:
        rows = {name: ROWS[name] for name in ("a", "c", "e")}
        for found in (
            nearest(items.filter(category=0), "embedding", QUERY),
            nearest(items, "embedding", QUERY).filter(category=0),
            nearest(items, "embedding", QUERY).exclude(category=1),
        ):
            assert names(found) == ordered("cosine", rows)
            assert names(found[:2]) == ordered("cosine", rows)[:2]

    def test_filter_by_distance(self, items: Any) -> None:
        found = nearest(items, "embedding", QUERY).filter(distance__lt=0.2)
        expected = [name for name in ordered("cosine") if oracle.cosine(ROWS[name], QUERY) < 0.2]
        assert names(found) == expected

    def test_another_order(self, items: Any) -> None:
        assert names(nearest(items, "embedding", QUERY).order_by("name")) == sorted(ROWS)
        assert (
            names(nearest(items, "embedding", QUERY).order_by("-distance"))
            == (ordered("cosine")[::-1])
        )

    def test_values_defer_and_only(self, items: Any) -> None:
        found = nearest(items, "embedding", QUERY, k=2)
        assert list(found.values_list("name", flat=True)) == ordered("cosine")[:2]
        assert [set(row) for row in found.values("name", "distance")] == [{"name", "distance"}] * 2
        (first, _) = found.defer("embedding")
        assert "embedding" not in first.__dict__
        assert first.distance == pytest.approx(oracle.cosine(ROWS[first.name], QUERY), abs=1e-5)
        assert names(found.only("name")) == ordered("cosine")[:2]

    def test_aggregates(self, items: Any) -> None:
        found = nearest(items, "embedding", QUERY)
        expected = [oracle.cosine(ROWS[name], QUERY) for name in ordered("cosine")]
        assert found.aggregate(Avg("distance"))["distance__avg"] == pytest.approx(np.mean(expected))
        assert found[:2].aggregate(Avg("distance"))["distance__avg"] == pytest.approx(
            np.mean(expected[:2]), abs=1e-5
        )
        assert found.aggregate(n=Count("pk")) == {"n": 5}

    def test_subqueries(self, items: Any) -> None:
        inner = nearest(items, "embedding", QUERY, k=2)
        assert set(names(items.filter(pk__in=inner.values("pk")))) == set(ordered("cosine")[:2])
        assert names(items.filter(pk=Subquery(inner.values("pk")[:1]))) == ordered("cosine")[:1]
        close = nearest(items.filter(pk=OuterRef("pk")), "embedding", QUERY, max_distance=0.2)
        assert items.filter(Exists(close)).count() == sum(
            oracle.cosine(vector, QUERY) < 0.2 for vector in ROWS.values()
        )

    def test_union_of_slices(self, items: Any) -> None:
        parts = [nearest(items.filter(category=n), "embedding", QUERY, k=1) for n in (0, 1)]
        assert len(parts[0].union(parts[1])) == 2

    def test_pagination(self, items: Any) -> None:
        pages = Paginator(nearest(items, "embedding", QUERY), 2)
        assert pages.count == 5
        assert [names(page) for page in pages] == [
            ordered("cosine")[start : start + 2] for start in (0, 2, 4)
        ]

    def test_iterator_and_in_bulk(self, items: Any) -> None:
        assert names(nearest(items, "embedding", QUERY, k=3).iterator()) == ordered("cosine")[:3]
        assert names(nearest(items, "embedding", QUERY).iterator(2)) == ordered("cosine")

    def test_async(self, items: Any) -> None:
        async def search() -> list[str]:
            found = nearest(items, "embedding", QUERY, k=3)
            assert await found.acount() == 3
            return [item.name async for item in found]

        assert async_to_sync(search)() == ordered("cosine")[:3]

    def test_writes(self, items: Any) -> None:
        found = nearest(items, "embedding", QUERY, max_distance=0.05)
        count = found.count()
        assert found.update(category=7) == count == items.filter(category=7).count()
        found.delete()
        assert items.filter(category=7).count() == 0

    def test_sliced_querysets_are_refused_by_django(self, items: Any) -> None:
        with pytest.raises(TypeError, match="once a slice has been taken"):
            nearest(items.all()[:5], "embedding", QUERY)


class TestRelations:
    @pytest.fixture
    def documents(self, alias: str) -> Any:
        for title, vectors in {"one": "ab", "two": "cde", "none": ""}.items():
            document = Document.objects.using(alias).create(title=title, embedding=QUERY)
            for name in vectors:
                document.chunks.create(embedding=ROWS[name])
            document.chunks.create(embedding=None)
        return Document.objects.using(alias)

    def test_across_a_relation(self, documents: Any) -> None:
        titles = {**dict.fromkeys("ab", "one"), **dict.fromkeys("cde", "two")}
        distances = dict[str, float]()
        for name in ordered("cosine"):
            distances.setdefault(titles[name], oracle.cosine(ROWS[name], QUERY))
        for found in (
            nearest(documents, "chunks__embedding", QUERY),
            nearest(documents, "chunks__embedding", QUERY, k=3),
            nearest(documents.filter(chunks__isnull=False), "chunks__embedding", QUERY),
        ):
            assert [document.title for document in found] == list(distances)
            assert [document.distance for document in found] == pytest.approx(
                list(distances.values()), abs=1e-6
            )
        assert len(nearest(documents, "chunks__embedding", QUERY, k=1)) == 1

    def test_an_instance_across_a_relation(self, documents: Any, alias: str) -> None:
        chunk = Chunk.objects.using(alias).exclude(embedding=None).first()
        found = nearest(documents, "chunks__embedding", chunk)
        assert len(found) == 2
        assert all(document.distance > 0 for document in found)

    def test_select_related_and_prefetch(self, documents: Any, alias: str) -> None:
        chunks = Chunk.objects.using(alias)
        with CaptureQueriesContext(connections[alias]) as captured:
            found = list(nearest(chunks.select_related("document"), "embedding", QUERY, k=3))
            assert all(chunk.document.title for chunk in found)
        assert len([q for q in captured if q["sql"].startswith("SELECT")]) == 1
        prefetch = Prefetch("chunks", nearest(chunks, "embedding", QUERY)[:2], to_attr="near")
        counts = {d.title: len(d.near) for d in documents.prefetch_related(prefetch)}
        assert counts == {"one": 2, "two": 2, "none": 0}

    def test_distinct(self, documents: Any, alias: str) -> None:
        found = nearest(documents, "chunks__embedding", QUERY).distinct()
        assert len(found) == len(found[:10]) == 2


class TestDeclaredIndexes:
    """Indexed declares l2, cosine and ip indexes, l2 first."""

    def test_the_first_index_names_the_metric(self, alias: str) -> None:
        vectors = np.random.default_rng(4).normal(size=(50, 8))
        Indexed.objects.using(alias).bulk_create(
            Indexed(category=1, embedding=vector) for vector in vectors
        )
        query = vectors[0] * 3
        for metric, found in (
            ("l2", nearest(Indexed.objects.using(alias), "embedding", query, k=5)),
            ("ip", nearest(Indexed.objects.using(alias), "embedding", query, k=5, metric="ip")),
        ):
            # Rows of tests that were rolled back are in the index still: it may miss a near one.
            expected = [oracle.DISTANCES[metric](item.embedding, query) for item in found]
            assert [item.distance for item in found] == pytest.approx(expected, rel=1e-5)
            assert (len(expected), sorted(expected)) == (5, expected)


class TestRefusals:
    def test_wrong_length(self, items: Any) -> None:
        with pytest.raises(ValidationError, match=r"Expected 3 dimensions, not 2\."):
            nearest(items, "embedding", [1, 2])

    def test_not_finite(self, items: Any) -> None:
        with pytest.raises(ValidationError, match=r"Component 0 is NaN\."):
            nearest(items, "embedding", [math.nan, 1, 2])

    def test_no_vector_field(self, items: Any) -> None:
        with pytest.raises(FieldError) as caught:
            nearest(items, "name", QUERY)
        assert str(caught.value) == "nearest() needs a vector field, not the CharField 'name'."
        with pytest.raises(FieldError, match="Cannot resolve keyword 'nothing'"):
            nearest(items, "nothing", QUERY)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"metric": "euclid"}, "no metric 'euclid'; use one of l2, cosine, ip, l1"),
            ({"k": -1}, "needs a k of 0 or more rows, not -1"),
            (
                {"k": 2**63},
                "needs a k of at most 9223372036854775807 rows, not 9223372036854775808",
            ),
            ({"k": 2.5}, r"needs a k of 0 or more rows, not 2\.5"),
            ({"k": True}, "needs a k of 0 or more rows, not True"),
            ({"max_distance": math.nan}, "takes a number as max_distance, not nan"),
            ({"max_distance": "1"}, "takes a number as max_distance, not '1'"),
            ({"ef_search": 1001}, "ef_search takes 1 to 1000, not 1001"),
            ({"probes": 0}, "probes takes 1 to 32768, not 0"),
            ({"iterative_scan": "maybe"}, "iterative_scan takes one of"),
        ],
    )
    def test_values(self, items: Any, options: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            nearest(items, "embedding", QUERY, **options)
        with pytest.raises(ValueError, match=message):
            nearest(items, "embedding", None, **options)
