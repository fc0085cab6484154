"""
Vectors at a byte a component, for the cosine distance: how they are made, and what they prove.

A vector is made as long as 1, then a few times as long, so that its components fill the range of
bytes, and moved up, so that all of them are rounded in the same direction; what is beyond the range
is cut. The Euclidean distance of two of them orders vectors as the cosine does, but for the
rounding.
"""

from __future__ import annotations

import functools
import math
import re
from array import array
from collections.abc import Sequence
from typing import NamedTuple

from dorm_vector import codecs
from dorm_vector.sql import literal

__all__ = [
    "BYTES",
    "Coding",
    "built_element",
    "coding_for",
    "proves_all_found",
    "scaled",
    "shift_of",
]

#: How many steps of a byte a component of 1 is, by sqlite-vec's quantizer.
BYTES = 127.5
# Components of random vectors deviate by 1 / sqrt(dimensions): between the middle of the range and
# its end there is room for four times as much. A few components of embeddings are much larger than
# the others, and are not to be cut.
ROOM, GREATEST_SCALE = 8, 4
# The quantizer rounds towards zero, which brings vectors nearer to each other wherever their
# components differ in sign, and each pair by another length. Above zero it rounds down, which
# cancels out; zeros, which sparse vectors have many of, are in the middle of what becomes one
# number. With fewer dimensions than these there is no room.
SHIFT, LEAST_SHIFTED = 64 / BYTES, 32
# What the rounding of one vector adds to a distance, at the least, in steps: the difference of two
# numbers that are rounded deviates by sqrt(1/6).
LEAST_DEVIATION = math.sqrt(1 / 6)
# One of 30,000 rows at this distance is farther off than so many deviations.
DEVIATIONS = 4

QUANTIZE = f"vec_quantize_int8({{}}, {literal('unit')})"
ELEMENT = re.compile(r"USING vec0\(vector (\w+)\[(\d+)")
CODING = re.compile(r"/\* times (\d)(, moved up)? \*/")


class Coding(NamedTuple):
    """How many times as long as 1 vectors are made, and whether they are moved up."""

    scale: int = 1
    is_shifted: bool = False

    @property
    def note(self) -> str:
        """A comment for the statement that makes a side table, from which it can be read."""
        return f"/* times {self.scale}{', moved up' if self.is_shifted else ''} */"

    def quantized(self, vector: str, shift: str) -> str:
        """The SQL of a vector in bytes. ``shift`` is that of ``SHIFT`` in each component."""
        return self.rounded(self.lengthened(vector), shift)

    def lengthened(self, vector: str) -> str:
        """The SQL of a vector of that length. sqlite-vec adds vectors, but multiplies none."""
        made, scale = f"vec_normalize({vector})", self.scale
        while scale > 1:
            made, scale = f"vec_add({made}, {made})", scale // 2
        return made

    def rounded(self, lengthened: str, shift: str) -> str:
        """The SQL of a lengthened vector in bytes."""
        moved = f"vec_add({lengthened}, {shift})" if self.is_shifted else lengthened
        return QUANTIZE.format(moved)


def coding_for(dimensions: int) -> Coding:
    """The coding that the vectors of a new side table get."""
    scale = 1
    while scale < GREATEST_SCALE and (2 * scale * ROOM) ** 2 <= dimensions:
        scale *= 2
    return Coding(scale, dimensions >= LEAST_SHIFTED)


@functools.lru_cache(maxsize=16)
def shift_of(dimensions: int) -> bytes:
    """``SHIFT`` in each component, packed."""
    return codecs.to_packed(array("f", [SHIFT]) * dimensions)


@functools.lru_cache(maxsize=16)
def scaled(packed: bytes, coding: Coding) -> bytes:
    """A packed vector as long as a coding makes it, and moved."""
    numbers = codecs.from_packed(packed)
    factor = coding.scale / math.hypot(*numbers)
    shift = SHIFT if coding.is_shifted else 0
    return codecs.to_packed(array("f", [factor * number + shift for number in numbers]))


def built_element(sql: str) -> tuple[str | None, int, Coding]:
    """
    The type of what a side table has, how many of it, and how they are made, by the statement that
    made it.
    """
    element, coding = ELEMENT.search(sql), CODING.search(sql)
    if element is None:
        return None, 0, Coding()
    made = Coding(int(coding[1]), bool(coding[2])) if coding else Coding()
    return element[1], int(element[2]), made


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
