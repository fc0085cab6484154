"""Random vectors for tests."""

from __future__ import annotations

import random as standard
from typing import Any

from pgvector import SparseVector

__all__ = ["random_vector"]

# At most how many elements of a random sparse vector are nonzero.
ELEMENTS = 10


def random_vector(field: Any, random: Any = standard) -> Any:
    """
    A random vector that a field takes: normally distributed numbers, scaled to length 1.

    For a BitField it is text of random bits, for a SparseVectorField up to 10 elements. ``random``
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
