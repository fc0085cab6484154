"""
Every kind of vectors, every distance and function, on every engine, compared with numpy.

``MISSING`` lists the cells that an engine has not, with the sentence that its users get.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from django.core.exceptions import FieldError
from django.db import NotSupportedError, connections
from django.db.models import Avg, F, GeneratedField, Index, Q, Sum
from django.db.models.functions import Cast
from django.test.utils import isolate_apps
from pgvector import Bit, SparseVector

from dorm_vector import (
    BinaryQuantize,
    BitField,
    CosineDistance,
    CosineSimilarity,
    HalfVectorField,
    HammingDistance,
    InnerProduct,
    JaccardDistance,
    L1Distance,
    L2Distance,
    MaxInnerProduct,
    Normalize,
    SparseVectorField,
    Subvector,
    VectorAdd,
    VectorAvg,
    VectorConcat,
    VectorDims,
    VectorField,
    VectorMultiply,
    VectorNorm,
    VectorSubtract,
    VectorSum,
    VectorToJSON,
    models,
    nearest,
)
from tests.support import oracle
from tests.support.matrix import kinds_on_engines, only
from tests.testapp.models import Arrays, Bits, Chunk, Document, Full, Half, Numpy, Sparse

MODELS: dict[str, Any] = {"vector": Full, "halfvec": Half, "bit": Bits, "sparsevec": Sparse}
ENGINES = {"default": "SQLite", "postgresql": "PostgreSQL", "libsql": "libSQL"}

PAIRS = [
    ([1.0, 2.0, 3.0], [3.0, 2.0, 1.0]),
    ([0.1, -0.2, 0.4], [5.5, 0.25, -1.0]),
    ([0.0, 0.0, 0.0], [1.0, 0.5, -2.0]),
    ([1.0, 0.0, 0.0], [0.0, 1.0, 0.0]),
    ([-1.0, -2.0, -3.0], [1.0, 2.0, 3.0]),
]
BITS = [
    ("1010101010", "1010101010"),
    ("0000000000", "1111111111"),
    ("0000000000", "0000000000"),
    ("1000000001", "0111111110"),
    ("1100110011", "1010101010"),
]
SPARSE = [([*a, 0.0, 0.0], [0.0, *b, 0.0]) for a, b in PAIRS]
ROWS: dict[str, list[Any]] = {"vector": PAIRS, "halfvec": PAIRS, "bit": BITS, "sparsevec": SPARSE}


def stored(kind: str, value: Any) -> np.ndarray:
    """The values that are stored, in float64."""
    if kind == "bit":
        return np.array([int(bit) for bit in value], dtype="f8")
    return np.asarray(value, dtype="f2" if kind == "halfvec" else "f4").astype("f8")


def hamming(a: np.ndarray, b: np.ndarray) -> float:
    return float((a != b).sum())


def jaccard(a: np.ndarray, b: np.ndarray) -> float:
    both = np.logical_and(a, b).sum()
    return 1.0 if not both else float(1 - both / np.logical_or(a, b).sum())


def similarity(a: np.ndarray, b: np.ndarray) -> float:
    return 1 - oracle.cosine(a, b)


DISTANCES: dict[Any, tuple[tuple[str, ...], Callable[..., float]]] = {
    L2Distance: (("vector", "halfvec", "sparsevec"), oracle.l2),
    CosineDistance: (("vector", "halfvec", "sparsevec"), oracle.cosine),
    MaxInnerProduct: (("vector", "halfvec", "sparsevec"), oracle.ip),
    L1Distance: (("vector", "halfvec", "sparsevec"), oracle.l1),
    HammingDistance: (("bit",), hamming),
    JaccardDistance: (("bit",), jaccard),
    CosineSimilarity: (("vector", "halfvec", "sparsevec"), similarity),
    InnerProduct: (("vector", "halfvec", "sparsevec"), lambda a, b: -oracle.ip(a, b)),
}


def normalized(a: np.ndarray) -> np.ndarray:
    norm = np.linalg.norm(a)
    return a / norm if norm else a


# Functions of one vector, and of two; those that return vectors return the kind of the operands.
FUNCTIONS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "norm": (VectorNorm, np.linalg.norm),
    "dims": (VectorDims, len),
    "normalize": (Normalize, normalized),
    "subvector": (lambda a: Subvector(a, 2, 2), lambda a: a[1:3]),
    "quantize": (BinaryQuantize, lambda a: "".join("1" if x > 0 else "0" for x in a)),
    "json": (VectorToJSON, lambda a: a),
    "add": (lambda a: VectorAdd(a, F("b")), operator.add),
    "subtract": (lambda a: VectorSubtract(a, F("b")), operator.sub),
    "multiply": (lambda a: VectorMultiply(a, F("b")), operator.mul),
    "concat": (lambda a: VectorConcat(a, F("b")), lambda a, b: np.concatenate([a, b])),
}
TWO = {"add", "subtract", "multiply", "concat"}

#: (engine, kind, distance or function): the sentence. A kind that an engine lacks altogether is
#: refused when the column is made.
MISSING: dict[tuple[str, str, str], str] = {
    **{
        ("libSQL", kind, "l1"): "libSQL has no l1 distance. Use L2Distance, or another database."
        for kind in ("vector", "halfvec")
    },
    **{
        ("PostgreSQL", "sparsevec", name): f"PostgreSQL has no function {name} of sparsevec."
        for name in (
            "dims",
            "subvector",
            "quantize",
            "json",
            "add",
            "subtract",
            "multiply",
            "concat",
        )
    },
    **{
        (engine, "bit", name): f"{engine} has no function {name} of bit."
        for engine in ENGINES.values()
        for name in FUNCTIONS
        if engine != "PostgreSQL" or name not in ("dims", "concat")
    },
}
NO_COLUMNS = {
    "SQLite": "SQLite has no sparsevec columns (database 'default'); use VectorField there, or "
    "PostgreSQL.",
    "libSQL": "libSQL has no sparsevec columns (database 'libsql'); use VectorField there, or "
    "PostgreSQL.",
}


@pytest.fixture
def rows(alias: str, kind: str) -> Any:
    """The model's manager on a database, with a row for each pair and one of NULLs."""
    model = MODELS[kind]
    model.objects.using(alias).bulk_create(
        model(a=a, b=b, group=place % 2) for place, (a, b) in enumerate(ROWS[kind])
    )
    model.objects.using(alias).create()
    return model.objects.using(alias)


