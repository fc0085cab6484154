"""``manage.py vectors``, and indexes that are of no use: seen, named and cured."""

from __future__ import annotations

import json
import threading
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError, connections, migrations

from dorm_vector import FreshVector, TextIndex, engine_for, models, nearest
from dorm_vector.checks import check_broken, check_tables
from dorm_vector.testing import explain_nearest
from tests.support.migrating import Project
from tests.support.schema import Schema, hnsw
from tests.support.side_tables import LibSQLTable, Table

PROBLEM = (
    "i is INVALID because its build was cancelled or failed: it serves no search, and all rows are "
    "read."
)
CURE = "REINDEX INDEX CONCURRENTLY i, or manage.py vector_reindex shop.Thing --database scratch"


class OnlyPages:
    """One model on one database."""

    def allow_migrate(self, db: str, app_label: str, model_name: str = "", **hints: Any) -> bool:
        return (db, app_label, model_name) == ("libsql", "textapp", "page")


def vectors(*labels: str, database: str | None = "scratch") -> Any:
    """What the command prints as JSON, and what it ends with."""
    output, error = StringIO(), None
    try:
        call_command("vectors", *labels, database=database, json=True, stdout=output)
    except CommandError as caught:
        error = str(caught)
    return json.loads(output.getvalue()), error


def text_of(database: str = "scratch") -> str:
    output = StringIO()
    call_command("vectors", "shop.Thing", database=database, stdout=output)
    return output.getvalue()


def rows_of(schema: Schema) -> Any:
    return schema.model.objects.using("scratch")


@pytest.fixture
def things(scratch: Any, install: Any) -> Schema:
    """A table on PostgreSQL with rows, which an installed app declares an index for."""
    connection = scratch()
    with connection.cursor() as cursor:
        cursor.execute("CREATE EXTENSION vector")
    schema = Schema("scratch")
    rows_of(schema).bulk_create(
        schema.model(category=number % 2, embedding=[number, 1, 1]) for number in range(50)
    )
    return schema


def cancel(connection: Any, statement: str) -> None:
    """Run a concurrent build, and cancel it while it waits for a transaction that is open."""
    other = connection.copy()
    with other.cursor() as open_one, connection.cursor() as cursor:
        open_one.execute("BEGIN; LOCK shop_thing IN ROW EXCLUSIVE MODE")
        cursor.execute("SELECT pg_backend_pid()")
        (pid,) = cursor.fetchone()
        stop = threading.Thread(target=_cancel_when_waiting, args=(connection, pid))
        stop.start()
        with pytest.raises(OperationalError, match="canceling statement due to user request"):
            cursor.execute(statement)
        stop.join()
        open_one.execute("ROLLBACK")
    other.close()


def _cancel_when_waiting(like: Any, pid: int) -> None:
    connection = like.copy()
    with connection.cursor() as cursor:
        waiting = False
        while not waiting:
            cursor.execute(
                "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = %s", [pid]
            )
            (waiting,) = cursor.fetchone()
        cursor.execute("SELECT pg_cancel_backend(%s)", [pid])
    connection.close()


def declare(schema: Schema, install: Any, **options: Any) -> None:
    """Let the model declare an index that the database has not got."""
    state = schema.state.clone()
    operation = migrations.AddIndex("thing", hnsw(metric="l2", **options))
    operation.state_forwards("shop", state)
    schema.states.append(state)
    install(schema.model)


