"""The recall of an index, by how much it may spend."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from django.db import connections
from django.db.models import QuerySet

from dorm_vector.engines import engine_for
from dorm_vector.search.nearest import nearest

__all__ = ["Measurement", "Trial", "measure"]

# Distances that differ by less count as equal: one row is as good as the other.
ALIKE = 1e-6


@dataclasses.dataclass(frozen=True)
class Trial:
    """The searches with one setting: the recall of each, and how long each took, in ms."""

    settings: dict[str, Any]
    recalls: list[float]
    times: list[float]

    @property
    def recall(self) -> float:
        return statistics.fmean(self.recalls)

    @property
    def worst(self) -> float:
        return min(self.recalls)

    @property
    def ms(self) -> float:
        return statistics.median(self.times)


@dataclasses.dataclass(frozen=True)
class Measurement:
    """What was measured: the index that was searched, the rows searched for, and the trials."""

    index: str
    metric: str
    keys: list[Any]
    exact: Trial
    trials: list[Trial]

    def smallest(self, target: float) -> Trial | None:
        """The first trial that reaches a recall."""
        return next((trial for trial in self.trials if trial.recall >= target), None)


class MeasurementError(Exception):
    """Why there is nothing to measure, in one sentence."""


def measure(
    queryset: QuerySet[Any],
    field: str,
    *,
    k: int,
    sample: int,
    metric: str | None = None,
    progress: Callable[[str], object] | None = None,
) -> Measurement:
    """
    Search for the neighbours of ``sample`` rows of ``queryset``, exactly and by its index.

    Raises MeasurementError if no index serves these searches, or if there are too few rows.
    """
    searched = [*_sampled(queryset, field, sample)]
    if not searched:
        raise MeasurementError("There are no rows with a vector to search for.")
    search = Searches(queryset, field, searched, k, metric)
    index, choices = search.tunable()
    exact_rows, exact = search.run({"exact": True}, None, progress)
    if not all(exact_rows):
        raise MeasurementError("There are no neighbours: only one row has a vector.")
    trials = [search.run(each, exact_rows, progress)[1] for each in choices]
    return Measurement(index.name, index.metric, [row.pk for row in searched], exact, trials)


class Searches:
    """The same searches, repeated with other settings."""

    def __init__(
        self, queryset: Any, field: str, rows: list[Any], k: int, metric: str | None
    ) -> None:
        self.queryset, self.field, self.rows = queryset, field, rows
        self.k, self.metric = k, metric
        self.engine = engine_for(connections[queryset.db])

    def tunable(self) -> tuple[Any, list[dict[str, Any]]]:
        """The index that serves the searches, and the settings to try."""
        first = self._search(self.rows[0], {})
        query: Any = first.query
        search = query.search_in_force
        reason = self.engine.obstacle(query, search)
        index = None if reason else self.engine.serving_index(query, search)
        if index is None:
            raise MeasurementError(
                f"No index serves these searches. {self.engine.why_unused(first)}"
            )
        return index, [*self.engine.tunable(index), {"recall": "high"}]

    def run(
        self,
        settings: dict[str, Any],
        exact: Sequence[list[float]] | None,
        progress: Callable[[str], object] | None,
    ) -> tuple[list[list[float]], Trial]:
        """The distances of each search, and how good they are."""
        found, times = [], []
        for row in self.rows:
            started = time.perf_counter()
            found.append(list(self._search(row, settings).values_list("distance", flat=True)))
            times.append(1000 * (time.perf_counter() - started))
            if progress is not None:
                progress(_written(settings))
        wanted = found if exact is None else exact
        recalls = [_recall(mine, best) for mine, best in zip(found, wanted, strict=True)]
        return found, Trial(settings, recalls, times)

    def _search(self, row: Any, settings: dict[str, Any]) -> QuerySet[Any]:
        found: QuerySet[Any] = nearest(
            self.queryset, self.field, row, k=self.k, metric=self.metric, **settings
        )
        return found


def _sampled(queryset: QuerySet[Any], field: str, count: int) -> Iterator[Any]:
    """Rows with a vector, at random."""
    filled = queryset.filter(**{f"{field}__isnull": False})
    keys = list(filled.order_by("?").values_list("pk", flat=True)[:count])
    rows = queryset.model._base_manager.using(queryset.db)
    return iter(rows.filter(pk__in=keys).only("pk", field).order_by("pk"))


def _recall(found: Sequence[float], exact: Sequence[float]) -> float:
    """The share of the exact neighbours that was found; equally near rows count too."""
    if not exact:
        return 1.0
    last = exact[-1] + ALIKE * max(1.0, abs(exact[-1]))
    return sum(distance <= last for distance in found) / len(exact)


def _written(settings: dict[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in settings.items()) or "default"
