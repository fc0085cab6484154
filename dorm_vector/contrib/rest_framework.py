"""
Django REST framework: vectors as JSON, and nearest neighbours by a query parameter.

With REST framework in INSTALLED_APPS, ModelSerializer uses these fields by itself::

    class PassageSerializer(serializers.ModelSerializer):
        class Meta:
            model = Passage
            fields = ["id", "text", "embedding"]

    class PassageViewSet(viewsets.ModelViewSet):
        queryset = Passage.objects.all()
        serializer_class = PassageSerializer
        filter_backends = [NearestFilterBackend]
        nearest_field = "embedding"

``GET /passages/?near=7`` lists what is nearest to passage 7.
"""

from __future__ import annotations

from typing import Any, ClassVar

from django.core.exceptions import ValidationError as DjangoValidationError
from rest_framework import serializers
from rest_framework.filters import BaseFilterBackend

from dorm_vector import fields
from dorm_vector.contrib.json import from_json, json_schema, to_json
from dorm_vector.contrib.near import near

__all__ = [
    "BitField",
    "HalfVectorField",
    "NearestFilterBackend",
    "SparseVectorField",
    "VectorField",
    "register",
]


class VectorField(serializers.ModelField):
    """
    A JSON array of numbers.

    Takes the ``dimensions`` (for bits, the ``length``), or the field of a model. What is not a
    vector of it is refused with the position of the error.
    """

    model_field_class: ClassVar[Any] = fields.VectorField

    def __init__(
        self, dimensions: int | None = None, *, model_field: Any = None, **kwargs: Any
    ) -> None:
        size = kwargs.pop(self.model_field_class.size_keyword, dimensions)
        super().__init__(model_field or self.model_field_class(size), **kwargs)

    def to_internal_value(self, data: Any) -> Any:
        try:
            return from_json(self.model_field, data)
        except DjangoValidationError as error:
            raise serializers.ValidationError(error.messages, code=error.code) from None

    def get_attribute(self, instance: Any) -> Any:
        return serializers.Field.get_attribute(self, instance)

    def to_representation(self, value: Any) -> Any:
        return to_json(self.model_field, value)


class HalfVectorField(VectorField):
    """A JSON array of numbers, which are rounded to float16."""

    model_field_class = fields.HalfVectorField


class BitField(VectorField):
    """Text of 0 and 1."""

    model_field_class = fields.BitField


class SparseVectorField(VectorField):
    """``{"indices": [0, 7], "values": [0.5, 2.0], "dimensions": 1000}``, counting from 0."""

    model_field_class = fields.SparseVectorField


SERIALIZERS = {
    field.model_field_class: field
    for field in (VectorField, HalfVectorField, BitField, SparseVectorField)
}


class NearestFilterBackend(BaseFilterBackend):
    """
    ``?near=<id>`` orders a list by the distance to one of its rows, nearest first.

    The view's ``nearest_field`` names the field. With a ``nearest_embedder``, a callable that takes
    a text and returns a vector, ``?near=text`` works too; the id of a row goes before a text.
    ``nearest_metric`` and ``nearest_k`` are those of ``nearest()``. Rows are annotated with their
    ``distance``, which a serializer can declare as a FloatField; ``nearest_annotation`` gives it
    another name. A text without an embedder, and an unknown id, get status 400.
    """

    parameter = "near"

    def filter_queryset(self, request: Any, queryset: Any, view: Any) -> Any:
        value = request.query_params.get(self.parameter, "").strip()
        if not value:
            return queryset
        try:
            return near(
                queryset,
                view.nearest_field,
                value,
                embedder=getattr(view, "nearest_embedder", None),
                k=getattr(view, "nearest_k", None),
                metric=getattr(view, "nearest_metric", None),
                annotation=getattr(view, "nearest_annotation", "distance"),
            )
        except DjangoValidationError as error:
            raise serializers.ValidationError({self.parameter: error.messages}) from None

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        return [
            {
                "name": self.parameter,
                "required": False,
                "in": "query",
                "description": "The id of a row, or a text: the nearest rows come first."
                if getattr(view, "nearest_embedder", None)
                else "The id of a row: the nearest rows come first.",
                "schema": {"type": "string"},
            }
        ]


def register() -> None:
    """Let every ModelSerializer, and drf-spectacular, know the fields; called by the app."""
    serializers.ModelSerializer.serializer_field_mapping.update(SERIALIZERS)
    try:
        from drf_spectacular.extensions import OpenApiSerializerFieldExtension
    except ImportError:
        return

    class VectorExtension(OpenApiSerializerFieldExtension):
        """Registers itself by being there."""

        target_class = VectorField
        match_subclasses = True

        def map_serializer_field(self, auto_schema: Any, direction: Any) -> dict[str, Any]:
            return json_schema(self.target.model_field)
