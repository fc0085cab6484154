"""VectorExtension, and the command that writes the migration which holds it."""

from __future__ import annotations

import functools
import io
import os
import re
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connections, migrations
from django.db.backends.signals import connection_created
from django.db.migrations.state import ProjectState
from django.db.migrations.writer import MigrationWriter

from dorm_vector import VectorExtension
from dorm_vector.engines.preparing import prepare_connections
from tests.support import postgres


def forwards(connection: Any, operation: VectorExtension | None = None) -> None:
    with connection.schema_editor() as editor:
        state = ProjectState()
        (operation or VectorExtension()).database_forwards("shop", editor, state, state)


def backwards(connection: Any) -> None:
    with connection.schema_editor() as editor:
        state = ProjectState()
        VectorExtension().database_backwards("shop", editor, state, state)


def installed(connection: Any) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_extension WHERE extname = 'vector'")
        return bool(cursor.fetchone()[0])


class TestDeclaration:
    def test_describe_and_name(self) -> None:
        operation = VectorExtension()
        assert operation.describe() == "Install vector support (pgvector or sqlite-vec)"
        assert operation.migration_name_fragment == "enable_pgvector"
        assert operation.reversible

    def test_state_is_unchanged(self) -> None:
        state = ProjectState()
        VectorExtension().state_forwards("shop", state)
        assert state == ProjectState()

    def test_written_migration(self) -> None:
        migration = migrations.Migration("0001_enable_pgvector", "shop")
        migration.operations = [VectorExtension(), VectorExtension(hints={"a": 1})]
        text = MigrationWriter(migration, include_header=False).as_string()
        assert "import dorm_vector.operations" in text
        assert re.search(r"dorm_vector\.operations\.VectorExtension\(\s*\)", text)
        assert "hints={'a': 1}" in text
        assert "schema" not in text

    @pytest.mark.parametrize("given", [{}, {"hints": {"a": 1}}, {"schema": "public"}])
    def test_deconstruct(self, given: dict[str, Any]) -> None:
        assert VectorExtension(**given).deconstruct() == ("VectorExtension", [], given)
        assert VectorExtension(given.get("hints"), schema=None).deconstruct()[2] == {
            name: value for name, value in given.items() if name != "schema"
        }


