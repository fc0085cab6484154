"""VectorIndex on libSQL: the side table with its graph, and the searches that ask it."""

from __future__ import annotations

import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.management import call_command
from django.db import DatabaseError, IntegrityError, migrations, transaction
from django.db.models import CompositePrimaryKey, F, OuterRef, Q, Subquery

from dorm_vector import models, nearest
from dorm_vector.checks import check_not_built
from dorm_vector.testing import assert_uses_vector_index, explain_nearest
from tests.support import oracle
from tests.support.paths import ROOT
from tests.support.side_table_migrations import SideTableMigrations
from tests.support.side_tables import QUERY, LibSQLTable, index, packed, rolled_back


@pytest.fixture
def database(open_database: Any, tmp_path: Path) -> Any:
    """The wrapper of an empty database file, under the alias "scratch"."""
    options = {"init_command": "PRAGMA synchronous = OFF", "timeout": 30}
    return open_database("libsql", NAME=str(tmp_path / "db"), OPTIONS=options)


@pytest.fixture(params=LibSQLTable.metrics)
def metric(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def table(database: Any, metric: str) -> LibSQLTable:
    """A table with an index, and rows of every kind."""
    table = LibSQLTable(metric)
    table.fill()
    table.assert_in_step()
    return table


@pytest.fixture
def bare(database: Any) -> LibSQLTable:
    """A table without an index, and rows of every kind."""
    table = LibSQLTable()
    table.fill()
    return table


def distances(table: LibSQLTable, metric: str, to: Any, **conditions: Any) -> dict[Any, float]:
    """By primary key, in numpy, best first; without what is undefined."""
    rows = table.rows.filter(**conditions).exclude(embedding=None)
    found = {row.pk: oracle.DISTANCES[metric](row.embedding, to) for row in rows}
    defined = [(distance, pk) for pk, distance in found.items() if not np.isnan(distance)]
    return {pk: distance for distance, pk in sorted(defined)}


def assert_exact(
    table: LibSQLTable, metric: str, queryset: Any, to: Any = QUERY, part: slice = slice(None)
) -> None:
    expected = distances(table, metric, to)
    found = list(queryset)
    assert [row.distance for row in found] == close(list(expected.values())[part])
    assert [row.distance for row in found] == close([expected[row.pk] for row in found])
    assert len({row.pk for row in found}) == len(found)


def close(distances: list[float]) -> Any:
    return pytest.approx(distances, rel=1e-5, abs=1e-5)


class TestMigrations(SideTableMigrations):
    table_class = LibSQLTable
    PARTS = ("table i", "trigger i", "index i")

    def test_rows_that_are_there_are_taken_in(self, bare: Any, metric: str) -> None:
        bare.run(migrations.AddIndex("thing", index(metric)))
        bare.assert_in_step()
        # Seven of the eight vectors differ, and two of these are zero.
        assert len(bare.side()) == {"l2": 7, "cosine": 5}[metric]

    def test_another_metric_under_the_same_name(self, bare: Any) -> None:
        for metric in LibSQLTable.metrics:
            bare.run(migrations.AddIndex("thing", index(metric)))
            bare.assert_in_step()
            bare.run(migrations.RemoveIndex("thing", "i"))

    def test_several_indexes(self, bare: Any) -> None:
        bare.run(migrations.AddField("thing", "other", models.VectorField(2, default=[1, 2])))
        for metric in LibSQLTable.metrics:
            bare.run(migrations.AddIndex("thing", index(metric, name=metric)))
        bare.run(migrations.AddIndex("thing", index("l2", name="another", fields=["other"])))
        bare.run(migrations.RemoveIndex("thing", "l2"))
        for change in (models.IntegerField(null=True), models.TextField(default="")):
            bare.rows.filter(embedding=None).update(embedding=[1, 1, 1], other=[0, 0])
            bare.rows.create(embedding=[9, 9, 9], other=[1, 2])
            bare.assert_in_step()
            bare.run(migrations.AlterField("thing", "category", change))
            bare.assert_in_step()
        bare.run(migrations.DeleteModel("thing"))
        assert bare.objects() == set()

    def test_collected_sql(self, database: Any) -> None:
        table = LibSQLTable()
        drop = (
            'DROP TRIGGER IF EXISTS "i_insert";\n'
            'DROP TRIGGER IF EXISTS "i_update";\n'
            'DROP TRIGGER IF EXISTS "i_delete";\n'
            'DROP INDEX IF EXISTS "i_rows";\n'
            'DROP TABLE IF EXISTS "i";'
        )
        key = "substr({0}, 1, 16) || substr({0}, -16)"
        column, vector = key.format('"embedding"'), '"shop_thing"."embedding"'
        added = table.sql(migrations.AddIndex("thing", index(search_l=100, alpha=1.5)))
        assert added.startswith(
            'CREATE TABLE "i" /* dorm_vector */ '
            "(id INTEGER PRIMARY KEY, vector F32_BLOB(3) NOT NULL);\n"
            f'CREATE INDEX "i_vectors" /* dorm_vector */ ON "i" ({key.format("vector")});\n'
            'CREATE INDEX "i_graph" /* dorm_vector */ ON "i" (libsql_vector_idx(vector, '
            "'metric=l2', "
            "'max_neighbors=20', 'compress_neighbors=float8', 'alpha=1.5', 'search_l=100'));\n"
            f'CREATE INDEX "i_rows" /* dorm_vector */ ON "shop_thing" ({column});\n'
            'INSERT INTO "i" (vector) SELECT DISTINCT "embedding" FROM "shop_thing" '
            f"WHERE CASE WHEN {vector} IS NOT NULL "
            f"THEN vector_distance_l2({vector}, {vector}) END IS NOT NULL;\n"
            'CREATE TRIGGER "i_insert" /* dorm_vector */ AFTER INSERT ON "shop_thing" BEGIN '
        )
        assert added.count("CREATE TRIGGER") == added.count("; END;") == 3
        assert "i" not in table.objects()
        table.run(migrations.AddIndex("thing", index()))
        assert table.sql(migrations.RemoveIndex("thing", "i")) == drop

    def test_names_that_need_quotes(self, database: Any, metric: str) -> None:
        table = LibSQLTable()
        table.run(migrations.DeleteModel("thing"))
        fields = [
            ("id", models.AutoField(primary_key=True, db_column="group by")),
            ("embedding", models.VectorField(3, null=True, db_column="{order} it's")),
            ("category", models.IntegerField(default=0)),
        ]
        options = {"db_table": "select 1; --", "indexes": [index(metric, name="from_where")]}
        table.run(migrations.CreateModel("Thing", fields, options))
        table.fill()
        self.check_writes(table)
        table.run(migrations.AlterField("thing", "category", models.TextField()))
        self.check_writes(table)
        assert len(nearest(table.rows, "embedding", QUERY, k=2)) == 2

    def test_a_graph_with_options(self, database: Any, graph: None) -> None:
        table = LibSQLTable()
        options = {
            "max_neighbors": 12,
            "compress_neighbors": "float16",
            "alpha": 1.2,
            "insert_l": 80,
            "search_l": 60,
        }
        added = migrations.AddIndex("thing", index(**options))
        sql = table.sql(added)
        assert [f"'{name}={value}'" in sql for name, value in options.items()] == [True] * 5
        table.run(added)
        table.fill()
        assert explain_nearest(nearest(table.rows, "embedding", QUERY, k=60)).index == "i"
        assert explain_nearest(nearest(table.rows, "embedding", QUERY, k=61)).index is None
        assert_exact(table, "l2", nearest(table.rows, "embedding", QUERY, k=61))

    def test_vacuum_and_created_again(self, table: Any, metric: str, graph: None) -> None:
        addition = migrations.AddIndex("thing", index(metric))
        for _ in range(2):
            table.rows.filter(pk=table.rows.first().pk).delete()
            table.query("VACUUM")
            assert_exact(table, metric, nearest(table.rows, "embedding", QUERY, k=20))
            table.run(migrations.RemoveIndex("thing", "i"))
            table.query("VACUUM")
            table.run(addition)
            # What is no longer used is not taken in again.
            assert set(table.side().values()) == set(table.stored(index(metric)).values())
            table.fill()
            assert_exact(table, metric, nearest(table.rows, "embedding", QUERY, k=40))


OPTIONS: dict[str, dict[str, Any]] = {
    "max_neighbors from 1 to 1000, not 0": {"max_neighbors": 0},
    "max_neighbors from 1 to 1000, not 1.5": {"max_neighbors": 1.5},
    "max_neighbors from 1 to 1000, not True": {"max_neighbors": True},
    "compress_neighbors of float1bit, float8, float16, floatb16, float32, not 'int8'": {
        "compress_neighbors": "int8"
    },
    "alpha from 1.0 to 10.0, not 0.9": {"alpha": 0.9},
    "insert_l from 1 to 10000, not '70'": {"insert_l": "70"},
    "search_l from 1 to 10000, not 0": {"search_l": 0},
    "compress_neighbors='float1bit' only with the metric 'cosine'": {
        "compress_neighbors": "float1bit"
    },
}


class TestOptions:
    def test_deconstruct(self) -> None:
        options = {"max_neighbors": 12, "compress_neighbors": "float8", "alpha": 1, "search_l": 99}
        made = index("cosine", **options)
        path, args, kwargs = made.deconstruct()
        assert (path, args) == ("dorm_vector.indexes.VectorIndex", ())
        assert kwargs == {"fields": ["embedding"], "name": "i", "metric": "cosine", **options}
        assert made == made.clone() != index("cosine")
        assert index("cosine", search_l=None).deconstruct() == index("cosine").deconstruct()

    @pytest.mark.parametrize("message", OPTIONS)
    def test_refused(self, message: str) -> None:
        text = f"VectorIndex(name='i') takes {message}."
        with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
            index(**OPTIONS[message])


NOT_BUILT: dict[str, dict[str, Any]] = {
    "libSQL has no index for the metric 'ip'": {"metric": "ip"},
    "libSQL has no index for the metric 'l1'": {"metric": "l1"},
    "libSQL has no partial index": {"condition": Q(category=1)},
    "libSQL takes index names of letters, digits and _ only, not 'an-index'": {"name": "an-index"},
    "libSQL takes index names of letters, digits and _ only, not '1st'": {"name": "1st"},
}


class TestNotBuilt:
    def test_a_composite_primary_key(self, database: Any) -> None:
        table = LibSQLTable()
        table.run(migrations.DeleteModel("thing"))
        fields = [
            ("pk", CompositePrimaryKey("id", "category")),
            ("id", models.IntegerField()),
            ("category", models.IntegerField()),
            ("embedding", models.VectorField(3, null=True)),
        ]
        table.run(migrations.CreateModel("Thing", fields, {"indexes": [index()]}))
        assert table.objects() == {"table shop_thing"}
        reason = "libSQL indexes tables with a primary key of one column"
        removal = table.sql(migrations.RemoveIndex("thing", "i"))
        assert removal == f"SELECT '{reason}: i is not built';"
        table.rows.bulk_create(
            table.model(id=n, category=0, embedding=[n, 0, 0]) for n in range(1, 5)
        )
        found = nearest(table.rows, "embedding", [3.2, 0, 0], k=2)
        assert [row.id for row in found] == [3, 4]
        table.run(migrations.AddField("thing", "note", models.TextField(default="none")))
        table.run(migrations.DeleteModel("thing"))
        assert table.objects() == set()

    @pytest.mark.parametrize("reason", NOT_BUILT)
    def test_says_why(self, bare: Any, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
        declared = index(**NOT_BUILT[reason])
        before = bare.objects()
        addition = migrations.AddIndex("thing", declared)
        text = f"{reason}: {declared.name} is not built".replace("'", "''")
        assert bare.sql(addition) == f"SELECT '{text}';"
        for _ in range(2):
            bare.run(addition)
            assert bare.objects() == before
            bare.undo(addition)
        bare.run(addition)
        monkeypatch.setattr("dorm_vector.checks.apps.get_models", lambda: [bare.model])
        (message,) = check_not_built(databases=["scratch"])
        assert message.msg == (
            f"{reason}: {declared.name!r} is not built on the database 'scratch', "
            "and searches read every row."
        )
        if declared.metric != "l1":
            found = nearest(bare.rows, "embedding", QUERY, k=3)
            assert explain_nearest(found).index is None
            assert_exact(bare, declared.metric, found, part=slice(3))
        bare.run(migrations.AlterField("thing", "category", models.TextField()))
        bare.run(migrations.RemoveIndex("thing", declared.name))
        bare.run(migrations.DeleteModel("thing"))
        assert bare.objects() == set()


class TestWrites:
    def test_equal_vectors(self, table: Any, metric: str, graph: None) -> None:
        """libSQL's own index forgets the others when one of equal vectors is deleted."""
        pair = [table.rows.create(embedding=[5, -6, 7]) for _ in range(2)]
        pair[0].delete()
        for to in ([5, -6, 7], [5, -6, 7.5]):
            found = nearest(table.rows, "embedding", to, metric=metric, k=1)
            assert explain_nearest(found).index == "i"
            assert found[0].pk == pair[1].pk

    def test_sixty_copies_deleted_one_by_one(self, table: Any, metric: str, graph: None) -> None:
        copies = table.fill([[5, -6, 7]] * 60)
        assert list(table.side().values()).count(packed([5, -6, 7])) == 1
        left = [row.pk for row in copies]
        random.Random(1).shuffle(left)
        while left:
            found = nearest(table.rows, "embedding", [5, -6, 7.5], metric=metric, k=60)
            assert [row.pk for row in found][: len(left)] == sorted(left)
            table.rows.filter(pk=left.pop()).delete()
        assert list(table.side().values()).count(packed([5, -6, 7])) == 1
        table.fill([[5, -6, 7]])
        assert nearest(table.rows, "embedding", [5, -6, 7], k=1)[0].embedding == [5, -6, 7]

    def test_vectors_that_were_there_before_are_not_taken_in_twice(self, table: Any) -> None:
        side = table.side()
        for _ in range(3):
            table.rows.exclude(pk=table.rows.last().pk).delete()  # with the last one all go
            assert table.side() == side
            table.fill()
        assert table.side() == side

    def test_zero_vectors(self, table: Any, metric: str, graph: None) -> None:
        held = [vector for vector in table.side().values() if not any(packed_numbers(vector))]
        assert len(held) == {"l2": 2, "cosine": 0}[metric]  # 0.0 and -0.0 are other bytes
        row = table.rows.create(embedding=[1, 2, 3])
        for vector in ([0, 0, 0], [-0.0, 0, 0], None, [3, 2, 1]):
            table.rows.filter(pk=row.pk).update(embedding=vector)
            table.assert_in_step()
            assert_exact(table, metric, nearest(table.rows, "embedding", QUERY, k=30))

    def test_updates(self, table: Any, metric: str, graph: None) -> None:
        for number in range(20):
            table.rows.filter(pk=table.rows.all()[number % 5].pk).update(
                embedding=[number, 1, 2], id=1000 + number
            )
            table.assert_in_step()
            assert_exact(table, metric, nearest(table.rows, "embedding", QUERY, k=30))
        table.rows.update(id=-F("id"), embedding=F("embedding"))
        assert_exact(table, metric, nearest(table.rows, "embedding", QUERY, k=30))
        table.rows.update(category=5)
        side = table.side()
        assert table.rows.update(embedding=[3, 2, 1]) == len(table.vectors)
        assert len(table.side()) == len(side) + 1

    def test_conflicts(self, table: Any, metric: str, graph: None) -> None:
        names = ["a", "b", "c"]
        table.rows.bulk_create(table.model(name=n, embedding=[1, 2, 3]) for n in names)
        vectors = {"a": [4, 4, 5], "b": None, "c": [0, 0, 0], "d": [1, 1, 1], "e": None}
        table.rows.bulk_create(
            (table.model(name=name, embedding=vector) for name, vector in vectors.items()),
            update_conflicts=True,
            unique_fields=["name"],
            update_fields=["embedding"],
        )
        table.assert_in_step()
        found = table.rows.exclude(name=None).values_list("name", "embedding")
        assert dict(found) == vectors
        side = table.side()
        ignored = (table.model(name=name, embedding=[9, 9, 9]) for name in "abc")
        table.rows.bulk_create(ignored, ignore_conflicts=True)
        assert table.side() == side
        with pytest.raises(IntegrityError):
            table.rows.bulk_create(table.model(name=n, embedding=[9, 9, 9]) for n in "zza")
        assert table.side() == side
        assert_exact(table, metric, nearest(table.rows, "embedding", QUERY, k=30))

    def test_insert_or_replace(self, table: Any, metric: str, graph: None) -> None:
        pk = table.rows.create(name="a", embedding=[1, 2, 3]).pk
        insert = "INSERT OR REPLACE INTO shop_thing (id, name, category, embedding) VALUES "
        for vector in ([4, 5, 6], None, [0, 0, 0], [7, 8, 9]):
            table.query(f"{insert} (%s, 'b', 0, %s)", pk, vector and packed(vector))
            table.assert_in_step()
            assert table.rows.get(pk=pk).embedding == vector
            # And by another unique column: no trigger sees the row that goes.
            table.query(f"{insert} (%s, 'b', 0, %s)", pk + 1, packed([70, -80, 90]))
            assert_exact(
                table, metric, nearest(table.rows, "embedding", [70, -80, 91], k=30), [70, -80, 91]
            )
            table.query(f"UPDATE OR REPLACE shop_thing SET id = {pk} WHERE id = {pk + 1}")
            table.assert_in_step()

    def test_everything_is_deleted(
        self, table: Any, metric: str, graph: None, install: Any
    ) -> None:
        """A side table is emptied with its table, and its graph is as new."""
        install(table.model)
        for delete in (
            lambda: table.rows.all().delete(),
            lambda: table.query("DELETE FROM shop_thing"),
            lambda: call_command(
                "flush", database="scratch", interactive=False, inhibit_post_migrate=True
            ),
        ):
            delete()
            assert list(nearest(table.rows, "embedding", QUERY, k=3)) == []
            assert table.side() == {}
            table.fill(table.vectors[3:])
            assert_exact(table, metric, nearest(table.rows, "embedding", QUERY, k=30))
            table.fill(table.vectors[:3])
            assert_exact(table, metric, nearest(table.rows, "embedding", QUERY, k=30))

    def test_a_cascade(self, table: Any, metric: str, graph: None) -> None:
        parent = models.ForeignKey("self", models.CASCADE, null=True, related_name="children")
        table.run(migrations.AddField("thing", "parent", parent))
        first = table.rows.create(embedding=[1, 2, 3])
        table.rows.bulk_create(
            table.model(parent_id=first.pk, embedding=[n, 1, 2]) for n in range(5)
        )
        assert first.delete()[0] == 6
        assert_exact(table, metric, nearest(table.rows, "embedding", [1, 1, 2], k=30), [1, 1, 2])

    def test_wrong_lengths(self, table: Any) -> None:
        for vector in ([1, 2], [1, 2, 3, 4], []):
            with pytest.raises(DatabaseError):
                table.query(
                    "INSERT INTO shop_thing (category, embedding) VALUES (0, %s)", packed(vector)
                )
        table.assert_in_step()

    def test_rolled_back(self, table: Any, metric: str, graph: None) -> None:
        def write() -> None:
            table.fill([[6, 6, 7], [5, 5, 5], [1, 2, 3]])
            table.rows.filter(category=0).first().delete()
            table.rows.filter(embedding=None).update(embedding=[1, 1, 1])
            table.rows.filter(pk=table.rows.first().pk).update(id=5000)
            table.assert_in_step()
            assert_exact(table, metric, nearest(table.rows, "embedding", QUERY, k=40))
            table.rows.all().delete()
            table.fill([[8, 8, 9]])

        side = table.side()
        for _ in range(2):
            with rolled_back():
                write()
            assert table.side() == side
            assert_exact(table, metric, nearest(table.rows, "embedding", QUERY, k=40))
            with transaction.atomic("scratch"):
                with rolled_back():
                    write()
                assert table.side() == side
                table.rows.create(embedding=[1, 2, 3])
            assert_exact(table, metric, nearest(table.rows, "embedding", QUERY, k=40))


def packed_numbers(vector: bytes) -> list[float]:
    return [float(number) for number in np.frombuffer(vector, "<f4")]


class TestSearches:
    @pytest.fixture
    def searched(self, database: Any, metric: str, graph: None) -> LibSQLTable:
        table = LibSQLTable(metric)
        parent = models.ForeignKey("self", models.CASCADE, null=True, related_name="children")
        table.run(migrations.AddField("thing", "parent", parent))
        vectors = [*np.random.default_rng(7).normal(size=(300, 3)), None, [0, 0, 0]]
        table.rows.bulk_create(
            table.model(embedding=vector, category=position % 5)
            for position, vector in enumerate(vectors)
        )
        return table

    def approximate(self, table: LibSQLTable, metric: str, found: Any, part: slice) -> None:
        """By the index, as many rows as there should be, in order, and most of the right ones."""
        assert explain_nearest(found).index == "i"
        assert_uses_vector_index(found)
        expected = distances(table, metric, QUERY)
        rows = list(found)
        assert [row.distance for row in rows] == sorted(row.distance for row in rows)
        assert [row.distance for row in rows] == close([expected[row.pk] for row in rows])
        right = list(expected)[part]
        assert len({row.pk for row in rows}) == len(rows) == len(right)
        assert len({row.pk for row in rows} & set(right)) >= 0.8 * len(right)

    @pytest.mark.parametrize("part", [slice(1), slice(10), slice(100), slice(100, 110), slice(200)])
    def test_slices(self, searched: Any, metric: str, part: slice) -> None:
        self.approximate(searched, metric, nearest(searched.rows, "embedding", QUERY)[part], part)

    @pytest.mark.parametrize("ef_search", [1, 10, 40, 200, 1000])
    def test_ef_search_is_the_number_of_candidates(
        self, searched: Any, metric: str, ef_search: int
    ) -> None:
        found = nearest(searched.rows, "embedding", QUERY, k=10, ef_search=ef_search)
        self.approximate(searched, metric, found, slice(10))
        query = found.query
        compiler = query.get_compiler("scratch")
        _, params = compiler.as_sql()
        position = params.index("i_graph")
        assert params[position + 2] == min(200, max(10, ef_search))

    def test_max_distance(self, searched: Any, metric: str) -> None:
        expected = list(distances(searched, metric, QUERY).values())
        reach = (expected[4] + expected[5]) / 2
        found = nearest(searched.rows, "embedding", QUERY, k=10, max_distance=reach)
        assert explain_nearest(found).index == "i"
        assert [row.distance for row in found] == close(expected[:5])

    def test_an_instance(self, searched: Any, metric: str) -> None:
        instance = searched.rows.first()
        found = nearest(searched.rows, "embedding", instance, k=5)
        assert explain_nearest(found).index == "i"
        assert len(found) == 5
        assert instance not in found
        copy = searched.rows.create(embedding=instance.embedding)
        assert nearest(searched.rows, "embedding", instance, k=5)[0] == copy
        assert explain_nearest(nearest(searched.rows, "embedding", instance, k=199)).index == "i"
        assert explain_nearest(nearest(searched.rows, "embedding", instance, k=200)).index is None

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            (
                lambda rows: rows.filter(category__gte=0)[:10],
                "A filter, a join or distinct() makes the search exact.",
            ),
            (
                lambda rows: rows.filter(parent=None)[:10],
                "A filter, a join or distinct() makes the search exact.",
            ),
            (
                lambda rows: rows.distinct()[:10],
                "A filter, a join or distinct() makes the search exact.",
            ),
        ],
    )
    def test_exact_ones(self, searched: Any, metric: str, change: Any, reason: str) -> None:
        found = change(nearest(searched.rows, "embedding", QUERY))
        explained = explain_nearest(found)
        assert (explained.index, explained.reason) == (None, reason)
        part = slice(found.query.low_mark, found.query.high_mark)
        assert_exact(searched, metric, found, part=part)

    def test_pages_follow_those_of_the_index(self, searched: Any, metric: str) -> None:
        search = nearest(searched.rows, "embedding", QUERY)
        explained = explain_nearest(search[195:205])
        assert explained.reason == (
            "libSQL finds at most search_l rows, 200 by default; more are searched exactly."
        )
        keys = [row.pk for row in search[195:205]]
        assert len(set(keys)) == 10
        assert not set(keys) & {row.pk for row in search[:50]}

    def test_pages_where_rows_were_deleted(self, searched: Any, metric: str) -> None:
        """The graph still finds them, so that some of the pages came short, and others not."""
        nearest_first = list(distances(searched, metric, QUERY))
        searched.rows.filter(pk__in=nearest_first[:170]).delete()
        search = nearest(searched.rows, "embedding", QUERY)
        pages = [[row.pk for row in search[start : start + 7]] for start in range(0, 140, 7)]
        assert [key for page in pages for key in page] == nearest_first[170:]

    def test_exact_and_no_end(self, searched: Any, metric: str) -> None:
        for found in (
            nearest(searched.rows, "embedding", QUERY, k=10, exact=True),
            nearest(searched.rows, "embedding", QUERY),
        ):
            assert explain_nearest(found).index is None
            assert_exact(searched, metric, found, part=slice(found.query.high_mark))

    def test_zero_and_none(self, searched: Any, metric: str) -> None:
        assert list(nearest(searched.rows, "embedding", None, k=3)) == []
        found = nearest(searched.rows, "embedding", [0, 0, 0], k=3)
        assert_exact(searched, metric, found, [0, 0, 0], slice(3))

    def test_nested_searches_are_exact(self, searched: Any, metric: str) -> None:
        best = list(distances(searched, metric, QUERY))[:5]
        nested = nearest(searched.rows, "embedding", QUERY, k=5).values("pk")
        assert set(searched.rows.filter(pk__in=nested).values_list("pk", flat=True)) == set(best)
        assert nearest(searched.rows, "embedding", QUERY, k=5).count() == 5
        assert "vector_top_k" not in searched.rows.filter(pk__in=nested).explain()
        inner = nearest(
            searched.rows.filter(category=OuterRef("category")), "embedding", QUERY
        ).values("pk")[:1]
        row = searched.rows.annotate(best=Subquery(inner)).first()
        assert row.best == next(iter(distances(searched, metric, QUERY, category=row.category)))

    def test_vectors_that_share_their_ends(self, database: Any, metric: str, graph: None) -> None:
        """Rows are looked for by 16 bytes of each end, and compared by all of them."""
        table = LibSQLTable()
        table.run(migrations.DeleteModel("thing"))
        fields = [
            ("id", models.AutoField(primary_key=True)),
            ("embedding", models.VectorField(12, null=True)),
        ]
        options = {"indexes": [index(metric)]}
        table.run(migrations.CreateModel("Thing", fields, options))
        middles = np.random.default_rng(3).normal(size=(100, 4))
        vectors = [[1, 2, 3, 4, *middle, 5, 6, 7, 8] for middle in middles]
        table.fill(vectors)
        table.fill(vectors)
        assert len(table.side()) == 100
        for query in vectors[:10]:
            found = nearest(table.rows, "embedding", query, k=20)
            assert explain_nearest(found).index == "i"
            assert_exact(table, metric, found, query, slice(20))

    @pytest.mark.parametrize("dimensions", [1, 2, 7, 8])
    def test_few_dimensions(self, database: Any, metric: str, graph: None, dimensions: int) -> None:
        table = LibSQLTable()
        table.run(migrations.DeleteModel("thing"))
        fields = [
            ("id", models.AutoField(primary_key=True)),
            ("embedding", models.VectorField(dimensions, null=True)),
        ]
        table.run(migrations.CreateModel("Thing", fields, {"indexes": [index(metric)]}))
        vectors = np.random.default_rng(3).normal(size=(30, dimensions))
        table.fill(vectors)
        for query in vectors[:5]:
            assert_exact(table, metric, nearest(table.rows, "embedding", query, k=40), query)
            (first,) = nearest(table.rows, "embedding", query, k=1)
            assert first.distance == pytest.approx(0, abs=1e-5)

    def test_uuid_primary_keys(self, database: Any, metric: str, graph: None) -> None:
        table = LibSQLTable()
        table.run(migrations.DeleteModel("thing"))
        fields = [
            ("id", models.UUIDField(primary_key=True)),
            ("embedding", models.VectorField(3, null=True)),
        ]
        table.run(migrations.CreateModel("Thing", fields, {"indexes": [index(metric)]}))
        table.rows.bulk_create(
            table.model(id=f"{number:032x}", embedding=vector)
            for number, vector in enumerate(table.vectors)
        )
        table.assert_in_step()
        found = nearest(table.rows, "embedding", QUERY, k=2)
        assert explain_nearest(found).index == "i"
        assert_exact(table, metric, nearest(table.rows, "embedding", QUERY, k=20))
        table.rows.all()[0].delete()
        assert_exact(table, metric, nearest(table.rows, "embedding", QUERY, k=20))

    def test_a_child_of_another_model(self, database: Any, metric: str, graph: None) -> None:
        """The vector of the parent's table, searched from the child's: a join, so exact."""
        table = LibSQLTable(metric)
        link = models.OneToOneField(
            "shop.Thing", models.CASCADE, primary_key=True, parent_link=True
        )
        operation = migrations.CreateModel("Child", [("thing_ptr", link)], bases=("shop.thing",))
        table.run(operation)
        child = table.state.apps.get_model("shop", "Child")
        rows = child.objects.using("scratch")
        for vector in table.vectors:
            rows.create(embedding=vector)
        expected = nearest(
            table.state.apps.get_model("shop", "Thing").objects.using("scratch"),
            "embedding",
            QUERY,
            k=30,
        )
        found = nearest(rows, "embedding", QUERY, k=30)
        assert [row.pk for row in found] == [row.pk for row in expected]

    def test_few_vectors_are_read_as_a_whole(self, table: Any, metric: str) -> None:
        found = nearest(table.rows, "embedding", QUERY, k=3)
        explained = explain_nearest(found)
        assert (explained.index, explained.reason) == (
            None,
            "With fewer than 1,000 vectors libSQL reads all rows, which is as fast.",
        )
        assert_exact(table, metric, found, part=slice(3))
        table.fill(np.random.default_rng(5).normal(size=(1_000, 3)))
        assert_uses_vector_index(nearest(table.rows, "embedding", QUERY, k=3))

    def test_an_index_that_is_not_migrated_yet(self, table: Any, metric: str, graph: None) -> None:
        model = table.model
        table.run(migrations.RemoveIndex("thing", "i"))
        found = nearest(model.objects.using("scratch"), "embedding", QUERY, k=3)
        assert explain_nearest(found).reason == (
            "The index is declared, but missing or incomplete: migrate, or run vector_reindex."
        )
        assert_exact(table, metric, found, part=slice(3))
        with transaction.atomic("scratch"):
            assert len(nearest(model.objects.using("scratch"), "embedding", QUERY, k=3)) == 3
            table.rows.create(embedding=[1, 2, 3])
        assert len(table.rows.all()) == len(table.vectors) + 1


