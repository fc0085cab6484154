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
    with claims, _workers(job, count) as workers:
        before = -1
        while walk.dealt > before:  # the last batches may have come back with changed rows
            before = walk.dealt
            settle(walk, _dealt(iter(walk), workers), report, progress)
    report.seconds = time.monotonic() - started
    return report


def _dealt(
    batches: Iterator[list[Any]], workers: dict[Connection, Any]
) -> Iterator[tuple[list[Any], BatchResult]]:
    """Batches with what became of them, as they come back."""
    idle, busy = list(workers), dict[Any, list[Any]]()
    while True:
        while idle and (keys := next(batches, None)) is not None:
            busy[idle[-1]] = keys
            idle.pop().send(keys)
        if not busy:
            return
        for pipe in wait(list(busy)):
            keys = busy.pop(pipe)
            yield keys, _received(pipe, workers, keys)
            idle.append(pipe)  # type: ignore[arg-type]


def _received(pipe: Any, workers: dict[Connection, Any], keys: list[Any]) -> BatchResult:
    try:
        received = pipe.recv()
    except EOFError:
        process = workers[pipe]
        process.join(GRACE)
        raise WorkerError(
            f"Worker {process.pid} ended with exit code {process.exitcode} while it embedded the "
            f"rows {keys[0]} to {keys[-1]}; run the command again for those that are left."
        ) from None
    if isinstance(received, str):
        raise WorkerError(received)
    result: BatchResult = received
    return result


@contextlib.contextmanager
def _workers(job: Job, count: int) -> Iterator[dict[Connection, Any]]:
    """Processes by the pipes to them; they end with the block, or with this process."""
    # A copy of this process would share its connections.
    context = multiprocessing.get_context("spawn")
    settings = _settings(job.alias)
    workers: dict[Connection, Any] = {}
    try:
        for _ in range(count):
            here, there = context.Pipe()
            process = context.Process(target=work, args=(there, job, settings))
            process.start()
            there.close()
            workers[here] = process
        yield workers
    except BaseException:
        for process in workers.values():
            process.terminate()
        raise
    finally:
        for pipe in workers:
            pipe.close()
        for process in workers.values():
            process.join(GRACE)
            if process.is_alive():
                process.kill()
                process.join()


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
