from __future__ import annotations

from typing import Any

from django.db.backends.base.introspection import TableInfo
from django.db.backends.sqlite3.introspection import DatabaseIntrospection as SQLiteIntrospection
from django.db.backends.sqlite3.introspection import FlexibleFieldLookupDict

__all__ = ["DatabaseIntrospection"]

# libSQL keeps each vector index in a table with this suffix, and a list of them in another.
SHADOW = "_shadow"
LIST = "libsql_vector_meta_shadow"


class FieldTypes(FlexibleFieldLookupDict):
    """Field types by column type, including those of vectors."""

    base_data_types_reverse = {
        **FlexibleFieldLookupDict.base_data_types_reverse,
        "f32_blob": "BinaryField",
    }


class DatabaseIntrospection(SQLiteIntrospection):
    """Leaves out the tables in which libSQL keeps its vector indexes."""

    data_types_reverse = FieldTypes()

    def get_table_list(self, cursor: Any) -> Any:
        cursor.execute(
            "SELECT name, substr(type, 1, 1) FROM sqlite_master WHERE type IN ('table', 'view') "
            "AND name NOT IN ('sqlite_sequence', %s) AND name NOT IN "
            "(SELECT name || %s FROM sqlite_master WHERE type = 'index') ORDER BY name",
            [LIST, SHADOW],
        )
        return [TableInfo(*row) for row in cursor.fetchall()]