@only("sqlite", "libsql")
def test_sparse_columns_are_refused(alias: str) -> None:
    with pytest.raises(NotSupportedError) as caught:
        SparseVectorField(3).db_type(connections[alias])
    assert str(caught.value) == NO_COLUMNS[ENGINES[alias]]


def close(expected: float, scale: float = 1.0) -> Any:
    return pytest.approx(expected, abs=1e-5 * max(scale, 1.0), nan_ok=True)


@kinds_on_engines()
@pytest.mark.parametrize("distance", DISTANCES, ids=lambda function: function.__name__)
class TestDistances:
    def check(self, rows: Any, kind: str, distance: Any, second: Any, expected: Any) -> None:
        kinds_of_distance, _ = DISTANCES[distance]
        if kind not in kinds_of_distance:
            with pytest.raises(
                FieldError, match=f"{distance.__name__} does not compare {kind} vectors"
            ):
                rows.annotate(d=distance("a", second))
            return
        if sentence := MISSING.get((ENGINES[rows.db], kind, distance.metric)):
            with pytest.raises(NotSupportedError) as caught:
                list(rows.annotate(d=distance("a", second)))
            assert str(caught.value) == sentence
            return
        found = list(rows.annotate(d=distance("a", second)).order_by("pk").values_list("d"))
        assert found[-1] == (None,)
        for (value,), wanted in zip(found, expected(), strict=False):
            assert value == close(wanted, 50)

    def test_between_columns(self, rows: Any, kind: str, distance: Any) -> None:
        _, function = DISTANCES[distance]
        pairs = [(stored(kind, a), stored(kind, b)) for a, b in ROWS[kind]]
        self.check(rows, kind, distance, F("b"), lambda: [function(a, b) for a, b in pairs])

    def test_to_a_query_vector(self, rows: Any, kind: str, distance: Any) -> None:
        _, function = DISTANCES[distance]
        query = ROWS[kind][1][1]
        if kind == "bit" and "bit" not in DISTANCES[distance][0]:
            query = [1.0]
        if kind != "bit" and DISTANCES[distance][0] == ("bit",):
            query = "1"
        wanted = [function(stored(kind, a), stored(kind, ROWS[kind][1][1])) for a, _ in ROWS[kind]]
        self.check(rows, kind, distance, query, lambda: wanted)


