"""Django's introspection of a database, with vectors."""

from __future__ import annotations

from typing import Any

from django.db.backends.base.introspection import BaseDatabaseIntrospection

from dorm_vector.engines import engine_for

__all__ = ["VectorIntrospection"]


class VectorIntrospection(BaseDatabaseIntrospection):
    """The part of a connection's introspection that knows vectors."""

    def get_table_list(self, cursor: Any) -> Any:
        tables = super().get_table_list(cursor)
        own = self._engine.own_tables()
        return [table for table in tables if table.name not in own]

    def get_constraints(self, cursor: Any, table_name: str) -> Any:
        constraints: Any = super().get_constraints(cursor, table_name)
        for found in self._engine.vector_indexes(table_name):
            known = constraints.setdefault(
                found.name,
                {
                    "columns": [found.column],
                    "primary_key": False,
                    "unique": False,
                    "foreign_key": None,
                    "check": False,
                    "index": True,
                    "type": found.method,
                    "definition": found.definition,
                    "options": [f"{name}={value}" for name, value in found.options.items()],
                },
            )
            known["metric"] = found.metric
        return constraints

    @property
    def _engine(self) -> Any:
        return engine_for(self.connection)
