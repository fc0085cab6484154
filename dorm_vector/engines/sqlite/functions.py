"""
Functions of vectors in Python, for SQLite.

``register_all`` stands in for sqlite-vec where Python cannot load it; ``register_own`` adds those
that sqlite-vec has not. Vectors are packed float32, and those of two operands of one length.
"""

from __future__ import annotations

import math
import operator
from array import array
from collections.abc import Callable, Iterable
from typing import Any

from dorm_vector import codecs
from dorm_vector.engines.sqlite.nearest import aggregates
from dorm_vector.kinds import rounded_to_float16

__all__ = ["functions", "register_all", "register_own"]

Function = Callable[..., Any]


def functions() -> dict[str, Function]:
    """The distances by name: with numpy where it can be imported, else ten times slower."""
    try:
        import numpy
    except ImportError:
        return PLAIN
    return _with_numpy(numpy)


def register_all(raw_connection: Any) -> None:
    """Register Python versions of sqlite-vec's functions with a connection."""
    named = {name: (2, function) for name, function in functions().items()}
    for name, (arguments, function) in {**named, **OTHERS}.items():
        raw_connection.create_function(name, arguments, function, deterministic=True)


def register_own(raw_connection: Any) -> None:
    """Register the functions and aggregates that sqlite-vec lacks with a connection."""
    named = {**OWN, **{name: (2, function) for name, function in exact_functions().items()}}
    for name, (arguments, function) in named.items():
        raw_connection.create_function(name, arguments, function, deterministic=True)
    for name, aggregate in (("dorm_sum", Sum), ("dorm_avg", Avg)):
        raw_connection.create_aggregate(name, 1, aggregate)
    for name, nearest in aggregates().items():
        raw_connection.create_aggregate(name, 5, nearest)


def exact_functions() -> dict[str, Function]:
    """
    Distances in float64, for one connection.

    Infinity is what is undefined, as where NaN was stored.
    """
    return {
        "dorm_cosine": _or_infinity(functions()["vec_distance_cosine"]),
        "dorm_ip": _inner_product(),
    }


def _or_infinity(distance: Function) -> Function:
    def exact(a: bytes, b: bytes) -> float:
        value = distance(a, b)
        return value if value is not None and math.isfinite(value) else math.inf

    return exact


def _inner_product() -> Function:
    """
    The negated inner product.

    One of the vectors is nearly always that of the row before: it is converted once.
    """
    read, product = _numbers_and_product()
    last, numbers = b"", read(b"")

    def negated(a: bytes, b: bytes) -> float:
        nonlocal last, numbers
        if b != last:
            last, numbers = b, read(b)
        value = 0.0 - float(product(read(a), numbers))
        return value if math.isfinite(value) else math.inf

    return negated


def _numbers_and_product() -> tuple[Function, Function]:
    try:
        import numpy
    except ImportError:
        return codecs.from_packed, _plain_product
    frombuffer, stored, wide = numpy.frombuffer, numpy.dtype("<f4"), numpy.dtype("f8")
    # dot() warns of infinity and NaN.
    return lambda data: frombuffer(data, stored).astype(wide), numpy.vdot


def _plain_product(x: Any, y: Any) -> float:
    try:
        return math.fsum(i * j for i, j in zip(x, y, strict=True))
    except (OverflowError, ValueError):  # infinities of both signs
        if len(x) != len(y):
            raise
        return math.nan


def _l2(a: bytes, b: bytes) -> float:
    return math.dist(codecs.from_packed(a), codecs.from_packed(b))


def _l1(a: bytes, b: bytes) -> float:
    pairs = zip(codecs.from_packed(a), codecs.from_packed(b), strict=True)
    return sum(abs(x - y) for x, y in pairs)


def _cosine(a: bytes, b: bytes) -> float | None:
    x, y = codecs.from_packed(a), codecs.from_packed(b)
    norms = math.hypot(*x) * math.hypot(*y)
    if not norms:
        return None
    return _not_negative(1.0 - _plain_product(x, y) / norms)


def _not_negative(distance: float) -> float:
    return 0.0 if distance < 0 else distance  # max() would turn NaN into it


