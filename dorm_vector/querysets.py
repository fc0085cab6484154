"""A queryset that searches."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from django.db.models import Model, QuerySet

from dorm_vector.bulk import bulk_copy
from dorm_vector.search.nearest import nearest

__all__ = ["VectorQuerySet"]

M = TypeVar("M", bound=Model)


class VectorQuerySet(QuerySet[M]):
    """A queryset with ``nearest()``: ``objects = VectorQuerySet.as_manager()``."""

    def nearest(
        self,
        field: str,
        to: Any,
        *,
        k: int | None = None,
        metric: str | None = None,
        max_distance: float | None = None,
        exact: bool = False,
        annotation: str = "distance",
        ef_search: int | None = None,
        probes: int | None = None,
        iterative_scan: str | None = None,
        max_scan_tuples: int | None = None,
        scan_mem_multiplier: float | None = None,
        oversample: int | None = None,
    ) -> QuerySet[M]:
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
            ef_search=ef_search,
            probes=probes,
            iterative_scan=iterative_scan,
            max_scan_tuples=max_scan_tuples,
            scan_mem_multiplier=scan_mem_multiplier,
            oversample=oversample,
        )

    def bulk_copy(self, objs: Iterable[Model], **options: Any) -> int:
        """Insert many rows; see the function ``bulk_copy``."""
        return bulk_copy(self, objs, **options)

    bulk_copy.alters_data = True  # type: ignore[attr-defined]
