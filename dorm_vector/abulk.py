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

# Objects that are fetched at a time from an asynchronous iterator.
AT_A_TIME = 100


async def abulk_copy(
    model_or_queryset: type[Model] | QuerySet[Any] | Manager[Any],
    objs: Iterable[Model] | AsyncIterable[Model],
    **options: Unpack[BulkOptions],
) -> int:
    """
    The same as ``bulk_copy()``, for coroutines; ``objs`` may be an asynchronous iterator as well.

    It is read as it is loaded, and the event loop runs meanwhile.
    """
    rows = _read(aiter(objs)) if isinstance(objs, AsyncIterable) else objs
    return await sync_to_async(bulk_copy)(model_or_queryset, rows, **options)


def _read(rows: AsyncIterator[Model]) -> Iterator[Model]:
    """What an asynchronous iterator has, in the thread of the database."""
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
