"""What the libSQL backend finds in SQL text, and how it binds parameters, against sqlite3."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from django.db import utils as django_errors
from hypothesis import example, given
from hypothesis import strategies as st

from dorm_vector.backends.libsql import dbapi, statements

PIECES = [
    "'", '"', "`", "[", "]", "''", ";", " ", "\n", "--", "/*", "*/", "/", "-", "*", "(", ")", "?",
    "?1", ":a", "$b", "@c", "::", "x", "é", "1", "CREATE", "TEMP", "TRIGGER", "END", "EXPLAIN",
    "BEGIN", "SELECT", "a$b",
]  # fmt: skip
ROWS = ["(?, ?)", "(?)", ", (?, ?), (?,?)", "IN (?, ?)", "in(?)", "(?, ", ", ?)", "WITH t AS "]
# A name that begins so has what is in parentheses for its end.
UNNAMED = [piece for piece in PIECES if piece[0] not in ":$@" and "$" not in piece]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=25).map("".join)


@pytest.fixture
def raw() -> Iterator[dbapi.Connection]:
    with closing(dbapi.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE t (id integer PRIMARY KEY, v)")
        connection.executemany("INSERT INTO t VALUES (?, ?)", [(n, n) for n in range(5)])
        yield connection


def rows(raw: dbapi.Connection) -> list[Any]:
    return raw.execute("SELECT v FROM t ORDER BY id").fetchall()


class TestTokenizer:
    @given(TEXTS)
    @example("CREATE TEMP TRIGGER x BEGIN SELECT 1; END;")
    @example("EXPLAIN CREATE TRIGGER x;END;")
    def test_nothing_is_lost(self, sql: str) -> None:
        assert "".join(token[0] for token in statements.TOKEN.finditer(sql)) == sql
        assert statements.replace_marks(sql, lambda mark: "?") is not None

    @given(st.lists(st.sampled_from([*ROWS, *UNNAMED]), max_size=25).map("".join))
    @example("INSERT INTO t VALUES (?, ?), (?, ?)")
    @example("SELECT x IN (?, ?), (?), (?, ?1)")
    @example("WITH t AS (SELECT 1), u (a) AS (VALUES (?)) DELETE FROM t")
    def test_rows_of_places_are_read_at_once(self, sql: str) -> None:
        """What is found is what is found with a space in each, which breaks the row up."""
        apart = re.sub(r"\((?=\?)", "( ", sql)
        assert statements.statement(sql) == statements.statement(apart)
        found: list[list[Any]] = [[], []]
        for text, marks in zip((sql, apart), found, strict=True):
            statements.replace_marks(text, lambda mark, marks=marks: marks.append(mark) or "?")
        assert found[0] == found[1]

    @given(TEXTS.filter(lambda sql: "/*" not in sql))
    @example("CREATE TEMP TRIGGER x BEGIN SELECT 1; END;")
    @example("EXPLAIN CREATE TRIGGER x;END;")
    @example("create trigger a begin ; end; x;")
    def test_statements_end_where_sqlite_ends_them(self, sql: str) -> None:
        """Each that is split off by a semicolon is complete, and no shorter piece of it is."""
        pieces = list(statements.split(sql))
        for place, piece in enumerate(pieces):
            complete = sqlite3.complete_statement(piece)
            assert complete or place == len(pieces) - 1
            for end in (at for at, char in enumerate(piece[:-1], 1) if char == ";"):
                head = piece[:end]
                assert (
                    not sqlite3.complete_statement(head)
                    or not head.strip("; \n")
                    or (statements.statement(head).verb == "")
                )

    @pytest.mark.parametrize(
        "piece",
        [" ", "-", "/* c */\n", "/*", "'", '"', "`", "[", "(", ")", "?,", ":", "$(", "/", "*", ";",
         "%", "'\"", "/*-", "a", "1.", "::a", "IN (", "é"],
    )  # fmt: skip
    def test_time_is_linear(self, piece: str) -> None:
        """No time is asserted but that ten times as much does not take a hundred times as long."""
        short, long = (piece * (size // len(piece)) for size in (10_000, 100_000))

        def seconds(sql: str) -> float:
            start = time.process_time()
            statements._statement(sql)
            list(statements.split(sql))
            statements.replace_marks(sql, lambda mark: "?")
            return time.process_time() - start

        assert seconds(long) < 40 * max(min(seconds(short) for _ in range(3)), 0.002)

    def test_comments_before_a_statement(self, raw: dbapi.Connection) -> None:
        start = time.process_time()
        raw.execute("/* c */\n" * 5000 + "CREATE INDEX i ON t (v)")
        assert time.process_time() - start < 5

    @pytest.mark.parametrize(
        ("sql", "verb"),
        [
            ("", ""),
            (" /* a */ -- b", ""),
            ("/* a */ DELETE FROM t WHERE v IN /* b */ (SELECT 1)", "DELETE"),
            ("(SELECT 1)", "SELECT"),
            ("WITH a AS (SELECT 1) SELECT * FROM a", "SELECT"),
            ("WITH a(x) AS (SELECT 1), b AS (SELECT 2) insert INTO t SELECT 1", "INSERT"),
            ("with a as (values (1)) delete from t", "DELETE"),
            (" ; /* a */ ; update t set v = 1", "UPDATE"),
            ("'x'", "?"),
        ],
    )
    def test_verbs(self, sql: str, verb: str) -> None:
        assert statements.statement(sql).verb == verb


class TestNothingIsLeftOut:
    @pytest.mark.parametrize(
        "sql",
        [
            "/* app='x' */ DELETE FROM t /* trace='y' */",
            "-- a\nDELETE FROM t -- b",
            "; DELETE FROM t",
            "/* a */; /* b */ DELETE FROM t; /* c */",
            "WITH a AS (SELECT 1) DELETE FROM t",
        ],
    )
    def test_comments(self, raw: dbapi.Connection, sql: str) -> None:
        assert raw.execute(sql).rowcount == 5
        assert rows(raw) == []

    def test_a_query_between_comments(self, raw: dbapi.Connection) -> None:
        assert raw.execute("/* a */ SELECT 7 /* b */").fetchall() == [(7,)]

    def test_a_second_statement_between_comments(self, raw: dbapi.Connection) -> None:
        sql = "INSERT INTO t VALUES (9, 9); /* x */ DELETE FROM t /* y */"
        with pytest.raises(
            dbapi.ProgrammingError, match=r"^You can only execute one statement at a time\.$"
        ):
            raw.execute(sql)
        assert len(rows(raw)) == 5

    @pytest.mark.parametrize("call", ["execute", "executemany", "executescript"])
    def test_nul(self, raw: dbapi.Connection, call: str) -> None:
        arguments = [[()]] if call == "executemany" else []
        with pytest.raises(dbapi.ProgrammingError, match=r"^The SQL contains a NUL character, "):
            getattr(raw, call)("UPDATE t SET v=9 \0 WHERE id=1", *arguments)
        assert rows(raw) == [(n,) for n in range(5)]

    def test_lone_surrogates(self, raw: dbapi.Connection) -> None:
        for connection in (raw, sqlite3.connect(":memory:")):
            with pytest.raises(UnicodeEncodeError):
                connection.execute("SELECT '\ud800'")
            with pytest.raises(UnicodeEncodeError):
                connection.execute("SELECT ?", ["\ud800"])
            if connection is not raw:
                connection.close()

    def test_a_change_behind_with_begins_a_transaction(self, raw: dbapi.Connection) -> None:
        raw.isolation_level = ""
        raw.execute("WITH a AS (SELECT 1) DELETE FROM t")
        assert raw.in_transaction
        raw.rollback()
        assert len(rows(raw)) == 5


BINDINGS: list[tuple[str, Any]] = [
    ("SELECT ?, ?", (1, 2)),
    ("SELECT ?2, ?1", (1, 2)),
    ("SELECT ?1, ?1", (2**40,)),
    ("SELECT ?2, ?, ?1", (2**40, "b", 2**41)),
    ("SELECT :a, @b, $c, :a", {"a": 1, "b": 2**62, "c": None}),
    ("SELECT :a, '?', \"v\", [v], `v` /* ? */ FROM t -- :b", {"a": 2**40}),
    ("SELECT v FROM t GROUP BY v + ?1 HAVING v + ?1 > ?2", (1, 2)),
    ("SELECT 1 ORDER BY ?", (1,)),
    ("SELECT typeof(?), ?", (2**40, -(2**40))),
    ("SELECT ? FROM t LIMIT ?", (2**40, 2**40)),
]
MISFITS: list[tuple[str, Any]] = [
    ("SELECT ?, '?'", ()),
    ("SELECT ?", (1, 2)),
    ("SELECT ?2", (1,)),
    ("SELECT 1", (1,)),
    ("SELECT :a", {"b": 1}),
    ("SELECT ?", {"a": 1}),
]


class TestParameters:
    @pytest.mark.parametrize(("sql", "params"), BINDINGS)
    def test_as_sqlite3(self, raw: dbapi.Connection, sql: str, params: Any) -> None:
        with closing(sqlite3.connect(":memory:")) as stock:
            stock.execute("CREATE TABLE t (id integer PRIMARY KEY, v)")
            stock.executemany("INSERT INTO t VALUES (?, ?)", [(n, n) for n in range(5)])
            expected = stock.execute(sql, params).fetchall()
        assert raw.execute(sql, params).fetchall() == expected

    @pytest.mark.parametrize(("sql", "params"), MISFITS)
    def test_misfits(self, raw: dbapi.Connection, sql: str, params: Any) -> None:
        with closing(sqlite3.connect(":memory:")) as stock, pytest.raises(sqlite3.ProgrammingError):
            stock.execute(sql, params)
        with pytest.raises(dbapi.ProgrammingError):
            raw.execute(sql, params)

    @pytest.mark.parametrize("bad", [(3,), (4, 5, 6), ()])
    def test_each_row_is_counted(self, raw: dbapi.Connection, bad: Any) -> None:
        message = rf"uses 2, and there are {len(bad)} supplied\.$"
        raw.execute("BEGIN")
        with pytest.raises(dbapi.ProgrammingError, match=message):
            raw.executemany("INSERT INTO t VALUES (?, ?) -- ?", [(10, 2), bad, (12, 5)])
        raw.rollback()
        assert len(rows(raw)) == 5

    def test_executemany_is_for_changes(self, raw: dbapi.Connection) -> None:
        message = r"^executemany\(\) runs INSERT, UPDATE, DELETE and REPLACE, not SELECT\.$"
        with pytest.raises(dbapi.ProgrammingError, match=message):
            raw.executemany("SELECT ?", [[1]])

    def test_wide_integers_beside_text(self, raw: dbapi.Connection) -> None:
        raw.execute("CREATE TABLE u (a text)")
        raw.execute("INSERT INTO u VALUES ('012345678901')")
        for sql in ("SELECT a FROM u WHERE a = ?", "SELECT a FROM u WHERE a IN (?1, 3)"):
            assert raw.execute(sql, [12345678901]).fetchall() == []

    @pytest.mark.parametrize("value", [lambda n: n, lambda n: f"it's {n}", lambda n: n + 2**40])
    def test_more_than_sqlite_takes(self, raw: dbapi.Connection, value: Any) -> None:
        raw.execute("INSERT INTO t VALUES (100, ?)", [value(39_999)])
        sql = f"SELECT id FROM t WHERE v IN ({', '.join('?' * 40_000)}) AND id > ? ORDER BY ?"
        params = [*map(value, range(40_000)), 4, 1]
        assert raw.execute(sql, params).fetchall() == [(100,)]

    def test_named_parameters_of_django(self, open_database: Any) -> None:
        with open_database("libsql", NAME=":memory:").cursor() as cursor:
            cursor.execute("SELECT :a, %(b)s", {"a": 1, "b": "?"})
            assert cursor.fetchone() == (1, "?")
            with pytest.raises(
                django_errors.ProgrammingError, match=r"^There is no value for the parameter :c\.$"
            ):
                cursor.execute("SELECT :c", {"a": 1})
