"""Writes to tables with a vector index, where SQLite refuses what the triggers do."""

from __future__ import annotations

import contextlib
import functools
import re
import sqlite3
from typing import Any

from django.db import OperationalError

__all__ = ["explain_refusals", "trusts_schema"]

# What SQLite says, and what it means.
SENTENCES = {
    "no such module: vec0": (
        "This writes to a table with a vector index, which needs sqlite-vec, and that is not "
        "loaded here ({error}); load it, or drop the index with manage.py vector_reindex."
    ),
    "unsafe use of virtual table": (
        "This writes to a table with an index that triggers keep, which SQLite refuses under "
        "PRAGMA trusted_schema=OFF ({error}); switch it on for this connection, or "
        "drop the index with manage.py vector_reindex."
    ),
}

TRUSTED = re.compile(r"\btrusted_schema\s*[=(]\s*['\"]?(\w+)", re.I)


def explain_refusals(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
    """An ``execute_wrapper`` of Django's that says in one sentence why a write was refused."""
    try:
        return execute(sql, params, many, context)
    except OperationalError as error:
        for beginning, sentence in SENTENCES.items():
            if str(error).startswith(beginning):
                raise OperationalError(sentence.format(error=error)) from error
        raise


def trusts_schema(init_command: str) -> bool:
    """Whether triggers may write to virtual tables on a connection that begins so."""
    given = TRUSTED.findall(init_command)
    return given[-1].lower() in ("1", "on", "true", "yes") if given else _default()


@functools.cache
def _default() -> bool:
    with contextlib.closing(sqlite3.connect(":memory:")) as raw:
        return is_trusting(raw)


def is_trusting(raw: Any) -> bool:
    """Whether triggers may write to virtual tables on a connection of the driver's."""
    found = raw.execute("PRAGMA trusted_schema").fetchone()
    return found is None or bool(found[0])  # SQLite before 3.31 has no such setting
