"""
One engine object for each database connection: everything that differs by database.

``engine_for(connection)`` is the only place that asks a connection what it is. No SQL is sent to
find out.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.utils import load_backend
from django.utils.module_loading import import_string

from dorm_vector import conf
from dorm_vector.engines.base import Engine

__all__ = ["Engine", "engine_for", "prepare"]

# Engines by name: the values that DORM_VECTOR["ENGINES"] takes besides dotted paths.
ENGINES = {
    "postgresql": "dorm_vector.engines.postgresql.PostgreSQLEngine",
    "libsql": "dorm_vector.engines.libsql.LibSQLEngine",
    "sqlite": "dorm_vector.engines.sqlite.SQLiteEngine",
    "unsupported": "dorm_vector.engines.base.Engine",
}

# By connection.vendor. YugabyteDB carries pgvector, and its backend has had both names;
# CockroachDB's own vectors differ from it, and Redshift has none.
VENDORS = {
    "postgresql": "postgresql",
    "yugabyte": "postgresql",
    "yugabytedb": "postgresql",
    "sqlite": "sqlite",
    "libsql": "libsql",
}

# Backends for other databases call themselves "sqlite" as well. One that can load sqlite-vec is
# derived from Django's own, and its driver is one of these packages.
SQLITE_BACKEND = "django.db.backends.sqlite3.base"
SQLITE_DRIVERS = frozenset({"pysqlcipher3", "pysqlite3", "sqlcipher3", "sqlean", "sqlite3"})


def engine_for(connection: Any) -> Engine:
    """
    The engine of a Django database connection, made once for each connection.

    Looks at ``DORM_VECTOR["ENGINES"]``, then at the attribute ``vector_engine`` of the connection
    (a name or a dotted path, for backends that know their engine), then at its vendor, and for one
    that calls itself SQLite at its class and its driver. A database that none of them names gets
    the base engine, which raises NotSupportedError for whatever is asked of it.
    """
    try:
        engine: Engine = connection._dorm_vector_engine
    except AttributeError:
        # What stands behind django.db.connection, and behind any other proxy.
        connection = connection.ops.connection
        engine = _engine_class(connection, connection.alias)(connection)
        connection._dorm_vector_engine = engine
    return engine


def prepare(connection: Any) -> None:
    """
    Make what a Django connection has open fit for vectors, once.

    ``AppConfig.ready()`` runs again where INSTALLED_APPS is changed, within transactions and while
    rows are read: nothing of the sort must happen twice to a connection of the driver's.
    """
    raw = connection.connection
    prepared = vars(connection).get("_dorm_vector_prepared", _nothing)
    if raw is not None and prepared() is not raw:
        connection._dorm_vector_prepared = _reference(raw)
        engine_for(connection).prepare()


def _nothing() -> None:
    """A reference to nothing."""


def _reference(raw: Any) -> Callable[[], Any]:
    """What tells a connection of the driver's, and does not keep it open where that can be."""
    try:
        return weakref.ref(raw)
    except TypeError:  # sqlite3's
        return lambda: raw


def prepare_editors() -> None:
    """
    Let the schema editors of all databases in the settings know vector indexes.

    Their classes get it: an editor may be made before its connection has been opened, in any
    thread. A backend that cannot be imported says so where its database is used.
    """
    for alias in connections:
        with contextlib.suppress(ImproperlyConfigured, ImportError):
            wrapper = load_backend(connections.settings[alias]["ENGINE"]).DatabaseWrapper
            _engine_class(wrapper, alias).prepare_editors(wrapper)


def forget_engines() -> None:
    """Let every connection find its engine anew, after a change of settings."""
    for connection in connections.all(initialized_only=True):
        vars(connection).pop("_dorm_vector_engine", None)


def _engine_class(
    wrapper: BaseDatabaseWrapper | type[BaseDatabaseWrapper], alias: str
) -> type[Engine]:
    named = conf.get("ENGINES").get(alias)
    path = named or getattr(wrapper, "vector_engine", None) or _detect(wrapper)
    try:
        engine_class: type[Engine] = import_string(ENGINES.get(path, path))
    except ImportError as error:
        raise ImproperlyConfigured(
            f"{path!r} is no vector engine for the database {alias!r}; "
            f"use one of {', '.join(map(repr, ENGINES))} or the dotted path of a class."
        ) from error
    return engine_class


def _detect(wrapper: BaseDatabaseWrapper | type[BaseDatabaseWrapper]) -> str:
    name = VENDORS.get(wrapper.vendor, "unsupported")
    if name == "sqlite" and not _loads_extensions(wrapper):
        return "unsupported"
    return name


def _loads_extensions(wrapper: Any) -> bool:
    driver = wrapper.Database.__name__.partition(".")[0]
    wrapper_class = wrapper if isinstance(wrapper, type) else type(wrapper)
    modules = {cls.__module__ for cls in wrapper_class.__mro__}
    return driver in SQLITE_DRIVERS and SQLITE_BACKEND in modules
