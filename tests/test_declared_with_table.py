"""What CreateModel declares, and a later operation of the same migration renames or removes."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import ProgrammingError, migrations
from django.db.migrations.state import ProjectState

from dorm_vector import FreshVector, HnswIndex, TextIndex, VectorIndex, models

NAMES = {
    "postgresql": "SELECT relname FROM pg_class WHERE relname LIKE 'zz%' UNION "
    "SELECT tgname FROM pg_trigger WHERE tgname LIKE 'zz%' UNION "
    "SELECT proname FROM pg_proc WHERE proname LIKE 'zz%'",
    "sqlite": "SELECT name FROM sqlite_master WHERE name LIKE 'zz%'",
    "libsql": "SELECT name FROM sqlite_master WHERE name LIKE 'zz%'",
}

VECTOR = VectorIndex(fields=["embedding"], name="zz_old", metric="l2")
HNSW = HnswIndex(fields=["embedding"], name="zz_old", metric="l2")
WORDS = TextIndex(fields=["title"], name="zz_old")
FRESH = FreshVector(field="embedding", of=["title"], name="zz_old")


def fields() -> list[Any]:
    return [
        ("id", models.AutoField(primary_key=True)),
        ("title", models.TextField()),
        ("embedding", models.VectorField(2, null=True)),
    ]


class Migration:
    """A migration that makes a table with what it declares, and goes on with other operations."""

    def __init__(self, connection: Any, declared: Any, *operations: Any) -> None:
        self.connection = connection
        option = "constraints" if declared is FRESH else "indexes"
        self.state = ProjectState()
        self.run(migrations.CreateModel("Thing", fields(), {option: [declared]}), *operations)

    def run(self, *operations: Any) -> None:
        with self.connection.schema_editor() as editor:
            for operation in operations:
                before, self.state = self.state, self.state.clone()
                operation.state_forwards("shop", self.state)
                operation.database_forwards("shop", editor, before, self.state)

    def names(self) -> set[str]:
        """The names of all that was made for what is declared."""
        with self.connection.cursor() as cursor:
            cursor.execute(NAMES[self.connection.vendor])
            return {name for (name,) in cursor.fetchall()}

    def undo(self, name: str = "Thing") -> None:
        with self.connection.schema_editor() as editor:
            editor.delete_model(self.state.apps.get_model("shop", name))


@pytest.mark.parametrize("index", [VECTOR, HNSW, WORDS])
def test_an_index_that_is_renamed(empty_database: Any, index: Any) -> None:
    """Squashing leaves such operations."""
    rename = migrations.RenameIndex("thing", old_name="zz_old", new_name="zz_new")
    once = Migration(empty_database, index, rename)
    renamed = once.names()
    once.undo()
    assert once.names() == set()
    assert all(name.startswith("zz_new") for name in renamed)
    assert bool(renamed) == (index is not HNSW or empty_database.vendor == "postgresql")


@pytest.mark.parametrize("index", [VECTOR, HNSW, WORDS])
def test_an_index_that_is_removed(empty_database: Any, index: Any) -> None:
    assert (
        Migration(empty_database, index, migrations.RemoveIndex("thing", "zz_old")).names() == set()
    )


def test_an_index_of_a_field_that_changes(empty_database: Any) -> None:
    half = models.HalfVectorField(3, null=True)
    alter = migrations.AlterField("thing", "embedding", half)
    names = Migration(empty_database, VECTOR, alter).names()
    assert "zz_old" in names or "zz_old_graph" in names


def test_a_constraint_that_is_removed(empty_database: Any) -> None:
    remove = migrations.RemoveConstraint("thing", "zz_old")
    assert Migration(empty_database, FRESH, remove).names() == set()


def test_a_constraint_that_is_replaced(empty_database: Any) -> None:
    remove = migrations.RemoveConstraint("thing", "zz_old")
    add = migrations.AddConstraint(
        "thing", FreshVector(field="embedding", of=["title"], name="zz_new")
    )
    assert Migration(empty_database, FRESH, remove, add).names() == {"zz_new"}


def moved(index: Any) -> Any:
    """What moves an index to another model, as ``makemigrations`` writes it."""
    return (
        migrations.CreateModel("Other", fields(), {"indexes": [index]}),
        migrations.RemoveIndex("thing", "zz_old"),
    )


@pytest.mark.parametrize("empty_database", ["postgresql"], indirect=True)
@pytest.mark.parametrize("index", [VECTOR, WORDS])
def test_a_name_that_another_model_gives_up(empty_database: Any, index: Any) -> None:
    old = Migration(empty_database, index)
    names = old.names()
    old.run(*moved(index))
    old.undo("Thing")
    assert old.names() == names
    old.undo("Other")
    assert old.names() == set()


@pytest.mark.parametrize("empty_database", ["sqlite", "libsql"], indirect=True)
@pytest.mark.parametrize("index", [VECTOR, WORDS])
def test_a_name_that_a_side_table_has(empty_database: Any, index: Any) -> None:
    """It is refused before anything is changed."""
    old = Migration(empty_database, index)
    names = old.names()
    with pytest.raises(ProgrammingError, match="needs the name"):
        old.run(*moved(index))
    assert old.names() == names
