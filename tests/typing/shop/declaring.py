"""Declarations with a keyword that there is not, or a value of the wrong type."""

from __future__ import annotations

from dorm_vector import BitField, HalfVectorField, SparseVectorField, VectorField

VectorField(3, blank=True, editable=False, validators=[], unique_for_date="day")
VectorField(3, nul=True)  # refused: call-overload / reportCallIssue
VectorField("three", dimensions="3")  # refused: call-overload / reportArgumentType
VectorField(3.5)  # refused: call-overload / reportArgumentType
VectorField(3, max_length=3)  # refused: call-overload / reportCallIssue
HalfVectorField(3, null="yes")  # refused: call-overload / reportArgumentType, reportCallIssue
BitField(dimensions=3)  # refused: call-overload / reportCallIssue
SparseVectorField(length=3)  # refused: call-overload / reportCallIssue
