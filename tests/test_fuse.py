"""fuse() on every engine: what reciprocal rank fusion gives, by a few lines of Python."""

from __future__ import annotations

import copy
import itertools
import math
import pickle
import uuid
from collections.abc import Sequence
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.core.paginator import Paginator
from django.db import connections
from django.db.models import Avg, Count, Exists, F, Max, OuterRef, Prefetch, QuerySet, Subquery
from django.test.utils import CaptureQueriesContext

from dorm_vector import L2Distance, VectorQuerySet, fuse, nearest
from dorm_vector.values import short
from tests.fuse_models import TaggedItems
from tests.testapp.models import (
    Chunk,
    Composite,
    Document,
    Item,
    ItemProxy,
    Odd,
    Owner,
    Portable,
    SubItem,
    TextKey,
)

QUERY = [1.0, 1.0, 2.0]


def scores(
    *legs: Sequence[Any], k: float = 60, weights: Sequence[float] | None = None
) -> dict[Any, float]:
    """Reciprocal rank fusion."""
    found: dict[Any, list[float]] = {}
    for leg, weight in zip(legs, weights or [1] * len(legs), strict=True):
        for rank, key in enumerate(dict.fromkeys(leg), start=1):
            found.setdefault(key, []).append(weight / (k + rank))
    return {key: math.fsum(parts) for key, parts in found.items()}


def fused(*legs: Sequence[Any], **options: Any) -> list[Any]:
    """The keys, best first, and in order where they are equal."""
    return [key for key, _ in sorted(scores(*legs, **options).items(), key=lambda p: (-p[1], p[0]))]


def keys(rows: Any) -> list[Any]:
    return [row.pk for row in rows]


@pytest.fixture
def items(alias: str) -> Any:
    rows = [
        Item(
            name=f"n{number:02}",
            category=number % 3,
            embedding=[number % 5, number * 7 % 4 + 1, number % 3],
            other=[number % 4, 1, number * 3 % 7],
        )
        for number in range(20)
    ]
    Item.objects.using(alias).bulk_create(rows)
    return Item.objects.using(alias)


@pytest.fixture
def legs(items: Any) -> list[Any]:
    return [
        nearest(items, "embedding", QUERY, metric="l2", k=8),
        nearest(items, "other", QUERY, metric="cosine", k=6),
        items.order_by("-name")[:5],
    ]


@pytest.fixture
def lists(legs: Any) -> list[list[Any]]:
    """The keys of each leg."""
    return [keys(leg) for leg in legs]