class TestPostgreSQL:
    def test_forwards_twice_and_backwards_twice(self, scratch: Any) -> None:
        connection = scratch()
        assert not installed(connection)
        for _ in range(2):
            forwards(connection)
            assert installed(connection)
        for _ in range(2):
            backwards(connection)
            assert not installed(connection)

    @pytest.mark.django_db(databases=["postgresql"])
    def test_sqlmigrate(self) -> None:
        state = ProjectState()
        with connections["postgresql"].schema_editor(collect_sql=True, atomic=False) as editor:
            VectorExtension().database_forwards("shop", editor, state, state)
            VectorExtension().database_backwards("shop", editor, state, state)
        assert editor.collected_sql == [
            "CREATE EXTENSION IF NOT EXISTS vector;",
            "DROP EXTENSION IF EXISTS vector;",
        ]

    def test_schema(self, scratch: Any) -> None:
        connection = scratch(OPTIONS={"options": "-c search_path=public,Extra"})
        with connection.schema_editor(collect_sql=True) as editor:
            VectorExtension(schema="Extra").database_forwards("shop", editor, None, None)
        assert editor.collected_sql == ['CREATE EXTENSION IF NOT EXISTS vector SCHEMA "Extra";']
        with connection.cursor() as cursor:
            cursor.execute('CREATE SCHEMA "Extra"; SET search_path = public, "Extra"')
            for _ in range(2):
                forwards(connection, VectorExtension(schema="Extra"))
            cursor.execute("SELECT extnamespace::regnamespace::text FROM pg_extension")
            assert ('"Extra"',) in cursor.fetchall()

    def test_a_schema_that_may_be_dropped(self, scratch: Any, settings: Any) -> None:
        """Only where DROP SCHEMA would take columns of other schemas with it."""
        settings.DATABASE_ROUTERS = []
        connection = scratch(OPTIONS={"options": "-c search_path=tenant,public"})
        ask = functools.partial(checks.run_checks, tags=["dorm_vector"], databases=["scratch"])

        def found() -> list[checks.CheckMessage]:
            return [message for message in ask() if message.id == "dorm_vector.W002"]

        with connection.cursor() as cursor:
            cursor.execute("CREATE SCHEMA tenant")
            assert found() == []
            forwards(connection)
            assert found() == []
            cursor.execute("CREATE TABLE public.thing (embedding vector(3), half halfvec(3)[])")
            assert found() == []
            cursor.execute("CREATE TABLE tenant.thing (embedding vector(3))")
            assert found() == [
                checks.Warning(
                    "The extension vector is in the schema tenant of the database 'scratch': DROP "
                    "SCHEMA tenant CASCADE would drop the vector columns of other schemas too "
                    "(public).",
                    hint="Run ALTER EXTENSION vector SET SCHEMA public, or another schema that "
                    "stays.",
                    id="dorm_vector.W002",
                )
            ]
            cursor.execute("ALTER EXTENSION vector SET SCHEMA public")
            assert found() == []

    def test_routers_are_asked(self, scratch: Any, settings: Any) -> None:
        settings.DATABASE_ROUTERS = [Router()]
        connection = scratch()
        forwards(connection)
        assert not installed(connection)
        forwards(connection, VectorExtension(hints={"wanted": True}))
        assert installed(connection)
        backwards(connection)
        assert installed(connection)

    def test_missing_files(self, scratch: Any) -> None:
        connection = scratch(OPTIONS={"options": "-c extension_control_path=/nowhere"})
        with pytest.raises(DatabaseError) as caught:
            forwards(connection)
        assert str(caught.value) == (
            "The PostgreSQL server has no pgvector files: install pgvector on the server (the "
            "package is often called postgresql-NN-pgvector, NN being the server's major version), "
            "then migrate again."
        )
        assert isinstance(caught.value.__cause__, DatabaseError)

    def test_permission_denied(self, scratch: Any, plain_user: str) -> None:
        connection = scratch(USER=plain_user)
        with pytest.raises(DatabaseError) as caught:
            forwards(connection)
        assert str(caught.value) == (
            "This database user may not create or drop the extension vector. Ask an administrator "
            f"to run CREATE EXTENSION vector in the database {postgres.SCRATCH}, then migrate "
            "again: where the extension is present, no permission is needed."
        )

    def test_no_permission_is_needed_where_it_is_present(
        self, scratch: Any, plain_user: str
    ) -> None:
        forwards(scratch())
        connection = scratch(USER=plain_user)
        forwards(connection)
        assert installed(connection)

    def test_type_off_the_search_path(self, scratch: Any) -> None:
        connection = scratch()
        with connection.cursor() as cursor:
            cursor.execute("CREATE SCHEMA elsewhere")
            cursor.execute("CREATE EXTENSION vector SCHEMA elsewhere")
        with pytest.raises(ImproperlyConfigured) as caught:
            forwards(connection)
        assert str(caught.value) == (
            "The extension vector is installed in the schema elsewhere, which is not on the "
            'search path ("$user", public), so that the type vector does not exist for this '
            "project. Move it to a schema that is on the search path of the database 'scratch', by "
            "ALTER EXTENSION vector SET SCHEMA public, or add its schema there: OPTIONS = "
            "{'options': '-c search_path=public,elsewhere'}."
        )
        forwards(scratch(OPTIONS={"options": "-c search_path=public,elsewhere"}))

    def test_columns_that_depend_on_it(self, scratch: Any) -> None:
        connection = scratch()
        forwards(connection)
        with connection.cursor() as cursor:
            cursor.execute("CREATE TABLE thing (embedding vector(3))")
        with pytest.raises(DatabaseError) as caught:
            backwards(connection)
        assert str(caught.value) == (
            "The extension vector cannot be dropped while columns of the database "
            f"{postgres.SCRATCH} use its types: migrate the apps that declare "
            "vector fields back first."
        )

    @pytest.fixture
    def plain_user(self) -> Iterator[str]:
        with psycopg.connect(os.environ[postgres.VARIABLE], autocommit=True) as admin:
            admin.execute("CREATE ROLE plain LOGIN")
            yield "plain"
            admin.execute("DROP ROLE plain")


class Router:
    def allow_migrate(self, db: str, app_label: str, wanted: bool = False, **hints: Any) -> bool:
        return wanted


@pytest.mark.django_db(transaction=True)
class TestSQLite:
    def test_both_directions_run_any_number_of_times(self) -> None:
        connection = connections["default"]
        for _ in range(2):
            forwards(connection)
        for _ in range(2):
            backwards(connection)
        with connection.cursor() as cursor:
            cursor.execute("SELECT vec_distance_l1(X'00000000', X'0000803F')")
            assert cursor.fetchone() == (1.0,)

    def test_later_connections_load_it(self, open_database: Any, tmp_path: Path) -> None:
        """Also where the app is not installed and nothing else would prepare connections."""
        connection = open_database("default", NAME=str(tmp_path / "db"))
        connection_created.disconnect(dispatch_uid="dorm_vector")
        try:
            connection.connect()
            with pytest.raises(sqlite3.OperationalError, match="no such function"):
                connection.connection.execute("SELECT vec_version()")
            forwards(connection)
            connection.close()
            connection.connect()
            assert connection.connection.execute("SELECT vec_version()").fetchone()
        finally:
            prepare_connections()

    def test_sqlmigrate_is_empty(self) -> None:
        out = io.StringIO()
        call_command("sqlmigrate", "testapp", "0001", stdout=out)
        assert "-- (no-op)" in out.getvalue().splitlines()


@pytest.mark.django_db
class TestElsewhere:
    def test_harmless(self, settings: Any) -> None:
        settings.DORM_VECTOR = {"ENGINES": {"default": "unsupported"}}
        editor = connections["default"].schema_editor(collect_sql=True)
        state = ProjectState()
        VectorExtension().database_forwards("shop", editor, state, state)
        VectorExtension().database_backwards("shop", editor, state, state)
        assert editor.collected_sql == []


