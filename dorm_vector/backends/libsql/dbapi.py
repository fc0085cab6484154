"""The DB-API 2.0 that Django expects, over the ``libsql`` client and over HTTP."""

from __future__ import annotations

from dorm_vector.backends.libsql.connection import Connection, connect
from dorm_vector.backends.libsql.cursor import Cursor
from dorm_vector.backends.libsql.errors import (
    DatabaseError,
    DataError,
    Error,
    IntegrityError,
    InterfaceError,
    InternalError,
    NotSupportedError,
    OperationalError,
    ProgrammingError,
)

__all__ = [
    "Connection",
    "Cursor",
    "DataError",
    "DatabaseError",
    "Error",
    "IntegrityError",
    "InterfaceError",
    "InternalError",
    "NotSupportedError",
    "OperationalError",
    "ProgrammingError",
    "connect",
    "sqlite_version_info",
]

apilevel = "2.0"
threadsafety = 1
paramstyle = "qmark"
Binary = bytes

#: The version of SQLite that libSQL was forked from, as in ``SELECT sqlite_version()``. The
#: client's own constant is a lower one.
sqlite_version_info: tuple[int, ...] = (3, 45, 1)
sqlite_version = ".".join(map(str, sqlite_version_info))
