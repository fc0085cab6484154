"""
The database backend for libSQL: the real client, against what Python, zoneinfo, sqlite3 and
Django's own SQLite backend say.
"""

from __future__ import annotations

import datetime as dt
import decimal
import io
import json
import math
import multiprocessing
import operator
import os
import re
import sqlite3
import statistics
import subprocess
import sys
import threading
import time
import uuid
import zoneinfo
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.core.management.color import no_style
from django.db import connections, models, transaction
from django.db import utils as django_errors
from django.db.models import F, Q, Value, Window
from django.db.models import functions as fn
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from hypothesis import given, settings
from hypothesis import strategies as st

from dorm_vector.backends.libsql import dbapi, timezones
from dorm_vector.backends.libsql.base import OPTIONS, DatabaseWrapper
from dorm_vector.backends.libsql.features import SKIPS
from dorm_vector.sql import SQL
from tests.support.paths import DOCS, ROOT

DAYS = dt.timedelta(days=1)


class Text(str):
    __slots__ = ()


class Whole(int):
    pass


class Author(models.Model):
    name = models.CharField(max_length=50)

    class Meta:
        app_label = "libsql_backend"

    def __str__(self) -> str:
        return self.name


class Book(models.Model):
    author = models.ForeignKey(Author, models.CASCADE)
    title = models.CharField(max_length=50, unique=True)
    pages = models.IntegerField(default=1)
    note = models.CharField(max_length=10, null=True)

    class Meta:
        app_label = "libsql_backend"
        constraints = [
            models.CheckConstraint(condition=Q(pages__gt=0), name="pages_positive"),
            models.UniqueConstraint(fields=["author", "title"], name="author_title"),
        ]
        indexes = [models.Index(fields=["pages", "-title"], name="pages_title")]

    def __str__(self) -> str:
        return self.title


class Sample(models.Model):
    """A bit of everything, for expressions."""

    group = models.IntegerField(default=0)
    big = models.BigIntegerField(null=True)
    number = models.FloatField(null=True)
    text = models.CharField(max_length=100, null=True)
    other = models.CharField(max_length=100, null=True)
    exact = models.DecimalField(max_digits=12, decimal_places=4, null=True)
    data = models.JSONField(null=True)
    blob = models.BinaryField(null=True)

    class Meta:
        app_label = "libsql_backend"

    def __str__(self) -> str:
        return f"{self.pk}"


class Moment(models.Model):
    at = models.DateTimeField(null=True)
    day = models.DateField(null=True)
    time = models.TimeField(null=True)
    length = models.DurationField(null=True)

    class Meta:
        app_label = "libsql_backend"

    def __str__(self) -> str:
        return f"{self.pk}"


MODELS = [Author, Book, Sample, Moment]


def create_tables(connection: Any) -> None:
    with connection.schema_editor() as editor:
        for model in MODELS:
            editor.create_model(model)


