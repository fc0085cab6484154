"""Functions of vectors. Migrations find the distances here too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self, Unpack

from django.core.exceptions import FieldError
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import FloatField, Func, IntegerField, JSONField
from django.db.models.sql.compiler import SQLCompiler

from dorm_vector import aggregates, distances
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
    Known,
    compiled,
    operands,
    packed_value,
    plain,
    public_path,
    settle,
)
from dorm_vector.fields import BitField
from dorm_vector.misuse import refuse_misuse
from dorm_vector.registry import FIELDS
from dorm_vector.sql import Compiled, Operand
from dorm_vector.types import Deconstructed, FuncOptions, VectorOperand

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

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """Distances and aggregates that came later: migrations find them here."""
        for module in (distances, aggregates):
            if name in module.__all__:
                return getattr(module, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class VectorFunction(Func):
    """
    A function of one or two vectors, each a field, an expression, or a value.

    Text as the first operand is the name of a field; as the second it is one if it looks like a
    name, and a vector otherwise.

    NULL where an operand is NULL. Raises FieldError for an operand that is not a vector, and
    NotSupportedError where the database has no such function.
    """

    name: str = ""
    #: SQL by the name of an engine and by field kind, for engines whose own tables have none: with
    #: the operands ``{a}`` and ``{b}``, and the ``numbers()``.
    sql: ClassVar[Mapping[str, Mapping[str, str]]] = {}
    arity: int | None = 1
    #: Whether two operands must have the same length.
    same_length: bool = True

    def __init__(self, *expressions: VectorOperand, **extra: Unpack[FuncOptions]) -> None:
        made = operands(expressions)
        super().__init__(*made, **extra)
        self._constructor_args = (tuple(made), extra)

    def deconstruct(self) -> Deconstructed:
        path, args, kwargs = super().deconstruct()
        return public_path(path), tuple(map(plain, args)), kwargs

    def numbers(self) -> dict[str, int]:
        """Arguments that are numbers."""
        return {}

    def resolve_expression(self, *args: Any, **kwargs: Any) -> Self:
        resolved = super().resolve_expression(*args, **kwargs)
        resolved._settle()
        return resolved

    def _settle(self) -> list[Known]:
        """Convert query vectors to the kind of the other operand, and compare the lengths."""
        fitted, known = settle(self, self.get_source_expressions(), same_length=self.same_length)
        self.set_source_expressions(fitted)
        self._check_size(known)
        return known

    def _check_size(self, known: list[Known]) -> None:
        """Raise FieldError if the operands are too short."""

    def _first(self) -> Any:
        """What is known of the first operand about which anything is."""
        known = self._known()
        if not known:
            for operand in self.get_source_expressions():
                operand.output_field  # noqa: B018 - F() has none, and says so by an AttributeError
            raise FieldError(f"{type(self).__name__} needs a vector of a known length.")
        return known[0]

    def _known(self) -> list[Known]:
        return [each for each in self._settle() if each.dimensions is not None]

    def as_sql(  # type: ignore[override]
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **extra: object
    ) -> Compiled:
        refuse_misuse(compiler)
        known = self._settle()
        kind = next((each.kind for each in known if each.kind), "vector")
        dimensions = next((each.dimensions for each in known if each.dimensions), None)
        made = [
            Operand(
                *compiled(compiler, operand),
                packed_value(operand),
                dimensions,
                kind,
                bool(getattr(operand, "contains_aggregate", False)),
            )
            for operand in self.get_source_expressions()
        ]
        # A column, a constraint or an index: only their queries name no tables.
        stored = not getattr(compiler.query, "alias_cols", True)
        return engine_for(connection).function(
            self.name, made, self.numbers(), stored=stored, sql=self.sql
        )


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
    """The ``length`` components of a vector from ``start``, counting from 1."""

    name = "subvector"

    def __init__(
        self, expression: VectorOperand, start: int, length: int, **extra: Unpack[FuncOptions]
    ) -> None:
        for name, number in (("start", start), ("length", length)):
            if type(number) is not int or number < 1:
                raise ValueError(f"Subvector needs a {name} of 1 or more, not {number!r}.")
        super().__init__(expression, **extra)
        self.start, self.length = start, length
        self._constructor_args = ((*self._constructor_args[0], start, length), extra)

    def numbers(self) -> dict[str, int]:
        return {"start": self.start, "length": self.length}

    def result_dimensions(self) -> int:
        return self.length

    def _check_size(self, known: list[Known]) -> None:
        size = known[0].dimensions
        if size and self.start + self.length - 1 > size:
            raise FieldError(
                f"Subvector({self.start}, {self.length}) goes past the end of a vector of {size} "
                "components."
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
    """The components of one vector followed by those of another."""

    name = "concat"
    arity = 2
    same_length = False

    def result_dimensions(self) -> int:
        return sum(each.dimensions or 0 for each in self._settle())


class BinaryQuantize(VectorFunction):
    """A bit for each component of a vector: 1 where it is greater than zero."""

    name = "quantize"

    def _resolve_output_field(self) -> Any:
        return BitField(self._first().dimensions)
