"""``matching()``: the rows that have the words, on every engine."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from django.core.exceptions import FieldError
from django.db.models import Avg, Count, Exists, OuterRef, Subquery

from dorm_vector import matching, nearest
from tests.textapp.models import Article, Comment, Memo, Page, Product, Report, Section

TEXTS = [
    ("Cats and dogs", "Pets they are."),
    ("The sad cat", "A cat sat on a mat, sadly."),
    ("Dogs", "Running dogs, and a dog that ran."),
    ("functools.singledispatch", "A generic function of %Y-%m-%d and EAGAIN."),
    ("Birds", None),
    ("Crème brûlée", "A dessert, not a cat."),
]


@pytest.fixture
def articles(alias: str) -> Any:
    rows = Article.objects.using(alias)
    for number, (title, body) in enumerate(TEXTS):
        rows.create(title=title, body=body, category=number % 2, embedding=[1, number, 0])
    return rows


def titles(rows: Any) -> set[str]:
    return {row.title for row in rows}


class TestFound:
    @pytest.mark.parametrize(
        ("text", "found"),
        [
            ("cat", {"Cats and dogs", "The sad cat", "Crème brûlée"}),
            ("CATS", {"Cats and dogs", "The sad cat", "Crème brûlée"}),
            ("cat dog", {"Cats and dogs"}),
            ("the cat", {"Cats and dogs", "The sad cat", "Crème brûlée"}),
            ("cat -dog", {"The sad cat", "Crème brûlée"}),
            ('"sad cat"', {"The sad cat"}),
            ('"cat sad"', set()),
            ('cat -"sad cat"', {"Cats and dogs", "Crème brûlée"}),
            ("bird or dessert", {"Birds", "Crème brûlée"}),
            ("singledispatch", {"functools.singledispatch"}),
            ("functools.singledispatch", {"functools.singledispatch"}),
            ("singledispatch.functools", set()),
            ("EAGAIN", {"functools.singledispatch"}),
            ("%Y-%m-%d", {"functools.singledispatch"}),
            ("-cat", set()),
            ("", set()),
            ("the", set()),
            ("!&|", set()),
            (None, set()),
            ("nothing", set()),
        ],
    )
    def test_words(self, articles: Any, text: str, found: set[str]) -> None:
        rows = matching(articles, text)
        assert titles(rows) == found
        assert rows.count() == len(found)
        assert rows.exists() is bool(found)

    def test_phrases_do_not_go_from_one_field_to_the_next(self, articles: Any) -> None:
        assert titles(matching(articles, '"birds dogs"')) == set()
        assert titles(matching(articles, '"dogs running"')) == set()
        assert titles(matching(articles, 'pets -"cats pets"')) == {"Cats and dogs"}

    def test_any(self, articles: Any) -> None:
        found = [row.title for row in matching(articles, "sad cat EAGAIN -dessert", match="any")]
        assert found[0] == "The sad cat"
        assert set(found) == {"The sad cat", "Cats and dogs", "functools.singledispatch"}
        assert found[-1] == "Cats and dogs"

    def test_some_fields(self, articles: Any) -> None:
        assert titles(matching(articles, "cat", fields=["title"])) == {
            "Cats and dogs",
            "The sad cat",
        }
        assert titles(matching(articles, "cat -mat", fields=["title"])) == {
            "Cats and dogs",
            "The sad cat",
        }

    def test_rank(self, articles: Any) -> None:
        rows = list(matching(articles, "dog"))
        assert [row.title for row in rows] == ["Dogs", "Cats and dogs"]
        assert rows[0].rank > rows[1].rank > 0

    def test_other_keys(self, alias: str) -> None:
        Page.objects.using(alias).create(slug="a", text="cat")
        Page.objects.using(alias).create(slug="b", text="dog")
        Section.objects.using(alias).create(tenant=1, number=2, text="cat")
        Section.objects.using(alias).create(tenant=2, number=1, text="dog")
        assert [row.pk for row in matching(Page.objects.using(alias), "cat")] == ["a"]
        assert [row.pk for row in matching(Section.objects.using(alias), "dog")] == [(2, 1)]

    def test_inherited(self, alias: str) -> None:
        Report.objects.using(alias).create(title="cat", summary="dog")
        Article.objects.using(alias).create(title="cat")
        (row,) = matching(Report.objects.using(alias), "cat")
        assert row.summary == "dog"


class TestOrdinary:
    def test_composition(self, articles: Any, alias: str) -> None:
        rows = matching(articles, "cat")
        assert titles(rows.filter(category=1)) == {"The sad cat", "Crème brûlée"}
        assert rows[0].title in titles(rows)
        assert len(rows[1:]) == 2
        assert next(iter(rows.values_list("title", flat=True))) == rows[0].title
        assert rows.first() == rows[0]
        assert rows.reverse()[0].title == rows.last().title
        assert titles(articles.filter(pk__in=rows)) == titles(rows)
        assert titles(articles.exclude(pk__in=rows)) == {
            "Dogs",
            "functools.singledispatch",
            "Birds",
        }
        assert titles(rows.order_by("title")[:1]) == {"Cats and dogs"}
        assert rows.aggregate(n=Count("pk"))["n"] == 3
        assert rows.aggregate(a=Avg("rank"))["a"] > 0
        assert titles(pickle.loads(pickle.dumps(rows))) == titles(rows)
        again = articles.all()
        again.query = pickle.loads(pickle.dumps(rows.query))
        assert titles(again) == titles(rows)
        assert titles(rows | articles.filter(title="Birds")) == titles(rows) | {"Birds"}
        assert titles(rows & articles.filter(title="The sad cat")) == {"The sad cat"}
        assert titles(matching(rows, "dog", annotation="other")) == {"Cats and dogs"}
        assert titles(rows.only("title")) == titles(rows)
        assert rows.filter(rank__gt=0).count() == 3
        assert rows.values("category").annotate(n=Count("pk")).order_by("category").values_list(
            "category", "n"
        )[0] == (0, 1)
        assert list(rows.order_by().values_list("category", flat=True).distinct()) in (
            [0, 1],
            [1, 0],
        )

    def test_relations(self, articles: Any, alias: str) -> None:
        cat = articles.get(title="The sad cat")
        for text in ("nice cat", "bad dog"):
            Comment.objects.using(alias).create(article=cat, text=text)
        comments = Comment.objects.using(alias)
        assert comments.filter(article__in=matching(articles, "cat")).count() == 2
        assert comments.filter(article__in=matching(articles, "bird")).count() == 0
        found = matching(comments.select_related("article"), "nice").get()
        assert found.article.title == "The sad cat"
        assert titles(articles.filter(comments__in=matching(comments, "cat"))) == {"The sad cat"}
        inner = matching(comments.filter(article=OuterRef("pk")), "dog")
        assert titles(articles.filter(Exists(inner))) == {"The sad cat"}
        row = articles.annotate(t=Subquery(inner.values("text")[:1])).get(pk=cat.pk)
        assert row.t == "bad dog"

    def test_writes(self, articles: Any) -> None:
        assert matching(articles, "cat").update(title="bird") == 3
        assert matching(articles, "bird").count() == 4
        assert matching(articles, "bird").delete()[0] == 4
        assert matching(articles, "bird").count() == 0
        assert articles.count() == 2

    def test_nearest(self, articles: Any) -> None:
        both = nearest(matching(articles, "cat"), "embedding", [1, 5, 0], metric="l2")
        assert [row.title for row in both] == ["Crème brûlée", "The sad cat", "Cats and dogs"]
        assert all(row.rank > 0 for row in both)
        both = matching(nearest(articles, "embedding", [1, 5, 0], metric="l2"), "dog")
        assert [row.title for row in both] == ["Dogs", "Cats and dogs"]
        assert [row.distance for row in both] == [3, 5]

    def test_method_and_async(self, articles: Any) -> None:
        assert titles(articles.matching("sad cat", k=1)) == {"The sad cat"}


def test_no_index(alias: str) -> None:
    rows = Memo.objects.using(alias)
    rows.create(text="cat")
    if alias == "postgresql":
        assert matching(rows, "cats").count() == 1
    else:
        with pytest.raises(FieldError):
            matching(rows, "cats")


class TestParts:
    """Parts of words, and languages without spaces."""

    @pytest.fixture
    def products(self, alias: str) -> Any:
        rows = Product.objects.using(alias)
        rows.create(name="Straßenbahn 50%_off", text="ABC-123/x")
        rows.create(name="東京都庁", text=None)
        rows.create(name="京都", text="Kyoto; the straßen of it")
        rows.create(name='The "quoted" c:\\path', text="x")
        return rows

    @pytest.mark.parametrize(
        ("text", "found"),
        [
            ("ßenb", {"Straßenbahn 50%_off"}),
            ("STRA", {"Straßenbahn 50%_off", "京都"}),
            ("straßen -bahn", {"京都"}),
            ("bc-12", {"Straßenbahn 50%_off"}),
            ('"123/x"', {"Straßenbahn 50%_off"}),
            ("京都", {"京都", "東京都庁"}),
            ("東京", {"東京都庁"}),
            ("京都 kyo", {"京都"}),
            ("京都 -kyo", {"東京都庁"}),
            ("都 -庁", {"京都"}),
            ("庁 or yot", {"京都", "東京都庁"}),
            ("50%_o", {"Straßenbahn 50%_off"}),
            ("5%", set()),
            ("5_%", set()),
            ("c:\\path", {'The "quoted" c:\\path'}),
            ("quoted", {'The "quoted" c:\\path'}),
            ("x", {'The "quoted" c:\\path', "Straßenbahn 50%_off"}),
            ("X", {'The "quoted" c:\\path', "Straßenbahn 50%_off"}),
            ("%", set()),
            ("", set()),
        ],
    )
    def test_found(self, products: Any, text: str, found: set[str]) -> None:
        assert {row.name for row in matching(products, text)} == found

    def test_any(self, products: Any) -> None:
        rows = list(matching(products, "straßen kyoto 東", match="any"))
        assert {row.name for row in rows} == {"Straßenbahn 50%_off", "東京都庁", "京都"}
        assert all(row.rank is not None for row in rows)

    def test_fields(self, products: Any) -> None:
        rows = matching(products, "straßen", fields=["name"])
        assert {row.name for row in rows} == {"Straßenbahn 50%_off"}
        rows = matching(products, "x", fields=["text"])
        assert len(rows) == 2