@pytest.fixture
def raw() -> Iterator[dbapi.Connection]:
    """A connection to a database in memory, with a table ``t`` of an untyped column."""
    with closing(dbapi.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE t (v)")
        yield connection


@pytest.fixture
def database(open_database: Any, tmp_path: Path) -> Any:
    """A file, with tables, outside of any transaction, under the alias "scratch"."""
    connection = open_database("libsql", NAME=str(tmp_path / "db"))
    create_tables(connection)
    return connection


@pytest.fixture
def both(open_database: Any) -> Iterator[tuple[Any, Any]]:
    """Empty tables on Django's own SQLite backend and on this one: ("stock", "scratch")."""
    stock = {**connections["default"].settings_dict, "NAME": ":memory:"}
    connections.settings["stock"] = stock
    connections["stock"] = type(connections["default"])(stock, alias="stock")
    create_tables(connections["stock"])
    create_tables(open_database("libsql", NAME=":memory:"))
    yield "stock", "scratch"
    # close() leaves a database in memory open.
    connections["stock"].connection.close()
    del connections["stock"], connections.settings["stock"]


def insert(both: tuple[str, str], model: type[models.Model], rows: list[dict[str, Any]]) -> None:
    for alias in both:
        model._base_manager.using(alias).bulk_create(model(**row) for row in rows)


@contextmanager
def another(path: Path, **options: Any) -> Iterator[DatabaseWrapper]:
    """One more connection to a file, for a thread."""
    settings_dict = {**connections["libsql"].settings_dict, "NAME": str(path), "OPTIONS": options}
    connection = DatabaseWrapper(settings_dict, alias="another")
    try:
        yield connection
    finally:
        connection.close()


def one(connection: Any, sql: str, params: Any = ()) -> Any:
    ((value,),) = connection.execute(sql, params).fetchall()
    return value


def causes(error: BaseException) -> list[type[BaseException]]:
    chain = []
    cause: BaseException | None = error
    while cause is not None:
        chain.append(type(cause))
        cause = cause.__cause__
    return chain


# Values

INTEGERS = [
    0,
    -1,
    2**31 - 1,
    2**31,
    -(2**31),
    -(2**31) - 1,
    2**53 + 1,
    -(2**53) - 1,
    2**63 - 1,
    -(2**63),
    1234567890123456789,
]


class TestValues:
    @pytest.mark.parametrize("value", INTEGERS)
    def test_integers(self, raw: dbapi.Connection, value: int) -> None:
        assert raw.execute("SELECT ?, typeof(?)", [value, value]).fetchone() == (value, "integer")
        raw.execute("INSERT INTO t VALUES (?)", [value])
        assert raw.execute("SELECT v FROM t WHERE v = ?", [value]).fetchall() == [(value,)]
        assert raw.execute("SELECT v FROM t WHERE v < ?", [value]).fetchall() == []

    @pytest.mark.parametrize("value", [2**63, -(2**63) - 1, 10**30])
    def test_integers_of_more_than_64_bits(self, raw: dbapi.Connection, value: int) -> None:
        with pytest.raises(OverflowError, match=f"^{value} is no 64-bit integer"):
            raw.execute("SELECT ?", [value])

    def test_integers_of_mixed_rows(self, raw: dbapi.Connection) -> None:
        values = [1, 2**40, None, "text", 2**62, 2.5, 7, *INTEGERS]
        cursor = raw.executemany("INSERT INTO t VALUES (?)", ([value] for value in values))
        assert cursor.rowcount == len(values)
        assert [value for (value,) in raw.execute("SELECT v FROM t ORDER BY rowid")] == values

    def test_integers_beside_marks_that_are_no_parameters(self, raw: dbapi.Connection) -> None:
        sql = """SELECT '?', "v", ?, [v], `v`, ? /* ? */ FROM (SELECT 3 AS v) -- ?"""
        assert raw.execute(sql, [2**40, "x"]).fetchone() == ("?", 3, 2**40, 3, 3, "x")

    def test_integers_of_models(self, database: Any) -> None:
        samples = Sample.objects.using("scratch")
        samples.bulk_create(Sample(big=value, group=place) for place, value in enumerate(INTEGERS))
        assert list(samples.order_by("group").values_list("big", flat=True)) == INTEGERS
        for place, value in enumerate(INTEGERS):
            assert samples.get(big=value).group == place
            assert samples.filter(big__gt=value).count() == sum(n > value for n in INTEGERS)
            assert samples.annotate(v=Value(value)).first().v == value
        samples.filter(big=0).update(big=2**53 + 3)
        assert samples.get(group=0).big == 2**53 + 3

    @pytest.mark.parametrize("value", [0.1, -0.0, 5e-324, 1.7e308, math.inf, -math.inf, 1e15 + 0.3])
    def test_floats(self, raw: dbapi.Connection, value: float) -> None:
        found = one(raw, "SELECT ?", [value])
        assert (found, math.copysign(1, found)) == (value, math.copysign(1, value))

    @pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
    def test_bytes(self, raw: dbapi.Connection, kind: Callable[[bytes], Any]) -> None:
        for value in (b"", b"\0\xff?", bytes(range(256)) * 300):
            assert one(raw, "SELECT ?", [kind(value)]) == value

    @pytest.mark.parametrize("value", ["", "é😀", "a'b\"c", "?", "%s", "x" * 1_000_000])
    def test_text(self, raw: dbapi.Connection, value: str) -> None:
        assert one(raw, "SELECT ?", [value]) == value
        assert one(raw, "SELECT ?", [Text(value)]) == value

    def test_subclasses_of_int(self, raw: dbapi.Connection) -> None:
        row = raw.execute("SELECT ?, ?, ?, ?", [Whole(7), Whole(2**40), True, None]).fetchone()
        assert row == (7, 2**40, 1, None)

    def test_adapters_of_django(self, raw: dbapi.Connection) -> None:
        values = [decimal.Decimal("1.50"), dt.date(2026, 1, 31), dt.datetime(2026, 1, 31, 12, 30)]
        row = raw.execute("SELECT ?, ?, ?", values).fetchone()
        assert row == ("1.50", "2026-01-31", "2026-01-31 12:30:00")

    def test_nul_is_refused(self, raw: dbapi.Connection, database: Any) -> None:
        message = r"^libSQL cuts text at NUL \(0x00\) characters: 'a\\x00b'\.$"
        with pytest.raises(ValueError, match=message):
            raw.execute("SELECT ?", ["a\0b"])
        with pytest.raises(ValueError, match=message):
            Author.objects.using("scratch").create(name="a\0b")

    @pytest.mark.parametrize("value", [[1], {"a": 1}, object, 1j])
    def test_other_types_are_refused(self, raw: dbapi.Connection, value: Any) -> None:
        message = f"libSQL cannot store {value!r}: type {type(value).__name__!r} is not supported."
        with pytest.raises(dbapi.ProgrammingError, match=f"^{re.escape(message)}$"):
            raw.execute("SELECT ?", [value])

    @pytest.mark.parametrize("params", [[], [1], [1, 2, 3]])
    def test_a_wrong_number_of_parameters(self, database: Any, params: list[int]) -> None:
        message = rf"The current statement uses 2, and there are {len(params)} supplied"
        with (
            pytest.raises(django_errors.ProgrammingError, match=message),
            database.cursor() as cursor,
        ):
            cursor.execute("SELECT %s, %s", params)

    def test_named_parameters(self, database: Any) -> None:
        with database.cursor() as cursor:
            cursor.execute("SELECT %(a)s, %(b)s, %(a)s, '%%'", {"a": 1, "b": 2**40, "c": 3})
            assert cursor.fetchone() == (1, 2**40, 1, "%")
            with pytest.raises(KeyError, match="missing"):
                cursor.execute("SELECT %(missing)s", {"a": 1})

    def test_percent_signs(self, database: Any) -> None:
        with database.cursor() as cursor:
            cursor.execute("SELECT '%%s', '%%', 7 %% %s, '%%%%'", [4])
            assert cursor.fetchone() == ("%s", "%", 3, "%%")
            cursor.execute("SELECT '%s', '100%'")
            assert cursor.fetchone() == ("%s", "100%")


class TestStatements:
    @pytest.mark.parametrize(
        "sql", ["SELECT 1; SELECT 2", "SELECT 1; DROP TABLE t;", "/* ; */ SELECT 1; SELECT 2 -- ;"]
    )
    def test_several_are_refused(self, raw: dbapi.Connection, sql: str) -> None:
        with pytest.raises(dbapi.ProgrammingError, match="only execute one statement at a time"):
            raw.execute(sql)
        assert raw.execute("SELECT count(*) FROM t").fetchall() == [(0,)]

    @pytest.mark.parametrize(
        "sql", ["SELECT ';'", "SELECT 1;", "SELECT 1 ; \n ", "SELECT 1; -- ;", "SELECT 1 /* ; */ ;"]
    )
    def test_one_with_semicolons(self, raw: dbapi.Connection, sql: str) -> None:
        assert len(raw.execute(sql).fetchall()) == 1

    @pytest.mark.parametrize("sql", ["", "  ", "-- nothing", "/* nothing */", ";", " ; -- x\n ;"])
    def test_none(self, raw: dbapi.Connection, sql: str) -> None:
        cursor = raw.execute(sql)
        assert (cursor.fetchall(), cursor.description, cursor.rowcount) == ([], None, -1)

    @pytest.mark.parametrize(
        "sql",
        ["-- one\n SELECT 1", "/* a */ SELECT /* b */ 1", "(SELECT 1)"[1:-1], "VALUES (1)"],
    )
    def test_comments(self, raw: dbapi.Connection, sql: str) -> None:
        assert one(raw, sql) == 1

    def test_triggers(self, raw: dbapi.Connection) -> None:
        raw.execute(
            "CREATE TRIGGER again AFTER INSERT ON t WHEN new.v < 3 BEGIN "
            "INSERT INTO t VALUES (new.v + 1); INSERT INTO t VALUES ('a;b'); END"
        )
        raw.execute("INSERT INTO t VALUES (2)")
        assert sorted(map(str, raw.execute("SELECT v FROM t"))) == ["('a;b',)", "(2,)", "(3,)"]

    def test_scripts(self, raw: dbapi.Connection) -> None:
        raw.executescript(
            """
            -- a comment; with a semicolon
            CREATE TABLE u (v); INSERT INTO u VALUES ('a;b'), (2);
            CREATE TRIGGER more AFTER INSERT ON u BEGIN
                INSERT INTO t VALUES (new.v); INSERT INTO t VALUES (0);
            END;
            INSERT INTO u VALUES (5)
            """
        )
        assert raw.execute("SELECT v FROM u").fetchall() == [("a;b",), (2,), (5,)]
        assert raw.execute("SELECT v FROM t").fetchall() == [(5,), (0,)]

    def test_a_script_commits_before(self, raw: dbapi.Connection) -> None:
        raw.execute("BEGIN")
        raw.execute("INSERT INTO t VALUES (1)")
        raw.executescript("INSERT INTO t VALUES (2);")
        assert not raw.in_transaction
        assert one(raw, "SELECT count(*) FROM t") == 2

    def test_an_error_in_the_middle_of_a_script(self, raw: dbapi.Connection) -> None:
        with pytest.raises(dbapi.OperationalError, match="no such table: missing"):
            raw.executescript(
                "INSERT INTO t VALUES (1); INSERT INTO missing VALUES (1); INSERT INTO t VALUES (2)"
            )
        assert raw.execute("SELECT v FROM t").fetchall() == [(1,)]


# Errors

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


# Cursors


class TestCursors:
    @pytest.fixture
    def many(self, raw: dbapi.Connection) -> dbapi.Connection:
        raw.executemany("INSERT INTO t VALUES (?)", ([n] for n in range(1050)))
        return raw

    def test_fetching(self, many: dbapi.Connection) -> None:
        rows = [(n,) for n in range(1050)]
        sql = "SELECT v FROM t ORDER BY v"
        assert many.execute(sql).fetchall() == rows
        assert list(many.execute(sql)) == rows
        cursor = many.execute(sql)
        assert [cursor.fetchone(), cursor.fetchone()] == rows[:2]
        assert (cursor.fetchmany(), cursor.fetchmany(300)) == (rows[2:3], rows[3:303])
        assert cursor.fetchall() == rows[303:]
        assert (cursor.fetchone(), cursor.fetchmany(5), cursor.fetchall()) == (None, [], [])

    @pytest.mark.parametrize("count", [0, 1, 99, 100, 101, 200, 201])
    def test_any_number_of_rows(self, many: dbapi.Connection, count: int) -> None:
        sql = "SELECT v FROM t ORDER BY v LIMIT ?"
        assert many.execute(sql, [count]).fetchall() == [(n,) for n in range(count)]
        cursor = many.execute(sql, [count])
        found = list(iter(cursor.fetchone, None))
        assert (found, cursor.fetchone()) == ([(n,) for n in range(count)], None)

    def test_two_at_a_time(self, many: dbapi.Connection) -> None:
        up, down = (many.execute(f"SELECT v FROM t ORDER BY v {way}") for way in ("ASC", "DESC"))
        pairs = [(a, b) for (a,), (b,) in zip(up, down, strict=True)]
        assert pairs == [(n, 1049 - n) for n in range(1050)]

    def test_one_is_used_again(self, many: dbapi.Connection) -> None:
        cursor = many.execute("SELECT v FROM t ORDER BY v")
        cursor.fetchmany(250)
        assert cursor.execute("SELECT 'other'").fetchall() == [("other",)]
        with pytest.raises(dbapi.OperationalError):
            cursor.execute("SELEC")
        assert cursor.fetchall() == []

    def test_a_table_is_dropped_under_one_that_was_closed(self, many: dbapi.Connection) -> None:
        cursor = many.execute("SELECT v FROM t")
        cursor.fetchmany(150)
        cursor.close()
        many.execute("DROP TABLE t")
        assert many.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)

    def test_a_table_is_dropped_after_a_few_rows_were_read(self, raw: dbapi.Connection) -> None:
        raw.executemany("INSERT INTO t VALUES (?)", [[1], [2]])
        cursor = raw.execute("SELECT v FROM t")
        assert cursor.fetchone() == (1,)
        raw.execute("DROP TABLE t")
        assert cursor.fetchone() == (2,)

    def test_description(self, raw: dbapi.Connection) -> None:
        cursor = raw.execute('SELECT 1 AS a, 2 AS "b c", v FROM t')
        assert [column[0] for column in cursor.description or ()] == ["a", "b c", "v"]
        assert {len(column) for column in cursor.description or ()} == {7}
        assert raw.execute("INSERT INTO t VALUES (1)").description is None

    def test_rowcount(self, raw: dbapi.Connection) -> None:
        assert raw.execute("INSERT INTO t VALUES (1), (2), (3)").rowcount == 3
        assert raw.execute("UPDATE t SET v = v + 1 WHERE v > 1").rowcount == 2
        assert raw.execute("UPDATE t SET v = 9 WHERE v = 77").rowcount == 0
        assert raw.execute("INSERT INTO t VALUES (7), (8) RETURNING v").rowcount == 2
        assert raw.execute("DELETE FROM t").rowcount == 5
        assert raw.execute("SELECT 1").rowcount == -1
        assert (
            raw.executemany("INSERT INTO t VALUES (?)", [[n] for n in range(2500)]).rowcount == 2500
        )

    def test_lastrowid(self, raw: dbapi.Connection) -> None:
        assert raw.execute("INSERT INTO t (rowid, v) VALUES (41, 1)").lastrowid == 41
        cursor = raw.execute("INSERT INTO t VALUES (1) RETURNING v")
        assert cursor.lastrowid == 42

    def test_returning_does_everything_at_once(self, raw: dbapi.Connection) -> None:
        raw.execute("INSERT INTO t VALUES (1), (2), (3) RETURNING v").fetchone()
        assert one(raw, "SELECT count(*) FROM t") == 3

    def test_executemany_reads_rows_as_they_are_needed(self, raw: dbapi.Connection) -> None:
        def rows() -> Iterator[list[int]]:
            for n in range(3000):
                if n == 2500:
                    # What came before is there already.
                    assert one(raw, "SELECT count(*) FROM t") >= 1000
                yield [n]

        raw.executemany("INSERT INTO t VALUES (?)", rows())
        assert one(raw, "SELECT count(*) FROM t") == 3000
        assert raw.executemany("INSERT INTO t VALUES (?)", []).rowcount == 0

    def test_querysets(self, database: Any) -> None:
        samples = Sample.objects.using("scratch")
        samples.bulk_create(Sample(group=n) for n in range(777))
        for chunk in (1, 100, 2000):
            found = samples.order_by("group").values_list("group", flat=True).iterator(chunk)
            assert list(found) == list(range(777))

    def test_writing_while_iterating(self, database: Any) -> None:
        samples = Sample.objects.using("scratch")
        samples.bulk_create(Sample(group=n) for n in range(450))
        for sample in samples.order_by("pk").iterator(chunk_size=50):
            samples.filter(pk=sample.pk).update(big=sample.group)
        assert samples.filter(big=F("group")).count() == 450

    def test_wrappers(self, database: Any) -> None:
        with database.cursor() as cursor:
            cursor.execute("SELECT %s UNION ALL SELECT 2", [1])
            assert list(cursor) == [(1,), (2,)]
            cursor.executemany("INSERT INTO libsql_backend_author (name) VALUES (%s)", [])
            cursor.executemany(
                "INSERT INTO libsql_backend_author (name) VALUES (%(name)s)",
                iter([{"name": "a"}, {"name": "b"}]),
            )
            assert cursor.rowcount == 2


# Transactions


def names() -> list[str]:
    return sorted(Author.objects.using("scratch").values_list("name", flat=True))


def create(name: str) -> Author:
    return Author.objects.using("scratch").create(name=name)


class Stop(Exception):  # noqa: N818 - it is no error
    pass


