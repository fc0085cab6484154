"""Rebuilding an index while searches and writes go on, with its progress."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

from django.db import DatabaseError, NotSupportedError
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Model

from dorm_vector.engines.base.inspection import Progress, Reported
from dorm_vector.engines.postgresql import partitions

__all__ = ["reindex"]

# Seconds between two looks at the progress.
INTERVAL = 0.25
PROGRESS = """
SELECT phase, COALESCE(NULLIF(tuples_total, 0), blocks_total),
    CASE WHEN tuples_total > 0 THEN tuples_done ELSE blocks_done END
FROM pg_catalog.pg_stat_progress_create_index WHERE pid = %s
"""


def reindex(engine: Any, index: Any, model: type[Model], progress: Reported | None = None) -> None:
    """
    ``REINDEX INDEX CONCURRENTLY``, which cures an INVALID index too, or CREATE where there is none.

    What earlier ones of this index have left behind is dropped. ``progress`` is called by another
    thread. Raises NotSupportedError within a transaction.
    """
    connection = engine.connection
    if connection.in_atomic_block:
        raise NotSupportedError("PostgreSQL rebuilds no index within a transaction.")
    found = (*engine.index_states(model), *engine.text_index_states(model))
    states = {state.name: state for state in found}
    for state in states.values():
        if state.state == "left over" and state.name.startswith(f"{index.name}_cc"):
            _execute(connection, state.cure)
    with _watched(connection, progress):
        state = states[index.name]
        if state.state == "absent" or _is_unfinished(engine, model, state):
            _create(engine, index, model)
        else:
            name = connection.ops.quote_name(index.name)
            _execute(connection, f"REINDEX INDEX CONCURRENTLY {name}")


def _is_unfinished(engine: Any, model: type[Model], state: Any) -> bool:
    """Whether partitions of a table lack their part of its index, which REINDEX does not make."""
    return state.state == "invalid" and partitions.is_partitioned(engine, model)


def _execute(connection: Any, statement: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


def _create(engine: Any, index: Any, model: type[Model]) -> None:
    connection = engine.connection
    editor = connection.SchemaEditorClass(connection, atomic=False)
    if partitions.is_partitioned(engine, model):
        partitions.build(engine, model, index, editor)
    else:
        editor.execute(engine.create_index(index, model, editor, concurrently=True), params=None)


@contextlib.contextmanager
def _watched(connection: BaseDatabaseWrapper, progress: Reported | None) -> Iterator[None]:
    """A block whose progress another connection reports."""
    if progress is None:
        yield
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (pid,) = cursor.fetchone()
    ended = threading.Event()
    watching = threading.Thread(target=_watch, args=(connection, pid, progress, ended))
    watching.start()
    try:
        yield
    finally:
        ended.set()
        watching.join()


def _watch(
    connection: BaseDatabaseWrapper, pid: int, progress: Reported, ended: threading.Event
) -> None:
    other = connection.copy()
    # The index is built without it too.
    with contextlib.suppress(DatabaseError), contextlib.closing(other):
        while not ended.wait(INTERVAL):
            with other.cursor() as cursor:
                cursor.execute(PROGRESS, [pid])
                row = cursor.fetchone()
            if row is not None:
                phase, total, done = row
                progress(Progress(phase, done, total))
