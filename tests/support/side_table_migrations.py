"""What migrations do with a VectorIndex, on every engine that keeps side tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest
from django.db import connections, migrations
from django.db.models import F, GeneratedField

from dorm_vector import models
from tests.support.side_tables import Table, index

__all__ = ["SideTableMigrations"]


class SideTableMigrations:
    """Migrations of a table with a VectorIndex: the same on both engines."""

    table_class: ClassVar[type[Table]] = Table
    #: How the objects of the index ``i`` are called.
    PARTS: ClassVar[tuple[str, ...]] = ("table i", "trigger i")

    def test_an_index_that_comes_with_its_table(self, database: Any, metric: str) -> None:
        table = self.table_class()
        model = table.model._meta
        fields = [(field.name, field.clone()) for field in model.fields]
        table.run(migrations.DeleteModel("thing"))
        table.run(migrations.CreateModel("Thing", fields, {"indexes": [index(metric)]}))
        table.fill()
        table.assert_in_step()

    @pytest.mark.parametrize(
        "operation",
        [
            migrations.AddField("thing", "note", models.TextField(default="none")),
            migrations.AddField("thing", "note", models.TextField(null=True)),
            migrations.AddField("thing", "other", models.VectorField(2, default=[1, 2])),
            migrations.RemoveField("thing", "category"),
            migrations.RemoveField("thing", "name"),
            migrations.AlterField("thing", "category", models.CharField(max_length=9)),
            migrations.AlterField("thing", "category", models.IntegerField(null=True)),
            migrations.AlterField(
                "thing", "category", models.IntegerField(default=0, db_index=True)
            ),
            migrations.AlterField("thing", "name", models.CharField(max_length=40, null=True)),
            migrations.AlterField("thing", "id", models.BigAutoField(primary_key=True)),
            migrations.AlterField("thing", "embedding", models.VectorField(3, default=[1, 1, 1])),
            migrations.AlterField(
                "thing", "embedding", models.VectorField(3, null=True, db_column="the vector")
            ),
            migrations.AlterUniqueTogether("thing", {("category", "id")}),
            migrations.RenameField("thing", "embedding", "vector"),
            migrations.RenameField("thing", "category", "kind"),
            migrations.RenameModel("Thing", "Stuff"),
            migrations.AlterModelTable("thing", "shop_stuff"),
            migrations.RenameIndex("thing", new_name="j", old_name="i"),
        ],
        ids=lambda operation: operation.describe(),
    )
    def test_changes_of_the_schema(self, table: Table, operation: Any) -> None:
        before = table.objects()
        for _ in range(2):
            table.run(operation)
            self.check_writes(table)
            table.undo(operation)
            self.check_writes(table)
        assert table.objects() == before

    def check_writes(self, table: Table) -> None:
        """In step, and kept so: the triggers are there."""
        table.assert_in_step()
        table.rows.create(**{table.column: [4, 5, 6]})
        table.rows.filter(pk=table.rows.first().pk).update(**{table.column: [7, 8, 9]})
        table.rows.filter(pk=table.rows.last().pk).delete()
        table.assert_in_step()

    def test_a_null_that_gets_a_default_is_taken_in(self, table: Table) -> None:
        altered = models.VectorField(3, default=[1, 1, 1])
        table.run(migrations.AlterField("thing", "embedding", altered))
        table.assert_in_step()
        assert list(table.side().values()).count(table.held([1, 1, 1])) == 1

    def test_many_changes_one_after_the_other(self, table: Table) -> None:
        metric = table.model._meta.indexes[0].metric
        operations = [
            migrations.AddField("thing", "note", models.TextField(default="none")),
            migrations.RenameIndex("thing", new_name="j", old_name="i"),
            migrations.RenameModel("Thing", "Stuff"),
            migrations.AlterField("stuff", "category", models.CharField(max_length=9)),
            # The order that makemigrations writes where a field of an index is renamed.
            migrations.RemoveIndex("stuff", "j"),
            migrations.RenameField("stuff", "embedding", "vector"),
            migrations.AddIndex("stuff", index(metric, fields=["vector"], name="j")),
            migrations.AlterModelTable("stuff", "other"),
            migrations.RemoveField("stuff", "note"),
            migrations.AlterField("stuff", "category", models.CharField(max_length=9, null=True)),
        ]
        before = table.objects()
        for _ in range(2):
            for operation in operations:
                table.run(operation)
                self.check_if_indexed(table)
            for operation in reversed(operations):
                table.undo(operation)
                self.check_if_indexed(table)
        assert table.objects() == before

    def check_if_indexed(self, table: Table) -> None:
        if table.model._meta.indexes:
            self.check_writes(table)

    def test_a_renamed_field_before_its_index_is_removed(self, table: Table) -> None:
        before = table.objects()
        table.run(migrations.RenameField("thing", "embedding", "vector"))
        table.run(migrations.RemoveIndex("thing", "i"))
        assert {name for name in before if not name.startswith(self.PARTS)} == table.objects()

    def test_removed_and_added_again(self, bare: Table, metric: str) -> None:
        before = bare.objects()
        for _ in range(2):
            addition = migrations.AddIndex("thing", index(metric))
            bare.run(addition)
            assert {"table i", "trigger i_insert"} <= bare.objects() - before
            removal = migrations.RemoveIndex("thing", "i")
            bare.run(removal)
            assert bare.objects() == before
            bare.fill()
            bare.undo(removal)
            bare.assert_in_step()
            bare.undo(addition)
            assert bare.objects() == before

    def test_a_deleted_model_leaves_nothing(self, table: Table) -> None:
        deletion = migrations.DeleteModel("thing")
        for _ in range(2):
            table.run(deletion)
            assert table.objects() == set()
            table.undo(deletion)
            table.fill()
            table.assert_in_step()
        table.run(deletion)
        assert table.objects() == set()

    def test_a_model_deleted_by_the_first_statement_of_a_connection(self, table: Table) -> None:
        model = table.model
        settings = connections["scratch"].settings_dict
        table.connection.close()
        fresh = type(table.connection)(settings, alias="scratch")
        with fresh.schema_editor() as editor:
            editor.delete_model(model)
        fresh.close()
        assert table.objects() == set()

    def test_in_one_transaction_with_its_table(self, database: Any, metric: str) -> None:
        """As one migration does it: indexes are built at the end, when the table has its name."""
        table = self.table_class()
        before = table.state
        fields = [(field.name, field.clone()) for field in table.model._meta.fields]
        operations = [
            migrations.DeleteModel("thing"),
            migrations.CreateModel("Thing", fields, {"indexes": [index(metric)]}),
            migrations.AddField("thing", "note", models.TextField(default="none")),
            migrations.RenameModel("Thing", "Stuff"),
            migrations.AlterModelTable("stuff", "things"),
            migrations.AlterField("stuff", "category", models.CharField(max_length=9)),
        ]
        with database.schema_editor() as editor:
            for operation in operations:
                after = before.clone()
                operation.state_forwards("shop", after)
                operation.database_forwards("shop", editor, before, after)
                before = after
        table.states.append(before)
        table.fill()
        table.assert_in_step()

    def test_a_migration_that_fails_leaves_all_as_it_was(self, table: Table) -> None:
        before, side = table.objects(), table.side()
        state = table.state.clone()
        rename = migrations.RenameIndex("thing", new_name="j", old_name="i")
        rename.state_forwards("shop", state)

        def migrate() -> None:
            with table.connection.schema_editor(atomic=True) as editor:
                rename.database_forwards("shop", editor, table.state, state)
                assert table.side("j") == side
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            migrate()
        assert (table.objects(), table.side()) == (before, side)
        self.check_writes(table)

    def test_collected_sql_is_all_there_is_to_run(self, table: Table, tmp_path: Path) -> None:
        """What sqlmigrate shows does the same by hand, in either direction."""
        removal = migrations.RemoveIndex("thing", "i")
        addition = migrations.AddIndex("thing", index(table.model._meta.indexes[0].metric))
        before = table.objects()
        drop = table.sql(removal)
        state = table.state
        table.run(removal)
        create = table.sql(addition)
        table.states.append(state)
        raw = table.connection.connection
        raw.executescript(create)
        assert table.objects() == before
        self.check_writes(table)
        raw.executescript(drop)
        assert table.objects() == {name for name in before if not name.startswith(self.PARTS)}

    def test_a_generated_vector(self, database: Any, metric: str) -> None:
        table = self.table_class()
        same = GeneratedField(
            expression=F("embedding"),
            output_field=models.VectorField(3, null=True),
            db_persist=True,
        )
        table.run(migrations.AddField("thing", "same", same))
        table.fill()
        table.run(migrations.AddIndex("thing", index(metric, fields=["same"])))
        self.check_writes(table)
        assert table.held([7, 8, 9]) in table.side().values()
