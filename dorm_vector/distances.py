"""Distances between vectors."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Self, Unpack

from django.conf import settings
from django.core.exceptions import FieldError
from django.db import NotSupportedError
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Expression, FloatField, Func
from django.db.models.sql import Query
from django.db.models.sql.compiler import SQLCompiler

from dorm_vector.engines import engine_for
from dorm_vector.expressions import (
    SETTLED,
    compiled,
    operands,
    packed_value,
    plain,
    public_path,
    settle,
    vector_field_of,
)
from dorm_vector.kinds import NUMERIC_KINDS
from dorm_vector.misuse import refuse_misuse
from dorm_vector.registry import METRICS, register
from dorm_vector.sql import SQL, Compiled, Operand
from dorm_vector.types import Deconstructed, FuncOptions, VectorOperand
from dorm_vector.undefined import aggregate_over, is_operand

__all__ = [
    "ADVISERS",
    "CosineDistance",
    "CosineSimilarity",
    "Distance",
    "HammingDistance",
    "InnerProduct",
    "JaccardDistance",
    "L1Distance",
    "L2Distance",
    "MaxInnerProduct",
]


#: Called under DEBUG with each distance that is compiled, its query and its engine.
ADVISERS: list[Callable[[Any, Any, Any], None]] = []


# Databases without NaN use a huge number for an undefined distance, so that it sorts last. No
# distance comes near it, or near a millionth of it, which the mean of a million may be.
BEYOND = 1e300


def undefined_as_nan(value: Any, expression: Expression, connection: BaseDatabaseWrapper) -> Any:
    """A distance as it is read: NaN if it is undefined."""
    return math.nan if value is not None and value >= BEYOND else value


def undefined_similarity_as_nan(
    value: Any, expression: Expression, connection: BaseDatabaseWrapper
) -> Any:
    """An undefined similarity is the least number, so that no threshold finds it."""
    return math.nan if value is not None and value <= -BEYOND else value


def _float_field(from_db_value: Callable[..., Any]) -> FloatField:
    # Not a subclass: Django only combines expressions whose fields are of the same class.
    field: Any = FloatField()
    field.from_db_value = from_db_value
    field.may_be_undefined = True  # for expressions that pass it on
    return field  # type: ignore[no-any-return]


class Distance(Func):
    """
    The distance between two vectors, a float.

    ``expression`` is the name of a vector field, an expression, or a vector; ``vector`` a vector in
    any form that the field takes, None, the name of another field, or an expression:
    ``F("other")``, ``OuterRef``, a ``Subquery``. The distance is NULL where one of the two is. An
    undefined one reads as NaN, sorts last, and is NULL in computations.

    ``precision`` is that of a coarse index, where the database has such: "half" compares the
    vectors rounded to float16, "bit" counts the components whose signs differ.

    Raises ValidationError for a vector that the field would not take, and FieldError for an
    operand that is not a vector. NotSupportedError where the database has no such distance.
    """

    arity = 2
    #: The name of the metric. A subclass that has one is registered under it: ``nearest()``,
    #: indexes and checks know it.
    metric: ClassVar[str] = ""
    #: The field kinds whose vectors have the distance.
    kinds: ClassVar[tuple[str, ...]] = NUMERIC_KINDS
    #: SQL by engine name, for engines whose own tables have none: with the operands ``{a}`` and
    #: ``{b}``, and their L2 norms ``{norm_a}`` and ``{norm_b}``.
    sql: ClassVar[Mapping[str, str]] = {}
    #: The ending of its operator classes, after the field kind.
    operator_class: ClassVar[str] = ""
    #: By index method, the field kinds whose indexes serve the metric, if the method does not say
    #: so itself.
    indexed_by: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    #: Whether valid vectors may have no such distance; whether the zero vector has none.
    may_be_undefined: ClassVar[bool] = False
    undefined_at_zero: ClassVar[bool] = False
    output_field = _float_field(undefined_as_nan)
    #: The kind of a query vector of which nothing else is known; None to derive it from the value.
    value_kind: str | None = None
    #: The search of ``nearest()`` that orders by the distance.
    search: Any = None
    #: The classes of all metrics, by name.
    registry: ClassVar[dict[str, type[Distance]]] = METRICS  # type: ignore[assignment]
    #: The operands' dimensions and kind, where both are ``SETTLED``.
    _known: tuple[int | None, str | None] | None = None

    def __init__(
        self,
        expression: VectorOperand,
        vector: VectorOperand,
        *,
        precision: str | None = None,
        **extra: Unpack[FuncOptions],
    ) -> None:
        if not self.metric:
            name = type(self).__name__
            raise TypeError(f"{name} needs a metric: name one in the class, such as 'chebyshev'.")
        if precision not in (None, "half", "bit"):
            raise ValueError(f'precision takes "half", "bit" or None, not {precision!r}.')
        expression, vector = operands((expression, vector), self.value_kind)
        super().__init__(expression, vector, **extra)
        #: What is compared of the vectors; see ``MethodIndex.reduction``.
        self.reduction: str | int | None = precision
        # Django compares and hashes expressions by the arguments that they were made from.
        named = {**extra, "precision": precision} if precision else extra
        self._constructor_args = ((expression, vector), named)

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        if "metric" in vars(cls):
            register(METRICS, cls.metric, cls)

    def reduced(self, reduction: str | int) -> Distance:
        """The distance by which a coarse index orders; see ``MethodIndex.reduction``."""
        coarse: Distance = self.copy()
        coarse.reduction = reduction
        return coarse

    def deconstruct(self) -> Deconstructed:
        path, (expression, vector), extra = super().deconstruct()
        path = public_path(path)
        return path, (plain(expression), plain(vector)), extra

    def resolve_expression(
        self,
        query: Query | None = None,
        allow_joins: bool = True,
        reuse: set[str] | None = None,
        summarize: bool = False,
        for_save: bool = False,
    ) -> Self:
        # Django resolves an annotation again to order by it.
        if self._known is not None and not summarize:
            return self
        resolved = super().resolve_expression(query, allow_joins, reuse, summarize, for_save)
        known = resolved._check_operands()
        resolved._known = known if resolved._has_settled_operands else None
        return resolved

    def settled(self) -> Distance:
        """The distance itself, marked as resolved if its operands need no resolving."""
        if self._has_settled_operands:
            self._known = self._check_operands()
        return self

    @property
    def _has_settled_operands(self) -> bool:
        return all(isinstance(each, SETTLED) for each in self.get_source_expressions())

    def as_sql(  # type: ignore[override]
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **extra: object
    ) -> Compiled:
        made = self.value_sql(compiler, connection)
        if is_operand(self):
            engine = engine_for(connection)
            self._refuse_null(engine)
            made = engine.null_if_undefined(made)
        return made

    def _refuse_null(self, engine: Any) -> None:
        """Refuse aggregates that fail on NULL where zero vectors would cause it."""
        if not self.undefined_at_zero or self.search is not None:
            return
        if aggregate := aggregate_over(self, engine.fails_on_null):
            raise NotSupportedError(
                f"Django's {aggregate} does not accept NULL on {engine.label}, and an undefined "
                f"{type(self).__name__} is NULL: use {aggregate}('distance', "
                "filter=Q(distance__lte=2))."
            )

    def value_sql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper) -> SQL:
        """The SQL of the distance as it is read and compared."""
        a, b = self._operands(compiler)
        engine, metric = engine_for(connection), self.metric
        if self.reduction:
            metric, a, b = engine.reduced(self.reduction, metric, a, b)
        # A column, a constraint or an index: only their queries name no tables.
        stored = not getattr(compiler.query, "alias_cols", True)
        distance = engine.distance(metric, a, b, stored=stored)
        if settings.DEBUG:
            for advise in ADVISERS:
                advise(self, compiler.query, engine)
        if self.search is None or self._is_planned(compiler.query):
            return distance
        return engine.without_index(distance)

    def _is_planned(self, query: Query) -> bool:
        """Whether an index may serve the search that the distance belongs to."""
        plan = getattr(query, "plan", None)
        return plan is not None and plan.search is self.search

    def defined_sql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper) -> SQL:
        """The condition that the distance is a number."""
        return engine_for(connection).defined(self.metric, *self._operands(compiler))

    @property
    def is_settled(self) -> bool:
        """Whether the operands are columns and values, which contain no other expressions."""
        return self._known is not None

    def _operands(self, compiler: SQLCompiler) -> list[Operand]:
        refuse_misuse(compiler)
        if self._known is None:
            return self._compiled_operands(compiler, *self._check_operands())
        # A search compiles its distance for the order and for its condition.
        made = vars(compiler).setdefault("_vector_operands", {})
        if id(self) not in made:
            # The distance is kept too, so that no other one gets its id().
            made[id(self)] = self._compiled_operands(compiler, *self._known), self
        operands: list[Operand] = made[id(self)][0]
        return operands

    def _compiled_operands(
        self, compiler: SQLCompiler, dimensions: int | None, kind: str | None
    ) -> list[Operand]:
        return [
            Operand(
                *compiled(compiler, operand),
                packed_value(operand),
                dimensions,
                kind or "vector",
                bool(getattr(operand, "contains_aggregate", False)),
            )
            for operand in self.get_source_expressions()
        ]

    def _check_operands(self) -> tuple[int | None, str | None]:
        """
        Check the operands against each other, and return their dimensions and their kind.

        A query vector is converted to that kind. An OuterRef has no field before it is compiled.
        """
        given = self.get_source_expressions()
        fields = [vector_field_of(each, self) for each in given]
        for field in fields:
            if field is not None and field.kind not in self.kinds:
                raise FieldError(
                    f"{type(self).__name__} does not compare {field.kind} vectors; use one for "
                    f"{', '.join(field.values.metrics)}."
                )
        fitted, known = settle(self, given, fields)
        self.set_source_expressions(fitted)
        kind = next((each.kind for each in known if each.kind), self.value_kind)
        return next((each.dimensions for each in known if each.dimensions), None), kind


class L2Distance(Distance):
    """The Euclidean distance."""

    metric = "l2"
    operator_class = "l2_ops"


class CosineDistance(Distance):
    """
    One minus the cosine of the angle between the vectors, from 0 to 2.

    NaN where one of them is zero; such rows sort last.
    """

    metric = "cosine"
    operator_class = "cosine_ops"
    may_be_undefined = True
    undefined_at_zero = True


class MaxInnerProduct(Distance):
    """The inner product, negated so that the greatest one sorts first."""

    metric = "ip"
    operator_class = "ip_ops"


class L1Distance(Distance):
    """The taxicab distance, the sum of the absolute differences."""

    metric = "l1"
    operator_class = "l1_ops"


class HammingDistance(Distance):
    """The number of bits that differ."""

    metric = "hamming"
    kinds = ("bit",)
    operator_class = "hamming_ops"
    value_kind = "bit"


class JaccardDistance(Distance):
    """
    One minus the ratio of the bits set in both to those set in either; from 0 to 1.

    1 if they have none in common, even if neither has any.
    """

    metric = "jaccard"
    kinds = ("bit",)
    operator_class = "jaccard_ops"
    value_kind = "bit"


class CosineSimilarity(CosineDistance):
    """
    The cosine of the angle between the vectors, from -1 to 1; NaN where one of them is zero.

    Such rows sort last in descending order, and no threshold finds them: in the database it is
    minus infinity. For display: no index serves an order by it. Order by `CosineDistance`.
    """

    output_field = _float_field(undefined_similarity_as_nan)

    def value_sql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper) -> SQL:
        distance = super().value_sql(compiler, connection)
        return engine_for(connection).similarity(distance, *self._operands(compiler))


class InnerProduct(MaxInnerProduct):
    """
    The inner product.

    For display: no index serves an order by it. Order by `MaxInnerProduct`.
    """

    output_field = _float_field(undefined_similarity_as_nan)

    def value_sql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper) -> SQL:
        sql, params = super().value_sql(compiler, connection)
        return SQL(f"(-{sql})", params)
