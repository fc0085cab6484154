"""VectorIndex on SQLite and libSQL, in step under any sequence of writes and migrations."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
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

from dorm_vector import models, nearest
from dorm_vector.testing import explain_nearest
from tests.support import oracle
from tests.support.side_tables import LibSQLTable, Table, index, uses_index

# Few values, so that vectors are often equal, and zero.
numbers = st.sampled_from([0.0, -0.0, 1.0, -1.0, 0.1, 3.5, 1e-15, 1e15])
vectors = st.none() | st.just([0, 0, 0]) | st.lists(numbers, min_size=3, max_size=3)
query_vectors = st.lists(st.sampled_from([1.0, -2.0, 0.5]), min_size=3, max_size=3)
names = st.none() | st.sampled_from("abcdefgh")
positions = st.integers(0, 50)
rows = st.lists(st.tuples(names, vectors), max_size=6)


class VectorIndexMachine(RuleBasedStateMachine):
    """One table with its indexes, and transactions that may be open."""

    open: Callable[[], Any]
    table_class: type[Table] = Table

    def __init__(self) -> None:
        super().__init__()
        self.connection = type(self).open()
        self.table = self.table_class()
        self.atomics: list[Any] = []

    def teardown(self) -> None:
        while self.atomics:
            self.roll_back()
        self.connection.close()

    # Helpers

    @property
    def field(self) -> str:
        return self.table.column

    @property
    def in_transaction(self) -> bool:
        return bool(self.atomics)

    def value(self, vector: Any) -> Any:
        """A vector that the database has all distances of."""
        return vector

    def make(self, made: list[tuple[Any, Any]]) -> list[Any]:
        model = self.table.model
        return [model(**{"name": name, self.field: self.value(vector)}) for name, vector in made]

    def choose(self, position: int) -> Any:
        """A queryset of one row, where there are rows."""
        pks = list(self.table.rows.order_by("pk").values_list("pk", flat=True))
        return self.table.rows.filter(pk=pks[position % len(pks)] if pks else None)

    def run(self, operation: Any) -> None:
        self.table.run(operation)

    @property
    def model_name(self) -> str:
        return str(self.table.model._meta.model_name)

    @property
    def indexes(self) -> list[Any]:
        return list(self.table.model._meta.indexes)

    # The table's rows

    @initialize(made=rows, number=st.integers(0, 5))
    def begin(self, made: list[tuple[Any, Any]], number: int) -> None:
        metric = self.table_class.metrics[number % len(self.table_class.metrics)]
        self.table.fill([self.value(vector) for _, vector in made])
        self.run(migrations.AddIndex("thing", index(metric)))

    @rule(name=names, vector=vectors)
    def insert(self, name: Any, vector: Any) -> None:
        self.attempt(lambda: self.make([(name, vector)])[0].save(using="scratch"))

    @rule(made=rows)
    def bulk_insert(self, made: list[tuple[Any, Any]]) -> None:
        """All of them, or none where a name is taken."""
        self.attempt(lambda: self.table.rows.bulk_create(self.make(made)))

    @rule(made=rows)
    def insert_and_ignore_conflicts(self, made: list[tuple[Any, Any]]) -> None:
        self.table.rows.bulk_create(self.make(made), ignore_conflicts=True)

    @rule(made=rows)
    def insert_and_update_conflicts(self, made: list[tuple[Any, Any]]) -> None:
        self.table.rows.bulk_create(
            self.make(made),
            update_conflicts=True,
            unique_fields=["name"],
            update_fields=[self.field],
        )

    @rule(position=positions, vector=vectors)
    def replace(self, position: int, vector: Any) -> None:
        row = self.choose(position).first()
        if row is not None:
            meta = self.table.model._meta
            quote = self.connection.ops.quote_name
            columns = ", ".join(quote(f.column) for f in meta.fields)
            setattr(row, self.field, self.value(vector))
            values = [
                f.get_db_prep_value(getattr(row, f.attname), self.connection) for f in meta.fields
            ]
            marks = ", ".join(["%s"] * len(values))
            table = quote(meta.db_table)
            self.table.query(
                f"INSERT OR REPLACE INTO {table} ({columns}) VALUES ({marks})", *values
            )

    @rule(position=positions, vector=vectors)
    def update_one(self, position: int, vector: Any) -> None:
        self.choose(position).update(**{self.field: self.value(vector)})

    @rule(vector=vectors, remainder=st.integers(0, 3))
    def update_many(self, vector: Any, remainder: int) -> None:
        found = self.table.rows.annotate(part=F("id") % 4).filter(part=remainder)
        found.update(**{self.field: self.value(vector), "category": remainder})

    @rule(position=positions, number=st.integers(-60, 60))
    def change_primary_key(self, position: int, number: int) -> None:
        self.attempt(lambda: self.choose(position).update(id=number))

    @rule(shift=st.sampled_from([1, -1, 1000]))
    def change_primary_keys(self, shift: int) -> None:
        """Which fails in the middle where a key is taken."""
        self.attempt(lambda: self.table.rows.update(id=F("id") + shift))

    @rule(position=positions)
    def delete_one(self, position: int) -> None:
        self.choose(position).delete()

    @rule(remainder=st.integers(0, 3))
    def delete_many(self, remainder: int) -> None:
        self.table.rows.annotate(part=F("id") % 4).filter(part=remainder).delete()

    def attempt(self, write: Callable[[], Any]) -> None:
        """Write what may break a constraint, in a savepoint where a transaction is open."""
        try:
            if self.in_transaction:
                with transaction.atomic("scratch"):
                    write()
            else:
                write()
        except IntegrityError:
            pass

    # Transactions

    @precondition(lambda self: len(self.atomics) < 3)
    @rule()
    def begin_or_save(self) -> None:
        """A transaction, and within it savepoints."""
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
    @rule()
    def vacuum(self) -> None:
        self.table.query("VACUUM")

    @precondition(lambda self: not self.atomics)
    @rule()
    def reconnect(self) -> None:
        self.connection.close()
        self.connection.ensure_connection()

    # Migrations, which SQLite runs outside of transactions only

    @precondition(lambda self: not self.atomics)
    @rule(number=st.integers(0, 5), name=st.sampled_from(["i", "j", "k"]))
    def add_or_remove_index(self, number: int, name: str) -> None:
        metric = self.table_class.metrics[number % len(self.table_class.metrics)]
        if name in [declared.name for declared in self.indexes]:
            self.run(migrations.RemoveIndex(self.model_name, name))
        else:
            added = index(metric, name=name, fields=[self.field])
            self.run(migrations.AddIndex(self.model_name, added))

    @precondition(lambda self: not self.atomics and self.indexes)
    @rule()
    def undo_and_redo_the_index(self) -> None:
        removal = migrations.RemoveIndex(self.model_name, self.indexes[0].name)
        self.run(removal)
        self.table.undo(removal)

    @precondition(lambda self: not self.atomics and self.indexes)
    @rule(name=st.sampled_from(["i", "j", "k"]))
    def rename_index(self, name: str) -> None:
        if name not in [declared.name for declared in self.indexes]:
            old = self.indexes[0].name
            self.run(migrations.RenameIndex(self.model_name, new_name=name, old_name=old))

    @precondition(lambda self: not self.atomics)
    @rule(default=st.sampled_from([None, "none"]))
    def add_or_remove_field(self, default: Any) -> None:
        if "note" in [field.name for field in self.table.model._meta.fields]:
            self.run(migrations.RemoveField(self.model_name, "note"))
        else:
            note = models.TextField(null=default is None, default=default)
            self.run(migrations.AddField(self.model_name, "note", note))

    @precondition(lambda self: not self.atomics)
    @rule(
        category=st.sampled_from(
            [
                models.IntegerField(default=0),
                models.CharField(max_length=9, default="0"),
                models.IntegerField(default=0, db_index=True),
            ]
        )
    )
    def alter_another_field(self, category: Any) -> None:
        self.run(migrations.AlterField(self.model_name, "category", category.clone()))

    @precondition(lambda self: not self.atomics)
    @rule(column=st.sampled_from([None, "the vector", "group"]))
    def alter_field(self, column: Any) -> None:
        vector = models.VectorField(3, null=True, db_column=column)
        self.run(migrations.AlterField(self.model_name, self.field, vector))

    @precondition(lambda self: not self.atomics)
    @rule(key=st.sampled_from([models.AutoField, models.BigAutoField]))
    def alter_primary_key(self, key: Any) -> None:
        self.run(migrations.AlterField(self.model_name, "id", key(primary_key=True)))

    @precondition(lambda self: not self.atomics)
    @rule()
    def rename_field(self) -> None:
        """As makemigrations writes it: the indexes are removed before, and added after."""
        declared = self.indexes
        old = self.field
        new = "vector" if old == "embedding" else "embedding"
        for one in declared:
            self.run(migrations.RemoveIndex(self.model_name, one.name))
        self.run(migrations.RenameField(self.model_name, old, new))
        for one in declared:
            added = index(one.metric, name=one.name, fields=[new])
            self.run(migrations.AddIndex(self.model_name, added))

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

    @rule(query=query_vectors, k=st.integers(1, 12), start=st.integers(0, 3))
    def search(self, query: Any, k: int, start: int) -> None:
        for metric in self.table_class.metrics:
            found = nearest(self.table.rows, self.field, query, metric=metric)[start : start + k]
            served = {one.metric: one.name for one in reversed(self.indexes)}
            if metric in served:
                self.check_plan(found, served[metric])
            self.compare(found, metric, query, slice(start, start + k))

    def check_plan(self, queryset: Any, name: str) -> None:
        assert uses_index(queryset, name)

    def expected(self, metric: str, query: Any) -> dict[Any, float]:
        """The distances that are defined, by primary key, in numpy."""
        distances = {}
        for pk, vector in self.table.rows.values_list("pk", self.field):
            if vector is not None:
                distance = oracle.DISTANCES[metric](vector, query)
                if not np.isnan(distance):
                    distances[pk] = distance
        return distances

    def compare(self, queryset: Any, metric: str, query: Any, part: slice) -> None:
        distances = self.expected(metric, query)
        found = list(queryset)
        close = [pytest.approx(d, rel=1e-5, abs=1e-5) for d in sorted(distances.values())[part]]
        assert [row.distance for row in found] == close
        for row in found:
            assert row.distance == pytest.approx(distances[row.pk], rel=1e-5, abs=1e-5)
        assert len({row.pk for row in found}) == len(found)

    @invariant()
    def side_tables_are_in_step(self) -> None:
        if self.indexes:
            self.table.assert_in_step()

    @invariant()
    def nothing_else_is_in_the_schema(self) -> None:
        """The triggers of each index, and no side table of an index that went away."""
        objects = self.table.objects()
        declared = {one.name for one in self.indexes}
        for kind in ("insert", "delete", "update"):
            found = {name for name in objects if name.endswith(f"_{kind}")}
            assert found == {f"trigger {name}_{kind}" for name in declared}
        assert {name for name in objects if name in ("table i", "table j", "table k")} == {
            f"table {name}" for name in declared
        }
        assert not [name for name in objects if "new__" in name]


class LibSQLMachine(VectorIndexMachine):
    """The same on libSQL, where a table as small as these is read as a whole."""

    table_class = LibSQLTable

    def value(self, vector: Any) -> Any:
        """Less long, and less short: libSQL squares the lengths for the cosine in float32."""
        return vector and [SMALLER.get(abs(x), abs(x)) * np.copysign(1, x) for x in vector]

    def check_plan(self, queryset: Any, name: str) -> None:
        assert explain_nearest(queryset).index is None


SMALLER = {1e15: 1e6, 1e-15: 1e-6}


class LibSQLGraphMachine(LibSQLMachine):
    """
    The same where the graph is searched from the first vector on.

    Which loses vectors: a search returns as many rows as it should, in order, with their true
    distances, and a row whose vector is the one searched for comes first.
    """

    def check_plan(self, queryset: Any, name: str) -> None:
        found = explain_nearest(queryset).index
        assert found == (name if self.table.side(name) else None)

    def compare(self, queryset: Any, metric: str, query: Any, part: slice) -> None:
        distances = self.expected(metric, query)
        found = list(queryset)
        best = [pytest.approx(d, rel=1e-5, abs=1e-5) for d in sorted(distances.values())[part]]
        assert len(found) == len(best)
        assert len({row.pk for row in found}) == len(found)
        given = [row.distance for row in found]
        assert given == sorted(given)
        assert given == [pytest.approx(distances[r.pk], rel=1e-5, abs=1e-5) for r in found]
        if part.stop >= len(distances):
            assert given == best

    @rule(position=positions, k=st.integers(1, 5))
    def search_for_a_row(self, position: int, k: int) -> None:
        row = self.choose(position).first()
        vector = row and getattr(row, self.field)
        if not vector or not any(vector):
            return
        for metric in self.table_class.metrics:
            first = nearest(self.table.rows, self.field, vector, metric=metric, k=k)[0]
            assert first.distance == pytest.approx(0, abs=1e-5)


def machine(
    base: type[VectorIndexMachine], open_database: Callable[..., Any], directory: Path
) -> type[VectorIndexMachine]:
    """The machine, with a new database file for each of its runs."""
    made = iter(range(10**9))

    def connect() -> Any:
        options = {"init_command": "PRAGMA synchronous = OFF"}
        path = directory / f"{next(made)}.db"
        alias = "libsql" if issubclass(base, LibSQLMachine) else "default"
        wrapper = open_database(alias, NAME=str(path), OPTIONS=options)
        wrapper.ensure_connection()
        return wrapper

    return type("Machine", (base,), {"open": staticmethod(connect)})


@pytest.mark.parametrize("base", [VectorIndexMachine, LibSQLMachine, LibSQLGraphMachine])
def test_any_sequence_of_writes_and_migrations(
    open_database: Any, tmp_path: Path, base: type[VectorIndexMachine], monkeypatch: Any
) -> None:
    if base is LibSQLGraphMachine:
        monkeypatch.setattr("dorm_vector.engines.libsql.LibSQLEngine.least_vectors", 1)
    run_state_machine_as_test(
        machine(base, open_database, tmp_path),
        settings=settings(
            max_examples=60,
            stateful_step_count=40,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
