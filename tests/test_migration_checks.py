"""System checks of migrations, of indexes beside each other, and of what a database has."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.core.checks import Error, Warning  # noqa: A004
from django.core.management import call_command
from django.db import connections
from django.db.models import Model
from django.test import override_settings
from django.test.utils import isolate_apps

from dorm_vector import HnswIndex, VectorIndex, checks, models
from dorm_vector.database_checks import check_tables
from dorm_vector.engines import engine_for
from dorm_vector.engines.postgresql import checks as postgresql
from dorm_vector.migration_checks import check_empty_clusters, check_extension_migrations

NUMBERS = itertools.count()
HEAD = """
from django.contrib.postgres.operations import CreateExtension
from django.db import migrations
from django.db import models as plain
import dorm_vector
from dorm_vector import models
from dorm_vector.operations import VectorExtension

class Migration(migrations.Migration):
    dependencies = {dependencies}
    operations = [{operations}]
"""
VECTOR = (
    "migrations.CreateModel('Item', [('id', plain.AutoField(primary_key=True)), "
    "('embedding', models.VectorField(dimensions=3))]),"
)


@pytest.fixture
def migrations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A function that writes migrations of the app ``testapp``: name, dependencies, operations."""
    package = tmp_path / f"written_migrations_{next(NUMBERS)}"
    package.mkdir()
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)

    def write(name: str, dependencies: Any, operations: str) -> None:
        source = HEAD.format(dependencies=dependencies, operations=operations)
        (package / f"{name}.py").write_text(textwrap.dedent(source))

    # The migrations of textapp depend on those that are replaced.
    modules = {"testapp": package.name, "textapp": None}
    with override_settings(MIGRATION_MODULES=modules):
        yield write


def found(check: Any) -> list[Any]:
    return list(check([apps.get_app_config("testapp")]))


class TestExtension:
    def test_missing(self, migrations: Any) -> None:
        migrations("0001_initial", [("auth", "0001_initial")], VECTOR)
        assert found(check_extension_migrations) == [
            Warning(
                "The migration testapp.0001_initial makes a vector column, and no migration before "
                "it installs the extension vector (database 'postgresql').",
                hint="Put VectorExtension() of dorm_vector.operations first into the operations of "
                "0001_initial, or silence this where an administrator installs the extension.",
                id="dorm_vector.W112",
            )
        ]

    @pytest.mark.parametrize(
        "operation",
        [
            "VectorExtension(),",
            "CreateExtension('vector'),",
            "migrations.RunSQL('CREATE EXTENSION IF NOT EXISTS vector WITH SCHEMA public'),",
            "migrations.SeparateDatabaseAndState(database_operations=[VectorExtension()]),",
        ],
    )
    def test_there(self, migrations: Any, operation: str) -> None:
        migrations("0001_extension", [], operation)
        migrations("0002_initial", [("testapp", "0001_extension")], VECTOR)
        assert found(check_extension_migrations) == []

    def test_in_the_same(self, migrations: Any) -> None:
        migrations("0001_initial", [], f"VectorExtension(), {VECTOR}")
        assert found(check_extension_migrations) == []

    def test_too_late(self, migrations: Any) -> None:
        """Such as by ``enable_vectors`` after ``makemigrations``."""
        migrations("0001_initial", [], f"{VECTOR} VectorExtension(),")
        migrations("0002_enable_pgvector", [("testapp", "0001_initial")], "VectorExtension(),")
        assert [message.id for message in found(check_extension_migrations)] == ["dorm_vector.W112"]

    def test_another_extension(self, migrations: Any) -> None:
        migrations("0001_initial", [], f"CreateExtension('hstore'), {VECTOR}")
        assert len(found(check_extension_migrations)) == 1

    def test_a_later_one(self, migrations: Any) -> None:
        migrations("0001_initial", [], VECTOR)
        migrations("0002_extension", [("testapp", "0001_initial")], "VectorExtension(),")
        assert len(found(check_extension_migrations)) == 1

    def test_an_added_field(self, migrations: Any) -> None:
        added = "migrations.AddField('Item', 'embedding', models.VectorField(dimensions=3)),"
        migrations("0001_initial", [], "")
        migrations("0002_field", [("testapp", "0001_initial")], added)
        (message,) = found(check_extension_migrations)
        assert message.msg.startswith("The migration testapp.0002_field makes")

    def test_a_circle_ends(self, migrations: Any) -> None:
        migrations("0001_initial", [("testapp", "0001_initial"), ("testapp", "__first__")], VECTOR)
        assert len(found(check_extension_migrations)) == 1

    def test_without_migrations(self, migrations: Any) -> None:
        assert found(check_extension_migrations) == []

    def test_where_no_database_needs_it(self, migrations: Any, settings: Any) -> None:
        settings.DATABASE_ROUTERS = [NotOnPostgreSQL()]
        migrations("0001_initial", [], VECTOR)
        assert found(check_extension_migrations) == []


