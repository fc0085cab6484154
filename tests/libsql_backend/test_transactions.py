"""Transactions and savepoints, as the client's state follows them."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction
from django.db import utils as django_errors
from django.test.utils import CaptureQueriesContext

from tests.support.libsql_backend import Author, Book, create, names


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
