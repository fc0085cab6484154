"""Approximate nearest-neighbour indexes, and the text index."""

from __future__ import annotations

from typing import Unpack

from django.db.models.expressions import Combinable

from dorm_vector.kinds import DENSE_KINDS, NUMERIC_KINDS
from dorm_vector.methods import MethodIndex, declared_indexes, vector_field
from dorm_vector.options import Float, Int, Word
from dorm_vector.text_indexes import TextIndex
from dorm_vector.types import HnswOptions, IvfflatOptions, VectorIndexOptions

__all__ = [
    "DiskAnnIndex",
    "HnswIndex",
    "IvfflatIndex",
    "MethodIndex",
    "TextIndex",
    "VectorIndex",
    "declared_indexes",
    "vector_field",
]

# By field kind, the metrics for which an index method has an operator class.
# Source: https://github.com/pgvector/pgvector#indexing
HNSW = {
    **dict.fromkeys(NUMERIC_KINDS, ("l2", "cosine", "ip", "l1")),
    "bit": ("hamming", "jaccard"),
}
IVFFLAT = {
    **dict.fromkeys(DENSE_KINDS, ("l2", "cosine", "ip")),
    "bit": ("hamming",),
}


class HnswIndex(MethodIndex):
    """
    A hierarchical navigable small world graph.

    ``m`` is the number of links of a node (2 to 100, pgvector's default 16), ``ef_construction``
    the size of the candidate list while building (4 to 1000, at least ``2 * m``, default 64).

    Raises ValueError for what pgvector would refuse.
    """

    suffix = "hnsw"
    method = "hnsw"
    metrics = HNSW
    options = {"m": Int(2, 100), "ef_construction": Int(4, 1000)}
    search_options = {
        "ef_search": Int(1, 1000),
        "iterative_scan": Word("off", "relaxed_order", "strict_order"),
        "max_scan_tuples": Int(1, 2147483647),
        "scan_mem_multiplier": Float(1, 1000),
    }
    candidates_option = "ef_search"
    m: int | None
    ef_construction: int | None

    def __init__(self, *expressions: Combinable, **kwargs: Unpack[HnswOptions]) -> None:
        super().__init__(*expressions, **kwargs)

    def _check_options(self) -> None:
        super()._check_options()
        m = 16 if self.m is None else self.m
        ef_construction = 64 if self.ef_construction is None else self.ef_construction
        if ef_construction < 2 * m:
            raise ValueError(
                f"{self._label} takes ef_construction of at least 2 * m = {2 * m}, "
                f"not {ef_construction}."
            )


class VectorIndex(HnswIndex):
    """
    The portable index: the best that each database has.

    HNSW on PostgreSQL, which takes ``m`` and ``ef_construction``; on SQLite a ``vec0`` table that
    triggers keep in step with the model's; on libSQL a graph over such a table, which takes
    ``max_neighbors``, ``compress_neighbors``, ``alpha``, ``insert_l`` and ``search_l``, the number
    of rows that it finds at most. ``nearest()`` searches all three.

    ``precision="int8"`` keeps a byte of each component on SQLite, where that is what an index for
    the cosine distance has by default; PostgreSQL, which has no bytes, keeps float16.
    ``precision="full"`` keeps all of each component everywhere.

    Raises ValueError for what a database would refuse, or turn into a useless index.
    """

    suffix = "vec"
    method = "vector"
    portable = True
    options = {
        **HnswIndex.options,
        "max_neighbors": Int(1, 1000, of="graph"),
        "compress_neighbors": Word(
            "float1bit", "float8", "float16", "floatb16", "float32", of="graph"
        ),
        "alpha": Float(1.0, 10.0, of="graph"),
        "insert_l": Int(1, 10_000, of="graph"),
        "search_l": Int(1, 10_000, of="graph"),
    }
    precisions = ("half", "bit", "int8", "full")
    compress_neighbors: str | None

    def __init__(
        self,
        *expressions: Combinable,
        quantize: str | None = None,
        **kwargs: Unpack[VectorIndexOptions],
    ) -> None:
        if quantize:  # another name for the same
            kwargs.setdefault("precision", quantize)
        super().__init__(*expressions, **kwargs)  # type: ignore[misc]

    def _check_options(self) -> None:
        super()._check_options()
        if self.compress_neighbors == "float1bit" and self.metric != "cosine":
            raise ValueError(
                f"{self._label} takes compress_neighbors='float1bit' only with the metric 'cosine'."
            )
        if self.precision == "int8" and self.metric != "cosine":
            raise ValueError(
                f"{self._label} takes precision='int8' with the metric 'cosine' only, which orders "
                f"vectors of one length as 'l2' and 'ip' do, not with {self.metric!r}."
            )


class IvfflatIndex(MethodIndex):
    """
    An inverted file of flat vectors.

    ``lists`` is the number of clusters (1 to 32768), and required: rows / 1000 up to a million
    rows, the square root of rows above. Create the index when the table has its data, since the
    clusters are those of the rows that are there.

    Raises ValueError for what pgvector would refuse.
    """

    suffix = "ivfflat"
    method = "ivfflat"
    metrics = IVFFLAT
    options = {"lists": Int(1, 32768)}
    # There is no strict order.
    search_options = {
        "probes": Int(1, 32768),
        "iterative_scan": Word("off", "relaxed_order"),
    }
    is_ordered = False
    lists: int | None

    def __init__(self, *expressions: Combinable, **kwargs: Unpack[IvfflatOptions]) -> None:
        super().__init__(*expressions, **kwargs)

    def _check_options(self) -> None:
        super()._check_options()
        if self.lists is None:
            raise ValueError(f"{self._label} needs lists, the number of clusters: 1 to 32768.")


# Registered behind pgvector's own.
from dorm_vector.diskann import DiskAnnIndex  # noqa: E402
