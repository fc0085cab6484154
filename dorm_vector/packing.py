"""
Packing the types that nearly all vectors have, in few steps.

None stands for what ``values`` has to look at: other types, and what is to be refused.
"""

from __future__ import annotations

import functools
import math
import struct
import sys
from collections.abc import Callable
from typing import Any

__all__ = ["PLAIN", "packed_at_once", "packer"]

# Types of which every value is a number. numpy's complex numbers and durations have a float() too.
PLAIN = frozenset({float, int, bool})


def packed_at_once(value: Any, limit: int) -> bytes | None:
    """Of a vector that has ``limit`` components at most."""
    if type(value) is list or type(value) is tuple:
        return _packed_list(value) if 0 < len(value) <= limit else None
    numpy = sys.modules.get("numpy")
    if numpy is None or not isinstance(value, numpy.ndarray) or value.dtype.kind != "f":
        return None
    if value.ndim != 1 or len(value) > limit:
        return None
    if type(value) is not numpy.ndarray and isinstance(value, numpy.ma.MaskedArray):
        return None
    if value.dtype.str != "<f4":
        with numpy.errstate(over="ignore"):
            value = value.astype("<f4")
    return _packed_array(value, numpy.isfinite)


def packer(dimensions: int) -> Callable[[Any], bytes | None]:
    """The same for vectors of that many components, and for lists and arrays of float32 alone."""
    return _packer(dimensions, sys.modules.get("numpy"))


@functools.lru_cache(maxsize=64)
def _packer(dimensions: int, numpy: Any) -> Callable[[Any], bytes | None]:
    def packed_list(value: Any) -> bytes | None:
        if (type(value) is list or type(value) is tuple) and len(value) == dimensions:
            return _packed_list(value)
        return None

    if numpy is None:
        return packed_list
    array, isfinite, dtype = numpy.ndarray, numpy.isfinite, numpy.dtype("<f4")
    shape, yes = (dimensions,), _yes(dimensions)

    def packed(value: Any) -> bytes | None:
        if type(value) is not array:
            return packed_list(value)
        if value.shape != shape or value.dtype != dtype or isfinite(value).tobytes() != yes:
            return None
        made: bytes = value.tobytes()
        return made

    return packed


def _packed_array(numbers: Any, isfinite: Any) -> bytes | None:
    if isfinite(numbers).tobytes() != _yes(len(numbers)):
        return None
    packed: bytes = numbers.tobytes()
    return packed


@functools.lru_cache(maxsize=64)
def _yes(count: int) -> bytes:
    """
    The bytes of numpy's array of so many times True.

    To compare with them takes a third of the time of looking for a False, and all() twice as long.
    """
    return b"\1" * count


def _packed_list(numbers: list[Any] | tuple[Any, ...]) -> bytes | None:
    if type(numbers[0]) not in PLAIN:
        return None
    try:
        # Of another type where one of them is: complex, masked. Those of float32 cannot overflow.
        total = sum(numbers)
        if type(total) not in PLAIN or not math.isfinite(total):
            return None
        # Half the time of array("f", numbers), which takes more, and says what it does not.
        return _form(len(numbers)).pack(*numbers)
    except Exception:  # whatever a float() of somebody's raises
        return None


@functools.lru_cache(maxsize=64)
def _form(count: int) -> struct.Struct:
    return struct.Struct(f"<{count}f")