class TestKilled:
    """A process that writes is killed: what it had committed is there, and is found."""

    @pytest.mark.parametrize("journal", ["delete", "wal"])
    def test_at_any_moment(self, open_database: Any, tmp_path: Path, journal: str) -> None:
        moments = random.Random(journal)
        for run in range(5):
            file = tmp_path / f"{run}.db"
            committed = self.load_and_kill(file, journal, moments.uniform(0.1, 2.5))
            self.check(open_database("libsql", NAME=str(file)), committed)

    def load_and_kill(self, file: Path, journal: str, seconds: float) -> int:
        """Returns the number of rows that were committed at least."""
        loader = subprocess.Popen(
            [sys.executable, "-m", "tests.support.libsql_loader", str(file), journal],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert loader.stdout is not None
        committed = int(loader.stdout.readline())
        time.sleep(seconds)
        loader.send_signal(signal.SIGKILL)
        for line in loader.stdout:
            if line.endswith("\n"):
                committed = int(line)
        loader.wait()
        loader.stdout.close()
        return committed

    def check(self, connection: Any, committed: int) -> None:
        from tests.support.libsql_loader import BATCH, VECTORS

        with connection.cursor() as cursor:
            cursor.execute("PRAGMA integrity_check")
            assert cursor.fetchall() == [("ok",)]
            cursor.execute("SELECT id, embedding FROM item ORDER BY id")
            rows = cursor.fetchall()
            cursor.execute("SELECT vector FROM item_index")
            side = {vector for (vector,) in cursor.fetchall()}
        assert len(rows) in (committed, committed + BATCH)
        assert [vector for _, vector in rows] == [v.tobytes() for v in VECTORS[: len(rows)]]
        assert side == {vector for _, vector in rows}
        model = self.model()
        right = 0
        for query in VECTORS[-5:]:
            expected = np.sort(np.linalg.norm(VECTORS[: len(rows)] - query, axis=1))[:5]
            exactly = nearest(model.objects.using("scratch"), "embedding", query, k=5, exact=True)
            assert [row.distance for row in exactly] == pytest.approx(list(expected), rel=1e-5)
            found = nearest(model.objects.using("scratch"), "embedding", query, k=5)
            assert len(rows) < 1_000 or explain_nearest(found).index == "item_index"
            assert len(found) == len(expected)
            right += len(set(found) & set(exactly))
        assert right >= 0.9 * 5 * len(expected)
        # And it goes on.
        model.objects.using("scratch").create(embedding=VECTORS[-1])
        (found_again,) = nearest(model.objects.using("scratch"), "embedding", VECTORS[-1], k=1)
        assert found_again.distance == 0
        connection.close()

    def model(self) -> Any:
        from django.db.migrations.state import ModelState, ProjectState

        from tests.support.libsql_loader import INDEX

        fields = [("id", models.AutoField(primary_key=True)), ("embedding", models.VectorField(8))]
        state = ProjectState()
        options = {"indexes": [INDEX.clone()], "db_table": "item"}
        state.add_model(ModelState("shop", "Item", fields, options))
        return state.apps.get_model("shop", "Item")
