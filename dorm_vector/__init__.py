"""Vector search for Django on PostgreSQL and SQLite."""

from __future__ import annotations

from dorm_vector.engines import engine_for
from dorm_vector.engines.sqlite_vec import load_sqlite_vec_extension
from dorm_vector.fields import VectorField
from dorm_vector.functions import (
    CosineDistance,
    L1Distance,
    L2Distance,
    MaxInnerProduct,
)
from dorm_vector.indexes import HnswIndex, IvfflatIndex, VectorIndex
from dorm_vector.operations import VectorExtension
from dorm_vector.querysets import VectorQuerySet, nearest
from dorm_vector.tuning import search_params

__version__ = "0.1.0"

__all__ = [
    "CosineDistance",
    "HnswIndex",
    "IvfflatIndex",
    "L1Distance",
    "L2Distance",
    "MaxInnerProduct",
    "VectorExtension",
    "VectorField",
    "VectorIndex",
    "VectorQuerySet",
    "engine_for",
    "load_sqlite_vec_extension",
    "nearest",
    "search_params",
]
