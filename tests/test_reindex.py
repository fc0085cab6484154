"""``vector_reindex``, and files that are damaged, or opened where sqlite-vec is missing."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import subprocess
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError, migrations

from dorm_vector import models, nearest
from dorm_vector.checks import check_not_built
from dorm_vector.engines.sqlite.extension import load_sqlite_vec_extension
from dorm_vector.testing import explain_nearest
from tests.support.side_tables import QUERY, LibSQLTable, Table, index, packed

TABLES = {"sqlite": Table, "libsql": LibSQLTable}
NOT_LOADED = (
    "This writes to a table with a vector index, which needs sqlite-vec, and that is not loaded "
    "here (no such module: vec0); load it, or drop the index with manage.py vector_reindex."
)
UNTRUSTED = (
    "This writes to a table with an index that triggers keep, which SQLite refuses under "
    'PRAGMA trusted_schema=OFF (unsafe use of virtual table "i"); switch it on for this '
    "connection, or drop the index with manage.py vector_reindex."
)


@pytest.fixture(params=TABLES)
def table(
    request: pytest.FixtureRequest, open_database: Any, tmp_path: Path, install: Any, graph: None
) -> Any:
    """A table with an index, and rows of every kind, of an app that is installed."""
    return make(open_database, request.param, tmp_path, install)


@pytest.fixture
def on_sqlite(open_database: Any, tmp_path: Path, install: Any) -> Any:
    return make(open_database, "sqlite", tmp_path, install)


def make(open_database: Any, engine: str, tmp_path: Path, install: Any) -> Any:
    open_database({"sqlite": "default"}.get(engine, engine), NAME=str(tmp_path / "db"))
    table = TABLES[engine]("l2")
    table.fill()
    install(table.model)
    return table


def reindex(*labels: str, database: str = "scratch") -> str:
    labels = labels or (() if database == "nowhere" else ("shop.Thing",))
    output = StringIO()
    call_command("vector_reindex", *labels, database=database, stdout=output)
    return output.getvalue()


def uses(table: Any) -> bool:
    found = nearest(table.rows, "embedding", QUERY, k=2)
    assert [row.embedding for row in found] == [[1, 2, 3], [1, 2, 3]]
    return bool(explain_nearest(found).index == "i")


def raw(table: Any) -> sqlite3.Connection:
    """The file as other tools open it."""
    table.connection.close()
    return sqlite3.connect(table.connection.settings_dict["NAME"], isolation_level=None)


class TestCommand:
    def test_an_index_that_is_whole(self, table: Any) -> None:
        before = table.objects()
        for label in ("shop.Thing", "shop.thing"):
            assert reindex(label) == "shop.Thing, i: rebuilt\n"
            assert table.objects() == before
            table.assert_in_step()
            assert uses(table)

    def test_all_of_a_database(self, table: Any) -> None:
        output = StringIO()
        call_command("vector_reindex", database="scratch", stdout=output)
        lines = output.getvalue().splitlines()
        assert "shop.Thing, i: rebuilt" in lines
        assert "testapp.Portable: its table is not in the database 'scratch'" in lines
        table.assert_in_step()

    def test_what_is_gone_is_made(self, table: Any) -> None:
        before = table.objects()
        triggers = sorted(name for name in before if name.startswith("trigger"))
        for trigger in triggers:
            table.query(f"DROP {trigger}")
            assert not uses(table)
            table.fill([[70, 80, 90]])
            reindex()
            assert uses(table)
            table.assert_in_step()
        for trigger in triggers:
            table.query(f"DROP {trigger}")
        table.query("DROP TABLE i")
        assert not uses(table)
        reindex()
        assert (table.objects(), uses(table)) == (before, True)
        table.assert_in_step()

    @pytest.mark.parametrize("table", ["libsql"], indirect=True)
    def test_the_graph_is_gone(self, table: Any) -> None:
        for name in ("i_graph", "i_rows", "i_vectors"):
            table.query(f"DROP INDEX {name}")
            assert not uses(table)
            reindex()
            assert uses(table)

    def test_an_index_that_is_not_built(self, table: Any, install: Any) -> None:
        table.run(migrations.AddIndex("thing", index("ip", name="products")))
        install(table.model)
        maker = "sqlite-vec" if type(table) is Table else "libSQL"
        assert reindex().splitlines() == [
            "shop.Thing, i: rebuilt",
            f"shop.Thing, products: not built here ({maker} has no index for the metric 'ip')",
        ]

    def test_another_has_the_name(self, table: Any) -> None:
        table.query("DROP TABLE i")
        table.query("CREATE TABLE I (v)")
        with pytest.raises(CommandError, match=r"^shop\.Thing, i: The index 'i' of the table"):
            reindex()
        assert table.query("SELECT count(*) FROM I") == [(0,)]

    def test_bad_arguments(self, table: Any) -> None:
        for label in ("shop.Nothing", "nothing", "a.b.c"):
            message = f"There is no model {label!r}: name models as app.Model."
            with pytest.raises(CommandError) as caught:
                reindex(label)
            assert str(caught.value) == message
        with pytest.raises(CommandError) as caught:
            reindex("auth.User")
        assert str(caught.value) == "auth.User has no vector index."
        with pytest.raises(CommandError) as caught:
            reindex(database="nowhere")
        assert str(caught.value).startswith("There is no database 'nowhere' in the settings; use ")

    def test_a_table_that_is_not_migrated(self, table: Any) -> None:
        table.query("DROP TABLE shop_thing")
        with pytest.raises(CommandError) as caught:
            reindex()
        assert str(caught.value) == (
            "shop.Thing: its table is not in the database 'scratch': migrate first."
        )


@pytest.mark.django_db(databases="__all__", transaction=True)
def test_postgresql() -> None:
    assert "testapp.Portable, portable_embedding: rebuilt\n" in reindex(
        "testapp.Portable", database="postgresql"
    )


@pytest.mark.django_db(databases="__all__")
def test_postgresql_within_a_transaction() -> None:
    with pytest.raises(CommandError, match="PostgreSQL rebuilds no index within a transaction"):
        reindex("testapp.Portable", database="postgresql")


SHADOWS = ("info", "chunks", "rowids", "vector_chunks00")


class TestShadows:
    """What sqlite-vec keeps its rows in, dropped by others: it fails, and crashes later."""

    @pytest.mark.parametrize("shadow", SHADOWS)
    def test_searches_read_the_table_and_the_command_repairs(
        self, on_sqlite: Any, shadow: str
    ) -> None:
        before = on_sqlite.objects()
        other = raw(on_sqlite)
        other.execute(f"DROP TABLE i_{shadow}")
        other.close()
        assert not uses(on_sqlite)
        reindex()
        assert (on_sqlite.objects(), uses(on_sqlite)) == (before, True)
        on_sqlite.fill()
        on_sqlite.assert_in_step()

    @pytest.mark.parametrize("shadow", SHADOWS)
    def test_migrations_repair(self, on_sqlite: Any, shadow: str) -> None:
        other = raw(on_sqlite)
        other.execute(f"DROP TABLE i_{shadow}")
        other.close()
        on_sqlite.run(migrations.AlterField("thing", "category", models.TextField()))
        assert uses(on_sqlite)
        on_sqlite.assert_in_step()
        on_sqlite.query(f"DROP TABLE i_{shadow}")
        on_sqlite.run(migrations.DeleteModel("thing"))
        assert on_sqlite.objects() == set()


class TestWithoutTheExtension:
    @pytest.mark.parametrize("tier", ["python", None])
    def test_a_sentence_and_a_way_out(self, on_sqlite: Any, settings: Any, tier: Any) -> None:
        on_sqlite.connection.close()
        settings.DORM_VECTOR = {"SQLITE_VEC": tier}
        on_sqlite.connection.ensure_connection()
        count = on_sqlite.rows.count()
        for write in (
            lambda: on_sqlite.rows.create(embedding=[1, 2, 3]),
            lambda: on_sqlite.rows.update(embedding=[1, 2, 3]),
            lambda: on_sqlite.rows.all().delete(),
        ):
            with pytest.raises(OperationalError) as caught:
                write()
            assert str(caught.value) == NOT_LOADED
        assert on_sqlite.rows.count() == count

    def test_the_file_stays_usable(self, on_sqlite: Any, settings: Any) -> None:
        on_sqlite.connection.close()
        settings.DORM_VECTOR = {"SQLITE_VEC": "python"}
        on_sqlite.connection.ensure_connection()
        reason = "The Python functions that replace sqlite-vec have no index"
        assert reindex() == f"shop.Thing, i: not built here ({reason})\n"
        on_sqlite.rows.create(embedding=[1, 1, 2])
        on_sqlite.run(migrations.AlterField("thing", "category", models.TextField()))
        on_sqlite.rows.filter(embedding=[1, 2, 3])[0].delete()
        expected = [row.pk for row in on_sqlite.rows.filter(embedding=[1, 1, 2])]
        assert [row.pk for row in nearest(on_sqlite.rows, "embedding", QUERY, k=1)] == expected
        on_sqlite.connection.close()
        settings.DORM_VECTOR = {}
        on_sqlite.connection.ensure_connection()
        found = nearest(on_sqlite.rows, "embedding", QUERY, k=1)
        assert [row.pk for row in found] == expected  # the side table is there, and out of date
        reindex()
        assert explain_nearest(found.all()).index == "i"
        on_sqlite.assert_in_step()


class TestUntrusted:
    """``PRAGMA trusted_schema=OFF``, under which no trigger writes to sqlite-vec's tables."""

    def test_a_table_made_so(
        self, open_database: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        options = {"init_command": "PRAGMA foreign_keys=ON; PRAGMA trusted_schema = OFF"}
        open_database("default", NAME=str(tmp_path / "db"), OPTIONS=options)
        table = Table("l2")
        table.fill()
        assert not uses(table)
        table.rows.all().delete()
        monkeypatch.setattr("dorm_vector.checks.apps.get_models", lambda **kwargs: [table.model])
        reason = "SQLite lets no trigger write to sqlite-vec's tables under trusted_schema=OFF"
        (message,) = check_not_built(databases=["scratch"])
        assert message.msg.startswith(f"{reason}: 'i' is not built on the database 'scratch'")

    def test_a_table_made_before(self, on_sqlite: Any) -> None:
        on_sqlite.connection.close()
        on_sqlite.connection.settings_dict["OPTIONS"] = {
            "init_command": "PRAGMA trusted_schema=OFF"
        }
        with pytest.raises(OperationalError) as caught:
            on_sqlite.fill()
        assert str(caught.value) == UNTRUSTED
        reindex()
        on_sqlite.fill()
        assert [name for name in on_sqlite.objects() if " i" in name] == []

    def test_libsql_writes(self, open_database: Any, tmp_path: Path) -> None:
        options = {"init_command": "PRAGMA trusted_schema=OFF"}
        open_database("libsql", NAME=str(tmp_path / "db"), OPTIONS=options)
        table = LibSQLTable("l2")
        table.fill()
        table.assert_in_step()


def opened(path: Path) -> Any:
    return contextlib.closing(sqlite3.connect(path))


def back_up(source: Path, target: Path) -> None:
    with opened(source) as one, opened(target) as other:
        one.backup(other)


def vacuum_into(source: Path, target: Path) -> None:
    with opened(source) as one:
        one.execute("VACUUM INTO ?", (str(target),))


def dump_by_the_shell(source: Path, target: Path) -> None:
    if shutil.which("sqlite3") is None:
        pytest.skip("SQLite's shell is not installed.")
    dump = subprocess.run(["sqlite3", source, ".dump"], capture_output=True, check=True)
    subprocess.run(["sqlite3", target], input=dump.stdout, check=True)


@pytest.mark.parametrize("vector", [[float("nan"), 1, 2], [1, 1, float("inf")]])
def test_what_is_not_finite_is_not_indexed(table: Any, vector: Any) -> None:
    """Only raw SQL writes it, past the CHECK: an index would rank it first."""
    before = table.side()
    table.query("INSERT INTO shop_thing (category, embedding) VALUES (1, %s)", packed(vector))
    assert table.side() == before
    row = table.rows.values_list("pk", flat=True).last()
    table.query("UPDATE shop_thing SET embedding = %s WHERE id = %s", packed(vector), row)
    reindex()
    assert packed(vector) not in table.side().values()
    table.rows.filter(pk=row).update(embedding=[4, 5, 6])
    assert packed([4, 5, 6]) in table.side().values()
    assert uses(table)


class TestBackups:
    @pytest.mark.parametrize("copy", [back_up, vacuum_into, dump_by_the_shell])
    def test_whole_ones(self, on_sqlite: Any, tmp_path: Path, copy: Any) -> None:
        self.restore(on_sqlite, tmp_path, copy)
        assert uses(on_sqlite)
        on_sqlite.fill()
        on_sqlite.assert_in_step()

    def test_iterdump_is_none(self, on_sqlite: Any) -> None:
        """Python's text of a file needs sqlite-vec, and cannot be read back with it either."""
        other = raw(on_sqlite)
        with pytest.raises(sqlite3.OperationalError, match="no such module: vec0"):
            list(other.iterdump())
        load_sqlite_vec_extension(other)
        with contextlib.closing(sqlite3.connect(":memory:")) as copy:
            load_sqlite_vec_extension(copy)
            with pytest.raises(sqlite3.OperationalError, match="no such table: i"):
                copy.executescript("\n".join(other.iterdump()))
        other.close()

    def restore(self, table: Any, tmp_path: Path, copy: Any) -> None:
        table.connection.close()
        target = tmp_path / "copy"
        copy(tmp_path / "db", target)
        target.replace(tmp_path / "db")


@pytest.mark.parametrize("name", ["10%%", "%%s", "%%(x)s", "50%% {off}", "%%%%"])
def test_names_with_percent_signs(open_database: Any, tmp_path: Path, name: str) -> None:
    """Django formats the names of a model's indexes: two percent signs are one."""
    open_database("default", NAME=str(tmp_path / "db"))
    table = Table()
    fields = [(field.name, field.clone()) for field in table.model._meta.fields]
    table.run(migrations.DeleteModel("thing"))
    table.run(migrations.CreateModel("Thing", fields, {"indexes": [index("l2", name=name)]}))
    table.fill()
    assert table.model._meta.indexes[0].name == name.replace("%%", "%")
    found = nearest(table.rows, "embedding", QUERY, k=2)
    assert [row.embedding for row in found] == [[1, 2, 3], [1, 2, 3]]
    assert explain_nearest(found.all()).index == name.replace("%%", "%")
    table.run(migrations.DeleteModel("thing"))
    assert table.objects() == set()
