"""precision="int8": side tables of SQLite with a byte a component; what other databases make."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.db import OperationalError, migrations
from django.db.migrations.autodetector import MigrationAutodetector
from django.test.utils import CaptureQueriesContext

from dorm_vector import VectorIndex, models, nearest
from dorm_vector.engines import engine_for
from dorm_vector.engines.sqlite import search
from dorm_vector.engines.sqlite.bytes import coding_for, proves_all_found
from dorm_vector.testing import explain_nearest
from tests.support.matrix import only
from tests.support.schema import Schema, hnsw, ivfflat
from tests.support.side_tables import uses_index

RANDOM = np.random.default_rng(77)
MOVED = "/* times 1, moved up */"


def index(precision: str | None = None, **kwargs: Any) -> VectorIndex:
    given = {"fields": ["wide"], "name": "i", "metric": "cosine", "precision": precision}
    return VectorIndex(**{**given, **kwargs})


def whole(sentence: str) -> str:
    return f"^{re.escape(sentence)}$"


class TestDeclaration:
    @pytest.mark.parametrize("precision", ["int8", "full"])
    def test_deconstruct(self, precision: str) -> None:
        declared = index(precision)
        assert declared.deconstruct()[2] == {
            "fields": ["wide"],
            "name": "i",
            "metric": "cosine",
            "precision": precision,
        }
        assert declared.clone() == declared != index()

    def test_no_precision_stays_out_of_migrations(self) -> None:
        assert "precision" not in index().deconstruct()[2]

    @pytest.mark.parametrize("metric", ["l2", "ip", "l1"])
    def test_other_metrics(self, metric: str) -> None:
        sentence = (
            "VectorIndex(name='i') takes precision='int8' with the metric 'cosine' only, which "
            f"orders vectors of one length as 'l2' and 'ip' do, not with '{metric}'."
        )
        with pytest.raises(ValueError, match=whole(sentence)):
            index("int8", metric=metric)

    @pytest.mark.parametrize("make", [hnsw, ivfflat])
    @pytest.mark.parametrize("precision", ["int8", "full"])
    def test_other_indexes(self, make: Any, precision: str) -> None:
        kind = "HnswIndex" if make is hnsw else "IvfflatIndex"
        sentence = (
            f"{kind}(name='i') takes precision=\"half\" or \"bit\" over a field, not '{precision}'."
        )
        with pytest.raises(ValueError, match=whole(sentence)):
            make(metric="cosine", precision=precision)

    def test_unknown(self) -> None:
        sentence = (
            'VectorIndex(name=\'i\') takes precision="half", "bit", "int8" or "full" over a field, '
            "not 'byte'."
        )
        with pytest.raises(ValueError, match=whole(sentence)):
            index("byte")

    def test_with_a_prefix(self) -> None:
        with pytest.raises(ValueError, match="takes either precision or prefix, not both"):
            index("int8", prefix=8)


@pytest.fixture
def database(open_database: Any, tmp_path: Path) -> Any:
    options = {"init_command": "PRAGMA synchronous = OFF", "timeout": 30}
    return open_database("default", NAME=str(tmp_path / "db"), OPTIONS=options)


class Wide(Schema):
    """A table with vectors of some dimensions."""

    def __init__(self, dimensions: int, alias: str = "scratch") -> None:
        super().__init__(alias)
        field = models.VectorField(dimensions, null=True)
        self.run(migrations.AddField("thing", "wide", field))
        self.vectors = np.zeros((0, dimensions), "f4")

    @property
    def rows(self) -> Any:
        return self.model.objects.using(self.connection.alias)

    def fill(self, vectors: Any) -> None:
        self.vectors = np.asarray(vectors, "f4")
        self.rows.bulk_create([self.model(wide=vector) for vector in self.vectors])

    def side(self, name: str = "i") -> str:
        with self.connection.cursor() as cursor:
            cursor.execute("SELECT sql FROM sqlite_master WHERE name = %s", [name])
            return str(cursor.fetchone()[0])

    def expected(self, query: Any) -> list[tuple[float, int]]:
        """The cosine distances and the keys, in float64, in their order."""
        vectors, query = self.vectors.astype("f8"), np.asarray(query, "f4").astype("f8")
        lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(query)
        with np.errstate(invalid="ignore"):
            distances = 1 - vectors @ query / lengths
        keys = range(1, len(vectors) + 1)
        found = zip(distances.tolist(), keys, strict=True)
        return sorted(pair for pair in found if not np.isnan(pair[0]))

    def check(self, query: Any, part: slice = slice(10), **kwargs: Any) -> None:
        """The rows are as near as the nearest ones that there are, and in their order."""
        found = list(nearest(self.rows, "wide", query, **kwargs)[part])
        distances = [row.distance for row in found]
        expected = self.expected(query)
        assert distances == pytest.approx([d for d, _ in expected[part]], abs=2e-6)
        assert sorted(zip(distances, [row.pk for row in found], strict=True)) == [
            (row.distance, row.pk) for row in found
        ]
        assert len({row.pk for row in found}) == len(found)


def clusters(rows: int, dimensions: int, spread: float, count: int = 20) -> Any:
    centers = RANDOM.normal(size=(count, dimensions))
    chosen = centers[RANDOM.integers(0, count, rows)]
    return chosen + spread * RANDOM.normal(size=(rows, dimensions))


class TestSideTables:
    @pytest.mark.parametrize(
        ("declared", "element"),
        [
            (index(), "/* times 1, moved up */ USING vec0(vector int8[64] distance_metric=l2)"),
            (
                index("int8"),
                "/* times 1, moved up */ USING vec0(vector int8[64] distance_metric=l2)",
            ),
            (index("full"), "USING vec0(vector float[64] distance_metric=cosine)"),
            (index("half"), "USING vec0(vector float[64] distance_metric=cosine)"),
            (index(metric="l2"), "USING vec0(vector float[64] distance_metric=l2)"),
            (index(prefix=8), "USING vec0(vector float[8] distance_metric=cosine)"),
            (index("bit"), "USING vec0(vector bit[64])"),
        ],
    )
    def test_what_is_in_them(self, database: Any, declared: VectorIndex, element: str) -> None:
        table = Wide(64)
        table.run(migrations.AddIndex("thing", declared))
        assert table.side() == f'CREATE VIRTUAL TABLE "i" /* dorm_vector */ {element}'

    @pytest.mark.parametrize(
        ("dimensions", "declared", "rows"),
        [
            (128, index(metric="l2"), None),
            (129, index(metric="l2"), 512),
            (1536, index("full"), 64),
            (8192, index(metric="l2"), 16),
            (512, index(), None),
            (1536, index(), 256),
            (1536, index(prefix=64), None),
            (1536, index("bit"), None),
        ],
    )
    def test_rows_of_a_chunk(
        self, database: Any, dimensions: int, declared: VectorIndex, rows: int | None
    ) -> None:
        """No more of them than half a megabyte has, which SQLite's page cache has room for."""
        table = Wide(dimensions)
        table.run(migrations.AddIndex("thing", declared))
        table.fill(RANDOM.normal(size=(40, dimensions)))
        with table.connection.cursor() as cursor:
            cursor.execute('SELECT DISTINCT size FROM "i_chunks"')
            assert cursor.fetchall() == [(rows or 1024,)]
        assert ("chunk_size" in table.side()) == (rows is not None)
        query = table.vectors[7]
        found = nearest(table.rows, "wide", query, metric=declared.metric)[:3]
        assert found[0].pk == 8
        assert uses_index(found)

    @pytest.mark.parametrize(
        ("dimensions", "coding"),
        [
            (1, (1, False)),
            (31, (1, False)),
            (32, (1, True)),
            (255, (1, True)),
            (256, (2, True)),
            (1023, (2, True)),
            (1024, (4, True)),
            (8192, (4, True)),
        ],
    )
    def test_codings(self, dimensions: int, coding: tuple[int, bool]) -> None:
        assert coding_for(dimensions) == coding

    def test_they_follow_their_table(self, database: Any) -> None:
        table = Wide(64)
        table.run(migrations.AddIndex("thing", index()))
        table.fill(clusters(300, 64, 0.5))
        table.vectors[4], table.vectors[7] = table.vectors[100], -table.vectors[7]
        for number in (4, 7):
            table.rows.filter(pk=number + 1).update(wide=table.vectors[number])
        table.check(table.vectors[100])
        table.rows.filter(pk__gt=250).delete()
        table.vectors = table.vectors[:250]
        table.check(table.vectors[100])
        table.run(migrations.AlterField("thing", "category", models.IntegerField(null=True)))
        table.check(table.vectors[7])

    def test_a_field_of_half_precision(self, database: Any) -> None:
        table = Wide(64)
        half = models.HalfVectorField(64, null=True)
        table.run(migrations.AddField("thing", "half", half))
        table.run(migrations.AddIndex("thing", index(fields=["half"])))
        table.vectors = clusters(300, 64, 0.5).astype("f2").astype("f4")
        table.rows.bulk_create([table.model(half=vector) for vector in table.vectors])
        found = nearest(table.rows, "half", table.vectors[3], k=10)
        assert uses_index(found)
        assert [row.distance for row in found] == pytest.approx(
            [d for d, _ in table.expected(table.vectors[3])[:10]], abs=1e-6
        )


