"""``bulk_copy()`` for coroutines."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from typing import Any, Unpack

from asgiref.sync import async_to_sync, sync_to_async
from django.db.models import Manager, Model, QuerySet

from dorm_vector.bulk import bulk_copy
from dorm_vector.types import BulkOptions

__all__ = ["abulk_copy"]

# How many objects are fetched from an asynchronous iterator at a time.
AT_A_TIME = 100


async def abulk_copy(
    model_or_queryset: type[Model] | QuerySet[Any] | Manager[Any],
    objs: Iterable[Model] | AsyncIterable[Model],
    **options: Unpack[BulkOptions],
) -> int:
    """
    The same as ``bulk_copy()``, for coroutines; ``objs`` may be an asynchronous iterator as well.

    They are read while rows are loaded, and the event loop keeps running.
    """
    rows = _read(aiter(objs)) if isinstance(objs, AsyncIterable) else objs
    return await sync_to_async(bulk_copy)(model_or_queryset, rows, **options)


def _read(rows: AsyncIterator[Model]) -> Iterator[Model]:
    """The items of an asynchronous iterator, in the thread of the database."""
    take = async_to_sync(_some)
    return itertools.chain.from_iterable(iter(lambda: take(rows), []))


async def _some(rows: AsyncIterator[Model]) -> list[Model]:
    found: list[Model] = []
    while len(found) < AT_A_TIME:
        try:
            found.append(await anext(rows))
        except StopAsyncIteration:
            break
    return found
