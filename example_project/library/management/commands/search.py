"""``manage.py search "compress a file"`` prints what the search page shows."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from example_project.library.models import Entry
from example_project.library.search import entries_matching

MOST_HITS = 100


class Command(BaseCommand):
    help = "Print the entries that are nearest to a text."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("text", nargs="+")
        parser.add_argument(
            "-n", dest="number", type=hits, default=5, help=f"How many, 1 to {MOST_HITS}."
        )

    def handle(self, *args: Any, text: list[str], number: int, **options: Any) -> None:
        query = " ".join(text).strip()
        if not query:
            raise CommandError("The text to search for is empty.")
        found = self._found(query, number)
        width = max(len(entry.name) for entry in found)
        for rank, entry in enumerate(found, start=1):
            distance = f"{entry.distance:.4f}"
            self.stdout.write(f"{rank:3}  {distance}  {entry.name:{width}}  {entry.summary}")

    def _found(self, query: str, number: int) -> list[Any]:
        try:
            found = [*entries_matching(query)[:number]]
        except DatabaseError as error:
            raise CommandError(
                f"The table cannot be searched; run migrate first: {error}"
            ) from error
        if not found:
            empty = not Entry.objects.exists()
            reason = "The table is empty; run index_library first." if empty else "No word in it."
            raise CommandError(f"Nothing was found for {query!r}. {reason}")
        return found


def hits(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MOST_HITS:
        raise ArgumentTypeError(f"takes a number from 1 to {MOST_HITS}, not {text!r}")
    return int(text)
