"""Random vectors for tests."""

from __future__ import annotations

import random as standard
from typing import Any

from pgvector import SparseVector

__all__ = ["random_vector"]

# The elements of a random sparse vector that are not zero, at most.
ELEMENTS = 10


def random_vector(field: Any, random: Any = standard) -> Any:
    """
    A random vector that a field takes: numbers of a normal distribution, scaled to the length 1.

    Of a BitField it is text of random bits, of a SparseVectorField 10 elements at most. ``random``
    is a ``random.Random``, or the module.
    """
    size = field.dimensions
    if field.kind == "bit":
        return "".join(random.choice("01") for _ in range(size))
    if field.kind == "sparsevec":
        indices = random.sample(range(size), min(ELEMENTS, size))
        return SparseVector({index: random.gauss(0, 1) for index in indices}, size)
    numbers = [random.gauss(0, 1) for _ in range(size)]
    length = sum(number * number for number in numbers) ** 0.5
    return [number / length for number in numbers]
