"""Coercion of Python values, and the errors for what is no vector."""

from __future__ import annotations

import contextlib
import math
from array import array
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from django.core.exceptions import ValidationError
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pgvector import HalfVector, SparseVector, Vector

from dorm_vector import codecs, values

float32s = st.floats(width=32, allow_nan=False, allow_infinity=False)
vectors = st.lists(float32s, min_size=1, max_size=40)


class TestAccepted:
    @pytest.mark.parametrize(
        "value",
        [
            [1, 2, 3],
            (1, 2, 3),
            range(1, 4),
            array("d", [1, 2, 3]),
            array("f", [1, 2, 3]),
            array("h", [1, 2, 3]),
            Vector([1, 2, 3]),
            HalfVector([1, 2, 3]),
            SparseVector([1, 2, 3]),
            "[1,2,3]",
            " [1.0, 2e0, +3.] ",
            b"\0\0\x80\x3f\0\0\x00\x40\0\0\x40\x40",
            bytearray(b"\0\0\x80\x3f\0\0\x00\x40\0\0\x40\x40"),
            memoryview(b"\0\0\x80\x3f\0\0\x00\x40\0\0\x40\x40"),
            memoryview(array("d", [1, 2, 3])),
            {"a": 1, "b": 2, "c": 3}.values(),
            [Decimal(1), Fraction(2), 3.0],
            [np.float32(1), np.int8(2), np.float64(3)],
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_forms(self, value: Any) -> None:
        assert values.to_float32(value).tolist() == [1.0, 2.0, 3.0]

    def test_iterators(self) -> None:
        assert values.to_float32(number for number in (1, 2, 3)).tolist() == [1.0, 2.0, 3.0]
        assert values.to_float32(iter([1, 2, 3])).tolist() == [1.0, 2.0, 3.0]

    @pytest.mark.parametrize(
        "dtype", ["f2", "f4", "f8", "g", ">f4", ">f8", "i1", "u1", "i2", "i4", "i8", "u8", "?"]
    )
    def test_numpy_dtypes(self, dtype: str) -> None:
        value = np.array([1, 0, 1], dtype=dtype)
        assert values.to_float32(value).tolist() == [1.0, 0.0, 1.0]

    def test_numpy_views_that_are_not_contiguous(self) -> None:
        matrix = np.arange(12, dtype="f4").reshape(3, 4)
        assert values.to_float32(matrix[:, 1]).tolist() == [1.0, 5.0, 9.0]
        assert values.to_float32(matrix[0, ::-1]).tolist() == [3.0, 2.0, 1.0, 0.0]

    def test_the_array_protocol(self) -> None:
        class Tensor:
            def __array__(self) -> np.ndarray:
                return np.array([1.5, 2.5])

        assert values.to_float32(Tensor()).tolist() == [1.5, 2.5]

    @given(vectors)
    def test_float32_values_are_kept(self, vector: list[float]) -> None:
        assert values.to_float32(vector).tolist() == vector

    @given(hnp.arrays("f8", st.integers(1, 20), elements=st.floats(-1e30, 1e30)))
    def test_rounds_as_numpy_does(self, vector: np.ndarray) -> None:
        expected = vector.astype("f4").tolist()
        assert values.to_float32(vector).tolist() == expected
        assert values.to_float32(vector.tolist()).tolist() == expected

    def test_the_greatest_float32(self) -> None:
        greatest = float(np.finfo("f4").max)
        assert values.to_float32([greatest, 3.40282356e38]).tolist() == [greatest, greatest]


REFUSED = [
    ([1, math.nan], "nan", "Component 1 is NaN."),
    (np.array([math.nan]), "nan", "Component 0 is NaN."),
    ("[1,nan]", "nan", "Component 1 is NaN."),
    ([-math.inf], "infinite", "Component 0 is infinite."),
    (np.array([1, math.inf], dtype="f4"), "infinite", "Component 1 is infinite."),
    (np.array([math.inf], dtype="f4").tobytes(), "infinite", "Component 0 is infinite."),
    ([1, -1e39], "overflow", "Component 1 is -1e+39, beyond the range of float32."),
    (np.array([1e39]), "overflow", "Component 0 is 1e+39, beyond the range of float32."),
    (array("d", [1e39]), "overflow", "Component 0 is 1e+39, beyond the range of float32."),
    ("[1e39]", "overflow", "Component 0 is 1e+39, beyond the range of float32."),
    (
        [2.0**128 - 2.0**103],
        "overflow",
        "Component 0 is 3.4028235677973366e+38, beyond the range of float32.",
    ),
    ([[1, 2]], "nested", "Component 0 is [1, 2], not a number."),
    ([np.array([1.0])], "nested", "Component 0 is array([1.]), not a number."),
    (np.array([[1, 2]]), "nested", "Expected a vector, not an array of shape (1, 2)."),
    (np.array(1), "nested", "Expected a vector, not an array of shape ()."),
    ([1, "2"], "not_a_number", "Component 1 is '2', not a number."),
    ([None], "not_a_number", "Component 0 is None, not a number."),
    ([1j], "not_a_number", "Component 0 is 1j, not a number."),
    (np.array([1j]), "not_a_number", "Expected numbers, not an array of complex128."),
    (np.array(["1"]), "not_a_number", "Expected numbers, not an array of <U1."),
    ("hello", "invalid", "'hello' is not a vector."),
    ("", "invalid", "'' is not a vector."),
    ("[1,,2]", "invalid", "'[1,,2]' is not a vector."),
    ("[1_0]", "invalid", "'[1_0]' is not a vector."),
    ("[[1]]", "invalid", "'[[1]]' is not a vector."),
    ("1,2,3", "invalid", "'1,2,3' is not a vector."),
    (
        b"12345",
        "invalid",
        "5 bytes are not a vector: packed float32 takes four bytes per dimension.",
    ),
    ([Decimal("sNaN")], "not_a_number", "Component 0 is Decimal('sNaN'), not a number."),
    ({1, 2}, "invalid", "{1, 2} is not a vector."),
    ({1: 2}, "invalid", "{1: 2} is not a vector."),
    (5, "invalid", "5 is not a vector."),
    ([], "dimensions", "Expected 1 or more dimensions, not 0."),
    ("[]", "dimensions", "Expected 1 or more dimensions, not 0."),
]


class TestRefused:
    @pytest.mark.parametrize(
        ("value", "code", "message"), REFUSED, ids=lambda value: repr(value)[:30]
    )
    def test_error(self, value: Any, code: str, message: str) -> None:
        with pytest.raises(ValidationError) as caught:
            values.pack(value)
        assert caught.value.messages == [message]
        assert caught.value.code == code

    def test_wrong_length(self) -> None:
        with pytest.raises(ValidationError) as caught:
            values.pack([1, 2, 3], dimensions=384)
        assert caught.value.messages == ["Expected 384 dimensions, not 3."]
        assert caught.value.code == "dimensions"
        assert caught.value.params == {"expected": 384, "actual": 3}

    def test_long_values_are_cut_short(self) -> None:
        with pytest.raises(ValidationError) as caught:
            values.pack("x" * 10_000)
        assert len(caught.value.messages[0]) < 100

    def test_ints_beyond_doubles(self) -> None:
        with pytest.raises(ValidationError) as caught:
            values.pack([10**400])
        assert caught.value.code == "overflow"
        assert len(caught.value.messages[0]) < 120

    @given(
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.integers() | st.text() | st.binary(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner),
            max_leaves=8,
        )
    )
    def test_anything_is_a_vector_or_a_validation_error(self, value: Any) -> None:
        packed = b""
        with contextlib.suppress(ValidationError):
            packed = values.pack(value)
        assert np.isfinite(np.frombuffer(packed, "<f4")).all()


class TestCodecs:
    @given(vectors)
    def test_packed(self, vector: list[float]) -> None:
        packed = codecs.to_packed(array("f", vector))
        assert packed == np.array(vector, dtype="<f4").tobytes()
        assert bits(codecs.from_packed(packed)) == bits(vector)

    @given(vectors)
    def test_text(self, vector: list[float]) -> None:
        assert bits(codecs.from_text(codecs.to_text(array("f", vector)))) == bits(vector)

    @given(vectors)
    def test_text_is_pgvectors(self, vector: list[float]) -> None:
        assert bits(Vector.from_text(codecs.to_text(vector)).to_list()) == bits(vector)

    @given(vectors)
    def test_network(self, vector: list[float]) -> None:
        assert bits(codecs.from_network(Vector(vector).to_binary())) == bits(vector)


def bits(vector: Any) -> bytes:
    return np.asarray(vector, dtype="<f4").tobytes()
