"""``nearest()``: the search that returns the rows it was asked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar, Unpack, overload

from django.db.models import F, Model, OuterRef, QuerySet
from django.db.models.constants import LOOKUP_SEP
from django.db.models.sql import Query

from dorm_vector.distances import Distance
from dorm_vector.engines.base.search import joins_many
from dorm_vector.expressions import VectorValue
from dorm_vector.indexes import MethodIndex, declared_indexes
from dorm_vector.search.annotations import check_annotation
from dorm_vector.search.given import (
    Path,
    check_can_be_searched,
    check_limits,
    check_recall,
    path_of,
    queryset_of,
)
from dorm_vector.search.many import Members, NearestMember, one_further_out
from dorm_vector.search.query import Key, KeyOfDistinct, Near, Order, OtherRow, Search, searching
from dorm_vector.search.settings import SearchParams, validated
from dorm_vector.types import Found, Manages, QueryVector, Rows

__all__ = ["nearest"]

M = TypeVar("M", bound=Model)


class SearchOptions(SearchParams, total=False):
    """The keywords of a search."""

    k: int | None
    metric: str | None
    max_distance: float | None
    exact: bool
    annotation: str
    oversample: int | None
    recall: Literal["high"] | None


@overload
def nearest(
    queryset: Rows, field: str, to: QueryVector, **options: Unpack[SearchOptions]
) -> Rows: ...


@overload
def nearest(
    queryset: Manages[Found], field: str, to: QueryVector, **options: Unpack[SearchOptions]
) -> Found: ...


@overload
def nearest(
    queryset: type[M], field: str, to: QueryVector, **options: Unpack[SearchOptions]
) -> QuerySet[M]: ...


def nearest(
    queryset: QuerySet[Model] | Manages[QuerySet[Model]] | type[Model],
    field: str,
    to: QueryVector,
    *,
    k: int | None = None,
    metric: str | None = None,
    max_distance: float | None = None,
    exact: bool = False,
    annotation: str = "distance",
    oversample: int | None = None,
    recall: Literal["high"] | None = None,
    **params: Unpack[SearchParams],
) -> QuerySet[Model]:
    """
    The rows whose vector ``field`` is nearest to ``to``, annotated with their distance, best first.

    ``queryset`` may be a model or a manager as well. ``to`` is a vector in any form that the field
    takes, an expression, a model instance (its vector is used, and the instance itself left out),
    or None, which has no neighbours. ``field`` may cross relations: ``"chunks__embedding"``; a row
    that has many vectors that way comes once, at the nearest of them. ``metric`` is "l2", "cosine",
    "ip" or "l1", or of bits "hamming" or "jaccard"; by default that of the first vector index that
    the model declares for the field, or else "cosine", or "hamming" of bits.
    ``max_distance`` leaves out what is farther away, ``k`` slices the result, and ``annotation``
    names what the rows are annotated with.

    Rows without a vector, and those whose distance is undefined (the zero vector under cosine), are
    left out; equal distances are ordered by primary key. ``exact=True`` uses no index.
    ``oversample`` is how many times as many rows an index has to find, to be ordered by their true
    distance: by default 2 for one of half precision, 40 for one of bits, 20 for one of a prefix,
    and 1 for all others. ``recall="high"`` lets an index spend more, so that it misses next to
    nothing, with filters too. The other keywords tune the index search of this query; see
    ``SearchParams``.

    The first 1,000 rows are one sequence, whatever slices they are read in. A search inside another
    query is exact.

    Raises ValidationError for a vector that the field would not take, FieldError for a field that
    has no vectors, and ValueError for a metric or a parameter that is unknown or out of range, and
    for an ``annotation`` that is the name of a field or of another annotation.
    """
    rows = queryset_of(queryset)
    check_can_be_searched(rows)
    path = path_of(rows, field)
    check_annotation("nearest", rows, annotation, _is_search)
    check_limits(k, max_distance, oversample)
    check_recall(recall)
    indexes = tuple(declared_indexes(path.field))
    function = _function(metric, indexes, path)
    search = Search(
        annotation,
        tuple(index for index in indexes if index.metric == function.metric),
        validated("nearest()", params),
        exact,
        None if max_distance is None else float(max_distance),
        oversample,
        recall,
    )
    instance = to if isinstance(to, Model) else None
    vector = _vector(function, path, to)
    if path.is_many:
        made = _of_many(rows, search, function, path, vector, instance)
    else:
        made = _of_rows(rows, search, function, path, vector, instance)
    if _has_no_neighbours(function, vector):
        made = made.none()
    return made if k is None else _first(made, int(k))


def _is_search(annotation: Any) -> bool:
    return getattr(annotation, "search", None) is not None


def _first(rows: QuerySet[Any], k: int) -> QuerySet[Any]:
    """The first rows, and as many of whatever is selected from them later."""
    first = rows[:k]
    query: Any = first.query
    if query.distinct and query.default_cols:
        query.order_by = tuple(
            KeyOfDistinct(part) if isinstance(part, Key) else part for part in query.order_by
        )
    return first


def _function(metric: str | None, indexes: Sequence[MethodIndex], path: Path) -> type[Distance]:
    name = metric or (indexes[0].metric if indexes else path.vector_field.values.default_metric)
    if name not in Distance.registry:
        known = ", ".join(Distance.registry)
        raise ValueError(f"nearest() has no metric {name!r}; use one of {known}.")
    return Distance.registry[name]


def _vector(function: type[Distance], path: Path, to: object) -> Any:
    """What is searched for, as an operand of a distance."""
    if isinstance(to, Model):
        name = getattr(path.field, "attname", None)
        if name is None:
            raise ValueError(
                f"nearest() cannot take {path.written!r} from an instance, since it is an "
                "annotation: give its vector."
            )
        to = getattr(to, name)
    if hasattr(to, "resolve_expression"):
        return to
    return VectorValue(to, function.value_kind).fitted(path.vector_field)


def _of_rows(
    rows: QuerySet[Any],
    search: Search,
    function: type[Distance],
    path: Path,
    vector: Any,
    instance: Model | None,
) -> QuerySet[Any]:
    """Rows with one vector each."""

    def distance(query: Any) -> Distance:
        column = path.column(query)
        made = function(path.written if column is None else column, vector)
        made.search = search
        return made if column is None else made.settled()

    return _searching(rows, search, distance, path, instance)


def _searching(
    rows: QuerySet[Any],
    search: Search,
    distance: Callable[[Any], Any],
    path: Path,
    instance: Model | None,
) -> QuerySet[Any]:
    """
    A copy of rows that has a search.

    What annotate(), order_by() and filter() would produce, in one copy instead of four.
    """
    found: Any = rows._chain()  # type: ignore[attr-defined]
    query: Any = found.query.chain(klass=searching(type(found.query)))  # type: ignore[arg-type]
    query.search = search
    query.add_annotation(distance(query), search.annotation)
    resolved = query.annotations[search.annotation]
    if resolved.contains_aggregate:
        _group(query, found)
    query.clear_ordering(force=True, clear_default=False)
    query.order_by = (Order(search, len(rows.model._meta.pk_fields)), Key("pk"))
    query.where.add(Near(resolved, search), "AND")
    if instance is not None and not path.is_many:
        _leave_out(query, search, path, instance)
    # The setter of ``query`` would have values_list() give dicts.
    vars(found)["_query"] = query
    return found  # type: ignore[no-any-return]


def _group(query: Query, rows: Any) -> None:
    """Group as annotate() does by an aggregate."""
    if rows._fields is None:
        query.group_by = True
    else:
        query.set_group_by()


def _leave_out(query: Query, search: Search, path: Path, instance: Model) -> None:
    """Leave out the row that holds the instance's vector."""
    model = getattr(path.field, "model", None)
    if model is None or not isinstance(instance, model) or instance.pk is None:
        return
    key = model._meta.pk
    place = F(LOOKUP_SEP.join([*path.relation, key.name]))
    value = instance.pk if key.name == "pk" else getattr(instance, key.attname)
    column = place.resolve_expression(query, allow_joins=True)
    query.where.add(OtherRow(column, value, search), "AND")


