"""Nothing is dropped that others have made: the names of a VectorIndex, and their bearers."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.db import ProgrammingError, migrations
from django.db.backends.sqlite3.schema import DatabaseSchemaEditor as SQLiteEditor

from dorm_vector import VectorIndex, models
from dorm_vector.checks import check_names
from dorm_vector.engines.base.freshness import FreshnessEditor
from dorm_vector.engines.base.schema import VectorAlterations
from dorm_vector.engines.side_tables.schema import SideTableEditor, with_side_tables
from tests.support.schema import Schema

ENGINES = {"default": "sqlite", "libsql": "libsql"}

# What is made for an index, by engine, after its name.
MADE = {
    "default": ("_insert", "_update", "_delete", "_info", "_chunks", "_rowids", "_vector_chunks00"),
    "libsql": ("_insert", "_update", "_delete", "_rows", "_graph", "_vectors", "_graph_shadow"),
}
NAMES = [(alias, ending) for alias, endings in MADE.items() for ending in ("", "_INSERT", *endings)]


def index(name: str = "doc_vec", metric: str = "l2") -> VectorIndex:
    return VectorIndex(fields=["embedding"], name=name, metric=metric)


def sentence(name: str, kind: str = "table", table: str = "shop_thing", of: str = "doc_vec") -> str:
    bearer = f"an {kind}" if kind == "index" else f"a {kind}"
    return (
        f"The index {of!r} of the table {table!r} needs the name {name!r}, but the database "
        f"'scratch' has {bearer} of that name that dorm_vector did not make: rename one of them."
    )


class Shop(Schema):
    """A table of vectors beside what others have made."""

    def execute(self, sql: str) -> list[Any]:
        with self.connection.cursor() as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall()) if cursor.description else []

    def schema(self) -> list[Any]:
        return self.execute("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY 1, 2")

    def refuse(self, operation: Any, message: str) -> None:
        """An operation that raises, and sends nothing."""
        before, states = self.schema(), list(self.states)
        with pytest.raises(ProgrammingError) as caught:
            self.run(operation)
        assert str(caught.value) == message
        assert (self.schema(), self.states) == (before, states)


@pytest.fixture(params=ENGINES, ids=ENGINES.values())
def shop(request: pytest.FixtureRequest, open_database: Any, tmp_path: Path) -> Shop:
    return make(open_database, request.param, tmp_path)


def make(open_database: Any, alias: str, tmp_path: Path) -> Shop:
    open_database(alias, NAME=str(tmp_path / "db"))
    shop = Shop("scratch")
    shop.model.objects.using("scratch").create(embedding=[1, 2, 3])
    return shop


BEARERS = {
    "table": "CREATE TABLE {name} (v)",
    "view": "CREATE VIEW {name} AS SELECT 7 AS v",
    "index": "CREATE INDEX {name} ON shop_thing (category)",
    "trigger": "CREATE TRIGGER {name} AFTER INSERT ON shop_thing BEGIN SELECT 1; END",
    "temporary table": "CREATE TEMP TABLE {name} (v)",
    "temporary view": "CREATE TEMP VIEW {name} AS SELECT 7 AS v",
}


class TestRefused:
    @pytest.mark.parametrize("kind", BEARERS)
    def test_every_kind_of_bearer(self, shop: Shop, kind: str) -> None:
        shop.execute(BEARERS[kind].format(name="Doc_Vec"))
        shop.refuse(migrations.AddIndex("thing", index()), sentence("Doc_Vec", kind))

    @pytest.mark.parametrize(("alias", "ending"), NAMES)
    def test_every_name_that_is_made(
        self, open_database: Any, tmp_path: Path, alias: str, ending: str
    ) -> None:
        shop = make(open_database, alias, tmp_path)
        name = f"doc_vec{ending}"
        shop.execute(f"CREATE TABLE {name} (v)")
        shop.execute(f"INSERT INTO {name} VALUES (7)")
        shop.refuse(migrations.AddIndex("thing", index()), sentence(name))
        assert shop.execute(f"SELECT v FROM {name}") == [(7,)]

    def test_an_index_that_moves_to_another_model(self, shop: Shop) -> None:
        """It has to be gone from the first one before."""
        other = [("id", models.AutoField(primary_key=True)), ("embedding", models.VectorField(3))]
        shop.run(migrations.AddIndex("thing", index()))
        shop.run(migrations.CreateModel("Other", other))
        moved, names = migrations.AddIndex("other", index()), r"'(doc_vec\w*)'.* of that name of "
        with pytest.raises(ProgrammingError, match=names + "another index: rename one"):
            shop.run(moved)
        shop.run(migrations.RemoveIndex("thing", "doc_vec"))
        shop.run(moved)
        assert shop.execute("SELECT count(*) FROM sqlite_master WHERE name = 'doc_vec_insert'") == [
            (1,)
        ]

    def test_a_model_of_that_table(self, shop: Shop) -> None:
        """The rows of another model, whose table has the name of the index in another case."""
        fields = [("id", models.AutoField(primary_key=True))]
        shop.run(migrations.CreateModel("Doc", fields, {"db_table": "DOC_vec"}))
        doc = shop.state.apps.get_model("shop", "Doc")
        doc.objects.using("scratch").create()
        shop.refuse(migrations.AddIndex("thing", index()), sentence("DOC_vec"))
        assert doc.objects.using("scratch").count() == 1

    def test_its_own_table(self, shop: Shop) -> None:
        for name in ("shop_thing", "Shop_Thing"):
            message = sentence(name, of=name)
            shop.refuse(migrations.AddIndex("thing", index(name)), message)

    def test_another_case_of_its_own_name(self, shop: Shop) -> None:
        shop.run(migrations.AddIndex("thing", index()))
        shop.run(migrations.RenameIndex("thing", old_name="doc_vec", new_name="DOC_vec"))
        assert shop.execute('SELECT count(*) FROM "DOC_vec"') == [(1,)]

    def test_a_new_model(self, shop: Shop) -> None:
        shop.execute("CREATE TABLE doc_vec (v)")
        fields = [("id", models.AutoField(primary_key=True)), ("embedding", models.VectorField(3))]
        creation = migrations.CreateModel("Doc", fields, {"indexes": [index()]})
        shop.refuse(creation, sentence("doc_vec", table="shop_doc"))
        own = migrations.CreateModel("Doc", fields, {"indexes": [index("shop_doc")]})
        shop.refuse(own, sentence("shop_doc", table="shop_doc", of="shop_doc"))

    def test_the_index_of_another_model(self, shop: Shop) -> None:
        shop.run(migrations.AddIndex("thing", index()))
        fields = [("id", models.AutoField(primary_key=True)), ("embedding", models.VectorField(3))]
        shop.run(migrations.CreateModel("Doc", fields))
        before = shop.schema()
        with pytest.raises(
            ProgrammingError, match=r"'doc_vec_\w+', but .* has an? (trigger|index) of"
        ):
            shop.run(migrations.AddIndex("doc", index()))
        assert shop.schema() == before

    def test_a_new_name(self, shop: Shop) -> None:
        shop.run(migrations.AddIndex("thing", index("mine")))
        shop.execute("CREATE TABLE doc_vec (v)")
        rename = migrations.RenameIndex("thing", old_name="mine", new_name="doc_vec")
        shop.refuse(rename, sentence("doc_vec"))

    @pytest.mark.parametrize(
        "operation",
        [
            migrations.RemoveIndex("thing", "doc_vec"),
            migrations.DeleteModel("thing"),
            migrations.AlterField("thing", "category", models.TextField()),
            migrations.RenameIndex("thing", old_name="doc_vec", new_name="other"),
        ],
        ids=lambda operation: operation.describe(),
    )
    def test_a_name_that_was_taken_since(self, shop: Shop, operation: Any) -> None:
        """By hand, for example: the index was removed, and its name given to something else."""
        shop.run(migrations.AddIndex("thing", index()))
        state = shop.state
        shop.run(migrations.RemoveIndex("thing", "doc_vec"))
        shop.states.append(state)
        shop.execute("CREATE TABLE doc_vec (id INTEGER PRIMARY KEY, vector BLOB)")
        shop.refuse(operation, sentence("doc_vec"))


class TestNotRefused:
    def test_an_index_that_is_not_built_leaves_its_names_to_others(self, shop: Shop) -> None:
        shop.execute("CREATE TABLE doc_vec (v)")
        table = shop.schema()
        shop.run(migrations.AddIndex("thing", index(metric="ip")))
        assert shop.schema() == table
        shop.run(migrations.AlterField("thing", "category", models.TextField()))
        shop.run(migrations.RenameIndex("thing", old_name="doc_vec", new_name="other"))
        shop.run(migrations.RenameIndex("thing", old_name="other", new_name="doc_vec"))
        shop.run(migrations.RemoveIndex("thing", "doc_vec"))
        shop.run(migrations.AddIndex("thing", index(metric="ip")))
        shop.run(migrations.DeleteModel("thing"))
        assert [name for _, name, *_ in shop.schema() if name == "doc_vec"] == ["doc_vec"]

    def test_what_was_left_behind(self, shop: Shop) -> None:
        """By a table that was dropped, and its triggers with it, by other tools."""
        shop.run(migrations.AddIndex("thing", index()))
        shop.execute("DROP TABLE shop_thing")
        shop.states.pop(), shop.states.pop()
        thing = Shop("scratch")
        thing.model.objects.using("scratch").create(embedding=[1, 2, 3])
        thing.run(migrations.AddIndex("thing", index()))
        assert thing.execute("SELECT count(*) FROM doc_vec") == [(1,)]

    def test_tables_whose_name_begins_as_a_rebuilt_one(self, shop: Shop) -> None:
        shop.run(migrations.AlterModelTable("thing", "new__thing"))
        shop.run(migrations.AddIndex("thing", index()))
        shop.run(migrations.AlterField("thing", "category", models.TextField()))
        shop.run(migrations.RenameIndex("thing", old_name="doc_vec", new_name="other"))
        shop.run(migrations.DeleteModel("thing"))
        assert [name for _, name, *_ in shop.schema() if "other" in name] == []

    def test_what_sqlmigrate_shows_for_a_new_index_drops_nothing(self, shop: Shop) -> None:
        assert "DROP" not in shop.sql(migrations.AddIndex("thing", index()))
        assert "DROP" in shop.sql(migrations.DeleteModel("thing"))


def state_models(*declared: tuple[str, dict[str, Any]]) -> list[Any]:
    """Models of the app ``shop``, each with its options."""
    from django.db.migrations.state import ModelState, ProjectState

    state = ProjectState()
    fields = [("id", models.AutoField(primary_key=True)), ("embedding", models.VectorField(3))]
    for name, options in declared:
        state.add_model(ModelState("shop", name, fields, options))
    return list(state.apps.get_models())


THING: dict[str, Any] = {"indexes": [index()]}
UNIQUE = models.UniqueConstraint(fields=["id"], name="doc_vec_update")
CLASHES: dict[str, tuple[dict[str, Any], str, str]] = {
    "a table": ({"db_table": "Doc_Vec"}, "the table of shop.Doc", "Doc_Vec"),
    "a view": ({"db_table": "doc_VEC", "managed": False}, "the table of shop.Doc", "doc_VEC"),
    "a trigger's name": (
        {"db_table": "doc_vec_insert"},
        "the table of shop.Doc",
        "doc_vec_insert",
    ),
    "an index": (
        {"indexes": [models.Index(fields=["id"], name="doc_VEC")]},
        "an index of shop.Doc",
        "doc_VEC",
    ),
    "a constraint": ({"constraints": [UNIQUE]}, "a constraint of shop.Doc", "doc_vec_update"),
    "another vector index": (
        {"indexes": [index("doc_vec_insert")]},
        "an index of shop.Doc",
        "doc_vec_insert",
    ),
}


class TestCheck:
    @pytest.mark.parametrize("clash", CLASHES)
    def test_clashes(self, clash: str, monkeypatch: pytest.MonkeyPatch) -> None:
        options, bearer, name = CLASHES[clash]
        made = state_models(("Thing", THING), ("Doc", options))
        monkeypatch.setattr("dorm_vector.checks.apps.get_models", lambda **kwargs: made)
        (message,) = [one for one in check_names() if one.obj is made[0]]
        assert message.id == "dorm_vector.E107"
        assert message.msg == (
            f"'doc_vec' needs the name {name.lower()!r} on the database 'default', which {bearer} "
            "already has."
        )
        assert message.hint == "Rename the index: everything that is made for it is named after it."

    def test_its_own_table(self, monkeypatch: pytest.MonkeyPatch) -> None:
        made = state_models(("Thing", {**THING, "db_table": "doc_vec"}))
        monkeypatch.setattr("dorm_vector.checks.apps.get_models", lambda **kwargs: made)
        assert len(check_names()) == 1

    def test_a_table_of_libsqls(self, monkeypatch: pytest.MonkeyPatch) -> None:
        made = state_models(("Thing", THING), ("Doc", {"db_table": "doc_vec_rows"}))
        monkeypatch.setattr("dorm_vector.checks.apps.get_models", lambda **kwargs: made)
        (message,) = check_names()
        assert "'doc_vec_rows' on the database 'libsql'" in message.msg

    def test_names_that_are_free(self, monkeypatch: pytest.MonkeyPatch) -> None:
        made = state_models(("Thing", THING), ("Doc", {"db_table": "doc_vec_2"}))
        monkeypatch.setattr("dorm_vector.checks.apps.get_models", lambda **kwargs: made)
        assert check_names() == []

    def test_the_models_of_these_tests(self) -> None:
        assert check_names(list(apps.get_app_configs())) == []


class TestEditors:
    """The class of a schema editor: set where databases are configured, composed once for each."""

    def test_the_first_statement_of_a_thread(self, shop: Shop) -> None:
        wrapper = type(shop.connection)(shop.connection.settings_dict, alias="scratch")
        assert wrapper.connection is None
        assert isinstance(wrapper.schema_editor(), SideTableEditor)
        assert pickle.loads(pickle.dumps(wrapper.SchemaEditorClass)) is wrapper.SchemaEditorClass

    def test_other_backends(self) -> None:
        class Editor(SQLiteEditor):
            """As that of a backend that builds on Django's."""

        composed: Any = with_side_tables(Editor)
        assert composed.__mro__[1:5] == (
            SideTableEditor,
            VectorAlterations,
            FreshnessEditor,
            Editor,
        )
        assert with_side_tables(Editor) is with_side_tables(composed) is composed

    def test_an_editor_that_knows_no_indexes(self, shop: Shop) -> None:
        editor = SQLiteEditor(shop.connection)
        for make in (index().create_sql, index().remove_sql):
            with pytest.raises(ImproperlyConfigured) as caught:
                make(shop.model, editor)
            assert str(caught.value) == (
                "The schema editor DatabaseSchemaEditor does not know vector indexes: add "
                "'dorm_vector' to INSTALLED_APPS, or open the connection before its schema "
                "editor."
            )