@kinds_on_engines()
@pytest.mark.parametrize("name", FUNCTIONS)
class TestFunctions:
    def test_value(self, rows: Any, kind: str, name: str) -> None:
        if sentence := MISSING.get((ENGINES[rows.db], kind, name)):
            with pytest.raises(NotSupportedError) as caught:
                list(rows.annotate(f=FUNCTIONS[name][0]("a")))
            assert str(caught.value) == sentence
        else:
            self.check(rows, kind, name)

    def check(self, rows: Any, kind: str, name: str) -> None:
        function, expected = FUNCTIONS[name]
        found = list(rows.annotate(f=function("a")).order_by("pk").values_list("f", flat=True))
        assert found[-1] is None
        for value, (a, b) in zip(found, ROWS[kind], strict=False):
            operands = [stored(kind, a), stored(kind, b)][: 2 if name in TWO else 1]
            wanted = expected(*operands)
            if kind == "bit":
                assert value == (len(a) if name == "dims" else a + b)
            elif isinstance(wanted, str):
                assert value == wanted
            elif isinstance(value, SparseVector):
                assert value.to_list() == pytest.approx(wanted, abs=1e-6)
            else:
                rounding = 2e-3 if kind == "halfvec" else 1e-6
                assert value == pytest.approx(wanted, abs=rounding, rel=rounding)


@kinds_on_engines("vector", "halfvec")
@pytest.mark.parametrize("aggregate", [VectorSum, VectorAvg])
class TestAggregates:
    REDUCE = {VectorSum: np.sum, VectorAvg: np.mean}

    def wanted(self, kind: str, aggregate: Any, keep: Callable[[int], bool]) -> Any:
        values = [stored(kind, a) for place, (a, _) in enumerate(ROWS[kind]) if keep(place)]
        return self.REDUCE[aggregate](values, axis=0)

    def close(self, kind: str, value: Any) -> Any:
        rounding = 2e-3 if kind == "halfvec" else 1e-6
        return pytest.approx(value, abs=rounding, rel=rounding)

    def test_all_rows(self, rows: Any, kind: str, aggregate: Any) -> None:
        wanted = self.wanted(kind, aggregate, lambda place: True)
        assert rows.aggregate(x=aggregate("a"))["x"] == self.close(kind, wanted)

    def test_filter(self, rows: Any, kind: str, aggregate: Any) -> None:
        found = rows.aggregate(
            x=aggregate("a", filter=Q(group=1)), none=aggregate("a", filter=Q(group=7))
        )
        wanted = self.wanted(kind, aggregate, lambda place: place % 2 == 1)
        assert found["x"] == self.close(kind, wanted)
        assert found["none"] is None

    def test_groups(self, rows: Any, kind: str, aggregate: Any) -> None:
        found = rows.filter(a__isnull=False).values("group").annotate(x=aggregate("a"))
        assert sorted(row["group"] for row in found) == [0, 1]
        for row in found:
            wanted = self.wanted(kind, aggregate, lambda place, row=row: place % 2 == row["group"])
            assert row["x"] == self.close(kind, wanted)

    def test_empty(self, rows: Any, kind: str, aggregate: Any) -> None:
        assert rows.none().aggregate(x=aggregate("a")) == {"x": None}
        assert rows.filter(pk=-1).aggregate(x=aggregate("a")) == {"x": None}


@kinds_on_engines("bit", "sparsevec")
@pytest.mark.parametrize("aggregate", [VectorSum, VectorAvg])
def test_aggregates_that_are_refused(rows: Any, kind: str, aggregate: Any) -> None:
    with pytest.raises(NotSupportedError, match=f"has no aggregate .* of {kind}"):
        rows.aggregate(x=aggregate("a"))


@pytest.mark.parametrize("aggregate", [VectorSum, VectorAvg])
def test_aggregates_over_a_join(alias: str, aggregate: Any) -> None:
    documents = [Document.objects.using(alias).create(title=t, embedding=[1, 1, 1]) for t in "ab"]
    for place, (a, _) in enumerate(PAIRS):
        Chunk.objects.using(alias).create(document=documents[place % 2], embedding=a)
    Chunk.objects.using(alias).create(document=documents[0], embedding=None)
    found = Document.objects.using(alias).annotate(x=aggregate("chunks__embedding"))
    for place, document in enumerate(found.order_by("title")):
        vectors = [stored("vector", a) for a, _ in PAIRS[place::2]]
        reduce = {VectorSum: np.sum, VectorAvg: np.mean}[aggregate]
        assert document.x == pytest.approx(reduce(vectors, axis=0), abs=1e-6)


