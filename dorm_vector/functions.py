"""Distances between vectors."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.core.exceptions import FieldError
from django.db.models import Field, FloatField, Func, Value

from dorm_vector import codecs, values
from dorm_vector.engines import engine_for
from dorm_vector.engines.base import SQL, Operand
from dorm_vector.fields import VectorField

__all__ = ["CosineDistance", "Distance", "L1Distance", "L2Distance", "MaxInnerProduct"]


def undefined_as_nan(value: Any, expression: Any, connection: Any) -> Any:
    """A database without NaN has its greatest number for an undefined distance: it sorts last."""
    return math.nan if value is not None and value >= sys.float_info.max else value


def _cosine_field() -> FloatField:
    # Not a subclass: Django lets expressions be mixed whose fields are of the very same class.
    field = FloatField()
    field.from_db_value = undefined_as_nan  # type: ignore[attr-defined]
    return field


class VectorValue(Value):
    """A query vector: checked as it is written down, and packed once."""

    def __init__(self, value: Any) -> None:
        super().__init__(None if value is None else values.pack(value))

    def __repr__(self) -> str:
        numbers = self.tolist()
        return f"{numbers}" if numbers is None or len(numbers) <= 4 else f"[{numbers[0]}, ...]"

    @property
    def identity(self) -> Any:
        """What makes two of them equal; numpy arrays among the arguments would not compare."""
        return (type(self), self.value)

    def tolist(self) -> list[float] | None:
        return None if self.value is None else codecs.from_packed(self.value).tolist()

    def check_dimensions(self, dimensions: int) -> None:
        if self.value is not None:
            values.check_dimensions(len(self.value) // 4, dimensions)

    def as_sql(self, compiler: Any, connection: Any) -> Any:
        engine = engine_for(connection)
        value = None if self.value is None else engine.encode(self.value)
        return engine.placeholder, (value,)


class Distance(Func):
    """
    The distance between two vectors, a float.

    ``expression`` is the name of a vector field or an expression, ``vector`` a vector in any form
    that the field takes, None, or an expression: ``F("other")``, ``OuterRef``, a ``Subquery``. The
    distance is NULL where one of the two is.

    ``precision="half"`` measures between the vectors rounded to float16, on databases that have
    indexes of that precision: it is what such an index serves.

    Raises ValidationError for a vector that the field would not take, and FieldError for an
    operand that is no vector. NotSupportedError where the database has no such distance.
    """

    arity = 2
    metric: str = ""
    output_field = FloatField()

    def __init__(
        self, expression: Any, vector: Any, *, precision: str | None = None, **extra: Any
    ) -> None:
        if precision not in (None, "half"):
            raise ValueError(f'precision takes "half" or None, not {precision!r}.')
        if not hasattr(vector, "resolve_expression"):
            vector = VectorValue(vector)
        super().__init__(expression, vector, **extra)
        self.precision = precision
        # Django compares and hashes expressions by the arguments that they were made from.
        if precision:
            extra = {**extra, "precision": precision}
        self._constructor_args = ((expression, vector), extra)

    def at_half_precision(self) -> Distance:
        """The same distance, between vectors of float16."""
        half: Distance = self.copy()
        half.precision = "half"
        return half

    def deconstruct(self) -> Any:
        path, (expression, vector), extra = super().deconstruct()
        if isinstance(vector, VectorValue):
            vector = vector.tolist()
        return path, (expression, vector), extra

    def resolve_expression(self, *args: Any, **kwargs: Any) -> Any:
        resolved = super().resolve_expression(*args, **kwargs)
        resolved._check_operands()
        return resolved

    def as_sql(  # type: ignore[override]
        self, compiler: Any, connection: Any, **extra: Any
    ) -> Any:
        a, b = self._operands(compiler)
        engine = engine_for(connection)
        if self.precision:
            a, b = engine.at_half_precision(a), engine.at_half_precision(b)
        distance = engine.distance(self.metric, a, b)
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
        dimensions = self._check_operands()
        for operand in self.get_source_expressions():
            yield Operand(*_compile(compiler, operand), _packed(operand), dimensions)

    def _check_operands(self) -> int | None:
        """
        Compare what is known of the operands, and return the number of their dimensions.

        An OuterRef has no field before it is compiled.
        """
        operands = self.get_source_expressions()
        dimensions = [self._dimensions(operand) for operand in operands]
        known = [number for number in dimensions if number is not None]
        for operand in operands:
            if isinstance(operand, VectorValue) and known:
                operand.check_dimensions(known[0])
        if len(set(known)) > 1:
            raise FieldError(
                f"{type(self).__name__} needs two vectors of one length, not of "
                f"{known[0]} and {known[1]} dimensions."
            )
        return known[0] if known else None

    def _dimensions(self, operand: Any) -> int | None:
        if isinstance(operand, VectorValue):
            return None
        try:
            field = operand.output_field
        except (AttributeError, FieldError):  # an OuterRef, or a function of which nothing was said
            return None
        field = getattr(field, "output_field", None) or field
        if type(field) is Field:  # raw SQL of which nothing was said
            return None
        if not isinstance(field, VectorField):
            raise FieldError(
                f"{type(self).__name__} needs vectors, and {operand!r} is a {type(field).__name__}."
            )
        return field.dimensions


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
