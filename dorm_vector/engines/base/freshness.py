"""
FreshVector in a schema editor: triggers that follow their table through every change.

A trigger is made when its statement runs: only then is it known what has its name.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

from django.core.exceptions import FieldError
from django.db import NotSupportedError, ProgrammingError, connections, router
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.backends.ddl_references import Columns, Statement
from django.db.models import BaseConstraint, Field, Model

__all__ = [
    "EngineFreshness",
    "FreshnessEditor",
    "FreshnessStatement",
    "Written",
    "asked_first",
    "fresh_vectors",
]


class Written(Columns):
    """SQL about quoted columns, which follows them when they are renamed."""

    def __init__(
        self,
        table: str,
        columns: list[str],
        quote_name: Callable[[str], str],
        write: Callable[[list[str]], str],
    ) -> None:
        super().__init__(table, columns, quote_name)
        self.write = write

    def __str__(self) -> str:
        return self.write([self.quote_name(column) for column in self.columns])


class FreshnessStatement(Statement):
    """The statements that make or remove the trigger of a FreshVector."""

    def __init__(self, name: str, templates: tuple[str, ...], /, **parts: Any) -> None:
        super().__init__(";\n".join(templates), **parts)
        self.name = name
        self.templates = templates

    @property
    def table(self) -> str:
        return str(self.parts["table"].table)

    def statements(self, **others: Any) -> list[str]:
        """The statements one by one, with ``others`` in place of parts."""
        parts = {**self.parts, **others}
        return [template % parts for template in self.templates]

    def refuse(self, object_type: str, alias: str) -> None:
        raise ProgrammingError(
            f"The constraint {self.name!r} of the table {self.table!r} needs that name, but the "
            f"database {alias!r} has a {object_type} of that name that dorm_vector did not make: "
            "rename one of them."
        )


def fresh_vectors(model: type[Model]) -> list[Any]:
    """The FreshVectors of a model."""
    return [each for each in model._meta.constraints if getattr(each, "keeps_fresh", False)]


def asked_first(model: type[Model]) -> str | None:
    """The first database that a model belongs to: what is wrong with it is said for that one."""
    return next((alias for alias in connections if router.allow_migrate_model(alias, model)), None)


class EngineFreshness:
    """The part of an engine that makes triggers for FreshVector; this one makes none."""

    label: str
    connection: Any

    #: Whether something of a FreshVector stays when its table is dropped.
    freshness_outlives_table: ClassVar[bool] = False

    def create_freshness(
        self,
        constraint: BaseConstraint,
        model: type[Model],
        schema_editor: BaseDatabaseSchemaEditor,
    ) -> Statement:
        """The statement that makes the trigger of a FreshVector. Raises NotSupportedError."""
        raise NotSupportedError(
            f"dorm_vector knows no triggers for {self.label}: {constraint.name!r} cannot be made "
            f"there (database {self.connection.alias!r})."
        )

    def remove_freshness(
        self,
        constraint: BaseConstraint,
        model: type[Model],
        schema_editor: BaseDatabaseSchemaEditor,
    ) -> Statement:
        """The statement that removes it."""
        return self.create_freshness(constraint, model, schema_editor)

    def follow_field(
        self, model: type[Model], old: Any, new: Any, schema_editor: BaseDatabaseSchemaEditor
    ) -> None:
        """Have the FreshVectors of a model follow a column, if they do not by themselves."""

    def kept_freshness(
        self, model: type[Model], altered: Any, schema_editor: BaseDatabaseSchemaEditor
    ) -> dict[str, Any]:
        """The statements for the triggers that the model of a remade table cannot make, by name."""
        return {}

    def settle_freshness(self, statement: Any) -> list[str]:
        """
        What is sent for one of these statements, now that the database may be queried.

        Raises ProgrammingError if the name belongs to something that was not made here.
        """
        return list(statement.statements())


class FreshnessEditor:
    """The part of a schema editor that handles FreshVector."""

    connection: Any
    #: The engine of the connection.
    engine: Any
    collect_sql: bool
    deferred_sql: list[Any]
    #: Whether a table is being rebuilt.
    remakes = False
    #: The new names of fields while their table is rebuilt, by the old ones.
    renames: dict[str, str] = {}

    def execute(self, sql: str, params: Any = ()) -> None:
        if not isinstance(sql, FreshnessStatement):
            super().execute(sql, params)  # type: ignore[misc]
            return
        settled = sql.statements() if self.collect_sql else self.engine.settle_freshness(sql)
        for statement in settled:
            super().execute(statement, None)  # type: ignore[misc]

    def defer_freshness(self, constraint: Any, model: Any) -> None:
        """Make a trigger once its table is there, with the rows of the one that it replaces."""
        known = {field.name for field in model._meta.local_fields}
        names = {old: new for old, new in self.renames.items() if old not in known}
        # A name that it has already was another field's, before an earlier RenameField.
        taken = {constraint.field, *constraint.of}.intersection(names.values())
        constraint = constraint if taken else constraint.renamed(names)
        if self.remakes and (taken or constraint.misfit(model)):
            return  # its fields were renamed earlier: the trigger's own SQL is kept
        self.deferred_sql.append(constraint.create_sql(model, self))

    def forget(self, model: type[Model], declared: Any) -> bool:
        """
        Whether an index or a constraint was waiting to be made, and now is not to be made any more.

        What is declared with its table is made at the end of the migration, and may be renamed or
        removed before that.
        """
        wanted = (type(declared), declared.name)
        waiting = [
            statement
            for statement in self.deferred_sql
            if (made := getattr(statement, "makes", None)) and (type(made), made.name) == wanted
            # Another model may get an index of the name that this one gives up.
            if statement.references_table(model._meta.db_table)
        ]
        for statement in waiting:
            self.deferred_sql.remove(statement)
        return bool(waiting)

    # Django rebuilds the table on SQLite for any constraint but a unique one.

    def add_constraint(self, model: Any, constraint: Any) -> None:
        if getattr(constraint, "keeps_fresh", False):
            self.execute(constraint.create_sql(model, self), None)
            return
        super().add_constraint(model, constraint)  # type: ignore[misc]

    def remove_constraint(self, model: Any, constraint: Any) -> None:
        if getattr(constraint, "keeps_fresh", False):
            if not self.forget(model, constraint):
                self.execute(constraint.remove_sql(model, self), None)
            return
        super().remove_constraint(model, constraint)  # type: ignore[misc]

    def delete_model(self, model: type[Model], *args: object, **kwargs: object) -> None:
        removals = [
            constraint.remove_sql(model, self)
            for constraint in fresh_vectors(model)
            if self.engine.freshness_outlives_table
        ]
        for removal in removals:
            self.execute(removal, None)
        super().delete_model(model, *args, **kwargs)  # type: ignore[misc]

    def remove_field(self, model: type[Model], field: Field) -> None:
        for constraint in fresh_vectors(model):
            if constraint.reads(model, field.name):
                raise NotSupportedError(
                    f"{model._meta.object_name}.{field.name} cannot be removed while the "
                    f"constraint {constraint.name!r} reads it: remove the constraint first."
                )
        super().remove_field(model, field)  # type: ignore[misc]

    def alter_field(self, model: Any, old_field: Any, new_field: Any, strict: bool = False) -> None:
        self._refuse_misfits(model, old_field, new_field)
        with self.renaming([(old_field, new_field)]):
            super().alter_field(model, old_field, new_field, strict)  # type: ignore[misc]
        for statement in self.deferred_sql:
            if isinstance(statement, FreshnessStatement):  # as Django does on other databases
                columns = (old_field.column, new_field.column)
                statement.rename_column_references(model._meta.db_table, *columns)
        if self._types(old_field) != self._types(new_field):
            if fresh_vectors(model):
                self.engine.follow_field(model, old_field, new_field, self)
            self._follow_relations(new_field)

    def _refuse_misfits(self, model: Any, old: Any, new: Any) -> None:
        """Raise FieldError if a constraint would no longer fit its model."""
        for constraint in fresh_vectors(model):
            if not constraint.reads(model, old.name) or constraint.misfit(model):
                continue  # a RenameField before has left it with names that may be others' now
            after = constraint.renamed({old.name: new.name})
            if sentence := after.misfit(getattr(new, "model", model)):
                raise FieldError(sentence)

    def _follow_relations(self, field: Any) -> None:
        """Columns that refer to this one have its type: Django alters them along with it."""
        model = getattr(field, "model", None)
        for relation in model._meta.related_objects if model else ():
            key = relation.field
            if not relation.many_to_many and field in key.foreign_related_fields:
                if fresh_vectors(key.model):
                    self.engine.follow_field(key.model, key, key, self)
                if key.unique and key.model is not model:
                    self._follow_relations(key)

    def _types(self, field: Field) -> tuple[Any, Any]:
        return field.column, field.db_type(self.connection)

    @contextlib.contextmanager
    def renaming(self, altered: Any) -> Iterator[None]:
        """A block in which a model has fields by their old names, and its table by their new."""
        before = self.renames
        self.renames = {old.name: new.name for old, new in altered if old.name != new.name}
        try:
            yield
        finally:
            self.renames = before
