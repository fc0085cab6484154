from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models

from dorm_vector import (
    BitField,
    HalfVectorField,
    HnswIndex,
    IvfflatIndex,
    SparseVectorField,
    VectorField,
    VectorIndex,
    VectorQuerySet,
)


class ProductQuerySet(VectorQuerySet["Product"]):
    def cheap(self) -> ProductQuerySet:
        return self.filter(price__lt=10)


class Brand(models.Model):
    name = models.TextField()
    embedding = VectorField(3)


class Product(models.Model):
    brand = models.ForeignKey(Brand, models.CASCADE, null=True, related_name="products")
    price = models.IntegerField(default=1)

    vector = VectorField(3)
    vector_or_none = VectorField(dimensions=3, null=True, blank=True)
    named = VectorField("the vector", dimensions=3, default=list, db_column="v", help_text="Three.")
    array = VectorField(3, numpy=True)
    array_or_none = VectorField(3, numpy=True, null=True)

    half = HalfVectorField(3)
    half_or_none = HalfVectorField(dimensions=3, null=True)
    half_array = HalfVectorField(3, numpy=True)
    half_array_or_none = HalfVectorField(3, numpy=True, null=True)

    bits = BitField(3)
    bits_or_none = BitField(length=3, null=True)
    bits_array = BitField(3, numpy=True)
    bits_array_or_none = BitField(3, numpy=True, null=True)

    sparse = SparseVectorField(3)
    sparse_or_none = SparseVectorField(dimensions=3, null=True)
    sparse_array = SparseVectorField(3, numpy=True)
    sparse_array_or_none = SparseVectorField(3, numpy=True, null=True)

    vectors = ArrayField(VectorField(3))

    objects = ProductQuerySet.as_manager()

    class Meta:
        indexes = [
            VectorIndex(fields=["vector"], name="by_vector", metric="l2"),
            HnswIndex(fields=["half"], name="by_half", metric="cosine", m=8),
            IvfflatIndex(fields=["array"], name="by_array", lists=100),
        ]


class Embedding(VectorField):
    """A field of a project's own keeps the types of the one that it comes from."""


class Page(models.Model):
    embedding = Embedding(384)
