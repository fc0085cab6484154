"""Values that carry more than numbers, have no end, or lie about themselves: one clear error."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from django.core.exceptions import ValidationError
from django.db import DatabaseError, connections, transaction
from pgvector import Bit, SparseVector

from dorm_vector import bulk_copy, engine_for, models, nearest, values
from dorm_vector.forms import VectorField as FormField
from tests.testapp.models import Bits, Half, Item, Sparse


class Huge:
    def __float__(self) -> float:
        return 1e300

    def __repr__(self) -> str:
        return "Huge()"


class NoArray:
    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        return [1, 2, 3]

    def __repr__(self) -> str:
        return "NoArray()"


class Endless:
    def __iter__(self) -> Iterator[int]:
        return itertools.count()


RELEASED = memoryview(bytes(12))
RELEASED.release()
MASKED = np.ma.array([1.0, -9999.0, 3.0], mask=[False, True, False])
STRUCTURED = np.zeros(3, [("a", "f4")])
REFUSED: list[tuple[Any, str, str]] = [
    (itertools.count(), "dimensions", "Expected 3 dimensions, not 4 or more."),
    (Endless(), "dimensions", "Expected 3 dimensions, not 4 or more."),
    (range(10**12), "dimensions", "Expected 3 dimensions, not 1000000000000."),
    (range(10**30), "dimensions", "Expected 3 dimensions, not 9223372036854775807 or more."),
    (SparseVector({0: 1.0}, 10**9), "dimensions", "Expected 3 dimensions, not 1000000000."),
    (MASKED, "not_a_number", "Component 1 is masked, not a number."),
    ([np.ma.masked, 1, 1], "not_a_number", "Component 0 is masked, not a number."),
    (STRUCTURED, "not_a_number", "Expected numbers, not an array of [('a', '<f4')]."),
    ([np.complex64(1)] * 3, "not_a_number", "Component 0 is np.complex64(1+0j), not a number."),
    # Behind numbers that are plain.
    (
        [1.0, np.complex64(1j), 2.0],
        "not_a_number",
        "Component 1 is np.complex64(1j), not a number.",
    ),
    ([1.0, 2.0, np.ma.masked], "not_a_number", "Component 2 is masked, not a number."),
    (
        (1, 2, np.timedelta64(5, "s")),
        "not_a_number",
        "Component 2 is np.timedelta64(5,'s'), not a number.",
    ),
    ([1.0, float("inf"), -float("inf")], "infinite", "Component 1 is infinite."),
    ([1.0, 1e39, -1e39], "overflow", "Component 1 is 1e+39, beyond the range of float32."),
    (
        [np.timedelta64(5, "s")] * 3,
        "not_a_number",
        "Component 0 is np.timedelta64(5,'s'), not a number.",
    ),
    (
        [10**5000, 1, 1],
        "overflow",
        "Component 0 is an int of 16,610 bits, beyond the range of float32.",
    ),
    ([Decimal("NaN"), 1, 10**400], "nan", "Component 0 is NaN."),
    ([Huge(), 1, 1], "overflow", "Component 0 is Huge(), beyond the range of float32."),
    (
        [Fraction(10**400), 1, 1],
        "overflow",
        f"Component 0 is {values.short(Fraction(10**400))}, beyond the range of float32.",
    ),
    (NoArray(), "invalid", "NoArray() is not a vector."),
    (Bit("101"), "invalid", "Bit(101) is not a vector."),
    (np.array(1.0).data, "nested", "Expected a vector, not a memoryview of shape ()."),
    (
        np.zeros((3, 4), "u1").data,
        "nested",
        "Expected a vector, not a memoryview of shape (3, 4).",
    ),
    (RELEASED, "invalid", f"{values.short(RELEASED)} is not a vector."),
]
IDS = [str(number) for number in range(len(REFUSED))]


@pytest.mark.parametrize(("value", "code", "message"), REFUSED, ids=IDS)
def test_in_python(value: Any, code: str, message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        values.pack(value, 3)
    assert (caught.value.messages, caught.value.code) == ([message], code)
    with pytest.raises(ValidationError) as caught:
        FormField(dimensions=3).clean(value)
    assert (caught.value.messages, caught.value.code) == ([message], code)


@pytest.mark.parametrize(("value", "code", "message"), REFUSED[2:], ids=IDS[2:])
def test_through_every_door(alias: str, value: Any, code: str, message: str) -> None:
    rows = Item.objects.using(alias)
    doors = {
        "save": lambda: rows.create(name="a", embedding=value),
        "update": lambda: rows.update(embedding=value),
        "lookup": lambda: rows.filter(embedding=value),
        "bulk_copy": lambda: bulk_copy(rows, [Item(name="a", embedding=value)]),
    }
    for name, door in doors.items():
        with pytest.raises(ValidationError) as caught, transaction.atomic(alias):
            door()
        row = "Row 1: " if name == "bulk_copy" else ""
        assert caught.value.messages == [f"{row}testapp.Item.embedding: {message}"]
        assert caught.value.code == code
    with pytest.raises(ValidationError):
        list(nearest(rows, "embedding", value, metric="l2"))
    assert not rows.exists()


@pytest.mark.parametrize("make", [itertools.count, Endless], ids=["iterator", "iterable"])
def test_no_end(alias: str, make: Any) -> None:
    rows = Item.objects.using(alias)
    message = "Expected 3 dimensions, not 4 or more."
    for door in (
        lambda: rows.update(embedding=make()),
        # Of an iterator filter() makes a list before any field sees it.
        lambda: rows.filter(embedding=Endless()),
        lambda: rows.bulk_create([Item(name="a", embedding=Endless())]),
    ):
        with pytest.raises(ValidationError) as caught, transaction.atomic(alias):
            door()
        assert caught.value.messages == [f"testapp.Item.embedding: {message}"]
    for door in (
        lambda: rows.create(name="a", embedding=make()),
        lambda: bulk_copy(rows, [Item(name="a", embedding=make())]),
        lambda: list(nearest(rows, "embedding", make())),
    ):
        with pytest.raises(ValidationError), transaction.atomic(alias):
            door()
    assert not rows.exists()


def test_no_end_in_a_sparse_field(db: None) -> None:
    field = models.SparseVectorField(10**9)
    for value in (itertools.count(), range(10**9), itertools.repeat(1.0)):
        with pytest.raises(ValidationError) as caught:
            field.clean(value, None)
        assert caught.value.code == "elements"
    with pytest.raises(ValidationError) as caught:
        Sparse(a=itertools.count()).save(using="postgresql")
    assert caught.value.code == "dimensions"


@pytest.mark.parametrize(
    "value",
    [
        np.array([1, 2, 3], ">f4").data,
        np.array([1, 2, 3], "f2").data,
        np.array([1, 2, 3], "i8").data,
        np.ma.array([1, 2, 3], mask=[False] * 3),
        [np.array(1.0), 2, 3],
    ],
    ids=[">f4", "f2", "i8", "no mask", "0-d"],
)
def test_taken(value: Any) -> None:
    assert values.to_float32(value).tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("alias", ["default", "libsql"], ids=["sqlite", "libsql"])
def test_bits_in_the_padding(db: None, alias: str) -> None:
    sql = 'INSERT INTO testapp_bits (a, "group") VALUES (%s, 0)'
    with connections[alias].cursor() as cursor:
        cursor.execute(sql, [b"\x01\x03"])
        with pytest.raises(DatabaseError), transaction.atomic(alias):
            cursor.execute(sql, [b"\x01\x07"])
    assert Bits.objects.using(alias).get(a="1000000011").a == "1000000011"
    with pytest.raises(ValidationError) as caught:
        Bits._meta.get_field("a").from_db_value(b"\x01\x07", None, connections[alias])
    assert caught.value.messages == [
        "testapp.Bits.a: Expected 10 bits, and one of the 6 after them is 1."
    ]


def test_half_vector_of_another_length(alias: str) -> None:
    field = Half._meta.get_field("a")
    engine = engine_for(connections[alias])
    for stored in (b"", b"\0" * 5, b"\0" * 16, engine.encode(bytes(8), "halfvec")):
        with pytest.raises(ValidationError) as caught:
            field.from_db_value(stored, None, connections[alias])
        assert caught.value.messages[0].startswith("testapp.Half.a: ")
        assert caught.value.code in ("dimensions", "invalid")
