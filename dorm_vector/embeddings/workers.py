"""Several processes for one call: the first hands out rows, the others embed them."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import multiprocessing
import pickle
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any

from django.apps import apps
from django.db import connections
from django.db.models import Field
from django.utils.module_loading import import_string

from dorm_vector.embeddings.embedder import Embedder
from dorm_vector.embeddings.rows import Rows
from dorm_vector.embeddings.run import BatchResult, EmbedReport, embed_batch, settle
from dorm_vector.embeddings.walk import Walk
from dorm_vector.engines import engine_for

__all__ = ["Job", "WorkerError", "embed_by_workers"]

# Seconds that a worker has to exit before it is killed.
GRACE = 5.0


class WorkerError(Exception):
    """What went wrong in a worker, or with the embedder that it was to have, one sentence."""


@dataclasses.dataclass(frozen=True)
class Job:
    """What a worker has to know; it can be pickled."""

    #: A label, ``app.Model``.
    model: str
    field: str
    #: The dotted path of a function, or of a class, of which each process makes an instance.
    embedder: str
    alias: str
    of: Sequence[str] | None = None
    all_rows: bool = False
    retries: int = 3
    backoff: float = 1.0

    def rows(self) -> Rows:
        queryset = apps.get_model(self.model)._default_manager.using(self.alias)
        return Rows(queryset, self.field, self.of, all_rows=self.all_rows)

    def function(self) -> Callable[[list[Any]], Any]:
        """The embedder. Raises ImportError where there is none, WorkerError where it raises."""
        found: Any = import_string(self.embedder)
        if inspect.isclass(found):
            try:
                found = found()
            except Exception as error:
                raise WorkerError(
                    f"{self.embedder} cannot be made: {type(error).__name__}: {error}"
                ) from error
        function: Callable[[list[Any]], Any] = found
        return function

    def caller(self, field: Field) -> Embedder:
        return Embedder(self.function(), field, self.retries, self.backoff)


def embed_by_workers(
    job: Job,
    count: int,
    *,
    batch_size: int,
    limit: int | None = None,
    progress: Callable[[int], object] | None = None,
) -> EmbedReport:
    """``embed()`` by ``count`` processes. Raises WorkerError if one of them fails."""
    rows, report, started = job.rows(), EmbedReport(), time.monotonic()
    claims = engine_for(rows.connection).claims(rows.field)
    walk = Walk(rows, claims, batch_size, limit)
    with claims, Workers(job, count) as workers:
        before = -1
        while walk.dealt > before:  # the last batches may have come back with changed rows
            before = walk.dealt
            settle(walk, _dealt(iter(walk), workers), report, progress)
    report.seconds = time.monotonic() - started
    return report


def _dealt(
    batches: Iterator[list[Any]], workers: Workers
) -> Iterator[tuple[list[Any], BatchResult]]:
    """Batches with what became of them, as they come back."""
    busy = dict[Any, list[Any]]()
    while True:
        while workers.has_one and (keys := next(batches, None)) is not None:
            pipe = workers.take()
            busy[pipe] = keys
            pipe.send(keys)
        if not busy:
            return
        for pipe in wait(list(busy)):  # type: ignore[assignment]
            keys = busy.pop(pipe)
            yield keys, workers.received(pipe, keys)


class Workers:
    """Up to ``count`` processes, each started for the first batch that finds no other idle."""

    def __init__(self, job: Job, count: int) -> None:
        self.job, self.count = job, count
        self.settings = _settings(job.alias)
        # A copy of this process would share its connections.
        self.context = multiprocessing.get_context("spawn")
        #: The processes by the pipes to them.
        self.processes: dict[Connection, Any] = {}
        self.idle: list[Connection] = []

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, error: object, *exc_info: object) -> None:
        """They end with the block, or with this process."""
        for pipe, process in self.processes.items():
            if error is not None:
                process.terminate()
            pipe.close()
        for process in self.processes.values():
            process.join(GRACE)
            if process.is_alive():
                process.kill()
                process.join()

    @property
    def has_one(self) -> bool:
        return bool(self.idle) or len(self.processes) < self.count

    def take(self) -> Connection:
        return self.idle.pop() if self.idle else self._started()

    def _started(self) -> Connection:
        here, there = self.context.Pipe()
        process = self.context.Process(target=work, args=(there, self.job, self.settings))
        process.start()
        there.close()
        self.processes[here] = process
        return here

    def received(self, pipe: Any, keys: list[Any]) -> BatchResult:
        """What became of a batch. Raises WorkerError if its worker failed."""
        try:
            received = pipe.recv()
        except EOFError:
            process = self.processes[pipe]
            process.join(GRACE)
            raise WorkerError(
                f"Worker {process.pid} ended with exit code {process.exitcode} while it embedded "
                f"the rows {keys[0]} to {keys[-1]}; run the command again for those that are left."
            ) from None
        if isinstance(received, str):
            raise WorkerError(received)
        self.idle.append(pipe)
        result: BatchResult = received
        return result


def _settings(alias: str) -> dict[str, Any] | None:
    """The settings of a database as they are here: tests, for one, change its name."""
    settings = dict(connections[alias].settings_dict)
    try:
        pickle.dumps(settings)
    except Exception:  # whatever pickling an option raises
        return None
    return settings


def work(pipe: Connection, job: Job, settings: dict[str, Any] | None) -> None:
    """What a worker does: embed batches until the pipe is closed."""
    # The process that hands out rows ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError), pipe:
        try:
            _work(pipe, job, settings)
        except (EOFError, BrokenPipeError, ConnectionResetError):
            raise
        except Exception as error:
            said = " ".join(getattr(error, "messages", [str(error)]))
            pipe.send(said or type(error).__name__)


def _work(pipe: Connection, job: Job, settings: dict[str, Any] | None) -> None:
    import django

    django.setup()
    if settings is not None:
        connections.settings[job.alias] = settings
        connections[job.alias].settings_dict.update(settings)
    rows = job.rows()
    with job.caller(rows.field) as embedder:
        while True:
            pipe.send(embed_batch(rows, embedder, pipe.recv()))
