"""Calling an embedder: plain or async, with retries, and row by row where it has to be."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import itertools
import os
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Set
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from asgiref.sync import SyncToAsync, async_to_sync
from django.core.exceptions import ValidationError

from dorm_vector.values import short

__all__ = ["MAX_PAUSE", "Embedder", "Made"]

# The longest time between two calls, in seconds.
MAX_PAUSE = 60.0
# Iterables that are not lists of vectors.
NO_VECTORS = (str, bytes, bytearray, Mapping, Set)

Function = Callable[[list[Any]], Any]


class Made:
    """What became of some rows: vectors, and the errors of those that could not be embedded."""

    def __init__(self) -> None:
        self.vectors: list[tuple[Any, Any]] = []
        self.errors: dict[Any, str] = {}


class Embedder:
    """
    Computes vectors for ``field`` of instances by a function of the project's; counts its calls.

    A call that raises is retried ``retries`` times, at first after ``backoff`` seconds, then each
    time after twice as long. Then the batch is halved until the instances that fail are found.
    Raises ValueError for a function that does not return a list of as many vectors, and
    ValidationError for a vector that the field refuses.
    """

    def __init__(self, function: Function, field: Any, retries: int, backoff: float) -> None:
        self.function, self.field = function, field
        self.retries, self.backoff = retries, backoff
        self.calls = 0
        self._loops = contextlib.ExitStack()
        self._run: Callable[[Awaitable[Any]], Any] | None = None
        self._succeeded = False

    def __enter__(self) -> Embedder:
        return self

    def __exit__(self, *exc_info: Any) -> None:
        self._loops.close()
        self._run = None

    def embed(self, rows: list[Any]) -> Made:
        made = Made()
        self._succeeded = False
        self._embed(rows, self.retries, made)
        return made

    def _embed(self, rows: list[Any], retries: int, made: Made) -> None:
        try:
            returned = self._tried(rows, retries)
        except Exception as error:
            if len(rows) == 1:
                made.errors[rows[0].pk] = f"{type(error).__name__}: {error}"
                return
        else:
            self._succeeded = True
            self._add(rows, returned, made)
            return
        middle = (len(rows) + 1) // 2
        for part in (rows[:middle], rows[middle:]):
            # Waiting is of use where the service is there, and one row alone is left to try.
            again = self.retries if len(part) == 1 and self._succeeded else 0
            self._embed(part, again, made)

    def _tried(self, rows: list[Any], retries: int) -> Any:
        """What the function returned, read no further than needed, or its last error."""
        for attempt in itertools.count():
            self.calls += 1
            try:
                return _read(self._called(rows), len(rows))
            except Exception:
                if attempt >= retries:
                    raise
            time.sleep(min(self.backoff * 2**attempt, MAX_PAUSE))
        raise AssertionError  # count() has no end

    def _called(self, rows: list[Any]) -> Any:
        returned = self.function(list(rows))
        return self._awaited(returned) if inspect.isawaitable(returned) else returned

    def _awaited(self, awaitable: Awaitable[Any]) -> Any:
        if self._run is None:
            self._run = _loop(self._loops)
        return self._run(awaitable)

    def _add(self, rows: list[Any], returned: Any, made: Made) -> None:
        label = self.field.model._meta.label
        if not isinstance(returned, list):
            raise ValueError(
                f"The embedder returned {short(returned)} for {_named(label, rows)}: return a list "
                "of as many vectors."
            )
        if len(returned) != len(rows):
            number = f"{len(returned)}" if len(returned) < len(rows) else f"{len(rows) + 1} or more"
            raise ValueError(
                f"The embedder returned {number} vectors for {_named(label, rows)}: return as many."
            )
        for row, vector in zip(rows, returned, strict=True):
            if vector is None:
                made.errors[row.pk] = "The embedder returned None."
            else:
                made.vectors.append((row, self._checked(row, vector)))

    def _checked(self, row: Any, vector: Any) -> Any:
        """A vector that can be read twice. Raises ValidationError that names the row."""
        field = self.field
        try:
            if hasattr(vector, "__next__"):
                vector = field.values.held(vector, field.dimensions)
            if field.pack(vector) is None:  # blank text, which stands for None
                raise ValidationError(f"{short(vector)} is not a vector.", code="invalid")
        except ValidationError as error:
            message = f"The vector for {row._meta.label} {row.pk} is refused: {error.message}"
            raise ValidationError(message, code=error.code, params=error.params) from None
        return vector


def _named(label: str, rows: list[Any]) -> str:
    """Rows in a sentence."""
    if len(rows) == 1:
        return f"1 row ({label} {rows[0].pk})"
    return f"{len(rows)} rows ({label} {rows[0].pk} to {rows[-1].pk})"


def _read(returned: Any, count: int) -> Any:
    """Vectors as a list, at most one more than allowed; anything else unchanged."""
    if isinstance(returned, NO_VECTORS):
        return returned
    numpy = sys.modules.get("numpy")
    if hasattr(returned, "__array__") and numpy is not None:
        returned = numpy.asarray(returned)  # a table would be iterated by column
        if returned.ndim == 0:
            return returned.item()
    if not isinstance(returned, Iterable):
        return returned
    return list(itertools.islice(returned, count + 1))


# One event loop for all calls, in which clients keep their connections.


def _loop(stack: contextlib.ExitStack) -> Callable[[Awaitable[Any]], Any]:
    """What runs coroutines from here, until the stack is closed."""
    if _is_running():  # in this thread, as in a notebook
        thread = stack.enter_context(ThreadPoolExecutor(1, "dorm_vector"))
        runner = thread.submit(asyncio.Runner).result()
        stack.callback(lambda: thread.submit(runner.close).result())
        return lambda awaitable: thread.submit(runner.run, _coroutine(awaitable)).result()
    if _has_outer_loop():
        return lambda awaitable: async_to_sync(_coroutine)(awaitable)
    runner = stack.enter_context(asyncio.Runner())
    return lambda awaitable: runner.run(_coroutine(awaitable))


async def _coroutine(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


def _is_running() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _has_outer_loop() -> bool:
    """Whether sync_to_async() has called this from the project's own event loop."""
    outer = getattr(SyncToAsync.threadlocal, "main_event_loop", None)
    owner = getattr(SyncToAsync.threadlocal, "main_event_loop_pid", os.getpid())
    return outer is not None and outer.is_running() and owner == os.getpid()
