"""Declarations with a keyword that there is not, or a value of the wrong type."""

from __future__ import annotations

from django.db.models import Q

from dorm_vector import (
    BitField,
    CosineDistance,
    HalfVectorField,
    HnswIndex,
    IvfflatIndex,
    SparseVectorField,
    Subvector,
    VectorAvg,
    VectorField,
    VectorIndex,
)

VectorField(3, blank=True, editable=False, validators=[], unique_for_date="day")
VectorField(3, nul=True)  # refused: call-overload / reportCallIssue
VectorField("three", dimensions="3")  # refused: call-overload / reportArgumentType
VectorField(3.5)  # refused: call-overload / reportArgumentType
VectorField(3, max_length=3)  # refused: call-overload / reportCallIssue
HalfVectorField(3, null="yes")  # refused: call-overload / reportArgumentType, reportCallIssue
BitField(dimensions=3)  # refused: call-overload / reportCallIssue
SparseVectorField(length=3)  # refused: call-overload / reportCallIssue

VectorIndex(fields=["v"], name="i", metric="l2", max_neighbors=12, alpha=1.2)
VectorIndex(fields=["v"], name="i", max_neighbours=12)  # refused: call-arg / reportCallIssue
HnswIndex(fields=["v"], name="i", metrc="l2")  # refused: call-arg / reportCallIssue
HnswIndex(fields=["v"], name="i", m="8")  # refused: arg-type / reportArgumentType
IvfflatIndex(fields=["v"], name="i", lists=100, condition=Q(category=1))
IvfflatIndex(fields=["v"], name="i")  # refused: call-arg / reportCallIssue

CosineDistance("v", [1, 2, 3], precision="half")
CosineDistance("v", [1, 2, 3], precison="half")  # refused: call-arg / reportCallIssue
CosineDistance("v", 3)  # refused: arg-type / reportArgumentType
Subvector("v", "1", 2)  # refused: arg-type / reportArgumentType
VectorAvg("v", filter=Q(category=1), default=None)
VectorAvg("v", filtr=Q(category=1))  # refused: call-arg / reportCallIssue
