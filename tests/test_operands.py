"""Operands: any form that a field takes, as an operand of any distance, function and aggregate."""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from django.conf import settings
from django.core.exceptions import FieldError, ValidationError
from django.db import connections
from django.db.models import F, OuterRef, Subquery
from django.db.models.functions import Coalesce
from pgvector import Bit, HalfVector, SparseVector, Vector

from dorm_vector import (
    BitField,
    CosineSimilarity,
    HammingDistance,
    InnerProduct,
    L2Distance,
    VectorAdd,
    VectorConcat,
    VectorMultiply,
    VectorNorm,
    VectorSubtract,
    VectorSum,
    nearest,
)
from dorm_vector.distances import Distance
from dorm_vector.engines import engine_for
from dorm_vector.functions import VectorFunction
from dorm_vector.registry import METRICS
from tests.testapp.models import Bits, Everything, Full, Half, Item, Sparse

MODELS: dict[str, Any] = {"vector": Full, "halfvec": Half, "bit": Bits, "sparsevec": Sparse}


def subclasses(cls: type) -> Iterator[type]:
    """Those of the package, and theirs."""
    for each in cls.__subclasses__():
        if each.__module__.startswith("dorm_vector."):
            yield each
            yield from subclasses(each)


FIRST = {
    "vector": [1, 2, 3],
    "halfvec": [1, 2, 3],
    "bit": "1100110011",
    "sparsevec": [1, 0, 2, 0, 3],
}
COMPONENTS = [1.0, 0.0, 1.0]
BITS = "1010101011"

FLOAT_FORMS: dict[str, Callable[[], Any]] = {
    "list": lambda: [1, 0, 1],
    "bools": lambda: [True, False, True],
    "tuple": lambda: (1.0, 0, 1),
    "generator": lambda: (number for number in COMPONENTS),
    "array": lambda: array("d", COMPONENTS),
    "numpy": lambda: np.array(COMPONENTS),
    "numpy of bools": lambda: np.array([True, False, True]),
    "Vector": lambda: Vector(COMPONENTS),
    "HalfVector": lambda: HalfVector(COMPONENTS),
    "text": lambda: "[1,0,1]",
    "bytes": lambda: np.array(COMPONENTS, "<f4").tobytes(),
    "memoryview": lambda: memoryview(np.array(COMPONENTS, "<f4").tobytes()),
    "SparseVector": lambda: SparseVector({0: 1.0, 2: 1.0}, 3),
}
BIT_FORMS: dict[str, Callable[[], Any]] = {
    "text": lambda: BITS,
    "bools": lambda: [bit == "1" for bit in BITS],
    "ints": lambda: [int(bit) for bit in BITS],
    "numpy of bools": lambda: np.array([bit == "1" for bit in BITS]),
    "numpy of ints": lambda: np.array([int(bit) for bit in BITS]),
    "Bit": lambda: Bit(BITS),
    "bytes": lambda: np.packbits([int(bit) for bit in BITS]).tobytes(),
    "bytearray": lambda: bytearray(np.packbits([int(bit) for bit in BITS]).tobytes()),
}
SPARSE_FORMS: dict[str, Callable[[], Any]] = {
    "dict": lambda: {0: 1.0, 4: 2},
    "SparseVector": lambda: SparseVector({0: 1.0, 4: 2.0}, 5),
    "text": lambda: "{1:1,5:2}/5",
    "list": lambda: [1, 0, 0, 0, 2],
    "numpy": lambda: np.array([1, 0, 0, 0, 2]),
}
FORMS = {"vector": FLOAT_FORMS, "halfvec": FLOAT_FORMS, "bit": BIT_FORMS, "sparsevec": SPARSE_FORMS}
# Whatever takes two vectors, by what it is registered or declared as.
DISTANCES: list[Any] = [*METRICS.values(), CosineSimilarity, InnerProduct]
PAIRS: list[Any] = [each for each in subclasses(VectorFunction) if each.arity == 2]


def has(alias: str, function: Any, kind: str) -> bool:
    """Whether the engine of a database computes a function of vectors of a kind."""
    engine = engine_for(connections[alias])
    if kind not in engine.column_types:
        return False
    if issubclass(function, Distance):
        return kind in function.kinds and function.metric in engine.distances
    return kind in engine.functions.get(function.name, {})


CASES = [
    pytest.param(alias, kind, function, id=f"{engine}-{kind}-{function.__name__}")
    for alias, engine in settings.ENGINES.items()
    for kind in FORMS
    for function in (*DISTANCES, *PAIRS)
    if has(alias, function, kind)
]


def expressions(rows: Any, row: Any) -> dict[str, Any]:
    """The vector of the column ``b`` as operands that are no values."""
    return {
        "F()": F("b"),
        "name": "b",
        "expression": Coalesce("b", "a"),
        "Subquery": Subquery(rows.filter(pk=row.pk).values("b")[:1]),
        "queryset": rows.filter(pk=row.pk).values("b")[:1],
        "attribute": row.b,
    }


