"""``embed()``, and its report."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from django.db.models import Manager, Model, QuerySet

from dorm_vector.embeddings.embedder import Embedder
from dorm_vector.embeddings.rows import Rows
from dorm_vector.embeddings.walk import Walk
from dorm_vector.engines import engine_for

__all__ = ["BatchResult", "EmbedReport", "checked_batch_size", "embed", "embed_batch"]

Progress = Callable[[int], object]


@dataclasses.dataclass
class EmbedReport:
    """What a call of ``embed()`` did."""

    #: How many rows got a vector.
    embedded: int = 0
    #: Why rows could not be embedded, by primary key; they are unchanged.
    errors: dict[object, str] = dataclasses.field(default_factory=dict)
    #: Vectors that were discarded because their rows were changed, deleted or embedded by others
    #: while the embedder was called. Rows that were changed are embedded again.
    skipped: int = 0
    #: Calls of the embedder, including those that raised.
    calls: int = 0
    seconds: float = 0.0

    @property
    def failed(self) -> int:
        """The number of rows that could not be embedded."""
        return len(self.errors)

    def add(self, result: BatchResult) -> None:
        self.embedded += result.embedded
        self.errors.update(result.errors)
        self.skipped += result.skipped
        self.calls += result.calls


@dataclasses.dataclass
class BatchResult:
    """What became of a batch."""

    embedded: int
    skipped: int
    calls: int
    errors: dict[object, str]
    #: Keys of rows that were changed meanwhile, and still need a vector.
    changed: list[Any]


def embed(
    queryset: QuerySet[Model, object] | Manager[Model] | type[Model],
    field: str,
    embedder: Callable[[list[Any]], Any],
    *,
    batch_size: int = 64,
    progress: Progress | None = None,
    of: Sequence[str] | None = None,
    all: bool = False,  # noqa: A002 - as the command has it
    limit: int | None = None,
    retries: int = 3,
    backoff: float = 1.0,
) -> EmbedReport:
    """
    Write vectors to the rows of ``queryset`` whose ``field`` is NULL, and return a report.

    ``embedder`` takes a list of at most ``batch_size`` instances and returns as many vectors, in a
    list, a 2-D numpy array or a generator; it may be async. A call that raises is tried again
    ``retries`` times, after ``backoff`` seconds, then twice as long; then the batch is halved until
    the rows are found that cannot be embedded. These, and those for which it returns None, stay as
    they were, and are in the report.

    A vector is written only while its sources are as they were when the instance was read. Those
    are the fields ``of``, or else the sources of the model's FreshVector for the field, or else all
    columns that hold no vectors. Rows that were changed meanwhile are embedded again.

    No transaction is open while the embedder is called, unless this is called within one. Several
    processes share the rows; one that is killed leaves the batch undone that it was at.
    ``all=True`` goes through rows that have a vector too, ``limit`` through so many at most.
    ``progress`` is called with the number of rows so far.

    Raises ValueError for another number of vectors, and ValidationError that names the row for one
    that the field refuses; nothing of that batch is written. TypeError, ValueError and FieldError
    for what cannot be embedded.
    """
    checked_batch_size(batch_size)
    _check_options(embedder, limit, retries, backoff)
    rows = Rows(queryset, field, of, all_rows=all)
    report, started = EmbedReport(), time.monotonic()
    claims = engine_for(rows.connection).claims(rows.field)
    walk = Walk(rows, claims, batch_size, limit)
    with claims, Embedder(embedder, rows.field, retries, backoff) as caller:
        results = ((keys, embed_batch(rows, caller, keys)) for keys in walk)
        settle(walk, results, report, progress)
    report.seconds = time.monotonic() - started
    return report


def settle(
    walk: Walk,
    results: Iterable[tuple[list[Any], BatchResult]],
    report: EmbedReport,
    progress: Callable[[int], object] | None,
) -> None:
    """Settle batches with what became of them, as they come back."""
    for keys, result in results:
        walk.settle(keys, result.errors, result.changed)
        report.add(result)
        if progress is not None:
            progress(walk.settled)


def embed_batch(rows: Rows, embedder: Embedder, keys: list[Any]) -> BatchResult:
    """Embed the rows of some keys."""
    before = embedder.calls
    instances = rows.read(keys)
    made = embedder.embed(instances) if instances else None
    if made is None:
        return BatchResult(0, 0, 0, {}, [])
    missed = rows.write(made.vectors) if made.vectors else []
    return BatchResult(
        embedded=len(made.vectors) - len(missed),
        skipped=len(missed),
        calls=embedder.calls - before,
        errors=made.errors,
        changed=rows.waiting(missed) if missed else [],
    )


def checked_batch_size(batch_size: Any) -> int:
    if type(batch_size) is not int or batch_size < 1:
        raise ValueError(f"embed() needs a batch_size of 1 or more, not {batch_size!r}.")
    return batch_size


def _check_options(embedder: Any, limit: Any, retries: Any, backoff: Any) -> None:
    if not callable(embedder):
        raise TypeError(f"embed() takes a function of a list of instances, not {embedder!r}.")
    if limit is not None and (type(limit) is not int or limit < 0):
        raise ValueError(f"embed() needs a limit of 0 or more, not {limit!r}.")
    if type(retries) is not int or retries < 0:
        raise ValueError(f"embed() needs 0 or more retries, not {retries!r}.")
    if type(backoff) not in (int, float) or not 0 <= backoff < float("inf"):
        raise ValueError(f"embed() needs a backoff of 0 seconds or more, not {backoff!r}.")
