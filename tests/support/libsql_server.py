"""Databases on a libSQL server, for tests of what goes over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connections, migrations, transaction
from django.db.migrations.state import ProjectState

from dorm_vector import models
from tests.support.sqld import Server

__all__ = [
    "ALIAS",
    "LOST",
    "Shop",
    "Stop",
    "add_author",
    "drop_tables",
    "opened",
    "query",
    "restart",
]

ALIAS = "server"
LOST = r"^The server has ended the transaction: roll it back\.$"


@contextmanager
def opened(url: str, alias: str = ALIAS, **changes: Any) -> Iterator[Any]:
    """A database of a server under an alias; ``changes`` are settings."""
    settings_dict = {**connections["libsql"].settings_dict, "NAME": url, **changes}
    wrapper = type(connections["libsql"])(settings_dict, alias=alias)
    connections.settings[alias] = settings_dict
    connections[alias] = wrapper
    try:
        yield wrapper
    finally:
        wrapper.close()
        del connections[alias], connections.settings[alias]


def drop_tables(wrapper: Any) -> None:
    with (
        wrapper.constraint_checks_disabled(),
        transaction.atomic(ALIAS),
        wrapper.cursor() as cursor,
    ):
        # Also those in which indexes are kept, virtual ones first: theirs go with them.
        cursor.execute(TABLES)
        for (table,) in cursor.fetchall():
            cursor.execute(f"DROP TABLE IF EXISTS {wrapper.ops.quote_name(table)}")


TABLES = (
    "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite|_%' ESCAPE '|' "
    "AND name NOT LIKE '%|_shadow' ESCAPE '|' ORDER BY sql NOT LIKE 'CREATE VIRTUAL%', name"
)


def query(wrapper: Any, sql: str, params: Any = None) -> list[tuple[Any, ...]]:
    with wrapper.cursor() as cursor:
        return list(cursor.execute(sql, params).fetchall())


def add_author(name: str, alias: str = ALIAS) -> None:
    """Without the ORM, which has an atomic block end as soon as save() fails."""
    query(connections[alias], "INSERT INTO shop_author (name, age) VALUES (%s, 1)", [name])


class Shop:
    """Authors and their books, in tables that migration operations make and change."""

    def __init__(self, wrapper: Any) -> None:
        self.connection = wrapper
        self.state = ProjectState()
        author = [
            ("id", models.AutoField(primary_key=True)),
            ("name", models.CharField(max_length=20, unique=True)),
            ("age", models.IntegerField(default=1)),
        ]
        book = [
            ("id", models.AutoField(primary_key=True)),
            ("author", models.ForeignKey("shop.Author", models.CASCADE, related_name="books")),
            ("title", models.CharField(max_length=20)),
        ]
        adult = models.CheckConstraint(condition=models.Q(age__gt=0), name="age_is_positive")
        self.run(migrations.CreateModel("Author", author, {"constraints": [adult]}))
        self.run(migrations.CreateModel("Book", book))

    def run(self, operation: Any, atomic: bool = True) -> None:
        before, self.state = self.state, self.state.clone()
        operation.state_forwards("shop", self.state)
        with self.connection.schema_editor(atomic=atomic) as editor:
            operation.database_forwards("shop", editor, before, self.state)

    def objects(self, model: str) -> Any:
        return self.state.apps.get_model("shop", model)._default_manager.using(ALIAS)

    @property
    def authors(self) -> Any:
        return self.objects("Author")

    @property
    def books(self) -> Any:
        return self.objects("Book")

    def names(self) -> list[str]:
        return sorted(self.authors.values_list("name", flat=True))


def restart(server: Server) -> None:
    server.kill()
    server.start()


class Stop(Exception):  # noqa: N818 - it is not an error
    pass
