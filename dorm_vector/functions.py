"""Functions of vectors. Migrations find the distances here as well."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import FieldError
from django.db.models import FloatField, Func, IntegerField, JSONField

from dorm_vector.aggregates import VectorAvg, VectorSum
from dorm_vector.distances import (
    CosineDistance,
    CosineSimilarity,
    HammingDistance,
    InnerProduct,
    JaccardDistance,
    L1Distance,
    L2Distance,
    MaxInnerProduct,
)
from dorm_vector.engines import engine_for
from dorm_vector.expressions import (
    FIELDS,
    VectorValue,
    compiled,
    packed_value,
    public_path,
    vector_field_of,
)
from dorm_vector.fields import BitField
from dorm_vector.sql import Operand

__all__ = [
    "BinaryQuantize",
    "CosineDistance",
    "CosineSimilarity",
    "HammingDistance",
    "InnerProduct",
    "JaccardDistance",
    "L1Distance",
    "L2Distance",
    "MaxInnerProduct",
    "Normalize",
    "Subvector",
    "VectorAdd",
    "VectorAvg",
    "VectorConcat",
    "VectorDims",
    "VectorMultiply",
    "VectorNorm",
    "VectorSubtract",
    "VectorSum",
    "VectorToJSON",
]


class VectorFunction(Func):
    """
    A function of one vector or of two, which are fields, expressions, or vectors as values.

    NULL where an operand is NULL. Raises FieldError for an operand that is no vector, and
    NotSupportedError where the database has no such function.
    """

    name: str = ""
    arity: int | None = 1

    def __init__(self, *expressions: Any, **extra: Any) -> None:
        resolved = [
            expression
            if isinstance(expression, str) or hasattr(expression, "resolve_expression")
            else VectorValue(expression)
            for expression in expressions
        ]
        super().__init__(*resolved, **extra)

    def deconstruct(self) -> Any:
        path, args, kwargs = super().deconstruct()
        return public_path(path), args, kwargs

    def numbers(self) -> dict[str, Any]:
        """Arguments that are numbers."""
        return {}

    def resolve_expression(self, *args: Any, **kwargs: Any) -> Any:
        resolved = super().resolve_expression(*args, **kwargs)
        resolved._settle()
        return resolved

    def _settle(self) -> None:
        """Make query vectors such of the kind of the other operand, and compare the lengths."""
        operands = self.get_source_expressions()
        known = [field for operand in operands if (field := vector_field_of(operand, self))]
        for place, operand in enumerate(operands):
            if isinstance(operand, VectorValue) and known:
                operands[place] = operand.in_kind(known[0].kind)
        self.set_source_expressions(operands)
        if len({operand.kind for operand in self._sizes()}) > 1:
            raise FieldError(f"{type(self).__name__} needs two vectors of one kind.")
        self._compare([operand.dimensions for operand in self._sizes()])

    def _compare(self, dimensions: list[int]) -> None:
        if len(set(dimensions)) > 1:
            raise FieldError(
                f"{type(self).__name__} needs two vectors of one length, not of "
                f"{dimensions[0]} and {dimensions[1]} dimensions."
            )

    def _sizes(self) -> list[Any]:
        """For each operand something with its kind and its dimensions."""
        sized = [
            operand if isinstance(operand, VectorValue) else vector_field_of(operand, self)
            for operand in self.get_source_expressions()
        ]
        return [each for each in sized if each is not None and each.dimensions is not None]

    def _first(self) -> Any:
        sizes = self._sizes()
        if not sizes:
            for operand in self.get_source_expressions():
                operand.output_field  # noqa: B018 - F() has none, and says so by an AttributeError
            raise FieldError(f"{type(self).__name__} needs a vector of a known length.")
        return sizes[0]

    def as_sql(self, compiler: Any, connection: Any, **extra: Any) -> Any:  # type: ignore[override]
        sizes = self._sizes()
        kind = sizes[0].kind if sizes else "vector"
        dimensions = sizes[0].dimensions if sizes else None
        operands = [
            Operand(*compiled(compiler, operand), packed_value(operand), dimensions, kind)
            for operand in self.get_source_expressions()
        ]
        return engine_for(connection).function(self.name, operands, self.numbers())


class VectorNorm(VectorFunction):
    """The length of a vector: its Euclidean distance from zero."""

    name = "norm"
    output_field = FloatField()


class VectorDims(VectorFunction):
    """The number of dimensions of a vector."""

    name = "dims"
    output_field = IntegerField()


class VectorToJSON(VectorFunction):
    """A vector as a JSON array of numbers."""

    name = "json"
    output_field = JSONField()


class SameKind(VectorFunction):
    """A function whose result is a vector of the kind of its operands."""

    def _resolve_output_field(self) -> Any:
        first = self._first()
        return FIELDS[first.kind](self.result_dimensions())

    def result_dimensions(self) -> int:
        return int(self._first().dimensions)


class Normalize(SameKind):
    """The vector of length 1 in the same direction; the zero vector stays zero."""

    name = "normalize"


class Subvector(SameKind):
    """The ``length`` components of a vector from ``start`` on, which counts from 1."""

    name = "subvector"

    def __init__(self, expression: Any, start: int, length: int, **extra: Any) -> None:
        for name, number in (("start", start), ("length", length)):
            if type(number) is not int or number < 1:
                raise ValueError(f"Subvector takes {name} of 1 or more, not {number!r}.")
        super().__init__(expression, **extra)
        self.start, self.length = start, length
        self._constructor_args = ((expression, start, length), extra)

    def numbers(self) -> dict[str, Any]:
        return {"start": self.start, "length": self.length}

    def result_dimensions(self) -> int:
        return self.length

    def _compare(self, dimensions: list[int]) -> None:
        if dimensions and self.start + self.length - 1 > dimensions[0]:
            raise FieldError(
                f"Subvector from {self.start} on of {self.length} components is more than the "
                f"{dimensions[0]} that there are."
            )


class VectorAdd(SameKind):
    """The sum of two vectors, component by component."""

    name = "add"
    arity = 2


class VectorSubtract(SameKind):
    """The difference of two vectors, component by component."""

    name = "subtract"
    arity = 2


class VectorMultiply(SameKind):
    """The product of two vectors, component by component."""

    name = "multiply"
    arity = 2


class VectorConcat(SameKind):
    """The components of one vector, and after them those of another one."""

    name = "concat"
    arity = 2

    def _compare(self, dimensions: list[int]) -> None:
        """They may be of any length."""

    def result_dimensions(self) -> int:
        return sum(size.dimensions for size in self._sizes())


class BinaryQuantize(VectorFunction):
    """A bit for each component of a vector: 1 where it is greater than zero."""

    name = "quantize"

    def _resolve_output_field(self) -> Any:
        return BitField(self._first().dimensions)