class TestInvalid:
    @pytest.fixture
    def broken(self, things: Schema, install: Any) -> Schema:
        declare(things, install)
        cancel(
            things.connection,
            "CREATE INDEX CONCURRENTLY i ON shop_thing USING hnsw (embedding vector_l2_ops)",
        )
        return things

    def search(self, schema: Schema) -> Any:
        return nearest(rows_of(schema), "embedding", [1, 2, 3], k=3)

    def test_it_is_named(self, broken: Schema) -> None:
        (found,), error = vectors("shop.Thing")
        (index,) = found["columns"][0]["indexes"]
        assert (index["state"], index["problem"], index["cure"]) == ("invalid", PROBLEM, CURE)
        assert index["lacks"] == 50
        assert error == "Unusable: shop.Thing, i ('scratch'): invalid."
        (message,) = check_broken(databases=["scratch"])
        assert (message.id, message.msg) == ("dorm_vector.W003", f"{PROBLEM} (database 'scratch')")
        assert message.hint == f"Run {CURE}."
        assert check_broken() == []
        found = explain_nearest(self.search(broken))
        assert (found.index, found.reason) == (None, f"{PROBLEM} Run {CURE}.")

    def test_it_is_cured(self, broken: Schema) -> None:
        output = StringIO()
        call_command("vector_reindex", "shop.Thing", database="scratch", stdout=output)
        assert output.getvalue() == "shop.Thing, i: rebuilt\n"
        (found,), error = vectors("shop.Thing")
        (index,) = found["columns"][0]["indexes"]
        assert (index["state"], index["problem"], index["lacks"], error) == ("valid", None, 0, None)
        assert check_broken(databases=["scratch"]) == []
        with broken.connection.cursor() as cursor:
            cursor.execute("SET enable_seqscan = off")
        assert explain_nearest(self.search(broken)).index == "i"

    def test_what_a_reindex_left_behind(self, things: Schema, install: Any) -> None:
        things.run(migrations.AddIndex("thing", hnsw(metric="l2")))
        install(things.model)
        cancel(things.connection, "REINDEX INDEX CONCURRENTLY i")
        problem = (
            "i_ccnew was left behind by a REINDEX of i that did not finish: it serves no search, "
            "and "
            "slows writes down."
        )
        (found,), error = vectors("shop.Thing")
        first, second = found["columns"][0]["indexes"]
        assert (first["state"], second["state"], second["problem"]) == (
            "valid", "left over", problem,
        )  # fmt: skip
        assert second["cure"] == "DROP INDEX CONCURRENTLY i_ccnew"
        assert error == "Unusable: shop.Thing, i_ccnew ('scratch'): left over."
        call_command("vector_reindex", "shop.Thing", database="scratch", stdout=StringIO())
        (found,), error = vectors("shop.Thing")
        assert [index["name"] for index in found["columns"][0]["indexes"]] == ["i"]
        assert error is None

    def test_an_index_of_that_name_that_is_valid_stays(self, things: Schema, install: Any) -> None:
        things.run(migrations.AddIndex("thing", hnsw(metric="l2")))
        install(things.model)
        with things.connection.cursor() as cursor:
            cursor.execute(
                "CREATE INDEX i_ccnew ON shop_thing USING hnsw (embedding vector_cosine_ops)"
            )
        call_command("vector_reindex", "shop.Thing", database="scratch", stdout=StringIO())
        (found,), error = vectors("shop.Thing")
        indexes = found["columns"][0]["indexes"]
        assert [(index["name"], index["declared"]) for index in indexes] == [
            ("i", True), ("i_ccnew", False),
        ]  # fmt: skip
        assert error is None

    def test_one_that_is_missing_is_made(self, things: Schema, install: Any) -> None:
        declare(things, install, m=8)
        (found,), error = vectors("shop.Thing")
        (index,) = found["columns"][0]["indexes"]
        assert (index["state"], index["problem"]) == (
            "absent", "i is declared, but does not exist in the database.",
        )  # fmt: skip
        assert error == "Unusable: shop.Thing, i ('scratch'): absent."
        # That is for a migration: check says nothing of it.
        assert check_broken(databases=["scratch"]) == []
        output = StringIO()
        call_command("vector_reindex", "shop.Thing", database="scratch", json=True, stdout=output)
        assert json.loads(output.getvalue()) == [
            {"model": "shop.Thing", "index": "i", "result": "shop.Thing, i: rebuilt"}
        ]
        (made,) = engine_for(things.connection).vector_indexes("shop_thing")
        assert (made.method, made.metric, made.options) == ("hnsw", "l2", {"m": 8})

    def test_a_partial_index(self, things: Schema, install: Any) -> None:
        index = hnsw(metric="l2", condition=models.Q(category=1))
        things.run(migrations.AddIndex("thing", index))
        install(things.model)
        (found,), _ = vectors("shop.Thing")
        assert found["columns"][0]["indexes"][0]["lacks"] == 25

    def test_while_it_is_built(self, things: Schema, install: Any) -> None:
        declare(things, install)
        seen: list[Any] = []
        other = things.connection.copy()
        with other.cursor() as open_one:
            open_one.execute("BEGIN; LOCK shop_thing IN ROW EXCLUSIVE MODE")

            def look(progress: Any) -> None:
                if not seen:
                    seen.append(progress)
                    open_one.execute("ROLLBACK")

            other.inc_thread_sharing()
            (index,) = things.model._meta.indexes
            assert engine_for(things.connection).reindex(index, things.model, look) is None
        other.close()
        assert seen[0].phase == "waiting for writers before build"


def side_table(engine: str, open_database: Any, tmp_path: Path, install: Any) -> Any:
    alias = {"sqlite": "default"}.get(engine, engine)
    open_database(alias, NAME=str(tmp_path / "db"))
    table = {"sqlite": Table, "libsql": LibSQLTable}[engine]("l2")
    table.fill()
    install(table.model)
    return table


