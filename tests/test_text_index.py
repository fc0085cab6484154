"""TextIndex: declaration, migrations, and the tables of words that triggers keep in step."""

from __future__ import annotations

import contextlib
import re
import sqlite3
import uuid
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.contrib.postgres.operations import AddIndexConcurrently
from django.core import checks
from django.core.exceptions import FieldError
from django.core.management import CommandError, call_command
from django.db import NotSupportedError, OperationalError, ProgrammingError, migrations, transaction
from django.db.migrations.writer import MigrationWriter
from django.db.models import F, GeneratedField, Q
from django.db.models.functions import Upper

from dorm_vector import TextIndex, matching, models
from dorm_vector.checks import check_names, check_text_indexes
from dorm_vector.database_checks import check_text_not_built
from dorm_vector.engines import engine_for
from dorm_vector.engines.sqlite.engine import _fts5_needs_trust
from tests.support.texts import TextTable, text_index

#: What is made for an index, by the ending of its name, in any case.
ENDINGS = (
    *("", "insert", "UPDATE", "delete", "data", "idx", "content", "docsize", "config"),
    "keys",
)
ALIASES = {"sqlite": "default", "libsql": "libsql"}


class TestDeclaration:
    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"language": "klingon"}, "has no language 'klingon'; use one of arabic, armenian, "),
            ({"language": "English"}, "has no language 'English'; use one of arabic, armenian, "),
            ({"language": None}, "has no language None; use one of arabic, armenian, "),
            (
                {"weights": {"titel": "A"}},
                "has a weight for 'titel', which is not one of its fields, 'title', 'body'.",
            ),
            (
                {"weights": {"title": "E"}},
                "takes weights of A, B, C and D, not 'E' for 'title'.",
            ),
            ({"weights": {"title": 1.0}}, "takes weights of A, B, C and D, not 1.0 for 'title'."),
            (
                {"weights": {"title": ["A"]}},
                "takes weights of A, B, C and D, not ['A'] for 'title'.",
            ),
            ({"tokenize": "porter"}, "takes tokenize='trigram' or None, not 'porter'."),
            ({"fields": ["-title"]}, "takes no ordering: write 'title'."),
            ({"fields": ["title", "title"]}, "takes each field once, not ['title', 'title']."),
            ({"include": ["category"]}, "takes no include."),
            ({"opclasses": ["a", "b"]}, "takes no opclasses."),
            ({"name": "rank"}, "needs another name: FTS5 reserves this one."),
            ({"name": "C0"}, "needs another name: FTS5 reserves this one."),
            ({"name": 'a"b'}, "needs a name without quotation marks or NUL."),
        ],
    )
    def test_refused(self, given: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=r"^TextIndex") as caught:
            text_index(**given)
        name = given.get("name", "i")
        assert str(caught.value).startswith(f"TextIndex(name={name!r}) {message}")

    def test_expressions_are_refused(self) -> None:
        message = "TextIndex(name='i') takes fields=[...], the names of text fields."
        with pytest.raises(ValueError, match=re.escape(message)):
            TextIndex(Upper("title"), name="i")

    @pytest.mark.parametrize(
        "given",
        [
            {},
            {"language": "german"},
            {"weights": {"title": "A"}},
            {"tokenize": "trigram"},
            {"condition": Q(category=1)},
        ],
    )
    def test_migrations_write_it(self, given: dict[str, Any]) -> None:
        index = TextIndex(fields=["title", "body"], name="i", **given)
        path, args, kwargs = index.deconstruct()
        assert path == "dorm_vector.indexes.TextIndex"
        assert kwargs == {"fields": ["title", "body"], "name": "i", **given}
        assert TextIndex(*args, **kwargs) == index == index.clone()
        written, imports = MigrationWriter.serialize(index)
        assert "import dorm_vector.indexes" in imports
        assert written.startswith("dorm_vector.indexes.TextIndex(")

    def test_the_weights_are_its_own(self) -> None:
        given = {"title": "A"}
        index = text_index(weights=given)
        given["title"] = "E"
        assert index.weights == {"title": "A"}


