"""Aggregates of vectors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Self, Unpack

from django.core.exceptions import FieldError
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Aggregate, Expression, Value
from django.db.models.sql.compiler import SQLCompiler

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
from dorm_vector.registry import FIELDS
from dorm_vector.sql import Compiled, Operand, filter_clause
from dorm_vector.types import AggregateOptions, Deconstructed, VectorOperand

__all__ = ["VectorAggregate", "VectorAvg", "VectorSum"]


def _leaves(expression: Expression) -> Iterator[Any]:
    parts = [part for part in expression.get_source_expressions() if part is not None]
    if not parts:
        yield expression
    for part in parts:
        yield from _leaves(part)


class VectorAggregate(Aggregate):
    """An aggregate of vectors, component by component; NULLs are left out."""

    engine_name: str = ""
    #: SQL by the name of an engine and by field kind, for engines whose own tables have none: with
    #: the operand ``{a}``, its ``{dimensions}``, and the FILTER clause, ``{filter}``.
    sql: ClassVar[Mapping[str, Mapping[str, str]]] = {}
    arity = 1
    window_compatible = False

    def __init__(self, *expressions: VectorOperand, **extra: Unpack[AggregateOptions]) -> None:
        made = operands(expressions)
        super().__init__(*made, **extra)
        self._constructor_args = (tuple(made), extra)

    def resolve_expression(self, *args: Any, **kwargs: Any) -> Self:
        resolved = super().resolve_expression(*args, **kwargs)
        if isinstance(resolved, VectorAggregate):  # with a default it is a Coalesce
            resolved._settle()
        return resolved

    def deconstruct(self) -> Deconstructed:
        path, args, kwargs = super().deconstruct()
        return public_path(path), tuple(map(plain, args)), kwargs

    def _settle(self) -> Known:
        self.source_expressions, (known,) = settle(self, self.source_expressions)
        if all(isinstance(leaf, Value) for leaf in _leaves(self.source_expressions[0])):
            raise FieldError(
                f"{type(self).__name__} needs a field, or an expression with one: there is nothing "
                "to add up in a constant."
            )
        if known.dimensions is None:
            raise FieldError(f"{type(self).__name__} needs a vector of a known length.")
        return known

    def _resolve_output_field(self) -> Any:
        known = self._settle()
        return FIELDS[str(known.kind)](known.dimensions)

    def as_sql(  # type: ignore[override]
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **extra: object
    ) -> Compiled:
        known = self._settle()
        (operand,) = self.source_expressions
        vector = Operand(
            *compiled(compiler, operand),
            packed_value(operand),
            known.dimensions,
            known.kind or "vector",
        )
        return engine_for(connection).aggregate(
            self.engine_name, vector, filter_clause(self, compiler), self.sql
        )


class VectorSum(VectorAggregate):
    """The sum of vectors."""

    name = "VectorSum"
    engine_name = "sum"


class VectorAvg(VectorAggregate):
    """The mean of vectors."""

    name = "VectorAvg"
    engine_name = "avg"
