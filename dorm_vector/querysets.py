"""``nearest()``: the search that returns the rows it was asked for."""

from __future__ import annotations

import copy
import dataclasses
import functools
import math
from collections.abc import Iterable
from typing import Any, cast

from django.core.exceptions import FieldError
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.models import BooleanField, F, Func, Manager, Model, QuerySet, Value
from django.db.models.constants import LOOKUP_SEP
from django.db.models.sql.constants import MULTI
from django.db.models.sql.query import Query

from dorm_vector.bulk import bulk_copy
from dorm_vector.distances import (
    CosineDistance,
    Distance,
    HammingDistance,
    JaccardDistance,
    L1Distance,
    L2Distance,
    MaxInnerProduct,
)
from dorm_vector.engines import engine_for
from dorm_vector.expressions import VectorValue
from dorm_vector.fields import AnyVectorField
from dorm_vector.indexes import MethodIndex, declared_indexes
from dorm_vector.search.settings import validated

__all__ = ["Search", "VectorQuerySet", "nearest"]

METRICS: dict[str, type[Distance]] = {
    function.metric: function
    for function in (
        L2Distance,
        CosineDistance,
        MaxInnerProduct,
        L1Distance,
        HammingDistance,
        JaccardDistance,
    )
}


ORDER = ("distance", "pk")

# float16 keeps eleven bits: the true order of k rows is among twice as many.
OVERSAMPLE = {"half": 2, "bit": 4}


@dataclasses.dataclass(frozen=True)
class Search:
    """What ``nearest()`` was asked, for the engine that plans the query."""

    #: The declared indexes that serve the metric.
    indexes: tuple[MethodIndex, ...]
    #: Search parameters that the caller gave.
    params: dict[str, Any]
    exact: bool
    #: How many times as many rows as are wanted an index has to find; None for its own number.
    oversample: int | None = None


def nearest(
    queryset: QuerySet[Any] | Manager[Any],
    field: str,
    to: Any,
    *,
    k: int | None = None,
    metric: str | None = None,
    max_distance: float | None = None,
    exact: bool = False,
    ef_search: int | None = None,
    probes: int | None = None,
    iterative_scan: str | None = None,
    oversample: int | None = None,
) -> QuerySet[Any]:
    """
    The rows whose vector ``field`` is nearest to ``to``, annotated with ``distance``, best first.

    ``to`` is a vector in any form that the field takes, an expression, a model instance (its vector
    is used, and the instance itself left out), or None, which has no neighbours. ``field`` may
    cross relations: ``"chunks__embedding"``. ``metric`` is "l2", "cosine", "ip" or "l1", or of bits
    "hamming" or "jaccard"; by default that of the first vector index that the model declares for
    the field, or else "cosine", or "hamming" of bits.
    ``max_distance`` leaves out what is farther away, and ``k`` slices the result.

    Rows without a vector, and those whose distance is undefined (the zero vector under cosine), are
    left out; equal distances are ordered by primary key. ``exact=True`` uses no index.
    ``oversample`` is how many times as many rows an index has to find, to be ordered by their true
    distance: by default 2 for one of half precision, 4 for one of bits or of a prefix, and 1 for
    all others. The other keywords tune the index search of this query; see ``search_params``.

    Raises ValidationError for a vector that the field would not take, FieldError for a field that
    is none, and ValueError for a metric or a parameter that is unknown or out of range.
    """
    # annotate() makes the copy that all else is added to.
    rows: QuerySet[Any] = queryset if isinstance(queryset, QuerySet) else queryset.all()
    target = _target(rows.query, field)
    indexes = tuple(declared_indexes(target))
    function = _function(metric, indexes, target)
    params = validated(ef_search=ef_search, probes=probes, iterative_scan=iterative_scan)
    _check_limits(k, max_distance, oversample)
    if isinstance(to, Model):
        rows, to = _leave_out(rows, field, target, to), getattr(to, target.attname)
    if not hasattr(to, "resolve_expression"):
        to = VectorValue(to, function.value_kind)
    rows = rows.annotate(distance=function(field, to))
    if _has_no_neighbours(function, to):
        return rows.none()
    rows = rows.order_by(*ORDER)
    serving = tuple(index for index in indexes if index.metric == function.metric)
    query = NearestQuery.searching(rows.query, Search(serving, params, exact, oversample))
    query.where.add(Defined(query.annotations["distance"], max_distance=max_distance), "AND")
    if k is not None:
        query.set_limits(0, k)
    rows.query = query
    return rows


