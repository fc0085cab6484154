"""Preparing a connection: once, and without a trace in the transaction that it may be in."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connections, transaction
from django.db.backends.signals import connection_created
from django.test import modify_settings
from psycopg import pq
from psycopg.rows import tuple_row

from dorm_vector import conf
from dorm_vector.engines import Engine
from dorm_vector.engines.preparing import prepare, prepare_connections
from dorm_vector.engines.sqlite import SQLiteEngine
from tests.testapp.models import Item

PRELOADED = {"options": "-c session_preload_libraries=vector"}


def ready_again() -> Any:
    """Have Django call the ``ready()`` of every app again."""
    return modify_settings(INSTALLED_APPS={"append": "django.contrib.humanize"})


def shown(connection: Any) -> str | None:
    with connection.connection.cursor(row_factory=tuple_row) as cursor:
        cursor.execute("SELECT current_setting('hnsw.iterative_scan', true)")
        return cursor.fetchone()[0] or None


def status(connection: Any) -> pq.TransactionStatus:
    return pq.TransactionStatus(connection.connection.pgconn.transaction_status)


class CountingEngine(SQLiteEngine):
    prepared = 0

    def prepare(self) -> None:
        type(self).prepared += 1
        super().prepare()


@pytest.fixture
def unprepared() -> Iterator[None]:
    """Connections open as they do in a project without the app."""
    connection_created.disconnect(dispatch_uid="dorm_vector")
    yield
    prepare_connections()


class TestReadyAgain:
    @pytest.mark.django_db(databases="__all__", transaction=True)
    @pytest.mark.parametrize("name", ["default", "postgresql", "libsql"])
    def test_a_transaction_is_not_ended(self, name: str) -> None:
        rows = Item.objects.using(name)
        with transaction.atomic(using=name):
            rows.create(name="gone")
            with ready_again():
                assert rows.count() == 1
            assert rows.count() == 1
            transaction.set_rollback(True, using=name)
        assert rows.count() == 0

    def test_savepoints_stay(self, alias: str) -> None:
        rows = Item.objects.using(alias)
        with transaction.atomic(using=alias):
            rows.create(name="kept")
            with transaction.atomic(using=alias):
                rows.create(name="gone")
                with ready_again():
                    pass
                transaction.set_rollback(True, using=alias)
        assert [row.name for row in rows.all()] == ["kept"]

    def test_while_rows_are_read(self, alias: str) -> None:
        rows = Item.objects.using(alias)
        rows.bulk_create(Item(name=str(number)) for number in range(300))
        reading = rows.order_by("pk").iterator(chunk_size=100)
        names = [next(reading).name]
        with ready_again():
            names += [row.name for row in reading]
        assert names == [str(number) for number in range(300)]

    def test_without_autocommit(self, scratch: Any) -> None:
        connection = scratch(AUTOCOMMIT=False)
        with connection.cursor() as cursor:
            cursor.execute("CREATE TABLE thing (id int)")
            with ready_again():
                pass
            connection.rollback()
            cursor.execute("SELECT to_regclass('thing')")
            assert cursor.fetchone() == (None,)

    def test_after_a_statement_failed(self, scratch: Any) -> None:
        connection = scratch()
        with transaction.atomic(using="scratch"):
            with connection.cursor() as cursor, pytest.raises(Exception, match="nonsense"):
                cursor.execute("SELECT nonsense")
            del connection._dorm_vector_prepared
            with ready_again():
                pass
            transaction.set_rollback(True, using="scratch")
        assert shown(connection) == "strict_order"

    def test_a_connection_that_is_lost(self, scratch: Any) -> None:
        connection = scratch()
        connection.ensure_connection()
        connection.connection.close()
        del connection._dorm_vector_prepared
        with ready_again():
            pass


class TestOnce:
    def test_for_each_of_the_drivers_connections(
        self, settings: Any, open_database: Any, tmp_path: Path
    ) -> None:
        path = f"{__name__}.{CountingEngine.__name__}"
        settings.DORM_VECTOR = {"ENGINES": {"scratch": path}}
        CountingEngine.prepared = 0
        connection = open_database("default", NAME=str(tmp_path / "db"))
        for expected in (1, 2):
            connection.connect()
            with ready_again():
                prepare(connection)
            assert CountingEngine.prepared == expected
            connection.close()

    def test_a_closed_one_is_left_alone(self, scratch: Any) -> None:
        connection = scratch()
        prepare(connection)
        assert connection.connection is None

    def test_every_engine_does_so(self, connection: Any) -> None:
        connection.ensure_connection()
        engine: Engine = connection._dorm_vector_engine
        assert connection._dorm_vector_prepared() is connection.connection
        with ready_again():
            assert connection._dorm_vector_engine is engine


class TestPostgreSQL:
    def test_no_transaction_is_left_open(self, scratch: Any) -> None:
        for autocommit in (True, False):
            connection = scratch(AUTOCOMMIT=autocommit)
            connection.connect()
            assert status(connection) == pq.TransactionStatus.IDLE
            assert connection.connection.autocommit is autocommit
            assert shown(connection) == "strict_order"
            connection.close()

    def test_first_within_a_transaction(self, scratch: Any, unprepared: None) -> None:
        connection = scratch()
        with transaction.atomic(using="scratch"):
            with connection.cursor() as cursor:
                cursor.execute("CREATE TABLE thing (id int)")
            assert shown(connection) is None
            with ready_again():
                assert shown(connection) == "strict_order"
            assert status(connection) == pq.TransactionStatus.INTRANS
            transaction.set_rollback(True, using="scratch")
        with connection.cursor() as cursor:
            cursor.execute("SELECT to_regclass('thing')")
            assert cursor.fetchone() == (None,)

    def test_a_refusal_does_not_spoil_the_transaction(
        self,
        scratch: Any,
        settings: Any,
        unprepared: None,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        monkeypatch.setitem(conf.CHOICES, "ITERATIVE_SCAN", ("refused",))
        settings.DORM_VECTOR = {"ITERATIVE_SCAN": "refused"}
        connection = scratch(OPTIONS=PRELOADED)
        with transaction.atomic(using="scratch"), connection.cursor() as cursor:
            cursor.execute("CREATE TABLE thing (id int)")
            with caplog.at_level(logging.WARNING, "dorm_vector"):
                prepare(connection)
            cursor.execute("INSERT INTO thing VALUES (1)")
        assert len(caplog.records) == 1
        with connection.cursor() as cursor:
            cursor.execute("SELECT id FROM thing")
            assert cursor.fetchall() == [(1,)]

    def test_rows_as_dicts(self, scratch: Any) -> None:
        """What a project has its driver's cursors return is no concern of preparing."""
        from psycopg.rows import dict_row

        connection = scratch()
        connection.connect()
        connection.connection.row_factory = dict_row
        del connection._dorm_vector_prepared
        prepare(connection)
        assert shown(connection) == "strict_order"

    @pytest.mark.parametrize("age", [0, 60, None])
    def test_persistent_connections(self, scratch: Any, age: int | None) -> None:
        connection = scratch(CONN_MAX_AGE=age)
        for _ in range(3):
            connection.ensure_connection()
            assert shown(connection) == "strict_order"
            connection.close_if_unusable_or_obsolete()

    def test_nothing_goes_into_the_startup_packet(self, scratch: Any) -> None:
        """PgBouncer refuses ``options`` there."""
        assert "options" not in scratch().get_connection_params()


def test_extension_within_a_transaction(
    open_database: Any, unprepared: None, tmp_path: Path
) -> None:
    connection = open_database("default", NAME=str(tmp_path / "db"))
    with transaction.atomic(using="scratch"), connection.cursor() as cursor:
        cursor.execute("CREATE TABLE thing (id int)")
        cursor.execute("INSERT INTO thing VALUES (1)")
        prepare(connection)
        cursor.execute("SELECT vec_distance_l1(X'00000000', X'0000803F')")
        assert cursor.fetchone() == (1.0,)
        transaction.set_rollback(True, using="scratch")
    assert connection.introspection.table_names() == []


def test_every_alias_is_prepared_once(db: None) -> None:
    for alias in connections:
        connection = connections[alias]
        connection.ensure_connection()
        assert connection._dorm_vector_prepared() is connection.connection
