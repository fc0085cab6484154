"""Distances between vectors, functions of vectors, and aggregates."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from django.conf import settings
from django.core.exceptions import FieldError, ValidationError
from django.db.models import Aggregate, Field, FloatField, Func, IntegerField, JSONField, Value
from django.db.models.expressions import Col
from pgvector import SparseVector

from dorm_vector.engines import engine_for
from dorm_vector.engines.base import SQL, Operand, filter_clause
from dorm_vector.fields import (
    AnyVectorField,
    BitField,
    HalfVectorField,
    SparseVectorField,
    VectorField,
)
from dorm_vector.kinds import KINDS

__all__ = [
    "BinaryQuantize",
    "CosineDistance",
    "CosineSimilarity",
    "Distance",
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


def undefined_as_nan(value: Any, expression: Any, connection: Any) -> Any:
    """A database without NaN has its greatest number for an undefined distance: it sorts last."""
    return math.nan if value is not None and abs(value) >= sys.float_info.max else value


def _cosine_field() -> FloatField:
    # Not a subclass: Django lets expressions be mixed whose fields are of the very same class.
    field = FloatField()
    field.from_db_value = undefined_as_nan  # type: ignore[attr-defined]
    return field


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


class Distance(Func):
    """
    The distance between two vectors, a float.

    ``expression`` is the name of a vector field or an expression, ``vector`` a vector in any form
    that the field takes, None, or an expression: ``F("other")``, ``OuterRef``, a ``Subquery``. The
    distance is NULL where one of the two is.

    ``precision`` is that of an index, on databases that have such: "half" measures between the
    vectors rounded to float16, "bit" counts the components whose signs differ.

    Raises ValidationError for a vector that the field would not take, and FieldError for an
    operand that is no vector. NotSupportedError where the database has no such distance.
    """

    arity = 2
    metric: str = ""
    output_field = FloatField()
    #: The kind of a query vector of which nothing else is known; None for one that follows from it.
    value_kind: str | None = None
    #: The operands' dimensions and kind, where both are ``SETTLED``.
    _known: tuple[int | None, str | None] | None = None

    def __init__(
        self, expression: Any, vector: Any, *, precision: str | None = None, **extra: Any
    ) -> None:
        if precision not in (None, "half", "bit"):
            raise ValueError(f'precision takes "half", "bit" or None, not {precision!r}.')
        if not hasattr(vector, "resolve_expression"):
            vector = VectorValue(vector, self.value_kind)
        super().__init__(expression, vector, **extra)
        #: "half", "bit", or the number of components that an index is over.
        self.precision: str | int | None = precision
        # Django compares and hashes expressions by the arguments that they were made from.
        if precision:
            extra = {**extra, "precision": precision}
        self._constructor_args = ((expression, vector), extra)

    def at_precision(self, precision: str | int) -> Distance:
        """The distance by which an index of that precision, or prefix, orders."""
        rough: Distance = self.copy()
        rough.precision = precision
        return rough

    def deconstruct(self) -> Any:
        path, (expression, vector), extra = super().deconstruct()
        if isinstance(vector, VectorValue):
            vector = vector.unpack()
        return path, (expression, vector), extra

    def resolve_expression(
        self,
        query: Any = None,
        allow_joins: bool = True,
        reuse: Any = None,
        summarize: bool = False,
        for_save: bool = False,
    ) -> Any:
        # Django resolves an annotation once more to order by it.
        if self._known and not summarize:
            return self
        resolved = super().resolve_expression(query, allow_joins, reuse, summarize, for_save)
        known = resolved._check_operands()
        operands = resolved.get_source_expressions()
        resolved._known = known if all(isinstance(each, SETTLED) for each in operands) else None
        return resolved

    def as_sql(  # type: ignore[override]
        self, compiler: Any, connection: Any, **extra: Any
    ) -> Any:
        a, b = self._operands(compiler)
        engine, metric = engine_for(connection), self.metric
        if self.precision:
            metric, a, b = engine.at_precision(self.precision, metric, a, b)
        distance = engine.distance(metric, a, b)
        if settings.DEBUG:
            self._warn_of_mistake(compiler.query, engine)
        exact = getattr(compiler.query, "exact", False)
        return engine.without_index(distance) if exact else distance

    def _warn_of_mistake(self, query: Any, engine: Any) -> None:
        from dorm_vector.plans import warn_of_mistake

        warn_of_mistake(self, query, engine)

    def defined_sql(self, compiler: Any, connection: Any) -> SQL:
        """The condition that the distance is a number."""
        return engine_for(connection).defined(self.metric, *self._operands(compiler))

    def _operands(self, compiler: Any) -> Iterator[Operand]:
        dimensions, kind = self._known or self._check_operands()
        for operand in self.get_source_expressions():
            compiled = _compile(compiler, operand)
            yield Operand(*compiled, _packed(operand), dimensions, kind or "vector")

    def _check_operands(self) -> tuple[int | None, str | None]:
        """
        Compare what is known of the operands; return the number of their dimensions and their kind.

        A query vector is made one of that kind. An OuterRef has no field before it is compiled.
        """
        operands = self.get_source_expressions()
        fields = [vector_field_of(operand, self) for operand in operands]
        known = [field for field in fields if field is not None]
        for field in known:
            if self.metric not in field.values.metrics:
                raise FieldError(
                    f"{type(self).__name__} is no distance of {field.kind}; use one for "
                    f"{', '.join(field.values.metrics)}."
                )
        if len({field.kind for field in known}) > 1:
            raise FieldError(
                f"{type(self).__name__} needs two vectors of one kind, not {known[0].kind} and "
                f"{known[1].kind}: Cast one of them."
            )
        for place, operand in enumerate(operands):
            if isinstance(operand, VectorValue) and known:
                operands[place] = operand.fitted(known[0])
        self.set_source_expressions(operands)
        sizes = {field.dimensions for field in known}
        if len(sizes) > 1:
            raise FieldError(
                f"{type(self).__name__} needs two vectors of one length, not of "
                f"{known[0].dimensions} and {known[1].dimensions} dimensions."
            )
        if known:
            return known[0].dimensions, known[0].kind
        for operand in operands:
            if isinstance(operand, VectorValue) and operand.value is not None:
                return operand.dimensions, operand.kind
        return None, self.value_kind


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


def _compile(compiler: Any, operand: Any) -> tuple[str, tuple[Any, ...]]:
    sql, params = compiler.compile(operand)
    return sql, tuple(params)


def _packed(operand: Any) -> bytes | None:
    return operand.value if isinstance(operand, VectorValue) else None


class L2Distance(Distance):
    """The Euclidean distance."""

    metric = "l2"


class CosineDistance(Distance):
    """
    One minus the cosine of the angle between the vectors, from 0 to 2.

    NaN where one of them is zero; such rows sort last.
    """

    metric = "cosine"
    output_field = _cosine_field()


class MaxInnerProduct(Distance):
    """The inner product, negated so that the greatest one sorts first."""

    metric = "ip"


class L1Distance(Distance):
    """The taxicab distance, the sum of the absolute differences."""

    metric = "l1"


class HammingDistance(Distance):
    """How many bits differ."""

    metric = "hamming"
    value_kind = "bit"


class JaccardDistance(Distance):
    """
    One minus the bits that both have, divided by those that one of them has; from 0 to 1.

    1 where they have none in common, also where neither has any.
    """

    metric = "jaccard"
    value_kind = "bit"


class CosineSimilarity(CosineDistance):
    """
    The cosine of the angle between the vectors, from -1 to 1; NaN where one of them is zero.

    For display: no index serves an order by it. Order by `CosineDistance`.
    """

    def as_sql(self, compiler: Any, connection: Any, **extra: Any) -> Any:  # type: ignore[override]
        sql, params = super().as_sql(compiler, connection, **extra)
        return f"(1 - {sql})", params


class InnerProduct(MaxInnerProduct):
    """
    The inner product.

    For display: no index serves an order by it. Order by `MaxInnerProduct`.
    """

    def as_sql(self, compiler: Any, connection: Any, **extra: Any) -> Any:  # type: ignore[override]
        sql, params = super().as_sql(compiler, connection, **extra)
        return f"(-{sql})", params


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
            Operand(*_compile(compiler, operand), _packed(operand), dimensions, kind)
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


class VectorAggregate(Aggregate):
    """An aggregate of vectors, component by component; NULLs are left out."""

    engine_name: str = ""
    arity = 1
    window_compatible = False

    def resolve_expression(self, *args: Any, **kwargs: Any) -> Any:
        resolved = super().resolve_expression(*args, **kwargs)
        aggregate = resolved if isinstance(resolved, VectorAggregate) else None
        if aggregate is not None and vector_field_of(aggregate.source_expressions[0], self) is None:
            raise FieldError(f"{type(self).__name__} needs a vector of a known length.")
        return resolved

    def _resolve_output_field(self) -> Any:
        field = vector_field_of(self.source_expressions[0], self)
        return field and FIELDS[field.kind](field.dimensions)

    def as_sql(self, compiler: Any, connection: Any, **extra: Any) -> Any:  # type: ignore[override]
        (operand,) = self.source_expressions
        field = vector_field_of(operand, self)
        if field is None:
            raise FieldError(f"{type(self).__name__} needs a vector of a known length.")
        vector = Operand(*_compile(compiler, operand), None, field.dimensions, field.kind)
        return engine_for(connection).aggregate(
            self.engine_name, vector, filter_clause(self, compiler)
        )


class VectorSum(VectorAggregate):
    """The sum of vectors."""

    name = "VectorSum"
    engine_name = "sum"


class VectorAvg(VectorAggregate):
    """The mean of vectors."""

    name = "VectorAvg"
    engine_name = "avg"


FIELDS: dict[str, type[AnyVectorField]] = {
    field.kind: field for field in (VectorField, HalfVectorField, BitField, SparseVectorField)
}
