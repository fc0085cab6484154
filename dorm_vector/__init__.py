"""Vector search for Django on PostgreSQL, SQLite and libSQL."""

from __future__ import annotations

from dorm_vector.abulk import abulk_copy
from dorm_vector.bulk import bulk_copy
from dorm_vector.constraints import FreshVector
from dorm_vector.embeddings import EmbedReport, embed
from dorm_vector.engines import engine_for
from dorm_vector.engines.sqlite.extension import load_sqlite_vec_extension
from dorm_vector.fields import BitField, HalfVectorField, SparseVectorField, VectorField
from dorm_vector.functions import (
    BinaryQuantize,
    CosineDistance,
    CosineSimilarity,
    HammingDistance,
    InnerProduct,
    JaccardDistance,
    L1Distance,
    L2Distance,
    MaxInnerProduct,
    Normalize,
    Subvector,
    VectorAdd,
    VectorAvg,
    VectorConcat,
    VectorDims,
    VectorMultiply,
    VectorNorm,
    VectorSubtract,
    VectorSum,
    VectorToJSON,
)
from dorm_vector.indexes import DiskAnnIndex, HnswIndex, IvfflatIndex, TextIndex, VectorIndex
from dorm_vector.lookups import VectorIn as VectorIn  # registered as it is imported
from dorm_vector.operations import (
    AddPartitionedIndexConcurrently,
    ChangeVectorDimensions,
    VectorExtension,
)
from dorm_vector.querysets import VectorQuerySet
from dorm_vector.search import advice as advice  # registers itself with the distances
from dorm_vector.search.fusion import fuse
from dorm_vector.search.hybrid import hybrid
from dorm_vector.search.nearest import nearest
from dorm_vector.search.settings import search_params
from dorm_vector.search.text import matching

__version__ = "0.2.0.dev0"

__all__ = [
    "AddPartitionedIndexConcurrently",
    "BinaryQuantize",
    "BitField",
    "ChangeVectorDimensions",
    "CosineDistance",
    "CosineSimilarity",
    "DiskAnnIndex",
    "EmbedReport",
    "FreshVector",
    "HalfVectorField",
    "HammingDistance",
    "HnswIndex",
    "InnerProduct",
    "IvfflatIndex",
    "JaccardDistance",
    "L1Distance",
    "L2Distance",
    "MaxInnerProduct",
    "Normalize",
    "SparseVectorField",
    "Subvector",
    "TextIndex",
    "VectorAdd",
    "VectorAvg",
    "VectorConcat",
    "VectorDims",
    "VectorExtension",
    "VectorField",
    "VectorIndex",
    "VectorMultiply",
    "VectorNorm",
    "VectorQuerySet",
    "VectorSubtract",
    "VectorSum",
    "VectorToJSON",
    "abulk_copy",
    "bulk_copy",
    "embed",
    "engine_for",
    "fuse",
    "hybrid",
    "load_sqlite_vec_extension",
    "matching",
    "nearest",
    "search_params",
]
