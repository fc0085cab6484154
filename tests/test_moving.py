"""Moving from pgvector.django: what its README shows works, and migrations change nothing."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pgvector.django
import pytest
from django.apps import apps
from django.conf import settings
from django.contrib.postgres.indexes import OpClass
from django.core.management import call_command
from django.db import connections, migrations
from django.db.models import Avg, Func, Model, Sum, Value
from django.db.models.functions import Cast
from django.test.utils import CaptureQueriesContext, isolate_apps, override_settings
from pgvector import Bit, HalfVector, SparseVector, Vector

import dorm_vector
from dorm_vector import (
    BinaryQuantize,
    BitField,
    CosineDistance,
    HalfVectorField,
    HammingDistance,
    HnswIndex,
    IvfflatIndex,
    JaccardDistance,
    L1Distance,
    L2Distance,
    MaxInnerProduct,
    SparseVectorField,
    Subvector,
    VectorExtension,
    VectorField,
)
from tests.support.planner import forced

ALIAS = "postgresql"
ROWS = {
    1: ([1, 1, 1], "000"),
    2: ([2, 2, 2], "101"),
    3: ([1, 1, 2], "111"),
}


def test_every_name_of_theirs_is_here() -> None:
    assert set(pgvector.django.__all__) <= set(dorm_vector.__all__)


@pytest.fixture
def item(db: None) -> type[Model]:
    """The README's model, with its table on PostgreSQL."""
    from django.db import models

    with isolate_apps("tests.testapp"):

        class Item(models.Model):
            embedding = VectorField(dimensions=3, null=True, blank=True)
            half_embedding = HalfVectorField(dimensions=3, null=True, blank=True)
            binary_embedding = BitField(length=3, null=True, blank=True)
            sparse_embedding = SparseVectorField(dimensions=3, null=True, blank=True)

            class Meta:
                app_label = "testapp"
                db_table = "readme_item"
                indexes = [
                    HnswIndex(
                        name="my_index",
                        fields=["embedding"],
                        m=16,
                        ef_construction=64,
                        opclasses=["vector_l2_ops"],
                    ),
                    IvfflatIndex(
                        name="my_lists",
                        fields=["embedding"],
                        lists=1,
                        opclasses=["vector_l2_ops"],
                    ),
                ]

    with connections[ALIAS].schema_editor() as editor:
        VectorExtension().database_forwards("testapp", editor, None, None)
        editor.create_model(Item)
    return Item


@pytest.fixture
def rows(item: Any) -> Any:
    for pk, (vector, bits) in ROWS.items():
        item(
            id=pk,
            embedding=vector,
            half_embedding=vector,
            binary_embedding=bits,
            sparse_embedding=SparseVector(vector),
        ).save(using=ALIAS)
    return item.objects.using(ALIAS)


class TestValues:
    def test_insert(self, item: Any) -> None:
        made = item(embedding=[1, 2, 3])
        made.save(using=ALIAS)
        read = item.objects.using(ALIAS).get()
        assert read.embedding == [1.0, 2.0, 3.0]
        assert read.half_embedding is read.binary_embedding is read.sparse_embedding is None

    @pytest.mark.parametrize(
        ("name", "value", "read"),
        [
            ("embedding", np.array([1, 2, 3]), [1.0, 2.0, 3.0]),
            ("embedding", Vector([1, 2, 3]), [1.0, 2.0, 3.0]),
            ("half_embedding", [1, 2, 3], [1.0, 2.0, 3.0]),
            ("half_embedding", HalfVector([1, 2, 3]), [1.0, 2.0, 3.0]),
            ("half_embedding", np.array([1, 2, 3], "f2"), [1.0, 2.0, 3.0]),
            ("binary_embedding", "101", "101"),
            ("binary_embedding", Bit("101"), "101"),
            ("binary_embedding", np.array([True, False, True]), "101"),
            ("sparse_embedding", SparseVector([1, 0, 3]), SparseVector([1, 0, 3])),
            ("sparse_embedding", [1, 0, 3], SparseVector([1, 0, 3])),
            ("sparse_embedding", SparseVector({0: 1, 2: 3}, 3), SparseVector([1, 0, 3])),
        ],
    )
    def test_what_they_take_and_what_is_read(
        self, item: Any, name: str, value: Any, read: Any
    ) -> None:
        item.objects.using(ALIAS).create(**{name: value})
        assert getattr(item.objects.using(ALIAS).get(), name) == read

    def test_full_clean_and_get_or_create(self, item: Any) -> None:
        item(embedding=[1, 2, 3], binary_embedding="101").full_clean(validate_unique=False)
        manager = item.objects.using(ALIAS)
        assert manager.get_or_create(embedding=[1, 2, 3])[1]
        assert not manager.get_or_create(embedding=[1, 2, 3])[1]