class TestTransactions:
    def test_commit_and_rollback(self, database: Any) -> None:
        with transaction.atomic("scratch"):
            create("kept")
        with suppress(Stop), transaction.atomic("scratch"):
            create("lost")
            raise Stop
        assert names() == ["kept"]

    def test_savepoints(self, database: Any) -> None:
        with transaction.atomic("scratch"):
            create("a")
            with suppress(Stop), transaction.atomic("scratch"):
                create("b")
                with transaction.atomic("scratch"):
                    create("c")
                raise Stop
            with transaction.atomic("scratch"):
                create("d")
            point = database.savepoint()
            create("e")
            database.savepoint_rollback(point)
        assert names() == ["a", "d"]

    def test_an_error_and_going_on(self, database: Any) -> None:
        with transaction.atomic("scratch"):
            author = create("a")
            with pytest.raises(django_errors.IntegrityError), transaction.atomic("scratch"):
                Author(pk=author.pk, name="b").save(force_insert=True, using="scratch")
            create("c")
        assert names() == ["a", "c"]

    def test_on_commit(self, database: Any) -> None:
        done: list[str] = []
        with transaction.atomic("scratch"):
            transaction.on_commit(lambda: done.append("outer"), using="scratch")
            with suppress(Stop), transaction.atomic("scratch"):
                transaction.on_commit(lambda: done.append("inner"), using="scratch")
                raise Stop
            assert done == []
        assert done == ["outer"]

    def test_without_autocommit(self, database: Any) -> None:
        transaction.set_autocommit(False, using="scratch")
        create("a")
        transaction.rollback(using="scratch")
        create("b")
        transaction.commit(using="scratch")
        create("c")
        transaction.rollback(using="scratch")
        transaction.set_autocommit(True, using="scratch")
        create("d")
        assert names() == ["b", "d"]

    def test_durable(self, database: Any) -> None:
        with transaction.atomic("scratch", durable=True):
            create("a")
            with pytest.raises(RuntimeError, match="durable"):
                transaction.atomic("scratch", durable=True).__enter__()
        assert names() == ["a"]

    def test_foreign_keys_are_checked_at_commit(self, database: Any) -> None:
        block = transaction.atomic("scratch")
        block.__enter__()
        Book.objects.using("scratch").create(author_id=77, title="t")
        assert Book.objects.using("scratch").count() == 1
        with pytest.raises(django_errors.IntegrityError, match="FOREIGN KEY"):
            block.__exit__(None, None, None)
        assert (Book.objects.using("scratch").count(), database.in_atomic_block) == (0, False)
        with transaction.atomic("scratch"):
            Book.objects.using("scratch").create(author_id=77, title="t")
            Author.objects.using("scratch").create(pk=77, name="in time")
        assert names() == ["in time"]

    def test_constraint_checks_switched_off(self, database: Any) -> None:
        with database.constraint_checks_disabled():
            Book.objects.using("scratch").create(author_id=77, title="t")
        with pytest.raises(django_errors.IntegrityError, match="invalid foreign key"):
            database.check_constraints()
        with pytest.raises(django_errors.IntegrityError, match="FOREIGN KEY"):
            Book.objects.using("scratch").create(author_id=78, title="u")

    @pytest.mark.parametrize("mode", [None, "deferred", "IMMEDIATE", "Exclusive"])
    def test_mode(self, open_database: Any, tmp_path: Path, mode: str | None) -> None:
        options = {"transaction_mode": mode} if mode else {}
        connection = open_database("libsql", NAME=str(tmp_path / "db"), OPTIONS=options)
        with CaptureQueriesContext(connection) as queries, transaction.atomic("scratch"):
            pass
        begin = f"BEGIN {mode.upper()}" if mode else "BEGIN"
        assert [query["sql"] for query in queries] == [begin, "COMMIT"]

    def test_an_unknown_mode(self, open_database: Any) -> None:
        connection = open_database("libsql", OPTIONS={"transaction_mode": "slow"})
        with pytest.raises(ImproperlyConfigured, match=r"\['transaction_mode'\].* to 'slow'"):
            connection.ensure_connection()

    def test_init_command(self, open_database: Any) -> None:
        command = "PRAGMA cache_size = 77; PRAGMA temp_store = 2;"
        connection = open_database("libsql", NAME=":memory:", OPTIONS={"init_command": command})
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA cache_size")
            assert cursor.fetchone() == (77,)
            cursor.execute("PRAGMA temp_store")
            assert cursor.fetchone() == (2,)

    def test_select_for_update_is_left_out(self, database: Any) -> None:
        create("a")
        with transaction.atomic("scratch"):
            assert Author.objects.using("scratch").select_for_update().get().name == "a"


# Locks


class TestLocks:
    HELD = 0.5

    def hold(self, path: Path, locked: threading.Event) -> None:
        with another(path) as connection, connection.cursor() as cursor:
            cursor.execute("BEGIN IMMEDIATE")
            cursor.execute("INSERT INTO libsql_backend_author (name) VALUES ('holder')")
            locked.set()
            time.sleep(self.HELD)
            cursor.execute("COMMIT")

    def test_a_writer_waits_without_the_gil(self, database: Any, tmp_path: Path) -> None:
        locked, done = threading.Event(), threading.Event()
        ticks: list[float] = []

        def tick() -> None:
            while not done.wait(0.005):
                ticks.append(time.monotonic())

        threads = [
            threading.Thread(target=self.hold, args=(tmp_path / "db", locked)),
            threading.Thread(target=tick),
        ]
        for thread in threads:
            thread.start()
        locked.wait()
        start = time.monotonic()
        create("writer")
        waited = time.monotonic() - start
        done.set()
        for thread in threads:
            thread.join()
        assert names() == ["holder", "writer"]
        assert self.HELD * 0.8 < waited < 5
        during = [moment for moment in ticks if moment > start]
        pauses = list(map(operator.sub, during[1:], during[:-1]))
        assert len(pauses) > 10
        assert max(pauses) < self.HELD / 2

    @pytest.mark.parametrize("timeout", [0, 0.2])
    def test_the_timeout(self, database: Any, tmp_path: Path, timeout: float) -> None:
        locked = threading.Event()
        holder = threading.Thread(target=self.hold, args=(tmp_path / "db", locked))
        holder.start()
        locked.wait()
        with another(tmp_path / "db", timeout=timeout) as other, other.cursor() as cursor:
            start = time.monotonic()
            with pytest.raises(django_errors.OperationalError, match=r"^database is locked$"):
                cursor.execute("INSERT INTO libsql_backend_author (name) VALUES ('late')")
            assert timeout * 0.7 < time.monotonic() - start < self.HELD
        holder.join()
        assert names() == ["holder"]

    def test_executemany_waits(self, database: Any, tmp_path: Path) -> None:
        locked = threading.Event()
        holder = threading.Thread(target=self.hold, args=(tmp_path / "db", locked))
        holder.start()
        locked.wait()
        with database.cursor() as cursor:
            sql = "INSERT INTO libsql_backend_author (name) VALUES (%s)"
            cursor.executemany(sql, [["a"], ["b"]])
        holder.join()
        assert names() == ["a", "b", "holder"]

    def test_a_transaction_begins_late(self, database: Any, tmp_path: Path) -> None:
        """The first statement of a transaction waits as well."""
        locked = threading.Event()
        holder = threading.Thread(target=self.hold, args=(tmp_path / "db", locked))
        holder.start()
        locked.wait()
        with transaction.atomic("scratch"):
            create("a")
        holder.join()
        assert names() == ["a", "holder"]

    def test_a_transaction_that_has_read_does_not_wait(self, database: Any, tmp_path: Path) -> None:
        """Its snapshot is out of date, however long it waits."""
        locked = threading.Event()
        holder = threading.Thread(target=self.hold, args=(tmp_path / "db", locked))
        with transaction.atomic("scratch"):
            assert names() == []
            holder.start()
            locked.wait()
            start = time.monotonic()
            with pytest.raises(django_errors.OperationalError, match=r"^database is locked$"):
                create("a")
            assert time.monotonic() - start < self.HELD / 2
            transaction.set_rollback(True, using="scratch")
        holder.join()
        assert names() == ["holder"]

    @pytest.mark.parametrize("journal", ["delete", "wal"])
    def test_a_savepoint_after_reading_does_not_wait(self, tmp_path: Path, journal: str) -> None:
        path = str(tmp_path / "db")
        with closing(dbapi.connect(path)) as first, closing(dbapi.connect(path)) as second:
            first.execute(f"PRAGMA journal_mode = {journal}")
            first.execute("CREATE TABLE t (v)")
            for each in (first, second):
                each.execute("BEGIN")
                each.execute("SELECT * FROM t").fetchall()
                each.execute("SAVEPOINT s")
            first.execute("INSERT INTO t VALUES (1)")
            start = time.monotonic()
            with pytest.raises(dbapi.OperationalError, match=r"^database is locked$"):
                second.execute("INSERT INTO t VALUES (2)")
            assert time.monotonic() - start < 1
            second.rollback()
            first.commit()
            assert first.execute("SELECT v FROM t").fetchall() == [(1,)]

    def test_two_processes(self, raw: dbapi.Connection, tmp_path: Path) -> None:
        path = str(tmp_path / "db")
        with closing(dbapi.connect(path)) as connection:
            connection.execute("CREATE TABLE written (label)")
            processes = [
                subprocess.Popen(
                    [sys.executable, "-m", "tests.support.libsql_process", path, label, "100"],
                    cwd=ROOT,
                )
                for label in "ab"
            ]
            assert [process.wait(60) for process in processes] == [0, 0]
            rows = connection.execute("SELECT label, count(*) FROM written GROUP BY 1 ORDER BY 1")
            assert rows.fetchall() == [("a", 100), ("b", 100)]

    def test_stock_sqlite_reads_the_file(self, database: Any, tmp_path: Path) -> None:
        create("a")
        with closing(sqlite3.connect(tmp_path / "db")) as stock:
            assert stock.execute("SELECT name FROM libsql_backend_author").fetchall() == [("a",)]
            assert stock.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


# Functions

TEXTS = ["", "a", "abc", "abcdefgh", "ähm, ja", "😀b", "00", None]
NUMBERS = [0, 1, 2, 3, 5, 10, None]
FILLS = ["", "x", "xy", "é", "00", "'", None]


def same(both: tuple[str, str], queryset: Any, check: Callable[..., Any] = operator.eq) -> None:
    """The rows of a queryset are those of Django's own SQLite backend."""
    expected, found = (list(queryset.using(alias)) for alias in both)
    assert len(expected) > 0
    assert len(expected) == len(found)
    differing = [pair for pair in zip(expected, found, strict=True) if not check(*pair)]
    assert differing == []


def nearly(expected: Any, found: Any) -> bool:
    if isinstance(expected, tuple):
        return all(map(nearly, expected, found))
    if isinstance(expected, dict):
        return expected.keys() == found.keys() and all(nearly(expected[k], found[k]) for k in found)
    if isinstance(expected, float) and isinstance(found, float):
        return math.isclose(expected, found, rel_tol=1e-9, abs_tol=1e-9)
    return bool(expected == found)


def only_in(name: str, module: Any) -> Any:
    """What some versions of Django have."""
    if not hasattr(module, name):
        pytest.skip(f"This Django has no {name}.")
    return getattr(module, name)


