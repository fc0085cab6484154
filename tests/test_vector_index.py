"""VectorIndex on SQLite: the side table that triggers keep in step, and searches that ask it."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.management import call_command
from django.db import IntegrityError, OperationalError, migrations, transaction
from django.db.migrations.state import ModelState, ProjectState
from django.db.models import CompositePrimaryKey, Count, F, Q, Window
from django.db.models.functions import RowNumber

from dorm_vector import models, nearest
from dorm_vector.checks import check_not_built
from tests.support import oracle
from tests.support.paths import ROOT
from tests.support.side_table_migrations import SideTableMigrations
from tests.support.side_tables import QUERY, VECTORS, Table, index, packed, rolled_back, uses_index


@pytest.fixture
def database(open_database: Any, tmp_path: Path) -> Any:
    """The wrapper of an empty database file, under the alias "scratch"."""
    options = {"init_command": "PRAGMA synchronous = OFF", "timeout": 30}
    return open_database("default", NAME=str(tmp_path / "db"), OPTIONS=options)


@pytest.fixture(params=Table.metrics)
def metric(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def table(database: Any, metric: str) -> Table:
    """A table with an index, and rows of every kind."""
    table = Table(metric)
    table.fill()
    table.assert_in_step()
    return table


@pytest.fixture
def bare(database: Any) -> Table:
    """A table without an index, and rows of every kind."""
    table = Table()
    table.fill()
    return table


class TestMigrations(SideTableMigrations):
    def test_rows_that_are_there_are_taken_in(self, bare: Table, metric: str) -> None:
        bare.run(migrations.AddIndex("thing", index(metric)))
        bare.assert_in_step()
        assert len(bare.side()) == {"cosine": 6}.get(metric, 8)

    def test_another_metric_under_the_same_name(self, bare: Table) -> None:
        for metric in Table.metrics:
            bare.run(migrations.AddIndex("thing", index(metric)))
            bare.assert_in_step()
            bare.run(migrations.RemoveIndex("thing", "i"))

    def test_several_indexes(self, bare: Table) -> None:
        bare.run(migrations.AddField("thing", "other", models.VectorField(2, default=[1, 2])))
        for metric in Table.metrics:
            bare.run(migrations.AddIndex("thing", index(metric, name=metric)))
        bare.run(migrations.AddIndex("thing", index("l1", name="another", fields=["other"])))
        bare.run(migrations.RemoveIndex("thing", "l1"))
        self.check_several(bare)
        bare.run(migrations.AlterField("thing", "category", models.IntegerField(null=True)))
        self.check_several(bare)
        bare.run(migrations.DeleteModel("thing"))
        assert bare.objects() == set()

    def check_several(self, table: Table) -> None:
        table.rows.filter(embedding=None).update(embedding=[1, 1, 1], other=[0, 0])
        table.rows.filter(category=0).first().delete()
        for name, metric, field in (
            ("l2", "l2", "embedding"),
            ("cosine", "cosine", "embedding"),
            ("another", "l1", "other"),
        ):
            assert table.side(name) == table.stored(index(metric, fields=[field]))

    def test_collected_sql(self, database: Any) -> None:
        table = self.table_class()
        side, vector = 'INSERT INTO "i" (rowid, vector) SELECT', '"shop_thing"."embedding"'
        drop = (
            'DROP TRIGGER IF EXISTS "i_insert";\n'
            'DROP TRIGGER IF EXISTS "i_delete";\n'
            'DROP TRIGGER IF EXISTS "i_update";\n'
            'DROP TABLE IF EXISTS "i";'
        )
        added = table.sql(migrations.AddIndex("thing", index()))
        assert added.startswith(
            'CREATE VIRTUAL TABLE "i" /* dorm_vector */ '
            "USING vec0(vector float[3] distance_metric=l2);\n"
            f'{side} "id", {vector} FROM "shop_thing" WHERE CASE WHEN {vector} IS NOT NULL '
            f"THEN vec_distance_l2({vector}, {vector}) END IS NOT NULL;\n"
            'CREATE TRIGGER "i_insert" /* dorm_vector */ AFTER INSERT ON "shop_thing" BEGIN '
        )
        assert added.count("CREATE TRIGGER") == added.count("; END;") == 3
        assert "i" not in table.objects()
        table.run(migrations.AddIndex("thing", index()))
        assert table.sql(migrations.RemoveIndex("thing", "i")) == drop

    def test_names_that_need_quotes(self, database: Any, metric: str) -> None:
        table = self.table_class()
        table.run(migrations.DeleteModel("thing"))
        fields = [
            ("id", models.AutoField(primary_key=True, db_column="group by")),
            ("embedding", models.VectorField(3, null=True, db_column="{order} it's")),
            ("category", models.IntegerField(default=0)),
        ]
        options = {"db_table": "select 1; --", "indexes": [index(metric, name="from where")]}
        table.run(migrations.CreateModel("Thing", fields, options))
        table.fill()
        self.check_writes(table)
        table.run(migrations.AlterField("thing", "category", models.TextField()))
        self.check_writes(table)
        found = nearest(table.rows, "embedding", QUERY, k=2)
        assert "VIRTUAL TABLE" in found.explain()
        assert len(found) == 2


class TestWrites:
    def test_save_and_delete(self, table: Table) -> None:
        row = table.rows.create(embedding=[1, 2, 3])
        table.assert_in_step()
        assert table.side()[row.pk] == table.held([1, 2, 3])
        row.embedding = [4, 5, 6]
        row.save()
        table.assert_in_step()
        row.delete()
        table.assert_in_step()

    def test_a_vector_is_set_to_null_and_back(self, table: Table) -> None:
        row = table.rows.create(embedding=[1, 2, 3])
        for vector in (None, [1, 2, 3], None, [4, 5, 6]):
            table.rows.filter(pk=row.pk).update(embedding=vector)
            table.assert_in_step()
            assert (row.pk in table.side()) == (vector is not None)

    def test_a_vector_is_set_to_zero_and_back(self, table: Table, metric: str) -> None:
        row = table.rows.create(embedding=[1, 2, 3])
        for vector in ([0, 0, 0], [1, 2, 3], [-0.0, 0, 0], None, [0, 0, 0], [1, 2, 3]):
            table.rows.filter(pk=row.pk).update(embedding=vector)
            table.assert_in_step()
            held = vector is not None and (any(vector) or metric != "cosine")
            assert (row.pk in table.side()) == held

    def test_update_and_delete_of_many(self, table: Table) -> None:
        """And they count the rows of the table, not the writes of the triggers."""
        assert table.rows.update(embedding=[3, 2, 1]) == len(VECTORS)
        table.assert_in_step()
        assert table.rows.filter(pk__gt=table.rows.first().pk + 2).delete()[0] == len(VECTORS) - 3
        table.assert_in_step()
        assert table.rows.all().delete()[0] == 3
        assert table.side() == {}
        table.fill()
        table.assert_in_step()

    def test_update_from_another_row(self, table: Table) -> None:
        rows = list(table.rows.all())
        for row, other in zip(rows, reversed(rows), strict=True):
            row.embedding, row.category = other.embedding, row.pk
        table.rows.bulk_update(rows, ["embedding", "category"], batch_size=4)
        table.assert_in_step()

    def test_other_columns(self, table: Table) -> None:
        side = table.side()
        table.rows.update(category=5)
        assert table.side() == side

    def test_conflicts_that_update(self, table: Table) -> None:
        names = ["a", "b", "c"]
        table.rows.bulk_create(table.model(name=n, embedding=[1, 2, 3]) for n in names)
        vectors = {"a": [4, 4, 4], "b": None, "c": [0, 0, 0], "d": [1, 1, 1], "e": None}
        table.rows.bulk_create(
            (table.model(name=name, embedding=vector) for name, vector in vectors.items()),
            update_conflicts=True,
            unique_fields=["name"],
            update_fields=["embedding"],
        )
        table.assert_in_step()
        found = table.rows.exclude(name=None).values_list("name", "embedding")
        assert dict(found) == vectors

    def test_conflicts_that_are_ignored(self, table: Table) -> None:
        first = table.rows.create(name="a", embedding=[1, 2, 3])
        made = (table.model(name=name, embedding=[9, 9, 9]) for name in "abab")
        table.rows.bulk_create(made, ignore_conflicts=True)
        table.assert_in_step()
        assert table.side()[first.pk] == table.held([1, 2, 3])
        assert list(table.side().values()).count(table.held([9, 9, 9])) == 1

    def test_conflicts_that_fail(self, table: Table) -> None:
        """The rows before the one that fails are taken back, here and in a transaction."""
        table.rows.create(name="a", embedding=[1, 2, 3])
        side = table.side()
        for _ in range(2):
            with pytest.raises(IntegrityError):
                table.rows.bulk_create(table.model(name=n, embedding=[9, 9, 9]) for n in "bca")
            assert table.side() == side
            table.assert_in_step()
        with transaction.atomic("scratch"):
            table.rows.create(name="z", embedding=[5, 5, 5])
            raw = table.connection.connection
            for sql in (
                "INSERT INTO shop_thing (name, category, embedding) VALUES "
                "('x', 0, zeroblob(12)), ('a', 0, zeroblob(12))",
                "UPDATE shop_thing SET name = 'n', embedding = zeroblob(12)",
            ):
                with pytest.raises(sqlite3.IntegrityError):
                    raw.execute(sql)
                table.assert_in_step()
        assert len(table.side()) == len(side) + 1

    def test_insert_or_replace_by_primary_key(self, table: Table) -> None:
        pk = table.rows.create(name="a", embedding=[1, 2, 3]).pk
        replace = "INSERT OR REPLACE INTO shop_thing (id, name, category, embedding) VALUES "
        for vector in ([4, 5, 6], None, [0, 0, 0], [7, 8, 9]):
            table.query(f"{replace} (%s, 'b', 0, %s)", pk, vector and packed(vector))
            table.assert_in_step()
            assert table.rows.get(pk=pk).embedding == vector

    def test_insert_or_replace_by_another_unique_column(self, table: Table) -> None:
        """No trigger sees the row that goes; a search that comes across its vector reads on."""
        table.rows.create(name="a", embedding=[70, -80, 90])
        replace = "INSERT OR REPLACE INTO shop_thing (name, category, embedding) VALUES "
        table.query(f"{replace} ('a', 0, %s)", packed([4, 5, 6]))
        (found,) = nearest(table.rows, "embedding", [70, -80, 90], k=1)
        assert found.embedding != [70, -80, 90]

    def test_update_or_replace(self, table: Table) -> None:
        first, second = (table.rows.create(embedding=[n, 1, 1]).pk for n in (1, 2))
        table.query("UPDATE OR REPLACE shop_thing SET id = %s WHERE id = %s", second, first)
        assert table.rows.get(pk=second).embedding == [1, 1, 1]
        table.assert_in_step()

    def test_primary_keys_change(self, table: Table) -> None:
        table.rows.update(id=F("id") + 1000)
        table.assert_in_step()
        table.rows.update(id=-F("id"), embedding=F("embedding"))
        table.assert_in_step()
        assert max(table.side()) < 0
        pk = table.rows.first().pk
        table.rows.filter(pk=pk).update(id=2**62, embedding=[1, 1, 1])
        table.assert_in_step()
        assert table.side()[2**62] == table.held([1, 1, 1])

    def test_raw_inserts_know_their_primary_key(self, table: Table) -> None:
        """The rows that triggers write do not show in lastrowid and rowcount."""
        raw = table.connection.connection
        values = "(category, embedding) VALUES (0, zeroblob(12)), (0, NULL)"
        cursor = raw.execute(f"INSERT INTO shop_thing {values}")
        assert (cursor.lastrowid, cursor.rowcount) == (table.rows.order_by("pk").last().pk, 2)
        assert raw.execute("UPDATE shop_thing SET embedding = zeroblob(12)").rowcount == (
            table.rows.count()
        )
        table.assert_in_step()

    def test_primary_keys_are_used_again(self, table: Table) -> None:
        pks = [row.pk for row in table.rows.all()]
        table.rows.all().delete()
        table.rows.bulk_create(table.model(pk=pk, embedding=[pk, 1, 2]) for pk in pks)
        table.assert_in_step()

    def test_rows_of_more_than_one_chunk(self, table: Table) -> None:
        """vec0 keeps 1,024 vectors in a row of its own tables, and drops the empty ones."""
        vectors = np.random.default_rng(1).normal(size=(2_500, 3))
        made = table.fill(vectors)
        table.assert_in_step()
        table.rows.filter(pk__lt=made[1_500].pk).delete()
        table.assert_in_step()
        table.query("VACUUM")
        table.assert_in_step()
        table.fill(vectors[:600])
        table.rows.filter(pk__gt=made[2_000].pk).update(embedding=[1, 1, 1])
        table.assert_in_step()

    def test_flush(self, table: Table, install: Callable[[Any], None]) -> None:
        install(table.model)
        for _ in range(2):
            call_command("flush", database="scratch", interactive=False, inhibit_post_migrate=True)
            assert (table.rows.count(), table.side()) == (0, {})
            table.fill()
            table.assert_in_step()

    def test_loaddata(self, table: Table, install: Callable[[Any], None], tmp_path: Path) -> None:
        install(table.model)
        path = tmp_path / "fixture.json"
        call_command("dumpdata", "shop", database="scratch", output=str(path), verbosity=0)
        side = table.side()
        table.rows.all().delete()
        call_command("loaddata", str(path), database="scratch", verbosity=0)
        assert table.side() == side
        table.assert_in_step()
        rows = json.loads(path.read_text())
        for row in rows:
            row["fields"]["embedding"] = "[1, 1, 1]"
        path.write_text(json.dumps(rows))
        call_command("loaddata", str(path), database="scratch", verbosity=0)
        assert set(table.side().values()) == {table.held([1, 1, 1])}
        table.assert_in_step()

    def test_vacuum(self, table: Table) -> None:
        side = table.side()
        table.rows.filter(pk=min(side)).delete()
        table.query("VACUUM")
        table.assert_in_step()
        table.fill()
        table.assert_in_step()


class TestTransactions:
    def write(self, table: Table) -> None:
        table.fill()
        table.rows.filter(category=0).first().delete()
        table.rows.filter(embedding=None).update(embedding=[1, 1, 1])
        table.rows.filter(pk=table.rows.first().pk).update(id=5000)
        table.assert_in_step()

    def test_a_savepoint_is_rolled_back(self, table: Table) -> None:
        with transaction.atomic("scratch"):
            table.rows.create(embedding=[5, 5, 5])
            side = table.side()
            for _ in range(2):
                with rolled_back():
                    self.write(table)
                assert table.side() == side
                table.assert_in_step()
            table.rows.create(embedding=[6, 6, 6])
        table.assert_in_step()
        assert {table.held([5, 5, 5]), table.held([6, 6, 6])} <= set(table.side().values())

    def test_a_transaction_is_rolled_back(self, table: Table) -> None:
        side = table.side()
        for _ in range(2):
            with rolled_back():
                self.write(table)
                with transaction.atomic("scratch"):
                    table.fill()
            assert table.side() == side
            table.assert_in_step()
        self.write(table)

    def test_a_transaction_that_never_ended(self, table: Table) -> None:
        side = table.side()
        transaction.set_autocommit(False, using="scratch")
        self.write(table)
        table.connection.close()
        transaction.set_autocommit(True, using="scratch")
        assert table.side() == side
        table.assert_in_step()


# Run as a program: writes to the file in the first argument, rows named after the second.
WRITER = """
import sys, django
from django.conf import settings
path, writer = sys.argv[1:]
options = {"init_command": "PRAGMA synchronous = OFF", "timeout": 60}
database = {"ENGINE": "django.db.backends.sqlite3", "NAME": path, "OPTIONS": options}
settings.configure(DATABASES={"default": database}, INSTALLED_APPS=["dorm_vector"])
django.setup()
from dorm_vector import models
class Thing(models.Model):
    name = models.CharField(max_length=20, unique=True, null=True)
    category = models.IntegerField(default=0)
    embedding = models.VectorField(3, null=True)
    class Meta:
        app_label = "shop"
