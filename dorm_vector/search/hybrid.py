"""``hybrid()``: searching by meaning and by words as one."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, Unpack, overload

from django.db.models import Manager, Model, QuerySet

from dorm_vector.search.fused import Fusion, Reranked, Source, joined, without_conditions
from dorm_vector.search.fusion import as_positive, as_weights, name_of_ranks
from dorm_vector.search.limits import check_rows
from dorm_vector.search.nearest import nearest
from dorm_vector.search.settings import SearchParams
from dorm_vector.search.text import matching
from dorm_vector.types import Found, Manages, QueryVector, Rows, Text
from dorm_vector.values import short

__all__ = ["HybridOptions", "Rerank", "hybrid"]

M = TypeVar("M", bound=Model)

#: Takes instances and the text that was searched for, and returns a number for each instance.
Rerank = Callable[[list[Any], str], Sequence[Any]]

# The names that the legs annotate their own rows with, which nobody sees.
DISTANCE, RANK = "_hybrid_distance", "_hybrid_rank"


class HybridOptions(SearchParams, total=False):
    """The keywords of a hybrid search."""

    k: int | None
    candidates: int
    weights: Sequence[float]
    rank_constant: float
    fields: Sequence[str] | None
    match: str
    metric: str | None
    max_distance: float | None
    exact: bool
    oversample: int | None
    rerank: Rerank | None
    annotation: str


@overload
def hybrid(
    queryset: Rows,
    field: str,
    to: QueryVector,
    text: Text | None,
    **options: Unpack[HybridOptions],
) -> Rows: ...


@overload
def hybrid(
    queryset: Manages[Found],
    field: str,
    to: QueryVector,
    text: Text | None,
    **options: Unpack[HybridOptions],
) -> Found: ...


@overload
def hybrid(
    queryset: type[M],
    field: str,
    to: QueryVector,
    text: Text | None,
    **options: Unpack[HybridOptions],
) -> QuerySet[M]: ...


def hybrid(
    queryset: QuerySet[Any, Any] | Manages[QuerySet[Any, Any]] | type[Model],
    field: str,
    to: QueryVector,
    text: Text | None,
    *,
    k: int | None = 10,
    candidates: int = 100,
    weights: Sequence[float] = (1, 1),
    rank_constant: float = 60,
    fields: Sequence[str] | None = None,
    match: str = "any",
    metric: str | None = None,
    max_distance: float | None = None,
    exact: bool = False,
    oversample: int | None = None,
    rerank: Rerank | None = None,
    annotation: str = "score",
    **params: Unpack[SearchParams],
) -> QuerySet[Any, Any]:
    """
    The rows that are nearest to a vector, or have words of a text, or both, best first.

    It is ``fuse()`` of ``nearest(queryset, field, to, k=candidates)`` and of ``matching(queryset,
    text, match="any", k=candidates)``, and its first ``k`` rows; of ``score_ranks`` the first is by
    meaning and the second by words. ``queryset`` may be a model or a manager as well; its
    conditions hold for both. Where ``to`` is None only the words count, and where ``text`` has none
    only the vector; an instance as ``to`` is left out of both.

    ``weights`` are those of meaning and words, and ``rank_constant`` is the ``k`` of ``fuse()``.
    ``fields`` and ``match`` are those of ``matching()``; ``metric``, ``max_distance``, ``exact``,
    ``oversample`` and all other keywords are those of ``nearest()``. ``k=None`` gives all that was
    found, to be sliced later; both find ``k`` rows at least.

    ``rerank`` is called with a list of the instances that were found, best first, and with the
    text, and returns a number for each of them; a greater one is better. These become the scores.

    Raises what ``nearest()``, ``matching()`` and ``fuse()`` raise, ValueError for ``candidates``
    that is not a positive number, and TypeError for a ``rerank`` that cannot be called.
    """
    _check_options(k, candidates, rerank)
    rows = _rows(queryset)
    count = max(candidates, k or 0)
    near = nearest(
        rows,
        field,
        to,
        k=count,
        metric=metric,
        max_distance=max_distance,
        exact=exact,
        oversample=oversample,
        annotation=DISTANCE,
        **params,
    )
    others = rows.exclude(pk=to.pk) if isinstance(to, rows.model) else rows
    worded = matching(others, text, fields=fields, match=match, k=count, annotation=RANK)
    # Annotations may need the conditions; without them a row comes once, whatever was joined.
    base = rows if rows.query.annotations else without_conditions(rows)
    ranks = name_of_ranks("hybrid", base, annotation)
    source: Source = Fusion(
        (near.query, worded.query),
        as_weights("hybrid", weights, 2),
        as_positive("hybrid", "rank_constant", rank_constant),
    )
    if rerank is not None:
        candidate_rows = joined(base, source, annotation, ranks)
        source = Reranked(candidate_rows, ranks, rerank, "" if text is None else str(text))
    found = joined(base, source, annotation, ranks)
    return found if k is None else found[: int(k)]


def _rows(given: Any) -> QuerySet[Any]:
    rows = given
    if isinstance(given, type) and issubclass(given, Model):
        rows = given._default_manager.all()
    elif isinstance(given, Manager):
        rows = given.all()
    if not isinstance(rows, QuerySet):
        raise TypeError(f"hybrid() takes a queryset, a manager or a model, not {short(given)}.")
    if rows._fields is not None:  # type: ignore[attr-defined]
        raise TypeError(
            "hybrid() takes a queryset of rows, and this one has values(): call that on what "
            "hybrid() returns."
        )
    return rows


def _check_options(k: Any, candidates: Any, rerank: Any) -> None:
    check_rows("hybrid", k)
    if not _is_count(candidates, 1):
        raise ValueError(f"hybrid() takes 1 or more candidates, not {short(candidates)}.")
    if rerank is not None and not callable(rerank):
        raise TypeError(f"hybrid() takes a callable as rerank, not {short(rerank)}.")


def _is_count(value: Any, least: int) -> bool:
    is_int = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    return is_int and int(value) >= least
