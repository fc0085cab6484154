"""
Wire formats of vectors, each a pair of functions named by the format.

``array("f")`` is the common form of numbers: float32, in the byte order of the machine. Bits are
text of 0 and 1.
"""

from __future__ import annotations

import functools
import re
import struct
import sys
from array import array
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

__all__ = [
    "FLOAT32_OVERFLOW",
    "Layout",
    "bits_from_bytes",
    "bits_from_reversed_bytes",
    "bits_to_reversed_bytes",
    "from_array_text",
    "from_float16",
    "from_network",
    "from_network_float16",
    "from_packed",
    "from_sparse_text",
    "from_text",
    "packed_to_text",
    "reader",
    "to_float16",
    "to_network",
    "to_packed",
    "to_sparse_text",
    "to_text",
]

# Halfway between the largest float32 and 2**128: anything below is rounded to the former.
FLOAT32_OVERFLOW = 2.0**128 - 2.0**103

_NETWORK_HEADER = 4


def to_packed(values: array[float]) -> bytes:
    """Packed little-endian float32, four bytes a component."""
    return _little_endian(values).tobytes()


def from_packed(data: bytes | bytearray) -> array[float]:
    """The inverse of ``to_packed``. Raises ValueError if the length is not a multiple of four."""
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


def to_network(data: bytes) -> bytes:
    """Packed little-endian float32 as big-endian float32, without the header of pgvector."""
    values = array("f", data)
    values.byteswap()
    return values.tobytes()


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
    # float() takes the underscores of Python's literals, which the format does not have.
    if not (text.startswith("[") and text.endswith("]")) or "_" in text:
        raise ValueError("not a vector")
    inner = text[1:-1]
    return [float(number) for number in inner.split(",")] if inner.strip() else []


def packed_to_text(data: bytes) -> str:
    """
    ``to_text`` of packed float32.

    With orjson and numpy installed in the shortest spelling, and four times as fast.
    """
    return _writer()(data)


@functools.cache
def _writer() -> Callable[[bytes], str]:
    try:
        import numpy
        import orjson
    except ImportError:
        return lambda data: to_text(from_packed(data))
    dumps, frombuffer, option = orjson.dumps, numpy.frombuffer, orjson.OPT_SERIALIZE_NUMPY
    return lambda data: dumps(frombuffer(data, dtype="<f4").astype("f4"), option=option).decode()


class Layout(NamedTuple):
    """Numbers in bytes: ``code`` is struct's, "f" or "e", ``order`` its "<" or ">"."""

    code: str = "f"
    order: str = "<"
    header: int = 0
    trailer: int = 0

    def size(self, count: int) -> int:
        """How many bytes ``count`` numbers take."""
        return self.header + struct.calcsize(f"{self.order}{count}{self.code}") + self.trailer


def reader(layout: Layout, count: int) -> Callable[[bytes], list[float]]:
    """What reads ``count`` numbers as a list."""
    code, order, header, _ = layout
    if code == "e":
        form = struct.Struct(f"{order}{count}{code}")
        return lambda data: list(form.unpack_from(data, header))
    swapped = (order == ">") == (sys.byteorder == "little")

    def read(data: bytes) -> list[float]:
        numbers = array("f", data[header:])
        if swapped:
            numbers.byteswap()
        return numbers.tolist()

    return read


def to_float16(values: array[float]) -> bytes:
    """Packed little-endian float16, two bytes a component, of numbers that are float16."""
    return struct.pack(f"<{len(values)}e", *values)


def from_float16(data: bytes | memoryview, order: str = "<") -> array[float]:
    """
    The inverse of ``to_float16``; ``order`` ">" is big-endian.

    Raises ValueError if the length is not a multiple of two.
    """
    if len(data) % 2:
        raise ValueError("not whole numbers")
    return array("f", struct.unpack(f"{order}{len(data) // 2}e", data))


def from_network_float16(data: bytes | memoryview) -> array[float]:
    """Big-endian float16 behind a header, the binary format of pgvector's ``halfvec`` type."""
    return from_float16(memoryview(data)[_NETWORK_HEADER:], ">")


def bits_from_bytes(data: bytes) -> str:
    """Bits, the most significant of each byte first, as in numpy's ``packbits``."""
    return f"{int.from_bytes(data):0{8 * len(data)}b}" if data else ""


def bits_to_reversed_bytes(bits: str) -> bytes:
    """
    Bits, the least significant of each byte first, padded with zeros.

    The order of sqlite-vec and of libSQL.
    """
    return int(bits[::-1] or "0", 2).to_bytes((len(bits) + 7) // 8, "little")


def bits_from_reversed_bytes(data: bytes) -> str:
    """The inverse of ``bits_to_reversed_bytes``, with the padding."""
    return f"{int.from_bytes(data, 'little'):0{8 * len(data)}b}"[::-1] if data else ""


def to_sparse_text(elements: Iterable[tuple[int, float]], size: int) -> str:
    """Text like ``{1:0.5,3:2}/5``, which counts from 1, of positions that count from 0."""
    listed = ",".join(f"{place + 1}:{number:.9g}" for place, number in elements)
    return f"{{{listed}}}/{size}"


def from_sparse_text(text: str) -> tuple[dict[int, float], int]:
    """The inverse of ``to_sparse_text``. Raises ValueError for anything else."""
    listed, slash, size = text.rpartition("/")
    listed = listed.strip()
    if not slash or not (listed.startswith("{") and listed.endswith("}")) or "_" in text:
        raise ValueError("not a sparse vector")
    pairs = [pair.split(":") for pair in listed[1:-1].split(",") if pair.strip()]
    elements = {int(place) - 1: float(number) for place, number in pairs}
    if len(elements) != len(pairs):
        raise ValueError("a position occurs twice")
    return elements, int(size)


# A quoted element, a bare one, or a brace.
ARRAY_TOKENS = re.compile(r'"((?:[^"\\]|\\.)*)"|([^{}",]+)|([{}])')


def from_array_text(text: str) -> list[Any]:
    """
    PostgreSQL's text of an array as a list of its elements' texts, with None for NULL.

    An array of more dimensions is a list of lists. Source:
    https://www.postgresql.org/docs/current/arrays.html#ARRAYS-IO
    """
    # Arrays that do not count from 1 begin with their bounds and an equals sign.
    bounds, _, _ = text.partition("{")
    stack: list[list[Any]] = [[]]
    for quoted, bare, brace in ARRAY_TOKENS.findall(text[len(bounds) :]):
        if brace == "{":
            stack.append([])
        elif brace == "}":
            done = stack.pop()
            stack[-1].append(done)
        elif bare:
            stack[-1].append(None if bare == "NULL" else bare)
        else:
            stack[-1].append(re.sub(r"\\(.)", r"\1", quoted))
    (array_,) = stack.pop()
    return array_  # type: ignore[no-any-return]


def _little_endian(values: array[float]) -> array[float]:
    if sys.byteorder == "little":
        return values
    swapped = array("f", values)
    swapped.byteswap()
    return swapped
