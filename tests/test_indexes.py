"""HnswIndex and IvfflatIndex: declaration, migrations, and the plans that use them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from django.conf import settings
from django.contrib.postgres.indexes import OpClass
from django.contrib.postgres.operations import AddIndexConcurrently, RemoveIndexConcurrently
from django.core.exceptions import FieldError
from django.db import NotSupportedError, connections, migrations
from django.db.migrations.autodetector import MigrationAutodetector
from django.db.migrations.state import ModelState, ProjectState
from django.db.migrations.writer import MigrationWriter
from django.db.models import F, Q

from dorm_vector import (
    CosineDistance,
    HnswIndex,
    IvfflatIndex,
    L1Distance,
    L2Distance,
    MaxInnerProduct,
    TextIndex,
    models,
)
from dorm_vector.checks import (
    check_coarse,
    check_equal_indexes,
    check_indexes,
    check_metrics,
    check_names,
    check_not_built,
    check_text_indexes,
)
from dorm_vector.engines import engine_for
from tests.support.matrix import only
from tests.support.schema import Schema, hnsw, ivfflat
from tests.testapp.models import Indexed

# The checks of models that read their indexes.
CHECKS = (
    check_coarse,
    check_equal_indexes,
    check_indexes,
    check_metrics,
    check_names,
    check_not_built,
    check_text_indexes,
)


class TestDeclaration:
    @pytest.mark.parametrize(
        ("given", "metric"),
        [
            ({}, "l2"),
            ({"metric": "cosine"}, "cosine"),
            ({"metric": "ip"}, "ip"),
            ({"opclass": "vector_l1_ops"}, "l1"),
            ({"opclasses": ["vector_cosine_ops"]}, "cosine"),
            ({"opclasses": ("vector_ip_ops",)}, "ip"),
            ({"opclass": "vector_ip_ops", "metric": "ip"}, "ip"),
        ],
    )
    def test_metric(self, given: dict[str, Any], metric: str) -> None:
        assert hnsw(**given).metric == metric

    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (
                lambda: hnsw(metric="euclid"),
                "HnswIndex(name='i') has no metric 'euclid'; use one of cosine, "
                "hamming, ip, jaccard, l1, l2.",
            ),
            (
                lambda: ivfflat(metric="l1"),
                "IvfflatIndex(name='i') has no metric 'l1'; use one of cosine, hamming, ip, l2.",
            ),
            (
                lambda: hnsw(opclass="int4_ops"),
                "HnswIndex(name='i') has no operator class 'int4_ops'; use one of "
                "bit_hamming_ops, bit_jaccard_ops, "
                "halfvec_cosine_ops, halfvec_ip_ops, halfvec_l1_ops, halfvec_l2_ops, "
                "sparsevec_cosine_ops, sparsevec_ip_ops, sparsevec_l1_ops, sparsevec_l2_ops, "
                "vector_cosine_ops, vector_ip_ops, vector_l1_ops, vector_l2_ops.",
            ),
            (
                lambda: hnsw(opclass="vector_l2_ops", metric="cosine"),
                "HnswIndex(name='i') got the metric 'cosine' and the operator class "
                "'vector_l2_ops', which is for 'l2'.",
            ),
            (
                lambda: hnsw(opclasses=["vector_l2_ops", "vector_ip_ops"]),
                "HnswIndex(name='i') takes one operator class, "
                "not ['vector_l2_ops', 'vector_ip_ops'].",
            ),
            (
                lambda: hnsw(fields=["embedding", "other"]),
                "HnswIndex(name='i') takes one field, not ['embedding', 'other'].",
            ),
            (
                lambda: hnsw(fields=["-embedding"]),
                "HnswIndex(name='i') takes no ordering: write 'embedding'.",
            ),
            (
                lambda: hnsw(include=["name"]),
                "HnswIndex(name='i') cannot include other columns: ('name',).",
            ),
            (lambda: hnsw(m=1), "HnswIndex(name='i') takes m from 2 to 100, not 1."),
            (lambda: hnsw(m=101), "HnswIndex(name='i') takes m from 2 to 100, not 101."),
            (lambda: hnsw(m="16"), "HnswIndex(name='i') takes m from 2 to 100, not '16'."),
            (
                lambda: hnsw(ef_construction=3),
                "HnswIndex(name='i') takes ef_construction from 4 to 1000, not 3.",
            ),
            (
                lambda: hnsw(ef_construction=1001),
                "HnswIndex(name='i') takes ef_construction from 4 to 1000, not 1001.",
            ),
            (
                lambda: hnsw(m=40),
                "HnswIndex(name='i') takes ef_construction of at least 2 * m = 80, not 64.",
            ),
            (
                lambda: IvfflatIndex(fields=["embedding"], name="i"),
                "IvfflatIndex(name='i') needs lists, the number of clusters: 1 to 32768.",
            ),
            (
                lambda: ivfflat(lists=0),
                "IvfflatIndex(name='i') takes lists from 1 to 32768, not 0.",
            ),
            (
                lambda: HnswIndex(F("embedding"), name="i", metric="l2"),
                "HnswIndex(name='i') takes one expression, "
                "with its operator class in an OpClass().",
            ),
        ],
    )
    def test_refused_in_one_sentence(self, make: Any, message: str) -> None:
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            make()

    def test_unknown_keyword(self) -> None:
        with pytest.raises(TypeError, match="lists"):
            hnsw(lists=10)

    def test_deconstruct(self) -> None:
        index = hnsw(opclass="vector_cosine_ops", m=8, condition=Q(category=1))
        path, args, kwargs = index.deconstruct()
        assert path == "dorm_vector.indexes.HnswIndex"
        assert args == ()
        assert kwargs == {
            "fields": ["embedding"],
            "name": "i",
            "metric": "cosine",
            "m": 8,
            "condition": Q(category=1),
        }
        assert index.clone() == index

    def test_spellings_are_equal(self) -> None:
        spellings = (
            {"opclass": "vector_ip_ops"},
            {"opclasses": ["vector_ip_ops"]},
            {"metric": "ip"},
        )
        first, *others = (hnsw(**spelling) for spelling in spellings)
        assert all(other == first for other in others)
        assert hnsw() == hnsw(metric="l2")
        assert hnsw(m=16) != hnsw(m=17)

    def test_written_migration(self) -> None:
        text, imports = MigrationWriter.serialize(ivfflat(metric="cosine"))
        assert text == (
            "dorm_vector.indexes.IvfflatIndex("
            "fields=['embedding'], lists=10, metric='cosine', name='i')"
        )
        assert imports == {"import dorm_vector.indexes"}

    def test_automatic_names_end_in_the_method(self) -> None:
        for index, suffix in ((hnsw(name=None), "hnsw"), (ivfflat(name=None), "ivfflat")):
            index.set_name_with_model(Indexed)
            assert index.name.endswith(f"_{suffix}")
            assert len(index.name) <= index.max_name_length


class TestAutodetector:
    def changes(self, before: Any, after: Any) -> list[Any]:
        states = [self.state(index) for index in (before, after)]
        found = MigrationAutodetector(*states)._detect_changes()
        return [operation for (migration,) in found.values() for operation in migration.operations]

    def state(self, index: Any) -> ProjectState:
        state = ProjectState()
        fields = [("id", models.AutoField(primary_key=True)), ("embedding", models.VectorField(3))]
        state.add_model(ModelState("shop", "Thing", fields, {"indexes": [index]}))
        return state

    def test_a_change_of_m_is_found(self) -> None:
        removed, added = self.changes(hnsw(m=8), hnsw(m=9))
        assert isinstance(removed, migrations.RemoveIndex)
        assert isinstance(added, migrations.AddIndex)
        assert added.index.m == 9

    def test_another_spelling_is_no_change(self) -> None:
        assert self.changes(hnsw(opclasses=["vector_cosine_ops"]), hnsw(metric="cosine")) == []

    def test_a_rename_is_found(self) -> None:
        (renamed,) = self.changes(hnsw(), hnsw(name="j"))
        assert isinstance(renamed, migrations.RenameIndex)


@pytest.fixture(params=list(settings.ENGINES), ids=list(settings.ENGINES.values()))
def schema(request: pytest.FixtureRequest, transactional_db: None) -> Iterator[Schema]:
    schema = Schema(request.param)
    yield schema
    with schema.connection.schema_editor() as editor:
        editor.delete_model(schema.model)


@pytest.mark.django_db(databases="__all__", transaction=True)
class TestMigrations:
    """Every operation runs on every engine; what it leaves behind is read from PostgreSQL."""

    def test_add_twice_and_remove_twice(self, schema: Schema) -> None:
        for _ in range(2):
            operation = migrations.AddIndex("thing", hnsw(metric="cosine", m=8, ef_construction=32))
            schema.run(operation)
            self.compare(
                schema,
                {
                    "i": "CREATE INDEX i ON public.shop_thing USING hnsw "
                    "(embedding vector_cosine_ops) WITH (m='8', ef_construction='32')"
                },
            )
            schema.undo(operation)
            self.compare(schema, {})

    def test_several_on_one_column(self, schema: Schema) -> None:
        for index in (
            hnsw(name="a"),
            hnsw(name="b", metric="l1"),
            ivfflat(name="c", metric="ip"),
            hnsw(name="d", metric="ip", condition=Q(category__gt=3)),
        ):
            schema.run(migrations.AddIndex("thing", index))
        prefix = "ON public.shop_thing USING"
        self.compare(
            schema,
            {
                "a": f"CREATE INDEX a {prefix} hnsw (embedding vector_l2_ops)",
                "b": f"CREATE INDEX b {prefix} hnsw (embedding vector_l1_ops)",
                "c": f"CREATE INDEX c {prefix} ivfflat (embedding vector_ip_ops) WITH (lists='10')",
                "d": f"CREATE INDEX d {prefix} hnsw (embedding vector_ip_ops) WHERE (category > 3)",
            },
        )

    def test_rename_and_remove(self, schema: Schema) -> None:
        schema.run(migrations.AddIndex("thing", hnsw()))
        schema.run(migrations.RenameIndex("thing", new_name="j", old_name="i"))
        self.compare(
            schema,
            {"j": "CREATE INDEX j ON public.shop_thing USING hnsw (embedding vector_l2_ops)"},
        )
        removal = migrations.RemoveIndex("thing", "j")
        schema.run(removal)
        self.compare(schema, {})
        schema.undo(removal)
        assert set(schema.indexes()) in ({"j"}, set())

    def test_the_table_is_rebuilt_and_renamed(self, schema: Schema) -> None:
        schema.run(migrations.AddIndex("thing", hnsw()))
        schema.run(migrations.AlterField("thing", "category", models.CharField(max_length=9)))
        schema.run(migrations.RenameField("thing", "embedding", "vector"))
        schema.run(migrations.RemoveIndex("thing", "i"))
        schema.run(migrations.AddIndex("thing", hnsw(fields=["vector"])))
        schema.run(migrations.AddField("thing", "note", models.TextField(default="")))
        schema.model.objects.using(schema.connection.alias).create(vector=[1, 2, 3])
        schema.run(migrations.RemoveField("thing", "category"))
        self.compare(
            schema, {"i": "CREATE INDEX i ON public.shop_thing USING hnsw (vector vector_l2_ops)"}
        )
        assert schema.model.objects.using(schema.connection.alias).get().vector == [1, 2, 3]

    def test_expression_index(self, schema: Schema) -> None:
        index = HnswIndex(OpClass(F("embedding"), name="vector_ip_ops"), name="i", m=4)
        schema.run(migrations.AddIndex("thing", index))
        self.compare(
            schema,
            {
                "i": "CREATE INDEX i ON public.shop_thing USING hnsw "
                "(embedding vector_ip_ops) WITH (m='4')"
            },
        )

    def compare(self, schema: Schema, expected: dict[str, str]) -> None:
        built = schema.connection.vendor == "postgresql"
        assert schema.indexes() == (expected if built else {})

    def test_changed_dimensions_are_refused_with_rows_there(self, schema: Schema) -> None:
        schema.model.objects.using(schema.connection.alias).create(embedding=[1, 2, 3])
        for field, made in (
            (models.VectorField(4, null=True), "vector(4)"),
            (models.HalfVectorField(3, null=True), "halfvec(3)"),
            (models.BitField(length=96, null=True), "bit(96)"),
        ):
            with pytest.raises(NotSupportedError) as caught:
                schema.run(migrations.AlterField("thing", "embedding", field))
            assert str(caught.value) == (
                "Thing.embedding holds vectors of vector(3), which AlterField cannot convert to "
                f"{made}: use ChangeVectorDimensions, or add a field, fill it, and remove the old "
                "one."
            )
        assert schema.model.objects.using(schema.connection.alias).get().embedding == [1, 2, 3]

    def test_other_changes_of_a_field_with_rows_there(self, schema: Schema) -> None:
        manager = schema.model.objects.using(schema.connection.alias)
        manager.create(embedding=[1, 2, 3])
        named = models.VectorField(3, null=True, help_text="x", verbose_name="y")
        schema.run(migrations.AlterField("thing", "embedding", named))
        assert manager.get().embedding == [1, 2, 3]

    def test_changed_dimensions_of_an_empty_table(self, schema: Schema) -> None:
        schema.run(migrations.AddIndex("thing", hnsw()))
        schema.run(migrations.AlterField("thing", "embedding", models.VectorField(4, null=True)))
        manager = schema.model.objects.using(schema.connection.alias)
        assert manager.create(embedding=[1, 2, 3, 4]).pk

    def test_sqlmigrate_text(self, schema: Schema) -> None:
        index = hnsw(metric="cosine", m=8, condition=Q(category=1))
        expected = {
            "postgresql": (
                'CREATE INDEX "i" ON "shop_thing" USING hnsw ("embedding" vector_cosine_ops) '
                'WITH (m = 8) WHERE "category" = 1;'
            ),
            "sqlite": "SELECT 'SQLite has no hnsw index: i is not built';",
            "libsql": "SELECT 'libSQL has no hnsw index: i is not built';",
        }
        added = schema.sql(migrations.AddIndex("thing", index))
        assert added == expected[engine_for(schema.connection).name]

    @only("postgresql", fixture="schema")
    def test_misfit_opclass_is_refused(self, schema: Schema) -> None:
        index = hnsw(fields=["category"])
        with pytest.raises(FieldError, match=r"needs a vector field, and shop\.Thing\.category"):
            schema.run(migrations.AddIndex("thing", index))


@pytest.mark.django_db(databases=["postgresql"], transaction=True)
class TestConcurrently:
    def test_add_and_remove(self, transactional_db: None) -> None:
        schema = Schema("postgresql")
        operation = AddIndexConcurrently("thing", hnsw(metric="cosine", m=8))
        try:
            schema.run(operation, atomic=False)
            assert schema.indexes() == {
                "i": "CREATE INDEX i ON public.shop_thing USING hnsw "
                "(embedding vector_cosine_ops) WITH (m='8')"
            }
            removal = RemoveIndexConcurrently("thing", "i")
            schema.run(removal, atomic=False)
            assert schema.indexes() == {}
            schema.undo(removal, atomic=False)
            schema.undo(operation, atomic=False)
            assert schema.indexes() == {}
        finally:
            schema.run(migrations.DeleteModel("thing"))


@pytest.mark.django_db(databases=["postgresql"])
class TestPlans:
    """An index test proves that the index is used."""

    @pytest.fixture(autouse=True)
    def rows(self) -> None:
        vectors = np.random.default_rng(5).normal(size=(500, 8))
        Indexed.objects.using("postgresql").bulk_create(
            Indexed(category=position % 200, embedding=vector)
            for position, vector in enumerate(vectors)
        )
        with connections["postgresql"].cursor() as cursor:
            cursor.execute("ANALYZE testapp_indexed")
            cursor.execute("SET LOCAL enable_seqscan = off")

    def plan(self, queryset: Any) -> str:
        return queryset.using("postgresql").explain()

    @pytest.mark.parametrize(
        ("function", "index"), [(L2Distance, "indexed_l2"), (MaxInnerProduct, "indexed_ip")]
    )
    def test_used_for_its_metric(self, function: Any, index: str) -> None:
        queryset = Indexed.objects.order_by(function("embedding", [1] * 8))[:5]
        assert f"Index Scan using {index}" in self.plan(queryset)

    def test_used_through_an_annotation(self) -> None:
        queryset = Indexed.objects.annotate(d=L2Distance("embedding", [1] * 8)).order_by("d", "pk")
        assert "Index Scan using indexed_l2" in self.plan(queryset[:5])

    def test_partial_index_is_used_with_its_condition(self) -> None:
        queryset = Indexed.objects.order_by(CosineDistance("embedding", [1] * 8))
        assert "indexed_cosine" not in self.plan(queryset[:5])
        assert "Index Scan using indexed_cosine" in self.plan(queryset.filter(category__lt=100)[:5])

    def test_no_index_for_another_metric(self) -> None:
        plan = self.plan(Indexed.objects.order_by(L1Distance("embedding", [1] * 8))[:5])
        assert "indexed_" not in plan


class TestChecks:
    @pytest.fixture(autouse=True)
    def registry(self, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
        found: list[Any] = []
        monkeypatch.setattr("dorm_vector.checks.apps.get_models", lambda **kwargs: found)
        self.models = found
        return found

    def model(self, *indexes: Any, dimensions: int = 3) -> None:
        state = ProjectState()
        fields = [
            ("id", models.AutoField(primary_key=True)),
            ("name", models.TextField()),
            ("embedding", models.VectorField(dimensions)),
        ]
        state.add_model(ModelState("shop", "Thing", fields, {"indexes": list(indexes)}))
        self.models.append(state.apps.get_model("shop", "Thing"))

    def test_fitting(self) -> None:
        self.model(hnsw(metric="l1"), ivfflat(name="j"), dimensions=2000)
        assert check_indexes() == []

    def test_no_vector_field(self) -> None:
        self.model(hnsw(fields=["name"]))
        (message,) = check_indexes()
        assert message.id == "dorm_vector.E101"
        assert message.msg == "'i' needs a vector field, and 'name' is not one."

    @pytest.mark.parametrize(
        "index",
        [
            hnsw(fields=["nowhere"]),
            hnsw(fields=["nowhere"], metric="cosine", precision="bit"),
            TextIndex(fields=["name", "nowhere"], name="i"),
        ],
    )
    def test_a_field_that_does_not_exist(self, index: Any) -> None:
        """Django itself reports it, and no check stumbles over it."""
        self.model(index)
        for check in CHECKS:
            assert check(databases=["default"]) == []
        assert "models.E012" in [
            message.id for message in self.models[0].check(databases=["default"])
        ]

    def test_too_many_dimensions(self) -> None:
        self.model(hnsw(), dimensions=2001)
        (message,) = check_indexes()
        assert message.id == "dorm_vector.E103"
        assert message.msg == (
            "'i' is over 2001 dimensions, and an index of PostgreSQL takes 2000 at most "
            "(database 'postgresql')."
        )

    def test_not_built(self) -> None:
        self.model(hnsw())
        assert check_not_built() == []
        assert check_not_built(databases=["postgresql"]) == []
        (message,) = check_not_built(databases=["default", "postgresql"])
        assert message.id == "dorm_vector.I101"
        assert message.msg == (
            "SQLite has no hnsw index: 'i' is not built on the database 'default', and searches "
            "read every row."
        )
