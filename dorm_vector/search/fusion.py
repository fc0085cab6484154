"""``fuse()``: several searches as one, by the ranks that they give their rows."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping, Sequence, Set
from typing import Any

from django.db.models import QuerySet

from dorm_vector.search.annotations import check_annotation
from dorm_vector.search.fused import Fusion, joined, without_conditions
from dorm_vector.types import Rows
from dorm_vector.values import short

__all__ = ["as_positive", "as_weights", "fuse", "name_of_ranks"]

# What has a length, and is no list of numbers in an order.
NO_WEIGHTS = (str, bytes, bytearray, Mapping, Set)


def fuse(
    *querysets: Rows,
    k: float = 60,
    weights: Sequence[float] | None = None,
    annotation: str = "score",
) -> Rows:
    """
    The rows of several searches, best first by reciprocal rank fusion.

    Each of ``querysets``, the legs, is a search: it has an order and a limit, as
    ``nearest(..., k=100)``, ``matching(..., k=100)`` and ``order_by("-created")[:100]`` have. The
    score of a row is the sum of ``weight / (k + rank)`` over the legs that have it, the first rank
    of a leg being 1 (Cormack, Clarke and Büttcher, SIGIR 2009). Rows of equal scores are in the
    order of their primary keys.

    The result is an ordinary, lazy queryset, annotated with ``score`` and with ``score_ranks``, a
    tuple that has the rank in each leg, or None; ``annotation`` gives both another name. Its rows
    are read as the first leg would read them: with the class of its queryset, its
    ``select_related()``, ``only()`` and ``prefetch_related()``, but without its annotations. Each
    leg runs as a query of its own whenever the result is evaluated, on the same database, with the
    guarantees and the index that it has by itself.

    ``weights`` are as many positive numbers as there are legs, by default 1 each.

    Raises TypeError for anything but querysets of rows, and ValueError for legs without an order or
    a limit, of several models or databases, for weights and a ``k`` that are not positive numbers,
    and for an ``annotation`` that is the name of a field.
    """
    _check_legs(querysets)
    fusion = Fusion(
        tuple(leg.query.clone() for leg in querysets),
        as_weights("fuse", weights, len(querysets)),
        as_positive("fuse", "k", k),
    )
    rows = without_conditions(querysets[0])
    ranks = name_of_ranks("fuse", rows, annotation)
    return joined(rows, fusion, annotation, ranks)


def _check_legs(legs: Sequence[Any]) -> None:
    if not legs:
        raise ValueError("fuse() takes at least one queryset.")
    for place, leg in enumerate(legs, start=1):
        _check_leg(place, leg)
    labels = list(dict.fromkeys(leg.model._meta.concrete_model._meta.label for leg in legs))
    if len(labels) > 1:
        raise ValueError(
            f"fuse() takes querysets of one model, not of {' and '.join(labels)}: their rows "
            "share no keys."
        )
    if len({leg._db for leg in legs}) > 1 and len({leg.db for leg in legs}) > 1:
        aliases = " and ".join(dict.fromkeys(repr(leg.db) for leg in legs))
        raise ValueError(
            f"fuse() takes querysets of one database, not of {aliases}: give all of them the same "
            "using()."
        )


def _check_leg(place: int, leg: Any) -> None:
    if isinstance(leg, list):
        raise TypeError(
            f"fuse() takes querysets, and leg {place} is a list, which "
            "slicing an evaluated queryset gives: slice its all()."
        )
    if not isinstance(leg, QuerySet):
        raise TypeError(f"fuse() takes querysets, and leg {place} is {short(leg)}.")
    if leg._fields is not None:  # type: ignore[attr-defined]
        raise TypeError(
            f"fuse() takes querysets of rows, and leg {place} has values(): call that on what "
            "fuse() returns."
        )
    if leg.query.is_empty():
        return
    if leg.query.high_mark is None:
        raise ValueError(
            f"fuse() takes querysets with a limit, and leg {place} has none: slice it, or give its "
            "search a k."
        )
    if not leg.ordered:
        raise ValueError(
            f"fuse() takes ordered querysets, and leg {place} is not: without order_by() its rows "
            "have no ranks."
        )


def as_weights(caller: str, given: Any, count: int) -> tuple[float, ...]:
    if given is None:
        return (1.0,) * count
    if isinstance(given, NO_WEIGHTS) or not hasattr(given, "__len__") or len(given) != count:
        raise ValueError(
            f"{caller}() takes one weight for each search, {count:,} in all, not {short(given)}."
        )
    weights = tuple(as_positive(caller, "weights", weight) for weight in given)
    if not math.isfinite(sum(weights)):
        raise ValueError(f"{caller}() takes weights whose sum is a number, not {short(given)}.")
    return weights


def as_positive(caller: str, name: str, value: Any) -> float:
    number = _as_float(value)
    if not 0 < number < math.inf:
        raise ValueError(f"{caller}() takes positive numbers as {name}, not {short(value)}.")
    return number


def _as_float(value: Any) -> float:
    """A real number as a float, infinite if it is too large for one; NaN for anything else."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.inf


def name_of_ranks(caller: str, rows: QuerySet[Any], name: str) -> str:
    """The name of the ranks. Raises ValueError if it, or that of the scores, is taken."""
    ranks = f"{name}_ranks"
    for each in (name, ranks):
        check_annotation(caller, rows, each)
    return ranks
