"""hybrid() on every engine: reciprocal rank fusion of what its two searches find by themselves."""

from __future__ import annotations

import math
import pickle
from collections.abc import Sequence
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.core.paginator import Paginator
from django.db import connections
from django.db.models import Count
from django.test.utils import CaptureQueriesContext

from dorm_vector import VectorQuerySet, fuse, hybrid, matching, nearest
from tests.textapp.models import Article, Comment, Report

TEXTS = [
    ("Rain", "It rains on the plain in Spain.", [1, 0, 0]),
    ("Sunshine", "The sun shines on the plain.", [0.9, 0.3, 0]),
    ("Elections", "Spain votes in May.", [0, 1, 0]),
    ("Football", "Spain won in the rain.", [0, 0.2, 1]),
    ("EAGAIN", "An error number.", [0.5, 0.5, 0.5]),
    ("Nothing", None, None),
]
TO = [1, 0.1, 0]
TEXT = "rain in spain"


def scores(*legs: Sequence[Any], k: float = 60, weights: Any = (1, 1)) -> dict[Any, float]:
    """Reciprocal rank fusion."""
    found: dict[Any, list[float]] = {}
    for leg, weight in zip(legs, weights, strict=True):
        for rank, key in enumerate(leg, start=1):
            found.setdefault(key, []).append(weight / (k + rank))
    return {key: math.fsum(parts) for key, parts in found.items()}


def fused(*legs: Sequence[Any], **options: Any) -> list[Any]:
    return [key for key, _ in sorted(scores(*legs, **options).items(), key=lambda p: (-p[1], p[0]))]


def keys(rows: Any) -> list[Any]:
    return [row.pk for row in rows]


@pytest.fixture
def articles(alias: str) -> Any:
    for place, (title, body, vector) in enumerate(TEXTS):
        Article.objects.using(alias).create(
            title=title, body=body, embedding=vector, category=place % 2
        )
    return Article.objects.using(alias)


def legs(rows: Any, count: int = 100) -> list[list[Any]]:
    """What the two searches find."""
    return [
        keys(nearest(rows, "embedding", TO, k=count)),
        keys(matching(rows, TEXT, match="any", k=count)),
    ]


