"""Have the vector index searched where a database would rather sort the few rows of a test."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from django.db import connections, transaction

from dorm_vector.engines import engine_for

__all__ = ["forced"]


@contextlib.contextmanager
def forced(alias: str) -> Iterator[None]:
    """A block without the other plans; nothing on databases that leave no choice."""
    engine: Any = engine_for(connections[alias])
    if engine.name == "libsql":
        engine.least_vectors = 1
        try:
            yield
        finally:
            del engine.least_vectors
        return
    if engine.name != "postgresql":
        yield
        return
    with transaction.atomic(using=alias), connections[alias].cursor() as cursor:
        for setting in ("enable_seqscan", "enable_bitmapscan", "enable_sort"):
            cursor.execute(f"SET LOCAL {setting} = off")
        yield
