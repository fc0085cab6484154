"""
django-filter: filter sets for models with vectors, and nearest neighbours.

::

    class PassageFilter(FilterSet):
        near = NearestFilter("embedding", embedder=embed)

        class Meta:
            model = Passage
            fields = ["text"]

Once this module is imported, filter sets know vector fields: ``exact`` and ``isnull``.
"""

from __future__ import annotations

import contextlib
from typing import Any

from django import forms
from django_filters import CharFilter, filterset

from dorm_vector.contrib.near import named
from dorm_vector.fields import BitField, HalfVectorField, SparseVectorField, VectorField
from dorm_vector.forms import VectorField as VectorFormField
from dorm_vector.search.nearest import nearest

__all__ = ["NearestFilter", "VectorFilter"]


class VectorFilter(CharFilter):
    """The rows with that very vector. Takes the ``dimensions`` and the ``kind`` of the field."""

    field_class = VectorFormField


class NearestField(forms.CharField):
    """The row or the vector that the text of a request names; None if it is empty."""

    #: Set by the filter, which knows the rows.
    target: Any

    def clean(self, value: Any) -> Any:
        text = super().clean(value)
        return self.target(text) if text else None


class NearestFilter(CharFilter):
    """
    Orders rows by the distance of the vector ``field_name`` to a row that is named by its key.

    With an ``embedder``, a callable that takes a text and returns a vector, a text does as well;
    the key of a row goes before a text. ``nearest_options`` are keywords of ``nearest()``: ``k``,
    ``metric``, ``annotation``. What is neither is an error of the form.
    """

    field_class = NearestField

    def __init__(
        self, field_name: str, *, embedder: Any = None, nearest_options: Any = None, **kwargs: Any
    ) -> None:
        super().__init__(field_name, **kwargs)
        self.embedder, self.nearest_options = embedder, nearest_options or {}

    @property
    def field(self) -> Any:
        field = super().field
        field.target = self._target
        return field

    def filter(self, qs: Any, value: Any) -> Any:
        if value is None:
            return qs
        return nearest(qs, self.field_name, value, **self.nearest_options)

    def _target(self, value: str) -> Any:
        """The row or the vector that is meant. Raises ValidationError if there is neither."""
        rows = self.parent.queryset
        found = named(rows, value, self.embedder)
        nearest(rows, self.field_name, found, **self.nearest_options)  # refuses what does not fit
        return found


def _form_field(field: Any) -> dict[str, Any]:
    return {"dimensions": field.dimensions, "kind": field.kind}


KNOWN = {
    field: {"filter_class": VectorFilter, "extra": _form_field}
    for field in (BitField, HalfVectorField, SparseVectorField, VectorField)
}
filterset.FILTER_FOR_DBFIELD_DEFAULTS.update(KNOWN)
with contextlib.suppress(ImportError):  # without REST framework
    # The filter sets for its views have a copy.
    from django_filters.rest_framework import filterset as for_views

    for_views.FILTER_FOR_DBFIELD_DEFAULTS.update(KNOWN)
