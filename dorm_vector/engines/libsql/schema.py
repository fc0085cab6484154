"""The schema editor of the libSQL backend, with side tables."""

from __future__ import annotations

from dorm_vector.backends.libsql.schema import DatabaseSchemaEditor as LibSQLSchemaEditor
from dorm_vector.engines.side_tables.schema import SideTableEditor

__all__ = ["DatabaseSchemaEditor"]


class DatabaseSchemaEditor(SideTableEditor, LibSQLSchemaEditor):
    """Runs the statements of a vector index one by one, and drops its side table with its model."""