@pytest.fixture(params=ALIASES)
def table(request: pytest.FixtureRequest, open_database: Any, tmp_path: Path) -> TextTable:
    """A table of texts on SQLite and libSQL, and its index."""
    open_database(ALIASES[request.param], NAME=str(tmp_path / "db"))
    made = TextTable()
    made.run(migrations.AddIndex("thing", text_index()))
    return made


def found(table: TextTable, text: str, **options: Any) -> list[Any]:
    return [row.pk for row in matching(table.rows, text, **options)]


class TestWrites:
    def test_replace(self, table: TextTable) -> None:
        """REPLACE takes the old row away without a DELETE that a trigger would see."""
        row = table.rows.create(title="old cat")
        table.query(
            "INSERT OR REPLACE INTO shop_thing (id, category, title) VALUES (%s, 0, 'new dog')",
            row.pk,
        )
        assert (found(table, "cat"), found(table, "dog")) == ([], [row.pk])
        table.assert_in_step()

    def test_replace_of_a_row_with_another_key(self, table: TextTable) -> None:
        unique = models.CharField(max_length=9, null=True, unique=True)
        table.run(migrations.AlterField("thing", "name", unique))
        table.rows.create(title="old cat", name="x")
        table.query(
            "INSERT OR REPLACE INTO shop_thing (id, category, title, name) "
            "VALUES (77, 0, 'new dog', 'x')"
        )
        assert (found(table, "cat"), found(table, "dog")) == ([], [77])
        assert matching(table.rows, "cat").count() == 0
        table.rows.create(pk=1, title="bird")
        assert (found(table, "cat"), found(table, "bird")) == ([], [1])
        table.assert_in_step()

    def test_raw_writes(self, table: TextTable) -> None:
        table.query("INSERT INTO shop_thing (id, category, title) VALUES (5, 0, 'cat')")
        table.query("UPDATE shop_thing SET id = 6 WHERE id = 5")
        assert found(table, "cat") == [6]
        table.query("UPDATE shop_thing SET title = NULL || title, body = 'dog' WHERE 0")
        table.query("UPDATE OR REPLACE shop_thing SET body = 'dog'")
        assert found(table, "dog") == [6]
        table.query("DELETE FROM shop_thing")
        assert table.side(table.model._meta.indexes[0]) == {}

    def test_writes_of_the_same_text(self, table: TextTable) -> None:
        """save() writes all columns: words that are the same are not made anew."""
        row = table.rows.create(title="cat", body="dog")
        with table.connection.cursor() as cursor:
            cursor.execute("SELECT count(*), max(block) FROM i_data")
            before = cursor.fetchone()
        row.category = 5
        row.save()
        assert table.query("SELECT count(*), max(block) FROM i_data") == [before]
        table.rows.update(title="CAT")
        table.assert_in_step()
        table.rows.update(body=None)
        assert found(table, "dog") == []
        table.rows.update(body="")
        table.assert_in_step()

    def test_other_letters_of_a_collation(self, table: TextTable) -> None:
        table.run(migrations.RemoveIndex("thing", "i"))
        folded = models.CharField(max_length=50, default="", db_collation="NOCASE")
        table.run(migrations.AlterField("thing", "title", folded))
        table.run(migrations.AddIndex("thing", text_index()))
        table.rows.create(title="cat")
        table.rows.update(title="CAT")
        table.assert_in_step()

    def test_the_id_of_an_insert_is_that_of_the_row(self, table: TextTable) -> None:
        for _ in range(3):
            table.rows.create(title="cat dog")
        with table.connection.cursor() as cursor:
            cursor.execute("INSERT INTO shop_thing (category, title) VALUES (0, 'x y z')")
            assert cursor.lastrowid == 4

    def test_rollback(self, table: TextTable) -> None:
        table.rows.create(title="cat")
        with transaction.atomic("scratch"):
            table.rows.update(title="dog")
            assert found(table, "dog") == [1]
            transaction.set_rollback(True, using="scratch")
        assert (found(table, "cat"), found(table, "dog")) == ([1], [])

    def test_flush_and_fixtures(self, table: TextTable, install: Any, tmp_path: Path) -> None:
        install(table.model)
        table.rows.create(title="cat", body="dog")
        path = tmp_path / "things.json"
        call_command("dumpdata", "shop.Thing", database="scratch", output=str(path))
        call_command("flush", database="scratch", interactive=False, inhibit_post_migrate=True)
        assert (found(table, "cat"), table.side(table.model._meta.indexes[0])) == ([], {})
        call_command("loaddata", str(path), database="scratch", verbosity=0)
        assert found(table, "cat dog") == [1]
        table.assert_in_step()

    def test_null(self, table: TextTable) -> None:
        table.rows.create(title="cat", body=None)
        assert (found(table, "cat"), found(table, "none")) == ([1], [])

    def test_a_condition_changes_nothing_that_is_found(self, table: TextTable) -> None:
        """FTS5 has no partial tables: all rows are in them."""
        only = text_index(name="only", condition=Q(category=1))
        table.run(migrations.RemoveIndex("thing", "i"))
        table.run(migrations.AddIndex("thing", only))
        table.rows.create(title="cat", category=1)
        table.rows.create(title="cat", category=2)
        assert found(table, "cat") == [1, 2]
        table.assert_in_step()

    def test_many_columns_and_odd_names(self, open_database: Any, tmp_path: Path) -> None:
        open_database("default", NAME=str(tmp_path / "other"))
        table = TextTable()
        fields = ["title", "body"]
        for number in range(12):
            field = models.TextField(default="", db_column=f"it's {number} c{number}")
            table.run(migrations.AddField("thing", f"text{number}", field))
            fields.append(f"text{number}")
        table.run(migrations.AddIndex("thing", text_index(fields=fields)))
        table.rows.create(text11="cat", text3="dog")
        table.rows.filter(text11="cat").update(text3="bird")
        assert found(table, "cat bird") == [1]
        assert found(table, "cat", fields=["text11", "title"]) == [1]
        assert found(table, "cat", fields=["text3"]) == []
        table.assert_in_step()

    @pytest.mark.parametrize("persist", [True, False])
    def test_generated_field(self, table: TextTable, persist: bool) -> None:
        loud = GeneratedField(
            expression=Upper("title"),
            output_field=models.CharField(max_length=50),
            db_persist=persist,
        )
        table.run(migrations.AddField("thing", "loud", loud))
        table.run(migrations.AddIndex("thing", text_index(name="loud", fields=["loud"])))
        table.rows.create(title="cat")
        table.rows.update(title="dog")
        assert found(table, "dog", fields=["loud"]) == [1]
        assert found(table, "cat", fields=["loud"]) == []
        table.assert_in_step()


