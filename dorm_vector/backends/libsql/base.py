"""
The database wrapper.

What libSQL shares with SQLite comes from Django's SQLite backend; this module has what differs.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db.backends.sqlite3.base import DatabaseWrapper as SQLiteWrapper
from django.utils.asyncio import async_unsafe

try:
    from dorm_vector.backends.libsql import dbapi
except ImportError as error:
    raise ImproperlyConfigured(
        "dorm_vector.backends.libsql needs the package libsql: "
        'python -m pip install "dorm-vector[libsql]".'
    ) from error

from dorm_vector.backends.libsql.client import DatabaseClient
from dorm_vector.backends.libsql.creation import DatabaseCreation
from dorm_vector.backends.libsql.features import DatabaseFeatures
from dorm_vector.backends.libsql.introspection import DatabaseIntrospection
from dorm_vector.backends.libsql.locations import SCHEME, is_remote, without_secrets
from dorm_vector.backends.libsql.operations import DatabaseOperations
from dorm_vector.backends.libsql.schema import DatabaseSchemaEditor

__all__ = ["DatabaseWrapper"]

# What OPTIONS takes besides Django's own transaction_mode and init_command.
OPTIONS = frozenset(
    {"auth_token", "encryption_key", "offline", "sync_interval", "sync_url", "timeout"}
)
PLACES = re.compile(r"(?<!%)((?:%%)*)%s")


class DatabaseWrapper(SQLiteWrapper):
    """
    A connection to libSQL.

    ``vendor`` stays "sqlite", since what Django and others write for SQLite holds for libSQL.
    """

    display_name = "libSQL"
    #: See ``dorm_vector.engines.engine_for``.
    vector_engine = "libsql"

    # The lookup iregex is a function here; see ``functions``.
    operators = {name: sql for name, sql in SQLiteWrapper.operators.items() if name != "iregex"}

    Database = dbapi
    SchemaEditorClass = DatabaseSchemaEditor
    client_class = DatabaseClient  # type: ignore[assignment]
    creation_class = DatabaseCreation
    features_class = DatabaseFeatures
    introspection_class = DatabaseIntrospection
    ops_class = DatabaseOperations

    # Whether transactions begin without foreign keys, on a server, which keeps no PRAGMA.
    _unconstrained = False

    @property
    def is_remote(self) -> bool:
        """Whether statements go to a server instead of a file."""
        return is_remote(self.settings_dict["NAME"])

    def get_connection_params(self) -> dict[str, Any]:
        settings = self.settings_dict
        if not settings["NAME"]:
            raise ImproperlyConfigured(
                "settings.DATABASES is improperly configured. Please supply the NAME value."
            )
        options = dict(settings["OPTIONS"])
        self.transaction_mode = self._transaction_mode(options.pop("transaction_mode", None))
        self.init_commands = options.pop("init_command", "").split(";")
        if unknown := sorted(set(options) - OPTIONS):
            raise ImproperlyConfigured(
                f"settings.DATABASES[{self.alias!r}]['OPTIONS'] has {', '.join(unknown)}, "
                f"which libSQL does not know; use {', '.join(sorted(OPTIONS))}."
            )
        name = os.fspath(settings["NAME"])
        if not is_remote(name) and SCHEME.match(name):
            raise ImproperlyConfigured(
                f"settings.DATABASES[{self.alias!r}]['NAME'] is {without_secrets(name)!r}, and "
                "libSQL takes URLs that begin with libsql://, https:// or http://."
            )
        if is_remote(name) and without_secrets(name) != name:
            raise ImproperlyConfigured(
                f"settings.DATABASES[{self.alias!r}]['NAME'] is a URL with a user, a password, a "
                f"query or a fragment: use {without_secrets(name)!r}, and 'auth_token' in OPTIONS."
            )
        given = {option: value for option, value in options.items() if value is not None}
        return {"database": name, "uri": name.startswith("file:"), **given}

    def _transaction_mode(self, mode: str | None) -> str | None:
        if mode is None or mode.upper() in self.transaction_modes:
            return mode and mode.upper()
        raise ImproperlyConfigured(
            f"settings.DATABASES[{self.alias!r}]['OPTIONS']['transaction_mode'] is improperly "
            f"configured to '{mode}'. Use one of "
            f"{', '.join(map(repr, sorted(self.transaction_modes)))}, or None."
        )

    def get_database_version(self) -> tuple[int, ...]:
        return dbapi.sqlite_version_info

    @async_unsafe
    def get_new_connection(self, conn_params: dict[str, Any]) -> dbapi.Connection:
        connection = dbapi.connect(**conn_params)
        if not self.is_remote:
            connection.execute("PRAGMA foreign_keys = ON")
        for command in self.init_commands:
            if command.strip():
                connection.execute(command)
        return connection

    def is_usable(self) -> bool:
        try:
            self.connection.execute("SELECT 1")
        except dbapi.Error:
            return False
        return True

    def disable_constraint_checking(self) -> bool:
        if not self.is_remote or self.in_atomic_block:
            return super().disable_constraint_checking()
        self._unconstrained = True
        return True

    def enable_constraint_checking(self) -> None:
        self._unconstrained = False
        if not self.is_remote:
            super().enable_constraint_checking()

    def _start_transaction_under_autocommit(self) -> None:
        if self._unconstrained:
            self.connection.begin_unconstrained(f"BEGIN {self.transaction_mode or ''}".rstrip())
        else:
            super()._start_transaction_under_autocommit()  # type: ignore[misc]

    def create_cursor(self, name: str | None = None) -> CursorWrapper:
        return CursorWrapper(self.connection)


class CursorWrapper(dbapi.Cursor):
    """Takes SQL with ``%s`` or ``%(name)s`` for the parameters, as Django writes it."""

    def execute(self, sql: str, params: Any = None) -> CursorWrapper:
        if params is None:
            super().execute(sql)
        else:
            super().execute(_converted(sql, params), params)
        return self

    def executemany(self, sql: str, rows: Iterable[Any]) -> CursorWrapper:
        rows = iter(rows)
        first = next(rows, None)
        if first is not None:
            super().executemany(_converted(sql, first), chain([first], rows))
        return self


def _converted(sql: str, params: Any) -> str:
    """The text with the marks of SQLite, whose parameters the DB-API counts."""
    if isinstance(params, Mapping):
        return sql % {name: f":{name}" for name in params}
    if "%%" not in sql:
        return sql.replace("%s", "?")
    return PLACES.sub(r"\1?", sql).replace("%%", "%")