@pytest.fixture(params=["sqlite", "libsql"])
def table(request: Any, open_database: Any, tmp_path: Path, install: Any) -> Any:
    return side_table(request.param, open_database, tmp_path, install)


class TestSideTables:
    def test_one_that_is_whole(self, table: Any) -> None:
        (found,), error = vectors("shop.Thing")
        (column,) = found["columns"]
        rows = list(table.rows.all())
        filled = [row for row in rows if row.embedding is not None]
        assert (column["rows"], column["nulls"]) == (len(rows), len(rows) - len(filled))
        assert column["zeros"] == sum(row.embedding == [0, 0, 0] for row in filled)
        assert column["bytes"] == 12 * len(filled)
        (index,) = column["indexes"]
        assert (index["state"], index["lacks"], index["declared"]) == ("valid", 0, True)
        assert index["size"] > 0
        assert error is None

    def test_parts_are_gone(self, table: Any) -> None:
        before = table.objects()
        trigger = min(name for name in before if name.startswith("trigger"))
        table.query(f"DROP {trigger}")
        (found,), error = vectors("shop.Thing")
        (index,) = found["columns"][0]["indexes"]
        assert (index["state"], index["problem"], index["cure"]) == (
            "damaged",
            "i is only partly there: it serves no search, and all rows are read.",
            "manage.py vector_reindex shop.Thing --database scratch",
        )
        assert error == "Unusable: shop.Thing, i ('scratch'): damaged."
        (message,) = check_broken(databases=["scratch"])
        assert message.msg == f"{index['problem']} (database 'scratch')"
        call_command("vector_reindex", "shop.Thing", database="scratch", stdout=StringIO())
        assert check_broken(databases=["scratch"]) == []
        assert vectors("shop.Thing")[1] is None

    def test_rows_are_missing(self, table: Any) -> None:
        """Written where the triggers did not run, as a program without sqlite-vec may have done."""
        trigger = next(name for name in table.objects() if name.endswith("i_insert"))
        (sql,) = table.query(f"SELECT sql FROM sqlite_master WHERE name = '{trigger.split()[-1]}'")[
            0
        ]
        table.query(f"DROP {trigger}")
        table.fill([[71, 72, 73], [74, 75, 76]])
        table.query(sql.replace("%", "%%"))
        (found,), error = vectors("shop.Thing")
        (index,) = found["columns"][0]["indexes"]
        assert (index["state"], index["lacks"], error) == ("valid", 2, None)


class TestCommand:
    def test_all_databases(self, db: None) -> None:
        found, _ = vectors(database=None)
        assert [each["database"] for each in found] == list(connections)
        versions = {each["engine"]: each["versions"] for each in found}
        assert {"PostgreSQL", "pgvector"} <= set(versions["PostgreSQL"])
        assert {"SQLite", "sqlite-vec"} <= set(versions["SQLite"])
        settings = {each["engine"]: each["settings"] for each in found}
        assert settings["PostgreSQL"]["hnsw.iterative_scan"] == "strict_order"
        labels = {f"{column['model']}.{column['field']}" for column in found[0]["columns"]}
        assert {"testapp.Item.embedding", "testapp.Generated.same"} <= labels
        assert "testapp.ItemProxy.embedding" not in labels

    def test_for_people(self, table: Any) -> None:
        lines = text_of().splitlines()
        assert lines[0] in ("scratch: SQLite", "scratch: libSQL")
        (column,) = (line for line in lines if "shop.Thing" in line)
        assert column.startswith("  shop.Thing.embedding: vector(3), ")
        assert any(line.startswith("    i: ") and "valid" in line for line in lines)

    def test_words_without_vectors(self, db: None, settings: Any) -> None:
        settings.DATABASE_ROUTERS = [OnlyPages()]
        found, error = vectors(database=None)
        others = [[other["model"] for other in each["others"]] for each in found]
        assert (others, error) == ([["textapp.Page"]], None)

    def test_bad_arguments(self, db: None) -> None:
        with pytest.raises(CommandError) as caught:
            call_command("vectors", "shop.Nothing")
        assert str(caught.value) == "There is no model 'shop.Nothing': name models as app.Model."
        with pytest.raises(CommandError) as caught:
            call_command("vectors", "auth.User")
        assert str(caught.value) == ("The table of auth.User has neither vectors nor a text index.")
        with pytest.raises(CommandError) as caught:
            call_command("vectors", database="nowhere")
        assert str(caught.value).startswith("There is no database 'nowhere' in the settings; use ")

    def test_columns_of_every_kind(self, alias: str) -> None:
        from tests.testapp.models import Bits, Half

        Half.objects.using(alias).create(a=[0, 0, 0], b=[1, 2, 3])
        Bits.objects.using(alias).create(a="0" * 10)
        found, _ = vectors("testapp.Half", "testapp.Bits", database=alias)
        states = {
            f"{column['model']}.{column['field']}": (
                column["rows"], column["nulls"], column["zeros"]
            )
            for column in found[0]["columns"]
        }  # fmt: skip
        assert states == {
            "testapp.Half.a": (1, 0, 1),
            "testapp.Half.b": (1, 0, 0),
            "testapp.Bits.a": (1, 0, 1),
            "testapp.Bits.b": (1, 1, 0),
        }


