"""
Cursors.

What the client (0.1.11) does, and how this module makes up for it:

- it runs only the first of several statements: they are refused;
- it runs a statement as its rows are fetched, ``INSERT ... RETURNING`` included: statements that
  change something are run to the end at once, and the first rows of others are fetched;
- its cursors stay at the end once fetchmany() has reached it: each statement gets a new one;
- its executescript() raises nothing: the statements are run one by one.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from dorm_vector.backends.libsql.errors import ProgrammingError
from dorm_vector.backends.libsql.parameters import bind, bind_values
from dorm_vector.backends.libsql.statements import Statement, split, statement

if TYPE_CHECKING:
    from dorm_vector.backends.libsql.connection import Connection

__all__ = ["Cursor"]

# Rows that are fetched as a statement is executed, before they are asked for.
FIRST_ROWS = 100
# Rows that executemany() passes to the client at a time.
MANY_ROWS = 1000

Row = tuple[Any, ...]


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

    def execute(self, sql: str, params: Any = ()) -> Cursor:
        """
        Run one statement, with ``?``, ``?1`` or ``:name`` for the parameters.

        ``params`` is a sequence, or a mapping for names. Raises ProgrammingError, before anything
        is run, for several statements, and for too few or too many parameters.
        """
        self._start()
        known = _single(sql)
        self.connection.begin_if_due(known)
        text, bound = self._binder()(sql, known, params)
        self.connection.attempt(lambda: self._run(text, known, bound), known.verb)
        return self

    def executemany(self, sql: str, rows: Iterable[Any]) -> Cursor:
        """Run one statement for each of ``rows``, which are read as needed."""
        self._start()
        known = _single(sql)
        if not known.writes:
            raise ProgrammingError(
                f"executemany() runs INSERT, UPDATE, DELETE and REPLACE, not {known.verb}."
            )
        self.connection.begin_if_due(known)
        changed = 0
        bound_row = self._binder()
        bound = (bound_row(sql, known, row) for row in rows)
        for text, group in itertools.groupby(bound, key=operator.itemgetter(0)):
            while batch := [params for _, params in itertools.islice(group, MANY_ROWS)]:
                changed += self._run_many(text, known, batch)
        self.rowcount = changed
        return self

    def executescript(self, script: str) -> Cursor:
        """Run several statements, and commit a transaction that is open before them."""
        self._start()
        _check_text(script)
        self.connection.commit()
        for each in split(script):
            self.execute(each)
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

    def _binder(self) -> Callable[[str, Statement, Any], tuple[str, Row]]:
        # A server takes whole integers as they are.
        return bind_values if self.connection.is_server else bind

    def _run(self, sql: str, known: Statement, params: Row) -> None:
        self._start()
        if not known.verb:  # an error to the client
            return
        self._raw.execute(sql, params)
        self.lastrowid = self._raw.lastrowid
        columns = self._raw.description
        if not columns:
            self.rowcount = self._raw.rowcount
            return
        self.description = columns
        if known.reads:
            first = self._raw.fetchmany(FIRST_ROWS)
            more = len(first) == FIRST_ROWS
            self._rows = itertools.chain(first, self._remaining()) if more else iter(first)
            return
        rows = self._raw.fetchall() or []
        self._rows = iter(rows)
        if known.writes:
            self.rowcount = len(rows)
            self.lastrowid = self._raw.lastrowid

    def _run_many(self, sql: str, known: Statement, batch: list[Row]) -> int:
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

        self.connection.attempt(run, known.verb)
        self.lastrowid = self._raw.lastrowid
        return sum(changed)

    def _remaining(self) -> Iterator[Row]:
        raw = self._raw
        while rows := self.connection.attempt(lambda: raw.fetchmany(FIRST_ROWS), "SELECT"):
            yield from rows


def _single(sql: str) -> Statement:
    _check_text(sql)
    known = statement(sql)
    if known.is_several:
        raise ProgrammingError("You can only execute one statement at a time.")
    return known


def _check_text(sql: str) -> None:
    if "\0" in sql:
        raise ProgrammingError(
            "The SQL contains a NUL character, where libSQL would cut it: pass it as a parameter "
            "of bytes."
        )
    if not sql.isascii():
        sql.encode()  # raises UnicodeEncodeError for half of a surrogate pair, as sqlite3 does