KEYS = {
    "char": (models.CharField(max_length=20, primary_key=True), ["a", "b'\"%", "ß"]),
    "uuid": (
        models.UUIDField(primary_key=True, default=uuid.uuid4),
        [uuid.UUID(int=number) for number in (1, 2, 3)],
    ),
    "collated": (
        models.CharField(max_length=20, primary_key=True, db_collation="NOCASE"),
        ["a", "B", "c"],
    ),
    "decimal": (
        models.DecimalField(max_digits=5, decimal_places=2, primary_key=True),
        ["1.50", "2.25", "3.00"],
    ),
}


class TestKeys:
    """Keys that are no numbers, and so none of a table of words."""

    @pytest.fixture(params=KEYS)
    def keyed(self, request: pytest.FixtureRequest, open_database: Any, tmp_path: Path) -> Any:
        open_database("default", NAME=str(tmp_path / "db"))
        field, keys = KEYS[request.param]
        table = TextTable(field)
        table.run(migrations.AddIndex("thing", text_index()))
        return table, keys

    def test_writes(self, keyed: Any) -> None:
        table, (first, second, third) = keyed
        table.rows.create(pk=first, title="cat")
        table.rows.bulk_create([table.model(pk=second, title="dog")])
        table.assert_in_step()
        assert len(found(table, "cat")) == 1
        table.rows.filter(pk=first).update(title="bird", id=third)
        assert (found(table, "cat"), len(found(table, "bird"))) == ([], 1)
        table.assert_in_step()
        table.rows.filter(pk=second).delete()
        assert found(table, "dog") == []
        table.assert_in_step()
        table.query("VACUUM")
        assert table.rows.get(pk__in=found(table, "bird")).title == "bird"

    def test_replace(self, keyed: Any) -> None:
        table, keys = keyed
        row = table.rows.create(pk=keys[0], title="cat")
        key = row._meta.pk.get_db_prep_value(keys[0], table.connection)
        table.query(
            "INSERT OR REPLACE INTO shop_thing (id, category, title) VALUES (%s, 0, 'dog')",
            key.upper() if getattr(row._meta.pk, "db_collation", None) else key,
        )
        assert (found(table, "cat"), len(found(table, "dog"))) == ([], 1)
        assert table.rows.count() == 1
        table.assert_in_step()

    def test_the_key_among_the_words(self, keyed: Any) -> None:
        table, (first, *_) = keyed
        if not isinstance(table.model._meta.pk, models.CharField):
            fields = ["title"]
        else:
            fields = ["id", "title"]
        table.run(migrations.AddIndex("thing", text_index(name="key", fields=fields)))
        table.rows.create(pk=first, title="cat")
        table.rows.update(title="dog")
        assert len(found(table, "dog", fields=fields)) == 1
        table.assert_in_step()

    def test_rebuild(self, keyed: Any) -> None:
        table, keys = keyed
        table.rows.create(pk=keys[0], title="cat")
        longer = models.CharField(max_length=77, default="")
        table.run(migrations.AlterField("thing", "title", longer))
        table.run(migrations.RenameModel("Thing", "Stuff"))
        assert len(found(table, "cat")) == 1
        table.assert_in_step()
        table.run(migrations.RemoveIndex("stuff", "i"))
        assert not [name for name in table.objects() if " i" in name]

    def test_to_numbers_and_back(self, open_database: Any, tmp_path: Path) -> None:
        open_database("default", NAME=str(tmp_path / "db"))
        table = TextTable()
        table.run(migrations.AddIndex("thing", text_index()))
        table.rows.create(title="cat")
        text = migrations.AlterField(
            "thing", "id", models.CharField(max_length=9, primary_key=True)
        )
        table.run(text)
        assert found(table, "cat") == ["1"]
        table.assert_in_step()
        table.undo(text)
        assert found(table, "cat") == [1]
        table.assert_in_step()
        assert "table i_keys" not in table.objects()