class TestResults:
    def test_both(self, articles: Any) -> None:
        found = list(hybrid(articles, "embedding", TO, TEXT))
        near, worded = legs(articles)
        assert len(worded) == 3
        assert keys(found) == fused(near, worded)
        assert {row.pk: row.score for row in found} == scores(near, worded)
        for row in found:
            assert row.score_ranks == (
                near.index(row.pk) + 1 if row.pk in near else None,
                worded.index(row.pk) + 1 if row.pk in worded else None,
            )

    def test_a_name_and_a_meaning(self, articles: Any) -> None:
        assert hybrid(articles, "embedding", [1, 0, 0], "EAGAIN", k=1)[0].title == "EAGAIN"
        assert hybrid(articles, "embedding", [1, 0, 0], "wet weather")[0].title == "Rain"

    @pytest.mark.parametrize("k", [0, 1, 3, 100])
    def test_k(self, articles: Any, k: int) -> None:
        assert keys(hybrid(articles, "embedding", TO, TEXT, k=k)) == fused(*legs(articles))[:k]

    def test_all_that_was_found(self, articles: Any) -> None:
        found = hybrid(articles, "embedding", TO, TEXT, k=None)
        assert keys(found) == fused(*legs(articles))
        assert (
            keys(found.filter(category=0)[:2]) == [row.pk for row in found if row.category == 0][:2]
        )
        pages = Paginator(hybrid(articles, "embedding", TO, TEXT, k=None), 2)
        assert [row.pk for page in pages for row in page] == fused(*legs(articles))

    def test_candidates(self, articles: Any) -> None:
        found = hybrid(articles, "embedding", TO, TEXT, k=None, candidates=2)
        assert keys(found) == fused(*legs(articles, 2))
        # As many rows as are asked for, whatever the candidates.
        assert (
            keys(hybrid(articles, "embedding", TO, TEXT, k=4, candidates=1))
            == (fused(*legs(articles, 4))[:4])
        )

    def test_weights_and_rank_constant(self, articles: Any) -> None:
        options: Any = {"weights": (0.25, 4)}
        found = hybrid(articles, "embedding", TO, TEXT, rank_constant=2, **options)
        assert keys(found) == fused(*legs(articles), k=2, **options)
        assert [row.score for row in found] == sorted(
            scores(*legs(articles), k=2, **options).values(), reverse=True
        )

    def test_options_of_the_searches(self, articles: Any) -> None:
        near = nearest(articles, "embedding", TO, k=9, metric="l2", max_distance=1.2, exact=True)
        worded = matching(articles, TEXT, match="all", fields=["body"], k=9)
        found = hybrid(
            articles,
            "embedding",
            TO,
            TEXT,
            metric="l2",
            max_distance=1.2,
            exact=True,
            match="all",
            fields=["body"],
        )
        assert keys(found) == fused(keys(near), keys(worded))
        assert 0 < len(near) < 5

    def test_conditions_hold_for_both(self, articles: Any) -> None:
        rows = articles.filter(category=1)
        found = hybrid(rows, "embedding", TO, TEXT)
        assert keys(found) == fused(*legs(rows))
        assert {row.category for row in found} == {1}

    def test_managers_models_and_the_method(self, articles: Any, alias: str) -> None:
        expected = fused(*legs(articles))
        manager = VectorQuerySet.as_manager()
        manager.model, manager._db = Article, alias
        assert keys(hybrid(manager, "embedding", TO, TEXT)) == expected
        assert keys(manager.hybrid("embedding", TO, TEXT, k=2)) == expected[:2]
        assert keys(hybrid(Article, "embedding", TO, TEXT).using(alias)) == expected
        assert isinstance(hybrid(articles, "embedding", TO, TEXT), VectorQuerySet)

    def test_inherited_texts(self, alias: str) -> None:
        for title, body, vector in TEXTS:
            Report.objects.using(alias).create(title=title, body=body, embedding=vector)
        rows = Report.objects.using(alias)
        found = hybrid(rows, "embedding", TO, TEXT)
        assert keys(found) == fused(*legs(rows))
        assert {type(row) for row in found} == {Report}


class TestOneLegOnly:
    @pytest.mark.parametrize("text", ["", "   ", "-rain", "?!", None, "\0", "the and of"])
    def test_no_words(self, articles: Any, text: Any) -> None:
        found = hybrid(articles, "embedding", TO, text)
        assert keys(found) == keys(nearest(articles, "embedding", TO))
        assert found[0].score_ranks == (1, None)

    @pytest.mark.parametrize("to", [None, [0, 0, 0]])
    def test_no_vector(self, articles: Any, to: Any) -> None:
        found = hybrid(articles, "embedding", to, TEXT)
        assert keys(found) == keys(matching(articles, TEXT, match="any"))
        assert found[0].score_ranks == (None, 1)

    def test_neither(self, articles: Any) -> None:
        found = hybrid(articles, "embedding", None, "")
        assert (list(found), found.count(), found.exists()) == ([], 0, False)

    def test_an_instance_is_left_out_of_both(self, articles: Any) -> None:
        rain = articles.get(title="Rain")
        found = hybrid(articles, "embedding", rain, TEXT)
        others = articles.exclude(pk=rain.pk)
        assert keys(found) == fused(
            keys(nearest(articles, "embedding", rain)),
            keys(matching(others, TEXT, match="any")),
        )
        assert rain.pk not in keys(found)


