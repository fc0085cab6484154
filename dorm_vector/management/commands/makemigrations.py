"""``makemigrations --enable-pgvector <app>`` writes the migration that holds VectorExtension."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError
from django.core.management.commands import makemigrations

from dorm_vector.management import chaining
from dorm_vector.management.extension import migration_for

__all__ = ["Command"]

REFUSED = ("check_changes", "empty", "merge", "update")


class Command(makemigrations.Command):
    """
    The ``makemigrations`` that the project would have, with one more option.

    It is inserted between another app's command and Django's, so that what the other does before
    and after Django's own work is done for this migration too.
    """

    #: How many apps it takes: the option takes one, as it does in djanorm.
    several = False
    #: The schema that the operation names.
    schema: str | None = None
    _reached = False

    def __new__(cls, *args: object, **kwargs: object) -> Command:
        other = others_command() if cls is Command else cls
        if issubclass(other, Command):
            return super().__new__(other)
        return super().__new__(_over(other))

    def add_arguments(self, parser: Any) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--enable-pgvector",
            action="store_true",
            help="Write a migration that installs vector support (pgvector or sqlite-vec).",
        )

    def handle(self, *app_labels: str, **options: Any) -> Any:
        if not options.pop("enable_pgvector", False):
            return super().handle(*app_labels, **options)
        self._reached = True
        if len(app_labels) != 1 and not self.several:
            raise CommandError("--enable-pgvector takes the label of one app.")
        for name in REFUSED:
            if options[name]:
                option = name.partition("_")[0]
                raise CommandError(f"--enable-pgvector cannot be combined with --{option}.")
        for name in ("verbosity", "dry_run", "include_header", "scriptable"):
            setattr(self, name, options[name])
        self.written_files: list[str] = []
        # All are made before the first is written: nothing is done halfway.
        changes = {
            label: [migration_for(label, options["name"], schema=self.schema)]
            for label in app_labels
        }
        self.write_migration_files(changes)
        return None


def others_command() -> type[Any]:
    """The command that Django would run without this app."""
    return chaining.others_command("makemigrations") or Command


def _over(other: Any) -> type[Command]:
    class Over(other, Command):
        def handle(self, *app_labels: str, **options: object) -> Any:
            done = super().handle(*app_labels, **options)
            if options.get("enable_pgvector") and not self._reached:
                raise CommandError(
                    f"The makemigrations of {other.__module__} does not know --enable-pgvector, "
                    "and does not call Django's; use manage.py enable_vectors."
                )
            return done

    Over.__module__, Over.__qualname__, Over.__doc__ = __name__, "Command", other.__doc__
    return Over
