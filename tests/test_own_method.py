"""An index method of a project's own: one subclass, with options and search parameters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from django.core import checks
from django.db import NotSupportedError, connections, migrations
from django.db.migrations.writer import MigrationWriter

from dorm_vector import VectorQuerySet, models, nearest, search_params
from dorm_vector.checks import check_indexes, check_not_built
from dorm_vector.indexes import MethodIndex
from dorm_vector.options import Float, Int, Word
from dorm_vector.registry import METHODS
from dorm_vector.testing import explain_nearest
from tests.support.planner import forced
from tests.support.schema import Schema

ALIASES = ("default", "postgresql", "libsql")
TWO = np.float64(2)
OPTIONS = {
    "m": Int(2, 100, engines={"postgresql": Int(2, 50)}),
    "storage_layout": Word("plain", "memory_optimized"),
    "max_alpha": Float(1.0, 5.0),
}


class HopIndex(MethodIndex):
    """A graph on disk; see ``method`` below."""

    suffix = "hop"
    method = "hop"
    engines = frozenset({"postgresql"})
    metrics = {"vector": ("l2", "cosine")}
    options = OPTIONS
    search_options = {"hop_rescore": Int(0, 1000), "hop_mode": Word("fast", "good")}
    max_dimensions = {"vector": 16}


def index(**kwargs: Any) -> HopIndex:
    return HopIndex(**{"fields": ["embedding"], "name": "d", **kwargs})


@pytest.fixture(scope="module", autouse=True)
def registered() -> Iterator[None]:
    """Other modules count the methods that there are."""
    METHODS["hop"] = HopIndex
    yield
    del METHODS["hop"]


del METHODS["hop"]


@pytest.fixture
def method(db: None) -> Iterator[None]:
    """An access method ``hop``: the one of HNSW under another name."""
    with connections["postgresql"].cursor() as cursor:
        cursor.execute("CREATE ACCESS METHOD hop TYPE INDEX HANDLER hnswhandler")
        cursor.execute(
            "CREATE OPERATOR CLASS vector_l2_ops FOR TYPE vector USING hop AS "
            "OPERATOR 1 <-> (vector, vector) FOR ORDER BY float_ops, "
            "FUNCTION 1 vector_l2_squared_distance(vector, vector)"
        )
    yield
    with connections["postgresql"].cursor() as cursor:
        cursor.execute("DROP ACCESS METHOD hop CASCADE")


class TestDeclaration:
    def test_deconstruct(self) -> None:
        made = index(metric="cosine", m=8, storage_layout="plain", max_alpha=1.5)
        path, args, kwargs = made.deconstruct()
        assert path == "tests.test_own_method.HopIndex"
        assert args == ()
        assert kwargs == {
            "fields": ["embedding"],
            "name": "d",
            "metric": "cosine",
            "m": 8,
            "storage_layout": "plain",
            "max_alpha": 1.5,
        }
        assert HopIndex(**kwargs) == made
        written, imports = MigrationWriter.serialize(made)
        assert imports == {"import tests.test_own_method"}
        assert "storage_layout='plain'" in written

    @pytest.mark.parametrize(
        ("option", "value", "message"),
        [
            ("m", 1, "takes m from 2 to 100, not 1."),
            ("m", 8.0, "takes m from 2 to 100, not 8.0."),
            ("m", True, "takes m from 2 to 100, not True."),
            ("storage_layout", "x", "takes storage_layout of plain, memory_optimized, not 'x'."),
            ("storage_layout", 1, "takes storage_layout of plain, memory_optimized, not 1."),
            ("max_alpha", 5.5, "takes max_alpha from 1.0 to 5.0, not 5.5."),
            ("max_alpha", float("nan"), "takes max_alpha from 1.0 to 5.0, not nan."),
            (
                "max_alpha",
                np.float64(2),
                f"takes max_alpha from 1.0 to 5.0, not {np.float64(2)!r}.",
            ),
        ],
    )
    def test_bad_options(self, option: str, value: Any, message: str) -> None:
        with pytest.raises(ValueError, match=option) as caught:
            index(**{option: value})
        assert str(caught.value) == f"HopIndex(name='d') {message}"

    def test_an_unknown_option(self) -> None:
        with pytest.raises(TypeError, match="lists"):
            index(lists=3)

    def test_a_metric_that_it_lacks(self) -> None:
        with pytest.raises(ValueError, match="ip") as caught:
            index(metric="ip")
        assert str(caught.value) == (
            "HopIndex(name='d') has no metric 'ip'; use one of cosine, l2."
        )
        assert index(opclass="vector_cosine_ops").metric == "cosine"

    def test_an_option_that_is_none(self) -> None:
        with pytest.raises(TypeError) as caught:

            class Tuples(MethodIndex):
                options = {"m": (2, 100)}  # type: ignore[dict-item]

        assert str(caught.value) == (
            "Tuples declares the option 'm' as (2, 100): use Int, Float or Word of "
            "dorm_vector.options."
        )

    def test_a_method_has_one_class(self) -> None:
        with pytest.raises(ValueError, match="hnsw") as caught:

            class Second(MethodIndex):
                method = "hnsw"

        assert str(caught.value) == (
            "TestDeclaration.test_a_method_has_one_class.<locals>.Second needs another name than "
            "'hnsw', which HnswIndex has."
        )


@pytest.mark.django_db(databases=ALIASES, transaction=True)
class TestBuilding:
    @pytest.fixture
    def alias(self) -> str:
        return "postgresql"

    @pytest.fixture
    def schema(self, alias: str) -> Iterator[Schema]:
        schema = Schema(alias)
        yield schema
        with schema.connection.schema_editor() as editor:
            editor.delete_model(schema.model)

    def test_sql(self, schema: Schema) -> None:
        made = index(metric="cosine", m=8, storage_layout="memory_optimized", max_alpha=1.5)
        with schema.connection.schema_editor(collect_sql=True) as editor:
            sql = str(made.create_sql(schema.model, editor))
        assert sql == (
            'CREATE INDEX "d" ON "shop_thing" USING hop ("embedding" vector_cosine_ops) '
            "WITH (m = 8, storage_layout = 'memory_optimized', max_alpha = 1.5)"
        )

    def test_migrate_search_and_drop(self, method: None, schema: Schema) -> None:
        schema.run(migrations.AddIndex("thing", index(m=8)))
        assert "USING hop (embedding vector_l2_ops) WITH (m='8')" in schema.indexes()["d"]
        things = schema.model.objects.using("postgresql")
        vectors = np.random.default_rng(14).normal(size=(300, 3))
        things.bulk_create(schema.model(embedding=vector) for vector in vectors)
        with forced("postgresql"):
            found = nearest(things, "embedding", vectors[7], k=5, hop_rescore=50)
            expected = np.sort(np.linalg.norm(vectors - vectors[7], axis=1))[:5]
            assert [thing.distance for thing in found] == pytest.approx(expected, abs=1e-6)
            assert explain_nearest(found).index == "d"
        schema.run(migrations.RemoveIndex("thing", "d"))
        assert schema.indexes() == {}

    @pytest.mark.parametrize("alias", ["default", "libsql"])
    def test_where_it_is_not_built(self, alias: str, schema: Schema) -> None:
        schema.run(migrations.AddIndex("thing", index(m=8)))
        things = schema.model.objects.using(alias)
        things.create(embedding=[1, 2, 3])
        found = nearest(things, "embedding", [1, 2, 3], k=1, hop_mode="good")
        assert [thing.distance for thing in found] == [0.0]
        label = schema.connection.display_name
        assert explain_nearest(found).reason == (f"{label} has no hop index: d is not built.")
        schema.run(migrations.RemoveIndex("thing", "d"))

    def test_an_option_that_a_database_does_not_take(self, schema: Schema) -> None:
        with pytest.raises(NotSupportedError) as caught:
            schema.run(migrations.AddIndex("thing", index(m=60)))
        assert str(caught.value) == "PostgreSQL takes m from 2 to 50, and 'd' has 60."


class TestChecks:
    @pytest.fixture
    def model(self, isolated_model: Any) -> Any:
        return isolated_model

    @pytest.fixture
    def isolated_model(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
        from django.apps import apps
        from django.test.utils import isolate_apps

        with isolate_apps("tests.testapp"):

            class Wide(models.Model):
                embedding = models.VectorField(20)

                class Meta:
                    app_label = "testapp"
                    indexes = [index(m=60)]

            monkeypatch.setattr(apps, "get_models", lambda **kwargs: [Wide])
            yield Wide

    def test_dimensions_and_ranges(self, model: Any) -> None:
        assert [(message.id, message.msg) for message in check_indexes()] == [
            (
                "dorm_vector.E103",
                "'d' is over 20 dimensions, and an index of PostgreSQL takes 16 at most (database "
                "'postgresql').",
            ),
            (
                "dorm_vector.E109",
                "PostgreSQL takes m from 2 to 50, and 'd' has 60 (database 'postgresql').",
            ),
        ]

    def test_not_built(self, model: Any) -> None:
        assert [message.msg for message in check_not_built(databases=ALIASES)] == [
            f"{label} has no hop index: 'd' is not built on the database {alias!r}, and "
            "searches read every row."
            for alias, label in (("default", "SQLite"), ("libsql", "libSQL"))
        ]

    def test_among_all_checks(self, model: Any) -> None:
        found = {message.id for message in checks.run_checks(tags=["dorm_vector"], databases=[])}
        assert {"dorm_vector.E103", "dorm_vector.E109"} <= found


class TestSearchParameters:
    def current(self, name: str) -> str:
        with connections["postgresql"].cursor() as cursor:
            cursor.execute("SELECT current_setting(%s, true)", [name])
            return str(cursor.fetchone()[0] or "")

    def test_of_a_block(self, db: None) -> None:
        with search_params("postgresql", hop_rescore=33, hop_mode="fast", ef_search=50):
            assert self.current("hop.hop_rescore") == "33"
            assert self.current("hop.hop_mode") == "fast"
            assert self.current("hnsw.ef_search") == "50"
            assert self.current("hop.ef_search") == ""
        assert self.current("hop.hop_rescore") == ""

    @pytest.mark.parametrize("alias", ["default", "libsql"])
    def test_where_there_is_nothing_to_tune(self, alias: str, db: None) -> None:
        with search_params(alias, hop_rescore=33):
            assert connections[alias].in_atomic_block

    @pytest.mark.parametrize(
        ("params", "message"),
        [
            ({"hop_rescore": 1001}, "hop_rescore takes 0 to 1000, not 1001."),
            ({"hop_mode": "best"}, "hop_mode takes one of 'fast', 'good', not 'best'."),
        ],
    )
    def test_out_of_range(self, params: Any, message: str) -> None:
        from tests.testapp.models import Item

        for call in (
            lambda: search_params(**params),
            lambda: nearest(Item, "embedding", [1, 2, 3], **params),
            lambda: VectorQuerySet(Item).nearest("embedding", [1, 2, 3], **params),
        ):
            with pytest.raises(ValueError, match="takes") as caught:
                call()
            assert str(caught.value) == message

    def test_an_unknown_name(self) -> None:
        from tests.testapp.models import Item

        names = (
            "ef_search, iterative_scan, max_scan_tuples, scan_mem_multiplier, probes, "
            "query_search_list_size, query_rescore, hop_rescore, hop_mode"
        )
        with pytest.raises(TypeError) as caught:
            nearest(Item, "embedding", [1, 2, 3], metrc="l2")
        assert str(caught.value) == (
            f"nearest() has no keyword 'metrc'; indexes are searched with {names}."
        )
        with pytest.raises(TypeError) as caught:
            search_params(ef_serach=3)
        assert str(caught.value) == (
            f"search_params() has no keyword 'ef_serach'; indexes are searched with {names}."
        )


def test_a_kind_that_a_method_lacks() -> None:
    """The check says so, where it has no operator class to name instead."""
    from django.test.utils import isolate_apps

    from dorm_vector import IvfflatIndex

    with isolate_apps("tests.testapp"):

        class Terms(models.Model):
            weights = models.SparseVectorField(5)

            class Meta:
                app_label = "testapp"
                indexes = [IvfflatIndex(fields=["weights"], name="t", lists=3)]

        (message,) = Terms._meta.indexes[0].problems(Terms)
    assert (message.id, message.msg, message.hint) == (
        "dorm_vector.E102",
        "The operator class 'sparsevec_l2_ops' of 't' does not fit 'weights'.",
        "Use a field of another kind: the method has no operator class for this one.",
    )