class TestFunctions:
    @pytest.mark.parametrize("function", [fn.LPad, fn.RPad])
    def test_padding(self, both: Any, function: Any) -> None:
        rows = [
            {"text": text, "big": number, "other": fill}
            for text in TEXTS
            for number in NUMBERS
            for fill in FILLS
        ]
        insert(both, Sample, rows)
        padded = Sample.objects.annotate(v=function("text", F("big"), F("other"))).order_by("pk")
        same(both, padded.values_list("text", "big", "other", "v"))
        same(both, Sample.objects.annotate(v=function("text", 6)).order_by("pk").values_list("v"))

    def test_repeat(self, both: Any) -> None:
        insert(both, Sample, [{"text": t, "big": n} for t in TEXTS for n in [*NUMBERS, -3]])
        repeated = Sample.objects.annotate(v=fn.Repeat("text", F("big"))).order_by("pk")
        same(both, repeated.values_list("text", "big", "v"))

    def test_reverse(self, both: Any) -> None:
        insert(both, Sample, [{"text": text} for text in [*TEXTS, "long" * 300]])
        same(both, Sample.objects.annotate(v=fn.Reverse("text")).order_by("pk").values_list("v"))
        assert Sample.objects.using("scratch").filter(text=fn.Reverse(Value("cba"))).count() == 1

    def test_mod(self, both: Any) -> None:
        floats = [0.0, 1.0, 5.5, -5.5, 7.0, -7.0, 1e6 + 0.25, None]
        whole = [1, 2, -2, 3, 7, -7, 10**12 + 1, None]
        insert(both, Sample, [{"number": a, "big": b} for a in floats for b in whole])
        moduli = Sample.objects.annotate(v=fn.Mod("number", "big"), w=fn.Mod("big", Value(5)))
        same(both, moduli.order_by("pk").values_list("number", "big", "v", "w"), nearly)

    def test_results_that_are_not_there(self, both: Any) -> None:
        """SQLite's own math functions give NULL and infinity, which is what is expected here."""
        numbers = [0.0, -1.0, 2.0, 1000.0, -1000.0, 0.5]
        insert(both, Sample, [{"number": number} for number in numbers])
        expected = {
            fn.Ln: [None, None, math.log(2), math.log(1000), None, math.log(0.5)],
            fn.ACos: [math.acos(0), math.acos(-1), None, None, None, math.acos(0.5)],
            fn.ASin: [0.0, math.asin(-1), None, None, None, math.asin(0.5)],
            fn.Exp: [1.0, math.exp(-1), math.exp(2), math.inf, 0.0, math.exp(0.5)],
            lambda n: fn.Power(n, 0.5): [0.0, None, 2**0.5, 1000**0.5, None, 0.5**0.5],
            lambda n: fn.Power(n, 301): [0.0, -1.0, 2.0**301, math.inf, -math.inf, 0.5**301],
            lambda n: fn.Power(n, -1): [math.inf, -1.0, 0.5, 0.001, -0.001, 2.0],
            lambda n: fn.Log(2.0, n): [None, None, 1.0, math.log2(1000), None, -1.0],
            lambda n: fn.Log(n, 8.0): [None, None, 3.0, math.log(8, 1000), None, None],
        }
        for function, values in expected.items():
            rows = Sample.objects.using("scratch").annotate(v=function("number")).order_by("pk")
            found = list(rows.values_list("v", flat=True))
            assert [v is None for v in found] == [v is None for v in values]
            assert all(map(nearly, values, found))

    def test_whole_parts_of_large_numbers(self, both: Any) -> None:
        numbers = [1e300, -1e300, 2.0**63, -(2.0**63), 2.0**53 + 2, 1e15 + 0.5, -2.5, None]
        insert(both, Sample, [{"number": number} for number in numbers])
        parts = Sample.objects.annotate(v=fn.Ceil("number"), w=fn.Floor("number")).order_by("pk")
        same(both, parts.values_list("v", "w"))

    def test_mod_of_large_numbers(self, both: Any) -> None:
        big = [2**53 + 1, 2**63 - 1, -(2**63), 123456789012345678]
        insert(both, Sample, [{"big": value} for value in big])
        found = Sample.objects.using("scratch").annotate(v=fn.Mod("big", 10)).order_by("pk")
        assert list(found.values_list("v", flat=True)) == [
            math.copysign(abs(n) % 10, n) for n in big
        ]
        Sample.objects.using("scratch").update(number=1e300)
        found = Sample.objects.using("scratch").annotate(v=fn.Mod("number", 2.5))
        assert set(found.values_list("v", flat=True)) == {None}

    def test_casts_at_the_end_of_a_day(self, both: Any) -> None:
        seconds = ("59.9995", "59.999999", "59.1239", "58.9999")
        texts = [f"2026-01-31 23:59:{second}" for second in seconds] + ["2026-01-31"]
        insert(both, Sample, [{"text": text} for text in texts])
        for field in (models.DateField, models.DateTimeField):
            cast = fn.Cast(fn.Cast("text", field()), models.TextField())
            found = Sample.objects.using("scratch").annotate(v=cast)
            assert {value[:10] for value in found.values_list("v", flat=True)} == {"2026-01-31"}

    def test_mod_and_log_of_decimals(self, both: Any) -> None:
        exact = [decimal.Decimal(text) for text in ("5.4", "-5.4", "15", "0.0001")]
        insert(both, Sample, [{"exact": value} for value in exact])
        rows = Sample.objects.filter(exact__gt=0).annotate(v=fn.Log(Value(2), F("exact")))
        same(both, rows.order_by("pk").values_list("v"))
        moduli = Sample.objects.annotate(v=fn.Mod("exact", Value(decimal.Decimal(3))))
        same(both, moduli.order_by("pk").values_list("v"))

    def test_log_and_cot(self, both: Any) -> None:
        insert(both, Sample, [{"number": n, "big": 2} for n in (0.5, 1.0, 8.0, 1e10, math.e, None)])
        rows = Sample.objects.annotate(
            v=fn.Log("big", "number"), w=fn.Log(Value(10.0), F("number")), c=fn.Cot("number")
        )
        same(both, rows.order_by("pk").values_list("v", "w", "c"), nearly)

    def test_bitxor(self, both: Any) -> None:
        numbers = [0, 1, 5, -1, -7, 2**31, 2**53 + 1, 2**63 - 1, -(2**63), None]
        rows = [{"big": a, "group": b} for a in numbers for b in (0, 3, -1, 2**31 - 1)]
        insert(both, Sample, rows)
        found = Sample.objects.using("scratch").annotate(v=F("big").bitxor(F("group")))
        for big, group, value in found.values_list("big", "group", "v"):
            assert value == (None if big is None else big ^ group)
        same(both, Sample.objects.annotate(v=F("big").bitxor(6)).order_by("pk").values_list("v"))

    @pytest.mark.parametrize("lookup", ["regex", "iregex"])
    @pytest.mark.parametrize(
        "pattern",
        [
            "b",
            "^a",
            "C$",
            "^abc$",
            "a.c",
            "[a-c]+d",
            "x|b",
            "(ab)+",
            "a{2}",
            r"\d",
            r"\.",
            "^$",
            "",
        ],
    )
    def test_regular_expressions(self, both: Any, lookup: str, pattern: str) -> None:
        texts = ["abc", "ABC", "aXc", "abcd", "aab", "abab", "b1", "1.5", "", "ä", None]
        insert(both, Sample, [{"text": text} for text in texts])
        rows = Sample.objects.filter(**{f"text__{lookup}": pattern}).order_by("pk")
        expected, found = (list(rows.using(a).values_list("text", flat=True)) for a in both)
        assert found == expected
        flags = re.I if lookup == "iregex" else 0
        matching = [t for t in texts if t is not None and re.search(pattern, t, flags)]
        assert found == matching

    def test_regular_expressions_of_columns(self, both: Any) -> None:
        insert(both, Sample, [{"text": t, "other": o} for t in TEXTS for o in ("B", "^a", None)])
        rows = Sample.objects.filter(text__iregex=F("other")).order_by("pk")
        same(both, rows.values_list("text", "other"))

    def test_random(self, database: Any) -> None:
        Sample.objects.using("scratch").bulk_create(Sample() for _ in range(500))
        drawn = Sample.objects.using("scratch").annotate(v=fn.Random()).values_list("v", flat=True)
        numbers = list(drawn)
        assert all(0 <= number < 1 for number in numbers)
        assert len(set(numbers)) == 500
        assert 0.4 < statistics.fmean(numbers) < 0.6
        orders = {
            tuple(Sample.objects.using("scratch").order_by("?").values_list("pk", flat=True))
            for _ in range(3)
        }
        assert len(orders) == 3

    @pytest.mark.parametrize("name", ["MD5", "SHA1", "SHA224", "SHA256", "SHA384", "SHA512"])
    def test_hashes(self, database: Any, name: str) -> None:
        hashed = Sample.objects.using("scratch").annotate(v=getattr(fn, name)("text"))
        with pytest.raises(
            django_errors.NotSupportedError, match=rf"^libSQL has no function {name}\.$"
        ):
            list(hashed)

    def test_uuids(self, database: Any) -> None:
        Sample.objects.using("scratch").bulk_create(Sample() for _ in range(200))
        for version in (4, 7):
            function = only_in(f"UUID{version}", fn)
            before = int(time.time() * 1000) - 1
            rows = Sample.objects.using("scratch").annotate(v=function())
            found = list(rows.values_list("v", flat=True))
            after = int(time.time() * 1000) + 1
            assert len(set(found)) == 200
            assert {(u.version, u.variant) for u in found} == {(version, uuid.RFC_4122)}
            if version == 7:
                assert all(before <= u.int >> 80 <= after for u in found)


STATISTICS = {
    "one": [5.0],
    "none": [None, None],
    "two": [1.0, 4.0],
    "nulls": [None, 1.5, 2.5, None, 9.0],
    "same": [3.0, 3.0, 3.0],
    "many": [float(n * n % 17) for n in range(60)],
    "far": [1e6 + n for n in (1, 2, 4)],
    "negative": [-1.0, 1.0, -0.5, None],
}


def nearly_equal(number: float | None) -> Any:
    return pytest.approx(number, abs=1e-4) if number is not None else None


DEVIATIONS = {
    (models.StdDev, False): (statistics.pstdev, 1),
    (models.StdDev, True): (statistics.stdev, 2),
    (models.Variance, False): (statistics.pvariance, 1),
    (models.Variance, True): (statistics.variance, 2),
}


