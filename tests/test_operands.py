"""Operands: any form that a field takes, as an operand of any distance, function and aggregate."""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from django.core.exceptions import FieldError, ValidationError
from django.db.models import F, OuterRef, Subquery
from pgvector import Bit, HalfVector, SparseVector, Vector

from dorm_vector import (
    BitField,
    CosineDistance,
    HammingDistance,
    InnerProduct,
    JaccardDistance,
    L2Distance,
    MaxInnerProduct,
    VectorAdd,
    VectorConcat,
    VectorMultiply,
    VectorNorm,
    VectorSubtract,
    VectorSum,
)
from tests.testapp.models import Bits, Everything, Full, Half, Item, Sparse

MODELS: dict[str, Any] = {"vector": Full, "halfvec": Half, "bit": Bits, "sparsevec": Sparse}
FIRST = {
    "vector": [1, 2, 3],
    "halfvec": [1, 2, 3],
    "bit": "1100110011",
    "sparsevec": [1, 0, 2, 0, 3],
}
FLOATS = [1.0, 0.0, 1.0]
BITS = "1010101011"

FLOAT_FORMS: dict[str, Callable[[], Any]] = {
    "list": lambda: [1, 0, 1],
    "bools": lambda: [True, False, True],
    "tuple": lambda: (1.0, 0, 1),
    "generator": lambda: (number for number in FLOATS),
    "array": lambda: array("d", FLOATS),
    "numpy": lambda: np.array(FLOATS),
    "numpy of bools": lambda: np.array([True, False, True]),
    "Vector": lambda: Vector(FLOATS),
    "HalfVector": lambda: HalfVector(FLOATS),
    "text": lambda: "[1,0,1]",
    "bytes": lambda: np.array(FLOATS, "<f4").tobytes(),
    "memoryview": lambda: memoryview(np.array(FLOATS, "<f4").tobytes()),
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
# The class, with whether PostgreSQL alone has it for the kind.
CLASSES: dict[str, list[tuple[Any, bool]]] = {
    "vector": [(each, False) for each in (L2Distance, CosineDistance, InnerProduct, VectorAdd)],
    "halfvec": [(each, False) for each in (MaxInnerProduct, VectorMultiply, VectorConcat)],
    "bit": [(HammingDistance, False), (JaccardDistance, False), (VectorConcat, True)],
    "sparsevec": [(L2Distance, True), (CosineDistance, True)],
}
CASES = [
    pytest.param(kind, form, function, only, id=f"{kind}-{form}-{function.__name__}")
    for kind, forms in FORMS.items()
    for form in forms
    for function, only in CLASSES[kind]
    # Whole bytes do not say how many of their bits they mean; see test_concat_of_bytes.
    if not (kind == "bit" and function is VectorConcat and form.startswith("byte"))
]


@pytest.mark.parametrize(("kind", "form", "function", "only"), CASES)
def test_every_form(alias: str, kind: str, form: str, function: Any, only: bool) -> None:
    """What a value gives is what a column of the same vector gives."""
    if only:
        alias = "postgresql"
    rows = MODELS[kind].objects.using(alias)
    rows.create(a=FIRST[kind], b=FORMS[kind][form]())
    row = rows.annotate(
        value=function("a", FORMS[kind][form]()),
        column=function("a", F("b")),
        named=function("a", "b"),
    ).get()
    same = row.column if isinstance(row.column, str) else pytest.approx(row.column, rel=1e-6)
    assert row.value == same
    assert row.named == same


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
    ("vector", b"\xa0", "1 bytes are no vector: packed float32 takes four for each dimension."),
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
REFUSING = {
    "vector": (L2Distance, CosineDistance, VectorAdd, VectorSubtract),
    "halfvec": (L2Distance, VectorAdd, VectorMultiply),
    "bit": (HammingDistance, JaccardDistance),
    "sparsevec": (L2Distance, MaxInnerProduct),
}


@pytest.mark.parametrize(("kind", "value", "message"), BAD, ids=lambda part: str(part)[:20])
def test_the_same_errors(kind: str, value: Any, message: str) -> None:
    for function in REFUSING[kind]:
        for operands in (("a", value), (F("a"), value)):
            with pytest.raises(ValidationError) as caught:
                MODELS[kind].objects.annotate(x=function(*operands))
            assert caught.value.messages == [message], function


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
        f"{function.__name__} needs two vectors of one kind, not vector and halfvec: "
        "Cast one of them."
    )


@pytest.mark.parametrize("function", [L2Distance, VectorAdd])
def test_two_lengths(function: Any) -> None:
    for operands in (([1, 2, 3], [1, 2]), ("embedding", "subitem__extra")):
        with pytest.raises(FieldError) as caught:
            Item.objects.annotate(x=function(*operands))
        assert str(caught.value) == (
            f"{function.__name__} needs two vectors of one length, not of 3 and 2 dimensions."
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
