"""Migration operations."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from django.core.exceptions import FieldError, ImproperlyConfigured
from django.db import NotSupportedError, router, transaction
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations import AddIndex, AlterField, RemoveField
from django.db.migrations.operations.base import Operation, OperationCategory
from django.db.migrations.state import ProjectState

from dorm_vector.engines import engine_for
from dorm_vector.engines.base.schema import VectorAlterations, described, differ, typed
from dorm_vector.indexes import declared_indexes
from dorm_vector.kinds import DENSE_KINDS
from dorm_vector.sql import Operand

__all__ = ["AddPartitionedIndexConcurrently", "ChangeVectorDimensions", "VectorExtension"]

#: What ChangeVectorDimensions may do with existing vectors.
EXISTING = ("null", "truncate", "fail")


class VectorExtension(Operation):
    """
    Install vector support in the database.

    On PostgreSQL ``CREATE EXTENSION IF NOT EXISTS vector``, in the ``schema`` if one is named, and
    DROP EXTENSION backwards. On SQLite sqlite-vec is loaded here and into every later connection.
    Nothing elsewhere. Both directions may run any number of times. ``hints`` go to the database
    routers' ``allow_migrate()``.

    ``name`` is that of another extension of PostgreSQL over pgvector, such as "vectorscale": it is
    created with those that it needs, and is nothing on other databases. Backwards it is dropped
    alone. Raises ValueError for a name that is none.
    """

    reversible = True
    category = OperationCategory.ADDITION

    def __init__(
        self,
        hints: dict[str, object] | None = None,
        *,
        schema: str | None = None,
        name: str = "vector",
    ) -> None:
        if not isinstance(name, str) or not name.strip():
            raise ValueError(f"VectorExtension() takes the name of an extension, not {name!r}.")
        self.hints = dict(hints or {})
        self.schema, self.name = schema, name

    def deconstruct(self) -> tuple[str, list[object], dict[str, object]]:
        given = {"hints": self.hints, "schema": self.schema}
        if self.is_other:
            given["name"] = self.name
        return type(self).__name__, [], {name: value for name, value in given.items() if value}

    @property
    def is_other(self) -> bool:
        """Whether it is for another extension than pgvector."""
        return self.name != "vector"

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        """The state of the models does not change."""

    def database_forwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        if self._allowed(app_label, schema_editor):
            engine = engine_for(schema_editor.connection)
            given = {"schema": self.schema} if self.schema else {}
            if self.is_other:
                engine.enable_other(self.name, schema_editor, **given)
            else:
                engine.enable(schema_editor, **given)

    def database_backwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        if self._allowed(app_label, schema_editor):
            engine = engine_for(schema_editor.connection)
            if self.is_other:
                engine.disable_other(self.name, schema_editor)
            else:
                engine.disable(schema_editor)

    def describe(self) -> str:
        if self.is_other:
            return f"Install the extension {self.name} (PostgreSQL)"
        return "Install vector support (pgvector or sqlite-vec)"

    @property
    def migration_name_fragment(self) -> str:
        return f"enable_{self.name.lower()}" if self.is_other else "enable_pgvector"

    def _allowed(self, app_label: str, schema_editor: BaseDatabaseSchemaEditor) -> bool:
        return router.allow_migrate(schema_editor.connection.alias, app_label, **self.hints)


class AddPartitionedIndexConcurrently(AddIndex):
    """
    Add an index to a partitioned table while searches and writes go on.

    PostgreSQL refuses ``CREATE INDEX CONCURRENTLY`` on a partitioned table. So the index is made
    on it alone, then by ``CREATE INDEX CONCURRENTLY`` on each partition, whose index is attached.
    Where that was interrupted, migrating again goes on: what was built stays, and what was left
    INVALID is built again. A table without partitions gets the index as by ``AddIndex``, and so
    does another database. Backwards it is dropped with all of its parts.

    Needs ``atomic = False`` in the migration: NotSupportedError within a transaction of
    PostgreSQL's. Raises ProgrammingError where the index is there with another definition, and
    OperationalError where another session builds a part of it.
    """

    atomic = False

    def describe(self) -> str:
        return f"Concurrently, on each partition: {super().describe()}"

    def database_forwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        model = to_state.apps.get_model(app_label, self.model_name)
        if self.allow_migrate_model(schema_editor.connection.alias, model):
            engine = engine_for(schema_editor.connection)
            engine.add_index_by_parts(model, self.index, schema_editor)


class ChangeVectorDimensions(AlterField):
    """
    Alter a vector field to other dimensions, or to another kind, while it holds vectors.

    ``field`` is the new field. ``existing`` says what becomes of the vectors:

    - ``"null"``: they become NULL until another model embeds them. Backwards too.
    - ``"truncate"``: the first dimensions are kept, as Matryoshka embeddings allow, and
      converted between vectors and half vectors. Backwards the vectors become NULL, unless all
      dimensions are there.
    - ``"fail"``: NotSupportedError in both directions where there are any, before anything is
      changed.

    Indexes are rebuilt, a FreshVector stays, and all of it is one transaction. Raises ValueError
    for invalid arguments, and NotSupportedError for vectors that cannot be converted.
    """

    def __init__(self, model_name: str, name: str, field: Any, existing: str = "null") -> None:
        label = f"ChangeVectorDimensions({model_name!r}, {name!r})"
        if existing not in EXISTING:
            raise ValueError(
                f"{label} needs one of {', '.join(map(repr, EXISTING))} as existing=, not "
                f"{existing!r}."
            )
        if not getattr(field, "holds_vectors", False):
            raise ValueError(f"{label} takes a vector field, not {field!r}.")
        if existing == "null" and not field.null:
            raise ValueError(
                f"{label} makes the vectors NULL, but the field has no null=True: add it, or use "
                "existing='truncate' or 'fail'."
            )
        super().__init__(model_name, name, field)
        self.existing = existing

    def deconstruct(self) -> tuple[str, list[object], dict[str, object]]:
        kwargs = {"model_name": self.model_name, "name": self.name, "field": self.field}
        return type(self).__name__, [], {**kwargs, "existing": self.existing}

    def describe(self) -> str:
        size = typed(self.field)
        return f"Change field {self.name} on {self.model_name} to {size} ({self.existing})"

    def reduce(self, operation: Operation, app_label: str) -> Any:
        if isinstance(operation, RemoveField) and self.is_same_field_operation(operation):
            return [operation]
        # A later AlterField does not know what becomes of the vectors.
        return not operation.references_field(self.model_name, self.name, app_label)

    def database_forwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        self._migrate(app_label, schema_editor, from_state, to_state)

    def database_backwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        self._migrate(app_label, schema_editor, from_state, to_state, backwards=True)

    def _migrate(
        self,
        app_label: str,
        schema_editor: Any,
        from_state: ProjectState,
        to_state: ProjectState,
        backwards: bool = False,
    ) -> None:
        to_model = to_state.apps.get_model(app_label, self.model_name)
        if self.allow_migrate_model(schema_editor.connection.alias, to_model):
            from_model = from_state.apps.get_model(app_label, self.model_name)
            lost = backwards and self._loses(from_model, to_model)
            _require_alterations(schema_editor)
            with transaction.atomic(schema_editor.connection.alias):
                self._change(schema_editor, from_model, to_model, "null" if lost else self.existing)

    def _loses(self, model: Any, to_model: Any) -> bool:
        """Whether dimensions that were cut off would have to come back."""
        old, new = (each._meta.get_field(self.name) for each in (model, to_model))
        lossless = old.dimensions == new.dimensions and {old.kind, new.kind} <= set(DENSE_KINDS)
        return self.existing == "truncate" and not lossless

    def _change(self, schema_editor: Any, model: Any, to_model: Any, existing: str) -> None:
        old, new = model._meta.get_field(self.name), to_model._meta.get_field(self.name)
        _check_model(model, old, new)
        convert: Callable[[str], str] = _nothing
        if existing == "truncate":
            _check_truncated(model, old, new)
            convert = partial(_truncated, schema_editor, old, new)
        elif not schema_editor.collect_sql:
            _check_rows(schema_editor, model, old, new, existing)
        if not differ(old, new):
            schema_editor.alter_field(model, old, new)
            if existing == "null":
                schema_editor.clear_vectors(to_model, new)
            return
        for index in declared_indexes(old):
            index.opclasses_for(to_model)  # a misfit is refused before anything changes
        if existing == "fail":
            schema_editor.alter_field(model, old, new)
        else:
            schema_editor.change_vectors(model, old, new, convert)


def _require_alterations(schema_editor: Any) -> None:
    if not isinstance(schema_editor, VectorAlterations):
        raise ImproperlyConfigured(
            f"The schema editor {type(schema_editor).__name__} does not know vectors: add "
            "'dorm_vector' to INSTALLED_APPS, or open the connection before its schema editor."
        )


def _check_model(model: Any, old: Any, new: Any) -> None:
    """Refuse fields that are not vectors, and those that others are computed from."""
    name = f"{model._meta.object_name}.{old.name}"
    if not getattr(old, "holds_vectors", False):
        raise FieldError(f"ChangeVectorDimensions is for vector fields, and {name} is not one.")
    for field in model._meta.local_fields:
        references = model._get_expr_references(field.expression) if field.generated else ()
        if any(reference[0] == old.name for reference in references):
            raise NotSupportedError(
                f"{name} cannot become {typed(new)} while {field.name} is computed from it: "
                "remove that field first, and add it again afterwards."
            )


def _check_truncated(model: Any, old: Any, new: Any) -> None:
    """Refuse kinds without numbers, and more dimensions."""
    if not {old.kind, new.kind} <= set(DENSE_KINDS) or new.dimensions > old.dimensions:
        raise NotSupportedError(
            f"{described(model, old)}, which cannot be truncated to {typed(new)}: use "
            "existing='null'."
        )


def _nothing(column: str) -> str:
    return "NULL"


def _truncated(schema_editor: Any, old: Any, new: Any, column: str) -> str:
    """SQL of the first dimensions of a column."""
    engine, vector = engine_for(schema_editor.connection), Operand(column, kind=old.kind)
    if new.dimensions < old.dimensions:
        first = engine.function("subvector", [vector], {"start": 1, "length": new.dimensions})
        vector = vector._replace(sql=first.sql)
    return engine.converted(vector, new.kind).sql


def _check_rows(schema_editor: Any, model: Any, old: Any, new: Any, existing: str) -> None:
    """Refuse to leave rows without a vector that they need, or with one of another size."""
    if existing == "fail" and differ(old, new) and schema_editor.holds_vectors(model, old):
        raise NotSupportedError(
            f"{described(model, old)}, and existing='fail' makes them neither NULL nor "
            f"{typed(new)}: use 'null' or 'truncate'."
        )
    if existing == "null" and not new.null and schema_editor.holds_rows(model):
        raise NotSupportedError(
            f"{described(model, old)}, which cannot become {typed(new)}, and the field has no "
            "null=True: delete the rows, or restore the vectors from a backup."
        )
