"""The migration that holds VectorExtension, for the commands that write it."""

from __future__ import annotations

from django.apps import apps
from django.core.management.base import CommandError
from django.db.migrations import Migration
from django.db.migrations.autodetector import MigrationAutodetector
from django.db.migrations.loader import MigrationLoader

from dorm_vector.operations import VectorExtension

__all__ = ["has_extension", "migration_for"]


def migration_for(
    app_label: str, name: str | None = None, *, schema: str | None = None
) -> Migration:
    """
    A new migration of an app, behind its latest one, with the operation. Connects to no database.

    Raises CommandError for an app that is not installed, that has the operation already, or that
    has several latest migrations; and for a name that is no identifier.
    """
    if name and not name.isidentifier():
        raise CommandError("The migration name must be a valid Python identifier.")
    loader = _loader(app_label)
    if present := _present(loader, app_label):
        raise CommandError(f"{app_label} already has VectorExtension, in {present}.")
    leaves = _leaves(loader, app_label)
    number = MigrationAutodetector.parse_number(leaves[0][1]) or 0 if leaves else 0
    operation = VectorExtension(schema=schema)
    attributes = {"operations": [operation], "dependencies": leaves}
    migration_class: type[Migration] = type("Migration", (Migration,), attributes)
    name = name or operation.migration_name_fragment
    return migration_class(f"{number + 1:04d}_{name}", app_label)


def has_extension(app_label: str) -> bool:
    """Whether a migration of an app holds the operation. Raises CommandError for no such app."""
    return _present(_loader(app_label), app_label) is not None


def _loader(app_label: str) -> MigrationLoader:
    try:
        apps.get_app_config(app_label)
    except LookupError as error:
        raise CommandError(str(error)) from error
    return MigrationLoader(None, ignore_no_migrations=True)


def _present(loader: MigrationLoader, app_label: str) -> str | None:
    for (label, name), migration in loader.disk_migrations.items():
        if label == app_label and any(
            isinstance(operation, VectorExtension) and not operation.is_other
            for operation in migration.operations
        ):
            return str(name)
    return None


def _leaves(loader: MigrationLoader, app_label: str) -> list[tuple[str, str]]:
    """The latest migration of the app, or nothing."""
    leaves = loader.graph.leaf_nodes(app_label)
    if len(leaves) > 1:
        names = ", ".join(name for _, name in leaves)
        raise CommandError(
            f"{app_label} has several latest migrations ({names}); merge them first: "
            "manage.py makemigrations --merge"
        )
    return list(leaves)
