"""A table of its own that migration operations change, and its indexes for PostgreSQL."""

from __future__ import annotations

from typing import Any

from django.db import connections, migrations
from django.db.migrations.state import ProjectState

from dorm_vector import HnswIndex, IvfflatIndex, models

__all__ = ["Schema", "hnsw", "ivfflat"]


def hnsw(**kwargs: Any) -> HnswIndex:
    return HnswIndex(**{"fields": ["embedding"], "name": "i", **kwargs})


def ivfflat(**kwargs: Any) -> IvfflatIndex:
    return IvfflatIndex(**{"fields": ["embedding"], "name": "i", "lists": 10, **kwargs})


class Schema:
    """A table of its own in one database, changed by migration operations."""

    def __init__(self, alias: str, db_table: str | None = None) -> None:
        self.connection = connections[alias]
        self.states = [ProjectState()]
        fields = [
            ("id", models.AutoField(primary_key=True)),
            ("category", models.IntegerField(default=0)),
            ("embedding", models.VectorField(3, null=True)),
        ]
        self.run(
            migrations.CreateModel("Thing", fields, {"db_table": db_table} if db_table else {})
        )

    @property
    def state(self) -> ProjectState:
        return self.states[-1]

    @property
    def model(self) -> Any:
        return self.state.apps.get_model("shop", "Thing")

    def run(self, operation: Any, atomic: bool = True) -> None:
        state = self.state.clone()
        operation.state_forwards("shop", state)
        with self.connection.schema_editor(atomic=atomic) as editor:
            operation.database_forwards("shop", editor, self.state, state)
        self.states.append(state)

    def undo(self, operation: Any, atomic: bool = True) -> None:
        state = self.states.pop()
        with self.connection.schema_editor(atomic=atomic) as editor:
            operation.database_backwards("shop", editor, state, self.state)

    def sql(self, operation: Any) -> str:
        state = self.state.clone()
        operation.state_forwards("shop", state)
        with self.connection.schema_editor(collect_sql=True) as editor:
            operation.database_forwards("shop", editor, self.state, state)
        return "\n".join(editor.collected_sql)

    def indexes(self) -> dict[str, str]:
        if self.connection.vendor != "postgresql":
            return {}
        with self.connection.cursor() as cursor:
            cursor.execute(
                "SELECT indexname, indexdef FROM pg_indexes "
                "WHERE tablename = 'shop_thing' AND indexname NOT LIKE '%pkey'"
            )
            return dict(cursor.fetchall())
