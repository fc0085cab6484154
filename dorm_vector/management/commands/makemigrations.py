"""``makemigrations --enable-pgvector <app>`` writes the migration that holds VectorExtension."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.core.management.base import CommandError
from django.core.management.commands import makemigrations
from django.db.migrations import Migration
from django.db.migrations.autodetector import MigrationAutodetector
from django.db.migrations.loader import MigrationLoader

from dorm_vector.operations import VectorExtension

__all__ = ["Command"]


class Command(makemigrations.Command):
    """Django's command with one more option."""

    def add_arguments(self, parser: Any) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--enable-pgvector",
            action="store_true",
            help="Write a migration that installs vector support (pgvector or sqlite-vec).",
        )

    def handle(self, *app_labels: str, **options: Any) -> Any:
        if not options.pop("enable_pgvector"):
            return super().handle(*app_labels, **options)
        if len(app_labels) != 1:
            raise CommandError("--enable-pgvector takes the label of one app.")
        for name in ("check_changes", "empty", "merge", "update"):
            if options[name]:
                option = name.partition("_")[0]
                raise CommandError(f"--enable-pgvector does not go with --{option}.")
        for name in ("verbosity", "dry_run", "include_header", "scriptable"):
            setattr(self, name, options[name])
        self.migration_name = options["name"]
        self.written_files: list[str] = []
        self.write_migration_files({app_labels[0]: [self._migration(app_labels[0])]})
        return None

    def _migration(self, app_label: str) -> Migration:
        leaves = self._leaves(app_label)
        number = MigrationAutodetector.parse_number(leaves[0][1]) or 0 if leaves else 0
        operation = VectorExtension()
        name = self.migration_name or operation.migration_name_fragment
        attributes = {"operations": [operation], "dependencies": leaves}
        migration_class: type[Migration] = type("Migration", (Migration,), attributes)
        return migration_class(f"{number + 1:04d}_{name}", app_label)

    def _leaves(self, app_label: str) -> list[tuple[str, str]]:
        """The latest migration of the app, or nothing."""
        try:
            apps.get_app_config(app_label)
        except LookupError as error:
            raise CommandError(str(error)) from error
        loader = MigrationLoader(None)
        self._refuse_second(loader, app_label)
        leaves = loader.graph.leaf_nodes(app_label)
        if len(leaves) > 1:
            names = ", ".join(name for _, name in leaves)
            raise CommandError(
                f"{app_label} has several latest migrations ({names}); merge them first: "
                "manage.py makemigrations --merge"
            )
        return list(leaves)

    def _refuse_second(self, loader: MigrationLoader, app_label: str) -> None:
        for (label, name), migration in loader.disk_migrations.items():
            if label == app_label and any(
                isinstance(operation, VectorExtension) for operation in migration.operations
            ):
                raise CommandError(f"{app_label} has VectorExtension already, in {name}.")