@pytest.fixture
def full(alias: str) -> Any:
    for a, _ in PAIRS:
        Full.objects.using(alias).create(a=a)
    return Full.objects.using(alias)


@pytest.mark.parametrize("aggregate", [Avg, Sum])
class TestDjangosOwnAggregates:
    @only("postgresql")
    def test_value(self, full: Any, aggregate: Any) -> None:
        reduce = {Avg: np.mean, Sum: np.sum}[aggregate]
        wanted = reduce([stored("vector", a) for a, _ in PAIRS], axis=0)
        assert full.aggregate(x=aggregate("a"))["x"] == pytest.approx(wanted, abs=1e-6)

    @only("sqlite", "libsql")
    def test_refused(self, full: Any, aggregate: Any) -> None:
        name = aggregate.__name__
        with pytest.raises(NotSupportedError) as caught:
            full.aggregate(x=aggregate("a"))
        assert str(caught.value) == f"{name} takes no vectors: use Vector{name}."


def test_arithmetic_is_refused_by_name(alias: str) -> None:
    with pytest.raises(NotSupportedError) as caught:
        list(Full.objects.using(alias).annotate(x=F("a") + F("b")))
    assert str(caught.value) == (
        "CombinedExpression takes no vectors: use VectorAdd, VectorSubtract or VectorMultiply."
    )


class TestNearest:
    def test_bits(self, alias: str) -> None:
        for a, b in BITS:
            Bits.objects.using(alias).create(a=a, b=b)
        for metric, function in (("hamming", hamming), ("jaccard", jaccard)):
            found = nearest(Bits.objects.using(alias), "a", "1010101011", k=3, metric=metric)
            query = stored("bit", "1010101011")
            wanted = sorted(function(stored("bit", a), query) for a, _ in BITS)[:3]
            assert [row.distance for row in found] == pytest.approx(wanted)
        assert nearest(Bits.objects.using(alias), "a", "1010101011")[0].a == "1010101010"

    def test_halves_are_compared_with_a_rounded_query(self, alias: str) -> None:
        Half.objects.using(alias).create(a=[0.1, 0.2, 0.3])
        (found,) = nearest(Half.objects.using(alias), "a", [0.1, 0.2, 0.3], metric="l2")
        assert found.distance == 0.0

    def test_sparse(self, db: None) -> None:
        rows = Sparse.objects.using("postgresql")
        for a, _ in SPARSE:
            rows.create(a=a)
        query = SparseVector({0: 1.0, 2: 2.0}, 5)
        found = nearest(rows, "a", query, metric="l2", k=3)
        wanted = sorted(oracle.l2(a, query.to_list()) for a, _ in SPARSE)[:3]
        assert [row.distance for row in found] == pytest.approx(wanted)


class TestCasts:
    @pytest.fixture
    def rows(self, alias: str) -> Any:
        Full.objects.using(alias).create(a=[0.1, 0.2, 0.3])
        return Full.objects.using(alias).annotate(h=Cast("a", HalfVectorField(3)))

    @only("postgresql")
    def test_to_half(self, rows: Any) -> None:
        assert rows.get().h == stored("halfvec", [0.1, 0.2, 0.3]).tolist()

    @only("sqlite", "libsql")
    def test_to_half_is_refused(self, rows: Any) -> None:
        with pytest.raises(NotSupportedError) as caught:
            rows.get()
        assert str(caught.value) == f"{ENGINES[rows.db]} cannot cast to halfvec; PostgreSQL can."


class TestNumpy:
    def test_arrays_are_read(self, alias: str) -> None:
        written = Numpy.objects.using(alias).create(
            vector=[0.1, 2, 3], half=[0.1, 2, 3], bits="1010101011"
        )
        row = Numpy.objects.using(alias).get(pk=written.pk)
        assert row.vector.dtype == np.dtype("f4")
        assert row.half.dtype == np.dtype("f2")
        assert row.bits.dtype == np.dtype(bool)
        assert row.vector.tolist() == np.asarray([0.1, 2, 3], "f4").tolist()
        assert row.half.tolist() == np.asarray([0.1, 2, 3], "f2").tolist()
        assert row.bits.tolist() == [bit == "1" for bit in "1010101011"]
        row.save()
        assert Numpy.objects.using(alias).get(vector=row.vector, bits=row.bits).pk == row.pk


