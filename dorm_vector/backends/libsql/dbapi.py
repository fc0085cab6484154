"""
The DB-API 2.0 that Django expects, over the ``libsql`` client.

What the client (0.1.11) does, and what is done about it here:

- it raises ValueError for everything: ``translated`` makes sqlite3's exceptions of it;
- it binds integers past 32 bits as floats, so that they lose digits: they are bound as text that is
  cast to INTEGER;
- it cuts text at a NUL character when it reads: such text is refused when it is written;
- it takes NULL for parameters that are missing, and runs the first of several statements only: both
  are refused;
- it runs a statement as its rows are fetched, ``INSERT ... RETURNING`` included: statements that
  change something are run to their end at once, and of the others the first rows are fetched;
- a cursor of its that has come to the end in fetchmany() stays there: each statement gets another;
- its executescript() raises nothing: the statements are run one by one;
- it holds the GIL while SQLite waits for a lock, which the thread that has the lock then cannot
  give back: SQLite never waits, and ``Connection.attempt`` tries again without the GIL; a server
  does wait, so that the threads of a process write to it in ``TURNS``;
- a server ends streams that are idle for ten seconds, and transactions that others wait for, and
  the client does not notice: outside a transaction ``Connection.attempt`` connects again; within
  one, which is lost, it refuses everything until the rollback.
"""

from __future__ import annotations

import itertools
import os
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
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
from typing import Any, TypeVar

import libsql

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

# By what a message contains; OperationalError is SQLite's own word for everything else.
ERRORS: dict[str, type[Error]] = {
    r"constraint failed|datatype mismatch|SQLITE_CONSTRAINT": IntegrityError,
    r"no such function": NotSupportedError,
    r"not a database|image is malformed": DatabaseError,
    r"too big": DataError,
}
# What the client and the server wrap around what SQLite says; in "Error {" with backslashes.
WRAPPED = re.compile(
    r"Hrana: (?:`[\w ]+ error: )*`(?:error at step \d+: \(error code: \w+\) `)?"
    r'(Error { message: ")?(?:SQLite error: |SQL input error: )?(.*?)(?:", code: "\w+" })?`*',
    re.S,
)
# A server's words for infinity and NaN, which it is sent as null.
NOT_FINITE = "expected f64"
FUNCTION = re.compile(r"no such function: (\w+)")

# A lock that goes away, a stream or a transaction that has gone: nothing of the statement was run.
LOCKED = "database is locked"
GONE = re.compile("STREAM_EXPIRED|invalid baton|TRANSACTION_TIMEOUT")
LOST = "The server has ended the transaction: roll it back."

# Rows that are fetched when a statement is executed, before anybody asks for them.
FIRST_ROWS = 100
# Rows that executemany() hands to the client at a time.
MANY_ROWS = 1000