PLAIN: dict[str, Function] = {
    "vec_distance_l2": _l2,
    "vec_distance_l1": _l1,
    "vec_distance_cosine": _cosine,
}


def _with_numpy(numpy: Any) -> dict[str, Function]:
    product = numpy.vdot  # dot() warns of infinity and NaN

    def read(data: bytes) -> Any:
        return numpy.frombuffer(data, dtype="<f4").astype("f8")

    def difference(a: bytes, b: bytes) -> Any:
        with numpy.errstate(invalid="ignore"):  # of infinities, which are no numbers of the field
            return read(a) - read(b)

    def l2(a: bytes, b: bytes) -> float:
        apart = difference(a, b)
        return math.sqrt(product(apart, apart))

    def l1(a: bytes, b: bytes) -> float:
        return float(numpy.abs(difference(a, b)).sum())

    def cosine(a: bytes, b: bytes) -> float | None:
        x, y = read(a), read(b)
        norms = math.sqrt(product(x, x)) * math.sqrt(product(y, y))
        return _not_negative(1.0 - float(product(x, y)) / norms) if norms else None

    return {"vec_distance_l2": l2, "vec_distance_l1": l1, "vec_distance_cosine": cosine}


def _hamming(a: bytes, b: bytes) -> float:
    return float((int.from_bytes(a) ^ int.from_bytes(b)).bit_count())


def _pack(numbers: Iterable[float]) -> bytes:
    packed = array("f", numbers)
    if not math.isfinite(sum(packed)):
        # An OverflowError would read as "string or blob too big".
        raise ValueError("a component is beyond the range of float32")
    return codecs.to_packed(packed)


def _component_by_component(combine: Callable[[float, float], float]) -> Function:
    def combined(a: bytes | None, b: bytes | None) -> bytes | None:
        if a is None or b is None:
            return None
        return _pack(map(combine, codecs.from_packed(a), codecs.from_packed(b)))

    return combined


def _norm(a: bytes | None) -> float | None:
    return None if a is None else math.hypot(*codecs.from_packed(a))


def _normalize(a: bytes | None) -> bytes | None:
    if a is None:
        return None
    numbers = codecs.from_packed(a)
    norm = math.hypot(*numbers)
    return _pack(number / norm for number in numbers) if norm else a


def _finite(a: bytes | None) -> bytes | None:
    return None if a is None else _pack(codecs.from_packed(a))


def _quantize(a: bytes) -> bytes:
    bits = "".join("1" if number > 0 else "0" for number in codecs.from_packed(a))
    return codecs.bits_to_reversed_bytes(bits)


def _half(a: bytes | None) -> bytes | None:
    return None if a is None else codecs.to_packed(rounded_to_float16(codecs.from_packed(a)))


def _json(a: bytes | None) -> str | None:
    return None if a is None else codecs.to_text(codecs.from_packed(a))


OTHERS: dict[str, tuple[int, Function]] = {
    "vec_bit": (1, bytes),
    "vec_distance_hamming": (2, _hamming),
    "vec_add": (2, _component_by_component(operator.add)),
    "vec_sub": (2, _component_by_component(operator.sub)),
    "vec_normalize": (1, _normalize),
    "vec_quantize_binary": (1, _quantize),
}
OWN: dict[str, tuple[int, Function]] = {
    "dorm_finite": (1, _finite),
    "dorm_half": (1, _half),
    "dorm_json": (1, _json),
    "dorm_norm": (1, _norm),
    "dorm_normalize": (1, _normalize),
    "dorm_multiply": (2, _component_by_component(operator.mul)),
}


class Sum:
    """The sum of vectors, added up in float64; NULLs are left out."""

    def __init__(self) -> None:
        self.count = 0
        self.total: Any = None

    def step(self, value: bytes | None) -> None:
        if value is None:
            return
        numbers = codecs.from_packed(value)
        self.count += 1
        if self.total is None:
            self.total = array("d", numbers)
        else:
            self.total = array("d", map(operator.add, self.total, numbers))

    def finalize(self) -> bytes | None:
        return None if self.total is None else _pack(self.total)


class Avg(Sum):
    """The mean of vectors."""

    def finalize(self) -> bytes | None:
        return None if self.total is None else _pack(total / self.count for total in self.total)