class TestArrays:
    def test_round_trip(self, db: None) -> None:
        rows = Arrays.objects.using("postgresql")
        written = rows.create(
            vectors=[[1, 2, 3], [0.5, 0.1, -1]], halves=[[1, 2, 0.1]], bits=["1010101010"]
        )
        row = rows.get(pk=written.pk)
        assert row.vectors == [[1.0, 2.0, 3.0], np.asarray([0.5, 0.1, -1], "f4").tolist()]
        assert row.halves == [np.asarray([1, 2, 0.1], "f2").tolist()]
        assert row.bits == ["1010101010"]


class TestUses:
    """Functions of vectors where Django takes expressions."""

    @pytest.fixture
    def rows(self, alias: str) -> Any:
        for a, b in PAIRS:
            Full.objects.using(alias).create(a=a, b=b)
        return Full.objects.using(alias)

    def test_update(self, rows: Any) -> None:
        rows.update(b=VectorAdd("a", [1, 1, 1]), a=Normalize("a"))
        for row, (a, _) in zip(rows.order_by("pk"), PAIRS, strict=True):
            assert row.b == pytest.approx(stored("vector", a) + 1, abs=1e-6)
            assert row.a == pytest.approx(normalized(stored("vector", a)), abs=1e-6)

    def test_filter_and_order(self, rows: Any) -> None:
        norms = [float(np.linalg.norm(stored("vector", a))) for a, _ in PAIRS]
        found = rows.alias(norm=VectorNorm("a")).filter(norm__gt=0.5).order_by("norm", "pk")
        wanted = sorted(norm for norm in norms if norm > 0.5)
        assert [np.linalg.norm(row.a) for row in found] == pytest.approx(wanted)
        nested = rows.annotate(d=L2Distance(Subvector("a", 1, 2), [1.0, 2.0])).order_by("d", "pk")
        assert nested[0].d == pytest.approx(0.0)

    def test_generated_fields_and_index_expressions(self, alias: str, scratch_table: Any) -> None:
        model = scratch_table(
            alias,
            a=models.VectorField(3),
            norm=GeneratedField(
                expression=VectorNorm("a"), output_field=models.FloatField(), db_persist=True
            ),
            head=GeneratedField(
                expression=Subvector("a", 1, 2),
                output_field=models.VectorField(2),
                db_persist=True,
            ),
        )
        row = model.objects.using(alias).create(a=[3, 4, 0])
        row.refresh_from_db()
        assert (row.norm, row.head) == (pytest.approx(5.0), [3.0, 4.0])
        index = Index(VectorNorm("a"), name="by_norm")
        with connections[alias].schema_editor() as editor:
            editor.add_index(model, index)
        assert model.objects.using(alias).annotate(n=VectorNorm("a")).filter(n__gt=4).count() == 1


@pytest.fixture
def scratch_table(transactional_db: None) -> Any:
    made: list[tuple[str, Any]] = []

    def make(alias: str, **fields: Any) -> Any:
        meta = type("Meta", (), {"app_label": "scratch_table"})
        attributes = {"__module__": __name__, "Meta": meta, **fields}
        with isolate_apps("dorm_vector"):
            model = type("Made", (models.Model,), attributes)
        with connections[alias].schema_editor() as editor:
            editor.create_model(model)
        made.append((alias, model))
        return model

    yield make
    for alias, model in made:
        with connections[alias].schema_editor() as editor:
            editor.delete_model(model)


class TestBitValues:
    @pytest.mark.parametrize(
        "value",
        [
            "1010101011",
            [True, False] * 4 + [True, True],
            [1, 0, 1, 0, 1, 0, 1, 0, 1, 1],
            np.array([1, 0, 1, 0, 1, 0, 1, 0, 1, 1], dtype=bool),
            np.packbits([1, 0, 1, 0, 1, 0, 1, 0, 1, 1]).tobytes(),
            Bit("1010101011"),
        ],
        ids=["text", "bools", "ints", "numpy", "bytes", "Bit"],
    )
    def test_accepted(self, alias: str, value: Any) -> None:
        pk = Bits.objects.using(alias).create(a=value).pk
        assert Bits.objects.using(alias).get(pk=pk).a == "1010101011"

    def test_field(self) -> None:
        assert BitField(length=8).deconstruct()[3] == {"length": 8}
        assert BitField(8).length == 8
        assert math.isclose(VectorField(3).dimensions, 3)
