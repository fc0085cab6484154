"""The form field of a vector: text like ``[0.1, 0.2]``, or of 0 and 1 for bits."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from dorm_vector.kinds import KINDS

__all__ = ["VectorField"]


class VectorField(forms.CharField):
    """
    Cleans text like ``[0.1, 0.2]`` to ``list[float]``, and an empty input to None.

    ``kind`` is that of the vectors: "vector", "halfvec", "bit" or "sparsevec". Raises
    ValidationError for anything but such a vector of ``dimensions``.
    """

    widget = forms.Textarea

    def __init__(
        self, *, dimensions: int | None = None, kind: str = "vector", **kwargs: Any
    ) -> None:
        self.dimensions = dimensions
        self.kind = KINDS[kind]
        super().__init__(**{"empty_value": None, **kwargs})

    def to_python(self, value: Any) -> Any:
        if isinstance(value, str):
            value = super().to_python(value)
        if value is None:
            return None
        return self.kind.unpack(self.kind.pack(value, self.dimensions))

    def prepare_value(self, value: Any) -> Any:
        if value is None or isinstance(value, str):  # what the user typed stays as it was typed
            return value
        try:
            return self.kind.to_text(self.kind.pack(value, self.dimensions))
        except ValidationError:  # an initial value is shown, and refused when it is sent
            return value

    def has_changed(self, initial: Any, data: Any) -> bool:
        if self.disabled:
            return False
        try:
            return bool(self.to_python(initial) != self.to_python(data))
        except ValidationError:
            return True
