"""``manage.py embed app.Model.field --with dotted.callable``: vectors for the rows without one."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.core.exceptions import FieldError, ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from dorm_vector.embeddings import EmbedReport, embed
from dorm_vector.embeddings.rows import Rows
from dorm_vector.embeddings.workers import Job, WorkerError, embed_by_workers
from dorm_vector.engines import engine_for
from dorm_vector.management.arguments import (
    INTERRUPTED,
    add_database,
    as_json,
    database,
    number_from,
    table_of,
    vector_field,
)

__all__ = ["Command"]


class Command(BaseCommand):
    help = (
        "Fills in missing vectors, by a function of the project's that takes a list of instances "
        "and returns as many vectors. Resumes where it was stopped, and shares the rows with "
        "other processes. Exits with 1 if a row could not be embedded."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("field", metavar="app.Model.field", help="A vector field.")
        parser.add_argument(
            "--with", dest="embedder", required=True, metavar="dotted.callable",
            help="The embedder: a function, or a class, of which each process makes an instance.",
        )  # fmt: skip
        add_database(parser)
        parser.add_argument(
            "--batch-size", type=number_from(1), default=64, help="Rows in a call; 64 by default."
        )
        parser.add_argument("--limit", type=number_from(0), help="The most rows to embed.")
        parser.add_argument(
            "--all", action="store_true", help="Also rows that already have a vector."
        )
        parser.add_argument(
            "--of", nargs="+", metavar="field",
            help="The fields that vectors are computed from: a row is embedded again if one of "
            "them "
            "changes meanwhile. By default those of FreshVector, or all that hold no vectors.",
        )  # fmt: skip
        parser.add_argument(
            "--workers", type=number_from(1, 1024), default=1, help="Processes; 1 by default."
        )
        parser.add_argument(
            "--retries",
            type=number_from(0),
            default=3,
            help="Retries of a call that fails; 3 by default.",
        )
        parser.add_argument(
            "--backoff", type=number_from(0, 3600, float), default=1.0, metavar="SECONDS",
            help="Seconds before the first retry, doubled for each further one; 1 by default.",
        )  # fmt: skip
        parser.add_argument("--dry-run", action="store_true", help="Count the rows; call nothing.")
        parser.add_argument("--json", action="store_true", help="Print JSON.")

    def handle(self, *args: Any, **options: Any) -> None:
        alias = database(options["database"])
        model, field = vector_field(options["field"])
        table_of(model, alias)
        names = ("embedder", "of", "retries", "backoff")
        given = {name: options[name] for name in names}
        given["all_rows"] = options["all"]
        job = Job(model=model._meta.label, field=field.name, alias=alias, **given)
        with _one_sentence():
            function = job.function()
            if not callable(function):
                raise CommandError(f"--with takes a callable, and {job.embedder!r} is not one.")
            rows = job.rows()
            if options["dry_run"]:
                self._count(rows, options)
                return
            report = self._embed(job, rows, function, options)
        self._tell(report, rows, options)

    def _count(self, rows: Rows, options: dict[str, Any]) -> None:
        found = rows.count()
        count = found if options["limit"] is None else min(found, options["limit"])
        calls = -(-count // options["batch_size"])
        if options["json"]:
            self.stdout.write(as_json({"rows": count, "calls": calls}))
        else:
            self.stdout.write(f"{count:,} rows would be embedded, in {calls:,} calls or more.")

    def _embed(self, job: Job, rows: Rows, function: Any, options: dict[str, Any]) -> EmbedReport:
        size, limit, workers = (options[name] for name in ("batch_size", "limit", "workers"))
        if workers > 1 and (reason := engine_for(rows.connection).why_not_shared()):
            raise CommandError(f"{reason} Use one worker.")
        with _progress(rows, limit, options["verbosity"]) as progress:
            if workers > 1:
                return embed_by_workers(
                    job, workers, batch_size=size, limit=limit, progress=progress
                )
            return embed(
                rows.queryset, job.field, function, batch_size=size, progress=progress, of=job.of,
                all=job.all_rows, limit=limit, retries=job.retries, backoff=job.backoff,
            )  # fmt: skip

    def _tell(self, report: EmbedReport, rows: Rows, options: dict[str, Any]) -> None:
        left = None if rows.all_rows else rows.count()
        if options["json"]:
            self.stdout.write(as_json(_plain(report, left)))
        elif options["verbosity"]:
            rate = report.embedded / report.seconds if report.seconds else 0
            self.stdout.write(
                f"{report.embedded:,} rows embedded in {report.calls:,} calls and "
                f"{report.seconds:.1f} s ({rate:,.0f} rows/s)"
                + (f", {report.skipped:,} vectors discarded" if report.skipped else "")
                + (f", {left:,} rows left." if left else ".")
            )
        if report.errors:
            if not options["json"]:
                for key, error in report.errors.items():
                    self.stdout.write(f"{rows.model._meta.label} {key}: {error}")
            raise CommandError(
                f"{report.failed:,} rows of {rows.model._meta.label} could not be embedded."
            )


def _plain(report: EmbedReport, left: int | None) -> dict[str, Any]:
    """A report as JSON has it."""
    return {
        "embedded": report.embedded,
        "failed": report.failed,
        "skipped": report.skipped,
        "left": left,
        "calls": report.calls,
        "seconds": round(report.seconds, 3),
        "errors": [{"pk": key, "error": error} for key, error in report.errors.items()],
    }


@contextmanager
def _one_sentence() -> Iterator[None]:
    """What the embedder, the field or the database has to say, as the command's own error."""
    try:
        yield
    except ValidationError as error:
        raise CommandError(" ".join(error.messages)) from error
    except (WorkerError, ImportError, FieldError, TypeError, ValueError, DatabaseError) as error:
        raise CommandError(str(error)) from error
    except KeyboardInterrupt:
        raise CommandError(
            "Stopped; run the command again for the rows that are left.", returncode=INTERRUPTED
        ) from None


@contextmanager
def _progress(
    rows: Rows, limit: int | None, verbosity: int
) -> Iterator[Callable[[int], object] | None]:
    """A bar with the rate and the rows that are left, where somebody sees it."""
    if not verbosity or not sys.stderr.isatty():
        yield None
        return
    try:
        from tqdm import tqdm
    except ImportError:
        yield None
        return
    total = rows.count()
    total = total if limit is None else min(total, limit)
    with tqdm(total=total, desc=str(rows.field), unit=" rows") as bar:
        yield lambda done: bar.update(done - bar.n)
