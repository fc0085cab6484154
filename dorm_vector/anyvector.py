"""What the vector fields have in common: the column, validation and the forms hook."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from django.apps import apps
from django.core import checks
from django.core.exceptions import ValidationError
from django.db import NotSupportedError, models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Expression, Lookup
from django.db.models.fields.mixins import CheckFieldDefaultMixin
from django.db.models.sql.compiler import SQLCompiler
from django.utils.functional import cached_property

from dorm_vector import forms
from dorm_vector.declarations import plain, settle
from dorm_vector.engines import engine_for, engines_of
from dorm_vector.kinds import KINDS, Kind
from dorm_vector.misuse import VectorCol, output_field_of, refuse_misuse, refuse_misused
from dorm_vector.registry import FIELDS
from dorm_vector.sql import Compiled, Operand
from dorm_vector.types import DeconstructedField, Read, Set

__all__ = ["AnyVectorField"]

# Vectors have no order, parts or case; these are the lookups that remain.
LOOKUPS = frozenset({"exact", "in", "isnull"})

# Methods that prepare values for the database.
PREPARES = ("get_prep_value", "get_db_prep_value", "get_db_prep_save", "pack")

# Arguments that are vectors, or hold some.
DECLARED = frozenset({"default", "db_default", "choices"})


class _OnlyNone(tuple):
    """Django asks ``value in empty_values``, which numpy arrays would answer element by element."""

    def __contains__(self, value: object) -> bool:
        return value is None


if TYPE_CHECKING:

    class Field(CheckFieldDefaultMixin, models.Field[Set, Read]):
        """Django's own field, which is not generic at run time."""

else:

    class Field(CheckFieldDefaultMixin, models.Field):
        def __class_getitem__(cls, types: Any) -> type[Any]:
            return cls


