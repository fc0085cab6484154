"""TextIndex on SQLite and libSQL, in step under any sequence of writes and migrations."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import IntegrityError, migrations, transaction
from django.db.models import F
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from dorm_vector import models
from dorm_vector.search.text import matching
from tests.support.texts import TextTable, has_words, text_index, tokens

WORDS = ("cat", "dog", "Éclair", "50%", "o'clock", "naïve-ish", "東京")
texts = st.lists(st.sampled_from(WORDS), max_size=4).map(" ".join)
rows = st.lists(st.tuples(texts, st.none() | texts), max_size=5)
positions = st.integers(0, 50)
names = st.sampled_from(["i", "j", "odd name's"])


class TextIndexMachine(RuleBasedStateMachine):
    """One table with its text indexes, and transactions that may be open."""

    open: Callable[[], Any]

    def __init__(self) -> None:
        super().__init__()
        self.connection = type(self).open()
        self.table = TextTable()
        self.atomics: list[Any] = []

    def teardown(self) -> None:
        while self.atomics:
            self.roll_back()
        self.connection.close()

    @property
    def field(self) -> str:
        """The name of the first text field."""
        known = {field.name for field in self.table.model._meta.fields}
        return "title" if "title" in known else "headline"

    @property
    def model_name(self) -> str:
        return str(self.table.model._meta.model_name)

    @property
    def indexes(self) -> list[Any]:
        return list(self.table.model._meta.indexes)

    def make(self, made: list[tuple[Any, Any]]) -> list[Any]:
        return [self.table.model(**{self.field: title, "body": body}) for title, body in made]

    def choose(self, position: int) -> Any:
        pks = list(self.table.rows.order_by("pk").values_list("pk", flat=True))
        return self.table.rows.filter(pk=pks[position % len(pks)] if pks else None)

    def run(self, operation: Any) -> None:
        self.table.run(operation)

    def attempt(self, write: Callable[[], Any]) -> None:
        """Write what may break a constraint, in a savepoint where a transaction is open."""
        try:
            with transaction.atomic("scratch"):
                write()
        except IntegrityError:
            pass

    # Rows

    @initialize(made=rows)
    def begin(self, made: list[tuple[Any, Any]]) -> None:
        self.table.rows.bulk_create(self.make(made))
        self.run(migrations.AddIndex("thing", text_index()))

    @rule(made=rows)
    def insert(self, made: list[tuple[Any, Any]]) -> None:
        self.table.rows.bulk_create(self.make(made))

    @rule(position=positions, title=texts, body=st.none() | texts)
    def replace(self, position: int, title: str, body: Any) -> None:
        """Which takes the old row away without a DELETE."""
        row = self.choose(position).first()
        if row is None:
            return
        meta, quote = self.table.model._meta, self.connection.ops.quote_name
        setattr(row, self.field, title)
        row.body = body
        fields = meta.concrete_fields
        values = [f.get_db_prep_value(getattr(row, f.attname), self.connection) for f in fields]
        columns = ", ".join(quote(field.column) for field in fields)
        marks = ", ".join(["%s"] * len(values))
        sql = f"INSERT OR REPLACE INTO {quote(meta.db_table)} ({columns}) VALUES ({marks})"
        self.table.query(sql, *values)

    @rule(position=positions, made=rows)
    def upsert(self, position: int, made: list[tuple[Any, Any]]) -> None:
        key = self.choose(position).values_list("pk", flat=True).first()
        objects = self.make(made)
        if key is None or not objects:
            return
        objects[0].pk = key
        for number, each in enumerate(objects[1:], start=1):
            each.pk = key + number
        self.table.rows.bulk_create(
            objects,
            update_conflicts=True,
            unique_fields=[self.table.model._meta.pk.name],
            update_fields=[self.field, "body"],
        )

    @rule(position=positions, title=texts)
    def update_one(self, position: int, title: str) -> None:
        self.choose(position).update(**{self.field: title})

    @rule(body=st.none() | texts, remainder=st.integers(0, 3))
    def update_many(self, body: Any, remainder: int) -> None:
        found = self.table.rows.annotate(part=F("id") % 4).filter(part=remainder)
        found.update(body=body, category=remainder)

    @rule(shift=st.sampled_from([1, -1, 1000]))
    def change_primary_keys(self, shift: int) -> None:
        """Which fails in the middle where a key is taken."""
        self.attempt(lambda: self.table.rows.update(id=F("id") + shift))

    @rule(remainder=st.integers(0, 3))
    def delete_many(self, remainder: int) -> None:
        self.table.rows.annotate(part=F("id") % 4).filter(part=remainder).delete()

    @rule(word=st.sampled_from(WORDS))
    def delete_what_matches(self, word: str) -> None:
        if self.indexes:
            matching(self.table.rows, word, fields=self.indexes[0].fields).delete()

    # Transactions

    @precondition(lambda self: len(self.atomics) < 3)
    @rule()
    def begin_or_save(self) -> None:
        atomic = transaction.atomic("scratch")
        atomic.__enter__()
        self.atomics.append(atomic)

    @precondition(lambda self: self.atomics)
    @rule()
    def commit(self) -> None:
        self.atomics.pop().__exit__(None, None, None)

    @precondition(lambda self: self.atomics)
    @rule()
    def roll_back(self) -> None:
        transaction.set_rollback(True, using="scratch")
        self.atomics.pop().__exit__(None, None, None)

    @precondition(lambda self: not self.atomics)
    @rule(statement=st.sampled_from(["VACUUM", "REINDEX", "ANALYZE"]))
    def maintain(self, statement: str) -> None:
        self.table.query(statement)

    @precondition(lambda self: not self.atomics)
    @rule()
    def reconnect(self) -> None:
        self.connection.close()
        self.connection.ensure_connection()

    # Migrations, which SQLite runs outside of transactions only

    @precondition(lambda self: not self.atomics)
    @rule(name=names, only_body=st.booleans())
    def add_or_remove_index(self, name: str, only_body: bool) -> None:
        if name in [declared.name for declared in self.indexes]:
            self.run(migrations.RemoveIndex(self.model_name, name))
        else:
            fields = ["body"] if only_body else [self.field, "body"]
            self.run(migrations.AddIndex(self.model_name, text_index(name=name, fields=fields)))

    @precondition(lambda self: not self.atomics and self.indexes)
    @rule()
    def undo_and_redo_the_index(self) -> None:
        removal = migrations.RemoveIndex(self.model_name, self.indexes[0].name)
        self.run(removal)
        self.table.undo(removal)

    @precondition(lambda self: not self.atomics and self.indexes)
    @rule(name=names)
    def rename_index(self, name: str) -> None:
        if name not in [declared.name for declared in self.indexes]:
            old = self.indexes[0].name
            self.run(migrations.RenameIndex(self.model_name, new_name=name, old_name=old))

    @precondition(lambda self: not self.atomics)
    @rule()
    def add_or_remove_field(self) -> None:
        if "note" in [field.name for field in self.table.model._meta.fields]:
            self.run(migrations.RemoveField(self.model_name, "note"))
        else:
            self.run(migrations.AddField(self.model_name, "note", models.TextField(default="x")))

    @precondition(lambda self: not self.atomics)
    @rule(column=st.sampled_from([None, "the text", "group"]), length=st.sampled_from([50, 60]))
    def alter_field(self, column: Any, length: int) -> None:
        field = models.CharField(max_length=length, default="", db_column=column)
        self.run(migrations.AlterField(self.model_name, self.field, field))

    @precondition(lambda self: not self.atomics)
    @rule(key=st.sampled_from([models.AutoField, models.BigAutoField]))
    def alter_primary_key(self, key: Any) -> None:
        self.run(migrations.AlterField(self.model_name, "id", key(primary_key=True)))

    @precondition(lambda self: not self.atomics)
    @rule()
    def rename_field(self) -> None:
        """As makemigrations writes it: the indexes are removed before, and added after."""
        declared, old = self.indexes, self.field
        new = "headline" if old == "title" else "title"
        for one in declared:
            self.run(migrations.RemoveIndex(self.model_name, one.name))
        self.run(migrations.RenameField(self.model_name, old, new))
        for one in declared:
            fields = [new if name == old else name for name in one.fields]
            self.run(migrations.AddIndex(self.model_name, text_index(name=one.name, fields=fields)))

    @precondition(lambda self: not self.atomics)
    @rule()
    def rename_model(self) -> None:
        new = "Stuff" if self.model_name == "thing" else "Thing"
        self.run(migrations.RenameModel(self.table.model.__name__, new))

    @precondition(lambda self: not self.atomics)
    @rule(name=st.sampled_from([None, "shop_other", "order by"]))
    def rename_table(self, name: Any) -> None:
        self.run(migrations.AlterModelTable(self.model_name, name))

    # What has to hold

    @rule(word=st.sampled_from(WORDS), other=st.sampled_from(WORDS))
    def search(self, word: str, other: str) -> None:
        for index in self.indexes:
            found = set(
                matching(self.table.rows, f"{word} -{other}", fields=index.fields).values_list(
                    "pk", flat=True
                )
            )
            assert found == {
                pk
                for pk, stored in self.table.stored(index.fields).items()
                if has_words(word, *stored) and not _has_phrase(other, *stored)
            }

    @invariant()
    def tables_are_in_step(self) -> None:
        self.table.assert_in_step()

    @invariant()
    def nothing_else_is_in_the_schema(self) -> None:
        objects = self.table.objects()
        declared = {one.name for one in self.indexes}
        for kind in ("insert", "delete", "update"):
            found = {name for name in objects if name.endswith(f"_{kind}")}
            assert found == {f"trigger {name}_{kind}" for name in declared}
        made = {f"table {name}" for name in declared}
        parts = ("data", "idx", "content", "docsize", "config")
        made |= {f"table {name}_{part}" for name in declared for part in parts}
        tables = {name for name in objects if name.startswith("table ")}
        assert made <= tables
        assert len(tables) == len(made) + 1


def _has_phrase(phrase: str, *stored: Any) -> bool:
    """Whether one of the texts has the words one after the other."""
    wanted = tokens(phrase)
    return any(
        tokens(text)[start : start + len(wanted)] == wanted
        for text in stored
        for start in range(len(tokens(text)))
    )


@pytest.mark.parametrize("alias", ["default", "libsql"])
def test_any_sequence_of_writes_and_migrations(
    open_database: Any, tmp_path: Path, alias: str
) -> None:
    made = iter(range(10**9))

    def connect() -> Any:
        options = {"init_command": "PRAGMA synchronous = OFF"}
        path = tmp_path / f"{next(made)}.db"
        wrapper = open_database(alias, NAME=str(path), OPTIONS=options)
        wrapper.ensure_connection()
        return wrapper

    run_state_machine_as_test(
        type("Machine", (TextIndexMachine,), {"open": staticmethod(connect)}),
        settings=settings(
            max_examples=40,
            stateful_step_count=40,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