@pytest.fixture(params=["sqlite", "postgresql", "libsql"])
def schema(request: pytest.FixtureRequest, open_database: Any, tmp_path: Path) -> Schema:
    if request.param == "postgresql":
        with request.getfixturevalue("scratch")().cursor() as cursor:
            cursor.execute("CREATE EXTENSION vector")
    else:
        alias = {"sqlite": "default"}.get(request.param, request.param)
        open_database(alias, NAME=str(tmp_path / "db"))
    made = Schema("scratch")
    made.run(migrations.AddField("thing", "text", models.TextField(default="")))
    return made


def test_text_indexes_and_fresh_vectors(schema: Schema, install: Any, settings: Any) -> None:
    index = TextIndex(fields=["text"], name="thing_text")
    fresh = FreshVector(field="embedding", of=["text"], name="thing_fresh")
    schema.run(migrations.AddIndex("thing", index))
    schema.run(migrations.AddConstraint("thing", fresh))
    install(schema.model)
    (found,), error = vectors("shop.Thing")
    states = {other["name"]: (other["kind"], other["state"]) for other in found["others"]}
    assert states == {
        "thing_text": ("text index", "valid"),
        "thing_fresh": ("fresh vector", "valid"),
    }
    assert error is None
    assert "  shop.Thing: fresh vector thing_fresh (embedding, text), valid" in text_of()
    kept = schema.model
    schema.undo(migrations.AddConstraint("thing", fresh))
    install(kept)
    (found,), error = vectors("shop.Thing")
    assert [other["state"] for other in found["others"]] == ["valid", "absent"]
    assert found["others"][1]["cure"] == "manage.py vector_reindex shop.Thing --database scratch"
    assert error == "Unusable: shop.Thing, thing_fresh ('scratch'): absent."
    # The migration has been applied.
    settings.MIGRATION_MODULES = {"shop": None}
    (message,) = said_of_things()
    assert (message.id, message.msg, message.hint) == (
        "dorm_vector.W118",
        "The FreshVector 'thing_fresh' of shop.Thing is declared, but its trigger is missing from "
        "the database 'scratch': stale vectors are kept.",
        "Run manage.py vector_reindex shop.Thing --database scratch.",
    )
    output = StringIO()
    call_command("vector_reindex", "shop.Thing", database="scratch", stdout=output)
    assert output.getvalue().splitlines() == [
        "shop.Thing, thing_text: rebuilt",
        "shop.Thing, thing_fresh: made; vectors that are there may be stale",
    ]
    assert (vectors("shop.Thing")[1], said_of_things()) == (None, [])
    row = kept.objects.using("scratch").create(embedding=[1, 2, 3])
    kept.objects.using("scratch").filter(pk=row.pk).update(text="other")
    assert kept.objects.using("scratch").get(pk=row.pk).embedding is None


def said_of_things() -> list[Any]:
    messages = check_tables(databases=["scratch"])
    return [message for message in messages if message.obj._meta.label == "shop.Thing"]


