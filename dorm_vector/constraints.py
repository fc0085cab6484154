"""Constraints: what the database itself enforces, whoever writes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

from django.core.checks import CheckMessage, Error
from django.core.exceptions import FieldDoesNotExist, FieldError, ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.backends.ddl_references import Statement
from django.db.models import BaseConstraint, Field, Model

from dorm_vector.engines import engine_for
from dorm_vector.engines.base.freshness import asked_first, fresh_vectors
from dorm_vector.types import Deconstructed

__all__ = ["FreshVector"]

# PostgreSQL truncates longer names without an error.
MAX_NAME_BYTES = 63


class FreshVector(BaseConstraint):
    """
    A vector that is never out of date: it is NULL, or was written with or after its sources.

    ``field`` names a vector field with ``null=True``, and ``of`` the fields whose contents it
    was computed from, all of one table. Where a statement changes one of the sources, and leaves
    the vector as it was, a trigger makes the vector NULL: ``save()``, which writes the old vector
    again, ``update()``, ``bulk_update()``, UPSERTs, raw SQL and other programs alike. A vector
    that differs from the old one is taken to be made from the new sources.

    Values are compared byte by byte, whatever the collation of a column. Raises ValueError for a
    declaration that no table could have; a system check compares it with the model.
    """

    #: For those who look at constraints of any type.
    keeps_fresh: ClassVar[bool] = True

    def __init__(self, *, field: str, of: Sequence[str], name: str) -> None:
        super().__init__(name=name)
        self.field = field
        self.of = of if isinstance(of, str) else tuple(of)
        self._check_declaration()

    def _check_declaration(self) -> None:
        if not isinstance(self.name, str) or not self.name or set('"\0') & set(self.name):
            raise ValueError(
                f"FreshVector needs a name, without quotation marks or NUL, not {self.name!r}."
            )
        label = f"FreshVector(name={self.name!r})"
        if not isinstance(self.field, str) or not self.field:
            raise ValueError(f"{label} takes the name of a field, not {self.field!r}.")
        named = not isinstance(self.of, str) and all(isinstance(each, str) for each in self.of)
        if not named or not self.of:
            raise ValueError(f"{label} takes a list of field names as of=, not {self.of!r}.")
        if twice := sorted({each for each in self.of if self.of.count(each) > 1}):
            raise ValueError(f"{label} names {twice[0]!r} twice in of.")
        if self.field in self.of:
            raise ValueError(f"{label} has {self.field!r} among its own sources.")

    def deconstruct(self) -> Deconstructed:
        path = f"{type(self).__module__}.{type(self).__qualname__}"
        return path, (), {"field": self.field, "of": list(self.of), "name": self.name}

    def __eq__(self, other: object) -> bool:
        if isinstance(other, FreshVector):
            return bool(self.deconstruct() == other.deconstruct())
        return NotImplemented

    def __hash__(self) -> int:
        return hash((self.name, self.field, self.of))

    def __repr__(self) -> str:
        return f"<FreshVector: field={self.field!r} of={list(self.of)!r} name={self.name!r}>"

    # The fields of a model

    def vector_in(self, model: type[Model]) -> Field:
        """The field of the vector. Raises FieldError if the model's table does not have it."""
        field = self._local(model, self.field)
        if not getattr(field, "holds_vectors", False):
            raise self._misfit(model, self.field, "holds no vectors")
        if not field.null:
            raise self._misfit(
                model, self.field, "cannot become NULL when its sources change; add null=True"
            )
        return field

    def sources_in(self, model: type[Model]) -> list[Field]:
        """The fields of the sources. Raises FieldError if the table lacks one."""
        return [self._local(model, name) for name in self.of]

    def misfit(self, model: type[Model]) -> str | None:
        """Why the model cannot have the constraint, in one sentence; None if it can."""
        if len(self.name.encode()) > MAX_NAME_BYTES:
            return f"The name {self.name!r} of a FreshVector is over {MAX_NAME_BYTES} bytes long."
        try:
            self.vector_in(model)
            self.sources_in(model)
        except FieldError as error:
            return str(error)
        return None

    def check(self, model: Any, connection: Any = None) -> list[CheckMessage]:
        """The system check; of databases the first one says it, since Django asks for each."""
        if connection is not None and connection.alias != asked_first(model):
            return []
        sentence = self.misfit(model) or self._early(model)
        return [Error(sentence, obj=model, id="dorm_vector.E121")] if sentence else []

    _check = check  # before Django 6.0

    def _early(self, model: Any) -> str | None:
        """Why a vector that is computed from another fresh one would not follow it everywhere."""
        for other in fresh_vectors(model):
            # By their bytes: PostgreSQL runs triggers in the order of their names.
            if other.field in self.of and other.name.encode() > self.name.encode():
                return (
                    f"FreshVector {self.name!r} reads {other.field!r}, which {other.name!r} makes "
                    "NULL, and triggers run in the order of their names: give it one after "
                    f"{other.name!r}."
                )
        return None

    def renamed(self, names: Mapping[str, str]) -> FreshVector:
        """The same constraint after renames; ``names`` has the new names by the old ones."""
        return type(self)(
            field=names.get(self.field, self.field),
            of=[names.get(each, each) for each in self.of],
            name=self.name,
        )

    def reads(self, model: type[Model], name: str) -> bool:
        """Whether ``name`` is the vector, a source, or what a source is computed from."""
        return name == self.field or any(name in _computed_from(model, each) for each in self.of)

    def _local(self, model: type[Model], name: str) -> Field:
        try:
            field = model._meta.get_field(name)
        except FieldDoesNotExist:
            raise self._misfit(model, name, "does not exist") from None
        if field.many_to_many or getattr(field, "column", None) is None:
            raise self._misfit(model, name, "has no column")
        if field.name != name:
            raise self._misfit(model, name, f"is a column; name its field, {field.name!r}")
        if field not in model._meta.local_fields:
            of = field.model._meta.label
            raise self._misfit(model, name, f"is in another table, that of {of}")
        return field

    def _misfit(self, model: type[Model], name: str, why: str) -> FieldError:
        label = model._meta.object_name
        return FieldError(f"FreshVector {self.name!r}: {label}.{name} {why}.")

    # The database

    def create_sql(  # type: ignore[override]
        self, model: type[Model], schema_editor: BaseDatabaseSchemaEditor
    ) -> Statement:
        if sentence := self.misfit(model):
            raise FieldError(sentence)
        engine = engine_for(_required(schema_editor).connection)
        statement = engine.create_freshness(self, model, schema_editor)
        vars(statement)["makes"] = self
        return statement

    def remove_sql(  # type: ignore[override]
        self, model: type[Model], schema_editor: BaseDatabaseSchemaEditor
    ) -> Statement:
        engine = engine_for(_required(schema_editor).connection)
        return engine.remove_freshness(self, model, schema_editor)

    def constraint_sql(  # type: ignore[override]
        self, model: type[Model], schema_editor: BaseDatabaseSchemaEditor
    ) -> None:
        """Nothing in CREATE TABLE: a trigger is made after its table."""
        _required(schema_editor).defer_freshness(self, model)

    def validate(
        self,
        model: type[Model],
        instance: Model,
        exclude: Iterable[str] | None = None,
        using: str = DEFAULT_DB_ALIAS,
    ) -> None:
        """Whatever an instance holds may be written."""


def _required(schema_editor: BaseDatabaseSchemaEditor) -> Any:
    """The same editor. Raises ImproperlyConfigured if it would not run the statements."""
    if hasattr(schema_editor, "defer_freshness"):
        return schema_editor
    raise ImproperlyConfigured(
        f"The schema editor {type(schema_editor).__name__} does not know FreshVector: add "
        "'dorm_vector' to INSTALLED_APPS, or open the connection before its schema editor."
    )


def _computed_from(model: type[Model], name: str) -> Iterator[str]:
    """The names of a field and of the fields that the database computes it from."""
    yield name
    try:
        field: Any = model._meta.get_field(name)
    except FieldDoesNotExist:
        return
    if field.generated:
        for reference, *_ in model._get_expr_references(field.expression):  # type: ignore[attr-defined]
            yield from _computed_from(model, reference)