class NotOnPostgreSQL:
    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool:
        return db != "postgresql"


INDEX = "dorm_vector.IvfflatIndex(fields=['embedding'], name='indexed_ip', metric='ip', lists=10)"
TABLE = VECTOR.replace("Item", "Indexed")


class TestEmptyClusters:
    def test_with_the_table(self, migrations: Any) -> None:
        added = f"{TABLE} migrations.AddIndex('Indexed', {INDEX}),"
        migrations("0001_initial", [], added)
        (message,) = found(check_empty_clusters)
        assert (message.id, message.msg, message.hint) == (
            "dorm_vector.W113",
            "The migration testapp.0001_initial makes the table of testapp.Indexed and its "
            "IvfflatIndex 'indexed_ip', whose clusters are then computed from no rows.",
            "Add the index in a later migration, once the table has its data.",
        )

    def test_in_the_options_of_the_table(self, migrations: Any) -> None:
        table = TABLE.replace("]),", f"], options={{'indexes': [{INDEX}]}}),")
        migrations("0001_initial", [], table)
        assert len(found(check_empty_clusters)) == 1

    def test_by_a_later_migration(self, migrations: Any) -> None:
        migrations("0001_initial", [], TABLE)
        added = f"migrations.AddIndex('Indexed', {INDEX}),"
        migrations("0002_index", [("testapp", "0001_initial")], added)
        assert found(check_empty_clusters) == []


