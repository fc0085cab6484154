"""``matching()`` wherever a queryset may go: it stays an ordinary one."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from asgiref.sync import async_to_sync
from django.core.exceptions import FieldError
from django.core.paginator import Paginator
from django.db import connections, transaction
from django.db.models import (
    Avg,
    Case,
    Count,
    Exists,
    F,
    Max,
    OuterRef,
    Prefetch,
    Q,
    Subquery,
    Sum,
    Value,
    When,
    Window,
)
from django.db.models.functions import Round, RowNumber
from django.utils.translation import gettext_lazy

from dorm_vector import fuse, matching, nearest
from dorm_vector.engines import engine_for
from dorm_vector.search.ranking import TextRank
from tests.textapp.models import Article, ArticleProxy, Comment, Memo, Page, Report, Section

TITLES = ["cat", "cat cat", "cat dog", "dog", "cat dog bird", "bird"]


@pytest.fixture
def rows(alias: str) -> Any:
    objects = Article.objects.using(alias)
    for number, title in enumerate(TITLES):
        article = objects.create(title=title, category=number % 2, embedding=[1, number, 2])
        for part in range(number):
            article.comments.create(text=f"comment {part} cat")
    return objects


def titles(found: Any) -> list[str]:
    return sorted(row.title for row in found)


CATS = ["cat", "cat cat", "cat dog", "cat dog bird"]


class TestRows:
    def test_order_and_ties(self, rows: Any) -> None:
        for _ in range(3):
            rows.create(title="fish")
        found = list(matching(rows, "fish"))
        assert [row.pk for row in found] == sorted(row.pk for row in found)
        assert len({row.rank for row in found}) == 1
        ranks = [row.rank for row in matching(rows, "cat")]
        assert ranks == sorted(ranks, reverse=True)

    def test_pages(self, rows: Any) -> None:
        found = matching(rows, "cat or dog")
        paginator = Paginator(found, 2)
        pages = [row.pk for number in paginator.page_range for row in paginator.page(number)]
        assert pages == [row.pk for row in found]
        assert paginator.count == 5
        assert matching(rows, "cat or dog")[1:3].count() == 2
        assert matching(rows, "cat", k=2).count() == 2
        assert matching(rows, "cat", k=np.int64(2)).count() == 2
        assert not matching(rows, "cat", k=0)

    def test_first_last_get_in_bulk(self, rows: Any) -> None:
        found = matching(rows, "cat")
        everything = list(found)
        assert found.first() == everything[0]
        assert found.last() == everything[-1]
        assert list(found.reverse()) == everything[::-1]
        assert set(found.in_bulk()) == {row.pk for row in everything}
        assert found.get(title="cat cat").rank == next(
            row.rank for row in everything if row.title == "cat cat"
        )
        assert found.contains(everything[1])
        assert everything[0].pk in found.values_list("pk", flat=True)

    def test_only_defer_values(self, rows: Any) -> None:
        found = matching(rows, "cat")
        assert titles(found.only("title")) == CATS
        assert titles(found.defer("body", "embedding")) == CATS
        (first, *_) = found.values("title", "rank")
        assert set(first) == {"title", "rank"}
        (first, *_) = found.values()
        assert first["rank"] > 0
        assert sorted(found.values_list("title", flat=True)) == CATS
        (first, *_) = found.values_list("title", "rank", named=True)
        assert first.rank > 0
        assert matching(rows.values("title"), "bird").count() == 2
        assert {row["title"] for row in matching(rows.values("title"), "bird")} == {
            "cat dog bird",
            "bird",
        }

    def test_async(self, rows: Any, alias: str) -> None:
        found = matching(rows, "cat")

        async def read() -> Any:
            return [row async for row in found], await found.acount(), await found.afirst()

        if alias == "postgresql":
            pytest.importorskip("psycopg")
        everything, count, first = async_to_sync(read)()
        assert titles(everything) == CATS
        assert (count, first) == (4, everything[0])

    def test_iterator_and_explain(self, rows: Any) -> None:
        assert titles(matching(rows, "cat").iterator(chunk_size=2)) == CATS
        assert matching(rows, "cat").explain()
        assert str(matching(rows, "cat").query)

    def test_copies(self, rows: Any) -> None:
        found = matching(rows, "cat")
        assert titles(copy.deepcopy(found)) == CATS
        assert titles(copy.copy(found).filter(category=0)) == ["cat", "cat dog", "cat dog bird"]
        again = rows.all()
        again.query = pickle.loads(pickle.dumps(found.filter(category=0).query))
        assert titles(again) == ["cat", "cat dog", "cat dog bird"]
        assert titles(again | rows.filter(title="bird")) == [
            "bird",
            "cat",
            "cat dog",
            "cat dog bird",
        ]

    def test_lazy_text(self, rows: Any) -> None:
        assert titles(matching(rows, gettext_lazy("cat"))) == CATS


class TestFilters:
    def test_before_and_after(self, rows: Any) -> None:
        assert titles(matching(rows.filter(category=0), "cat")) == [
            "cat",
            "cat dog",
            "cat dog bird",
        ]
        assert titles(matching(rows, "cat").exclude(category=0)) == ["cat cat"]
        assert titles(matching(rows, "cat").filter(Q(title="cat") | Q(category=1))) == [
            "cat",
            "cat cat",
        ]
        assert titles(matching(rows.exclude(comments=None), "cat").distinct()) == CATS[1:]

    def test_joins_give_rows_as_elsewhere(self, rows: Any) -> None:
        found = matching(rows.filter(comments__text__contains="cat"), "cat")
        assert found.count() == 1 + 2 + 4
        assert found.distinct().count() == 3

    def test_two_searches(self, rows: Any) -> None:
        both = matching(matching(rows, "cat"), "dog", annotation="dogs")
        assert titles(both) == ["cat dog", "cat dog bird"]
        assert all(row.rank > 0 and row.dogs > 0 for row in both)
        again = matching(matching(rows, "cat"), "dog")
        assert titles(again) == ["cat dog", "cat dog bird"]

    def test_or_and_and(self, rows: Any) -> None:
        cats, birds = matching(rows, "cat"), matching(rows, "bird")
        assert titles(cats | birds) == sorted({*CATS, "bird"})
        assert titles(cats & birds) == ["cat dog bird"]
        assert titles(rows.filter(title="dog") | cats.order_by()) == sorted({*CATS, "dog"})
        assert titles(cats | rows.filter(title="dog")) == sorted({*CATS, "dog"})
        assert titles(cats & rows.filter(category=1)) == ["cat cat"]

    def test_unions(self, rows: Any) -> None:
        cats, birds = (matching(rows, word).order_by() for word in ("cat", "bird"))
        assert titles(cats.union(birds, all=True)) == sorted([*CATS, "bird", "cat dog bird"])
        names = cats.values("title").union(birds.values("title"))
        assert sorted(row["title"] for row in names) == sorted({*CATS, "bird"})
        assert titles(cats.intersection(rows.all().annotate(rank=Value(-1.0)))) == []
        assert sorted(
            row["title"] for row in rows.order_by().values("title").difference(cats.values("title"))
        ) == ["bird", "dog"]

    def test_in_other_queries(self, rows: Any, alias: str) -> None:
        comments = Comment.objects.using(alias)
        cats = matching(rows, "cat")
        assert comments.filter(article__in=cats).count() == 0 + 1 + 2 + 4
        assert comments.exclude(article__in=cats).count() == 3 + 5
        assert comments.filter(article__title__in=cats.values("title")).count() == 7
        assert comments.filter(article__in=cats[:1]).count() in (0, 1, 2, 4)
        assert (
            rows.filter(Exists(matching(comments.filter(article=OuterRef("pk")), "3"))).count() == 2
        )
        best = matching(comments.filter(article=OuterRef("pk")), "cat")
        found = rows.annotate(
            best=Subquery(best.values("text")[:1]), rank_of=Subquery(best.values("rank")[:1])
        ).exclude(best=None)
        assert found.count() == 5
        assert all(row.rank_of > 0 for row in found)
        nested = rows.filter(comments__in=matching(comments.filter(article__in=cats), "comment"))
        assert titles(nested.distinct()) == CATS[1:]

    def test_on_the_outer_side_too(self, rows: Any, alias: str) -> None:
        """The same index inside and outside of a query."""
        inner = matching(rows.filter(category=OuterRef("category")), "bird")
        assert titles(matching(rows.filter(Exists(inner)), "cat")) == CATS
        inner = matching(rows.filter(pk=OuterRef("pk")), "dog")
        assert titles(matching(rows.filter(~Exists(inner)), "cat")) == ["cat", "cat cat"]

    def test_prefetch(self, rows: Any, alias: str) -> None:
        comments = matching(Comment.objects.using(alias), "1")
        found = rows.prefetch_related(Prefetch("comments", comments, to_attr="ones"))
        assert sum(len(row.ones) for row in found) == 4
        loaded = matching(rows, "cat").prefetch_related("comments")
        assert sum(len(row.comments.all()) for row in loaded) == 7
        related = matching(Comment.objects.using(alias), "1").select_related("article")
        assert {comment.article.title for comment in related} == set(TITLES[2:])

    def test_related_managers(self, rows: Any) -> None:
        article = rows.get(title="cat dog bird")
        assert matching(article.comments, "2").count() == 1
        assert matching(article.comments.all(), "cat").count() == 4


class TestGroups:
    def test_aggregates(self, rows: Any) -> None:
        cats = matching(rows, "cat")
        assert cats.aggregate(n=Count("pk"), best=Max("rank"))["n"] == 4
        assert cats.aggregate(best=Max("rank"))["best"] == cats[0].rank
        assert cats.aggregate(s=Sum("comments__pk"))["s"] > 0
        assert cats[:2].aggregate(n=Count("pk"), a=Avg("rank"))["n"] == 2

    def test_annotated_counts(self, rows: Any) -> None:
        counted = matching(rows.annotate(n=Count("comments")), "cat")
        assert {row.title: row.n for row in counted} == dict(zip(CATS, (0, 1, 2, 4), strict=True))
        counted = matching(rows, "cat").annotate(n=Count("comments"))
        assert {row.title: row.n for row in counted} == dict(zip(CATS, (0, 1, 2, 4), strict=True))
        assert titles(counted.filter(n__gt=1)) == ["cat dog", "cat dog bird"]

    def test_groups_of_values(self, rows: Any) -> None:
        grouped = matching(rows, "cat").values("category").annotate(n=Count("pk"))
        assert sorted((row["category"], row["n"]) for row in grouped.order_by()) == [(0, 3), (1, 1)]
        grouped = matching(rows, "cat").order_by().values("category").annotate(best=Max("rank"))
        assert len(grouped) == 2
        grouped = rows.values("category").annotate(n=Count("pk"))
        assert grouped.filter(pk__in=matching(rows, "cat")).count() == 2

    def test_distinct(self, rows: Any) -> None:
        assert matching(rows, "cat").distinct().count() == 4
        categories = matching(rows, "cat").order_by().values_list("category", flat=True).distinct()
        assert sorted(categories) == [0, 1]

    def test_windows_and_cases(self, rows: Any) -> None:
        numbered = matching(rows, "cat").annotate(
            number=Window(RowNumber(), order_by=[F("rank").desc(), "pk"])
        )
        assert [row.number for row in numbered] == [1, 2, 3, 4]
        found = matching(rows, "cat").annotate(
            good=Case(When(rank__gt=0, then=Value("yes")), default=Value("no"))
        )
        assert {row.good for row in found} == {"yes"}

    def test_another_order(self, rows: Any) -> None:
        assert [row.title for row in matching(rows, "cat").order_by("-title")] == CATS[::-1]
        assert [row.title for row in matching(rows, "cat").order_by("rank", "-pk")] == [
            row.title for row in matching(rows, "cat").reverse()
        ]
        found = matching(rows, "cat").order_by(F("rank") + F("category"), "pk")
        assert len(found) == 4


class TestWrites:
    def test_update(self, rows: Any) -> None:
        assert matching(rows, "dog").update(body="zebra", category=F("category") + 5) == 3
        assert matching(rows, "zebra dog").count() == 3

    def test_the_rank_cannot_be_assigned_where_it_is_joined(self, rows: Any, alias: str) -> None:
        found = matching(rows, "dog")
        ranks = {row.pk: int(row.rank * 100) for row in found}
        assert len(ranks) == 3
        if engine_for(connections[alias]).computes_text:
            assert found.update(category=Round(F("rank") * 100 - 0.5)) == 3
            stored = rows.filter(pk__in=ranks).values_list("pk", "category")
            assert dict(stored) == ranks
        else:
            with pytest.raises(FieldError) as caught:
                found.update(category=F("rank"))
            assert str(caught.value) == (
                "update() cannot assign the rank of matching(), which is joined to the rows: read "
                "the rows, and store their ranks by bulk_update()."
            )

    def test_delete(self, rows: Any, alias: str) -> None:
        assert matching(rows, "dog").delete()[1]["textapp.Article"] == 3
        assert titles(rows.all()) == ["bird", "cat", "cat cat"]
        comments = Comment.objects.using(alias)
        number = comments.count()
        assert matching(comments, "comment")._raw_delete(alias) == number
        assert matching(comments, "comment").count() == 0

    def test_bulk_update_and_lock(self, rows: Any, alias: str) -> None:
        found = list(matching(rows, "cat"))
        for row in found:
            row.body = "zebra"
        rows.bulk_update(found, ["body"])
        assert matching(rows, "zebra").count() == 4
        with transaction.atomic(alias):
            assert titles(matching(rows.select_for_update(), "cat")) == CATS

    def test_get_or_create_and_save(self, rows: Any) -> None:
        row = matching(rows, "cat").first()
        row.title = "fish"
        row.save()
        assert titles(matching(rows, "fish")) == ["fish"]


class TestWithVectors:
    def test_both_orders(self, rows: Any) -> None:
        found = nearest(matching(rows, "dog"), "embedding", [1, 3, 2], metric="l2")
        assert [row.title for row in found] == ["dog", "cat dog", "cat dog bird"]
        assert [row.distance for row in found] == [0, 1, 1]
        assert all(row.rank > 0 for row in found)
        found = nearest(matching(rows, "dog"), "embedding", [1, 3, 2], metric="l2", k=1)
        assert [row.title for row in found] == ["dog"]
        found = matching(nearest(rows, "embedding", [1, 3, 2], metric="l2"), "cat")
        assert titles(found) == CATS
        assert {row.title: row.distance for row in found} == dict(
            zip(CATS, (3, 2, 1, 1), strict=True)
        )
        assert found.count() == 4

    def test_fused(self, rows: Any) -> None:
        found = fuse(
            nearest(rows, "embedding", [1, 3, 2], metric="l2", k=3), matching(rows, "cat", k=10)
        )
        assert "cat dog" in [row.title for row in found[:2]]
        assert set(titles(found)) == {*CATS, "dog"}

    def test_inside(self, rows: Any) -> None:
        found = nearest(
            rows.filter(pk__in=matching(rows, "cat")), "embedding", [1, 0, 2], metric="l2"
        )
        assert [row.title for row in found] == CATS


class TestInherited:
    def test_a_proxy(self, rows: Any, alias: str) -> None:
        assert titles(matching(ArticleProxy.objects.using(alias), "cat")) == CATS

    def test_index_of_the_parent(self, alias: str) -> None:
        reports = Report.objects.using(alias)
        reports.create(title="cat", body="x", summary="dog")
        Article.objects.using(alias).create(title="cat")
        (found,) = matching(reports, "cat")
        assert (found.summary, found.title) == ("dog", "cat")
        assert matching(reports.filter(summary="dog"), "cat", fields=["body"]).count() == 0
        assert matching(reports, "x").update(summary="bird") == 1
        assert matching(Article.objects.using(alias), "cat").count() == 2

    def test_own_field_of_the_child(self, alias: str) -> None:
        reports = Report.objects.using(alias)
        if alias == "postgresql":
            reports.create(title="cat", summary="dogs")
            assert matching(reports, "dog", fields=["summary"]).count() == 1
            assert matching(reports, "dog cat", fields=["summary", "title"]).count() == 1
            any_of = matching(reports, "dog cat", fields=["summary", "title"], match="any")
            assert any_of.get().rank > 0
        else:
            with pytest.raises(FieldError, match=r"^\w+ finds words through a TextIndex, and "):
                matching(reports, "dog", fields=["summary"])

    def test_composite_keys(self, alias: str) -> None:
        sections = Section.objects.using(alias)
        for number in range(4):
            sections.create(tenant=number % 2, number=number, text="cat " * (number + 1))
        found = matching(sections, "cat")
        assert [row.number for row in found[:2]] == [3, 2]
        assert found.filter(tenant=1).count() == 2
        assert found.values_list("pk", flat=True).first() == (1, 3)
        assert {row.rank > 0 for row in found.order_by("number")} == {True}

    def test_keys_of_text(self, alias: str) -> None:
        pages = Page.objects.using(alias)
        pages.create(slug="a'b\"%", text="cat")
        assert [page.pk for page in matching(pages.filter(pk__contains="b"), "cat")] == ["a'b\"%"]
        assert matching(pages, "cat").delete()[0] == 1


class TestRefused:
    @pytest.mark.parametrize(
        ("options", "error", "message"),
        [
            ({"text": 5}, TypeError, "matching() takes the text to search for, not 5."),
            ({"text": b"cat"}, TypeError, "matching() takes the text to search for, not b'cat'."),
            ({"text": ["cat"]}, TypeError, "matching() takes the text to search for, not ['cat']."),
            (
                {"match": "some"},
                ValueError,
                "matching() takes match='all' or match='any', not 'some'.",
            ),
            ({"match": None}, ValueError, "matching() takes match='all' or match='any', not None."),
            ({"k": -1}, ValueError, "matching() needs a k of 0 or more rows, not -1."),
            ({"k": 2.5}, ValueError, "matching() needs a k of 0 or more rows, not 2.5."),
            ({"k": True}, ValueError, "matching() needs a k of 0 or more rows, not True."),
            (
                {"fields": "title"},
                ValueError,
                "matching() takes a list of field names as fields=, not 'title'.",
            ),
            (
                {"fields": 5},
                ValueError,
                "matching() takes a list of field names as fields=, not 5.",
            ),
            (
                {"fields": [5]},
                ValueError,
                "matching() takes a list of field names as fields=, not [5].",
            ),
            (
                {"fields": []},
                ValueError,
                "matching() takes a list of field names as fields=, not [].",
            ),
            (
                {"fields": ["category"]},
                FieldError,
                "matching() needs text fields, not the IntegerField 'category'.",
            ),
            (
                {"fields": ["titel"]},
                FieldError,
                "textapp.Article has no field 'titel'; its text fields are 'title', 'body', "
                "'note'.",
            ),
            (
                {"fields": ["comments__text"]},
                FieldError,
                "matching() searches the fields of one table, and 'comments__text' crosses a "
                "relation: search the other model, and filter by its rows, "
                "filter(relation__in=matching()).",
            ),
            (
                {"annotation": "title"},
                ValueError,
                "matching() would annotate its rows with 'title', which is a field of "
                "textapp.Article: pass another name as annotation=.",
            ),
            (
                {"annotation": "taken"},
                ValueError,
                "matching() would annotate its rows with 'taken', an annotation that they "
                "already have: pass another name as annotation=.",
            ),
        ],
    )
    def test_options(self, alias: str, options: Any, error: Any, message: str) -> None:
        rows = Article.objects.using(alias).annotate(taken=Value(1))
        with pytest.raises(error) as caught:
            matching(rows, **{"text": "cat", **options})
        assert str(caught.value) == message

    def test_fields_of_any_iterable(self, rows: Any) -> None:
        for fields in (("title",), {"title"}, iter(["title", "title"]), ["body", "title"]):
            assert titles(matching(rows, "cat", fields=fields)) == CATS

    def test_querysets(self, rows: Any) -> None:
        with pytest.raises(TypeError) as caught:
            matching([1], "cat")  # type: ignore[call-overload]
        assert str(caught.value) == "matching() takes a queryset, a manager or a model, not [1]."
        with pytest.raises(TypeError, match=r"^matching\(\) cannot search a RawQuerySet, which is"):
            matching(Article.objects.raw("SELECT 1"), "cat")  # type: ignore[call-overload]
        with pytest.raises(TypeError, match="once a slice has been taken"):
            matching(rows.all()[:3], "cat")

    def test_another_database(self, alias: str, rows: Any) -> None:
        """An index may be declared, and the database named afterwards."""
        found = matching(Article.objects, "cat").using(alias)
        assert titles(found) == CATS
        memos = matching(Memo.objects.using("postgresql"), "cat").using(alias)
        if alias == "postgresql":
            assert list(memos) == []
        else:
            with pytest.raises(FieldError) as caught:
                list(memos)
            name = connections[alias].display_name
            assert str(caught.value) == (
                f"{name} finds words through a TextIndex, and textapp.Memo declares none for "
                f"'text' (database {alias!r}): add TextIndex(fields=['text'], name=...) to its "
                "Meta.indexes, and migrate."
            )

    def test_none(self, rows: Any) -> None:
        for text in (None, "", "-cat", "the", "?!"):
            found = matching(rows, text)
            assert list(found) == []
            assert (found.count(), found.exists(), found.first()) == (0, False, None)
            assert titles(found | rows.filter(title="dog")) == ["dog"]
            assert rows.filter(pk__in=found).count() == 0
            assert isinstance(found.query.annotations["rank"], TextRank)
