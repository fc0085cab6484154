"""``django.db.models`` with the vector fields added: ``from dorm_vector import models``."""

from __future__ import annotations

from django.db.models import *  # noqa: F403
from django.db.models import __all__ as _django_names

from dorm_vector.fields import BitField, HalfVectorField, SparseVectorField, VectorField

__all__ = [*_django_names, "BitField", "HalfVectorField", "SparseVectorField", "VectorField"]
