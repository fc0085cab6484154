"""
Wire formats of float32 vectors, each a pair of functions named by the format.

``array("f")`` is the common form between them: float32, in the byte order of the machine.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable

__all__ = [
    "FLOAT32_OVERFLOW",
    "from_network",
    "from_packed",
    "from_text",
    "to_packed",
    "to_text",
]

# Halfway between the largest float32 and 2**128: anything below is rounded to the former.
FLOAT32_OVERFLOW = 2.0**128 - 2.0**103

_NETWORK_HEADER = 4


def to_packed(values: array[float]) -> bytes:
    """Packed little-endian float32, four bytes a component."""
    return _little_endian(values).tobytes()


def from_packed(data: bytes | bytearray) -> array[float]:
    """The inverse of ``to_packed``. Raises ValueError where the length is no multiple of four."""
    values = array("f")
    values.frombytes(data)
    return _little_endian(values)


def from_network(data: bytes | memoryview) -> array[float]:
    """
    Big-endian float32 behind a header: int16 dimensions, int16 unused.

    The binary format of pgvector's ``vector`` type; source: ``vector_send`` in pgvector's
    ``src/vector.c``.
    """
    values = array("f")
    values.frombytes(memoryview(data)[_NETWORK_HEADER:])
    if sys.byteorder == "little":
        values.byteswap()
    return values


def to_text(values: Iterable[float]) -> str:
    """
    Text like ``[0.1,2,3]``.

    Nine significant digits tell every float32 from its neighbours, and one formatting operation
    takes a third of the time of joining as many ``str(number)``.
    """
    values = tuple(values)
    return ("[" + ",".join(["%.9g"] * len(values)) + "]") % values


def from_text(text: str) -> list[float]:
    """The inverse of ``to_text``, with blanks allowed. Raises ValueError for anything else."""
    text = text.strip()
    # float() takes the underscores of Python's literals, which are no part of the format.
    if not (text.startswith("[") and text.endswith("]")) or "_" in text:
        raise ValueError("not a vector")
    inner = text[1:-1]
    return [float(number) for number in inner.split(",")] if inner.strip() else []


def _little_endian(values: array[float]) -> array[float]:
    if sys.byteorder == "little":
        return values
    swapped = array("f", values)
    swapped.byteswap()
    return swapped
