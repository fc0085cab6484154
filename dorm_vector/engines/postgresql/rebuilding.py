"""Loading without the vector indexes of a table, which are rebuilt afterwards."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, NamedTuple

from django.db import OperationalError, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Model

__all__ = ["without_indexes"]

# The indexes of a table with certain names and methods, as DROP INDEX takes them, and what makes
# them as they are. An index of a partition that belongs to one of the whole table cannot be dropped
# alone. The definition of an index of the whole table says that it is of no partition.
INDEXES = """
    SELECT i.indexrelid::regclass::text, c.relname, a.amname,
        replace(
            pg_get_indexdef(i.indexrelid),
            format('CREATE INDEX %%I ON ONLY ', c.relname),
            format('CREATE INDEX %%I ON ', c.relname)
        )
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam
    WHERE i.indrelid = to_regclass(%s) AND NOT c.relispartition AND NOT i.indisunique
    ORDER BY c.relname
"""
SETTINGS = {
    "maintenance_work_mem": "maintenance_work_mem",
    "workers": "max_parallel_maintenance_workers",
}
# SQLSTATE object_in_use.
IN_USE = "55006"


class Found(NamedTuple):
    """An index of the database: its name as SQL, and the statement that makes it."""

    name: str
    definition: str


@contextlib.contextmanager
def without_indexes(engine: Any, model: Any, settings: dict[str, Any]) -> Iterator[None]:
    """
    A block in which a table lacks the vector indexes that its model declares.

    They are made again as the database had them, with ``settings``, which the server has to accept
    before the first one is dropped. An error in the block takes the transaction back, and the DROPs
    with it.
    """
    connection = engine.connection
    model = model._meta.concrete_model
    table = connection.ops.quote_name(model._meta.db_table)
    indexes = _found(engine, model, table)
    local = {SETTINGS[name]: value for name, value in settings.items() if value is not None}
    with engine.local_settings(local):
        # Pending checks of deferred foreign keys would keep the indexes from being changed.
        connection.check_constraints()
        _require_unused(connection, model, table)
        _execute(connection, [f"DROP INDEX {index.name}" for index in indexes])
        yield
        connection.check_constraints()
        with _explained(table):
            _execute(connection, [index.definition for index in indexes])


def _found(engine: Any, model: type[Model], table: str) -> list[Found]:
    declared = {
        (index.name, engine.access_method(index))
        for index in model._meta.indexes
        if hasattr(index, "method") and engine.why_not_built(index, model) is None
    }
    with engine.connection.cursor() as cursor:
        cursor.execute(INDEXES, [table])
        return [
            Found(name, definition)
            for name, relation, method, definition in cursor.fetchall()
            if (relation, method) in declared
        ]


def _execute(connection: BaseDatabaseWrapper, statements: list[str]) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def _require_unused(connection: Any, model: Any, table: str) -> None:
    """
    Raise now what CREATE INDEX would raise after the load: a cursor that is not read to its end.

    DROP INDEX does not mind one. ALTER TABLE does, and is undone.
    """
    with _explained(table), transaction.atomic(connection.alias):
        column = connection.ops.quote_name(model._meta.concrete_fields[0].column)
        _execute(connection, [f"ALTER TABLE {table} ALTER COLUMN {column} SET STATISTICS 100"])
        transaction.set_rollback(True, connection.alias)


@contextlib.contextmanager
def _explained(table: str) -> Iterator[None]:
    try:
        yield
    except OperationalError as error:
        cause: Any = error.__cause__
        state = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
        if state != IN_USE:
            raise
        raise OperationalError(
            f"The indexes of {table} cannot be rebuilt while an iterator() over it is half read: "
            "read it to its end or close it, or leave out rebuild_indexes."
        ) from error
