"""``manage.py demo``: from an empty database to some searches."""

from __future__ import annotations

from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand

from example_project import databases

SEARCHES = ("compress a file", "median of numbers", "run a program and capture its output")


class Command(BaseCommand):
    help = "Create the tables, index Python's standard library, and search it."

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write("Creating the tables, unless they are there ...")
        self.stdout.flush()
        call_command("migrate", verbosity=0)
        call_command("index_library", stdout=self.stdout)
        for text in SEARCHES:
            self.stdout.write(f'\n$ manage.py search "{text}"')
            call_command("search", text, stdout=self.stdout)
        self.stdout.write(
            f"\nThe search page: {databases.command('serve')}; then http://127.0.0.1:8000/\n"
            "Its admin is at /admin/, for users made with manage.py createsuperuser."
        )
