"""``manage.py embed app.Model.field --with dotted.callable``: vectors for the rows without one."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Callable
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from dorm_vector.embeddings import EmbedReport, embed
from dorm_vector.embeddings.rows import Rows
from dorm_vector.embeddings.workers import Job, WorkerError, embed_by_workers
from dorm_vector.engines import engine_for
from dorm_vector.management.arguments import (
    add_database,
    as_json,
    database,
    number_from,
    table_of,
    vector_field,
)
from dorm_vector.management.running import one_sentence, progress_bar

__all__ = ["Command"]

STOPPED = "Stopped; run the command again for the rows that are left."


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
            help="The fields that vectors are computed from: if one changes meanwhile, its row is "
            "embedded again. By default those of FreshVector, or all that hold no vectors.",
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
        with one_sentence(STOPPED, WorkerError):
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
        count = _count(rows, options["limit"])
        calls = -(-count // options["batch_size"])
        if options["json"]:
            self.stdout.write(as_json({"rows": count, "calls": calls}))
        else:
            self.stdout.write(f"{count:,} rows would be embedded, in {calls:,} calls or more.")

    def _embed(self, job: Job, rows: Rows, function: Any, options: dict[str, Any]) -> EmbedReport:
        size, limit, workers = (options[name] for name in ("batch_size", "limit", "workers"))
        if workers > 1 and (reason := engine_for(rows.connection).why_not_shared()):
            raise CommandError(f"{reason} Use one worker.")
        with progress_bar(options["verbosity"], desc=str(rows.field), unit=" rows") as bar:
            progress = _shown(bar, rows, limit)
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


def _count(rows: Rows, limit: int | None) -> int:
    """How many rows need a vector, up to a limit."""
    found = rows.count()
    return found if limit is None else min(found, limit)


def _shown(bar: Any, rows: Rows, limit: int | None) -> Callable[[int], object] | None:
    """What shows how many rows are done."""
    if bar is None:
        return None
    bar.reset(_count(rows, limit))

    def show(done: int) -> None:
        bar.update(done - bar.n)

    return show


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