@pytest.mark.django_db(databases="__all__", transaction=True)
class TestRealMigrations:
    """The migrations of the test apps, forwards and backwards twice on every engine."""

    @pytest.mark.parametrize("name", ["default", "postgresql"])
    def test_round_trip(self, name: str) -> None:
        apps = ["testapp", "textapp"]
        tables = connections[name].introspection.table_names
        before = set(tables())
        for _ in range(2):
            for app in reversed(apps):
                call_command("migrate", app, "zero", database=name, verbosity=0)
                assert not [table for table in tables() if table.startswith(f"{app}_")]
            for app in apps:
                call_command("migrate", app, database=name, verbosity=0)
            assert set(tables()) == before

    def test_no_changes_are_missing(self) -> None:
        call_command("makemigrations", "testapp", check=True, dry_run=True, verbosity=0)

    def test_sqlmigrate(self) -> None:
        out = io.StringIO()
        call_command("sqlmigrate", "testapp", "0002", database="postgresql", stdout=out)
        assert '"embedding" vector(3) NULL' in out.getvalue()
        assert (
            'CREATE INDEX "indexed_ip" ON "testapp_indexed" USING ivfflat '
            '("embedding" vector_ip_ops) WITH (lists = 10);' in out.getvalue()
        )
        out = io.StringIO()
        call_command("sqlmigrate", "testapp", "0002", database="default", stdout=out)
        assert (
            "\"embedding\" blob NULL CHECK (typeof(\"embedding\") IN ('blob', 'null') "
            'AND length("embedding") = 4*3)' in out.getvalue()
        )
        assert "SELECT 'SQLite has no ivfflat index: indexed_ip is not built';" in out.getvalue()


class TestMakeMigrations:
    @pytest.fixture
    def package(self, tmp_path: Path, monkeypatch: Any, settings: Any) -> Iterator[Path]:
        """The migrations of ``testapp``, in an empty package of their own."""
        monkeypatch.syspath_prepend(tmp_path)
        # Those of textapp depend on the ones that are replaced.
        settings.MIGRATION_MODULES = {"testapp": "scratch_migrations", "textapp": None}
        package = tmp_path / "scratch_migrations"
        package.mkdir()
        (package / "__init__.py").touch()
        yield package
        for name in [name for name in sys.modules if name.startswith("scratch_migrations")]:
            del sys.modules[name]

    def run(self, *args: str, **options: Any) -> str:
        out = io.StringIO()
        call_command("makemigrations", *args, enable_pgvector=True, stdout=out, **options)
        return out.getvalue()

    def test_first_migration(self, package: Path) -> None:
        assert "Install vector support" in self.run("testapp")
        text = (package / "0001_enable_pgvector.py").read_text()
        assert "dorm_vector.operations.VectorExtension" in text
        assert re.search(r"dependencies = \[\s*\]", text)

    def test_next_number_and_dependency(self, package: Path) -> None:
        (package / "0007_last.py").write_text(
            "from django.db import migrations\nclass Migration(migrations.Migration):\n    pass\n"
        )
        self.run("testapp")
        text = (package / "0008_enable_pgvector.py").read_text()
        assert "('testapp', '0007_last')" in text

    def test_name(self, package: Path) -> None:
        self.run("testapp", name="vectors")
        assert (package / "0001_vectors.py").exists()

    def test_dry_run(self, package: Path) -> None:
        self.run("testapp", dry_run=True)
        assert [path.name for path in package.glob("*.py")] == ["__init__.py"]

    def test_a_second_one_is_refused(self, package: Path) -> None:
        self.run("testapp")
        with pytest.raises(
            CommandError, match=r"^testapp already has VectorExtension, in 0001_enable_pgvector\.$"
        ):
            self.run("testapp")

    def test_several_leaves_are_refused(self, package: Path) -> None:
        for name in ("0001_a", "0001_b"):
            (package / f"{name}.py").write_text(
                "from django.db import migrations\n"
                "class Migration(migrations.Migration):\n    pass\n"
            )
        with pytest.raises(CommandError, match="merge them first"):
            self.run("testapp")

    @pytest.mark.parametrize("option", ["check_changes", "empty", "merge", "update"])
    def test_options_that_do_not_go_with_it(self, package: Path, option: str) -> None:
        with pytest.raises(
            CommandError, match=r"^--enable-pgvector cannot be combined with --\w+\.$"
        ):
            self.run("testapp", **{option: True})
        assert [path.name for path in package.glob("*.py")] == ["__init__.py"]

    def test_unknown_app(self) -> None:
        with pytest.raises(CommandError, match="No installed app with label 'nowhere'"):
            self.run("nowhere")

    @pytest.mark.parametrize("labels", [(), ("testapp", "auth")])
    def test_one_app_is_needed(self, labels: tuple[str, ...]) -> None:
        with pytest.raises(CommandError, match=r"^--enable-pgvector takes the label of one app\.$"):
            self.run(*labels)