class TestQueryset:
    def test_what_a_queryset_does(self, articles: Any) -> None:
        expected = fused(*legs(articles))
        found = hybrid(articles, "embedding", TO, TEXT, k=3)
        assert (found.count(), found.exists(), len(found)) == (3, True, 3)
        assert list(found.values_list("pk", flat=True)) == expected[:3]
        assert set(keys(articles.filter(pk__in=found.all()))) == set(expected[:3])
        assert keys(pickle.loads(pickle.dumps(found))) == expected[:3]
        assert keys(found.only("title")) == expected[:3]
        assert (
            keys(fuse(found.all(), articles.order_by("-pk")[:1]))[0]
            == (fused(expected[:3], keys(articles.order_by("-pk")[:1]))[0])
        )

    def test_how_rows_are_read(self, articles: Any) -> None:
        rows = articles.defer("embedding").prefetch_related("comments")
        for row in hybrid(rows, "embedding", TO, TEXT):
            assert row.get_deferred_fields() == {"embedding"}
            assert row._prefetched_objects_cache["comments"] is not None

    def test_annotations_stay(self, articles: Any, alias: str) -> None:
        for article in articles.filter(category=0):
            Comment.objects.using(alias).create(article=article, text="words")
        rows = articles.annotate(n=Count("comments"))
        found = hybrid(rows, "embedding", TO, TEXT)
        assert keys(found) == fused(*legs(articles))
        assert [row.n for row in found] == [1 - row.category for row in found]
        assert {row.n for row in hybrid(rows.filter(n=1), "embedding", TO, TEXT)} == {1}

    def test_rows_that_joins_multiply_come_once(self, articles: Any, alias: str) -> None:
        for article in articles:
            for text in ("one", "two"):
                Comment.objects.using(alias).create(article=article, text=text)
        rows = articles.filter(comments__text__in=["one", "two"])
        found = hybrid(rows, "embedding", TO, TEXT)
        assert set(keys(found)) == set(fused(*legs(articles)))
        assert len(keys(found)) == len(set(keys(found)))

    def test_no_query_before_it_is_evaluated(self, articles: Any, alias: str) -> None:
        with CaptureQueriesContext(connections[alias]) as captured:
            found = hybrid(articles, "embedding", TO, TEXT)
            str(found.query)
            found.values("pk")
        assert len(captured) == 0
        with CaptureQueriesContext(connections[alias]) as captured:
            list(found)
        assert len([query for query in captured if query["sql"].startswith("SELECT")]) == 3

    def test_async(self, articles: Any, alias: str) -> None:
        async def read() -> list[Any]:
            return [row.pk async for row in hybrid(articles, "embedding", TO, TEXT)]

        assert async_to_sync(read)() == fused(*legs(articles))


def by_length(rows: list[Any], text: str) -> list[float]:
    return [-len(row.title) for row in rows]


