from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from django.conf import settings
from django.db import DatabaseError
from django.db.backends.sqlite3.operations import DatabaseOperations as SQLiteOperations

from dorm_vector.backends.libsql import datetimes
from dorm_vector.backends.libsql.timezones import local_time
from dorm_vector.sql import SQL, fill

__all__ = ["DatabaseOperations"]

# How many characters, or bytes, of a parameter the log of queries shows.
SHOWN = 1000


class DatabaseOperations(SQLiteOperations):
    """The SQL that differs from SQLite's: libSQL has no functions in Python."""

    compiler_module = "dorm_vector.backends.libsql.compiler"

    # Dates and times

    def date_extract_sql(self, lookup_type: str, sql: str, params: Any) -> Any:
        return self._of_local(datetimes.extract, lookup_type, sql, params, None)

    def date_trunc_sql(
        self, lookup_type: str, sql: str, params: Any, tzname: str | None = None
    ) -> Any:
        return self._of_local(datetimes.truncate, lookup_type, sql, params, tzname)

    def time_extract_sql(self, lookup_type: str, sql: str, params: Any) -> Any:
        return datetimes.extract(lookup_type.lower(), SQL(f"substr({sql}, 1, 8)", tuple(params)))

    def time_trunc_sql(
        self, lookup_type: str, sql: str, params: Any, tzname: str | None = None
    ) -> Any:
        return self._of_local(datetimes.truncate_time, lookup_type, sql, params, tzname)

    def datetime_cast_date_sql(self, sql: str, params: Any, tzname: str | None) -> Any:
        return self._of_local(datetimes.truncate, "day", sql, params, tzname)

    def datetime_cast_time_sql(self, sql: str, params: Any, tzname: str | None) -> Any:
        def time(moment: SQL) -> SQL:
            return fill(
                "(time({local}) || substr({moment}, 20))",
                local=self._local(moment, tzname),
                moment=moment,
            )

        return datetimes.made_of([SQL(sql, tuple(params))], time)

    def datetime_extract_sql(
        self, lookup_type: str, sql: str, params: Any, tzname: str | None
    ) -> Any:
        return self._of_local(datetimes.extract, lookup_type, sql, params, tzname)

    def datetime_trunc_sql(
        self, lookup_type: str, sql: str, params: Any, tzname: str | None
    ) -> Any:
        return self._of_local(datetimes.truncate_datetime, lookup_type, sql, params, tzname)

    def _of_local(
        self,
        make: Callable[[str, SQL], SQL],
        lookup_type: str,
        sql: str,
        params: Any,
        tzname: str | None,
    ) -> SQL:
        return datetimes.made_of(
            [SQL(sql, tuple(params))],
            lambda moment: make(lookup_type.lower(), self._local(moment, tzname)),
        )

    def _local(self, moment: SQL, tzname: str | None) -> SQL:
        zone = tzname if settings.USE_TZ else None
        return local_time(moment, zone, self.connection.timezone_name)

    def subtract_temporals(self, internal_type: str, lhs: Any, rhs: Any) -> Any:
        left, right = (SQL(sql, tuple(params)) for sql, params in (lhs, rhs))
        return datetimes.difference(internal_type, left, right)

    def combine_duration_expression(self, connector: str, sub_expressions: Any) -> str:
        if connector not in datetimes.DURATIONS:
            raise DatabaseError(f"Invalid connector for timedelta: {connector}.")
        if len(sub_expressions) > 2:
            raise ValueError("Too many params for timedelta operations.")
        sql = datetimes.DURATIONS[connector]
        for place, part in enumerate(sub_expressions):
            sql = sql.replace(f"{{{place}}}", part)
        return sql

    # Other expressions

    def combine_expression(self, connector: str, sub_expressions: Any) -> str:
        if connector == "#":
            left, right = sub_expressions
            return f"(SELECT (l | r) - (l & r) FROM (SELECT {left} AS l, {right} AS r))"  # noqa: S608 - SQL
        return super().combine_expression(connector, sub_expressions)

    def force_group_by(self) -> list[str]:
        return []

    # Statements

    def last_executed_query(self, cursor: Any, sql: str, params: Any) -> str:
        """The statement for logs, with long values abbreviated."""
        if not params:
            return sql
        if isinstance(params, Mapping):
            return sql % {name: _literal(value) for name, value in params.items()}
        return sql % tuple(_literal(value) for value in params)

    def sql_flush(
        self,
        style: Any,
        tables: Sequence[str],
        *,
        reset_sequences: bool = False,
        allow_cascade: bool = False,
    ) -> list[str]:
        if tables and allow_cascade:
            tables = sorted(self._with_referrers(tables))
        return super().sql_flush(style, tables, reset_sequences=reset_sequences)

    def _with_referrers(self, tables: Sequence[str]) -> set[str]:
        """The tables, those with foreign keys to them, those with foreign keys to those, ..."""
        with self.connection.cursor() as cursor:
            cursor.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'")
            created = cursor.fetchall()
        found, more = set(tables), set(tables)
        while more:
            names = "|".join(map(re.escape, more))
            pattern = re.compile(rf"""\sreferences\s+["']?(?:{names})["']?\s*\(""", re.I)
            more = {name for name, sql in created if pattern.search(sql or "")} - found
            found |= more
        return found


def _literal(value: object) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bool | int | float):
        return repr(value if not isinstance(value, bool) else int(value))
    if isinstance(value, bytes | bytearray | memoryview):
        cut = bytes(value[:SHOWN]).hex().upper()
        return f"X'{cut}'" if len(value) <= SHOWN else f"X'{cut}...' /* {len(value)} bytes */"
    text = str(value)
    if len(text) > SHOWN:
        text = f"{text[:SHOWN]}..."
    return "'" + text.replace("'", "''") + "'"
