"""The exceptions of the DB-API, which are sqlite3's, and what the client's errors become."""

from __future__ import annotations

import re
from sqlite3 import (
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
    "LOCKED",
    "DataError",
    "DatabaseError",
    "Error",
    "IntegrityError",
    "InterfaceError",
    "InternalError",
    "NotSupportedError",
    "OperationalError",
    "ProgrammingError",
    "said_by_libsql",
    "translated",
]

# By what a message contains; OperationalError is SQLite's own word for everything else.
ERRORS: dict[str, type[Error]] = {
    r"constraint failed|datatype mismatch|SQLITE_CONSTRAINT": IntegrityError,
    r"no such function|parser stack overflow": NotSupportedError,
    r"not a database|image is malformed": DatabaseError,
    r"too big": DataError,
}
FUNCTION = re.compile(r"no such function: (\w+)")
TOO_DEEP = (
    "libSQL's parser has no room for expressions that are nested so deeply (parser stack "
    "overflow): compute the inner ones in Python."
)
# A lock that will be released: nothing of the statement was run.
LOCKED = "database is locked"


def translated(error: BaseException) -> BaseException:
    """The exception of this module for one of the client's; any other is returned as it is."""
    # A panic of the client's Rust code is a BaseException of a class that cannot be imported.
    if not isinstance(error, ValueError) and type(error).__name__ != "PanicException":
        return error
    return said_by_libsql(str(error))


def said_by_libsql(said: str) -> Error:
    """The exception for a message of libSQL's, in this process or on a server."""
    function = FUNCTION.search(said)
    message = f"libSQL has no function {function[1]}." if function else said
    if "parser stack overflow" in said:
        message = TOO_DEEP
    matches = (exception for pattern, exception in ERRORS.items() if re.search(pattern, said))
    return next(matches, OperationalError)(message)