class TestNames:
    """Nothing is dropped that others have made."""

    @pytest.mark.parametrize(
        "ending",
        [f"_{end}" if end else "" for end in ENDINGS],
    )
    def test_every_name_that_is_made(self, table: TextTable, ending: str) -> None:
        name = f"other{ending}"
        table.query(f'CREATE TABLE "{name}" (v)')
        table.query(f'INSERT INTO "{name}" VALUES (7)')
        before = table.objects()
        with pytest.raises(ProgrammingError) as caught:
            table.run(migrations.AddIndex("thing", text_index(name="other")))
        assert str(caught.value) == (
            f"The index 'other' of the table 'shop_thing' needs the name {name!r}, but the "
            "database 'scratch' has a table of that name that dorm_vector did not make: rename one "
            "of them."
        )
        assert table.objects() == before
        assert table.query(f'SELECT v FROM "{name}"') == [(7,)]

    def test_a_table_of_words_of_others(self, table: TextTable) -> None:
        table.query("CREATE VIRTUAL TABLE other USING fts5(c0, c1)")
        table.query("INSERT INTO other VALUES ('mine', 'own')")
        for run in (
            lambda: table.run(migrations.AddIndex("thing", text_index(name="other"))),
            lambda: table.run(migrations.RenameIndex("thing", old_name="i", new_name="other")),
        ):
            with pytest.raises(ProgrammingError, match="needs the name 'other"):
                run()
        assert table.query("SELECT c0 FROM other('mine')") == [("mine",)]

    def test_shadows_alone(self, table: TextTable) -> None:
        """Those of another index, whose table is hidden."""
        table.query("CREATE TABLE other_content (id INTEGER PRIMARY KEY, c0 TEXT)")
        with pytest.raises(ProgrammingError, match="needs the name 'other_content'"):
            table.run(migrations.AddIndex("thing", text_index(name="other")))

    def test_check(self, install: Any, table: TextTable) -> None:
        fields = [("id", models.AutoField(primary_key=True))]
        table.run(migrations.CreateModel("Doc", fields, {"db_table": "j_DATA"}))
        doc = table.state.apps.get_model("shop", "Doc")
        thing = table.state.apps.get_model("shop", "Thing")
        thing._meta.indexes.append(text_index(name="j"))
        install(thing)
        apps.get_app_config("shop").models["doc"] = doc
        apps.clear_cache()
        try:
            messages = [each for each in check_names() if each.obj is thing]
        finally:
            thing._meta.indexes.pop()
        assert messages == [
            checks.Error(
                "'j' needs the name 'j_data' on the database 'default', which the table of "
                "shop.Doc already has.",
                hint="Rename the index: everything that is made for it is named after it.",
                obj=thing,
                id="dorm_vector.E107",
            )
        ]

    def test_checks_of_fields(self, install: Any, table: TextTable) -> None:
        table.run(migrations.RemoveIndex("thing", "i"))
        bad = text_index(fields=["title", "category"])
        model = table.model
        model._meta.indexes.append(bad)
        install(model)
        try:
            messages = [each for each in check_text_indexes() if each.obj is model]
        finally:
            model._meta.indexes.remove(bad)
        assert messages == [
            checks.Error(
                "'i' needs text fields, not the IntegerField 'category'.",
                hint="Index fields of CharField, TextField and their subclasses.",
                obj=model,
                id="dorm_vector.E131",
            )
        ]

    def test_not_migrated_either(self, table: TextTable) -> None:
        before = table.objects()
        with pytest.raises(FieldError) as caught:
            table.run(migrations.AddIndex("thing", text_index(name="j", fields=["category"])))
        assert str(caught.value) == (
            "TextIndex(name='j') needs text fields, and shop.Thing.category is not one."
        )
        assert table.objects() == before

    def test_no_clash_in_the_tests_own_apps(self) -> None:
        assert check_names() == []