@pytest.mark.parametrize(("function", "sample"), DEVIATIONS)
class TestDeviations:
    """The stock backend raises where there are no values, or one of a sample."""

    @pytest.fixture
    def rows(self, database: Any) -> Any:
        rows = Sample.objects.using("scratch")
        rows.bulk_create(
            Sample(group=group, number=number, big=place)
            for group, numbers in enumerate(STATISTICS.values())
            for place, number in enumerate(numbers)
        )
        return rows

    def expected(self, function: Any, sample: bool, numbers: list[float | None]) -> Any:
        compute, least = DEVIATIONS[function, sample]
        kept = [number for number in numbers if number is not None]
        return compute(kept) if len(kept) >= least else None

    def test_groups(self, rows: Any, function: Any, sample: bool) -> None:
        found = rows.order_by("group").values("group").annotate(v=function("number", sample=sample))
        for row, numbers in zip(found, STATISTICS.values(), strict=True):
            assert row["v"] == nearly_equal(self.expected(function, sample, numbers))

    def test_filters(self, rows: Any, function: Any, sample: bool) -> None:
        some = function("number", sample=sample, filter=Q(big__gt=0))
        found = rows.order_by("group").values("group").annotate(v=some)
        for row, numbers in zip(found, STATISTICS.values(), strict=True):
            assert row["v"] == nearly_equal(self.expected(function, sample, numbers[1:]))

    def test_totals(self, rows: Any, function: Any, sample: bool) -> None:
        found = rows.aggregate(
            v=function(F("number") * 2 + F("big"), sample=sample, filter=Q(group=5)),
            none=function("number", sample=sample, filter=Q(group=99)),
            default=function("number", sample=sample, filter=Q(group=99), default=-1.0),
        )
        numbers = [2 * number + n for n, number in enumerate(STATISTICS["many"])]
        expected = self.expected(function, sample, numbers)
        assert found == {"v": nearly_equal(expected), "none": None, "default": -1}

    def test_having(self, rows: Any, function: Any, sample: bool) -> None:
        grouped = (
            rows.order_by("group").values("group").annotate(v=function("number", sample=sample))
        )
        found = grouped.filter(v__gt=1).values_list("group", flat=True)
        expected = [
            group
            for group, numbers in enumerate(STATISTICS.values())
            if (self.expected(function, sample, numbers) or 0) > 1
        ]
        assert list(found) == expected

    def test_no_windows(self, rows: Any, function: Any, sample: bool) -> None:
        windowed = rows.annotate(v=Window(function("number", sample=sample)))
        with pytest.raises(
            django_errors.NotSupportedError,
            match=r"^libSQL has no (STDDEV|VAR)_(POP|SAMP) over a window\.$",
        ):
            list(windowed)


class TestAggregates:
    def test_like_the_stock_backend(self, both: Any) -> None:
        insert(both, Sample, [{"number": n, "group": n % 3} for n in (1, 5, 2, 9, 4, 4, 7)])
        grouped = Sample.objects.order_by("group").values("group")
        values = grouped.annotate(
            a=models.StdDev("number"),
            b=models.Variance("number"),
            c=models.StdDev("number", filter=Q(number__lt=9)),
        )
        same(both, values, nearly)

    def test_deviations_of_decimals(self, both: Any) -> None:
        exact = [decimal.Decimal(text) for text in ("1.5", "2.25", "7.125")]
        insert(both, Sample, [{"exact": value} for value in exact])
        found = Sample.objects.using("scratch").aggregate(v=models.StdDev("exact"))["v"]
        assert float(found) == pytest.approx(float(statistics.pstdev(exact)))

    def test_windows(self, both: Any) -> None:
        insert(both, Sample, [{"number": n, "group": n % 3} for n in range(20)])
        windowed = Sample.objects.annotate(
            v=Window(models.Sum("number"), partition_by="group", order_by="pk"),
            w=Window(fn.RowNumber(), partition_by="group", order_by="-pk"),
        )
        same(both, windowed.order_by("pk").values_list("v", "w"))

    def test_any_value(self, database: Any) -> None:
        function = only_in("AnyValue", models)
        groups = [[5], [6, 3], [None], [None, 12]]
        rows = Sample.objects.using("scratch")
        rows.bulk_create(
            Sample(group=g, big=n) for g, numbers in enumerate(groups) for n in numbers
        )
        found = rows.order_by("group").values("group").annotate(v=function("big"))
        for row, numbers in zip(found, groups, strict=True):
            assert row["v"] in ([n for n in numbers if n is not None] or [None])

    @pytest.mark.parametrize("name", ["BitAnd", "BitOr", "BitXor"])
    def test_bits(self, both: Any, name: str) -> None:
        function = only_in(name, models)
        combine = {"BitAnd": operator.and_, "BitOr": operator.or_, "BitXor": operator.xor}[name]
        groups = [[5], [6, 3], [None], [None, 12, 10, 9], [-1, 7], [-8, -3], [2**62, 2**53 + 1]]
        rows = [{"group": g, "big": n} for g, numbers in enumerate(groups) for n in numbers]
        insert(both, Sample, rows)
        found = (
            Sample.objects.using("scratch")
            .order_by("group")
            .values("group")
            .annotate(v=function("big"))
        )
        for row, numbers in zip(found, groups, strict=True):
            kept = [number for number in numbers if number is not None]
            expected = kept[0] if kept else None
            for number in kept[1:]:
                expected = combine(expected, number)
            assert row["v"] == expected


# Dates and times

ZONES: list[dt.tzinfo] = [
    *map(
        zoneinfo.ZoneInfo,
        [
            "UTC",
            "Europe/Berlin",
            "America/New_York",
            "Asia/Kolkata",
            "Australia/Lord_Howe",
            "Africa/Casablanca",
        ],
    ),
    dt.timezone(dt.timedelta(hours=5, minutes=30)),
    dt.timezone(-dt.timedelta(hours=9, minutes=30)),
]
MOMENTS = [
    "1800-02-28 23:59:59.999999",
    "1883-11-18 17:00:00",
    "1969-12-31 23:59:59.000001",
    "1970-01-01 00:00:00",
    "2016-01-01 00:00:00",
    "2020-02-29 12:34:56.5",
    "2020-12-31 23:59:59.999999",
    "2021-01-03 12:00:00",
    "2021-01-04 00:00:00",
    "2024-12-30 00:00:00.000001",
    # The hours before and after changes in Berlin, New York, Lord Howe and Casablanca.
    "2026-03-29 00:59:59.999999",
    "2026-03-29 01:00:00",
    "2026-10-25 00:59:59.999999",
    "2026-10-25 01:00:00",
    "2026-03-08 06:59:59",
    "2026-03-08 07:00:00",
    "2026-11-01 05:59:59",
    "2026-11-01 06:00:00",
    "2026-04-04 14:59:59.999999",
    "2026-04-04 15:00:00",
    "2026-10-03 15:29:59.999999",
    "2026-10-03 15:30:00",
    "2026-02-15 01:59:59",
    "2026-02-15 02:00:00",
    "2087-07-01 12:00:00",
    "2500-07-01 22:30:00",
    "9998-10-31 01:30:00",
]
EDGES = ["0001-01-01 00:00:00", "0999-12-31 23:59:59.999999", "9999-12-31 23:59:59.999999"]

OF_DATES = ["Year", "IsoYear", "Quarter", "Month", "Week", "Day", "WeekDay", "IsoWeekDay"]
OF_TIMES = ["Hour", "Minute", "Second"]
KINDS = ["Year", "Quarter", "Month", "Week", "Day", *OF_TIMES, "Date", "Time"]
LOOKUPS = {
    "date": lambda moment: moment.date(),
    "time": lambda moment: moment.time(),
    "year": lambda moment: moment.year,
    "iso_year": lambda moment: moment.isocalendar()[0],
    "quarter": lambda moment: (moment.month + 2) // 3,
    "month": lambda moment: moment.month,
    "week": lambda moment: moment.isocalendar()[1],
    "day": lambda moment: moment.day,
    "week_day": lambda moment: moment.isoweekday() % 7 + 1,
    "iso_week_day": lambda moment: moment.isoweekday(),
    "hour": lambda moment: moment.hour,
    "minute": lambda moment: moment.minute,
    "second": lambda moment: moment.second,
}


def moments(texts: list[str]) -> list[dt.datetime]:
    return [dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC) for text in texts]


def rows_of(texts: list[str]) -> list[dict[str, Any]]:
    return [
        {"at": moment, "day": moment.date(), "time": moment.time()} for moment in moments(texts)
    ]


def ordered(**annotations: Any) -> Any:
    return Moment.objects.annotate(**annotations).order_by("pk").values_list("at", *annotations)


@pytest.mark.parametrize("zone", ZONES, ids=str)
class TestZones:
    def test_extract(self, both: Any, zone: dt.tzinfo) -> None:
        insert(both, Moment, [*rows_of(MOMENTS), {}])
        parts = {p: getattr(fn, f"Extract{p}")("at", tzinfo=zone) for p in OF_DATES + OF_TIMES}
        same(both, ordered(**parts))

    def test_truncate(self, both: Any, zone: dt.tzinfo) -> None:
        insert(both, Moment, [*rows_of(MOMENTS), {}])
        kinds = {kind: getattr(fn, f"Trunc{kind}")("at", tzinfo=zone) for kind in KINDS}
        same(both, ordered(**kinds))

    def test_lookups(self, both: Any, zone: dt.tzinfo) -> None:
        insert(both, Moment, [*rows_of(MOMENTS), {}])
        found = Moment.objects.using("scratch")
        local = {moment: moment.astimezone(zone) for moment in moments(MOMENTS)}
        with timezone.override(zone):
            for lookup, part in LOOKUPS.items():
                for chosen in (local[moment] for moment in list(local)[2::7]):
                    value = part(chosen)
                    for compare in (operator.eq, operator.ge, operator.lt):
                        name = {"eq": "exact", "ge": "gte", "lt": "lt"}[compare.__name__]
                        matching = found.filter(**{f"at__{lookup}__{name}": value})
                        assert set(matching.values_list("at", flat=True)) == {
                            moment for moment, here in local.items() if compare(part(here), value)
                        }


