"""``manage.py index_library`` fills the table."""

from __future__ import annotations

import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.core.management.color import no_style
from django.db import connection
from tqdm import tqdm

from example_project.library.embedding import embed, text_of
from example_project.library.models import Entry
from example_project.library.stdlib import Documented, documented

BATCH_SIZE = 256
INTERRUPTED = 130  # what shells report for Ctrl-C


class Command(BaseCommand):
    help = "Index the documentation of Python's standard library. Goes on where it was stopped."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--rebuild", action="store_true", help="Begin with an empty table.")

    def handle(self, *args: Any, rebuild: bool, verbosity: int, **options: Any) -> None:
        started = time.monotonic()
        try:
            added = self._index(rebuild, quiet=verbosity == 0)
        except KeyboardInterrupt:
            raise CommandError(
                f"Stopped with {Entry.objects.count():,} entries in the table; "
                "run index_library again to add the others.",
                returncode=INTERRUPTED,
            ) from None
        if verbosity:
            seconds = time.monotonic() - started
            self.stdout.write(
                f"{Entry.objects.count():,} entries, {added:,} of them new, in {seconds:.1f} s."
            )

    def _index(self, rebuild: bool, quiet: bool) -> int:
        if rebuild:
            empty_table()
        present = set(Entry.objects.values_list("name", flat=True))
        missing = [item for item in documented() if item.name not in present]
        disable = quiet or not missing
        with tqdm(total=len(missing), desc="Indexing", unit=" entries", disable=disable) as bar:
            for start in range(0, len(missing), BATCH_SIZE):
                batch = missing[start : start + BATCH_SIZE]
                Entry.objects.bulk_create(entries(batch))
                bar.update(len(batch))
        return len(missing)


def empty_table() -> None:
    """The way of ``manage.py flush``: deleted rows would stay in PostgreSQL's index for a while."""
    connection.ops.execute_sql_flush(
        connection.ops.sql_flush(no_style(), [Entry._meta.db_table], reset_sequences=True)
    )


def entries(items: list[Documented]) -> list[Entry]:
    vectors = embed([text_of(item) for item in items])
    return [
        Entry(**item._asdict(), embedding=vector)
        for item, vector in zip(items, vectors, strict=True)
    ]