class TestResults:
    def test_order_scores_and_ranks(self, legs: Any, lists: Any) -> None:
        rows = list(fuse(*legs))
        expected = scores(*lists)
        assert keys(rows) == fused(*lists)
        assert {row.pk: row.score for row in rows} == expected
        for row in rows:
            assert row.score_ranks == tuple(
                found.index(row.pk) + 1 if row.pk in found else None for found in lists
            )

    @pytest.mark.parametrize("k", [0.5, 1, 60, 1e9])
    def test_k_and_weights(self, legs: Any, lists: Any, k: float) -> None:
        options: Any = {"k": k, "weights": (0.5, 2, 1.25)}
        found = fuse(*legs, **options)
        assert keys(found) == fused(*lists, **options)
        assert [row.score for row in found] == sorted(scores(*lists, **options).values())[::-1]

    def test_numpy_numbers(self, legs: Any, lists: Any) -> None:
        import numpy as np

        options = {"k": np.int64(7), "weights": np.array([1.0, 2.0, 0.5], "f4")}
        assert keys(fuse(*legs, **options)) == fused(*lists, k=7, weights=(1, 2, 0.5))

    def test_one_leg(self, legs: Any, lists: Any) -> None:
        assert keys(fuse(legs[0])) == lists[0]

    def test_equal_scores_are_in_the_order_of_keys(self, items: Any) -> None:
        ascending, descending = items.order_by("name")[:10], items.order_by("-name")[10:20]
        assert keys(fuse(ascending, descending)) == fused(keys(ascending), keys(descending))
        # The same ranks in other legs: sums of floats that would differ in their last digit.
        found = list(
            fuse(
                *(
                    items.filter(name__in=["n00", "n01", "n02", *others]).order_by(order)[:9]
                    for order, others in (("name", ["n03"]), ("-name", ["n04"]), ("pk", []))
                )
            )
        )
        assert len({row.score for row in found if row.name in ("n00", "n02")}) == 2

    def test_every_page(self, legs: Any, lists: Any) -> None:
        expected = fused(*lists)
        for low, high in itertools.combinations(range(0, len(expected) + 3, 2), 2):
            assert keys(fuse(*legs)[low:high]) == expected[low:high]
        assert keys(fuse(*legs)[3:]) == expected[3:]
        assert keys(fuse(*legs)[:0]) == []
        pages = Paginator(fuse(*legs), 4)
        assert [row.pk for page in pages for row in page] == expected

    def test_ties_at_the_end_of_a_page(self, items: Any) -> None:
        first, second = items.order_by("-name")[:10], items.order_by("name")[:10]
        for end in range(1, 12):
            assert keys(fuse(first, second)[:end]) == fused(keys(first), keys(second))[:end]

    def test_a_row_that_a_leg_has_twice(self, alias: str) -> None:
        first, second = (
            Document.objects.using(alias).create(title=title, embedding=QUERY) for title in "ab"
        )
        for document in (first, first, second):
            Chunk.objects.using(alias).create(document=document)
        leg = Document.objects.using(alias).order_by("chunks__pk")[:10]
        assert keys(leg) == [first.pk, first.pk, second.pk]
        found = fuse(leg, leg)
        assert [(row.pk, row.score_ranks) for row in found] == [
            (first.pk, (1, 1)),
            (second.pk, (3, 3)),
        ]

    def test_empty_legs(self, items: Any, legs: Any, lists: Any) -> None:
        nothing = nearest(items, "embedding", None, k=5)
        assert keys(fuse(legs[0], nothing, items.none())) == lists[0]
        found = fuse(nothing, items.filter(name="absent").order_by("name")[:5])
        assert (list(found), found.count(), found.exists(), found.first()) == ([], 0, False, None)
        assert found.aggregate(n=Count("pk"), best=Max("score")) == {"n": 0, "best": None}

    def test_legs_with_an_offset_distinct_reverse_and_union(self, items: Any) -> None:
        legs = [
            items.order_by("name")[3:9],
            items.order_by("category").distinct()[:7],
            items.order_by("category", "name").reverse()[:4],
            items.filter(category=1).union(items.filter(category=2)).order_by("name")[:5],
            items.annotate(n=Count("pk")).order_by("n", "-name")[:5],
        ]
        legs[1] = items.order_by("category", "pk").distinct()[:7]
        assert keys(fuse(*legs)) == fused(*map(keys, legs))

    def test_fusions_of_fusions(self, items: Any, legs: Any, lists: Any) -> None:
        inner = fuse(*legs[:2])[:4]
        assert keys(fuse(inner, legs[2])) == fused(fused(*lists[:2])[:4], lists[2])

    def test_many_rows(self, alias: str) -> None:
        Item.objects.using(alias).bulk_create(
            Item(name=str(number), embedding=[number, 1, 0]) for number in range(5000)
        )
        rows = Item.objects.using(alias)
        legs = rows.order_by("pk")[:4000], nearest(rows, "embedding", [9e9, 1, 0], metric="l2")
        expected = fused(*(keys(leg[:4000]) for leg in legs))
        found = fuse(legs[0], legs[1][:4000])
        assert keys(found) == expected
        assert found.count() == 5000
        assert keys(found.all()[100:110]) == expected[100:110]


