"""``manage.py search "compress a file"`` prints what the search page shows."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from example_project import databases
from example_project.library.marking import has_words
from example_project.library.models import Entry
from example_project.library.search import Mode, entries_matching, is_weak, ranks_of

MOST_HITS = 100
# What the hits of each mode are annotated with.
MEASURES = {"both": "score", "meaning": "distance", "words": "rank"}
NOTHING = {
    "both": "No entry is near to it.",
    "meaning": "No entry is near to it.",
    "words": "No entry has a word of it.",
}


class Command(BaseCommand):
    help = "Print the entries that are best for a text, by its meaning, its words, or both."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("text", nargs="+")
        parser.add_argument(
            "-n", dest="number", type=hits, default=5, help=f"How many, 1 to {MOST_HITS}."
        )
        parser.add_argument("--mode", choices=Mode.values, default=Mode.BOTH.value)

    def handle(self, *args: Any, text: list[str], number: int, mode: str, **options: Any) -> None:
        query = " ".join(text).strip()
        if not query:
            raise CommandError("The text to search for is empty.")
        if not has_words(query):
            raise CommandError(f"There are no words in {query!r} to search for.")
        found = self._found(query, number, mode)
        width = max(len(entry.name) for entry in found)
        for place, entry in enumerate(found, start=1):
            measure = f"{getattr(entry, MEASURES[mode]):.4f}"
            name = f"{entry.name:{width}}{ranks(entry)}"
            self.stdout.write(f"{place:3}  {measure}  {name}  {entry.summary}")
        if is_weak(query, mode):
            self.stdout.write("Nothing here is close to that. These are the nearest all the same.")

    def _found(self, query: str, number: int, mode: str) -> list[Any]:
        try:
            found = [*entries_matching(query, mode)[:number]]
        except DatabaseError as error:
            raise CommandError(
                f"The table cannot be searched ({' '.join(str(error).split())}); run "
                f"{databases.command('demo')}."
            ) from error
        if not found:
            empty = not Entry.objects.exists()
            reason = f"The table is empty; run {databases.command('demo')}."
            raise CommandError(
                f"Nothing was found for {query!r}. {reason if empty else NOTHING[mode]}"
            )
        return found


def ranks(entry: Any) -> str:
    """The places of a hit by meaning and by words, where it was searched for by both."""
    found = ranks_of(entry)
    if found is None:
        return ""
    meaning, words = ("-" if place is None else place for place in found)
    return f"  meaning {meaning:>3}  words {words:>3}"


def hits(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MOST_HITS:
        raise ArgumentTypeError(f"takes a number from 1 to {MOST_HITS}, not {text!r}")
    return int(text)
