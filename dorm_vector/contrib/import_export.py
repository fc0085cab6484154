"""
django-import-export: vectors through CSV, XLSX, JSON, YAML and other files, bit for bit.

A resource takes its widgets from here::

    class ProductResource(VectorResourceMixin, resources.ModelResource):
        class Meta:
            model = Product
            skip_unchanged = True

Without it vectors survive as well, but every row counts as changed.
"""

from __future__ import annotations

import functools
from typing import Any

from import_export import widgets
from import_export.formats import base_formats

from dorm_vector.fields import AnyVectorField

__all__ = ["XLSX", "VectorResourceMixin", "VectorWidget"]

# How many characters a cell holds; the writer of such files cuts off the rest. Source:
# https://support.microsoft.com/office/excel-specifications-and-limits
MAX_CELL = 32_767


class VectorWidget(widgets.Widget):
    """
    The vectors of a model field as text like ``[0.1,2,3]``, ``0110`` or ``{1:0.5}/3``; NULL is "".

    Raises ValidationError for text that is not a vector of the field.
    """

    def __init__(self, field: AnyVectorField, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.field = field

    def clean(self, value: object, row: Any = None, **kwargs: object) -> Any:
        blank = isinstance(value, str) and not value.strip()
        return None if blank else self.field.to_python(value)

    def render(self, value: Any, obj: Any = None, **kwargs: object) -> str:
        if value is None:
            return ""
        kind = self.field.values
        return kind.to_text(kind.pack(value, self.field.dimensions))


class VectorResourceMixin:
    """Gives the vector fields of a ModelResource their widgets. List it before ModelResource."""

    @classmethod
    def widget_from_django_field(cls, f: Any, default: Any = widgets.Widget) -> Any:
        if isinstance(f, AnyVectorField):
            return functools.partial(VectorWidget, f)
        return super().widget_from_django_field(f, default)  # type: ignore[misc]


class XLSX(base_formats.XLSX):
    """
    Excel files, refusing what does not fit into a cell: vectors of more than about 2,700 numbers.

    Raises ValueError where django-import-export's own format would cut the text off.
    """

    def export_data(self, dataset: Any, **kwargs: object) -> Any:
        for number, row in enumerate(dataset, 1):
            for header, cell in zip(dataset.headers or (), row, strict=False):
                if isinstance(cell, str) and len(cell) > MAX_CELL:
                    raise ValueError(
                        f"Row {number}: {header} has {len(cell):,} characters, and a cell of XLSX "
                        f"holds {MAX_CELL:,}: export to CSV, JSON or YAML instead."
                    )
        return super().export_data(dataset, **kwargs)
