"""A table that migrations change on an empty database of its own, for any engine."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from django.db import connections, migrations, transaction
from django.db.migrations.state import ProjectState

from dorm_vector import engine_for

__all__ = ["Project"]


class Project:
    """The models of an app "shop", as its migrations have made them on the database "scratch"."""

    def __init__(self, *operations: Any, alias: str = "scratch") -> None:
        self.alias = alias
        self.states = [ProjectState()]
        for operation in operations:
            self.run(operation)

    @property
    def connection(self) -> Any:
        return connections[self.alias]

    @property
    def engine(self) -> str:
        return engine_for(self.connection).name

    @property
    def state(self) -> ProjectState:
        return self.states[-1]

    def model(self, name: str = "article") -> Any:
        return self.state.apps.get_model("shop", name)

    def rows(self, name: str = "article") -> Any:
        return self.model(name).objects.using(self.alias)

    def run(self, operation: Any, *, atomic: bool = True) -> None:
        """A migration of one operation; the states before stay, to go back to."""
        migration = self._migration([operation], atomic)
        before = self.state
        with self.connection.schema_editor(atomic=atomic) as editor:
            self.states.append(migration.apply(before.clone(), editor))

    def undo(self, operation: Any, *, atomic: bool = True) -> None:
        """The last operation backwards."""
        migration = self._migration([operation], atomic)
        with self.connection.schema_editor(atomic=atomic) as editor:
            migration.unapply(self.states[-2].clone(), editor)
        self.states.pop()

    def sql(self, operation: Any, *, backwards: bool = False) -> list[str]:
        """What ``sqlmigrate`` shows of an operation."""
        migration = self._migration([operation], True)
        with self.connection.schema_editor(collect_sql=True, atomic=True) as editor:
            apply = migration.unapply if backwards else migration.apply
            apply(self.state.clone(), editor, collect_sql=True)
        return [line for line in editor.collected_sql if not line.startswith("--")]

    def _migration(self, operations: list[Any], atomic: bool) -> Any:
        migration = migrations.Migration("0001_some", "shop")
        migration.operations, migration.atomic = operations, atomic
        return migration

    def execute(self, sql: str, *params: Any) -> list[Any]:
        with self.connection.cursor() as cursor:
            cursor.execute(sql, params or None)
            return list(cursor.fetchall()) if cursor.description else []

    def atomic(self) -> AbstractContextManager[Any]:
        return transaction.atomic(self.alias)

    def triggers(self) -> list[str]:
        """The names of the triggers and functions that there are."""
        if self.engine == "postgresql":
            sql = (
                "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal UNION ALL "
                "SELECT proname || '()' FROM pg_proc WHERE pronamespace = 'public'::regnamespace "
                "AND prolang = (SELECT oid FROM pg_language WHERE lanname = 'plpgsql')"
            )
        else:
            sql = "SELECT name FROM sqlite_master WHERE type = 'trigger'"
        return sorted(name for (name,) in self.execute(sql))