class TestQueryset:
    """What else a queryset can do."""

    def test_filters_restrict(self, legs: Any, lists: Any, items: Any) -> None:
        even = set(items.filter(category=1).values_list("pk", flat=True))
        expected = fused(*lists)
        found = fuse(*legs)
        assert keys(found.filter(category=1)) == [key for key in expected if key in even]
        assert keys(found.exclude(category=1)) == [key for key in expected if key not in even]
        assert keys(found.filter(category=1)[1:3]) == [key for key in expected if key in even][1:3]
        best = scores(*lists)
        middle = best[expected[4]]
        assert keys(found.filter(score__gt=middle)) == [k for k in expected if best[k] > middle]
        assert keys(found.filter(score_ranks=(1, None, None))) == [
            row.pk for row in found if row.score_ranks == (1, None, None)
        ]

    def test_orders_replace(self, legs: Any, lists: Any, items: Any) -> None:
        expected = fused(*lists)
        names = dict(items.values_list("pk", "name"))
        found = fuse(*legs)
        by_name = sorted(expected, key=names.__getitem__)
        assert keys(found.order_by("name")[:5]) == by_name[:5]
        assert keys(found.reverse()) == sorted(expected, key=lambda k: (scores(*lists)[k], -k))
        assert found.last().pk == keys(found.reverse())[0]
        assert keys(found.order_by("score", "-pk")[:3]) == keys(found.reverse()[:3])
        assert found.get(pk=expected[2]).score == scores(*lists)[expected[2]]

    def test_one_query_a_leg_and_one_for_the_page(self, legs: Any, alias: str) -> None:
        found = fuse(*legs)
        with CaptureQueriesContext(connections[alias]) as captured:
            str(found.query)
            found.filter(category=1).order_by("name")
        assert len(captured) == 0
        with CaptureQueriesContext(connections[alias]) as captured:
            list(found[:3])
        statements = [
            query["sql"] for query in captured if query["sql"].startswith(("SELECT", "EXPLAIN"))
        ]
        assert len(statements) == 4
        assert statements[-1].partition("VALUES")[2].count("CAST(NULL") == 0

    def test_rows_of_the_page_only(self, items: Any, alias: str) -> None:
        found = fuse(items.order_by("name")[:20], items.order_by("name")[:20])
        with CaptureQueriesContext(connections[alias]) as captured:
            assert len(found[:3]) == 3
        page = captured[-1]["sql"].partition("VALUES")[2].partition('"fused"')[0]
        assert len(page.split("), (")) == 3

    def test_evaluated_again(self, items: Any) -> None:
        found = fuse(items.order_by("-name")[:1])
        assert [row.name for row in found.all()] == ["n19"]
        items.create(name="new")
        items.create(name="newer")
        assert [row.name for row in found] == ["newer"]
        assert [row.name for row in found] == ["newer"]

    def test_values_and_counts(self, legs: Any, lists: Any, items: Any) -> None:
        expected, best = fused(*lists), scores(*lists)
        found = fuse(*legs)
        assert list(found.values_list("pk", flat=True)) == expected
        assert list(found.values_list("pk", "score")[:4]) == [(k, best[k]) for k in expected[:4]]
        assert list(found.values("score_ranks")[:1]) == [{"score_ranks": found[0].score_ranks}]
        assert (found.count(), found[2:5].count(), len(found)) == (len(best), 3, len(best))
        assert found.exists()
        assert found.all().contains(items.get(pk=expected[3]))
        assert found.aggregate(best=Max("score"), n=Count("pk")) == {
            "best": best[expected[0]],
            "n": len(best),
        }
        assert found.all()[:3].aggregate(n=Count("pk"), mean=Avg("score"))["mean"] == (
            pytest.approx(sum(best[key] for key in expected[:3]) / 3)
        )
        assert list(found.in_bulk([expected[1]])) == [expected[1]]

    def test_groups(self, legs: Any, lists: Any, items: Any) -> None:
        categories = dict(items.values_list("pk", "category"))
        grouped = fuse(*legs).order_by().values("category").annotate(n=Count("pk"))
        expected = [categories[key] for key in fused(*lists)]
        assert {row["category"]: row["n"] for row in grouped} == {
            category: expected.count(category) for category in set(expected)
        }

    def test_distinct_values(self, items: Any) -> None:
        one, other = items.order_by("name")[:1], items.order_by("-name")[:1]
        assert list(fuse(one, other).values_list("score", flat=True).distinct()) == [1 / 61]

    def test_expressions(self, legs: Any, lists: Any) -> None:
        best = scores(*lists)
        found = fuse(*legs).annotate(
            double=F("score") * 2, distance=L2Distance("embedding", QUERY), same=Max("score")
        )
        for row in found:
            assert row.double == pytest.approx(2 * best[row.pk])
            assert row.same == row.score == best[row.pk]
            assert row.distance >= 0
        assert keys(found) == fused(*lists)

    def test_inside_other_queries(self, legs: Any, lists: Any, items: Any) -> None:
        expected, best = fused(*lists), scores(*lists)
        found = fuse(*legs)
        assert set(keys(items.filter(pk__in=found))) == set(expected)
        assert set(keys(items.filter(pk__in=found[:4].values("pk")))) == set(expected[:4])
        assert set(keys(items.exclude(pk__in=found))) == set(keys(items)) - set(expected)
        own = found.filter(pk=OuterRef("pk"))
        rows = items.annotate(score=Subquery(own.values("score")[:1])).order_by("pk")
        assert {row.pk: row.score for row in rows if row.score is not None} == best
        assert set(keys(items.filter(Exists(own)))) == set(expected)
        assert items.filter(pk__in=fuse(*legs).filter(category=0)).count() == (
            fuse(*legs).filter(category=0).count()
        )

    def test_combined(self, legs: Any, lists: Any, items: Any) -> None:
        expected = set(fused(*lists))
        zeros = set(keys(items.filter(category=0)))
        found = fuse(*legs)
        assert set(keys(found | items.filter(category=0))) == expected | zeros
        assert set(keys(found | items)) == set(keys(items))
        assert set(keys(found & items.filter(category=0))) == expected & zeros
        assert set(keys(found.filter(category=0) | found.filter(category=1))) == {
            key for key in expected if key in zeros or key in keys(items.filter(category=1))
        }
        other = fuse(legs[0], annotation="again")
        assert set(keys(found.order_by() & other.order_by())) == expected & set(lists[0])
        united = found.values("pk").order_by().union(items.filter(category=0).values("pk"))
        assert {row["pk"] for row in united} == expected | zeros
        assert set(found.values_list("pk", flat=True).order_by().difference(
            items.filter(category=0).values_list("pk", flat=True)
        )) == expected - zeros  # fmt: skip

    def test_how_rows_are_read(self, legs: Any, lists: Any) -> None:
        found = fuse(*legs)
        for rows in (found.only("name"), found.defer("embedding", "other")):
            read = list(rows[:3])
            assert keys(read) == fused(*lists)[:3]
            assert all("embedding" in row.get_deferred_fields() for row in read)
        deferred = fuse(legs[0].defer("embedding"), *legs[1:])
        assert all(row.get_deferred_fields() == {"embedding"} for row in deferred)

    def test_relations(self, alias: str) -> None:
        for number in range(4):
            document = Document.objects.using(alias).create(title=f"{number}", embedding=QUERY)
            for vector in ([number, 1, 0], [1, number, 0]):
                Chunk.objects.using(alias).create(document=document, embedding=vector)
        chunks = Chunk.objects.using(alias)
        legs = nearest(chunks, "embedding", [1, 0, 0], k=4), chunks.order_by("-pk")[:4]
        expected = fused(*map(keys, legs))
        with CaptureQueriesContext(connections[alias]) as captured:
            rows = list(fuse(*legs).select_related("document"))
            before = len(captured)
            titles = [row.document.title for row in rows]
            assert len(captured) == before
        assert keys(rows) == expected
        assert titles == [chunks.get(pk=key).document.title for key in expected]
        first = fuse(legs[0].select_related("document"), legs[1])
        assert all("document" in row._state.fields_cache for row in first)
        documents = Document.objects.using(alias).order_by("title")
        legs = documents[:3], documents.reverse()[:3]
        prefetched = fuse(*legs).prefetch_related("chunks")
        assert [len(row._prefetched_objects_cache["chunks"]) for row in prefetched] == [2] * 4
        best = Prefetch("chunks", fuse(chunks.order_by("-pk")[:3]), to_attr="best")
        assert [len(row.best) for row in documents.prefetch_related(best)] == [0, 0, 1, 2]
        assert fuse(*legs).filter(chunks__embedding__isnull=False).count() == 8
        assert fuse(*legs).filter(chunks__pk=Chunk.objects.using(alias).first().pk).count() == 1

    def test_async_and_iterators(self, legs: Any, lists: Any) -> None:
        async def read() -> list[Any]:
            return [row.pk async for row in fuse(*legs)]

        expected = fused(*lists)
        assert keys(fuse(*legs).iterator(chunk_size=2)) == expected
        assert async_to_sync(read)() == expected
        assert async_to_sync(fuse(*legs).acount)() == len(expected)

    def test_pickles_and_copies(self, legs: Any, lists: Any, alias: str) -> None:
        expected = fused(*lists)
        found = fuse(*legs)
        other: QuerySet[Any] = Item.objects.using(alias)
        with CaptureQueriesContext(connections[alias]) as captured:
            other.query = pickle.loads(pickle.dumps(found.query))
        assert len(captured) == 0
        assert keys(other) == expected
        assert keys(pickle.loads(pickle.dumps(found))) == expected
        assert keys(copy.deepcopy(found)) == expected
        assert [row.score_ranks for row in pickle.loads(pickle.dumps(found))] == [
            row.score_ranks for row in found
        ]

    def test_writes(self, legs: Any, lists: Any, items: Any) -> None:
        expected = set(fused(*lists))
        assert fuse(*legs).update(category=7) == len(expected)
        assert set(keys(items.filter(category=7))) == expected
        one = fused(lists[0])[0]
        assert fuse(legs[0]).filter(pk=one).delete() == (1, {"testapp.Item": 1})
        assert not items.filter(pk=one).exists()
        assert items.count() == 19

    def test_explain(self, legs: Any) -> None:
        assert fuse(*legs)[:3].explain()

    def test_the_text_of_a_query(self, legs: Any) -> None:
        text = str(fuse(*legs).query)
        assert "/* what the legs find */" in text
        statement, _ = fuse(*legs)[:3].query.get_compiler(legs[0].db).as_sql()
        assert "VALUES (" in statement


