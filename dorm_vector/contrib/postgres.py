"""
Lookups of ``ArrayField(VectorField(...))``, beside ``django.contrib.postgres``.

Django's own turn each element into a ``Value`` without its field, which only suits types that the
driver knows. These replace them, and behave the same for arrays of anything else.
"""

from __future__ import annotations

from typing import Any

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.fields import array as djangos
from django.db.models import Func, Value

from dorm_vector.fields import AnyVectorField
from dorm_vector.lookups import is_expression, value_of

__all__ = [
    "VectorArrayContainedBy",
    "VectorArrayContains",
    "VectorArrayExact",
    "VectorArrayOverlap",
]


class Array(Func):
    """An array of expressions, which are vectors or arrays of them."""

    function = "ARRAY"
    template = "%(function)s[%(expressions)s]"

    def get_group_by_cols(self) -> list[Any]:
        """Those of its elements: an array of constants is nothing to group by."""
        return [
            column
            for element in self.get_source_expressions()
            for column in element.get_group_by_cols()
        ]


def _compared(field: Any, rhs: Any) -> Any:
    """What an array is compared with; in an array of vectors, each is an expression."""
    base = getattr(field, "base_field", None)
    if not isinstance(rhs, list | tuple) or not isinstance(_innermost(base), AnyVectorField):
        return rhs
    if isinstance(base, AnyVectorField):
        elements = [value_of(base, value) for value in rhs]
    else:
        elements = [_compared(base, value) for value in rhs]
    # Django leaves an array of nothing but NULL to the driver, and an empty one too.
    if all(element is None or element == [] for element in elements):
        return rhs
    return Array(*map(_expression, elements), output_field=field)


def _innermost(field: Any) -> Any:
    while isinstance(field, ArrayField):
        field = field.base_field
    return field


def _expression(value: object) -> Any:
    return value if is_expression(value) else Value(value)


class _OfVectors:
    def __init__(self, lhs: Any, rhs: Any) -> None:
        super().__init__(lhs, _compared(getattr(lhs, "output_field", None), rhs))  # type: ignore[call-arg]


class VectorArrayContains(_OfVectors, djangos.ArrayContains):  # type: ignore[name-defined]
    """``__contains``."""


class VectorArrayContainedBy(_OfVectors, djangos.ArrayContainedBy):  # type: ignore[name-defined]
    """``__contained_by``."""


class VectorArrayExact(_OfVectors, djangos.ArrayExact):  # type: ignore[name-defined]
    """``=``."""


class VectorArrayOverlap(_OfVectors, djangos.ArrayOverlap):  # type: ignore[name-defined]
    """``__overlap``."""


def register() -> None:
    """Register these in place of Django's, unless the project has registered others."""
    for lookup in _OfVectors.__subclasses__():
        djangos_own = lookup.__mro__[2]
        if ArrayField.get_class_lookups().get(lookup.lookup_name) is djangos_own:  # type: ignore[attr-defined]
            ArrayField.register_lookup(lookup)
