"""
Preparing connections for vectors as they open.

What is prepared is a connection of the driver's, or the class of its schema editor.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from django.db.utils import load_backend

from dorm_vector.engines import Engine, engine_class, engine_for
from dorm_vector.parameters import shorten_log

__all__ = ["prepare", "prepare_classes", "prepare_connections"]


def prepare_connections() -> None:
    """Prepare every database connection that opens from now on, in any thread."""
    connection_created.connect(_on_connection_created, dispatch_uid="dorm_vector")


def _on_connection_created(sender: Any, connection: BaseDatabaseWrapper, **kwargs: object) -> None:
    prepare(connection)


def prepare(connection: Any) -> None:
    """
    Prepare the open connection of a Django connection for vectors, once.

    ``AppConfig.ready()`` runs again when INSTALLED_APPS changes, within transactions and while rows
    are read: a connection of the driver's must not be prepared twice.
    """
    raw = connection.connection
    prepared = vars(connection).get("_dorm_vector_prepared", _nothing)
    if raw is not None and prepared() is not raw:
        connection._dorm_vector_prepared = _reference(raw)
        engine_for(connection).prepare()
    shorten_log(connection)


def _nothing() -> None:
    """A dead reference."""


def _reference(raw: object) -> Callable[[], Any]:
    """A reference to a connection of the driver's, weak if possible, so that it may close."""
    try:
        return weakref.ref(raw)
    except TypeError:  # sqlite3's
        return lambda: raw


def prepare_classes() -> set[type[Engine]]:
    """
    Teach the schema editors and the introspection of all databases in the settings about vectors.

    Their classes are taught: an editor may be made before its connection has been opened, in any
    thread. A backend that cannot be imported says so where its database is used. Returns the
    classes of the engines.
    """
    found = set()
    for alias in connections:
        with contextlib.suppress(ImproperlyConfigured, ImportError):
            wrapper = load_backend(connections.settings[alias]["ENGINE"]).DatabaseWrapper
            engine = engine_class(wrapper, alias)
            engine.prepare_wrapper(wrapper)
            found.add(engine)
    for connection in connections.all(initialized_only=True):
        engine_for(connection)  # made before its class was prepared
    return found
