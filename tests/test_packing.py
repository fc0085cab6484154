"""Packing in few steps gives what packing in all of them gives, or leaves the value to those."""

from __future__ import annotations

import sys
from array import array
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from django.core.exceptions import ValidationError
from hypothesis import given
from hypothesis import strategies as st

from dorm_vector import values
from dorm_vector.arrays import vector_array
from dorm_vector.kinds import KINDS
from dorm_vector.packing import packed_at_once, packer

BYTES = np.array([1, 2.5, -3], "<f4").tobytes()
NUMBERS = [1, 2.5, -3]
AT_ONCE: dict[str, Any] = {
    "list": NUMBERS,
    "tuple": tuple(NUMBERS),
    "array": np.array(NUMBERS, "f4"),
    "every second one": np.array(NUMBERS, "f4").repeat(2)[::2],
    "read-only": np.frombuffer(BYTES, "<f4"),
}
LATER: dict[str, Any] = {
    "float64": np.array(NUMBERS),
    "float16": np.array(NUMBERS, "f2"),
    "big-endian": np.array(NUMBERS, ">f4"),
    "subclass": vector_array(np.array(NUMBERS, "f4")),
    "array of Python's": array("f", NUMBERS),
    "text": "[1,2.5,-3]",
    "bytes": BYTES,
    "decimals": [Decimal(1), Decimal("2.5"), Decimal(-3)],
    "iterator": range(1, 4),
}
REFUSED: dict[str, Any] = {
    "too short": [1, 2],
    "too long": np.ones(4, "f4"),
    "empty": [],
    "no numbers": np.empty(0, "f4"),
    "two dimensions": np.ones((1, 3), "f4"),
    "no dimension": np.float32(1),
    "NaN": [1, float("nan"), 3],
    "both infinities": [float("inf"), float("-inf"), 1],
    "NaN of numpy": np.array([1, np.nan, 3], "f4"),
    "infinity": np.array([1, 2, -np.inf], "f4"),
    "beyond float32": [1, 3.5e38, 1],
    "beyond float64": [1, 10**400, 1],
    "complex": [1, 2j, 3],
    "array of complex numbers": np.ones(3, "c8"),
    "nested": [1, [2], 3],
    "masked": np.ma.masked_array(NUMBERS, [0, 1, 0], "f4"),
    "durations": np.ones(3, "m8[s]"),
    "None": None,
    "a set": {1, 2, 3},
    "texts": ["1", "2", "3"],
}


@pytest.mark.parametrize("value", AT_ONCE.values(), ids=AT_ONCE)
def test_at_once(value: Any) -> None:
    assert packer(3)(value) == packed_at_once(value, 3) == values.pack(value, 3) == BYTES


@pytest.mark.parametrize("value", LATER.values(), ids=LATER)
def test_later(value: Any) -> None:
    assert packer(3)(value) is None
    expected = np.arange(1, 4, dtype="<f4").tobytes() if isinstance(value, range) else BYTES
    assert values.pack(value, 3) == expected


@pytest.mark.parametrize("value", REFUSED.values(), ids=REFUSED)
def test_refused(value: Any) -> None:
    assert packer(3)(value) is None
    with pytest.raises(ValidationError):
        values.pack(value, 3)


@given(st.lists(st.floats(width=32) | st.integers(-(10**40), 10**40) | st.booleans(), max_size=4))
def test_lists(numbers: list[Any]) -> None:
    with np.errstate(over="ignore"):
        array_ = np.array([float(number) for number in numbers]).astype("<f4")
    is_vector = len(numbers) == 3 and bool(np.isfinite(array_).all())
    expected = array_.tobytes() if is_vector else None
    assert packer(3)(numbers) == packer(3)(tuple(numbers)) == packer(3)(array_) == expected


def test_without_numpy(monkeypatch: Any) -> None:
    """What was made with numpy is not used without it, and the other way round."""
    packer(3)
    monkeypatch.setitem(sys.modules, "numpy", None)
    assert packer(3)(NUMBERS) == BYTES
    assert packer(3)(AT_ONCE["array"]) is None
    monkeypatch.undo()
    assert packer(3)(AT_ONCE["array"]) == BYTES


@pytest.mark.parametrize("kind", ["halfvec", "bit", "sparsevec"])
def test_other_kinds(kind: str) -> None:
    """They round, count or leave out, and look at each value."""
    for value in (NUMBERS, AT_ONCE["array"], "101", {0: 1}):
        assert KINDS[kind].packer(3)(value) is None