number = int(writer)
for step in range(12):
    Thing.objects.create(name=f"{writer}-{step}", category=number, embedding=[step, number, 1])
    Thing.objects.bulk_create(
        [Thing(name=name, category=number, embedding=[1, 2, step]) for name in (writer, "all")],
        update_conflicts=True, unique_fields=["name"], update_fields=["embedding"],
    )
    own = Thing.objects.filter(name__startswith=f"{writer}-")
    own.filter(name__endswith="3").update(embedding=None if step % 2 else [0, 0, step])
    own.filter(name__endswith="7").delete()
"""


class TestOtherConnections:
    def test_processes_write_at_once(self, table: Table) -> None:
        path = table.connection.settings_dict["NAME"]
        writers = [
            subprocess.Popen(
                [sys.executable, "-c", WRITER, path, str(number)],
                cwd=ROOT,
                stderr=subprocess.PIPE,
                text=True,
            )
            for number in range(3)
        ]
        try:
            while any(writer.poll() is None for writer in writers):
                assert len(nearest(table.rows, "embedding", QUERY, k=4)) == 4
            errors = [writer.communicate(timeout=60)[1] for writer in writers]
        finally:
            for writer in writers:
                writer.kill()
                writer.wait()
        assert errors == [""] * 3
        # 12 rows a writer, less the one that is deleted, its own, and one that all of them share.
        assert table.rows.count() == len(VECTORS) + 3 * (12 - 1 + 1) + 1
        table.assert_in_step()

    def test_a_change_is_seen_by_connections_that_are_open(self, table: Table) -> None:
        other = table.connection.copy()
        other.connect()
        read = 'SELECT rowid, vector FROM "i"'
        assert dict(other.connection.execute(read)) == table.side()
        table.fill()
        assert dict(other.connection.execute(read)) == table.side()
        table.run(migrations.AlterField("thing", "category", models.CharField(max_length=9)))
        assert dict(other.connection.execute(read)) == table.side()
        other.connection.execute("UPDATE shop_thing SET embedding = zeroblob(12)")
        other.close()
        table.assert_in_step()

    def test_without_the_extension(self, table: Table) -> None:
        """Reads go on; writes that the side table would miss fail, and change nothing."""
        table.connection.close()
        raw = sqlite3.connect(table.connection.settings_dict["NAME"], isolation_level=None)
        read = "SELECT * FROM shop_thing ORDER BY id"
        before = raw.execute(read).fetchall()
        assert len(before) == len(VECTORS)
        for sql in (
            "INSERT INTO shop_thing (category, embedding) VALUES (1, zeroblob(12))",
            "INSERT INTO shop_thing (category) VALUES (1)",
            "INSERT OR IGNORE INTO shop_thing (category) VALUES (1)",
            "INSERT OR REPLACE INTO shop_thing (id, category) VALUES (1, 1)",
            "UPDATE shop_thing SET embedding = NULL",
            "UPDATE shop_thing SET embedding = zeroblob(12), category = 3 WHERE id = 1",
            "UPDATE shop_thing SET id = 100 WHERE id = 1",
            "DELETE FROM shop_thing WHERE id = 1",
            "DELETE FROM shop_thing",
        ):
            with pytest.raises(sqlite3.OperationalError, match="no such module: vec0"):
                raw.execute(sql)
            assert raw.execute(read).fetchall() == before
        raw.close()
        table.assert_in_step()

    def test_other_columns_can_be_written_without_the_extension(self, table: Table) -> None:
        table.connection.close()
        raw = sqlite3.connect(table.connection.settings_dict["NAME"], isolation_level=None)
        assert raw.execute("UPDATE shop_thing SET category = 3").rowcount == len(VECTORS)
        raw.close()
        assert table.rows.filter(category=3).count() == len(VECTORS)
        table.assert_in_step()

    def test_django_without_the_extension(self, table: Table, settings: Any) -> None:
        table.connection.close()
        settings.DORM_VECTOR = {"SQLITE_VEC": None}
        assert table.rows.count() == len(VECTORS)
        with pytest.raises(OperationalError, match="no such module: vec0"):
            table.rows.create(embedding=[1, 2, 3])
        assert table.rows.count() == len(VECTORS)

    def test_python_functions_search_by_a_scan(self, table: Table, settings: Any) -> None:
        """The file has a side table, which the functions that stand in for vec0 cannot read."""
        expected = list(nearest(table.rows, "embedding", QUERY, k=3, exact=True))
        table.connection.close()
        settings.DORM_VECTOR = {"SQLITE_VEC": "python"}
        table.connection.ensure_connection()
        assert list(nearest(table.rows, "embedding", QUERY, k=3)) == expected

    def test_python_functions_on_a_connection_that_is_closed(
        self, table: Table, settings: Any
    ) -> None:
        expected = list(nearest(table.rows, "embedding", QUERY, k=3, exact=True))
        table.connection.close()
        settings.DORM_VECTOR = {"SQLITE_VEC": "python"}
        assert list(nearest(table.rows, "embedding", QUERY, k=3)) == expected


def close(distances: list[float]) -> Any:
    return pytest.approx(distances, rel=1e-5, abs=1e-6)


class TestSearches:
    """The index where it can serve, a scan where it cannot: the answers are those of numpy."""

    @pytest.fixture
    def searched(self, database: Any, metric: str) -> Table:
        table = Table(metric)
        self_reference = models.ForeignKey(
            "self", models.CASCADE, null=True, related_name="children"
        )
        table.run(migrations.AddField("thing", "parent", self_reference))
        vectors = [*np.random.default_rng(7).normal(size=(400, 3)), None, [0, 0, 0]]
        made = table.rows.bulk_create(
            table.model(embedding=vector, category=position % 5)
            for position, vector in enumerate(vectors)
        )
        table.rows.filter(category__lt=3).update(parent=made[0])
        return table

    def expected(
        self, table: Table, metric: str, to: Any = QUERY, **conditions: Any
    ) -> list[tuple[int, float]]:
        """Primary keys and distances, best first, from the rows that the conditions leave."""
        distances = {
            row.pk: oracle.DISTANCES[metric](row.embedding, to)
            for row in table.rows.filter(**conditions).exclude(embedding=None)
        }
        defined = {pk: distance for pk, distance in distances.items() if not np.isnan(distance)}
        return sorted(defined.items(), key=lambda item: item[1])

    def compare(
        self, queryset: Any, expected: list[tuple[int, float]], part: slice = slice(None)
    ) -> None:
        """The rows of that part of the order; float32 may exchange two that are as far away."""
        found = list(queryset)
        distances = [row.distance for row in found]
        assert distances == sorted(distances)
        assert distances == close([distance for _, distance in expected[part]])
        assert distances == close([dict(expected)[row.pk] for row in found])
        assert len({row.pk for row in found}) == len(found)

    @pytest.mark.parametrize("k", [1, 2, 10, 100, 138])
    def test_without_a_filter(self, searched: Table, metric: str, k: int) -> None:
        found = nearest(searched.rows, "embedding", QUERY, k=k)
        assert uses_index(found)
        self.compare(found, self.expected(searched, metric), slice(k))

    @pytest.mark.parametrize("part", [slice(100, 110), slice(5), slice(130, 138)])
    def test_offsets(self, searched: Table, metric: str, part: slice) -> None:
        found = nearest(searched.rows, "embedding", QUERY)[part]
        assert uses_index(found)
        self.compare(found, self.expected(searched, metric), part)

    @pytest.mark.parametrize("part", [*map(slice, (399, 400, 402, 4096)), slice(398, 405)])
    def test_more_rows_than_an_index_is_faster_for(
        self, searched: Table, metric: str, part: slice
    ) -> None:
        found = nearest(searched.rows, "embedding", QUERY)[part]
        assert not uses_index(found)
        self.compare(found, self.expected(searched, metric), part)

    def test_one_row(self, searched: Table, metric: str) -> None:
        best, *_ = self.expected(searched, metric)
        assert nearest(searched.rows, "embedding", QUERY)[0].pk == best[0]
        assert nearest(searched.rows, "embedding", QUERY).first().pk == best[0]

    def test_no_end(self, searched: Table, metric: str) -> None:
        for found in (
            nearest(searched.rows, "embedding", QUERY),
            nearest(searched.rows, "embedding", QUERY)[300:],
        ):
            assert not uses_index(found)
        self.compare(found, self.expected(searched, metric), slice(300, None))

    def test_values_and_other_annotations(self, searched: Table, metric: str) -> None:
        found = nearest(searched.rows, "embedding", QUERY, k=7)
        pks = [pk for pk, _ in self.expected(searched, metric)[:7]]
        for queryset in (
            found.values_list("pk", flat=True),
            found.annotate(twice=F("category") * 2).values_list("pk", flat=True),
            found.select_related("parent").values_list("pk", flat=True),
        ):
            assert uses_index(queryset)
            assert list(queryset) == pks
        assert uses_index(found.select_related("parent"))
        self.compare(found.select_related("parent"), self.expected(searched, metric), slice(7))

    def test_a_reached_distance(self, searched: Table, metric: str) -> None:
        expected = self.expected(searched, metric)
        reach = (expected[19][1] + expected[20][1]) / 2
        for k in (10, 20, 50):
            found = nearest(searched.rows, "embedding", QUERY, k=k, max_distance=reach)
            assert uses_index(found)
            self.compare(found, expected, slice(min(k, 20)))
        found = nearest(searched.rows, "embedding", QUERY, max_distance=reach)[15:30]
        assert uses_index(found)
        self.compare(found, expected, slice(15, 20))

    def test_an_instance_is_left_out(self, searched: Table, metric: str) -> None:
        instance = searched.rows.first()
        expected = self.expected(searched, metric, instance.embedding)
        others = [(pk, distance) for pk, distance in expected if pk != instance.pk]
        for part in (slice(0, 10), slice(100, 110), slice(130, 137)):
            found = nearest(searched.rows, "embedding", instance)[part]
            assert uses_index(found)
            self.compare(found, others, part)

    def test_an_instance_that_is_not_indexed(self, searched: Table, metric: str) -> None:
        instance = searched.rows.get(embedding=None)
        instance.embedding = QUERY
        found = nearest(searched.rows, "embedding", instance, k=10)
        assert uses_index(found)
        self.compare(found, self.expected(searched, metric), slice(10))

    def test_the_instance_counts_towards_the_limit(self, searched: Table, metric: str) -> None:
        instance = searched.rows.first()
        most = 138 if searched.holds_bytes(index(metric)) else 300
        assert uses_index(nearest(searched.rows, "embedding", instance, k=most - 1))
        assert not uses_index(nearest(searched.rows, "embedding", instance, k=most))

    def test_exact(self, searched: Table, metric: str) -> None:
        found = nearest(searched.rows, "embedding", QUERY, k=10, exact=True)
        assert not uses_index(found)
        self.compare(found, self.expected(searched, metric), slice(10))

    def test_filters(self, searched: Table, metric: str) -> None:
        expected = self.expected(searched, metric, category=3)
        for found in (
            nearest(searched.rows.filter(category=3), "embedding", QUERY, k=10),
            nearest(searched.rows, "embedding", QUERY).filter(category=3)[:10],
            nearest(searched.rows, "embedding", QUERY).exclude(~Q(category=3))[:10],
            nearest(searched.rows.extra(where=["category = 3"]), "embedding", QUERY, k=10),
        ):
            assert not uses_index(found)
            self.compare(found, expected, slice(10))

    def test_filter_by_distance(self, searched: Table, metric: str) -> None:
        expected = self.expected(searched, metric)
        least = (expected[19][1] + expected[20][1]) / 2
        found = nearest(searched.rows, "embedding", QUERY).filter(distance__gt=least)[:10]
        assert not uses_index(found)
        self.compare(found, expected, slice(20, 30))

    def test_filter_by_window(self, searched: Table, metric: str) -> None:
        windowed = searched.rows.annotate(n=Window(RowNumber(), order_by="pk"))
        found = nearest(windowed, "embedding", QUERY).filter(n__gt=200)[:10]
        sql = str(found.query)  # Django cannot explain it
        assert "MATCH" not in sql
        assert "dorm_nearest" not in sql
        first = searched.rows.order_by("pk")[200].pk
        self.compare(found, self.expected(searched, metric, pk__gte=first), slice(10))

    def test_joins(self, searched: Table, metric: str) -> None:
        found = nearest(searched.rows.filter(parent__category=0), "embedding", QUERY, k=10)
        assert not uses_index(found)
        self.compare(found, self.expected(searched, metric, category__lt=3), slice(10))

    def test_a_vector_across_a_join(self, searched: Table, metric: str) -> None:
        searched.rows.filter(category=3).update(parent=searched.rows.all()[1])
        found = nearest(searched.rows, "parent__embedding", QUERY, k=300)
        assert not uses_index(found)
        distances = {pk: distance for pk, distance in self.expected(searched, metric)}  # noqa: C416
        expected = [
            (row.pk, distances[row.parent_id])
            for row in searched.rows.exclude(parent=None).order_by("pk")
        ]
        self.compare(found, sorted(expected, key=lambda item: (item[1], item[0])), slice(300))

    def test_distinct(self, searched: Table, metric: str) -> None:
        found = nearest(searched.rows, "embedding", QUERY).distinct()[:10]
        assert not uses_index(found)
        self.compare(found, self.expected(searched, metric), slice(10))

    def test_groups(self, searched: Table, metric: str) -> None:
        counted = searched.rows.annotate(n=Count("children"))
        found = nearest(counted, "embedding", QUERY, k=10)
        assert not uses_index(found)
        self.compare(found, self.expected(searched, metric), slice(10))

    def test_another_metric(self, searched: Table, metric: str) -> None:
        for other in oracle.DISTANCES.keys() - {metric}:
            found = nearest(searched.rows, "embedding", QUERY, k=10, metric=other)
            assert not uses_index(found)
            self.compare(found, self.expected(searched, other), slice(10))

    def test_another_order(self, searched: Table) -> None:
        found = nearest(searched.rows, "embedding", QUERY)
        for ordered in (found.order_by("pk")[:5], found.order_by("-distance")[:5]):
            assert not uses_index(ordered)
        assert [row.pk for row in found.order_by("pk")[:5]] == [1, 2, 3, 4, 5]

    def test_expressions(self, searched: Table, metric: str) -> None:
        row = searched.rows.first()
        vector = searched.rows.filter(pk=row.pk).values("embedding")
        found = nearest(searched.rows, "embedding", vector, k=10)
        assert not uses_index(found)
        self.compare(found, self.expected(searched, metric, row.embedding), slice(10))

    def test_counts_and_subqueries(self, searched: Table, metric: str) -> None:
        found = nearest(searched.rows, "embedding", QUERY, k=10)
        pks = {pk for pk, _ in self.expected(searched, metric)[:10]}
        assert (found.count(), found.exists()) == (10, True)
        assert set(searched.rows.filter(pk__in=found.values("pk"))) == set(found)
        assert {row.pk for row in found} == pks
        assert found.aggregate(n=Count("pk")) == {"n": 10}

    def test_zero_and_none(self, searched: Table, metric: str) -> None:
        assert list(nearest(searched.rows, "embedding", None, k=3)) == []
        found = nearest(searched.rows, "embedding", [0, 0, 0], k=3)
        zero = [0.0, 0.0, 0.0]
        self.compare(found, self.expected(searched, metric, zero), slice(3))

    def test_the_greatest_number_of_rows(self, database: Any, metric: str) -> None:
        table = Table(metric)
        table.fill(np.random.default_rng(9).normal(size=(4_200, 3)))
        expected = self.expected(table, metric)
        most = 147 if table.holds_bytes(index(metric)) else 300
        for k in (most, most + 1, 4_097):
            found = nearest(table.rows, "embedding", QUERY, k=k)
            assert uses_index(found) == (k == most)
            self.compare(found, expected, slice(k))
        for part in (slice(most - 5, most), slice(most - 5, most + 5)):
            found = nearest(table.rows, "embedding", QUERY)[part]
            assert uses_index(found) == (part.stop == most)
            self.compare(found, expected, part)

    def test_within_a_transaction(self, searched: Table, metric: str) -> None:
        with rolled_back():
            searched.rows.create(embedding=QUERY)
            found = nearest(searched.rows, "embedding", QUERY, k=5)
            assert uses_index(found)
            self.compare(found, self.expected(searched, metric), slice(5))
        self.compare(found.all(), self.expected(searched, metric), slice(5))

    def test_equal_distances_within_the_rows_found(self, database: Any, metric: str) -> None:
        table = Table(metric)
        pks = [7, 3, 9, -4, 0, 2**40]
        for pk in pks:
            table.rows.create(pk=pk, embedding=[1, 2, 3])
        found = nearest(table.rows, "embedding", QUERY, k=len(pks))
        assert uses_index(found)
        assert [row.pk for row in found] == sorted(pks)

    def test_pages_with_equal_distances(self, database: Any, metric: str) -> None:
        """Each row is on one page, whatever order vec0 finds equal distances in."""
        table = Table(metric)
        pks = [7, 3, 9, -4, 0, 2**40]
        for pk in pks:
            table.rows.create(pk=pk, embedding=[1, 2, 3])
        found = nearest(table.rows, "embedding", QUERY)
        pages = [row.pk for start in (0, 2, 4) for row in found[start : start + 2]]
        assert pages == sorted(pks)

    def test_an_index_that_is_not_migrated_yet(self, searched: Table, metric: str) -> None:
        model = searched.model
        expected = self.expected(searched, metric)
        searched.run(migrations.RemoveIndex("thing", "i"))
        found = nearest(model.objects.using("scratch"), "embedding", QUERY, k=10)
        assert not uses_index(found)
        self.compare(found, expected, slice(10))

    def test_an_index_that_is_not_migrated_yet_on_a_connection_that_is_closed(
        self, searched: Table, metric: str
    ) -> None:
        model = searched.model
        expected = self.expected(searched, metric)
        searched.run(migrations.RemoveIndex("thing", "i"))
        searched.connection.close()
        found = nearest(model.objects.using("scratch"), "embedding", QUERY, k=10)
        self.compare(found, expected, slice(10))

    def test_a_connection_that_is_closed(self, searched: Table, metric: str) -> None:
        expected = self.expected(searched, metric)
        searched.connection.close()
        found = nearest(searched.rows, "embedding", QUERY, k=10)
        assert uses_index(found)
        searched.connection.close()
        self.compare(found, expected, slice(10))


NOT_BUILT: dict[str, dict[str, Any]] = {
    "sqlite-vec has no index for the metric 'ip'": {"index": {"metric": "ip"}},
    "sqlite-vec has no partial index": {"index": {"condition": Q(category=1)}},
    "sqlite-vec needs an integer primary key, not UUIDField": {
        "id": models.UUIDField(primary_key=True)
    },
    "sqlite-vec needs an integer primary key, not CharField": {
        "id": models.CharField(max_length=5, primary_key=True)
    },
    "sqlite-vec needs an integer primary key, not CompositePrimaryKey": {
        "pk": CompositePrimaryKey("id", "category")
    },
    "sqlite-vec needs an integer primary key, not DecimalField": {
        "id": models.DecimalField(max_digits=5, decimal_places=0, primary_key=True)
    },
    "sqlite-vec indexes 8192 dimensions at most": {"dimensions": 8193},
}


class TestNotBuilt:
    @pytest.fixture(params=NOT_BUILT)
    def reason(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)

    @pytest.fixture
    def plain(self, database: Any, reason: str) -> Table:
        """A table to which the index has not been added yet."""
        case = NOT_BUILT[reason]
        table = Table()
        table.run(migrations.DeleteModel("thing"))
        integer = {} if "pk" in case else {"primary_key": True}
        fields = [
            *([("pk", case["pk"])] if "pk" in case else []),
            ("id", case.get("id", models.IntegerField(**integer))),
            ("category", models.IntegerField(default=0)),
            ("embedding", models.VectorField(case.get("dimensions", 3), null=True)),
        ]
        table.run(migrations.CreateModel("Thing", fields))
        return table

    def addition(self, reason: str) -> Any:
        return migrations.AddIndex("thing", index(**NOT_BUILT[reason].get("index", {})))

    def key(self, reason: str, number: int) -> Any:
        keys = {"UUIDField": f"{number:032x}", "CharField": f"{number}"}
        return next((key for name, key in keys.items() if reason.endswith(name)), number)

    def test_the_statement_says_why(self, plain: Table, reason: str) -> None:
        text = reason.replace("'", "''")
        statement = f"SELECT '{text}: i is not built';"
        assert plain.sql(self.addition(reason)) == statement
        plain.run(self.addition(reason))
        plain.run(migrations.RemoveIndex("thing", "i"))

    def test_the_check_says_why(
        self, plain: Table, reason: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        plain.run(self.addition(reason))
        monkeypatch.setattr("dorm_vector.checks.apps.get_models", lambda: [plain.model])
        assert check_not_built() == []
        (message,) = check_not_built(databases=["scratch"])
        assert message.id == "dorm_vector.I101"
        assert message.msg == (
            f"{reason}: 'i' is not built on the database 'scratch', and searches read every row."
        )

    def test_nothing_is_built_and_searches_are_exact(self, plain: Table, reason: str) -> None:
        before = plain.objects()
        plain.run(self.addition(reason))
        assert plain.objects() == before
        dimensions = plain.model._meta.get_field("embedding").dimensions
        vectors = np.random.default_rng(3).normal(size=(30, dimensions))
        pks = [self.key(reason, number) for number in range(30)]
        plain.rows.bulk_create(
            plain.model(id=pk, category=1, embedding=vector)
            for pk, vector in zip(pks, vectors, strict=True)
        )
        metric = plain.model._meta.indexes[0].metric
        query = vectors[5] + 0.25
        found = nearest(plain.rows, "embedding", query, k=7)
        assert "VIRTUAL TABLE" not in found.explain()
        distances = [oracle.DISTANCES[metric](vector, query) for vector in vectors]
        rows = list(found)
        assert [str(row.id).replace("-", "") for row in rows] == [
            str(pks[position]) for position in np.argsort(distances)[:7]
        ]
        assert [row.distance for row in rows] == pytest.approx(sorted(distances)[:7], rel=1e-4)

    def test_the_table_can_change(self, plain: Table, reason: str) -> None:
        before = plain.objects()
        plain.run(self.addition(reason))
        plain.run(migrations.AddField("thing", "note", models.TextField(default="none")))
        plain.run(migrations.RenameIndex("thing", new_name="j", old_name="i"))
        plain.run(migrations.RemoveIndex("thing", "j"))
        assert plain.objects() == before
        plain.run(self.addition(reason))
        plain.run(migrations.DeleteModel("thing"))
        assert plain.objects() == set()


class TestBuilt:
    """The cases next to those that are not built."""

    @pytest.mark.parametrize(
        "key",
        [
            models.IntegerField,
            models.BigIntegerField,
            models.PositiveSmallIntegerField,
            models.BigAutoField,
            models.SmallAutoField,
        ],
    )
    def test_integer_primary_keys(self, database: Any, key: Any) -> None:
        table = Table()
        table.run(migrations.DeleteModel("thing"))
        fields = [("id", key(primary_key=True)), ("embedding", models.VectorField(3, null=True))]
        table.run(migrations.CreateModel("Thing", fields, {"indexes": [index()]}))
        made = (table.model(id=30 - n, embedding=v) for n, v in enumerate(VECTORS))
        table.rows.bulk_create(made)
        table.assert_in_step()
        table.rows.filter(id__lt=25).update(id=F("id") + 10)
        table.assert_in_step()
        found = nearest(table.rows, "embedding", QUERY, k=2)
        assert uses_index(found)
        assert [row.id for row in found] == [30, 32]

    @pytest.mark.parametrize("key", [models.OneToOneField, models.ForeignKey])
    def test_relations_as_primary_keys(self, database: Any, key: Any) -> None:
        """The child of another model has such a key."""
        table = Table()
        made = table.fill(VECTORS)
        options: dict[str, Any] = {"primary_key": True}
        if key is models.ForeignKey:
            options = {**options, "unique": True}
        fields = [
            ("thing", key("shop.Thing", models.CASCADE, **options)),
            ("vector", models.VectorField(3, null=True)),
        ]
        of_vector = index(fields=["vector"])
        table.run(migrations.CreateModel("Child", fields, {"indexes": [of_vector]}))
        child = table.state.apps.get_model("shop", "Child")
        children = child.objects.using("scratch")
        children.bulk_create(child(thing_id=row.pk, vector=row.embedding) for row in made)
        assert len(table.side()) == len([vector for vector in VECTORS if vector is not None])
        found = nearest(children, "vector", QUERY, k=2)
        assert uses_index(found)
        assert [row.pk for row in found] == [made[0].pk, made[8].pk]
        children.filter(pk=made[0].pk).delete()
        assert made[0].pk not in table.side()

    def test_the_greatest_number_of_dimensions(self, database: Any) -> None:
        table = Table()
        table.run(migrations.DeleteModel("thing"))
        fields = [
            ("id", models.AutoField(primary_key=True)),
            ("embedding", models.VectorField(8192)),
        ]
        table.run(migrations.CreateModel("Thing", fields, {"indexes": [index()]}))
        vectors = np.random.default_rng(2).normal(size=(5, 8192))
        made = table.fill(vectors)
        assert table.side() == {
            row.pk: packed(vector) for row, vector in zip(made, vectors, strict=True)
        }
        found = nearest(table.rows, "embedding", vectors[3], k=1)
        assert uses_index(found)
        assert found[0].pk == made[3].pk

    def test_check_not_built_has_nothing_to_say(
        self, database: Any, metric: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        state = ProjectState()
        fields = [("id", models.AutoField(primary_key=True)), ("embedding", models.VectorField(3))]
        state.add_model(ModelState("shop", "Thing", fields, {"indexes": [index(metric)]}))
        model = state.apps.get_model("shop", "Thing")
        monkeypatch.setattr("dorm_vector.checks.apps.get_models", lambda: [model])
        assert check_not_built(databases=["scratch"]) == []