def reindex(*labels: str) -> str:
    output = StringIO()
    call_command("vector_reindex", *(labels or ["shop.Thing"]), database="scratch", stdout=output)
    return output.getvalue()


NOT_THERE = (
    "The TextIndex 'i' of shop.Thing is declared, but missing or incomplete (database 'scratch'): "
    "migrate, or run manage.py vector_reindex."
)


class TestReindex:
    @pytest.mark.parametrize("read", [list, lambda rows: rows.count(), lambda rows: rows.exists()])
    def test_rows_that_no_trigger_saw(self, table: TextTable, install: Any, read: Any) -> None:
        install(table.model)
        table.query("DROP TRIGGER i_insert")
        table.rows.create(title="cat")
        with pytest.raises(OperationalError) as caught:
            read(matching(table.rows, "cat"))
        assert str(caught.value) == NOT_THERE
        assert str(matching(table.rows, "cat").query)
        assert reindex() == "shop.Thing, i: rebuilt\n"
        assert found(table, "cat") == [1]
        table.assert_in_step()

    @pytest.mark.parametrize("lost", ["data", "idx", "content", "docsize", "config"])
    def test_lost_shadows(self, table: TextTable, install: Any, lost: str) -> None:
        install(table.model)
        table.rows.create(title="cat")
        table.query(f"DROP TABLE i_{lost}")
        table.connection.close()
        assert reindex() == "shop.Thing, i: rebuilt\n"
        assert found(table, "cat") == [1]
        table.rows.create(title="cat")
        assert found(table, "cat") == [1, 2]
        table.assert_in_step()

    def test_all_lost(self, table: TextTable, install: Any) -> None:
        install(table.model)
        table.rows.create(title="cat")
        for name in ("i_insert", "i_update", "i_delete"):
            table.query(f"DROP TRIGGER {name}")
        table.query("DROP TABLE i")
        assert reindex() == "shop.Thing, i: rebuilt\n"
        assert found(table, "cat") == [1]

    def test_names_of_others(self, table: TextTable, install: Any) -> None:
        install(table.model)
        table.query("DROP TABLE i")
        table.query("CREATE TABLE i (v)")
        with pytest.raises(CommandError, match="did not make: rename one of them"):
            reindex()
        assert table.query("SELECT * FROM i") == []


