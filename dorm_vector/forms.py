"""The form field of a vector: text like ``[0.1, 0.2]``."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from dorm_vector import codecs, values

__all__ = ["VectorField"]


class VectorField(forms.CharField):
    """
    Cleans text like ``[0.1, 0.2]`` to ``list[float]``, and an empty input to None.

    Raises ValidationError for anything but a vector of ``dimensions`` finite float32 numbers.
    """

    widget = forms.Textarea

    def __init__(self, *, dimensions: int | None = None, **kwargs: Any) -> None:
        self.dimensions = dimensions
        super().__init__(**{"empty_value": None, **kwargs})

    def to_python(self, value: Any) -> Any:
        if isinstance(value, str):
            value = super().to_python(value)
        if value is None:
            return None
        return codecs.from_packed(values.pack(value, self.dimensions)).tolist()

    def prepare_value(self, value: Any) -> Any:
        if value is None or isinstance(value, str):  # what the user typed stays as it was typed
            return value
        return codecs.to_text(values.to_float32(value))

    def has_changed(self, initial: Any, data: Any) -> bool:
        if self.disabled:
            return False
        try:
            return bool(self.to_python(initial) != self.to_python(data))
        except ValidationError:
            return True
