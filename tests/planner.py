"""Have PostgreSQL search the vector index where it would rather sort the few rows of a test."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from django.db import connections, transaction

__all__ = ["forced"]


@contextlib.contextmanager
def forced(alias: str) -> Iterator[None]:
    """A block without the other plans; nothing on databases that leave no choice."""
    if connections[alias].vendor != "postgresql":
        yield
        return
    with transaction.atomic(using=alias), connections[alias].cursor() as cursor:
        for setting in ("enable_seqscan", "enable_bitmapscan", "enable_sort"):
            cursor.execute(f"SET LOCAL {setting} = off")
        yield
