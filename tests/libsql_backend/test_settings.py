"""The settings of a libSQL database."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import utils as django_errors

from tests.support.libsql_backend import Author, Book, create, create_tables, names


class TestSettings:
    def test_unknown_options(self, open_database: Any) -> None:
        connection = open_database("libsql", OPTIONS={"timeout": 1, "check_same_thread": False})
        with pytest.raises(
            ImproperlyConfigured,
            match=r"\['scratch'\]\['OPTIONS'\] has check_same_thread, which libSQL does not know",
        ):
            connection.ensure_connection()

    @pytest.mark.parametrize("name", ["ws://localhost:8080", "wss://localhost", "mysql://x"])
    def test_other_urls(self, open_database: Any, name: str) -> None:
        connection = open_database("libsql", NAME=name)
        with pytest.raises(ImproperlyConfigured, match=f"is '{name}', and libSQL takes URLs"):
            connection.ensure_connection()

    @pytest.mark.parametrize(
        "name",
        [
            "wss://u:s3cret@host/db?authToken=s3cret#s3cret",
            "libsql://host/db?authToken=s3cret",
            "https://u:s3cret@host/db",
            "http://host/db#s3cret",
        ],
    )
    def test_no_secrets_in_names(self, open_database: Any, name: str) -> None:
        connection = open_database("libsql", NAME=name)
        with pytest.raises(ImproperlyConfigured, match=r"://host/db'") as caught:
            connection.ensure_connection()
        assert "s3c" not in str(caught.value)

    def test_long_lists(self, database: Any) -> None:
        authors = Author.objects.using("scratch")
        authors.bulk_create(Author(pk=n, name=f"a{n}") for n in range(1, 40_001))
        book = Book.objects.using("scratch").create(author_id=39_999, title="t")
        assert authors.filter(pk__in=range(33_000)).count() == 32_999
        assert authors.filter(name__in=[f"a{n}" for n in range(33_000)]).count() == 32_999
        assert len(authors.in_bulk(range(1, 33_001))) == 33_000
        found = list(authors.prefetch_related("book_set"))
        assert [a.pk for a in found if a.book_set.all()] == [39_999]
        assert authors.exclude(pk__in=[2**40 + n for n in range(33_000)]).count() == 40_000
        assert book.author_id == 39_999

    def test_no_name(self, open_database: Any) -> None:
        connection = open_database("libsql", NAME="")
        with pytest.raises(ImproperlyConfigured, match="supply the NAME value"):
            connection.ensure_connection()

    def test_a_path(self, open_database: Any, tmp_path: Path) -> None:
        connection = open_database("libsql", NAME=tmp_path / "db")
        create_tables(connection)
        assert (tmp_path / "db").read_bytes()[:15] == b"SQLite format 3"
        assert not connection.is_remote

    @pytest.mark.parametrize("name", ["libsql://x", "http://127.0.0.1:1", "https://x"])
    def test_servers(self, open_database: Any, name: str) -> None:
        assert open_database("libsql", NAME=name).is_remote

    def test_none_is_no_option(self, open_database: Any) -> None:
        options = {"auth_token": None, "encryption_key": None}
        connection = open_database("libsql", NAME=":memory:", OPTIONS=options)
        connection.ensure_connection()
        assert connection.is_usable()

    def test_an_encryption_key(self, open_database: Any, tmp_path: Path) -> None:
        def opened(options: dict[str, Any]) -> Any:
            return open_database("libsql", NAME=str(tmp_path / "db"), OPTIONS=options)

        connection = opened({"encryption_key": "right"})
        create_tables(connection)
        create("secret name")
        connection.close()
        content = (tmp_path / "db").read_bytes()
        assert content[:15] != b"SQLite format 3"
        assert b"secret name" not in content
        opened({"encryption_key": "right"})
        assert names() == ["secret name"]
        for options in ({"encryption_key": "wrong"}, {}):
            opened(options)
            with pytest.raises(django_errors.DatabaseError, match="file is not a database"):
                names()

    def test_a_version(self, database: Any) -> None:
        with database.cursor() as cursor:
            cursor.execute("SELECT sqlite_version()")
            (version,) = cursor.fetchone()
        assert ".".join(map(str, database.get_database_version())) == version
        assert (database.vendor, database.display_name) == ("sqlite", "libSQL")

    def test_is_usable(self, database: Any) -> None:
        database.ensure_connection()
        assert database.is_usable()
        database.connection.close()
        assert not database.is_usable()

    def test_closed_and_opened_again(self, database: Any) -> None:
        create("a")
        database.close()
        assert names() == ["a"]
        with database.cursor() as cursor:
            cursor.execute("PRAGMA foreign_keys")
            assert cursor.fetchone() == (1,)
