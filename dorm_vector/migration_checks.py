"""System checks of a project's migrations, read from its files: no database is queried."""

from __future__ import annotations

import pkgutil
import re
from collections.abc import Iterator, Sequence
from importlib import import_module
from itertools import takewhile
from typing import Any

from django.apps import apps
from django.core import checks
from django.core.checks import CheckMessage
from django.db.migrations import Migration
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations import (
    AddField,
    AddIndex,
    CreateModel,
    RunSQL,
    SeparateDatabaseAndState,
)

from dorm_vector.engines import engines_of
from dorm_vector.fields import AnyVectorField
from dorm_vector.indexes import IvfflatIndex
from dorm_vector.methods import vector_field

__all__ = ["check_empty_clusters", "check_extension_migrations"]

CREATES = re.compile(r"create\s+extension\b.*\bvector\b", re.IGNORECASE | re.DOTALL)

Key = tuple[str, str]


class Migrations:
    """The migrations of a project by app and name, each app's read on demand."""

    def __init__(self) -> None:
        self.apps: dict[str, dict[str, Migration]] = {}

    def of(self, label: str) -> dict[str, Migration]:
        """The migrations of an app in the order of their names; none if they cannot be read."""
        if label not in self.apps:
            self.apps[label] = dict(self._read(label))
        return self.apps[label]

    def _read(self, label: str) -> Iterator[tuple[str, Migration]]:
        path, _ = MigrationLoader.migrations_module(label)
        try:
            package: Any = import_module(path) if path else None
        except ImportError:
            return
        for found in pkgutil.iter_modules(getattr(package, "__path__", ())):
            if not found.ispkg and found.name[0] not in "_~":
                module: Any = import_module(f"{path}.{found.name}")
                if hasattr(module, "Migration"):
                    yield found.name, module.Migration(found.name, label)

    def before(self, key: Key) -> list[Migration]:
        """A migration, and all that it depends on."""
        found: dict[Key, Migration] = {}
        waiting = [key]
        while waiting:
            label, name = waiting.pop()
            migration = self._named(label, name)
            if migration is None or (label, migration.name) in found:
                continue
            found[label, migration.name] = migration
            waiting += [(str(app), str(other)) for app, other in map(tuple, migration.dependencies)]
        return list(found.values())

    def _named(self, label: str, name: str) -> Migration | None:
        if label not in apps.app_configs:  # a swappable dependency, or an app that is gone
            return None
        known = self.of(label)
        if name in ("__first__", "__latest__"):
            return next(
                iter(known.values() if name == "__first__" else [*known.values()][::-1]), None
            )
        return known.get(name)


def check_extension_migrations(
    app_configs: Sequence[Any] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """Find apps whose first vector column is made before the extension is installed."""
    migrations = Migrations()
    return [
        checks.Warning(
            f"The migration {key[0]}.{key[1]} makes a vector column, and no migration before it "
            f"installs the extension vector (database {alias!r}).",
            hint=f"Put VectorExtension() of dorm_vector.operations first into the operations of "
            f"{key[1]}, or silence this where an administrator installs the extension.",
            id="dorm_vector.W112",
        )
        for label, alias in _apps_in_need(app_configs).items()
        if (key := _first_vector(migrations, label))
        if not _installed_by(migrations, key)
    ]


def _apps_in_need(app_configs: Sequence[Any] | None) -> dict[str, str]:
    """The apps with vectors in a database that needs an extension, with its alias."""
    found: dict[str, str] = {}
    for model in _models(app_configs):
        if any(vector_field(model, field.name) for field in model._meta.local_concrete_fields):
            for alias, engine in engines_of(model):
                if engine.needs_extension:
                    found.setdefault(model._meta.app_label, alias)
    return found


def _models(app_configs: Sequence[Any] | None) -> Iterator[Any]:
    for model in apps.get_models():
        known = app_configs is None or model._meta.app_config in app_configs
        if known and model._meta.managed and not model._meta.proxy:
            yield model


def _first_vector(migrations: Migrations, label: str) -> Key | None:
    for name, migration in migrations.of(label).items():
        if any(map(_makes_vectors, _operations(migration))):
            return label, name
    return None


def _installed_by(migrations: Migrations, key: Key) -> bool:
    """Whether the extension is there before a migration makes its first vector column."""
    migration, *others = migrations.before(key)
    before = takewhile(lambda each: not _makes_vectors(each), _operations(migration))
    return any(map(_installs, before)) or any(
        _installs(operation) for other in others for operation in _operations(other)
    )


def _makes_vectors(operation: Any) -> bool:
    fields = [field for _, field in operation.fields] if isinstance(operation, CreateModel) else []
    fields += [operation.field] if isinstance(operation, AddField) else []
    return any(isinstance(field, AnyVectorField) for field in fields)


def _installs(operation: Any) -> bool:
    if isinstance(operation, RunSQL):
        return CREATES.search(str(operation.sql)) is not None
    # Those of Django, of this package and of pgvector have that name.
    is_extension = type(operation).__name__.endswith("Extension")
    return is_extension and getattr(operation, "name", "vector") == "vector"


def _operations(migration: Migration) -> Iterator[Any]:
    """What a migration does to the database."""
    for operation in migration.operations:
        if isinstance(operation, SeparateDatabaseAndState):
            yield from operation.database_operations
        else:
            yield operation


def check_empty_clusters(
    app_configs: Sequence[Any] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """Find IvfflatIndexes that are built with their table: the clusters are those of no rows."""
    migrations = Migrations()
    return [
        checks.Warning(
            f"The migration {model._meta.app_label}.{name} makes the table of {model._meta.label} "
            f"and its IvfflatIndex {index.name!r}, whose clusters are then computed from no rows.",
            hint="Add the index in a later migration, once the table has its data.",
            obj=model,
            id="dorm_vector.W113",
        )
        for model in _models(app_configs)
        for index in model._meta.indexes
        if isinstance(index, IvfflatIndex) and _is_built(model, index)
        for name, migration in migrations.of(model._meta.app_label).items()
        if _makes_both(migration, model, index)
    ]


def _is_built(model: Any, index: Any) -> bool:
    return any(index.method in engine.index_methods for _, engine in engines_of(model))


def _makes_both(migration: Migration, model: Any, index: Any) -> bool:
    name = model._meta.model_name
    tables = [
        operation
        for operation in _operations(migration)
        if isinstance(operation, CreateModel) and operation.name_lower == name
    ]
    added = [
        operation.index.name
        for operation in _operations(migration)
        if isinstance(operation, AddIndex) and operation.model_name_lower == name
    ]
    for table in tables:
        added += [each.name for each in table.options.get("indexes", ())]
    return bool(tables) and index.name in added