VECTOR, HALF, SPARSE = [1, 1, 1], HalfVector([1, 1, 1]), SparseVector([1, 1, 1])
OF_FLOATS: dict[Any, tuple[list[int], list[float]]] = {
    L2Distance: ([1, 3, 2], [0, 1, 3**0.5]),
    MaxInnerProduct: ([2, 3, 1], [-6, -4, -3]),
    CosineDistance: ([1, 2, 3], [0, 0, 0.05719095841793653]),
    L1Distance: ([1, 3, 2], [0, 1, 3]),
}
OF_BITS: dict[Any, tuple[list[int], list[float]]] = {
    HammingDistance: ([2, 3, 1], [0, 1, 2]),
    JaccardDistance: ([2, 3, 1], [0, 1 / 3, 1]),
}
CASES = [
    *(
        (function, name, query, *expected)
        for function, expected in OF_FLOATS.items()
        for name, query in (
            ("embedding", VECTOR),
            ("half_embedding", HALF),
            ("sparse_embedding", SPARSE),
        )
    ),
    *((function, "binary_embedding", "101", *expected) for function, expected in OF_BITS.items()),
]


class TestDistances:
    @pytest.mark.parametrize(("function", "name", "query", "order", "distances"), CASES)
    def test_nearest_neighbours(
        self, rows: Any, function: Any, name: str, query: Any, order: Any, distances: Any
    ) -> None:
        distance = function(name, query)
        found = rows.annotate(distance=distance).order_by(distance, "pk")[:5]
        assert [row.id for row in found] == order
        assert [row.distance for row in found] == pytest.approx(distances, abs=1e-7)

    def test_within_a_distance(self, rows: Any) -> None:
        near = rows.alias(distance=L2Distance("embedding", [1, 1, 1])).filter(distance__lt=1)
        assert [row.id for row in near] == [1]

    def test_an_expression_needs_to_be_a_vector(self, rows: Any) -> None:
        bits = Value("101", output_field=BitField(length=3))
        found = rows.order_by(HammingDistance("binary_embedding", bits), "pk")
        assert [row.id for row in found] == [2, 3, 1]


class TestAggregates:
    @pytest.mark.parametrize("name", ["embedding", "half_embedding"])
    def test_avg_and_sum(self, item: Any, name: str) -> None:
        manager = item.objects.using(ALIAS)
        assert manager.aggregate(Avg(name), Sum(name)) == {
            f"{name}__avg": None,
            f"{name}__sum": None,
        }
        manager.create(**{name: [1, 2, 3]})
        manager.create(**{name: [4, 5, 6]})
        assert manager.aggregate(Avg(name), Sum(name)) == {
            f"{name}__avg": [2.5, 3.5, 4.5],
            f"{name}__sum": [5.0, 7.0, 9.0],
        }


