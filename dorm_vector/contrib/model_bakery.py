"""model_bakery: random vectors for models in tests, after ``register()``."""

from __future__ import annotations

from typing import Any

from model_bakery import generators
from model_bakery.random_gen import baker_random

from dorm_vector.contrib.random_vectors import random_vector

__all__ = ["register"]

FIELDS = ("BitField", "HalfVectorField", "SparseVectorField", "VectorField")


def register() -> None:
    """Let ``baker.make()`` fill vector fields with random vectors of the right dimensions."""

    def made(vector_field: Any) -> Any:
        return random_vector(vector_field, baker_random)

    # What model_bakery reads from a field and passes by keyword.
    made.required = [lambda field: ("vector_field", field)]  # type: ignore[attr-defined]
    for name in FIELDS:
        generators.add(f"dorm_vector.fields.{name}", made)
