"""Distances on every engine, compared with numpy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from django.core.exceptions import FieldError, ValidationError
from django.db import connections
from django.db.models import (
    Avg,
    Case,
    F,
    FloatField,
    Max,
    Min,
    OuterRef,
    RowRange,
    Subquery,
    Value,
    When,
    Window,
)
from django.db.models.expressions import RawSQL
from django.db.models.functions import Coalesce, Rank, RowNumber
from django.db.models.lookups import GreaterThan
from pgvector import Vector

from dorm_vector import CosineDistance, L2Distance, MaxInnerProduct, VectorField
from dorm_vector.engines import Engine
from dorm_vector.registry import METRICS
from tests.support import oracle
from tests.testapp.models import PAIRS, Chunk, Document, Item

FUNCTIONS: dict[str, Any] = {n: m for n, m in METRICS.items() if "vector" in m.kinds}
metrics = pytest.mark.parametrize("metric", FUNCTIONS)

RANDOM = np.random.default_rng(20)


# The least and the greatest components that an engine's arithmetic takes are as far from 1 as this.
# libSQL multiplies the squares of both vectors' lengths in float32.
SCALES = {"libsql": 1e7}


def vectors(dimensions: int, engine: Engine) -> dict[str, list[float]]:
    scale = SCALES.get(engine.name, 1e15)
    random = RANDOM.normal(size=dimensions)
    return {
        "random": random.tolist(),
        "another": RANDOM.normal(size=dimensions).tolist(),
        "near": (random * (1 + 1e-3 * RANDOM.normal(size=dimensions))).tolist(),
        "tiny": (RANDOM.normal(size=dimensions) / scale).tolist(),
        "huge": (RANDOM.normal(size=dimensions) * scale).tolist(),
        "constant": [0.1] * dimensions,
        "opposite": [-0.1] * dimensions,
        "zero": [0.0] * dimensions,
    }


class TestNumpyOracle:
    @metrics
    @pytest.mark.parametrize("dimensions", PAIRS)
    def test_against_a_query_vector(
        self, alias: str, engine: Engine, metric: str, dimensions: int
    ) -> None:
        model = PAIRS[dimensions]
        rows = vectors(dimensions, engine)
        arrays = {name: np.array(vector, "f4") for name, vector in rows.items()}
        ids = {model.objects.using(alias).create(a=rows[name]).pk: arrays[name] for name in rows}
        for name, query in rows.items():
            found = dict(
                model.objects.using(alias)
                .annotate(distance=FUNCTIONS[metric]("a", query))
                .values_list("pk", "distance")
            )
            assert set(found) == set(ids)
            for pk, stored in ids.items():
                self.compare(metric, stored, arrays[name], found[pk])

    @metrics
    @pytest.mark.parametrize("dimensions", PAIRS)
    def test_between_columns(
        self, alias: str, engine: Engine, metric: str, dimensions: int
    ) -> None:
        model = PAIRS[dimensions]
        rows = [np.array(vector, "f4") for vector in vectors(dimensions, engine).values()]
        pairs = {model.objects.using(alias).create(a=a, b=b).pk: (a, b) for a in rows for b in rows}
        distance = FUNCTIONS[metric]("a", F("b"))
        for pk, found in model.objects.using(alias).annotate(d=distance).values_list("pk", "d"):
            self.compare(metric, *pairs[pk], found)

    def compare(self, metric: str, a: np.ndarray, b: np.ndarray, found: float) -> None:
        expected = oracle.DISTANCES[metric](a, b)
        close = pytest.approx(expected, abs=oracle.tolerance(metric, a, b), rel=0, nan_ok=True)
        assert found == close, (metric, len(a))


QUERY = [1.0, 1.0, 2.0]
ROWS = {"a": [1, 2, 3], "b": [3, 2, 1], "c": [0.1, 0.2, 0.4], "d": [-2, 0, 1]}


@pytest.fixture
def items(alias: str) -> Any:
    Item.objects.using(alias).bulk_create(
        Item(name=name, embedding=vector, other=[1, 1, 1], category=position)
        for position, (name, vector) in enumerate(ROWS.items())
    )
    return Item.objects.using(alias)


def ordered(metric: str) -> list[str]:
    return sorted(ROWS, key=lambda name: oracle.DISTANCES[metric](ROWS[name], QUERY))


class TestQueries:
    @metrics
    def test_annotate_and_order_by(self, items: Any, metric: str) -> None:
        distance = FUNCTIONS[metric]("embedding", QUERY)
        nearest = items.annotate(distance=distance).order_by("distance")[:3]
        assert [item.name for item in nearest] == ordered(metric)[:3]

    @metrics
    def test_order_by_alone(self, items: Any, metric: str) -> None:
        distance = FUNCTIONS[metric]("embedding", QUERY)
        assert [item.name for item in items.order_by(distance)] == ordered(metric)
        assert [item.name for item in items.order_by(distance.desc())] == ordered(metric)[::-1]

    @metrics
    def test_filter_on_an_alias(self, items: Any, metric: str) -> None:
        expected = {name: oracle.DISTANCES[metric](vector, QUERY) for name, vector in ROWS.items()}
        limit = sorted(expected.values())[1] + 1e-4
        found = items.alias(d=FUNCTIONS[metric]("embedding", QUERY)).filter(d__lt=limit)
        assert {item.name for item in found} == set(ordered(metric)[:2])

    @metrics
    def test_aggregates(self, items: Any, metric: str) -> None:
        distance = FUNCTIONS[metric]("embedding", QUERY)
        values = [oracle.DISTANCES[metric](vector, QUERY) for vector in ROWS.values()]
        defined = Case(When(GreaterThan(distance, -1e300), then=distance))
        assert items.aggregate(low=Min(distance), high=Max(distance), mean=Avg(defined)) == {
            "low": pytest.approx(min(values), rel=1e-5),
            "high": pytest.approx(max(values), rel=1e-5),
            "mean": pytest.approx(sum(values) / len(values), rel=1e-5),
        }

    def test_group_by(self, items: Any) -> None:
        found = (
            items.annotate(distance=L2Distance("embedding", QUERY))
            .values("other")
            .annotate(nearest=Min("distance"))
        )
        expected = min(oracle.l2(vector, QUERY) for vector in ROWS.values())
        assert list(found) == [
            {"other": [1.0, 1.0, 1.0], "nearest": pytest.approx(expected, rel=1e-5)}
        ]

    def test_case_when(self, items: Any) -> None:
        distance = Case(
            When(category=0, then=Value(-1.0)), default=CosineDistance("embedding", QUERY)
        )
        found = dict(items.annotate(d=distance).values_list("name", "d"))
        assert found["a"] == -1.0
        assert found["b"] == pytest.approx(oracle.cosine(ROWS["b"], QUERY), abs=1e-5)

    def test_case_over_vectors(self, items: Any) -> None:
        vector = Case(When(category=0, then=F("other")), default=F("embedding"))
        found = dict(items.annotate(d=L2Distance(vector, QUERY)).values_list("name", "d"))
        assert found["a"] == pytest.approx(oracle.l2([1, 1, 1], QUERY), rel=1e-5)
        assert found["b"] == pytest.approx(oracle.l2(ROWS["b"], QUERY), rel=1e-5)

    def test_coalesce(self, items: Any) -> None:
        items.filter(name="a").update(embedding=None)
        distance = L2Distance(Coalesce("embedding", "other"), QUERY)
        found = items.annotate(d=distance).get(name="a").d
        assert found == pytest.approx(oracle.l2([1, 1, 1], QUERY), rel=1e-5)

    def test_arithmetic(self, items: Any) -> None:
        similarity = 1 - CosineDistance("embedding", QUERY)
        found = items.annotate(similarity=similarity).get(name="a").similarity
        assert found == pytest.approx(1 - oracle.cosine(ROWS["a"], QUERY), abs=1e-5)

    def test_window_functions(self, items: Any) -> None:
        distance = L2Distance("embedding", QUERY)
        ranked = items.annotate(
            rank=Window(Rank(), order_by=distance),
            nearest=Window(Min(distance), order_by=distance, frame=RowRange(start=None, end=0)),
            row=Window(RowNumber(), partition_by="other", order_by=distance),
        ).order_by("rank")
        assert [(item.name, item.rank, item.row) for item in ranked] == [
            (name, place, place) for place, name in enumerate(ordered("l2"), 1)
        ]
        expected = oracle.l2(ROWS[ordered("l2")[0]], QUERY)
        assert all(item.nearest == pytest.approx(expected, rel=1e-5) for item in ranked)

    def test_count_exists_and_slices(self, items: Any) -> None:
        found = items.annotate(d=L2Distance("embedding", QUERY)).order_by("d")
        assert found.count() == 4
        assert found.filter(d__lt=0).exists() is False
        assert [item.name for item in found[1:3]] == ordered("l2")[1:3]
        assert found.first().name == ordered("l2")[0]

    def test_distinct(self, items: Any) -> None:
        found = items.annotate(d=L2Distance("other", QUERY)).values_list("d").distinct()
        assert list(found) == [(pytest.approx(oracle.l2([1, 1, 1], QUERY), rel=1e-5),)]


class TestSecondArgument:
    @pytest.mark.parametrize(
        "query",
        [
            QUERY,
            tuple(QUERY),
            np.array(QUERY),
            np.array(QUERY, dtype="f4"),
            np.array(QUERY, dtype="i8"),
            Vector(QUERY),
            "[1,1,2]",
            np.array(QUERY, dtype="<f4").tobytes(),
        ],
        ids=["list", "tuple", "float64", "float32", "int64", "Vector", "text", "bytes"],
    )
    def test_any_accepted_form(self, items: Any, query: Any) -> None:
        nearest = items.order_by(L2Distance("embedding", query))
        assert [item.name for item in nearest] == ordered("l2")

    @metrics
    def test_none(self, items: Any, metric: str) -> None:
        found = items.annotate(d=FUNCTIONS[metric]("embedding", None)).values_list("d", flat=True)
        assert list(found) == [None] * 4

    @metrics
    def test_subquery(self, items: Any, metric: str) -> None:
        query = Subquery(items.filter(name="b").values("embedding")[:1])
        found = items.annotate(d=FUNCTIONS[metric]("embedding", query)).get(name="a").d
        expected = oracle.DISTANCES[metric](ROWS["a"], ROWS["b"])
        assert found == pytest.approx(expected, rel=1e-5)

    @metrics
    def test_subquery_without_a_row(self, items: Any, metric: str) -> None:
        query = Subquery(items.filter(name="nobody").values("embedding")[:1])
        found = items.annotate(d=FUNCTIONS[metric]("embedding", query)).get(name="a").d
        assert found is None

    @metrics
    def test_outer_ref(self, items: Any, metric: str) -> None:
        distance = FUNCTIONS[metric]("embedding", OuterRef("embedding"))
        inner = items.filter(name="b").annotate(d=distance).values("d")
        found = dict(items.annotate(d=Subquery(inner)).values_list("name", "d"))
        assert found == {
            name: pytest.approx(oracle.DISTANCES[metric](vector, ROWS["b"]), rel=1e-5, abs=1e-5)
            for name, vector in ROWS.items()
        }

    def test_order_by_outer_ref(self, items: Any) -> None:
        neighbour = (
            items.exclude(pk=OuterRef("pk"))
            .alias(d=L2Distance("embedding", OuterRef("embedding")))
            .order_by("d")
            .values("name")[:1]
        )
        found = dict(items.annotate(neighbour=Subquery(neighbour)).values_list("name", "neighbour"))
        assert found == {
            name: min(
                (other for other in ROWS if other != name),
                key=lambda other, name=name: oracle.l2(ROWS[other], ROWS[name]),
            )
            for name in ROWS
        }

    def test_outer_ref_as_first_argument(self, items: Any) -> None:
        inner = items.annotate(d=L2Distance(OuterRef("embedding"), QUERY)).values("d")[:1]
        found = items.annotate(d=Subquery(inner, output_field=FloatField())).get(name="b").d
        assert found == pytest.approx(oracle.l2(ROWS["b"], QUERY), rel=1e-5)

    def test_raw_sql(self, items: Any) -> None:
        for raw in (RawSQL("embedding", ()), RawSQL("embedding", (), VectorField(3))):
            nearest = items.order_by(L2Distance(raw, QUERY))
            assert [item.name for item in nearest] == ordered("l2")

    def test_vector_value_in_both_orders(self, items: Any) -> None:
        turned = L2Distance(L2Distance("embedding", QUERY).get_source_expressions()[1], F("other"))
        found = items.annotate(d=turned).first().d
        assert found == pytest.approx(oracle.l2([1, 1, 1], QUERY), rel=1e-5)


class TestRelations:
    @pytest.fixture
    def document(self, alias: str) -> Document:
        document = Document.objects.using(alias).create(title="one", embedding=QUERY)
        for vector in (*ROWS.values(), None):
            document.chunks.create(embedding=vector)
        return document

    @metrics
    def test_related_field_as_query(self, document: Document, alias: str, metric: str) -> None:
        distance = FUNCTIONS[metric]("embedding", F("document__embedding"))
        chunks = Chunk.objects.using(alias).filter(embedding__isnull=False)
        found = [chunk.embedding for chunk in chunks.order_by(distance)]
        assert found == [oracle.float32(ROWS[name]).tolist() for name in ordered(metric)]

    def test_first_argument_across_a_join(self, document: Document, alias: str) -> None:
        found = Document.objects.using(alias).annotate(
            nearest=Min(L2Distance("chunks__embedding", QUERY))
        )
        expected = min(oracle.l2(vector, QUERY) for vector in ROWS.values())
        assert found.get().nearest == pytest.approx(expected, rel=1e-5)

    def test_outer_join_without_a_row_is_null(self, alias: str) -> None:
        Document.objects.using(alias).create(title="empty", embedding=QUERY)
        found = Document.objects.using(alias).annotate(d=L2Distance("chunks__embedding", QUERY))
        assert found.get().d is None


class TestUndefined:
    """NULL and zero vectors."""

    @metrics
    def test_null_gives_null(self, alias: str, metric: str) -> None:
        item = Item.objects.using(alias).create(name="null", embedding=None, other=QUERY)
        function = FUNCTIONS[metric]
        found = Item.objects.using(alias).annotate(
            query=function("embedding", QUERY),
            column=function("embedding", F("other")),
            turned=function("other", F("embedding")),
        )
        assert list(found.values_list("pk", "query", "column", "turned")) == [
            (item.pk, None, None, None)
        ]

    def test_zero_vector_under_cosine_sorts_last_as_nan(self, items: Any, alias: str) -> None:
        Item.objects.using(alias).create(name="zero", embedding=[0, 0, 0])
        found = items.annotate(d=CosineDistance("embedding", QUERY)).order_by("d")
        assert [item.name for item in found] == [*ordered("cosine"), "zero"]
        assert math.isnan(found.get(name="zero").d)

    def test_zero_query_under_cosine(self, items: Any) -> None:
        found = items.annotate(d=CosineDistance("embedding", [0, 0, 0]))
        assert all(math.isnan(item.d) for item in found)

    def test_nan_compares_as_the_greatest(self, items: Any, alias: str) -> None:
        Item.objects.using(alias).create(name="zero", embedding=[0, 0, 0])
        found = items.annotate(d=CosineDistance("embedding", QUERY))
        assert found.filter(d__lte=2).count() == 4
        assert found.get(d__gt=2).name == "zero"
        lowest = found.aggregate(Min("d"))["d__min"]
        assert lowest == pytest.approx(oracle.cosine(ROWS["a"], QUERY), abs=1e-5)
        assert math.isnan(found.aggregate(Max("d"))["d__max"])

    def test_zero_vector_has_an_inner_product(self, alias: str) -> None:
        Item.objects.using(alias).create(name="zero", embedding=[0, 0, 0], other=[1, 2, 3])
        found = Item.objects.using(alias).annotate(
            query=MaxInnerProduct("embedding", QUERY),
            column=MaxInnerProduct("other", F("embedding")),
        )
        assert list(found.values_list("query", "column")) == [(0.0, 0.0)]


class TestRefusals:
    """Errors before SQL: no connection is needed for them, and none is asked."""

    @metrics
    def test_wrong_length(self, items: Any, metric: str) -> None:
        with pytest.raises(ValidationError) as caught:
            items.annotate(d=FUNCTIONS[metric]("embedding", [1, 2]))
        assert caught.value.messages == ["Expected 3 dimensions, not 2."]
        assert caught.value.code == "dimensions"

    def test_wrong_length_behind_an_outer_ref(self, items: Any) -> None:
        inner = items.annotate(d=L2Distance(OuterRef("embedding"), [1, 2])).values("d")[:1]
        with pytest.raises(ValidationError, match=r"Expected 3 dimensions, not 2\."):
            list(items.annotate(d=Subquery(inner, output_field=FloatField())))

    @pytest.mark.parametrize(
        ("query", "message"),
        [
            ([1, math.nan, 2], "Component 1 is NaN."),
            ([1, 2, math.inf], "Component 2 is infinite."),
            ([1e39, 2, 3], "Component 0 is 1e+39, beyond the range of float32."),
            ("hello, you", "'hello, you' is not a vector."),
            ([[1, 2, 3]], "Component 0 is [1, 2, 3], not a number."),
        ],
    )
    def test_no_vector(self, query: Any, message: str) -> None:
        with pytest.raises(ValidationError) as caught:
            L2Distance("embedding", query)
        assert caught.value.messages == [message]

    def test_columns_of_different_lengths(self) -> None:
        with pytest.raises(FieldError) as caught:
            Item.objects.annotate(d=L2Distance("embedding", F("subitem__extra")))
        assert str(caught.value) == (
            "L2Distance needs two vectors of the same length, not of 3 and 2 dimensions."
        )

    def test_no_vector_field(self) -> None:
        with pytest.raises(FieldError) as caught:
            Item.objects.annotate(d=L2Distance("name", QUERY))
        assert str(caught.value) == (
            "L2Distance needs vectors, not the CharField Col(testapp_item, testapp.Item.name)."
        )


class TestExpressions:
    def test_numpy_queries_compare_and_hash(self) -> None:
        one, same = (L2Distance("embedding", np.array(QUERY)) for _ in range(2))
        assert one == same
        assert hash(one) == hash(same)
        assert one != L2Distance("embedding", np.array([1, 1, 3]))
        assert one != CosineDistance("embedding", np.array(QUERY))

    def test_repr_is_short(self) -> None:
        assert repr(L2Distance("embedding", [1] * 1536)) == "L2Distance(F(embedding), [1.0, ...])"
        assert repr(L2Distance("embedding", QUERY)) == "L2Distance(F(embedding), [1.0, 1.0, 2.0])"

    def test_deconstruct_gives_a_list(self) -> None:
        path, args, kwargs = L2Distance("embedding", np.array(QUERY)).deconstruct()
        assert path == "dorm_vector.functions.L2Distance"
        assert args == ("embedding", QUERY)
        assert kwargs == {}

    def test_two_databases_in_one_process(self, db: None) -> None:
        for alias in connections:
            Item.objects.using(alias).create(name=alias, embedding=QUERY)
        query = Item.objects.annotate(d=L2Distance("embedding", [1, 1, 1]))
        for alias in connections:
            assert list(query.using(alias).values_list("name", "d")) == [(alias, 1.0)]
