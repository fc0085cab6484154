"""
One engine object for each database connection, with everything that differs by database.

``engine_for(connection)`` is the only place that looks at what a connection is. It sends no SQL.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import connections, router
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils.connection import ConnectionProxy
from django.utils.module_loading import import_string

from dorm_vector import conf
from dorm_vector.engines.base import Engine

__all__ = ["ENGINES", "Engine", "engine_class", "engine_for", "engines_of", "forget_engines"]

# Engines by name: the values that DORM_VECTOR["ENGINES"] takes besides dotted paths.
ENGINES = {
    "postgresql": "dorm_vector.engines.postgresql.PostgreSQLEngine",
    "libsql": "dorm_vector.engines.libsql.LibSQLEngine",
    "sqlite": "dorm_vector.engines.sqlite.SQLiteEngine",
    "unsupported": "dorm_vector.engines.base.Engine",
}

# By connection.vendor. YugabyteDB includes pgvector, and its backend has had both names;
# CockroachDB's own vectors differ, and Redshift has none.
VENDORS = {
    "postgresql": "postgresql",
    "yugabyte": "postgresql",
    "yugabytedb": "postgresql",
    "sqlite": "sqlite",
    "libsql": "libsql",
}

# Why databases are refused that seem to have what is needed. Source, of CockroachDB's:
# https://www.cockroachlabs.com/docs/stable/vector-indexes and its known limitations.
REFUSED = {
    "cockroachdb": (
        "CockroachDB has vectors of its own instead of pgvector: no halfvec, sparsevec or bit "
        "distances, no HNSW or IVFFlat indexes, and none of their settings, so that nothing says "
        "whether a search of its indexes is complete"
    ),
}

# Backends for other databases call themselves "sqlite" too. Those that can load sqlite-vec derive
# from Django's own, with a driver of one of these packages.
SQLITE_BACKEND = "django.db.backends.sqlite3.base"
SQLITE_DRIVERS = frozenset({"pysqlcipher3", "pysqlite3", "sqlcipher3", "sqlean", "sqlite3"})


def engine_for(connection: BaseDatabaseWrapper | ConnectionProxy) -> Engine:
    """
    The engine of a Django database connection, made once for each connection.

    Looks at ``DORM_VECTOR["ENGINES"]``, then at the attribute ``vector_engine`` of the connection
    (a name or a dotted path, for backends that know their engine), then at its vendor, and for one
    that calls itself SQLite at its class and its driver. A database that none of them names gets
    the base engine, which raises NotSupportedError for whatever is asked of it.
    """
    wrapper: Any = connection
    try:
        engine: Engine = wrapper._dorm_vector_engine
    except AttributeError:
        # The connection behind django.db.connection, or behind any other proxy.
        wrapper = wrapper.ops.connection
        engine = engine_class(wrapper, wrapper.alias)(wrapper)
        engine.why_refused = REFUSED.get(wrapper.vendor)
        wrapper._dorm_vector_engine = engine
    return engine


def engines_of(model: Any = None) -> Iterator[tuple[str, Engine]]:
    """
    The engine of each database, by alias, or of those that hold ``model``. Opens no connection.
    """
    for alias in connections:
        if model is None or _holds(alias, model):
            yield alias, engine_for(connections[alias])


def _holds(alias: str, model: Any) -> bool:
    """Whether a database has the table of a model."""
    # Required features are not considered: determining them may query the database.
    required = model._meta.required_db_vendor
    if required and required != connections[alias].vendor:
        return False
    return router.allow_migrate_model(alias, model)


def engine_class(
    wrapper: BaseDatabaseWrapper | type[BaseDatabaseWrapper], alias: str
) -> type[Engine]:
    """The class of the engine of a connection, or of a class of connections."""
    named = conf.get("ENGINES").get(alias)
    path = named or getattr(wrapper, "vector_engine", None) or _detect(wrapper)
    try:
        engine_class: type[Engine] = import_string(ENGINES.get(path, path))
    except ImportError as error:
        raise ImproperlyConfigured(
            f"{path!r} is not a vector engine for the database {alias!r}; "
            f"use one of {', '.join(map(repr, ENGINES))} or the dotted path of a class."
        ) from error
    return engine_class


def forget_engines() -> None:
    """Have every connection find its engine again after a change of settings."""
    for connection in connections.all(initialized_only=True):
        vars(connection).pop("_dorm_vector_engine", None)


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