class TestTablesOfOlderVersions:
    """Side tables of float32 for the cosine distance, which were the only ones."""

    @pytest.fixture
    def table(self, database: Any) -> Wide:
        table = Wide(64)
        table.run(migrations.AddIndex("thing", index("full")))
        table.fill(clusters(500, 64, 0.5))
        # The state that a project has whose model and migrations name no precision.
        state = table.state.clone()
        state.models["shop", "thing"].options["indexes"] = [index()]
        state.clear_delayed_apps_cache()
        table.states.append(state)
        assert table.model._meta.indexes == [index()]
        return table

    def test_they_are_searched(self, table: Wide) -> None:
        query = table.vectors[3]
        assert explain_nearest(nearest(table.rows, "wide", query, k=10)).index == "i"
        table.check(query)
        table.check(query, slice(5, 20))
        table.fill(-table.vectors)
        table.vectors = np.concatenate([-table.vectors, table.vectors])
        table.check(query)
        assert "float[64]" in table.side()

    def test_no_migration_is_due(self, table: Wide) -> None:
        before, after = table.states[-2].clone(), table.state
        before.models["shop", "thing"].options["indexes"] = [index()]
        assert MigrationAutodetector(before, after)._detect_changes() == {}

    def test_a_rebuilt_table_has_bytes(self, table: Wide) -> None:
        table.run(migrations.AlterField("thing", "category", models.IntegerField(null=True)))
        assert "int8[64]" in table.side()
        table.check(table.vectors[3])

    def test_reindex(self, table: Wide) -> None:
        assert engine_for(table.connection).reindex(index(), table.model) is None
        assert "int8[64]" in table.side()
        table.check(table.vectors[3])
        assert engine_for(table.connection).reindex(index("full"), table.model) is None
        assert "float[64]" in table.side()

    def test_they_go(self, table: Wide) -> None:
        table.run(migrations.RemoveIndex("thing", "i"))
        table.check(table.vectors[3])
        table.undo(migrations.RemoveIndex("thing", "i"))
        assert "int8[64]" in table.side()
        table.check(table.vectors[3])

    def test_another_coding(self, table: Wide) -> None:
        """A side table says how its vectors are made; they were not always moved up."""
        table.run(migrations.RemoveIndex("thing", "i"))
        with table.connection.schema_editor() as editor:
            statement = index().create_sql(table.model, editor)
            for sql in statement.statements:
                old = sql.replace("times 1, moved up", "times 2")
                # The sum of a vector and one of a half in each component, then of two vectors.
                old = re.sub(r"vec_add\((CASE .+? END), X'\w+'\)", r"vec_add(\1, \1)", old)
                assert "X'" not in old
                editor.execute(old, None)
        table.states.append(table.states[-2].clone())
        assert "/* times 2 */" in table.side()
        assert explain_nearest(nearest(table.rows, "wide", table.vectors[3], k=10)).index == "i"
        table.check(table.vectors[3])
        table.fill(-table.vectors)
        table.vectors = np.concatenate([-table.vectors, table.vectors])
        table.check(table.vectors[3])


