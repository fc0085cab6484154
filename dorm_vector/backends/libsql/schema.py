from __future__ import annotations

from contextlib import nullcontext
from typing import Any

from django.db import transaction
from django.db.backends.sqlite3.schema import DatabaseSchemaEditor as SQLiteSchemaEditor

__all__ = ["DatabaseSchemaEditor"]


class DatabaseSchemaEditor(SQLiteSchemaEditor):
    """SQLite's, for servers too."""

    connection: Any

    # A server leaves out foreign keys within a transaction only, and would delete the rows that
    # refer to a table when it is dropped.

    def _remake_table(self, *args: Any, **kwargs: Any) -> None:
        with self._transaction():
            super()._remake_table(*args, **kwargs)  # type: ignore[misc]

    def delete_model(self, *args: Any, **kwargs: Any) -> None:
        with self._transaction():
            super().delete_model(*args, **kwargs)

    def _transaction(self) -> Any:
        if self.connection.is_remote and not self.connection.in_atomic_block:
            return transaction.atomic(self.connection.alias)
        return nullcontext()
