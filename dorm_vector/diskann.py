"""The index of pgvectorscale, an extension beside pgvector."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Unpack

from django.core import checks
from django.core.checks import CheckMessage
from django.core.exceptions import FieldDoesNotExist
from django.db.models import Model
from django.db.models.expressions import Combinable

from dorm_vector.anyvector import AnyVectorField
from dorm_vector.engines import Engine
from dorm_vector.methods import MethodIndex
from dorm_vector.options import Float, Int, Word
from dorm_vector.types import Deconstructed, DiskAnnOptions

__all__ = ["DiskAnnIndex"]

# What other indexes have options for, and what to use here.
INSTEAD = {
    "precision": "storage_layout='memory_optimized', which compresses to bits",
    "prefix": "num_dimensions",
}
SMALL_INTEGERS = ("SmallIntegerField", "PositiveSmallIntegerField")
# A node of the plain layout, with its links, has to fit into a page: at 50 links 1,930 dimensions
# did, at 100 links 1,830, at 1,000 links 30.
PLAIN_DIMENSIONS, DIMENSIONS_BESIDE_LINKS, DIMENSIONS_OF_LINK, LINKS = 2000, 2030, 2, 50


class DiskAnnIndex(MethodIndex):
    """
    A graph on disk, of pgvectorscale, over vectors that are compressed to a bit or two a component.

    ``storage_layout`` is "memory_optimized", which compresses, or "plain". ``num_neighbors`` is
    the number of links of a node (10 to 1000, pgvectorscale's default 50), ``search_list_size`` the
    size of the candidate list while building (10 to 1000, default 100), ``max_alpha`` how many
    links to far vectors are kept (1.0 to 5.0, default 1.2). ``num_dimensions`` indexes that many of
    the first components alone. ``labels`` names an ``ArrayField`` of ``SmallIntegerField``, by
    which the graph is filtered: ``filter(labels__overlap=[1, 2])``.

    Raises ValueError for what pgvectorscale would refuse.
    Source: https://github.com/timescale/pgvectorscale
    """

    suffix = "diskann"
    method = "diskann"
    metrics = {"vector": ("cosine", "l2", "ip")}
    options = {
        "storage_layout": Word("memory_optimized", "plain"),
        "num_neighbors": Int(10, 1000),
        "search_list_size": Int(10, 1000),
        "max_alpha": Float(1.0, 5.0),
        "num_dimensions": Int(1, 5000),
    }
    search_options = {
        "query_search_list_size": Int(1, 10_000),
        "query_rescore": Int(0, 1000),
    }
    # Of 5,000 random vectors of 64 dimensions 50 candidates found .58 of the ten nearest, 200 found
    # .81, and 1,000 found .98.
    candidates_per_row = 10
    # The nearest of those that were rescored comes first, and a nearer one may come after it.
    is_ordered = False
    storage_layout: str | None
    num_neighbors: int | None
    num_dimensions: int | None

    def __init__(
        self,
        *expressions: Combinable,
        labels: str | None = None,
        **kwargs: Unpack[DiskAnnOptions],
    ) -> None:
        self.labels = labels
        super().__init__(*expressions, **kwargs)

    def deconstruct(self) -> Deconstructed:
        path, expressions, kwargs = super().deconstruct()
        if self.labels:
            kwargs["labels"] = self.labels
        # Migrations name it with the other indexes; a subclass has a path of its own.
        return path.replace("dorm_vector.diskann.", "dorm_vector.indexes."), expressions, kwargs

    @property
    def candidates_option(self) -> str | None:  # type: ignore[override]
        # Whole vectors in the graph give true distances.
        is_exact = self.storage_layout == "plain" and not self.num_dimensions
        return None if is_exact else "query_rescore"

    @property
    def max_dimensions(self) -> Mapping[str, int]:  # type: ignore[override]
        if self.storage_layout != "plain":
            return {"vector": 16_000}
        beside = DIMENSIONS_BESIDE_LINKS - DIMENSIONS_OF_LINK * (self.num_neighbors or LINKS)
        return {"vector": min(PLAIN_DIMENSIONS, beside)}

    def other_columns(self) -> dict[str, str]:
        return {self.labels: "vector_smallint_label_ops"} if self.labels else {}

    def dimensions_of(self, field: AnyVectorField) -> int:
        return self.num_dimensions or field.dimensions

    def misfit(self, field: AnyVectorField) -> str | None:
        if self.num_dimensions and self.num_dimensions > field.dimensions:
            return (
                f"{self.name!r} is over the first {self.num_dimensions} components, and "
                f"{field.name!r} has {field.dimensions}."
            )
        return super().misfit(field)

    def problems(self, model: type[Model]) -> Iterator[CheckMessage]:
        yield from super().problems(model)
        if self.labels and not _holds_labels(model, self.labels):
            yield checks.Error(
                f"{self.name!r} has the labels {self.labels!r}, which is no array of small "
                f"integers of {model._meta.label}.",
                hint="Use ArrayField(SmallIntegerField()) of django.contrib.postgres.",
                obj=model,
                id="dorm_vector.E111",
            )

    def _line_that_fits(self, field: AnyVectorField, engine: Engine) -> str | None:
        return self._line(self._options_with(storage_layout="memory_optimized"))

    def _check_options(self) -> None:
        super()._check_options()
        for option, other in INSTEAD.items():
            if getattr(self, option):
                raise ValueError(f"{self._label} takes no {option}: use {other}.")
        if self.labels is not None and (not self.labels or self.expressions):
            raise ValueError(
                f"{self._label} takes as labels the name of a field, beside a field of vectors, "
                f"not {self.labels!r}."
            )
        if self.storage_layout == "plain" and (self.labels or self.metric == "ip"):
            cause = "labels" if self.labels else "the metric 'ip'"
            raise ValueError(
                f"{self._label} takes storage_layout='plain' without {cause}: use "
                "'memory_optimized'."
            )


def _holds_labels(model: type[Model], name: str) -> bool:
    try:
        field: Any = model._meta.get_field(name)
    except FieldDoesNotExist:
        return False
    base = getattr(field, "base_field", None)
    return base is not None and base.get_internal_type() in SMALL_INTEGERS
