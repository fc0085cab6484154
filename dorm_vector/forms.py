"""The form field of a vector, its widgets, and the parsing of what people type."""

from __future__ import annotations

import re
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from dorm_vector.kinds import KINDS

__all__ = ["ShortVectorInput", "VectorField", "VectorTextarea"]

# What separates numbers that were typed, or copied from a table or a terminal.
SEPARATOR = re.compile(r"\s*[,;]\s*|\s+")
# How many numbers, or bits, fit into one line.
SHORT = 8
SHORT_BITS = 64

FORMATS = {
    "bit": "{size} bits: 0110...",
    "sparsevec": "{{index: number, ...}}/{size}, counting from 1: {{1: 0.5, 7: -2}}/{size}",
}
FORMAT = "{size} numbers, with commas, spaces or line breaks between them: [0.1, -2, ...]"


class ShortVectorInput(forms.TextInput):
    """One line, for a few numbers or bits."""

    def __init__(self, attrs: dict[str, Any] | None = None) -> None:
        super().__init__({"class": "vTextField", "spellcheck": "false", **(attrs or {})})


class VectorTextarea(forms.Textarea):
    """
    A long vector, folded away under a summary of its size and length.

    A refused value is shown unfolded. Lines break between numbers.
    """

    style = "white-space: pre-wrap; word-break: keep-all; overflow-wrap: normal"

    def __init__(self, attrs: dict[str, Any] | None = None) -> None:
        # The class of the admin's own text areas, which fit into narrow windows.
        given = {"rows": 6, "cols": 60, "spellcheck": "false", "class": "vLargeTextField"}
        super().__init__({**given, "style": self.style, **(attrs or {})})
        #: The function that summarizes a text; set by the form field.
        self.summary: Any = lambda text: None

    def format_value(self, value: object) -> str | None:
        text = super().format_value(value)
        return text and re.sub(r",(?=\S)", ", ", text)

    def render(self, name: str, value: Any, *args: Any, **kwargs: Any) -> SafeString:
        textarea = super().render(name, value, *args, **kwargs)
        summary = self.summary(value) if value else None
        if summary is None:
            return textarea
        return format_html(
            '<details class="vector"><summary>{}</summary>{}</details>', summary, textarea
        )


class VectorField(forms.CharField):
    """
    Cleans text like ``[0.1, 0.2]`` to ``list[float]``, and an empty input to None.

    Numbers may be separated by commas, semicolons, white space and line breaks, with or without
    brackets. ``kind`` is that of the vectors: "vector", "halfvec", "bit" or "sparsevec". Raises
    ValidationError for anything but such a vector of ``dimensions``.
    """

    def __init__(
        self, *, dimensions: int | None = None, kind: str = "vector", **kwargs: Any
    ) -> None:
        self.dimensions = dimensions
        self.kind = KINDS[kind]
        kwargs.setdefault("widget", self._fitting_widget())
        if not kwargs.get("help_text") and dimensions:
            kwargs["help_text"] = _(FORMATS.get(kind, FORMAT)).format(size=f"{dimensions:,}")
        super().__init__(**{"empty_value": None, **kwargs})
        if isinstance(self.widget, VectorTextarea):
            self.widget.summary = self._summary

    def __deepcopy__(self, memo: Any) -> VectorField:
        copied = super().__deepcopy__(memo)
        if isinstance(copied.widget, VectorTextarea):
            copied.widget.summary = copied._summary
        return copied

    def _fitting_widget(self) -> type[forms.Widget]:
        short = SHORT_BITS if self.kind.name == "bit" else SHORT
        sparse = self.kind.name == "sparsevec"
        fits = self.dimensions is not None and self.dimensions <= short and not sparse
        return ShortVectorInput if fits else VectorTextarea

    def to_python(self, value: object) -> Any:
        if isinstance(value, str):
            value = super().to_python(value)
        if value is None:
            return None
        return self.kind.unpack(self.kind.pack(self._typed(value), self.dimensions))

    def _typed(self, value: object) -> Any:
        """What was typed, as a list of numbers or text of bits; other values unchanged."""
        if not isinstance(value, str) or self.kind.name not in ("vector", "halfvec", "bit"):
            return value
        if self.kind.name == "bit":
            return "".join(value.split())
        inner = value.strip()
        if inner[:1] == "[" and inner[-1:] == "]":
            inner = inner[1:-1].strip()
        if any(bracket in inner for bracket in "[]{}()"):
            return value
        return [_number(each) for each in SEPARATOR.split(inner)] if _is_numbers(inner) else value

    def prepare_value(self, value: object) -> Any:
        if value is None or isinstance(value, str):  # what the user typed is kept
            return value
        try:
            return self.kind.to_text(self.kind.pack(value, self.dimensions))
        except ValidationError:  # an initial value is shown, and refused on submission
            return value

    def has_changed(self, initial: Any, data: object) -> bool:
        if self.disabled:
            return False
        try:
            return bool(self.to_python(initial) != self.to_python(data))
        except ValidationError:
            return True

    def _summary(self, text: str) -> str | None:
        """The size and the length of the vector in a text; None if it is not a vector."""
        try:
            vector = self.to_python(text)
        except ValidationError:
            return None
        if self.kind.name == "bit":
            return _("%d bits, %d of them 1") % (len(vector), vector.count("1"))
        if self.kind.name == "sparsevec":
            return _("%d of %d numbers") % (len(vector.indices()), vector.dimensions())
        return _("%d numbers, length %.4g") % (len(vector), _length(vector))


def _length(vector: list[float]) -> float:
    greatest = max(map(abs, vector))
    if not greatest:
        return 0.0
    return float(greatest * sum((each / greatest) ** 2 for each in vector) ** 0.5)


def _is_numbers(text: str) -> bool:
    """Whether a text begins like numbers; otherwise the error names all of it."""
    return isinstance(_number(SEPARATOR.split(text, maxsplit=1)[0]), float)


def _number(text: str) -> float | str:
    """A number; anything else stays text, which is refused by its position."""
    try:
        return text if "_" in text else float(text)
    except ValueError:
        return text
