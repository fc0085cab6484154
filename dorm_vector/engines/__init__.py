"""
One engine object for each database connection: everything that differs by database.

``engine_for(connection)`` is the only place that asks a connection what it is. No SQL is sent to
find out.
"""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils.connection import ConnectionProxy
from django.utils.module_loading import import_string

from dorm_vector import conf
from dorm_vector.engines.base import Engine

__all__ = ["Engine", "engine_for"]

# Engines by name: the values that DORM_VECTOR["ENGINES"] takes besides dotted paths.
ENGINES = {
    "postgresql": "dorm_vector.engines.postgresql.PostgreSQLEngine",
    "libsql": "dorm_vector.engines.libsql.LibSQLEngine",
    "sqlite": "dorm_vector.engines.sqlite.SQLiteEngine",
    "unsupported": "dorm_vector.engines.base.Engine",
}

# By connection.vendor. YugabyteDB carries pgvector; CockroachDB's own vectors differ from it.
VENDORS = {"postgresql": "postgresql", "sqlite": "sqlite", "yugabytedb": "postgresql"}

# By what is in the module of the connection's class, where the vendor alone would mislead: other
# backends of that name say "sqlite", or use Python's sqlite3 for files, which has no such vectors.
MODULES = {"libsql.db.backends": "libsql", "libsql": "unsupported"}


def engine_for(connection: Any) -> Engine:
    """
    The engine of a Django database connection, made once for each connection.

    Looks at ``DORM_VECTOR["ENGINES"]``, then at the attribute ``vector_engine`` of the connection
    (a name or a dotted path, for backends that know their engine), then at the module of the
    connection's class and at its vendor. A database that none of them names gets the base engine,
    which raises NotSupportedError for whatever is asked of it.
    """
    try:
        engine: Engine = connection._dorm_vector_engine
    except AttributeError:
        if isinstance(connection, ConnectionProxy):  # django.db.connection: its class says nothing
            connection = connections[connection.alias]
        engine = connection._dorm_vector_engine = _engine_class(connection)(connection)
    return engine


def forget_engines() -> None:
    """Let every connection find its engine anew, after a change of settings."""
    for connection in connections.all(initialized_only=True):
        vars(connection).pop("_dorm_vector_engine", None)


def _engine_class(connection: BaseDatabaseWrapper) -> type[Engine]:
    named = conf.get("ENGINES").get(connection.alias)
    path = named or getattr(connection, "vector_engine", None) or _detect(connection)
    try:
        engine_class: type[Engine] = import_string(ENGINES.get(path, path))
    except ImportError as error:
        raise ImproperlyConfigured(
            f"{path!r} is no vector engine for the database {connection.alias!r}; "
            f"use one of {', '.join(map(repr, ENGINES))} or the dotted path of a class."
        ) from error
    return engine_class


def _detect(connection: BaseDatabaseWrapper) -> str:
    modules = " ".join(cls.__module__ for cls in type(connection).__mro__)
    for word, name in MODULES.items():
        if word in modules:
            return name
    return VENDORS.get(connection.vendor, "unsupported")
