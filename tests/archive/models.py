"""A project as it was declared when each engine was one file, with the migrations of that time."""

from __future__ import annotations

from django.db.models import CheckConstraint, F, FloatField, GeneratedField, Q
from django.db.models.lookups import GreaterThan, LessThan

from dorm_vector import (
    CosineDistance,
    HammingDistance,
    HnswIndex,
    InnerProduct,
    IvfflatIndex,
    L2Distance,
    MaxInnerProduct,
    Subvector,
    VectorConcat,
    VectorDims,
    VectorIndex,
    VectorNorm,
    models,
)


class Document(models.Model):
    title = models.CharField(max_length=50)
    language = models.CharField(max_length=5, default="en")
    embedding = models.VectorField(3)
    other = models.VectorField(dimensions=3, null=True, blank=True, default=[1.0, 2.0, 3.0])
    summary = models.VectorField(8, null=True)
    half = models.HalfVectorField(3, null=True)
    bits = models.BitField(length=10, null=True)
    length = GeneratedField(
        expression=VectorNorm("embedding"), output_field=FloatField(), db_persist=True
    )
    far = GeneratedField(
        expression=L2Distance("embedding", [1.0, 0.0, 0.0]),
        output_field=FloatField(),
        db_persist=True,
    )
    angle = GeneratedField(
        expression=CosineDistance("embedding", F("other")),
        output_field=FloatField(),
        db_persist=True,
    )
    product = GeneratedField(
        expression=MaxInnerProduct("embedding", [1, 2, 3]),
        output_field=FloatField(),
        db_persist=True,
    )
    differing = GeneratedField(
        expression=HammingDistance("bits", "1010101010"),
        output_field=FloatField(),
        db_persist=True,
    )
    inner = GeneratedField(
        expression=InnerProduct("embedding", [1.0, 2.0, 3.0]),
        output_field=FloatField(),
        db_persist=True,
    )
    count = GeneratedField(
        expression=VectorDims("half"), output_field=models.IntegerField(), db_persist=True
    )
    head = GeneratedField(
        expression=Subvector("embedding", 1, 2),
        output_field=models.VectorField(2),
        db_persist=True,
    )
    both = GeneratedField(
        expression=VectorConcat("embedding", "other"),
        output_field=models.VectorField(6),
        db_persist=True,
    )

    class Meta:
        constraints = [
            CheckConstraint(condition=GreaterThan(VectorNorm("embedding"), 0.0), name="not_zero"),
            CheckConstraint(
                condition=LessThan(L2Distance("embedding", [0.0, 0.0, 0.0]), 1e6), name="nearby"
            ),
        ]
        indexes = [
            VectorIndex(fields=["embedding"], name="doc_portable", metric="cosine"),
            VectorIndex(
                fields=["other"],
                name="doc_graph",
                metric="l2",
                m=16,
                ef_construction=32,
                max_neighbors=30,
                compress_neighbors="float16",
                alpha=1.2,
                search_l=100,
            ),
            VectorIndex(fields=["embedding"], name="doc_signs", metric="cosine", quantize="bit"),
            HnswIndex(
                fields=["embedding"],
                name="doc_hnsw",
                opclasses=["vector_ip_ops"],
                m=24,
                ef_construction=100,
                condition=Q(language="en"),
            ),
            HnswIndex(fields=["embedding"], name="doc_half", metric="l2", precision="half"),
            IvfflatIndex(fields=["embedding"], name="doc_clusters", metric="cosine", lists=3),
            HnswIndex(fields=["bits"], name="doc_bits", metric="hamming"),
        ]


class Note(models.Model):
    document = models.ForeignKey(Document, models.CASCADE)
    vector = models.VectorField(4, db_default=[0.0, 0.0, 0.0, 1.0])


class Term(models.Model):
    weights = models.SparseVectorField(5)
    size = GeneratedField(
        expression=VectorNorm("weights"), output_field=FloatField(), db_persist=True
    )

    class Meta:
        required_db_vendor = "postgresql"
        indexes = [HnswIndex(fields=["weights"], name="term_hnsw", metric="ip")]
