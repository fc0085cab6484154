"""The arrays that fields with ``numpy=True`` read. Needs numpy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from dorm_vector import codecs

__all__ = ["Comparison", "VectorArray", "reader", "vector_array"]


def vector_array(numbers: np.ndarray) -> VectorArray:
    """An array over the same memory."""
    return numbers.view(VectorArray)


def reader(layout: codecs.Layout, count: int, dtype: str) -> Callable[[bytes], Any]:
    """What reads ``count`` numbers as an array of ``dtype``."""
    code, order, header, _ = layout
    stored, read, shape = np.dtype(f"{order}{code}"), np.dtype(dtype), (count,)
    if stored == read and not header:
        # Over a copy, so that it can be written to, in two thirds of the time of astype().
        return lambda data: VectorArray(shape, read, bytearray(data))
    return lambda data: VectorArray(shape, stored, data, header).astype(read)


class _Plain(np.ndarray):
    """An array whose results under numpy's functions are of numpy's own class."""

    def __array_wrap__(
        self, array: np.ndarray, context: Any = None, return_scalar: bool = False
    ) -> Any:
        return array[()] if return_scalar else np.asarray(array)


class Comparison(_Plain):
    """
    What ``==`` and ``!=`` of vectors give: an answer for each component, like numpy's.

    Its truth value is that of the comparison of two lists, so that ``in`` and ``if`` work where
    Django and others compare values of fields.
    """

    truth: bool | None = None

    def __bool__(self) -> bool:
        return super().__bool__() if self.truth is None else self.truth


class VectorArray(_Plain):
    """
    A vector as a numpy array, which can stand wherever Django's other values can.

    Its ``str()`` is text that the field reads as the same vector. It is true unless it is empty,
    and equal to any sequence of the same numbers; otherwise it is an array like others. What is
    computed from it is of numpy's own class.
    """

    __slots__ = ()
    # It can be changed, like any array.
    __hash__ = None  # type: ignore[assignment]

    def __bool__(self) -> bool:
        return self.size > 0 if self.ndim == 1 else super().__bool__()

    def __eq__(self, other: object) -> Any:
        return _compared(np.equal, self, other, equal=True)

    def __ne__(self, other: object) -> Any:
        return _compared(np.not_equal, self, other, equal=False)

    def __str__(self) -> str:
        if self.ndim == 1 and self.dtype.kind == "f":
            return codecs.to_text(self.tolist())
        if self.ndim == 1 and self.dtype.kind == "b":
            return "".join("1" if bit else "0" for bit in self.tolist())
        return super().__str__()


def _compared(function: Any, vector: np.ndarray, other: Any, *, equal: bool) -> Any:
    try:
        given = np.asarray(other)
        answers = function(np.asarray(vector), given)
    except (TypeError, ValueError):  # of another length, or not comparable with numbers
        return not equal
    if not isinstance(answers, np.ndarray):
        return not equal
    compared = answers.view(Comparison)
    same = given.shape == vector.shape
    compared.truth = bool(answers.all() if equal else answers.any()) if same else not equal
    return compared
