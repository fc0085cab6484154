"""Indexes of signs and of prefixes: candidates by them, the order by the true distance."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from django.conf import settings
from django.core import checks
from django.db import connections, migrations
from django.db.migrations.state import ModelState, ProjectState

from dorm_vector import HnswIndex, VectorIndex, models, nearest
from dorm_vector.checks import check_coarse
from dorm_vector.engines import engine_for
from dorm_vector.testing import explain_nearest
from tests.support import oracle
from tests.support.matrix import only
from tests.support.planner import forced
from tests.support.schema import Schema, hnsw

DIMENSIONS, ROWS = 37, 400
RANDOM = np.random.default_rng(31)
# The first components say the most, as in embeddings of the Matryoshka kind.
VECTORS = (RANDOM.normal(size=(ROWS, DIMENSIONS)) * np.linspace(3, 0.1, DIMENSIONS)).astype("f4")
ALIASES = list(settings.ENGINES)
# Dimensions, and the fewest components by which a search finds 95 % of the nearest.
FEWEST = [
    ({"precision": "bit"}, (192, 192)),
    *(
        ({"prefix": 1}, least)
        for least in ((1024, 64), (256, 64), (255, 48), (128, 48), (127, 40), (64, 40), (32, 24))
    ),
]


class TestDeclaration:
    def test_deconstruct(self) -> None:
        assert hnsw(precision="bit").deconstruct()[2]["precision"] == "bit"
        index = VectorIndex(fields=["embedding"], name="i", quantize="bit")
        assert index.precision == "bit"
        assert index.clone() == index
        prefix = hnsw(prefix=64)
        assert prefix.deconstruct()[2]["prefix"] == 64
        assert prefix.clone() == prefix != hnsw()

    def test_refused(self) -> None:
        with pytest.raises(ValueError, match="needs a prefix of 1 or more, not 0"):
            hnsw(prefix=0)
        with pytest.raises(ValueError, match="takes either precision or prefix, not both"):
            hnsw(prefix=64, precision="half")

    @pytest.mark.parametrize("oversample", [0, 101, 2.5, "4"])
    def test_oversample(self, db: None, oversample: Any) -> None:
        from tests.testapp.models import Item

        with pytest.raises(ValueError, match="nearest\\(\\) takes oversample from 1 to 100"):
            nearest(Item.objects, "embedding", [1, 2, 3], oversample=oversample)


class TestCheck:
    """What W117 says of an index, by what it holds of vectors of so many dimensions."""

    @pytest.fixture(autouse=True)
    def declared(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.models: list[Any] = []
        monkeypatch.setattr("dorm_vector.checks.apps.get_models", lambda **kwargs: self.models)

    def check(self, dimensions: int, *indexes: Any) -> list[checks.CheckMessage]:
        state = ProjectState()
        fields = [
            ("id", models.AutoField(primary_key=True)),
            ("embedding", models.VectorField(dimensions)),
            ("bits", models.BitField(64)),
            ("name", models.TextField()),
        ]
        state.add_model(ModelState("shop", "Thing", fields, {"indexes": list(indexes)}))
        self.models = [state.apps.get_model("shop", "Thing")]
        return check_coarse()

    @pytest.mark.parametrize("kind", [HnswIndex, VectorIndex])
    @pytest.mark.parametrize(("given", "least"), FEWEST)
    def test_from_where_on_it_is_silent(
        self, kind: Any, given: dict[str, Any], least: tuple[int, int]
    ) -> None:
        dimensions, components = least
        for held, found in ((components - 1, 1), (components, 0)):
            options = {**given, "prefix": held} if "prefix" in given else given
            wide = dimensions if "prefix" in given else held
            index = kind(fields=["embedding"], name="i", metric="cosine", **options)
            assert len(self.check(wide, index)) == found

    def test_signs(self) -> None:
        index = VectorIndex(fields=["embedding"], name="i", metric="cosine", quantize="bit")
        (message,) = self.check(128, index)
        assert message == checks.Warning(
            "'i' holds the signs of 128 components, too few for nearest() to find 95 % of the "
            "nearest rows of real text by its defaults.",
            hint=(
                'Use precision="int8", or a larger oversample= in nearest(), as manage.py '
                "vector_recall measures it."
            ),
            obj=self.models[0],
            id="dorm_vector.W117",
        )

    def test_prefix(self) -> None:
        (message,) = self.check(300, hnsw(metric="cosine", prefix=32))
        assert message == checks.Warning(
            "'i' holds the first 32 of 300 components, too few for nearest() to find 95 % of the "
            "nearest rows of real text by its defaults.",
            hint=(
                'Use prefix=64 or more, or precision="half", or a larger oversample= in nearest(), '
                "as manage.py vector_recall measures it."
            ),
            obj=self.models[0],
            id="dorm_vector.W117",
        )

    def test_the_hint_can_be_declared(self) -> None:
        """Bytes are for the cosine distance, and for the portable index, alone."""
        for metric, precision in (("cosine", "int8"), ("l2", "half"), ("ip", "half")):
            index = VectorIndex(fields=["embedding"], name="i", metric=metric, prefix=32)
            (message,) = self.check(300, index)
            assert f'precision="{precision}"' in str(message.hint)
            VectorIndex(fields=["embedding"], name="i", metric=metric, precision=precision)

    def test_once_for_each_index(self) -> None:
        first = VectorIndex(fields=["embedding"], name="i", metric="cosine", precision="bit")
        found = self.check(16, first, hnsw(name="j", metric="cosine", precision="bit"))
        assert [message.msg[:3] for message in found] == ["'i'", "'j'"]

    @pytest.mark.parametrize(
        "given", [{}, {"precision": "half"}, {"precision": "int8"}, {"precision": "full"}]
    )
    def test_what_holds_enough(self, given: dict[str, Any]) -> None:
        index = VectorIndex(fields=["embedding"], name="i", metric="cosine", **given)
        assert self.check(16, index) == []

    def test_what_is_for_other_checks(self) -> None:
        bits = HnswIndex(fields=["bits"], name="a", metric="hamming")
        longer = hnsw(name="b", prefix=64)
        text = hnsw(name="c", fields=["name"], precision="bit", metric="cosine")
        assert self.check(32, bits, longer, text) == []

    @pytest.mark.parametrize(
        ("engines", "found"),
        [(["libsql"], 0), (["default"], 1), (["libsql", "postgresql"], 1), ([], 0)],
    )
    def test_databases_that_keep_whole_vectors(
        self, monkeypatch: pytest.MonkeyPatch, engines: list[str], found: int
    ) -> None:
        served = [(alias, engine_for(connections[alias])) for alias in engines]
        monkeypatch.setattr("dorm_vector.checks.engines_of", lambda model=None: served)
        index = VectorIndex(fields=["embedding"], name="i", metric="cosine", precision="bit")
        assert len(self.check(64, index)) == found

    def test_what_is_not_built_names_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        served = [("default", engine_for(connections["default"]))]
        monkeypatch.setattr("dorm_vector.checks.engines_of", lambda model=None: served)
        assert self.check(64, hnsw(metric="cosine", precision="bit")) == []

    def test_it_is_run(self) -> None:
        assert check_coarse in checks.registry.registry.get_checks()


@pytest.fixture(scope="module", params=ALIASES, ids=list(settings.ENGINES.values()))
def tables(
    request: pytest.FixtureRequest, django_db_setup: None, django_db_blocker: Any
) -> Iterator[Schema]:
    with django_db_blocker.unblock():
        schema = Schema(request.param)
        for name in ("signs", "prefix"):
            field = models.VectorField(DIMENSIONS, null=True)
            schema.run(migrations.AddField("thing", name, field))
        manager = schema.model.objects.using(request.param)
        manager.bulk_create(
            [
                *(schema.model(category=n % 2, signs=v, prefix=v) for n, v in enumerate(VECTORS)),
                schema.model(),
                schema.model(signs=np.zeros(DIMENSIONS), prefix=np.zeros(DIMENSIONS)),
            ]
        )
        for index in (
            VectorIndex(fields=["signs"], name="s", metric="cosine", quantize="bit"),
            VectorIndex(fields=["prefix"], name="p", metric="cosine", prefix=12),
        ):
            schema.run(migrations.AddIndex("thing", index))
        if request.param == "postgresql":
            with connections[request.param].cursor() as cursor:
                cursor.execute("ANALYZE shop_thing")
        yield schema
        with schema.connection.schema_editor() as editor:
            editor.delete_model(schema.model)


@pytest.mark.django_db(databases="__all__", transaction=True)
@pytest.mark.parametrize(("field", "index"), [("signs", "s"), ("prefix", "p")])
class TestSearch:
    QUERY = VECTORS[7] + 0.1 * RANDOM.normal(size=DIMENSIONS).astype("f4")

    def order(self, query: Any, kept: Any = lambda n: True) -> list[int]:
        rows = [n for n in range(ROWS) if kept(n)]
        return [n + 1 for n in sorted(rows, key=lambda n: oracle.cosine(VECTORS[n], query))]

    def test_candidates_that_are_all_rows(self, tables: Schema, field: str, index: str) -> None:
        manager = tables.model.objects.using(tables.connection.alias)
        with forced(manager.db):
            queryset = nearest(manager, field, self.QUERY, k=10, oversample=100)
            found = list(queryset)
        assert [thing.pk for thing in found] == self.order(self.QUERY)[:10]
        for thing in found:
            true = oracle.cosine(VECTORS[thing.pk - 1], self.QUERY)
            assert thing.distance == pytest.approx(true, abs=1e-5)

    @pytest.mark.parametrize("k", [1, 10, 50])
    def test_the_index_is_used(self, tables: Schema, field: str, index: str, k: int) -> None:
        manager = tables.model.objects.using(tables.connection.alias)
        with forced(manager.db):
            queryset = nearest(manager, field, self.QUERY, k=k)
            assert explain_nearest(queryset).index == index
            found = list(queryset)
        distances = [thing.distance for thing in found]
        assert len(found) == k
        assert distances == sorted(distances)
        true = [oracle.cosine(VECTORS[thing.pk - 1], self.QUERY) for thing in found]
        assert distances == pytest.approx(true, abs=1e-5)
        assert found[0].pk == 8

    def test_more_candidates_find_more(self, tables: Schema, field: str, index: str) -> None:
        manager = tables.model.objects.using(tables.connection.alias)
        queries = VECTORS[:40] + 0.3 * RANDOM.normal(size=(40, DIMENSIONS)).astype("f4")

        def recall(oversample: int) -> float:
            hits = 0
            for query in queries:
                found = nearest(manager, field, query, k=10, oversample=oversample)
                hits += len({row.pk for row in found} & set(self.order(query)[:10]))
            return hits / 400

        with forced(manager.db):
            assert recall(20) >= recall(4) >= recall(1)
            assert recall(20) >= 0.9

    def test_filtered(self, tables: Schema, field: str, index: str) -> None:
        manager = tables.model.objects.using(tables.connection.alias).filter(category=1)
        with forced(manager.db):
            found = list(nearest(manager, field, self.QUERY, k=20, oversample=20))
        assert len(found) == 20
        assert [thing.pk for thing in found][:5] == self.order(self.QUERY, lambda n: n % 2)[:5]

    def test_more_than_there_are(self, tables: Schema, field: str, index: str) -> None:
        manager = tables.model.objects.using(tables.connection.alias)
        with forced(manager.db):
            assert len(nearest(manager, field, self.QUERY, k=1000)) == ROWS

    def test_changes_are_followed(self, tables: Schema, field: str, index: str) -> None:
        manager = tables.model.objects.using(tables.connection.alias)
        thing = manager.create(**{field: -self.QUERY})
        try:
            with forced(manager.db):
                assert nearest(manager, field, -self.QUERY, k=1)[0].pk == thing.pk
                setattr(thing, field, self.QUERY)
                thing.save()
                assert nearest(manager, field, self.QUERY, k=1)[0].pk == thing.pk
        finally:
            thing.delete()
        with forced(manager.db):
            assert nearest(manager, field, self.QUERY, k=1)[0].pk == 8

    def test_inside_another_query(self, tables: Schema, field: str, index: str) -> None:
        manager = tables.model.objects.using(tables.connection.alias)
        with forced(manager.db):
            inner = nearest(manager, field, self.QUERY, k=5, oversample=100).values("pk")
            assert manager.filter(pk__in=inner).count() == 5

    @only("postgresql", fixture="tables")
    def test_sqlmigrate_text(self, tables: Schema, field: str, index: str) -> None:
        options: dict[str, Any] = {"fields": [field], "name": "w", "metric": "cosine"}
        written = {
            "signs": (
                {"precision": "bit"},
                '((binary_quantize("signs")::bit(37)) bit_hamming_ops)',
            ),
            "prefix": (
                {"prefix": 12},
                '((subvector("prefix", 1, 12)::vector(12)) vector_cosine_ops)',
            ),
        }
        reduction, expected = written[field]
        sql = tables.sql(migrations.AddIndex("thing", HnswIndex(**options, **reduction)))
        assert sql == f'CREATE INDEX "w" ON "shop_thing" USING hnsw {expected};'
