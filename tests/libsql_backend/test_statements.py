"""Statements with placeholders, and several in one text."""

from __future__ import annotations

import pytest

from dorm_vector.backends.libsql import dbapi
from tests.support.libsql_backend import one


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