class TestMigrations:
    def test_rebuild_and_undo(self, table: TextTable) -> None:
        table.rows.create(title="cat", body="dog")
        alter = migrations.AlterField("thing", "category", models.TextField(default=""))
        for _ in range(2):
            table.run(alter)
            assert found(table, "cat dog") == [1]
            table.undo(alter)
            assert found(table, "cat dog") == [1]
            table.assert_in_step()

    def test_delete_model(self, table: TextTable) -> None:
        table.run(migrations.DeleteModel("Thing"))
        assert table.objects() == set()

    def test_rename_field_alone(self, table: TextTable) -> None:
        table.rows.create(title="cat")
        table.run(migrations.RenameField("thing", "title", "headline"))
        table.rows.create(headline="cat")
        assert len(table.side(table.model._meta.indexes[0])) == 2
        table.assert_in_step()

    def test_sqlmigrate(self, table: TextTable) -> None:
        sql = table.sql(migrations.AddIndex("thing", text_index(name="j")))
        assert 'CREATE VIRTUAL TABLE "j" /* dorm_vector */ USING fts5(c0, c1' in sql
        sql = table.sql(migrations.RemoveIndex("thing", "i"))
        assert 'DROP TABLE IF EXISTS "i"' in sql

    def test_language(self, table: TextTable) -> None:
        table.rows.create(title="Cafés running")
        assert (found(table, "cafés"), found(table, "CAFES")) == ([1], [1])
        assert (found(table, "cafe"), found(table, "run")) == ([], [])
        table.run(migrations.RemoveIndex("thing", "i"))
        table.run(migrations.AddIndex("thing", text_index(language="english")))
        assert (found(table, "cafe"), found(table, "run")) == ([1], [1])

    def test_no_index(self, table: TextTable) -> None:
        table.run(migrations.RemoveIndex("thing", "i"))
        with pytest.raises(FieldError) as caught:
            matching(table.rows, "cat")
        assert str(caught.value) == (
            f"{table.connection.display_name} finds words through a TextIndex, and shop.Thing "
            "declares none for 'name', 'title', 'body' (database 'scratch'): add "
            "TextIndex(fields=['name', 'title', 'body'], name=...) to its Meta.indexes, and "
            "migrate."
        )


class TestWithoutFTS5:
    """SQLite may be built without it, or be older than its trigrams."""

    def test_sentences(self, open_database: Any, tmp_path: Path, monkeypatch: Any) -> None:
        engine = "dorm_vector.engines.sqlite.SQLiteEngine"
        monkeypatch.setattr(f"{engine}.lacks_fts5", lambda self: True)
        open_database("default", NAME=str(tmp_path / "db"))
        table = TextTable()
        before = table.objects()
        add = migrations.AddIndex("thing", text_index())
        assert "SQLite was built without FTS5 here: i is not built" in table.sql(add)
        table.run(add)
        assert table.objects() == before
        with pytest.raises(NotSupportedError) as caught:
            list(matching(table.rows, "cat"))
        assert str(caught.value) == (
            "SQLite was built without FTS5 here: the TextIndex 'i' is not built."
        )
        table.undo(add)

    def test_trigrams(self, open_database: Any, tmp_path: Path, monkeypatch: Any) -> None:
        wrapper = open_database("default", NAME=str(tmp_path / "db"))
        index = text_index(tokenize="trigram")
        engine = engine_for(wrapper)
        assert engine.why_not_built(index, None) is None
        monkeypatch.setattr(wrapper.Database, "sqlite_version_info", (3, 33, 0))
        assert engine.why_not_built(index, None) == "SQLite has trigrams from 3.34 on"
        assert engine.why_not_built(text_index(), None) is None

    def test_untrusted_schema(self, open_database: Any, tmp_path: Path, monkeypatch: Any) -> None:
        """In which older SQLites let no trigger write to FTS5's tables."""
        path, needs = str(tmp_path / "db"), "dorm_vector.engines.sqlite.engine._fts5_needs_trust"
        options = {"init_command": "PRAGMA trusted_schema=OFF"}
        open_database("default", NAME=path, OPTIONS=options)
        monkeypatch.setattr(needs, lambda driver: True)
        table = TextTable()
        table.run(migrations.AddIndex("thing", text_index()))
        table.rows.create(title="cat")
        with pytest.raises(NotSupportedError) as caught:
            list(matching(table.rows, "cat"))
        assert str(caught.value) == (
            "SQLite lets no trigger write to FTS5's tables under trusted_schema=OFF: the "
            "TextIndex 'i' is not built."
        )

    def test_whether_fts5_needs_a_trusted_schema(self) -> None:
        """It is as SQLite's own triggers do."""
        with contextlib.closing(sqlite3.connect(":memory:")) as raw:
            raw.execute("PRAGMA trusted_schema = OFF")
            raw.execute("CREATE TABLE a (b)")
            raw.execute("CREATE VIRTUAL TABLE w USING fts5(b)")
            raw.execute("CREATE TRIGGER t AFTER INSERT ON a BEGIN INSERT INTO w VALUES (1); END")
            try:
                raw.execute("INSERT INTO a VALUES (1)")
            except sqlite3.OperationalError:
                refused = True
            else:
                refused = False
        assert _fts5_needs_trust(sqlite3) is refused

    def test_another_database(self, table: TextTable, settings: Any) -> None:
        settings.DORM_VECTOR = {"ENGINES": {"scratch": "unsupported"}}
        message = r"^The database 'scratch' \(\w+\) has no full-text search that dorm_vector knows;"
        with pytest.raises(NotSupportedError, match=message):
            list(matching(table.rows, "cat"))