class TestDates:
    def test_edges(self, both: Any) -> None:
        insert(both, Moment, rows_of(EDGES))
        parts = {p: getattr(fn, f"Extract{p}")("at", tzinfo=dt.UTC) for p in OF_DATES + OF_TIMES}
        kinds = {f"T{kind}": getattr(fn, f"Trunc{kind}")("at", tzinfo=dt.UTC) for kind in KINDS}
        same(both, ordered(**parts, **kinds))

    def test_dates_alone(self, both: Any) -> None:
        insert(both, Moment, [*rows_of(MOMENTS + EDGES), {}])
        parts = {part: getattr(fn, f"Extract{part}")("day") for part in OF_DATES}
        kinds = {f"T{kind}": getattr(fn, f"Trunc{kind}")("day") for kind in KINDS[:5]}
        same(both, ordered(**parts, **kinds))

    def test_times_alone(self, both: Any) -> None:
        insert(both, Moment, [*rows_of(MOMENTS), {}])
        parts = {part: getattr(fn, f"Extract{part}")("time") for part in OF_TIMES}
        kinds = {f"T{kind}": getattr(fn, f"Trunc{kind}")("time") for kind in OF_TIMES}
        same(both, ordered(**parts, **kinds))

    def test_values_come_back(self, both: Any) -> None:
        insert(both, Moment, [*rows_of(MOMENTS + EDGES), {}])
        rows = Moment.objects.using("scratch").order_by("pk").values("at", "day", "time")
        assert list(rows)[:-1] == rows_of(MOMENTS + EDGES)

    def test_a_unknown_kind(self, both: Any) -> None:
        insert(both, Moment, rows_of(MOMENTS[:1]))
        with pytest.raises(django_errors.OperationalError, match="no part or kind 'century'"):
            list(Moment.objects.using("scratch").annotate(v=fn.Extract("at", "century")))

    def test_lists_of_dates(self, both: Any) -> None:
        insert(both, Moment, rows_of(MOMENTS))
        for kind in ("year", "month", "week", "day"):
            expected, found = (list(Moment.objects.using(a).dates("day", kind)) for a in both)
            assert found == expected
        zone = zoneinfo.ZoneInfo("Europe/Berlin")
        for kind in ("year", "month", "week", "day", "hour", "minute", "second"):
            expected, found = (
                list(Moment.objects.using(a).datetimes("at", kind, tzinfo=zone)) for a in both
            )
            assert found == expected

    def test_a_zone_of_the_database(self, open_database: Any) -> None:
        """Moments are stored in its zone, and extracted in another one."""
        connection = open_database("libsql", NAME=":memory:", TIME_ZONE="America/New_York")
        create_tables(connection)
        rows = Moment.objects.using("scratch")
        (moment,) = moments(["2026-07-01 02:30:00"])
        rows.create(at=moment)
        assert rows.get().at == moment
        with connection.cursor() as cursor:
            cursor.execute("SELECT at FROM libsql_backend_moment")
            assert cursor.fetchone() == ("2026-06-30 22:30:00",)
        berlin = zoneinfo.ZoneInfo("Europe/Berlin")
        found = rows.annotate(
            a=fn.ExtractDay("at", tzinfo=berlin), b=fn.ExtractHour("at", tzinfo=dt.UTC)
        ).get()
        assert (found.a, found.b) == (1, 2)

    def test_moments_that_exist_in_another_zone_only(self, both: Any) -> None:
        """Half an hour is skipped, and an hour happens twice."""
        zone = zoneinfo.ZoneInfo("Europe/Berlin")
        insert(both, Moment, rows_of(["2026-03-29 00:59:59.9", "2026-03-29 01:00:00"]))
        rows = Moment.objects.using("scratch").order_by("pk")
        hours = rows.annotate(v=fn.ExtractHour("at", tzinfo=zone)).values_list("v", flat=True)
        assert list(hours) == [1, 3]


NAMES = sorted(zoneinfo.available_timezones())
UNTIL = dt.datetime(9999, 12, 30)


def in_zone(naive: list[dt.datetime], name: str, source: str = "UTC") -> list[str]:
    """What the SQL of ``local_time`` says."""
    sql = timezones.local_time(SQL("column1"), name, source).sql.replace("%%", "%")
    values = ", ".join(f"('{moment.isoformat(' ')}')" for moment in naive)
    with closing(dbapi.connect(":memory:")) as connection:
        return [text for (text,) in connection.execute(f"SELECT {sql} FROM (VALUES {values})")]


def by_zoneinfo(naive: list[dt.datetime], name: str, source: str = "UTC") -> list[str]:
    zone, base = zoneinfo.ZoneInfo(name), zoneinfo.ZoneInfo(source)
    return [
        moment.replace(tzinfo=base)
        .astimezone(zone)
        .replace(tzinfo=None, microsecond=0)
        .isoformat(" ")
        for moment in naive
    ]


