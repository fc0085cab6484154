"""Django's schema editor for SQLite, with side tables."""

from __future__ import annotations

from django.db.backends.sqlite3.schema import DatabaseSchemaEditor as SQLiteSchemaEditor

from dorm_vector.engines.side_tables.schema import SideTableEditor

__all__ = ["DatabaseSchemaEditor"]


class DatabaseSchemaEditor(SideTableEditor, SQLiteSchemaEditor):
    """Runs the statements of a vector index one by one, and drops its side table with its model."""