class TestPostgreSQL:
    @pytest.fixture
    def table(self, scratch: Any) -> TextTable:
        scratch().ensure_connection()
        with scratch().cursor() as cursor:
            cursor.execute("CREATE EXTENSION vector")
        return TextTable()

    def test_definition(self, table: TextTable) -> None:
        operation = migrations.AddIndex(
            "thing",
            text_index(weights={"title": "A"}, condition=Q(category__gt=1), language="english"),
        )
        for _ in range(2):
            table.run(operation)
            definition = table.indexes()["i"]
            assert definition.startswith(
                "CREATE INDEX i ON public.shop_thing USING gin "
                "(((setweight(to_tsvector('english'::regconfig, translate("
            )
            assert "(COALESCE(title, ''::character varying))::text" in definition
            assert definition.endswith("WHERE (category > 1)")
            table.undo(operation)
            assert "i" not in table.indexes()

    def test_concurrently(self, table: TextTable) -> None:
        operation = AddIndexConcurrently("thing", text_index())
        table.run(operation, atomic=False)
        assert "i" in table.indexes()
        table.undo(operation, atomic=False)
        assert "i" not in table.indexes()

    def test_the_index_is_used(self, table: TextTable) -> None:
        weights = {"title": "A"}
        table.run(migrations.AddIndex("thing", text_index(weights=weights, language="english")))
        table.rows.bulk_create(
            table.model(title=f"cat {number}", body=f"dog {number % 7}") for number in range(3000)
        )
        table.query("ANALYZE")
        for options in (
            {"text": "cat 77"},
            {"text": '"cat 77"'},
            {"text": '77 -"dog 3"'},
            {"text": "77 or 78"},
            {"text": "77 78", "match": "any"},
            {"text": "77", "fields": ["title"]},
            {"text": "cat", "k": 5},
        ):
            rows = matching(table.rows, **options)
            if options["text"] != "cat":
                assert "Bitmap Index Scan on i" in rows.explain(), options
            assert rows.count() > 0

    def test_another_schema(self, scratch: Any) -> None:
        """Of several tables of one name, that of the search path, and its index."""
        wrapper = scratch()
        with wrapper.cursor() as cursor:
            cursor.execute("CREATE EXTENSION vector")
            cursor.execute("CREATE SCHEMA one")
            cursor.execute("CREATE SCHEMA two")
            cursor.execute("CREATE TEXT SEARCH CONFIGURATION two.english (COPY = simple)")
        tables = []
        for schema in ("one", "two"):
            with wrapper.cursor() as cursor:
                cursor.execute(f"SET search_path = {schema}, public")
            table = TextTable()
            table.run(migrations.AddIndex("thing", text_index(language="english")))
            table.rows.bulk_create(table.model(title=f"{schema} cats {n}") for n in range(2000))
            table.query("ANALYZE shop_thing")
            tables.append(table)
        for schema, table in zip(("one", "two"), tables, strict=True):
            with wrapper.cursor() as cursor:
                cursor.execute(f"SET search_path = {schema}, public, pg_catalog")
            rows = matching(table.rows, f"{schema} cat 77")
            assert [row.title for row in rows] == [f"{schema} cats 77"]
            assert "Bitmap Index Scan on i" in rows.explain()
            rows = matching(table.rows, f"{schema} 77 nothing", match="any")
            assert rows[0].title == f"{schema} cats 77"
            assert rows.count() == 2000

    def test_a_partial_index(self, table: TextTable) -> None:
        only = text_index(condition=Q(category=1))
        table.run(migrations.AddIndex("thing", only))
        table.rows.bulk_create(table.model(title=f"cat {n}", category=n % 50) for n in range(3000))
        table.query("ANALYZE")
        assert matching(table.rows, "cat 51").count() == 1
        assert matching(table.rows, "cat 52").count() == 1
        rows = matching(table.rows.filter(category=1), "51 101", match="any")
        assert {row.title for row in rows} == {"cat 51", "cat 101"}
        assert "on i " in matching(table.rows.filter(category=1), "51").explain()

    def test_trigrams(self, table: TextTable) -> None:
        add = migrations.AddIndex("thing", text_index(tokenize="trigram"))
        table.run(add)
        assert "i" not in table.indexes()
        table.rows.bulk_create(table.model(title=f"thing{number}x") for number in range(3000))
        assert matching(table.rows, "ING77X").count() == 1
        table.query("CREATE EXTENSION pg_trgm")
        table.undo(add)
        table.run(add)
        assert "gin_trgm_ops" in table.indexes()["i"]
        table.query("ANALYZE")
        table.query("SET enable_seqscan = off")
        assert "Bitmap Index Scan on i" in matching(table.rows, "ing77x").explain()
        table.query("RESET enable_seqscan")
        assert matching(table.rows, "ING77X").count() == 1

    def test_reindex(self, table: TextTable, install: Any) -> None:
        table.run(migrations.AddIndex("thing", text_index()))
        install(table.model)
        assert reindex() == "shop.Thing, i: rebuilt\n"
        table.query("DROP INDEX i")
        assert reindex() == "shop.Thing, i: rebuilt\n"
        assert "i" in table.indexes()

    def messages(self, table: TextTable) -> list[checks.CheckMessage]:
        found = check_text_not_built(databases=["scratch"])
        return [each for each in found if each.obj is table.model]

    def test_what_is_not_built(self, table: TextTable, install: Any) -> None:
        table.run(migrations.AddIndex("thing", text_index(tokenize="trigram")))
        install(table.model)
        (message,) = self.messages(table)
        assert message == checks.Warning(
            "The extension pg_trgm is not installed: 'i' is not built on the database 'scratch', "
            "and matching() reads every row there.",
            hint="What is missing can be added later: vector_reindex builds the index then.",
            obj=table.model,
            id="dorm_vector.W131",
        )
        assert (
            reindex() == "shop.Thing, i: not built here (The extension pg_trgm is not installed)\n"
        )
        table.query("CREATE EXTENSION pg_trgm")
        assert self.messages(table) == []
        assert reindex() == "shop.Thing, i: rebuilt\n"
        assert "gin_trgm_ops" in table.indexes()["i"]

    def test_warning_without_an_index(self, table: TextTable, settings: Any) -> None:
        table.rows.create(title="cats", body="dog")
        settings.DEBUG = True
        with pytest.warns(RuntimeWarning) as caught:
            rows = list(matching(table.rows, "cat dog"))
        assert [row.title for row in rows] == ["cats"]
        assert [str(each.message) for each in caught] == [
            "No TextIndex serves the search for words of shop.Thing, and every row is read: "
            "declare TextIndex(fields=['name', 'title', 'body'], name=...)."
        ]
        assert caught[0].filename == __file__
        settings.DEBUG = False
        assert len(matching(table.rows, "cat or zebra", match="any")) == 1
        assert len(matching(table.rows.annotate(n=F("id")), '"cats"', fields=["title"])) == 1
