"""The classes of errors, by what libSQL says."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction
from django.db import utils as django_errors

from dorm_vector.backends.libsql import dbapi
from tests.support.libsql_backend import Author, Book, another


def causes(error: BaseException) -> list[type[BaseException]]:
    chain = []
    cause: BaseException | None = error
    while cause is not None:
        chain.append(type(cause))
        cause = cause.__cause__
    return chain


PARENT = (
    "CREATE TABLE parent (id integer PRIMARY KEY, name text UNIQUE NOT NULL CHECK (name <> ''))"
)


CHILD = "CREATE TABLE child (parent integer NOT NULL REFERENCES parent (id))"
ERRORS = {
    "unique": ("INSERT INTO parent VALUES (2, 'a')", "IntegrityError", "UNIQUE"),
    "not null": ("INSERT INTO parent VALUES (2, NULL)", "IntegrityError", "NOT NULL"),
    "check": ("INSERT INTO parent VALUES (2, '')", "IntegrityError", "CHECK"),
    "foreign key": ("INSERT INTO child VALUES (7)", "IntegrityError", "FOREIGN KEY"),
    "primary key": ("INSERT INTO parent VALUES (1, 'b')", "IntegrityError", "parent.id"),
    "datatype": ("INSERT INTO parent VALUES ('x', 'b')", "IntegrityError", "datatype mismatch"),
    "update": ("UPDATE parent SET name = NULL", "IntegrityError", "NOT NULL"),
    "returning": ("INSERT INTO parent VALUES (2, 'a') RETURNING id", "IntegrityError", "UNIQUE"),
    "syntax": ("SELEC 1", "OperationalError", "syntax error"),
    "table": ("SELECT * FROM missing", "OperationalError", "no such table: missing"),
    "column": ("SELECT missing FROM parent", "OperationalError", "no such column: missing"),
    "function": ("SELECT missing(1)", "NotSupportedError", r"^libSQL has no function missing\.$"),
    "size": ("SELECT zeroblob(2000000000)", "DataError", "too big"),
}


class TestErrors:
    @pytest.fixture
    def tables(self, database: Any) -> Any:
        with database.cursor() as cursor:
            cursor.execute(PARENT)
            cursor.execute(CHILD)
            cursor.execute("INSERT INTO parent VALUES (1, 'a')")
        return database

    @pytest.mark.parametrize("case", ERRORS)
    def test_classes(self, tables: Any, case: str) -> None:
        sql, name, message = ERRORS[case]
        with (
            tables.cursor() as cursor,
            pytest.raises(getattr(django_errors, name), match=message) as caught,
        ):
            cursor.execute(sql)
        assert causes(caught.value) == [
            getattr(django_errors, name),
            getattr(sqlite3, name),
            ValueError,
        ]

    def test_in_executemany(self, tables: Any) -> None:
        rows = [[2, "b"], [3, "c"], [4, "a"], [5, "d"]]
        with tables.cursor() as cursor:
            with (
                pytest.raises(django_errors.IntegrityError, match="UNIQUE"),
                transaction.atomic("scratch"),
            ):
                cursor.executemany("INSERT INTO parent VALUES (%s, %s)", rows)
            cursor.execute("SELECT count(*) FROM parent")
            assert cursor.fetchone() == (1,)

    def test_after_some_rows(self, raw: dbapi.Connection) -> None:
        raw.executemany("INSERT INTO t VALUES (?)", ([n] for n in range(500)))
        sql = "SELECT CASE WHEN rowid < 400 THEN 1 ELSE abs(-9223372036854775807 - 1) END FROM t"
        cursor = raw.execute(sql)
        with pytest.raises(dbapi.OperationalError, match="integer overflow"):
            cursor.fetchall()

    def test_locked(self, database: Any, tmp_path: Path) -> None:
        with another(tmp_path / "db", timeout=0.05) as other, database.cursor() as cursor:
            cursor.execute("BEGIN IMMEDIATE")
            with (
                pytest.raises(django_errors.OperationalError, match=r"^database is locked$"),
                other.cursor() as waiting,
            ):
                waiting.execute("INSERT INTO libsql_backend_author (name) VALUES ('a')")
            cursor.execute("ROLLBACK")

    def test_no_database(self, open_database: Any, tmp_path: Path) -> None:
        (tmp_path / "text").write_text("This is no database, and long enough for one. " * 50)
        connection = open_database("libsql", NAME=str(tmp_path / "text"))
        with pytest.raises(django_errors.DatabaseError, match="file is not a database") as caught:
            connection.introspection.table_names()
        assert type(caught.value) is django_errors.DatabaseError

    def test_no_folder(self, tmp_path: Path) -> None:
        with pytest.raises(
            dbapi.OperationalError, match="Unable to open connection to local database"
        ):
            dbapi.connect(str(tmp_path / "missing" / "db"))

    def test_a_closed_cursor(self, raw: dbapi.Connection) -> None:
        cursor = raw.execute("SELECT 1")
        cursor.close()
        assert cursor.fetchone() is None
        with pytest.raises(dbapi.ProgrammingError, match="closed cursor"):
            cursor.execute("SELECT 1")

    def test_a_closed_connection(self) -> None:
        connection = dbapi.connect(":memory:")
        cursor = connection.cursor()
        for _ in range(2):
            connection.close()
        for call in (connection.cursor().execute, cursor.execute, connection.execute):
            with pytest.raises(dbapi.ProgrammingError, match="closed database"):
                call("SELECT 1")

    def test_models_raise_them_too(self, database: Any) -> None:
        author = Author.objects.using("scratch").create(name="a")
        books = Book.objects.using("scratch")
        books.create(author=author, title="t")
        for changes, message in (
            ({"title": "t"}, "UNIQUE"),
            ({"title": "u", "pages": 0}, "CHECK constraint failed: pages_positive"),
            ({"title": "v", "author_id": 77}, "FOREIGN KEY"),
        ):
            with pytest.raises(django_errors.IntegrityError, match=message):
                books.create(**{"author": author, **changes})
        assert books.count() == 1
