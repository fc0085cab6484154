"""
sqlite-vec's distance functions in Python, for Pythons that cannot load it.

Operands are packed float32 of one length. Undefined cosine distances are None, as in sqlite-vec.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from dorm_vector import codecs

__all__ = ["functions"]

Function = Callable[[bytes, bytes], "float | None"]


def functions() -> dict[str, Function]:
    """The functions by name: with numpy where it can be imported, else ten times slower."""
    try:
        import numpy
    except ImportError:
        return PLAIN
    return _with_numpy(numpy)


def _l2(a: bytes, b: bytes) -> float:
    return math.dist(codecs.from_packed(a), codecs.from_packed(b))


def _l1(a: bytes, b: bytes) -> float:
    pairs = zip(codecs.from_packed(a), codecs.from_packed(b), strict=True)
    return math.fsum(abs(x - y) for x, y in pairs)


def _cosine(a: bytes, b: bytes) -> float | None:
    x, y = codecs.from_packed(a), codecs.from_packed(b)
    norms = math.hypot(*x) * math.hypot(*y)
    if not norms:
        return None
    return 1.0 - math.fsum(i * j for i, j in zip(x, y, strict=True)) / norms


PLAIN: dict[str, Function] = {
    "vec_distance_l2": _l2,
    "vec_distance_l1": _l1,
    "vec_distance_cosine": _cosine,
}


def _with_numpy(numpy: Any) -> dict[str, Function]:
    def read(data: bytes) -> Any:
        return numpy.frombuffer(data, dtype="<f4").astype("f8")

    def l2(a: bytes, b: bytes) -> float:
        return float(numpy.linalg.norm(read(a) - read(b)))

    def l1(a: bytes, b: bytes) -> float:
        return float(numpy.abs(read(a) - read(b)).sum())

    def cosine(a: bytes, b: bytes) -> float | None:
        x, y = read(a), read(b)
        norms = numpy.linalg.norm(x) * numpy.linalg.norm(y)
        return float(1.0 - x.dot(y) / norms) if norms else None

    return {"vec_distance_l2": l2, "vec_distance_l1": l1, "vec_distance_cosine": cosine}