def _of_many(
    rows: QuerySet[Any],
    search: Search,
    function: type[Distance],
    path: Path,
    vector: Any,
    instance: Model | None,
) -> QuerySet[Any]:
    """Rows with many vectors each: every row once, at its nearest."""
    inner = dataclasses.replace(search, annotation="_distance")
    search = dataclasses.replace(
        search, members=_members(rows, search, function, path, vector, instance)
    )
    distance = function(path.written, one_further_out(vector))
    distance.search = inner

    joined = joins_many(rows.query)
    # Conditions on the relation are about the vectors too, as for Django's aggregates.
    base = rows.order_by() if joined else rows.model._base_manager.using(rows.db)
    members = _searching(
        base.filter(pk=OuterRef("pk")),
        inner,
        lambda query: distance,
        path._replace(is_many=False),
        instance,
    )
    least = NearestMember(members.values("_distance")[:1])
    least.search = search
    found = _searching(rows, search, lambda query: least, path, None)
    query: Any = found.query
    if joined and query.group_by is None:  # each row comes once, whatever is selected later
        query.group_by = (F("pk").resolve_expression(query, allow_joins=True),)
    return found


def _members(
    rows: QuerySet[Any],
    search: Search,
    function: type[Distance],
    path: Path,
    vector: Any,
    instance: Model | None,
) -> Members | None:
    """The search for the rows that hold the vectors, if these can tell which rows are near."""
    relation = Members.relation(rows.model, path.relation)
    if relation is None or not search.indexes or not isinstance(vector, VectorValue):
        return None
    manager: Any = relation.related_model._base_manager
    to = instance if isinstance(instance, relation.related_model) else vector.unpack()

    def nearest_members(using: str, count: int) -> QuerySet[Any]:
        return nearest(
            manager.using(using),
            path.field.name,
            to,
            k=count,
            metric=function.metric,
            max_distance=search.max_distance,
            annotation="_distance",
            oversample=search.oversample,
            recall=search.recall,
            **search.params,
        )

    return Members(nearest_members, relation.field.attname)


def _has_no_neighbours(function: type[Distance], vector: Any) -> bool:
    """Whether no distance to a vector is defined: None, and by cosine the zero vector."""
    if not isinstance(vector, VectorValue):
        return False
    return vector.value is None or (function.undefined_at_zero and vector.is_zero)
