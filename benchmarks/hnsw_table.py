"""Vectors in a table of PostgreSQL, with pgvector's HNSW index at its defaults."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import common
import numpy as np
from glove import unit
from sources import Source

SEED = 20_240


class Table(NamedTuple):
    """
    The rows of the table, and the vectors that were held out of it to search with.

    ``rank`` numbers the rows from 0 in random order: ``rank < n`` is true for n rows anywhere.
    Primary keys are the positions in the arrays.
    """

    source: Source
    model: Any
    vectors: np.ndarray
    units: np.ndarray
    rank: np.ndarray
    queries: np.ndarray

    @property
    def title(self) -> str:
        """What its rows are, and how many of them."""
        return f"{len(self.vectors):,} {self.source.title}"

    def nearest(self, query: np.ndarray, k: int, matching: int | None = None) -> np.ndarray:
        """The exact cosine distances of the ``k`` nearest rows, by numpy in float64."""
        rows = slice(None) if matching is None else self.rank < matching
        return np.sort(self.distances(query, rows))[:k]

    def recall(self, query: np.ndarray, found: list[int], exact: np.ndarray) -> float:
        """The share of the ``exact`` nearest rows that was found. Equally near ones will do."""
        near_enough = self.distances(query, found) <= exact[-1] + 1e-6
        return float(np.count_nonzero(near_enough) / len(exact))

    def distances(self, query: np.ndarray, rows: Any) -> np.ndarray:
        return 1 - self.units[rows] @ unit(query)

    def searches_index(self, queryset: Any) -> bool:
        """Whether PostgreSQL plans to search the vector index."""
        return f'"{self.model._meta.indexes[0].name}"' in queryset.explain(format="json")


@contextlib.contextmanager
def loaded(source: Source, *, rows: int, queries: int) -> Iterator[Table]:
    """
    A table with its index, of ``rows`` vectors at most, less ``queries`` that are held out.

    They are chosen at random. The database of Django's settings is used.
    """
    random = np.random.default_rng(SEED)
    chosen = random.permutation(source.load(rows))[:rows]
    held_out, kept = chosen[:queries], chosen[queries:]
    model, rank = declared(source), random.permutation(len(kept))
    table = Table(source, model, kept, unit(kept), rank, held_out)
    with common.tables(model, "default"):
        with common.step(f"Loading {table.title}"):
            fill(table)
        with common.step("Building the index"):
            common.build(model, "default")
        yield table


def declared(source: Source) -> Any:
    """The model, which can only be declared when Django is set up."""
    from dorm_vector import HnswIndex, models

    index = HnswIndex(fields=["embedding"], name=f"{source.key}_hnsw", metric="cosine")
    return common.model(
        f"rows_of_{source.key}",
        indexes=[index],
        rank=models.IntegerField(),
        embedding=models.VectorField(source.dimensions),
    )


def fill(table: Table) -> None:
    from dorm_vector import bulk_copy

    pairs = zip(table.rank.tolist(), table.vectors, strict=True)
    # Primary keys are positions.
    bulk_copy(
        table.model,
        (
            table.model(pk=pk, rank=rank, embedding=vector)
            for pk, (rank, vector) in enumerate(pairs)
        ),
    )
    common.execute(f"VACUUM ANALYZE {table.model._meta.db_table}")
