"""
Vectors at a byte a component, for the cosine distance: how they are made, and what they prove.

A vector is made as long as 1, then a few times as long, so that its components fill the range of a
byte; what is beyond it is cut. The Euclidean distance of two of them orders vectors as the cosine
does, but for the rounding.
"""

from __future__ import annotations

import functools
import math
import re
from array import array
from collections.abc import Sequence

from dorm_vector import codecs
from dorm_vector.sql import literal

__all__ = ["BYTES", "built_element", "proves_all_found", "quantized", "scale_for", "scaled"]

#: How many steps of a byte a component of 1 is, by sqlite-vec's quantizer.
BYTES = 127.5
# Components of random vectors deviate by 1 / sqrt(dimensions): room for four times as much. A few
# components of embeddings are much larger than the others, and are not to be cut.
ROOM, GREATEST_SCALE = 4, 4
# What the rounding of one vector adds to a distance, at the least, in steps: the difference of two
# numbers that are rounded deviates by sqrt(1/6).
LEAST_DEVIATION = math.sqrt(1 / 6)
# One of 30,000 rows at this distance is farther off than so many deviations.
DEVIATIONS = 4

QUANTIZE = f"vec_quantize_int8({{}}, {literal('unit')})"
ELEMENT = re.compile(r"USING vec0\(vector (\w+)\[(\d+)")
SCALE = re.compile(r"/\* times (\d) \*/")


def scale_for(dimensions: int) -> int:
    """How many times as long as 1 vectors are made: a power of two."""
    scale = 1
    while scale < GREATEST_SCALE and (2 * scale * ROOM) ** 2 <= dimensions:
        scale *= 2
    return scale


def quantized(vector: str, scale: int) -> str:
    """The SQL of a vector in bytes; sqlite-vec adds vectors, but does not multiply them."""
    made = f"vec_normalize({vector})"
    while scale > 1:
        made, scale = f"vec_add({made}, {made})", scale // 2
    return QUANTIZE.format(made)


@functools.lru_cache(maxsize=16)
def scaled(packed: bytes, scale: int) -> bytes:
    """A packed vector, ``scale`` times as long as 1."""
    numbers = codecs.from_packed(packed)
    factor = scale / math.hypot(*numbers)
    return codecs.to_packed(array("f", [factor * number for number in numbers]))


def built_element(sql: str) -> tuple[str | None, int, int]:
    """
    The type of what a side table has, how many of it, and its scale, by the statement that made it.
    """
    element, scale = ELEMENT.search(sql), SCALE.search(sql)
    if element is None:
        return None, 0, 1
    return element[1], int(element[2]), int(scale[1]) if scale else 1


def proves_all_found(
    measured: Sequence[tuple[float, float]],
    last: float,
    scale: int,
    dimensions: int = 0,
    deviations: int = DEVIATIONS,
) -> bool:
    """
    Whether rows that were not chosen are farther off than ``last``, a cosine distance.

    ``measured`` has the cosine distance of each row that was chosen, and the distance in bytes by
    which it was. That one is off by rounding, and all others have a greater one. How far it is off
    is seen by those that are here; what is cut makes it smaller, never greater. Sparse vectors are
    hardly rounded, though, and may hide that another one is, in each of its ``dimensions``.
    """
    steps = BYTES * scale
    errors = [coarse - steps * euclidean(distance) for distance, coarse in measured]
    mean = sum(errors) / len(errors)
    deviation = math.sqrt(sum((error - mean) ** 2 for error in errors) / len(errors))
    deviation = max(LEAST_DEVIATION, deviation)
    farthest, true = max(coarse for _, coarse in measured), steps * euclidean(last)
    # Two numbers that are rounded differ by so much more, squared, in each dimension.
    rounded = math.hypot(true, LEAST_DEVIATION * math.sqrt(dimensions)) - true
    return farthest - true - max(mean, rounded) >= deviations * deviation


def euclidean(cosine: float) -> float:
    """The Euclidean distance of vectors of length 1, by their cosine distance."""
    return math.sqrt(max(2 * cosine, 0.0))