class TestIndexes:
    def plan(self, queryset: Any) -> str:
        with forced(ALIAS):
            return str(queryset.explain())

    def add(self, item: Any, index: Any) -> str:
        with connections[ALIAS].schema_editor() as editor:
            editor.add_index(item, index)
            return str(index.create_sql(item, editor))

    def test_declared(self, rows: Any) -> None:
        found = rows.order_by(L2Distance("embedding", [3, 1, 2]))[:5]
        assert re.search("Index Scan using my_(index|lists)", self.plan(found))

    @pytest.mark.parametrize(
        ("index", "function"),
        [
            (
                HnswIndex(name="n", fields=["embedding"], opclasses=["vector_ip_ops"]),
                MaxInnerProduct,
            ),
            (
                HnswIndex(name="n", fields=["embedding"], opclasses=["vector_cosine_ops"]),
                CosineDistance,
            ),
            (HnswIndex(name="n", fields=["embedding"], opclasses=["vector_l1_ops"]), L1Distance),
            (
                IvfflatIndex(
                    name="n", fields=["embedding"], lists=1, opclasses=["vector_cosine_ops"]
                ),
                CosineDistance,
            ),
        ],
    )
    def test_operator_classes(self, item: Any, index: Any, function: Any) -> None:
        self.add(item, index)
        found = item.objects.using(ALIAS).order_by(function("embedding", [3, 1, 2]))[:5]
        assert "Index Scan using n " in self.plan(found)

    @pytest.mark.parametrize(
        ("name", "opclass", "distance"),
        [
            ("half_embedding", "halfvec_l2_ops", L2Distance("half_embedding", [3, 1, 2])),
            ("binary_embedding", "bit_hamming_ops", HammingDistance("binary_embedding", "101")),
            ("sparse_embedding", "sparsevec_l2_ops", L2Distance("sparse_embedding", SPARSE)),
        ],
    )
    def test_other_kinds(self, item: Any, name: str, opclass: str, distance: Any) -> None:
        self.add(item, HnswIndex(name="n", fields=[name], opclasses=[opclass]))
        assert "Index Scan using n " in self.plan(item.objects.using(ALIAS).order_by(distance)[:5])

    @pytest.mark.parametrize(
        ("expression", "opclass", "distance", "order"),
        [
            (
                Cast("embedding", HalfVectorField(dimensions=3)),
                "halfvec_l2_ops",
                lambda vector: L2Distance(vector, [1, 1, 1]),
                [1, 3, 2],
            ),
            (
                Cast(BinaryQuantize("embedding"), BitField(length=3)),
                "bit_hamming_ops",
                lambda bits: HammingDistance(bits, "111"),
                None,
            ),
            (
                Cast(Func("embedding", function="binary_quantize"), BitField(length=3)),
                "bit_hamming_ops",
                lambda bits: HammingDistance(bits, "111"),
                None,
            ),
            (
                Cast(Subvector("embedding", 2, 2), VectorField(dimensions=2)),
                "vector_l2_ops",
                lambda vector: L2Distance(vector, [1, 1]),
                [1, 3, 2],
            ),
            (
                Cast(Func("embedding", 2, 2, function="subvector"), VectorField(dimensions=2)),
                "vector_l2_ops",
                lambda vector: L2Distance(vector, [1, 1]),
                [1, 3, 2],
            ),
        ],
        ids=["half", "bits", "bits by Func", "subvector", "subvector by Func"],
    )
    def test_expressions(
        self, rows: Any, item: Any, expression: Any, opclass: str, distance: Any, order: Any
    ) -> None:
        index = HnswIndex(
            OpClass(expression, name=opclass), name="my_expression", m=16, ef_construction=64
        )
        sql = self.add(item, index)
        assert f"{opclass}) WITH (m = 16, ef_construction = 64)" in sql
        found = rows.order_by(distance(expression))[:5]
        assert "Index Scan using my_expression" in self.plan(found)
        if order:
            assert [row.id for row in found] == order


# Migrations

MODELS = """
from django.db import models
from {module} import (
    BitField, HalfVectorField, HnswIndex, IvfflatIndex, SparseVectorField, VectorField
)


class Book(models.Model):
    title = models.CharField(max_length=20)
    vector = VectorField(dimensions=3)
    half = HalfVectorField(dimensions=3, null=True)
    bits = BitField(length=10, null=True)
    sparse = SparseVectorField(dimensions=5, null=True)

    class Meta:
        indexes = [
            HnswIndex(fields=["vector"], name="book_vector", m=8, opclasses=["vector_cosine_ops"]),
            IvfflatIndex(fields=["half"], name="book_half", lists=1, opclasses=["halfvec_l2_ops"]),
        ]
"""