class AnyVectorField(Field[Set, Read]):
    """
    What the vector fields have in common.

    ``numpy=True`` reads numpy arrays instead of Python's values.

    Raises ValueError for a number of dimensions that no vector can have.
    """

    empty_strings_allowed = False
    empty_values = _OnlyNone([None])
    #: For those who look at fields of any type.
    holds_vectors: ClassVar[bool] = True
    #: The name of the field's kind, in ``dorm_vector.kinds.KINDS``.
    kind: ClassVar[str]
    #: The keyword of the number of dimensions.
    size_keyword: ClassVar[str] = "dimensions"
    #: How many dimensions take the bytes of a float32; 0 where that differs from vector to vector.
    per_float: ClassVar[int] = 0
    _default_hint = ("list", "[]")

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "kind" in vars(cls):  # the first one; a subclass may name the kind again
            FIELDS.setdefault(cls.kind, cls)

    def __init__(self, *args: Any, numpy: bool = False, **kwargs: Any) -> None:
        dimensions = kwargs.pop(self.size_keyword, None)
        # Django's fields, and pgvector.django's, take verbose_name first.
        if args and dimensions is None and not isinstance(args[0], str):
            dimensions, args = args[0], args[1:]
        most = self.values.max_dimensions
        if type(dimensions) is not int or not 1 <= dimensions <= most:
            raise ValueError(
                f"{type(self).__name__}({self.size_keyword}=...) takes an int from 1 to "
                f"{most}, not {dimensions!r}."
            )
        self.dimensions = dimensions
        self.numpy = numpy
        for name in DECLARED & kwargs.keys():
            settle(kwargs[name])
            kwargs[name] = plain(kwargs[name])
        super().__init__(*args, **kwargs)

    @property
    def values(self) -> Kind:
        """What the field knows of its values."""
        return KINDS[self.kind]

    @property
    def max_dimensions(self) -> int:
        return self.values.max_dimensions

    def deconstruct(self) -> DeconstructedField:
        name, path, args, kwargs = super().deconstruct()
        kwargs[self.size_keyword] = self.dimensions
        if self.numpy:
            kwargs["numpy"] = True
        return name, path, args, kwargs

    def check(self, **kwargs: Any) -> list[checks.CheckMessage]:
        return [
            *super().check(**kwargs),
            *self._check_app(),
            *self._check_kind(),
            *self._check_btree(),
        ]

    def _check_app(self) -> Iterator[checks.CheckMessage]:
        """Warn if the app is missing: its own checks are not run then."""
        if not apps.is_installed("dorm_vector"):
            yield checks.Warning(
                f"{self.model._meta.label}.{self.name} is a vector field, but 'dorm_vector' is not "
                "in INSTALLED_APPS, so that connections are not prepared for vectors.",
                hint="Add 'dorm_vector' to INSTALLED_APPS.",
                obj=self,
                id="dorm_vector.W116",
            )

    def _check_kind(self) -> Iterator[checks.CheckMessage]:
        """Refuse a field of a kind that a database has no columns for."""
        for _alias, engine in engines_of(self.model):
            if engine.column_types and self.kind not in engine.column_types:
                yield checks.Error(engine.why_no_column(self.kind), obj=self, id="dorm_vector.E105")

    def _check_btree(self) -> Iterator[checks.CheckMessage]:
        """Refuse ``unique`` and ``db_index`` where a row of a B-tree could not hold the vector."""
        if not (self.unique or self.db_index):  # type: ignore[attr-defined]
            return
        for alias, engine in engines_of(self.model):
            # Of float32, four bytes each.
            most = int((engine.btree_dimensions or 0) * self.per_float)
            if most and self.dimensions > most:
                yield checks.Error(
                    f"A B-tree of {engine.label} holds vectors of {most} {self.values.unit} at "
                    f"most, not of {self.dimensions} (database {alias!r}).",
                    hint="Remove unique, primary_key and db_index from the field.",
                    obj=self,
                    id="dorm_vector.E104",
                )

    # The column

    def db_type(self, connection: BaseDatabaseWrapper) -> str:
        return engine_for(connection).column_type(self.kind, self.dimensions)

    def cast_db_type(self, connection: BaseDatabaseWrapper) -> str:
        return engine_for(connection).cast_type(self.kind, self.dimensions)

    def db_check(self, connection: BaseDatabaseWrapper) -> str | None:
        column = getattr(self, "column", None)
        if column is None:  # the output_field of a GeneratedField
            return None
        quoted = connection.ops.quote_name(column)
        return engine_for(connection).column_check(self.kind, quoted, self.dimensions)

    def get_col(self, alias: str, output_field: models.Field | None = None) -> VectorCol:
        if alias == self.model._meta.db_table and output_field in (None, self):
            return self.cached_col
        return VectorCol(alias, self, output_field)

    @cached_property
    def cached_col(self) -> VectorCol:
        return VectorCol(self.model._meta.db_table, self)

    def get_lookups(self) -> dict[str, type[Lookup]]:
        """The lookups that vectors have, and those that were registered for them."""
        refused = models.Field.get_class_lookups().keys() - LOOKUPS
        lookups = super().get_lookups()
        return {name: lookup for name, lookup in lookups.items() if name not in refused}

    # Python values

    def to_python(self, value: object) -> Any:
        if self._is_null(value):
            return None
        packed = self.values.pack(value, self.dimensions)
        return self.values.unpack_numpy(packed) if self.numpy else self.values.unpack(packed)

    def _is_null(self, value: object) -> bool:
        """Whether a value is None, or the text that ``value_to_string()`` makes of it."""
        return value is None or (self.null and isinstance(value, str) and not value.strip())

    def pre_save(self, model_instance: models.Model, add: bool) -> object:
        value = super().pre_save(model_instance, add)
        if hasattr(value, "__next__"):  # it can be read once only, and the instance keeps it
            with self.named_errors():
                value = self.values.held(value, self.dimensions)
            setattr(model_instance, self.attname, value)
        return value

    def value_to_string(self, obj: models.Model) -> str:
        packed = self.get_prep_value(self.value_from_object(obj))
        return "" if packed is None else self.values.to_text(packed)

    def formfield(self, **kwargs: Any) -> Any:
        defaults = {
            "form_class": forms.VectorField,
            "dimensions": self.dimensions,
            "kind": self.kind,
        }
        return super().formfield(**{**defaults, **kwargs})

    # Values in SQL

    @property
    def prepares_as_declared(self) -> bool:
        """Whether values are prepared as here, and not by an override of the project's."""
        cls = type(self)
        return all(getattr(cls, name) is getattr(AnyVectorField, name) for name in PREPARES)

    def get_prep_value(self, value: object) -> Any:
        value = super().get_prep_value(value)
        if value is None or hasattr(value, "as_sql"):
            return value
        try:
            return self.values.pack(value, self.dimensions)
        except ValidationError as error:
            raise self.named(error) from None

    def get_db_prep_save(self, value: object, connection: BaseDatabaseWrapper) -> object:
        return super().get_db_prep_save(None if self._is_null(value) else value, connection)

    def pack(self, value: object) -> Any:
        """
        A value to be saved, unless it is an expression, as a packed vector; None for NULL.

        Raises ValidationError that names the field.
        """
        return None if self._is_null(value) else self.get_prep_value(value)

    def named(self, error: ValidationError) -> ValidationError:
        """The same error, naming the field; forms and clean() do so themselves."""
        if getattr(self, "model", None) is None:  # the output_field of an expression
            return error
        message = f"{self.model._meta.label}.{self.name}: {error.message}"
        return ValidationError(message, code=error.code, params=error.params)

    @contextlib.contextmanager
    def named_errors(self) -> Iterator[None]:
        """A block whose ValidationErrors name the field."""
        try:
            yield
        except ValidationError as error:
            raise self.named(error) from None

    def get_db_prep_value(
        self, value: object, connection: BaseDatabaseWrapper, prepared: bool = False
    ) -> object:
        value = value if prepared else self.get_prep_value(value)
        if value is None or hasattr(value, "as_sql"):
            return value
        return engine_for(connection).parameter(value, self.kind)

    def get_placeholder(
        self, value: Any, compiler: SQLCompiler, connection: BaseDatabaseWrapper
    ) -> str:
        if hasattr(value, "as_sql"):
            refuse_misused(value, compiler.query, connection)
            return self._assigned("%s", value, connection)
        return engine_for(connection).placeholder(self.kind, self.dimensions)

    def get_placeholder_sql(
        self, value: Any, compiler: SQLCompiler, connection: BaseDatabaseWrapper
    ) -> Compiled:
        """The same for Django 6.1, which compiles expressions here."""
        if hasattr(value, "as_sql"):
            refuse_misused(value, compiler.query, connection)
            sql, params = compiler.compile(value)
            return self._assigned(sql, value, connection), params
        return engine_for(connection).placeholder(self.kind, self.dimensions), (value,)

    def _assigned(self, sql: str, value: Any, connection: Any) -> str:
        """The SQL of an expression, converted to the kind of the field if it has another."""
        engine = engine_for(connection)
        field = output_field_of(value)
        kind = getattr(getattr(field, "output_field", None) or field, "kind", self.kind)
        if (kind, self.kind) not in engine.conversions:
            return sql
        return engine.converted(Operand(sql, kind=kind), self.kind).sql

    def select_format(  # type: ignore[override]
        self, compiler: SQLCompiler, sql: str, params: Sequence[object]
    ) -> Compiled:
        refuse_misuse(compiler)
        if not compiler.query.subquery:
            sql = engine_for(compiler.connection).select_sql(sql, self.kind)
        return sql, params

    def get_db_converters(self, connection: BaseDatabaseWrapper) -> list[Any]:
        return [engine_for(connection).reader(self)]

    def from_db_value(
        self, value: object, expression: Expression, connection: BaseDatabaseWrapper
    ) -> Read | None:
        if value is None:
            return None
        engine = engine_for(connection)
        if isinstance(value, int | float):
            raise NotSupportedError(
                f"{engine.label} computed {value!r} from vectors, where a vector was expected; "
                "use the functions and aggregates of dorm_vector."
            )
        with self.named_errors():
            read: Read = self._read(value, engine)
        return read

    def _read(self, value: Any, engine: Any) -> Any:
        try:
            decoded = engine.decode(value, self.kind, self.dimensions)
        except (ValueError, struct.error):
            raise ValidationError(
                f"Expected {self.dimensions} {self.values.unit}, not {len(value)} bytes.",
                code="dimensions",
            ) from None
        read = self.values.read(decoded, self.dimensions)
        return self.values.as_numpy(decoded) if self.numpy else read