class VectorQuerySet(QuerySet[Any]):
    """A queryset with ``nearest()``: ``objects = VectorQuerySet.as_manager()``."""

    def nearest(self, field: str, to: Any, **options: Any) -> QuerySet[Any]:
        """The rows nearest to ``to``; see the function ``nearest``."""
        return nearest(self, field, to, **options)

    def bulk_copy(self, objs: Iterable[Model], **options: Any) -> int:
        """Insert many rows; see the function ``bulk_copy``."""
        return bulk_copy(self, objs, **options)

    bulk_copy.alters_data = True  # type: ignore[attr-defined]


class Own(Func):
    """A condition of ``nearest()`` itself: the index is searched as if it were not there."""

    conditional = True
    output_field = BooleanField()


class Defined(Own):
    """
    Whether a distance is a number, and no greater than ``max_distance``.

    It is none where a vector is NULL or, by cosine, zero.
    """

    def __init__(self, distance: Any, max_distance: float | None = None) -> None:
        super().__init__(distance)
        self.max_distance = max_distance

    def as_sql(self, compiler: Any, connection: Any, **extra: Any) -> Any:  # type: ignore[override]
        (distance,) = self.get_source_expressions()
        sql, params = distance.defined_sql(compiler, connection)
        if self.max_distance is None:
            return sql, params
        reach, reach_params = compiler.compile(distance)
        return f"({sql} AND {reach} <= %s)", (*params, *reach_params, self.max_distance)


class Other(Own):
    """Whether a row is another one than that of a primary key."""

    template = "%(expressions)s"
    arg_joiner = " <> "


class NearestQuery(Query):
    """A query that knows what is searched, so that the engine can plan it."""

    search: Search | None = None
    #: Whether the distance is written such that no index can serve it.
    exact = False
    #: The greatest distance of a row, where the rows are cut off after the search.
    reach: float | None = None
    #: The query whose work this one does, as an engine planned it.
    whole: NearestQuery | None = None

    @classmethod
    def searching(cls, query: Query, search: Search) -> NearestQuery:
        """Make a search of ``query`` itself."""
        made: Any = query
        made.__class__ = cls
        made.search = search
        return cast("NearestQuery", made)

    @property
    def is_search(self) -> bool:
        """Whether the query still has the order that ``nearest()`` gave it."""
        return (
            self.search is not None
            and isinstance(self.annotations.get("distance"), Distance)
            and self.order_by == ORDER
            and self.standard_ordering
            and not self.extra_order_by
            and not self.combinator
        )

    @property
    def is_filtered(self) -> bool:
        """Whether rows are left out for any reason but those of ``nearest()``."""
        return (
            sum(count > 0 for count in self.alias_refcount.values()) > 1
            or not all(isinstance(child, Own) for child in self.where.children)
            or self.distinct
            or self.group_by is not None
        )

    def without_max_distance(self) -> NearestQuery:
        """
        The same search, with ``max_distance`` left to be applied to its rows.

        They come in the order of their distance, so it cuts off the last of them. Rows of which
        the distance is not asked cannot be told apart, and the search stays as it is.
        """
        if "distance" not in self.annotation_select:
            return self
        query: Any = self.clone()
        for position, child in enumerate(query.where.children):
            if isinstance(child, Defined) and child.max_distance is not None:
                query.reach = child.max_distance
                query.where.children[position] = endless = copy.copy(child)
                endless.max_distance = None
        return cast("NearestQuery", query)

    @property
    def query_vector(self) -> bytes | None:
        """The packed query vector, where it is a value and the field one of the table's own."""
        column, vector = self.annotations["distance"].get_source_expressions()
        own = getattr(column, "alias", None) == self.get_initial_alias()
        return vector.value if own and isinstance(vector, VectorValue) else None

    @property
    def query_kind(self) -> str:
        """The kind of the query vector, which is that of the field."""
        return str(self.annotations["distance"].get_source_expressions()[1].kind)

    @property
    def candidates(self) -> int:
        """How many rows an index has to find for a search with an end: one more if one goes."""
        others = sum(isinstance(child, Other) for child in self.where.children)
        return int(self.high_mark or 0) + others

    def oversampled(self, stage: Any) -> int:
        """How many rows an index of that ``stage`` (see ``MethodIndex.stage``) has to find."""
        search = cast("Search", self.search)
        return self.candidates * (search.oversample or OVERSAMPLE.get(stage, 4 if stage else 1))

    def get_compiler(
        self, using: str | None = None, connection: Any = None, elide_empty: bool = True
    ) -> Any:
        # A query that is a part of another one is compiled for the connection of that.
        nested = connection is not None or self.subquery
        connection = connection or connections[using or DEFAULT_DB_ALIAS]
        query = self
        if self.is_search:
            query = engine_for(connection).plan_search(self, nested)
        compiler = Query.get_compiler(query, using, connection, elide_empty)
        compiler_class: Any = type(compiler)
        compiler.__class__ = _compiler_class(compiler_class)
        return compiler

    def get_count(self, using: str) -> int:
        """Count without the order, since an index that serves it might come back short."""
        query = self.clone()
        query.clear_ordering(force=True)
        return Query.get_count(query, using)


