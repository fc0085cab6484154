"""Aggregates of vectors."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import FieldError
from django.db.models import Aggregate

from dorm_vector.engines import engine_for
from dorm_vector.expressions import FIELDS, compiled, public_path, vector_field_of
from dorm_vector.sql import Operand, filter_clause

__all__ = ["VectorAggregate", "VectorAvg", "VectorSum"]


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

    def deconstruct(self) -> Any:
        path, args, kwargs = super().deconstruct()
        return public_path(path), args, kwargs

    def _resolve_output_field(self) -> Any:
        field = vector_field_of(self.source_expressions[0], self)
        return field and FIELDS[field.kind](field.dimensions)

    def as_sql(self, compiler: Any, connection: Any, **extra: Any) -> Any:  # type: ignore[override]
        (operand,) = self.source_expressions
        field = vector_field_of(operand, self)
        if field is None:
            raise FieldError(f"{type(self).__name__} needs a vector of a known length.")
        vector = Operand(*compiled(compiler, operand), None, field.dimensions, field.kind)
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