class TestIndexes:
    @isolate_apps("tests.testapp")
    def test_equal(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Thing(Model):
            v = models.VectorField(3)

            class Meta:
                app_label = "testapp"
                indexes = [
                    HnswIndex(fields=["v"], name="one", metric="cosine", m=8),
                    HnswIndex(fields=["v"], name="two", opclass="vector_cosine_ops", m=8),
                    HnswIndex(fields=["v"], name="three", metric="cosine"),
                    VectorIndex(fields=["v"], name="four", metric="cosine", m=8),
                ]

        monkeypatch.setattr(apps, "get_models", lambda **kwargs: [Thing])
        messages = [message for message in checks.check_equal_indexes() if message.id]
        assert [(message.id, message.msg) for message in messages] == [
            ("dorm_vector.W111", "The indexes 'one' and 'two' are the same.")
        ]

    @isolate_apps("tests.testapp")
    def test_metrics(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Thing(Model):
            v = models.VectorField(3)

            class Meta:
                app_label = "testapp"
                indexes = [
                    HnswIndex(fields=["v"], name="one", metric="l1"),
                    HnswIndex(fields=["v"], name="two", metric="l2"),
                ]

        monkeypatch.setattr(apps, "get_models", lambda **kwargs: [Thing])
        assert checks.check_metrics() == [
            Warning(
                "'one' is for the metric 'l1', which libSQL does not have (database "
                "'libsql'): searches by it raise NotSupportedError there.",
                hint="Use L2Distance, or another database.",
                obj=Thing,
                id="dorm_vector.W115",
            )
        ]

    @isolate_apps("tests.testapp")
    @pytest.mark.parametrize(("dimensions", "precision"), [(3072, "half"), (5000, "bit")])
    def test_too_many_dimensions(self, dimensions: int, precision: str) -> None:
        """The hint is a line that can be pasted."""

        class Thing(Model):
            v = models.VectorField(dimensions)

            class Meta:
                app_label = "testapp"
                indexes = [HnswIndex(fields=["v"], name="one", metric="cosine", m=8)]

        (message,) = Thing._meta.indexes[0].problems(Thing)
        assert (message.id, message.hint) == (
            "dorm_vector.E103",
            f"HnswIndex(name='one', fields=['v'], metric='cosine', m=8, precision='{precision}')",
        )
        index = eval(message.hint, {"HnswIndex": HnswIndex})
        Thing._meta.indexes[:] = [index]
        assert list(index.problems(Thing)) == []

    def test_those_of_the_tests(self) -> None:
        assert checks.check_equal_indexes() == []


@pytest.mark.django_db(databases="__all__")
class TestTables:
    @pytest.mark.parametrize("alias", ["default", "postgresql", "libsql"])
    def test_as_declared(self, alias: str) -> None:
        assert check_tables(databases=[alias]) == []

    @pytest.mark.parametrize("alias", ["default", "postgresql", "libsql"])
    def test_another_length(self, alias: str, monkeypatch: pytest.MonkeyPatch) -> None:
        field = apps.get_model("testapp.document")._meta.get_field("embedding")
        monkeypatch.setattr(field, "dimensions", 4)
        assert check_tables(databases=[alias]) == [
            Error(
                "testapp.Document.embedding is declared with 4 dimensions as vector, but its "
                f"column has 3 as vector (database {alias!r}).",
                hint="Run makemigrations, or correct the declaration.",
                obj=apps.get_model("testapp.document"),
                id="dorm_vector.E110",
            )
        ]

    def test_without_a_database(self) -> None:
        assert check_tables() == []


class OnlyPages:
    """Keeps all models but one from the databases."""

    def allow_migrate(self, db: str, app_label: str, model_name: str = "", **hints: Any) -> bool:
        return (app_label, model_name) == ("textapp", "page")


@pytest.mark.django_db(databases="__all__", transaction=True)
class TestAbsentIndexes:
    @pytest.fixture(params=["default", "postgresql", "libsql"])
    def alias(self, request: pytest.FixtureRequest) -> Iterator[str]:
        """A database that has lost an index."""
        model, alias = apps.get_model("testapp.portable"), request.param
        with connections[alias].schema_editor() as editor:
            editor.remove_index(model, model._meta.indexes[0])
        yield alias
        with connections[alias].schema_editor() as editor:
            editor.add_index(model, model._meta.indexes[0])

    def test_named(self, alias: str) -> None:
        at = "" if alias == "default" else f" --database {alias}"
        (message,) = check_tables(databases=[alias])
        assert (message.id, message.msg, message.hint) == (
            "dorm_vector.W114",
            "The index 'portable_embedding' of testapp.Portable is declared, but missing from the "
            f"database {alias!r}: searches read every row.",
            f"Run manage.py migrate{at}, or manage.py vector_reindex testapp.Portable{at}.",
        )

    def test_words_without_vectors(self, alias: str, settings: Any) -> None:
        """A database may hold text indexes alone."""
        settings.DATABASE_ROUTERS = [OnlyPages()]
        page = apps.get_model("textapp.page")
        assert check_tables(databases=[alias]) == []
        with connections[alias].schema_editor() as editor:
            editor.remove_index(page, page._meta.indexes[0])
        messages = check_tables(databases=[alias])
        with connections[alias].schema_editor() as editor:
            editor.add_index(page, page._meta.indexes[0])
        assert [(message.id, message.obj) for message in messages] == [("dorm_vector.W114", page)]

    def test_migrations_that_wait(self, alias: str, migrations: Any) -> None:
        """They will change what there is: nothing is said before."""
        migrations("0001_initial", [], "")
        assert check_tables(databases=[alias]) == []


class TestPostgreSQL:
    """What the check makes of a server's state: no server has all of these releases."""

    STATE = postgresql.State("0.8.6", "0.8.6", "public", True, "public", "strict_order")

    @pytest.fixture
    def connection(self) -> Any:
        return connections["postgresql"]

    def old(self, connection: Any, *kinds: str, **state: Any) -> list[Any]:
        given = self.STATE._replace(**state)
        return list(postgresql._old(connection, given, set(kinds)))

    def test_new_enough(self, connection: Any) -> None:
        assert self.old(connection, "halfvec", "sparsevec") == []

    @pytest.mark.parametrize(
        ("version", "kinds", "missing"),
        [
            ("0.4.4", (), "bit indexes, HNSW indexes, "),
            ("0.6.2", ("halfvec",), "halfvec columns, bit indexes, "),
            ("0.7.4", ("sparsevec",), ""),
        ],
    )
    def test_old(self, connection: Any, version: str, kinds: Any, missing: str) -> None:
        assert self.old(connection, *kinds, version=version) == [
            Warning(
                f"pgvector {version} of the database 'postgresql' has no {missing}"
                "scans that go on until enough rows are found.",
                hint="Run ALTER EXTENSION vector UPDATE.",
                id="dorm_vector.W005",
            )
        ]

    @pytest.mark.parametrize("version", ["0.8.0", "0.8.2"])
    def test_faults(self, connection: Any, version: str) -> None:
        (message,) = self.old(connection, version=version, available=version)
        assert (message.id, message.msg, message.hint) == (
            "dorm_vector.W006",
            f"pgvector {version} of the database 'postgresql' has bugs that damage indexes, which "
            "0.8.3 fixes.",
            "Install a newer pgvector on the server, then run ALTER EXTENSION vector UPDATE.",
        )

    def test_a_session_without_scans_that_go_on(self, connection: Any) -> None:
        unset = self.STATE._replace(iterative_scan="off")
        (message,) = postgresql._unset(connection, unset)
        assert (message.id, message.msg) == (
            "dorm_vector.W007",
            "A session of the database 'postgresql' has hnsw.iterative_scan off, not strict_order: "
            "plain slices may come back short.",
        )
        assert list(postgresql._unset(connection, self.STATE)) == []

    def test_no_files(self, connection: Any) -> None:
        bare = self.STATE._replace(available=None, version=None)
        (message,) = postgresql._missing(connection, bare, {"testapp"})
        assert (message.id, message.msg) == (
            "dorm_vector.E004",
            "The server of the database 'postgresql' has no pgvector.",
        )

    def test_sound(self, db: None) -> None:
        assert engine_for(connections["postgresql"]).check_database() == []

    def test_a_session_that_is_reset(self, db: None) -> None:
        with connections["postgresql"].cursor() as cursor:
            cursor.execute("SET LOCAL hnsw.iterative_scan = off")
        (message,) = engine_for(connections["postgresql"]).check_database()
        assert message.id == "dorm_vector.W007"

    def test_not_installed(self, scratch: Any) -> None:
        """An empty database lacks everything; one that is migrated lacks the extension."""
        connection = scratch()
        check = engine_for(connection).check_database
        assert check() == []
        with connection.cursor() as cursor:
            cursor.execute("CREATE TABLE django_migrations (app text)")
            assert check() == []
            cursor.execute("INSERT INTO django_migrations VALUES ('testapp')")
        (message,) = check()
        assert (message.id, message.msg) == (
            "dorm_vector.W004",
            "The extension vector is not installed in the database 'scratch'.",
        )

    def test_off_the_search_path(self, scratch: Any) -> None:
        connection = scratch()
        with connection.cursor() as cursor:
            cursor.execute("CREATE SCHEMA hidden")
            cursor.execute("CREATE EXTENSION vector SCHEMA hidden")
        assert engine_for(connection).check_database() == [
            Error(
                "The extension vector is in the schema hidden of the database 'scratch', which is "
                'not on the search path ("$user", public).',
                hint="Run ALTER EXTENSION vector SET SCHEMA public, or put its schema on the "
                "search path.",
                id="dorm_vector.E005",
            )
        ]


class TestInstalledApps:
    def test_missing(self) -> None:
        field = apps.get_model("testapp.document")._meta.get_field("embedding")
        with override_settings(INSTALLED_APPS=["django.contrib.contenttypes", "tests.testapp"]):
            messages = [message for message in field.check() if message.id == "dorm_vector.W116"]
        assert [message.msg for message in messages] == [
            "testapp.Document.embedding is a vector field, but 'dorm_vector' is not in "
            "INSTALLED_APPS, so that connections are not prepared for vectors."
        ]

    def test_there(self) -> None:
        field = apps.get_model("testapp.document")._meta.get_field("embedding")
        assert field.check() == []


def test_check_command(db: None, capsys: Any) -> None:
    call_command("check", databases=["default", "postgresql", "libsql"])
    assert "ERRORS" not in capsys.readouterr().err


def test_ivfflat_that_no_database_builds(migrations: Any, settings: Any) -> None:
    settings.DATABASE_ROUTERS = [NotOnPostgreSQL()]
    migrations("0001_initial", [], f"{TABLE} migrations.AddIndex('Indexed', {INDEX}),")
    assert found(check_empty_clusters) == []
