"""A queryset that searches."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable, Sequence
from typing import Literal, Self, Unpack

from django.db.models import QuerySet

from dorm_vector.abulk import abulk_copy
from dorm_vector.bulk import bulk_copy
from dorm_vector.search.hybrid import HybridOptions, hybrid
from dorm_vector.search.nearest import nearest
from dorm_vector.search.settings import SearchParams
from dorm_vector.search.text import matching
from dorm_vector.types import BulkOptions, Owner, QueryVector, Row, Text

__all__ = ["VectorQuerySet"]


class VectorQuerySet(QuerySet[Owner, Row]):
    """A queryset that searches: ``objects = VectorQuerySet.as_manager()``."""

    def nearest(
        self,
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
    ) -> Self:
        """The rows nearest to ``to``; see the function ``nearest``."""
        return nearest(
            self,
            field,
            to,
            k=k,
            metric=metric,
            max_distance=max_distance,
            exact=exact,
            annotation=annotation,
            oversample=oversample,
            recall=recall,
            **params,
        )

    def matching(
        self,
        text: Text | None,
        *,
        fields: Sequence[str] | None = None,
        match: str = "all",
        k: int | None = None,
        annotation: str = "rank",
    ) -> Self:
        """The rows that have the words of ``text``; see the function ``matching``."""
        return matching(self, text, fields=fields, match=match, k=k, annotation=annotation)

    def hybrid(
        self,
        field: str,
        to: QueryVector,
        text: Text | None,
        **options: Unpack[HybridOptions],
    ) -> Self:
        """The rows near to ``to`` or with words of ``text``; see the function ``hybrid``."""
        return hybrid(self, field, to, text, **options)

    def bulk_copy(self, objs: Iterable[Owner], **options: Unpack[BulkOptions]) -> int:
        """Insert many rows; see the function ``bulk_copy``."""
        return bulk_copy(self, objs, **options)

    bulk_copy.alters_data = True  # type: ignore[attr-defined]

    async def abulk_copy(
        self, objs: Iterable[Owner] | AsyncIterable[Owner], **options: Unpack[BulkOptions]
    ) -> int:
        """Insert many rows; see the function ``abulk_copy``."""
        return await abulk_copy(self, objs, **options)

    abulk_copy.alters_data = True  # type: ignore[attr-defined]