COMMENT = r"\s|--[^\n]*\n|/\*.*?\*/"
READS = re.compile(rf"(?:{COMMENT}|\()*(?:SELECT|VALUES|EXPLAIN)\b", re.I | re.S)
WRITES = re.compile(rf"(?:{COMMENT})*(?:INSERT|UPDATE|DELETE|REPLACE)\b", re.I | re.S)
CONTROLS = re.compile(
    r"\s*(?:BEGIN(?!\s+(?:IMMEDIATE|EXCLUSIVE))|COMMIT|END|PRAGMA|RELEASE|ROLLBACK|SAVEPOINT)\b",
    re.I,
)
NOTHING = re.compile(rf"(?:{COMMENT}|;|--[^\n]*\Z)*\Z", re.S)
# What stands in SQL besides code, and the two marks that are looked for.
TOKENS = re.compile(
    r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|`[^`]*`|\[[^\]]*\]|--[^\n]*|/\*.*?\*/|[?;]""", re.S
)

# By the URL of a server, whether one of this process's connections is writing to it. Those that
# waited at the server would keep the GIL from that one, until the server ended its transaction.
TURNS: dict[str, threading.Lock] = {}
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=TURNS.clear)

Row = tuple[Any, ...]
Result = TypeVar("Result")


def connect(
    database: str, *, timeout: float = 5.0, uri: bool = False, **options: Any
) -> Connection:
    """
    Open a file, ``:memory:``, or the URL of a server.

    ``timeout`` is the number of seconds for which a statement waits for a lock. ``options`` are the
    client's: ``auth_token``, ``sync_url``, ``sync_interval``, ``offline``, ``encryption_key``.
    """

    def open_raw() -> Any:
        return libsql.connect(
            database,
            timeout=0.0,
            isolation_level=None,
            _check_same_thread=False,
            _uri=uri,
            **options,
        )

    is_server = "://" in database and not uri
    turn = TURNS.setdefault(database, threading.Lock()) if is_server else None
    return Connection(open_raw, timeout, turn)


def translated(error: BaseException) -> BaseException:
    """The exception of this module for one of the client's; any other is returned as it is."""
    # A panic of the client's Rust code is a BaseException of a class that cannot be imported.
    if not isinstance(error, ValueError) and type(error).__name__ != "PanicException":
        return error
    said = str(error)
    if NOT_FINITE in said:
        return DataError("A libSQL server can neither take nor send infinite numbers and NaN.")
    message = _unwrapped(said)
    if function := FUNCTION.search(message):
        message = f"libSQL has no function {function[1]}."
    matches = (exception for pattern, exception in ERRORS.items() if re.search(pattern, said))
    return next(matches, OperationalError)(message)


def _is_of_server(error: BaseException) -> bool:
    return str(error).startswith("Hrana:")


def _unwrapped(said: str) -> str:
    wrapped = WRAPPED.fullmatch(said)
    if wrapped is None:
        return said
    return re.sub(r"\\(.)", r"\1", wrapped[2]) if wrapped[1] else wrapped[2]


class Connection:
    """A connection; ``isolation_level`` is None in autocommit mode, as in sqlite3."""

    def __init__(
        self, open_raw: Callable[[], Any], timeout: float, turn: threading.Lock | None = None
    ) -> None:
        self._turn = turn
        self._has_turn = False
        self._open_raw = open_raw
        self._raw: Any = None
        self._untouched = True
        self._lost = False
        self.timeout = timeout
        self.isolation_level: str | None = None
        self._connect()

    def _connect(self) -> None:
        try:
            self._raw = self._open_raw()
            self._lost = False
        except BaseException as error:
            exception = translated(error)
            raise exception from (error if exception is not error else error.__cause__)

    @property
    def raw(self) -> Any:
        """The client's own connection. Raises ProgrammingError once it is closed."""
        if self._raw is None:
            raise ProgrammingError("Cannot operate on a closed database.")
        return self._raw

    @property
    def in_transaction(self) -> bool:
        return self._lost or bool(self.raw.in_transaction)

    def cursor(self) -> Cursor:
        return Cursor(self)

    def execute(self, sql: str, params: Sequence[Any] = ()) -> Cursor:
        return self.cursor().execute(sql, params)

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]]) -> Cursor:
        return self.cursor().executemany(sql, rows)

    def executescript(self, script: str) -> Cursor:
        return self.cursor().executescript(script)

    def begin_unconstrained(self, begin: str) -> None:
        """
        Begin a transaction without foreign keys on a server.

        It keeps a PRAGMA for one stream only, and statements that are sent together share one.
        """
        self.execute("SELECT 1")  # connects again where that is due: executescript() cannot tell
        self._await_turn(begin)
        try:
            self.raw.executescript(f"PRAGMA foreign_keys = OFF; {begin};")
        finally:
            self._end_turn()
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
        self._end_turn()
        if raw is not None:
            raw.close()

    def __del__(self) -> None:
        self._raw = None
        self._end_turn()

    def _await_turn(self, sql: str) -> None:
        if self._turn is None or self._has_turn or READS.match(sql) or CONTROLS.match(sql):
            return
        if not self._turn.acquire(timeout=max(self.timeout, 0)):
            raise OperationalError(LOCKED)
        self._has_turn = True

    def _end_turn(self) -> None:
        """Let others write, unless a transaction goes on."""
        going_on = self._raw is not None and not self._lost and self._raw.in_transaction
        if self._turn is not None and self._has_turn and not going_on:
            self._has_turn = False
            self._turn.release()

    def begin_if_due(self, sql: str) -> None:
        """Outside autocommit mode a change begins a transaction."""
        if self.isolation_level is not None and not self.in_transaction and WRITES.match(sql):
            self.execute(f"BEGIN {self.isolation_level}")

    def attempt(self, run: Callable[[], Result], sql: str) -> Result:
        """
        Run a statement, again and again while the database is locked, ``timeout`` seconds at most.

        Not within a transaction that has already read, since the locks that it holds may be those
        that the other one waits for; COMMIT is tried again there. Where the server has ended the
        stream, a transaction is lost: statements raise OperationalError until it is rolled back,
        since the server would run each of them for itself.
        """
        if self._lost:
            raise OperationalError(LOST)
        self._await_turn(sql)
        try:
            return self._attempt(run, sql)
        finally:
            self._end_turn()

    def _attempt(self, run: Callable[[], Result], sql: str) -> Result:
        deadline = time.monotonic() + self.timeout
        pause = 0.001
        within = self.in_transaction
        stuck = within and not self._untouched and sql != "COMMIT"
        connected = False
        while True:
            try:
                result = run()
            except BaseException as error:
                exception = translated(error)
                again = LOCKED in str(error) and not stuck and time.monotonic() + pause < deadline
                gone = GONE.search(str(error)) is not None
                # A server has rolled back what it could not commit; SQLite has not.
                self._lost = within and (gone or (sql == "COMMIT" and _is_of_server(error)))
                if gone and within:
                    exception = OperationalError(LOST)
                elif gone and not connected:
                    self._connect()
                    again = connected = True
                if not again:
                    raise exception from (error if exception is not error else error.__cause__)
            else:
                self._untouched = sql.startswith(("BEGIN", "SAVEPOINT"))
                return result
            time.sleep(pause)
            pause = min(2 * pause, 0.05)


class Cursor:
    """A cursor. Its rows are tuples."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.arraysize = 1
        self._closed = False
        self._clear()

    def _clear(self) -> None:
        self._raw: Any = None
        self._rows: Iterator[Row] = iter(())
        self.description: tuple[Any, ...] | None = None
        self.rowcount = -1
        self.lastrowid: int | None = None

    def _start(self) -> None:
        if self._closed:
            raise ProgrammingError("Cannot operate on a closed cursor.")
        self._clear()
        self._raw = self.connection.raw.cursor()

    def execute(self, sql: str, params: Sequence[Any] = ()) -> Cursor:
        """Run one statement, with ``?`` for the parameters."""
        self._start()
        _check_single(sql)
        self.connection.begin_if_due(sql)
        sql, bound = _bind(sql, params)
        self.connection.attempt(lambda: self._run(sql, bound), sql)
        return self

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]]) -> Cursor:
        """Run one statement for each of ``rows``, which are read as they are needed."""
        self._start()
        _check_single(sql)
        self.connection.begin_if_due(sql)
        changed = 0
        bound = (_bind(sql, row) for row in rows)
        for statement, group in itertools.groupby(bound, key=lambda pair: pair[0]):
            while batch := [params for _, params in itertools.islice(group, MANY_ROWS)]:
                changed += self._run_many(statement, batch)
        self.rowcount = changed
        return self

    def executescript(self, script: str) -> Cursor:
        """Run several statements, and commit a transaction that is open before them."""
        self._start()
        self.connection.commit()
        for statement in _statements(script):
            self.execute(statement)
        return self

    def fetchone(self) -> Row | None:
        return next(self._rows, None)

    def fetchmany(self, size: int | None = None) -> list[Row]:
        return list(itertools.islice(self._rows, self.arraysize if size is None else size))

    def fetchall(self) -> list[Row]:
        return list(self._rows)

    def __iter__(self) -> Iterator[Row]:
        return self._rows

    def close(self) -> None:
        self._clear()
        self._closed = True

    def _run(self, sql: str, params: tuple[Any, ...]) -> None:
        self._start()
        if NOTHING.match(sql):  # an error to the client
            return
        self._raw.execute(sql, params)
        self.lastrowid = self._raw.lastrowid
        columns = self._raw.description
        if not columns:
            self.rowcount = self._raw.rowcount
            return
        self.description = columns
        if READS.match(sql):
            first = self._raw.fetchmany(FIRST_ROWS)
            more = len(first) == FIRST_ROWS
            self._rows = itertools.chain(first, self._remaining()) if more else iter(first)
            return
        rows = self._raw.fetchall() or []
        self._rows = iter(rows)
        if WRITES.match(sql):
            self.rowcount = len(rows)
            self.lastrowid = self._raw.lastrowid

    def _run_many(self, sql: str, batch: list[tuple[Any, ...]]) -> int:
        changed: list[int] = []

        def run() -> None:
            if self.connection.in_transaction:
                self._raw = self.connection.raw.cursor()
                self._raw.executemany(sql, batch)
                changed.append(self._raw.rowcount)
                return
            # Each row is a transaction of its own, and is not written again after a lock. A cursor
            # of the client's adds the rows of one statement to those of the next.
            while len(changed) < len(batch):
                self._raw = self.connection.raw.cursor()
                self._raw.execute(sql, batch[len(changed)])
                changed.append(self._raw.rowcount)

        self.connection.attempt(run, sql)
        self.lastrowid = self._raw.lastrowid
        return sum(changed)

    def _remaining(self) -> Iterator[Row]:
        raw = self._raw
        while rows := self.connection.attempt(lambda: raw.fetchmany(FIRST_ROWS), "SELECT"):
            yield from rows


def _statements(script: str) -> Iterator[str]:
    """The statements of a script, one by one. A trigger has semicolons inside."""
    start = 0
    for token in TOKENS.finditer(script):
        statement = script[start : token.end()]
        if token[0] == ";" and sqlite3.complete_statement(statement):
            yield statement
            start = token.end()
    if not NOTHING.match(script, start):
        yield script[start:]


def _check_single(sql: str) -> None:
    if ";" not in sql.rstrip("; \t\n"):
        return
    statements = [each for each in _statements(sql) if not NOTHING.match(each)]
    if len(statements) > 1:
        raise ProgrammingError("You can only execute one statement at a time.")


def _bind(sql: str, params: Sequence[Any]) -> tuple[str, tuple[Any, ...]]:
    bound = tuple([_adapted(value) for value in params])
    wide = {place for place, value in enumerate(bound) if type(value) is Wide}
    return (_with_casts(sql, wide), bound) if wide else (sql, bound)


class Wide(str):
    """An integer past 32 bits, in decimal digits."""

    __slots__ = ()


def _with_casts(sql: str, wide: set[int]) -> str:
    places = itertools.count()

    def cast(token: re.Match[str]) -> str:
        wanted = token[0] == "?" and next(places) in wide
        return "CAST(? AS INTEGER)" if wanted else token[0]

    return TOKENS.sub(cast, sql)


def _text(value: str) -> str:
    if "\0" in value:
        raise ValueError(f"libSQL cuts text at NUL (0x00) characters: {value[:40]!r}.")
    return value


def _integer(value: int) -> Any:
    if -(2**31) <= value < 2**31:
        return value
    if not -(2**63) <= value < 2**63:
        raise OverflowError(f"{value} is no 64-bit integer, the greatest that libSQL has.")
    return Wide(value)


def _same(value: Any) -> Any:
    return value


ADAPTERS: dict[type, Callable[[Any], Any]] = {
    str: _text,
    int: _integer,
    float: _same,
    bytes: _same,
    bool: int,
    type(None): _same,
    bytearray: bytes,
    memoryview: bytes,
}


def _adapted(value: Any) -> Any:
    adapter = ADAPTERS.get(type(value)) or next(
        (ADAPTERS[base] for base in type(value).__mro__ if base in ADAPTERS), None
    )
    if adapter is not None:
        return adapter(value)
    try:
        # The adapters that Django, and others, have registered for dates, decimals, ...
        adapted = sqlite3.adapt(value, sqlite3.PrepareProtocol)
    except sqlite3.ProgrammingError:
        adapted = value
    if type(adapted) in ADAPTERS:
        return ADAPTERS[type(adapted)](adapted)
    raise ProgrammingError(
        f"libSQL cannot store {value!r}: type {type(value).__name__!r} is not supported."
    )