def inside(rows: Any, function: Any, second: Any, output_field: Any) -> Any:
    """The same in a subquery, of which ``second`` may be of the query around it."""
    inner = rows.filter(pk=OuterRef("pk")).annotate(x=function("a", second)).values("x")[:1]
    return Subquery(inner, output_field=output_field)


@pytest.mark.parametrize(("alias", "kind", "function"), CASES, indirect=["alias"])
def test_every_form(alias: str, kind: str, function: Any) -> None:
    """Whatever a vector comes from, it gives what a column of the same vector gives."""
    rows = MODELS[kind].objects.using(alias)
    row = rows.create(a=FIRST[kind], b=next(iter(FORMS[kind].values()))())
    row.refresh_from_db()
    expected = rows.annotate(x=function("a", F("b"))).get().x
    found = {
        name: rows.annotate(x=function("a", operand)).get().x
        for name, operand in expressions(rows, row).items()
    }
    for name, form in FORMS[kind].items():
        found[name] = rows.annotate(x=function("a", form())).get().x
        if not isinstance(form(), str):  # which is a name there
            turned = rows.annotate(x=function(form(), "a"), y=function("b", "a")).get()
            found[f"{name} first"] = expected if alike(turned.x, turned.y) else turned.x
    field = rows.annotate(x=function("a", "b")).query.annotations["x"].output_field
    for name, operand in (("OuterRef", OuterRef("b")), ("inside", row.b)):
        found[name] = rows.annotate(x=inside(rows, function, operand, field)).get().x
    if kind == "bit" and function is VectorConcat:  # see test_concat_of_bytes
        found = {name: x for name, x in found.items() if not name.startswith("byte")}
    assert [name for name, value in found.items() if not alike(value, expected)] == []


def alike(value: Any, expected: Any) -> bool:
    if isinstance(expected, str | SparseVector):
        return bool(value == expected)
    return bool(value == pytest.approx(expected, rel=1e-6, abs=1e-6))


def test_concat_of_bytes(db: None) -> None:
    rows = Bits.objects.using("postgresql")
    rows.create(a=BITS)
    assert rows.annotate(both=VectorConcat("a", b"\xa0")).get().both == BITS + "10100000"


def test_first_operand_is_a_value(alias: str) -> None:
    rows = Full.objects.using(alias)
    rows.create(a=[1, 2, 3])
    row = rows.annotate(
        d=L2Distance(np.array([1, 2, 4]), "a"),
        difference=VectorSubtract([1, 1, 1], "a"),
        norm=VectorNorm([3, 4, 0]),
    ).get()
    assert row.d == pytest.approx(1.0)
    assert row.difference == [0.0, -1.0, -2.0]
    assert row.norm == pytest.approx(5.0)


def test_two_values(alias: str) -> None:
    Full.objects.using(alias).create()
    row = Full.objects.using(alias).annotate(
        d=L2Distance([1, 2, 3], [1, 2, 5]), sum=VectorAdd([1, 2, 3], [1, 1, 1])
    )
    assert row.get().d == pytest.approx(2.0)
    assert row.get().sum == [2.0, 3.0, 4.0]


@pytest.mark.parametrize("constant", [np.array([1, 2, 3]), VectorAdd([1, 2, 3], [1, 1, 1])])
def test_aggregates_of_constants_are_refused(constant: Any) -> None:
    with pytest.raises(FieldError) as caught:
        Full.objects.aggregate(x=VectorSum(constant))
    assert str(caught.value) == (
        "VectorSum needs a field, or an expression with one: there is nothing to add up in a "
        "constant."
    )


def test_a_value_behind_an_outer_ref_takes_its_kind(db: None) -> None:
    rows = Bits.objects.using("postgresql")
    rows.create(a=BITS)
    inner = rows.annotate(x=VectorConcat(OuterRef("a"), [True, False])).values("x")[:1]
    found = rows.annotate(x=Subquery(inner, output_field=BitField(12))).get()
    assert found.x == BITS + "10"


# A value that the field would not take is the field's own error, wherever it is an operand.
BAD: list[tuple[str, Any, str]] = [
    ("vector", [1, 2], "Expected 3 dimensions, not 2."),
    ("vector", "[1,2]", "Expected 3 dimensions, not 2."),
    ("vector", b"\xa0", "1 bytes are not a vector: packed float32 takes four bytes per dimension."),
    ("vector", "101", "'101' is not a vector."),
    ("vector", "no name, no vector", "'no name, no vector' is not a vector."),
    ("vector", {0: 1.0}, "{0: 1.0} is not a vector."),
    ("vector", [1, float("nan"), 2], "Component 1 is NaN."),
    ("vector", itertools.count(), "Expected 16000 dimensions at most, not 16001."),
    ("halfvec", [1e6, 0, 0], "Component 0 is 1000000.0, beyond the range of float16."),
    ("bit", "10", "Expected 10 bits, not 2."),
    ("bit", [2] * 10, "Component 0 is 2, not a bit."),
    ("bit", [1.0] * 10, "Component 0 is 1.0, not a bit."),
    ("sparsevec", {7: 1.0}, "Position 7 is not one from 0 to 4."),
    ("sparsevec", [1, 2], "Expected 5 dimensions, not 2."),
]


