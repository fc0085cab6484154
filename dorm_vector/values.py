"""
What a valid vector is: the accepted Python types, the length, and finiteness.

Everything that enters the database passes through ``pack``, whichever way it comes: assignment,
forms, fixtures, lookups and query vectors.
"""

from __future__ import annotations

import functools
import math
import reprlib
import struct
import sys
from array import array
from collections.abc import Callable, Iterable, Mapping, Set
from typing import Any

from django.core.exceptions import ValidationError

from dorm_vector import codecs

__all__ = ["check_dimensions", "pack", "short", "to_float32"]

_short = reprlib.Repr()
_short.maxstring = _short.maxother = 60
_short.maxlist = _short.maxtuple = _short.maxarray = 4

# Numbers from which on numpy adds them up faster than Python.
WORTH_NUMPY = 64


def short(value: Any) -> str:
    """The repr of a value that may be long, for sentences."""
    return _short.repr(value)


def pack(value: Any, dimensions: int | None = None) -> bytes:
    """
    ``value`` as packed little-endian float32, the form in which vectors travel inside the package.

    Accepts what ``to_float32`` accepts. Raises ValidationError for anything that is no vector of
    ``dimensions`` finite float32 numbers; any length but zero will do where ``dimensions`` is None.
    """
    packed = _packed_at_once(value)
    if packed is None:
        packed = codecs.to_packed(to_float32(value))
    check_dimensions(len(packed) // 4, dimensions)
    return packed


def check_dimensions(actual: int, expected: int | None, unit: str = "dimensions") -> None:
    """Raise ValidationError unless a vector of ``actual`` components is one of ``expected``."""
    if not actual or expected not in (None, actual):
        raise ValidationError(
            f"Expected {expected or '1 or more'} {unit}, not {actual}.",
            code="dimensions",
            params={"expected": expected, "actual": actual},
        )


def to_float32(value: Any) -> array[float]:
    """
    ``value`` as an ``array("f")`` of finite numbers.

    Accepts lists, tuples, ranges, arrays, one-dimensional numpy arrays of any float or integer
    type, pgvector's ``Vector``, text like ``"[1,2,3]"``, packed little-endian float32 bytes, and
    any other ordered iterable of numbers. Raises ValidationError with one of the codes
    ``invalid``, ``not_a_number``, ``nested``, ``nan``, ``infinite`` and ``overflow``.
    """
    numbers = _numbers(value)
    values = _array(numbers)
    if not _all_finite(values):
        _refuse_not_finite(values, _as_list(numbers))
    return values


def _packed_at_once(value: Any) -> bytes | None:
    """
    The types that nearly all vectors have, in few steps.

    None for what ``to_float32`` has to look at: other types, and what is to be refused.
    """
    if type(value) is list or type(value) is tuple:
        return _packed_list(value)
    numpy = sys.modules.get("numpy")
    if numpy is None or type(value) is not numpy.ndarray or value.dtype.kind != "f":
        return None
    if value.dtype.itemsize > 4:
        with numpy.errstate(over="ignore"):
            value = value.astype("<f4")
    if value.ndim != 1 or not numpy.isfinite(value).all():
        return None
    packed: bytes = value.astype("<f4", copy=False).tobytes()
    return packed


def _packed_list(numbers: list[Any] | tuple[Any, ...]) -> bytes | None:
    try:
        # Half the time of array("f", numbers), which takes more, and says what it does not.
        packed = _form(len(numbers)).pack(*numbers)
    except (struct.error, OverflowError, TypeError, ValueError):
        return None
    return packed if _all_finite(codecs.from_packed(packed)) else None


@functools.lru_cache(maxsize=64)
def _form(count: int) -> struct.Struct:
    return struct.Struct(f"<{count}f")


def _all_finite(values: array[float]) -> bool:
    numpy = sys.modules.get("numpy")
    if numpy is None or len(values) < WORTH_NUMPY:
        # A sum of float32 numbers cannot overflow a double, so it is finite where they all are.
        return math.isfinite(sum(values))
    return bool(numpy.isfinite(numpy.frombuffer(values, dtype="f4")).all())


def _numbers(value: Any) -> Any:
    """The components of ``value``: a list or tuple, an array or a numpy array."""
    if isinstance(value, list | tuple):
        return value
    for types, components in _COMPONENTS:
        if isinstance(value, types):
            return components(value)
    if hasattr(value, "to_list"):  # pgvector's value classes
        return value.to_list()
    if hasattr(value, "__array__"):  # numpy, and what speaks its protocol
        return _from_numpy(value.__array__())
    if isinstance(value, Iterable) and not isinstance(value, Mapping | Set):
        return list(value)
    raise _invalid(value)


def _from_text(value: str) -> list[float]:
    try:
        return codecs.from_text(value)
    except ValueError:
        raise _invalid(value) from None


def _from_packed(value: bytes | bytearray) -> array[float]:
    try:
        return codecs.from_packed(value)
    except ValueError:
        raise ValidationError(
            f"{len(value)} bytes are no vector: packed float32 takes four for each dimension.",
            code="invalid",
        ) from None


def _from_memoryview(value: memoryview) -> Any:
    return _from_packed(value.tobytes()) if value.format == "B" else value.tolist()


def _from_numpy(value: Any) -> Any:
    if value.ndim != 1:
        raise ValidationError(
            f"Expected a vector, not an array of shape {value.shape}.", code="nested"
        )
    if value.dtype.kind not in "fiub":
        raise ValidationError(
            f"Expected numbers, not an array of {value.dtype}.", code="not_a_number"
        )
    return value


_COMPONENTS: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
    (str, _from_text),
    ((bytes, bytearray), _from_packed),
    (memoryview, _from_memoryview),
    (array, lambda value: value),
)


