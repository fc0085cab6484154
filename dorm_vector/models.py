"""``django.db.models`` with vectors added: ``from dorm_vector import models``."""

from __future__ import annotations

from django.db.models import *  # noqa: F403
from django.db.models import __all__ as _django_names

from dorm_vector.constraints import FreshVector
from dorm_vector.fields import BitField, HalfVectorField, SparseVectorField, VectorField
from dorm_vector.text_indexes import TextIndex

__all__ = [
    *_django_names,
    "BitField",
    "FreshVector",
    "HalfVectorField",
    "SparseVectorField",
    "TextIndex",
    "VectorField",
]