class TestModels:
    """Keys of every kind, and models of every kind."""

    @pytest.mark.parametrize("model", [Item, ItemProxy, SubItem])
    def test_inheritance(self, alias: str, model: Any) -> None:
        Item.objects.using(alias).create(name="before")
        for number in range(6):
            extra = {"extra": [1, number]} if model is SubItem else {}
            model(name=f"{number}", embedding=[number, 1, 0], **extra).save(using=alias)
        rows = model.objects.using(alias)
        legs = nearest(rows, "embedding", [5, 1, 0], metric="l2", k=3), rows.order_by("name")[:3]
        found = list(fuse(*legs))
        assert keys(found) == fused(*map(keys, legs))
        assert {type(row) for row in found} == {model}
        assert set(keys(rows.filter(pk__in=fuse(*legs)[:2]))) == set(keys(found)[:2])
        assert fuse(*legs).filter(name="5").update(category=3) == 1

    def test_proxies_and_their_models(self, alias: str) -> None:
        Item.objects.using(alias).bulk_create(Item(name=name) for name in "abc")
        legs = (
            ItemProxy.objects.using(alias).order_by("name")[:2],
            Item.objects.using(alias).order_by("-name")[:2],
        )
        assert [row.name for row in fuse(*legs)] == ["b", "a", "c"]
        assert isinstance(fuse(*legs)[0], ItemProxy)

    def test_text_keys(self, alias: str) -> None:
        names = ["a", "it's", 'a "b"', "50%", "50%s", "ü", "日本", "\\", "1,2", "{x}", ":n", "?"]
        TextKey.objects.using(alias).bulk_create(TextKey(name=name) for name in names)
        rows = TextKey.objects.using(alias)
        legs = rows.filter(name__in=names[:8]).order_by("pk")[:8], rows.order_by("-pk")[:9]
        found = fuse(*legs)
        best = scores(*map(keys, legs))
        assert {row.pk: row.score for row in found} == best
        assert [row.score for row in found] == sorted(best.values(), reverse=True)

    def test_uuid_keys(self, alias: str) -> None:
        Owner.objects.using(alias).bulk_create(
            Owner(id=uuid.UUID(int=number * 2**100 + 7), name=f"{number}") for number in range(5)
        )
        rows = Owner.objects.using(alias)
        legs = rows.order_by("name")[:4], rows.order_by("-name")[:4]
        assert keys(fuse(*legs)) == fused(*map(keys, legs))
        assert keys(fuse(*legs)[:2]) == fused(*map(keys, legs))[:2]

    def test_composite_keys(self, alias: str) -> None:
        for number in range(9):
            Composite.objects.using(alias).create(
                tenant=number % 3, number=number, note=f"{number * 7 % 9}"
            )
        rows = Composite.objects.using(alias)
        legs = rows.order_by("note")[:5], rows.order_by("-number")[:5]
        expected = fused(*map(keys, legs))
        found = fuse(*legs)
        assert keys(found) == expected
        assert [row.score for row in found] == sorted(scores(*map(keys, legs)).values())[::-1]
        assert keys(fuse(*legs)[1:4]) == expected[1:4]
        assert list(fuse(*legs).values_list("score", "note")[:1]) == [
            (found[0].score, found[0].note)
        ]
        assert set(keys(rows.filter(pk__in=fuse(*legs)))) == set(expected)

    def test_odd_names(self, alias: str) -> None:
        for number in range(4):
            Odd.objects.using(alias).create(name=f"{number}", vector=[number, 1, 0])
        rows = Odd.objects.using(alias)
        legs = nearest(rows, "vector", [3, 1, 0], metric="l2", k=2), rows.order_by("name")[:2]
        assert [row.name for row in fuse(*legs)] == ["0", "3", "1", "2"]

    def test_an_index_serves_a_leg(self, alias: str) -> None:
        Portable.objects.using(alias).bulk_create(
            Portable(category=number, embedding=[number + 1, 1, 0, 0, 0, 0, 0, number % 7])
            for number in range(50)
        )
        rows = Portable.objects.using(alias)
        leg = nearest(rows, "embedding", [1] * 8, k=10)
        with CaptureQueriesContext(connections[alias]) as alone:
            expected = keys(leg)
        with CaptureQueriesContext(connections[alias]) as captured:
            assert keys(fuse(leg)) == expected
        tables = ("vec0", "portable_embedding", "vector_top_k")

        def index_uses(queries: Any) -> int:
            return sum(any(table in query["sql"] for table in tables) for query in queries)

        assert index_uses(captured) == index_uses(alone)

    def test_a_queryset_class_and_its_query(self, items: Any) -> None:
        own: Any = TaggedItems(Item, using=items.db)
        legs = own.order_by("name")[:3], nearest(own, "embedding", QUERY, k=3)
        found = fuse(*legs)
        assert type(found) is TaggedItems
        assert found.tagged() is found
        assert "tagged" in str(found.query)
        assert keys(found) == fused(*map(keys, legs))
        assert keys(pickle.loads(pickle.dumps(found.query)).model.objects.none()) == []
        assert isinstance(fuse(VectorQuerySet(Item).order_by("pk")[:1]), VectorQuerySet)

    def test_related_managers(self, alias: str) -> None:
        document = Document.objects.using(alias).create(title="one", embedding=QUERY)
        other = Document.objects.using(alias).create(title="two", embedding=QUERY)
        for owner in (document, other, document):
            Chunk.objects.using(alias).create(document=owner, embedding=[1, 2, 3])
        found = fuse(document.chunks.order_by("pk")[:9], document.chunks.order_by("-pk")[:9])
        assert len(found) == 2
        assert all(row.document is document for row in found)


