"""
The right answers: plain Django on stock SQLite, where distances and means are numpy's.

``reference`` takes what ``nearest()`` takes, and says what it means by ``annotate()``, ``filter()``
and ``order_by()``. Nothing of the package computes, filters or orders here.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from django.db.models import (
    Aggregate,
    BinaryField,
    Count,
    F,
    FloatField,
    Func,
    Model,
    OuterRef,
    QuerySet,
    Subquery,
    Value,
)
from django.db.models.constants import LOOKUP_SEP

__all__ = ["ORACLE", "distance", "fused", "matched", "measures", "prepare", "reference"]

ORACLE = "oracle"


def distance(metric: str, a: Any, b: Any) -> float | None:
    """The distance of two vectors, or None where there is none."""
    if a is None or b is None:
        return None
    x, y = np.asarray(a, "f4").astype("f8"), np.asarray(b, "f4").astype("f8")
    if metric == "l2":
        return float(np.sqrt(np.square(x - y).sum()))
    if metric == "l1":
        return float(np.abs(x - y).sum())
    if metric == "ip":
        return float(-(x * y).sum())
    if metric == "hamming":
        return float((x != y).sum())
    if metric == "jaccard":
        either = np.maximum(x, y).sum()
        return float(1 - np.minimum(x, y).sum() / either) if either else 1.0
    norms = float(np.sqrt(np.square(x).sum()) * np.sqrt(np.square(y).sum()))
    return float(1 - (x * y).sum() / norms) if norms else None


def unpacked(value: bytes | None, bits: bool) -> Any:
    if value is None:
        return None
    if bits:
        return np.unpackbits(np.frombuffer(value, "u1"))
    return np.frombuffer(value, "<f4")


@functools.lru_cache(200_000)
def measured(metric: str, a: bytes | None, b: bytes | None) -> float | None:
    bits = metric in ("hamming", "jaccard")
    return distance(metric, unpacked(a, bits), unpacked(b, bits))


class Mean:
    """The mean of vectors, as an aggregate of SQLite."""

    def __init__(self) -> None:
        self.vectors: list[Any] = []

    def step(self, value: bytes | None) -> None:
        if value is not None:
            self.vectors.append(np.frombuffer(value, "<f4").astype("f8"))

    def finalize(self) -> bytes | None:
        if not self.vectors:
            return None
        return bytes(np.mean(self.vectors, axis=0).astype("<f4").tobytes())


def prepare(raw: Any) -> None:
    raw.create_function("oracle_distance", 3, measured, deterministic=True)
    raw.create_aggregate("oracle_mean", 1, Mean)


class Measured(Func):
    function = "oracle_distance"
    output_field = FloatField()

    def __init__(self, metric: Any, field: Any, to: Any, **extra: Any) -> None:
        super().__init__(metric, field, to, **extra)


class OracleMean(Aggregate):
    function = "oracle_mean"


def packed(to: Any, field: Any) -> Value:
    if getattr(field, "kind", "vector") == "bit":
        # As the rows' bits are stored, which the tests of values look after.
        from django.db import connections

        to = bytes(field.get_db_prep_value(to, connections[ORACLE], prepared=False))
        return Value(to, output_field=BinaryField())
    dtype = "f2" if field.kind == "halfvec" else "f4"
    array = np.asarray(list(to), dtype).astype("<f4")
    return Value(array.tobytes(), output_field=BinaryField())


def measures(metric: str) -> Any:
    """A stand-in for the distance function of a metric."""

    def function(field: Any, to: Any) -> Measured:
        if not hasattr(to, "resolve_expression"):
            array = np.asarray(list(to), "<f4")
            to = Value(array.tobytes(), output_field=BinaryField())
        return Measured(Value(metric), F(field) if isinstance(field, str) else field, to)

    return function


def reference(
    rows: Any,
    field: str,
    to: Any,
    *,
    k: Any = None,
    metric: str | None = None,
    max_distance: Any = None,
    annotation: str = "distance",
    keyed: bool = True,
    **tuning: Any,
) -> QuerySet[Any]:
    """
    What ``nearest()`` returns when it is exact, of a queryset of the oracle's database.

    ``keyed`` is whether equal distances are ordered by key, which would take part in a grouping.
    """
    if isinstance(rows, type):
        rows = rows._default_manager.using(ORACLE)  # type: ignore[attr-defined]
    rows = rows if isinstance(rows, QuerySet) else rows.all()
    target = _target(rows, field)
    metric = metric or _metric(target)
    if isinstance(to, Model):
        rows, to = _leave_out(rows, field, to), getattr(to, field.rpartition(LOOKUP_SEP)[2])
    is_nowhere = to is None or (metric == "cosine" and isinstance(to, list) and not any(to))
    if to is None:
        measure: Any = Value(None, output_field=FloatField())
    else:
        measure = Measured(
            Value(metric), F(field), to if hasattr(to, "resolve_expression") else packed(to, target)
        )
    if _is_to_many(rows, field):
        rows, measure = _once(rows), _least(rows.model, measure)
    rows = rows.annotate(**{annotation: measure})
    rows = rows.filter(**{f"{annotation}__isnull": False})
    if max_distance is not None:
        rows = rows.filter(**{f"{annotation}__lte": float(max_distance)})
    has_key = keyed and _has_one_key_a_row(rows)
    rows = rows.order_by(annotation, *(["pk"] if has_key else []))
    rows = rows.none() if is_nowhere else rows
    return rows if k is None else rows[: int(k)]


def _once(rows: QuerySet[Any]) -> QuerySet[Any]:
    """Each row once, where conditions on other tables have multiplied them."""
    joins = [join for join in rows.query.alias_map.values() if getattr(join, "join_type", None)]
    return rows.alias(_count=Count("pk")) if joins and not rows.query.group_by else rows


def _least(model: Any, measure: Any) -> Any:
    """The least distance of the vectors of a row."""
    members = model._base_manager.using(ORACLE).filter(pk=OuterRef("pk"))
    members = members.annotate(_least=measure).filter(_least__isnull=False).order_by("_least")
    return Subquery(members.values("_least")[:1])


def _has_one_key_a_row(rows: QuerySet[Any]) -> bool:
    """Whether to order by the key changes neither groups nor what is distinct."""
    query = rows.query
    if "pk" in query.values_select:
        return True
    if query.distinct and (query.values_select or not query.default_cols):
        return False
    grouped = isinstance(query.group_by, tuple) and not query.default_cols
    return not grouped


def _target(rows: QuerySet[Any], path: str) -> Any:
    if path in rows.query.annotations:
        return rows.query.annotations[path].output_field
    return rows.query.names_to_path(path.split(LOOKUP_SEP), rows.model._meta)[1]


def _is_to_many(rows: QuerySet[Any], path: str) -> bool:
    if path in rows.query.annotations:
        return False
    steps = rows.query.names_to_path(path.split(LOOKUP_SEP), rows.model._meta)[0]
    return any(step.m2m for step in steps)


def _metric(target: Any) -> str:
    if not hasattr(target, "model"):
        return "cosine"
    for index in target.model._meta.indexes:
        if list(index.fields) == [target.name] and getattr(index, "metric", None):
            return str(index.metric)
    return "hamming" if target.kind == "bit" else "cosine"


def _leave_out(rows: QuerySet[Any], path: str, instance: Any) -> QuerySet[Any]:
    """Without the instance's own row, of whichever table it is that the vector stands in."""
    *way, name = path.split(LOOKUP_SEP)
    model = rows.model
    for step in way:
        model = model._meta.get_field(step).related_model
    holder = model._meta.get_field(name).model._meta.concrete_model
    if not isinstance(instance, holder) or instance.pk is None:
        return rows
    own = holder._meta.pk
    if len(holder._meta.pk_fields) > 1:
        return rows.exclude(pk=instance.pk)
    lookup = LOOKUP_SEP.join([*way, own.name if issubclass(model, holder) else "pk"])
    value = getattr(instance, own.attname)
    # By the row of the vector: NULL is no other one.
    matching = holder._base_manager.using(ORACLE).filter(pk=value).values("pk")
    if way:
        return rows.alias(_own=F(lookup)).exclude(_own__in=matching)
    return rows.exclude(**{lookup: value})


def matched(rows: QuerySet[Any], text: str) -> QuerySet[Any]:
    """The rows whose name is one of the words."""
    return rows.filter(name__in=text.split())


def fused(*legs: QuerySet[Any]) -> QuerySet[Any]:
    """The rows of the legs, as the first one's queryset reads them."""
    found = [row.pk for leg in legs for row in leg]
    return legs[0].model._default_manager.using(ORACLE).filter(pk__in=found)
