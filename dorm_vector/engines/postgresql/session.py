"""Settings of a whole session, which neither end nor break a transaction."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from django.db import DatabaseError
from django.db.backends.base.base import BaseDatabaseWrapper

from dorm_vector.sql import literal, word

__all__ = ["backend_pid", "naming_replica", "set_for_session"]

# Of read_only_sql_transaction.
READ_ONLY = "25006"

# Of libpq's PQtransactionStatus(); source: https://www.postgresql.org/docs/current/libpq-status.html
IDLE, IN_TRANSACTION = 0, 2

SAVEPOINT = "dorm_vector_session"


def set_for_session(connection: BaseDatabaseWrapper, name: str, value: str) -> None:
    """
    ``SET name = value`` on the connection that is open, through the driver's own cursor.

    An open transaction stays open, also where the server refuses; what is set there is undone where
    it is rolled back. Nothing is sent where a statement is running, a transaction has failed, or
    the connection is lost.

    Raises the driver's own errors, and ValueError for what cannot be written into the statement.
    """
    raw = connection.connection
    send = {IDLE: _send_alone, IN_TRANSACTION: _send_in_savepoint}.get(_status(raw))
    if send is not None:
        with raw.cursor() as cursor:
            send(connection, cursor.execute, f"SET {word(name)} = {literal(value)}")


@contextlib.contextmanager
def naming_replica(alias: str) -> Iterator[None]:
    """A block that writes, whose error names the database where that is one that only reads."""
    try:
        yield
    except DatabaseError as error:
        cause: Any = error.__cause__
        state = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
        if state != READ_ONLY:
            raise
        raise type(error)(
            f"The database {alias!r} only reads, as a replica does: let the router send writes to "
            "its primary, or name that by using()."
        ) from error


def backend_pid(raw: Any) -> int:
    """The process of the server that the driver believes to be connected to; a pool lies."""
    pgconn = getattr(raw, "pgconn", None)
    return int(raw.get_backend_pid() if pgconn is None else pgconn.backend_pid)


def _status(raw: Any) -> Any:
    """What a transaction is doing, or None where the connection is closed."""
    if raw.closed:
        return None
    # Psycopg's ``info`` has it too, but some connection pools have an ``info`` of their own.
    pgconn = getattr(raw, "pgconn", None)
    return raw.get_transaction_status() if pgconn is None else pgconn.transaction_status


def _send_alone(connection: Any, execute: Callable[[str], Any], statement: str) -> None:
    """In autocommit: otherwise it would open a transaction, and be undone by a rollback."""
    autocommit = connection.autocommit
    if not autocommit:
        connection._set_autocommit(True)
    try:
        execute(statement)
    finally:
        if not autocommit:
            connection._set_autocommit(False)


def _send_in_savepoint(connection: Any, execute: Callable[[str], Any], statement: str) -> None:
    """A savepoint: without it an error of the server would abort the whole transaction."""
    execute(f"SAVEPOINT {SAVEPOINT}")
    try:
        execute(statement)
    except connection.Database.Error:
        execute(f"ROLLBACK TO SAVEPOINT {SAVEPOINT}")
        raise
    finally:
        execute(f"RELEASE SAVEPOINT {SAVEPOINT}")