class TestRerank:
    def test_scores_replace(self, articles: Any) -> None:
        given: list[Any] = []

        def rerank(rows: list[Any], text: str) -> list[float]:
            given.append((keys(rows), [row.score_ranks for row in rows], text))
            return by_length(rows, text)

        expected = list(hybrid(articles, "embedding", TO, TEXT))
        found = hybrid(articles, "embedding", TO, TEXT, k=3, rerank=rerank)
        assert given == []
        rows = list(found)
        assert given == [(keys(expected), [row.score_ranks for row in expected], TEXT)]
        best = sorted(expected, key=lambda row: (len(row.title), row.pk))[:3]
        assert keys(rows) == keys(best)
        assert [row.score for row in rows] == [-len(row.title) for row in best]
        ranks = {row.pk: row.score_ranks for row in expected}
        assert [row.score_ranks for row in rows] == [ranks[row.pk] for row in best]

    def test_numpy_scores(self, articles: Any) -> None:
        import numpy as np

        found = hybrid(
            articles,
            "embedding",
            TO,
            TEXT,
            rerank=lambda rows, text: np.arange(len(rows), dtype="f4"),
        )
        assert keys(found) == fused(*legs(articles))[::-1]

    def test_it_is_not_called_without_candidates(self, articles: Any) -> None:
        assert list(hybrid(articles, "embedding", None, "", rerank=lambda rows, text: 1 / 0)) == []

    def test_how_candidates_are_read(self, articles: Any) -> None:
        deferred: list[Any] = []

        def rerank(rows: list[Any], text: str) -> list[float]:
            deferred.extend(row.get_deferred_fields() for row in rows)
            return by_length(rows, text)

        list(hybrid(articles.defer("embedding"), "embedding", TO, TEXT, rerank=rerank))
        assert deferred == [{"embedding"}] * 5

    def test_pickled(self, articles: Any, alias: str) -> None:
        found = hybrid(articles, "embedding", TO, TEXT, rerank=by_length)
        other = Article.objects.using(alias)
        with CaptureQueriesContext(connections[alias]) as captured:
            other.query = pickle.loads(pickle.dumps(found.query))
        assert len(captured) == 0
        assert keys(other) == keys(found)

    @pytest.mark.parametrize(
        ("rerank", "error", "message"),
        [
            (
                lambda rows, text: [1, 2],
                ValueError,
                "rerank returned 2 scores for 5 candidates; it has to return one for each.",
            ),
            (
                lambda rows, text: [math.nan] * 5,
                ValueError,
                "rerank returned nan as a score; it has to be finite.",
            ),
            (
                lambda rows, text: [math.inf] * 5,
                ValueError,
                "rerank returned inf as a score; it has to be finite.",
            ),
            (
                lambda rows, text: None,
                TypeError,
                "rerank has to return a number for each candidate, not None.",
            ),
            (
                lambda rows, text: ["a"] * 5,
                TypeError,
                "rerank has to return a number for each candidate, not ['a', 'a', 'a', 'a', ...].",
            ),
        ],
    )
    def test_bad_scores(self, articles: Any, rerank: Any, error: Any, message: str) -> None:
        with pytest.raises(error) as caught:
            list(hybrid(articles, "embedding", TO, TEXT, rerank=rerank))
        assert (type(caught.value), str(caught.value)) == (error, message)


class TestErrors:
    @pytest.mark.parametrize(
        ("options", "error", "message"),
        [
            ({"k": -1}, ValueError, "hybrid() needs a k of 0 or more rows, not -1."),
            ({"k": 1.5}, ValueError, "hybrid() needs a k of 0 or more rows, not 1.5."),
            ({"k": True}, ValueError, "hybrid() needs a k of 0 or more rows, not True."),
            ({"candidates": 0}, ValueError, "hybrid() takes 1 or more candidates, not 0."),
            ({"candidates": None}, ValueError, "hybrid() takes 1 or more candidates, not None."),
            (
                {"weights": (1,)},
                ValueError,
                "hybrid() takes one weight for each search, 2 in all, not (1,).",
            ),
            (
                {"weights": (1, 0)},
                ValueError,
                "hybrid() takes positive numbers as weights, not 0.",
            ),
            (
                {"rank_constant": 0},
                ValueError,
                "hybrid() takes positive numbers as rank_constant, not 0.",
            ),
            ({"rerank": 3}, TypeError, "hybrid() takes a callable as rerank, not 3."),
            (
                {"annotation": "title"},
                ValueError,
                "hybrid() would annotate its rows with 'title', which is a field of "
                "textapp.Article: pass another name as annotation=.",
            ),
        ],
    )
    def test_bad_input(self, articles: Any, options: Any, error: Any, message: str) -> None:
        with pytest.raises(error) as caught:
            hybrid(articles, "embedding", TO, TEXT, **options)
        assert (type(caught.value), str(caught.value)) == (error, message)

    def test_an_annotation_that_is_there(self, articles: Any) -> None:
        rows = articles.annotate(score_ranks=Count("pk"))
        with pytest.raises(ValueError, match="annotate") as caught:
            hybrid(rows, "embedding", TO, TEXT)
        assert str(caught.value) == (
            "hybrid() would annotate its rows with 'score_ranks', an annotation that they "
            "already have: pass another name as annotation=."
        )

    def test_values(self, articles: Any) -> None:
        with pytest.raises(TypeError) as caught:
            hybrid(articles.values("title"), "embedding", TO, TEXT)
        assert str(caught.value) == (
            "hybrid() takes a queryset of rows, and this one has values(): call that on what "
            "hybrid() returns."
        )