EXTENSION = """
from django.db import migrations
from pgvector.django import VectorExtension


class Migration(migrations.Migration):
    operations = [VectorExtension()]
"""

STATE_ONLY = """
import dorm_vector.fields
import dorm_vector.indexes
from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("shelf", "0002_book")]
    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.RemoveIndex("book", "book_vector"),
                migrations.RemoveIndex("book", "book_half"),
                migrations.AlterField(
                    "book", "vector", dorm_vector.fields.VectorField(dimensions=3)
                ),
                migrations.AlterField(
                    "book", "half", dorm_vector.fields.HalfVectorField(dimensions=3, null=True)
                ),
                migrations.AlterField(
                    "book", "bits", dorm_vector.fields.BitField(length=10, null=True)
                ),
                migrations.AlterField(
                    "book", "sparse", dorm_vector.fields.SparseVectorField(dimensions=5, null=True)
                ),
                migrations.AddIndex(
                    "book",
                    dorm_vector.indexes.HnswIndex(
                        fields=["vector"], name="book_vector", m=8, metric="cosine"
                    ),
                ),
                migrations.AddIndex(
                    "book",
                    dorm_vector.indexes.IvfflatIndex(
                        fields=["half"], name="book_half", lists=1, metric="l2"
                    ),
                ),
            ],
        ),
    ]
"""

#: What docs/moving.rst has sed do to the files of old migrations.
REPLACEMENTS = [
    (r"pgvector\.django\.(vector|halfvec|bit|sparsevec)\b", "dorm_vector.fields"),
    (r"pgvector\.django\.indexes\b", "dorm_vector.indexes"),
    (r"pgvector\.django\.extensions\b", "dorm_vector.operations"),
    (r"pgvector\.django\b", "dorm_vector"),
]
CHANGES = re.compile(r"^\s*(ALTER|CREATE|DROP|UPDATE|REINDEX)\b")


class Project:
    """The app ``shelf`` in a folder, whose models and migrations change."""

    def __init__(self, folder: Path) -> None:
        self.app = folder / "shelf"
        (self.app / "migrations").mkdir(parents=True)
        for name in ("__init__.py", "migrations/__init__.py"):
            (self.app / name).write_text("")
        self.write("migrations/0001_extension.py", EXTENSION)

    def write(self, name: str, text: str) -> None:
        (self.app / name).write_text(text)

    def use(self, module: str) -> None:
        self.write("models.py", MODELS.format(module=module))

    def run(self, *arguments: Any, **options: Any) -> list[str]:
        """Run a command in what is a new process to the app; return the statements that change."""
        self.forget()
        installed = [*settings.INSTALLED_APPS, "shelf"]
        with (
            override_settings(INSTALLED_APPS=installed, DATABASE_ROUTERS=[]),
            CaptureQueriesContext(connections["scratch"]) as queries,
        ):
            call_command(*arguments, verbosity=0, **options)
        self.forget()
        return [
            query["sql"]
            for query in queries.captured_queries
            if CHANGES.match(query["sql"]) and "django_migrations" not in query["sql"]
        ]

    def migrate(self, *target: str) -> list[str]:
        return self.run("migrate", "shelf", *target, database="scratch")

    def make(self, **options: Any) -> None:
        self.run("makemigrations", "shelf", interactive=False, **options)

    def up_to_date(self) -> bool:
        try:
            self.make(check_changes=True, dry_run=True)
        except SystemExit:
            return False
        return True

    def forget(self) -> None:
        for name in [name for name in sys.modules if name.split(".")[0] == "shelf"]:
            del sys.modules[name]
        apps.all_models.pop("shelf", None)
        apps.clear_cache()
        importlib.invalidate_caches()