class NearestCompiler:
    """Lets the engine run a search, and look at the rows before they are delivered."""

    query: NearestQuery
    connection: Any

    def execute_sql(self, result_type: str = MULTI, *args: Any, **kwargs: Any) -> Any:
        execute = functools.partial(
            super().execute_sql,  # type: ignore[misc]
            result_type,
            *args,
            **kwargs,
        )
        if result_type != MULTI or not self.query.is_search or self.query.high_mark is None:
            return execute()
        return engine_for(self.connection).run_search(self, execute)


@functools.cache
def _compiler_class(base: type) -> type:
    return type(base.__name__, (NearestCompiler, base), {})


def _target(query: Query, path: str) -> Any:
    """The vector field at the end of ``path``, an annotation's output field included."""
    if path in query.annotations:
        field = query.annotations[path].output_field
    else:
        names = path.split(LOOKUP_SEP)
        field = query.names_to_path(names, query.get_meta(), fail_on_missing=True)[1]
    if not isinstance(getattr(field, "output_field", None) or field, AnyVectorField):
        kind = type(field).__name__
        raise FieldError(f"nearest() needs a vector field, and {path!r} is a {kind}.")
    return field


def _function(metric: str | None, indexes: tuple[MethodIndex, ...], target: Any) -> type[Distance]:
    field = getattr(target, "output_field", None) or target
    name = metric or (indexes[0].metric if indexes else field.values.metrics[0])
    if name not in METRICS:
        raise ValueError(f"nearest() has no metric {name!r}; use one of {', '.join(METRICS)}.")
    return METRICS[name]


def _leave_out(queryset: QuerySet[Any], path: str, field: Any, instance: Model) -> QuerySet[Any]:
    if instance.pk is None or not isinstance(instance, field.model):
        return queryset
    pk = Value(instance.pk, output_field=instance._meta.pk)
    place = LOOKUP_SEP.join([*path.split(LOOKUP_SEP)[:-1], "pk"])
    if place == "pk":
        return _where(queryset, Other(F(place), pk))
    # By an alias, which is the joined row that the distance is about.
    joined: QuerySet[Any] = queryset.alias(_nearest_pk=F(place))
    return joined.exclude(_nearest_pk=instance.pk)


def _where(queryset: QuerySet[Any], condition: Own) -> QuerySet[Any]:
    """
    The rows of which a condition is true.

    filter() would compare it with true, which some databases compute for every row.
    """
    query = queryset.query.chain()
    query.where.add(condition.resolve_expression(query), "AND")
    filtered = queryset.all()
    filtered.query = query
    return filtered


def _has_no_neighbours(function: type[Distance], to: Any) -> bool:
    """Whether no distance to ``to`` is defined: None, and by cosine the zero vector."""
    if not isinstance(to, VectorValue):
        return False
    return to.value is None or (function is CosineDistance and to.is_zero)


def _check_limits(k: Any, max_distance: Any, oversample: Any) -> None:
    if oversample is not None and (type(oversample) is not int or not 1 <= oversample <= 100):
        raise ValueError(f"nearest() takes oversample from 1 to 100, not {oversample!r}.")
    if k is not None and (type(k) is not int or k < 0):
        raise ValueError(f"nearest() takes k of 0 or more rows, not {k!r}.")
    number = isinstance(max_distance, int | float) and not math.isnan(max_distance)
    if max_distance is not None and not number:
        raise ValueError(f"nearest() takes a number as max_distance, not {max_distance!r}.")
