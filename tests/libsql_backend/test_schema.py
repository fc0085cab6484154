"""Migrations and introspection."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.contrib.contenttypes.models import ContentType
from django.core.management import CommandError, call_command
from django.core.management.color import no_style
from django.db import connections, models
from django.db import utils as django_errors

from tests.support.libsql_backend import MOMENTS, Author, Book, create, moments, names


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
        """Tables are rebuilt: the one that refers, and the one that is referred to."""
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