class TestLocalTime:
    @given(
        naive=st.lists(
            st.datetimes(dt.datetime(1, 1, 2), UNTIL)
            | st.datetimes(dt.datetime(1840, 1, 1), dt.datetime(2250, 1, 1)),
            min_size=20,
            max_size=200,
        ),
        name=st.sampled_from(NAMES),
    )
    @settings(max_examples=30, deadline=None)
    def test_any_zone(self, naive: list[dt.datetime], name: str) -> None:
        assert in_zone(naive, name) == by_zoneinfo(naive, name)

    @given(naive=st.lists(st.datetimes(dt.datetime(1840, 1, 1), UNTIL), min_size=20, max_size=100))
    @settings(max_examples=15, deadline=None)
    @pytest.mark.parametrize(
        ("name", "source"),
        [("Europe/Berlin", "America/New_York"), ("UTC", "Europe/Berlin"), ("Asia/Kolkata", "UTC")],
    )
    def test_from_another_zone(self, naive: list[dt.datetime], name: str, source: str) -> None:
        naive = [moment.replace(fold=0) for moment in naive]  # which text does not have
        assert in_zone(naive, name, source) == by_zoneinfo(naive, name, source)

    @pytest.mark.parametrize("name", ["Etc/GMT-10", "Etc/GMT+5", "GMT-0", "EST5EDT"])
    def test_names_that_look_like_offsets(self, name: str) -> None:
        naive = [dt.datetime(2026, 1, 1), dt.datetime(2026, 7, 1, 23, 30)]
        assert in_zone(naive, name) == by_zoneinfo(naive, name)

    @pytest.mark.parametrize(
        ("name", "hours"), [("UTC+05:30", 5.5), ("UTC-09:30", -9.5), ("+02:00", 2), ("UTC-03", -3)]
    )
    def test_offsets(self, name: str, hours: float) -> None:
        naive = [dt.datetime(2026, 1, 1), dt.datetime(1, 7, 1, 23, 30)]
        expected = [str(moment + dt.timedelta(hours=hours)) for moment in naive]
        assert in_zone(naive, name) == expected

    @pytest.mark.parametrize("name", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe"])
    def test_around_every_change(self, name: str) -> None:
        zone = zoneinfo.ZoneInfo(name)
        second = dt.timedelta(seconds=1)
        naive = []
        for year in (1945, 1974, 1986, 1996, 2007, 2026, 2027, 2037, 2038, 2100, 2400):
            days = [dt.datetime(year, 1, 1) + n * DAYS for n in range(366)]
            for day in days:
                low, high = day, day + DAYS
                if offset(low, zone) == offset(high, zone):
                    continue
                while high - low > second:
                    middle = low + (high - low) // 2
                    middle = middle.replace(microsecond=0)
                    low, high = (
                        (middle, high)
                        if offset(middle, zone) == offset(low, zone)
                        else (low, middle)
                    )
                naive += [high - second, high, high + second]
        assert len(naive) >= 30
        assert in_zone(naive, name) == by_zoneinfo(naive, name)

    @pytest.mark.parametrize(
        "name",
        [
            "Africa/Cairo",
            "Africa/Casablanca",
            "Africa/El_Aaiun",
            "America/Anchorage",
            "America/Argentina/San_Luis",
            "America/Indiana/Vincennes",
            "America/Sao_Paulo",
            "Antarctica/Troll",
            "Asia/Gaza",
            "Asia/Pyongyang",
            "Europe/Dublin",
            "Europe/London",
            "Europe/Moscow",
            "Pacific/Apia",
            "Pacific/Fiji",
        ],
    )
    def test_no_change_is_missed(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        zone = zoneinfo.ZoneInfo(name)

        def shift(moment: dt.datetime) -> int:
            return round(offset(moment, zone).total_seconds())

        monkeypatch.setattr(timezones, "YEARS", range(1910, 2045))
        coarse = timezones._changes(shift)
        monkeypatch.setattr(timezones, "STEP", dt.timedelta(hours=12))
        assert timezones._changes(shift) == coarse


def offset(naive: dt.datetime, zone: dt.tzinfo) -> dt.timedelta:
    found = naive.replace(tzinfo=dt.UTC).astimezone(zone).utcoffset()
    assert found is not None
    return found


LENGTHS = [
    dt.timedelta(0),
    dt.timedelta(microseconds=1),
    dt.timedelta(microseconds=-1),
    dt.timedelta(days=1, hours=12),
    dt.timedelta(days=-40, seconds=1),
    dt.timedelta(days=20_000, microseconds=999_999),
    None,
]


class TestDurations:
    @pytest.fixture
    def rows(self, both: Any) -> list[dict[str, Any]]:
        starts = rows_of([*MOMENTS[3:12], "2020-02-28 23:59:59.999999"])
        rows = [{**start, "length": length} for start in starts for length in LENGTHS]
        insert(both, Moment, [*rows, {"length": LENGTHS[1]}])
        return rows

    def test_sums(self, both: Any, rows: list[dict[str, Any]]) -> None:
        at, length = F("at"), F("length")
        annotations = {"a": at + length, "b": at - length, "c": length + at}
        same(both, ordered(**annotations))
        found = Moment.objects.using("scratch").annotate(**annotations).order_by("pk")
        for row, moment in zip(rows, found, strict=False):
            known = row["length"] is not None
            expected = (
                (row["at"] + row["length"], row["at"] - row["length"]) if known else (None,) * 2
            )
            assert (moment.a, moment.b, moment.c) == (*expected, expected[0])

    def test_dates(self, both: Any, rows: list[dict[str, Any]]) -> None:
        field = models.DateField()
        same(
            both,
            ordered(
                a=F("day") + F("length"),
                b=F("day") - F("length"),
                c=models.ExpressionWrapper(F("day") + dt.timedelta(days=40), field),
                d=models.ExpressionWrapper(F("day") - dt.timedelta(hours=1), field),
            ),
        )

    def test_products(self, both: Any, rows: list[dict[str, Any]]) -> None:
        field = models.DurationField()
        same(
            both,
            ordered(
                a=models.ExpressionWrapper(F("length") * 3, field),
                b=models.ExpressionWrapper(F("length") / 4, field),
                c=F("length") + F("length") - dt.timedelta(days=1),
                d=F("at") + models.ExpressionWrapper(F("length") * 2, field),
            ),
        )

    def test_differences(self, both: Any, rows: list[dict[str, Any]]) -> None:
        moment = moments(["2024-02-29 12:34:56.789012"])[0]
        same(
            both,
            ordered(
                a=F("at") - Value(moment),
                b=F("day") - Value(moment.date()),
                c=F("time") - Value(moment.time()),
                d=Value(moment) - F("at"),
                e=F("at") - F("at"),
            ),
        )
        found = Moment.objects.using("scratch").annotate(v=F("at") - Value(moment)).order_by("pk")
        for row, each in zip(rows, found, strict=False):
            assert each.v == row["at"] - moment

    def test_five_deep(self, both: Any, rows: list[dict[str, Any]]) -> None:
        deep = F("at")
        steps = [{"days": 1}, {"hours": -5}, {"minutes": 61}, {"microseconds": 7}, {"weeks": -60}]
        for step in steps:
            deep = deep + dt.timedelta(**step)
        same(both, ordered(v=deep))
        total = sum((dt.timedelta(**step) for step in steps), dt.timedelta(0))
        first = Moment.objects.using("scratch").annotate(v=deep).order_by("pk").first()
        assert first.v == rows[0]["at"] + total

    def test_filters(self, both: Any, rows: list[dict[str, Any]]) -> None:
        late = Moment.objects.filter(at__gt=F("at") - F("length")).order_by("pk")
        same(both, late.values_list("at", "length"))
        long = Moment.objects.annotate(v=F("at") - F("day")).filter(length__gt=dt.timedelta(days=1))
        same(both, long.order_by("pk").values_list("at"))

    def test_update(self, both: Any, rows: list[dict[str, Any]]) -> None:
        for alias in both:
            Moment.objects.using(alias).filter(length=LENGTHS[4]).update(at=F("at") + F("length"))
        same(both, ordered())


# Schema


def changed(model: type[models.Model], name: str, field: models.Field) -> models.Field:
    field.set_attributes_from_name(name)
    field.model = model
    return field


class TestSchema:
    @pytest.fixture
    def filled(self, database: Any) -> Any:
        for name in ("a", "b"):
            author = create(name)
            for n in (1, 2):
                Book.objects.using("scratch").create(author=author, title=f"{name}{n}", pages=n)
        return database

    def books(self) -> list[tuple[Any, ...]]:
        return list(
            Book.objects.using("scratch").order_by("title").values_list("title", "author__name")
        )

    BOOKS = [("a1", "a"), ("a2", "a"), ("b1", "b"), ("b2", "b")]

    def test_alter_field(self, filled: Any) -> None:
        """Tables are made anew: the one that refers, and the one that is referred to."""
        for model, name, field in (
            (Book, "pages", models.BigIntegerField(default=5)),
            (Book, "note", models.CharField(max_length=20, default="none")),
            (Author, "name", models.TextField(unique=True)),
        ):
            with filled.schema_editor() as editor:
                editor.alter_field(model, model._meta.get_field(name), changed(model, name, field))
            assert self.books() == self.BOOKS
        filled.check_constraints()
        assert set(Book.objects.using("scratch").values_list("note", flat=True)) == {"none"}
        with pytest.raises(django_errors.IntegrityError, match="UNIQUE"):
            create("a")
        for wrong, message in (({"author_id": 77}, "FOREIGN KEY"), ({"pages": 0}, "CHECK")):
            values = {"author_id": 1, "title": "t", "note": "n", **wrong}
            with pytest.raises(django_errors.IntegrityError, match=message):
                Book.objects.using("scratch").create(**values)

    def test_add_and_remove_fields(self, filled: Any) -> None:
        added = changed(Book, "extra", models.CharField(max_length=9, default="here"))
        with filled.schema_editor() as editor:
            editor.add_field(Book, added)
        with filled.cursor() as cursor:
            cursor.execute("SELECT DISTINCT extra FROM libsql_backend_book")
            assert cursor.fetchall() == [("here",)]
        with filled.schema_editor() as editor:
            editor.remove_field(Book, added)
        assert self.books() == self.BOOKS

    def test_rename_a_table(self, filled: Any) -> None:
        with filled.schema_editor() as editor:
            editor.alter_db_table(Author, "libsql_backend_author", "writer")
        with filled.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM libsql_backend_book JOIN writer w ON author_id = w.id"
            )
            assert cursor.fetchone() == (4,)
        with pytest.raises(django_errors.IntegrityError, match="FOREIGN KEY"):
            Book.objects.using("scratch").create(author_id=77, title="t")

    def test_constraints(self, database: Any) -> None:
        with database.cursor() as cursor:
            found = database.introspection.get_constraints(cursor, "libsql_backend_book")
            sequences = database.introspection.get_sequences(cursor, "libsql_backend_book")
        assert found["pages_positive"]["check"] is True
        assert found["pages_title"]["columns"] == ["pages", "title"]
        assert found["pages_title"]["orders"] == ["ASC", "DESC"]
        assert found["author_title"]["unique"] is True
        assert found["author_title"]["columns"] == ["author_id", "title"]
        assert ["title"] in [c["columns"] for c in found.values() if c["unique"]]
        assert ["id"] in [c["columns"] for c in found.values() if c["primary_key"]]
        assert [c["foreign_key"] for c in found.values() if c["foreign_key"]] == [
            ("libsql_backend_author", "id")
        ]
        assert sequences == [{"table": "libsql_backend_book", "column": "id"}]

    def test_inspectdb(self, database: Any) -> None:
        output = io.StringIO()
        call_command("inspectdb", "libsql_backend_book", database="scratch", stdout=output)
        text = output.getvalue()
        assert "title = models.CharField(unique=True, max_length=50)" in text
        assert "author = models.ForeignKey('LibsqlBackendAuthor', models.DO_NOTHING)" in text
        assert "pages = models.IntegerField()" in text
        assert "unique_together = (('author', 'title'),)" in text

    def test_tables_of_vector_indexes_are_hidden(self, open_database: Any) -> None:
        connection = open_database("libsql", NAME=":memory:")
        with connection.cursor() as cursor:
            cursor.execute("CREATE TABLE a_shadow (id integer PRIMARY KEY, v F32_BLOB(3))")
            cursor.execute("CREATE INDEX nearby ON a_shadow (libsql_vector_idx(v))")
            cursor.execute("INSERT INTO a_shadow (v) VALUES (vector32('[1,2,3]'))")
            cursor.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            assert len(cursor.fetchall()) > 1
            assert connection.introspection.table_names(cursor) == ["a_shadow"]
            constraints = connection.introspection.get_constraints(cursor, "a_shadow")
        assert constraints["nearby"]["index"] is True
        output = io.StringIO()
        call_command("inspectdb", database="scratch", stdout=output)
        assert "v = models.BinaryField(blank=True, null=True)" in output.getvalue()

    def test_flush_with_cascade(self, filled: Any) -> None:
        sql = filled.ops.sql_flush(
            no_style(), ["libsql_backend_author"], reset_sequences=True, allow_cascade=True
        )
        filled.ops.execute_sql_flush(sql)
        assert (names(), self.books()) == ([], [])
        assert create("first again").pk == 1

    def test_fixtures(self, open_database: Any, tmp_path: Path) -> None:
        open_database("libsql", NAME=str(tmp_path / "db"))
        call_command("migrate", database="scratch", verbosity=0)
        groups = [Group.objects.using("scratch").create(name=name) for name in ("x", "é")]
        permission = Permission.objects.using("scratch").order_by("pk").first()
        for n in range(3):
            user = User(username=f"user{n}", date_joined=moments(MOMENTS)[n + 5])
            user.save(using="scratch")
            user.groups.set(groups)
            user.user_permissions.add(permission)
        file = tmp_path / "auth.json"
        call_command("dumpdata", "auth", "contenttypes", database="scratch", output=str(file))
        before = json.loads(file.read_text())
        call_command("flush", database="scratch", interactive=False, verbosity=0)
        assert User.objects.using("scratch").count() == 0
        ContentType.objects.using("scratch").all().delete()
        call_command("loaddata", str(file), database="scratch", verbosity=0)
        call_command("dumpdata", "auth", "contenttypes", database="scratch", output=str(file))
        assert json.loads(file.read_text()) == before
        assert len(before) > 8
        call_command("migrate", "auth", "zero", database="scratch", verbosity=0)
        assert "auth_user" not in connections["scratch"].introspection.table_names()

    def test_no_shell(self, database: Any) -> None:
        with pytest.raises(CommandError, match="libSQL comes with no shell"):
            call_command("dbshell", database="scratch")


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


# A project of three files, whose tests run in two processes.
PROJECT = {
    "suite_settings.py": """
import os

SECRET_KEY = "x"
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth"]
DATABASES = {"default": {
    "ENGINE": "dorm_vector.backends.libsql", "NAME": os.environ["SUITE_DB"],
    "TEST": {"NAME": os.environ["SUITE_DB"] + ".test"},
}}
""",
    "suite.py": """
from django.contrib.auth.models import Group
from django.test import TestCase


class First(TestCase):
    def test_write(self):
        Group.objects.create(name="a")
        self.assertEqual(Group.objects.count(), 1)


class Second(TestCase):
    test_write = First.test_write
""",
    "run_suite.py": """
import multiprocessing, sys
import django

if __name__ == "__main__":
    multiprocessing.set_start_method(sys.argv[1])
    django.setup()
    from django.test.runner import DiscoverRunner

    sys.exit(bool(DiscoverRunner(parallel=2, verbosity=1).run_tests(["suite"])))
""",
}
TEST = {"CHARSET": None, "COLLATION": None, "MIGRATE": True, "MIRROR": None, "NAME": None}


class TestCreation:
    def test_in_memory(self, open_database: Any, tmp_path: Path) -> None:
        connection = open_database("libsql", NAME=str(tmp_path / "db"), TEST=TEST)
        name = connection.creation.create_test_db(verbosity=0)
        assert connection.is_in_memory_db()
        assert connection.settings_dict["NAME"] == name
        assert "auth_user" in connection.introspection.table_names()
        connection.creation.destroy_test_db(str(tmp_path / "db"), verbosity=0)
        assert not (tmp_path / "db").exists()

    def test_a_file_and_its_clone(self, open_database: Any, tmp_path: Path) -> None:
        test = {**TEST, "NAME": str(tmp_path / "test.db")}
        connection = open_database("libsql", NAME=str(tmp_path / "db"), TEST=test)
        creation = connection.creation
        assert creation.create_test_db(verbosity=0) == test["NAME"]
        Group.objects.using("scratch").create(name="cloned")
        clone = creation.get_test_db_clone_settings("7")
        connection.close()
        creation.clone_test_db("7", verbosity=0)
        with closing(dbapi.connect(clone["NAME"])) as copied:
            assert copied.execute("SELECT name FROM auth_group").fetchall() == [("cloned",)]
        assert sorted(path.name for path in tmp_path.iterdir()) == ["test.db", "test_7.db"]
        creation.destroy_test_db(str(tmp_path / "db"), verbosity=0)
        assert not (tmp_path / "test.db").exists()

    def test_no_clones_of_memory_without_fork(
        self, open_database: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        connection = open_database("libsql", NAME=":memory:", TEST=TEST)
        monkeypatch.setattr(multiprocessing, "get_start_method", lambda: "forkserver")
        with pytest.raises(
            django_errors.NotSupportedError, match="start method 'forkserver' is not supported"
        ):
            connection.creation.get_test_db_clone_settings("1")

    @pytest.mark.parametrize("method", ["fork", "spawn"])
    def test_parallel_tests_in_files(self, tmp_path: Path, method: str) -> None:
        for name, text in PROJECT.items():
            (tmp_path / name).write_text(text)
        command = [sys.executable, "run_suite.py", method]
        environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "suite_settings",
            "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}",
            "SUITE_DB": str(tmp_path / "db"),
        }
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, timeout=90, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr[-2000:]
        assert "Ran 2 tests" in done.stderr

    def test_no_test_database_on_a_server(self, open_database: Any) -> None:
        test = {**TEST, "NAME": "libsql://x.example"}
        connection = open_database("libsql", NAME="libsql://y.example", TEST=test)
        with pytest.raises(
            ImproperlyConfigured, match=r"of 'scratch' is a server, libsql://x\.example"
        ):
            connection.creation.create_test_db(verbosity=0)

    def test_options_of_servers_are_left_out(self, open_database: Any) -> None:
        options = {
            "auth_token": "t",
            "sync_url": "libsql://x.example",
            "sync_interval": 60,
            "offline": True,
            "timeout": 3,
        }
        connection = open_database(
            "libsql", NAME="libsql://x.example", OPTIONS=options, TEST={**TEST, "MIGRATE": False}
        )
        connection.creation.create_test_db(verbosity=0)
        assert connection.settings_dict["OPTIONS"] == {"timeout": 3}
        assert connection.connection.timeout == 3
        assert connection.is_in_memory_db()
        connection.creation.destroy_test_db("libsql://x.example", verbosity=0)

    def test_threads_share_a_database_in_memory(self, open_database: Any) -> None:
        """As LiveServerTestCase does with the connection of the test."""
        connection = open_database("libsql", NAME=":memory:")
        create_tables(connection)
        connection.inc_thread_sharing()
        errors: list[BaseException] = []

        def serve(label: str) -> None:
            connections["scratch"] = connection
            try:
                for n in range(50):
                    create(f"{label}{n:02}")
                    assert (
                        Author.objects.using("scratch").filter(name__startswith=label).count() > n
                    )
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=serve, args=(label,)) for label in "abc"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        connection.dec_thread_sharing()
        assert errors == []
        assert names() == [f"{label}{n:02}" for label in "abc" for n in range(50)]


