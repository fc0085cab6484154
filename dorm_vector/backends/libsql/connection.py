"""
Connections: which statements wait or are retried, and when a transaction is lost.

The client (0.1.11) holds the GIL while SQLite waits for a lock, which the thread that has the lock
then cannot give back: SQLite never waits, and ``Connection.attempt`` tries again without the GIL.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import libsql

from dorm_vector.backends.libsql.cursor import Cursor
from dorm_vector.backends.libsql.errors import (
    LOCKED,
    OperationalError,
    ProgrammingError,
    translated,
)
from dorm_vector.backends.libsql.hrana import Client, GoneError
from dorm_vector.backends.libsql.statements import Statement

__all__ = ["Connection", "connect"]

#: Seconds that a statement waits for a lock by default.
TIMEOUT = 5.0
LOST = "The server has ended the transaction: roll it back."
FORKED = "The transaction belongs to another process, which this one was forked from: roll it back."

# What belongs to another process, kept so that this one does not close it.
LEFT: list[Any] = []

Result = TypeVar("Result")


def connect(
    database: str, *, timeout: float | None = None, uri: bool = False, **options: Any
) -> Connection:
    """
    Open a file, ``:memory:``, or the URL of a server.

    ``timeout`` is the number of seconds that a statement waits for a lock, 5 by default, and that
    a server has to answer, 60 by default. ``options`` are the client's: ``auth_token``,
    ``sync_url``, ``sync_interval``, ``offline``, ``encryption_key``.
    """
    is_server = "://" in database and not uri

    def open_raw() -> Any:
        if is_server:
            return Client(database, options.get("auth_token"), timeout)
        return libsql.connect(
            database,
            timeout=0.0,
            isolation_level=None,
            _check_same_thread=False,
            _uri=uri,
            **options,
        )

    return Connection(
        open_raw,
        TIMEOUT if timeout is None else timeout,
        is_server=is_server,
        is_copy=bool(options.get("sync_url")),
    )


class Connection:
    """A connection; ``isolation_level`` is None in autocommit mode, as in sqlite3."""

    def __init__(
        self,
        open_raw: Callable[[], Any],
        timeout: float,
        *,
        is_server: bool = False,
        is_copy: bool = False,
    ) -> None:
        self._open_raw = open_raw
        #: Whether each statement goes to a server.
        self.is_server = is_server
        self._is_local = not is_server and not is_copy
        self._raw: Any = None
        self._untouched = True
        # Why statements are refused until the rollback.
        self._lost = ""
        self.timeout = timeout
        self.isolation_level: str | None = None
        self._connect()

    def _connect(self) -> None:
        try:
            self._raw = self._open_raw()
            self._process = os.getpid()
            self._lost = ""
        except BaseException as error:
            exception = translated(error)
            raise exception from (error if exception is not error else error.__cause__)

    @property
    def raw(self) -> Any:
        """The client's own connection. Raises ProgrammingError once it is closed."""
        if self._raw is None:
            raise ProgrammingError("Cannot operate on a closed database.")
        if not self._is_local and self._process != os.getpid():
            self._connect_after_fork()
        return self._raw

    def _connect_after_fork(self) -> None:
        """Leave the other process what belongs to it: a stream, or the client's threads."""
        LEFT.append(self._raw)
        was_within = bool(self._raw.in_transaction)
        self._connect()
        if was_within:
            self._lost = FORKED

    @property
    def in_transaction(self) -> bool:
        return bool(self.raw.in_transaction) or bool(self._lost)

    def cursor(self) -> Cursor:
        return Cursor(self)

    def execute(self, sql: str, params: Any = ()) -> Cursor:
        return self.cursor().execute(sql, params)

    def executemany(self, sql: str, rows: Iterable[Any]) -> Cursor:
        return self.cursor().executemany(sql, rows)

    def executescript(self, script: str) -> Cursor:
        return self.cursor().executescript(script)

    def begin_unconstrained(self, begin: str) -> None:
        """
        Begin a transaction without foreign keys on a server.

        A PRAGMA holds for one stream, and statements that are sent together share one.
        """
        self.attempt(lambda: self.raw.executescript(f"PRAGMA foreign_keys = OFF; {begin}"), "BEGIN")
        if not self.in_transaction:
            raise OperationalError(f"The server did not {begin}.")

    def commit(self) -> None:
        if self.in_transaction:
            self.execute("COMMIT")

    def rollback(self) -> None:
        if self.in_transaction:
            try:
                self.execute("ROLLBACK")
            except OperationalError:
                if not self._lost:
                    raise
                self._connect()

    def sync(self) -> None:
        """Bring an embedded replica up to date with its server."""
        self.attempt(lambda: self.raw.sync(), "PRAGMA")

    def close(self) -> None:
        raw, self._raw = self._raw, None
        if raw is None:
            return
        if self._is_local or self._process == os.getpid():
            raw.close()
        else:
            LEFT.append(raw)

    def begin_if_due(self, known: Statement) -> None:
        """Begin a transaction before a change outside autocommit mode."""
        if self.isolation_level is not None and not self.in_transaction and known.writes:
            self.execute(f"BEGIN {self.isolation_level}")

    def attempt(self, run: Callable[[], Result], verb: str) -> Result:
        """
        Run a statement, retrying for up to ``timeout`` seconds while the database is locked.

        ``verb`` is that of the statement. Not within a transaction that has already read, since the
        locks that it holds may be those that the other one waits for; COMMIT is tried again there.
        Where the server has ended the stream, or its answer is lost, so is a transaction:
        statements raise OperationalError until it is rolled back. Outside a transaction the next
        statement has another stream.
        """
        within = self.in_transaction
        if self._lost:
            raise OperationalError(self._lost)
        deadline = time.monotonic() + self.timeout
        pause = 0.001
        is_commit = verb in ("COMMIT", "END")
        stuck = within and not self._untouched and not is_commit
        while True:
            try:
                result = run()
            except BaseException as error:
                exception = translated(error)
                again = LOCKED in str(error) and not stuck and time.monotonic() + pause < deadline
                if within and not self._is_local and self._is_lost(error, is_commit):
                    self._lost = LOST
                    if isinstance(error, GoneError):
                        exception = OperationalError(LOST)
                if not again:
                    raise exception from (error if exception is not error else error.__cause__)
            else:
                # What takes no lock: BEGIN, and savepoints before anything else.
                self._untouched = verb == "BEGIN" or (
                    verb in ("SAVEPOINT", "RELEASE") and (not within or self._untouched)
                )
                return result
            time.sleep(pause)
            pause = min(2 * pause, 0.05)

    def _is_lost(self, error: BaseException, is_commit: bool) -> bool:
        """A server rolls back what it cannot commit; SQLite does not."""
        gone = isinstance(error, GoneError) or not isinstance(error, Exception)
        return gone or (is_commit and not self._raw.in_transaction)
