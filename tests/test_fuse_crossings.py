"""Where fusions meet the rest of Django: locks, windows, prefetching, conditions, searches."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connections, transaction
from django.db.models import Case, Count, F, Prefetch, Q, Value, When, Window
from django.db.models.functions import RowNumber

from dorm_vector import fuse, hybrid, nearest
from tests.testapp.models import Chunk, Document, Item
from tests.textapp.models import Article


@pytest.fixture
def items(alias: str) -> Any:
    Item.objects.using(alias).bulk_create(
        Item(name=f"n{number}", embedding=[number % 4, 1, number % 3], category=number % 3)
        for number in range(10)
    )
    return Item.objects.using(alias)


@pytest.fixture
def found(items: Any) -> Any:
    """A fusion of n9 to n6 and n0 to n2."""
    return fuse(items.order_by("-name")[:4], items.order_by("name")[:3])


def keys(rows: Any) -> list[Any]:
    return [row.pk for row in rows]


NAMES = ["n0", "n9", "n1", "n8", "n2", "n7", "n6"]


def names(rows: Any) -> list[str]:
    return [row.name for row in rows]


@pytest.mark.parametrize("of", [(), ("self",)])
def test_locks(found: Any, alias: str, of: Any) -> None:
    can = connections[alias].features.has_select_for_update_of
    with transaction.atomic(using=alias):
        assert names(found.select_for_update(of=of if can else ())) == NAMES


def test_legs_that_lock(items: Any, alias: str) -> None:
    leg = items.select_for_update().order_by("name")[:2]
    with transaction.atomic(using=alias):
        assert names(fuse(leg)) == ["n0", "n1"]


def test_windows(items: Any, found: Any) -> None:
    by_name = Window(RowNumber(), order_by="-name")
    leg = items.annotate(place=by_name).order_by("place")[:2]
    assert names(fuse(leg)) == ["n9", "n8"]
    numbered = found.annotate(place=by_name)
    assert numbered.count() == 7
    assert names(numbered.filter(place__lte=2).order_by("place")) == ["n9", "n8"]


def test_distinct(found: Any) -> None:
    assert names(found.distinct()) == NAMES
    assert names(found.distinct()[1:3]) == NAMES[1:3]
    categories = found.values_list("category", flat=True).distinct().order_by("category")
    assert list(categories) == [0, 1, 2]


def test_raw_conditions(found: Any) -> None:
    assert names(found.extra(where=["category = 0"])) == ["n0", "n9", "n6"]


def test_conditions_on_a_fusion(items: Any, found: Any) -> None:
    marked = items.annotate(hit=Case(When(pk__in=found, then=Value(1)), default=Value(0)))
    assert sorted(marked.values_list("hit", flat=True)) == [0] * 3 + [1] * 7
    assert items.aggregate(n=Count("pk", filter=Q(pk__in=found))) == {"n": 7}
    assert found.aggregate(n=Count("pk", filter=Q(score__gt=1 / 62.5))) == {"n": 4}


def test_aliases_and_annotations_in_place_of_the_score(found: Any) -> None:
    assert names(found.alias(same=F("score")).filter(same__gt=1 / 61.5)) == ["n0", "n9"]
    assert {row.score for row in found.annotate(score=Value(1.0))} == {1.0}


def test_random_legs(items: Any) -> None:
    assert len(fuse(items.order_by("?")[:5])) == 5


def test_other_searches_of_a_fusion(items: Any, found: Any) -> None:
    near = nearest(found, "embedding", [1, 1, 1], metric="l2")
    assert set(keys(near)) == set(keys(found.all()))
    assert near[0].distance == 0
    again = fuse(near.all()[:3], items.order_by("name")[:1])
    assert set(keys(again)) == {*keys(near)[:3], keys(items.order_by("name"))[0]}


def test_prefetching_the_best_of_each(alias: str) -> None:
    for number in range(3):
        document = Document.objects.using(alias).create(title=f"{number}", embedding=[1, 2, 3])
        for place in range(3):
            Chunk.objects.using(alias).create(document=document, embedding=[number, place, 1])
    chunks = Chunk.objects.using(alias)
    best = fuse(chunks.order_by("-pk")[:9])[:2]
    documents = Document.objects.using(alias).order_by("pk")
    found = documents.prefetch_related(Prefetch("chunks", best, to_attr="best"))
    assert [keys(document.best) for document in found] == [
        sorted(keys(document.chunks.all()), reverse=True)[:2] for document in documents
    ]


class TestHybrid:
    @pytest.fixture
    def articles(self, alias: str) -> Any:
        for place, title in enumerate(["rain in spain", "sun", "rain rain", "spain"]):
            Article.objects.using(alias).create(title=title, embedding=[place, 1, 0])
        return Article.objects.using(alias)

    @pytest.mark.parametrize(
        "rows",
        [
            lambda articles: articles.distinct(),
            lambda articles: articles.order_by("-title"),
            lambda articles: articles.filter(title__contains="a") | articles.filter(title="sun"),
            lambda articles: articles.annotate(key=F("pk")),
            lambda articles: nearest(articles, "embedding", [1, 1, 0], metric="l2"),
        ],
        ids=["distinct", "ordered", "or", "annotated", "searched"],
    )
    def test_querysets(self, articles: Any, rows: Any) -> None:
        expected = keys(hybrid(articles, "embedding", [1, 1, 0], "rain"))
        assert len(expected) == 4
        assert keys(hybrid(rows(articles), "embedding", [1, 1, 0], "rain")) == expected

    def test_an_instance_that_is_not_saved(self, articles: Any) -> None:
        to = Article(embedding=[1, 1, 0])
        expected = keys(hybrid(articles, "embedding", [1, 1, 0], "rain"))
        assert keys(hybrid(articles, "embedding", to, "rain")) == expected

    @pytest.mark.parametrize(
        ("call", "message"),
        [
            (
                lambda articles: hybrid(articles[:2], "embedding", [1, 1, 0], "rain"),
                "Cannot reorder a query once a slice has been taken.",
            ),
            (
                lambda articles: hybrid(3, "embedding", [1, 1, 0], "rain"),
                "hybrid() takes a queryset, a manager or a model, not 3.",
            ),
            (
                lambda articles: hybrid(articles, "embedding", [1, 1, 0], 3),
                "matching() takes the text to search for, not 3.",
            ),
        ],
        ids=["sliced", "no queryset", "no text"],
    )
    def test_what_cannot_be_searched(self, articles: Any, call: Any, message: str) -> None:
        with pytest.raises(TypeError) as caught:
            call(articles)
        assert str(caught.value) == message


def test_groups_of_a_search_of_a_fusion_or_of_others(alias: str) -> None:
    documents = Document.objects.using(alias)
    for number in range(6):
        row = documents.create(title=f"t{number}", embedding=[number, 1, 1])
        Chunk.objects.using(alias).bulk_create(Chunk(document=row) for _ in range(number % 3))
    fused = fuse(documents.order_by("title")[:4], documents.order_by("-title")[:2])
    counted = fused.annotate(n=Count("chunks")).filter(n__gt=0)
    searched = nearest(counted, "embedding", [2, 1, 1], metric="l2").filter(title__lt="t3")
    either = searched | documents.filter(title__gt="t4")
    assert [(row.title, row.n) for row in either] == [("t2", 2), ("t1", 1), ("t5", 2)]
    assert [(row.title, row.n) for row in counted.order_by("title")] == [
        ("t1", 1),
        ("t2", 2),
        ("t4", 1),
        ("t5", 2),
    ]
