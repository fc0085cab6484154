"""``manage.py index_library`` fills the table."""

from __future__ import annotations

import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.core.management.color import no_style
from django.db import connection
from tqdm import tqdm

from dorm_vector import embed
from example_project import databases
from example_project.library.embedding import embed_entries
from example_project.library.models import Entry
from example_project.library.stdlib import documented

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
                f"Stopped with {Entry.objects.exclude(embedding=None).count():,} entries in the "
                f"index; {databases.command('demo')} goes on.",
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
        if not quiet:
            self.stdout.write("Reading what Python's standard library documents ...")
            self.stdout.flush()
        add_missing()
        total = Entry.objects.filter(embedding=None).count()
        with tqdm(total=total, desc="Indexing", unit=" entries", disable=quiet or not total) as bar:
            report = embed(
                Entry,
                "embedding",
                embed_entries,
                batch_size=BATCH_SIZE,
                progress=lambda done: bar.update(done - bar.n),
            )
        return report.embedded


def add_missing() -> None:
    """Rows for what is documented and is not there yet, whose vectors are NULL until embed()."""
    present = set(Entry.objects.values_list("name", flat=True))
    missing = [Entry(**item._asdict()) for item in documented() if item.name not in present]
    Entry.objects.bulk_create(missing, BATCH_SIZE)


def empty_table() -> None:
    """The way of ``manage.py flush``: deleted rows would stay in PostgreSQL's index for a while."""
    connection.ops.execute_sql_flush(
        connection.ops.sql_flush(no_style(), [Entry._meta.db_table], reset_sequences=True)
    )
