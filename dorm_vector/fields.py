"""Vector fields: declaration, validation and the forms hook."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.core import checks
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models.fields.mixins import CheckFieldDefaultMixin
from django.utils.translation import gettext_lazy as _

from dorm_vector import codecs, forms, values
from dorm_vector.engines import engine_for

__all__ = ["VectorField"]

# Vectors have no order, no parts and no case; these are the lookups that remain.
LOOKUPS = frozenset({"exact", "in", "isnull"})


class _OnlyNone(tuple):
    """Django asks ``value in empty_values``, which numpy arrays would answer element by element."""

    def __contains__(self, value: object) -> bool:
        return value is None


class VectorField(CheckFieldDefaultMixin, models.Field):
    """
    A vector of ``dimensions`` finite float32 numbers, 1 to 16,000 of them.

    ``dimensions`` is the first positional argument or a keyword. Reads ``list[float]``, the exact
    float32 values. Takes whatever ``dorm_vector.values.to_float32`` takes; anything else is a
    ValidationError from ``clean()``, from forms and from saving alike.

    Raises ValueError for a number of dimensions that no vector can have.
    """

    description = _("Vector (%(dimensions)s dimensions)")
    empty_strings_allowed = False
    empty_values = _OnlyNone([None])
    kind = "vector"
    max_dimensions = 16_000
    _default_hint = ("list", "[]")

    def __init__(self, *args: Any, dimensions: int | None = None, **kwargs: Any) -> None:
        # The first positional argument of Django's fields is verbose_name, and pgvector.django's.
        if args and dimensions is None and not isinstance(args[0], str):
            dimensions, args = args[0], args[1:]
        if type(dimensions) is not int or not 1 <= dimensions <= self.max_dimensions:
            raise ValueError(
                f"{type(self).__name__}(dimensions=...) takes an int from 1 to "
                f"{self.max_dimensions}, not {dimensions!r}."
            )
        self.dimensions = dimensions
        super().__init__(*args, **kwargs)

    def deconstruct(self) -> Any:
        name, path, args, kwargs = super().deconstruct()
        kwargs["dimensions"] = self.dimensions
        return name, path, args, kwargs

    def check(self, **kwargs: Any) -> list[checks.CheckMessage]:
        from dorm_vector.checks import check_btree

        return [*super().check(**kwargs), *check_btree(self)]

    # The column

    def db_type(self, connection: Any) -> str:
        return engine_for(connection).column_type(self.kind, self.dimensions)

    def db_check(self, connection: Any) -> str | None:
        column = getattr(self, "column", None)
        if column is None:  # the output_field of a GeneratedField
            return None
        quoted = connection.ops.quote_name(column)
        return engine_for(connection).column_check(self.kind, quoted, self.dimensions)

    def get_lookups(self) -> dict[str, Any]:
        """Those that a vector has, and those that were registered for vectors."""
        refused = models.Field.get_class_lookups().keys() - LOOKUPS
        lookups = super().get_lookups()
        return {name: lookup for name, lookup in lookups.items() if name not in refused}

    # Python values

    def to_python(self, value: Any) -> list[float] | None:
        if value is None:
            return None
        return codecs.from_packed(values.pack(value, self.dimensions)).tolist()

    def pre_save(self, model_instance: models.Model, add: bool) -> Any:
        value = super().pre_save(model_instance, add)
        if isinstance(value, Iterator):  # it can be read once only, and the instance keeps it
            value = list(value)
            setattr(model_instance, self.attname, value)
        return value

    def value_to_string(self, obj: models.Model) -> str:
        packed = self.get_prep_value(self.value_from_object(obj))
        return "" if packed is None else codecs.to_text(codecs.from_packed(packed))

    def formfield(self, **kwargs: Any) -> Any:
        defaults = {"form_class": forms.VectorField, "dimensions": self.dimensions}
        return super().formfield(**{**defaults, **kwargs})

    # Values in SQL

    def get_prep_value(self, value: Any) -> Any:
        value = super().get_prep_value(value)
        if value is None or hasattr(value, "as_sql"):
            return value
        return values.pack(value, self.dimensions)

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> Any:
        value = value if prepared else self.get_prep_value(value)
        if value is None or hasattr(value, "as_sql"):
            return value
        return engine_for(connection).encode(value)

    def get_placeholder(self, value: Any, compiler: Any, connection: Any) -> str:
        return "%s" if hasattr(value, "as_sql") else engine_for(connection).placeholder

    def get_placeholder_sql(self, value: Any, compiler: Any, connection: Any) -> Any:
        """The same for Django 6.1, which compiles expressions here."""
        if hasattr(value, "as_sql"):
            return compiler.compile(value)
        return engine_for(connection).placeholder, (value,)

    def select_format(self, compiler: Any, sql: str, params: Any) -> Any:
        if not compiler.query.subquery:
            sql = engine_for(compiler.connection).select_sql(sql)
        return sql, params

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> list[float] | None:
        if value is None:
            return None
        try:
            vector = engine_for(connection).decode(value)
        except ValueError:
            raise ValidationError(
                f"Expected {self.dimensions} dimensions, not {len(value)} bytes.",
                code="dimensions",
            ) from None
        values.check_dimensions(len(vector), self.dimensions)
        return vector.tolist()
