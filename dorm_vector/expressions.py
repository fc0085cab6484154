"""What expressions of vectors are made of: query vectors, and what is known of an operand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.core.exceptions import FieldError, ValidationError
from django.db.models import Field, Value
from django.db.models.expressions import Col
from pgvector import SparseVector

from dorm_vector.engines import engine_for
from dorm_vector.fields import (
    AnyVectorField,
    BitField,
    HalfVectorField,
    SparseVectorField,
    VectorField,
)
from dorm_vector.kinds import KINDS

__all__ = [
    "FIELDS",
    "SETTLED",
    "VectorValue",
    "compiled",
    "packed_value",
    "public_path",
    "vector_field_of",
]


class VectorValue(Value):
    """
    A query vector: checked as it is written down, and packed once.

    It becomes one of the other operand's kind, and number of dimensions, where these are known.
    """

    def __init__(self, value: Any, kind: str | None = None) -> None:
        self.kind = kind or _kind_of(value)
        of_kind = KINDS[self.kind]
        #: Whether the value does not say how many dimensions it has.
        self.open = of_kind.is_open(value)
        most = of_kind.max_dimensions if isinstance(value, Mapping) else None
        super().__init__(None if value is None else of_kind.pack(value, most))

    def __repr__(self) -> str:
        value = self.unpack()
        if not isinstance(value, list) or len(value) <= 4:
            return f"{value}"
        return f"[{value[0]}, ...]"

    @property
    def identity(self) -> Any:
        """What makes two of them equal; numpy arrays among the arguments would not compare."""
        return (type(self), self.kind, self.value, self.open)

    @property
    def dimensions(self) -> int | None:
        return None if self.value is None else KINDS[self.kind].size(self.value)

    def unpack(self) -> Any:
        """The vector as the field of its kind reads it."""
        return None if self.value is None else KINDS[self.kind].unpack(self.value)

    @property
    def is_zero(self) -> bool:
        return self.value is not None and KINDS[self.kind].is_zero(self.value)

    def fitted(self, field: AnyVectorField) -> VectorValue:
        """The same vector as one of a field. Raises ValidationError where it cannot be."""
        if self.value is None:
            return self.in_kind(field.kind)
        if not self.open:
            # Before it is converted: a sparse vector may be a thousand times as long.
            KINDS[self.kind].check_size(self.dimensions or 0, field.dimensions)
            return self.in_kind(field.kind)
        if field.kind != self.kind:
            raise ValidationError(
                f"A dict is a vector of sparsevec, and {field.name or 'the other one'!r} of "
                f"{field.kind}.",
                code="invalid",
            )
        fitted: VectorValue = self.copy()
        fitted.value = KINDS[self.kind].fit(self.value, field.dimensions)
        fitted.open = False
        return fitted

    def in_kind(self, kind: str) -> VectorValue:
        """The same vector in another kind. Raises ValidationError where that has no such value."""
        if kind == self.kind:
            return self
        converted: VectorValue = self.copy()
        converted.kind = kind
        if self.value is not None:
            converted.value = KINDS[self.kind].convert(self.value, KINDS[kind])
        return converted

    def as_sql(self, compiler: Any, connection: Any) -> Any:
        engine = engine_for(connection)
        place = engine.placeholder(self.kind, self.dimensions or 1)
        return place, (None if self.value is None else engine.encoded(self.value, self.kind),)


def _kind_of(value: Any) -> str:
    if isinstance(value, str):
        return "sparsevec" if value.lstrip().startswith("{") else "vector"
    sparse = isinstance(value, SparseVector | Mapping) or hasattr(value, "tocoo")
    return "sparsevec" if sparse else "vector"


# Operands of which nothing more is learnt once they are resolved.
SETTLED = (Col, VectorValue)


def vector_field_of(operand: Any, function: Any) -> AnyVectorField | None:
    """
    The vector field that an operand has, or None where nothing is known of it.

    Raises FieldError for an operand that is no vector.
    """
    if isinstance(operand, VectorValue):
        return None
    try:
        field = operand.output_field
    except (AttributeError, FieldError):  # an OuterRef, or a function of which nothing was said
        return None
    field = getattr(field, "output_field", None) or field
    if type(field) is Field:  # raw SQL of which nothing was said
        return None
    if not isinstance(field, AnyVectorField):
        raise FieldError(
            f"{type(function).__name__} needs vectors, and {operand!r} is a {type(field).__name__}."
        )
    return field


def compiled(compiler: Any, operand: Any) -> tuple[str, tuple[Any, ...]]:
    sql, params = compiler.compile(operand)
    return sql, tuple(params)


def packed_value(operand: Any) -> bytes | None:
    return operand.value if isinstance(operand, VectorValue) else None


def public_path(path: str) -> str:
    """
    The import path of an expression in migrations.

    Those of this package have one that stays, in whichever module they are; a project's own
    subclasses have theirs.
    """
    package, _, name = path.rpartition(".")
    return f"dorm_vector.functions.{name}" if package.startswith("dorm_vector.") else path


FIELDS: dict[str, type[AnyVectorField]] = {
    field.kind: field for field in (VectorField, HalfVectorField, BitField, SparseVectorField)
}