def _array(numbers: Any) -> array[float]:
    if isinstance(numbers, array) and numbers.typecode == "f":
        return numbers
    if hasattr(numbers, "dtype"):
        return _array_from_numpy(numbers)
    try:
        return array("f", numbers)
    except (TypeError, ValueError):
        _refuse_not_a_number(numbers)
        raise _invalid(numbers) from None
    except OverflowError:  # an int that is too large even for a double
        raise _overflow(numbers) from None


def _array_from_numpy(numbers: Any) -> array[float]:
    import numpy

    with numpy.errstate(over="ignore"):
        return codecs.from_packed(numbers.astype("<f4", copy=False).tobytes())


def _as_list(numbers: Any) -> Any:
    return numbers.tolist() if hasattr(numbers, "tolist") else numbers


def _refuse_not_a_number(numbers: Iterable[Any]) -> None:
    for position, number in enumerate(numbers):
        nested = isinstance(number, Iterable) and not isinstance(number, str | bytes)
        if nested or not hasattr(number, "__float__"):
            raise ValidationError(
                f"Component {position} is {_short.repr(number)}, not a number.",
                code="nested" if nested else "not_a_number",
            )


def _refuse_not_finite(values: array[float], numbers: Iterable[Any]) -> None:
    for position, (value, number) in enumerate(zip(values, numbers, strict=True)):
        if math.isnan(value):
            raise ValidationError(f"Component {position} is NaN.", code="nan")
        if math.isinf(value):
            if math.isinf(number):
                raise ValidationError(f"Component {position} is infinite.", code="infinite")
            raise _overflow(numbers)


def _overflow(numbers: Iterable[Any]) -> ValidationError:
    position, number = next(
        (position, number)
        for position, number in enumerate(numbers)
        if abs(number) >= codecs.FLOAT32_OVERFLOW
    )
    return ValidationError(
        f"Component {position} is {_short.repr(number)}, beyond the range of float32.",
        code="overflow",
    )


def _invalid(value: Any) -> ValidationError:
    return ValidationError(f"{_short.repr(value)} is not a vector.", code="invalid")