class TestTextIndexes:
    """Their methods, their sizes, and what they lack."""

    @pytest.fixture
    def worded(self, schema: Schema, install: Any, settings: Any) -> Schema:
        settings.MIGRATION_MODULES = {"shop": None}
        index = TextIndex(fields=["text"], name="thing_text")
        schema.run(migrations.AddIndex("thing", index))
        install(schema.model)
        rows = rows_of(schema)
        rows.create(text="A cat sat.")
        rows.create(text="A dog ran.")
        return schema

    def found(self) -> Any:
        (found,), error = vectors("shop.Thing")
        (index,) = found["others"]
        return index, error

    def said_by_checks(self) -> list[tuple[str, str]]:
        checked = (check_broken, check_tables)
        messages = [message for check in checked for message in check(databases=["scratch"])]
        return [
            (message.id.removeprefix("dorm_vector."), message.msg)
            for message in messages
            if message.obj._meta.label == "shop.Thing"
        ]

    def test_sound(self, worded: Schema) -> None:
        index, error = self.found()
        assert (index["name"], index["fields"]) == ("thing_text", ["text"])
        on_postgresql = worded.connection.vendor == "postgresql"
        assert index["method"] == ("gin" if on_postgresql else "FTS5")
        assert (index["state"], index["lacks"], index["cure"], error) == ("valid", 0, None, None)
        assert index["size"] > 20
        line = next(line for line in text_of().splitlines() if "thing_text" in line)
        start = f"  shop.Thing: text index thing_text (text), {index['method']}, valid, "
        assert line.startswith(start)
        assert line.endswith(", lacks 0 rows")
        assert self.said_by_checks() == []

    def test_gone(self, worded: Schema) -> None:
        kept = worded.model
        worded.undo(migrations.AddIndex("thing", kept._meta.indexes[0]))
        index, error = self.found()
        assert (index["state"], index["lacks"], index["size"]) == ("absent", 2, None)
        assert index["problem"] == "thing_text is declared, but does not exist in the database."
        assert index["cure"] == (
            "manage.py migrate --database scratch, or manage.py vector_reindex shop.Thing "
            "--database scratch"
        )
        assert error == "Unusable: shop.Thing, thing_text ('scratch'): absent."
        outcome = {
            True: "searches read every row",
            False: "matching() raises OperationalError",
        }[worded.connection.vendor == "postgresql"]
        assert self.said_by_checks() == [
            (
                "W114",
                "The index 'thing_text' of shop.Thing is declared, but missing from the database "
                f"'scratch': {outcome}.",
            )
        ]
        call_command("vector_reindex", "shop.Thing", database="scratch", stdout=StringIO())
        index, error = self.found()
        assert (index["state"], index["lacks"], error) == ("valid", 0, None)

    def test_part_of_it_is_gone(self, worded: Schema) -> None:
        with worded.connection.cursor() as cursor:
            if worded.connection.vendor == "postgresql":
                cursor.execute(
                    "UPDATE pg_index SET indisvalid = false "
                    "WHERE indexrelid = 'thing_text'::regclass"
                )
                state = "invalid"
                problem = (
                    "thing_text is INVALID because its build was cancelled or failed: it serves no "
                    "search, and all rows are read."
                )
            else:
                cursor.execute("DROP TRIGGER thing_text_update")
                state = "damaged"
                problem = "thing_text is only partly there: searches through it raise an error."
        index, error = self.found()
        assert (index["state"], index["problem"], index["lacks"]) == (state, problem, 2)
        assert error == f"Unusable: shop.Thing, thing_text ('scratch'): {state}."
        assert self.said_by_checks() == [("W003", f"{problem} (database 'scratch')")]
        call_command("vector_reindex", "shop.Thing", database="scratch", stdout=StringIO())
        assert self.found()[0]["state"] == "valid"


@pytest.mark.parametrize("engine", ["default", "libsql"])
@pytest.mark.parametrize("key", ["number", "text", "both"])
def test_rows_that_a_table_of_words_lacks(
    engine: str, key: str, open_database: Any, tmp_path: Path
) -> None:
    connection = open_database(engine, NAME=str(tmp_path / "db"))
    keys: dict[str, list[Any]] = {
        "number": [("n", models.BigAutoField(primary_key=True))],
        "text": [("n", models.CharField(max_length=9, primary_key=True, db_column="a key"))],
        "both": [
            ("pk", models.CompositePrimaryKey("n", "m")),
            ("n", models.IntegerField()),
            ("m", models.CharField(max_length=9)),
        ],
    }
    fields = [*keys[key], ("text", models.TextField(null=True, db_column="a 'text'"))]
    index = TextIndex(fields=["text"], name="note words")
    project = Project(migrations.CreateModel("Note", fields, {"indexes": [index]}))
    for number, text in enumerate(["one", "two", None, "four"], 1):
        made = {"n": number, "m": "x"} if key == "both" else {"n": number}
        project.rows("note").create(text=text, **made)
    state, model = engine_for(connection), project.model("note")
    assert state.lacking_words(model._meta.indexes[0], model) == 0
    project.execute("""DELETE FROM "note words" WHERE c0 = 'one'""")
    project.execute("""UPDATE "note words" SET c0 = 'TWO' WHERE c0 = 'two'""")
    assert state.lacking_words(model._meta.indexes[0], model) == 2