class TestDatabases:
    def test_the_database_of_the_legs(self, items: Any, legs: Any, alias: str) -> None:
        assert fuse(*legs).db == alias
        assert {row._state.db for row in fuse(*legs)} == {alias}

    @pytest.mark.django_db(databases="__all__")
    def test_using_moves_the_legs(self, django_db_blocker: Any) -> None:
        for alias, name in (("default", "here"), ("postgresql", "there")):
            Item.objects.using(alias).create(name=name)
        found = fuse(Item.objects.order_by("name")[:3])
        assert [row.name for row in found] == ["here"]
        assert [row.name for row in found.using("postgresql")] == ["there"]


class TestErrors:
    @pytest.mark.parametrize(
        ("given", "options", "error", "message"),
        [
            (list, {}, ValueError, "fuse() takes at least one queryset."),
            (
                lambda: [Item.objects],
                {},
                TypeError,
                "fuse() takes querysets, and leg 1 is "
                "<django.db.models.manager.Manager object at 0x>.",
            ),
            (
                lambda: [[1, 2]],
                {},
                TypeError,
                "fuse() takes querysets, and leg 1 is a list, which slicing an evaluated queryset "
                "gives: slice its all().",
            ),
            (
                lambda: [Item.objects.raw("SELECT 1")],
                {},
                TypeError,
                "fuse() takes querysets, and leg 1 is <RawQuerySet: SELECT 1>.",
            ),
            (
                lambda: [Item.objects.order_by("pk")[:3], Item.objects.order_by("pk")],
                {},
                ValueError,
                "fuse() takes querysets with a limit, and leg 2 has none: slice it, or give its "
                "search a k.",
            ),
            (
                lambda: [Item.objects.order_by("pk")[3:]],
                {},
                ValueError,
                "fuse() takes querysets with a limit, and leg 1 has none: slice it, or give its "
                "search a k.",
            ),
            (
                lambda: [Item.objects.all()[:3]],
                {},
                ValueError,
                "fuse() takes ordered querysets, and leg 1 is not: without order_by() its rows "
                "have no ranks.",
            ),
            (
                lambda: [Item.objects.order_by("pk").values("name")[:3]],
                {},
                TypeError,
                "fuse() takes querysets of rows, and leg 1 has values(): call that on what fuse() "
                "returns.",
            ),
            (
                lambda: [Item.objects.order_by("pk")[:3], Document.objects.order_by("pk")[:3]],
                {},
                ValueError,
                "fuse() takes querysets of one model, not of testapp.Item and testapp.Document: "
                "their rows share no keys.",
            ),
            (
                lambda: [Item.objects.order_by("pk")[:3], SubItem.objects.order_by("pk")[:3]],
                {},
                ValueError,
                "fuse() takes querysets of one model, not of testapp.Item and testapp.SubItem: "
                "their rows share no keys.",
            ),
            (
                lambda: [
                    Item.objects.order_by("pk")[:3],
                    Item.objects.using("postgresql").order_by("pk")[:3],
                ],
                {},
                ValueError,
                "fuse() takes querysets of one database, not of 'default' and 'postgresql': give "
                "all of them the same using().",
            ),
            *(
                (
                    lambda: [Item.objects.order_by("pk")[:3]],
                    {"k": k},
                    ValueError,
                    f"fuse() takes positive numbers as k, not {short(k)}.",
                )
                for k in (0, -1, 10**400, math.nan, math.inf, True, "60", None)
            ),
            *(
                (
                    lambda: [Item.objects.order_by("pk")[:3]],
                    {"weights": weights},
                    ValueError,
                    f"fuse() takes one weight for each search, 1 in all, not {weights!r}.",
                )
                for weights in ((), (1, 1), "1", b"1", {1: 2}, {1}, 1)
            ),
            *(
                (
                    lambda: [Item.objects.order_by("pk")[:3]],
                    {"weights": [weight]},
                    ValueError,
                    f"fuse() takes positive numbers as weights, not {short(weight)}.",
                )
                for weight in (0, -1, 10**400, math.nan, math.inf, True, "1", None)
            ),
            (
                lambda: [Item.objects.order_by("pk")[:3]] * 2,
                {"weights": [1e308, 1e308]},
                ValueError,
                "fuse() takes weights whose sum is a number, not [1e+308, 1e+308].",
            ),
            (
                lambda: [Item.objects.order_by("pk")[:3]],
                {"annotation": "name"},
                ValueError,
                "fuse() would annotate its rows with 'name', which is a field of testapp.Item: "
                "pass another name as annotation=.",
            ),
        ],
    )
    def test_bad_input(self, given: Any, options: Any, error: Any, message: str) -> None:
        with pytest.raises(error) as caught:
            fuse(*given(), **options)
        assert type(caught.value) is error
        assert without_addresses(str(caught.value)) == message

    def test_the_name_of_the_ranks(self, items: Any) -> None:
        (row,) = fuse(items.order_by("name")[:1], annotation="best")
        assert (row.best, row.best_ranks) == (1 / 61, (1,))
        assert not hasattr(row, "score")


def without_addresses(text: str) -> str:
    import re

    return re.sub(r"0x[0-9a-f]+", "0x", text)