@pytest.fixture(params=[8, 64, 384])
def wide(request: pytest.FixtureRequest, database: Any) -> Wide:
    table = Wide(request.param)
    table.run(migrations.AddIndex("thing", index()))
    return table


class TestSearches:
    @pytest.fixture(autouse=True, params=["numpy", "vec0"])
    def way(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
        """By numpy, and by vec0 as where it is not installed."""
        if request.param == "vec0":
            monkeypatch.setattr(search, "aggregates", dict)

    @pytest.mark.parametrize("spread", [1, 0.3, 0.1, 0.03, 0.003])
    def test_clusters(self, wide: Wide, spread: float) -> None:
        """However close together: what bytes cannot tell apart is searched exactly."""
        wide.fill(clusters(1500, wide.vectors.shape[1], spread))
        for query in wide.vectors[:5]:
            assert uses_index(nearest(wide.rows, "wide", query, k=10))
            wide.check(query)
            wide.check(query + spread * RANDOM.normal(size=query.shape), slice(3))

    @pytest.mark.parametrize("dimensions", [256, 1024])
    def test_random_vectors_are_proven_at_once(self, database: Any, dimensions: int) -> None:
        """Far from the origin in all directions, where rounding towards zero would tell most."""
        table = Wide(dimensions)
        table.run(migrations.AddIndex("thing", index()))
        table.fill(RANDOM.normal(size=(2000, dimensions)))
        for query in table.vectors[:10]:
            with CaptureQueriesContext(table.connection) as sent:
                table.check(query)
            assert len(sent) == 1

    def test_equal_vectors(self, wide: Wide) -> None:
        one, other = clusters(2, wide.vectors.shape[1], 1)
        wide.fill([*[one] * 700, *[other] * 700, *clusters(100, len(one), 1)])
        for part in (slice(10), slice(5, 15), slice(95, 105)):
            found = nearest(wide.rows, "wide", one)[part]
            assert uses_index(found)
            assert [row.pk for row in found] == list(range(1, 701))[part]

    def test_few_components_of_large_numbers(self, wide: Wide) -> None:
        """What is beyond a byte is cut."""
        dimensions = wide.vectors.shape[1]
        vectors = 0.05 * RANDOM.normal(size=(1500, dimensions))
        vectors[:, 2] += 1 + RANDOM.normal(size=1500)
        wide.fill(vectors)
        for query in wide.vectors[:5]:
            wide.check(query)

    def test_few_values(self, wide: Wide) -> None:
        """Zeros and ones, of which rounding errors are all alike."""
        vectors = (RANDOM.random((1500, wide.vectors.shape[1])) < 0.3).astype("f4")
        vectors[:, 0] = 1
        wide.fill(vectors)
        for query in wide.vectors[:5]:
            found = [row.distance for row in nearest(wide.rows, "wide", query, k=10)]
            assert found == pytest.approx([d for d, _ in wide.expected(query)[:10]], abs=2e-6)

    def test_a_dense_row_among_sparse_ones(self, database: Any) -> None:
        """Rounding makes it appear farther than it is, and leaves the others where they are."""
        table = Wide(1536)
        table.run(migrations.AddIndex("thing", index()))
        step = 1 / (127.5 * coding_for(1536).scale)
        query = np.eye(1536)[0]
        dense = query + step * np.random.default_rng(4).uniform(-0.9, 0, size=(3, 1536))
        nearest_one = np.linalg.norm((dense - query)[:, 1:], axis=1).min() / step
        sparse = query + np.zeros((300, 1))
        sparse[np.arange(300), np.arange(1, 301)] = step * (nearest_one + 0.1 * np.arange(300))
        table.fill(np.concatenate([sparse, dense]))
        table.check(query)

    def test_lengths_of_all_orders(self, wide: Wide) -> None:
        lengths = 10.0 ** RANDOM.uniform(-12, 12, size=(1000, 1))
        wide.fill(lengths * clusters(1000, wide.vectors.shape[1], 0.5))
        for number in (0, 1, 2):
            wide.check(wide.vectors[number])

    @pytest.mark.parametrize("precision", ["int8", "full"])
    @pytest.mark.parametrize("length", [1e-40, 1e-25, 1e25])
    def test_a_query_of_extreme_length(self, database: Any, precision: str, length: float) -> None:
        """Whose squares vanish or overflow in float32."""
        table = Wide(64)
        table.run(migrations.AddIndex("thing", index(precision)))
        table.fill(clusters(300, 64, 0.5))
        found = explain_nearest(nearest(table.rows, "wide", length * table.vectors[3], k=10))
        assert (found.index, found.reason) == (
            None,
            "The vector searched for is too short or too long for sqlite-vec's float32.",
        )
        table.check(length * table.vectors[3])

    def test_null_and_zero(self, wide: Wide) -> None:
        vectors = clusters(200, wide.vectors.shape[1], 0.5)
        vectors[::4] = 0
        wide.fill(vectors)
        wide.rows.bulk_create([wide.model()])
        wide.check(vectors[1], slice(300))
        wide.check(vectors[1])

    def test_few_rows(self, wide: Wide) -> None:
        wide.fill(clusters(6, wide.vectors.shape[1], 0.5))
        wide.check(wide.vectors[0])
        wide.check(wide.vectors[0], slice(2))

    @pytest.mark.parametrize("size", [1, 7, 40, 333])
    def test_pages(self, wide: Wide, size: int) -> None:
        wide.fill(clusters(1200, wide.vectors.shape[1], 0.3))
        query = wide.vectors[5]
        whole = list(nearest(wide.rows, "wide", query, exact=True).values_list("pk", flat=True))
        starts = range(0, 1000, size) if size > 7 else [*range(0, 60, size), 400, 990]
        for start in starts:
            page = slice(start, start + size)
            pks = nearest(wide.rows, "wide", query).values_list("pk", flat=True)[page]
            assert list(pks) == whole[page]
            assert [row.pk for row in nearest(wide.rows, "wide", query)[page]] == whole[page]

    def test_max_distance(self, wide: Wide) -> None:
        wide.fill(clusters(1000, wide.vectors.shape[1], 0.3))
        query = wide.vectors[5]
        expected = wide.expected(query)
        most = (expected[19][0] + expected[20][0]) / 2
        for part in (slice(10), slice(30), slice(15, 30)):
            found = nearest(wide.rows, "wide", query, max_distance=most)[part]
            assert uses_index(found)
            assert [row.pk for row in found] == [pk for _, pk in expected[:20][part]]

    def test_what_else_is_selected(self, wide: Wide) -> None:
        wide.fill(clusters(500, wide.vectors.shape[1], 0.5))
        query = wide.vectors[5]
        found = nearest(wide.rows, "wide", query, k=4)
        rows = [(row.pk, row.distance, row.category) for row in found]
        assert set(vars(found[0])) == {
            "_state",
            "id",
            "category",
            "embedding",
            "wide",
            "distance",
        }
        assert list(found.values_list("pk", "distance", "category")) == rows
        assert list(found.values_list("category", "pk")) == [(row[2], row[0]) for row in rows]
        assert list(found.values("distance", "pk")) == [
            {"pk": row[0], "distance": row[1]} for row in rows
        ]
        assert [row.pk for row in found.only("pk")] == [row[0] for row in rows]
        assert [row.distance for row in found.defer("wide").iterator()] == [r[1] for r in rows]

    def test_oversample(self, wide: Wide) -> None:
        wide.fill(clusters(500, wide.vectors.shape[1], 0.5))
        for oversample in (1, 20):
            wide.check(wide.vectors[5], oversample=oversample)
            wide.check(wide.vectors[5], recall="high")

    def test_a_row_that_sqlite_replaced(self, wide: Wide) -> None:
        """The triggers see no row that goes with INSERT OR REPLACE."""
        wide.fill(clusters(100, wide.vectors.shape[1], 0.5))
        with wide.connection.cursor() as cursor:
            cursor.execute(
                "INSERT OR REPLACE INTO shop_thing (id, category, wide) SELECT 3, 0, NULL"
            )
        wide.vectors[2] = 0
        wide.check(wide.vectors[5])


class TestProof:
    def test_too_close(self) -> None:
        """Rows that are as near as the last one prove nothing of those that were not chosen."""
        assert not proves_all_found([(0.5, 127.5)] * 20, 0.5, 1)

    def test_far_enough(self) -> None:
        measured = [(d, 127.5 * (2 * d) ** 0.5) for d in np.linspace(0.1, 0.5, 20).tolist()]
        assert proves_all_found(measured, 0.45, 1)
        # Four times 0.41 steps, of which the last row is closer to the end.
        assert not proves_all_found(measured, 0.495, 1)

    def test_large_errors(self) -> None:
        """How far the distances of bytes are off is seen by those that are there."""
        measured = [
            (d, 127.5 * (2 * d) ** 0.5 + (9 if n % 2 else -9))
            for n, d in enumerate(np.linspace(0.1, 0.5, 20).tolist())
        ]
        assert not proves_all_found(measured, 0.45, 1)
        assert proves_all_found(measured, 0.2, 1)


@pytest.mark.django_db(databases="__all__", transaction=True)
class TestOtherDatabases:
    @only("postgresql")
    def test_half_precision_on_postgresql(self, alias: str) -> None:
        table = Wide(3, alias)
        table.fill([[1, 2, 3], [3, 2, 1], [-1, 0, 1], [0, 0, 0]])
        table.run(migrations.AddIndex("thing", index("int8")))
        assert "((wide)::halfvec(3)) halfvec_cosine_ops" in table.indexes()["i"]
        table.check([1, 2, 3], slice(2))
        table.run(migrations.RemoveIndex("thing", "i"))
        table.run(migrations.AddIndex("thing", index("full")))
        assert "(wide vector_cosine_ops)" in table.indexes()["i"]
        table.run(migrations.DeleteModel("Thing"))

    @only("libsql")
    @pytest.mark.parametrize("precision", ["int8", "full"])
    def test_the_same_graph_on_libsql(self, alias: str, precision: str) -> None:
        table = Wide(3, alias)
        table.fill([[1, 2, 3], [3, 2, 1], [-1, 0, 1], [0, 0, 0]])
        table.run(migrations.AddIndex("thing", index(precision)))
        table.check([1, 2, 3], slice(2))
        assert table.sql(migrations.RemoveIndex("thing", "i"))
        table.run(migrations.DeleteModel("Thing"))

    def test_without_numpy_is_the_same(self, wide: Wide, monkeypatch: pytest.MonkeyPatch) -> None:
        wide.fill(clusters(1500, wide.vectors.shape[1], 0.3))
        rows = nearest(wide.rows, "wide", wide.vectors[5]).values_list("pk", "distance")
        found = [list(rows[:100]), list(rows[20:30])]
        monkeypatch.setattr(search, "aggregates", dict)
        assert [list(rows[:100]), list(rows[20:30])] == found


class TestDamage:
    @pytest.mark.parametrize(
        "statement",
        [
            'DELETE FROM "i_vector_chunks00" WHERE _rowid_ = 2',
            """UPDATE "i_vector_chunks00" SET vectors = x'0102' WHERE _rowid_ = 1""",
            'UPDATE "i_vector_chunks00" SET vectors = 7 WHERE _rowid_ = 1',
            'DELETE FROM "i_chunks" WHERE chunk_id = 1',
            """UPDATE "i_chunks" SET validity = x'ff' WHERE chunk_id = 1""",
            """UPDATE "i_chunks" SET validity = 'ff' WHERE chunk_id = 2""",
            """UPDATE "i_chunks" SET rowids = substr(rowids, 1, 4096) WHERE chunk_id = 1""",
            """UPDATE "i_chunks" SET rowids = x'0102' WHERE chunk_id = 2""",
            'UPDATE "i_chunks" SET rowids = 7 WHERE chunk_id = 1',
        ],
    )
    @pytest.mark.parametrize("precision", [None, "bit"])
    def test_of_a_chunk(self, database: Any, precision: str | None, statement: str) -> None:
        """What is left would be found, and the nearest rows be missed."""
        table = Wide(64)
        table.run(migrations.AddIndex("thing", index(precision)))
        table.fill(clusters(2000, 64, 0.5))
        with table.connection.cursor() as cursor:
            cursor.execute(statement)
        for query in table.vectors[[3, 1500]]:
            table.check(query)


@pytest.mark.parametrize("way", ["numpy", "vec0"])
def test_temporary_tables_of_the_same_names(
    database: Any, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """SQLite reads these where a name has no schema."""
    if way == "vec0":
        monkeypatch.setattr(search, "aggregates", dict)
        monkeypatch.setattr(search, "saves", lambda wanted, rows: True)
    table = Wide(256)
    table.run(migrations.AddIndex("thing", index()))
    table.fill(RANDOM.normal(size=(2000, 256)))
    names = ("i", "i_chunks", "i_rowids", "i_vector_chunks00")
    with table.connection.cursor() as cursor:
        for name in names:
            cursor.execute(f'CREATE TEMP TABLE "{name}" (x)')
        with CaptureQueriesContext(table.connection) as sent:
            table.check(table.vectors[3])
        assert len(sent) == 1
        for name in names:
            cursor.execute(f'DROP TABLE temp."{name}"')


def test_errors_are_of_django(database: Any) -> None:
    """Also those of what is asked of an index before the search."""
    table = Wide(64)
    table.run(migrations.AddIndex("thing", index()))
    table.fill(clusters(20, 64, 0.5))
    raw = table.connection.connection
    raw.set_progress_handler(lambda: 1, 1)
    try:
        with pytest.raises(OperationalError, match=r"^interrupted$"):
            list(nearest(table.rows, "wide", table.vectors[3], k=10))
    finally:
        raw.set_progress_handler(None, 0)
    table.check(table.vectors[3])