@pytest.fixture
def project(scratch: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """An app that pgvector.django's migrations have made the table of, with a row in it."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(str(tmp_path))
    scratch()
    project = Project(tmp_path)
    project.use("pgvector.django")
    project.make(name="book")
    assert project.migrate()
    with connections["scratch"].cursor() as cursor:
        cursor.execute(
            "INSERT INTO shelf_book (title, vector, half, bits, sparse) VALUES "
            "('one', '[0.1,2,3]', '[0.1,2,3]', B'1010101011', '{1:0.5,3:2}/5')"
        )
    yield project
    project.forget()


def stored() -> Any:
    """The rows as text, and what the table and its indexes are kept in."""
    with connections["scratch"].cursor() as cursor:
        cursor.execute("SELECT book::text, ctid::text FROM shelf_book AS book")
        found = cursor.fetchall()
        cursor.execute(
            "SELECT relname, oid, relfilenode FROM pg_class WHERE relname IN "
            "('shelf_book', 'book_vector', 'book_half') ORDER BY 1"
        )
        files = cursor.fetchall()
        cursor.execute(
            "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute "
            "WHERE attrelid = 'shelf_book'::regclass AND attnum > 0 ORDER BY attnum"
        )
        return found, files, cursor.fetchall()


class TestMigrations:
    def test_old_files_with_the_imports_replaced(self, project: Project) -> None:
        before = stored()
        project.use("dorm_vector")
        assert not project.up_to_date()
        for path in (project.app / "migrations").glob("0*.py"):
            text = path.read_text()
            for pattern, replacement in REPLACEMENTS:
                text = re.sub(pattern, replacement, text)
            assert "pgvector.django" not in text
            path.write_text(text)
        assert project.up_to_date()
        assert project.migrate() == []
        assert stored() == before
        assert project.migrate("zero")
        assert len(project.migrate()) >= 3
        assert stored()[2] == before[2]

    def test_a_migration_of_the_state_alone(self, project: Project) -> None:
        before = stored()
        project.use("dorm_vector")
        project.write("migrations/0003_dorm_vector.py", STATE_ONLY)
        assert project.up_to_date()
        assert project.migrate() == []
        assert stored() == before
        assert project.migrate("0002") == []
        assert stored() == before
        assert project.migrate("zero")
        assert project.migrate()
        assert stored()[2] == before[2]

    def test_what_makemigrations_writes_by_itself_builds_the_indexes_anew(
        self, project: Project
    ) -> None:
        before = stored()
        project.use("dorm_vector")
        project.make(name="by_itself")
        statements = project.migrate()
        assert [statement.split()[:2] for statement in statements] == [
            ["DROP", "INDEX"],
            ["DROP", "INDEX"],
            ["CREATE", "INDEX"],
            ["CREATE", "INDEX"],
        ]
        after = stored()
        assert (after[0], after[2]) == (before[0], before[2])
        assert after[1] != before[1]

    def test_the_rows_are_read(self, project: Project) -> None:
        read = {
            "vector": (VectorField(3), np.array([0.1, 2, 3], "f4").tolist()),
            "half": (HalfVectorField(3), np.array([0.1, 2, 3], "f2").tolist()),
            "bits": (BitField(10), "1010101011"),
            "sparse": (SparseVectorField(5), SparseVector({0: 0.5, 2: 2.0}, 5)),
        }
        from django.db import models

        with isolate_apps("tests.testapp"):
            fields = {name: field for name, (field, _) in read.items()}
            meta = type("Meta", (), {"app_label": "testapp", "db_table": "shelf_book"})
            book: Any = type(
                "Book", (models.Model,), {"__module__": __name__, "Meta": meta, **fields}
            )
        row = book.objects.using("scratch").get()
        assert {name: getattr(row, name) for name in read} == {
            name: value for name, (_, value) in read.items()
        }


def test_the_replacements_are_those_of_the_page() -> None:
    page = (Path(__file__).parent.parent / "docs" / "moving.rst").read_text()
    for pattern, replacement in REPLACEMENTS:
        assert f"s/{pattern}/{replacement}/g" in page
    names = re.findall(r"migrations\.\w+", STATE_ONLY)
    assert {name for name in names if hasattr(migrations, name.split(".")[1])}
