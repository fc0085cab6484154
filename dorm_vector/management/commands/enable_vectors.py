"""``enable_vectors <app>...`` writes the migrations that hold VectorExtension."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand

from dorm_vector.management.commands import makemigrations
from dorm_vector.management.extension import has_extension

__all__ = ["Command"]


class Command(BaseCommand):
    help = "Write a migration that installs vector support (pgvector or sqlite-vec) in each app."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("app_labels", nargs="+", metavar="app_label", help="Labels of apps.")
        parser.add_argument("-n", "--name", help="The name of the migrations.")
        parser.add_argument("--schema", help="PostgreSQL's schema for the extension.")
        parser.add_argument("--dry-run", action="store_true", help="Write nothing.")
        parser.add_argument(
            "--check",
            action="store_true",
            dest="check_changes",
            help="Exit with 1 if an app has no such migration, and write nothing.",
        )
        parser.add_argument(
            "--no-header", action="store_false", dest="include_header", help="Add no header."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        labels = list(dict.fromkeys(options["app_labels"]))
        if options["check_changes"]:
            self._check(labels)
            return
        # Through the project's own makemigrations, which may keep files beside the migrations.
        command = makemigrations.Command()
        command.several, command.schema = True, options["schema"]
        passed = ("name", "dry_run", "include_header", "verbosity", "no_color", "force_color")
        call_command(
            command,
            *labels,
            enable_pgvector=True,
            stdout=self.stdout,
            stderr=self.stderr,
            **{name: options[name] for name in passed},
        )

    def _check(self, labels: list[str]) -> None:
        missing = [label for label in labels if not has_extension(label)]
        for label in missing:
            self.stdout.write(f"{label} has no migration with VectorExtension.")
        if missing:
            sys.exit(1)