# What applications do

DATA = [
    {"a": 1, "b": {"c": [1, 2, {"d": None}]}, "é": "ü"},
    {"a": "1", "b": [], "t": True},
    [1, "x", None, [2]],
    "text",
    17,
    2**60 + 1,
    1.5,
    True,
    None,
    {},
]
JSON_LOOKUPS: list[dict[str, Any]] = [
    {"data__a": 1},
    {"data__a": "1"},
    {"data__b__c__2__d": None},
    {"data__has_key": "a"},
    {"data__has_keys": ["a", "t"]},
    {"data__has_any_keys": ["t", "é"]},
    {"data__a__isnull": True},
    {"data__0": 1},
    {"data__1__icontains": "X"},
    {"data__é__startswith": "ü"},
    {"data__t": True},
    {"data": "text"},
    {"data": 2**60 + 1},
    {"data": {}},
    {"data__a__gt": 0},
    {"data__a__in": [1, "1"]},
    {"data__é__iregex": "^Ü|ü$"},
    {"data__isnull": True},
]


class TestApplications:
    @pytest.mark.parametrize("lookup", JSON_LOOKUPS, ids=str)
    def test_json(self, both: Any, lookup: dict[str, Any]) -> None:
        insert(both, Sample, [*({"data": data} for data in DATA), {}])
        rows = Sample.objects.filter(**lookup).order_by("pk")
        expected, found = (list(rows.using(a).values_list("pk", "data")) for a in both)
        assert found == expected

    def test_json_values(self, both: Any) -> None:
        insert(both, Sample, [{"data": data} for data in DATA])
        rows = Sample.objects.order_by("pk").values_list("data", "data__a", "data__b__c")
        same(both, rows)
        assert [row[0] for row in rows.using("scratch")] == DATA

    def test_explain(self, database: Any) -> None:
        books = Book.objects.using("scratch")
        assert "pages_title" in books.filter(pages=3).explain()
        assert "SCAN libsql_backend_book" in books.filter(note="x").explain()

    def test_bulk_create(self, database: Any) -> None:
        samples = Sample.objects.using("scratch")
        made = samples.bulk_create(
            Sample(group=n, big=2**40 + n, number=n / 2, text=f"{n}") for n in range(5000)
        )
        assert samples.count() == 5000
        pks = [sample.pk for sample in made]
        assert pks == list(samples.order_by("group").values_list("pk", flat=True))
        found = samples.aggregate(models.Sum("big"), models.Max("text"), models.Min("number"))
        assert found == {
            "big__sum": sum(2**40 + n for n in range(5000)),
            "text__max": "999",
            "number__min": 0.0,
        }
        assert len(samples.in_bulk(pks)) == 5000
        assert samples.filter(pk__in=pks).delete()[0] == 5000

    def test_upserts(self, database: Any) -> None:
        author = create("a")
        books = Book.objects.using("scratch")
        books.create(author=author, title="old", pages=1)
        some = [Book(author=author, title=title, pages=7) for title in ("old", "new")]
        books.bulk_create(some, ignore_conflicts=True)
        assert dict(books.values_list("title", "pages")) == {"old": 1, "new": 7}
        books.bulk_create(
            [Book(author=author, title="old", pages=9)],
            update_conflicts=True,
            unique_fields=["title"],
            update_fields=["pages"],
        )
        assert dict(books.values_list("title", "pages")) == {"old": 9, "new": 7}
        book, made = books.update_or_create(title="new", defaults={"pages": 8, "author": author})
        assert (book.pages, made) == (8, False)
        assert books.get_or_create(title="third", defaults={"author": author})[1] is True

    def test_bulk_update(self, database: Any) -> None:
        samples = Sample.objects.using("scratch")
        samples.bulk_create(Sample(group=n) for n in range(300))
        rows = list(samples.order_by("group"))
        for sample in rows:
            sample.big, sample.blob = 2**33 + sample.group, bytes([sample.group % 256])
        assert samples.bulk_update(rows, ["big", "blob"]) == 300
        found = samples.order_by("group").values_list("big", "blob")
        assert list(found) == [(2**33 + n, bytes([n % 256])) for n in range(300)]

    def test_decimals(self, both: Any) -> None:
        exact = ["0.0001", "12345678.9", "-5", "3.1415"]
        insert(both, Sample, [{"exact": decimal.Decimal(text)} for text in exact])
        same(
            both,
            Sample.objects.order_by("exact").values_list(
                "exact", F("exact") * 2, fn.Round("exact")
            ),
        )
        same(both, Sample.objects.filter(exact__gt=decimal.Decimal("3.1")).values_list("exact"))

    def test_functions_of_sqlite(self, both: Any) -> None:
        insert(both, Sample, [{"text": text, "number": 2.5} for text in ("abc", " É ", None)])
        rows = Sample.objects.annotate(
            a=fn.Upper(fn.Trim("text")),
            b=fn.Concat("text", Value("-"), "number", output_field=models.TextField()),
            c=fn.StrIndex("text", Value("b")),
            d=fn.Sqrt("number"),
            e=fn.Greatest("number", Value(3.0)),
            f=fn.Ceil("number"),
            g=fn.Power("number", 3),
            h=fn.Sign("number"),
            i=fn.Left("text", 2),
            j=fn.Degrees("number"),
        )
        same(both, rows.order_by("pk").values_list(*"abcdefghij"), nearly)

    def test_logged_queries(self, database: Any) -> None:
        with CaptureQueriesContext(database) as queries:
            create("it's")
            Sample.objects.using("scratch").create(blob=b"\1\2" * 600, text="x" * 1500, big=2**40)
        first, second = (query["sql"] for query in queries)
        assert "VALUES ('it''s')" in first
        assert f"X'{'0102' * 500}...' /* 1200 bytes */" in second
        assert f"'{'x' * 1000}...'" in second
        assert str(2**40) in second


# What the page of the documentation says


class TestDifferences:
    """Each of these is described. Where one of them ends, so does its description."""

    def test_text_in_double_quotes(self, raw: dbapi.Connection) -> None:
        with pytest.raises(dbapi.OperationalError, match="no such column: text"):
            raw.execute('SELECT "text"')

    @pytest.mark.parametrize("pattern", [r"(a)\1", "a(?=b)", "[[:alpha:]]"])
    def test_regular_expressions(self, database: Any, pattern: str) -> None:
        create("aab")
        with pytest.raises(django_errors.OperationalError):
            list(Author.objects.using("scratch").filter(name__regex=pattern))

    def test_cases_past_ascii(self, database: Any) -> None:
        create("É")
        authors = Author.objects.using("scratch")
        assert [authors.filter(name__iregex=each).count() for each in "Éé"] == [1, 0]

    def test_mod_by_zero(self, database: Any) -> None:
        Sample.objects.using("scratch").create(number=0.0, big=5)
        found = Sample.objects.using("scratch").annotate(v=fn.Mod("big", "number"))
        assert found.get().v is None

    def test_sums_of_six(self, database: Any) -> None:
        deep = F("at")
        for days in range(6):
            deep = deep + dt.timedelta(days=days)
        with pytest.raises(django_errors.OperationalError, match="parser stack overflow"):
            list(Moment.objects.using("scratch").annotate(v=deep))

    def test_vacuum(self, raw: dbapi.Connection) -> None:
        def nearest() -> list[int]:
            sql = "SELECT id FROM vector_top_k('nearby', vector32('[5,0]'), 3)"
            return sorted(pk for (pk,) in raw.execute(sql))

        index = "CREATE INDEX nearby ON v (libsql_vector_idx(v, 'metric=l2'))"
        raw.execute("CREATE TABLE v (id integer PRIMARY KEY, v F32_BLOB(2))")
        raw.execute(index)
        rows = ([n, f"[{n},0]"] for n in range(50))
        raw.executemany("INSERT INTO v VALUES (?, vector32(?))", rows)
        assert one(raw, "PRAGMA integrity_check") == "ok"
        raw.execute("VACUUM")
        assert nearest() == [4, 5, 6]
        assert "not in PRIMARY KEY order" in one(raw, "PRAGMA integrity_check")
        with pytest.raises(dbapi.IntegrityError):
            raw.execute("REINDEX")
        for expected in ([], [4, 5, 6]):
            raw.execute("DROP INDEX nearby")
            raw.execute(index)
            assert nearest() == expected
        assert one(raw, "PRAGMA integrity_check") == "ok"


def section(label: str) -> str:
    return (DOCS / "libsql.rst").read_text().split(f".. _{label}:")[1].split("\n.. _")[0]


class TestDocumentation:
    def test_skipped_tests(self) -> None:
        described: dict[str, set[str]] = {}
        reason = ""
        for line in section("libsql-skips").splitlines():
            if test := re.fullmatch(r" +\* ``([\w.]+)``", line):
                described[reason].add(test[1])
            elif line:
                reason = line
                described[reason] = set()
        assert {reason: tests for reason, tests in described.items() if tests} == SKIPS

    def test_options(self) -> None:
        rows = re.findall(r"^``(\w+)``  ", section("libsql-options"), re.M)
        assert rows == sorted({*OPTIONS, "init_command", "transaction_mode"})