@pytest.mark.parametrize(("kind", "value", "message"), BAD, ids=lambda part: str(part)[:20])
def test_the_same_errors(kind: str, value: Any, message: str) -> None:
    found = {}
    for function in (*DISTANCES, *PAIRS):
        # Vectors that are joined may be of any length.
        if has("postgresql", function, kind) and getattr(function, "same_length", True):
            for place, operand in enumerate(("a", F("a"), Coalesce("b", "a"))):
                with pytest.raises(ValidationError) as caught:
                    MODELS[kind].objects.annotate(x=function(operand, value))
                found[function.__name__, place] = caught.value.messages
    with pytest.raises(ValidationError) as caught:
        nearest(MODELS[kind], "a", value)
    found["nearest", 0] = caught.value.messages
    assert [name for name, messages in found.items() if messages != [message]] == []


def test_a_name_is_a_field(alias: str) -> None:
    Full.objects.using(alias).create(a=[1, 2, 3], b=[1, 2, 5])
    rows = Full.objects.using(alias).alias(c=VectorAdd("a", "b"))
    row = rows.annotate(d=L2Distance("a", "b"), e=L2Distance("a", "c")).get()
    assert row.d == pytest.approx(2.0)
    assert row.e == pytest.approx(np.linalg.norm([1, 2, 5]))


@pytest.mark.parametrize("function", [L2Distance, VectorAdd])
def test_a_name_of_no_field(function: Any) -> None:
    for operands in (("a", "hello"), ("hello", "a"), ("hello", [1, 2, 3])):
        with pytest.raises(FieldError) as caught:
            Full.objects.annotate(x=function(*operands))
        assert str(caught.value) == (
            "Cannot resolve keyword 'hello' into field. Choices are: a, b, group, id"
        )


@pytest.mark.parametrize("function", [L2Distance, VectorAdd, VectorConcat])
def test_two_kinds(function: Any) -> None:
    with pytest.raises(FieldError) as caught:
        Everything.objects.annotate(x=function("vector", "half"))
    assert str(caught.value) == (
        f"{function.__name__} needs two vectors of the same kind, not vector and halfvec: "
        "Cast one of them."
    )


@pytest.mark.parametrize("function", [L2Distance, VectorAdd])
def test_two_lengths(function: Any) -> None:
    for operands in (([1, 2, 3], [1, 2]), ("embedding", "subitem__extra")):
        with pytest.raises(FieldError) as caught:
            Item.objects.annotate(x=function(*operands))
        assert str(caught.value) == (
            f"{function.__name__} needs two vectors of the same length, not of 3 and 2 dimensions."
        )


PLAIN = [
    (L2Distance("a", np.array([1, 2, 3])), ("a", [1.0, 2.0, 3.0])),
    (VectorAdd("a", np.array([1, 2, 3])), ("a", [1.0, 2.0, 3.0])),
    (VectorAdd("a", "b"), ("a", "b")),
    (HammingDistance("a", b"\xa0\x00"), ("a", b"\xa0\x00")),
    (VectorConcat("a", b"\xa0"), ("a", b"\xa0")),
    (L2Distance("a", {0: 1.0}), ("a", {0: 1.0})),
    (L2Distance("a", SparseVector({0: 1.0}, 5)), ("a", "{1:1}/5")),
]


@pytest.mark.parametrize(("expression", "plain"), PLAIN, ids=lambda part: repr(part)[:40])
def test_deconstructs_to_plain_values(expression: Any, plain: Any) -> None:
    _, args, kwargs = expression.deconstruct()
    assert args == plain
    assert type(expression)(*args, **kwargs).deconstruct()[1] == plain
    again = type(expression)(*args, **kwargs)
    assert hash(again) == hash(type(expression)(*args, **kwargs))


def test_numpy_operands_compare_and_hash() -> None:
    one, same = (VectorAdd("a", np.array([1, 2, 3])) for _ in range(2))
    assert one == same
    assert hash(one) == hash(same)
    assert one != VectorAdd("a", np.array([1, 2, 4]))
    assert VectorConcat("a", b"\xa0") != VectorConcat("a", b"\xa1")


def test_functions_within_functions(alias: str) -> None:
    """libSQL's parser has room for some levels only."""
    Full.objects.using(alias).create(a=[1, 2, 3], b=[1, 0, 1])
    nested = VectorAdd(VectorSubtract("a", "b"), VectorMultiply("b", [2, 2, 2]))
    row = Full.objects.using(alias).annotate(
        sum=nested,
        product=InnerProduct(nested, VectorAdd("a", "b")),
        far=L2Distance(nested, nested),
    )
    assert row.get().sum == [2.0, 2.0, 4.0]
    assert row.get().product == pytest.approx(24.0, rel=1e-6)
    assert row.get().far == 0.0
