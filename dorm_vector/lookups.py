"""Lookups of vectors that Django's own would answer differently."""

from __future__ import annotations

from typing import Any

from django.db.models.lookups import In

from dorm_vector.expressions import VectorValue
from dorm_vector.fields import AnyVectorField

__all__ = ["VectorIn", "is_expression", "value_of"]


def is_expression(value: object) -> bool:
    return hasattr(value, "resolve_expression")


def value_of(field: AnyVectorField, value: object) -> Any:
    """A vector as an expression that knows its field; expressions and None are unchanged."""
    if value is None or is_expression(value):
        return value
    return VectorValue(value).fitted(field)


@AnyVectorField.register_lookup
class VectorIn(In):
    """
    ``in``, also with vectors among expressions.

    Among expressions Django 5.2 takes a value that is not text for one of a BinaryField.
    """

    def get_prep_lookup(self) -> Any:
        if self.rhs_is_direct_value() and self.prepare_rhs:
            # An iterator can be read only once.
            self.rhs = list(self.rhs)
            if any(map(is_expression, self.rhs)):
                field = self.lhs.output_field
                # Nothing equals NULL; Django leaves it out if all are values.
                self.rhs = [value_of(field, value) for value in self.rhs if value is not None]
        return super().get_prep_lookup()
