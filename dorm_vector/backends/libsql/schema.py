from __future__ import annotations

from typing import Any

from django.db import transaction
from django.db.backends.sqlite3.schema import DatabaseSchemaEditor as SQLiteSchemaEditor

__all__ = ["DatabaseSchemaEditor"]


class DatabaseSchemaEditor(SQLiteSchemaEditor):
    """SQLite's, for servers too."""

    def _remake_table(self, *args: Any, **kwargs: Any) -> None:
        # A server leaves out foreign keys within a transaction only, and would delete the rows that
        # refer to the table when the old one is dropped.
        if self.connection.is_remote and not self.connection.in_atomic_block:
            with transaction.atomic(self.connection.alias):
                super()._remake_table(*args, **kwargs)
        else:
            super()._remake_table(*args, **kwargs)
